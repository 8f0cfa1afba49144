"""Looking at dead letters, and having done with them: published again, or dropped.

Nothing can be taken out of a Kafka topic that deletes by age, so what was done is a record beside the letters: a
*mark*, in the same partition, with the header ``handled`` and the offsets that it is about. The letters that still wait
are those that no later mark names. A mark lives as long as its topic keeps it and is younger than its letters, so no
letter comes back; letters and marks together are the whole truth, and nothing else needs to be backed up or kept in
step.

Letters are published again before they are marked: after a crash in between they are published twice, which is
harmless, because every fact has an identity.
"""

from __future__ import annotations

import json
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO, Literal

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from urllib3.exceptions import HTTPError

from aisleflow import tracing
from aisleflow.clients import Failures, LastingProducer, clickhouse_client, kafka_config, kafka_producer
from aisleflow.settings import Settings
from schemas import topics
from schemas.reading import READERS, Refusal, store_in
from schemas.topics import DOOR
from stream_processors.engine.dead_letters import COLUMNS, TABLE
from stream_processors.engine.sink import ClickHouseSink

Handled = Literal["replayed", "dropped"]
Span = tuple[int, int]
"""First and last offset."""

MARK_HEADER = "handled"
SPANS_PER_MARK = 10_000
BATCH = 100  # letters of up to a mebibyte
ANSWER_WITHIN_S = 30.0
PARTITION = 0  # dead letters have one partition, so an offset names a letter


class UnknownTopic(ValueError):
    """No topic of the registry has this name, or it has no dead letters."""


@dataclass(frozen=True)
class Letter:
    """One record of a topic of dead letters: a letter or, among them, a mark."""

    offset: int
    at_ms: int
    """When it was buried, milliseconds since 1970."""
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def kind(self) -> tuple[str, str]:
        """The field at fault (empty for the whole record) and the reason."""
        return self.headers.get("field", ""), self.headers.get("error", "")

    @property
    def is_mark(self) -> bool:
        """Whether it says what was done with others."""
        return MARK_HEADER in self.headers

    def row(self, handled: Handled) -> tuple[Any, ...]:
        """Its row in the table ``dead_letters``."""
        field, reason = self.kind
        return (
            *(self.headers.get("topic", ""), int(self.headers.get("partition", 0)), int(self.headers.get("offset", 0))),
            *(self.at_ms / 1000, self.headers.get("stage", ""), field or "record", reason),
            *((self.key or b"").decode(errors="replace"), handled),
        )

    def marked(self) -> list[Span]:
        """The offsets that a mark is about."""
        return [(first, last) for first, last in json.loads(self.value or b"")["offsets"]]


@dataclass
class Kind:
    """Waiting letters of one field and reason."""

    count: int = 0
    newest: int = 0
    newest_ms: int = 0


@dataclass
class Summary:
    """The waiting letters of one topic."""

    count: int = 0
    oldest_ms: int = 0
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)

    def add(self, letter: Letter) -> None:
        """Count one more."""
        self.oldest_ms = min(self.oldest_ms or letter.at_ms, letter.at_ms)
        self.count += 1
        kind = self.kinds.setdefault(letter.kind, Kind())
        kind.count += 1
        kind.newest, kind.newest_ms = letter.offset, letter.at_ms


@dataclass(frozen=True)
class Choice:
    """Which of the waiting letters: all of them, or those that match everything given."""

    offsets: frozenset[int] | None = None
    field: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is one of them."""
        return (self.offsets is None or letter.offset in self.offsets) and self.field in (None, letter.kind[0])


@dataclass
class Replayed:
    """What became of the chosen letters."""

    published: int = 0
    unreadable: list[tuple[int, Refusal]] = field(default_factory=list)
    """Letters left waiting, because this version cannot read them either."""


class Desk:
    """The dead letters of one topic of facts.

    Every method may raise ``KafkaException`` (Kafka does not answer or refuses) and ``TimeoutError`` (it stopped
    answering).
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        """``topic`` is a name of the registry, without the prefix, with or without ``.dlq``.

        Raises:
            UnknownTopic: see there.
        """
        source = topics.TOPICS.get(topic.removeprefix(settings.topic_prefix).removesuffix(".dlq"))
        if source is None or source.dead_letters is None:
            known = ", ".join(name for name, entry in topics.TOPICS.items() if entry.dead_letters)
            raise UnknownTopic(f"{topic!r} is not a topic with dead letters; there are {known}")
        self._settings = settings
        self.source = source.name
        self._source_topic = settings.topic_prefix + source.name
        self._topic = settings.topic_prefix + source.dead_letters
        self.untold = ""
        """Why ClickHouse's table ``dead_letters`` does not know what was done; empty if it does."""

    def summary(self) -> Summary:
        """How many letters wait, and why."""
        summary = Summary()
        for letter in self.waiting():
            summary.add(letter)
        return summary

    def waiting(self, choice: Choice | None = None) -> Iterator[Letter]:
        """The letters that nobody has handled, oldest first, as they are now."""
        with _Log(self._settings, self._topic) as log:
            handled = _Spans(span for record in log.records() if record.is_mark for span in record.marked())
            for record in log.records():
                if not record.is_mark and record.offset not in handled and (choice is None or choice.takes(record)):
                    yield record

    def letter(self, offset: int) -> Letter | None:
        """The letter at an offset, handled or not; None if there is none (any more)."""
        with _Log(self._settings, self._topic) as log:
            for record in log.records(first=offset):
                return record if record.offset == offset and not record.is_mark else None
        return None

    def replay(self, choice: Choice, edits: Mapping[int, bytes] | None = None) -> Replayed:
        """Publish letters to the source topic again, with their original keys and bytes, and mark them replayed.

        A letter that this version cannot read either stays: it would only be buried again, and many at once would stop
        the workers.

        Args:
            choice: which letters.
            edits: bytes to publish instead, by offset; the key is then the store that they name.
        """
        outcome = Replayed()
        letters = self.waiting(choice)
        while batch := list(islice(letters, BATCH)):
            records, published = [], []
            for letter in batch:
                edited = (edits or {}).get(letter.offset)
                value = letter.value if edited is None else edited
                found = self._read(letter, value)
                if isinstance(found, Refusal):
                    outcome.unreadable.append((letter.offset, found))
                    continue
                key = letter.key if edited is None or found is None else found.encode()
                origin = {"replayed_from": f"{self._topic}/{letter.offset}"}
                if traceparent := letter.headers.get(tracing.HEADER):
                    origin[tracing.HEADER] = traceparent
                records.append((self._door_of(letter) or self._source_topic, key, value, origin))
                published.append(letter)
            self._publish(records)
            self.mark([letter.offset for letter in published], "replayed")
            self.note(published, "replayed")
            outcome.published += len(records)
        return outcome

    def _read(self, letter: Letter, value: bytes | None) -> str | Refusal | None:
        """The store that a letter's bytes are about, or why they cannot be read; None if no reader knows the topic yet.

        Published now, it arrives now. What came in by a shop's door goes there again, and passes for no other shop.
        """
        if value is not None and self.source not in READERS:
            return None
        found = store_in(self.source, value, int(time.time() * 1000) + self._settings.max_future_minutes * 60_000)
        shop = self._door_of(letter).partition(DOOR)[2]
        if shop and isinstance(found, str) and found != shop:
            return Refusal("store_id", f"is {found}, and this came from a producer of {shop}")
        return found

    def _door_of(self, letter: Letter) -> str:
        """The door that a letter came in by; empty if by none."""
        topic = letter.headers.get("topic", "")
        return topic if topic.startswith(self._source_topic + DOOR) else ""

    def mark(self, offsets: Iterable[int], handled: Handled) -> None:
        """Remember that the letters at these ascending offsets need no more attention. Kafka keeps their bytes."""
        spans = spans_over(offsets)
        for start in range(0, len(spans), SPANS_PER_MARK):
            value = json.dumps({"offsets": spans[start : start + SPANS_PER_MARK]}).encode()
            self._publish([(self._topic, None, value, {MARK_HEADER: handled})])

    def note(self, letters: Iterable[Letter], handled: Handled) -> None:
        """Say in ClickHouse's table ``dead_letters`` what was done with letters; ``untold`` says why that failed.

        Marks are the truth, the table is for dashboards: an installation may have none.
        """
        rows = [letter.row(handled) for letter in letters]
        try:
            if rows and self._settings.clickhouse_url is not None:
                # A worker's `updated_at` is the server's time of insertion, and so is this one, which is later.
                ClickHouseSink(self._clickhouse).insert_blocking(TABLE, COLUMNS, rows, str(uuid.uuid4()))
        except (ClickHouseError, HTTPError, OSError) as error:
            self.untold = str(error).splitlines()[0]

    @cached_property
    def _clickhouse(self) -> Client:
        return clickhouse_client(self._settings)

    @cached_property
    def _producer(self) -> LastingProducer:
        return kafka_producer(self._settings)

    def _publish(self, records: Sequence[tuple[str, bytes | None, bytes | None, dict[str, str]]]) -> None:
        """Publish (topic, key, value, headers) and return when Kafka has acknowledged all of them."""
        failures = Failures()
        for topic, key, value, headers in records:
            self._producer.produce(topic, value, key, headers=list(headers.items()), on_delivery=failures)
        if records and self._producer.flush(ANSWER_WITHIN_S * 2):
            raise TimeoutError("Kafka does not answer; what it did not acknowledge still waits")
        failures.raise_first()


def write_for_editing(letters: Iterable[Letter], file: BinaryIO) -> int:
    """Write letters as lines of offset, tab and bytes, for an editor; line breaks within one become spaces. Their
    number.
    """
    count = 0
    for letter in letters:
        count += 1
        file.write(b"%d\t%s\n" % (letter.offset, b" ".join((letter.value or b"").splitlines())))
    return count


def read_edited(file: BinaryIO) -> dict[int, bytes]:
    """The bytes by offset from a file as ``write_for_editing`` makes it; lines may be missing.

    Raises:
        ValueError: a line does not begin with an offset and a tab.
    """
    edits = {}
    for number, line in enumerate(file, 1):
        offset, tab, value = line.rstrip(b"\r\n").partition(b"\t")
        if not tab or not offset.isdigit():
            raise ValueError(f"line {number} does not begin with an offset and a tab")
        edits[int(offset)] = value
    return edits


class _Log:
    """A topic's only partition from its first record to what was its last on entering."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **kafka_config(settings),
                # Required, but never used: offsets are neither committed nor asked for.
                "group.id": f"{settings.consumer_group}.dead-letters",
                "enable.auto.commit": False,
                # What retention removes while we read is gone for everybody.
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # A fetch that waits at the end of the log would hold up the next reading from its start.
                "fetch.wait.max.ms": 10,
                "log_level": 2,
            }
        )

    def __enter__(self) -> _Log:
        try:
            partition = TopicPartition(self._topic, PARTITION)
            marks = self._consumer.get_watermark_offsets(partition, timeout=ANSWER_WITHIN_S)
            if marks is None:
                raise TimeoutError(f"Kafka does not say how long {self._topic} is")
            self._first, self._end = marks
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def records(self, first: int = 0) -> Iterator[Letter]:
        """Every record from an offset on."""
        start = max(first, self._first)
        if start >= self._end:
            return
        self._consumer.assign([TopicPartition(self._topic, PARTITION, start)])
        # One by one: consume() would wait for a full list.
        while (message := self._consumer.poll(ANSWER_WITHIN_S)) is not None:
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
            record = _letter(message)
            if record.offset < self._end:
                yield record
            if record.offset >= self._end - 1:
                return
        raise TimeoutError(f"Kafka stopped answering while {self._topic} was read")


class _Spans:
    """A set of offsets as spans, since mostly whole runs of letters are handled at once."""

    def __init__(self, spans: Iterator[Span]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(spans):
            if self._ends and first <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], last)
            else:
                self._starts.append(first)
                self._ends.append(last)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset <= self._ends[index]


def spans_over(offsets: Iterable[int]) -> list[Span]:
    """Ascending offsets as spans without a gap."""
    spans: list[Span] = []
    for offset in offsets:
        if spans and offset == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], offset)
        else:
            spans.append((offset, offset))
    return spans


def _letter(message: Message) -> Letter:
    headers: Any = message.headers() or ()
    texts = {name: (value or b"").decode(errors="replace") for name, value in headers}
    offset: Any = message.offset()  # what was consumed has one
    return Letter(offset, message.timestamp()[1], message.key(), message.value(), texts)
