"""The watch on real parts: one anomaly from opening to closing, its alerts, what is usual, and crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import LastingProducer, clickhouse_client, kafka_producer, partition_of
from aisleflow.settings import Settings
from schemas.events import Alert, anomaly_id
from schemas.reading import epoch_ms
from schemas.topics import ALERTS, STORE_PARTITIONS
from stream_processors import anomaly_watch
from stream_processors.anomaly_watch import AnomalyWatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History
from tests.api.rows import depth, feed, visit, zone_visit

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Crash(Exception):
    """The worker dies here."""


class Crashing:
    """A sink and a producer that die at the nth thing they are asked to do."""

    def __init__(self, sink: ClickHouseSink, producer: LastingProducer, at: int) -> None:
        self._sink, self._producer, self._left = sink, producer, at

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash

    def insert_blocking(self, *arguments: Any) -> None:
        self._count()
        self._sink.insert_blocking(*arguments)

    def produce(self, *arguments: Any, **named: Any) -> None:
        self._count()
        self._producer.produce(*arguments, **named)

    def flush(self) -> None:
        self._producer.flush()


@pytest.fixture
def settings(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with clickhouse_client(settings) as client:
        yield client


def insert(client: Client, table: str, *rows: dict[str, Any]) -> None:
    client.insert(table, [list(row.values()) for row in rows], list(rows[0]))


def queue(client: Client, minute: int, people: int) -> None:
    """The queue from a minute after noon on, which is the shop's newest fact."""
    insert(client, "queue_depth", depth("S", minute, people))
    insert(client, "store_feed", feed("S", NOON + minute * MINUTE))


def alerts(settings: Settings) -> list[Alert]:
    """What is on the topic, the repeats of an event_id left out."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "reader of alerts"})
    place = TopicPartition(settings.topic_prefix + ALERTS.name, partition_of("S", STORE_PARTITIONS), 0)
    _, high = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    records = consumer.consume(high, timeout=10) if high else []
    consumer.close()
    found = [Alert.model_validate_json(record.value() or b"") for record in records]
    return list({alert.event_id: alert for alert in found}.values())


def rows(client: Client) -> list[tuple[Any, ...]]:
    query = """SELECT severity, toUInt32(dateDiff('minute', toDateTime('2026-03-03 12:00:00', 'UTC'), detected_at)),
        closed_at IS NULL, calm_since IS NULL, announced FROM anomalies FINAL ORDER BY detected_at"""
    return [tuple(row) for row in client.query(query).result_rows]


def watch_of(settings: Settings, client: Client, crash_at: int = 0) -> AnomalyWatch:
    sink, producer = ClickHouseSink(client), kafka_producer(settings)
    crashing: Any = Crashing(sink, producer, crash_at)
    return AnomalyWatch(settings, crashing, History(client), crashing, set())


def test_a_queue_that_comes_and_goes_is_one_anomaly(settings: Settings, client: Client) -> None:
    watch = watch_of(settings, client)
    for minute, people in ((0, 7), (1, 8), (2, 3), (4, 9), (5, 12), (6, 2), (12, 1)):
        queue(client, minute, people)
        watch.look(["S"])
        watch.look(["S"])
    assert rows(client) == [("CRITICAL", 0, False, False, "CLOSED")]
    assert [(alert.state, alert.severity) for alert in alerts(settings)] == [
        ("OPENED", "WARN"),
        ("CHANGED", "CRITICAL"),
        ("CLOSED", "CRITICAL"),
    ]
    (name,) = {alert.anomaly_id for alert in alerts(settings)}
    assert name == anomaly_id("S", "QUEUE_SPIKE", "", epoch_ms(NOON))
    assert client.query("SELECT anomaly_id FROM anomalies FINAL").result_rows == [(name,)], "SQL names it the same"


@pytest.mark.parametrize("crash_at", [1, 2, 3])
def test_a_crash_at_any_step_of_opening_and_closing_leaves_one_anomaly(
    settings: Settings, client: Client, crash_at: int
) -> None:
    """Rows, alert, receipt: the worker dies at each of them, when it opens and when it closes, and its successor goes on."""
    for minute, people in ((0, 7), (1, 2), (9, 2)):
        queue(client, minute, people)
        with pytest.raises(Crash) if minute != 1 else pytest.MonkeyPatch.context():
            watch_of(settings, client, crash_at if minute != 1 else 0).look(["S"])
        watch_of(settings, client).look(["S"])
    assert rows(client) == [("WARN", 0, False, False, "CLOSED")]
    assert [alert.state for alert in alerts(settings)] == ["OPENED", "CLOSED"]


@pytest.mark.parametrize(
    ("took_s", "waits_s"), [(0.0, 1.0), (0.2, 1.0), (0.5, 2.0), (1.0, 4.0), (2.0, 5.0), (60.0, 5.0)]
)
def test_looks_that_take_long_come_less_often(took_s: float, waits_s: float) -> None:
    assert anomaly_watch.pause_s(took_s) == pytest.approx(waits_s)


async def test_who_takes_a_store_over_looks_at_what_the_one_before_derived_and_left(
    settings: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anomaly_watch, "PAUSE_S", 0.02)
    sink, looks = ClickHouseSink(client), 0
    watch = AnomalyWatch(settings, sink, History(client), kafka_producer(settings), set())
    everything, place = set(range(STORE_PARTITIONS)), partition_of("S", STORE_PARTITIONS)
    mine = everything - {place}

    def partitions() -> set[int]:
        nonlocal looks
        looks += 1
        return mine

    async def after(more: int) -> list[tuple[Any, ...]]:
        """What is written after so many looks more."""
        until = looks + more
        while looks < until:
            await asyncio.sleep(0.01)
        return rows(client)

    queue(client, 0, 7)
    running = asyncio.create_task(watch.run(partitions))
    assert await after(3) == []
    mine = everything
    assert [row[0] for row in await after(3)] == ["WARN"]
    queue(client, 1, 12)
    assert [row[0] for row in await after(3)] == ["WARN"], "one look a store: the cycles tell of what is new"
    mine = everything - {place}
    await after(2)
    mine = everything
    assert [row[0] for row in await after(3)] == ["CRITICAL"]
    running.cancel()


def test_what_is_over_closes_by_the_clock_when_the_shop_falls_silent(settings: Settings, client: Client) -> None:
    watch, everything = watch_of(settings, client), set(range(STORE_PARTITIONS))
    queue(client, 0, 7)
    watch.look(["S"])
    queue(client, 1, 0)
    watch.look(["S"])
    watch.look_for_silence(everything, epoch_ms(NOON + 19 * MINUTE))
    assert [row[2] for row in rows(client) if row[1] == 0] == [True]
    watch.look_for_silence(everything, epoch_ms(NOON + 22 * MINUTE))
    assert [row[2] for row in rows(client) if row[1] == 0] == [False]


def test_what_is_usual_is_made_once_a_day_and_decides_how_severe_it_is(settings: Settings, client: Client) -> None:
    for weeks in range(1, 6):
        past = -weeks * 7 * 24 * 60
        insert(client, "visits", *(visit("S", f"{weeks}-{number}", past) for number in range(30)))
        insert(client, "queue_depth", depth("S", past + 5, 7), depth("S", past + 6, 0))
        insert(client, "zone_visits", zone_visit("S", f"{weeks}-0", "A", 9, business_day=(NOON + past * MINUTE).date(),
                                                 started_at=NOON + past * MINUTE))  # fmt: skip
    watch = watch_of(settings, client)
    queue(client, 0, 8)
    watch.look(["S"])
    found = client.query(
        "SELECT metric, weekday, hour, usual, days, figures FROM baselines FINAL ORDER BY metric, weekday"
    ).result_rows
    assert [row for row in found if row[0] in ("footfall", "queue")] == [
        ("footfall", 2, 12, 30.0, 5, [30.0] * 5),
        ("queue", 2, 12, 7.0, 5, [7.0] * 5),
    ]
    ((severity, reason, unusual),) = client.query(
        "SELECT severity, severity_reason, unusual FROM anomalies FINAL"
    ).result_rows
    assert severity == "INFO" and "now and then on Tuesdays at this hour" in reason and "5 Tuesdays" in unusual
    client.command("TRUNCATE TABLE baselines")
    queue(client, 1, 8)
    watch.look(["S"])
    assert client.command("SELECT count() FROM baselines") == 0, "it is remembered for the day"
    watch_of(settings, client).look(["S"])
    assert client.command("SELECT uniqExact(made_for) FROM baselines") == 1
