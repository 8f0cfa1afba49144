"""The forecast that answers: models tried on the product's own past and mixed by how they did; others take over where they were better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forecasting import effects, intervals, smoothing
from forecasting.backtest import Scores, scores
from forecasting.baseline import by_weeks, last_known
from forecasting.cold_start import Categories
from forecasting.effects import Effects
from forecasting.ensemble import averaged
from forecasting.series import QUANTILES, Days, Forecast, Forecaster, Series, whole
from forecasting.smoothing import WEEK, Trials
from forecasting.statistical import demand_class

SHARPNESS = 4
"""A part of the mixture weighs as the inverse of its error to this power."""
CEILING = 3.0
"""No day is forecast above this many times the highest ever sold (and above what a known effect makes of it)."""
HELD_OUT = 8
"""The last origins, on which intervals learned from earlier ones are checked."""
CLOSED_WEEKS = 4
FEWEST = 4
"""Past weeks that models are compared on; with fewer, the mean of all answers."""
TRIALS, TRIAL_DAYS = 4, 28
"""Past origins at which other models are tried, and how far they are apart."""
WORTH = 8
"""How many origins of a product's own what its like showed is worth."""
TAKEN_OVER = 0.97
"""Another model's loss must be below this share of the quick champion's."""


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
    apart: int = WEEK
    """Days between those origins."""


class Champion:
    """Weighs smoothing models by a rolling-origin backtest on each product's own past.

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
        quick = [self._one(one, horizon, categories) for one in series]
        long = [at for at, one in enumerate(series) if len(one.quantity) >= (TRIALS + 1) * TRIAL_DAYS]
        if self.others and long:
            for at, better in self._against_others(
                [series[at] for at in long], [quick[at] for at in long], horizon
            ).items():
                quick[long[at]] = better
        return quick

    def _against_others(self, series: Sequence[Series], quick: Sequence[Study], horizon: int) -> dict[int, Study]:
        """Where another model, or its average with the quick one, did better at past origins: what it says, by the series' place."""
        days = min(horizon, TRIAL_DAYS)
        models: list[Forecaster] = [Champion(categories=self.categories), *self.others]
        suited = [[at for at, one in enumerate(series) if getattr(model, "suits", _always)(one)] for model in models]
        tried: list[dict[int, list[Forecast]]] = [{at: [] for at in places} for places in suited]
        for back in range(TRIALS, 0, -1):
            past = [replace(one, quantity=one.quantity[: len(one.quantity) - back * TRIAL_DAYS]) for one in series]
            for model, places, said in zip(models, suited, tried, strict=True):
                for at, forecast in zip(places, model.forecast([past[at] for at in places], days), strict=True):
                    said[at].append(forecast)
        sold = [_after(one, days) for one in series]
        losses: list[dict[int, float]] = [{at: _loss(said[at], sold[at]) for at in said} for said in tried]
        mixed: list[dict[int, float]] = [
            {at: _loss([averaged(pair) for pair in zip(tried[0][at], said[at], strict=True)], sold[at]) for at in said}
            for said in tried
        ]
        classes = [demand_class(one.quantity) for one in series]
        chosen: dict[int, tuple[int, bool]] = {}
        best = dict.fromkeys(range(len(series)), TAKEN_OVER)
        for number in range(1, len(models)):
            for mixing, table in ((False, losses[number]), (True, mixed[number])):
                for at, ratio in _drawn_ratios(table, losses[0], classes).items():
                    if ratio < best[at]:
                        best[at], chosen[at] = ratio, (number, mixing)
        better = {}
        for number, model in enumerate(models):
            places = [at for at, (winner, _) in chosen.items() if winner == number]
            for at, made in zip(
                places, model.forecast([series[at] for at in places], horizon) if places else [], strict=True
            ):
                past_answers = tried[number][at]
                if chosen[at][1]:
                    made = averaged([quick[at].forecast, made])
                    past_answers = [averaged(pair) for pair in zip(tried[0][at], past_answers, strict=True)]
                gain = f"{1 - best[at]:.0%} less than the quick champion's at {TRIALS} past origins"
                made = replace(made, reason=f"its quantiles were off {gain} ({classes[at]} demand)")
                means = np.array([one.mean for one in past_answers])
                better[at] = Study(
                    made,
                    _trial_scores(past_answers, sold[at], series[at]),
                    quick[at].effects,
                    means,
                    sold[at],
                    TRIAL_DAYS,
                )
        return better

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
        past, ahead = _special(series, found, horizon)
        times = intervals.wider(said, tried.sold, past)
        widths = np.where(past, times, 1.0)
        spread = intervals.learn(said, tried.sold, widths)
        ceiling = CEILING * float(np.nanmax(series.quantity)) * np.maximum(found.marketing[-horizon:], 1.0)
        now = np.where(closed, 0.0, np.minimum(now, ceiling))
        fan = intervals.fan(now, spread, np.where(ahead, times, 1.0))
        counts = whole(series.quantity)
        fan = np.where(closed, 0.0, np.minimum(intervals.counted(fan) if counts else fan, np.maximum(ceiling, now)))
        made = Forecast(series.key, start, now, dict(zip(QUANTILES, fan, strict=True)), name, reason, tuple(warnings))
        return Study(made, _backtest(series, said, tried.sold, widths, counts), found, said, tried.sold)


def _always(series: Series) -> bool:
    return True


def _after(series: Series, days: int) -> Days:
    """(origins, days ahead): what was sold after each origin at which models are tried."""
    length = len(series.quantity)
    return np.array([series.quantity[length - back * TRIAL_DAYS :][:days] for back in range(TRIALS, 0, -1)])


def _loss(said: Sequence[Forecast], sold: Days) -> float:
    """The mean pinball loss over origins, days and quantiles; NaN where nothing is known."""
    off = sold - np.array([[forecast.quantiles[level] for forecast in said] for level in QUANTILES])
    levels = np.array(QUANTILES)[:, None, None]
    pinball = np.maximum(levels * off, (levels - 1) * off)
    return float(np.nanmean(pinball)) if np.isfinite(pinball).any() else float("nan")


def _drawn_ratios(losses: Mapping[int, float], quick: Mapping[int, float], classes: Sequence[str]) -> dict[int, float]:
    """Each series' loss relative to the quick champion's, drawn towards the average of the products that sell alike.

    A few origins of one product are mostly luck: its own ratio counts as ``TRIALS`` origins, that of its class as ``WORTH``.
    """
    logs = {at: float(np.log(loss / quick[at])) for at, loss in losses.items() if loss > 0 and quick[at] > 0}
    by_class: dict[str, list[float]] = {}
    for at, log in logs.items():
        # It begins with as many that show no difference: one product proves little of its class.
        by_class.setdefault(classes[at], [0.0] * WORTH).append(log)
    common = {name: float(np.mean(of)) for name, of in by_class.items()}
    return {
        at: float(np.exp((TRIALS * log + WORTH * common[classes[at]]) / (TRIALS + WORTH))) for at, log in logs.items()
    }


def _trial_scores(said: Sequence[Forecast], sold: Days, series: Series) -> Scores:
    fans = np.array([[forecast.quantiles[level] for forecast in said] for level in QUANTILES])
    return scores(sold, np.array([forecast.mean for forecast in said]), fans, series.quantity)


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
    made = smoothing.trials(quantity, known, expected, horizon, found.noise)
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
    """The name, the reason, what it would have said at past origins and what it says today.

    Always the mixture: whatever one member was best for a product in the past was mostly luck (taking it where it was 15 % better made
    the errors of benchmarks/forecast.py 1 to 4 % larger), and mixtures keep what they promise (Makridakis et al. 2020, "The M4
    Competition", International Journal of Forecasting 36). The naive one is the yardstick and no part: it knows nothing of effects.
    """
    *errors, naive = tried.errors()
    parts = np.array(errors)
    if len(tried.sold) < FEWEST or not np.isfinite(parts).all():
        return (
            "smoothing",
            "the history is too short to compare models",
            tried.said[:-1].mean(axis=0),
            tried.now[:-1].mean(axis=0),
        )
    weights = (np.maximum(parts, 1e-9) / max(parts.min(), 1e-9)) ** -SHARPNESS
    weights /= weights.sum()
    said, now = np.tensordot(weights, tried.said[:-1], 1), weights @ tried.now[:-1]
    mixed = Trials(("mixture",), said[None], tried.sold, now[None]).errors()[0]
    reason = f"a mixture of {len(parts)} models, off by {mixed:.3g} a day on {len(tried.sold)} past weeks; seasonal naive {naive:.3g}"
    return "smoothing", reason, said, now


def _closed(quantity: Days, horizon: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The days ahead whose weekday was not known once in the last weeks while all others were mostly known: the shop is closed."""
    known = np.isfinite(by_weeks(quantity))[-2 * CLOSED_WEEKS :].sum(axis=0)
    shut = (known == 0) & (np.sort(known)[2] >= CLOSED_WEEKS)
    return np.resize(shut, horizon)


def _special(series: Series, found: Effects, horizon: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which days are special: (origins, days ahead) of the past, and those to come."""
    quantity = by_weeks(series.quantity).ravel()
    days = np.concatenate([np.zeros(len(quantity) - len(series.quantity), dtype=bool), found.special])
    weeks, _ = smoothing.origins(quantity, horizon)
    return days[smoothing.days_after(weeks, horizon)], days[-horizon:]


def _backtest(series: Series, said: Days, sold: Days, widths: Days, counts: bool) -> Scores | None:
    """How the chosen model did; its intervals are checked on the last origins, learned from those before."""
    if not np.isfinite(sold).any():
        return None
    late = slice(-min(HELD_OUT, len(sold) // 3) or None, None)
    early = intervals.learn(said[: late.start], sold[: late.start], widths[: late.start])
    told = zip(said[late], widths[late], strict=True)
    fans = np.stack([intervals.fan(point, early, width) for point, width in told], axis=1)
    return scores(sold[late], said[late], intervals.counted(fans) if counts else fans, series.quantity)
