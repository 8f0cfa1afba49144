"""The forecast that answers: what must hold for any history, planted effects, cold starts, closed days."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting import effects
from forecasting.champion import CEILING, Champion
from forecasting.series import QUANTILES, Series

NAN = np.nan
MONDAY = date(2024, 1, 1)
RNG = np.random.default_rng(7)
WEEK = np.array([0.8, 0.8, 0.9, 1.0, 1.2, 1.5, 0.8])


def study(quantity, horizon=28, **more):
    return Champion().study([Series("a", MONDAY, np.asarray(quantity, dtype=float), **more)], horizon)[0]


def fan(forecast):
    return np.array([forecast.quantiles[quantile] for quantile in QUANTILES])


histories = arrays(
    float, st.integers(1, 120), elements=st.one_of(st.just(NAN), st.just(0.0), st.floats(0, 50), st.floats(0, 1e6))
)


@settings(max_examples=60, deadline=None)
@given(histories, st.sampled_from([1, 9, 90]))
def test_any_history_gives_ordered_finite_quantiles_within_reason(quantity, horizon):
    made = study(quantity, horizon).forecast
    assert fan(made).shape == (len(QUANTILES), horizon) and made.mean.shape == (horizon,)
    assert np.isfinite(fan(made)).all() and np.isfinite(made.mean).all() and (made.mean >= 0).all()
    assert (fan(made) >= 0).all() and (np.diff(fan(made), axis=0) >= 0).all()
    highest = np.nanmax(quantity) if np.isfinite(quantity).any() else 0.0
    assert made.mean.max() <= CEILING * highest and made.start == MONDAY + timedelta(days=len(quantity))


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(20, 120), elements=st.integers(20, 60).map(float)), st.sampled_from([0.5, 3.0, 100.0]))
def test_selling_more_of_everything_forecasts_more_of_everything(quantity, times):
    """But for the spread of few errors, which is that of counts."""
    one, other = study(quantity, 9).forecast, study(quantity * times, 9).forecast
    np.testing.assert_allclose(other.mean, one.mean * times, rtol=1e-4)


def test_a_weekly_course_is_found_and_beats_the_naive_one():
    quantity = RNG.poisson(40 * np.resize(WEEK, 371)).astype(float)
    made = study(quantity[:343])
    np.testing.assert_allclose(made.forecast.mean, 40 * np.resize(WEEK, 28), rtol=0.2)
    assert made.backtest.mase < 0.85 and 0.7 < made.backtest.coverage_80 < 0.9
    assert "seasonal naive" in made.forecast.reason


def test_slow_sellers_have_a_median_below_their_mean():
    made = study(RNG.poisson(0.3, 365)).forecast
    assert made.quantiles[0.5].mean() < made.mean.mean() < 0.6


def promoted(days=400, factor=1.8):
    promotion = (RNG.random(days) < 0.15).astype(float)
    return RNG.poisson(30 * np.where(promotion > 0, factor, 1.0)).astype(float), promotion


def test_a_promotion_that_history_shows_changes_the_forecast_by_what_it_did():
    quantity, promotion = promoted()
    without = study(quantity, 7, promotion=np.append(promotion, np.zeros(7)))
    with_one = study(quantity, 7, promotion=np.append(promotion, np.ones(7)))
    effect = with_one.effects.promotion
    assert effect.shown and effect.factor == pytest.approx(1.8, rel=0.1) and "+" in effect.note
    np.testing.assert_allclose(with_one.forecast.mean, without.forecast.mean * effect.factor, rtol=1e-6)


def test_a_promotion_that_did_nothing_changes_nothing():
    quantity, promotion = promoted(factor=1.0)
    made = study(quantity, 7, promotion=np.append(promotion, np.ones(7)))
    assert not made.effects.promotion.shown and made.effects.promotion.factor == 1


def test_a_price_that_moves_sales_is_found():
    price = np.where((np.arange(400) // 20) % 3 == 0, 8.0, 10.0)
    quantity = RNG.poisson(40 * (price / 10) ** -2.0).astype(float)
    made = study(quantity, 7, price=np.append(price, np.full(7, 8.0)))
    assert made.effects.price.shown and made.effects.price.factor == pytest.approx(-2, abs=0.6)


def test_a_holiday_of_every_year_is_expected():
    quantity = RNG.poisson(50, 900).astype(float)
    days = [MONDAY + timedelta(days=int(day)) for day in (200, 200 + 365, 200 + 730)]
    quantity[[200, 565]] = 120
    made = Champion().study([Series("a", MONDAY, quantity, holiday_names=dict.fromkeys(days, "Fair"))], 60)[0]
    assert made.forecast.mean[930 - 900] > 85 > made.forecast.mean[28]
    assert made.effects.holidays[0].name == "Fair" and made.effects.holidays[0].days == 2


def test_the_course_of_the_year_comes_again():
    day = np.arange(364 * 3)
    quantity = RNG.poisson(50 + 30 * np.sin(2 * np.pi * day / 364)).astype(float)
    made = study(quantity[: 364 * 2 + 300], 60).forecast
    truth = 50 + 30 * np.sin(2 * np.pi * np.arange(364 * 2 + 300, 364 * 2 + 360) / 364)
    assert np.abs(made.mean - truth).mean() < 6


def test_a_weekday_without_sales_is_forecast_as_closed():
    quantity = RNG.poisson(20, 140).astype(float)
    quantity[5::7] = NAN
    made = study(quantity, 14).forecast
    assert made.mean[[5, 12]].tolist() == [0, 0] and (made.mean[:5] > 10).all() and made.warnings


def test_unknown_days_do_not_pull_the_forecast_down():
    quantity = RNG.poisson(20, 140).astype(float)
    quantity[100:130] = NAN
    assert study(quantity, 7).forecast.mean.mean() == pytest.approx(20, rel=0.2)


def test_a_new_product_is_forecast_from_its_category():
    sold = RNG.poisson(30 * np.resize(WEEK, (5, 98))).astype(float)
    others = [Series(str(at), MONDAY, one, "tea") for at, one in enumerate(sold)]
    new = Series("new", MONDAY + timedelta(days=96), np.array([33.0, 20.0]), "tea")
    made = Champion().forecast([*others, new], 7)[-1]
    assert made.model == "category" and made.mean.mean() == pytest.approx(29, rel=0.15)
    assert made.mean.argmax() == 5 and made.warnings  # a Saturday
    alone = Champion().forecast([replace(new, category="coffee")], 7)[0]
    assert alone.model != "category"


def test_nothing_known_is_zeros_with_a_warning():
    made = study([NAN] * 40).forecast
    assert not made.mean.any() and made.warnings


@pytest.mark.parametrize("label", ["peak", "off-peak", "OFF_PEAK"])
def test_a_season_changes_what_history_shows(label):
    day = np.arange(400)
    series = Series("a", MONDAY, RNG.poisson(50 + 30 * np.sin(2 * np.pi * day / 364)).astype(float))
    effect = effects.season(series, label)
    assert effect.shown and (effect.factor > 1.2 if label == "peak" else effect.factor < 0.8)
    flat = effects.season(replace(series, quantity=RNG.poisson(50, 400).astype(float)), label)
    assert not flat.shown and flat.factor == 1


def test_an_unknown_season_changes_nothing_and_says_so():
    effect = effects.season(Series("a", MONDAY, np.ones(300)), "monsoon")
    assert effect.factor == 1 and "not known" in effect.note


def test_holidays_of_a_country():
    found = effects.holidays_of("EC", date(2026, 12, 1), date(2027, 1, 31))
    assert date(2026, 12, 25) in found and date(2027, 1, 1) in found
    assert effects.holidays_of("XX", MONDAY, MONDAY) == {}
