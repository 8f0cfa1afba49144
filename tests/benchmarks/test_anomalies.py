"""The benchmark of anomalies judges days as the workers would know them."""

from __future__ import annotations

import sys
from datetime import timedelta
from random import Random

import pytest

from benchmarks.anomalies import AT_LAST, FIRST, Fault, Traffic, broken, make_lives, outcome, rate_interval, wilson
from producers.simulator.answers import World
from schemas.topics import STORE_LAYOUTS

DAY = FIRST + timedelta(days=4)


def test_its_days_are_those_that_the_second_computation_sees() -> None:
    life = make_lives(1, 5)[0]
    made = Traffic(life.shop, DAY, 5, None, 1.0, records=True)
    day = made.day_as_known()
    assert life.calendar.layout is not None
    # All of the day, and what was known in the middle of it.
    for until in (AT_LAST, day.opens + 6 * 3_600_000):
        world = World(sys.maxsize)
        world.take(STORE_LAYOUTS.name, life.calendar.layout.model_dump_json().encode())
        for at, topic, value in sorted(made.happened):
            if at <= until:
                world.take(topic, value)
        truth, figures = world.day(life.shop.store_id, DAY), day.figures(until)
        assert figures.visitors == len(truth.visitors) > 50
        assert figures.purchased == sum(visit.visitor_id in truth.purchasers for visit in truth.visitors) > 10
        assert (figures.joined, figures.abandoned) == (len(truth.joined), len(truth.abandoned))
    life.remember(day)
    assert sum(hour.visitors for hour in life.past.hours[DAY].values()) == day.figures(AT_LAST).visitors


@pytest.mark.parametrize("kind", ["CAMERA_DOWN", "STALE_FEED"])
def test_a_fault_is_known_and_an_ordinary_day_has_nothing_of_it(kind: str) -> None:
    life = make_lives(2, 5)[1]
    opens = life.shop.open_between(DAY)[0]
    fault = Fault(kind, opens + 4 * 3_600_000, opens + 6 * 3_600_000, "CAM_BILLING" if kind == "CAMERA_DOWN" else "")
    ill = outcome(fault, life.judge(Traffic(life.shop, DAY, 5, fault, 1.0).day_as_known(), None))
    assert ill["loud"] is not None and 10 <= ill["loud"] <= 20
    assert broken(kind, life, DAY, Random(1)).type == kind


def test_intervals() -> None:
    low, high = wilson(38, 40)
    assert low < 0.95 < high and wilson(0, 0) == (0.0, 1.0)
    low, high = rate_interval(10, 20)
    assert low < 0.5 < high and rate_interval(0, 20)[0] == 0
