"""What a worker tells of itself: every 10 seconds a row about its work and one for each partition it holds.

From a thread and connections of its own. Nothing that fails here reaches the stream: what cannot be written is left
out, and the next row counts from the last one that was.
"""

from __future__ import annotations

import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, TopicPartition
from prometheus_client import REGISTRY, Counter, Gauge
from urllib3.exceptions import HTTPError

from aisleflow import log, metrics
from aisleflow.clients import Place, clickhouse_client, kafka_config
from aisleflow.settings import Settings
from stream_processors.engine.liveness import GroupLag
from stream_processors.engine.sink import encode_rows

logger = log.get(__name__)

EVERY_S = 10.0
ANSWER_WITHIN_S = 5
READ_WITHIN_S = 2.0
WORKER_COLUMNS = (
    *("worker", "at", "records", "invalid", "duplicates", "rows_written", "cycles", "cycle_p50_ms", "cycle_max_ms"),
    *("retries", "open_visits", "rss_bytes"),
)
LAG_COLUMNS = ("topic", "partition", "at", "worker", "lag_records", "behind_ms")

_COUNTED = (metrics.RECORDS, metrics.DEAD_LETTERS, metrics.DUPLICATES, metrics.ROWS, metrics.SINK_RETRIES)


def worker_name(index: int, derives: str = "visits") -> str:
    """A worker's name: its number on its machine, and the machine. One that derives stock says so."""
    return f"{'worker' if derives == 'visits' else derives}-{index}@{platform.node() or 'unknown'}"


def total(metric: Counter | Gauge) -> int:
    """A metric's value now, over all of its labels."""
    return int(sum(s.value for family in metric.collect() for s in family.samples if not s.name.endswith("_created")))


class HealthReport(threading.Thread):
    """Writes ``worker_health`` and ``topic_lag`` for as long as the process runs."""

    def __init__(
        self, settings: Settings, worker: str, held: Callable[[], Iterable[Place]], group_lag: GroupLag
    ) -> None:
        """``held`` tells the partitions of this worker, ``group_lag`` how far it is in them."""
        super().__init__(name="health", daemon=True)
        self._settings = settings
        self._worker = worker
        self._held = held
        self._group_lag = group_lag
        self._heads = Heads(settings)
        self._cycles: list[float] = []
        self._counted = [0 for _ in _COUNTED]
        self._client: Client | None = None

    def cycle(self, seconds: float) -> None:
        """A cycle has ended that took so long."""
        self._cycles.append(seconds)

    def run(self) -> None:
        """Report for ever."""
        while True:
            time.sleep(EVERY_S)
            self.report()

    def report(self) -> None:
        """Write the rows of this moment; on failure they are left out."""
        try:
            self._report()
        except (ClickHouseError, HTTPError, OSError, KafkaException) as error:
            logger.info("health_not_written", error=f"{type(error).__name__}: {error}"[:300])

    def _report(self) -> None:
        now = time.time()
        counted, cycles = [total(metric) for metric in _COUNTED], list(self._cycles)
        since = [value - before for value, before in zip(counted, self._counted, strict=True)]
        work = (
            *(self._worker, round(now, 3), *since[:4], len(cycles)),
            round(statistics.median(cycles) * 1000) if cycles else 0,
            round(max(cycles, default=0.0) * 1000),
            *(since[4], total(metrics.OPEN_VISITS)),
            int(REGISTRY.get_sample_value("process_resident_memory_bytes") or 0),
        )
        self._insert("worker_health", WORKER_COLUMNS, [work])
        self._counted = counted
        del self._cycles[: len(cycles)]
        held = set(self._held())
        ends, confirmed = self._group_lag.offsets(held)
        oldest = self._heads.times({place: confirmed[place] for place, end in ends.items() if confirmed[place] < end})
        rows = []
        for (topic, partition), end in sorted(ends.items()):
            at = oldest.get((topic, partition))
            behind_ms = 0 if at is None else max(0, round(now * 1000) - at)
            lag = max(0, end - confirmed[topic, partition])
            rows.append((topic, partition, round(now, 3), self._worker, lag, behind_ms))
        self._insert("topic_lag", LAG_COLUMNS, rows)

    def _insert(self, table: str, columns: tuple[str, ...], rows: list[Any]) -> None:
        if not rows:
            return
        if self._client is None:  # not before: ClickHouse may be away when the worker starts
            self._client = clickhouse_client(
                self._settings, connect_timeout=ANSWER_WITHIN_S, send_receive_timeout=ANSWER_WITHIN_S
            )
        self._client.raw_insert(table, list(columns), encode_rows(rows), fmt="JSONCompactEachRow")


class Heads:
    """Reads when Kafka took single records."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None

    def times(self, wanted: Mapping[Place, int]) -> dict[Place, int]:
        """When Kafka took the first record at or after each offset, milliseconds since 1970; those that are not told in
        time are left out.

        Raises:
            KafkaException: Kafka does not answer.
        """
        found: dict[Place, int] = {}
        if not wanted:
            return found
        consumer = self._consumer = self._consumer or self._make_consumer()
        consumer.assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
        deadline = time.monotonic() + READ_WITHIN_S
        try:
            while found.keys() != wanted.keys() and (left := deadline - time.monotonic()) > 0:
                message = consumer.poll(left)
                if message is None:
                    break
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                kind, at_ms = message.timestamp()
                if kind != TIMESTAMP_NOT_AVAILABLE:
                    found.setdefault((str(message.topic()), int(message.partition() or 0)), at_ms)
        finally:
            consumer.unassign()
        return found

    def _make_consumer(self) -> Consumer:
        # Assigned by hand: it never joins a group, and commits nothing.
        return Consumer(
            {
                **kafka_config(self._settings),
                "group.id": f"{self._settings.consumer_group}.backlog",
                "enable.auto.commit": False,
                # What retention has removed is not waiting any more.
                "auto.offset.reset": "earliest",
                # One record a partition is wanted, so as little as possible of a batch.
                "max.partition.fetch.bytes": 1024,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1024,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
