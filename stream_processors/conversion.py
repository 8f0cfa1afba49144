"""Who bought: the rules, without I/O.

``purchased``: a billing presence overlaps the five minutes before a transaction. ``attributed``: each transaction
claims at most one visit, the one longest in the queue, so that attributed conversion cannot exceed transactions over
visitors. Rules: ``docs/metrics.md``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import zip_longest

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

    Presences lie in buckets of five minutes, so that a transaction meets only those near it; all transactions of a bucket
    meet them together, so that a crowd at the tills costs by its people and its receipts, not by their product.
    """

    __slots__ = (
        "_buckets",
        "_changed_from",
        "_claimants",
        "_day_end",
        "_presences",
        "_purchasers",
        "claims",
        "receipts",
    )

    def __init__(self, day_end: int) -> None:
        self._day_end = day_end
        self.receipts: list[Receipt] = []
        """In order, up to five minutes past the end of the day: those make purchases but claim nothing."""
        self._presences: dict[str, list[Span]] = {}
        self._buckets: defaultdict[int, set[str]] = defaultdict(set)
        self._purchasers: set[str] = set()
        """Visits told by ``new_purchasers`` and not changed since."""
        self._changed_from: int | None = None
        self.claims: dict[str, Receipt] = {}
        """The transaction that claims a visit, by visitor_id."""
        self._claimants: dict[Receipt, str] = {}

    def set_presences(self, visitor_id: str, presences: list[Span]) -> None:
        """Replace the billing presences of a (non-staff) visit; none for a visit that has become staff."""
        old = self._presences.get(visitor_id, [])
        if old == presences:
            return
        before, after = _buckets(old), _buckets(presences)
        for bucket in before - after:
            self._buckets[bucket].discard(visitor_id)
        for bucket in after - before:
            self._buckets[bucket].add(visitor_id)
        if presences:
            self._presences[visitor_id] = presences
        else:
            del self._presences[visitor_id]
        self._purchasers.discard(visitor_id)
        self._note(_first_difference(old, presences))

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

    def new_purchasers(self, paid: Iterable[int]) -> set[str]:
        """Visits that transactions of these times have made purchases, and that were not told before."""
        found = {visitor for visitor in self._near(paid) - self._purchasers if self.has_purchased(visitor)}
        self._purchasers |= found
        return found

    def _near(self, paid: Iterable[int]) -> set[str]:
        """Visits with a presence that may overlap the window of one of these transactions."""
        return set().union(*[self._buckets.get(bucket, ()) for bucket in {at // PURCHASE_WINDOW_MS for at in paid}])

    def attribute(self) -> set[str]:
        """Let the transactions claim visits anew from the first change on; returns the visits whose claim changed."""
        since = self._changed_from
        if since is None:
            return set()
        self._changed_from = None
        receipts = self.receipts[
            bisect_left(self.receipts, (since, "")) : bisect_left(self.receipts, (self._day_end, ""))
        ]
        before: dict[str, Receipt] = {}
        for receipt in receipts:
            if (visitor := self._claimants.pop(receipt, None)) is not None:
                before[visitor] = receipt
                del self.claims[visitor]
        spans = sorted(
            (start, visitor, end)
            for visitor in self._near(at for at, _ in receipts)
            for start, end in self._presences[visitor]
        )
        after: dict[str, Receipt] = {}
        come = 0
        waiting: deque[tuple[int, str, int]] = deque()  # by their start, so that the first is the longest there
        for receipt in receipts:
            at = receipt[0]
            while come < len(spans) and spans[come][0] <= at:
                waiting.append(spans[come])
                come += 1
            # Transactions only get later: whom this one finds claimed or gone, the next need not look at.
            while waiting:
                start, visitor, end = waiting.popleft()
                if visitor not in self.claims and overlaps((start, end), at):
                    self.claims[visitor] = after[visitor] = receipt
                    self._claimants[receipt] = visitor
                    break
        return {visitor for visitor in before.keys() | after.keys() if before.get(visitor) != after.get(visitor)}


def _first_difference(old: Sequence[Span], new: Sequence[Span]) -> int:
    """The time of the first transaction that two unequal lists of presences could mean something else to."""
    times = []
    for one, other in zip_longest(old, new):
        if one and other and one[0] == other[0]:
            if one[1] != other[1]:  # somebody still stands there: what was paid before the earlier end sees no change
                times.append(min(one[1], other[1]) + PURCHASE_WINDOW_MS + 1)
        elif one != other:
            times += [span[0] for span in (one, other) if span]
    return min(times)


def _buckets(presences: Iterable[Span]) -> set[int]:
    """The five-minute buckets whose transactions a set of presences can meet."""
    return {
        bucket
        for start, end in presences
        for bucket in range(start // PURCHASE_WINDOW_MS, (end + PURCHASE_WINDOW_MS) // PURCHASE_WINDOW_MS + 1)
    }
