"""One business day of one store in memory: visits, queue and conversion together, and the rows they make.

Memory is a cache: a day can be built at any time from the facts in ClickHouse (``restore``), which also compares what
is written there with what should be, so that a crash between two inserts leaves nothing wrong behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from schemas.layouts import StoreCalendar
from schemas.reading import VisitFact
from stream_processors import day_tally, queues
from stream_processors.conversion import PURCHASE_WINDOW_MS, ConversionDay, Receipt
from stream_processors.day_tally import DayTally
from stream_processors.visits import Visit, derive, fold

Row = tuple[Any, ...]

RULES = 2
"""Version of the rules; 2 writes ``day_figures`` too. Raise it with every change that makes other rows from the same facts
(here, in ``visits``, ``queues``, ``conversion`` or ``day_tally``): a day whose rows are of another version is derived anew
when a worker opens it, and ``aisleflow rederive`` makes the workers open them all.
"""

ZONE_VISIT_COLUMNS = (
    *("store_id", "business_day", "visitor_id", "ordinal", "zone_id", "camera_id", "is_billing", "is_staff"),
    *("started_at", "ended_at", "is_open", "dwell_ms", "version", "is_deleted"),
)
QUEUE_DEPTH_COLUMNS = ("store_id", "business_day", "timestamp", "depth", "version", "is_deleted")
VISIT_COLUMNS = (
    *("store_id", "business_day", "visitor_id", "is_staff", "is_visitor", "started_at", "ended_at", "entries"),
    *("zone_visits", "has_billing_presence", "joined_queue", "abandoned_queue", "purchased"),
    *("attributed_transaction_id", "events", "layout_at", "rules", "version", "is_deleted"),
)
DAY_FIGURE_COLUMNS = ("store_id", "business_day", *day_tally.COLUMNS, "queue_depth", "version", "is_deleted")
NO_FIGURES: Row = (*DayTally().columns(), 0)
"""Those of a day on which nothing happened, from the tally's to the queue's."""


class Payment(NamedTuple):
    """A receipt and what was paid."""

    receipt: Receipt
    value: Decimal
    currency: str


@dataclass
class DerivedRows:
    """Rows for ClickHouse, in the order in which they must be inserted: a visit's row vouches for the zone rows before
    it. Those of ``day_figures`` may go at any time.
    """

    zone_visits: list[Row] = field(default_factory=list)
    queue_depth: list[Row] = field(default_factory=list)
    visits: list[Row] = field(default_factory=list)
    day_figures: list[Row] = field(default_factory=list)
    stores: set[str] = field(default_factory=set)
    """Stores that they follow from, and those whose facts changed none."""


@dataclass(frozen=True)
class WrittenVisit:
    """What ClickHouse holds of a visit, as far as it tells whether the row is current."""

    events: int
    is_staff: bool
    purchased: bool
    attributed_transaction_id: str
    layout_ms: int
    rules: int


@dataclass
class Written:
    """What ClickHouse holds of a store's day."""

    visits: dict[str, WrittenVisit] = field(default_factory=dict)
    zone_rows: dict[str, int] = field(default_factory=dict)
    """Highest ordinal plus one by visitor_id."""
    queue_depth: dict[int, int] = field(default_factory=dict)
    figures: Row = NO_FIGURES
    figures_version: int = 0


class StoreDay:
    """The visits of one store on one business day.

    ``take`` and ``add_receipt`` feed it facts that it has not seen; ``late`` names the visits that must be derived
    anew, for which the caller fetches all events and calls ``replace``; ``settle`` returns the rows that changed.

    Facts of days before ``kept_since`` may have expired. Visits that are written and have no facts are then left as they
    are, and where facts are seen to lack there is no row of the day's figures: they would be those of the facts that are left.
    Nor is there one of a day on which nothing counts, whether something once did or not.
    """

    __slots__ = (
        *("calendar", "conversion", "day", "day_text", "end", "facts", "late", "queue", "start", "used_at", "visits"),
        *("_figures", "_figures_version", "_is_billing", "_is_fresh", "_is_whole", "_kept_since", "_paid"),
        *("_receipt_ids", "_tally", "_touched", "_vanished"),
    )

    def __init__(self, calendar: StoreCalendar, day: date, kept_since: date = date.min) -> None:
        self.calendar = calendar
        self._is_billing = calendar.is_billing
        self.day = day
        self.day_text = day.isoformat()
        self.start, self.end = calendar.bounds(day)
        self.visits: dict[str, Visit] = {}
        self.conversion = ConversionDay(self.end)
        self.queue = queues.QueueDay()
        self.late: set[str] = set()
        self.facts = 0
        """Distinct facts known: events of the day, and transactions up to five minutes past it."""
        self.used_at = time.monotonic()
        self._kept_since = kept_since
        self._is_whole = True
        self._tally = DayTally()
        self._figures = NO_FIGURES
        """As ClickHouse holds them."""
        self._figures_version = 0
        self._touched: set[str] = set()
        self._vanished: set[str] = set()
        self._paid: list[int] = []
        self._receipt_ids: set[str] = set()
        self._is_fresh = False

    @property
    def version(self) -> int:
        """Version of the rows made now: more facts, or a newer layout, make a higher one."""
        return ((self.calendar.layout_ms // 1000) << 32) | self.facts

    def take(self, fact: VisitFact) -> None:
        """Fold an event in if it is the newest of its visit; else note the visit as late."""
        visitor_id = fact.visitor_id
        visit = self.visits.get(visitor_id)
        if visit is None:
            visit = self.visits[visitor_id] = Visit()
        if fact.key > visit.last_key and visitor_id not in self.late:
            fold(visit, fact, self._is_billing, self.start)
            self.facts += 1
            self._touched.add(visitor_id)
        else:
            self.late.add(visitor_id)

    def replace(self, visitor_id: str, facts: Iterable[VisitFact]) -> None:
        """Derive a visit anew from all of its events. Without any there is no visit: somebody sent a known id again
        under another visitor.
        """
        old = self.visits.get(visitor_id)
        visit = derive(facts, self._is_billing, self.start)
        if old is None and not visit.events:
            self.late.discard(visitor_id)
            return
        if old is not None:
            visit.zone_rows = old.zone_rows
            self.facts -= old.events
            self._tally.take_back(old)
        self.facts += visit.events
        self.visits[visitor_id] = visit
        self.late.discard(visitor_id)
        self._touched.add(visitor_id)

    def add_receipt(self, payment: Payment) -> None:
        """Take a transaction from the start of the day up to five minutes past its end; one it has is ignored."""
        receipt = payment.receipt
        if receipt[1] in self._receipt_ids:
            return
        self._receipt_ids.add(receipt[1])
        self.conversion.add_receipt(receipt)
        self.facts += 1
        self._paid.append(receipt[0])
        if receipt[0] < self.end:
            self._tally.add_receipt(payment.currency, payment.value)

    def wants(self, paid_at: int) -> bool:
        """Whether a transaction of that time concerns this day."""
        return self.start <= paid_at <= self.end + PURCHASE_WINDOW_MS

    def restore(self, events: Iterable[VisitFact], receipts: Iterable[Payment], written: Written) -> None:
        """Build the day from its facts, and mark for writing what ClickHouse holds otherwise."""
        by_visitor: dict[str, list[VisitFact]] = {}
        for fact in events:
            by_visitor.setdefault(fact.visitor_id, []).append(fact)
        for visitor_id, facts in by_visitor.items():
            visit = self.visits[visitor_id] = derive(facts, self._is_billing, self.start)
            self.facts += visit.events
            visit.zone_rows = written.zone_rows.get(visitor_id, 0)
        for payment in receipts:
            self.add_receipt(payment)
        self.queue.rows = dict(written.queue_depth)
        self._is_fresh = True
        self._refresh(set(self.visits))
        self._touched = {
            visitor_id for visitor_id in self.visits if written.visits.get(visitor_id) != self._as_written(visitor_id)
        }
        for visitor_id, visit in self.visits.items():
            self._count(visitor_id, visit)
            if visitor_id not in self._touched:
                visit.written()
        # Facts only grow, so a visit can vanish only from the days of another layout; else its events have expired.
        may_have_expired = self.day < self._kept_since
        self._vanished = {
            visitor_id
            for visitor_id, row in written.visits.items()
            if visitor_id not in self.visits and row.layout_ms != self.calendar.layout_ms and not may_have_expired
        }
        for visitor_id in self._vanished:
            ghost = Visit()
            ghost.zone_rows = written.zone_rows.get(visitor_id, 0)
            self.visits[visitor_id] = ghost
        self._touched |= self._vanished
        self._figures, self._figures_version = written.figures, written.figures_version
        self._is_whole = not may_have_expired or all(
            visitor_id in self.visits and row.events <= self.visits[visitor_id].events
            for visitor_id, row in written.visits.items()
        )

    def rewrite(self) -> None:
        """Mark every visit for writing."""
        self._touched |= self.visits.keys()
        for visit in self.visits.values():
            visit.rewrite()

    def _as_written(self, visitor_id: str) -> WrittenVisit:
        visit = self.visits[visitor_id]
        return WrittenVisit(
            events=visit.events,
            is_staff=visit.is_staff,
            purchased=self.conversion.has_purchased(visitor_id),
            attributed_transaction_id=self._claim(visitor_id),
            layout_ms=self.calendar.layout_ms,
            rules=RULES,
        )

    def _count(self, visitor_id: str, visit: Visit) -> None:
        self._tally.count(visit, self._has_purchased(visitor_id, visit), visitor_id in self.conversion.claims)

    def _has_purchased(self, visitor_id: str, visit: Visit) -> bool:
        return visit.has_billing_presence and self.conversion.has_purchased(visitor_id)

    def _claim(self, visitor_id: str) -> str:
        receipt = self.conversion.claims.get(visitor_id)
        return receipt[1] if receipt else ""

    def _refresh(self, touched: set[str]) -> set[str]:
        """Carry changed visits and new transactions through conversion and queue; returns all visits whose rows may
        differ.
        """
        conversion, queue = self.conversion, self.queue
        for visitor_id in touched:
            visit = self.visits[visitor_id]
            if visit.has_billing_presence:
                conversion.set_presences(visitor_id, [] if visit.is_staff else visit.billing_presences())
            else:
                conversion.set_presences(visitor_id, [])
        touched = touched | conversion.new_purchasers(self._paid)
        self._paid = []
        touched |= conversion.attribute()
        for visitor_id in touched:
            visit = self.visits[visitor_id]
            claim = conversion.claims.get(visitor_id)
            if visit.queue_events or claim is not None:
                queue.replace(visitor_id, queues.steps_of(visit, *(claim or (None, ""))))
            else:
                queue.replace(visitor_id, [])
        return touched

    def settle(self) -> DerivedRows:
        """The rows that changed since the last call. Every late visit must have been replaced before."""
        rows = DerivedRows()
        touched = self._refresh(self._touched)
        self._touched = set()
        version = self.version
        store_id, day = self.calendar.store_id, self.day_text
        for at, depth in self.queue.changes(everything=self._is_fresh).items():
            rows.queue_depth.append((store_id, day, at / 1000, depth or 0, version, int(depth is None)))
        self._is_fresh = False
        for visitor_id in touched:
            visit = self.visits[visitor_id]
            for stay in visit.unwritten:
                row = (
                    store_id,
                    day,
                    visitor_id,
                    stay.ordinal,
                    stay.zone_id,
                    stay.camera_id,
                    stay.is_billing,
                    visit.is_staff,
                    stay.started_at / 1000,
                    stay.ended_at / 1000,
                    stay.is_open,
                    stay.dwell_ms,
                    version,
                    0,
                )
                rows.zone_visits.append(row)
            for ordinal in range(len(visit.zone_visits), visit.zone_rows):
                gone = (store_id, day, visitor_id, ordinal, "", "", False, False, 0, 0, False, 0, version, 1)
                rows.zone_visits.append(gone)
            if visitor_id not in self._vanished:
                self._count(visitor_id, visit)
            visit.written()
            visit.zone_rows = len(visit.zone_visits)
            rows.visits.append(self._visit_row(visitor_id, visit, version))
        for visitor_id in self._vanished:
            del self.visits[visitor_id]
        self._vanished = set()
        figures = (*self._tally.columns(), self.queue.depth) if self._is_whole else NO_FIGURES
        if figures != self._figures:
            self._figures = figures
            # What takes a row back must outdo one that was made when more facts were there.
            version = version if self._is_whole else max(version, self._figures_version)
            rows.day_figures.append((store_id, day, *figures, version, int(figures == NO_FIGURES)))
        return rows

    def _visit_row(self, visitor_id: str, visit: Visit, version: int) -> Row:
        purchased = self._has_purchased(visitor_id, visit)
        return (
            self.calendar.store_id,
            self.day_text,
            visitor_id,
            visit.is_staff,
            visit.is_visitor,
            visit.started_at / 1000,
            visit.ended_at / 1000,
            visit.entries,
            len(visit.zone_visits),
            visit.has_billing_presence,
            visit.joined_queue,
            visit.left_unserved and not purchased,
            purchased,
            self._claim(visitor_id),
            visit.events,
            self.calendar.layout_ms / 1000,
            RULES,
            version,
            int(visitor_id in self._vanished),
        )
