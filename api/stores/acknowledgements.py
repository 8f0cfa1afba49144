"""Somebody has seen an anomaly: taken as a fact onto the log, from where the workers bring it to ClickHouse."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field, ValidationError

from api.deps import DatabaseDep, IngestDep
from api.events.bodies import read_body
from api.problems import FieldProblem, ProblemError, documented
from api.stores import queries
from api.stores.answers import Acknowledged, Anomaly
from api.stores.known import known_store
from schemas import topics
from schemas.events import Acknowledgement, Event, Timestamp, as_problem, dump

MAX_BODY_BYTES = 8192
NAMESPACE = uuid.UUID("b1d5cc5e-52cd-5b39-8f0e-7b0d3ff0a4b7")

router = APIRouter(prefix="/stores", tags=["stores"])

_fields = Acknowledgement.model_fields


class AcknowledgeRequest(Event):
    """Who has seen it, and what they do about it."""

    by: Annotated[str, *_fields["by"].metadata] = Field(description=_fields["by"].description)
    note: Annotated[str, *_fields["note"].metadata] = Field("", description=_fields["note"].description)
    until: Timestamp | None = Field(None, description=_fields["until"].description)


_EXAMPLE = {"by": "Asha", "note": "Second till is opening", "until": None}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/AcknowledgeRequest"}, "example": _EXAMPLE}
        },
    }
}


@router.post(
    "/{store_id}/anomalies/{anomaly_id}/acknowledge",
    summary="Say that an anomaly is seen to",
    responses=documented(400, 401, 403, 404, 413, 415, 422, 503),
    openapi_extra=_BODY,
)
async def acknowledge(
    request: Request,
    database: DatabaseDep,
    ingest: IngestDep,
    store_id: Annotated[str, Path(description="The shop.", max_length=200)],
    anomaly_id: Annotated[str, Path(description="As GET /stores/{store_id}/anomalies gives it.", max_length=64)],
) -> Acknowledged:
    """It shouts no more, but stays open until it is over; if it opens anew, that is another anomaly. The newest
    acknowledgement holds; the same words again change nothing.
    """
    now = datetime.now(UTC)
    asked = _read(await read_body(request, MAX_BODY_BYTES), now)
    await known_store(database, store_id)
    row = await queries.anomaly(database, store_id, anomaly_id)
    if row is None:
        raise ProblemError(404, "This store has no anomaly of this id; GET its anomalies to see what there is.")
    before = Anomaly(**row).acknowledged
    # The next word after the one that holds: sent twice it is one fact, sent after somebody else's it is new.
    words = (store_id, anomaly_id, before and before.event_id, asked.by, asked.note, asked.until)
    if before is not None and (before.by, before.note, before.until) == (asked.by, asked.note, asked.until):
        return before
    fact = Acknowledgement(
        event_id=str(uuid.uuid5(NAMESPACE, "\t".join(map(str, words)))),
        store_id=store_id,
        anomaly_id=anomaly_id,
        timestamp=now.replace(microsecond=now.microsecond // 1000 * 1000),
        by=asked.by,
        note=asked.note,
        until=asked.until,
    )
    await ingest.publish_one(topics.ACKNOWLEDGEMENTS.name, store_id, dump(fact))
    return Acknowledged(event_id=fact.event_id, by=fact.by, note=fact.note, at=fact.timestamp, until=fact.until)


def _read(body: bytes, now: datetime) -> AcknowledgeRequest:
    try:
        asked = AcknowledgeRequest.model_validate_json(body)
    except ValidationError as error:
        field, reason = as_problem(error)
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise ProblemError(400, f"The body is not JSON: {reason}"[:300]) from None
        raise _refused(field, reason) from None
    if asked.until is None:
        return asked
    until = asked.until.astimezone(UTC)
    if until <= now:
        raise _refused("until", "must lie in the future")
    return asked.model_copy(update={"until": until.replace(microsecond=until.microsecond // 1000 * 1000)})


def _refused(field: str, reason: str) -> ProblemError:
    errors = [FieldProblem(field=field[:128], reason=reason[:300]).model_dump()]
    return ProblemError(422, f"{field or 'body'}: {reason}"[:300], errors=errors)
