"""A shop's own sales by day, out of ClickHouse's ledger: the SQL, and its rows as series. No I/O here.

A day is the shop's, by its time zone. What was sold is what SALE took off the shelf or out of the back, less what RETURN brought back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from forecasting.days import Dates, series_of
from forecasting.history import SHORT, History

LONGEST_DAYS = 1095
"""Days of sales that are read, at most: three years show a season three times."""
LONG_SILENT_DAYS = 28
"""A shop that has sold nothing for longer is not forecast."""

OPEN_DAYS = """
SELECT DISTINCT toDate(timestamp, {time_zone:String}) AS day
FROM stock_movements
WHERE store_id = {store_id:String} AND kind = 'SALE' AND day >= {first:Date} AND day < {today:Date}
ORDER BY day
"""

# Balances of the shelf need every movement since the last count, so old movements are read for them too. A row an article: arrays
# by day; unknown numbers are NaN, which JSON has as null.
SALES = """
WITH moved AS (
    SELECT sku, kind, toDate(timestamp, {time_zone:String}) AS day, shelf, backroom, quantity,
        kind = 'COUNT' AND location = 'SHELF' AS counts,
        (timestamp, kind = 'COUNT', toString(event_id)) AS place,
        sum(counts) OVER (PARTITION BY sku ORDER BY place) AS count,
        max(counts OR (kind = 'RECEIVE' AND location = 'SHELF')) OVER (PARTITION BY sku ORDER BY place) AS known
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND ({sku:String} = '' OR sku = {sku:String}) AND kind != 'SCAN'
), balanced AS (
    SELECT *, sum(if(counts, quantity, shelf)) OVER (PARTITION BY sku, count ORDER BY place) AS after
    FROM moved
), told AS (
    SELECT *, lagInFrame(after, 1, after) OVER (
        PARTITION BY sku ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before
    FROM balanced
), prices AS (
    SELECT line_sku AS sku, toDate(timestamp, {time_zone:String}) AS day, toFloat64(avg(line_price)) AS price
    FROM transactions FINAL
    ARRAY JOIN lines.sku AS line_sku, lines.unit_price AS line_price, lines.quantity AS line_quantity
    WHERE store_id = {store_id:String} AND ({sku:String} = '' OR line_sku = {sku:String}) AND line_quantity > 0 AND line_price > 0
    GROUP BY sku, day
)
SELECT sku, groupArray(day_number) AS days, groupArray(sold) AS quantity, groupArray(paid) AS price, groupArray(most) AS high,
    groupArray(left) AS end
FROM (
    SELECT by_day.sku AS sku, toUInt16(by_day.day) AS day_number, sold, if(prices.price > 0, prices.price, nan) AS paid, most, left
    FROM (
        SELECT sku, day, toFloat64(sumIf(-shelf - backroom, kind IN ('SALE', 'RETURN'))) AS sold,
            if(max(known), toFloat64(maxIf(greatest(before, after), known)), nan) AS most,
            if(max(known), toFloat64(argMax(after, place)), nan) AS left
        FROM told
        GROUP BY sku, day
        HAVING day >= {first:Date} AND day < {today:Date}
    ) AS by_day
    LEFT JOIN prices ON prices.sku = by_day.sku AND prices.day = by_day.day
    ORDER BY sku, day_number
)
GROUP BY sku
ORDER BY sku
"""


def bound(store_id: str, time_zone: str, today: date, sku: str = "") -> dict[str, Any]:
    """The parameters of ``OPEN_DAYS`` and ``SALES``.

    Args:
        store_id: the shop.
        time_zone: its IANA time zone.
        today: its business day, which is not over and left out.
        sku: one article; all if empty.
    """
    first = today - timedelta(days=LONGEST_DAYS)
    return {"store_id": store_id, "time_zone": time_zone, "today": today, "first": first, "sku": sku}


def histories(
    rows: Iterable[Mapping[str, Any]],
    open_days: Sequence[date],
    until: date,
    *,
    special_days: Mapping[date, str] | None = None,
    categories: Mapping[str, str] | None = None,
) -> list[History]:
    """Series of the rows of ``SALES``, each from the article's first sale to ``until``, with what was masked; articles that never sold
    are left out.

    What is known of a day is said in ``forecasting/days.py``.

    Args:
        rows: with the columns of ``SALES``.
        open_days: the days on which the shop sold anything.
        until: the last day that is over.
        special_days: names of festivals and holidays that the shop's layout has, past and to come.
        categories: by SKU.
    """
    if not open_days:
        return []
    opened = np.array(open_days, dtype="datetime64[D]")
    return [
        made
        for row in rows
        for made in _history(row, opened, until, special_days or {}, (categories or {}).get(row["sku"], ""))
    ]


def _history(
    row: Mapping[str, Any], opened: Dates, until: date, special_days: Mapping[date, str], category: str
) -> Iterable[History]:
    days = np.array(row["days"], dtype="datetime64[D]")
    sold, price, high, end = (np.array(row[name], dtype=float) for name in ("quantity", "price", "high", "end"))
    last = np.datetime64(until)
    if not (sold[days <= last] > 0).any():
        return
    made = series_of(row["sku"], opened, days, sold, price, high=high, end=end, category=category, until=until)
    first = np.datetime64(made.start)
    told = np.zeros(len(made.quantity), bool)
    for some in (opened, days):
        told[(some[(some >= first) & (some <= last)] - first).astype(np.intp)] = True
    known = np.isfinite(made.quantity)
    warnings = []
    if closed := int((~told).sum()):
        warnings.append(f"on {closed} days the shop sold nothing at all: taken as closed")
    if masked := int((told & ~known).sum()):
        warnings.append(f"{masked} days of stock-out were masked: nothing was on the shelf")
    if known.sum() < SHORT:
        warnings.append(f"short history: demand is known on {known.sum()} days only")
    yield History(replace(made, holiday_names=special_days), tuple(warnings))
