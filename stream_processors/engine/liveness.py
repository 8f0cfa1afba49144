"""Liveness: a worker that has stopped working must not look alive.

Consumers can hang without dying (a lost wake-up, a dead connection that nobody times out), and then their own view of
the log stands still too. So the lag is asked of the broker, from a thread and a connection of its own. A worker that is
behind for long while nothing beats ends its process, and whoever runs it starts it again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaException

from aisleflow import log, metrics
from aisleflow.clients import Place, group_offsets, kafka_config
from aisleflow.settings import Settings

logger = log.get(__name__)

CHECK_EVERY_S = 5.0
STUCK_AFTER_S = 60.0
ANSWER_WITHIN_S = 5
EXIT_STUCK = 75
REMEMBERED_ENDS = 2_000


class GroupLag:
    """Records that the consumer group has not yet confirmed, as the broker knows it."""

    def __init__(self, settings: Settings) -> None:
        self.read_until: float | None = None
        """Up to when (seconds since 1970) everything on the log has been confirmed, as last asked; None while that is not
        known, as after other partitions were assigned."""
        self._ends: deque[tuple[float, dict[Place, int]]] = deque()
        self._held: set[Place] = set()
        self._consumer = Consumer(
            {
                **kafka_config(settings),
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
        now = time.time()
        ends, confirmed = self.offsets(held)
        for place, end in ends.items():
            metrics.LAG.labels(*map(str, place)).set(end - confirmed[place])
        self._note(now, ends, confirmed)
        return sum(ends.values()) - sum(confirmed.values())

    def offsets(self, held: Iterable[tuple[str, int]]) -> tuple[dict[Place, int], dict[Place, int]]:
        """The end of each of these partitions, and what of it is confirmed. May be called from any thread.

        Raises:
            KafkaException: the broker does not answer.
        """
        return group_offsets(self._consumer, held, ANSWER_WITHIN_S)

    def _note(self, now: float, ends: dict[Place, int], confirmed: dict[Place, int]) -> None:
        """What was on the log at an earlier time and is confirmed now had been read by then."""
        if ends.keys() != self._held:
            self._held, self.read_until = set(ends), None
            self._ends.clear()
        # Who is behind for hours need not know to the second since when.
        if len(self._ends) < REMEMBERED_ENDS:
            self._ends.append((now, ends))
        while self._ends and all(confirmed[place] >= end for place, end in self._ends[0][1].items()):
            self.read_until = self._ends.popleft()[0]


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
        """Say that something was done: a cycle ended, or ClickHouse answered or was tried again."""
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
