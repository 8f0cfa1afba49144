"""Companions by tables of ways: metres and seconds, heights of 1.7 m."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.groups import Grouping, Trail, components

RULES = Grouping.of(None)


def trail(way: Callable[[float], tuple[float, float]], since: float = 0, until: float = 3) -> Trail:
    return [(round(200 * look), *way(look / 5), 1.7) for look in range(round(5 * since), round(5 * until) + 1)]


def walking(x: float, y: float, speed: float = 1.1, aside: float = 0.0) -> Callable[[float], tuple[float, float]]:
    return lambda at: (x + aside * at, y + speed * at)


@pytest.mark.parametrize(
    ("other", "together"),
    [
        # Side by side, one behind the other, and the same a little slower.
        (walking(0.7, 0), True),
        (walking(0.2, -0.9), True),
        (walking(0.7, 0.1, 1.0), True),
        # Too far apart; catching up; drawing apart after the door.
        (walking(0, -2.4), False),
        (walking(0.5, -2.0, 2.0), False),
        (walking(0.4, 0, 1.1, 0.9), False),
        # The other way through the door.
        (walking(0.8, 3.0, -1.1), False),
    ],
)
def test_who_walks_together(other: Callable[[float], tuple[float, float]], together: bool) -> None:
    assert RULES.together(trail(walking(0, 0)), trail(other)) is together
    assert RULES.together(trail(other), trail(walking(0, 0))) is together


def test_who_was_never_seen_at_once_is_not_together() -> None:
    assert not RULES.together(trail(walking(0, 0), 0, 1), trail(walking(0, 0), 2, 3))


@given(st.integers(1, 8), st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=10))
def test_components_are_who_is_linked(size: int, links: set[tuple[int, int]]) -> None:
    found = components(range(size), lambda one, other: (one, other) in links or (other, one) in links)
    assert sorted(person for group in found for person in group) == list(range(size))
    of = {person: number for number, group in enumerate(found) for person in group}
    for one, other in links:
        if one < size and other < size:
            assert of[one] == of[other]
    for group in found:
        reached, todo = {group[0]}, [group[0]]
        while todo:
            here = todo.pop()
            near = {b if a == here else a for a, b in links if here in (a, b)} & set(range(size)) - reached
            reached |= near
            todo += near
        assert reached == set(group)
