"""A slow worker is not a silent shop: silence is judged at the moment up to which everything on the log has been read."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import clickhouse_client, kafka_producer, partition_of
from aisleflow.settings import Settings
from schemas.topics import STORE_PARTITIONS, VISIT_EVENTS
from stream_processors.anomaly_watch import AnomalyWatch
from stream_processors.engine.liveness import GroupLag
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History

MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse)


def publish(settings: Settings, count: int) -> None:
    producer = kafka_producer(settings)
    for _ in range(count):
        producer.produce(settings.topic_prefix + VISIT_EVENTS.name, b"{}", b"S")
    producer.flush()


def test_what_was_on_the_log_and_is_confirmed_has_been_read(settings: Settings) -> None:
    place = (settings.topic_prefix + VISIT_EVENTS.name, partition_of("S", STORE_PARTITIONS))
    group = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group}
    worker = Consumer(group)

    def confirm(offset: int) -> None:
        worker.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)

    lag = GroupLag(settings)
    confirm(0)
    began = time.time()
    assert lag.of([place]) == 0
    empty = lag.read_until
    assert empty is not None and empty >= began
    publish(settings, 5)
    assert lag.of([place]) == 5 and lag.read_until == empty, "it waits since some moment after that"
    before = time.time()
    publish(settings, 5)
    assert lag.of([place]) == 10 and lag.read_until == empty
    confirm(5)
    assert lag.of([place]) == 5 and empty < lag.read_until <= before, "the first five are read, and no more"
    confirm(10)
    assert lag.of([place]) == 0 and lag.read_until > before
    other = (place[0], (place[1] + 1) % STORE_PARTITIONS)
    publish(settings, 1)
    lag.of([place, other])
    assert lag.read_until is None, "nobody knows yet of partitions just assigned"
    worker.close()


def test_a_shop_is_silent_only_up_to_what_has_been_read(settings: Settings) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    last = now - 15 * MINUTE
    producer = kafka_producer(settings)
    everything = set(range(STORE_PARTITIONS))
    with clickhouse_client(settings) as client:
        client.insert("store_feed", [["S", last, last]], ["store_id", "last_event_timestamp", "last_received_at"])
        watch = AnomalyWatch(settings, ClickHouseSink(client), History(client), producer, set())

        def found() -> list[tuple[datetime, bool]]:
            sql = "SELECT detected_at, closed_at IS NULL FROM anomalies FINAL WHERE type = 'STALE_FEED'"
            return [tuple(row) for row in client.query(sql).result_rows]

        # The worker has read up to six minutes ago only: what waits may well be of this shop.
        watch.look_for_silence(everything, int((now - 6 * MINUTE).timestamp() * 1000))
        assert found() == []
        watch.look_for_silence(everything, int(now.timestamp() * 1000))
        ((detected_at, is_open),) = found()
        assert is_open and detected_at.replace(tzinfo=UTC) == now


async def test_answers_and_attempts_are_signs_of_life(settings: Settings) -> None:
    """A worker that waits for a slow ClickHouse must not end itself as stuck."""
    signs: list[float] = []
    answers = iter([OSError("cut off"), 7])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        assert len(signs) == 1
        return answer

    with clickhouse_client(settings) as client:
        sink = ClickHouseSink(client, lambda: signs.append(time.monotonic()))
        assert await sink.until_answered(call) == 7
    assert len(signs) == 2
