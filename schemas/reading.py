"""From the bytes of a record to a fact, or to the reason why not: the one reader that the API, the producers and the
workers use.

``VisitFact`` and ``TransactionFact`` are msgspec structs over the annotations of ``schemas.events``, because msgspec
reads twice as many records a second as Pydantic (``make bench-decoding``). A record that msgspec refuses goes to
Pydantic, which names the field and the reason. Records of the second camera dialect are translated on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta
from pydantic import ValidationError
from pydantic_core import from_json

from schemas import dialects, events
from schemas.events import Count, Currency, DwellMs, EventId, EventType, Gtin, Name, Share, StoreId, Timestamp
from schemas.upcasters import UPCASTERS, VERSION_FIELD, VersionError

MAX_RECORD_BYTES = 65_536
# A record of this size has no room for what Pydantic's JSON parser refuses and msgspec takes: 200 levels, or numbers of
# 4,300 digits.
USUAL_RECORD_BYTES = 512
EARLIEST_MS = int(datetime(events.EARLIEST_YEAR, 1, 1, tzinfo=UTC).timestamp() * 1000)
EVENT_RANK = {
    name: rank
    for rank, name in enumerate(
        (
            "ENTRY",
            "REENTRY",
            "ZONE_ENTER",
            "ZONE_DWELL",
            "BILLING_QUEUE_JOIN",
            "BILLING_QUEUE_ABANDON",
            "ZONE_EXIT",
            "EXIT",
        )
    )
}
MONEY_STEP = Decimal("0.0001")

Key = tuple[int, int, int, str]
"""Where an event stands in its store's order: (timestamp ms, session_seq, rank of its type, event_id)."""


class MetadataFact(msgspec.Struct, gc=False):
    """The fields of an event's metadata that rules read."""

    queue_depth: Count | None = None
    sku_zone: Name | None = None
    session_seq: Count | None = None


class VisitFact(msgspec.Struct, gc=False):
    """A visit event as it is derived from. The last three fields are ours, under names that no sender uses."""

    event_id: EventId
    store_id: StoreId
    camera_id: Name
    visitor_id: Name
    event_type: EventType
    timestamp: Timestamp
    confidence: Share
    zone_id: Name | None = None
    dwell_ms: DwellMs = 0
    is_staff: bool = False
    schema_version: Literal[1] = 1
    metadata: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    at: int = msgspec.field(default=0, name="\ue000at")
    """Milliseconds since 1970."""
    key: Key = msgspec.field(default=(0, 0, 0, ""), name="\ue000key")
    queue_depth: int | None = msgspec.field(default=None, name="\ue000queue_depth")


class _TimeText(msgspec.Struct, gc=False):
    """The timestamp of any record, as text: msgspec's own reading of times also takes offsets without a colon."""

    timestamp: Annotated[str, Meta(pattern=events.RFC3339_PATTERN.removesuffix("$") + r"\Z")]


class LineFact(msgspec.Struct, gc=False):
    """One line of a receipt."""

    sku: Name
    quantity: Decimal
    unit_price: Decimal
    gtin: Gtin | None = None


class TransactionFact(msgspec.Struct):
    """A till receipt as it is derived from."""

    store_id: StoreId
    transaction_id: Name
    timestamp: Timestamp
    basket_value: Decimal
    currency: Currency | None = None
    payment_kind: Name | None = None
    schema_version: Literal[1] = 1
    lines: list[LineFact] = []
    at: int = msgspec.field(default=0, name="\ue000at")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is not a fact: the field at fault (empty for the whole record) and the reason, in words."""

    field: str
    reason: str
    event_id: str | None = None


_visit_decoder = msgspec.json.Decoder(VisitFact)
_metadata_decoder = msgspec.json.Decoder(MetadataFact)
_transaction_decoder = msgspec.json.Decoder(TransactionFact)
_time_text_decoder = msgspec.json.Decoder(_TimeText)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down."""
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _look_closer(raw: bytes, moment: datetime) -> None:
    """Refuse what msgspec lets pass and the contract, read by Pydantic, does not; cheap for a record of usual size.

    Raises:
        ValueError, msgspec.ValidationError: the record is not UTF-8, its time is not RFC 3339, or it is JSON beyond
        reason.
    """
    raw.decode()  # msgspec does not look into fields that it skips
    if moment.tzinfo is not UTC or b'0000"' in raw:
        _time_text_decoder.decode(raw)
    if len(raw) > USUAL_RECORD_BYTES:
        from_json(raw, allow_inf_nan=False, cache_strings="none")


def _time_problem(at: int, latest_ms: int) -> Refusal | None:
    if at < EARLIEST_MS:
        return Refusal("timestamp", f"lies before {events.EARLIEST_YEAR}")
    if at > latest_ms:
        return Refusal("timestamp", "lies too far in the future; check the sender's clock")
    return None


def _finish_visit(fact: VisitFact, latest_ms: int) -> Refusal | None:
    """Fill in the derived fields; a refusal says which rule over several fields is broken."""
    fact.at = at = epoch_ms(fact.timestamp)
    if (problem := _time_problem(at, latest_ms)) is not None:
        return problem
    if (reason := events.zone_problem(fact.event_type, fact.zone_id)) is not None:
        return Refusal("zone_id", reason)
    fact.event_id = fact.event_id.lower()
    raw = bytes(fact.metadata)
    seq = 0
    if raw != b"{}":
        if len(raw) > events.MAX_METADATA_BYTES:
            return Refusal("metadata", f"is larger than {events.MAX_METADATA_BYTES} bytes")
        details = _metadata_decoder.decode(raw)
        fact.queue_depth = details.queue_depth
        seq = details.session_seq or 0
    fact.key = (at, seq, EVENT_RANK[fact.event_type], fact.event_id)
    return None


def read_visit_event(raw: bytes, latest_ms: int) -> list[VisitFact] | Refusal:
    """Read one record of the ``visit-events`` topic.

    Args:
        raw: the JSON, in our form or in the second camera dialect.
        latest_ms: the newest acceptable timestamp, milliseconds since 1970 (arrival plus the allowed clock error).

    Returns:
        The facts it holds: one, or two for the dialect's queue records; or why it is refused.
    """
    try:
        if len(raw) > MAX_RECORD_BYTES:
            return Refusal("", f"is larger than {MAX_RECORD_BYTES} bytes")
        fact = _visit_decoder.decode(raw)
        _look_closer(raw, fact.timestamp)
        problem = _finish_visit(fact, latest_ms)
        return [fact] if problem is None else Refusal(problem.field, problem.reason, fact.event_id)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        return _second_look(raw, latest_ms, error)


def _second_look(raw: bytes, latest_ms: int, error: Exception) -> list[VisitFact] | Refusal:
    """Not our form: perhaps the other dialect's; else say what is wrong with it."""
    try:
        record = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError):
        return Refusal("", f"is not JSON: {_brief(error)}")
    if not isinstance(record, dict):
        return Refusal("", "is not a JSON object")
    try:
        translated = dialects.translate(record)
    except ValueError as problem:
        return Refusal(getattr(problem, "field", ""), _brief(problem), _event_id(record))
    if translated is None:
        match brought_forward("VisitEvent", raw):
            case None:
                return _explain(events.VisitEvent, raw, error, _event_id(record))
            case Refusal() as refusal:
                return refusal
            case bytes() as present:
                return read_visit_event(present, latest_ms)
    facts = []
    for item in translated:
        fact = _visit_decoder.decode(orjson.dumps(item))
        if (finding := _finish_visit(fact, latest_ms)) is not None:
            return Refusal(finding.field, finding.reason, fact.event_id)
        facts.append(fact)
    return facts


def read_transaction(raw: bytes, latest_ms: int) -> TransactionFact | Refusal:
    """Read one record of the ``transactions`` topic. Arguments as for ``read_visit_event``."""
    try:
        if len(raw) > MAX_RECORD_BYTES * 4:
            return Refusal("", f"is larger than {MAX_RECORD_BYTES * 4} bytes")
        fact = _transaction_decoder.decode(raw)
        _look_closer(raw, fact.timestamp)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        match brought_forward("Transaction", raw):
            case None:
                return _explain(events.Transaction, raw, error, None)
            case Refusal() as refusal:
                return refusal
            case bytes() as present:
                return read_transaction(present, latest_ms)
    fact.at = epoch_ms(fact.timestamp)
    if (problem := _time_problem(fact.at, latest_ms)) is not None:
        return problem
    if len(fact.lines) > 1000:
        return Refusal("lines", "has more than 1,000 lines")
    if (problem := _settle_amounts(fact)) is not None:
        return problem
    return fact


def _settle_amounts(fact: TransactionFact) -> Refusal | None:
    """Bring money and quantities to four decimals, as they are stored; refuse what is not a sensible number."""
    for holder, name, where, limit in (
        (fact, "basket_value", "basket_value", 10**12),
        *((line, "quantity", f"lines.{i}.quantity", 10**9) for i, line in enumerate(fact.lines)),
        *((line, "unit_price", f"lines.{i}.unit_price", 10**12) for i, line in enumerate(fact.lines)),
    ):
        amount = getattr(holder, name)
        # No arithmetic before the comparison: abs() of 1e1000000000 raises.
        if not amount.is_finite() or not -limit <= amount <= limit:
            return Refusal(where, f"must be a number between -{limit} and {limit}")
        setattr(holder, name, amount.quantize(MONEY_STEP, rounding=ROUND_HALF_UP))
    return None


def read_layout(raw: bytes, latest_ms: int) -> events.StoreLayout | Refusal:
    """Read one record of the ``store-layouts`` topic. Arguments as for ``read_visit_event``."""
    forward = brought_forward("StoreLayout", raw)
    if isinstance(forward, Refusal):
        return forward
    try:
        layout = events.StoreLayout.model_validate_json(forward or raw)
    except ValidationError as error:
        return Refusal(*events.as_problem(error))
    return _time_problem(epoch_ms(layout.timestamp), latest_ms) or layout


def stored_layout(text: str) -> events.StoreLayout:
    """A layout as ``store_layouts`` keeps it, of whatever version it was when it was stored.

    Raises:
        ValueError: it is of a version newer than this program, or damaged.
    """
    forward = brought_forward("StoreLayout", text.encode())
    if isinstance(forward, Refusal):
        raise ValueError(f"{forward.field} {forward.reason}")
    return events.StoreLayout.model_validate_json(forward or text)


def brought_forward(event: str, raw: bytes) -> bytes | Refusal | None:
    """A record of an older version as the present one says it; None if there is nothing to bring forward."""
    try:
        record = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    try:
        present = UPCASTERS[event].upcast(record)
    except VersionError as error:
        return Refusal(VERSION_FIELD, str(error), _event_id(record))
    return None if present is record else orjson.dumps(present)


def _explain(model: type[events.Event], raw: bytes, error: Exception, event_id: str | None) -> Refusal:
    """Pydantic names the field and the reason better than msgspec does."""
    try:
        model.model_validate_json(raw)
    except ValidationError as problems:
        return Refusal(*events.as_problem(problems), event_id)
    return Refusal("", _brief(error), event_id)


def _event_id(record: dict[str, Any]) -> str | None:
    value = record.get("event_id")
    return value[:64] if isinstance(value, str) else None


def _brief(error: Exception) -> str:
    return str(error)[:200]
