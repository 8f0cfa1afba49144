"""What shops have on hand, how it came about, and where counts disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from api.deps import DatabaseDep
from api.problems import ProblemError, documented
from api.stock import queries
from api.stores.known import known_store
from api.stores.windows import EARLIEST, LATEST
from schemas.events import RFC3339_PATTERN, Timestamp

DEFAULT_DAYS = 30

router = APIRouter(tags=["stock"])
StoreIdPath = Annotated[str, Path(description="The shop.", examples=["STORE_BLR_002"], max_length=200)]
SkuPath = Annotated[str, Path(description="The article.", examples=["LIP-01"], max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the answer.")]
_TIME_SCHEMA = {"format": "date-time", "pattern": RFC3339_PATTERN}
_PROBLEMS = documented(401, 404, 422, 503)


class Position(BaseModel):
    """What is on hand of one article. Quantities are units, or kilograms where the shop counts so."""

    sku: str
    shelf: float = Field(description="On the shelf; below 0 when something was not written down.")
    backroom: float = Field(description="In the backroom.")
    in_transit: float = Field(description="Sent here by other shops and not received yet.")
    shelf_known: bool = Field(
        description="The shelf was counted, or received goods; else the figure is only what has moved."
    )
    backroom_known: bool = Field(description="The same of the backroom.")
    is_negative: bool = Field(description="Less than nothing where stock is known: count it.")
    counted_at: datetime | None = Field(description="When it was last counted anywhere in the shop.")
    moved_at: datetime = Field(description="Time of its newest movement.")


class Stock(BaseModel):
    """What a shop has on hand."""

    store_id: str
    positions: list[Position]
    next: str | None = Field(description="Where there are more: the value of `after` for the next answer.")


class Entry(BaseModel):
    """One movement, and the balances after it."""

    event_id: str
    timestamp: datetime
    kind: Literal["RECEIVE", "FILL_SHELF", "SALE", "RETURN", "WASTE", "TRANSFER", "COUNT", "SCAN"]
    quantity: float
    location: Literal["SHELF", "BACKROOM"]
    reference: str
    to_store_id: str
    from_store_id: str
    actor: str
    reason: str
    source: Literal["MOVEMENT", "TILL", "SCAN"]
    shelf_after: float
    backroom_after: float


class Ledger(BaseModel):
    """One article of one shop: its balance at a moment, and the movements that led to it."""

    store_id: str
    sku: str
    at: datetime = Field(description="The moment of the balance.")
    shelf: float
    backroom: float
    in_transit: float
    movements: list[Entry] = Field(description="The newest first.")


class Discrepancy(BaseModel):
    """What a count found beside what the ledger held."""

    sku: str
    location: Literal["SHELF", "BACKROOM"]
    counted_at: datetime
    event_id: str
    expected: float
    counted: float
    difference: float = Field(description="counted minus expected: below 0, something is missing.")
    actor: str


class Discrepancies(BaseModel):
    """The discrepancies of a shop, the largest first."""

    store_id: str
    discrepancies: list[Discrepancy]


def _example(value: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": value}}}, **_PROBLEMS}


def _within_reason(moment: datetime) -> datetime:
    if not EARLIEST <= moment < LATEST:
        raise ProblemError(422, "Times must lie between 2000 and 2099.")
    return moment


_POSITION_EXAMPLE = {
    "sku": "LIP-01",
    "shelf": 4,
    "backroom": 24,
    "in_transit": 0,
    "shelf_known": True,
    "backroom_known": True,
    "is_negative": False,
    "counted_at": "2026-03-01T20:10:00Z",
    "moved_at": "2026-03-03T14:31:00Z",
}


@router.get(
    "/stores/{store_id}/stock",
    summary="What a shop has on hand",
    responses=_example({"store_id": "STORE_BLR_002", "positions": [_POSITION_EXAMPLE], "next": None}),
)
async def get_stock(
    database: DatabaseDep,
    store_id: StoreIdPath,
    sku: Annotated[str, Query(description="A part of the SKU, in any case.", max_length=128)] = "",
    after: Annotated[str, Query(description="`next` of the answer before.", max_length=128)] = "",
    limit: Limit = 200,
) -> Stock:
    """Positions by SKU: shelf, backroom and what is on its way."""
    rows = await queries.positions(database, store_id, sku, after, limit)
    if not rows:
        await known_store(database, store_id)
    return Stock(
        store_id=store_id,
        positions=[Position(**row) for row in rows],
        next=rows[-1]["sku"] if len(rows) == limit else None,
    )


@router.get(
    "/stores/{store_id}/stock/{sku}",
    summary="One article: its balance at any moment, and its movements",
    responses=_PROBLEMS,
)
async def get_ledger(
    database: DatabaseDep,
    store_id: StoreIdPath,
    sku: SkuPath,
    at: Annotated[
        Timestamp | None,
        Query(
            description="The moment, RFC 3339 with an offset (write + as %2B); now by default.",
            json_schema_extra=_TIME_SCHEMA,
            examples=["2026-03-03T12:00:00Z"],
        ),
    ] = None,
    limit: Limit = 100,
) -> Ledger:
    """The balance is what was last counted and what has moved since, by the time of the movements."""
    moment = _within_reason(at or datetime.now(UTC))
    if await queries.position(database, store_id, sku) is None:
        raise ProblemError(404, "Nothing of this SKU has moved in this store; check both.")
    entries = await queries.ledger(database, store_id, sku, moment, limit)
    return Ledger(
        store_id=store_id,
        sku=sku,
        at=moment,
        shelf=entries[0]["shelf_after"] if entries else 0,
        backroom=entries[0]["backroom_after"] if entries else 0,
        in_transit=await queries.in_transit(database, store_id, sku, moment),
        movements=[Entry(**entry) for entry in entries],
    )


@router.get(
    "/stores/{store_id}/discrepancies",
    summary="Where counts disagree with the ledger",
    responses=_PROBLEMS,
)
async def get_discrepancies(
    database: DatabaseDep,
    store_id: StoreIdPath,
    sku: Annotated[str, Query(description="Of one article only.", max_length=128)] = "",
    start: Annotated[
        Timestamp | None,
        Query(
            alias="from",
            description=f"Counted from this time on, RFC 3339; the last {DEFAULT_DAYS} days by default.",
            json_schema_extra=_TIME_SCHEMA,
        ),
    ] = None,
    end: Annotated[
        Timestamp | None, Query(alias="to", description="Counted before this time.", json_schema_extra=_TIME_SCHEMA)
    ] = None,
    limit: Limit = 200,
) -> Discrepancies:
    """What counts found beside what the ledger held until then. A late movement that explains one takes it away."""
    until = _within_reason(end or datetime.now(UTC) + timedelta(days=1))
    since = _within_reason(start or until - timedelta(days=DEFAULT_DAYS + 1))
    if since >= until:
        raise ProblemError(422, "`from` must lie before `to`.")
    rows = await queries.discrepancies(database, store_id, sku, since, until, limit)
    if not rows:
        await known_store(database, store_id)
    return Discrepancies(store_id=store_id, discrepancies=[Discrepancy(**row) for row in rows])
