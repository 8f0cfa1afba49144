"""Taking facts in: visit events, till transactions and store layouts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.deps import IngestDep
from api.events.bodies import MAX_ITEMS, read_body, split
from api.events.ingest import STOCK_MOVEMENTS, TRANSACTIONS, VISIT_EVENTS, Feed, Ingest, as_fault
from api.problems import FieldProblem, ProblemError, documented
from schemas import topics
from schemas.events import StoreLayout
from schemas.reading import Refusal, read_layout

# Below the size of record that Kafka takes.
MAX_LAYOUT_BYTES = 900_000

router = APIRouter(tags=["facts"])


class ErrorDetail(BaseModel):
    """Why one item was refused."""

    index: int = Field(ge=0, description="Its position in the request.")
    event_id: str | None = Field(description="Its id, if it could be read.")
    field: str = Field(description="Where the fault is; empty for the whole item.")
    reason: str


class IngestResult(BaseModel):
    """What became of the items. Everything counted as inserted has been acknowledged by Kafka."""

    inserted_events: int = Field(ge=0, description="New facts, now on the log.")
    duplicates: int = Field(ge=0, description="Facts that were there already, whatever else they carried.")
    errors: int = Field(ge=0, description="Items refused.")
    error_details: list[ErrorDetail]
    processed: bool | None = Field(
        None, description="With ?wait=processed: whether the derived tables hold all of it, duplicates included."
    )


Wait = Annotated[
    Literal["processed"] | None,
    Query(description="`processed`: answer when the derived tables hold all of it (read your writes)."),
]
TimeoutS = Annotated[
    float, Query(gt=0, le=60, description="How long to wait for that, seconds; then the answer is 202.")
]

_EVENT_EXAMPLE = {
    "event_id": "550e8400-e29b-41d4-a716-446655440000",
    "store_id": "STORE_BLR_002",
    "camera_id": "CAM_ENTRY_01",
    "visitor_id": "VIS_c8a2f1",
    "event_type": "ENTRY",
    "timestamp": "2026-03-03T14:22:10Z",
    "zone_id": None,
    "dwell_ms": 0,
    "is_staff": False,
    "confidence": 0.95,
    "metadata": {"queue_depth": None, "sku_zone": None, "session_seq": 1},
}
_TRANSACTION_EXAMPLE = {
    "store_id": "STORE_BLR_002",
    "transaction_id": "T-1001",
    "timestamp": "2026-03-03T14:31:00Z",
    "basket_value": "1249.50",
    "currency": "INR",
    "payment_kind": "upi",
    "lines": [{"sku": "LIP-01", "quantity": "1", "unit_price": "1249.50"}],
}
_MOVEMENT_EXAMPLE = {
    "event_id": "0d4fe1c8-4b0e-4a9e-9d34-31f3f9b0f6f1",
    "store_id": "STORE_BLR_002",
    "timestamp": "2026-03-03T08:15:00Z",
    "sku": "LIP-01",
    "kind": "RECEIVE",
    "quantity": "24",
    "location": "BACKROOM",
    "reference": "PO-1001",
}
_LAYOUT_EXAMPLE = {
    "store_id": "STORE_BLR_002",
    "timestamp": "2026-03-01T00:00:00Z",
    "name": "Bengaluru, Indiranagar",
    "time_zone": "Asia/Kolkata",
    "currency": "INR",
    "opening_hours": {day: [["10:00", "22:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")},
    "zones": [{"zone_id": "SKINCARE", "type": "SHELF"}, {"zone_id": "BILLING", "type": "BILLING"}],
    "cameras": [{"camera_id": "CAM_ENTRY_01"}],
}
_RESULT_EXAMPLE = {
    "inserted_events": 1,
    "duplicates": 0,
    "errors": 1,
    "error_details": [{"index": 1, "event_id": None, "field": "timestamp", "reason": "Field required"}],
    "processed": None,
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": _RESULT_EXAMPLE}}},
    202: {"model": IngestResult, "description": "On the log, but not processed within timeout_s."},
    **documented(400, 401, 403, 413, 415, 422, 503),
}


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def _batch(name: str, model: str, example: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "maxItems": MAX_ITEMS, "items": {"$ref": f"#/components/schemas/{model}"}}
    schema = {"type": "object", "required": [name], "properties": {name: items}}
    return _body(schema, {name: [example]})


@router.post(
    "/events/ingest",
    summary="Take in visit events",
    response_model=IngestResult,
    responses=_RESPONSES,
    openapi_extra=_batch("events", "VisitEvent", _EVENT_EXAMPLE),
)
async def ingest_events(
    request: Request, response: Response, ingest: IngestDep, wait: Wait = None, timeout_s: TimeoutS = 10
) -> IngestResult:
    """Publish up to 500 visit events, in our form or in the second camera dialect.

    Each is judged alone: one bad event does not keep the others out. The answer comes when Kafka has acknowledged all
    that is new; when it cannot, the answer is 503 and says which events are on the log. Sending a batch again is safe.
    """
    return await _take(request, response, ingest, VISIT_EVENTS, "events", wait, timeout_s)


@router.post(
    "/transactions/ingest",
    summary="Take in till transactions",
    response_model=IngestResult,
    responses=_RESPONSES,
    openapi_extra=_batch("transactions", "Transaction", _TRANSACTION_EXAMPLE),
)
async def ingest_transactions(
    request: Request, response: Response, ingest: IngestDep, wait: Wait = None, timeout_s: TimeoutS = 10
) -> IngestResult:
    """Publish up to 500 till receipts. One is the same as another if store_id and transaction_id are."""
    return await _take(request, response, ingest, TRANSACTIONS, "transactions", wait, timeout_s)


@router.post(
    "/stock/movements",
    summary="Take in movements of stock",
    response_model=IngestResult,
    responses=_RESPONSES,
    openapi_extra=_batch("movements", "StockMovement", _MOVEMENT_EXAMPLE),
)
async def ingest_movements(
    request: Request, response: Response, ingest: IngestDep, wait: Wait = None, timeout_s: TimeoutS = 10
) -> IngestResult:
    """Publish up to 500 movements of stock: received, put on the shelf, sold without a receipt, returned, wasted, sent to
    another shop, counted. What a till sells comes from its receipts.
    """
    return await _take(request, response, ingest, STOCK_MOVEMENTS, "movements", wait, timeout_s)


async def _take(
    request: Request, response: Response, ingest: Ingest, feed: Feed, name: str, wait: str | None, timeout_s: float
) -> IngestResult:
    items = split(await read_body(request), name)
    taken = await ingest.take(feed, items, track=wait is not None)
    result = IngestResult(
        inserted_events=taken.inserted,
        duplicates=taken.duplicates,
        errors=len(taken.faults),
        error_details=[ErrorDetail(**vars(fault)) for fault in taken.faults],
    )
    request.scope["log_fields"] = result.model_dump(include={"inserted_events", "duplicates", "errors"})
    if wait is not None:
        result.processed = await ingest.processed(feed, taken, timeout_s)
        response.status_code = 200 if result.processed else 202
    return result


class LayoutTaken(BaseModel):
    """The layout that Kafka has acknowledged."""

    store_id: str
    timestamp: str


@router.put(
    "/stores/{store_id}/layout",
    summary="Set a store's layout",
    responses={200: {}, **documented(400, 401, 403, 413, 415, 422, 503)},
    openapi_extra=_body({"$ref": "#/components/schemas/StoreLayout"}, _LAYOUT_EXAMPLE),
)
async def put_layout(
    request: Request,
    ingest: IngestDep,
    store_id: Annotated[str, Path(description="The shop, as in the layout itself.", max_length=200)],
) -> LayoutTaken:
    """Publish a layout: zones, cameras, opening hours, time zone and currency. The newest ``timestamp`` holds."""
    raw = await read_body(request, MAX_LAYOUT_BYTES)
    layout = read_layout(raw, ingest.latest_ms())
    if isinstance(layout, StoreLayout) and layout.store_id != store_id:
        layout = Refusal("store_id", "is another than that of the path")
    if isinstance(layout, Refusal):
        fault = as_fault(0, layout)
        errors = [FieldProblem(field=fault.field, reason=fault.reason).model_dump()]
        raise ProblemError(422, f"{fault.field or 'layout'}: {fault.reason}", errors=errors)
    await ingest.publish_one(topics.STORE_LAYOUTS.name, store_id, raw)
    return LayoutTaken(store_id=store_id, timestamp=layout.timestamp.isoformat())
