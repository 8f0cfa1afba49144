"""The SQL of the wall: the figures of all shops at once, each on the business day of its newest fact."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from api.database import Database, Row
from api.stores.queries import DAY_COLUMNS, VISIT_FIGURES, acknowledged, anomalies_sql, by_zone, receipts
from api.stores.windows import Window
from schemas.reading import epoch_ms

OF_THESE_DAYS = """
    (store_id, business_day) IN {days:Array(Tuple(String, Date))}
    AND business_day BETWEEN {first_day:Date} AND {last_day:Date}
"""

DAYS = f"""
SELECT store_id, {DAY_COLUMNS}
FROM day_figures FINAL
WHERE {OF_THESE_DAYS}
"""  # noqa: S608 - the fragments are constants

# Days that the workers have not counted, as for one shop (api/stores/queries.py).
VISITS = f"""
SELECT store_id, {VISIT_FIGURES}
FROM visits FINAL
WHERE {OF_THESE_DAYS}
GROUP BY store_id
"""  # noqa: S608 - the fragments are constants

ZONES = f"""
SELECT store_id, zone_id, count() AS frequency, sum(dwell_ms) AS dwell_ms
FROM zone_visits FINAL
WHERE {OF_THESE_DAYS} AND NOT is_staff
GROUP BY store_id, zone_id
ORDER BY frequency DESC, zone_id
"""  # noqa: S608 - the fragments are constants

# The deepest and the last depth of each quarter of an hour in which it changed.
QUEUES = f"""
SELECT store_id, toStartOfFifteenMinutes(timestamp) AS quarter, max(depth) AS deepest, argMax(depth, timestamp) AS last
FROM queue_depth FINAL
WHERE {OF_THESE_DAYS}
GROUP BY store_id, quarter
ORDER BY store_id, quarter
"""  # noqa: S608 - the fragments are constants

# Each shop's day begins and ends at another moment.
TRANSACTIONS = """
SELECT store_id, currency, count() AS transactions, sum(basket_value) AS revenue
FROM transactions FINAL
WHERE timestamp >= {earliest:DateTime64(3, 'UTC')} AND timestamp < {latest:DateTime64(3, 'UTC')}
  AND toUnixTimestamp64Milli(timestamp) >= transform(store_id, {stores:Array(String)}, {starts:Array(Int64)}, 0)
  AND toUnixTimestamp64Milli(timestamp) < transform(store_id, {stores:Array(String)}, {ends:Array(Int64)}, 0)
GROUP BY store_id, currency
"""

OPEN_ANOMALIES = anomalies_sql("closed_at IS NULL")

# A camera of which nothing was heard for a week is taken down, not broken.
CAMERAS = """
SELECT store_id, camera_id, kind, state, reason, coalesce(since, timestamp) AS since, entries, entrance_balance, received_at
FROM camera_states_newest FINAL
WHERE received_at > now64(3, 'UTC') - INTERVAL 7 DAY
ORDER BY store_id, camera_id
"""


NO_VISITS: Row = dict.fromkeys(
    (
        *("unique_visitors", "unmatched_visitors", "staff_visits", "zone_visitors", "billing_visitors", "purchasers"),
        *("attributed_visitors", "joined", "abandoned"),
    ),
    0,
)
NOTHING: Row = {**NO_VISITS, "zones": [], "transactions": []}


def _bound(windows: Mapping[str, Window]) -> dict[str, Any]:
    dates = [window.last_day for window in windows.values()]
    return {"days": list(zip(windows, dates, strict=True)), "first_day": min(dates), "last_day": max(dates)}


def by_store(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by shop, in their order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["store_id"], []).append(row)
    return grouped


async def days(database: Database, windows: Mapping[str, Window]) -> dict[str, Row]:
    """By shop, what its day adds up to: counts over visits, ``zones`` with the busiest first, ``transactions`` by currency."""
    if not windows:
        return {}
    rows = await database.rows(DAYS, _bound(windows))
    found = {row["store_id"]: {**row, "zones": by_zone(row), "transactions": receipts(row)} for row in rows}
    rest = {store_id: window for store_id, window in windows.items() if store_id not in found}
    return found | await _counted(database, rest) if rest else found


async def _counted(database: Database, windows: Mapping[str, Window]) -> dict[str, Row]:
    spans = {
        "stores": list(windows),
        "starts": [epoch_ms(window.start) for window in windows.values()],
        "ends": [epoch_ms(window.end) for window in windows.values()],
        "earliest": min(window.start for window in windows.values()),
        "latest": max(window.end for window in windows.values()),
    }
    visits, zones, transactions = map(
        by_store,
        await asyncio.gather(
            database.rows(VISITS, _bound(windows)),
            database.rows(ZONES, _bound(windows)),
            database.rows(TRANSACTIONS, spans),
        ),
    )
    return {
        store_id: {
            **visits.get(store_id, [NO_VISITS])[0],
            "zones": zones.get(store_id, []),
            "transactions": transactions.get(store_id, []),
        }
        for store_id in windows
    }


async def queues(database: Database, windows: Mapping[str, Window]) -> dict[str, list[Row]]:
    """Queue depth by shop and quarter of an hour."""
    return by_store(await database.rows(QUEUES, _bound(windows))) if windows else {}


async def open_anomalies(database: Database) -> dict[str, list[Row]]:
    """What is open, by shop, the worst first."""
    return by_store(await acknowledged(database, await database.rows(OPEN_ANOMALIES)))


async def cameras(database: Database) -> dict[str, list[Row]]:
    """The newest that every camera said of itself, by shop."""
    return by_store(await database.rows(CAMERAS))
