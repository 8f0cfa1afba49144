"""The depth of the queue: answers worked out by hand, and the incremental way held to the whole."""

from __future__ import annotations

import random
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.layouts import StoreCalendar
from stream_processors.queues import QueueDay, Step, run, steps_of
from stream_processors.visits import derive
from tests.stream_processors.facts import DAY_START, at, story

CALENDAR = StoreCalendar("S")


def course(text: str, claims: dict[str, tuple[str, str]] | None = None) -> list[str]:
    """The depth by time, from events and from claims (visitor to time and transaction)."""
    day = QueueDay()
    facts = story(text)
    for visitor in {fact.visitor_id for fact in facts}:
        visit = derive([fact for fact in facts if fact.visitor_id == visitor], CALENDAR.is_billing, DAY_START)
        claim = (claims or {}).get(visitor)
        day.replace(visitor, steps_of(visit, at(claim[0]) if claim else None, claim[1] if claim else ""))
    day.changes()
    return [f"{(moment - at('10:00')) // 60_000}: {depth}" for moment, depth in sorted(day.rows.items())]


@pytest.mark.parametrize(
    ("why", "text", "expected"),
    [
        (
            "joining adds one",
            "10:01 BILLING_QUEUE_JOIN B visitor=A; 10:02 BILLING_QUEUE_JOIN B visitor=C",
            ["1: 1", "2: 2"],
        ),
        (
            "a reading sets it",
            "10:01 BILLING_QUEUE_JOIN B visitor=A depth=4; 10:02 BILLING_QUEUE_JOIN B visitor=C",
            ["1: 4", "2: 5"],
        ),
        ("any event may carry one", "10:01 ZONE_DWELL SHELF depth=3", ["1: 3"]),
        ("a reading of zero", "10:01 BILLING_QUEUE_JOIN B; 10:02 ZONE_DWELL SHELF visitor=C depth=0", ["1: 1", "2: 0"]),
        ("joined already", "10:01 BILLING_QUEUE_JOIN B; 10:02 BILLING_QUEUE_JOIN B", ["1: 1"]),
        ("abandoning takes one", "10:01 BILLING_QUEUE_JOIN B; 10:02 BILLING_QUEUE_ABANDON B", ["1: 1", "2: 0"]),
        ("so does leaving a billing zone", "10:01 BILLING_QUEUE_JOIN CASH; 10:02 ZONE_EXIT CASH", ["1: 1", "2: 0"]),
        ("but not another zone", "10:01 BILLING_QUEUE_JOIN CASH; 10:02 ZONE_EXIT SHELF", ["1: 1"]),
        ("and going out", "10:01 BILLING_QUEUE_JOIN B; 10:02 EXIT", ["1: 1", "2: 0"]),
        ("once only", "10:01 BILLING_QUEUE_JOIN CASH; 10:02 ZONE_EXIT CASH; 10:03 EXIT", ["1: 1", "2: 0"]),
        ("leaving without having joined", "10:01 ZONE_ENTER CASH; 10:02 ZONE_EXIT CASH; 10:03 EXIT", []),
        (
            "again after leaving",
            "10:01 BILLING_QUEUE_JOIN B; 10:02 EXIT; 10:03 BILLING_QUEUE_JOIN B",
            ["1: 1", "2: 0", "3: 1"],
        ),
        (
            "never below zero",
            "10:01 BILLING_QUEUE_JOIN B; 10:02 ZONE_DWELL SHELF visitor=C depth=0; 10:03 EXIT",
            ["1: 1", "2: 0", "3: 0"],
        ),
        (
            "a leaving with a reading sets, and takes none",
            "10:01 BILLING_QUEUE_JOIN B depth=5; 10:02 BILLING_QUEUE_ABANDON B depth=4; 10:03 EXIT",
            ["1: 5", "2: 4"],
        ),
        (
            "a set depth does not change who is in the queue",
            "10:01 BILLING_QUEUE_JOIN B; 10:02 ZONE_DWELL SHELF visitor=C depth=9; 10:03 EXIT",
            ["1: 1", "2: 9", "3: 8"],
        ),
        (
            "staff do not count, nor what they read",
            "10:01 BILLING_QUEUE_JOIN B depth=7; 10:05 ZONE_DWELL A staff=1",
            [],
        ),
        (
            "one instant: in the order of events",
            "10:01 BILLING_QUEUE_JOIN B visitor=A; 10:01 ZONE_DWELL SHELF visitor=C depth=3 seq=1",
            ["1: 3"],
        ),
    ],
)
def test_depth(why: str, text: str, expected: list[str]) -> None:
    assert course(text) == expected, why


@pytest.mark.parametrize(
    ("why", "text", "claims", "expected"),
    [
        ("a purchase takes one", "10:01 BILLING_QUEUE_JOIN B", {"V": ("10:03", "T")}, ["1: 1", "3: 0"]),
        ("leaving later takes none", "10:01 BILLING_QUEUE_JOIN B; 10:05 EXIT", {"V": ("10:03", "T")}, ["1: 1", "3: 0"]),
        (
            "a purchase after leaving takes none",
            "10:01 BILLING_QUEUE_JOIN B; 10:02 EXIT",
            {"V": ("10:03", "T")},
            ["1: 1", "2: 0"],
        ),
        (
            "a transaction comes after every event of its instant",
            "10:03 BILLING_QUEUE_JOIN B",
            {"V": ("10:03", "T")},
            ["3: 0"],
        ),
        ("of somebody who never joined", "10:01 ZONE_ENTER CASH", {"V": ("10:03", "T")}, []),
    ],
)
def test_purchases(why: str, text: str, claims: dict[str, tuple[str, str]], expected: list[str]) -> None:
    assert course(text, claims) == expected, why


@st.composite
def visit_steps(draw: st.DrawFn) -> list[Step]:
    """Steps such as one visit contributes: in order, each with a key of its own."""
    found = []
    for moment in sorted(draw(st.lists(st.integers(0, 6), max_size=5))):
        key = (moment, draw(st.integers(0, 2)), draw(st.integers(0, 7)), draw(st.uuids().map(str)))
        set_to = draw(st.sampled_from((None, None, 0, 4)))
        found.append(
            Step(
                key, draw(st.sampled_from((-1, 0, 1))) if set_to is not None else draw(st.sampled_from((-1, 1))), set_to
            )
        )
    return sorted(found, key=lambda step: step.key)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), visit_steps(), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_step_by_step_is_the_whole_run(replacements: list[tuple[str, list[Step], bool]], chance: random.Random) -> None:
    day = QueueDay()
    held: dict[str, list[Step]] = {}
    table: dict[int, int] = {}
    for visitor, steps, look in replacements:
        if chance.random() < 0.5 and held.get(visitor):
            steps = held[visitor] + [step for step in steps if step.key > held[visitor][-1].key]
        held[visitor] = steps
        day.replace(visitor, steps)
        if look:
            _apply(table, day.changes())
    _apply(table, day.changes())
    everything = sorted(step for steps in held.values() for step in steps)
    depths = run(everything)
    whole = {
        moment: [depth for _, depth in group][-1]
        for moment, group in groupby(zip(everything, depths, strict=True), key=lambda pair: pair[0].key[0])
    }
    assert table == day.rows == whole
    assert day.depth == (depths[-1] if depths else 0)


@given(visit_steps(), st.dictionaries(st.integers(0, 6), st.integers(0, 5)))
def test_a_loaded_day_mends_whatever_is_written(steps: list[Step], written: dict[int, int]) -> None:
    day = QueueDay()
    day.rows = dict(written)
    day.replace("A", steps)
    table = dict(written)
    _apply(table, day.changes(everything=True))
    fresh = QueueDay()
    fresh.replace("A", steps)
    fresh.changes()
    assert table == fresh.rows


def _apply(table: dict[int, int], changes: dict[int, int | None]) -> None:
    for moment, depth in changes.items():
        if depth is None:
            del table[moment]
        else:
            table[moment] = depth
