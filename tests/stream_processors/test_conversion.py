"""Who bought and which visit a transaction claims: answers worked out by hand, and the incremental way held to the
whole.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.conversion import PURCHASE_WINDOW_MS, ConversionDay, Receipt
from stream_processors.visits import Span
from tests.stream_processors.facts import DAY_START, at

DAY_END = DAY_START + 86_400_000


def day_of(presences: dict[str, list[str]], receipts: dict[str, str]) -> ConversionDay:
    """Presences as ``10:00-10:05``; receipts as id to time."""
    day = ConversionDay(DAY_END)
    for visitor, spans in presences.items():
        day.set_presences(visitor, [(at(span.split("-")[0]), at(span.split("-")[1])) for span in spans])
    for name, clock in receipts.items():
        day.add_receipt((at(clock), name))
    day.attribute()
    return day


@pytest.mark.parametrize(
    ("span", "paid", "purchased"),
    [
        ("10:00-10:05", "10:03", True),
        ("10:00-10:05", "10:00", True),  # start <= t, ends included
        ("10:00-10:05", "09:59:59.999", False),
        ("10:00-10:05", "10:10", True),  # end >= t - 5 min, ends included
        ("10:00-10:05", "10:10:00.001", False),
        ("10:00-10:00", "10:05", True),
        ("10:00-10:00", "10:05:00.001", False),
        ("10:00-11:30", "10:45", True),
    ],
)
def test_purchased(span: str, paid: str, purchased: bool) -> None:
    day = day_of({"V": [span]}, {"T": paid})
    assert day.has_purchased("V") is purchased
    assert day.claims == ({"V": (at(paid), "T")} if purchased else {})


@pytest.mark.parametrize(
    ("why", "presences", "receipts", "claims"),
    [
        ("longest in the queue first", {"A": ["10:01-10:05"], "B": ["10:00-10:05"]}, {"T": "10:05"}, {"B": "T"}),
        ("then by visitor_id", {"B": ["10:00-10:05"], "A": ["10:00-10:04"]}, {"T": "10:05"}, {"A": "T"}),
        ("claimed once", {"A": ["10:00-10:05"]}, {"T1": "10:04", "T2": "10:05"}, {"A": "T1"}),
        (
            "each claims one",
            {"A": ["10:00-10:05"], "B": ["10:01-10:05"]},
            {"T1": "10:04", "T2": "10:05"},
            {"A": "T1", "B": "T2"},
        ),
        ("of one instant by transaction_id", {"A": ["10:00-10:05"]}, {"T2": "10:04", "T1": "10:04"}, {"A": "T1"}),
        (
            "the earliest presence among those that overlap, not of all",
            {"A": ["09:00-09:01", "10:03-10:05"], "B": ["10:02-10:05"]},
            {"T": "10:05"},
            {"B": "T"},
        ),
        ("nobody there", {"A": ["09:00-09:01"]}, {"T": "10:05"}, {}),
        (
            "greedy in the order of transactions",
            {"A": ["10:00-10:01"], "B": ["10:00:30-10:30"]},
            {"T1": "10:06:00.001", "T2": "10:07"},
            {"B": "T1"},
        ),
    ],
)
def test_claims(why: str, presences: dict[str, list[str]], receipts: dict[str, str], claims: dict[str, str]) -> None:
    assert {visitor: name for visitor, (_, name) in day_of(presences, receipts).claims.items()} == claims, why


def test_a_payment_after_midnight_makes_a_purchase_of_the_evening_but_claims_nothing() -> None:
    day = ConversionDay(DAY_END)
    day.set_presences("V", [(DAY_END - 60_000, DAY_END - 1)])
    day.add_receipt((DAY_END, "T"))
    assert day.attribute() == set()
    assert day.has_purchased("V")


MOMENTS = st.integers(0, 60).map(lambda halves: DAY_END - 30 * 60_000 + halves * 30_000)
SPANS: st.SearchStrategy[Span] = st.tuples(MOMENTS, st.sampled_from((0, 30_000, 600_000))).map(
    lambda s: (s[0], s[0] + s[1])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("presence"), st.sampled_from("ABCD"), st.lists(SPANS, max_size=3)),
        st.tuples(
            st.just("receipt"),
            MOMENTS.map(lambda moment: moment + 60_000),
            st.sampled_from(("T1", "T2", "T3", "T4", "T5")),
        ),
        st.tuples(st.just("attribute")),
    ),
    max_size=25,
)


@given(STEPS)
def test_step_by_step_is_from_scratch(steps: list[tuple[Any, ...]]) -> None:
    day = ConversionDay(DAY_END)
    presences: dict[str, list[Span]] = {}
    receipts: set[Receipt] = set()
    told: dict[str, Receipt] = {}
    changed: set[str] = set()
    paid: list[int] = []
    purchased: dict[str, bool] = {}

    def attribute() -> None:
        for visitor in changed | day.new_purchasers(paid):
            purchased[visitor] = day.has_purchased(visitor)
        changed.clear()
        paid.clear()
        for visitor in day.attribute():
            told.pop(visitor, None)
            if visitor in day.claims:
                told[visitor] = day.claims[visitor]

    for kind, *rest in steps:
        if kind == "presence":
            presences[rest[0]] = rest[1]
            changed.add(rest[0])
            day.set_presences(rest[0], rest[1])
        elif kind == "receipt":
            if (rest[0], rest[1]) not in receipts:
                receipts.add((rest[0], rest[1]))
                paid.append(rest[0])
                day.add_receipt((rest[0], rest[1]))
        else:
            attribute()
    attribute()
    claims: dict[str, Receipt] = {}
    for receipt in sorted(receipts):
        if receipt[0] < DAY_END:
            waiting = [
                (min(starts), visitor)
                for visitor, spans in presences.items()
                if visitor not in claims
                and (starts := [s for s, e in spans if s <= receipt[0] and e >= receipt[0] - PURCHASE_WINDOW_MS])
            ]
            if waiting:
                claims[min(waiting)[1]] = receipt
    assert day.claims == claims
    assert told == claims, "attribute() names every visit whose claim changed"
    for visitor, spans in presences.items():
        bought = any(s <= paid and e >= paid - PURCHASE_WINDOW_MS for s, e in spans for paid, _ in receipts)
        assert day.has_purchased(visitor) is bought
        assert purchased[visitor] is bought, "new_purchasers() names every visit that others' receipts made a purchase"
