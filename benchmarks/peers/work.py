"""The work that every peer does: read records, drop duplicates, derive store days, make rows, insert them.

The rules are ours (``schemas.reading``, ``stream_processors.store_day`` and what it calls); what is left to an engine is
delivery, state and batching. Its state is the log of each store day: the records in the order in which they came. A day in
memory is built from its log, which is all that a restart needs, and appending to a log is the cheapest update that a
state store can be asked for. One value per visit, the obvious other way, costs a read, a decoding, an encoding and a write per
event, and conversion and queue depth depend on all visits of a day anyway.

A late event is derived from the set of its visit's events, which the day keeps. Days are never let go of: a run lasts less
than the minute after which ours lets go of them.

After a crash, records come again from the last checkpoint and make the same rows under the same keys, so replacing tables
end up right. One gap is left to the peers' favour: a row that only the lost batches wrote, and that their replay, cut
otherwise, never makes and so never deletes. Ours compares with ClickHouse and has no such gap.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from aisleflow.clients import clickhouse_client, kafka_producer, raise_on
from aisleflow.settings import Settings
from schemas.layouts import StoreCalendar
from schemas.reading import Refusal, TransactionFact, VisitFact, read_transaction, read_visit_event, read_visit_events
from schemas.topics import TRANSACTIONS, VISIT_EVENTS
from stream_processors.conversion import PURCHASE_WINDOW_MS
from stream_processors.derivation import EVENT_COLUMNS, TRANSACTION_COLUMNS, event_rows, payment_of, transaction_rows
from stream_processors.engine.sink import encode_rows
from stream_processors.history import History
from stream_processors.store_day import (
    DAY_FIGURE_COLUMNS,
    QUEUE_DEPTH_COLUMNS,
    VISIT_COLUMNS,
    ZONE_VISIT_COLUMNS,
    DerivedRows,
    StoreDay,
)


def topics(settings: Settings) -> tuple[str, str]:
    """The topics of visit events and of transactions."""
    return settings.topic_prefix + VISIT_EVENTS.name, settings.topic_prefix + TRANSACTIONS.name


class Record(NamedTuple):
    """A record as the readers take it, and as the log of a day holds it."""

    is_transaction: bool
    value: bytes
    timestamp: int
    """When Kafka took it, milliseconds since 1970."""


# As for ours: the state has no cycles, and full collections would cost every engine more than deriving.
GC_THRESHOLDS = (50_000, 20, 1_000_000)

DayKey = tuple[str, date]
"""A store and one of its business days."""


@dataclass
class Batch:
    """What is to be written: new facts, and derived rows."""

    visits: list[VisitFact] = field(default_factory=list)
    transactions: list[TransactionFact] = field(default_factory=list)
    derived: DerivedRows = field(default_factory=DerivedRows)

    def add(self, other: Batch) -> None:
        """Take another batch's content."""
        self.visits += other.visits
        self.transactions += other.transactions
        self.add_derived(other.derived)

    def add_derived(self, rows: DerivedRows) -> None:
        """Take the rows that a day has settled."""
        self.derived.zone_visits += rows.zone_visits
        self.derived.queue_depth += rows.queue_depth
        self.derived.visits += rows.visits
        self.derived.day_figures += rows.day_figures


class Day:
    """A store day, with what it takes to tell duplicates and to derive a visit from the set of its events."""

    __slots__ = ("_facts", "_ids", "_transactions", "rules")

    def __init__(self, calendar: StoreCalendar, day: date) -> None:
        self.rules = StoreDay(calendar, day)
        self._ids: set[str] = set()
        self._transactions: set[str] = set()
        self._facts: dict[str, list[VisitFact]] = {}

    def take(self, fact: VisitFact) -> bool:
        """Fold a visit event in; False if it is a duplicate."""
        if fact.event_id in self._ids:
            return False
        self._ids.add(fact.event_id)
        facts = self._facts.get(fact.visitor_id)
        if facts is None:
            facts = self._facts[fact.visitor_id] = []
        facts.append(fact)
        self.rules.take(fact)
        if self.rules.late:
            self.rules.replace(fact.visitor_id, facts)
        return True

    def add_receipt(self, fact: TransactionFact) -> bool:
        """Take a transaction; False if it is a duplicate."""
        if fact.transaction_id in self._transactions:
            return False
        self._transactions.add(fact.transaction_id)
        self.rules.add_receipt(payment_of(fact))
        return True

    def restore(self, log: Iterable[Record], max_future_ms: int) -> None:
        """Build the day from its log; its next ``settle`` makes all of its rows."""
        for record in log:
            if record.is_transaction:
                paid = read_transaction(record.value, record.timestamp + max_future_ms)
                if isinstance(paid, TransactionFact):
                    self.add_receipt(paid)
            else:
                for fact in read_visit_events([record], max_future_ms)[0]:
                    if self.holds(fact.at):
                        self.take(fact)

    def holds(self, at: int) -> bool:
        """Whether a moment (milliseconds since 1970) lies in this business day."""
        return self.rules.start <= at < self.rules.end


class Shops:
    """Which business day of which store a moment belongs to."""

    def __init__(self, calendars: dict[str, StoreCalendar]) -> None:
        self._calendars = calendars
        self._newest: dict[str, tuple[int, int, date]] = {}

    def calendar(self, store_id: str) -> StoreCalendar:
        """The calendar of a store; one without a layout follows the rules for that."""
        found = self._calendars.get(store_id)
        if found is None:
            found = self._calendars[store_id] = StoreCalendar(store_id)
        return found

    def day_of(self, store_id: str, at: int) -> date:
        """The business day of a moment (milliseconds since 1970); mostly that of the last question, which is cheap."""
        known = self._newest.get(store_id)
        if known is not None and known[0] <= at < known[1]:
            return known[2]
        calendar = self.calendar(store_id)
        day = calendar.business_day(at)
        if known is None or day > known[2]:
            self._newest[store_id] = (*calendar.bounds(day), day)
        return day

    def days_paid(self, store_id: str, at: int) -> list[date]:
        """The days that a transaction concerns: its own, and the one that ended up to five minutes before."""
        day, before = self.day_of(store_id, at), self.day_of(store_id, at - PURCHASE_WINDOW_MS)
        return [day] if day == before else [day, before]


class Work:
    """A worker's connections, the store days that it holds in memory, and which of them have new facts.

    Args:
        settings: as for every program.
        load: the log of a store day that an earlier worker kept; called when the day is first touched.
    """

    def __init__(self, settings: Settings, load: Callable[[DayKey], Iterable[Record]] = lambda _: ()) -> None:
        self.visit_events, self.transactions = topics(settings)
        self.max_future_ms = settings.max_future_minutes * 60_000
        self._is_plain = True
        self._client: Client = clickhouse_client(settings)
        self._producer = kafka_producer(settings)
        self._threads = ThreadPoolExecutor(4)
        gc.set_threshold(*GC_THRESHOLDS)
        self.shops = Shops(_calendars(self._client))
        self._days: dict[DayKey, Day] = {}
        self._load = load
        self._touched: set[Day] = set()

    def _day(self, key: DayKey) -> Day:
        found = self._days.get(key)
        if found is None:
            found = self._days[key] = Day(self.shops.calendar(key[0]), key[1])
            found.restore(self._load(key), self.max_future_ms)
        return found

    def record(self, topic: str, value: bytes, timestamp: int) -> Record:
        """A record of one of the two topics."""
        return Record(topic == self.transactions, value, timestamp)

    def take(self, records: Sequence[Record], batch: Batch) -> list[tuple[DayKey, Record]]:
        """Take records in the order of the log.

        Returns:
            What the logs of days must hold: a record once for each day that it is new to. Duplicates and what cannot be
            read are in none.
        """
        new: list[tuple[DayKey, Record]] = []
        for fact, record in self.visits([record for record in records if not record.is_transaction]):
            key = fact.store_id, self.shops.day_of(fact.store_id, fact.at)
            day = self._day(key)
            if day.take(fact):
                batch.visits.append(fact)
                self._touched.add(day)
                new.append((key, record))
        for paid, record in self.receipts([record for record in records if record.is_transaction]):
            keys = [(paid.store_id, day) for day in self.shops.days_paid(paid.store_id, paid.at)]
            days = [(key, record) for key in keys if self._day(key).add_receipt(paid)]
            if days:
                batch.transactions.append(paid)
                self._touched.update(self._days[key] for key, _ in days)
                new += days
        return new

    def visits(self, records: Sequence[Record]) -> Iterable[tuple[VisitFact, Record]]:
        """The facts of these records of visit events, each with its record; what cannot be read is buried."""
        if self._is_plain and len(records) > 1:
            # The reader of many is the faster one, and tells facts from their records where each holds one.
            facts, refused = read_visit_events(records, self.max_future_ms)
            self._is_plain = len(facts) == len(records) and not refused
            if self._is_plain:
                return zip(facts, records, strict=True)
        return [pair for record in records for pair in self._visits_of(record)]

    def _visits_of(self, record: Record) -> list[tuple[VisitFact, Record]]:
        seen = read_visit_event(record.value, record.timestamp + self.max_future_ms)
        if isinstance(seen, Refusal):
            self._bury(self.visit_events, record, seen)
            return []
        for fact in seen:
            fact.arrived = record.timestamp
        return [(fact, record) for fact in seen]

    def receipts(self, records: Sequence[Record]) -> Iterable[tuple[TransactionFact, Record]]:
        """The facts of these records of transactions, each with its record; what cannot be read is buried."""
        for record in records:
            paid = read_transaction(record.value, record.timestamp + self.max_future_ms)
            if isinstance(paid, Refusal):
                self._bury(self.transactions, record, paid)
            else:
                paid.arrived = record.timestamp
                yield paid, record

    def settle(self, batch: Batch) -> None:
        """Add what the days with new facts have to say."""
        for day in self._touched:
            batch.add_derived(day.rules.settle())
        self._touched.clear()

    def write(self, batch: Batch) -> None:
        """Insert a batch as ours does: encoded by msgspec, what does not depend on each other side by side, visits
        last. Raises what ClickHouse says: nothing may be acknowledged then.
        """
        inserts = [
            self._threads.submit(self._insert, "events", EVENT_COLUMNS, event_rows(batch.visits)),
            self._threads.submit(
                self._insert, "transactions", TRANSACTION_COLUMNS, transaction_rows(batch.transactions)
            ),
            self._threads.submit(self._insert, "zone_visits", ZONE_VISIT_COLUMNS, batch.derived.zone_visits),
            self._threads.submit(self._insert, "queue_depth", QUEUE_DEPTH_COLUMNS, batch.derived.queue_depth),
            self._threads.submit(self._insert, "day_figures", DAY_FIGURE_COLUMNS, batch.derived.day_figures),
        ]
        for insert in inserts:
            insert.result()
        self._insert("visits", VISIT_COLUMNS, batch.derived.visits)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
        if rows:
            settings = {"max_partitions_per_insert_block": 0}
            self._client.raw_insert(table, list(columns), encode_rows(rows), settings, fmt="JSONCompactEachRow")

    def _bury(self, topic: str, record: Record, refusal: Refusal) -> None:
        reason: list[tuple[str, str | bytes | None]] = [("error", refusal.reason.encode(errors="replace"))]
        self._producer.produce(f"{topic}.dlq", record.value, None, headers=reason, on_delivery=_delivered)

    def flush_dead_letters(self) -> None:
        """Return when Kafka has every dead letter."""
        if self._producer.flush(30):
            raise TimeoutError("Kafka did not take the dead letters")


def _calendars(client: Client) -> dict[str, StoreCalendar]:
    stores = [row[0] for row in client.query("SELECT DISTINCT store_id FROM store_layouts").result_rows]
    return History(client).calendars(stores)


def _delivered(error: Any, _: Any) -> None:
    raise_on(error)


def settings() -> Settings:
    """The settings that the benchmark put into this process's environment."""
    return Settings(_env_file=None)
