"""A thousand bad inputs through HTTP and through Kafka: each refused with its reason or buried with its bytes, and
every good event beside them counted.
"""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from schemas.topics import VISIT_EVENTS
from tests.system.conftest import Workers
from tests.system.truth import Feed

pytestmark = pytest.mark.system
SQL = "'; DROP TABLE events; --"
HUGE = "x" * 5_000
CHANCE = random.Random(5)
# Names are plain text: SQL in one is a strange name, and nothing else.
NAMES = ("camera_id", "visitor_id", "zone_id")
BAD_VALUES: dict[str, list[Any]] = {
    "event_id": ["", "7", 7, None, SQL, HUGE, "0" * 36, "\0" * 36, [], {}, True],
    "store_id": ["", 7, None, SQL, HUGE, "A\0", "A\n", "../etc", " A", [], {}, "é"],
    "camera_id": ["", 7, None, HUGE, "A\0", "A\n", "\x7f", [], {}, False],
    "visitor_id": ["", 7, None, HUGE, "A\0", "A\x1b[2J", [], {}],
    "event_type": ["", "entry2", "TELEPORT", "ENTRY ", SQL, HUGE, "\0", 0, None, [], {}],
    "timestamp": [
        *("", "now", SQL, HUGE, 0, 1772547730, None, [], {}, "2026-03-03", "2026-03-03T10:00:00", "2026-13-03T10:00:00Z"),
        *("9999-12-31T23:59:59Z", "3026-03-03T10:00:00Z", "1999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-03-03T25:00:00Z"),
        *("2026-02-30T10:00:00Z", "20260303T100000Z", "2026-03-03T10:00:00+99:00"),
    ],
    "zone_id": ["", 7, HUGE, "A\0", "A\r\n", [], {}, True],
    "dwell_ms": [-1, -(10**12), 10**18, 1.5, "30000", SQL, [], {}, True, None],
    "is_staff": ["yes", "false", 0, 1, SQL, [], {}, None],
    "confidence": [-0.1, 1.1, 1e308, "0.9", SQL, None, [], {}, True],
    "metadata": [7, SQL, HUGE, [], True, {"queue_depth": -1}, {"queue_depth": "3"}, {"queue_depth": 10**9}, {"queue_depth": 2.5},
                 {"session_seq": SQL}, {"session_seq": []}, {"sku_zone": "\0"}, {"sku_zone": 3}, {"blob": "x" * 9_000}],
}  # fmt: skip
REQUIRED = ("event_id", "store_id", "camera_id", "visitor_id", "event_type", "timestamp", "confidence")


def good(store: str, visitor: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.UUID(int=CHANCE.getrandbits(128), version=4)),
        "store_id": store,
        "camera_id": "C1",
        "visitor_id": visitor,
        "event_type": "ENTRY",
        "timestamp": "2026-03-03T10:00:00Z",
        "zone_id": "A",
        "dwell_ms": 0,
        "is_staff": False,
        "confidence": 0.9,
        "metadata": {"queue_depth": None},
        **changes,
    }


def bad_events(store: str) -> Iterator[dict[str, Any]]:
    """Events with one thing wrong, or two; for ever."""
    faults = [(name, value) for name, values in BAD_VALUES.items() for value in values]
    for name, value in faults:
        yield good(store, "BAD", **{name: value})
    for name in REQUIRED:
        yield {key: value for key, value in good(store, "BAD").items() if key != name}
    for kind in ("ZONE_ENTER", "ZONE_EXIT", "ZONE_DWELL"):
        yield good(store, "BAD", event_type=kind, zone_id=None)
    while True:
        yield good(store, "BAD", **dict(CHANCE.sample(faults, 2)))


def not_json(store: str) -> Iterator[bytes]:
    """Bytes that are no JSON object."""
    whole = json.dumps(good(store, "BAD")).encode()
    for length in range(1, len(whole), 3):
        yield whole[:length]
    yield from (
        b"",
        b" ",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"\x00",
        b"\xff\xfe",
        b"{}",
        b"[" * 50_000,
        b'{"a":' * 50_000,
    )
    yield from (
        whole.replace(b'"', b"'"),
        whole[:30] + b"\x00" + whole[30:],
        whole + whole,
        b"\xef\xbb\xbf" + whole,
        SQL.encode(),
    )


@pytest.fixture(scope="module", autouse=True)
def worker(workers: Workers) -> None:
    workers.start()


def test_through_http(world: Settings, api: TestClient, workers: Workers) -> None:
    store, strange = "HTTP", [good("HTTP", f"G-{name}", **{name: SQL}) for name in NAMES]
    bad = list(itertools.islice(bad_events(store), 1000))
    goods = [good(store, f"G{number}") for number in range(100)] + strange
    mixed = [(event, True) for event in goods] + [(event, False) for event in bad]
    CHANCE.shuffle(mixed)
    inserted = 0
    for first in range(0, len(mixed), 250):
        batch = mixed[first : first + 250]
        answer = api.post("/events/ingest", json={"events": [event for event, _ in batch]})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        inserted += told["inserted_events"]
        assert [detail["index"] for detail in told["error_details"]] == [
            n for n, (_, is_good) in enumerate(batch) if not is_good
        ]
        assert all(detail["reason"] for detail in told["error_details"])
        assert told["errors"] == len(told["error_details"])
    assert inserted == len(goods)
    for body in not_json(store):
        answer = api.post("/events/ingest", content=body)
        assert answer.status_code in (400, 413, 422) or answer.json().get("inserted_events") == 0, body[:50]
    workers.catch_up()
    assert_counted(world, store, len(goods))


def test_through_kafka(world: Settings, workers: Workers) -> None:
    store = "KAFKA"
    bad = [*not_json(store), *(json.dumps(event).encode() for event in itertools.islice(bad_events(store), 900))]
    assert len(bad) >= 1000
    goods = [good(store, f"G{number}") for number in range(100)] + [
        good(store, f"G-{name}", **{name: SQL}) for name in NAMES
    ]
    values = [*bad, *(json.dumps(event).encode() for event in goods)]
    CHANCE.shuffle(values)
    feed = Feed(world)
    feed.send((VISIT_EVENTS.name, store, value) for value in values)
    feed.flush()
    workers.catch_up()
    assert_counted(world, store, len(goods))
    buried = read_all(world, f"{VISIT_EVENTS.name}.dlq")
    assert Counter(value for value, _, _ in buried) == Counter(bad)
    assert {key for _, key, _ in buried} == {store.encode()}
    assert all(headers["error"] and headers["topic"] and headers["offset"].isdigit() for _, _, headers in buried)


def assert_counted(world: Settings, store: str, expected: int) -> None:
    """Every good event is a visit of its own; SQL in a name is just a name."""
    with clickhouse_client(world) as client:
        query = "SELECT count() FROM visits FINAL WHERE store_id = %(store)s AND is_visitor"
        assert client.query(query, {"store": store}).result_rows == [(expected,)]
        query = "SELECT countIf(camera_id = %(sql)s), countIf(visitor_id = %(sql)s), countIf(zone_id = %(sql)s) FROM events FINAL"
        found = client.query(query + " WHERE store_id = %(store)s", {"store": store, "sql": SQL}).result_rows
        assert found == [(1, 1, 1)]


def read_all(settings: Settings, topic: str) -> list[tuple[bytes, bytes | None, dict[str, bytes]]]:
    """(value, key, headers) of every record of a topic of one partition."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": f"{uuid.uuid4()}", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(settings.topic_prefix + topic, 0, 0)])
    found = []
    while True:
        message = consumer.poll(30)
        assert message is not None, "Kafka did not answer"
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            consumer.close()
            return found
        found.append((message.value() or b"", message.key(), dict(message.headers() or [])))
