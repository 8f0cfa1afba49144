"""What a worker tells of itself, on real parts; and that nothing of it can hold the stream back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from aisleflow import metrics
from aisleflow.clients import clickhouse_client, kafka_producer, partition_of
from aisleflow.settings import Settings
from schemas.topics import STORE_PARTITIONS, VISIT_EVENTS
from stream_processors.engine.health import HealthReport, worker_name
from stream_processors.engine.liveness import GroupLag


@pytest.fixture
def settings(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse)


def rows(settings: Settings, columns: str, table: str) -> list[Any]:
    with clickhouse_client(settings) as client:
        return list(client.query(f"SELECT {columns} FROM {table} FINAL ORDER BY at").result_rows)


def test_tells_its_work_and_how_far_behind_each_partition_is(settings: Settings) -> None:
    topic = settings.topic_prefix + VISIT_EVENTS.name
    partition = partition_of("S", STORE_PARTITIONS)
    empty = (partition + 1) % STORE_PARTITIONS
    producer = kafka_producer(settings)
    for _ in range(5):
        producer.produce(topic, b"{}", b"S")
    producer.flush()
    group = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group}
    Consumer(group).commit(offsets=[TopicPartition(topic, partition, 3)], asynchronous=False)
    report = HealthReport(settings, "worker-0@here", lambda: [(topic, partition), (topic, empty)], GroupLag(settings))
    report.report()
    metrics.RECORDS.labels("visit-events").inc(100)
    metrics.DEAD_LETTERS.labels("visit-events", "read").inc(3)
    metrics.ROWS.labels("events").inc(70)
    metrics.DUPLICATES.labels("visit-events").inc(27)
    for seconds in (0.1, 0.2, 0.9):
        report.cycle(seconds)
    time.sleep(0.3)
    report.report()
    work = "worker, records, invalid, duplicates, rows_written, cycles, cycle_p50_ms, cycle_max_ms, rss_bytes > 1000000"
    assert rows(settings, work, "worker_health")[1] == ("worker-0@here", 100, 3, 27, 70, 3, 200, 900, 1)
    told = rows(settings, "topic, partition, worker, lag_records, behind_ms", "topic_lag")
    assert {row[:4] for row in told} == {
        (topic, partition, "worker-0@here", 2),
        (topic, empty, "worker-0@here", 0),
    }
    assert [row[4] for row in told if row[1] == empty] == [0, 0]
    before, after = (row[4] for row in told if row[1] == partition)
    assert 300 <= after - before <= 60_000, "the record waits on"


def test_what_cannot_be_written_is_told_by_the_next_row(
    kafka: str, clickhouse: str, make_world: Callable[..., Settings]
) -> None:
    away, there = make_world(kafka, None), make_world(None, clickhouse)
    report = HealthReport(away, worker_name(7), list, GroupLag(away))
    metrics.RECORDS.labels("visit-events").inc(11)
    report.cycle(0.5)
    report.report()
    report._settings = there
    report.report()
    ((worker, records, cycles),) = rows(there, "worker, records, cycles", "worker_health")
    assert worker.startswith("worker-7@") and records >= 11 and cycles == 1
