"""Sends a camera's events to Kafka and knows whether they arrived."""

from __future__ import annotations

from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message

from aisleflow.clients import LOST_WITH_A_PRODUCER, kafka_producer
from aisleflow.settings import Settings
from producers.cameras import CameraError
from schemas.events import CameraHealth, ShelfScan, StoreLayout, VisitEvent, dump
from schemas.topics import Topic

# What the local queue of ``clients.kafka_producer`` holds.
MOST_WAITING = 100_000


class Publisher:
    """Publishes events under their store's key.

    Args:
        settings: Where Kafka is.
        timeout_s: How long to wait for it at the start, and at the end.
        lasting: Keep events for as long as Kafka is away, up to the 100,000 that the local queue holds (days of a shop):
            nobody can watch a live camera's past again. Otherwise 30 s.

    Raises:
        CameraError: Kafka does not answer, or has refused an event (``send`` or ``close`` raises, whichever learns it).
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 10, lasting: bool = False) -> None:
        self._settings = settings
        # librdkafka would print each of its attempts; the caller hears once, from this class.
        self._producer = kafka_producer(settings, log_level=2, **({"delivery.timeout.ms": 0} if lasting else {}))
        self._lasting = lasting
        self._refusal: KafkaError | None = None
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise CameraError(
                f"Kafka does not answer at {settings.kafka_bootstrap}: start `aisleflow up`, or do not publish"
            ) from error

    def send(self, topic: Topic, event: VisitEvent | StoreLayout | CameraHealth | ShelfScan) -> None:
        """Queue one event; it has arrived when ``close`` returns."""
        name, key, value = self._settings.topic_prefix + topic.name, event.store_id.encode(), dump(event)
        try:
            self._producer.produce(name, value, key, on_delivery=self._delivered)
        except BufferError:
            # The local queue is full: wait for deliveries. Those of a recording are bounded by delivery.timeout.ms.
            left = self._producer.flush(60.0) if self._lasting else self._producer.flush()
            if left >= MOST_WAITING:
                raise CameraError("Kafka has been away for too long: no more events can be kept") from None
            self._producer.produce(name, value, key, on_delivery=self._delivered)
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Wait until everything sent has arrived."""
        left = self._producer.flush(30.0) if self._lasting else self._producer.flush()
        self._check()
        if left:
            raise CameraError(f"{left} events did not reach Kafka, which is away")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if self._lasting and error is not None and error.code() in LOST_WITH_A_PRODUCER:
            with suppress(BufferError):  # else more came meanwhile than are kept
                self._producer.produce(
                    message.topic() or "", message.value(), message.key(), on_delivery=self._delivered
                )
                return
        self._refusal = self._refusal or error

    def _check(self) -> None:
        if self._refusal is not None:
            raise CameraError(f"Kafka did not take an event: {self._refusal.str()}; run it again, nothing doubles")
