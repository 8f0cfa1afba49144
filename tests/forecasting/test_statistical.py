"""The models of libraries behind our interface: what must hold of each, and the champion that has tried them."""

from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.champion import Champion
from forecasting.ensemble import averaged
from forecasting.series import QUANTILES, Forecast, Series
from forecasting.statistical import Statistical, demand_class, filled

NAN = np.nan
MONDAY = date(2024, 1, 1)
RNG = np.random.default_rng(5)
WEEK = np.array([0.8, 0.8, 0.9, 1.0, 1.2, 1.5, 0.8])


@pytest.mark.parametrize(
    "sold, expected",
    [
        ([5, 6, 5, 6, 5], "smooth"),
        ([1, 1, 1, 40, 1, 1], "erratic"),
        ([0, 0, 2, 0, 0, 2], "intermittent"),
        ([0, 0, 1, 0, 0, 40, 0, 1, 0, 0], "lumpy"),
        ([NAN, 5, 6, NAN], "smooth"),
        ([0, 0, 0], "intermittent"),
    ],
)
def test_classes_of_demand(sold, expected):
    assert demand_class(np.array(sold, dtype=float)) == expected


def test_holes_are_given_the_weekdays_last_sale():
    np.testing.assert_array_equal(filled(np.array([1, 2, 3, 4, 5, 6, 7, NAN, 9.0])), [1, 2, 3, 4, 5, 6, 7, 1, 9])
    assert not filled(np.array([NAN, NAN])).any()


@pytest.mark.parametrize("model", ["ets", "theta", "croston", "tsb", "adida", "imapa"])
@pytest.mark.parametrize("kind", ["weekly", "rare", "zeros", "short"])
def test_every_model_answers_within_reason(model, kind):
    rare = np.where(RNG.random(140) < 0.2, 3.0, 0.0)
    history = {
        "weekly": RNG.poisson(40 * np.resize(WEEK, 140)).astype(float),
        "rare": rare,
        "zeros": np.zeros(140),
        "short": np.array([3.0, NAN]),
    }
    made = Statistical(model).forecast([Series("a", MONDAY, history[kind])], 14)[0]
    fan = np.array([made.quantiles[level] for level in QUANTILES])
    assert np.isfinite(fan).all() and (fan >= 0).all() and (np.diff(fan, axis=0) >= 0).all()
    highest = np.nanmax(history[kind])
    assert np.isfinite(made.mean).all() and (made.mean <= 3 * highest).all()
    if kind == "weekly" and model in ("ets", "theta"):
        np.testing.assert_allclose(made.mean, 40 * np.resize(WEEK, 14), rtol=0.35)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="there are ets"):
        Statistical("arima")


class Oracle:
    """Knows what comes: a model that must be taken over, and shows that another one is asked only of the past."""

    name = "oracle"

    def __init__(self, truth):
        self.truth = truth

    def forecast(self, series, horizon):
        said = []
        for one in series:
            days = self.truth[len(one.quantity) :][:horizon]
            fan = {level: days * (0.98 + 0.04 * level) for level in QUANTILES}
            said.append(Forecast(one.key, one.end + timedelta(days=1), days, fan, self.name))
        return said


def test_a_better_model_takes_over_and_a_worse_one_does_not():
    truth = RNG.gamma(2, 10, 400)
    series = [Series(str(at), MONDAY, truth[:372]) for at in range(12)]
    best = Champion([Oracle(truth)]).study(series, 28)
    assert {study.forecast.model for study in best} == {"oracle"} and "past origins" in best[0].forecast.reason
    assert best[0].backtest.mase < 0.05
    worse = Champion([Oracle(truth + 300)]).study(series, 28)
    assert {study.forecast.model for study in worse}.isdisjoint(
        {"oracle", averaged([study.forecast for study in best]).model}
    )


def test_a_model_is_asked_only_for_what_it_suits():
    class Picky(Oracle):
        def suits(self, series):
            return series.key == "b"

    truth = RNG.gamma(2, 10, 400)
    asked, model = [], Picky(truth)
    model.forecast = lambda series, horizon: (
        asked.extend(one.key for one in series) or Oracle.forecast(model, series, horizon)
    )
    Champion([model]).forecast([Series(key, MONDAY, truth[:372]) for key in "ab"], 7)
    assert set(asked) == {"b"}
