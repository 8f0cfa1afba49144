"""What is usual: by weekday and hour, and unmoved by festivals, closed days, broken cameras and changed clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import SpecialDay, StoreLayout
from schemas.layouts import StoreCalendar
from stream_processors.baselines import Baselines, HourFigures, Past, make, robust, trimmed, usable

TODAY = date(2026, 6, 5)  # a Friday
DAYS = [TODAY - timedelta(days=back) for back in range(84, 0, -1)]
OPEN = range(9, 21)


def calendar(zone: str = "UTC", **layout: object) -> StoreCalendar:
    made = {"store_id": "S", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "time_zone": zone, **layout}
    return StoreCalendar("S", StoreLayout.model_validate(made))


def past(visitors: Callable[[date, int], int], days: list[date] = DAYS) -> Past:
    """A shop whose zone A and camera C see every other visitor."""
    counts = {day: {hour: visitors(day, hour) for hour in OPEN} for day in days}
    halves = {day: {hour: count // 2 for hour, count in hours.items()} for day, hours in counts.items()}
    return Past(
        hours={
            day: {hour: HourFigures(n, n // 2, n // 4, n // 20, n // 10) for hour, n in hours.items() if n}
            for day, hours in counts.items()
        },
        zones={day: {"A": hours} for day, hours in halves.items()},
        cameras={day: {"C": hours} for day, hours in halves.items()},
    )


def shape(day: date, hour: int) -> int:
    return (20 if hour < 15 else 40) + (40 if day.weekday() == 4 else 0)


def of_friday(past: Past, calendar: StoreCalendar = calendar()) -> Baselines:  # noqa: B008 - never changed
    return Baselines.read(5, make(past, calendar, TODAY))


def test_by_weekday_and_hour() -> None:
    found = of_friday(past(shape))
    morning, evening = (found.at("footfall", hour) for hour in (10, 18))
    assert morning is not None and evening is not None and found.at("footfall", 3) is None
    assert (morning.usual, morning.spread, morning.days, morning.scope) == (60, 0, 12, "Fridays at this hour")
    assert evening.usual == 80
    conversion = found.at("conversion", 18)
    assert conversion is not None and conversion.usual == 0.5
    zone = found.at("zone_visits", 10, "A")
    assert zone is not None and (zone.scope, zone.days) == ("days at this hour", 84)
    assert found.between("footfall", "", 13.5, 15.25) == pytest.approx(0.5 * 60 + 60 + 0.25 * 80)
    assert found.at("footfall", 10, "elsewhere") is None and found.between("zone_visits", "B", 1, 2) is None


@pytest.mark.parametrize(
    ("days", "scope"),
    [(28, "Fridays at this hour"), (27, "days at this hour"), (7, "days at this hour"), (6, None), (0, None)],
)
def test_too_little_history_falls_back_and_then_says_so(days: int, scope: str | None) -> None:
    found = of_friday(past(shape, DAYS[len(DAYS) - days :])).at("footfall", 10)
    assert (found.scope if found else None) == scope


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 76), st.floats(0, 6), st.integers(0, 10**6))
def test_a_week_of_festival_or_of_closed_doors_moves_nothing(first: int, factor: float, seed: int) -> None:
    """Whatever seven days in a row bring, a median of twelve weeks stays within what the other weeks say."""
    noise = Random(seed)
    table = {(day, hour): shape(day, hour) + noise.randint(-3, 3) for day in DAYS for hour in OPEN}
    feast = set(DAYS[first : first + 7])
    before = of_friday(past(lambda day, hour: table[day, hour]))
    after = of_friday(past(lambda day, hour: int(table[day, hour] * (factor if day in feast else 1))))
    for hour in OPEN:
        one, other = before.at("footfall", hour), after.at("footfall", hour)
        assert one is not None and other is not None and abs(one.usual - other.usual) <= 3


def test_special_short_and_changed_days_are_left_out() -> None:
    berlin = calendar("Europe/Berlin", special_days=[SpecialDay(date="2026-05-01", name="Labour Day")])
    closed_early = date(2026, 5, 12)
    days = usable(past(lambda day, hour: shape(day, hour) if day != closed_early or hour < 11 else 0), berlin, TODAY)
    missing = set(DAYS) - set(days)
    assert missing == {date(2026, 3, 29), date(2026, 5, 1), closed_early}, "the clock changed on 29 March"


def test_days_with_a_blind_camera_are_left_out_and_a_new_camera_was_not_blind_before() -> None:
    history = past(shape)
    blind, nearly, put_up = DAYS[40], DAYS[50], DAYS[30]
    history.cameras[blind]["C"] = dict.fromkeys(range(9, 12), 10)
    history.cameras[nearly]["C"] = dict.fromkeys(OPEN, 10) | {10: 0}
    for day in DAYS:
        if day >= put_up:
            history.cameras[day]["NEW"] = dict.fromkeys(OPEN, 10)
    assert set(DAYS) - set(usable(history, calendar(), TODAY)) == {blind}


def test_statistics() -> None:
    median, spread = robust(np.array([[1.0, 7], [2, 7], [3, np.nan], [4, 7], [1000, 7]]))
    assert median.tolist() == [3, 7] and spread.tolist() == [pytest.approx(1.4826), 0]
    mean, deviation = trimmed(np.array([[0.0], [1], [1], [0], [1], [0], [1], [0], [50], [0]]))
    assert (mean.tolist(), deviation.tolist()) == ([0.5], [0.5])
