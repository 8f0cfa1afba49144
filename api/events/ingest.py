"""From a request's items to facts on the log: each is judged alone, told from what is already there, published and
awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

from aisleflow import metrics
from aisleflow.clients import Delivered
from aisleflow.settings import Settings
from api.database import Database
from api.events import queries
from api.problems import UnavailableError
from api.progress import Offsets, Progress
from api.publisher import Outcome, Publisher, Record, TooLarge
from api.together import Together
from schemas import reading, topics
from schemas.reading import Refusal

REMEMBERED_FACTS = 200_000
_INSERTED, _DUPLICATE, _REFUSED = (metrics.INGESTED.labels(outcome) for outcome in ("inserted", "duplicate", "refused"))


class Fact(NamedTuple):
    """What is needed to publish an item: its store (the Kafka key) and its identity (``shown`` is that identity in
    words).
    """

    store_id: str
    identity: Hashable
    shown: str


@dataclass(frozen=True)
class Feed:
    """One kind of fact: its topic, how it is read, which identities ClickHouse already holds, and of how many it is asked
    at once (it takes parameters of 128 KiB).
    """

    topic: str
    read: Callable[[bytes, int], Fact | Refusal]
    known: Callable[[Database, Sequence[Any]], Awaitable[set[Any]]]
    asked_at_once: int


def _read_visit_event(raw: bytes, latest_ms: int) -> Fact | Refusal:
    facts = reading.read_visit_event(raw, latest_ms)
    if isinstance(facts, Refusal):
        return facts
    # A queue record of the second dialect is two facts with ids of one making: the first speaks for both.
    first = facts[0]
    return Fact(first.store_id, first.event_id, first.event_id)


def _read_transaction(raw: bytes, latest_ms: int) -> Fact | Refusal:
    fact = reading.read_transaction(raw, latest_ms)
    if isinstance(fact, Refusal):
        return fact
    return Fact(fact.store_id, (fact.store_id, fact.transaction_id), fact.transaction_id)


def _read_stock_movement(raw: bytes, latest_ms: int) -> Fact | Refusal:
    fact = reading.read_stock_movement(raw, latest_ms)
    if isinstance(fact, Refusal):
        return fact
    if fact.from_store_id is not None:
        return Refusal(
            "from_store_id", "is written by the workers: send the TRANSFER of the other store", fact.event_id
        )
    event_id = fact.event_id.lower()
    return Fact(fact.store_id, event_id, event_id)


VISIT_EVENTS = Feed(topics.VISIT_EVENTS.name, _read_visit_event, queries.known_events, 2_000)
TRANSACTIONS = Feed(topics.TRANSACTIONS.name, _read_transaction, queries.known_transactions, 500)
STOCK_MOVEMENTS = Feed(topics.STOCK_MOVEMENTS.name, _read_stock_movement, queries.known_events, 2_000)


@dataclass(frozen=True)
class Fault:
    """Why an item was refused; ``index`` is its position in the request."""

    index: int
    event_id: str | None
    field: str
    reason: str


@dataclass
class Taken:
    """What became of a request's items. ``targets`` are the offsets that the workers must pass to have processed them
    all.
    """

    inserted: int = 0
    duplicates: int = 0
    faults: list[Fault] = field(default_factory=list)
    targets: Offsets = field(default_factory=dict)


def bounded(text: str | None, length: int) -> str | None:
    """Text that came from outside, cut to a length and made safe to send back."""
    return text if text is None else text.encode("utf-8", "replace").decode()[:length]


def as_fault(index: int, refusal: Refusal) -> Fault:
    """A refusal, with its position."""
    return Fault(
        index,
        bounded(refusal.event_id, 64),
        bounded(refusal.field, 128) or "",
        bounded(refusal.reason, 300) or "",
    )


class Ingest:
    """Takes facts in. Remembers what this process has published until ClickHouse is sure to have it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        publisher: Publisher,
        progress: Progress,
        stock_progress: Progress,
    ) -> None:
        """``progress`` is that of the workers who derive visits, ``stock_progress`` that of those who keep the stock."""
        self._settings = settings
        self._known = {
            feed.topic: Together(partial(feed.known, database), feed.asked_at_once)
            for feed in (VISIT_EVENTS, TRANSACTIONS, STOCK_MOVEMENTS)
        }
        self._publisher = publisher
        self._progress = {
            VISIT_EVENTS.topic: progress,
            TRANSACTIONS.topic: progress,
            STOCK_MOVEMENTS.topic: stock_progress,
        }
        self._recent: dict[Hashable, Delivered] = {}
        self._in_flight: dict[Hashable, asyncio.Future[None]] = {}

    def latest_ms(self) -> int:
        """The newest timestamp that a fact arriving now may have."""
        return int((time.time() + self._settings.max_future_minutes * 60) * 1000)

    async def take(self, feed: Feed, items: Sequence[bytes], *, track: bool = False) -> Taken:
        """Judge, publish and await. With ``track``, also find what the workers must pass, duplicates included.

        Raises:
            UnavailableError: Kafka did not acknowledge everything (the problem says what it did), or ClickHouse, which
                knows the duplicates, is away (then nothing was published: a wrong count is worse than none).
        """
        taken = Taken()
        latest = self.latest_ms()
        unique: dict[Hashable, tuple[int, Fact]] = {}
        for index, raw in enumerate(items):
            fact = feed.read(raw, latest)
            if isinstance(fact, Refusal):
                taken.faults.append(as_fault(index, fact))
            elif fact.identity in unique:
                taken.duplicates += 1
            else:
                unique[fact.identity] = (index, fact)
        stored = await self._known[feed.topic].ask(unique) if unique else set()
        while busy := [self._in_flight[identity] for identity in unique if identity in self._in_flight]:
            await asyncio.wait(busy)  # another request is publishing the same fact: its outcome decides
        # No other request can come between here and the claim: there is no await.
        new = [entry for identity, entry in unique.items() if identity not in stored and identity not in self._recent]
        taken.duplicates += len(unique) - len(new)
        await self._publish(feed, new, items, taken)
        _INSERTED.inc(taken.inserted)
        _DUPLICATE.inc(taken.duplicates)
        _REFUSED.inc(len(taken.faults))
        if track:
            taken.targets = await self._targets(feed, unique)
        return taken

    async def processed(self, feed: Feed, taken: Taken, timeout_s: float) -> bool:
        """Wait until the workers have passed all of it; False when the time is over first."""
        return await self._progress[feed.topic].wait(taken.targets, timeout_s)

    async def publish_one(self, topic: str, key: str, value: bytes) -> None:
        """Publish a record that needs no comparison with what is there.

        Raises:
            UnavailableError: Kafka did not acknowledge it.
        """
        (outcome,) = await self._publisher.publish([Record(topic, key, value)])
        if not isinstance(outcome, Delivered):
            raise UnavailableError("kafka", "Kafka did not acknowledge this in time; send it again.")

    async def _publish(self, feed: Feed, new: list[tuple[int, Fact]], items: Sequence[bytes], taken: Taken) -> None:
        claim: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight.update((fact.identity, claim) for _, fact in new)
        try:
            outcomes = await self._publisher.publish(
                [Record(feed.topic, fact.store_id, items[index]) for index, fact in new]
            )
            for (_, fact), outcome in zip(new, outcomes, strict=True):
                if isinstance(outcome, Delivered):
                    self._recent[fact.identity] = outcome
        finally:
            for _, fact in new:
                del self._in_flight[fact.identity]
            claim.set_result(None)
            while len(self._recent) > REMEMBERED_FACTS:
                del self._recent[next(iter(self._recent))]
        _settle(new, outcomes, taken)

    async def _targets(self, feed: Feed, identities: Iterable[Hashable]) -> Offsets:
        """The offsets that hold these facts, or, of facts that somebody else published, the ends of the topic."""
        places = [self._recent.get(identity) for identity in identities]
        targets: Offsets = {}
        if None in places:
            try:
                targets = await self._progress[feed.topic].ends([self._settings.topic_prefix + feed.topic])
            except KafkaException as error:
                detail = "All events are on the log, but Kafka does not tell how far the workers are."
                raise UnavailableError("kafka", detail) from error
        for place in places:
            if place is not None:
                partition = (place.topic, place.partition)
                targets[partition] = max(targets.get(partition, 0), place.offset + 1)
        return targets


def _settle(new: list[tuple[int, Fact]], outcomes: list[Outcome], taken: Taken) -> None:
    """Count what was published; raise when some of it was not acknowledged."""
    acknowledged, missing = [], []
    for (index, fact), outcome in zip(new, outcomes, strict=True):
        if isinstance(outcome, Delivered):
            acknowledged.append(fact.shown)
        elif isinstance(outcome, TooLarge):
            taken.faults.append(Fault(index, bounded(fact.shown, 64), "", "is larger than Kafka takes"))
        else:
            missing.append(fact.shown)
    taken.inserted += len(acknowledged)
    taken.faults.sort(key=lambda fault: fault.index)
    if missing:
        raise UnavailableError(
            "kafka",
            f"Kafka acknowledged {len(acknowledged)} of {len(new)} new facts in time. Send the whole batch again: "
            "what is there already counts as duplicate.",
            acknowledged=acknowledged,
            not_acknowledged=missing,
        )
