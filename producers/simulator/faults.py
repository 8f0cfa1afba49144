"""What goes wrong between a device and the log, on demand: all seeded, all pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any, NamedTuple

import orjson

from producers.simulator.shops import Shop
from producers.simulator.traffic import Fact
from schemas.topics import VISIT_EVENTS

MINUTE_MS = 60_000


class Message(NamedTuple):
    """One record as it is sent: when (ms since 1970), to which topic, under which key, and its bytes."""

    at_ms: int
    topic: str
    key: str
    value: bytes


@dataclass(frozen=True)
class Faults:
    """How often each thing goes wrong: a share of the records, or for ``dead_camera`` of the shop's days."""

    duplicates: float = 0.02
    """Sent again, the same bytes, up to 20 minutes later."""
    changed: float = 0.003
    """Sent again under the same id with other content: must change nothing."""
    late: float = 0.02
    """Sent up to half an hour late, one in twenty of them up to six hours."""
    shuffled: float = 0.05
    """Held back up to 10 seconds, so that neighbours overtake it."""
    malformed: float = 0.004
    """Accompanied by a record that nobody can read, often under the good record's id."""
    dead_camera: float = 0.15
    """A camera falls silent during the day and stays so."""

    @classmethod
    def parse(cls, text: str) -> Faults:
        """``all``, ``none``, or a list such as ``late=0.1,malformed=0.01`` where what is not named does not happen.

        Raises:
            ValueError: an unknown fault, or a share that is not within 0 to 1.
        """
        if text == "all":
            return cls()
        known = {field.name: 0.0 for field in fields(cls)}
        for part in text.split(",") if text != "none" else ():
            name, _, share = part.strip().partition("=")
            if name not in known:
                raise ValueError(f"unknown fault {name!r}; there are: {', '.join(known)}")
            known[name] = float(share) if share else getattr(cls, name)
            if not 0 <= known[name] <= 1:
                raise ValueError(f"the share of {name} must be within 0 to 1")
        return cls(**known)


NO_FAULTS = Faults.parse("none")


def send(shop: Shop, facts: Sequence[Fact], faults: Faults, rng: Random) -> list[Message]:
    """The facts of one shop and day as they are sent, in sending order."""
    return sorted(_messages(shop, _without_dead_camera(shop, facts, faults, rng), faults, rng))


def _without_dead_camera(shop: Shop, facts: Sequence[Fact], faults: Faults, rng: Random) -> Sequence[Fact]:
    if not facts or rng.random() >= faults.dead_camera:
        return facts
    camera = f'"camera_id":"{rng.choice(shop.cameras)}"'.encode()
    died = rng.randrange(facts[0].at_ms, facts[-1].at_ms + 1)
    return [fact for fact in facts if fact.at_ms < died or camera not in fact.value]


def _messages(shop: Shop, facts: Sequence[Fact], faults: Faults, rng: Random) -> Iterator[Message]:
    key = shop.store_id
    late, shuffled = faults.late, faults.late + faults.shuffled
    duplicates = shuffled + faults.duplicates
    changed = duplicates + faults.changed
    malformed = changed + faults.malformed
    for fact in facts:
        at, topic, value = fact
        luck = rng.random()
        if luck < late:
            longest = 360 * MINUTE_MS if rng.random() < 0.05 else 30 * MINUTE_MS
            at += rng.randrange(1_000, longest)
        elif luck < shuffled:
            at += rng.randrange(10_000)
        elif luck < duplicates:
            yield Message(at + rng.randrange(20 * MINUTE_MS), topic, key, value)
        elif luck < changed:
            if topic == VISIT_EVENTS.name:
                yield Message(at + rng.randrange(1, 20 * MINUTE_MS), topic, key, _changed(value, rng))
        elif luck < malformed:
            yield Message(max(0, at + rng.randrange(-1_000, 1_000)), topic, key, malform(value, rng))
        yield Message(at, topic, key, value)


def _changed(value: bytes, rng: Random) -> bytes:
    """The same id, something else said."""
    record = orjson.loads(value)
    if "queue_event_id" in record:
        gave_up = not record["abandoned"]
        record |= {"abandoned": gave_up, "event_type": "queue_abandoned" if gave_up else "queue_completed"}
    elif "event_id" in record:
        other = [
            {"event_type": "EXIT"},
            {"visitor_id": f"{record['visitor_id']}-twin"},
            {"is_staff": True},
            {"dwell_ms": 7_200_000},
            {"zone_id": "NOWHERE"},
            {"metadata": {"queue_depth": 99}},
            {"event_id": record["event_id"].upper(), "confidence": 0.01},
        ]
        record |= rng.choice(other)
    else:
        record["confidence"] = 0.5
    return orjson.dumps(record)


def malform(value: bytes, rng: Random) -> bytes:
    """A record that cannot be read, made from a good one. It holds no line break, so a file of lines can hold it."""
    return rng.choice(_WAYS)(value, rng)


def _with(**changes: Any) -> Callable[[bytes, Random], bytes]:
    return lambda value, rng: orjson.dumps(orjson.loads(value) | changes)


def _without(*names: str) -> Callable[[bytes, Random], bytes]:
    return lambda value, rng: orjson.dumps({k: v for k, v in orjson.loads(value).items() if k not in names})


def _at(time: object) -> Callable[[bytes, Random], bytes]:
    """The same record with this in place of its time, whatever its dialect calls it."""
    names = ("timestamp", "event_timestamp", "event_time", "queue_join_ts")
    return lambda value, rng: orjson.dumps({k: time if k in names else v for k, v in orjson.loads(value).items()})


_WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    lambda value, rng: value[: rng.randrange(1, len(value))],
    lambda value, rng: b"[" + value + b"]",
    lambda value, rng: value.replace(b'"', b"'"),
    lambda value, rng: value[:20] + b"\xff\xfe" + value[20:],
    lambda value, rng: b"\x00" * rng.randrange(1, 64),
    lambda value, rng: b"null",
    lambda value, rng: b'{"event_id":' * 400,
    _with(event_id="not-a-uuid", transaction_id=None, id_token=None, track_id=None),
    _with(store_id="'; DROP TABLE events; --", store_code="'; DROP TABLE events; --"),
    _with(visitor_id="V\0\0", transaction_id="T\0", id_token="\0", track_id="\0"),  # noqa: S106 - a visitor's token
    _with(visitor_id="V" * 100_000, transaction_id="T" * 100_000, id_token="V" * 100_000, track_id="V" * 100_000),
    _with(event_type="TELEPORT", basket_value="a lot"),
    _with(event_type=7, basket_value=[1]),
    _with(confidence=1.5, currency="rupees"),
    _with(confidence="high", lines="none"),
    _with(is_staff="yes", lines=[{"sku": "x"}]),
    _at("2999-01-01T00:00:00Z"),
    _at("1970-01-01T00:00:00Z"),
    _at("2026-13-45T25:61:61Z"),
    _at("2026-03-03T14:22:10"),
    _at(1772547730),
    _at(None),
    _without("timestamp", "event_timestamp", "event_time", "queue_exit_ts"),
    _without("store_id", "store_code"),
)
