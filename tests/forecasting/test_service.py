"""Whole answers: what a question with more in it changes, what the confidence means, and that nothing comes out that is no number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.publishing import event_of
from forecasting.series import QUANTILES, Forecast, Forecaster, Series
from forecasting.service import TOLERANCE, Answer, Backtest, Question, _within, answer
from schemas.events import DemandForecast, dump

MODELS = [Champion(), SeasonalNaive()]


def series(days: int = 364, level: float = 10, promoted: float = 1, seasons: float = 0, seed: int = 1) -> Series:
    """Poisson sales with a weekday profile, a day in nine promoted, and a yearly wave."""
    random = np.random.default_rng(seed)
    at = np.arange(days)
    promotion = (at % 9 == 4).astype(float)
    mean = level * (1 + 0.4 * np.sin(at % 7)) * np.where(promotion > 0, promoted, 1)
    return Series(
        "A", date(2025, 1, 1), random.poisson(mean * (1 + seasons * np.sin(at / 58))).astype(float), promotion=promotion
    )


def one(question: Question, model: Forecaster = MODELS[0]) -> Answer:
    (found,) = answer([question], model)
    return found


def total(question: Question) -> float:
    return float(one(question).forecast.mean.sum())


def test_a_promotion_that_history_shows_changes_the_forecast_and_says_by_how_much() -> None:
    history = series(promoted=2)
    on, off, unsaid = (one(Question(history, 14, promotion=said)) for said in (True, False, None))
    (moved,) = on.moved
    assert moved.effect.shown and moved.effect.factor == pytest.approx(2, abs=0.35)
    totals = [float(found.forecast.mean.sum()) for found in (on, off, unsaid)]
    assert totals[0] / totals[1] == pytest.approx(moved.effect.factor, rel=0.01)
    assert moved.units == pytest.approx(totals[0] - totals[1], rel=0.01)
    # Nobody says: promoted as often as lately, a day in nine.
    assert totals[1] < totals[2] < totals[1] * 1.25


def test_a_promotion_that_history_does_not_show_changes_nothing_and_says_so() -> None:
    for history in (series(promoted=1), replace(series(), promotion=None)):
        found = one(Question(history, 14, promotion=True))
        assert not found.moved[0].effect.shown and found.moved[0].units == 0
        assert any("promotion_active changes nothing" in words for words in found.warnings)
        assert total(Question(history, 14, promotion=True)) == total(Question(history, 14, promotion=False))


def priced(days: int = 364) -> Series:
    """Forty a day at 10; an elasticity of -2, seen in every third stretch of twenty days, which cost 8."""
    price = np.where((np.arange(days) // 20) % 3 == 0, 8.0, 10.0)
    price[-1] = 10.0
    sold = np.random.default_rng(3).poisson(40 * (price / 10) ** -2.0).astype(float)
    return Series("A", date(2025, 1, 1), sold, price=price)


def test_a_planned_price_changes_the_forecast_and_says_by_how_much() -> None:
    cheap, usual, unsaid = (one(Question(priced(), 14, price=price)) for price in (8.0, 10.0, None))
    totals = [float(found.forecast.mean.sum()) for found in (cheap, usual, unsaid)]
    assert totals[1] == totals[2] and unsaid.moved == ()
    (moved,) = cheap.moved
    assert moved.effect.name == "price" and moved.effect.shown and moved.effect.days > 100
    assert moved.effect.factor == pytest.approx(0.8**-2, rel=0.15)
    assert totals[0] / totals[1] == pytest.approx(moved.effect.factor, rel=0.01)
    assert moved.units == pytest.approx(totals[0] - totals[1], rel=0.01)
    assert moved.effect.note.startswith("a price of 8 after 10: +5")
    # What the series itself has of the days to come is planned too, day by day.
    history = priced()
    assert history.price is not None
    half = one(Question(replace(history, price=np.concatenate([history.price, np.full(7, 8.0)])), 14))
    assert half.moved[0].units == pytest.approx(moved.units / 2, rel=0.05)


def test_a_planned_price_that_history_does_not_know_changes_nothing_and_says_so() -> None:
    flat = replace(series(), price=np.full(364, 9.5))
    for history, why in ((series(), "the history has no price"), (flat, "shows no effect of the price")):
        found = one(Question(history, 14, price=8.0))
        (moved,) = (moved for moved in found.moved if moved.effect.name == "price")
        assert not moved.effect.shown and moved.units == 0 and moved.effect.factor == 1
        assert any("price changes nothing" in words and why in words for words in found.warnings)
        assert total(Question(history, 14, price=8.0)) == total(Question(history, 14))
    far = one(Question(priced(), 14, price=2.0))
    assert any("lies beyond those of the history (8 to 10)" in words for words in far.warnings)
    assert 0 < far.forecast.mean.sum() < 14 * 40 * 15
    assert not one(Question(priced(), 14, price=8.0), SeasonalNaive()).moved[0].effect.shown


def test_seasons_that_history_shows_raise_and_lower() -> None:
    history = series(728, seasons=0.5)
    usual, peak, low = (total(Question(history, 28, season=word)) for word in ("", "peak", "off-peak"))
    assert low <= usual <= peak
    assert low < peak / 1.5
    assert any("peak" in words for words in one(Question(series(60), 7, season="peak")).warnings)


def test_other_models_answer_too_with_a_backtest() -> None:
    found = one(Question(series(), 7, promotion=True), SeasonalNaive())
    assert found.forecast.model == "seasonal-naive"
    assert found.backtest is not None and found.backtest.mase == pytest.approx(1, abs=0.3)
    assert not found.moved[0].effect.shown  # it knows nothing of promotions


def test_many_questions_are_answered_as_each_alone() -> None:
    questions = [Question(series(seed=n, days=200 + n), 7 + n % 2) for n in range(5)]
    for alone, together in zip((one(question) for question in questions), answer(questions, MODELS[0]), strict=True):
        assert alone.forecast.start == together.forecast.start
        assert alone.forecast.mean == pytest.approx(together.forecast.mean)


def windows(said: float, sold: list[list[float]]) -> Backtest:
    return Backtest(np.full((len(sold), len(sold[0])), said), np.array(sold, dtype=float), 2.0, 0.8, 0.95)


def test_figures_of_a_backtest_by_hand() -> None:
    tested = windows(10, [[12, 8], [10, np.nan], [20, 20], [np.nan, np.nan]])
    assert tested.errors() == [2, 0, 10]
    assert tested.errors(1) == [2, 0, 10]
    assert tested.mae == pytest.approx(24 / 5) and tested.mase == pytest.approx(2.4)
    assert tested.wape == pytest.approx(24 / 70) and tested.bias == pytest.approx(-20 / 70)
    # Totals of 20, 10 and 20, of which 20, 10 and 40 were sold; a total of twice 20 is off by 2**0.65 times as much.
    assert tested.misses(20) == pytest.approx([0, 0, 20])
    assert tested.misses(40) == pytest.approx([0, 0, 20 * 2**0.65])


def test_confidence_is_the_share_of_hits_the_spread_counting_as_twelve() -> None:
    flat = np.full(7, 10.0)
    sure = Forecast("A", date(2026, 1, 1), flat, dict.fromkeys(QUANTILES, flat), "test")
    blank = Answer(sure, (), None, (), date(2025, 12, 31), 100)
    assert blank.confidence == 1
    hit, missed = (replace(blank, backtest=windows(10, [[sold] * 7] * 4)) for sold in (10.5, 20))
    assert hit.confidence == pytest.approx(1, abs=0.01)
    # By 70 units each time: of the four windows none, of the distribution, three quarters of which are still the days' own, few.
    assert missed.confidence == pytest.approx(12 / 16 * 0.21, abs=0.02)
    # Windows of a week, one beginning every day, count as a seventh of as many.
    overlapping = replace(missed, backtest=replace(missed.backtest, apart=1))  # type: ignore[arg-type]
    assert missed.confidence < overlapping.confidence < blank.confidence
    unsure = replace(sure, quantiles={level: flat * 2 * level for level in QUANTILES})
    assert 0.3 < replace(blank, forecast=unsure).confidence < 0.8


@pytest.mark.parametrize(
    ("total", "variance", "chance"),
    [
        (1.5, 1.5, 0.3347 + 0.2510),  # Poisson: 1 or 2, and 0 is not within one unit
        (2.0, 6.0, 0.2222 + 0.1481 + 0.0988),  # negative binomial of size 1 (geometric): 1, 2 or 3
        (0.0, 0.0, 1.0),
    ],
)
def test_few_units_are_counted(total: float, variance: float, chance: float) -> None:
    assert _within(1.0, total, variance, whole=True) == pytest.approx(chance, abs=1e-4)


@given(st.floats(0, 1e6), st.floats(0, 1e9), st.booleans())
def test_a_chance_is_a_chance_and_larger_for_a_larger_tolerance(total: float, variance: float, whole: bool) -> None:
    chances = [_within(tolerance, total, variance, whole) for tolerance in (1.0, 2.5, 1e8)]
    assert 0 <= chances[0] <= chances[1] + 1e-9 and chances[1] <= chances[2] + 1e-9 and chances[2] <= 1 + 1e-9


def test_confidence_keeps_what_it_promises() -> None:
    """Of products of many kinds, as many totals are hit as the scores say on the mean."""
    promised, kept = [], []
    random = np.random.default_rng(5)
    for number in range(60):
        history = series(level=float(random.choice([0.5, 2, 8, 40])), seed=number)
        past = replace(history, quantity=history.quantity[:-7], promotion=None)
        found = one(Question(past, 7))
        said, sold = found.forecast.mean.sum(), history.quantity[-7:].sum()
        promised.append(found.confidence)
        kept.append(abs(said - sold) <= max(TOLERANCE * said, 1))
    assert np.mean(promised) == pytest.approx(np.mean(kept), abs=0.12)


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e9), st.just(0.0)), min_size=1, max_size=120),
    st.integers(1, 90),
    st.sampled_from(["", "peak", "off-peak", "Diwali"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, 0.01, 9.5, 1e9]),
    st.sampled_from(MODELS),
)
def test_every_answer_is_numbers_and_fits_the_contract(
    sold: list[float | None], horizon: int, season: str, promotion: bool | None, price: float | None, model: Forecaster
) -> None:
    quantity = np.array([np.nan if one is None else one for one in sold])
    flags = (np.arange(len(sold)) % 3 == 0).astype(float)
    history = Series("A", date(2026, 1, 1), quantity, promotion=flags, price=np.where(flags > 0, 7.0, 9.0))
    found = one(Question(history, horizon, season, promotion, price), model)
    assert len(found.forecast.mean) == horizon
    assert 0 <= found.confidence <= 1
    event = event_of(found, "S1", "A", datetime(2026, 1, 1, tzinfo=UTC))
    assert DemandForecast.model_validate_json(dump(event)) == event
