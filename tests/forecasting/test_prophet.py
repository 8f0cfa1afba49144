"""Prophet behind our interface."""

from datetime import date, timedelta
from importlib.util import find_spec

import numpy as np
import pytest

from forecasting.prophet import Prophet
from forecasting.series import QUANTILES, Series

if find_spec("prophet") is None:
    pytest.skip("needs the extra training: make training", allow_module_level=True)

MONDAY = date(2024, 1, 1)
WEEK = np.array([0.8, 0.8, 0.9, 1.0, 1.2, 1.5, 0.8])


def test_a_weekly_course_with_holes_a_promotion_and_a_holiday():
    draw = np.random.default_rng(1)
    promotion = (draw.random(207) < 0.2).astype(float)
    quantity = draw.poisson(60 * np.resize(WEEK, 200) * (1 + promotion[:200])).astype(float)
    quantity[[20, 21]] = np.nan
    holidays = {MONDAY + timedelta(days=50): "Fair", MONDAY + timedelta(days=203): "Fair"}
    made, again = Prophet().forecast(
        [Series("a", MONDAY, quantity, promotion=promotion, holiday_names=holidays)] * 2, 7
    )
    fan = np.array([made.quantiles[level] for level in QUANTILES])
    assert np.isfinite(fan).all() and (np.diff(fan, axis=0) >= 0).all() and (fan >= 0).all()
    np.testing.assert_allclose(made.mean, 60 * np.resize(WEEK, 207)[200:] * (1 + promotion[200:]), rtol=0.4)
    np.testing.assert_array_equal(made.mean, again.mean)


@pytest.mark.parametrize("quantity", [[], [1.0, 2.0], [0.0] * 40])
def test_too_little_is_answered_by_its_mean(quantity):
    made = Prophet().forecast([Series("a", MONDAY, np.array(quantity))], 3)[0]
    assert made.mean.tolist() == [float(np.mean(quantity)) if quantity else 0.0] * 3
