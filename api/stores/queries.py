"""The SQL of the store answers. Parameters are bound by the server; every figure is explained in docs/metrics.md.

The tables are ordered by ``business_day``. A window that is one business day is asked for by that alone, which takes two thirds of
the time; any other by its times, and by ``business_day`` one day wider.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api.database import Database, Row
from api.stores.windows import Window

# Unions, not joins, here and below: planning a join costs more than reading both sides.
_ALL = """
SELECT store_id, max(last_event_timestamp) AS last_event_timestamp, {greatest}
FROM (
    SELECT store_id, last_event_timestamp, {none} FROM store_feed
    UNION ALL
    SELECT store_id, toDateTime64(0, 3, 'UTC'), {expressions} FROM store_layouts FINAL
)
GROUP BY store_id
ORDER BY store_id LIMIT 10000
"""


def _all(**columns: str) -> str:
    """Every store, when it was last heard (1970: never), and expressions over its layout (empty without one)."""
    return _ALL.format(
        greatest=", ".join(f"max({column}) AS {column}" for column in columns),
        none=", ".join(f"'' AS {column}" for column in columns),
        expressions=", ".join(columns.values()),
    )


_DIGEST = "hex(sipHash128(layout))"
STORES = _all(digest=_DIGEST)
SUMMARIES = f"""
SELECT
    store_id, nullIf(name, '') AS name, if(time_zone = '', 'UTC', time_zone) AS time_zone, nullIf(currency, '') AS currency,
    nullIf(last_event_timestamp, toDateTime64(0, 3, 'UTC')) AS last_event_timestamp
FROM ({_all(name="name", time_zone="time_zone", currency="currency")})
"""  # noqa: S608 - the fragment is made of constants
LAYOUTS = f"SELECT store_id, {_DIGEST} AS digest, layout FROM store_layouts FINAL ORDER BY store_id LIMIT 10000"  # noqa: S608 - a constant

# Every answer asks this first, of all stores that are asked about at once. Whoever reads it takes what is highest of a store's rows: a
# GROUP BY would cost a sixth of it.
_STORE = """
SELECT store_id, last_event_timestamp, '' AS layout
FROM store_feed WHERE store_id IN {keys:Array(String)}
UNION ALL
SELECT store_id, toDateTime64(0, 3, 'UTC'), layout
FROM store_layouts FINAL WHERE store_id IN {keys:Array(String)}
"""

_OF_THE_DAY = "business_day = {window_day:Date}"
_OF_THE_TIMES = """business_day BETWEEN {first_day:Date} AND {last_day:Date}
  AND started_at >= {start:DateTime64(3, 'UTC')} AND started_at < {end:DateTime64(3, 'UTC')}"""

# What people did, over non-staff visits unless the name says otherwise.
VISIT_FIGURES = """
    countIf(is_visitor) AS unique_visitors,
    countIf(NOT is_staff AND NOT is_visitor) AS unmatched_visitors,
    countIf(is_staff) AS staff_visits,
    countIf(is_visitor AND (zone_visits > 0 OR has_billing_presence)) AS zone_visitors,
    countIf(is_visitor AND has_billing_presence) AS billing_visitors,
    countIf(is_visitor AND purchased) AS purchasers,
    countIf(is_visitor AND attributed_transaction_id != '') AS attributed_visitors,
    countIf(NOT is_staff AND joined_queue) AS joined,
    countIf(NOT is_staff AND abandoned_queue) AS abandoned,
    max(updated_at) AS updated_at
"""

_VISITS = f"""
SELECT {VISIT_FIGURES}
FROM visits FINAL
WHERE store_id = {{store_id:String}} AND @window
"""  # noqa: S608 - the fragment is the constant above

_ZONES = """
SELECT zone_id, count() AS frequency, sum(dwell_ms) AS dwell_ms
FROM zone_visits FINAL
WHERE store_id = {store_id:String} AND NOT is_staff AND @window
GROUP BY zone_id
ORDER BY frequency DESC, zone_id
"""

# One statement for all figures: taking a statement apart and planning it costs ClickHouse as much as reading a shop's day.
_FIGURES = f"""
WITH
    visit_figures AS (
        SELECT {VISIT_FIGURES}
        FROM visits FINAL
        WHERE store_id = {{store_id:String}} AND @window
    ),
    zone_figures AS (
        SELECT count() AS zone_visits, sum(dwell_ms) AS dwell_ms
        FROM zone_visits FINAL
        WHERE store_id = {{store_id:String}} AND NOT is_staff AND @window
    ),
    queue_figures AS (
        SELECT argMax(depth, timestamp) AS queue_depth -- 0 without any
        FROM queue_depth FINAL
        WHERE store_id = {{store_id:String}}
          AND business_day = {{window_day:Date}}
          AND timestamp < {{end:DateTime64(3, 'UTC')}}
    ),
    receipts_by_currency AS (
        SELECT CAST((currency, count(), sum(basket_value)) AS
            Tuple(currency String, transactions UInt64, revenue Float64)) AS receipts
        FROM transactions FINAL
        WHERE store_id = {{store_id:String}}
          AND timestamp >= {{start:DateTime64(3, 'UTC')}} AND timestamp < {{end:DateTime64(3, 'UTC')}}
        GROUP BY currency
    ),
    receipt_figures AS (SELECT groupArray(receipts) AS transactions FROM receipts_by_currency)
SELECT * FROM visit_figures, zone_figures, queue_figures, receipt_figures
"""  # noqa: S608 - the fragment is the constant above

# What the workers have counted of a business day: one row, where the statements above read all that it follows from.
DAY_COLUMNS = """
    unique_visitors, unmatched_visitors, staff_visits, zone_visitors, billing_visitors, purchasers, attributed_visitors,
    joined_queue AS joined, abandoned_queue AS abandoned, updated_at, queue_depth,
    zones.zone_id AS zone_ids, zones.frequency AS frequencies, zones.dwell_ms AS dwells_ms,
    receipts.currency AS currencies, receipts.transactions AS counts, receipts.revenue AS amounts
"""

# Whatever is asked of it: all who ask at once are answered by one statement.
_DAY = f"""
SELECT store_id, business_day, {DAY_COLUMNS}
FROM day_figures FINAL
WHERE (store_id, business_day) IN {{keys:Array(Tuple(String, Date))}}
"""  # noqa: S608 - the fragment is the constant above

SEVERITY_FIRST = "indexOf(['CRITICAL', 'WARN', 'INFO'], severity), detected_at DESC, type, subject"


def anomalies_sql(where: str, limit: str = "LIMIT 1000") -> str:
    """Anomalies, the worst first. The condition and the limit are constants of ours."""
    return f"""
SELECT
    store_id, type, subject, severity, message, suggested_action, detected_at, value, baseline, closed_at, severity_reason,
    unusual, evidence, calm_since, anomaly_id
FROM anomalies FINAL
WHERE {where}
ORDER BY {SEVERITY_FIRST}, store_id
{limit}
"""  # noqa: S608 - the fragments are constants


_OF_THE_STORE = "store_id = {store_id:String}"
OPEN_ANOMALIES = anomalies_sql("store_id IN {keys:Array(String)} AND closed_at IS NULL", "LIMIT 1000 BY store_id")
ANOMALIES_IN_WINDOW = anomalies_sql(
    f"""{_OF_THE_STORE}
  AND detected_at < {{end:DateTime64(3, 'UTC')}}
  AND (closed_at IS NULL OR closed_at >= {{start:DateTime64(3, 'UTC')}})"""
)
ANOMALY = anomalies_sql(f"{_OF_THE_STORE} AND anomaly_id = {{anomaly_id:String}}")

# The newest word of each anomaly holds.
ACKNOWLEDGEMENTS = """
SELECT anomaly_id, toString(event_id) AS event_id, by, note, timestamp AS at, until
FROM acknowledgements FINAL
WHERE store_id IN {stores:Array(String)} AND anomaly_id IN {anomalies:Array(String)}
ORDER BY timestamp DESC, acknowledgements.event_id
LIMIT 1 BY anomaly_id
"""


def _in(sql: str, window: Window) -> str:
    return sql.replace("@window", _OF_THE_TIMES if window.business_day is None else _OF_THE_DAY)


def _bound(store_id: str, window: Window) -> dict[str, Any]:
    return {
        "store_id": store_id,
        "start": window.start,
        "end": window.end,
        "first_day": window.start.date() - timedelta(days=1),
        "last_day": window.end.date() + timedelta(days=1),
        "window_day": window.last_day,
    }


async def stores(database: Database) -> list[Row]:
    """All known stores: those with events, transactions or a layout, of which the digest is told (empty without one)."""
    return await database.rows(STORES)


async def layouts(database: Database) -> list[Row]:
    """The layouts of all stores that have one, with their digests."""
    return await database.rows(LAYOUTS)


async def summaries(database: Database) -> list[Row]:
    """All known stores with their name, time zone and currency, and when they were last heard; None for what is not known."""
    return await database.rows(SUMMARIES)


async def _about(database: Database, sql: str, store_id: str) -> list[Row]:
    """The rows of one store, of a statement about all stores that are asked about at once."""
    return [row for row in await database.rows_about(sql, store_id) if row["store_id"] == store_id]


async def store(database: Database, store_id: str) -> Row | None:
    """One known store, or None."""
    rows = await _about(database, _STORE, store_id)
    if not rows:
        return None
    return {
        "store_id": store_id,
        "last_event_timestamp": max(row["last_event_timestamp"] for row in rows),
        "layout": max(row["layout"] for row in rows),
    }


async def _day(database: Database, store_id: str, window: Window) -> Row | None:
    """What the workers have counted of the window; None if it is no business day, or they have not.

    They have not where nothing happened, where nobody has opened the day since this table exists, and where some of its
    facts have expired.
    """
    if window.business_day is None:
        return None
    key = (store_id, window.business_day)
    rows = await database.rows_about(_DAY, key)
    return next((row for row in rows if (row["store_id"], row["business_day"]) == key), None)


async def figures(database: Database, store_id: str, window: Window) -> Row:
    """Counts over the visits that began in the window (as ``visits``), ``zone_visits`` and their total ``dwell_ms``, how many
    waited at its end (``queue_depth``), and its receipts with what they add up to, by currency (``transactions``).
    """
    day = await _day(database, store_id, window)
    if day is None:
        return (await database.rows(_in(_FIGURES, window), _bound(store_id, window)))[0]
    return {
        **day,
        "zone_visits": sum(day["frequencies"]),
        "dwell_ms": sum(day["dwells_ms"]),
        "transactions": receipts(day),
    }


async def visits(database: Database, store_id: str, window: Window) -> Row:
    """Counts over the visits that began in the window."""
    day = await _day(database, store_id, window)
    return day or (await database.rows(_in(_VISITS, window), _bound(store_id, window)))[0]


async def zones(database: Database, store_id: str, window: Window) -> list[Row]:
    """Zone visits that began in the window, and their total dwell, by zone, the busiest first."""
    day = await _day(database, store_id, window)
    if day is None:
        return await database.rows(_in(_ZONES, window), _bound(store_id, window))
    return by_zone(day)


def by_zone(day: Row) -> list[Row]:
    """The zones of a row of ``day_figures``, the busiest first."""
    found = [
        {"zone_id": zone_id, "frequency": frequency, "dwell_ms": dwell_ms}
        for zone_id, frequency, dwell_ms in zip(day["zone_ids"], day["frequencies"], day["dwells_ms"], strict=True)
    ]
    return sorted(found, key=lambda zone: (-zone["frequency"], zone["zone_id"]))


def receipts(day: Row) -> list[Row]:
    """The receipts of a row of ``day_figures``, by currency."""
    return [
        {"currency": currency, "transactions": count, "revenue": amount}
        for currency, count, amount in zip(day["currencies"], day["counts"], day["amounts"], strict=True)
    ]


async def anomalies(database: Database, store_id: str, window: Window | None) -> list[Row]:
    """The open anomalies, or those that were open at any time in the window; the worst first."""
    if window is None:
        rows = await _about(database, OPEN_ANOMALIES, store_id)
    else:
        rows = await database.rows(ANOMALIES_IN_WINDOW, _bound(store_id, window))
    return await acknowledged(database, rows)


async def anomaly(database: Database, store_id: str, anomaly_id: str) -> Row | None:
    """One anomaly, open or not, or None."""
    rows = await database.rows(ANOMALY, {"store_id": store_id, "anomaly_id": anomaly_id})
    return (await acknowledged(database, rows))[0] if rows else None


async def acknowledged(database: Database, rows: list[Row]) -> list[Row]:
    """Anomalies, each with who has seen it (``acknowledged``), or None. Mostly there are none: a join would be planned
    in vain.
    """
    if not rows:
        return rows
    named = {name: sorted({row[name] for row in rows}) for name in ("store_id", "anomaly_id")}
    words = await database.rows(ACKNOWLEDGEMENTS, {"stores": named["store_id"], "anomalies": named["anomaly_id"]})
    newest = {word["anomaly_id"]: word for word in words}
    return [{**row, "acknowledged": newest.get(row["anomaly_id"])} for row in rows]
