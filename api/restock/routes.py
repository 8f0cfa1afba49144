"""What a shop is to do about its stock today, in order, and what will run out in the next 48 hours."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import DatabaseDep
from api.problems import documented
from api.restock import queries
from api.restock.answers import Restock, Stockouts, stockout, tasks
from api.stock.queries import positions
from api.stock.routes import Limit, StoreIdPath
from api.stores.known import known_store
from schemas.events import RISK_HOURS

router = APIRouter(tags=["stock"])
_PROBLEMS = documented(401, 404, 422, 503)
_TASK_EXAMPLE = {
    "sku": "LIP-01",
    "action": "ORDER",
    "since": "2026-03-03T14:30:00Z",
    "shelf": 2,
    "backroom": 18,
    "in_transit": 0,
    "sales_per_hour": 0.83,
    "reason": "20 here and 5 on the way, 40 are needed until the order after this one arrives, in 3 days (30 expected, "
    "10 for safety): order 96 (8 packs of 12).",
    "quantity": 96,
    "packs": 8,
    "pack": 12,
    "on_order": 5,
    "supplier": "NYKAA",
    "stockout_probability": 0.62,
}


@router.get(
    "/stores/{store_id}/restock",
    summary="What to do today, in order",
    responses={
        200: {"content": {"application/json": {"example": {"store_id": "STORE_BLR_002", "tasks": [_TASK_EXAMPLE]}}}},
        **_PROBLEMS,
    },
)
async def get_restock(database: DatabaseDep, store_id: StoreIdPath, limit: Limit = 200) -> Restock:
    """Shelves to fill from the back, articles to count because the ledger cannot be right, and what to order, with quantities and
    the reason in words. Quantities come from `aisleflow restock`; without it only empty shelves are told.
    """
    rows = await queries.tasks(database, store_id, limit)
    if not rows and not await positions(database, store_id, "", "", 1):
        await known_store(database, store_id)
    return Restock(store_id=store_id, tasks=tasks(rows)[:limit])


@router.get(
    "/stores/{store_id}/stockouts",
    summary="What will run out in the next 48 hours",
    responses=_PROBLEMS,
)
async def get_stockouts(
    database: DatabaseDep,
    store_id: StoreIdPath,
    hours: Annotated[int, Query(ge=1, le=RISK_HOURS, description="Within so many hours.")] = RISK_HOURS,
    probability: Annotated[float, Query(ge=0, le=1, description="At least so probable.")] = 0.25,
    limit: Limit = 200,
) -> Stockouts:
    """The probability that nothing is left of an article, on the shelf or in the back, hour by hour. What is open as an alert
    carries it; alerts open at 0.5 within 48 hours and close below 0.25.
    """
    rows = await queries.stockouts(database, store_id, hours, probability, limit)
    if not rows and not await queries.has_outlook(database, store_id):
        await known_store(database, store_id)
    return Stockouts(store_id=store_id, hours=hours, stockouts=[stockout(row, hours) for row in rows])
