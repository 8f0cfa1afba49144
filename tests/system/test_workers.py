"""Real workers on real Kafka and ClickHouse: killed, joined by others, and made to read everything again."""

from __future__ import annotations

import threading
import time
from datetime import date
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from tests.system.conftest import Workers
from tests.system.truth import Feed, group_lag, places, wrong_answers

pytestmark = pytest.mark.system
# Among them two with the other make of cameras and one without a layout.
SHOPS = make_shops(10, seed=3)[4:]
DAYS = (date(2026, 3, 2), date(2026, 3, 3))
FACT_TABLES = ("events", "event_ids", "transactions", "store_layouts")
DERIVED_TABLES = ("visits", "zone_visits", "queue_depth", "day_figures")


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
    third = workers.start()
    wait_until_sent(feed, len(records) // 2)
    second.kill()
    wait_until_sent(feed, len(records) * 3 // 4)
    # One more joins and one leaves in order, while all are busy: partitions are handed on in the middle of cycles.
    workers.start()
    third.terminate()
    sending.join()
    feed.flush()
    workers.catch_up()
    oracle = feed.world()
    assert oracle.duplicates > 100
    assert oracle.refused > 50
    assert wrong_answers(oracle, ask) == []


def test_the_topics_read_again_from_the_start_change_nothing(
    world: Settings, workers: Workers, feed: Feed, ask: Any
) -> None:
    workers.stop()
    before = contents(world)
    rewind(world)
    assert group_lag(world) > len(feed.sent) * 0.9
    workers.start()
    workers.catch_up()
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
