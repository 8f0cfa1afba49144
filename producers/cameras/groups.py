"""Who came in together: over the line within a short time, near each other, and not drawing apart or catching up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TypeVar

from schemas.events import GroupRules

# People who belong together cross a door one after another within about two steps each.
WINDOW_S = 2.0
# In heights of their boxes: about 1.7 m, the outer limit of the personal distance among acquaintances (Hall, 1966: 1.2 m)
# and the half metre that two foot points may be wrong.
DISTANCE = 1.0
# How much the distance may change while both walk: strangers differ in pace by more within the seconds looked at.
DRIFT = 0.6

T = TypeVar("T")
Trail = Sequence[tuple[int, float, float, float]]
"""Milliseconds, foot point x and y in pixels, height of the box in pixels; in the order of time."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The rules of one shop."""

    window_ms: int
    distance: float

    @classmethod
    def of(cls, rules: GroupRules | None) -> Grouping:
        """By the layout's rules, with defaults for what they leave out."""
        rules = rules or GroupRules()
        window_s = WINDOW_S if rules.window_s is None else rules.window_s
        return cls(round(1000 * window_s), DISTANCE if rules.distance is None else rules.distance)

    def together(self, one: Trail, other: Trail) -> bool:
        """Whether two people walked as companions, as far as both were seen at the same moments."""
        apart = _apart(one, other)
        if len(apart) < 2:
            return False
        third = max(1, len(apart) // 3)
        drift = abs(median(apart[-third:]) - median(apart[:third]))
        return median(apart) <= self.distance and drift <= DRIFT


def _apart(one: Trail, other: Trail) -> list[float]:
    """Distances at the common looks, in mean heights of the two boxes."""
    places = {at: (x, y, height) for at, x, y, height in one}
    distances = []
    for at, x, y, height in other:
        if (place := places.get(at)) is not None:
            distances.append(((x - place[0]) ** 2 + (y - place[1]) ** 2) ** 0.5 / ((height + place[2]) / 2))
    return distances


def components(people: Sequence[T], linked: Callable[[T, T], bool]) -> list[list[T]]:
    """People by whom they are linked to, directly or through others, in the given order."""
    of = list(range(len(people)))
    for i, j in combinations(range(len(people)), 2):
        if of[i] != of[j] and linked(people[i], people[j]):
            joined, gone = sorted((of[i], of[j]))
            of = [joined if number == gone else number for number in of]
    return [[person for person, number in zip(people, of, strict=True) if number == start] for start in sorted(set(of))]
