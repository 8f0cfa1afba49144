"""Traffic for the benchmarks, several times faster than the simulator, and a sender that keeps its pace.

Visitors follow one of a few routes through a shop, so that each kind of event, receipts, queues and abandonment occur in steady
shares; a few records come twice or late. What a shop does makes no sense beyond that: for figures that mean something take the
simulator.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

from aisleflow.clients import kafka_producer, produce
from aisleflow.settings import Settings
from schemas.topics import TRANSACTIONS, VISIT_EVENTS

Record = tuple[str, str, bytes]
"""(topic, key, value)"""

PAYS = "pays"
# (event_type or PAYS, zone, camera)
ROUTES: tuple[tuple[tuple[str, str, str], ...], ...] = (
    (
        ("ENTRY", "", "DOOR"),
        ("ZONE_ENTER", "SKINCARE", "FLOOR_1"),
        ("ZONE_DWELL", "SKINCARE", "FLOOR_1"),
        ("ZONE_EXIT", "SKINCARE", "FLOOR_1"),
        ("ZONE_ENTER", "MAKEUP", "FLOOR_2"),
        ("ZONE_EXIT", "MAKEUP", "FLOOR_2"),
        ("EXIT", "", "DOOR"),
    ),
    (
        ("ENTRY", "", "DOOR"),
        ("ZONE_ENTER", "SNACKS", "FLOOR_1"),
        ("ZONE_EXIT", "SNACKS", "FLOOR_1"),
        ("ZONE_ENTER", "BILLING", "TILL"),
        ("BILLING_QUEUE_JOIN", "BILLING", "TILL"),
        (PAYS, "", ""),
        ("ZONE_EXIT", "BILLING", "TILL"),
        ("EXIT", "", "DOOR"),
    ),
    (
        ("ENTRY", "", "DOOR"),
        ("ZONE_ENTER", "DRINKS", "FLOOR_2"),
        ("ZONE_DWELL", "DRINKS", "FLOOR_2"),
        ("ZONE_EXIT", "DRINKS", "FLOOR_2"),
        ("ZONE_ENTER", "BILLING", "TILL"),
        ("BILLING_QUEUE_JOIN", "BILLING", "TILL"),
        ("BILLING_QUEUE_ABANDON", "BILLING", "TILL"),
        ("EXIT", "", "DOOR"),
    ),
    (("ENTRY", "", "DOOR"), ("EXIT", "", "DOOR")),
)
TWICE_EVERY, LATE_EVERY, LATE_BY = 200, 200, 2_000
CHUNK = 2_000


def store_names(count: int) -> list[str]:
    """Shops of a chain of that size."""
    return [f"STORE_{number:06d}" for number in range(count)]


class Traffic:
    """An endless stream of records.

    Args:
        stores: the shops; each gets the same share, chosen at random.
        seed: the same seed makes the same records.
        start_ms: event time of the first record.
        per_second: records in a second of event time.
        open_visits: visitors who are in a shop at once.
        loud: a further shop that makes half of all records.
    """

    def __init__(
        self,
        stores: Sequence[str],
        seed: int,
        start_ms: float,
        per_second: float,
        *,
        open_visits: int = 8,
        loud: str | None = None,
    ) -> None:
        self._chance = random.Random(seed)
        self._stores = stores
        self._loud = loud
        self._loud_visits = open_visits * len(stores)
        self._open_visits = open_visits
        self._visits: dict[str, list[tuple[int, int, int]]] = {}
        self._next: dict[str, int] = {}
        self._visitors = 0
        self._clock = start_ms
        self._step = 1000 / per_second
        self._sent = 0
        self._late: deque[tuple[int, Record]] = deque()
        self._second = (0, "")

    def _time(self) -> str:
        second, text = self._second
        clock = int(self._clock)
        if clock // 1000 != second:
            second, text = clock // 1000, datetime.fromtimestamp(clock // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second, text
        return f"{text}.{clock % 1000:03d}Z"

    def take(self, count: int) -> list[Record]:
        """The next records, that many or one in a hundred more."""
        stores = self._chance.choices(self._stores, k=count)
        ids = self._chance.randbytes(16 * count).hex()
        records: list[Record] = []
        for number, store in enumerate(stores):
            if self._loud is not None and number % 2:
                store = self._loud
            self._clock += self._step
            self._sent += 1
            record = self._record(store, ids[32 * number : 32 * number + 32])
            if self._sent % LATE_EVERY == 0:
                self._late.append((self._sent + LATE_BY, record))
                continue
            records.append(record)
            if self._sent % TWICE_EVERY == 50:
                records.append(record)
            while self._late and self._late[0][0] <= self._sent:
                records.append(self._late.popleft()[1])
        return records

    def _record(self, store: str, random_id: str) -> Record:
        slots = self._visits.setdefault(store, [])
        turn = self._next.get(store, 0)
        self._next[store] = turn + 1
        size = self._loud_visits if store == self._loud else self._open_visits
        slot = turn % size
        if slot == len(slots):
            slots.append((-1, 0, 0))
        visitor, route, position = slots[slot]
        if visitor < 0:
            visitor, route, position = self._visitors, self._visitors % len(ROUTES), 0
            self._visitors += 1
        steps = ROUTES[route]
        event_type, zone, camera = steps[position]
        slots[slot] = (visitor, route, position + 1) if position + 1 < len(steps) else (-1, 0, 0)
        at = self._time()
        if event_type == PAYS:
            value = (
                f'{{"store_id":"{store}","transaction_id":"T-{visitor}","timestamp":"{at}","basket_value":"{visitor % 500}.90",'
                f'"currency":"EUR","payment_kind":"card","lines":[{{"sku":"S-{visitor % 90}","quantity":"1",'
                f'"unit_price":"{visitor % 500}.90"}}]}}'
            )
            return TRANSACTIONS.name, store, value.encode()
        zone_id = f'"{zone}"' if zone else "null"
        dwell = 30_000 if event_type == "ZONE_DWELL" else 0
        value = (
            f'{{"event_id":"{random_id[:8]}-{random_id[8:12]}-4{random_id[13:16]}-8{random_id[17:20]}-{random_id[20:]}",'
            f'"store_id":"{store}","camera_id":"{camera}","visitor_id":"VIS_{visitor:08d}","event_type":"{event_type}",'
            f'"timestamp":"{at}","zone_id":{zone_id},"dwell_ms":{dwell},"is_staff":false,"confidence":0.93,'
            f'"metadata":{{"queue_depth":null,"sku_zone":null,"session_seq":{position + 1}}}}}'
        )
        return VISIT_EVENTS.name, store, value.encode()


def publish(settings: Settings, records: Sequence[Record]) -> None:
    """Put records on the log and return when Kafka has acknowledged all.

    Raises:
        KafkaException, TimeoutError: it did not.
    """
    failed: list[Any] = []
    producer = kafka_producer(settings)

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    for topic, key, value in records:
        produce(producer, settings.topic_prefix + topic, value, key, on_delivery=delivered)
        producer.poll(0)
    if producer.flush(120):
        raise TimeoutError("Kafka did not acknowledge everything in time")
    if failed:
        raise KafkaException(failed[0])


class Sent(NamedTuple):
    """What a sender did."""

    records: int
    seconds: float
    cpu_s: float
    worst_behind_s: float
    """How far it fell behind its own schedule at worst; beyond some tenths the load was not what it should be."""


@dataclass(frozen=True)
class Load:
    """What a sender is to send: ``per_second`` records of this many shops, for ``seconds`` (or until told to stop)."""

    per_second: float
    stores: int
    seconds: float
    seed: int = 1
    loud: str | None = None


class Sender:
    """Sends traffic at a pace that does not depend on what takes it (open loop), from a process of its own.

    Event time is the wall clock. Use as a context: leaving it stops the sender.
    """

    def __init__(self, settings: Settings, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._result: Any = context.SimpleQueue()
        self._stop = context.Event()
        self._process = context.Process(
            target=_send, args=(settings, load, self._stop, self._result), name="sender", daemon=True
        )
        self._sent: Sent | None = None

    def __enter__(self) -> Sender:
        self._process.start()
        self._result.get()  # the first records are ready
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_sending(self) -> bool:
        """Whether its time is not over yet."""
        return self._process.is_alive()

    def stop(self) -> Sent:
        """End it, and say what it has sent; Kafka has acknowledged all of that.

        Raises:
            RuntimeError: it failed.
        """
        if self._sent is None:
            self._stop.set()
            found = self._result.get()
            self._process.join()
            if not isinstance(found, Sent):
                raise RuntimeError(f"the sender failed: {found}")
            self._sent = found
        return self._sent


def _send(settings: Settings, load: Load, stop: Any, result: Any) -> None:
    try:
        producer = kafka_producer(settings)
        failed: list[Any] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error)

        chunks = _chunks(load)
        chunk = next(chunks)
        result.put("ready")
        began, cpu = time.monotonic(), time.process_time()
        sent, worst = 0, 0.0
        while not stop.is_set() and time.monotonic() - began < load.seconds:
            for topic, key, value in chunk:
                produce(producer, settings.topic_prefix + topic, value, key, on_delivery=delivered)
            sent += len(chunk)
            chunk = next(chunks)
            producer.poll(0)
            ahead = sent / load.per_second - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
            worst = max(worst, -ahead)
        seconds, used = time.monotonic() - began, time.process_time() - cpu
        if producer.flush(60) or failed:
            raise KafkaException(failed[0] if failed else "not acknowledged in time")
        result.put(Sent(sent, seconds, used, worst))
    except Exception as error:  # said in the parent
        result.put(repr(error))


def _chunks(load: Load) -> Iterator[list[Record]]:
    """Traffic in pieces of a fiftieth of a second, at most."""
    traffic = Traffic(store_names(load.stores), load.seed, time.time() * 1000, load.per_second, loud=load.loud)
    while True:
        yield traffic.take(max(1, min(CHUNK, int(load.per_second / 50))))
