"""The names that questions may use, read from ClickHouse now and then."""

from __future__ import annotations

import asyncio
import time

from api.database import Database, Row
from api.questions.names import Names, Product

FRESH_S = 30.0
MOST_PRODUCTS = 20_000
"""Of more articles, those that moved last are known by name; the others by nothing."""

STORES = """
SELECT store_id, max(layout_name) AS name, max(zone) AS time_zone, max(zones) AS zones
FROM (
    SELECT store_id, name AS layout_name, time_zone AS zone,
        JSONExtract(layout, 'zones', 'Array(Tuple(zone_id String, name String))') AS zones
    FROM store_layouts_final
    UNION ALL SELECT DISTINCT store_id, '', '', [] FROM store_feed_final
    UNION ALL SELECT DISTINCT store_id, '', '', [] FROM stock_positions_final
)
GROUP BY store_id
ORDER BY store_id
LIMIT 10000
"""
ZONES = """
SELECT DISTINCT zone_id FROM zone_visits_final
WHERE business_day >= (SELECT max(business_day) FROM zone_visits) - 30
ORDER BY zone_id LIMIT 5000
"""
PRODUCTS = """
SELECT sku, max(called) AS name, max(kind) AS category
FROM (
    SELECT sku, name AS called, category AS kind, toDateTime64(0, 3, 'UTC') AS moved FROM products_final
    UNION ALL SELECT sku, '', '', moved_at FROM stock_positions_final
)
GROUP BY sku
ORDER BY max(moved) DESC, sku
LIMIT {limit:UInt32}
"""


class Catalogue:
    """Keeps the names, and looks anew after half a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = Names()
        self._rows: list[list[Row]] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def names(self) -> Names:
        """What there is now.

        Raises:
            UnavailableError: ClickHouse does not answer.
        """
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_S:
                rows = [
                    await self._database.rows(STORES),
                    await self._database.rows(ZONES),
                    await self._database.rows(PRODUCTS, {"limit": MOST_PRODUCTS}),
                ]
                if rows != self._rows:  # else what is known of them, an index of all words, holds
                    names = await asyncio.to_thread(_made, *rows)
                    self._rows, self._names = rows, names
                self._read_at = time.monotonic()
            return self._names


def _made(stores: list[Row], zones: list[Row], products: list[Row]) -> Names:
    called = {row["zone_id"]: row["zone_id"] for row in zones}
    for row in stores:
        called |= {zone_id: name or zone_id for zone_id, name in map(_zone, row["zones"])}
    names = Names(
        stores={row["store_id"]: row["name"] for row in stores},
        zones=called,
        products={row["sku"]: Product(row["sku"], row["name"], row["category"]) for row in products},
        time_zones={row["store_id"]: row["time_zone"] or "UTC" for row in stores},
    )
    assert names.index is not None  # made here, in a thread
    return names


def _zone(told: object) -> tuple[str, str]:
    """A zone of a layout, which JSON gives as a list or an object."""
    if isinstance(told, dict):
        return str(told["zone_id"]), str(told["name"])
    assert isinstance(told, list)
    return str(told[0]), str(told[1])
