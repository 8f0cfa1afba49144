"""The figures of one business day of one store, kept as its visits and receipts change: the rules, without I/O.

A day's figures are counts over its visits, zone visits and receipts (``docs/metrics.md``). Whoever asks ClickHouse to count them
pays for the whole day at each question; a worker that has just changed a visit knows what that changes. It keeps what it
has counted of each visit and stay beside them, so that a change costs by itself and not by the day.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from stream_processors.visits import NOT_COUNTED, Visit

FIGURES = (
    *("unique_visitors", "unmatched_visitors", "staff_visits", "zone_visitors", "billing_visitors", "purchasers"),
    *("attributed_visitors", "joined_queue", "abandoned_queue"),
)
"""Numbers of visits."""
_UNIQUE, _UNMATCHED, _STAFF, _ZONE, _BILLING, _PURCHASER, _ATTRIBUTED, _JOINED, _ABANDONED = (
    1 << place for place in range(len(FIGURES))
)
_PLACES = [
    tuple(place for place in range(len(FIGURES)) if counted >> place & 1) for counted in range(1 << len(FIGURES))
]
"""The places in ``FIGURES`` of each set of them that a visit may count in."""

COLUMNS = (
    *FIGURES,
    *("zones.zone_id", "zones.frequency", "zones.dwell_ms"),
    *("receipts.currency", "receipts.transactions", "receipts.revenue"),
)


def figures_of(visit: Visit, purchased: bool, claimed: bool) -> int:
    """The figures that a visit counts in, a bit for each of ``FIGURES``.

    Args:
        visit: with events.
        purchased: a transaction follows one of its billing presences in time.
        claimed: a transaction claims it.
    """
    if visit.is_staff:
        return _STAFF
    if visit.entries:
        counted = _UNIQUE
        if visit.has_billing_presence:
            counted |= _ZONE | _BILLING
        elif visit.zone_visits:
            counted |= _ZONE
        if purchased:
            counted |= _PURCHASER
        if claimed:
            counted |= _ATTRIBUTED
    else:
        counted = _UNMATCHED
    if visit.join_key is not None:
        counted |= _JOINED
        if visit.left_unserved and not purchased:
            counted |= _ABANDONED
    return counted


class DayTally:
    """Counts over the visits, zone visits and receipts of one store and business day."""

    __slots__ = ("_figures", "_receipts", "_zones")

    def __init__(self) -> None:
        self._figures = [0] * len(FIGURES)
        self._zones: dict[str, list[int]] = {}
        """Zone visits and their dwell in milliseconds, by zone."""
        self._receipts: dict[str, tuple[int, Decimal]] = {}
        """Receipts and what they add up to, by currency."""

    def count(self, visit: Visit, purchased: bool, claimed: bool) -> None:
        """Put a visit as it is in place of what was counted of it. Of its stays only those of ``unwritten`` may have changed."""
        counted = figures_of(visit, purchased, claimed)
        if counted != visit.counted:
            figures = self._figures
            for place in _PLACES[visit.counted]:
                figures[place] -= 1
            for place in _PLACES[counted]:
                figures[place] += 1
            visit.counted = counted
        for stay in visit.unwritten:
            dwell_ms = NOT_COUNTED if visit.is_staff else stay.dwell_ms
            if dwell_ms != stay.counted_ms:
                zone = self._zones.get(stay.zone_id)
                if zone is None:
                    zone = self._zones[stay.zone_id] = [0, 0]
                _take_back(zone, stay.counted_ms)
                if dwell_ms != NOT_COUNTED:
                    zone[0] += 1
                    zone[1] += dwell_ms
                stay.counted_ms = dwell_ms

    def take_back(self, visit: Visit) -> None:
        """Forget what was counted of a visit, since another takes its place."""
        for place in _PLACES[visit.counted]:
            self._figures[place] -= 1
        for stay in visit.zone_visits:
            _take_back(self._zones.get(stay.zone_id, [0, 0]), stay.counted_ms)

    def add_receipt(self, currency: str, value: Decimal) -> None:
        """Count a receipt that is new to this day."""
        transactions, revenue = self._receipts.get(currency, (0, Decimal(0)))
        self._receipts[currency] = (transactions + 1, revenue + value)

    def columns(self) -> tuple[Any, ...]:
        """The values of ``COLUMNS``; zones and currencies in the order of their names."""
        zones = sorted((zone_id, *counts) for zone_id, counts in self._zones.items() if counts[0])
        receipts = sorted((currency, *counts) for currency, counts in self._receipts.items())
        return (
            *self._figures,
            [zone_id for zone_id, _, _ in zones],
            [frequency for _, frequency, _ in zones],
            [dwell_ms for _, _, dwell_ms in zones],
            [currency for currency, _, _ in receipts],
            [transactions for _, transactions, _ in receipts],
            [revenue for _, _, revenue in receipts],
        )


def _take_back(zone: list[int], counted_ms: int) -> None:
    if counted_ms != NOT_COUNTED:
        zone[0] -= 1
        zone[1] -= counted_ms
