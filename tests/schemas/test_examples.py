"""Every consumer reads every example: the models, the exported JSON Schema, the workers' reader and the dialect's
adapter.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas import dialects, events, reading
from schemas.events import Event, VisitEvent
from schemas.export import EXPORTED
from schemas.reading import Refusal
from schemas.topics import TOPICS
from tests.schemas.examples import EXAMPLES, invalid, valid

LATEST_MS = reading.epoch_ms(datetime(2026, 11, 20, tzinfo=UTC))
EVENTS = {name: topic.event for name, topic in TOPICS.items() if topic.event is not None}
READERS: dict[str, Any] = {
    "visit-events": reading.read_visit_event,
    "transactions": reading.read_transaction,
    "store-layouts": reading.read_layout,
    "camera-health": reading.read_camera_health,
    "acknowledgements": reading.read_acknowledgement,
    "forecasts": reading.read_forecast,
    "products": reading.read_product,
    "questions": reading.read_question,
}

VALID = [pytest.param(topic, raw, id=f"{topic}/{name}") for topic in EVENTS for name, raw in valid(topic).items()]
DIALECT = [pytest.param(raw, id=name) for name, raw in valid("visit-events", dialect=True).items()]
INVALID = [
    pytest.param(topic, example, id=f"{topic}/{name}") for topic in EVENTS for name, example in invalid(topic).items()
]


def schema_of(topic: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((EXPORTED / f"{EVENTS[topic].__name__}.json").read_bytes()))


def test_every_topic_has_examples() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == EVENTS.keys()
    for topic in EVENTS:
        assert len(valid(topic)) >= 2
        assert len(invalid(topic)) >= 3


def test_every_type_of_visit_event_has_an_example() -> None:
    types = {json.loads(raw)["event_type"] for raw in valid("visit-events").values()}
    assert types == set(reading.EVENT_RANK)


@pytest.mark.parametrize(("topic", "raw"), VALID)
def test_models_read_it_and_write_it_back(topic: str, raw: bytes) -> None:
    event: Event = EVENTS[topic].model_validate_json(raw)
    assert EVENTS[topic].model_validate_json(events.dump(event)) == event


@pytest.mark.parametrize(("topic", "raw"), VALID)
def test_json_schema_takes_it(topic: str, raw: bytes) -> None:
    schema_of(topic).validate(json.loads(raw))


@pytest.mark.parametrize(("topic", "raw"), VALID)
def test_json_schema_takes_what_the_model_writes(topic: str, raw: bytes) -> None:
    written = events.dump(EVENTS[topic].model_validate_json(raw))
    schema_of(topic).validate(json.loads(written))


@pytest.mark.parametrize(("topic", "raw"), [param for param in VALID if param.values[0] in READERS])
def test_the_reader_finds_in_it_what_the_model_does(topic: str, raw: bytes) -> None:
    found = READERS[topic](raw, LATEST_MS)
    event: Any = EVENTS[topic].model_validate_json(raw)
    if topic in ("store-layouts", "camera-health", "acknowledgements", "forecasts", "products", "questions"):
        assert found == event
        return
    fact = found[0] if isinstance(found, list) else found
    assert fact.at == reading.epoch_ms(event.timestamp)
    names = ["store_id"] + (
        ["visitor_id", "camera_id", "event_type", "zone_id", "dwell_ms"] if topic == "visit-events" else []
    )
    assert [getattr(fact, name) for name in names] == [getattr(event, name) for name in names]
    if topic == "visit-events":
        assert fact.event_id == event.event_id
        assert fact.queue_depth == event.metadata.queue_depth
        assert json.loads(bytes(fact.metadata)) == json.loads(raw).get("metadata", {})
    else:
        assert fact.basket_value == event.basket_value
        assert [(line.sku, line.quantity, line.unit_price) for line in fact.lines] == [
            (line.sku, line.quantity, line.unit_price) for line in event.lines
        ]


@pytest.mark.parametrize("raw", DIALECT)
def test_the_second_dialect_becomes_our_events(raw: bytes) -> None:
    translated = dialects.translate(json.loads(raw))
    facts = reading.read_visit_event(raw, LATEST_MS)
    assert translated
    assert isinstance(facts, list)
    assert [fact.event_id for fact in facts] == [event["event_id"] for event in translated]
    for event in translated:
        VisitEvent.model_validate(event)
        schema_of("visit-events").validate(event)


@pytest.mark.parametrize(("topic", "example"), [param for param in INVALID if param.values[0] in READERS])
def test_the_reader_names_the_field(topic: str, example: Any) -> None:
    refusal = READERS[topic](example.raw, LATEST_MS)
    assert isinstance(refusal, Refusal)
    assert refusal.field == example.field
    assert refusal.reason


@pytest.mark.parametrize(("topic", "example"), [param for param in INVALID if param.values[0] not in READERS])
def test_the_model_names_the_field(topic: str, example: Any) -> None:
    with pytest.raises(ValidationError) as error:
        EVENTS[topic].model_validate_json(example.raw)
    assert events.as_problem(error.value)[0] == example.field


@pytest.mark.parametrize(("topic", "example"), [param for param in INVALID if "dialect-" not in str(param.id)])
def test_json_schema_refuses_it_where_it_can(topic: str, example: Any) -> None:
    def no_infinity(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("is no number of JSON")
        return number

    try:
        record = json.loads(example.raw, parse_float=no_infinity)
    except ValueError:
        assert example.schema_can_tell
    else:
        assert schema_of(topic).is_valid(record) is not example.schema_can_tell
