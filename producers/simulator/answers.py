"""Every answer of every store, computed a second time from a record of what was sent, by ``docs/metrics.md`` alone.

This is the other half of double-entry bookkeeping: it shares no code with the workers, holds everything in memory, and
prefers the rule's own words to speed. Feed it the records in the order in which each store's were sent (malformed ones
and duplicates included), then ask::

    world = World(latest_ms) for topic, value in records: world.take(topic, value) world.metrics("ST1001",
    world.newest_day("ST1001"))
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from pydantic import ValidationError

from schemas import dialects
from schemas.events import EARLIEST_YEAR, StoreLayout, Transaction, VisitEvent
from schemas.topics import STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
BEFORE_PURCHASE_MS = 5 * MINUTE_MS
TYPES_IN_ORDER = (
    "ENTRY",
    "REENTRY",
    "ZONE_ENTER",
    "ZONE_DWELL",
    "BILLING_QUEUE_JOIN",
    "BILLING_QUEUE_ABANDON",
    "ZONE_EXIT",
    "EXIT",
)
QUEUE_TYPES = ("BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON")
ZONE_TYPES = ("ZONE_ENTER", "ZONE_DWELL", "ZONE_EXIT", *QUEUE_TYPES)
BILLING_WORDS = ("BILLING", "CHECKOUT", "CASH", "QUEUE")
COMPARED = ("QUEUE_SPIKE", "CONVERSION_DROP", "ABANDONMENT_SPIKE", "DEAD_ZONE", "CAMERA_DOWN")
"""Types of anomalies that are computed here: STALE_FEED looks at the wall clock, the others at months of history."""
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Seen(NamedTuple):
    """One visit event. Tuples of this form sort in the order of the rules."""

    at: int
    seq: int
    rank: int
    event_id: str
    event_type: str
    visitor_id: str
    camera_id: str
    zone_id: str | None
    dwell_ms: int
    is_staff: bool
    queue_depth: int | None


class Paid(NamedTuple):
    """One transaction. Tuples of this form sort in the order of the rules."""

    at: int
    transaction_id: str
    amount: Decimal
    currency: str | None


@dataclass
class ZoneVisit:
    """One stay in one zone. ``end`` is final once the visit is closed."""

    zone_id: str
    start: int
    end: int
    camera_id: str
    reported_ms: int = 0

    def add(self, event: Seen) -> None:
        """Let an event belong to this stay."""
        self.end = max(self.end, event.at)
        self.camera_id = event.camera_id
        self.reported_ms = max(self.reported_ms, event.dwell_ms)

    @property
    def dwell_ms(self) -> int:
        """The larger of the span and what its events report."""
        return max(self.end - self.start, self.reported_ms)


@dataclass
class Visit:
    """One visitor in one store on one business day."""

    visitor_id: str
    day_start: int
    events: list[Seen] = field(default_factory=list)

    @cached_property
    def is_staff(self) -> bool:
        """Some event says so."""
        return any(event.is_staff for event in self.events)

    @cached_property
    def counts(self) -> bool:
        """A visitor: seen at the entrance, and not staff."""
        return not self.is_staff and any(event.event_type in ("ENTRY", "REENTRY") for event in self.events)

    @cached_property
    def joined(self) -> bool:
        """Has joined the queue."""
        return any(event.event_type == "BILLING_QUEUE_JOIN" for event in self.events)

    @cached_property
    def gave_up(self) -> bool:
        """The last word on its queue is an abandonment."""
        said = [event.event_type for event in self.events if event.event_type in QUEUE_TYPES]
        last_join = max((place for place, said_so in enumerate(said) if said_so == "BILLING_QUEUE_JOIN"), default=-1)
        return last_join >= 0 and "BILLING_QUEUE_ABANDON" in said[last_join + 1 :]


class Calendar:
    """What a layout says, or what holds without one."""

    def __init__(self, layout: StoreLayout | None) -> None:
        self.layout = layout
        self.zone = ZoneInfo(layout.time_zone if layout else "UTC")
        self.zone_types = {zone.zone_id: zone.type for zone in layout.zones} if layout else {}

    def is_billing(self, zone_id: str) -> bool:
        """By the layout; by its name where the layout does not list it."""
        if zone_id in self.zone_types:
            return self.zone_types[zone_id] == "BILLING"
        return any(word in zone_id.upper() for word in BILLING_WORDS)

    def local(self, at: int) -> datetime:
        """An instant on the shop's clock."""
        return datetime.fromtimestamp(at / 1000, self.zone)

    def day(self, at: int) -> date:
        """The business day of an instant."""
        return self.local(at).date()

    def midnight(self, day: date) -> int:
        """When a business day begins."""
        return _ms(datetime.combine(day, time(), self.zone))

    def hours(self, day: date) -> list[tuple[int, int]]:
        """The day's opening hours, as instants."""
        listed: list[list[str]] | None = None
        if self.layout is not None and self.layout.opening_hours is not None:
            listed = self.layout.opening_hours.get(WEEKDAYS[day.weekday()], [])  # type: ignore[call-overload]
        for special in self.layout.special_days if self.layout else []:
            if special.date == str(day) and special.opening_hours is not None:
                listed = special.opening_hours
        if listed is None:
            return [(self.midnight(day), self.midnight(day + timedelta(days=1)))]
        spells = []
        for opens, closes in listed:
            start, end = self._clock(day, opens), self._clock(day, closes)
            spells.append((start, end if end > start else self._clock(day + timedelta(days=1), closes)))
        return spells

    def _clock(self, day: date, clock: str) -> int:
        if clock == "24:00":
            return self.midnight(day + timedelta(days=1))
        return _ms(datetime.combine(day, time.fromisoformat(clock), self.zone))

    def open_since(self, at: int) -> int | None:
        """Since when the shop has been open, or None when it is closed."""
        day = self.day(at)
        spells = self.hours(day - timedelta(days=1)) + self.hours(day)
        return next((start for start, end in spells if start <= at < end), None)


class Day:
    """One store's business day."""

    def __init__(
        self, calendar: Calendar, day: date, events: Iterable[Seen], paid: list[Paid], all_paid: list[int]
    ) -> None:
        self.calendar, self.day = calendar, day
        self.start = calendar.midnight(day)
        self.events = sorted(events)
        self.paid = sorted(paid)
        self.all_paid = all_paid
        visits: dict[str, Visit] = {}
        for event in self.events:
            visits.setdefault(event.visitor_id, Visit(event.visitor_id, self.start)).events.append(event)
        self.visits = list(visits.values())
        self.people = [visit for visit in self.visits if not visit.is_staff]
        self.visitors = [visit for visit in self.people if visit.counts]
        self.stays = {visit.visitor_id: zone_visits(visit.events, calendar) for visit in self.people}
        self.presences = {visit.visitor_id: self._presences(visit) for visit in self.people}
        self.purchasers = {
            visit.visitor_id
            for visit in self.people
            if any(
                self._paid_within(start, end + BEFORE_PURCHASE_MS) for start, end in self.presences[visit.visitor_id]
            )
        }
        self.claims = self._claims()
        self.abandoned = [v for v in self.people if v.joined and v.gave_up and v.visitor_id not in self.purchasers]
        self.joined = [visit for visit in self.people if visit.joined]

    def _presences(self, visit: Visit) -> list[tuple[int, int]]:
        spans = [
            (stay.start, stay.end) for stay in self.stays[visit.visitor_id] if self.calendar.is_billing(stay.zone_id)
        ]
        for event in visit.events:
            if event.event_type in QUEUE_TYPES:
                spans.append((max(event.at - event.dwell_ms, self.start), event.at))
        return spans

    def _paid_within(self, start: int, end: int) -> bool:
        """Whether the store has a transaction in [start, end], on whatever day."""
        place = bisect_left(self.all_paid, start)
        return place < len(self.all_paid) and self.all_paid[place] <= end

    def _claims(self) -> dict[str, str]:
        """transaction_id -> visitor_id: each transaction claims at most one visit, each visit is claimed once."""
        waiting = sorted((start, end, name) for name, spans in self.presences.items() for start, end in spans)
        claims: dict[str, str] = {}
        taken: set[str] = set()
        near: list[tuple[int, int, str]] = []
        place = 0
        for paid in self.paid:
            while place < len(waiting) and waiting[place][0] <= paid.at:
                near.append(waiting[place])
                place += 1
            near = [span for span in near if span[1] >= paid.at - BEFORE_PURCHASE_MS and span[2] not in taken]
            if near:
                _, name = min((start, name) for start, _, name in near)
                claims[paid.transaction_id] = name
                taken.add(name)
        return claims

    def depths(self) -> list[tuple[int, int]]:
        """(instant, depth) after each fact of the day that says something about the queue, in order."""
        staff = {visit.visitor_id for visit in self.visits if visit.is_staff}
        # A transaction comes after every event of the same instant.
        facts: list[tuple[int, int, Seen | Paid]] = [(e.at, 0, e) for e in self.events if e.visitor_id not in staff]
        facts = sorted(facts + [(paid.at, 1, paid) for paid in self.paid])
        queueing: set[str] = set()
        depth = 0
        course = []
        for at, _, fact in facts:
            if isinstance(fact, Paid):
                reading, joins, who = None, False, self.claims.get(fact.transaction_id)
                leaves = who is not None
            else:
                reading, who = fact.queue_depth, fact.visitor_id
                joins = fact.event_type == "BILLING_QUEUE_JOIN"
                leaves = fact.event_type in ("BILLING_QUEUE_ABANDON", "EXIT") or (
                    fact.event_type == "ZONE_EXIT"
                    and fact.zone_id is not None
                    and self.calendar.is_billing(fact.zone_id)
                )
            if reading is not None:
                depth = reading
            elif joins and who not in queueing:
                depth += 1
            elif leaves and who in queueing:
                depth = max(0, depth - 1)
            if joins and who is not None:
                queueing.add(who)
            if leaves and who is not None:
                queueing.discard(who)
            course.append((at, depth))
        return course

    @cached_property
    def depth(self) -> int:
        """The queue at the end of the day's facts."""
        course = self.depths()
        return course[-1][1] if course else 0

    @property
    def conversion(self) -> Fraction:
        """Visitors who purchased, over visitors."""
        bought = sum(visit.visitor_id in self.purchasers for visit in self.visitors)
        return Fraction(bought, len(self.visitors)) if self.visitors else Fraction(0)

    @property
    def abandonment(self) -> Fraction:
        """Who abandoned, over who joined."""
        return Fraction(len(self.abandoned), len(self.joined)) if self.joined else Fraction(0)

    @property
    def all_stays(self) -> list[ZoneVisit]:
        """Zone visits of everybody but staff."""
        return [stay for stays in self.stays.values() for stay in stays]


def zone_visits(events: Iterable[Seen], calendar: Calendar) -> list[ZoneVisit]:
    """The zone visits of one visit, from its events in order."""
    stays: list[ZoneVisit] = []
    # By zone, in the order of opening.
    open_now: dict[str, ZoneVisit] = {}
    last_closed: dict[str, ZoneVisit] = {}

    def close(zone_id: str, at: int) -> None:
        stay = last_closed[zone_id] = open_now.pop(zone_id)
        stay.end = at

    for event in events:
        if event.event_type == "EXIT":
            for zone_id in list(open_now):
                close(zone_id, event.at)
        if event.event_type not in ZONE_TYPES:
            continue
        zone = event.zone_id
        if zone is None:
            billing = [zone_id for zone_id in open_now if calendar.is_billing(zone_id)]
            if not billing:
                continue
            zone = billing[-1]
        closed = last_closed.get(zone)
        if (
            zone not in open_now
            and event.event_type in ("ZONE_DWELL", "ZONE_EXIT", "BILLING_QUEUE_ABANDON")
            and closed is not None
            and closed.end == event.at
        ):
            closed.add(event)
            continue
        for other, stay in list(open_now.items()):
            if other != zone and stay.camera_id == event.camera_id:
                close(other, event.at)
        if zone in open_now:
            open_now[zone].add(event)
        else:
            stay = open_now[zone] = ZoneVisit(zone, event.at, event.at, event.camera_id)
            stay.add(event)
            stays.append(stay)
        if event.event_type in ("ZONE_EXIT", "BILLING_QUEUE_ABANDON"):
            close(zone, event.at)
    return stays


@dataclass
class Store:
    """All facts of one store."""

    events: list[Seen] = field(default_factory=list)
    paid: dict[str, Paid] = field(default_factory=dict)
    layout: StoreLayout | None = None
    days: dict[date, Day] | None = None

    @property
    def calendar(self) -> Calendar:
        """By the newest layout."""
        return Calendar(self.layout)

    @property
    def newest(self) -> int | None:
        """Instant of the newest fact."""
        return max((fact.at for facts in (self.events, self.paid.values()) for fact in facts), default=None)


class World:
    """Everything that was sent. ``latest_ms`` is the newest timestamp that a reader accepts."""

    def __init__(self, latest_ms: int) -> None:
        self.latest_ms = latest_ms
        self.stores: dict[str, Store] = defaultdict(Store)
        self.event_ids: set[str] = set()
        self.refused = 0
        self.duplicates = 0

    def take(self, topic: str, value: bytes) -> None:
        """Take one record as it was sent; what cannot be read is counted as refused."""
        try:
            if topic == VISIT_EVENTS.name:
                self._visit_events(value)
            elif topic == TRANSACTIONS.name:
                self._transaction(value)
            elif topic == STORE_LAYOUTS.name:
                self._layout(value)
        except ValueError:
            self.refused += 1

    def _visit_events(self, value: bytes) -> None:
        for event in _read_visit_events(value):
            at = self._instant(event.timestamp)
            event_id = event.event_id.lower()
            if event_id in self.event_ids:
                self.duplicates += 1
                continue
            self.event_ids.add(event_id)
            self._changed(event.store_id).events.append(
                Seen(
                    at=at,
                    seq=event.metadata.session_seq or 0,
                    rank=TYPES_IN_ORDER.index(event.event_type),
                    event_id=event_id,
                    event_type=event.event_type,
                    visitor_id=event.visitor_id,
                    camera_id=event.camera_id,
                    zone_id=event.zone_id,
                    dwell_ms=event.dwell_ms,
                    is_staff=event.is_staff,
                    queue_depth=event.metadata.queue_depth,
                )
            )

    def _transaction(self, value: bytes) -> None:
        read = Transaction.model_validate_json(value)
        at = self._instant(read.timestamp)
        store = self._changed(read.store_id)
        if read.transaction_id in store.paid:
            self.duplicates += 1
            return
        store.paid[read.transaction_id] = Paid(at, read.transaction_id, read.basket_value, read.currency)

    def _layout(self, value: bytes) -> None:
        layout = StoreLayout.model_validate_json(value)
        self._instant(layout.timestamp)
        store = self._changed(layout.store_id)
        if store.layout is None or layout.timestamp >= store.layout.timestamp:
            store.layout = layout

    def _instant(self, moment: datetime) -> int:
        if moment.astimezone(UTC).year < EARLIEST_YEAR or (at := _ms(moment)) > self.latest_ms:
            raise ValueError("no clock could say so")
        return at

    def _changed(self, store_id: str) -> Store:
        store = self.stores[store_id]
        store.days = None
        return store

    def days(self, store_id: str) -> dict[date, Day]:
        """The store's business days that have facts."""
        store = self.stores[store_id]
        if store.days is None:
            calendar = store.calendar
            events, paid = defaultdict[date, list[Seen]](list), defaultdict[date, list[Paid]](list)
            for event in store.events:
                events[calendar.day(event.at)].append(event)
            for receipt in store.paid.values():
                paid[calendar.day(receipt.at)].append(receipt)
            all_paid = sorted(receipt.at for receipt in store.paid.values())
            store.days = {
                day: Day(calendar, day, events[day], paid[day], all_paid) for day in sorted(events.keys() | paid.keys())
            }
        return store.days

    def day(self, store_id: str, day: date) -> Day:
        """One business day, empty if nothing happened."""
        found = self.days(store_id).get(day)
        return found or Day(self.stores[store_id].calendar, day, (), [], [])

    def newest_day(self, store_id: str) -> date | None:
        """The business day of the store's newest fact."""
        return max(self.days(store_id), default=None)

    def metrics(self, store_id: str, on: date) -> dict[str, Any]:
        """GET /stores/{id}/metrics of one business day."""
        day = self.day(store_id, on)
        stays = day.all_stays
        claimed = set(day.claims.values())
        layout = self.stores[store_id].layout
        currencies = [paid.currency for paid in day.paid if paid.currency]
        return {
            "unique_visitors": len(day.visitors),
            "conversion_rate": _rate(day.conversion),
            "avg_dwell_ms": _mean(stay.dwell_ms for stay in stays),
            "queue_depth_current": day.depth,
            "abandonment_rate": _rate(day.abandonment),
            "staff_visits": sum(visit.is_staff for visit in day.visits),
            "unmatched_visitors": len(day.people) - len(day.visitors),
            "attributed_conversion_rate": _rate(
                Fraction(sum(visit.visitor_id in claimed for visit in day.visitors), len(day.visitors) or 1)
            ),
            "transactions": len(day.paid),
            "revenue": sum((paid.amount for paid in day.paid), Decimal(0)),
            "currency": (layout.currency if layout else None) or (currencies[-1] if currencies else None),
        }

    def funnel(self, store_id: str, on: date) -> dict[str, int]:
        """GET /stores/{id}/funnel of one business day."""
        day = self.day(store_id, on)
        names = [visit.visitor_id for visit in day.visitors]
        return {
            "entry": len(names),
            "zone_visit": sum(bool(day.stays[name] or day.presences[name]) for name in names),
            "billing_queue": sum(bool(day.presences[name]) for name in names),
            "purchased": sum(name in day.purchasers for name in names),
        }

    def heatmap(self, store_id: str, on: date) -> dict[str, dict[str, Any]]:
        """GET /stores/{id}/heatmap of one business day."""
        stays = defaultdict[str, list[int]](list)
        for stay in self.day(store_id, on).all_stays:
            stays[stay.zone_id].append(stay.dwell_ms)
        busiest = max(map(len, stays.values()), default=0)
        return {
            zone: {
                "frequency": len(dwells),
                "avg_dwell_ms": _mean(dwells),
                "normalized": _half_up(Fraction(100 * len(dwells), busiest)),
                "data_confidence": "LOW" if len(dwells) < 20 else "HIGH",
            }
            for zone, dwells in sorted(stays.items())
        }

    def anomalies(self, store_id: str) -> list[dict[str, Any]]:
        """What is open at the store's newest fact, of the types ``COMPARED``: type, subject, severity and, of the three
        that compare figures, value and baseline. Severity is left out where it follows from a week of history or more.
        """
        now = self.stores[store_id].newest
        if now is None:
            return []
        cameras = list(self._dead_cameras(store_id, now))
        figures = list(self._figures_out_of_line(store_id, now))
        calendar = self.stores[store_id].calendar
        special_days = calendar.layout.special_days if calendar.layout else []
        special = any(day.date == str(calendar.day(now)) for day in special_days)
        for anomaly in figures:
            if (cameras or special) and not (anomaly["type"] == "QUEUE_SPIKE" and anomaly["severity"] == "CRITICAL"):
                anomaly["severity"] = "INFO"
        found = [*figures, *self._dead_zones(store_id, now), *cameras]
        if len([day for day in self.days(store_id).values() if day.visitors]) > 7:
            for anomaly in found:
                del anomaly["severity"]
        return sorted(found, key=lambda anomaly: (anomaly["type"], anomaly["subject"]))

    def _figures_out_of_line(self, store_id: str, now: int) -> Iterable[dict[str, Any]]:
        today = self.days(store_id)[self.stores[store_id].calendar.day(now)]
        week = [past for back in range(1, 8) if (past := self.days(store_id).get(today.day - timedelta(days=back)))]
        usual = self.usual_depth(store_id, now)
        if today.depth > 5 and today.depth > 2 * usual:
            yield _anomaly("QUEUE_SPIKE", "", today.depth > 10, today.depth, usual)
        settled = {visit.visitor_id for visit in today.visits if visit.events[0].at <= now - 45 * MINUTE_MS}
        rates = [past.conversion for past in week if past.visitors]
        if (
            rates
            and len(today.visitors) >= 20
            and today.conversion < (mean := sum(rates, Fraction(0)) / len(rates)) * Fraction(7, 10)
        ):
            came = [visit.visitor_id for visit in today.visitors if visit.visitor_id in settled]
            sure = _far(-1, sum(name in today.purchasers for name in came), len(came), mean)
            critical = today.conversion < mean * Fraction(35, 100)
            yield _anomaly("CONVERSION_DROP", "", critical if sure else None, today.conversion, mean)
        rates = [past.abandonment for past in week if past.joined]
        mean = sum(rates, Fraction(0)) / len(rates) if rates else Fraction(0)
        rate = today.abandonment
        if len(today.joined) >= 10 and rate > Fraction(2, 10) and rate > mean * Fraction(3, 2):
            gave_up, joined = (
                sum(visit.visitor_id in settled for visit in visits) for visits in (today.abandoned, today.joined)
            )
            sure = _far(1, gave_up, joined, mean if rates else Fraction(2, 10))
            yield _anomaly("ABANDONMENT_SPIKE", "", rate > Fraction(1, 2) if sure else None, rate, mean)

    def usual_depth(self, store_id: str, now: int) -> Fraction:
        """Mean depth over time in the same hour of the same weekday in the 28 days before; 0 without such history."""
        calendar = self.stores[store_id].calendar
        local = calendar.local(now)
        total = spent = 0
        for weeks in range(1, 5):
            past = self.days(store_id).get(local.date() - timedelta(weeks=weeks))
            if past is None:
                continue
            start = _ms(datetime.combine(past.day, time(local.hour), calendar.zone))
            end = start + 60 * MINUTE_MS
            course = [(past.start, 0), *past.depths(), (end, 0)]
            for (begins, depth), (ends, _) in pairwise(course):
                total += depth * max(0, min(ends, end) - max(begins, start))
            spent += end - start
        return Fraction(total, spent) if spent else Fraction(0)

    def _dead_zones(self, store_id: str, now: int) -> Iterable[dict[str, Any]]:
        calendar = self.stores[store_id].calendar
        since = calendar.open_since(now)
        if since is None or now - since < 30 * MINUTE_MS:
            return
        stays = self.days(store_id)[calendar.day(now)].all_stays
        visited = {stay.zone_id for stay in stays}
        listed = {zone for zone, kind in calendar.zone_types.items() if kind in ("SHELF", "DISPLAY")}
        others = {zone for zone in visited if zone not in calendar.zone_types and not calendar.is_billing(zone)}
        alive = {stay.zone_id for stay in stays if stay.end > now - 30 * MINUTE_MS}
        for zone in listed | others:
            if zone not in alive:
                yield _anomaly("DEAD_ZONE", zone, None)

    def _dead_cameras(self, store_id: str, now: int) -> Iterable[dict[str, Any]]:
        calendar = self.stores[store_id].calendar
        since = calendar.open_since(now)
        if since is None or now - since < 10 * MINUTE_MS:
            return
        layout = self.stores[store_id].layout
        heard = {camera.camera_id: since for camera in layout.cameras} if layout else {}
        today = self.days(store_id)[calendar.day(now)]
        heard |= {event.camera_id: event.at for event in today.events}
        for camera, last in heard.items():
            if now - last > 10 * MINUTE_MS:
                yield _anomaly("CAMERA_DOWN", camera, True)


def _read_visit_events(value: bytes) -> list[VisitEvent]:
    try:
        return [VisitEvent.model_validate_json(value)]
    except ValidationError:
        record = orjson.loads(value)
        translated = dialects.translate(record) if isinstance(record, dict) else None
        if translated is None:
            raise
        return [VisitEvent.model_validate(event) for event in translated]


def _anomaly(
    kind: str,
    subject: str,
    critical: bool | None,
    value: Fraction | int | None = None,
    baseline: Fraction | None = None,
) -> dict[str, Any]:
    severity = "INFO" if critical is None else "CRITICAL" if critical else "WARN"
    found: dict[str, Any] = {"type": kind, "subject": subject, "severity": severity}
    if value is not None and baseline is not None:
        found |= {"value": float(value), "baseline": float(baseline)}
    return found


def _far(side: int, part: int, whole: int, mean: Fraction) -> bool:
    """Whether a share lies at least three and a half standard deviations of a binomial share on that side of the mean."""
    if not whole:
        return False
    centre = min(Fraction(98, 100), max(Fraction(2, 100), mean))
    off = side * (Fraction(part, whole) - centre)
    return off > 0 and off**2 >= Fraction(7, 2) ** 2 * centre * (1 - centre) / whole


def _ms(moment: datetime) -> int:
    """Milliseconds since 1970, cut off."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def _rate(share: Fraction) -> float:
    """Four decimals, half up."""
    return _half_up(share * 10_000) / 10_000


def _mean(values: Iterable[int]) -> int:
    """Whole milliseconds, half up; 0 of nothing."""
    known = list(values)
    return _half_up(Fraction(sum(known), len(known))) if known else 0
