"""The SQL of the pages of forecasts."""

from __future__ import annotations

from datetime import date, timedelta

from api.database import Database, Row

OUTLOOKS = """
SELECT told.sku AS sku, names.name AS name, told.week AS week, told.low AS low, told.high AS high, told.model AS model,
    accuracy.drifts AS drifts
FROM (
    SELECT sku, sum(mean) AS week, argMin(q100, day) AS low, argMin(q900, day) AS high, argMin(model, day) AS model
    FROM forecasts_newest
    WHERE store_id = {store_id:String} AND day >= {today:Date} AND day < {until:Date}
    GROUP BY sku
) AS told
LEFT JOIN (SELECT sku, name FROM products FINAL) AS names ON names.sku = told.sku
LEFT JOIN (
    SELECT sku, drifts FROM forecast_accuracy_newest WHERE store_id = {store_id:String}
) AS accuracy ON accuracy.sku = told.sku
WHERE {search:String} = '' OR positionCaseInsensitiveUTF8(told.sku, {search:String}) > 0
    OR positionCaseInsensitiveUTF8(names.name, {search:String}) > 0
ORDER BY drifts DESC, week DESC, sku
LIMIT {limit:UInt32}
"""

ACCURACY = """
SELECT day, days, error, usual_error, highest_error, scale, bias, outside, drifts
FROM forecast_accuracy_newest
WHERE store_id = {store_id:String} AND sku = {sku:String}
"""

PUBLISHED = """
SELECT day, mean FROM forecasts_newest
WHERE store_id = {store_id:String} AND sku = {sku:String} AND day >= {first:Date} AND day < {today:Date}
ORDER BY day
"""

NAME = "SELECT name FROM products FINAL WHERE sku = {sku:String} AND name != ''"


async def outlooks(database: Database, store_id: str, today: date, search: str, limit: int) -> list[Row]:
    """A shop's articles with what they will sell in a week, those that drift first."""
    bound = {"store_id": store_id, "today": today, "until": today + timedelta(days=7), "search": search, "limit": limit}
    return await database.rows(OUTLOOKS, bound)


async def accuracy(database: Database, store_id: str, sku: str) -> Row | None:
    """How the forecasts of an article, or of all (no SKU), did as of the last night; None before the first comparison."""
    rows = await database.rows(ACCURACY, {"store_id": store_id, "sku": sku})
    return rows[0] if rows and rows[0]["days"] else None


async def published(database: Database, store_id: str, sku: str, first: date, today: date) -> dict[date, float]:
    """By day what had been forecast for it last."""
    rows = await database.rows(PUBLISHED, {"store_id": store_id, "sku": sku, "first": first, "today": today})
    return {row["day"]: row["mean"] for row in rows}


async def name_of(database: Database, sku: str) -> str:
    """What people call an article; its SKU where the catalogue does not say."""
    rows = await database.rows(NAME, {"sku": sku})
    return str(rows[0]["name"]) if rows else sku
