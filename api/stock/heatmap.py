"""The heat map of stock: groups of articles by shop, and the share of each that is low or out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.database import Database
from api.deps import DatabaseDep
from api.problems import documented

LOW_HOURS = 4.0
OTHER = "Other"

# Sales an hour as in RESTOCK: units over the hours in which the shop sold anything, of 28 days. Only shelves that were counted
# or received goods are judged: of others a balance says nothing.
_STATES = """
WITH sold AS (
    SELECT store_id, sku, units, uniqExactMerge(hours) OVER (PARTITION BY store_id) AS shop_hours
    FROM (
        SELECT store_id, sku, sum(quantity) AS units, uniqExactState(toStartOfHour(timestamp)) AS hours
        FROM stock_movements FINAL
        WHERE kind = 'SALE' AND timestamp >= (SELECT max(moved_at) FROM stock_positions) - INTERVAL 28 DAY @store
        GROUP BY store_id, sku
    )
)
SELECT store_id, sku, name, if(category = '', {other:String}, category) AS category, shelf, backroom,
    greatest(0, toFloat64(units)) / greatest(1, shop_hours) AS sales_per_hour,
    multiIf(shelf <= 0, 'OUT', shelf < {hours:Float64} * sales_per_hour, 'LOW', 'OK') AS state
FROM (SELECT store_id, sku, shelf, backroom FROM stock_positions FINAL WHERE shelf_known @store) AS positions
LEFT JOIN sold USING (store_id, sku)
LEFT JOIN (SELECT sku, name, category FROM products FINAL) AS products USING (sku)
"""

STATES = _STATES.replace("@store", "")
STATES_OF_SHOP = _STATES.replace("@store", "AND store_id = {store_id:String}")

HEATMAP = f"""
SELECT store_id, any(shops.name) AS name, category,
    count() AS skus, countIf(state = 'LOW') AS low, countIf(state = 'OUT') AS out
FROM ({STATES}) AS states
LEFT JOIN (SELECT store_id, name FROM store_layouts FINAL) AS shops USING (store_id)
GROUP BY store_id, category
ORDER BY store_id, category
LIMIT 100000
"""  # noqa: S608 - the fragment is the constant above

router = APIRouter(tags=["stock"])


class Share(BaseModel):
    """How many articles are low or out."""

    skus: int = Field(description="Articles whose shelf is known.")
    low: int = Field(description="Of these, those whose shelf holds less than `low_hours` hours of its sales.")
    out: int = Field(description="Of these, those with nothing on the shelf, or less than nothing.")
    share: float = Field(description="(low + out) / skus, 0 to 1, four decimals.")


class Cell(Share):
    """One group of articles in one shop."""

    category: str = Field(description="As the catalogue says; Other where it says nothing.")


class ShopHeat(Share):
    """One shop: all of its articles, and each group that it has."""

    store_id: str
    name: str = Field(description="From its layout, empty without one.")
    categories: list[Cell]


class Heatmap(BaseModel):
    """All shops that keep stock, by their ids."""

    made_at: datetime
    low_hours: float
    categories: list[str] = Field(description="Every group that any shop has.")
    stores: list[ShopHeat]


def share_of(skus: int, low: int, out: int) -> float:
    """Articles that are low or out, as a share of all."""
    return round((low + out) / skus, 4) if skus else 0.0


async def heatmap(database: Database, hours: float) -> Heatmap:
    """The heat map as it is now, by one query.

    Raises:
        UnavailableError: ClickHouse is away.
    """
    stores: dict[str, ShopHeat] = {}
    for row in await database.rows(HEATMAP, {"hours": hours, "other": OTHER}):
        skus, low, out = row["skus"], row["low"], row["out"]
        shop = stores.setdefault(
            row["store_id"],
            ShopHeat(store_id=row["store_id"], name=row["name"], categories=[], skus=0, low=0, out=0, share=0),
        )
        shop.categories.append(
            Cell(category=row["category"], skus=skus, low=low, out=out, share=share_of(skus, low, out))
        )
        shop.skus, shop.low, shop.out = shop.skus + skus, shop.low + low, shop.out + out
        shop.share = share_of(shop.skus, shop.low, shop.out)
    named = {cell.category for shop in stores.values() for cell in shop.categories}
    return Heatmap(
        made_at=datetime.now(UTC),
        low_hours=hours,
        # What has no group stands last.
        categories=sorted(named, key=lambda category: (category == OTHER, category)),
        stores=list(stores.values()),
    )


_COUNTS = {"skus": 5, "low": 1, "out": 1, "share": 0.4}
_EXAMPLE = {
    "made_at": "2026-03-03T14:31:00Z",
    "low_hours": LOW_HOURS,
    "categories": ["Dairy"],
    "stores": [
        {
            "store_id": "STORE_BLR_002",
            "name": "Brigade Road",
            **_COUNTS,
            "categories": [{"category": "Dairy", **_COUNTS}],
        }
    ],
}


@router.get(
    "/stock/heatmap",
    summary="Which groups of articles are low or out, in all shops",
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}, **documented(401, 422, 503)},
)
async def get_heatmap(
    database: DatabaseDep,
    low_hours: Annotated[
        float, Query(gt=0, le=168, description="A shelf with less than so many hours of its sales is low.")
    ] = LOW_HOURS,
) -> Heatmap:
    """Groups are those of the catalogue (topic `products`). Shelves that nobody has counted or received goods on are left out."""
    return await heatmap(database, low_hours)
