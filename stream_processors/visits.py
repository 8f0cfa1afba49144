"""Visits and zone visits: the rules, without I/O.

A visit is one visitor_id in one store on one business day. ``fold`` takes its events in the order of their keys;
``derive`` takes any collection of them. Folding event by event what arrives in order, and deriving from the set what
does not, give the same visit: that is what makes every answer a function of the set of events. Rules:
``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from schemas.reading import Key, VisitFact

IsBilling = Callable[[str], bool]
Span = tuple[int, int]
"""[start, end], milliseconds since 1970, both included."""

# Events that tell of a stay so far: at the instant at which the next zone's event closed it, they still belong to it.
LAST_WORDS = frozenset({"ZONE_DWELL", "BILLING_QUEUE_ABANDON", "ZONE_EXIT"})
NO_KEY: Key = (-1, 0, 0, "")
NOT_COUNTED = -1


class ZoneVisit:
    """One stay in one zone. ``ended_at`` is the closing event's time, or that of the last event so far."""

    __slots__ = (
        "camera_id",
        "counted_ms",
        "ended_at",
        "is_billing",
        "is_open",
        "is_written",
        "ordinal",
        "reported_dwell_ms",
        "started_at",
        "zone_id",
    )

    def __init__(self, fact: VisitFact, zone_id: str, is_billing: bool, ordinal: int) -> None:
        self.zone_id = zone_id
        self.ordinal = ordinal
        """Position among the zone visits of its visit, from 0."""
        self.is_billing = is_billing
        self.camera_id = fact.camera_id
        self.started_at = self.ended_at = fact.at
        self.reported_dwell_ms = fact.dwell_ms
        self.is_open = True
        self.is_written = False
        """ClickHouse holds it as it is; else it is in the visit's ``unwritten``."""
        self.counted_ms = NOT_COUNTED
        """The dwell that the day's tally holds of it."""

    @property
    def dwell_ms(self) -> int:
        """The larger of its span and the largest dwell that its events report."""
        return max(self.ended_at - self.started_at, self.reported_dwell_ms)


class Visit:
    """All that is known of one visit; some hundreds of bytes. The events themselves are in ClickHouse.

    What is not a number is a tuple: an empty one costs nothing, and most visits never queue.
    """

    __slots__ = (
        "abandon_key",
        "billing_stays",
        "counted",
        "ended_at",
        "entries",
        "events",
        "is_staff",
        "join_key",
        "last_key",
        "open_stays",
        "queue_events",
        "queue_spans",
        "started_at",
        "unwritten",
        "zone_rows",
        "zone_visits",
    )

    def __init__(self) -> None:
        self.last_key = NO_KEY
        self.events = 0
        self.entries = 0
        self.is_staff = False
        self.started_at = 0
        self.ended_at = 0
        self.zone_visits: tuple[ZoneVisit, ...] = ()
        self.open_stays: tuple[ZoneVisit, ...] = ()
        """Those of ``zone_visits`` that are open, mostly one, in their order."""
        self.billing_stays: tuple[ZoneVisit, ...] = ()
        """Those of ``zone_visits`` that are in billing zones."""
        self.unwritten: tuple[ZoneVisit, ...] = ()
        """Those of ``zone_visits`` that ClickHouse does not hold as they are."""
        self.zone_rows = 0
        """Rows that ClickHouse may hold for these zone visits, by ordinal from 0."""
        self.queue_spans: tuple[Span, ...] = ()
        """Spans of the BILLING_QUEUE events."""
        self.join_key: Key | None = None
        """Last BILLING_QUEUE_JOIN."""
        self.abandon_key: Key | None = None
        """Last BILLING_QUEUE_ABANDON."""
        self.queue_events: tuple[tuple[Key, str, int | None], ...] = ()
        """What the depth of the queue follows from: (key, "join" | "leave" | "measure", metadata.queue_depth)."""
        self.counted = 0
        """The figures in which the day's tally counts it, as ``day_tally.figures_of`` tells them."""

    @property
    def is_visitor(self) -> bool:
        """Counts as a visitor: seen at the entrance, and not staff."""
        return self.entries > 0 and not self.is_staff

    @property
    def joined_queue(self) -> bool:
        """Has a BILLING_QUEUE_JOIN."""
        return self.join_key is not None

    @property
    def left_unserved(self) -> bool:
        """Abandoned the queue after joining it last (a purchase may still prove otherwise)."""
        return self.join_key is not None and self.abandon_key is not None and self.abandon_key > self.join_key

    @property
    def has_billing_presence(self) -> bool:
        """Has been where people pay."""
        return bool(self.queue_spans or self.billing_stays)

    def billing_presences(self) -> list[Span]:
        """When the visitor was where people pay: zone visits of billing zones, and the spans of BILLING_QUEUE
        events.
        """
        return [*((stay.started_at, stay.ended_at) for stay in self.billing_stays), *self.queue_spans]

    def rewrite(self) -> None:
        """Mark all of its zone visits for writing."""
        self.unwritten = self.zone_visits
        for stay in self.unwritten:
            stay.is_written = False

    def written(self) -> None:
        """Note that ClickHouse holds its zone visits as they are."""
        for stay in self.unwritten:
            stay.is_written = True
        self.unwritten = ()


def fold(visit: Visit, fact: VisitFact, is_billing: IsBilling, day_start: int) -> None:
    """Take one event that is newer than all that the visit has seen (``fact.key > visit.last_key``).

    Args:
        visit: changed in place.
        fact: the event.
        is_billing: whether a zone is a billing zone.
        day_start: first millisecond of the business day; spans do not reach before it.
    """
    at = fact.at
    if visit.events == 0:
        visit.started_at = at
    visit.events += 1
    visit.ended_at = at
    visit.last_key = fact.key
    if fact.is_staff and not visit.is_staff:
        visit.is_staff = True
        visit.rewrite()

    event_type = fact.event_type
    kind = "measure"
    if event_type == "ENTRY" or event_type == "REENTRY":
        visit.entries += 1
    elif event_type == "EXIT":
        for stay in visit.open_stays:
            _close(visit, stay, at)
        kind = "leave"
    else:
        found = _stay_of(visit, fact, is_billing)
        if event_type == "BILLING_QUEUE_JOIN" or event_type == "BILLING_QUEUE_ABANDON":
            visit.queue_spans += ((max(day_start, at - fact.dwell_ms), at),)
            if event_type == "BILLING_QUEUE_JOIN":
                visit.join_key = fact.key
                kind = "join"
            else:
                visit.abandon_key = fact.key
                kind = "leave"
        elif event_type == "ZONE_EXIT" and found is not None and found.is_billing:
            kind = "leave"
        if found is not None and (event_type == "ZONE_EXIT" or event_type == "BILLING_QUEUE_ABANDON"):
            _close(visit, found, at)
    if fact.queue_depth is not None or kind == "join" or (kind == "leave" and visit.join_key is not None):
        visit.queue_events += ((fact.key, kind, fact.queue_depth),)


def _stay_of(visit: Visit, fact: VisitFact, is_billing: IsBilling) -> ZoneVisit | None:
    """The zone visit that a zone event belongs to, opened or extended; closes those that it ends elsewhere."""
    zone_id = fact.zone_id
    if zone_id is None:
        # A BILLING_QUEUE event without a zone is one in the billing zone whose visit was opened last; with none open it
        # opens none.
        zone_id = next((stay.zone_id for stay in reversed(visit.open_stays) if stay.is_billing), None)
        if zone_id is None:
            return None
    found = None
    for stay in visit.open_stays:
        if stay.zone_id == zone_id:
            found = stay
    if found is None and fact.event_type in LAST_WORDS:
        found = _just_closed(visit.zone_visits, zone_id, fact.at)
    if found is None or found.is_open:
        for stay in visit.open_stays:
            if stay is not found and stay.camera_id == fact.camera_id:
                _close(visit, stay, fact.at)
    if found is None:
        found = ZoneVisit(fact, zone_id, is_billing(zone_id), len(visit.zone_visits))
        visit.zone_visits += (found,)
        visit.open_stays += (found,)
        visit.unwritten += (found,)
        if found.is_billing:
            visit.billing_stays += (found,)
        return found
    found.camera_id = fact.camera_id
    found.ended_at = fact.at
    if fact.dwell_ms > found.reported_dwell_ms:
        found.reported_dwell_ms = fact.dwell_ms
    _changed(visit, found)
    return found


def _just_closed(stays: tuple[ZoneVisit, ...], zone_id: str, at: int) -> ZoneVisit | None:
    """The zone's last zone visit if it was closed at this very moment: entering the next zone came a hair before
    leaving this one.
    """
    last = next((stay for stay in reversed(stays) if stay.zone_id == zone_id), None)
    return last if last is not None and not last.is_open and last.ended_at == at else None


def _close(visit: Visit, stay: ZoneVisit, at: int) -> None:
    """End a stay; one that was closed at this instant already keeps its end."""
    if stay.is_open:
        stay.is_open = False
        visit.open_stays = tuple([other for other in visit.open_stays if other is not stay])
    stay.ended_at = at
    _changed(visit, stay)


def _changed(visit: Visit, stay: ZoneVisit) -> None:
    if stay.is_written:
        stay.is_written = False
        visit.unwritten += (stay,)


def derive(facts: Iterable[VisitFact], is_billing: IsBilling, day_start: int) -> Visit:
    """The visit that a set of events makes, in whatever order and however often they come."""
    visit = Visit()
    seen: set[str] = set()
    for fact in sorted(facts, key=lambda fact: fact.key):
        if fact.event_id not in seen:
            seen.add(fact.event_id)
            fold(visit, fact, is_billing, day_start)
    return visit
