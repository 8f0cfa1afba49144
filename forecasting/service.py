"""One question about demand, answered whole: forecast, effects, backtest, and how sure it is.

What ``POST /api/v1/predict`` and the nightly job share. A question holds whole days (``forecasting.history``, ``forecasting.sales``);
the champion answers it, or any other ``Forecaster``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from statistics import NormalDist

import numpy as np

from forecasting import effects, intervals
from forecasting.backtest import Scores, scores
from forecasting.champion import Champion
from forecasting.effects import Effect
from forecasting.series import Days, Forecast, Forecaster, Series, whole

LONGEST_HORIZON = 90
WEEK = 7
WINDOWS = 8
"""Windows of the backtest of a model that brings none of its own."""
LONGEST_WINDOW = 28
LEAST_HISTORY = 28
"""Days that must lie before a window."""
TOLERANCE = 0.2
"""A total is hit when it is within this share of what was predicted, or within one unit."""
ALIKE = 0.1
"""Correlation that is assumed between the errors of the days of one forecast, where the backtest does not tell: the average product
of M5, Favorita and Online Retail has 0.07 to 0.19."""
PRIOR_WINDOWS = 12
"""How many windows of the backtest the days' own spread counts for in the confidence score: a share of so many windows is itself
uncertain by 0.14."""
MEDIAN_ERROR = NormalDist().inv_cdf(0.75)
"""The median absolute error of a normal distribution, in standard deviations."""
NEAR = 1.1
"""A price is beyond those of the history if it is so many times the highest, or below the lowest by as much."""
TINY = 1e-9
LARGE = 10_000
"""Totals above are taken as normal: what a count has beside that is nothing to 20 % of them."""


@dataclass(frozen=True)
class Question:
    """What is asked of one product.

    ``season`` is what the asker calls the days to come ("peak", "off-peak", or nothing). ``promotion`` says whether they are promoted;
    None: as often as the last eight weeks were. ``price`` is that of a unit on them; None: what the series has of them, or else its last
    one. ``warnings`` are those of the making of the series.
    """

    series: Series
    horizon: int
    season: str = ""
    promotion: bool | None = None
    price: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backtest:
    """How the same model did on this product's own past: windows, each forecast from the days before it only.

    ``said`` and ``sold`` have a row a window, the oldest first, and a column a day ahead; ``sold`` is NaN where that is not known.
    Windows begin ``apart`` days after each other, so they may overlap. ``scale`` is the mean absolute error of "as a week ago" on the
    history: an error over it is a MASE (Hyndman & Koehler 2006).
    """

    said: Days
    sold: Days
    scale: float
    coverage_80: float | None
    coverage_95: float | None
    apart: int = WEEK

    @property
    def days(self) -> int:
        """Days of a window."""
        return int(self.sold.shape[1])

    @cached_property
    def _known(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.isfinite(self.sold)

    def errors(self, days: int | None = None) -> list[float]:
        """The mean absolute error of each window, or of its first days, units a day; windows of which less than half is known are
        left out.
        """
        known = self._known[:, :days]
        off = np.where(known, np.abs(self.said - self.sold)[:, :days], 0.0)
        enough = known.sum(1) * 2 >= known.shape[1]
        return [float(one) for one in off[enough].sum(1) / known[enough].sum(1)]

    @cached_property
    def mae(self) -> float:
        """Mean absolute error, units a day."""
        return float(np.abs(self.said - self.sold)[self._known].mean())

    @property
    def mase(self) -> float | None:
        """Mean absolute error over that of "as a week ago"; below 1 is better than that. None if that made no error."""
        return self.mae / self.scale if self.scale > 0 else None

    @cached_property
    def _total_sold(self) -> float:
        return float(self.sold[self._known].sum())

    @property
    def wape(self) -> float | None:
        """Absolute errors over units sold; None if nothing was sold."""
        return self.mae * int(self._known.sum()) / self._total_sold if self._total_sold > 0 else None

    @property
    def bias(self) -> float | None:
        """Predicted less sold, over sold; above 0 the model predicts too much. None if nothing was sold."""
        return float((self.said - self.sold)[self._known].sum()) / self._total_sold if self._total_sold > 0 else None

    def misses(self, total: float) -> Days:
        """How far off the total of each window was, in units, as such an error would be of a forecast of ``total``.

        Errors are carried over by ``intervals.scale``. Both over the days that are known, in windows of which half or more is.
        """
        enough = self._known.sum(1) * 2 >= self._known.shape[1]
        said = np.where(self._known, self.said, 0.0)[enough].sum(1)
        sold = np.where(self._known, self.sold, 0.0)[enough].sum(1)
        return np.asarray(np.abs(said - sold) * intervals.scale(np.array(total)) / intervals.scale(said))


@dataclass(frozen=True)
class Moved:
    """An effect on the days to come: by how many units it changes their total."""

    effect: Effect
    units: float


@dataclass(frozen=True)
class Answer:
    """A forecast with all that was asked for beside it."""

    forecast: Forecast
    moved: tuple[Moved, ...]
    backtest: Backtest | None
    warnings: tuple[str, ...]
    history_end: date
    """The last day that it knows."""
    history_days: int
    """Days of history whose demand is known."""
    version: str = ""
    """Of the trained model that made it."""

    whole: bool = False
    """Whether it is sold in whole units only."""

    @cached_property
    def confidence(self) -> float:
        """The probability, 0 to 1, that the total sold will be within 20 % (or one unit) of the predicted total.

        It is the share of the backtest's windows whose error, carried over to this total, was so small; and, drawn in as
        ``PRIOR_WINDOWS`` more, what a distribution says whose spread is the windows' and, as far as they are few, the days' own.
        Windows that overlap count for less: so many as would lie side by side.
        """
        total = float(self.forecast.mean.sum())
        tolerance = max(TOLERANCE * total, 1.0)
        variance = _variance(self.forecast)
        if self.backtest is None:
            return _within(tolerance, total, variance, self.whole)
        misses = self.backtest.misses(total)
        windows = len(misses) * min(1.0, self.backtest.apart / self.backtest.days)
        usual = (float(np.median(misses)) / MEDIAN_ERROR) ** 2
        variance = (windows * usual + PRIOR_WINDOWS * variance) / (windows + PRIOR_WINDOWS)
        by_spread = _within(tolerance, total, variance, self.whole)
        hits = windows * float((misses <= tolerance).mean())
        return (hits + PRIOR_WINDOWS * by_spread) / (windows + PRIOR_WINDOWS)


def answer(questions: Sequence[Question], model: Forecaster) -> list[Answer]:
    """Answers in the order of the questions."""
    by_horizon: defaultdict[int, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        by_horizon[question.horizon].append(number)
    found: dict[int, Answer] = {}
    for horizon, numbers in by_horizon.items():
        asked = [questions[number] for number in numbers]
        made = _by_champion(asked, model, horizon) if isinstance(model, Champion) else _by_any(asked, model, horizon)
        found.update(zip(numbers, made, strict=True))
    return [found[number] for number in range(len(questions))]


def _by_champion(questions: Sequence[Question], model: Champion, horizon: int) -> list[Answer]:
    """The champion brings its backtest and takes effects into account by itself."""
    planned = [_planned(one, horizon) for one in questions]
    answers = []
    for question, series, study in zip(questions, planned, model.study(planned, horizon), strict=True):
        promotion, forecast = study.effects.promotion, study.forecast
        backtest = None
        if study.backtest is not None and study.said is not None and study.sold is not None:
            backtest = _backtest(question.series, study.said, study.sold, study.backtest, study.apart)
        promoted = _promoted(question, horizon)
        if promoted is None and promotion.shown:
            # Nobody says what is planned: as often as lately.
            usual = _usual_share(question.series)
            forecast = _times(forecast, 1 + usual * (promotion.factor - 1))
            moved = float(forecast.mean.sum()) * (1 - 1 / (1 + usual * (promotion.factor - 1)))
        else:
            on = np.zeros(horizon, dtype=bool) if promoted is None else promoted
            moved = float(forecast.mean[on].sum()) * (1 - 1 / promotion.factor)
        changes = [Moved(promotion, moved)]
        if prices := _prices(series):
            total, found = float(forecast.mean.sum()), study.effects.price
            before = float((forecast.mean / study.effects.by_price[-horizon:]).sum())
            why = f"by an elasticity of {found.factor:g}, from {found.days} days at another price"
            changes.append(_priced(prices, total, before, found.days, found.shown, why if found.shown else found.note))
        answers.append(_answer(question, forecast, changes, backtest))
    return answers


def _by_any(questions: Sequence[Question], model: Forecaster, horizon: int) -> list[Answer]:
    """Any model: what a promotion or a price does is seen by asking with it and without; its backtest is made here."""
    planned = [_planned(one, horizon) for one in questions]
    forecasts = model.forecast(planned, horizon)
    totals = [float(one.mean.sum()) for one in forecasts]
    promoted = {
        number for number, one in enumerate(questions) if (on := _promoted(one, horizon)) is not None and on.any()
    }
    unpromoted = _totals(model, {number: _without_promotion(planned[number]) for number in promoted}, horizon)
    prices = {number: found for number, one in enumerate(planned) if (found := _prices(one))}
    unpriced = _totals(model, {number: _without_price(planned[number]) for number in prices}, horizon)
    window = min(horizon, LONGEST_WINDOW)
    cuts = [(number, cut) for number, one in enumerate(questions) for cut in _cuts(one.series, window)]
    past: defaultdict[int, list[Forecast]] = defaultdict(list)
    for (number, _), said in zip(cuts, model.forecast([cut for _, cut in cuts], window) if cuts else (), strict=True):
        past[number].append(said)
    answers = []
    for number, (question, forecast, total) in enumerate(zip(questions, forecasts, totals, strict=True)):
        why = f"as {model.name} has learned"
        before = unpromoted.get(number, total)
        factor = total / before if before > 0 else 1.0
        shown = abs(factor - 1) > 0.005
        days = 0 if question.series.promotion is None else int((question.series.promotion > 0).sum())
        note = f"a promotion: {effects.percent(factor)}, {why}" if shown else "a promotion changes nothing here"
        changes = [Moved(Effect("promotion", factor if shown else 1.0, days, shown, note), total - before)]
        if number in prices:
            before = unpriced[number]
            shown = abs(total - before) > 0.005 * before
            days = _days_at_another_price(question.series)
            changes.append(
                _priced(prices[number], total, before, days, shown, why if shown else "a price changes nothing here")
            )
        answers.append(_answer(question, forecast, changes, _rolled(question.series, past[number])))
    return answers


def _totals(model: Forecaster, series: Mapping[int, Series], horizon: int) -> dict[int, float]:
    """What the model says of each in all."""
    made = model.forecast(list(series.values()), horizon) if series else []
    return {number: float(one.mean.sum()) for number, one in zip(series, made, strict=True)}


def _priced(prices: tuple[float, float], total: float, before: float, days: int, shown: bool, why: str) -> Moved:
    """What planned prices change: their mean and the last one of the history, the total with them and without."""
    factor = total / before if shown and before > 0 else 1.0
    note = f"a price of {prices[0]:g} after {prices[1]:g}: {effects.percent(factor)}, {why}" if shown else why
    return Moved(Effect("price", factor, days, shown, note), total - before if shown else 0.0)


def _answer(question: Question, forecast: Forecast, found: Sequence[Moved], backtest: Backtest | None) -> Answer:
    series = question.series
    warnings = [*question.warnings, *forecast.warnings]
    said = {"promotion": question.promotion is not None, "price": True}
    changes = [one for one in found if one.effect.shown or said[one.effect.name]]
    for one in changes:
        warnings += _cautions(question, one.effect)
    if question.season:
        season = effects.season(series, question.season)
        forecast = _times(forecast, season.factor)
        # What was moved before is moved with the rest.
        changes = [Moved(one.effect, one.units * season.factor) for one in changes]
        changes.append(Moved(season, float(forecast.mean.sum()) * (1 - 1 / season.factor)))
        if not season.shown:
            warnings.append(season.note)
    if backtest is None:
        warnings.append("no backtest: the history is too short for one")
    known = int(np.isfinite(series.quantity).sum())
    return Answer(
        forecast,
        tuple(changes),
        backtest,
        tuple(dict.fromkeys(warnings)),
        series.end,
        known,
        whole=whole(series.quantity),
    )


def _cautions(question: Question, effect: Effect) -> list[str]:
    """What to know before relying on an effect of what is planned."""
    if effect.name == "promotion":
        return [f"promotion_active changes nothing: {effect.note}"] if question.promotion and not effect.shown else []
    if not effect.shown:
        return [f"price changes nothing: {effect.note}"]
    seen, price = _range(question.series), question.price
    if seen is None or price is None or seen[0] / NEAR <= price <= seen[1] * NEAR:
        return []
    return [
        f"the price {price:g} lies beyond those of the history ({seen[0]:g} to {seen[1]:g}): what it does is a guess"
    ]


def scale_of(series: Series) -> float:
    """Mean absolute difference of each known day and the day a week before it, units; 0 where there is no such pair."""
    if len(series.quantity) <= WEEK:
        return 0.0
    differences = np.abs(series.quantity[WEEK:] - series.quantity[:-WEEK])
    known = differences[np.isfinite(differences)]
    return float(known.mean()) if known.size else 0.0


def _promoted(question: Question, horizon: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
    """Which of the days to come are promoted; None if nobody says."""
    if question.promotion is not None:
        return np.full(horizon, question.promotion)
    promotion, length = question.series.promotion, len(question.series.quantity)
    if promotion is None or len(promotion) <= length:
        return None
    planned = np.zeros(horizon, dtype=bool)
    planned[: len(promotion) - length] = promotion[length : length + horizon] > 0
    return planned


def _planned(question: Question, horizon: int) -> Series:
    """The series with what is planned for the days to come."""
    series, promoted = question.series, _promoted(question, horizon)
    length = len(series.quantity)
    if promoted is not None:
        past = np.zeros(length) if series.promotion is None else series.promotion[:length]
        series = replace(series, promotion=np.concatenate([past, promoted.astype(float)]))
    if question.price is not None:
        known = np.full(length, np.nan)
        if series.price is not None:
            known[: len(series.price)] = series.price[:length]
        series = replace(series, price=np.concatenate([known, np.full(horizon, question.price)]))
    return series


def _prices(series: Series) -> tuple[float, float] | None:
    """The mean of the prices that are planned, and the last one of the history (NaN without one); None if none is planned."""
    if series.price is None or not np.isfinite(ahead := series.price[len(series.quantity) :]).any():
        return None
    past = series.price[: len(series.quantity)]
    known = past[np.isfinite(past)]
    return float(np.nanmean(ahead)), float(known[-1]) if known.size else float("nan")


def _range(series: Series) -> tuple[float, float] | None:
    """The lowest and the highest price of the history."""
    if series.price is None or not np.isfinite(past := series.price[: len(series.quantity)]).any():
        return None
    return float(np.nanmin(past)), float(np.nanmax(past))


def _days_at_another_price(series: Series) -> int:
    """Days of the history at another price than its last one."""
    if series.price is None:
        return 0
    past = series.price[: len(series.quantity)]
    known = past[np.isfinite(past)]
    return int((known != known[-1]).sum()) if known.size else 0


def _without_promotion(series: Series) -> Series:
    """The series with no promotion in the days to come."""
    assert series.promotion is not None  # it was planned
    promotion = series.promotion.copy()
    promotion[len(series.quantity) :] = 0.0
    return replace(series, promotion=promotion)


def _without_price(series: Series) -> Series:
    """The series with its last price in the days to come."""
    assert series.price is not None  # it was planned
    return replace(series, price=series.price[: len(series.quantity)])


def _usual_share(series: Series) -> float:
    return 0.0 if series.promotion is None else float((series.promotion[-8 * WEEK :] > 0).mean())


def _times(forecast: Forecast, factor: float) -> Forecast:
    quantiles = {level: values * factor for level, values in forecast.quantiles.items()}
    return replace(forecast, mean=forecast.mean * factor, quantiles=quantiles)


def _cuts(series: Series, window: int) -> list[Series]:
    """The series as it was before each window of the backtest, the oldest first. Later prices were not known then."""
    found = []
    for number in range(WINDOWS, 0, -1):
        kept = len(series.quantity) - number * window
        if kept >= LEAST_HISTORY and np.isfinite(series.quantity[:kept]).any():
            price = None if series.price is None else series.price[:kept]
            found.append(replace(series, quantity=series.quantity[:kept], price=price))
    return found


def _rolled(series: Series, past: Sequence[Forecast]) -> Backtest | None:
    if not past:
        return None
    window = len(past[0].mean)
    places = [(one.start - series.start).days for one in past]
    sold = np.stack([series.quantity[at : at + window] for at in places])
    said = np.stack([one.mean for one in past])
    fans = np.stack([[one.quantiles[level] for level in sorted(one.quantiles)] for one in past], axis=1)
    return _backtest(series, said, sold, scores(sold, said, fans, series.quantity), window)


def _backtest(series: Series, said: Days, sold: Days, judged: Scores, apart: int) -> Backtest | None:
    """None if no window is known well enough to say anything."""
    low, high = (None if np.isnan(share) else share for share in (judged.coverage_80, judged.coverage_95))
    made = Backtest(said, sold, scale_of(series), low, high, apart)
    return made if made.errors() else None


def _variance(forecast: Forecast) -> float:
    """Of the total, by the days' 80 % intervals, taken as normal."""
    spread = (forecast.quantiles[0.9] - forecast.quantiles[0.1]) / (2 * NormalDist().inv_cdf(0.9))
    return float(ALIKE * spread.sum() ** 2 + (1 - ALIKE) * np.square(spread).sum())


def _within(tolerance: float, total: float, variance: float, whole: bool) -> float:
    """The probability that what is sold is within the tolerance of ``total``, which is its mean.

    A count is taken as negative binomial (as Poisson if it varies less than that), since two units more or less decide where few are
    sold; other quantities, and large counts, as normal.
    """
    if total <= 0:
        return 1.0
    if not whole or total > LARGE:
        return 1.0 if variance <= 0 else 2 * NormalDist().cdf(tolerance / float(np.sqrt(variance))) - 1
    from scipy.special import betainc, pdtr

    bounds = np.array([np.ceil(total - tolerance - TINY) - 1, np.floor(total + tolerance + TINY)])
    if variance <= total * (1 + TINY):
        below = pdtr(bounds, total)
    else:
        size = total**2 / (variance - total)
        below = betainc(size, np.maximum(bounds, 0) + 1, size / (size + total))
    return float(np.diff(np.where(bounds < 0, 0.0, below))[0])
