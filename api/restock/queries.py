"""The SQL of what to do and of what will run out. What each figure means is said in docs/restocking.md."""

from __future__ import annotations

from api.database import Database, Row

# What an hour of an empty shelf costs: units sold in the last 28 days over the hours in which the shop sold anything.
TASKS = """
WITH sales AS (
    SELECT sku, quantity, toStartOfHour(timestamp) AS hour
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND kind = 'SALE' AND timestamp >= (
        SELECT max(moved_at) - INTERVAL 28 DAY FROM stock_positions WHERE store_id = {store_id:String}
    )
)
SELECT sku, gap, gap_since, made_at, positions.shelf AS shelf, positions.backroom AS backroom,
    positions.in_transit AS in_transit, seen_missing,
    greatest(0, sold) / greatest(1, (SELECT uniqExact(hour) FROM sales)) AS sales_per_hour,
    model != '' AS is_known, outlook.shelf AS shelf_then, on_order, fill_quantity, fill_reason, order_quantity, packs, pack, order_reason,
    supplier, risk[48] AS risk_48h
FROM (SELECT * FROM stock_positions FINAL WHERE store_id = {store_id:String}) AS positions
LEFT JOIN (SELECT * FROM stock_outlook FINAL WHERE store_id = {store_id:String}) AS outlook USING (sku)
LEFT JOIN (SELECT sku, sum(quantity) AS sold FROM sales GROUP BY sku) AS sold USING (sku)
WHERE gap != '' OR fill_quantity > 0 OR order_quantity > 0
ORDER BY gap = 'FILL_SHELF' OR fill_quantity > 0 DESC, gap = 'COUNT' DESC, sales_per_hour DESC, gap_since, sku
LIMIT {limit:UInt32}
"""

STOCKOUTS = """
SELECT sku, made_at, shelf, backroom, in_transit, on_order, expected_48h, lost_48h, risk, runs_out_at, order_quantity, supplier, category,
    model, anomaly_id, severity, detected_at
FROM (SELECT * FROM stock_outlook FINAL WHERE store_id = {store_id:String} AND risk[{hours:UInt8}] >= {least:Float32}) AS outlook
LEFT JOIN (
    SELECT subject AS sku, anomaly_id, severity, detected_at
    FROM anomalies FINAL
    WHERE store_id = {store_id:String} AND type = 'STOCKOUT_RISK' AND closed_at IS NULL
    ORDER BY detected_at LIMIT 1 BY sku
) AS alerts USING (sku)
ORDER BY lost_48h DESC, risk[{hours:UInt8}] DESC, sku
LIMIT {limit:UInt32}
"""

HAS_OUTLOOK = "SELECT 1 FROM stock_outlook WHERE store_id = {store_id:String} LIMIT 1"


async def tasks(database: Database, store_id: str, limit: int) -> list[Row]:
    """Articles that something is to be done about: shelves to fill first, then counts, then orders; of each kind those first
    that cost most sales an hour.
    """
    return await database.rows(TASKS, {"store_id": store_id, "limit": limit})


async def stockouts(database: Database, store_id: str, hours: int, least: float, limit: int) -> list[Row]:
    """Articles that will have run out within so many hours at least as probably as ``least``; what costs most sales first."""
    return await database.rows(STOCKOUTS, {"store_id": store_id, "hours": hours, "least": least, "limit": limit})


async def has_outlook(database: Database, store_id: str) -> bool:
    """Whether anything was ever worked out for a store."""
    return bool(await database.rows(HAS_OUTLOOK, {"store_id": store_id}))
