"""Real workers on real Kafka and ClickHouse: killed, joined by others, and made to read everything again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.app import create_app
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from tests.conftest import answers, free_port
from tests.system.truth import Feed, caught_up, group_lag, places, wrong_answers

pytestmark = pytest.mark.system
# Among them two with the other make of cameras and one without a layout.
SHOPS = make_shops(10, seed=3)[4:]
DAYS = (date(2026, 3, 2), date(2026, 3, 3))
FACT_TABLES = ("events", "event_ids", "transactions", "store_layouts")
DERIVED_TABLES = ("visits", "zone_visits", "queue_depth")


class Workers:
    """Worker processes, each with its own log; all end with the test."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self._settings, self._logs = settings, logs
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        port = free_port()
        own = self._settings.model_copy(update={"metrics_port": port})
        with (self._logs / f"worker-{port}.log").open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "aisleflow", "worker"],
                env={**os.environ, **environment(own)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(worker)
        deadline = time.monotonic() + 60
        while not answers(port, "/metrics"):
            assert worker.poll() is None, "the worker ended at its start"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return worker

    def stop(self) -> None:
        for worker in self.running:
            worker.terminate()
        for worker in self.running:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._logs.glob("*.log"))


@pytest.fixture(scope="module")
def workers(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    found = Workers(world, tmp_path_factory.mktemp("workers"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def ask(world: Settings) -> Iterator[Any]:
    with TestClient(create_app(world, wall=False), base_url="http://127.0.0.1") as client:
        yield lambda path: client.get(path).json()


@pytest.fixture(scope="module")
def feed(world: Settings) -> Feed:
    return Feed(world)


def test_workers_are_killed_and_every_answer_is_right(world: Settings, workers: Workers, feed: Feed, ask: Any) -> None:
    records = [(sent.topic, sent.key, sent.value) for sent in stream(SHOPS, DAYS, 3, faults=Faults())]
    assert len(records) > 30_000
    feed.send_layouts(SHOPS)
    first, second = workers.start(), workers.start()
    sending = threading.Thread(target=feed.send, args=(records,), kwargs={"per_second": 5_000})
    sending.start()
    wait_until_sent(feed, len(records) // 4)
    first.kill()
    workers.start()
    wait_until_sent(feed, len(records) // 2)
    second.kill()
    sending.join()
    feed.flush()
    try:
        caught_up(world, 90)
    except TimeoutError as error:
        raise AssertionError(workers.said()) from error
    oracle = feed.world()
    assert oracle.duplicates > 100
    assert oracle.refused > 50
    assert wrong_answers(oracle, ask) == []


def test_the_topics_read_again_from_the_start_change_nothing(world: Settings, workers: Workers, feed: Feed, ask: Any) -> None:
    workers.stop()
    before = contents(world)
    rewind(world)
    assert group_lag(world) > len(feed.sent) * 0.9
    workers.start()
    try:
        caught_up(world, 90)
    except TimeoutError as error:
        raise AssertionError(workers.said()) from error
    after = contents(world)
    assert [table for table in before if after[table] != before[table]] == []
    assert wrong_answers(feed.world(), ask) == []


def wait_until_sent(feed: Feed, count: int) -> None:
    while len(feed.sent) < count:
        time.sleep(0.05)


def rewind(settings: Settings) -> None:
    """Let the group begin again at the first offset of every partition; it must have no members."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group})
    starts = [TopicPartition(place.topic, place.partition, 0) for place in places(settings, consumer)]
    consumer.close()
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(settings.consumer_group, starts)])
    asked[settings.consumer_group].result(30)


def contents(settings: Settings) -> dict[str, list[Any]]:
    """All that readers see of every table, but for when a row was written, and from how many facts of its day."""
    with clickhouse_client(settings) as client:
        found = {}
        for table in FACT_TABLES + DERIVED_TABLES:
            columns = "* EXCEPT (updated_at, version)" if table in DERIVED_TABLES else "*"
            found[table] = client.query(f"SELECT {columns} FROM {table} FINAL ORDER BY ALL").result_rows
        return found
