"""Days made into series: what is demand, what is not known, and what is known ahead."""

from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting.days import AHEAD, Dates, cut, series_of, with_holidays
from forecasting.series import Series

MONDAY = date(2026, 3, 2)
N = np.nan


def day(number: int) -> date:
    return MONDAY + timedelta(days=number)


def days(*numbers: int) -> Dates:
    return np.array([day(number) for number in numbers], "datetime64[D]")


def made_of(opened: Dates, known: Dates, quantity: list[float], **more: list[float]) -> Series:
    return series_of(
        "S/P",
        opened,
        known,
        np.array(quantity, float),
        **{name: np.array(value, float) for name, value in more.items()},
    )


def test_days_without_sales_are_zero_and_closed_days_unknown() -> None:
    made = made_of(days(0, 1, 2, 4, 5), days(1, 4), [3, 2])
    assert made.start == day(1)
    np.testing.assert_array_equal(made.quantity, [3, 0, N, 2, 0])


def test_returns_are_taken_off_but_no_day_is_below_zero() -> None:
    np.testing.assert_array_equal(made_of(days(0, 1), days(0, 1), [4, -6]).quantity, [4, 0])


def test_an_empty_shelf_hides_demand_until_something_lies_there_again() -> None:
    # Sold out on day 1, empty on 2 and 3, filled and not sold on 4; day 5 says nothing new.
    made = made_of(days(*range(6)), days(0, 1, 4), [2, 5, 0], high=[7, 5, 9], end=[5, 0, 9])
    np.testing.assert_array_equal(made.quantity, [2, 5, N, N, 0, 0])


def test_what_was_sold_from_an_empty_shelf_was_wanted() -> None:
    made = made_of(days(0, 1), days(0, 1), [2, 1], high=[0, 0], end=[-2, -3])
    np.testing.assert_array_equal(made.quantity, [2, 1])


def test_a_shelf_that_nobody_knows_masks_nothing() -> None:
    made = made_of(days(0, 1, 2), days(0, 2), [2, 1], high=[N, N], end=[N, N])
    np.testing.assert_array_equal(made.quantity, [2, 0, 1])


def test_prices_hold_until_the_next_and_promotions_for_their_day() -> None:
    made = made_of(days(*range(5)), days(0, 2, 3), [1, 1, 1], price=[N, 5.0, 4.0], promotion=[N, 1.0, 0.0])
    assert made.price is not None and made.promotion is not None
    np.testing.assert_array_equal(made.price, [5, 5, 5, 4, 4])
    np.testing.assert_array_equal(made.promotion, [0, 0, 1, 0, 0])
    bare = made_of(days(0), days(0), [1], price=[N], promotion=[N])
    assert bare.price is None and bare.promotion is None


def test_holidays_are_known_ahead_and_the_past_is_all_else_that_a_cut_keeps() -> None:
    made = with_holidays(made_of(days(*range(40)), days(0, 39), [1, 1], price=[1.0, 2.0]), "IN")
    earlier = cut(made, 10)
    assert earlier.end == day(29)
    assert earlier.price is not None and len(earlier.price) == 30
    assert earlier.holiday is not None and len(earlier.holiday) == 40 + AHEAD
    assert earlier.holiday[(date(2026, 3, 31) - MONDAY).days :].any()
    assert {day for day in earlier.holiday_names if day > date(2026, 3, 31)}


@given(st.permutations(range(8)), st.lists(st.floats(-5, 50), min_size=8, max_size=8))
def test_the_order_of_days_changes_nothing(order: list[int], quantity: list[float]) -> None:
    opened = days(*range(16))
    first = made_of(opened, days(*range(0, 16, 2)), quantity)
    second = made_of(opened[::-1], days(*(2 * place for place in order)), [quantity[place] for place in order])
    assert first.start == second.start
    np.testing.assert_array_equal(first.quantity, second.quantity)
    assert not (first.quantity < 0).any()
