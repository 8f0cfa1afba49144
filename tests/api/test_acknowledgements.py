"""Who has seen an anomaly: from the request over the log into the answer and onto the wall."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client, partition_of
from aisleflow.settings import Settings
from schemas.reading import Refusal, read_acknowledgement
from schemas.topics import ACKNOWLEDGEMENTS, STORE_PARTITIONS
from stream_processors.derivation import ACKNOWLEDGEMENT_COLUMNS, acknowledgement_rows, read
from stream_processors.engine.scheduler import RecordBatch
from tests.api.rows import NOON, anomaly, feed, fill

LATEST_MS = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)


@pytest.fixture(scope="module", autouse=True)
def shop(world: Settings) -> None:
    """A shop with a queue."""
    fill(world, store_feed=[feed("S1", NOON), feed("S2", NOON)], anomalies=[anomaly("S1", 0)])


def the_anomaly(api: TestClient) -> dict[str, Any]:
    (found,) = api.get("/stores/S1/anomalies").json()["anomalies"]
    return cast(dict[str, Any], found)


def post(api: TestClient, body: Any, store: str = "S1", name: str | None = None) -> Any:
    content = body if isinstance(body, str) else json.dumps(body)
    name = name or the_anomaly(api)["anomaly_id"]
    return api.post(f"/stores/{store}/anomalies/{name}/acknowledge", content=content)


def on_the_log(settings: Settings) -> list[Any]:
    """Every acknowledgement that Kafka holds for the shop, as Kafka gives it."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "reader of acknowledgements"})
    place = TopicPartition(settings.topic_prefix + ACKNOWLEDGEMENTS.name, partition_of("S1", STORE_PARTITIONS), 0)
    _, high = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    records = consumer.consume(high, timeout=10) if high else []
    consumer.close()
    return records


def derive(settings: Settings) -> None:
    """What a worker does with them."""
    records = [
        SimpleNamespace(offset=one.offset(), key=one.key(), value=one.value(), timestamp=one.timestamp()[1], headers=())
        for one in on_the_log(settings)
    ]
    place = SimpleNamespace(topic=settings.topic_prefix + ACKNOWLEDGEMENTS.name, partition=0)
    cycle = read([cast(RecordBatch, SimpleNamespace(tp=place, records=records))], settings.topic_prefix, 600_000, 1)
    assert not cycle.refused
    with clickhouse_client(settings) as client:
        rows = [list(row) for row in acknowledgement_rows(cycle.acknowledgements)]
        moment = lambda seconds: seconds and datetime.fromtimestamp(seconds, UTC)  # noqa: E731
        for row in rows:
            row[3], row[6], row[7] = (moment(row[place]) for place in (3, 6, 7))
        client.insert("acknowledgements", rows, ACKNOWLEDGEMENT_COLUMNS)


def test_from_the_request_to_the_answer(api: TestClient, world: Settings) -> None:
    assert the_anomaly(api)["acknowledged"] is None
    answer = post(api, {"by": "Asha", "note": "second till opens"})
    assert answer.status_code == 200, answer.text
    (record,) = on_the_log(world)
    fact = read_acknowledgement(record.value(), LATEST_MS)
    assert not isinstance(fact, Refusal) and record.key() == b"S1"
    assert (fact.event_id, fact.by, fact.note) == (answer.json()["event_id"], "Asha", "second till opens")

    assert post(api, {"by": "Asha", "note": "second till opens"}).json()["event_id"] == fact.event_id, "one fact"
    derive(world)
    seen = the_anomaly(api)["acknowledged"]
    assert (seen["event_id"], seen["by"], seen["note"], seen["until"]) == (fact.event_id, "Asha", fact.note, None)
    known = len(on_the_log(world))
    assert post(api, {"by": "Asha", "note": "second till opens"}).json() == seen
    assert len(on_the_log(world)) == known, "what holds already is not published again"

    until = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    assert post(api, {"by": "Ben", "until": until.isoformat()}).status_code == 200
    derive(world)
    seen = the_anomaly(api)["acknowledged"]
    assert seen["by"] == "Ben" and datetime.fromisoformat(seen["until"]) == until, "the newest holds"
    assert post(api, {"by": "Asha", "note": "second till opens"}).json()["event_id"] != fact.event_id, "said anew"
    derive(world)
    assert the_anomaly(api)["acknowledged"]["by"] == "Asha"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "by"),
        ({"by": ""}, 422, "by"),
        ({"by": "A" * 65}, 422, "by"),
        ({"by": "Asha\nCRITICAL"}, 422, "by"),
        ({"by": "Asha", "note": "n" * 501}, 422, "note"),
        ({"by": "Asha", "until": "tomorrow"}, 422, "until"),
        ({"by": "Asha", "until": "2026-03-03T12:00:00Z"}, 422, "until"),
        ('{"by": ', 400, None),
        ('{"by": "' + "A" * 9000 + '"}', 413, None),
    ],
)
def test_what_is_refused(api: TestClient, body: Any, status: int, field: str | None) -> None:
    answer = post(api, body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


def test_unknown_shops_and_anomalies(api: TestClient) -> None:
    name = the_anomaly(api)["anomaly_id"]
    asked = [("NOWHERE", name), ("S2", name), ("S1", "0" * 32), ("S1", "' OR 1")]
    assert [post(api, {"by": "Asha"}, store, one).status_code for store, one in asked] == [404] * 4
