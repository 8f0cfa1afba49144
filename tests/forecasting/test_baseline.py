"""The naive forecast: by hand, and what must hold for any history."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.baseline import SeasonalNaive, by_weeks, errors_at
from forecasting.series import QUANTILES, Series

NAN = np.nan
START = date(2026, 1, 5)


def forecast(quantity, horizon):
    return SeasonalNaive().forecast([Series("a", START, np.asarray(quantity, dtype=float))], horizon)[0]


def test_the_last_week_is_repeated():
    made = forecast([9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7], 9)
    assert made.mean.tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert made.start == date(2026, 1, 19)


def test_an_unknown_day_takes_the_weekday_before():
    assert forecast([8, 2, 3, 4, 5, 6, 7, NAN, 2, 3, 4, 5, 6, 7], 7).mean[0] == 8


def test_a_weekday_never_seen_takes_the_average():
    assert forecast([2, 4], 7).mean.tolist() == [3, 3, 3, 3, 3, 2, 4]


def test_errors_by_weeks_ahead():
    weeks = by_weeks(np.repeat([1.0, 2.0, 4.0], 7))
    assert errors_at(weeks, 1).tolist() == [1.0] * 7 + [2.0] * 7
    assert errors_at(weeks, 2).tolist() == [3.0] * 7
    assert errors_at(weeks, 3).tolist() == []


def test_nothing_known_is_zeros_with_a_warning():
    made = forecast([NAN, NAN], 3)
    assert made.mean.tolist() == [0, 0, 0] and made.warnings


def test_an_interval_holds_what_it_says():
    """Independent days: eight in ten of the next ones are within the 80 % interval."""
    draws = np.random.default_rng(1).gamma(9, 2, (300, 70))
    inside = []
    for one in draws:
        made = forecast(one[:56], 14)
        inside.append((one[56:] >= made.quantiles[0.1]) & (one[56:] <= made.quantiles[0.9]))
    assert 0.76 < np.mean(inside) < 0.84


@pytest.mark.parametrize("horizon", [1, 7, 8, 90])
@given(arrays(float, st.integers(1, 60), elements=st.one_of(st.just(NAN), st.floats(0, 1e6))))
def test_any_history_gives_ordered_quantiles_not_below_zero(horizon, quantity):
    made = forecast(quantity, horizon)
    fan = np.array([made.quantiles[q] for q in QUANTILES])
    assert fan.shape == (len(QUANTILES), horizon) and np.isfinite(fan).all() and np.isfinite(made.mean).all()
    assert (fan >= 0).all() and (made.mean >= 0).all() and (np.diff(fan, axis=0) >= 0).all()
