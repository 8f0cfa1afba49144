"""Who bought: the rules, without I/O.

``purchased``: a billing presence overlaps the five minutes before a transaction. ``attributed``: each transaction
claims at most one visit, the one longest in the queue, so that attributed conversion cannot exceed transactions over
visitors. Rules: ``docs/metrics.md``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable

from stream_processors.visits import Span

PURCHASE_WINDOW_MS = 5 * 60_000
Receipt = tuple[int, str]
"""(timestamp ms, transaction_id): the order of transactions."""


def overlaps(presence: Span, paid_at: int) -> bool:
    """Whether a billing presence overlaps [paid_at - 5 min, paid_at]."""
    start, end = presence
    return start <= paid_at and end >= paid_at - PURCHASE_WINDOW_MS


class ConversionDay:
    """Transactions and billing presences of one store and business day, and which visits they make purchases.

    Presences lie in buckets of five minutes, so that a transaction meets only those near it.
    """

    __slots__ = ("_buckets", "_changed_from", "_day_end", "_presences", "claims", "receipts")

    def __init__(self, day_end: int) -> None:
        self._day_end = day_end
        self.receipts: list[Receipt] = []
        """In order, up to five minutes past the end of the day: those make purchases but claim nothing."""
        self._presences: dict[str, list[Span]] = {}
        self._buckets: defaultdict[int, set[str]] = defaultdict(set)
        self._changed_from: int | None = None
        self.claims: dict[str, Receipt] = {}
        """The transaction that claims a visit, by visitor_id."""

    def set_presences(self, visitor_id: str, presences: list[Span]) -> None:
        """Replace the billing presences of a (non-staff) visit; none for a visit that has become staff."""
        old = self._presences.get(visitor_id, [])
        if old == presences:
            return
        for bucket in _buckets(old):
            self._buckets[bucket].discard(visitor_id)
        for bucket in _buckets(presences):
            self._buckets[bucket].add(visitor_id)
        if presences:
            self._presences[visitor_id] = presences
        else:
            del self._presences[visitor_id]
        self._note(min(start for start, _ in (*old, *presences)))

    def add_receipt(self, receipt: Receipt) -> None:
        """Take a transaction that is new to this day."""
        insort(self.receipts, receipt)
        self._note(receipt[0])

    def _note(self, at: int) -> None:
        self._changed_from = at if self._changed_from is None else min(at, self._changed_from)

    def has_purchased(self, visitor_id: str) -> bool:
        """Whether some transaction of the store follows a billing presence of the visit within five minutes."""
        for start, end in self._presences.get(visitor_id, ()):
            index = bisect_left(self.receipts, (start, ""))
            if index < len(self.receipts) and self.receipts[index][0] <= end + PURCHASE_WINDOW_MS:
                return True
        return False

    def near(self, paid_at: int) -> list[tuple[int, str]]:
        """Visits with a presence that overlaps the window of a transaction, as (start of the earliest such presence,
        visitor_id).
        """
        found = []
        for visitor_id in self._buckets.get(paid_at // PURCHASE_WINDOW_MS, ()):
            starts = [span[0] for span in self._presences[visitor_id] if overlaps(span, paid_at)]
            if starts:
                found.append((min(starts), visitor_id))
        return found

    def attribute(self) -> set[str]:
        """Let the transactions claim visits anew from the first change on; returns the visits whose claim changed."""
        since = self._changed_from
        if since is None:
            return set()
        self._changed_from = None
        before = {visitor: receipt for visitor, receipt in self.claims.items() if receipt[0] >= since}
        for visitor in before:
            del self.claims[visitor]
        for receipt in self.receipts[bisect_left(self.receipts, (since, "")) :]:
            if receipt[0] >= self._day_end:
                break
            unclaimed = [candidate for candidate in self.near(receipt[0]) if candidate[1] not in self.claims]
            if unclaimed:
                self.claims[min(unclaimed)[1]] = receipt
        touched = before.keys() | {visitor for visitor, receipt in self.claims.items() if receipt[0] >= since}
        return {visitor for visitor in touched if before.get(visitor) != self.claims.get(visitor)}


def _buckets(presences: Iterable[Span]) -> set[int]:
    """The five-minute buckets whose transactions a set of presences can meet."""
    return {
        bucket
        for start, end in presences
        for bucket in range(start // PURCHASE_WINDOW_MS, (end + PURCHASE_WINDOW_MS) // PURCHASE_WINDOW_MS + 1)
    }
