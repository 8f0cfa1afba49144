"""Measures by hand, intervals that hold what they say, averages of forecasts, and discounted sums."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting import intervals
from forecasting.backtest import rolled, scores
from forecasting.baseline import SeasonalNaive
from forecasting.ensemble import averaged
from forecasting.series import QUANTILES, Forecast, Series
from forecasting.smoothing import ORIGINS, discounted, origins, trials

NAN = np.nan
START = date(2026, 1, 5)
Q = np.array(QUANTILES)


def test_scores_by_hand():
    """A history that changes by 2 from week to week; sold 10 and 20, one unknown; every quantile said 12 and 16, the mean 14 and 14."""
    history = np.repeat([1.0, 3.0, 5.0], 7)
    fan = np.tile([12.0, 16.0, 9.0], (len(QUANTILES), 1))
    made = scores(np.array([10.0, 20.0, NAN]), np.array([14.0, 14.0, 1.0]), fan, history)
    assert made.days == 2
    assert made.mase == pytest.approx((2 + 4) / 2 / 2)
    assert made.mase_mean == pytest.approx((4 + 6) / 2 / 2)
    assert made.rmsse == pytest.approx(np.sqrt((16 + 36) / 2 / 4))
    pinball = np.mean([(1 - level) * 2 + level * 4 for level in QUANTILES])
    assert made.wql == pytest.approx(2 * pinball / 30)
    assert made.bias == pytest.approx(-2 / 30)
    assert made.coverage_80 == made.coverage_95 == 0


def test_coverage_counts_the_ends_of_an_interval():
    fan = np.arange(len(QUANTILES), dtype=float)[:, None] * np.ones(4)
    made = scores(np.array([0.0, 1.0, 5.0, 7.0]), np.ones(4), fan, np.arange(30.0))
    assert made.coverage_80 == 0.5 and made.coverage_95 == 0.75


def test_nothing_known_has_no_scores():
    made = scores(np.array([NAN]), np.ones(1), np.ones((len(QUANTILES), 1)), np.ones(20))
    assert made.days == 0 and np.isnan(made.mase)


def test_no_change_in_the_history_has_no_scale():
    assert np.isnan(scores(np.ones(3), np.ones(3), np.ones((len(QUANTILES), 3)), np.ones(20)).mase)


def test_a_model_tried_in_the_past_sees_no_later_sale():
    series = Series("a", START, np.arange(40.0))
    assert [one.mean[0] for one in rolled(SeasonalNaive(), series, 7, [14, 21])] == [7.0, 14.0]


@pytest.mark.parametrize("scale", [2.0, 40.0])
def test_conformal_intervals_hold_what_they_say(scale):
    draw = np.random.default_rng(3)
    said = scale * draw.uniform(0.5, 2, (400, 7))
    sold = draw.gamma(4, said / 4)
    fans = np.stack([intervals.fan(point, intervals.learn(said[:200], sold[:200])) for point in said[200:]], axis=1)
    made = scores(sold[200:], said[200:], fans, sold.ravel())
    assert 0.78 < made.coverage_80 < 0.87 and 0.93 < made.coverage_95 < 0.98


def test_special_days_get_their_own_width_and_others_theirs():
    draw = np.random.default_rng(3)
    special = draw.random((400, 7)) < 0.2
    said = np.full((400, 7), 100.0)
    sold = said + draw.normal(0, np.where(special, 30, 10))
    past, late = slice(200), slice(200, None)
    times = intervals.wider(said[past], sold[past], special[past])
    assert times == pytest.approx(3, abs=0.5)
    widths = np.where(special, times, 1.0)
    spread = intervals.learn(said[past], sold[past], widths[past])
    fans = np.stack(
        [intervals.fan(point, spread, width) for point, width in zip(said[late], widths[late], strict=True)], 1
    )
    inside = (sold[late] >= fans[1]) & (sold[late] <= fans[-2])
    for days in (special[late], ~special[late]):
        assert 0.74 < inside[days].mean() < 0.88


def test_a_few_special_days_say_little():
    said, sold = np.full((20, 7), 100.0), 100 + np.random.default_rng(3).normal(0, 10, (20, 7))
    special = np.zeros((20, 7), dtype=bool)
    assert intervals.wider(said, sold, special) == 1
    special[3, 2], sold[3, 2] = True, 160
    assert 1 < intervals.wider(said, sold, special) < 2.2
    special[3, 3:], sold[3, 3:] = True, 160
    assert intervals.wider(said, sold, special) > 2.2


def test_few_errors_have_the_spread_of_counts():
    fan = intervals.fan(np.array([9.0]), intervals.learn(np.ones((1, 1)), np.ones((1, 1))))[:, 0]
    assert fan[3] == 9 and fan[5] == pytest.approx(9 + 1.2816 * np.sqrt(9 + 0.25 * 81), rel=1e-3)


def test_later_days_without_errors_take_the_spread_of_earlier_ones():
    said = np.ones((20, 90))
    sold = np.where(np.arange(90) < 30, np.random.default_rng(1).poisson(1, (20, 90)), NAN)
    spread = intervals.learn(said, sold)
    assert np.isfinite(spread).all() and (spread[:, 60] == spread[:, 40]).all()


@given(arrays(float, (len(QUANTILES), 5), elements=st.floats(0, 1e4)))
def test_counted_quantiles_stay_in_order_and_only_the_median_moves(fan):
    before = np.sort(fan, axis=0)
    made = intervals.counted(before)
    assert (np.diff(made, axis=0) >= 0).all() and (np.abs(made - before).max(axis=1) <= 0.5 * (Q == 0.5)).all()


def test_the_median_of_counts_is_a_count():
    fan = np.array([0, 0, 0, 0.4, 1.2, 2.1, 3.4])[:, None]
    assert intervals.counted(fan)[:, 0].tolist() == [0, 0, 0, 0, 1.2, 2.1, 3.4]


def forecast(mean, fan, name="a"):
    return Forecast(
        "x", START, np.array([mean]), {level: np.array([one]) for level, one in zip(QUANTILES, fan, strict=True)}, name
    )


def test_an_average_is_of_means_and_of_quantiles():
    made = averaged([forecast(1.0, Q), forecast(3.0, Q * 3, "b")])
    assert made.mean[0] == 2 and made.model == "a+b"
    np.testing.assert_allclose([one[0] for one in made.quantiles.values()], Q * 2)
    with pytest.raises(ValueError, match="one forecast"):
        averaged([])


@given(arrays(float, st.integers(1, 80), elements=st.floats(0, 1e6)), st.sampled_from([1.0, 7.0, 112.0]))
def test_discounted_sums_are_those_of_the_recurrence(values, half_life):
    kept, sum_, expected = 0.5 ** (1 / half_life), 0.0, []
    for value in values:
        sum_ = kept * sum_ + value
        expected.append(sum_)
    np.testing.assert_allclose(discounted(values, half_life), expected, rtol=1e-9, atol=1e-6)


def test_trials_see_only_what_was_sold_before():
    """Sales after an origin changed: what was said at it and before stays."""
    quantity = np.random.default_rng(2).poisson(20, 140).astype(float)
    ones = np.ones(168)
    tried, _ = origins(quantity, 28)
    later = quantity.copy()
    later[70:] = 500
    before, after = (trials(one, [ones], [ones], 28, 0.05) for one in (quantity, later))
    at = [place for place, week in enumerate(tried) if week <= 10]
    np.testing.assert_array_equal(before.said[:, at], after.said[:, at])
    assert not np.array_equal(before.now, after.now) and len(tried) <= ORIGINS
