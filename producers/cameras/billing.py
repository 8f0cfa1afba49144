"""The queue at the till as a camera can know it: who is in a billing zone, in the order of their coming.

A camera sees no receipts. What it can know is whose turn it was: the one who came first is served first, and being served
takes at least ``service_ms``. Whoever joined the queue and leaves the zone without having been first for so long has
abandoned it. Whoever leaves later may have paid or not: that the till says, and the answers take back an abandonment that a
purchase follows (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from schemas.events import BillingRules

# The quickest service: one item, paid by holding a card to the terminal.
SERVICE_S = 5.0
# Who walks through the billing zone is out of it again by then, and has joined no queue.
PASSING_MS = 2000


@dataclass(slots=True)
class _Waiting:
    party: Hashable
    joined: bool
    first_ms: int | None = None


@dataclass(slots=True)
class Queue:
    """The people of one billing zone, staff apart, in the order of their coming."""

    service_ms: int
    _people: dict[Hashable, _Waiting] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: BillingRules | None) -> Queue:
        """By the layout's rules, with a default for what they leave out."""
        given = rules.service_s if rules else None
        return cls(round(1000 * (SERVICE_S if given is None else given)))

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, who: Hashable) -> bool:
        return who in self._people

    def enter(self, who: Hashable, party: Hashable, at_ms: int) -> bool:
        """``who`` comes; whoever shares their ``party`` shares their turn. True when they join others."""
        joined = bool(self._people)
        self._people[who] = _Waiting(party, joined)
        self._next(at_ms)
        return joined

    def leave(self, who: Hashable, at_ms: int) -> bool:
        """``who`` goes; true when they had joined and it cannot have been their turn."""
        person = self._people.pop(who, None)
        if person is None:
            return False
        self._next(at_ms)
        return person.joined and (person.first_ms is None or at_ms - person.first_ms < self.service_ms)

    def _next(self, at_ms: int) -> None:
        first = next(iter(self._people.values()), None)
        for person in self._people.values():
            if first is not None and person.first_ms is None and (person is first or person.party == first.party):
                person.first_ms = at_ms
