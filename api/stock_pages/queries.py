"""The SQL that only the pages of stock ask."""

from __future__ import annotations

from collections.abc import Collection

from api.database import Database, Row
from api.stock.heatmap import LOW_HOURS, OTHER, STATES_OF_SHOP

# What is out stands first, then what is low, each by what it costs.
SHELVES = f"""
SELECT sku, name, category, shelf, backroom, state, sales_per_hour
FROM ({STATES_OF_SHOP}) AS states
WHERE ({{category:String}} = '' OR category = {{category:String}})
  AND (positionCaseInsensitiveUTF8(sku, {{search:String}}) > 0 OR positionCaseInsensitiveUTF8(name, {{search:String}}) > 0)
ORDER BY indexOf(['OUT', 'LOW', 'OK'], state), sales_per_hour DESC, sku
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - the fragment is a constant

NAMES = "SELECT sku, name, category FROM products FINAL WHERE sku IN {skus:Array(String)}"
SHOP_NAME = "SELECT name FROM store_layouts FINAL WHERE store_id = {store_id:String}"


async def shelves(database: Database, store_id: str, category: str, search: str, limit: int) -> list[Row]:
    """The shelves of a shop that are known, of a group or of all if it is empty; ``search`` is a part of SKU or name."""
    bound = {"store_id": store_id, "category": category, "search": search, "limit": limit}
    return await database.rows(SHELVES, {**bound, "hours": LOW_HOURS, "other": OTHER})


async def names(database: Database, skus: Collection[str]) -> dict[str, Row]:
    """Name and group of these articles, as far as the catalogue has them."""
    rows = await database.rows(NAMES, {"skus": list(skus)}) if skus else []
    return {row["sku"]: row for row in rows}


async def shop_name(database: Database, store_id: str) -> str:
    """What people call a shop; its id if nothing else is known."""
    rows = await database.rows(SHOP_NAME, {"store_id": store_id})
    return str(rows[0]["name"]) if rows and rows[0]["name"] else store_id
