"""Taking facts in, on real Kafka and ClickHouse."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastapi.testclient import TestClient

from aisleflow.settings import Settings
from api.app import create_app
from api.events.bodies import MAX_BODY_BYTES
from tests.api.conftest import insert
from tests.conftest import free_port, running_kafka

ARRIVED = datetime(2026, 3, 3, 14, 22, 11, tzinfo=UTC)


def event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "store_id": "STORE_BLR_002",
        "camera_id": "CAM_ENTRY_01",
        "visitor_id": "VIS_c8a2f1",
        "event_type": "ENTRY",
        "timestamp": "2026-03-03T14:22:10Z",
        "zone_id": None,
        "dwell_ms": 0,
        "is_staff": False,
        "confidence": 0.95,
        "metadata": {"queue_depth": None, "sku_zone": None, "session_seq": 1},
        **changes,
    }


def receipt(**changes: Any) -> dict[str, Any]:
    return {
        "store_id": "STORE_BLR_002",
        "transaction_id": uuid.uuid4().hex,
        "timestamp": "2026-03-03T14:31:00Z",
        "basket_value": "1249.50",
        "currency": "INR",
        **changes,
    }


def read_log(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Everything a topic holds: (key, value)."""
    group = f"{settings.consumer_group}-{uuid.uuid4()}"
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": group, "enable.partition.eof": True}
    )
    try:
        name = settings.topic_prefix + topic
        partitions = consumer.list_topics(name, timeout=5).topics[name].partitions
        consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
        found: list[tuple[bytes | None, bytes | None]] = []
        ended: set[int | None] = set()
        while len(ended) < len(partitions):
            message = consumer.poll(10)
            assert message is not None
            error = message.error()
            if error is None:
                found.append((message.key(), message.value()))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
        return found
    finally:
        consumer.close()


def counts(answer: Any) -> tuple[int, int, int]:
    body = answer.json()
    return body["inserted_events"], body["duplicates"], body["errors"]


def test_the_seeds_empty_batch(api: TestClient) -> None:
    answer = api.post("/events/ingest", json={"events": []})
    assert answer.status_code == 200
    assert answer.json() == {
        "inserted_events": 0,
        "duplicates": 0,
        "errors": 0,
        "error_details": [],
        "processed": None,
    }


def test_what_is_acknowledged_is_on_the_log_as_it_came(api: TestClient, world: Settings) -> None:
    sent = event(metadata={"queue_depth": 2, "kept": {"as": "it came"}})
    answer = api.post("/events/ingest", json={"events": [sent]})
    assert answer.status_code == 200 and counts(answer) == (1, 0, 0)
    assert (b"STORE_BLR_002", sent) in [
        (key, json.loads(value or b"")) for key, value in read_log(world, "visit-events")
    ]


def test_each_event_is_judged_alone(api: TestClient) -> None:
    good, bad = event(), event(confidence=7)
    body = b'{"events": [%s, 3, {"event_id": "\xff"}, %s, null, {}]}' % (
        json.dumps(good).encode(),
        json.dumps(bad).encode(),
    )
    answer = api.post("/events/ingest", content=body)
    assert answer.status_code == 200 and counts(answer) == (1, 0, 5)
    details = answer.json()["error_details"]
    assert [detail["index"] for detail in details] == [1, 2, 3, 4, 5]
    assert details[2]["event_id"] == bad["event_id"] and details[2]["field"] == "confidence"
    assert all(detail["reason"] for detail in details)


def test_the_same_id_is_a_duplicate_in_one_batch_and_in_the_next(api: TestClient) -> None:
    first = event()
    again = {**first, "event_id": first["event_id"].upper(), "visitor_id": "somebody else"}
    assert counts(api.post("/events/ingest", json={"events": [first, again]})) == (1, 1, 0)
    assert counts(api.post("/events/ingest", json=[again])) == (0, 1, 0)


def test_the_same_id_is_a_duplicate_a_month_apart(api: TestClient, world: Settings) -> None:
    old = event()
    insert(world, "event_ids", [{"event_id": uuid.UUID(old["event_id"]), "received_at": datetime.now(UTC)}])
    assert counts(api.post("/events/ingest", json={"events": [old, event()]})) == (1, 1, 0)


def test_requests_at_once_count_one_fact_once(api: TestClient) -> None:
    batch = {"events": [event() for _ in range(50)]}
    barrier = threading.Barrier(6)

    def send(_: int) -> tuple[int, int, int]:
        barrier.wait()
        return counts(api.post("/events/ingest", json=batch))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert [sum(column) for column in zip(*answers, strict=True)] == [50, 250, 0]


def test_the_second_dialect_is_taken(api: TestClient) -> None:
    record = {
        "event_type": "queue_completed",
        "queue_event_id": uuid.uuid4().hex,
        "store_code": "S2",
        "track_id": 7,
        "queue_join_ts": "2026-03-03T14:00:00Z",
        "queue_exit_ts": "2026-03-03T14:05:00Z",
    }
    assert counts(api.post("/events/ingest", json={"events": [record, record]})) == (1, 1, 0)


def test_many_small_requests_at_once_count_right(api: TestClient) -> None:
    sent = [event() for _ in range(12)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: api.post("/events/ingest", json={"events": [one]}), sent * 3))
    totals = [sum(column) for column in zip(*map(counts, answers), strict=True)]
    assert totals == [12, 24, 0]


def test_transactions(api: TestClient, world: Settings) -> None:
    one, other = receipt(), receipt(store_id="OTHER", basket_value=12.5)
    same_number = receipt(store_id="OTHER", transaction_id=one["transaction_id"])
    answer = api.post("/transactions/ingest", json={"transactions": [one, other, same_number, one, {"store_id": "x"}]})
    assert answer.status_code == 200 and counts(answer) == (3, 1, 1)
    assert one in [json.loads(value or b"") for _, value in read_log(world, "transactions")]


def test_layout(api: TestClient, world: Settings) -> None:
    layout = {"store_id": "S9", "timestamp": "2026-03-01T00:00:00Z", "time_zone": "Asia/Kolkata", "currency": "INR"}
    assert api.put("/stores/S9/layout", json=layout).json()["store_id"] == "S9"
    assert (b"S9", layout) in [(key, json.loads(value or b"")) for key, value in read_log(world, "store-layouts")]
    for wrong in ({**layout, "store_id": "S8"}, {**layout, "time_zone": "Mars/Olympus"}, [], {}):
        answer = api.put("/stores/S9/layout", json=wrong)
        assert answer.status_code == 422 and answer.json()["errors"], wrong


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"events": [', 400),
        (b'{"events": [NaN]}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"{}", 422),
        (b"3", 422),
        (b"null", 422),
        (b'{"events": {}}', 422),
        (b'{"events": null}', 422),
        (b'{"events": "x"}', 422),
        (b"[" + b",".join([b"{}"] * 501) + b"]", 413),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bodies_that_hold_no_batch(api: TestClient, body: bytes, status: int) -> None:
    answer = api.post("/events/ingest", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status and answer.json()["detail"]


def test_a_body_without_declared_length_is_limited_too(api: TestClient) -> None:
    answer = api.post("/events/ingest", content=iter([b" " * 1_000_000] * 6))
    assert answer.status_code == 413


def test_a_compressed_body_is_refused(api: TestClient) -> None:
    assert api.post("/events/ingest", content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 415


def committed_up_to_the_end(world: Settings, topics: list[str]) -> None:
    """What a worker does when it has processed all there is."""
    consumer = Consumer(
        {"bootstrap.servers": world.kafka_bootstrap, "group.id": world.consumer_group, "enable.auto.commit": False}
    )
    names = [world.topic_prefix + topic for topic in topics]
    places = [TopicPartition(n, p) for n in names for p in consumer.list_topics(n, timeout=5).topics[n].partitions]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=5)[1]
    consumer.commit(offsets=[place for place in places if place.offset], asynchronous=False)
    consumer.close()


def test_waiting_until_processed(api: TestClient, world: Settings) -> None:
    batch = {"events": [event(), event(store_id="ANOTHER")]}
    late = api.post("/events/ingest?wait=processed&timeout_s=0.3", json=batch)
    assert late.status_code == 202 and late.json()["processed"] is False and counts(late) == (2, 0, 0)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.post, "/events/ingest?wait=processed&timeout_s=20", json=batch)
        time.sleep(0.5)
        assert not waiting.done(), "duplicates wait for the workers like new facts"
        committed_up_to_the_end(world, ["visit-events"])
        answer = waiting.result(10)
    assert answer.status_code == 200 and answer.json()["processed"] is True and counts(answer) == (0, 2, 0)
    empty = api.post("/events/ingest?wait=processed", json={"events": []})
    assert empty.status_code == 200 and empty.json()["processed"] is True


def test_kafka_away_is_a_503_that_says_what_is_on_the_log(clickhouse: str, make_world: Callable[..., Settings]) -> None:
    sent = event()
    app = create_app(make_world(None, clickhouse), wall=False)
    with TestClient(app, base_url="http://127.0.0.1") as alone:
        answer = alone.post("/events/ingest", json={"events": [sent]})
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        assert answer.json()["not_acknowledged"] == [sent["event_id"]] and answer.json()["acknowledged"] == []
        again = alone.post("/events/ingest", json={"events": []})
        assert again.status_code == 200, "nothing to publish, nothing to fail"


def test_kafka_comes_back(clickhouse: str, make_world: Callable[..., Settings], tmp_path: Path) -> None:
    """The same process publishes again, without a restart, and the batch sent again leaves each event once on the
    log.
    """
    port, batch = free_port(), {"events": [event() for _ in range(3)]}
    with running_kafka(tmp_path / "kafka", port) as address:
        settings = make_world(address, clickhouse)
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as alone:
        assert alone.post("/events/ingest", json=batch).status_code == 503
        with running_kafka(tmp_path / "kafka", port):
            deadline = time.monotonic() + 30
            while (answer := alone.post("/events/ingest", json=batch)).status_code == 503:
                assert time.monotonic() < deadline
            assert counts(answer) == (3, 0, 0)
            assert counts(alone.post("/events/ingest", json=batch)) == (0, 3, 0)
            sent = [json.loads(value or b"")["event_id"] for _, value in read_log(settings, "visit-events")]
            assert sorted(sent) == sorted(item["event_id"] for item in batch["events"])


def test_clickhouse_away_publishes_nothing(kafka: str, make_world: Callable[..., Settings]) -> None:
    settings = make_world(kafka, None)
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as alone:
        answer = alone.post("/events/ingest", json={"events": [event()]})
    assert answer.status_code == 503 and answer.json()["part"] == "clickhouse"
    assert read_log(settings, "visit-events") == []
