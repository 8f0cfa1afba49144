"""Scores and the choice among those who compete, by tables and properties."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.identity import (
    DEFAULTS,
    UNLIKE,
    UNSEEN,
    Candidate,
    Decision,
    Identity,
    Kind,
    assign,
    bridge,
    likeness,
    on_floor,
    with_clothes,
)
from schemas.events import IdentityRules


def test_the_layouts_thresholds_hold_and_the_rest_is_ours() -> None:
    identity = Identity.of(IdentityRules(bridge_s=0, reentry_score=0.97, margin=0.2))
    assert identity.window_ms[Kind.BRIDGE] == 0
    assert identity.score[Kind.REENTRY] == 0.97
    assert identity.margin == 0.2
    assert identity.window_ms[Kind.REENTRY] == 1000 * DEFAULTS["reentry_s"]
    assert Identity.of(None).score[Kind.REENTRY] == DEFAULTS["reentry_score"]


@pytest.mark.parametrize(
    ("found", "gap_s", "low", "high"),
    [
        # Walking to the right at a height a second, lost at 0: anywhere on the way since then.
        ((100, 0), 1.0, 0.99, 1),
        ((50, 0), 1.0, 0.99, 1),
        ((0, 0), 1.0, 0.99, 1),
        ((300, 0), 3.0, 0.99, 1),
        # Aside of it, the less the farther; the more, the longer nobody saw them.
        ((100, 40), 1.0, 0.7, 0.95),
        ((100, 100), 1.0, 0.0, 0.3),
        ((100, 100), 4.0, 0.7, 0.95),
        # Behind, or farther than they can have come.
        ((-150, 0), 1.0, 0, 0.1),
        ((400, 0), 1.0, 0, 0.01),
    ],
)
def test_bridging_a_loss(found: tuple[float, float], gap_s: float, low: float, high: float) -> None:
    assert low <= bridge((0, 0), (100, 0), found, 100, gap_s) <= high


@pytest.mark.parametrize(
    ("apart", "low", "high"),
    [([0.1, 0.2, 0.1], 0.95, 1), ([0.5, 0.6], 0.6, 0.8), ([3, 3], 0, 0), ([0.1, 0.2, 9], 0.9, 1)],
)
def test_two_trails_on_the_floor(apart: list[float], low: float, high: float) -> None:
    assert low <= on_floor(apart) <= high


def test_clothes_speak_against_a_place_and_their_absence_lessens_it() -> None:
    assert with_clothes(0.9, UNLIKE - 0.01) == 0
    assert with_clothes(0.9, 1.0) == 0.9
    assert with_clothes(0.8, None) == pytest.approx(0.8 * UNSEEN)
    assert likeness(None, np.ones(3, np.float32)) is None


def test_a_decision_is_told_in_one_line() -> None:
    decision = Decision(1_795_000_000_250, "C", "VIS_b", "ambiguous", Kind.REENTRY, 0.913, 0.88, "VIS_a", 0.9)
    told = "2026-11-18T11:06:40.250+00:00 C VIS_b ambiguous with VIS_a: reentry 0.91 of 0.88, the next 0.90"
    assert decision.told() == told


def candidate(visitor: int, score: float, threshold: float = 0.5) -> Candidate:
    return Candidate(visitor, Kind.REENTRY, score, threshold)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({1: [candidate(7, 0.4)]}, {}),
        ({1: [candidate(7, 0.9)]}, {1: (7, True)}),
        # Two candidates nearly equal are ambiguous; a lead makes it clear.
        ({1: [candidate(7, 0.9), candidate(8, 0.89)]}, {1: (7, False)}),
        ({1: [candidate(7, 0.9), candidate(8, 0.7)]}, {1: (7, True)}),
        # Together it is clear who is who, though the first alone would have been taken for the other.
        (
            {1: [candidate(7, 0.8), candidate(8, 0.82)], 2: [candidate(7, 0.55), candidate(8, 0.9)]},
            {1: (7, True), 2: (8, True)},
        ),
        # Nobody is two people: the better one gets the visitor.
        ({1: [candidate(7, 0.7)], 2: [candidate(7, 0.95)]}, {2: (7, True)}),
        ({1: [candidate(7, 0.95)], 2: [candidate(7, 0.95)]}, {2: (7, False)}),
    ],
)
def test_assignment(options: dict[int, list[Candidate]], expected: dict[int, tuple[int, bool]]) -> None:
    chosen = assign(options, 0.05)
    assert {track: (found.visitor, clear) for track, (found, clear) in chosen.items()} == expected


SCORES = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=3)


@given(SCORES, st.floats(0, 0.3))
def test_no_other_assignment_is_better(scores: list[list[float]], margin: float) -> None:
    options = {track: [candidate(v, score) for v, score in enumerate(row)] for track, row in enumerate(scores)}
    chosen = assign(options, margin)
    visitors = [found.visitor for found, _ in chosen.values()]
    assert len(set(visitors)) == len(visitors)

    def worth(pairs: list[tuple[int, int]]) -> float:
        return sum(1 + options[track][visitor].lead for track, visitor in pairs)

    def allowed(pairs: list[tuple[int, int]]) -> bool:
        return all(options[track][visitor].lead >= 0 for track, visitor in pairs)

    best = 0.0
    for order in permutations(range(3), len(scores)):
        for taken in product([True, False], repeat=len(scores)):
            pairs = [(track, visitor) for track, (visitor, take) in enumerate(zip(order, taken, strict=True)) if take]
            if allowed(pairs):
                best = max(best, worth(pairs))
    assert sum(1 + found.lead for found, _ in chosen.values()) == pytest.approx(best)
