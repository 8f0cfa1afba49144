"""The SQL of the wall: the figures of all shops at once, each on the business day of its newest fact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from api.database import Database, Row
from api.stores.queries import VISIT_FIGURES, acknowledged, anomalies_sql

OF_THESE_DAYS = """
    (store_id, business_day) IN {days:Array(Tuple(String, Date))}
    AND business_day BETWEEN {first_day:Date} AND {last_day:Date}
"""

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


def _bound(days: Sequence[tuple[str, date]]) -> dict[str, Any]:
    dates = [day for _, day in days]
    return {"days": list(days), "first_day": min(dates), "last_day": max(dates)}


async def visits(database: Database, days: Sequence[tuple[str, date]]) -> list[Row]:
    """Counts over visits by shop. ``days`` must not be empty, here and below."""
    return await database.rows(VISITS, _bound(days))


async def zones(database: Database, days: Sequence[tuple[str, date]]) -> list[Row]:
    """Zone visits by shop and zone, the busiest first."""
    return await database.rows(ZONES, _bound(days))


async def queues(database: Database, days: Sequence[tuple[str, date]]) -> list[Row]:
    """Queue depth by shop and quarter of an hour."""
    return await database.rows(QUEUES, _bound(days))


async def transactions(database: Database, windows: Sequence[tuple[str, datetime, datetime]]) -> list[Row]:
    """Receipts by shop and currency, each shop in its own window."""
    parameters = {
        "stores": [store for store, _, _ in windows],
        "starts": [int(start.timestamp() * 1000) for _, start, _ in windows],
        "ends": [int(end.timestamp() * 1000) for _, _, end in windows],
        "earliest": min(start for _, start, _ in windows),
        "latest": max(end for _, _, end in windows),
    }
    return await database.rows(TRANSACTIONS, parameters)


async def open_anomalies(database: Database) -> list[Row]:
    """What is open in any shop, the worst first."""
    return await acknowledged(database, await database.rows(OPEN_ANOMALIES))


async def cameras(database: Database) -> list[Row]:
    """The newest that every camera said of itself."""
    return await database.rows(CAMERAS)
