"""Publishing to Kafka from asynchronous code: every record's delivery report is awaited, and none blocks the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from aisleflow import log, tracing
from aisleflow.clients import Delivered, kafka_producer
from aisleflow.settings import Settings

DELIVERY_TIMEOUT_MS = 5_000

logger = log.get(__name__)


class Record(NamedTuple):
    """What goes on a topic. ``topic`` is the registry's name; the prefix is put before it on the way."""

    topic: str
    key: str
    value: bytes


@dataclass(frozen=True)
class TooLarge:
    """Kafka's limit is smaller than this record: it can never be delivered."""


Outcome = Delivered | TooLarge | None
"""Where a record is, why it never can be there, or None: not acknowledged in time."""


def _tell(records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    """A line for the story of a trace: where on the log its records are."""
    spans: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Delivered):
            place = f"{outcome.topic}/{outcome.partition}"
            first, last = spans.get(place, (outcome.offset, outcome.offset))
            spans[place] = (min(first, outcome.offset), max(last, outcome.offset))
    trace_id = tracing.trace_id_of(tracing.current.get())
    if trace_id is not None:
        logger.info("published", trace_id=trace_id, records=len(records), offsets=spans)


class Publisher:
    """One idempotent producer and the thread that serves its delivery reports."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = kafka_producer(
            settings,
            **{
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "request.timeout.ms": DELIVERY_TIMEOUT_MS - 1000,
                "reconnect.backoff.max.ms": 1000,
                "client.id": "aisleflow-api",
                "log_level": 3,
            },
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve_reports, name="delivery-reports", daemon=True)
        self._thread.start()

    async def publish(self, records: Sequence[Record]) -> list[Outcome]:
        """Publish records and wait until Kafka has acknowledged each, or its time is over (about 5 s).

        A record not acknowledged may still be on the log if only the acknowledgement was lost: publish it again, facts
        are idempotent.
        """
        if not records:
            return []
        name = f"{records[0].topic} publish"
        with tracing.span(name, "PRODUCER", parent=tracing.current.get(), attributes={"records": len(records)}):
            outcomes = await self._publish(records)
            _tell(records, outcomes)
            return outcomes

    async def _publish(self, records: Sequence[Record]) -> list[Outcome]:
        traceparent = tracing.current.get()
        headers: list[tuple[str, str | bytes | None]] = [(tracing.HEADER, traceparent)] if traceparent else []
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        outcomes: list[Outcome] = [None] * len(records)
        remaining = len(records)
        counting = threading.Lock()

        def finish() -> None:
            if not done.done():  # the caller may have been cancelled
                done.set_result(None)

        def settle(position: int, outcome: Outcome) -> None:
            nonlocal remaining
            with counting:
                outcomes[position] = outcome
                remaining -= 1
                last = remaining == 0
            if last and not loop.is_closed():
                loop.call_soon_threadsafe(finish)

        def report(position: int, error: KafkaError | None, message: Message) -> None:
            if error is None:
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                assert topic is not None and partition is not None and offset is not None  # it was delivered
                settle(position, Delivered(topic, partition, offset))
                return
            logger.warning("kafka_not_acknowledged", error=str(error))
            settle(position, TooLarge() if error.code() == KafkaError.MSG_SIZE_TOO_LARGE else None)

        for position, record in enumerate(records):
            try:
                self._producer.produce(
                    self._settings.topic_prefix + record.topic,
                    record.value,
                    record.key,
                    headers=headers,
                    on_delivery=partial(report, position),
                )
            except KafkaException as problem:
                code = problem.args[0].code()
                settle(position, TooLarge() if code == KafkaError.MSG_SIZE_TOO_LARGE else None)
            except BufferError:  # the local queue is full: Kafka has been slow for a while
                settle(position, None)
        await done
        return outcomes

    def _serve_reports(self) -> None:
        producer = self._producer
        while not self._stopping.is_set():
            producer.poll(0.1)

    def close(self) -> None:
        """Wait shortly for what is on its way, then stop."""
        self._producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 1)
        self._stopping.set()
        self._thread.join(2)
        # It ends here: left to the garbage collector it would go on connecting, and end in whatever thread that runs in.
        del self._producer
