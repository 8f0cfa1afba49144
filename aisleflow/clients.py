"""The connections every room needs: a Kafka producer that loses nothing, how far a consumer group is, and a ClickHouse client."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from aisleflow import log
from aisleflow.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

logger = log.get(__name__)


def kafka_config(settings: Settings) -> dict[str, Any]:
    """Where Kafka is and how it is spoken to, as librdkafka takes it: the beginning of every client's configuration."""
    config: dict[str, Any] = {"bootstrap.servers": settings.kafka_bootstrap}
    protocol = settings.kafka_security_protocol
    if protocol != "PLAINTEXT":
        config["security.protocol"] = protocol
    if protocol.endswith("SSL") and settings.kafka_ca_file is not None:
        config["ssl.ca.location"] = str(settings.kafka_ca_file)
    if protocol.startswith("SASL"):
        password = settings.kafka_password
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_user or ""
        config["sasl.password"] = password.get_secret_value() if password else ""
    return config


# The reports of a producer that was given up come meanwhile, and are not waited for.
POLLED_AT_MOST_S = 0.1

# What is reported of records that a producer still had when librdkafka gave it up.
LOST_WITH_A_PRODUCER = {
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.UNKNOWN_PRODUCER_ID,
}


class LastingProducer:
    """A ``confluent_kafka.Producer`` that outlives a fatal error.

    An idempotent producer numbers its records. When a broker has lost numbers that it had confirmed (a full disk, an unclean
    election), librdkafka gives that producer up: whatever is asked of it fails from then on. This class takes a new one. What
    the old one had not heard of is reported as not delivered, as after any other failure, and it may be on the log: send it
    again, facts are idempotent. The methods are ``Producer``'s, and may be called from any thread.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._producer = Producer(config)
        self._given_up: list[Producer] = []
        """Those which may have reports yet."""
        self._guard = threading.Lock()

    def produce(self, topic: str, value: bytes | None, key: str | bytes | None, **more: Any) -> None:
        """Queue a record.

        Raises:
            BufferError: the local queue is full.
            KafkaException: this record can never be sent.
        """
        while True:
            producer = self._producer
            try:
                return producer.produce(topic, value, key, **more)
            except KafkaException as error:
                self._outlive(producer, error)

    def poll(self, timeout: float = 0) -> int:
        """Call back with the reports that are there, waiting for one so many seconds at most; how many there were."""
        given_up = sum(self._serve(one, 0) for one in self._with_reports())
        return given_up + self._serve(self._producer, timeout)

    def flush(self, timeout: float = math.inf) -> int:
        """Call back with the reports of everything, waiting so many seconds at most; how many are missing yet."""
        until = time.monotonic() + timeout
        # Not by ``Producer.flush``: that goes on calling back with a fatal error's exception already set.
        while (left := len(self)) and (seconds := until - time.monotonic()) > 0:
            self.poll(min(seconds, POLLED_AT_MOST_S))
        return left

    def list_topics(self, *, timeout: float) -> Any:
        """What the broker tells of its topics. Raises ``KafkaException`` when it does not in so many seconds."""
        return self._producer.list_topics(timeout=timeout)

    def __len__(self) -> int:
        """How many records have no report yet."""
        return sum(len(one) for one in (*self._given_up, self._producer))

    def _with_reports(self) -> list[Producer]:
        with self._guard:
            self._given_up = [one for one in self._given_up if len(one)]
            return self._given_up

    def _serve(self, producer: Producer, timeout: float) -> int:
        try:
            return producer.poll(timeout)
        except KafkaException as error:
            self._outlive(producer, error)
            return 0

    def _outlive(self, producer: Producer, error: KafkaException) -> None:
        reason: KafkaError = error.args[0]
        # A call that comes later than the one which learns of it hears no more than that there was one.
        if not reason.fatal() and reason.code() != KafkaError._FATAL:
            raise error
        with self._guard:
            if producer is self._producer:
                logger.warning("kafka_producer_replaced", error=reason.str())
                self._given_up = [*self._given_up, producer]
                self._producer = Producer(self._config)


def kafka_producer(settings: Settings, **overrides: Any) -> LastingProducer:
    """An idempotent producer (``acks=all``, lz4) whose local queue is bounded: a full one raises ``BufferError``."""
    return LastingProducer(
        {
            **kafka_config(settings),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 131_072,
            "delivery.timeout.ms": 30_000,
            # The default partitioner of the Java client: the same store lands in the same partition whoever publishes.
            "partitioner": "murmur2_random",
            "client.id": "aisleflow",
            **overrides,
        }
    )


def produce(producer: LastingProducer, topic: str, value: bytes | None, key: str | bytes | None, **more: Any) -> None:
    """Queue a record, with what else ``Producer.produce`` takes; waits while the local queue is full."""
    while True:
        try:
            producer.produce(topic, value, key, **more)
            return
        except BufferError:
            producer.poll(0.1)


@lru_cache(maxsize=200_000)
def partition_of(key: str, partitions: int) -> int:
    """The partition that the producer above, like every Kafka client by default, puts a key in."""
    from aiokafka.partitioner import murmur2

    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)


class Delivered(NamedTuple):
    """Where Kafka put a record."""

    topic: str
    partition: int
    offset: int


class Failures(list[KafkaError]):
    """What was not delivered: give it as ``on_delivery``, flush, and see whether it is empty.

    A report that raises instead does so in whatever call serves it, which may be that of another thread.
    """

    def __call__(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.append(error)

    def raise_first(self) -> None:
        """Raises ``KafkaException`` if there is any."""
        if self:
            raise KafkaException(self[0])


def raise_on(error: KafkaError | None) -> None:
    """Turn a delivery report's error into a ``KafkaException``."""
    if error is not None:
        raise KafkaException(error)


def clickhouse_client(settings: Settings, **overrides: Any) -> Client:
    """A clickhouse-connect client for ``AISLEFLOW_CLICKHOUSE_URL``.

    Raises:
        ValueError: no URL is set (``aisleflow up`` sets it for the parts it starts).
        clickhouse_connect.driver.exceptions.OperationalError: the server does not answer.
    """
    if settings.clickhouse_url is None:
        raise ValueError("AISLEFLOW_CLICKHOUSE_URL is not set; start `aisleflow up`, or set it to your server's URL")
    try:
        url = urlsplit(settings.clickhouse_url.get_secret_value())
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # its message cites what it takes for the port, which may be a piece of the password
        usable = False
    if not usable:
        raise ValueError(
            "AISLEFLOW_CLICKHOUSE_URL must look like http://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with other characters than letters and digits in the password as %XX"
        )
    return clickhouse_connect.get_client(
        **{
            "interface": url.scheme,
            "host": url.hostname,
            "port": url.port or (8443 if url.scheme == "https" else 8123),
            "username": unquote(url.username or "default"),
            "password": unquote(url.password or ""),
            "database": url.path.strip("/") or "default",
            # One client serves many threads: a session would make them queue.
            "autogenerate_session_id": False,
            "connect_timeout": 5,
            "send_receive_timeout": 60,
            **overrides,
        }
    )


Place = tuple[str, int]
"""(topic, partition)"""


def group_reader(settings: Settings, group: str, **overrides: Any) -> Consumer:
    """A consumer that asks what a group has committed. It never subscribes, so it never joins the group.

    ``AdminClient.list_consumer_group_offsets`` is no way to ask: where a broker is not, or not yet, the coordinator of the
    group, librdkafka (2.16) ends the process by a segmentation fault (confluent-kafka-javascript, issue 374).
    """
    config = {**kafka_config(settings), "group.id": group, "enable.auto.commit": False, "log_level": 0}
    return Consumer({**config, **overrides})


def group_members(admin: AdminClient, group: str, timeout: float = 10) -> int:
    """How many are in a consumer group; none where there is no such group. May be called from any thread.

    ``AdminClient.describe_consumer_groups``, which replaces the request made here, is no way to ask: where the connection to the
    group's coordinator ends while it is asked, librdkafka (2.16) aborts the process (its issue 4605 and pull request 5397).

    Raises:
        KafkaException: Kafka does not answer, or does not tell.
    """
    found = admin.list_groups(group, timeout=timeout)
    for one in found:
        raise_on(one.error)
    return sum(len(one.members) for one in found)


def group_offsets(
    consumer: Consumer, places: Iterable[Place], timeout: float = 10
) -> tuple[dict[Place, int], dict[Place, int]]:
    """The end of each partition, and up to where the consumer's group has confirmed it. May be called from any thread.

    A partition counts from the first record that is still there. It takes three requests for all partitions of a broker, where
    watermarks would take two for each.

    Raises:
        KafkaException: Kafka does not answer, or a partition has no leader now.
    """
    told = consumer.committed([TopicPartition(*place) for place in places], timeout=timeout)
    at = {(one.topic, one.partition): one.offset for one in told}
    first = _offsets_at(consumer, at, OFFSET_BEGINNING, timeout)
    confirmed = {place: max(offset, first[place]) for place, offset in at.items()}
    return _offsets_at(consumer, at, OFFSET_END, timeout), confirmed


def _offsets_at(consumer: Consumer, places: Iterable[Place], which: int, timeout: float) -> dict[Place, int]:
    """The first or last offset: Kafka answers the times -2 and -1 with them (KIP-79), which are these constants' values."""
    if not (asked := [TopicPartition(*place, which) for place in places]):
        return {}
    found: dict[Place, int] = {}
    for one in consumer.offsets_for_times(asked, timeout=timeout):
        if one.error:
            raise KafkaException(one.error)
        found[one.topic, one.partition] = one.offset
    return found
