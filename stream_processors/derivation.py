"""From batches of records to rows in ClickHouse: the cycle that every worker runs.

The order of a cycle is what makes it exact (``docs/delivery.md``): read, drop what is stored already, insert raw facts,
remember their ids, bring the store days they touch up to date, insert derived rows, and only then let the engine
acknowledge. The first two steps are ``prepare``, which runs while the cycle before is still written; the rest is
``finish``.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar

from aisleflow import log, metrics, tracing
from aisleflow.settings import Settings
from schemas import topics
from schemas.events import Acknowledgement, CameraHealth, StoreLayout
from schemas.layouts import StoreCalendar
from schemas.reading import (
    Refusal,
    TransactionFact,
    VisitFact,
    epoch_ms,
    read_acknowledgement,
    read_camera_health,
    read_layout,
    read_transaction,
    read_visit_events,
    store_in,
)
from stream_processors.conversion import PURCHASE_WINDOW_MS
from stream_processors.engine import dead_letters
from stream_processors.engine.dead_letters import DeadLetter, DeadLetterBox
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.strays import Stray, Strays
from stream_processors.history import History
from stream_processors.store_day import (
    DAY_FIGURE_COLUMNS,
    QUEUE_DEPTH_COLUMNS,
    VISIT_COLUMNS,
    ZONE_VISIT_COLUMNS,
    DerivedRows,
    Payment,
    Row,
    StoreDay,
)

logger = log.get(__name__)
_key = attrgetter("key")
I = TypeVar("I")  # noqa: E741
F = TypeVar("F")

EVENT_COLUMNS = (
    *("event_id", "store_id", "camera_id", "visitor_id", "event_type", "timestamp", "zone_id"),
    *("dwell_ms", "is_staff", "confidence", "metadata", "received_at"),
)
EVENT_ID_COLUMNS = ("event_id",)
TRANSACTION_COLUMNS = (
    *("store_id", "transaction_id", "timestamp", "basket_value", "currency", "payment_kind"),
    *("lines.sku", "lines.gtin", "lines.quantity", "lines.unit_price", "received_at"),
)
CAMERA_STATE_COLUMNS = (
    *("event_id", "store_id", "camera_id", "timestamp", "kind", "state", "reason", "since", "last_frame_at"),
    *("read_fps", "processed_fps", "skipped_fps", "tracks_broken", "entries", "exits", "entrance_balance", "drift"),
    "received_at",
)
ACKNOWLEDGEMENT_COLUMNS = (
    *("event_id", "store_id", "anomaly_id", "timestamp", "by", "note", "until"),
    "received_at",
)
LAYOUT_COLUMNS = ("store_id", "timestamp", "name", "time_zone", "currency", "layout", "received_at")

INVALID_WINDOW = 10_000
# By the clock, not by cycles: those of a worker that is behind take seconds, and days pass in them.
IDLE_S = 60.0
EVICT_EVERY_S = 5.0
MAX_VISITS_IN_MEMORY = 2_500_000


class TooManyInvalid(Exception):
    """So many records are invalid that something is wrong upstream: the worker stops instead of burying a whole
    topic.
    """


@dataclass
class Cycle:
    """What one cycle read: facts (the rare ones with the time Kafka took them, milliseconds), and what was refused."""

    visits: list[VisitFact] = field(default_factory=list)
    transactions: list[TransactionFact] = field(default_factory=list)
    layouts: list[tuple[StoreLayout, int]] = field(default_factory=list)
    camera_states: list[tuple[CameraHealth, int]] = field(default_factory=list)
    acknowledgements: list[tuple[Acknowledgement, int]] = field(default_factory=list)
    refused: list[DeadLetter] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    records: int = 0


@dataclass
class Prepared:
    """A cycle that is read and looked up: its facts by identity, the first of each, and which identities ClickHouse
    held when it was asked.
    """

    token: str
    cycle: Cycle
    events: dict[str, VisitFact]
    receipts: dict[tuple[str, str], TransactionFact]
    stored_events: set[str]
    stored_receipts: dict[tuple[str, str], Payment]


@dataclass
class Parted:
    """A cycle's facts: the new ones, and those that are stored already, under the same content or another."""

    visits: list[VisitFact]
    transactions: list[TransactionFact]
    stored_events: list[VisitFact]
    stored_receipts: list[tuple[str, Payment]]

    def by_store(self) -> dict[str, StoreFacts]:
        """The same, store by store."""
        stores: defaultdict[str, StoreFacts] = defaultdict(StoreFacts)
        for fact in self.visits:
            stores[fact.store_id].visits.append(fact)
        for stored in self.stored_events:
            stores[stored.store_id].stored_events.append(stored)
        for receipt in self.transactions:
            stores[receipt.store_id].receipts.append(payment_of(receipt))
        for store_id, stored_receipt in self.stored_receipts:
            stores[store_id].receipts.append(stored_receipt)
        return stores


@dataclass
class StoreFacts:
    """What a cycle brings to one store."""

    visits: list[VisitFact] = field(default_factory=list)
    stored_events: list[VisitFact] = field(default_factory=list)
    receipts: list[Payment] = field(default_factory=list)
    """New and stored ones: a day ignores those it has."""

    def moments(self) -> list[int]:
        """The times for which a day must be open. A payment just after midnight concerns the evening before too."""
        return [
            *[fact.at for fact in self.visits],
            *[stored.at for stored in self.stored_events],
            *[payment.receipt[0] for payment in self.receipts],
            *[payment.receipt[0] - PURCHASE_WINDOW_MS for payment in self.receipts],
        ]


@dataclass
class Store:
    """What a worker holds of one store."""

    calendar: StoreCalendar
    days: dict[date, StoreDay] = field(default_factory=dict)
    newest: StoreDay | None = None

    def day_of(self, at: int) -> date:
        """The business day of a moment."""
        return self._span_of(at)[0]

    def days_of(self, moments: Sequence[int]) -> set[date]:
        """The business days of some moments."""
        found: set[date] = set()
        while moments:
            day, start, end = self._span_of(moments[0])
            found.add(day)
            moments = [at for at in moments if not start <= at < end]
        return found

    def _span_of(self, at: int) -> tuple[date, int, int]:
        """The business day of a moment, with its bounds; mostly one in memory, which is cheap to tell."""
        for day in self.days.values():
            if day.start <= at < day.end:
                return day.day, day.start, day.end
        date_ = self.calendar.business_day(at)
        return date_, *self.calendar.bounds(date_)

    def by_day(self, facts: list[VisitFact]) -> dict[date, list[VisitFact]]:
        """Facts by their business days, each day's in their order."""
        if not facts:
            return {}
        days = self.days_of([fact.at for fact in facts])
        if len(days) == 1:
            return {days.pop(): facts}
        found: dict[date, list[VisitFact]] = {day: [] for day in days}
        for fact in facts:
            found[self.day_of(fact.at)].append(fact)
        return found


def read(batches: Sequence[RecordBatch], prefix: str, max_future_ms: int, partitions: int) -> Cycle:
    """Read the records of a cycle, each judged alone; those of stores that belong to another of ``partitions`` are set aside."""
    strays = Strays(partitions)
    cycle = Cycle(strays=strays.found)
    for batch in batches:
        topic = batch.tp.topic.removeprefix(prefix)
        refused: list[tuple[Any, Refusal]] = []
        if topic == topics.VISIT_EVENTS.name:
            facts, refused = read_visit_events(batch.records, max_future_ms)
            if strays.may_hold(batch, {fact.store_id for fact in facts}):
                kept = [
                    record
                    for record in batch.records
                    if isinstance(store := store_in(topic, record.value, record.timestamp + max_future_ms), Refusal)
                    or not strays.takes(batch, record, store)
                ]
                facts, refused = read_visit_events(kept, max_future_ms)
            cycle.visits += facts
        else:
            for record in batch.records:
                value, latest_ms = record.value, record.timestamp + max_future_ms
                if value is None:
                    refused.append((record, Refusal("", "has no value")))
                elif topic == topics.TRANSACTIONS.name:
                    receipt = read_transaction(value, latest_ms)
                    if isinstance(receipt, Refusal):
                        refused.append((record, receipt))
                    elif not strays.takes(batch, record, receipt.store_id):
                        receipt.arrived = record.timestamp
                        cycle.transactions.append(receipt)
                elif topic == topics.CAMERA_HEALTH.name:
                    health = read_camera_health(value, latest_ms)
                    if isinstance(health, Refusal):
                        refused.append((record, health))
                    elif not strays.takes(batch, record, health.store_id):
                        cycle.camera_states.append((health, record.timestamp))
                elif topic == topics.ACKNOWLEDGEMENTS.name:
                    seen = read_acknowledgement(value, latest_ms)
                    if isinstance(seen, Refusal):
                        refused.append((record, seen))
                    elif not strays.takes(batch, record, seen.store_id):
                        cycle.acknowledgements.append((seen, record.timestamp))
                else:
                    layout = read_layout(value, latest_ms)
                    if isinstance(layout, Refusal):
                        refused.append((record, layout))
                    elif not strays.takes(batch, record, layout.store_id):
                        cycle.layouts.append((layout, record.timestamp))
        cycle.refused += [
            DeadLetter(
                *(batch.tp.topic, batch.tp.partition, record.offset, record.key, record.value, "read", refusal),
                traceparent=tracing.traceparent_of(record.headers),
            )
            for record, refusal in refused
        ]
        cycle.records += len(batch.records)
        metrics.RECORDS.labels(topic).inc(len(batch.records))
    return cycle


def event_rows(facts: Iterable[VisitFact]) -> list[Row]:
    """Visit events as rows of ``events``. The metadata goes as the JSON that it is; ClickHouse keeps its text."""
    return [
        # Spelt out: one tuple put together from several costs twice as much, and every event pays for it.
        (
            fact.event_id,
            fact.store_id,
            fact.camera_id,
            fact.visitor_id,
            fact.event_type,
            fact.at / 1000,
            fact.zone_id or "",
            fact.dwell_ms,
            fact.is_staff,
            fact.confidence,
            fact.metadata,
            fact.arrived / 1000,
        )
        for fact in facts
    ]


def event_id_rows(facts: Iterable[VisitFact]) -> list[Row]:
    """Visit events as rows of ``event_ids``."""
    return [(fact.event_id,) for fact in facts]


def transaction_rows(facts: Iterable[TransactionFact]) -> list[Row]:
    """Transactions as rows of ``transactions``."""
    return [
        (
            *(fact.store_id, fact.transaction_id, fact.at / 1000, str(fact.basket_value)),
            *(fact.currency or "", fact.payment_kind or ""),
            [line.sku for line in fact.lines],
            [line.gtin or "" for line in fact.lines],
            [str(line.quantity) for line in fact.lines],
            [str(line.unit_price) for line in fact.lines],
            fact.arrived / 1000,
        )
        for fact in facts
    ]


def payment_of(fact: TransactionFact) -> Payment:
    """A transaction as a store's day takes it."""
    return Payment((fact.at, fact.transaction_id), fact.basket_value, fact.currency or "")


def layout_rows(layouts: Iterable[tuple[StoreLayout, int]]) -> list[Row]:
    """Layouts as rows of ``store_layouts``."""
    return [
        (
            *(layout.store_id, epoch_ms(layout.timestamp) / 1000, layout.name or "", layout.time_zone),
            *(layout.currency or "", layout.model_dump_json(), arrived / 1000),
        )
        for layout, arrived in layouts
    ]


def camera_state_rows(states: Iterable[tuple[CameraHealth, int]]) -> list[Row]:
    """What cameras said of themselves as rows of ``camera_states``."""
    return [
        (
            *(said.event_id, said.store_id, said.camera_id, epoch_ms(said.timestamp) / 1000),
            *(said.kind, said.state, said.reason),
            *(None if moment is None else epoch_ms(moment) / 1000 for moment in (said.since, said.last_frame_at)),
            *(said.read_fps, said.processed_fps, said.skipped_fps),
            *(said.tracks_broken, said.entries, said.exits, said.entrance_balance, said.drift),
            arrived / 1000,
        )
        for said, arrived in states
    ]


def acknowledgement_rows(acknowledgements: Iterable[tuple[Acknowledgement, int]]) -> list[Row]:
    """Who has seen what, as rows of ``acknowledgements``."""
    return [
        (
            *(seen.event_id, seen.store_id, seen.anomaly_id, epoch_ms(seen.timestamp) / 1000, seen.by, seen.note),
            None if seen.until is None else epoch_ms(seen.until) / 1000,
            arrived / 1000,
        )
        for seen, arrived in acknowledgements
    ]


class Derivation:
    """The state of a worker's stores, and the cycle over it.

    ``forget`` drops all state, as after a rebalance; it comes back from ClickHouse when next needed.
    """

    def __init__(self, settings: Settings, sink: ClickHouseSink, history: History, dead_letters: DeadLetterBox) -> None:
        self._settings = settings
        self._sink = sink
        self._history = history
        self._dead_letters = dead_letters
        self._stores: dict[str, Store] = {}
        self._outcomes: deque[tuple[int, int]] = deque()
        self._evicted_at = 0.0
        self._latest_events: set[str] = set()
        """What the cycle finished last has stored, by identity: the next one was looked up before."""
        self._latest_receipts: dict[tuple[str, str], TransactionFact] = {}
        self.touched_stores: set[str] = set()
        """Stores with new facts since somebody last cleared this set."""

    def forget(self) -> None:
        """Drop all state; a cycle under way finishes on what it holds, and leaves nothing behind."""
        self._stores = {}

    async def prepare(self, batches: Sequence[RecordBatch]) -> Prepared:
        """Read a cycle's records and ask ClickHouse which of them it holds. Changes nothing."""
        token = hashlib.sha256(" ".join(sorted(batch.offsets for batch in batches)).encode()).hexdigest()[:32]
        with _timed("read"):
            chosen = self._settings
            cycle = read(batches, chosen.topic_prefix, chosen.max_future_minutes * 60_000, chosen.store_partitions)
        with _timed("part"):
            events = _firsts([fact.event_id for fact in cycle.visits], cycle.visits)
            receipts = _firsts(
                [(fact.store_id, fact.transaction_id) for fact in cycle.transactions], cycle.transactions
            )
            stored_events, stored_receipts = await asyncio.gather(
                self._ask(self._history.stored_events, list(events)),
                self._ask(self._history.stored_transactions, list(receipts)),
            )
        return Prepared(token, cycle, events, receipts, set(stored_events), stored_receipts)

    async def finish(self, prepared: Prepared) -> None:
        """Derive a cycle; on return everything that follows from its records is confirmed by ClickHouse and Kafka.

        Cycles must be finished in the order of their preparation, one at a time, and prepared no earlier than the one
        before the last was finished.

        Raises:
            TooManyInvalid, CannotWrite, CannotBury: nothing may be acknowledged; the worker must stop.
        """
        stores, token, cycle = self._stores, prepared.token, prepared.cycle
        await self._bury(cycle, token)
        parted = self._part(prepared)
        with _timed("insert_facts"):
            await self._insert_facts(parted, cycle, token)
        await asyncio.gather(
            # Only now: an id that is known must be stored.
            self._sink.insert("event_ids", EVENT_ID_COLUMNS, event_id_rows(parted.visits), token),
            self._finish_derived(stores, cycle.layouts, parted, token),
        )
        metrics.CYCLE_RECORDS.observe(cycle.records)
        self._evict(stores)

    async def _finish_derived(
        self, stores: dict[str, Store], layouts: list[tuple[StoreLayout, int]], parted: Parted, token: str
    ) -> None:
        with _timed("derive"):
            rows = await self._derive(stores, layouts, parted)
        with _timed("insert_derived"):
            await asyncio.gather(
                self._sink.insert("zone_visits", ZONE_VISIT_COLUMNS, rows.zone_visits, token),
                self._sink.insert("queue_depth", QUEUE_DEPTH_COLUMNS, rows.queue_depth, token),
                self._sink.insert("day_figures", DAY_FIGURE_COLUMNS, rows.day_figures, token),
            )
            # Last: a visit's row vouches for its zone visits.
            await self._sink.insert("visits", VISIT_COLUMNS, rows.visits, token)
        # Not before: who is told of a store looks at its rows, maybe for the last time that day.
        self.touched_stores.update(rows.stores)

    async def _bury(self, cycle: Cycle, token: str) -> None:
        self._outcomes.append((cycle.records, len(cycle.refused)))
        while sum(records for records, _ in self._outcomes) - self._outcomes[0][0] >= INVALID_WINDOW:
            self._outcomes.popleft()
        records, refused = (sum(column) for column in zip(*self._outcomes, strict=True))
        if records >= INVALID_WINDOW and refused > records * self._settings.max_invalid_share:
            first = cycle.refused[0].refusal if cycle.refused else None
            raise TooManyInvalid(
                f"{refused} of the last {records} records are invalid (for example: {first}); mend the producer, or "
                "raise AISLEFLOW_MAX_INVALID_SHARE to bury them all"
            )
        await self._dead_letters.put(cycle.refused)
        await self._dead_letters.move(cycle.strays)
        rows = dead_letters.letter_rows(cycle.refused)
        await self._sink.insert(dead_letters.TABLE, dead_letters.COLUMNS, rows, token)

    def _part(self, prepared: Prepared) -> Parted:
        """Part what is new from what is stored, now that the cycle before is stored too."""
        events, receipts = prepared.events, prepared.receipts
        stored_events = prepared.stored_events | (events.keys() & self._latest_events)
        stored_receipts = dict(prepared.stored_receipts)
        for receipt in receipts.keys() & self._latest_receipts.keys():
            stored_receipts[receipt] = payment_of(self._latest_receipts[receipt])
        for identity in stored_events:
            del events[identity]
        for receipt in stored_receipts:
            del receipts[receipt]
        self._latest_events, self._latest_receipts = set(events), receipts
        parted = Parted(
            visits=list(events.values()),
            transactions=list(receipts.values()),
            stored_events=[fact for fact in prepared.cycle.visits if fact.event_id in stored_events]
            if stored_events
            else [],
            stored_receipts=[(store_id, payment) for (store_id, _), payment in stored_receipts.items()],
        )
        metrics.DUPLICATES.labels(topics.VISIT_EVENTS.name).inc(len(prepared.cycle.visits) - len(parted.visits))
        metrics.DUPLICATES.labels(topics.TRANSACTIONS.name).inc(
            len(prepared.cycle.transactions) - len(parted.transactions)
        )
        return parted

    async def _ask(self, question: Any, *arguments: Any) -> Any:
        """Ask ClickHouse in a thread, again until it answers. Nothing to ask about needs no answer."""
        if arguments and not arguments[0]:
            return {}
        return await self._sink.until_answered(question, *arguments)

    async def _insert_facts(self, parted: Parted, cycle: Cycle, token: str) -> None:
        await asyncio.gather(
            self._sink.insert("events", EVENT_COLUMNS, event_rows(parted.visits), token),
            self._sink.insert("transactions", TRANSACTION_COLUMNS, transaction_rows(parted.transactions), token),
            self._sink.insert("store_layouts", LAYOUT_COLUMNS, layout_rows(cycle.layouts), token),
            self._sink.insert("camera_states", CAMERA_STATE_COLUMNS, camera_state_rows(cycle.camera_states), token),
            self._sink.insert(
                "acknowledgements", ACKNOWLEDGEMENT_COLUMNS, acknowledgement_rows(cycle.acknowledgements), token
            ),
        )

    async def _derive(
        self, stores: dict[str, Store], layouts: list[tuple[StoreLayout, int]], parted: Parted
    ) -> DerivedRows:
        by_store = parted.by_store()
        fresh = await self._open_stores(stores, layouts, by_store)
        fresh |= await self._open_days(stores, by_store)
        touched: set[StoreDay] = set(fresh)
        for store_id, facts in by_store.items():
            touched |= _take(stores[store_id], facts, fresh)
        late = [(day, visitor_id) for day in touched for visitor_id in day.late]
        if late:
            metrics.EXACT_PATH.inc(len(late))
            for (day, visitor_id), facts in (await self._ask(self._history.events_of_visits, late)).items():
                day.replace(visitor_id, facts)
        rows = DerivedRows()
        for day in touched:
            day.used_at = time.monotonic()
            changed = day.settle()
            rows.zone_visits += changed.zone_visits
            rows.queue_depth += changed.queue_depth
            rows.visits += changed.visits
            rows.day_figures += changed.day_figures
            rows.stores.add(day.calendar.store_id)
        return rows

    async def _open_stores(
        self, stores: dict[str, Store], new_layouts: list[tuple[StoreLayout, int]], by_store: Mapping[str, StoreFacts]
    ) -> set[StoreDay]:
        """Know the layout of every store in the cycle; one whose rules a new layout changes derives all of its days
        anew.
        """
        named_layouts = {layout.store_id for layout, _ in new_layouts}
        missing = [name for name in by_store.keys() | named_layouts if name not in stores or name in named_layouts]
        layouts = await self._ask(self._history.layouts, missing)
        fresh: set[StoreDay] = set()
        for name in missing:
            calendar = StoreCalendar(name, layouts.get(name))
            known = stores.get(name)
            if known is not None and known.calendar.layout == calendar.layout:
                continue
            stores[name] = Store(calendar)
            if name in named_layouts:
                dates = await self._sink.until_answered(self._history.days_of, calendar, self._kept_since())
                # Of these days no fact has expired.
                restored = await self._open(stores, {name: dates}, date.min)
                for day in restored:
                    # Rows tell which layout they follow by its timestamp alone, and a layout may be mended under its
                    # old one.
                    day.rewrite()
                fresh |= restored
        return fresh

    def _kept_since(self) -> date:
        """The first day none of whose events can have expired."""
        # A sender's clock may be ahead, and a business day begins in another date of UTC.
        slack = timedelta(minutes=self._settings.max_future_minutes, days=2)
        return (datetime.now(UTC) - timedelta(days=self._settings.retention_events_days) + slack).date()

    async def _open_days(self, stores: dict[str, Store], by_store: Mapping[str, StoreFacts]) -> set[StoreDay]:
        """Load every store day that the cycle touches and memory lacks, in one go.

        Stored facts open their days too: this may be the replay after a crash, and opening compares what is written.
        """
        wanted: dict[str, set[date]] = {}
        for store_id, facts in by_store.items():
            store = stores[store_id]
            if missing := store.days_of(facts.moments()) - store.days.keys():
                wanted[store_id] = missing
        return await self._open(stores, wanted, self._kept_since())

    async def _open(self, stores: dict[str, Store], wanted: Mapping[str, set[date]], kept_since: date) -> set[StoreDay]:
        """Build these days of these stores from ClickHouse and hold them in memory; facts from before a day may have expired."""
        days = [
            StoreDay(stores[name].calendar, day, kept_since) for name, dates in wanted.items() for day in sorted(dates)
        ]
        if days:
            with _timed("load_days"):
                for portion in await self._sink.until_answered(self._history.portions, days):
                    await self._sink.until_answered(self._history.restore, portion)
        for day in days:
            _hold(stores[day.calendar.store_id], day)
        return set(days)

    def _evict(self, stores: dict[str, Store]) -> None:
        """Now and then, let go of days that are over and quiet; they come back when a late event needs them."""
        now = time.monotonic()
        if now - self._evicted_at < EVICT_EVERY_S:
            return
        self._evicted_at = now
        held = 0
        days = 0
        for store in stores.values():
            for date_, day in list(store.days.items()):
                if day is not store.newest and now - day.used_at > IDLE_S:
                    del store.days[date_]
                else:
                    held += len(day.visits)
                    days += 1
        if held > MAX_VISITS_IN_MEMORY:
            for store in stores.values():
                if store.newest is not None and now - store.newest.used_at > EVICT_EVERY_S:
                    held -= sum(len(day.visits) for day in store.days.values())
                    store.days, store.newest = {}, None
        metrics.OPEN_VISITS.set(held)
        metrics.OPEN_STORE_DAYS.set(days)


def _firsts(identities: Sequence[I], facts: Sequence[F]) -> dict[I, F]:
    """The first fact of each identity, in their order."""
    # The last of equal keys stays in a dict, so they go in from the end.
    found = dict(zip(reversed(identities), reversed(facts), strict=True))
    return dict(zip(reversed(found.keys()), reversed(found.values()), strict=True))


def _take(store: Store, facts: StoreFacts, fresh: set[StoreDay]) -> set[StoreDay]:
    """Give a store's days in memory what is new to them; returns those that took something. Fresh days have it already."""
    touched: set[StoreDay] = set()
    for date_, visits in store.by_day(facts.visits).items():
        day = store.days[date_]
        if day not in fresh:
            # What overtook another on its way here is in order again, and need not be fetched back as late.
            for fact in sorted(visits, key=_key):
                day.take(fact)
            touched.add(day)
    # A stored fact is mostly a duplicate. But another worker may have stored it after this one opened the day (it was
    # losing the partition as we got it), so memory need not hold it: its visit is derived anew.
    for stored in facts.stored_events:
        day = store.days[store.day_of(stored.at)]
        if day not in fresh:
            day.late.add(stored.visitor_id)
            touched.add(day)
    for payment in facts.receipts:
        paid_at = payment.receipt[0]
        # Its own day, and the one that ended up to five minutes before.
        for date_ in {store.day_of(paid_at), store.day_of(paid_at - PURCHASE_WINDOW_MS)}:
            day = store.days[date_]
            if day not in fresh:
                day.add_receipt(payment)
                touched.add(day)
    return touched


def _hold(store: Store, day: StoreDay) -> None:
    store.days[day.day] = day
    if store.newest is None or day.day >= store.newest.day:
        store.newest = day


@contextmanager
def _timed(step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    metrics.CYCLE_SECONDS.labels(step).observe(time.perf_counter() - started)
