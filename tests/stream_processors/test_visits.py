"""Visits and zone visits, by the words of docs/metrics.md: answers worked out by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.layouts import StoreCalendar
from stream_processors.visits import Visit, derive, fold
from tests.stream_processors.facts import DAY_START, at, story, visit_fact

CALENDAR = StoreCalendar("S")


def visit_of(text: str) -> Visit:
    return derive(story(text), CALENDAR.is_billing, DAY_START)


def stays(visit: Visit) -> list[str]:
    """Each zone visit as ``ZONE start-end dwell_s`` in minutes:seconds after ten, with ``open`` if nothing closed
    it.
    """

    def clock(moment: int) -> str:
        seconds = (moment - at("10:00")) // 1000
        return f"{seconds // 60}:{seconds % 60:02}"

    return [
        f"{stay.zone_id} {clock(stay.started_at)}-{clock(stay.ended_at)} {stay.dwell_ms // 1000}"
        + (" open" * stay.is_open)
        for stay in visit.zone_visits
    ]


@pytest.mark.parametrize(
    ("why", "text", "expected"),
    [
        ("enter to exit", "10:01 ZONE_ENTER A; 10:03 ZONE_EXIT A", ["A 1:00-3:00 120"]),
        ("unclosed: ends at its last event", "10:01 ZONE_ENTER A; 10:02 ZONE_DWELL A", ["A 1:00-2:00 60 open"]),
        ("a dwell alone opens one", "10:01 ZONE_DWELL A dwell=30000", ["A 1:00-1:00 30 open"]),
        ("an exit alone opens and closes one", "10:01 ZONE_EXIT A dwell=45000", ["A 1:00-1:00 45"]),
        ("the larger of span and reported", "10:01 ZONE_ENTER A; 10:02 ZONE_EXIT A dwell=90000", ["A 1:00-2:00 90"]),
        (
            "the largest of those reported",
            "10:01 ZONE_DWELL A dwell=90000; 10:02 ZONE_EXIT A dwell=60000",
            ["A 1:00-2:00 90"],
        ),
        (
            "the same camera's next zone closes it",
            "10:01 ZONE_ENTER A@C1; 10:02 ZONE_DWELL A@C1; 10:04 ZONE_ENTER B@C1",
            ["A 1:00-4:00 180", "B 4:00-4:00 0 open"],
        ),
        (
            "another camera's zone does not",
            "10:01 ZONE_ENTER A@C1; 10:04 ZONE_ENTER B@C2; 10:05 ZONE_EXIT A@C1",
            ["A 1:00-5:00 240", "B 4:00-4:00 0 open"],
        ),
        (
            "the camera is that of the last event that belongs",
            "10:01 ZONE_ENTER A@C1; 10:02 ZONE_DWELL A@C2; 10:03 ZONE_ENTER B@C1; 10:04 ZONE_ENTER D@C2",
            ["A 1:00-4:00 180", "B 3:00-3:00 0 open", "D 4:00-4:00 0 open"],
        ),
        (
            "EXIT closes all",
            "10:01 ZONE_ENTER A@C1; 10:02 ZONE_ENTER B@C2; 10:05 EXIT",
            ["A 1:00-5:00 240", "B 2:00-5:00 180"],
        ),
        ("ENTRY with a zone is no zone event", "10:01 ENTRY A; 10:02 REENTRY A; 10:03 EXIT A", []),
        ("at most one open per zone", "10:01 ZONE_ENTER A; 10:02 ZONE_ENTER A; 10:03 ZONE_EXIT A", ["A 1:00-3:00 120"]),
        (
            "again after leaving",
            "10:01 ZONE_ENTER A; 10:02 ZONE_EXIT A; 10:03 ZONE_ENTER A; 10:04 ZONE_EXIT A",
            ["A 1:00-2:00 60", "A 3:00-4:00 60"],
        ),
        (
            "leaving at the instant of entering the next opens none, and leaves the next one open",
            "10:01 ZONE_ENTER A; 10:02 ZONE_ENTER B; 10:02 ZONE_EXIT A dwell=70000; 10:05 ZONE_EXIT B",
            ["A 1:00-2:00 70", "B 2:00-5:00 180"],
        ),
        (
            "so do the last words of a stay that the next zone's event has just closed",
            "10:01 ZONE_ENTER A; 10:02 ZONE_ENTER B; 10:02 ZONE_DWELL A dwell=80000; 10:05 ZONE_EXIT B",
            ["A 1:00-2:00 80", "B 2:00-5:00 180"],
        ),
        (
            "an exit later than the closing opens one of its own",
            "10:01 ZONE_ENTER A; 10:02 ZONE_ENTER B; 10:02:01 ZONE_EXIT A",
            ["A 1:00-2:00 60", "B 2:00-2:01 1", "A 2:01-2:01 0"],
        ),
        (
            "a late exit belongs to the LAST visit of its zone only",
            "10:01 ZONE_ENTER A; 10:02 ZONE_EXIT A; 10:02 ZONE_EXIT A seq=1; 10:03 ZONE_EXIT A",
            ["A 1:00-2:00 60", "A 3:00-3:00 0"],
        ),
        (
            "a join inside an open billing visit belongs to it",
            "10:01 ZONE_ENTER BILLING; 10:02 BILLING_QUEUE_JOIN BILLING; 10:04 ZONE_EXIT BILLING",
            ["BILLING 1:00-4:00 180"],
        ),
        (
            "abandoning closes",
            "10:01 ZONE_ENTER BILLING; 10:02 BILLING_QUEUE_ABANDON BILLING; 10:03 ZONE_DWELL BILLING",
            ["BILLING 1:00-2:00 60", "BILLING 3:00-3:00 0 open"],
        ),
        (
            "without a zone it belongs to the billing visit opened last",
            "10:01 ZONE_ENTER CASH@C1; 10:02 ZONE_ENTER QUEUE@C2; 10:03 BILLING_QUEUE_JOIN @C3; 10:04 BILLING_QUEUE_ABANDON @C3",
            ["CASH 1:00-1:00 0 open", "QUEUE 2:00-4:00 120"],
        ),
        (
            "and is an event in that zone: it closes others of its camera",
            "10:01 ZONE_ENTER CASH@C1; 10:02 ZONE_ENTER A@C2; 10:03 BILLING_QUEUE_JOIN @C2",
            ["CASH 1:00-3:00 120 open", "A 2:00-3:00 60"],
        ),
        (
            "without a zone and with none open it opens none",
            "10:01 BILLING_QUEUE_JOIN; 10:02 BILLING_QUEUE_ABANDON",
            [],
        ),
        ("no billing visit opened by name", "10:01 BILLING_QUEUE_JOIN A", ["A 1:00-1:00 0 open"]),
        (
            "events of one instant go by session_seq, then by type",
            "10:01 ZONE_EXIT A seq=2; 10:01 ZONE_ENTER A seq=1; 10:02 ZONE_EXIT B; 10:02 ZONE_ENTER B",
            ["A 1:00-1:00 0", "B 2:00-2:00 0"],
        ),
        (
            "session_seq goes before type",
            "10:01 ZONE_EXIT A seq=1; 10:01 ZONE_ENTER A seq=2",
            ["A 1:00-1:00 0", "A 1:00-1:00 0 open"],
        ),
    ],
)
def test_zone_visits(why: str, text: str, expected: list[str]) -> None:
    assert stays(visit_of(text)) == expected, why


@pytest.mark.parametrize(
    ("text", "entries", "staff", "visitor"),
    [
        ("10:00 ENTRY", 1, False, True),
        ("10:00 REENTRY", 1, False, True),
        ("10:00 ENTRY; 10:05 EXIT; 10:10 REENTRY; 10:20 EXIT", 2, False, True),
        ("10:00 EXIT", 0, False, False),
        ("10:00 ZONE_ENTER A; 10:01 BILLING_QUEUE_JOIN BILLING", 0, False, False),
        ("10:00 ENTRY; 10:01 ZONE_DWELL A staff=1", 1, True, False),
        ("10:00 ENTRY; 10:09 EXIT staff=1", 1, True, False),
    ],
)
def test_who_counts(text: str, entries: int, staff: bool, visitor: bool) -> None:
    visit = visit_of(text)
    assert (visit.entries, visit.is_staff, visit.is_visitor) == (entries, staff, visitor)


@pytest.mark.parametrize(
    ("text", "joined", "left_unserved"),
    [
        ("10:00 BILLING_QUEUE_JOIN BILLING", True, False),
        ("10:00 BILLING_QUEUE_JOIN BILLING; 10:01 BILLING_QUEUE_ABANDON BILLING", True, True),
        ("10:00 BILLING_QUEUE_JOIN; 10:01 BILLING_QUEUE_ABANDON; 10:02 BILLING_QUEUE_JOIN", True, False),
        ("10:00 BILLING_QUEUE_ABANDON; 10:01 BILLING_QUEUE_JOIN", True, False),
        ("10:00 BILLING_QUEUE_ABANDON", False, False),
        ("10:00 BILLING_QUEUE_JOIN; 10:00 BILLING_QUEUE_ABANDON", True, True),
        ("10:00 BILLING_QUEUE_JOIN seq=2; 10:00 BILLING_QUEUE_ABANDON seq=1", True, False),
    ],
)
def test_joining_and_abandoning(text: str, joined: bool, left_unserved: bool) -> None:
    visit = visit_of(text)
    assert (visit.joined_queue, visit.left_unserved) == (joined, left_unserved)


def test_billing_presences() -> None:
    visit = visit_of("""
        10:01 ZONE_ENTER CHECKOUT-2
        10:03 BILLING_QUEUE_JOIN CHECKOUT-2 dwell=60000
        10:04 ZONE_EXIT CHECKOUT-2
        10:05 ZONE_ENTER SHELF
        10:06 ZONE_EXIT SHELF
        10:08 BILLING_QUEUE_ABANDON dwell=30000
    """)
    assert sorted(visit.billing_presences()) == [
        (at("10:01"), at("10:04")),
        (at("10:02"), at("10:03")),
        (at("10:07:30"), at("10:08")),
    ]


def test_the_span_of_a_queue_event_does_not_reach_before_the_day() -> None:
    visit = visit_of("00:01 BILLING_QUEUE_ABANDON dwell=600000")
    assert visit.billing_presences() == [(DAY_START, at("00:01"))]


def test_times_are_those_of_the_first_and_last_event_in_order_not_in_arrival() -> None:
    visit = visit_of("10:05 ZONE_ENTER A; 10:01 ENTRY; 10:09 EXIT; 10:07 ZONE_EXIT A")
    assert (visit.started_at, visit.ended_at, visit.events) == (at("10:01"), at("10:09"), 4)


def as_plain(visit: Visit) -> tuple[object, ...]:
    """All of a visit that rules read."""
    assert visit.open_stays == tuple(stay for stay in visit.zone_visits if stay.is_open)
    assert visit.billing_stays == tuple(stay for stay in visit.zone_visits if stay.is_billing)
    assert {stay.ordinal for stay in visit.unwritten} == {stay.ordinal for stay in visit.zone_visits}
    stays = [
        tuple(getattr(stay, name) for name in stay.__slots__ if name not in ("is_written",))
        for stay in visit.zone_visits
    ]
    names = [
        name
        for name in Visit.__slots__
        if name not in ("zone_visits", "open_stays", "billing_stays", "unwritten", "zone_rows")
    ]
    return (stays, *(getattr(visit, name) for name in names))


FACTS = st.builds(
    visit_fact,
    st.integers(0, 12).map(lambda second: DAY_START + second * 1000),
    st.sampled_from(("ENTRY", "EXIT", "REENTRY", "BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON")),
    st.sampled_from((None, "BILLING", "CASH", "A")),
    st.sampled_from(("C1", "C2")),
    dwell=st.sampled_from((0, 2000, 30_000)),
    staff=st.sampled_from((False, False, False, True)),
    depth=st.sampled_from((None, None, 0, 3)),
    seq=st.integers(0, 2),
) | st.builds(
    visit_fact,
    st.integers(0, 12).map(lambda second: DAY_START + second * 1000),
    st.sampled_from(("ZONE_ENTER", "ZONE_EXIT", "ZONE_DWELL")),
    st.sampled_from(("BILLING", "CASH", "A", "B")),
    st.sampled_from(("C1", "C2")),
    dwell=st.sampled_from((0, 2000, 30_000)),
    seq=st.integers(0, 2),
)


@given(st.lists(FACTS, max_size=14), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(facts: list, chance: random.Random) -> None:
    straight = as_plain(derive(facts, CALENDAR.is_billing, DAY_START))
    shuffled = facts + chance.sample(facts, len(facts) // 2)
    chance.shuffle(shuffled)
    assert as_plain(derive(shuffled, CALENDAR.is_billing, DAY_START)) == straight


@given(st.lists(FACTS, max_size=14, unique_by=lambda fact: fact.key))
def test_folding_in_order_is_deriving_from_the_set(facts: list) -> None:
    visit = Visit()
    for fact in sorted(facts, key=lambda fact: fact.key):
        fold(visit, fact, CALENDAR.is_billing, DAY_START)
    assert as_plain(visit) == as_plain(derive(facts, CALENDAR.is_billing, DAY_START))


@given(st.lists(FACTS, max_size=14))
def test_zone_visits_never_overlap_in_a_zone_and_never_run_backwards(facts: list) -> None:
    visit = derive(facts, CALENDAR.is_billing, DAY_START)
    for zone in {stay.zone_id for stay in visit.zone_visits}:
        spans = [(stay.started_at, stay.ended_at) for stay in visit.zone_visits if stay.zone_id == zone]
        assert all(start <= end for start, end in spans)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert sum(stay.is_open for stay in visit.zone_visits if stay.zone_id == zone) <= 1
