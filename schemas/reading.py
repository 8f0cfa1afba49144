"""From the bytes of a record to a fact, or to the reason why not: the one reader that the API, the producers and the
workers use.

``VisitFact`` and ``TransactionFact`` are msgspec structs over the annotations of ``schemas.events``, because msgspec
reads twice as many records a second as Pydantic (``make bench-decoding``). A record that msgspec refuses goes to
Pydantic, which names the field and the reason. Records of the second camera dialect are translated on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
import orjson
from msgspec import Meta
from pydantic import ValidationError
from pydantic_core import from_json

from schemas import dialects, events, topics
from schemas.events import Count, Currency, DwellMs, EventType, Gtin, Name, Share, StoreId, Timestamp
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
    """A visit event as it is derived from. The fields after ``metadata`` are ours, whatever a sender puts there.

    Texts carry no pattern here: msgspec would run five regular expressions a record, three times the cost of decoding.
    ``_finish_visit`` checks them.
    """

    event_id: str
    store_id: str
    camera_id: str
    visitor_id: str
    event_type: EventType
    timestamp: Timestamp
    confidence: Share
    zone_id: str | None = None
    dwell_ms: DwellMs = 0
    is_staff: bool = False
    schema_version: Literal[1] = 1
    metadata: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    at: int = msgspec.field(default=0, name="\ue000at")
    """Milliseconds since 1970."""
    key: Key = msgspec.field(default=(0, 0, 0, ""), name="\ue000key")
    queue_depth: int | None = msgspec.field(default=None, name="\ue000queue_depth")
    arrived: int = msgspec.field(default=0, name="\ue000arrived")
    """When Kafka took it, milliseconds since 1970; set by who read it from there."""


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
    arrived: int = msgspec.field(default=0, name="\ue000arrived")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is not a fact: the field at fault (empty for the whole record) and the reason, in words."""

    field: str
    reason: str
    event_id: str | None = None


class _Checked(dict[str, str]):
    """Texts of one kind, each looked at once: stores, cameras, zones and visitors recur in record after record.

    ``known[text]`` is the text, one object however often it is read, or a ValueError.
    """

    MOST = 50_000

    def __init__(self, pattern: str, max_length: int) -> None:
        self._fits = re.compile(pattern.removesuffix("$") + r"\Z").match
        self._max_length = max_length

    def __missing__(self, text: str) -> str:
        if len(text) > self._max_length or not self._fits(text):
            raise ValueError(f"{text[:64]!r} is not a name")
        if len(self) >= self.MOST:
            self.clear()
        self[text] = text
        return text


_is_event_id = re.compile(events.UUID_PATTERN.removesuffix("$") + r"\Z").match
_are_event_ids = re.compile(rf"(?:{events.UUID_PATTERN.strip('^$')}\n)*").fullmatch
_store_ids = _Checked(events.STORE_PATTERN, 64)
_names = _Checked(events.NAME_PATTERN, 128)
_metadata: dict[bytes, tuple[int | None, int]] = {}
"""queue_depth and session_seq by the text of small metadata, which recurs too."""
MOST_METADATA = 20_000
SMALL_METADATA_BYTES = 256

_decode_visit = msgspec.json.Decoder(VisitFact).decode
_metadata_decoder = msgspec.json.Decoder(MetadataFact)
_transaction_decoder = msgspec.json.Decoder(TransactionFact)
_time_text_decoder = msgspec.json.Decoder(_TimeText)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down."""
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _look_closer(raw: bytes) -> None:
    """Refuse what msgspec lets pass and the contract, read by Pydantic, does not.

    Raises:
        ValueError, msgspec.ValidationError: the record is not UTF-8, its time is not RFC 3339, or it is JSON beyond
        reason.
    """
    raw.decode()  # msgspec does not look into fields that it skips
    _time_text_decoder.decode(raw)
    if len(raw) > USUAL_RECORD_BYTES:
        from_json(raw, allow_inf_nan=False, cache_strings="none")


def _is_plain(raw: bytes, moment: datetime) -> bool:
    """Whether there is nothing for ``_look_closer`` to find: ASCII, of usual size, a time that ends in Z or +00:00."""
    # rfind is half the price of `in`, which prepares for a long search.
    return raw.isascii() and len(raw) <= USUAL_RECORD_BYTES and moment.tzinfo is UTC and raw.rfind(b'0000"') < 0


def _time_problem(at: int, latest_ms: int) -> Refusal | None:
    if at < EARLIEST_MS:
        return Refusal("timestamp", f"lies before {events.EARLIEST_YEAR}")
    if at > latest_ms:
        return Refusal("timestamp", "lies too far in the future; check the sender's clock")
    return None


def _finish_visit(fact: VisitFact, latest_ms: int) -> Refusal | None:
    """Check what the decoder does not, all but the event_id, and fill in the derived fields; a refusal says which rule
    over several fields is broken.

    Raises:
        ValueError, msgspec.ValidationError: a field is not as the contract says; Pydantic can tell which.
    """
    fact.event_id = event_id = fact.event_id.lower()
    fact.store_id = _store_ids[fact.store_id]
    fact.camera_id = _names[fact.camera_id]
    fact.visitor_id = _names[fact.visitor_id]
    event_type = fact.event_type
    if (zone_id := fact.zone_id) is not None:
        fact.zone_id = _names[zone_id]
    elif (reason := events.zone_problem(event_type, None)) is not None:
        return Refusal("zone_id", reason)
    fact.at = at = epoch_ms(fact.timestamp)
    if not EARLIEST_MS <= at <= latest_ms:
        return _time_problem(at, latest_ms)
    metadata = bytes(fact.metadata)
    details = _metadata.get(metadata)
    if details is None:
        if len(metadata) > events.MAX_METADATA_BYTES:
            return Refusal("metadata", f"is larger than {events.MAX_METADATA_BYTES} bytes")
        details = _read_metadata(metadata)
    fact.queue_depth, seq = details
    fact.key = (at, seq, EVENT_RANK[event_type], event_id)
    return None


def _read_metadata(raw: bytes) -> tuple[int | None, int]:
    """queue_depth, and session_seq or 0."""
    read = _metadata_decoder.decode(raw)
    details = read.queue_depth, read.session_seq or 0
    if len(raw) <= SMALL_METADATA_BYTES:
        if len(_metadata) >= MOST_METADATA:
            _metadata.clear()
        _metadata[raw] = details
    return details


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
        fact = _decode_visit(raw)
        if not _is_plain(raw, fact.timestamp):
            _look_closer(raw)
        if not _is_event_id(fact.event_id):
            raise ValueError("event_id is not a UUID")
        problem = _finish_visit(fact, latest_ms)
        return [fact] if problem is None else Refusal(problem.field, problem.reason, fact.event_id)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        return _second_look(raw, latest_ms, error)


class Record(Protocol):
    """What a reader needs of a Kafka record."""

    @property
    def value(self) -> bytes | None:
        """Its bytes, None for a tombstone."""

    @property
    def timestamp(self) -> int:
        """When Kafka took it, milliseconds since 1970."""


R = TypeVar("R", bound=Record)


def read_visit_events(records: Sequence[R], max_future_ms: int) -> tuple[list[VisitFact], list[tuple[R, Refusal]]]:
    """Read records of the ``visit-events`` topic, each judged alone, as ``read_visit_event`` does one.

    Args:
        records: in the order of the log.
        max_future_ms: how far a timestamp may lie ahead of its arrival.

    Returns:
        The facts in that order, ``arrived`` filled in; and the records that hold none, with the reason.
    """
    facts: list[VisitFact] = []
    refused: list[tuple[R, Refusal]] = []
    for record in records:
        # The usual record takes the short way; anything else the reader of one, which tells what is wrong.
        raw = record.value
        try:
            fact = _decode_visit(raw)  # type: ignore[arg-type]
            arrived = record.timestamp
            if _is_plain(raw, fact.timestamp) and _finish_visit(fact, arrived + max_future_ms) is None:  # type: ignore[arg-type]
                fact.arrived = arrived
                facts.append(fact)
                continue
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, TypeError):
            pass
        _read_alone(record, max_future_ms, facts, refused)
    # One regular expression over all ids costs half of what one for each does. The length: no id may hold a newline.
    ids = "\n".join([*(fact.event_id for fact in facts), ""])
    if len(ids) != 37 * len(facts) or not _are_event_ids(ids):
        facts, refused = [], []
        for record in records:
            _read_alone(record, max_future_ms, facts, refused)
    return facts, refused


def _read_alone(record: R, max_future_ms: int, facts: list[VisitFact], refused: list[tuple[R, Refusal]]) -> None:
    if record.value is None:
        refused.append((record, Refusal("", "has no value")))
        return
    found = read_visit_event(record.value, record.timestamp + max_future_ms)
    if isinstance(found, Refusal):
        refused.append((record, found))
        return
    for fact in found:
        fact.arrived = record.timestamp
        facts.append(fact)


def _second_look(raw: bytes, latest_ms: int, error: Exception) -> list[VisitFact] | Refusal:
    """Not our form: perhaps the other dialect's; else say what is wrong with it."""
    try:
        record = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError):
        return Refusal("", f"is not JSON: {_brief(error)}")
    if not isinstance(record, dict):
        return Refusal("", "is not a JSON object")
    try:
        translated = dialects.translate_unchecked(record)
        if translated is not None:
            return _finish_translated(translated, latest_ms)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error_of_ours:
        return _explain_dialect(record, error_of_ours)
    match brought_forward("VisitEvent", raw):
        case None:
            return _explain(events.VisitEvent, raw, error, _event_id(record))
        case Refusal() as refusal:
            return refusal
        case bytes() as present:
            return read_visit_event(present, latest_ms)


def _finish_translated(translated: list[dict[str, Any]], latest_ms: int) -> list[VisitFact] | Refusal:
    facts = []
    for item in translated:
        fact = _decode_visit(orjson.dumps(item))
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
        if not _is_plain(raw, fact.timestamp):
            _look_closer(raw)
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
    return _read_whole(events.StoreLayout, raw, latest_ms)


def read_camera_health(raw: bytes, latest_ms: int) -> events.CameraHealth | Refusal:
    """Read one record of the ``camera-health`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.CameraHealth, raw, latest_ms)


def read_stock_movement(raw: bytes, latest_ms: int) -> events.StockMovement | Refusal:
    """Read one record of the ``stock-movements`` topic. Arguments as for ``read_visit_event``."""
    movement = _read_whole(events.StockMovement, raw, latest_ms)
    if isinstance(movement, Refusal):
        return movement
    if movement.kind == "COUNT" and movement.quantity < 0:
        return Refusal("quantity", "a count cannot find less than nothing", movement.event_id)
    if movement.kind != "TRANSFER" and (movement.to_store_id or movement.from_store_id):
        return Refusal("to_store_id", "only a TRANSFER goes from one store to another", movement.event_id)
    if movement.store_id in (movement.to_store_id, movement.from_store_id):
        return Refusal("to_store_id", "a store cannot send to itself: use FILL_SHELF, or two COUNTs", movement.event_id)
    return movement


def read_shelf_scan(raw: bytes, latest_ms: int) -> events.ShelfScan | Refusal:
    """Read one record of the ``shelf-scans`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.ShelfScan, raw, latest_ms)


def read_acknowledgement(raw: bytes, latest_ms: int) -> events.Acknowledgement | Refusal:
    """Read one record of the ``acknowledgements`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.Acknowledgement, raw, latest_ms)


def read_forecast(raw: bytes, latest_ms: int) -> events.DemandForecast | Refusal:
    """Read one record of the ``forecasts`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.DemandForecast, raw, latest_ms)


def read_forecast_accuracy(raw: bytes, latest_ms: int) -> events.ForecastAccuracy | Refusal:
    """Read one record of the ``forecast-accuracy`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.ForecastAccuracy, raw, latest_ms)


def read_product(raw: bytes, latest_ms: int) -> events.Product | Refusal:
    """Read one record of the ``products`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.Product, raw, latest_ms)


def read_order(raw: bytes, latest_ms: int) -> events.Order | Refusal:
    """Read one record of the ``orders`` topic. Arguments as for ``read_visit_event``."""
    order = _read_whole(events.Order, raw, latest_ms)
    if isinstance(order, events.Order) and any(line.quantity < 0 for line in order.lines):
        return Refusal("lines", "a quantity is below 0", order.event_id)
    return order


def read_stock_outlook(raw: bytes, latest_ms: int) -> events.StockOutlook | Refusal:
    """Read one record of the ``stock-outlook`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.StockOutlook, raw, latest_ms)


def read_question(raw: bytes, latest_ms: int) -> events.Question | Refusal:
    """Read one record of the ``questions`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.Question, raw, latest_ms)


def read_price(raw: bytes, latest_ms: int) -> events.Price | Refusal:
    """Read one record of the ``prices`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.Price, raw, latest_ms)


def read_delivery(raw: bytes, latest_ms: int) -> events.Delivery | Refusal:
    """Read one record of the ``deliveries`` topic. Arguments as for ``read_visit_event``."""
    return _read_whole(events.Delivery, raw, latest_ms)


READERS: dict[str, Callable[[bytes, int], Any]] = {
    topics.VISIT_EVENTS.name: read_visit_event,
    topics.TRANSACTIONS.name: read_transaction,
    topics.STORE_LAYOUTS.name: read_layout,
    topics.CAMERA_HEALTH.name: read_camera_health,
    topics.STOCK_MOVEMENTS.name: read_stock_movement,
    topics.SHELF_SCANS.name: read_shelf_scan,
    topics.ACKNOWLEDGEMENTS.name: read_acknowledgement,
    topics.FORECASTS.name: read_forecast,
    topics.FORECAST_ACCURACY.name: read_forecast_accuracy,
    topics.ORDERS.name: read_order,
    topics.STOCK_OUTLOOK.name: read_stock_outlook,
    topics.PRICES.name: read_price,
    topics.DELIVERIES.name: read_delivery,
}
"""The reader of one record, by the topic that it is on: those whose records are about a store."""


def store_in(topic: str, value: bytes | None, latest_ms: int) -> str | Refusal:
    """The store that a record of one of the topics in ``READERS`` is about, as the workers read it, or why they cannot.

    Arguments as for ``read_visit_event``.
    """
    if value is None:
        return Refusal("", "has no value")
    found = READERS[topic](value, latest_ms)
    if isinstance(found, Refusal):
        return found
    return str((found[0] if isinstance(found, list) else found).store_id)


W = TypeVar(
    "W",
    events.StoreLayout,
    events.CameraHealth,
    events.StockMovement,
    events.ShelfScan,
    events.Acknowledgement,
    events.DemandForecast,
    events.ForecastAccuracy,
    events.Product,
    events.Question,
    events.Order,
    events.StockOutlook,
    events.Price,
    events.Delivery,
)


def _read_whole(event: type[W], raw: bytes, latest_ms: int) -> W | Refusal:
    """Read a record of a rare event by its model."""
    forward = brought_forward(event.__name__, raw)
    if isinstance(forward, Refusal):
        return forward
    try:
        fact = event.model_validate_json(forward or raw)
    except ValidationError as error:
        return Refusal(*events.as_problem(error))
    return _time_problem(epoch_ms(fact.timestamp), latest_ms) or fact


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


def _explain_dialect(record: dict[str, Any], error: Exception) -> Refusal:
    """Why a record of the other dialect holds no fact, in that dialect's words."""
    try:
        dialects.translate(record)
    except ValueError as named:
        error = named
    return Refusal(getattr(error, "field", ""), _brief(error), _event_id(record))


def _event_id(record: dict[str, Any]) -> str | None:
    value = record.get("event_id")
    return value[:64] if isinstance(value, str) else None


def _brief(error: Exception) -> str:
    return str(error)[:200]
