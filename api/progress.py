"""How far the workers are: what their consumer group has committed, read from Kafka."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import anyio.to_thread
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from aisleflow import log
from aisleflow.clients import group_members, group_reader, kafka_config
from aisleflow.settings import Settings

POLL_S = 0.05
TIMEOUT_S = 2.0

Place = tuple[str, int]
"""(topic as Kafka knows it, partition)"""
Offsets = dict[Place, int]

logger = log.get(__name__)


class Progress:
    """Committed and end offsets; one shared poller answers everybody who waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._admin: AdminClient | None = None
        self._connecting = threading.Lock()
        self._waiting: dict[asyncio.Future[None], Offsets] = {}
        self._poller: asyncio.Task[None] | None = None

    async def wait(self, targets: Mapping[Place, int], timeout_s: float) -> bool:
        """Wait until the group has committed at least these offsets; False when the time is over first."""
        if not targets:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = dict(targets)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True

    async def _poll(self) -> None:
        while self._waiting:
            places = {place for targets in self._waiting.values() for place in targets}
            try:
                committed = await self.committed(places)
            except KafkaException as error:
                logger.warning("kafka_away", error=str(error))
                await asyncio.sleep(1)
                continue
            for future, targets in list(self._waiting.items()):
                if not future.done() and all(committed[place] >= offset for place, offset in targets.items()):
                    future.set_result(None)
                    del self._waiting[future]
            await asyncio.sleep(POLL_S)

    async def committed(self, places: Iterable[Place]) -> Offsets:
        """The next offset the group will read in each partition; 0 where it has committed none.

        Raises:
            KafkaException: Kafka does not answer.
        """
        wanted = [TopicPartition(topic, partition) for topic, partition in places]
        found = await anyio.to_thread.run_sync(self._committed, wanted)
        return {(item.topic, item.partition): max(item.offset, 0) for item in found}

    def _committed(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        with self._connecting:
            consumer = self._consumer = self._consumer or self._make_consumer()
        result: list[TopicPartition] = consumer.committed(wanted, timeout=TIMEOUT_S)
        return result

    def _make_consumer(self) -> Consumer:
        chosen = {"client.id": "aisleflow-api-progress", "reconnect.backoff.max.ms": 1000}
        return group_reader(self._settings, self._settings.consumer_group, **chosen)

    async def ends(self, topics: Iterable[str]) -> Offsets:
        """The next offset that Kafka will give in each partition of these topics (names with the prefix).

        Raises:
            KafkaException: Kafka does not answer.
        """
        return await anyio.to_thread.run_sync(self._ends, list(topics))

    def _ends(self, topics: list[str]) -> Offsets:
        admin = self._connected()
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        wanted = {
            TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic in topics
            if topic in known
            for partition in known[topic].partitions
        }
        if not wanted:
            return {}
        answers = admin.list_offsets(wanted, request_timeout=TIMEOUT_S)
        return {(place.topic, place.partition): _result(answer).offset for place, answer in answers.items()}

    async def members(self) -> int:
        """How many workers are in the group.

        Raises:
            KafkaException: Kafka does not answer.
        """
        return await anyio.to_thread.run_sync(self._members)

    def _members(self) -> int:
        return group_members(self._connected(), self._settings.consumer_group, TIMEOUT_S)

    def _connected(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(
                {
                    **kafka_config(self._settings),
                    "client.id": "aisleflow-api-admin",
                    "reconnect.backoff.max.ms": 1000,
                    "log_level": 0,
                }
            )
        return self._admin

    async def close(self) -> None:
        """Stop polling and close the connections."""
        if self._poller is not None:
            self._poller.cancel()
        if self._consumer is not None:
            await anyio.to_thread.run_sync(self._consumer.close)


def behind(ends: Mapping[Place, int], committed: Mapping[Place, int]) -> int:
    """Records on the log that the group has not confirmed."""
    return sum(max(0, end - committed.get(place, 0)) for place, end in ends.items())


def _result(answer: Any) -> Any:
    """What Kafka answers; a broker too busy to do so is one that does not answer."""
    try:
        return answer.result(TIMEOUT_S + 1)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
