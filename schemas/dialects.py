"""The second camera dialect, turned into the events of ``schemas.events``.

Cameras of another make say the same things in other words:

- ``entry`` and ``exit`` are ENTRY and EXIT of the visitor ``id_token`` at ``event_timestamp``;
- ``zone_entered`` and ``zone_exited`` are ZONE_ENTER and ZONE_EXIT of ``track_id`` in ``zone_name`` at ``event_time``;
- ``queue_completed`` is a BILLING_QUEUE_JOIN at ``queue_join_ts`` and a ZONE_EXIT at ``queue_exit_ts``;
- ``queue_abandoned`` is a BILLING_QUEUE_JOIN and a BILLING_QUEUE_ABANDON at those times.

A record without ``event_type`` but with ``queue_event_id`` is a queue record: its ``abandoned`` decides. The shop is
``store_code`` or ``store_id``; ``camera_id`` is optional, and so is a queue's ``zone_name``. A queue's visitor is its
``id_token`` or ``track_id``. The position at joining counts the person who joins, so it is the queue's depth just then.

Ids are UUIDs of version 5 made from what identifies the fact (shop, camera, type, visitor, zone and instant; shop and
``queue_event_id`` for a queue), so a record sent twice is one fact. Fields that ours lack stay in ``metadata``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from math import inf
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from schemas.events import RFC3339_PATTERN, VisitEvent, as_problem

NAMESPACE = UUID("6d0f7a5e-3c0f-5b3d-9f0a-8a3a4f5a2c11")
_RFC3339 = re.compile(RFC3339_PATTERN)
_MILLISECOND = timedelta(milliseconds=1)
UNNAMED_CAMERA = "UNNAMED"
UNNAMED_QUEUE = "BILLING"

_MOMENTS = {
    # type: (ours, visitor field, time field)
    "entry": ("ENTRY", "id_token", "event_timestamp"),
    "exit": ("EXIT", "id_token", "event_timestamp"),
    "zone_entered": ("ZONE_ENTER", "track_id", "event_time"),
    "zone_exited": ("ZONE_EXIT", "track_id", "event_time"),
}
_QUEUES = {"queue_completed": False, "queue_abandoned": True}
_KEPT = ("group_id", "group_size", "zone_type", "queue_event_id", "queue_served_ts", "wait_seconds")


class DialectError(ValueError):
    """A record of this dialect that cannot be read: ``field`` is theirs, ``reason`` is for the person who sent it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def translate(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The canonical events that a record of the second dialect stands for; None if it is not of that dialect.

    Every event returned validates as ``VisitEvent``.

    Raises:
        DialectError: a field is missing, has the wrong type, or contradicts another.
    """
    events = translate_unchecked(record)
    for event in events or ():
        _check(record, event)
    return events


def translate_unchecked(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    """As ``translate``, for a reader that checks the events itself: they may break rules of ``VisitEvent``."""
    kind = record.get("event_type")
    if kind is None and "queue_event_id" in record:
        return _queue(record, _flag(record, "abandoned"))
    if not isinstance(kind, str):
        return None
    if kind in _MOMENTS:
        return _moment(record, *_MOMENTS[kind])
    if kind in _QUEUES:
        abandoned = _QUEUES[kind]
        if record.get("abandoned") is not None and _flag(record, "abandoned") is not abandoned:
            raise DialectError("abandoned", f"contradicts {kind}")
        return _queue(record, abandoned)
    return None


def _moment(record: dict[str, Any], event_type: str, visitor_field: str, time_field: str) -> list[dict[str, Any]]:
    """An entry, an exit, or a zone entered or left: one event."""
    at = _time(record, time_field)
    event = {
        **_common(record),
        "visitor_id": _identity(record, visitor_field),
        "event_type": event_type,
        "timestamp": _text(at),
        "zone_id": _identity(record, "zone_name") if event_type.startswith("ZONE") else None,
        "dwell_ms": 0,
    }
    facts = (
        event["store_id"],
        event["camera_id"],
        event_type,
        event["visitor_id"],
        event["zone_id"],
        event["timestamp"],
    )
    return [_identified(event, *facts)]


def _queue(record: dict[str, Any], abandoned: bool) -> list[dict[str, Any]]:
    """One stay in the billing queue: the joining and the leaving."""
    joined, left = _time(record, "queue_join_ts"), _time(record, "queue_exit_ts")
    if left < joined:
        raise DialectError("queue_exit_ts", "lies before queue_join_ts")
    if record.get("queue_served_ts") is not None and not joined <= _time(record, "queue_served_ts") <= left:
        raise DialectError("queue_served_ts", "does not lie between queue_join_ts and queue_exit_ts")
    visitor_field = "id_token" if record.get("id_token") is not None else "track_id"
    common = {
        **_common(record),
        "visitor_id": _identity(record, visitor_field),
        "zone_id": UNNAMED_QUEUE if record.get("zone_name") is None else _identity(record, "zone_name"),
    }
    position = record.get("queue_position_at_join")
    if position is not None and (not isinstance(position, int) or isinstance(position, bool)):
        raise DialectError("queue_position_at_join", "must be a whole number")
    depth = {} if position is None else {"queue_depth": position}
    join = {
        **common,
        "event_type": "BILLING_QUEUE_JOIN",
        "timestamp": _text(joined),
        "dwell_ms": 0,
        "metadata": {**common["metadata"], **depth},
    }
    leave = {
        **common,
        "event_type": "BILLING_QUEUE_ABANDON" if abandoned else "ZONE_EXIT",
        "timestamp": _text(left),
        "dwell_ms": (left - joined) // _MILLISECOND,
    }
    facts = (common["store_id"], _identity(record, "queue_event_id"))
    return [
        _identified(join, *facts, "join"),
        _identified(leave, *facts, "leave"),
    ]


def _common(record: dict[str, Any]) -> dict[str, Any]:
    """What every record may carry, in our words."""
    store_field = "store_code" if record.get("store_code") is not None else "store_id"
    metadata = {field: record[field] for field in _KEPT if record.get(field) is not None}
    size = metadata.get("group_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise DialectError("group_size", "must be a whole number from 1 on")
    for field in ("group_id", "queue_event_id"):
        if field in metadata:
            metadata[field] = _identity(record, field)
    if "zone_type" in metadata and not isinstance(metadata["zone_type"], str):
        raise DialectError("zone_type", "must be text")
    waited = metadata.get("wait_seconds")
    if waited is not None and (
        not isinstance(waited, int | float) or isinstance(waited, bool) or not 0 <= waited < inf
    ):
        raise DialectError("wait_seconds", "must be a number of seconds, not negative")
    return {
        "store_id": _identity(record, store_field),
        "camera_id": UNNAMED_CAMERA if record.get("camera_id") is None else _identity(record, "camera_id"),
        "is_staff": record.get("is_staff") is not None and _flag(record, "is_staff"),
        "confidence": 1.0 if record.get("confidence") is None else record["confidence"],
        "metadata": metadata,
    }


def _identity(record: dict[str, Any], field: str) -> str:
    """A name: text, or the whole number that a tracker gives."""
    value = record.get(field)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DialectError(field, "is required" if value is None else "must be text or a whole number")


def _flag(record: dict[str, Any], field: str) -> bool:
    value = record.get(field)
    if not isinstance(value, bool):
        raise DialectError(field, "is required" if value is None else "must be true or false")
    return value


def _time(record: dict[str, Any], field: str) -> datetime:
    """The instant, UTC, cut to the millisecond."""
    value = record.get(field)
    if value is None:
        raise DialectError(field, "is required")
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise DialectError(field, "must be an RFC 3339 time with an offset, such as 2026-03-03T14:22:10Z")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DialectError(field, f"is not a time: {error}") from error
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def _identified(event: dict[str, Any], *facts: str | None) -> dict[str, Any]:
    """The event with its id: ``uuid.uuid5`` without the objects that it makes on the way."""
    # A separator that no name may hold, so that ("a", "bc") and ("ab", "c") stay two facts.
    name = "\x1f".join([fact or "" for fact in facts])
    digest = sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    event["event_id"] = f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
    return event


def _check(record: dict[str, Any], event: dict[str, Any]) -> None:
    """Hold an event to our own contract; a fault is reported under the record's field name."""
    try:
        VisitEvent.model_validate(event)
    except ValidationError as error:
        field, reason = as_problem(error)
        raise DialectError(_their_field(record, event, field), reason) from error


def _their_field(record: dict[str, Any], event: dict[str, Any], field: str) -> str:
    """What the record calls a field of ours."""
    moment = _MOMENTS.get(record.get("event_type"))  # type: ignore[arg-type]
    if moment is not None:
        _, visitor_field, time_field = moment
    else:
        visitor_field = "id_token" if record.get("id_token") is not None else "track_id"
        time_field = "queue_join_ts" if event["event_type"] == "BILLING_QUEUE_JOIN" else "queue_exit_ts"
    theirs = {
        "visitor_id": visitor_field,
        "timestamp": time_field,
        "zone_id": "zone_name",
        "store_id": "store_code",
        "metadata.queue_depth": "queue_position_at_join",
    }
    return theirs.get(field, field)
