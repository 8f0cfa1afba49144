"""Demand to come, as a service: ``POST /api/v1/predict`` and what goes with it. See docs/forecast_service.md."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import ValidationError

from api.deps import DatabaseDep, IngestDep, PredictorDep
from api.events.bodies import read_body
from api.forecasts import asked, history, publishing
from api.forecasts.answers import BatchResponse, Models, PredictResponse
from api.forecasts.asked import Fault, PredictRequest
from api.problems import ProblemError, documented

router = APIRouter(prefix="/api/v1", tags=["forecasts"])

_EXAMPLE: dict[str, Any] = {
    "productId": "prod123",
    "historicalData": [
        {"date": f"2026-03-{day:02}", "quantity": quantity}
        for day, quantity in enumerate([7, 5, 6, 8, 11, 14, 9, 6, 5, 7, 8, 12, 15, 8], start=1)
    ],
    "features": {"seasonality": "peak", "promotion_active": False},
    "forecast_horizon": 7,
}
_PROBLEMS = documented(400, 401, 403, 404, 413, 415, 422, 503)


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@router.post(
    "/predict",
    summary="How much of a product will be sold",
    responses=_PROBLEMS,
    openapi_extra=_body({"$ref": "#/components/schemas/PredictRequest"}, _EXAMPLE),
)
async def predict(
    request: Request, database: DatabaseDep, ingest: IngestDep, predictor: PredictorDep
) -> PredictResponse:
    """From the product's own sales: expected units day by day with their quantiles, how the same model did on the past, and what
    promotions and seasons change. With `store_id` and no `historicalData`, from the shop's sales as ClickHouse has them.
    """
    wanted = asked.read(await read_body(request, asked.MAX_BODY_BYTES))
    question = await history.question(database, predictor, wanted)
    (answer,) = await predictor.answer([question], wanted.model)
    published = await publishing.publish(ingest, wanted, answer) if wanted.publish else None
    return PredictResponse.of(wanted.product_id, answer, published)


@router.post(
    "/predict/batch",
    summary="The same for many products",
    responses=_PROBLEMS,
    openapi_extra=_body(
        {
            "type": "object",
            "required": ["requests"],
            "properties": {
                "requests": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": asked.MOST_PRODUCTS,
                    "items": {"$ref": "#/components/schemas/PredictRequest"},
                }
            },
        },
        {"requests": [_EXAMPLE]},
    ),
)
async def predict_batch(
    request: Request, database: DatabaseDep, ingest: IngestDep, predictor: PredictorDep
) -> BatchResponse:
    """Up to 500 products, each judged alone: what cannot be answered is named in `errors`, and the others are answered."""
    items = _items(await read_body(request, asked.MAX_BATCH_BYTES))
    errors: list[Fault] = []
    taken: list[tuple[int, PredictRequest, Any]] = []
    for index, item in enumerate(items):
        try:
            wanted = PredictRequest.model_validate_json(item)
        except ValidationError as error:
            name = _name(item)
            errors += [Fault(index=index, productId=name, **fault) for fault in asked.faults(error)]
            continue
        try:
            taken.append((index, wanted, await history.question(database, predictor, wanted)))
        except ProblemError as problem:
            if problem.status == 503:
                raise
            errors.append(Fault(index=index, productId=wanted.product_id, field="", reason=problem.detail))
    predictions = []
    by_model: dict[str, list[tuple[int, PredictRequest, Any]]] = {}
    for one in taken:
        by_model.setdefault(one[1].model, []).append(one)
    answered = []
    for model, group in by_model.items():
        answers = await predictor.answer([question for _, _, question in group], model)
        answered += [(index, wanted, answer) for (index, wanted, _), answer in zip(group, answers, strict=True)]
    for _, wanted, answer in sorted(answered, key=lambda one: one[0]):
        published = await publishing.publish(ingest, wanted, answer) if wanted.publish else None
        predictions.append(PredictResponse.of(wanted.product_id, answer, published))
    return BatchResponse(predictions=predictions, errors=errors)


@router.get("/models", summary="Which models answer, since when, and how good they are", responses=documented(401, 503))
async def get_models(predictor: PredictorDep) -> Models:
    """The statistical models need no training. A trained one is served from its promotion on, without a restart."""
    return await predictor.models()


def _items(body: bytes) -> list[bytes]:
    """The items of ``{"requests": [...]}`` as bytes."""
    wrong = {"field": "requests", "reason": f"must be a list of 1 to {asked.MOST_PRODUCTS} requests"}
    try:
        found = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("requests")
        items = msgspec.json.decode(b"null" if found is None else bytes(found), type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise ProblemError(422, 'The body must be {"requests": [...]}.', errors=[wrong]) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProblemError(400, f"The body is not JSON: {str(error)[:200]}") from None
    if not 1 <= len(items) <= asked.MOST_PRODUCTS:
        raise ProblemError(422, f"requests: {wrong['reason']}", errors=[wrong])
    return [bytes(item) for item in items]


def _name(item: bytes) -> str | None:
    """The productId of an item that cannot be read, if that much can be."""
    try:
        found = msgspec.json.decode(item)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    name = found.get("productId") if isinstance(found, dict) else None
    return name[:128] if isinstance(name, str) else None
