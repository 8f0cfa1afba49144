"""Pulling: records of another system onto Kafka, at least once, and each counted once.

A source gives batches, each with the cursor that holds once Kafka has it. The order is fixed: publish the batch, bury what could not
be read, wait until Kafka has confirmed all of it, keep the cursor. After a crash between any two steps the batch is published again,
under the same ids, which changes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import KafkaException

from aisleflow import log
from aisleflow.clients import Failures, LastingProducer, kafka_producer, produce
from aisleflow.settings import Settings
from connectors.mapping import Mapped
from schemas.reading import Refusal
from stream_processors.engine.dead_letters import CannotBury, DeadLetter, DeadLetterBox, note_letters

logger = log.get(__name__)
Cursor = dict[str, Any]
STAGE = "connect"
#: Says which connector a record came by: what a system told us is not pushed back to it.
ORIGIN_HEADER = "connector"


class Unavailable(Exception):
    """The other system, or Kafka, does not answer now. Trying again later may help; nothing is lost meanwhile."""


class ConnectError(RuntimeError):
    """The connector cannot work as it is configured; the message says why and what to do."""


@dataclass(frozen=True)
class Pulled:
    """One record of the other system: the facts in it, none for one that is none of our business, or why there are none.

    ``place`` names it to people: ``movements.csv line 7``.
    """

    place: str
    raw: bytes
    facts: Sequence[Mapped] = ()
    topic: str = ""
    """Whose dead letters a refused one joins."""
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Batch:
    """Records, and where to go on after them."""

    records: Sequence[Pulled]
    cursor: Cursor


class Source(Protocol):
    """Something that records are pulled from."""

    @property
    def name(self) -> str:
        """Its name within the connector; its cursor is kept under it."""

    def batches(self, cursor: Cursor) -> Iterator[Batch]:
        """All that is there now, from a cursor on ({}: from the beginning), in batches that fit memory.

        Asking for the next batch tells the source that Kafka has the one before and that its cursor is kept. A batch may hold records
        again that were pulled before, and must when it cannot know.

        Raises:
            Unavailable: not now; batches given before hold.
            ConnectError: not as it is configured.
        """


@dataclass
class Counts:
    """What became of pulled records."""

    records: int = 0
    facts: int = 0
    ignored: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)
    """The first few, in words."""


class Puller:
    """Takes what sources have to Kafka. One for each connector; ``state`` is the folder of its cursors."""

    SHOWN = 10

    def __init__(self, settings: Settings, name: str, state: Path) -> None:
        self._settings = settings
        self._name = name
        self._state = state
        self._producer: LastingProducer = kafka_producer(
            settings, **{"client.id": f"aisleflow-connect-{name}", "log_level": 0}
        )
        self._box = DeadLetterBox(self._producer)

    def pull(self, source: Source) -> Counts:
        """Take all that a source has now, and return when Kafka has it.

        Raises:
            Unavailable, ConnectError: as for ``Source.batches``. What was confirmed is remembered.
        """
        counts = Counts()
        path = self._state / f"{source.name}.json"
        for batch in source.batches(load_cursor(path)):
            self._publish(source, batch.records, counts)
            save_cursor(path, batch.cursor)
        return counts

    def _publish(self, source: Source, records: Sequence[Pulled], counts: Counts) -> None:
        failures = Failures()
        prefix = self._settings.topic_prefix
        origin = [(ORIGIN_HEADER, self._name.encode())]
        letters = []
        try:
            for record in records:
                counts.records += 1
                if record.refusal is not None:
                    letters.append(self._letter(source, record, record.refusal))
                    self._note(record, record.refusal, counts)
                for fact in record.facts:
                    produce(
                        *(self._producer, prefix + fact.topic, fact.value, fact.key),
                        headers=origin,
                        on_delivery=failures,
                    )
                    self._producer.poll(0)
                counts.facts += len(record.facts)
                counts.ignored += not record.facts and record.refusal is None
            if self._producer.flush() or failures:
                raise Unavailable(f"Kafka at {self._settings.kafka_bootstrap} did not take the records: {failures[:1]}")
            self._box.put_now(letters)
        except (CannotBury, KafkaException) as error:
            raise Unavailable(f"Kafka at {self._settings.kafka_bootstrap} did not take the records: {error}") from error
        note_letters(self._settings, letters)

    def _letter(self, source: Source, record: Pulled, refusal: Refusal) -> DeadLetter:
        # It lay on no topic: its place, as a number, tells one letter from another.
        place = int.from_bytes(hashlib.sha256(f"{source.name}\n{record.place}".encode()).digest()[:8]) >> 1
        told = Refusal(refusal.field, f"{record.place}: {refusal.reason}", refusal.event_id)
        joins = self._settings.topic_prefix + record.topic
        return DeadLetter(f"connect:{self._name}", 0, place, None, record.raw, STAGE, told, joins)

    def _note(self, record: Pulled, refusal: Refusal, counts: Counts) -> None:
        counts.refused += 1
        if len(counts.refusals) < self.SHOWN:
            where = f"{refusal.field}: " if refusal.field else ""
            counts.refusals.append(f"{record.place}: {where}{refusal.reason}")


def load_cursor(path: Path) -> Cursor:
    """What was kept; {} at first.

    Raises:
        ConnectError: the file is not what we wrote.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConnectError(
            f"{path} cannot be read ({error}); delete it, and all is pulled again, which changes nothing"
        ) from None
    return found if isinstance(found, dict) else {}


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Keep a cursor: a run killed here, or a machine that loses power, leaves the old or the new one.

    Raises:
        ConnectError: there is no room for it, or no right to write it.
    """
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w") as file:
            json.dump(cursor, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ConnectError(
            f"{path} cannot be written ({error.strerror}): what was pulled is in Kafka, and comes again until it can be"
        ) from error


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a connector's folder of cursors for this process alone.

    Raises:
        ConnectError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConnectError(f"another `aisleflow connect` runs this connector: {folder}") from None
        yield


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Ever longer pauses, drawn from the half below a bound that doubles: many that failed at once do not come back at once."""
    bound = first_s
    while True:
        yield bound * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing
        bound = min(bound * 2, longest_s)


def latest_ms(settings: Settings) -> int:
    """The newest timestamp that is taken now, milliseconds since 1970."""
    return int(time.time() * 1000) + settings.max_future_minutes * 60_000
