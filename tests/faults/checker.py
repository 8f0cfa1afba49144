"""Proves that nothing is lost, doubled or wrong: while faults happen, and when it is quiet.

The log is read as a consumer of its own, and everything on it goes to the simulator's oracle, which shares no code with
the workers. While it runs, what the group has committed is sampled and looked for in ClickHouse; when it is quiet, every
table and every answer is compared.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from urllib3.exceptions import HTTPError

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from producers.simulator.answers import Day, World, _read_visit_events, zone_visits
from schemas.events import StoreLayout, Transaction
from schemas.topics import STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS
from stream_processors.stock.derivation import receipt_id
from tests.faults.feed import Feed, Place
from tests.system.truth import Ask, wrong_answers

SENT = (VISIT_EVENTS.name, TRANSACTIONS.name, STORE_LAYOUTS.name)
"""Topics that the harness feeds."""
CHUNK = 4_000
EVERY_S = 0.5
# A reader that brings nothing for so long, of a log that has more, is replaced; the next one is given twice the time.
PATIENCE_S = 5.0

Letter = tuple[str, int, int]
"""(topic, partition, offset) of a refused record"""


@dataclass
class Promise:
    """What must be so once the offset behind a record is committed."""

    offset: int
    letter: Letter | None = None
    events: tuple[tuple[str, str, str], ...] = ()
    """(event_id, store_id, visitor_id)"""
    receipt: tuple[str, str] | None = None
    layout: str | None = None


@dataclass
class Recovery:
    """Waits until the workers have confirmed what was on the log when a fault was over."""

    ends: dict[Place, int] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Checker(threading.Thread):
    """Samples all the time; ``compare`` says at a quiet moment what is wrong.

    Args:
        settings: through the proxies, as everybody sees it.
        direct: the same without them, for questions to ClickHouse that no proxy disturbs.
    """

    def __init__(self, settings: Settings, direct: Settings, feed: Feed) -> None:
        super().__init__(name="checker", daemon=True)
        self._settings, self._direct, self._feed = settings, direct, feed
        self.world = World(int(time.time() * 1000) + settings.max_future_minutes * 60_000)
        self.violations: list[str] = []
        self.samples = self.promises_kept = 0
        #: Why samples were not taken.
        self.hindrances: Counter[str] = Counter()
        self.recoveries: list[Recovery] = []
        self._client: Client | None = None
        client: dict[str, Any] = {
            "bootstrap.servers": settings.kafka_bootstrap,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,
        }
        self._config = {**client, "group.id": settings.consumer_group, "enable.auto.commit": False}
        # Questions have a connection of their own: behind a fetch that waits for records they would wait too.
        self._group = Consumer(self._config)
        known = self._group.list_topics(timeout=30).topics
        self._topics = [settings.topic_prefix + name for name in SENT]
        self._places = [(name, number) for name in self._topics for number in known[name].partitions]
        self._graves = [(f"{name}.dlq", number) for name in self._topics for number in known[f"{name}.dlq"].partitions]
        self._read = dict.fromkeys([*self._places, *self._graves], 0)
        self._reader = self._new_reader()
        self._promised: dict[Place, deque[Promise]] = defaultdict(deque)
        self._due: list[tuple[Place, Promise]] = []
        self._on_log: dict[Place, dict[int, int]] = defaultdict(dict)
        self._counted: set[str] = set()
        self._below: Counter[tuple[str, str]] = Counter()
        self._refused: dict[Letter, tuple[bytes | None, bytes | None]] = {}
        self._letters: dict[Letter, set[tuple[bytes | None, bytes | None]]] = defaultdict(set)
        self._ending = threading.Event()
        self._lock = threading.Lock()

    # --- all the time --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Sample until ``end``; a part that is away is asked again."""
        while not self._ending.wait(EVERY_S):
            with self._lock:
                try:
                    self.sample()
                except (KafkaException, ClickHouseError, HTTPError, OSError, TimeoutError) as error:
                    self.hindrances[repr(error)[:100]] += 1
                except Exception as error:  # the run must not pass because its checker has died
                    self.violations.append(f"the checker failed: {error!r}")
                    raise

    def rest(self) -> None:
        """Stop sampling; ``compare`` may still be asked."""
        self._ending.set()
        self.join()

    def end(self) -> None:
        """Stop for good."""
        self.rest()
        self._group.close()
        self._reader.close()

    def recovery(self) -> threading.Event:
        """Set once the workers have confirmed what is on the log now."""
        recovery = Recovery()
        self.recoveries.append(recovery)
        return recovery.done

    def sample(self) -> None:
        """Take the committed offsets, then look for all that is below them."""
        committed = self._committed()
        waiting = list(self.recoveries)
        ends = self._ends(self._places) if any(not recovery.ends for recovery in waiting) else {}
        for recovery in waiting:
            recovery.ends = recovery.ends or ends
            if all(committed[place] >= end for place, end in recovery.ends.items()):
                recovery.done.set()
                self.recoveries.remove(recovery)
        self._read_to(committed)
        for place, offset in committed.items():
            promised = self._promised[place]
            while promised and promised[0].offset < offset:
                self._due.append((place, promised.popleft()))
        if self._due:
            self._look_for(self._due)
            self.promises_kept += len(self._due)
            self._due = []
        self.samples += 1

    def _committed(self) -> dict[Place, int]:
        asked = self._group.committed([TopicPartition(*place) for place in self._places], timeout=3)
        for place in asked:
            if place.error is not None:
                raise KafkaException(place.error)
        return {(place.topic, place.partition): max(place.offset, 0) for place in asked}

    def _ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return {place: self._group.get_watermark_offsets(TopicPartition(*place), timeout=3)[1] for place in places}

    def _new_reader(self) -> Consumer:
        """It goes on behind what was read. Where Kafka says that this is not its log, it begins again, and ``_take`` compares."""
        reader = Consumer({**self._config, "auto.offset.reset": "earliest"})
        reader.assign([TopicPartition(*place, offset) for place, offset in self._read.items()])
        return reader

    def _read_to(self, ends: dict[Place, int], within_s: float = 10) -> None:
        """Read the log at least so far.

        Raises:
            TimeoutError: not within this time.
        """
        got = began = time.monotonic()
        patience = PATIENCE_S
        while behind := {place: (self._read[place], end) for place, end in ends.items() if self._read[place] < end}:
            now = time.monotonic()
            if now > began + within_s:
                raise TimeoutError(f"the log could not be read: {behind}")
            if now > got + patience:
                self.hindrances["a reader was replaced"] += 1
                self._reader.close()
                self._reader, got, patience = self._new_reader(), now, patience * 2
            for message in self._reader.consume(2_000, 0.3):
                if (error := message.error()) is None:
                    self._take(message)
                    got = now
                elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                    raise KafkaException(error)

    def _take(self, message: Any) -> None:
        place, offset = (message.topic(), message.partition()), message.offset()
        key, value = message.key(), message.value()
        if offset < self._read[place]:  # again
            if place in self._places and self._on_log[place].get(offset) != hash((key, value)):
                self._violation(f"{place} has another record at {offset} than when it was read first")
            return
        self._read[place] = offset + 1
        if place in self._graves:
            told = {name: text.decode() for name, text in message.headers() or []}
            self._letters[told["topic"], int(told["partition"]), int(told["offset"])].add((key, value))
            return
        self._on_log[place][offset] = hash((key, value))
        topic = message.topic().removeprefix(self._settings.topic_prefix)
        before = self.world.refused
        self.world.take(topic, value or b"")
        promise = Promise(offset)
        if self.world.refused > before:
            promise.letter = (*place, offset)
            self._refused[promise.letter] = key, value
        elif topic == VISIT_EVENTS.name:
            events = _read_visit_events(value)
            promise.events = tuple((event.event_id.lower(), event.store_id, event.visitor_id) for event in events)
        elif topic == TRANSACTIONS.name:
            receipt = Transaction.model_validate_json(value)
            promise.receipt = receipt.store_id, receipt.transaction_id
        elif topic == STORE_LAYOUTS.name:
            promise.layout = StoreLayout.model_validate_json(value).store_id
        self._promised[place].append(promise)

    def _look_for(self, due: Sequence[tuple[Place, Promise]]) -> None:
        """Everything below the committed offsets is stored, derived or buried."""
        stored = self._found("toString(event_id)", "events", "event_id", {e[0] for _, p in due for e in p.events})
        receipts = {promise.receipt for _, promise in due if promise.receipt}
        paid = self._found("(store_id, transaction_id)", "transactions", "(store_id, transaction_id)", receipts)
        stores = {promise.layout for _, promise in due if promise.layout}
        described = self._found("store_id", "store_layouts", "store_id", stores)
        if any(promise.letter not in self._letters for _, promise in due if promise.letter):
            self._read_to(self._ends(self._graves))
        counted, below = set(self._counted), Counter(self._below)
        for place, promise in due:
            missing = [event_id for event_id, *_ in promise.events if event_id not in stored]
            missing += [str(promise.receipt)] if promise.receipt and promise.receipt not in paid else []
            missing += [promise.layout] if promise.layout and promise.layout not in described else []
            missing += ["its dead letter"] if promise.letter and promise.letter not in self._letters else []
            if missing:
                self._violation(f"{place} is committed beyond {promise.offset}, whose {missing} is nowhere")
            for event_id, store_id, visitor_id in promise.events:
                if event_id not in counted:
                    counted.add(event_id)
                    below[store_id, visitor_id] += 1
        visits = {(store_id, visitor_id) for _, p in due for _, store_id, visitor_id in p.events}
        derived = self._events_by_visit(visits)
        for visit in visits:
            if derived.get(visit, 0) < below[visit]:
                self._violation(
                    f"visit {visit} has {below[visit]} events below the committed offset, its row {derived.get(visit)}"
                )
        self._counted, self._below = counted, below

    def _violation(self, what: str) -> None:
        self.violations.append(f"{datetime.now(UTC):%H:%M:%S} {what}")

    def _found(self, what: str, table: str, key: str, wanted: Iterable[Any]) -> set[Any]:
        found: set[Any] = set()
        for chunk in _chunks(wanted):
            rows = self._rows(f"SELECT DISTINCT {what} FROM {table} WHERE {key} IN %(wanted)s", {"wanted": chunk})
            found |= {row[0] for row in rows}
        return found

    def _events_by_visit(self, visits: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        query = """SELECT store_id, visitor_id, sum(events) FROM visits FINAL
            WHERE (store_id, visitor_id) IN %(wanted)s GROUP BY 1, 2"""
        return {row[:2]: row[2] for chunk in _chunks(visits) for row in self._rows(query, {"wanted": chunk})}

    def _rows(self, query: str, parameters: dict[str, Any] | None = None) -> Sequence[Any]:
        if self._client is None:
            self._client = clickhouse_client(self._direct, connect_timeout=2, send_receive_timeout=10)
        return self._client.query(query, parameters, settings={"max_query_size": 16 * 2**20}).result_rows

    # --- at a quiet moment ---------------------------------------------------------------------------------------------

    def compare(self, ask: Ask, settle_s: float = 20.0) -> list[str]:
        """Everything that is wrong once the feed has paused and the workers have confirmed all of it; anomalies are given
        ``settle_s`` to be judged.

        Raises:
            KafkaException, ClickHouseError, OSError: a part does not answer.
            TimeoutError: the workers have not confirmed all of it.
        """
        with self._lock:
            ends = self._ends([*self._places, *self._graves])
            self._read_to(ends, 120)
            for place, end in ends.items():
                if end < self._read[place]:
                    self._violation(f"{place} ends at {end}, and was read up to {self._read[place]}")
            self.sample()
            committed = self._committed()
            behind = sum(ends[place] - committed[place] for place in self._places)
            if behind:
                raise TimeoutError(f"the workers are {behind} records behind")
            return [
                *self.violations,
                *self._acknowledged(),
                *self._dead_letters(),
                *self._facts(),
                *self._derived(),
                *wrong_answers(self.world, ask, settle_s=settle_s),
            ]

    def _acknowledged(self) -> Iterable[str]:
        for place, sent in self._feed.acknowledged.items():
            lost = {offset for offset, value in sent.items() if self._on_log[place].get(offset) != value}
            if lost:
                yield f"{place}: {len(lost)} acknowledged records are not on the log as sent, the first at {min(lost)}"
        if lost_events := self._feed.taken_events - self.world.event_ids:
            yield f"{len(lost_events)} events that the API took are not on the log: {sorted(lost_events)[:3]}"
        paid = {(name, receipt) for name, store in self.world.stores.items() for receipt in store.paid}
        if lost_receipts := self._feed.taken_receipts - paid:
            yield f"{len(lost_receipts)} receipts that the API took are not on the log: {sorted(lost_receipts)[:3]}"
        yield from self._feed.failures

    def _dead_letters(self) -> Iterable[str]:
        if missing := self._refused.keys() - self._letters.keys():
            yield f"{len(missing)} refused records have no dead letter: {sorted(missing)[:3]}"
        if surplus := self._letters.keys() - self._refused.keys():
            yield f"{len(surplus)} dead letters of records that are valid: {sorted(surplus)[:3]}"
        for letter in self._refused.keys() & self._letters.keys():
            if self._letters[letter] != {self._refused[letter]}:
                yield f"the dead letter of {letter} holds other bytes"

    def _facts(self) -> Iterable[str]:
        events = [
            (
                *(store_id, e.event_id, e.at, e.event_type, e.visitor_id, e.camera_id, e.zone_id or ""),
                *(e.dwell_ms, e.is_staff, e.queue_depth, e.seq),
            )
            for store_id, store in self.world.stores.items()
            for e in store.events
        ]
        found = self._rows(
            """SELECT store_id, toString(event_id), toUnixTimestamp64Milli(timestamp), event_type, visitor_id, camera_id,
            zone_id, dwell_ms, is_staff, JSONExtract(metadata, 'queue_depth', 'Nullable(Int64)'),
            JSONExtractUInt(metadata, 'session_seq') FROM events FINAL"""
        )
        yield from _differences("events", events, found)
        # The stock workers remember receipts by ids of their own there.
        receipt_ids = {
            receipt_id(store_id, transaction_id)
            for store_id, store in self.world.stores.items()
            for transaction_id in store.paid
        }
        ids = [row for row in self._rows("SELECT toString(event_id) FROM event_ids FINAL") if row[0] not in receipt_ids]
        yield from _differences("event_ids", [(event[1],) for event in events], ids)
        receipts = [
            (store_id, paid.transaction_id, paid.at, paid.amount)
            for store_id, store in self.world.stores.items()
            for paid in store.paid.values()
        ]
        found = self._rows(
            """SELECT store_id, transaction_id, toUnixTimestamp64Milli(timestamp), basket_value
            FROM transactions FINAL"""
        )
        yield from _differences("transactions", receipts, found)

    def _derived(self) -> Iterable[str]:
        visits, stays, depths, figures = [], [], [], []
        for store_id in self.world.stores:
            for day in self.world.days(store_id).values():
                key = store_id, day.day.isoformat()
                visits += [(*key, *row) for row in _visits(day)]
                stays += [(*key, *row) for row in _stays(day)]
                depths += [(*key, *row) for row in _changes(sorted(dict(day.depths()).items()))]
                figures += [(*key, *row) for row in _figures(day)]
        yield from _differences(
            "visits",
            visits,
            self._rows(
                """SELECT store_id, toString(business_day), visitor_id, is_staff, is_visitor,
                toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(ended_at), entries, zone_visits,
                joined_queue, if(is_staff, false, abandoned_queue), purchased, attributed_transaction_id, events
                FROM visits FINAL"""
            ),
        )
        yield from _differences(
            "zone_visits",
            stays,
            self._rows(
                """SELECT store_id, toString(business_day), visitor_id, ordinal, zone_id, camera_id, is_billing, is_staff,
                toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(ended_at), dwell_ms FROM zone_visits FINAL"""
            ),
        )
        course: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for store_id, on, at, depth in self._rows(
            """SELECT store_id, toString(business_day), toUnixTimestamp64Milli(timestamp), depth
            FROM queue_depth FINAL ORDER BY 1, 2, 3"""
        ):
            course[store_id, on].append((at, depth))
        yield from _differences(
            "queue_depth", depths, [(*key, *row) for key, rows in course.items() for row in _changes(rows)]
        )
        found = self._rows(
            """SELECT store_id, toString(business_day), unique_visitors, unmatched_visitors, staff_visits, zone_visitors,
            billing_visitors, purchasers, attributed_visitors, joined_queue, abandoned_queue, queue_depth,
            arrayZip(zones.zone_id, zones.frequency, zones.dwell_ms),
            arrayZip(receipts.currency, receipts.transactions, receipts.revenue) FROM day_figures FINAL"""
        )
        # Lists do not count as keys.
        yield from _differences("day_figures", figures, [(*row[:-2], *map(tuple, row[-2:])) for row in found])


def _visits(day: Day) -> Iterable[tuple[Any, ...]]:
    claimed = {visitor: receipt for receipt, visitor in day.claims.items()}
    for visit in day.visits:
        name = visit.visitor_id
        abandoned = not visit.is_staff and visit.joined and visit.gave_up and name not in day.purchasers
        yield (
            *(name, visit.is_staff, visit.counts, visit.events[0].at, visit.events[-1].at),
            sum(event.event_type in ("ENTRY", "REENTRY") for event in visit.events),
            len(zone_visits(visit.events, day.calendar)),
            *(visit.joined, abandoned, name in day.purchasers, claimed.get(name, ""), len(visit.events)),
        )


def _stays(day: Day) -> Iterable[tuple[Any, ...]]:
    for visit in day.visits:
        for ordinal, stay in enumerate(zone_visits(visit.events, day.calendar)):
            yield (
                *(visit.visitor_id, ordinal, stay.zone_id, stay.camera_id, day.calendar.is_billing(stay.zone_id)),
                *(visit.is_staff, stay.start, stay.end, stay.dwell_ms),
            )


def _figures(day: Day) -> Iterable[tuple[Any, ...]]:
    """One row, none of a day on which nothing counts."""
    names = {visit.visitor_id for visit in day.visitors}
    paying = {name for name in names if day.presences[name]}
    zones: dict[str, list[int]] = defaultdict(list)
    for stay in day.all_stays:
        zones[stay.zone_id].append(stay.dwell_ms)
    receipts: dict[str, list[Any]] = defaultdict(list)
    for paid in day.paid:
        receipts[paid.currency or ""].append(paid.amount)
    row = (
        *(len(names), len(day.people) - len(names), len(day.visits) - len(day.people)),
        *(len(paying | {name for name in names if day.stays[name]}), len(paying)),
        *(len(names & day.purchasers), len(names & set(day.claims.values()))),
        *(len(day.joined), len(day.abandoned), day.depth),
        tuple((zone_id, len(dwells), sum(dwells)) for zone_id, dwells in sorted(zones.items())),
        tuple((currency, len(amounts), sum(amounts)) for currency, amounts in sorted(receipts.items())),
    )
    if any(row):
        yield row


def _changes(course: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Without the rows that change nothing."""
    before = 0
    for at, depth in course:
        if depth != before:
            yield at, depth
        before = depth


def _differences(table: str, expected: Iterable[Any], found: Iterable[Any]) -> Iterable[str]:
    should, does = Counter(map(tuple, expected)), Counter(map(tuple, found))
    if missing := should - does:
        yield f"{table}: {missing.total()} rows are missing, such as {_some(missing)}"
    if surplus := does - should:
        yield f"{table}: {surplus.total()} rows too many or twice, such as {_some(surplus)}"


def _some(rows: Counter[Any]) -> list[Any]:
    return sorted(rows, key=str)[:2]


def _chunks(wanted: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    known = tuple(wanted)
    for first in range(0, len(known), CHUNK):
        yield known[first : first + CHUNK]
