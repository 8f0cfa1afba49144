"""What was sent, and whether the answers are right: shared by the system tests, the fault harness and the benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from aisleflow.clients import group_offsets, kafka_producer, produce
from aisleflow.demo import differences
from aisleflow.settings import Settings
from producers.simulator.answers import COMPARED, World
from producers.simulator.shops import Shop, layouts
from schemas.topics import DERIVED_TOPICS, STORE_LAYOUTS

LAYOUTS_MADE = datetime(2020, 1, 1, tzinfo=UTC)

Record = tuple[str, str, bytes]
"""(topic, key, value)"""
Ask = Callable[[str], dict[str, Any]]
"""From the path of an answer to its JSON."""


class Feed:
    """Publishes records and remembers them, in order, for the oracle. A broker that is away for minutes costs none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = kafka_producer(settings, **{"delivery.timeout.ms": 600_000, "log_level": 0})
        self._failed: list[KafkaError] = []
        self.sent: list[Record] = []

    def send(self, records: Iterable[Record], *, per_second: float = 0, stop: threading.Event | None = None) -> None:
        """Publish, at a pace if one is given, until the records or the patience (``stop``) end."""
        began, first = time.monotonic(), len(self.sent)
        for record in records:
            topic, key, value = record
            self.sent.append(record)
            produce(self._producer, self._settings.topic_prefix + topic, value, key, on_delivery=self._delivered)
            if per_second:
                ahead = (len(self.sent) - first) / per_second - (time.monotonic() - began)
                self._producer.poll(0)
                if ahead > 0.01:
                    time.sleep(ahead)
            if stop is not None and stop.is_set():
                break

    def send_layouts(self, shops: list[Shop]) -> None:
        """Publish the shops' layouts."""
        self.send((STORE_LAYOUTS.name, store_id, layout) for store_id, layout in layouts(shops, LAYOUTS_MADE))

    def flush(self, timeout_s: float = 120) -> None:
        """Return when Kafka has acknowledged everything.

        Raises:
            TimeoutError, KafkaException: it did not.
        """
        if self._producer.flush(timeout_s):
            raise TimeoutError("Kafka did not acknowledge everything in time")
        if self._failed:
            raise KafkaException(self._failed[0])

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def world(self) -> World:
        """The oracle, having taken all that was sent."""
        world = World(int(time.time() * 1000) + self._settings.max_future_minutes * 60_000)
        for topic, _, value in self.sent:
            world.take(topic, value)
        return world


def places(settings: Settings, consumer: Consumer) -> list[TopicPartition]:
    """Every partition that the workers read."""
    names = [settings.topic_prefix + name for name in DERIVED_TOPICS]
    known = consumer.list_topics(timeout=10).topics
    return [TopicPartition(name, number) for name in names for number in known[name].partitions]


def group_lag(settings: Settings, within_s: float = 60.0) -> int:
    """Records that the workers' group has not confirmed. A broker that is just starting is asked again for a while.

    Raises:
        KafkaException: Kafka did not answer within this time.
    """
    deadline = time.monotonic() + within_s
    while True:
        consumer = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group, "log_level": 0}
        )
        try:
            ends, confirmed = group_offsets(
                consumer, [(one.topic, one.partition) for one in places(settings, consumer)]
            )
            return sum(ends.values()) - sum(confirmed.values())
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        finally:
            consumer.close()


def caught_up(settings: Settings, timeout_s: float) -> None:
    """Return when the group has confirmed everything that is on the log.

    Raises:
        TimeoutError: not within this time.
    """
    deadline = time.monotonic() + timeout_s
    while (lag := group_lag(settings)) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the workers are still {lag} records behind after {timeout_s:.0f} s")
        time.sleep(0.2)


def wrong_answers(world: World, ask: Ask, *, settle_s: float = 20.0) -> list[str]:
    """Every answer of every store and day that differs from the oracle's; anomalies are given a moment to be judged."""
    found = []
    for store_id in sorted(world.stores):
        for day in world.days(store_id):
            for name, expected in (
                ("metrics", world.metrics(store_id, day)),
                ("funnel", world.funnel(store_id, day)),
                ("heatmap", world.heatmap(store_id, day)),
            ):
                path = f"/stores/{store_id}/{name}?date={day}"
                found += [f"{path} {what}" for what in differences(expected, ask(path), name == "metrics")]
    deadline = time.monotonic() + settle_s
    while (late := _wrong_anomalies(world, ask)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found + late


def _wrong_anomalies(world: World, ask: Ask) -> list[str]:
    found = []
    for store_id in sorted(world.stores):
        path = f"/stores/{store_id}/anomalies"
        told = {
            (one["type"], one["subject"], one["severity"])
            for one in ask(path)["anomalies"]
            if one["type"] in COMPARED and one["calm_since"] is None
        }
        expected = {(one["type"], one["subject"], one.get("severity")) for one in world.anomalies(store_id)}
        if any(severity is None for *_, severity in expected):  # months of history decide it
            told, expected = ({(*name, None) for *name, _ in found} for found in (told, expected))
        if told != expected:
            found.append(f"{path} expected {sorted(expected - told)}, found {sorted(told - expected)}")
    return found
