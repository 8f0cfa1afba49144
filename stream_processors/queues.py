"""The depth of the billing queue: the rules, without I/O.

Each visit contributes steps (``steps_of``); a store's depth is their fold in the order of events (``run``). An event
that carries ``metadata.queue_depth`` sets the depth; a join without it adds one; leaving takes one, whether by walking
off or by the transaction that claims the visit. Rules: ``docs/metrics.md``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from schemas.reading import Key
from stream_processors.visits import Visit

# A transaction comes after every event of its instant.
AFTER_ALL_EVENTS = 1 << 40


class Step(NamedTuple):
    """One change of depth: ``set_to`` when measured, else ``change`` (+1 or -1)."""

    key: Key
    change: int
    set_to: int | None


def steps_of(visit: Visit, claimed_at: int | None, transaction_id: str) -> list[Step]:
    """The steps that one visit contributes.

    Args:
        visit: staff visits contribute none.
        claimed_at: time of the transaction that claims the visit, or None.
        transaction_id: that transaction, to order it among those of its instant.
    """
    if visit.is_staff:
        return []
    happenings: Iterable[tuple[Key, str, int | None]] = visit.queue_events
    if claimed_at is not None:
        purchase = ((claimed_at, AFTER_ALL_EVENTS, 0, transaction_id), "leave", None)
        happenings = sorted([*happenings, purchase], key=lambda happening: happening[0])
    steps = []
    in_queue = False
    for key, kind, measured in happenings:
        change = 0
        if kind == "join" and not in_queue:
            in_queue, change = True, 1
        elif kind == "leave" and in_queue:
            in_queue, change = False, -1
        if measured is not None or change:
            steps.append(Step(key, change, measured))
    return steps


def run(steps: Iterable[Step], depth: int = 0) -> list[int]:
    """The depth after each step, from a depth before the first."""
    depths = []
    for step in steps:
        depth = step.set_to if step.set_to is not None else max(0, depth + step.change)
        depths.append(depth)
    return depths


class QueueDay:
    """The depth over one business day of one store, kept current as visits change."""

    __slots__ = ("_by_visit", "_changed_from", "_depths", "_removed", "_steps", "rows")

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._depths: list[int] = []
        self._by_visit: dict[str, list[Step]] = {}
        self._changed_from: int | None = None
        self._removed: set[int] = set()
        self.rows: dict[int, int] = {}
        """Depth by time (milliseconds since 1970), as written to ClickHouse."""

    @property
    def depth(self) -> int:
        """The depth after the last step."""
        return self._depths[-1] if self._depths else 0

    def replace(self, visitor_id: str, steps: list[Step]) -> None:
        """Put a visit's steps in place of those it had."""
        old = self._by_visit.get(visitor_id, [])
        if old == steps:
            return
        same = 0
        while same < len(old) and same < len(steps) and old[same] == steps[same]:
            same += 1
        for step in old[same:]:
            index = bisect_left(self._steps, step)
            del self._steps[index], self._depths[index]
            self._removed.add(step.key[0])
            self._note(step)
        for step in steps[same:]:
            index = bisect_left(self._steps, step)
            self._steps.insert(index, step)
            self._depths.insert(index, 0)
            self._note(step)
        if steps:
            self._by_visit[visitor_id] = steps
        else:
            self._by_visit.pop(visitor_id, None)

    def _note(self, step: Step) -> None:
        at = step.key[0]
        self._changed_from = at if self._changed_from is None else min(at, self._changed_from)

    def changes(self, everything: bool = False) -> dict[int, int | None]:
        """Bring the depth up to date and return what differs from ``rows``: time to depth, None where nothing changes
        any more.

        ``everything`` compares the whole day, for a day just loaded; else only from the first changed step on.
        """
        since = -1 if everything else self._changed_from
        if since is None:
            return {}
        start = bisect_left(self._steps, since, key=lambda step: step.key[0])
        suffix = self._steps[start:]
        self._depths[start:] = run(suffix, self._depths[start - 1] if start else 0)
        fresh = {step.key[0]: depth for step, depth in zip(suffix, self._depths[start:], strict=True)}
        gone = set(self.rows) if everything else self._removed
        changed: dict[int, int | None] = {at: depth for at, depth in fresh.items() if self.rows.get(at) != depth}
        changed |= {at: None for at in gone if at in self.rows and at not in fresh}
        for at, depth in changed.items():
            if depth is None:
                del self.rows[at]
            else:
                self.rows[at] = depth
        self._changed_from = None
        self._removed = set()
        return changed
