"""Sends a camera's events to Kafka and knows whether they arrived."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message

from aisleflow.clients import kafka_producer
from aisleflow.settings import Settings
from producers.cameras import CameraError
from schemas.events import CameraHealth, StoreLayout, VisitEvent, dump
from schemas.topics import Topic


class Publisher:
    """Publishes events under their store's key.

    Raises:
        CameraError: Kafka does not answer, or has refused an event (``send`` or ``close`` raises, whichever learns it).
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 10) -> None:
        self._settings = settings
        # librdkafka would print each of its attempts; the caller hears once, from this class.
        self._producer = kafka_producer(settings, log_level=2)
        self._refusal: KafkaError | None = None
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise CameraError(
                f"Kafka does not answer at {settings.kafka_bootstrap}: start `aisleflow up`, or use --dry-run"
            ) from error

    def send(self, topic: Topic, event: VisitEvent | StoreLayout | CameraHealth) -> None:
        """Queue one event; it has arrived when ``close`` returns."""
        name, key, value = self._settings.topic_prefix + topic.name, event.store_id.encode(), dump(event)
        try:
            self._producer.produce(name, value, key, on_delivery=self._delivered)
        except BufferError:
            # The local queue is full: wait for deliveries, which are bounded by delivery.timeout.ms.
            self._producer.flush()
            self._producer.produce(name, value, key, on_delivery=self._delivered)
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Wait until everything sent has arrived."""
        self._producer.flush()
        self._check()

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._refusal = self._refusal or error

    def _check(self) -> None:
        if self._refusal is not None:
            raise CameraError(
                f"Kafka did not take an event: {self._refusal.str()}; run the clip again, nothing doubles"
            )
