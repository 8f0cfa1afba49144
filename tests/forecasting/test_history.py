"""Whole days from points as people have them."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.history import LONGEST, Point, to_series

MONDAY = date(2026, 1, 5)
NAN = np.nan


def points(quantities, start=MONDAY):
    return [Point(start + timedelta(days=at), one) for at, one in enumerate(quantities) if one is not None]


def same(values, expected):
    np.testing.assert_array_equal(values, np.asarray(expected, dtype=float))


def test_points_of_a_day_are_summed_and_returns_are_no_less_than_nothing():
    history = to_series("a", [Point(MONDAY, 2), Point(MONDAY, 3), Point(MONDAY + timedelta(days=1), -4)])
    same(history.series.quantity, [5, 0])
    assert any("summed" in words for words in history.warnings) and any(
        "returns" in words for words in history.warnings
    )


def test_where_zeros_are_written_a_gap_is_unknown():
    same(to_series("a", points([1, 0, None, 2])).series.quantity, [1, 0, NAN, 2])


def test_where_they_are_not_a_slow_product_sold_nothing():
    history = to_series("a", points([1, None, 2, 1, None, 1, 3, 1]))
    same(history.series.quantity, [1, 0, 2, 1, 0, 1, 3, 1])
    assert "2 days without a point were taken as days without sales" in history.warnings


def test_a_day_missing_of_a_fast_product_is_unknown():
    assert np.isnan(to_series("a", points([50, 48, 52, None, 51, 49, 50])).series.quantity[3])


def test_a_gap_too_long_for_chance_is_unknown():
    sold = [1, None, 2, 1, 1, 2, None] * 8
    history = to_series("a", points(sold + [None] * 40 + sold))
    assert np.isnan(history.series.quantity[len(sold) : len(sold) + 40]).all()
    same(history.series.quantity[:7], [1, 0, 2, 1, 1, 2, NAN])  # never a Sunday: closed
    assert "nothing was ever sold on Sundays: taken as closed" in history.warnings


def test_a_stock_out_is_masked_and_covariates_are_kept():
    day = timedelta(days=1)
    history = to_series(
        "a",
        [
            Point(MONDAY, 4, promotion=True, price=2.0),
            Point(MONDAY + day, 1, stock_out=True),
            Point(MONDAY + 2 * day, 3, promotion=False),
        ],
    )
    same(history.series.quantity, [4, NAN, 3])
    same(history.series.promotion, [1, 0, 0])
    same(history.series.price, [2, 2, 2])


def test_days_up_to_a_given_one_and_none_too_old():
    assert to_series("a", points([1, 1, 1]), until=MONDAY + timedelta(days=9)).series.end == MONDAY + timedelta(days=9)
    long = to_series("a", [Point(MONDAY, 1), Point(MONDAY + timedelta(days=9000), 1)])
    assert len(long.series.quantity) == LONGEST and any("left out" in words for words in long.warnings)


@pytest.mark.parametrize("bad", [[], [Point(MONDAY, NAN)], [Point(MONDAY, float("inf"))]])
def test_no_points_or_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=r"history|number"):
        to_series("a", bad)


@given(
    st.lists(
        st.builds(Point, st.dates(MONDAY, MONDAY + timedelta(days=60)), st.floats(-5, 1e6), st.none() | st.booleans()),
        min_size=1,
    ),
    st.randoms(),
)
def test_the_order_of_points_changes_nothing(some, random):
    mixed = list(some)
    random.shuffle(mixed)
    one, other = to_series("a", some), to_series("a", mixed)
    same(one.series.quantity, other.series.quantity)
    assert one.warnings == other.warnings and not np.isinf(one.series.quantity).any()
