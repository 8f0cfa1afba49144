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


class ZoneVisit:
    """One stay in one zone. ``ended_at`` is the closing event's time, or that of the last event so far."""

    __slots__ = (
        "camera_id",
        "ended_at",
        "is_billing",
        "is_open",
        "is_written",
        "reported_dwell_ms",
        "started_at",
        "zone_id",
    )

    def __init__(self, fact: VisitFact, zone_id: str, is_billing: bool) -> None:
        self.zone_id = zone_id
        self.is_billing = is_billing
        self.camera_id = fact.camera_id
        self.started_at = self.ended_at = fact.at
        self.reported_dwell_ms = fact.dwell_ms
        self.is_open = True
        self.is_written = False
        """ClickHouse holds it as it is."""

    @property
    def dwell_ms(self) -> int:
        """The larger of its span and the largest dwell that its events report."""
        return max(self.ended_at - self.started_at, self.reported_dwell_ms)


class Visit:
    """All that is known of one visit; some hundreds of bytes. The events themselves are in ClickHouse."""

    __slots__ = (
        "abandon_key",
        "ended_at",
        "entries",
        "events",
        "is_staff",
        "join_key",
        "last_key",
        "queue_events",
        "queue_spans",
        "started_at",
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
        self.zone_visits: list[ZoneVisit] = []
        self.zone_rows = 0
        """Rows that ClickHouse may hold for these zone visits, by ordinal from 0."""
        self.queue_spans: list[Span] = []
        """Spans of the BILLING_QUEUE events."""
        self.join_key: Key | None = None
        """Last BILLING_QUEUE_JOIN."""
        self.abandon_key: Key | None = None
        """Last BILLING_QUEUE_ABANDON."""
        self.queue_events: list[tuple[Key, str, int | None]] = []
        """What the depth of the queue follows from: (key, "join" | "leave" | "measure", metadata.queue_depth)."""

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

    def billing_presences(self) -> list[Span]:
        """When the visitor was where people pay: zone visits of billing zones, and the spans of BILLING_QUEUE
        events.
        """
        zones = [(stay.started_at, stay.ended_at) for stay in self.zone_visits if stay.is_billing]
        return zones + self.queue_spans


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
        for stay in visit.zone_visits:
            stay.is_written = False

    event_type = fact.event_type
    kind = "measure"
    if event_type in ("ENTRY", "REENTRY"):
        visit.entries += 1
    elif event_type == "EXIT":
        for stay in visit.zone_visits:
            if stay.is_open:
                _close(stay, at)
        kind = "leave"
    else:
        stay_or_none = _stay_of(visit, fact, is_billing)
        if event_type == "BILLING_QUEUE_JOIN" or event_type == "BILLING_QUEUE_ABANDON":
            visit.queue_spans.append((max(day_start, at - fact.dwell_ms), at))
            if event_type == "BILLING_QUEUE_JOIN":
                visit.join_key = fact.key
                kind = "join"
            else:
                visit.abandon_key = fact.key
                kind = "leave"
        elif event_type == "ZONE_EXIT" and stay_or_none is not None and stay_or_none.is_billing:
            kind = "leave"
        if stay_or_none is not None and event_type in ("ZONE_EXIT", "BILLING_QUEUE_ABANDON"):
            _close(stay_or_none, at)
    if fact.queue_depth is not None or kind == "join" or (kind == "leave" and visit.join_key is not None):
        visit.queue_events.append((fact.key, kind, fact.queue_depth))


def _stay_of(visit: Visit, fact: VisitFact, is_billing: IsBilling) -> ZoneVisit | None:
    """The zone visit that a zone event belongs to, opened or extended; closes those that it ends elsewhere."""
    zone_id = fact.zone_id
    stays = visit.zone_visits
    if zone_id is None:
        # A BILLING_QUEUE event without a zone is one in the billing zone whose visit was opened last; with none open it
        # opens none.
        zone_id = next((stay.zone_id for stay in reversed(stays) if stay.is_open and stay.is_billing), None)
        if zone_id is None:
            return None
    stay = next((stay for stay in stays if stay.is_open and stay.zone_id == zone_id), None)
    if stay is None and fact.event_type in LAST_WORDS:
        stay = _just_closed(stays, zone_id, fact.at)
    if stay is None or stay.is_open:
        for other in stays:
            if other.is_open and other is not stay and other.camera_id == fact.camera_id:
                _close(other, fact.at)
    if stay is None:
        stay = ZoneVisit(fact, zone_id, is_billing(zone_id))
        stays.append(stay)
        return stay
    stay.camera_id = fact.camera_id
    stay.ended_at = fact.at
    stay.reported_dwell_ms = max(stay.reported_dwell_ms, fact.dwell_ms)
    stay.is_written = False
    return stay


def _just_closed(stays: list[ZoneVisit], zone_id: str, at: int) -> ZoneVisit | None:
    """The zone's last zone visit if it was closed at this very moment: entering the next zone came a hair before
    leaving this one.
    """
    last = next((stay for stay in reversed(stays) if stay.zone_id == zone_id), None)
    return last if last is not None and not last.is_open and last.ended_at == at else None


def _close(stay: ZoneVisit, at: int) -> None:
    stay.is_open = False
    stay.ended_at = at
    stay.is_written = False


def derive(facts: Iterable[VisitFact], is_billing: IsBilling, day_start: int) -> Visit:
    """The visit that a set of events makes, in whatever order and however often they come."""
    visit = Visit()
    seen: set[str] = set()
    for fact in sorted(facts, key=lambda fact: fact.key):
        if fact.event_id not in seen:
            seen.add(fact.event_id)
            fold(visit, fact, is_billing, day_start)
    return visit
