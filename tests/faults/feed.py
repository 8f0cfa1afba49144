"""What the simulated shops send, through Kafka and over HTTP, and what of it was acknowledged."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
from confluent_kafka import KafkaError

from aisleflow.clients import kafka_producer, produce
from aisleflow.settings import Settings
from producers.simulator.faults import Faults, malform
from producers.simulator.shops import Shop, layouts
from producers.simulator.stream import stream
from schemas.topics import STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS
from tests.system.truth import LAYOUTS_MADE, Record

KAFKA_FAULTS = Faults(duplicates=0.05, changed=0.01, late=0.03, shuffled=0.1, malformed=0.02, dead_camera=0.15)
# A malformed item would not make a JSON body; the API's judgement of items has tests of its own.
HTTP_FAULTS = Faults(duplicates=0.05, changed=0.01, late=0.03, shuffled=0.1, malformed=0.0, dead_camera=0.15)
POISON_EVERY = 25
HTTP_BATCH = 40
_TIMES = ("timestamp", "event_timestamp", "event_time", "queue_join_ts", "queue_served_ts", "queue_exit_ts")

Place = tuple[str, int]
"""(topic, partition)"""


@dataclass(frozen=True)
class Clock:
    """How a sender's clock is wrong. Its event times are shifted, or all lie around ``around``; ``kafka_ms`` is the time that
    it tells Kafka.
    """

    shift: timedelta = timedelta(0)
    around: datetime | None = None
    kafka_ms: int | None = None

    def tell(self, value: bytes) -> bytes:
        """The same record, told by this clock."""
        if not self.shift and self.around is None:
            return value
        try:
            record = orjson.loads(value)
            known = {name: datetime.fromisoformat(record[name]) for name in _TIMES if record.get(name)}
        except (ValueError, TypeError, AttributeError):
            return value
        if not known:
            return value
        first = min(known.values())
        shift = self.shift if self.around is None else self.around.replace(tzinfo=first.tzinfo) - first
        return orjson.dumps(record | {name: (at + shift).isoformat() for name, at in known.items()})


class Feed:
    """Publishes for as long as it is not stopped.

    Kafka's shops send with every fault, and every 25th record is poison; HTTP's shops post batches, each until it is taken.
    """

    def __init__(
        self, settings: Settings, url: str, shops: Sequence[Shop], days: Sequence[date], seed: int, per_second: float
    ) -> None:
        # Two of the shops with cameras of our make, so that their events are items that `events` takes.
        over_http = [shop for shop in shops if shop.has_layout and not shop.dialect][:2]
        over_kafka = [shop for shop in shops if shop not in over_http]
        self._settings = settings
        self._url = url
        self._rng = Random(f"feed {seed}")
        self._producer = kafka_producer(settings, **{"delivery.timeout.ms": 900_000, "log_level": 0})
        self._per_second = per_second
        self._lock = threading.Lock()
        self._stop, self._going = threading.Event(), threading.Event()
        self._recent: deque[Record] = deque(maxlen=5_000)
        self.clock = Clock()
        self.sent = self.posted = 0
        #: Offset and hash of what Kafka has acknowledged.
        self.acknowledged: dict[Place, dict[int, int]] = defaultdict(dict)
        self.not_acknowledged: Counter[str] = Counter()
        #: Event ids, and (store, transaction id), that the API has taken.
        self.taken_events: set[str] = set()
        self.taken_receipts: set[tuple[str, str]] = set()
        #: What must not be: the API refused something valid, or a thread of this feed ended.
        self.failures: list[str] = []
        for store_id, layout in layouts(list(shops), LAYOUTS_MADE):
            self._produce((STORE_LAYOUTS.name, store_id, layout))
        self._threads = [
            threading.Thread(
                target=self._go, args=(self._publish, stream(over_kafka, days, seed, faults=KAFKA_FAULTS))
            ),
            threading.Thread(target=self._go, args=(self._post, stream(over_http, days, seed, faults=HTTP_FAULTS))),
        ]
        for thread in self._threads:
            thread.start()
        self._going.set()

    # --- what faults do to it ------------------------------------------------------------------------------------------

    def repeat(self, count: int) -> None:
        """Send some of the last records again, in another order."""
        with self._lock:
            recent = list(self._recent)
        for record in self._rng.sample(recent, min(count, len(recent))):
            self._produce(record)

    def poison(self, count: int) -> None:
        """Send records that nobody can read."""
        for _ in range(count):
            self._produce(self._bad())

    def _bad(self) -> Record:
        with self._lock:
            topic, key, good = self._rng.choice(self._recent or [(VISIT_EVENTS.name, "ST1001", b'{"event_id":1}')])
        topic = topic if topic != STORE_LAYOUTS.name else VISIT_EVENTS.name
        if self._rng.random() < 0.7:
            with suppress(ValueError, AttributeError, TypeError):  # the record may be malformed already
                return topic, key, malform(good, self._rng)
        strange = (b"", b"\x80" * 40, b"[" * 5_000, b'{"a":' * 2_000, b"{}", b'"' + b"x" * 300_000 + b'"')
        return topic, key, self._rng.choice(strange)

    # --- going on ------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Send nothing more, and return when everything that was sent is acknowledged or refused.

        Raises:
            TimeoutError: Kafka did not acknowledge it.
        """
        self._going.clear()
        deadline = time.monotonic() + 300
        while self._producer.flush(1) or self._posting:
            if time.monotonic() > deadline:
                raise TimeoutError("Kafka or the API did not acknowledge everything in time")

    def resume(self) -> None:
        """Send again."""
        self._going.set()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        self._going.set()
        for thread in self._threads:
            thread.join()

    def _go(self, work: Callable[[Iterator[Any]], None], records: Iterator[Any]) -> None:
        try:
            work(records)
            if not self._stop.is_set():
                raise RuntimeError("the simulated days are over: give it more")
        except Exception as error:
            self.failures.append(f"the feed ended: {error!r}")
            raise

    def _paced(self, records: Iterator[Any], per_second: float) -> Iterator[Record]:
        due = time.monotonic()
        for topic, key, value in ((sent.topic, sent.key, sent.value) for sent in records):
            if not self._going.is_set():
                self._going.wait()
                due = time.monotonic()
            if self._stop.is_set():
                return
            yield topic, key, value
            due += 1 / per_second
            self._producer.poll(0)
            if (ahead := due - time.monotonic()) > 0.01:
                time.sleep(ahead)

    def _publish(self, records: Iterator[Any]) -> None:
        for number, (topic, key, value) in enumerate(self._paced(records, self._per_second)):
            record = topic, key, self.clock.tell(value)
            self._produce(record)
            with self._lock:
                self._recent.append(record)
            if number % POISON_EVERY == 0:
                self._produce(self._bad())

    def _produce(self, record: Record) -> None:
        topic, key, value = record
        told = {} if self.clock.kafka_ms is None else {"timestamp": self.clock.kafka_ms}
        name = self._settings.topic_prefix + topic
        produce(self._producer, name, value, key.encode(), on_delivery=self._delivered, **told)
        self.sent += 1

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        with self._lock:
            if error is None:
                place = message.topic(), message.partition()
                self.acknowledged[place][message.offset()] = hash((message.key(), message.value()))
            else:
                self.not_acknowledged[error.name()] += 1

    # --- over HTTP -----------------------------------------------------------------------------------------------------

    _posting = False

    def _post(self, records: Iterator[Any]) -> None:
        batches: dict[str, list[bytes]] = {VISIT_EVENTS.name: [], TRANSACTIONS.name: []}
        for topic, _, value in self._paced(records, self._per_second / 5):
            batches[topic].append(value)
            if len(batches[topic]) == HTTP_BATCH:
                self._posting = True
                self._post_batch(topic, batches[topic])
                self._posting = False
                batches[topic] = []

    def _post_batch(self, topic: str, values: list[bytes]) -> None:
        path, name = ("events", "events") if topic == VISIT_EVENTS.name else ("transactions", "transactions")
        body = b'{"%b":[%b]}' % (name.encode(), b",".join(values))
        while not self._stop.is_set():
            headers = {"Content-Type": "application/json"}
            try:
                with urlopen(Request(f"{self._url}/{path}/ingest", body, headers), timeout=20) as answer:
                    told = orjson.loads(answer.read())
            except HTTPError as error:
                if error.code < 500:
                    self.failures.append(f"{path}: {error.code} {error.read()[:200]!r}")
                    return
            except (OSError, ValueError):
                pass
            else:
                if told["errors"]:
                    self.failures.append(f"{path}: {told['error_details'][:1]}")
                self.posted += len(values)
                for record in map(orjson.loads, values):
                    if topic == VISIT_EVENTS.name:
                        self.taken_events.add(record["event_id"].lower())
                    else:
                        self.taken_receipts.add((record["store_id"], record["transaction_id"]))
                return
            self._stop.wait(0.5)


def days_from(first: date, count: int) -> list[date]:
    """Days one after another."""
    return [first + timedelta(days=number) for number in range(count)]


def ahead(**by: float) -> datetime:
    """Now, and so much later."""
    return datetime.now(UTC) + timedelta(**by)
