"""Reorder point, quantity and shelf filling: hand-computed cases, and what must hold of all."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replenishment.demand import Demand, demand_of
from replenishment.policy import OnHand, Terms, in_packs, levels, recommend, safety_stock
from tests.replenishment.forecasts import poisson_days

STEADY = Demand(np.full(14, 10.0), np.full(14, 2.0))
MONDAY = 1


def test_safety_stock_is_the_formula_of_the_book() -> None:
    # L + R = 4 days, sigma_d 2, d 10, sigma_L 1: sqrt(4 * 4 + 100 * 1) = 10.77.
    assert safety_stock(1.645, 4, 2, 10, 1) == pytest.approx(17.717, abs=0.001)
    assert safety_stock(1.645, 4, 0, 10, 0) == 0


@pytest.mark.parametrize(
    ("terms", "reorder_point", "order_up_to"),
    [
        # Three days to bridge (L = 2 and a day to the next look): 30, and 1.645 * sqrt(3 * 4) = 5.7. An order lasts a week.
        (Terms(lead_time_sd_days=0), 35.7, 105.7),
        (Terms(lead_time_sd_days=0, policy="RS"), 35.7, 35.7),
        # Ordered on Mondays only, nine days must be bridged: 90 + 1.645 * sqrt(9 * 4).
        (Terms(lead_time_sd_days=0, policy="RS", order_days=(1,)), 99.9, 99.9),
        # A fifth is thrown away: 12.5 must come for 10 sold, and 2.5 for each 2 of spread.
        (Terms(lead_time_sd_days=0, waste_share=0.2, policy="RS"), 44.6, 44.6),
        # sqrt(2 * 8 * 3650 / (4 * 0.25)) = 241.7
        (Terms(lead_time_sd_days=0, order_cost=8, unit_cost=4), 35.7, 277.4),
        (Terms(lead_time_sd_days=0, shelf_life_days=5), 35.7, 50.0),
        (Terms(lead_time_sd_days=0, max_stock=30), 30.0, 30.0),
        (Terms(lead_time_sd_days=0, pack=200), 35.7, 235.7),
    ],
)
def test_levels(terms: Terms, reorder_point: float, order_up_to: float) -> None:
    found = levels(STEADY, terms, MONDAY)
    assert (round(found.reorder_point, 1), round(found.order_up_to, 1)) == (reorder_point, order_up_to)


def test_what_sells_seldom_gets_a_gamma_tail() -> None:
    demand = demand_of(poisson_days([0.1] * 7))
    # Three days of a tenth: mean 0.3, standard deviation 0.55; the gamma quantile at 0.95 is 1.39, the normal one 1.2.
    assert levels(demand, Terms(lead_time_sd_days=0), MONDAY).reorder_point == pytest.approx(1.39, abs=0.02)


@pytest.mark.parametrize(
    ("terms", "position", "weekday", "order", "packs"),
    [
        # s is 40 and S 110: 30 for three days, 1.645 * sqrt(3 * 4 + 100 * 0.25) = 10, and 70 for a week.
        (Terms(), OnHand(20, 0), MONDAY, 91, 91),
        (Terms(pack=12), OnHand(20, 0), MONDAY, 96, 8),
        (Terms(pack=12), OnHand(-7, 20), MONDAY, 96, 8),
        (Terms(pack=12, min_order=100), OnHand(20, 0), MONDAY, 132, 11),
        (Terms(pack=12), OnHand(0, 0, on_order=100), MONDAY, 0, 0),
        (Terms(pack=12), OnHand(20, 21), MONDAY, 0, 0),
        (Terms(pack=12, policy="RS"), OnHand(20, 10), MONDAY, 12, 1),
        (Terms(pack=12, max_stock=50), OnHand(20, 0), MONDAY, 24, 2),
        (Terms(pack=40, max_stock=50), OnHand(20, 0), MONDAY, 0, 0),
        (Terms(pack=12, order_days=(2, 4)), OnHand(0, 0), MONDAY, 0, 0),
        (Terms(pack=12, order_days=(2, 4)), OnHand(0, 0), 2, 132, 11),
    ],
)
def test_quantities(terms: Terms, position: OnHand, weekday: int, order: float, packs: int) -> None:
    found = recommend(position, STEADY, terms, weekday)
    assert (found.order, found.packs) == (order, packs)


def test_reasons_are_in_plain_words() -> None:
    found = recommend(OnHand(2, 18, on_order=5), STEADY, Terms(pack=12, shelf_capacity=30), MONDAY, left_today=0.5)
    assert found.fill == 18
    assert (
        found.fill_reason
        == "The shelf holds 2, 15 are expected to sell until tomorrow evening: bring 18 of 18 in the back."
    )
    assert found.order_reason == (
        "20 here and 5 on the way, 40 are needed until the order after this one arrives, in 3 days (30 expected, "
        "10 for safety): order 96 (8 packs of 12)."
    )


@pytest.mark.parametrize(
    ("position", "capacity", "fill"),
    [
        (OnHand(0, 18), None, 18),  # wanted are 24: two days and what guards them
        (OnHand(0, 90), 30, 30),
        (OnHand(10, 90), 30, 20),
        (OnHand(16, 90), 30, 0),  # more than half full
        (OnHand(10, 0), 30, 0),
        (OnHand(60, 90), None, 0),
        (OnHand(-3, 90), 30, 30),
    ],
)
def test_the_shelf_is_filled_before_it_is_empty(position: OnHand, capacity: float | None, fill: float) -> None:
    assert recommend(position, STEADY, Terms(shelf_capacity=capacity), MONDAY).fill == fill


def test_an_article_that_nobody_buys_any_more_is_not_ordered() -> None:
    nothing = Demand(np.zeros(7), np.zeros(7))
    assert recommend(OnHand(0, 0), nothing, Terms(policy="RS"), MONDAY).order == 0


@pytest.mark.parametrize(
    "wrong",
    [
        *({"service_level": 1.0}, {"service_level": 0.2}, {"pack": 0}, {"waste_share": 1}, {"order_days": ()}),
        *({"order_days": (8,)}, {"lead_time_days": -1}, {"shelf_capacity": 0}, {"min_order": math.inf}),
    ],
)
def test_terms_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Terms(**wrong)  # type: ignore[arg-type]


def amounts(most: float) -> st.SearchStrategy[float]:
    return st.floats(0, most, allow_nan=False).map(lambda value: round(value, 3))


DEMANDS = st.lists(st.tuples(amounts(200), amounts(80)), min_size=1, max_size=14).map(
    lambda days: Demand(np.array([day[0] for day in days]), np.array([day[1] for day in days]))
)
TERMS = st.builds(
    Terms,
    lead_time_days=amounts(30),
    lead_time_sd_days=amounts(5),
    pack=st.sampled_from([1.0, 6.0, 12.0, 0.5]),
    min_order=amounts(50),
    shelf_capacity=st.none() | st.integers(1, 100),
    max_stock=st.none() | st.integers(1, 500),
    service_level=st.sampled_from([0.5, 0.8, 0.95, 0.99]),
    waste_share=st.sampled_from([0.0, 0.1]),
    shelf_life_days=st.none() | st.integers(1, 30),
    order_days=st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
    policy=st.sampled_from(["sS", "RS"]),
)
POSITIONS = st.builds(OnHand, *(st.integers(-20, 500) for _ in range(4)))
WEEKDAYS = st.integers(1, 7)


@given(POSITIONS, DEMANDS, TERMS, WEEKDAYS)
def test_what_holds_of_every_recommendation(position: OnHand, demand: Demand, terms: Terms, weekday: int) -> None:
    found = recommend(position, demand, terms, weekday)
    assert found.levels.order_up_to >= found.levels.reorder_point >= 0
    assert found.order == found.packs * terms.pack, "whole packs"
    assert found.order == 0 or found.order >= terms.min_order
    assert 0 <= found.fill <= max(0, position.backroom)
    if terms.max_stock is not None and found.order:
        assert position.inventory_position + found.order <= terms.max_stock + 1e-6
    if terms.shelf_capacity is not None and found.fill:
        assert max(0, position.shelf) + found.fill <= terms.shelf_capacity
    assert bool(found.order) <= bool(found.order_reason) and bool(found.fill) == bool(found.fill_reason)


@given(DEMANDS, TERMS, WEEKDAYS)
def test_more_service_never_needs_less_stock(demand: Demand, terms: Terms, weekday: int) -> None:
    points = [levels(demand, replace(terms, service_level=share), weekday) for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
    for less, more in pairwise(points):
        assert more.reorder_point >= less.reorder_point - 1e-6
        assert more.order_up_to >= less.order_up_to - 1e-6


@given(POSITIONS, DEMANDS, TERMS, WEEKDAYS, st.integers(1, 200))
def test_more_on_order_never_orders_more(
    position: OnHand, demand: Demand, terms: Terms, weekday: int, more: int
) -> None:
    before = recommend(position, demand, terms, weekday).order
    after = recommend(replace(position, on_order=max(0, position.on_order) + more), demand, terms, weekday).order
    assert after <= before


@given(amounts(1000), TERMS, amounts(1000))
def test_packs_fit_into_the_room(units: float, terms: Terms, room: float) -> None:
    packs = in_packs(units, terms, room)
    assert packs * terms.pack <= room + 1e-6
    assert not packs or packs * terms.pack < max(units, terms.min_order) + terms.pack
