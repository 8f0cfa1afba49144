"""The models as a contract: strict where it matters, open where it must grow, and the same limits for both readers."""

from __future__ import annotations

import inspect
import json
import re
import typing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas import events
from schemas.events import Event, StoreLayout, Transaction, VisitEvent, as_problem, dump
from schemas.topics import TOPICS
from tests.schemas.examples import valid

EVENT: dict[str, Any] = json.loads(valid("visit-events")["zone-enter"])
MODELS = [model for _, model in inspect.getmembers(events, inspect.isclass) if issubclass(model, Event)]
NAMED_TYPES = {name: kind for name, kind in vars(events).items() if typing.get_origin(kind) is typing.Annotated}
# Types with limits for msgspec beside Pydantic's: those that the fast reader uses.
TWINS = {
    name: kind
    for name, kind in NAMED_TYPES.items()
    if any(isinstance(mark, msgspec.Meta) for mark in kind.__metadata__)
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_strict_frozen_and_finite(model: type[Event]) -> None:
    config = model.model_config
    assert (config["strict"], config["frozen"], config["allow_inf_nan"]) == (True, True, False)
    assert model.__doc__


@pytest.mark.parametrize("topic", [topic for topic in TOPICS.values() if topic.event], ids=lambda topic: topic.name)
def test_every_event_has_a_store_and_a_time(topic: Any) -> None:
    fields = topic.event.model_fields
    assert fields[topic.key].is_required()
    assert fields["timestamp"].is_required()


def test_unknown_fields_are_ignored_and_those_of_metadata_kept() -> None:
    event = VisitEvent.model_validate_json(json.dumps({**EVENT, "later": 1, "metadata": {"lens": {"model": "L-2"}}}))
    written = json.loads(dump(event))
    assert "later" not in written
    assert written["metadata"]["lens"] == {"model": "L-2"}


def test_an_event_is_written_as_it_was_read() -> None:
    written = json.loads(dump(VisitEvent.model_validate_json(json.dumps(EVENT))))
    assert written == {**EVENT, "metadata": {"queue_depth": None, **EVENT["metadata"]}}


def test_money_is_exact() -> None:
    receipt = Transaction.model_validate_json(
        '{"store_id": "S", "transaction_id": "T", "timestamp": "2026-03-03T14:22:10Z", "basket_value": "0.1"}'
    )
    assert receipt.basket_value == Decimal("0.1")
    assert json.loads(dump(receipt))["basket_value"] == "0.1"


@pytest.mark.parametrize("kind", sorted(events.ZONE_EVENT_TYPES))
def test_zone_events_name_their_zone(kind: str) -> None:
    assert events.zone_problem(kind, None) == f"zone_id is required for {kind}"
    assert events.zone_problem(kind, "SKINCARE") is None
    with pytest.raises(ValidationError, match=f"zone_id is required for {kind}"):
        VisitEvent.model_validate({**EVENT, "event_type": kind, "zone_id": None})


@pytest.mark.parametrize("kind", sorted(set(typing.get_args(events.EventType)) - events.ZONE_EVENT_TYPES))
def test_other_events_need_none(kind: str) -> None:
    assert VisitEvent.model_validate({**EVENT, "event_type": kind, "zone_id": None}).zone_id is None


def test_a_problem_names_the_first_field_in_words() -> None:
    with pytest.raises(ValidationError) as error:
        VisitEvent.model_validate({**EVENT, "timestamp": "noon", "metadata": {"queue_depth": -1}})
    assert as_problem(error.value) == (
        "timestamp",
        "must be an RFC 3339 time with an offset, such as 2026-03-03T14:22:10Z",
    )
    with pytest.raises(ValidationError) as error:
        VisitEvent.model_validate({**EVENT, "metadata": {"queue_depth": -1}})
    assert as_problem(error.value) == ("metadata.queue_depth", "Input should be greater than or equal to 0")


def test_a_time_may_be_given_as_a_datetime() -> None:
    moment = datetime(2026, 3, 3, 14, 22, 10, tzinfo=UTC)
    assert VisitEvent.model_validate({**EVENT, "timestamp": moment}).timestamp == moment


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_time_zones(zone: str) -> None:
    layout = StoreLayout.model_validate({"store_id": "S", "timestamp": "2026-03-01T00:00:00Z", "time_zone": zone})
    assert layout.time_zone == zone


def test_the_twins_are_those_the_reader_uses() -> None:
    assert TWINS.keys() == {"EventId", "StoreId", "Name", "Timestamp", "Share", "Count", "DwellMs", "Currency", "Gtin"}


@pytest.mark.parametrize("kind", TWINS.values(), ids=TWINS)
def test_limits_for_msgspec_are_those_for_pydantic(kind: Any) -> None:
    """Patterns and limits stand twice in an annotation; a change of one alone must be seen."""
    schema = TypeAdapter(kind).json_schema()
    (meta,) = (mark for mark in kind.__metadata__ if isinstance(mark, msgspec.Meta))
    pattern = schema.get("pattern")
    assert meta.pattern == (pattern and re.sub(r"\$$", r"\\Z", pattern))
    assert (meta.max_length, meta.ge, meta.le) == (
        schema.get("maxLength"),
        schema.get("minimum"),
        schema.get("maximum"),
    )


@given(st.data(), st.sampled_from(sorted(TWINS)))
def test_both_take_the_same_text(data: st.DataObject, name: str) -> None:
    kind = TWINS[name]
    pattern = next((mark.pattern for mark in kind.__metadata__ if isinstance(mark, msgspec.Meta)), None)
    near = st.from_regex(pattern) if pattern else st.integers(-2, 1_000_002)
    value = data.draw(
        near | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
    )
    raw = json.dumps(value).encode()
    try:
        read = TypeAdapter(kind).validate_json(raw, strict=name != "Timestamp")
    except ValidationError:
        with pytest.raises(msgspec.MsgspecError):
            msgspec.json.decode(raw, type=kind)
    else:
        assert msgspec.json.decode(raw, type=kind) == read
