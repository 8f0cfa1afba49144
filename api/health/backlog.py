"""How far behind the workers are: records on the log that they have not confirmed, how old those are, and whether they
become fewer.

What is asked of Kafka: the end and the committed offset of each partition and, when it may be old, the time of the oldest
record between them. That time is what makes answers honest: up to it the figures of the partition's stores are
complete, whatever the clock says.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import anyio.to_thread
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, TopicPartition
from pydantic import BaseModel, Field

from aisleflow import log
from aisleflow.clients import kafka_config, partition_of
from aisleflow.settings import Settings
from api.progress import Offsets, Place, Progress, behind
from api.words import duration, number
from schemas import topics

# A cycle and its commit take less than a second; what waits longer than this is worth saying.
BEHIND_AFTER_S = 10.0
# Once behind, it is over only under this, so that it is not said and taken back with every cycle.
CURRENT_BELOW_S = 5.0
RATES_OVER_S = 30.0
# Workers confirm a cycle at a time: rates over less than this say nothing.
RATES_NEED_S = 8.0
# Nothing confirmed for so long: it stands still. A cycle against a slow ClickHouse may take most of it.
STILL_AFTER_S = 30.0
READ_WITHIN_S = 2.0

Trend = Literal["current", "catching_up", "keeping_distance", "falling_behind", "standing_still", "unknown"]

logger = log.get(__name__)


class Backlog(BaseModel):
    """What waits on the log for the workers, all stores together."""

    records: int = Field(description="Events and receipts on the log that no worker has confirmed.")
    behind_seconds: int = Field(description="Age of the oldest of them that is worth saying; 0 while current.")
    complete_until: datetime | None = Field(
        description="When Kafka took the oldest: up to then all figures are complete. null while current."
    )
    since: datetime | None = Field(description="Since when, at the latest, it has been behind; null while current.")
    trend: Trend = Field(
        description="keeping_distance: as many arrive as are read. standing_still: nothing is read. "
        "unknown: not looked for long enough to tell."
    )
    arriving_per_second: float | None = Field(description="Over the last half minute; null if unknown.")
    read_per_second: float | None = Field(description="The same, of what the workers confirm.")
    current_again_in_seconds: int | None = Field(
        description="Estimated from the two rates; null if they do not tell, and 0 while current."
    )


@dataclass(frozen=True)
class Look:
    """The state of the log at one moment."""

    at: datetime
    backlog: Backlog
    partitions: int
    """How many partitions the stores are spread over."""
    oldest: Mapping[int, datetime] = field(default_factory=dict)
    """When Kafka took the oldest unconfirmed record, for each partition in which that is worth saying."""

    def complete_until(self, store_id: str) -> datetime:
        """Up to when everything about a store has been read: the time of the look, unless its partition is behind."""
        return self.oldest.get(partition_of(store_id, self.partitions), self.at) if self.oldest else self.at

    def behind_seconds(self, store_id: str) -> int:
        """By how much the figures of a store may lag; 0 while they are current."""
        return _seconds(self.at, self.complete_until(store_id))


@dataclass(frozen=True)
class _Sample:
    at: float
    wall: float
    ends: Offsets
    committed: Offsets


class BacklogWatch:
    """Looks at the log when asked and remembers enough to tell rates."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._topics = [settings.topic_prefix + name for name in (topics.VISIT_EVENTS.name, topics.TRANSACTIONS.name)]
        self._samples: deque[_Sample] = deque()
        self._since: datetime | None = None
        self._heads = _Heads(settings)

    async def look(self, ends: Offsets) -> Look:
        """The state now, from the ends of the topics' partitions (``ends``, not empty).

        Raises:
            KafkaException: Kafka does not answer.
        """
        committed = await self._progress.committed(ends)
        sample = _Sample(time.monotonic(), time.time(), ends, committed)
        # Topics made anew begin at 0: what was remembered is about others.
        if self._samples and any(ends.get(place, 0) < end for place, end in self._samples[-1].ends.items()):
            self._samples.clear()
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at < sample.at - RATES_OVER_S:
            self._samples.popleft()
        oldest = await self._oldest(sample)
        now = datetime.fromtimestamp(sample.wall, UTC)
        worth_saying = CURRENT_BELOW_S if self._since else BEHIND_AFTER_S
        oldest = {place: at for place, at in oldest.items() if (now - at).total_seconds() > worth_saying}
        complete_until = min(oldest.values(), default=None)
        self._since = None if complete_until is None else min(self._since or complete_until, complete_until)
        by_partition: dict[int, datetime] = {}
        for (_, partition), at in oldest.items():
            by_partition[partition] = min(at, by_partition.get(partition, at))
        return Look(
            at=now,
            backlog=_backlog(list(self._samples), now, complete_until, self._since),
            partitions=sum(topic == self._topics[0] for topic, _ in ends) or 1,
            oldest=by_partition,
        )

    async def topic_ends(self) -> Offsets:
        """The ends of all partitions; empty while there are no topics.

        Raises:
            KafkaException: Kafka does not answer.
        """
        return await self._progress.ends(self._topics)

    async def _oldest(self, sample: _Sample) -> dict[Place, datetime]:
        """When Kafka took the oldest unconfirmed record, or a moment shortly before that."""
        found: dict[Place, datetime] = {}
        to_read: Offsets = {}
        for place, offset in sample.committed.items():
            if offset >= sample.ends[place]:
                continue
            # All that was on the log at an earlier look is confirmed: what waits came after it.
            passed = next((s for s in reversed(self._samples) if s.ends.get(place, offset + 1) <= offset), None)
            found[place] = datetime.fromtimestamp((passed or self._samples[0]).wall, UTC)
            if passed is None or sample.at - passed.at > CURRENT_BELOW_S:
                to_read[place] = offset
        if to_read:
            found |= await anyio.to_thread.run_sync(self._heads.times, to_read)
        return found

    async def close(self) -> None:
        """Close the connection."""
        await anyio.to_thread.run_sync(self._heads.close)


class _Heads:
    """Reads the time of single records."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._using = threading.Lock()
        self._known: dict[Place, tuple[int, datetime]] = {}

    def times(self, wanted: Mapping[Place, int]) -> dict[Place, datetime]:
        """When Kafka took the first record at or after each offset; those it does not tell in time are left out.

        Raises:
            KafkaException: Kafka does not answer.
        """
        with self._using:
            missing = {place: offset for place, offset in wanted.items() if self._known.get(place, (-1,))[0] != offset}
            if missing:
                self._read(missing)
            return {place: self._known[place][1] for place in wanted if place in self._known}

    def _read(self, wanted: Mapping[Place, int]) -> None:
        consumer = self._consumer = self._consumer or self._make_consumer()
        consumer.assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
        missing = set(wanted)
        deadline = time.monotonic() + READ_WITHIN_S
        try:
            while missing and (left := deadline - time.monotonic()) > 0:
                message = consumer.poll(left)
                if message is None:
                    break
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                place = (str(message.topic()), int(message.partition() or 0))
                kind, at_ms = message.timestamp()
                if place in missing and kind != TIMESTAMP_NOT_AVAILABLE:
                    missing.discard(place)
                    self._known[place] = (wanted[place], datetime.fromtimestamp(at_ms / 1000, UTC))
        finally:
            consumer.unassign()
        for place in missing:
            self._known.pop(place, None)

    def _make_consumer(self) -> Consumer:
        # Assigned by hand: it never joins the group, and commits nothing.
        return Consumer(
            {
                **kafka_config(self._settings),
                "group.id": f"{self._settings.consumer_group}.backlog",
                "enable.auto.commit": False,
                # What retention has removed is not waiting any more.
                "auto.offset.reset": "earliest",
                "client.id": "aisleflow-api-backlog",
                # One record a partition is wanted, so as little as possible of a batch.
                "max.partition.fetch.bytes": 1024,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1024,
                "fetch.wait.max.ms": 10,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )

    def close(self) -> None:
        with self._using:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None


def describe(backlog: Backlog) -> str:
    """The backlog in words, without full stop: how far behind, since when, and when it will be over."""
    if backlog.complete_until is None or backlog.since is None:
        return "current"
    return (
        f"behind by {duration(backlog.behind_seconds)}, {number(backlog.records)} events, "
        f"since {backlog.since:%H:%M} UTC; {prospect(backlog)}"
    )


def prospect(backlog: Backlog) -> str:
    """Whether it becomes better, in words."""
    read, arriving = number(backlog.read_per_second or 0), number(backlog.arriving_per_second or 0)
    match backlog.trend:
        case "catching_up":
            left = backlog.current_again_in_seconds or 0
            return f"catching up, {'less than a minute' if left < 60 else f'about {duration(left)}'} to go"
        case "keeping_distance":
            return f"not catching up: {arriving} a second arrive, and as many are read"
        case "falling_behind":
            return f"falling further behind: {arriving} a second arrive, {read} are read"
        case "standing_still":
            return "standing still: nothing is being read"
        case "unknown":
            return "too early to say whether it is catching up"
        case "current":
            return "current"


def _backlog(samples: list[_Sample], now: datetime, complete_until: datetime | None, since: datetime | None) -> Backlog:
    last = samples[-1]
    records = behind(last.ends, last.committed)
    arriving, read = rates([(s.at, sum(s.ends.values()), sum(s.committed.values())) for s in samples])
    still = (s.at for s in samples if s.committed == last.committed and behind(s.ends, s.committed))
    stands_since = next(still, last.at)
    trend, seconds = outlook(records if complete_until else 0, arriving, read, still_s=last.at - stands_since)
    return Backlog(
        records=records,
        behind_seconds=0 if complete_until is None else _seconds(now, complete_until),
        complete_until=complete_until,
        since=since,
        trend=trend,
        arriving_per_second=None if arriving is None else round(arriving, 1),
        read_per_second=None if read is None else round(read, 1),
        current_again_in_seconds=seconds,
    )


def rates(samples: Sequence[tuple[float, int, int]]) -> tuple[float | None, float | None]:
    """Records a second that arrive and that are confirmed, from (seconds, end, committed); None over too short a time.

    What stood still and goes on is measured from there on.
    """
    first, last = samples[0], samples[-1]
    if last[2] != first[2]:
        first = [sample for sample in samples if sample[2] == first[2]][-1]
    span = last[0] - first[0]
    if span < RATES_NEED_S:
        return None, None
    return (last[1] - first[1]) / span, (last[2] - first[2]) / span


def outlook(records: int, arriving: float | None, read: float | None, *, still_s: float) -> tuple[Trend, int | None]:
    """Whether the backlog becomes smaller, and in how many seconds it will be gone, if that can be told.

    Args:
        records: how many wait; 0 while that is not worth saying.
        arriving, read: a second; None if unknown.
        still_s: for how long nothing has been confirmed.
    """
    if records == 0:
        return "current", 0
    if still_s >= STILL_AFTER_S:
        return "standing_still", None
    if arriving is None or not read:
        return "unknown", None
    gain = read - arriving
    if abs(gain) < 0.02 * max(arriving, read):
        return "keeping_distance", None
    if gain < 0:
        return "falling_behind", None
    return "catching_up", max(1, round(records / gain))


def _seconds(now: datetime, past: datetime) -> int:
    return max(0, round((now - past).total_seconds()))
