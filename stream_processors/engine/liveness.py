"""Liveness: a worker that has stopped working must not look alive.

Consumers can hang without dying (a lost wake-up, a dead connection that nobody times out), and then their own view of
the log stands still too. So the lag is asked of the broker, from a thread and a connection of its own. A worker that is
behind for long while nothing beats ends its process, and whoever runs it starts it again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from aisleflow import log, metrics
from aisleflow.settings import Settings

logger = log.get(__name__)

CHECK_EVERY_S = 5.0
STUCK_AFTER_S = 60.0
EXIT_STUCK = 75


class GroupLag:
    """Records that the consumer group has not yet confirmed, as the broker knows it."""

    def __init__(self, settings: Settings) -> None:
        self.latest = 0
        """The lag as last asked."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": settings.consumer_group,
                "enable.auto.commit": False,
                "log_level": 2,
            }
        )

    def of(self, held: Iterable[tuple[str, int]]) -> int:
        """The lag over these (topic, partition); each is put in the metrics too.

        Raises:
            KafkaException: the broker does not answer.
        """
        total = 0
        for partition in self._consumer.committed([TopicPartition(*name) for name in held], timeout=5):
            first, end = self._consumer.get_watermark_offsets(partition, timeout=5)
            lag = end - (partition.offset if partition.offset >= 0 else first)
            metrics.LAG.labels(partition.topic, str(partition.partition)).set(lag)
            total += lag
        self.latest = total
        return total


class Liveness(threading.Thread):
    """Ends the process when it is behind and has done nothing for too long."""

    def __init__(
        self, lag: Callable[[], int], stuck_after_s: float = STUCK_AFTER_S, every_s: float = CHECK_EVERY_S
    ) -> None:
        """``lag`` tells how many records wait; it may raise ``KafkaException`` when the broker is away."""
        super().__init__(name="liveness", daemon=True)
        self._lag = lag
        self._stuck_after_s = stuck_after_s
        self._every_s = every_s
        self._beats = 0

    def beat(self) -> None:
        """Say that something was done: a cycle ended, or ClickHouse was tried again."""
        self._beats += 1

    def run(self) -> None:
        """Check for ever."""
        behind_since: float | None = None
        beats = self._beats
        while True:
            time.sleep(self._every_s)
            try:
                behind = self._lag() > 0
            except KafkaException as error:
                logger.warning("lag_unknown", error=str(error))
                behind = False
            if not behind or beats != self._beats:
                behind_since, beats = None, self._beats
            elif behind_since is None:
                behind_since = time.monotonic()
            elif (silent_s := time.monotonic() - behind_since) > self._stuck_after_s:
                logger.error("worker_is_stuck", behind_without_progress_s=round(silent_s))
                os._exit(EXIT_STUCK)
