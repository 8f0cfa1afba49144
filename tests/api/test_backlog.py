"""How far behind the workers are, told from the log of a real Kafka; there are no workers, the tests commit for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from fastapi.testclient import TestClient

from aisleflow.clients import kafka_producer, partition_of
from aisleflow.settings import Settings
from api.app import create_app
from api.health.backlog import BacklogWatch, Look, Trend, outlook, rates
from api.progress import Progress
from schemas.topics import STORE_PARTITIONS, TRANSACTIONS, VISIT_EVENTS
from tests.api.rows import DAY, feed, fill, visit


@pytest.mark.parametrize(
    ("records", "arriving", "read", "still_s", "expected"),
    [
        (0, 100, 100, 99, ("current", 0)),
        (9_000, 100, 400, 5, ("catching_up", 30)),
        (9_000, 400, 100, 5, ("falling_behind", None)),
        (9_000, 1_000, 1_010, 5, ("keeping_distance", None)),
        (9_000, None, None, 5, ("unknown", None)),
        (9_000, 100, 0, 5, ("unknown", None)),
        (9_000, 100, 0, 31, ("standing_still", None)),
        (9_000, 0, 50, 0, ("catching_up", 180)),
    ],
)
def test_outlook(
    records: int, arriving: float | None, read: float | None, still_s: float, expected: tuple[Trend, int | None]
) -> None:
    assert outlook(records, arriving, read, still_s=still_s) == expected


def test_rates_need_some_time() -> None:
    assert rates([(0, 100, 50), (5, 200, 100)]) == (None, None)
    assert rates([(0, 100, 50), (5, 0, 0), (10, 300, 60)]) == (20, 1)
    assert rates([(0, 100, 50), (20, 100, 50), (25, 300, 60)]) == (None, None), "it has only just gone on"
    assert rates([(0, 100, 50), (20, 100, 50), (30, 300, 60)]) == (20, 1)
    assert rates([(0, 100, 50), (20, 300, 50)]) == (10, 0)


class Log:
    """Publishes records of a given age and confirms them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = kafka_producer(settings)
        self._ends: dict[tuple[str, int], int] = {}

    def take(self, topic: str, store_id: str, *, age_s: float, count: int = 1) -> None:
        at_ms = int((time.time() - age_s) * 1000)
        for _ in range(count):
            self._producer.produce(self._settings.topic_prefix + topic, b"{}", store_id.encode(), timestamp=at_ms)
        self._producer.flush()

    def confirm(self, store_id: str, offset: int, topic: str = VISIT_EVENTS.name) -> None:
        """As the workers do, up to this offset of the partition that holds a store."""
        group = {"bootstrap.servers": self._settings.kafka_bootstrap, "group.id": self._settings.consumer_group}
        consumer = Consumer(group)
        place = TopicPartition(self._settings.topic_prefix + topic, partition_of(store_id, STORE_PARTITIONS), offset)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()


@pytest.fixture
def settings(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    """A world whose broker takes the time of a record from its sender, so that a test can make it old."""
    found = make_world(kafka, clickhouse)
    times = [ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)]
    admin = AdminClient({"bootstrap.servers": kafka})
    asked = admin.incremental_alter_configs(
        [
            ConfigResource(ResourceType.TOPIC, found.topic_prefix + topic.name, incremental_configs=times)
            for topic in (VISIT_EVENTS, TRANSACTIONS)
        ]
    )
    for answer in asked.values():
        answer.result(30)
    return found


@pytest.fixture
async def watch(settings: Settings) -> AsyncIterator[BacklogWatch]:
    progress = Progress(settings)
    found = BacklogWatch(settings, progress)
    yield found
    await found.close()
    await progress.close()


async def look(watch: BacklogWatch, until: Callable[[Look], bool] = lambda _: True) -> Look:
    """A look; again until it is so, since a busy broker may not tell everything within the time that a look takes."""
    for _ in range(100):
        try:
            found = await watch.look(await watch.topic_ends())
            if until(found):
                return found
        except KafkaException:  # a broker that has just started knows no groups for a moment
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError


def health(api: TestClient, until: Callable[[Any], bool]) -> Any:
    """What /health says, asked again until it is so."""
    for _ in range(100):
        found = api.get("/health").json()
        if until(found):
            return found
        time.sleep(0.3)
    raise TimeoutError(found)


async def test_the_oldest_record_tells_how_far_behind(settings: Settings, watch: BacklogWatch) -> None:
    log = Log(settings)
    log.take(VISIT_EVENTS.name, "A", age_s=3000)
    log.take(VISIT_EVENTS.name, "A", age_s=2000, count=3)
    log.take(TRANSACTIONS.name, "B", age_s=1000)
    log.take(VISIT_EVENTS.name, "C", age_s=1)
    assert len({partition_of(store, STORE_PARTITIONS) for store in "ABC"}) == 3
    first = await look(watch, lambda found: found.behind_seconds("A") > 2900 and found.behind_seconds("B") > 900)
    assert first.backlog.records == 6
    assert [round(first.behind_seconds(store), -2) for store in "ABC"] == [3000, 1000, 0]
    assert first.backlog.behind_seconds == pytest.approx(3000, abs=45)
    assert first.backlog.since == first.backlog.complete_until
    assert first.backlog.trend == "unknown"
    # The first record of A, then all of A: B alone is behind, and since when does not change.
    log.confirm("A", 1)
    second = await look(watch, lambda found: 1900 < found.behind_seconds("A") < 2500)
    assert second.behind_seconds("A") == pytest.approx(2000, abs=45)
    log.confirm("A", 4)
    third = await look(watch)
    assert third.behind_seconds("A") == 0 and third.behind_seconds("B") == pytest.approx(1000, abs=45)
    assert third.complete_until("A") == third.at and third.backlog.since == first.backlog.since
    log.confirm("B", 1, TRANSACTIONS.name)
    log.confirm("C", 1)
    current = (await look(watch)).backlog
    assert (current.records, current.behind_seconds, current.since, current.trend) == (0, 0, None, "current")


async def test_without_any_record_it_is_current(watch: BacklogWatch) -> None:
    found = await look(watch)
    assert found.backlog.trend == "current" and found.complete_until("anybody") == found.at


async def test_catching_up_and_when(settings: Settings, watch: BacklogWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.health.backlog.RATES_NEED_S", 0.5)
    log = Log(settings)
    log.take(VISIT_EVENTS.name, "A", age_s=60, count=1000)
    await look(watch, lambda found: found.behind_seconds("A") > 50)
    await asyncio.sleep(1)
    log.confirm("A", 500)
    found = (await look(watch, lambda found: found.backlog.trend != "unknown")).backlog
    assert found.trend == "catching_up" and found.read_per_second and found.read_per_second <= 500
    assert found.current_again_in_seconds == pytest.approx(500 / found.read_per_second, abs=1)
    log.take(VISIT_EVENTS.name, "A", age_s=0, count=5000)
    assert (await look(watch)).backlog.trend == "falling_behind"


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as client:
        yield client


def test_a_slow_worker_is_not_a_silent_shop(settings: Settings, api: TestClient) -> None:
    """Two shops whose newest rows are an hour old. The records of one wait on the log; the other has sent none."""
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    fill(
        settings,
        store_feed=[feed("A", hour_ago), feed("B", hour_ago)],
        visits=[visit("A", "V"), visit("B", "V")],
    )
    Log(settings).take(VISIT_EVENTS.name, "A", age_s=55 * 60)
    found = health(api, lambda found: (found["stores"]["A"]["behind_seconds"] or 0) > 3000)
    assert [(warning["type"], warning["store_id"]) for warning in found["warnings"]] == [("STALE_FEED", "B")]
    assert found["stores"]["A"]["behind_seconds"] == pytest.approx(3300, abs=45)
    assert found["stores"]["A"]["lag_minutes"] == 60 and found["stores"]["B"]["behind_seconds"] == 0
    assert found["status"] == "degraded" and found["worker_lag_records"] == found["backlog"]["records"] == 1
    assert "behind by 55" in found["parts"]["workers"]["detail"]
    for store, behind in (("A", 3300), ("B", 0)):
        for answer in ("metrics", "funnel", "heatmap", "anomalies"):
            told = api.get(f"/stores/{store}/{answer}?date={DAY}")
            assert int(told.headers["Aisleflow-Behind-Seconds"]) == pytest.approx(behind, abs=45)
        assert api.get(f"/stores/{store}/metrics").json()["behind_seconds"] == pytest.approx(behind, abs=45)


def test_a_shop_that_was_silent_before_the_worker_fell_behind_is_silent(settings: Settings, api: TestClient) -> None:
    fill(settings, store_feed=[feed("A", datetime.now(UTC) - timedelta(hours=1))])
    Log(settings).take(VISIT_EVENTS.name, "A", age_s=30)
    (warning,) = health(api, lambda found: found["stores"]["A"]["behind_seconds"])["warnings"]
    assert warning["store_id"] == "A" and warning["lag_minutes"] == 59


def test_without_kafka_nobody_is_called_silent(clickhouse: str, make_world: Callable[..., Settings]) -> None:
    settings = make_world(None, clickhouse)
    fill(settings, store_feed=[feed("A", datetime.now(UTC) - timedelta(hours=1))], visits=[visit("A", "V")])
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as api:
        found = api.get("/health").json()
        assert found["status"] == "unhealthy" and found["warnings"] == [] and found["backlog"] is None
        assert found["stores"]["A"]["behind_seconds"] is None
        answer = api.get(f"/stores/A/metrics?date={DAY}")
        assert answer.json()["unique_visitors"] == 1 and answer.json()["behind_seconds"] is None
        assert "Aisleflow-Behind-Seconds" not in answer.headers
