"""The risk of running out: against distributions whose answer is known, and what must hold of all forecasts."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from forecasting.series import QUANTILES, Forecast
from replenishment.demand import courses_of, demand_of
from replenishment.stockouts import HOURS, asked_for, clock, lost_units, stockout_risk
from tests.replenishment.forecasts import poisson_days

OPEN_NINE_TO_NINETEEN = [0.0] * 9 + [0.1] * 10 + [0.0] * 5


@pytest.mark.parametrize("mean", [0.1, 0.7, 3, 20, 200])
@pytest.mark.parametrize("hour", [0, 12, 16.5])
def test_the_risk_is_that_of_a_poisson_shop(mean: float, hour: float) -> None:
    ahead, left = clock(OPEN_NINE_TO_NINETEEN, hour)
    courses = courses_of(poisson_days([mean] * 3), ahead.horizon_days, first_share=left, alike=0.0)
    for stock in {1, max(1, round(mean / 2)), max(1, round(mean * 1.5)), round(mean * 2.2) + 2}:
        risk = stockout_risk(courses, ahead, stock)
        sold_by = np.array(
            [
                left * share if day == 0 else left + (day - 1) + share
                for day, share in zip(ahead.days, ahead.shares, strict=True)
            ]
        )
        assert np.abs(risk - poisson.sf(stock - 1, mean * sold_by)).max() < 0.09, (mean, hour, stock)


def test_nobody_buys_while_the_shop_is_closed() -> None:
    ahead, left = clock(OPEN_NINE_TO_NINETEEN, 19.0)
    risk = stockout_risk(courses_of(poisson_days([9] * 3), 3, first_share=left), ahead, 3)
    assert left == 0 and risk[13] == 0 and risk[14] > 0 and risk[23] == risk[37]


def test_the_hour_that_reaches_into_the_next_day_sells_what_is_sold_before_midnight() -> None:
    ahead, left = clock([0.0] * 23 + [1.0], 22.75)
    courses = courses_of(poisson_days([50, 0, 0]), ahead.horizon_days, first_share=left)
    risk = stockout_risk(courses, ahead, 30)
    assert 0.4 < ahead.shares[0] < 0.9 and risk[1] == risk[-1] > 0.95
    assert asked_for(courses, ahead).mean() == pytest.approx(50, rel=0.03)


def test_what_arrives_helps_from_then_on_only() -> None:
    ahead, left = clock(OPEN_NINE_TO_NINETEEN, 9.0)
    courses = courses_of(poisson_days([20] * 3), ahead.horizon_days, first_share=left)
    bare = stockout_risk(courses, ahead, 15)
    early, late = (stockout_risk(courses, ahead, 15, [(hour, 100)]) for hour in (2, 40))
    assert early.max() < 0.05 and bare[-1] > 0.95
    assert (late == bare).all(), "by then it had run out"
    asked = asked_for(courses, ahead)
    assert asked.mean() == pytest.approx(40, rel=0.03), "48 hours from opening time are two days of opening hours"
    assert lost_units(asked, 15) > lost_units(asked, 15, 10) > 0


def test_nothing_left_has_run_out() -> None:
    ahead, _ = clock([0] * 24, 10)
    courses = courses_of(poisson_days([0] * 3), ahead.horizon_days)
    assert (stockout_risk(courses, ahead, 0) == 1).all()
    assert (stockout_risk(courses, ahead, -4, [(3, 50)]) == 1).all()
    assert (stockout_risk(courses, ahead, 1) == 0).all(), "nothing sells"


def test_days_that_are_alike_make_bad_weeks_likelier() -> None:
    alone, alike = (courses_of(poisson_days([100] * 3), 3, alike=value).totals.sum(axis=0) for value in (0.0, 0.8))
    assert alike.std() > 1.3 * alone.std()
    assert abs(alike.mean() - alone.mean()) < 3


def test_goods_by_weight_are_not_rounded() -> None:
    forecast = Forecast("s/cheese", date(2026, 3, 2), np.full(2, 0.4), dict.fromkeys(QUANTILES, np.full(2, 0.4)), "m")
    totals = courses_of(forecast, 2, whole_units=False).totals
    assert np.allclose(totals, 0.4)
    assert set(np.unique(courses_of(forecast, 2).totals)) == {0.0, 1.0}
    assert courses_of(forecast, 2).totals.mean() == pytest.approx(0.4, abs=0.01)


def test_demand_goes_on_beyond_the_forecast() -> None:
    demand = demand_of(poisson_days([1, 2, 3, 4, 5, 6, 7]))
    assert demand.over(7)[0] == 4
    assert demand.over(8)[0] == pytest.approx(29 / 8)
    assert demand.over(1.5)[0] == pytest.approx((1 + 0.5 * 2) / 1.5)
    assert demand.over(3)[1] >= np.sqrt(2) - 1e-9, "never surer than a Poisson shop"


QUANTILE_ROWS = st.lists(st.lists(st.floats(0, 500), min_size=7, max_size=7).map(sorted), min_size=3, max_size=3)
PROFILES = st.lists(st.floats(0, 1), min_size=24, max_size=24)


@settings(max_examples=60)
@given(
    QUANTILE_ROWS,
    PROFILES,
    st.floats(0, 23.9),
    st.integers(0, 600),
    st.integers(0, 300),
    st.floats(1, 47),
    st.booleans(),
)
def test_what_holds_of_every_risk(
    rows: list[list[float]], profile: list[float], hour: float, stock: int, more: int, at: float, whole: bool
) -> None:
    table = np.array(rows).T
    forecast = Forecast("k", date(2026, 3, 2), table[3], dict(zip(QUANTILES, table, strict=True)), "any")
    ahead, left = clock(profile, hour)
    courses = courses_of(forecast, ahead.horizon_days, first_share=left, whole_units=whole, courses=100)
    risk = stockout_risk(courses, ahead, stock)
    assert risk.shape == (HOURS,) and (np.diff(risk) >= 0).all() and risk[0] >= 0 and risk[-1] <= 1
    assert (stockout_risk(courses, ahead, stock + more) <= risk).all(), "more stock never raises the risk"
    assert (stockout_risk(courses, ahead, stock, [(at, more)]) <= risk).all(), "nor does what arrives"
