"""What the network sees: nothing of the future but what is told ahead, nothing of days that are not known, all of it finite."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.features import AHEAD, PAST, WHOLE, FeatureSettings, Prepared, Sample, bucket, sample
from forecasting.series import Series

SETTINGS = FeatureSettings()
sold = st.one_of(st.just(float("nan")), st.just(0.0), st.floats(0, 1e9), st.integers(0, 20).map(float))


def same(one: Sample, other: Sample) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@given(st.lists(sold, min_size=1, max_size=500), st.data())
@settings(max_examples=40, deadline=None)
def test_what_comes_later_is_not_seen(quantity: list[float], data: st.DataObject) -> None:
    """A series cut at a day gives what the whole series gives at that day, whatever came after; and every figure is finite."""
    origin, horizon = data.draw(st.integers(1, len(quantity))), data.draw(st.integers(1, 90))
    random = np.random.default_rng(len(quantity))
    days = len(quantity) + 90
    whole = Series(
        "a", date(2024, 2, 20), np.array(quantity), "tea", random.integers(0, 2, days) * 1.0,
        random.choice([np.nan, 0.0, 3.5, 4.0], days), random.integers(0, 2, days) * 1.0,
    )  # fmt: skip
    cut = replace(whole, quantity=whole.quantity[:origin])
    now = sample(Prepared(cut, horizon), origin, horizon, SETTINGS)
    same(sample(Prepared(whole, 90), origin, horizon, SETTINGS), now)
    assert now.past.shape == (SETTINGS.window, len(PAST)) and now.ahead.shape == (horizon, len(AHEAD))
    assert now.whole.shape == (len(WHOLE),) and now.scale > 0
    assert all(np.isfinite(part).all() for part in now[:3])


@given(st.lists(sold, min_size=30, max_size=100))
@settings(max_examples=25, deadline=None)
def test_another_unit_changes_only_the_scale(quantity: list[float]) -> None:
    """Pieces or crates of eight: the network sees the same but for the level."""
    level = WHOLE.index("level, log")
    one, other = (
        sample(Prepared(Series("a", date(2025, 1, 1), np.array(quantity) * unit), 7), len(quantity), 7, SETTINGS)
        for unit in (1.0, 8.0)
    )
    one.whole[level] = other.whole[level] = 0
    if np.nansum(quantity) > 0:
        assert other.scale == pytest.approx(8 * one.scale)
        same(one._replace(scale=1), other._replace(scale=1))


def test_figures_by_hand() -> None:
    """Ten weeks of 8 a day and 16 on Saturdays, twice that in a promoted week, which is not usual."""
    quantity = np.where(np.arange(70) % 7 == 5, 16.0, 8.0)
    promotion = np.zeros(84)
    promotion[49:56] = promotion[70:77] = 1.0
    quantity[49:56] *= 2
    seen = sample(Prepared(Series("a", date(2025, 1, 6), quantity, promotion=promotion), 14), 70, 14, SETTINGS)
    mean = quantity[-56:].mean()
    assert seen.scale == mean
    usual = np.expm1(seen.ahead[:, AHEAD.index("usual for the weekday, 8 weeks")]) * mean
    effect = float(np.exp(seen.whole[WHOLE.index("promotion's effect")]))
    assert 1.5 < effect < 2.0  # drawn to none by four days' worth
    # Seven plain weeks, and one more of all days' mean: 64 / 7.
    np.testing.assert_allclose(usual[7:], np.where(np.arange(7) == 5, 16 * 7 + 64 / 7, 8 * 7 + 64 / 7) / 8, rtol=1e-5)
    np.testing.assert_allclose(usual[:7], usual[7:] * effect, rtol=1e-5)
    assert seen.ahead[:, AHEAD.index("promotion")].tolist() == [1.0] * 7 + [0.0] * 7
    assert seen.ahead[:, AHEAD.index("weekday 0")].tolist() == ([1.0] + [0.0] * 6) * 2
    assert seen.past[-1, PAST.index("weekday 6")] == 1 and seen.past[:, PAST.index("known")].all()
    np.testing.assert_allclose(np.expm1(seen.past[-2:, 0]) * mean, [16, 8], rtol=1e-6)
    assert seen.past[:, PAST.index("promotion")].sum() == 7


def test_last_year() -> None:
    """Twice as much around the same days last year as in the month before shows; without a year it does not."""
    quantity = np.full(370, 10.0)
    quantity[20:40] = 20.0
    column = AHEAD.index("last year")
    seen = sample(Prepared(Series("a", date(2024, 1, 1), np.append(np.full(30, 10.0), quantity)), 7), 400, 7, SETTINGS)
    assert seen.ahead[:, column + 1].all()
    short = sample(Prepared(Series("a", date(2024, 1, 1), quantity[:300]), 7), 300, 7, SETTINGS)
    assert not short.ahead[:, column : column + 2].any()
    before = np.append(np.full(30, 10.0), quantity)[8:36]
    expected = np.log(
        (np.append(np.full(30, 10.0), quantity)[33:40].mean() + 0.1 * before.mean()) / (1.1 * before.mean())
    )
    assert seen.ahead[0, column] == pytest.approx(expected, rel=1e-5)


def test_categories_are_the_same_everywhere() -> None:
    assert bucket("", 64) == 0 and bucket("Dairy", 64) == 33
    assert all(1 <= bucket(f"group {number}", 64) < 64 for number in range(500))
