"""The forecast that answers: models tried on the product's own past, the best of them or a mixture that beats them all, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting import effects, intervals, smoothing
from forecasting.backtest import Scores, scores
from forecasting.baseline import by_weeks, last_known
from forecasting.cold_start import Categories
from forecasting.effects import Effects
from forecasting.series import QUANTILES, Days, Forecast, Forecaster, Series
from forecasting.smoothing import WEEK, Trials

SHARPNESS = 4
"""A part of the mixture weighs as the inverse of its error to this power."""
MARGIN = 0.98
"""One model alone must be this much better than the mixture to be taken: mixtures keep what they promise more often
(Makridakis et al. 2020, "The M4 Competition", International Journal of Forecasting 36)."""
CEILING = 3.0
"""No day is forecast above this many times the highest ever sold (and above what a known effect makes of it)."""
HELD_OUT = 8
"""The last origins, on which intervals learned from earlier ones are checked."""
CLOSED_WEEKS = 4
FEWEST = 4
"""Past weeks that models are compared on; with fewer, the mean of all answers."""


@dataclass(frozen=True)
class Study:
    """A forecast with what it rests on: its backtest (None without enough history) and the effects of promotions, prices and days."""

    forecast: Forecast
    backtest: Scores | None
    effects: Effects
    said: Days | None = None
    """What was said at past weeks' ends (origins, days ahead)."""
    sold: Days | None = None
    """What was sold then, NaN where that is not known."""


class Champion:
    """Chooses by a rolling-origin backtest on each product's own past: the mixture of smoothing models, one of them, or the naive.

    ``others`` are tried too, where given (a nightly batch has the time, a request has not): each is asked at ``TRIALS`` past origins.
    ``categories`` answer for products with next to no history; a batch learns them from its own series where none are given.
    """

    name = "champion"

    def __init__(self, others: Sequence[Forecaster] = (), categories: Categories | None = None) -> None:
        self.others = others
        self.categories = categories

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order."""
        return [study.forecast for study in self.study(series, horizon)]

    def study(self, series: Sequence[Series], horizon: int) -> list[Study]:
        """The same, with the backtest and the effects behind each."""
        categories = self.categories or Categories.learned(series)
        return [self._one(one, horizon, categories) for one in series]

    def _one(self, series: Series, horizon: int, categories: Categories) -> Study:
        found = effects.estimate(series, horizon)
        start = series.end + timedelta(days=1)
        known = int(np.isfinite(series.quantity).sum())
        if cold := categories.forecast(series, horizon):
            return Study(cold, None, found)
        if not known:
            nothing = np.zeros(horizon)
            warning = ("no day of this product's demand is known",)
            return Study(
                Forecast(series.key, start, nothing, dict.fromkeys(QUANTILES, nothing), "none", warnings=warning),
                None,
                found,
            )
        tried = _tried(series, found, horizon)
        name, reason, said, now = _chosen(tried)
        warnings = []
        closed = _closed(series.quantity, horizon)
        if closed.any():
            warnings.append("days of the week on which nothing was ever known are forecast as closed: 0")
        spread = intervals.learn(said, tried.sold)
        ceiling = CEILING * float(np.nanmax(series.quantity)) * np.maximum(found.marketing[-horizon:], 1.0)
        now = np.where(closed, 0.0, np.minimum(now, ceiling))
        fan = np.minimum(np.where(closed, 0.0, intervals.fan(now, spread)), np.maximum(ceiling, now))
        made = Forecast(series.key, start, now, dict(zip(QUANTILES, fan, strict=True)), name, reason, tuple(warnings))
        return Study(made, _backtest(series, said, tried.sold), found, said, tried.sold)


def _tried(series: Series, found: Effects, horizon: int) -> Trials:
    """The smoothing models and the naive one at past origins and today."""
    quantity = by_weeks(series.quantity).ravel()
    front = len(quantity) - len(series.quantity)

    def whole(multipliers: Days) -> Days:
        return np.concatenate([np.ones(front), multipliers])

    known = [whole(found.calendar * found.marketing)]
    expected = [whole(found.honest * found.marketing)]
    if (found.yearly != 1).any():
        known.append(known[0] * whole(found.yearly))
        expected.append(expected[0] * whole(found.yearly))
    made = smoothing.trials(quantity, known, expected, horizon)
    weeks, _ = smoothing.origins(quantity, horizon)
    naive = last_known(by_weeks(series.quantity))
    naive = np.where(np.isfinite(naive), naive, np.nanmean(series.quantity))
    repeated = np.resize(np.arange(WEEK), horizon)
    said = naive[np.array([*weeks, len(naive)]) - 1][:, repeated][None]
    return Trials(
        (*made.names, "seasonal-naive"),
        np.concatenate([made.said, said[:, :-1]]),
        made.sold,
        np.concatenate([made.now, said[:, -1]]),
    )


def _chosen(tried: Trials) -> tuple[str, str, Days, Days]:
    """The name, the reason, what it would have said at past origins and what it says today."""
    errors = tried.errors()
    if len(tried.sold) < FEWEST or not np.isfinite(errors).all():
        return (
            "smoothing",
            "the history is too short to compare models",
            tried.said[:-1].mean(axis=0),
            tried.now[:-1].mean(axis=0),
        )
    parts = errors[:-1]  # the naive one competes but is no part: it knows nothing of effects
    weights = (np.maximum(parts, 1e-9) / max(parts.min(), 1e-9)) ** -SHARPNESS
    weights /= weights.sum()
    said, now = np.tensordot(weights, tried.said[:-1], 1), weights @ tried.now[:-1]
    mixed = Trials(("mixture",), said[None], tried.sold, now[None]).errors()[0]
    best = int(errors.argmin())
    against = f"on {len(tried.sold)} past weeks; seasonal naive {errors[-1]:.3g}"
    if errors[best] < MARGIN * mixed:
        name = tried.names[best].split()[0]
        return (
            name,
            f"off by {errors[best]:.3g} a day {against}, mixture {mixed:.3g}",
            tried.said[best],
            tried.now[best],
        )
    return "smoothing", f"a mixture of {len(parts)} models, off by {mixed:.3g} a day {against}", said, now


def _closed(quantity: Days, horizon: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The days ahead whose weekday was not known once in the last weeks while all others were mostly known: the shop is closed."""
    known = np.isfinite(by_weeks(quantity))[-2 * CLOSED_WEEKS :].sum(axis=0)
    shut = (known == 0) & (np.sort(known)[2] >= CLOSED_WEEKS)
    return np.resize(shut, horizon)


def _backtest(series: Series, said: Days, sold: Days) -> Scores | None:
    """How the chosen model did; its intervals are checked on the last origins, learned from those before."""
    if not np.isfinite(sold).any():
        return None
    late = slice(-min(HELD_OUT, len(sold) // 3) or None, None)
    early = intervals.learn(said[: late.start], sold[: late.start])
    fans = np.stack([intervals.fan(point, early) for point in said[late]], axis=1)
    return scores(sold[late], said[late], fans, series.quantity)
