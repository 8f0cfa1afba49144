"""The SQL of the stock answers. What each figure means is said in docs/stock.md."""

from __future__ import annotations

from datetime import datetime

from api.database import Database, Row

_POSITION = """sku, shelf, backroom, in_transit, shelf_known, backroom_known, counted_at, moved_at,
    (shelf_known AND shelf < 0) OR (backroom_known AND backroom < 0) AS is_negative"""

POSITIONS = f"""
SELECT {_POSITION}
FROM stock_positions FINAL
WHERE store_id = {{store_id:String}} AND sku > {{after:String}} AND positionCaseInsensitive(sku, {{search:String}}) > 0
ORDER BY sku
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - the fragment is the constant above

POSITION = f"""
SELECT {_POSITION}
FROM stock_positions FINAL
WHERE store_id = {{store_id:String}} AND sku = {{sku:String}}
"""  # noqa: S608 - the fragment is the constant above

# A balance is what was last counted and what has moved since. Movements are numbered by the counts before them, and summed
# from the count on; what shares its millisecond comes before it.
LEDGER = """
WITH moved AS (
    SELECT *,
        kind = 'COUNT' AND location = 'SHELF' AS counts_shelf,
        kind = 'COUNT' AND location = 'BACKROOM' AS counts_backroom,
        (timestamp, kind = 'COUNT', toString(event_id)) AS place,
        sum(counts_shelf) OVER (ORDER BY place) AS shelf_count,
        sum(counts_backroom) OVER (ORDER BY place) AS backroom_count
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND sku = {sku:String} AND timestamp <= {at:DateTime64(3, 'UTC')}
)
SELECT toString(event_id) AS event_id, timestamp, kind, quantity, location, reference, to_store_id, from_store_id, actor, reason,
    source,
    sum(if(counts_shelf, quantity, shelf)) OVER (PARTITION BY shelf_count ORDER BY place) AS shelf_after,
    sum(if(counts_backroom, quantity, backroom)) OVER (PARTITION BY backroom_count ORDER BY place) AS backroom_after
FROM moved
ORDER BY place DESC
LIMIT {limit:UInt32}
"""

IN_TRANSIT = """
SELECT sum(missing) AS in_transit
FROM (
    SELECT greatest(0, sumIf(quantity, from_store_id != '') - sumIf(quantity, kind = 'RECEIVE')) AS missing
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND sku = {sku:String} AND timestamp <= {at:DateTime64(3, 'UTC')}
    GROUP BY reference
    HAVING countIf(from_store_id != '') > 0
)
"""

DISCREPANCIES = """
SELECT sku, location, counted_at, toString(event_id) AS event_id, expected, counted, difference, actor
FROM stock_discrepancies FINAL
WHERE store_id = {store_id:String} AND NOT is_opening AND difference != 0
  AND counted_at >= {start:DateTime64(3, 'UTC')} AND counted_at < {end:DateTime64(3, 'UTC')}
  AND ({sku:String} = '' OR sku = {sku:String})
ORDER BY abs(difference) DESC, counted_at DESC, sku
LIMIT {limit:UInt32}
"""


async def positions(database: Database, store_id: str, search: str, after: str, limit: int) -> list[Row]:
    """What a store has on hand, by SKU, from the SKU after ``after`` on; ``search`` is a part of the SKU, or empty."""
    return await database.rows(POSITIONS, {"store_id": store_id, "search": search, "after": after, "limit": limit})


async def position(database: Database, store_id: str, sku: str) -> Row | None:
    """What a store has on hand of one SKU; None if nothing of it has ever moved."""
    rows = await database.rows(POSITION, {"store_id": store_id, "sku": sku})
    return rows[0] if rows else None


async def ledger(database: Database, store_id: str, sku: str, at: datetime, limit: int) -> list[Row]:
    """The last movements of a SKU up to a moment, the newest first, each with the balances after it."""
    return await database.rows(LEDGER, {"store_id": store_id, "sku": sku, "at": at, "limit": limit})


async def in_transit(database: Database, store_id: str, sku: str, at: datetime) -> float:
    """What was on its way to the store at a moment."""
    rows = await database.rows(IN_TRANSIT, {"store_id": store_id, "sku": sku, "at": at})
    return float(rows[0]["in_transit"])


async def discrepancies(
    database: Database, store_id: str, sku: str, start: datetime, end: datetime, limit: int
) -> list[Row]:
    """What counts of a time found beside what the ledger held, the largest first; of one SKU, or of all if it is empty."""
    bound = {"store_id": store_id, "sku": sku, "start": start, "end": end, "limit": limit}
    return await database.rows(DISCREPANCIES, bound)
