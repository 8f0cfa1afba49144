"""Questions in plain words, and what can be asked."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.deps import Parts
from api.events.bodies import read_body
from api.problems import ProblemError, documented
from api.questions import words
from api.questions.answers import Answer
from api.questions.desk import Desk
from api.questions.measures import MEASURES
from api.questions.parser import MOST_CHARACTERS
from api.security import SHOPS, asker
from schemas.events import StoreId, as_problem

MAX_BODY_BYTES = 16_384

router = APIRouter(tags=["questions"])


async def _desk(request: Request) -> Desk:
    parts: Parts = request.app.state.parts
    return parts.questions


async def _shops(request: Request) -> frozenset[str] | None:
    found: frozenset[str] | None = request.scope.get(SHOPS)
    return found


DeskDep = Annotated[Desk, Depends(_desk)]
ShopsDep = Annotated[frozenset[str] | None, Depends(_shops)]


class QuestionRequest(BaseModel):
    """A question in plain words."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] = Field(description="In a sentence.")
    shops: Annotated[list[StoreId], Field(max_length=1000)] = Field(
        default=[], description="Ask of no shops but these, by store_id; empty: of all that the key may ask about."
    )


class AskedMeasure(BaseModel):
    """Something that can be asked."""

    name: str
    title: str
    definition: str
    unit: str
    dimensions: list[str] = Field(description="By what it can be asked.")
    examples: list[str]


class AskedMeasures(BaseModel):
    """Everything that can be asked."""

    measures: list[AskedMeasure]


_EXAMPLE = {"question": "How much of SKU 22423 is in the back in Leeds?"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/QuestionRequest"}, "example": _EXAMPLE}
        },
    }
}


@router.post(
    "/questions",
    summary="Ask in plain words",
    responses=documented(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=_BODY,
)
async def ask(request: Request, desk: DeskDep, shops: ShopsDep) -> Answer:
    """The answer shows the question as it was understood, the SQL with its parameters, the rows and the time they are of. What is not
    understood in full is not answered: `answered` is false, `reason` says why, and `near` has questions that can be. Who asked what
    is kept in ClickHouse (`question_log`).
    """
    body = _read(await read_body(request, MAX_BODY_BYTES))
    allowed = shops
    if body.shops:
        allowed = frozenset(body.shops) if shops is None else frozenset(body.shops) & shops
        if not allowed:
            raise ProblemError(403, "This key may not ask about these shops.")
    parts: Parts = request.app.state.parts
    who = asker(request.headers, bool(parts.settings.api_key_set))
    return await desk.ask(body.question, who, allowed)


@router.get("/questions/measures", summary="What can be asked", responses=documented(401, 503))
async def measures(desk: DeskDep, shops: ShopsDep) -> AskedMeasures:
    """Every measure with its meaning, and questions that it answers."""
    names = await desk.names(shops)
    return AskedMeasures(
        measures=[
            AskedMeasure(
                name=name,
                title=measure.title,
                definition=measure.definition,
                unit=measure.unit,
                dimensions=list(measure.dimensions),
                examples=words.examples_of(measure, names),
            )
            for name, measure in MEASURES.items()
        ]
    )


def _read(body: bytes) -> QuestionRequest:
    try:
        return QuestionRequest.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise ProblemError(400, f"The body is not JSON: {str(error)[:200]}") from None
    except ValidationError as error:
        field, reason = as_problem(error)
        raise ProblemError(
            422, f"{field or 'body'}: {reason}"[:300], errors=[{"field": field[:128], "reason": reason[:300]}]
        ) from None
