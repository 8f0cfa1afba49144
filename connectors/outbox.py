"""Pushing: records off Kafka to another system, at least once, in the order of each shop.

Each target has a consumer group of its own, so one that is slow or away holds nobody else back. Offsets are committed when the target has
the records, or when Kafka has them as dead letters after so many attempts. A letter is replayed to its own target alone, by the topic
``deliveries``.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from aisleflow import log
from aisleflow.clients import kafka_config, kafka_producer
from aisleflow.settings import Settings
from connectors.http import LONGEST_WAIT_S, NotNow, Refused
from connectors.pulling import ORIGIN_HEADER, Unavailable, pauses
from schemas.events import Delivery, dump
from schemas.reading import Refusal
from schemas.topics import DELIVERIES
from stream_processors.engine.dead_letters import CannotBury, DeadLetter, DeadLetterBox, note_letters

logger = log.get(__name__)

BATCH_RECORDS, BATCH_WITHIN_S = 200, 0.1
AT_ONCE = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
ANSWER_WITHIN_S = 30.0
STAGE = "deliver"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "aisleflow:delivery")


@dataclass(frozen=True)
class Outgoing:
    """A record to deliver. ``id`` is the same whenever it is sent again; ``topic`` is without the prefix."""

    id: str
    topic: str
    store_id: str
    value: bytes
    at_ms: int
    origin: str = ""
    """The connector that pulled it, if one did."""


class Target(Protocol):
    """Something that records are pushed to. Called from several threads at once, for different shops."""

    @property
    def name(self) -> str:
        """Names its consumer group and its dead letters: another name begins anew."""

    @property
    def topics(self) -> Sequence[str]:
        """Of which topics it gets records, without the prefix."""

    @property
    def attempts(self) -> int:
        """Attempts before a record goes to the dead letters."""

    @property
    def since_ms(self) -> int | None:
        """From which time on it gets records, when it has got none yet; None: all that Kafka has."""

    def takes(self, record: Outgoing) -> bool:
        """Whether it wants this one."""

    def deliver(self, record: Outgoing) -> None:
        """Deliver one, and return when the other side has it.

        Raises:
            NotNow: it is to be tried again.
            Refused: that would be of no use.
        """


@dataclass
class Tally:
    """What became of records."""

    delivered: int = 0
    ignored: int = 0
    buried: int = 0


class Outbox:
    """Delivers to one target."""

    def __init__(self, settings: Settings, target: Target, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._settings = settings
        self._target = target
        self._first_pause_s = first_pause_s
        self._box = DeadLetterBox(kafka_producer(settings, **{"client.id": "aisleflow-outbox", "log_level": 0}))
        self._abandoned = threading.Event()
        self._at_end: set[tuple[str, int]] = set()
        self._assigned: set[tuple[str, int]] | None = None
        self._lock = threading.Lock()
        self.tally = Tally()

    def run(self, stop: threading.Event, until_end: bool = False) -> Tally:
        """Deliver until told to stop; or until all is delivered that was there.

        Raises:
            Unavailable: Kafka does not answer, or does not take dead letters; what was not committed is delivered again.
        """
        prefix = self._settings.topic_prefix
        consumer = Consumer(
            {
                **kafka_config(self._settings),
                "group.id": group(self._settings, self._target.name),
                "client.id": "aisleflow-outbox",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "log_level": 2,
            }
        )
        try:
            consumer.subscribe(
                [prefix + name for name in (*self._target.topics, DELIVERIES.name)],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
            with ThreadPoolExecutor(AT_ONCE) as pool:
                while not stop.is_set():
                    messages = consumer.consume(BATCH_RECORDS, BATCH_WITHIN_S)
                    records = [message for message in messages if self._is_record(message)]
                    if records:
                        self._deliver(consumer, pool, records, stop)
                    elif until_end and self._assigned is not None and self._at_end >= self._assigned:
                        break
        except (KafkaException, CannotBury) as error:
            raise Unavailable(f"Kafka at {self._settings.kafka_bootstrap}: {error}") from error
        finally:
            self._abandoned.set()
            consumer.close()
        return self.tally

    # --- one batch -------------------------------------------------------------------------------------------------

    def _deliver(
        self, consumer: Consumer, pool: ThreadPoolExecutor, messages: Sequence[Message], stop: threading.Event
    ) -> None:
        by_shop: dict[bytes | None, list[Message]] = defaultdict(list)
        for message in messages:
            by_shop[message.key()].append(message)
        self._abandoned.clear()
        consumer.pause(consumer.assignment())
        work = {pool.submit(self._in_order, shop) for shop in by_shop.values()}
        pending = set(work)
        while pending:
            _, pending = wait(pending, timeout=0.1)
            consumer.poll(0)  # so that Kafka sees us alive, however long the other side takes
            if stop.is_set():
                self._abandoned.set()
        for one in work:
            one.result()
        if self._abandoned.is_set():
            return
        consumer.resume(consumer.assignment())
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            place = message.topic() or "", message.partition() or 0
            ends[place] = max(ends.get(place, 0), (message.offset() or 0) + 1)
        offsets = [TopicPartition(*place, offset) for place, offset in ends.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # a rebalance: what is read again is delivered again
            logger.warning("deliveries_not_committed", target=self._target.name, error=error.args[0].str())

    def _in_order(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if self._abandoned.is_set():
                return
            record = self._outgoing(message)
            if record is None or not self._target.takes(record):
                self._count("ignored")
                continue
            self._until_delivered(record, message)

    def _until_delivered(self, record: Outgoing, message: Message) -> None:
        waits = pauses(self._first_pause_s, LONGEST_PAUSE_S)
        for attempt in range(1, self._target.attempts + 1):
            try:
                self._target.deliver(record)
            except Refused as error:
                self._bury(record, message, f"refused: {error}")
                return
            except NotNow as error:
                if attempt == self._target.attempts:
                    self._bury(record, message, f"not delivered in {attempt} attempts: {error}")
                    return
                pause = min(max(next(waits), error.after_s or 0.0), LONGEST_WAIT_S)
                logger.warning(
                    "not_delivered",
                    target=self._target.name,
                    record=record.id,
                    attempt=attempt,
                    reason=str(error),
                    retry_in_s=round(pause, 1),
                )
                if self._abandoned.wait(pause):
                    return
            else:
                self._count("delivered")
                return

    def _bury(self, record: Outgoing, message: Message, reason: str) -> None:
        envelope = Delivery(
            event_id=str(uuid.uuid5(_NAMESPACE, f"{self._target.name}\n{record.id}")),
            store_id=record.store_id,
            timestamp=datetime.fromtimestamp(record.at_ms / 1000, UTC),
            target=self._target.name,
            record_id=record.id,
            topic=record.topic,
            body=record.value.decode("utf-8", "backslashreplace"),
        )
        letter = DeadLetter(
            *(message.topic() or "", message.partition() or 0, message.offset() or 0, message.key(), dump(envelope)),
            *(STAGE, Refusal("", f"{self._target.name}: {reason}"), self._settings.topic_prefix + DELIVERIES.name),
        )
        self._box.put_now([letter])
        note_letters(self._settings, [letter])
        self._count("buried")

    def _outgoing(self, message: Message) -> Outgoing | None:
        value = message.value()
        if value is None:
            return None
        name = (message.topic() or "").removeprefix(self._settings.topic_prefix)
        store_id = (message.key() or b"").decode(errors="replace")
        at_ms = message.timestamp()[1]
        if name != DELIVERIES.name:
            headers: Any = message.headers() or ()
            origin = dict(headers).get(ORIGIN_HEADER) or b""
            return Outgoing(_id_of(value, message), name, store_id, value, at_ms, origin.decode(errors="replace"))
        try:
            sent_again = Delivery.model_validate_json(value)
        except ValidationError:
            logger.warning("delivery_cannot_be_read", partition=message.partition(), offset=message.offset())
            return None
        if sent_again.target != self._target.name:
            return None
        at_ms = int(sent_again.timestamp.timestamp() * 1000)
        return Outgoing(sent_again.record_id, sent_again.topic, store_id, sent_again.body.encode(), at_ms)

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self.tally, what, getattr(self.tally, what) + 1)

    # --- Kafka's side ----------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = consumer.committed(partitions, timeout=ANSWER_WITHIN_S)
        fresh = [place for place in places if place.offset < 0]
        since = self._target.since_ms
        if since is None:
            for place in fresh:
                place.offset = OFFSET_BEGINNING
        elif fresh:
            asked = [TopicPartition(place.topic, place.partition, since) for place in fresh]
            for place, found in zip(fresh, consumer.offsets_for_times(asked, timeout=ANSWER_WITHIN_S), strict=True):
                place.offset = found.offset if found.offset >= 0 else OFFSET_END
        consumer.assign(places)
        self._assigned = {(place.topic, place.partition) for place in places}
        self._at_end.clear()

    def _on_revoke(self, _: Consumer, __: list[TopicPartition]) -> None:
        self._abandoned.set()

    def _is_record(self, message: Message) -> bool:
        place = message.topic() or "", message.partition() or 0
        error = message.error()
        if error is None:
            self._at_end.discard(place)
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add(place)
        elif error.fatal() or error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
            KafkaError._AUTHENTICATION,
        ):
            raise KafkaException(error)
        elif error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            logger.warning("outbox_reads_nothing", target=self._target.name, error=error.str())
        return False


def group(settings: Settings, target: str) -> str:
    """The consumer group of a target."""
    return f"{settings.consumer_group}.out.{target.replace(':', '.')}"


def _id_of(value: bytes, message: Message) -> str:
    """What names a record for ever: the fact's own id, or its place on the log."""
    try:
        found: Any = orjson.loads(value)
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("event_id"), str):
        return str(found["event_id"])
    return f"{message.topic()}-{message.partition()}-{message.offset()}"
