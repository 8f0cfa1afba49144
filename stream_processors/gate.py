"""The gate: what producers wrote to their shops' doors goes on to the topics of facts, if it is about their shop.

Kafka does not tell a reader who wrote a record, and its ACLs know topics only. So a producer that must not write for
others writes to its shop's door, ``transactions.from.ST1001``, and may write nowhere else; that the broker enforces. The
gate reads every record of every door with the very reader that the workers use. What names the door's shop is passed on,
its bytes and headers as they are, under the shop as key; anything else becomes a dead letter with its key and bytes.

At least once, like everything after it: an offset is committed when Kafka has acknowledged what follows from the record.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from aisleflow import log, tracing
from aisleflow.clients import Failures, LastingProducer, kafka_config, kafka_producer, produce
from aisleflow.settings import Settings
from schemas.reading import READERS, Refusal, store_in
from schemas.topics import DOOR
from stream_processors.engine.dead_letters import DeadLetter, DeadLetterBox, note_letters

logger = log.get(__name__)

BATCH_RECORDS, BATCH_WITHIN_S = 2_000, 0.02
NEW_DOORS_WITHIN_MS = 3_000
ANSWER_WITHIN_S = 60.0
STAGE = "gate"


class CannotPassOn(Exception):
    """Kafka did not take what a door's record is passed on as; nothing may be committed."""


@dataclass(frozen=True)
class Door:
    """The topic of one shop's own producers: the topic of facts that it leads to, and the shop."""

    topic: str
    store_id: str

    @classmethod
    def named(cls, name: str, prefix: str) -> Door:
        """The door of that name, as Kafka knows it."""
        topic, _, store_id = name.removeprefix(prefix).partition(DOOR)
        return cls(topic, store_id)

    def refusal(self, value: bytes | None, arrived_ms: int, max_future_minutes: int) -> Refusal | None:
        """Why a record that Kafka took at this time may not pass; None if it may."""
        found = store_in(self.topic, value, arrived_ms + max_future_minutes * 60_000)
        if isinstance(found, Refusal):
            return found
        if found != self.store_id:
            return Refusal("store_id", f"is {found}, and this came from a producer of {self.store_id}")
        return None


def doors(prefix: str) -> str:
    """What the names of all doors match, as librdkafka subscribes."""
    names = "|".join(map(re.escape, READERS))
    return f"^{re.escape(prefix)}({names}){re.escape(DOOR)}"


def group(settings: Settings) -> str:
    """The consumer group of the gates."""
    return f"{settings.consumer_group}.gate"


class Gate:
    """One reader of all doors; several share them as a consumer group does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: LastingProducer = kafka_producer(settings, **{"client.id": "aisleflow-gate"})
        self._box = DeadLetterBox(self._producer)
        self._consumer = Consumer(
            {
                **kafka_config(settings),
                "group.id": group(settings),
                "client.id": "aisleflow-gate",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": NEW_DOORS_WITHIN_MS,
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )

    def run(self, stop: threading.Event) -> None:
        """Pass on until told to stop.

        Raises:
            CannotPassOn, CannotBury: Kafka did not take a record in time; what was not committed is read again.
            KafkaException: Kafka refuses to be read.
        """
        self._consumer.subscribe([doors(self._settings.topic_prefix)])
        try:
            while not stop.is_set():
                messages = self._consumer.consume(BATCH_RECORDS, BATCH_WITHIN_S)
                records = [message for message in messages if _is_record(message)]
                if records:
                    self._pass_on(records)
        finally:
            self._consumer.close()

    def _pass_on(self, records: Sequence[Message]) -> None:
        prefix = self._settings.topic_prefix
        failures = Failures()
        letters = []
        for record in records:
            name, value = record.topic() or "", record.value()
            headers: Any = record.headers() or []
            door = Door.named(name, prefix)
            refusal = door.refusal(value, record.timestamp()[1], self._settings.max_future_minutes)
            if refusal is None:
                produce(
                    self._producer, prefix + door.topic, value, door.store_id, headers=headers, on_delivery=failures
                )
            else:
                at = record.partition() or 0, record.offset() or 0
                came_with = tracing.traceparent_of(headers)
                letters.append(
                    DeadLetter(name, *at, record.key(), value, STAGE, refusal, prefix + door.topic, came_with)
                )
        if self._producer.flush(ANSWER_WITHIN_S) or failures:
            raise CannotPassOn(f"of {len(records)} records some were not acknowledged: {failures[:1]}")
        self._box.put_now(letters)
        note_letters(self._settings, letters)
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:  # a rebalance: what is read again is passed on again, and counts once
            logger.warning("gate_not_committed", error=error.args[0].str())


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    ):
        raise KafkaException(error)
    if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # so it says that there is no door yet
        logger.warning("gate_reads_nothing", error=error.str())
    return False


def run(settings: Settings) -> None:
    """Run the gate until it is told to stop; raises as :meth:`Gate.run` does."""
    log.configure(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Gate(settings).run(stop)
