"""Dead letters: what could not be read keeps its key and bytes, with headers that say where it came from and why.

Retry policy: only records that can never be read come here. What fails for a passing reason is tried again where it
stands.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from aisleflow import log, metrics, tracing
from aisleflow.clients import Failures, LastingProducer, clickhouse_client, produce
from aisleflow.settings import Settings
from schemas.reading import Refusal
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.strays import Stray

logger = log.get(__name__)

TABLE = "dead_letters"
COLUMNS = ("topic", "partition", "offset", "at", "stage", "error", "message", "store_id", "handled")


@dataclass(frozen=True)
class DeadLetter:
    """One refused record, ready to publish."""

    source_topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    stage: str
    refusal: Refusal
    joins: str = ""
    """The topic whose dead letters it joins, if not those of the topic that it came from."""
    traceparent: str | None = None
    """Of the request that it came with, if any."""

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """Where the record came from and why it was refused."""
        return [
            ("topic", self.source_topic.encode()),
            ("partition", str(self.partition).encode()),
            ("offset", str(self.offset).encode()),
            ("stage", self.stage.encode()),
            ("field", self.refusal.field.encode(errors="replace")),
            ("error", self.refusal.reason.encode(errors="replace")),
            *([(tracing.HEADER, self.traceparent.encode())] if self.traceparent else []),
        ]


def letter_rows(letters: Iterable[DeadLetter]) -> list[tuple[Any, ...]]:
    """Letters buried now as rows of ``dead_letters``: why and where, without their bytes."""
    now = time.time()
    return [
        (
            *(letter.source_topic, letter.partition, letter.offset, round(now, 3), letter.stage),
            *(letter.refusal.field or "record", letter.refusal.reason),
            *((letter.key or b"").decode(errors="replace"), ""),
        )
        for letter in letters
    ]


def note_letters(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Tell ClickHouse of letters, for dashboards; what is buried on Kafka is the truth, and this may fail."""
    if not letters or settings.clickhouse_url is None:
        return
    try:
        with clickhouse_client(settings, connect_timeout=2, send_receive_timeout=5, query_retries=0) as client:
            ClickHouseSink(client).insert_blocking(TABLE, COLUMNS, letter_rows(letters), str(uuid.uuid4()))
    except (ClickHouseError, HTTPError, OSError) as error:
        logger.warning("dead_letters_not_noted", error=str(error).splitlines()[0])


Record = tuple[str, bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]
"""topic, key, value, headers"""


class CannotBury(Exception):
    """Kafka did not take what follows from a batch, such as a dead letter; it must not be acknowledged."""


class DeadLetterBox:
    """Publishes what is not derived where it lies, dead letters and strays, and waits until Kafka has it."""

    def __init__(self, producer: LastingProducer) -> None:
        self._producer = producer

    async def put(self, letters: list[DeadLetter]) -> None:
        """Publish and return when Kafka has acknowledged every letter.

        Raises:
            CannotBury: Kafka refused one, or did not answer within the producer's delivery time.
        """
        if letters:  # a thread costs more than to see that there are none
            await asyncio.to_thread(self.put_now, letters)

    def put_now(self, letters: list[DeadLetter]) -> None:
        """The same, blocking."""
        if not letters:
            return
        self._publish(
            [(f"{one.joins or one.source_topic}.dlq", one.key, one.value, one.headers) for one in letters],
            "dead letters were not acknowledged",
        )
        for letter in letters:
            metrics.DEAD_LETTERS.labels(letter.source_topic, letter.stage).inc()
        first = letters[0]
        logger.warning(
            "dead_letters",
            count=len(letters),
            topic=first.source_topic,
            field=first.refusal.field,
            reason=first.refusal.reason,
            trace_ids=list(
                dict.fromkeys(tracing.trace_id_of(letter.traceparent) for letter in letters if letter.traceparent)
            ),
        )

    async def move(self, strays: list[Stray]) -> None:
        """Publish strays to their own stores' partitions, and return when Kafka has acknowledged every one.

        Raises:
            CannotBury: as for :meth:`put`.
        """
        if not strays:
            return
        await self.publish(
            [(one.topic, one.store_id.encode(), one.record.value, one.headers) for one in strays],
            "strays were not acknowledged",
        )
        first = strays[0]
        metrics.STRAYS.labels(first.topic).inc(len(strays))
        logger.warning(
            "strays_moved", count=len(strays), topic=first.topic, partition=first.partition, store_id=first.store_id
        )

    async def publish(self, records: list[Record], complaint: str) -> None:
        """Publish records and return when Kafka has acknowledged every one; ``complaint`` says in an error what was not.

        Raises:
            CannotBury: as for :meth:`put`.
        """
        if records:
            await asyncio.to_thread(self._publish, records, complaint)

    def _publish(self, records: list[Record], complaint: str) -> None:
        failures = Failures()
        for topic, key, value, headers in records:
            produce(self._producer, topic, value, key, headers=headers, on_delivery=failures)
        if self._producer.flush() or failures:
            raise CannotBury(f"{len(failures)} {complaint}: {failures[:1]}")
