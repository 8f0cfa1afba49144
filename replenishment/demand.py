"""From a forecast's quantiles to what rules need: the demand of some days with its spread, and courses that it may take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.series import Forecast

Array = npt.NDArray[np.float64]

#: Days of one article go up and down together: the correlation of the errors of two days in a row, 0.11 on Online Retail and 0.12 on
#: M5 (``python -m benchmarks.restocking FOLDER --correlation``). Of independent days a bad week would be too rare.
DAYS_ALIKE = 0.12
COURSES = 400
#: With a mean below so many units a day the steps between whole units matter.
SELDOM = 5.0
#: From the tenth to the ninetieth percentile of a normal distribution are so many standard deviations.
TENTHS_APART = 2.5631


@dataclass(frozen=True)
class Demand:
    """Expected units a day and their standard deviation, one number a day from the first forecast day on."""

    mean: Array
    sd: Array

    def over(self, days: float) -> tuple[float, float]:
        """Mean units a day of the first ``days`` (a part of a day counts in part), and the standard deviation of a day among
        them. Beyond the forecast its last week goes on.
        """
        days = max(days, 1e-9)
        whole = int(np.ceil(days))
        weights = np.ones(whole)
        weights[-1] = days - (whole - 1)
        mean, variance = (_prolonged(part, whole) for part in (self.mean, self.sd**2))
        return float(weights @ mean / days), float(np.sqrt(weights @ variance / days))


def demand_of(forecast: Forecast) -> Demand:
    """The forecast as mean and standard deviation by day.

    The standard deviation is that of a normal distribution with the same tenths, or, where quantiles of seldom sold articles
    are all zero, of a Poisson distribution with the same mean: it is never less than that.
    """
    spread = (forecast.quantiles[0.9] - forecast.quantiles[0.1]) / TENTHS_APART
    return Demand(np.maximum(forecast.mean, 0.0), np.maximum(spread, np.sqrt(np.maximum(forecast.mean, 0.0))))


def _prolonged(values: Array, days: int) -> Array:
    if days <= len(values):
        return values[:days]
    week = values[-min(7, len(values)) :]
    return np.concatenate([values, np.resize(week, days - len(values))])


@lru_cache(maxsize=16)
def _luck(days: int, courses: int, alike: float) -> tuple[Array, Array]:
    """Ranks (0 to 1) of each day's demand in each course, of shape (days, courses), and what rounds and places sales.

    The same for all articles and for ever, so that the same forecast gives the same answer.
    """
    from scipy.special import ndtr

    random = np.random.default_rng(20261121)
    # One normal deviate for the article, one for each day: any two days have the correlation ``alike``. Each is spread
    # evenly over its distribution, so that few courses have the right tails.
    common, own = _even(random, 1, courses), _even(random, days, courses)
    ranks = ndtr(np.sqrt(alike) * common + np.sqrt(1 - alike) * own)
    return ranks, (random.permuted(np.tile(np.arange(courses) + 0.5, (2 * days + 2, 1)), axis=1) / courses)


def _even(random: np.random.Generator, rows: int, courses: int) -> Array:
    from scipy.special import ndtri

    ranks = (np.arange(courses) + 0.5) / courses
    return np.asarray(ndtri(random.permuted(np.tile(ranks, (rows, 1)), axis=1)), dtype=np.float64)


@dataclass(frozen=True)
class Courses:
    """Courses that the demand of some days may take, each as likely as any other.

    ``totals`` has the units of each day, of shape (days, courses); ``placed`` a number from 0 to 1 for each, from which follows
    when in the day they are sold.
    """

    totals: Array
    placed: Array


def courses_of(
    forecast: Forecast,
    days: int,
    *,
    first_share: float = 1.0,
    whole_units: bool = True,
    courses: int = COURSES,
    alike: float = DAYS_ALIKE,
) -> Courses:
    """Courses of the demand of the forecast's first days.

    Between two quantiles a day's demand is taken as evenly spread, beyond the outermost as going on at the slope before them,
    never below 0; of seldom sold articles it is then given the mean of the forecast, which steps between whole units, and quantiles
    that are nearly all zero, would lose.

    Args:
        forecast: of at least one day; its last week goes on beyond it.
        days: how many days.
        first_share: the share of the first day's sales that is still to come.
        whole_units: the article is sold by the piece, not by weight.
        courses: how many.
        alike: correlation of two days of one article.
    """
    ranks, rest = _luck(days, courses, alike)
    levels = np.array(sorted(forecast.quantiles))
    values = np.stack([_prolonged(np.asarray(forecast.quantiles[level]), days) for level in levels])
    means = _prolonged(np.asarray(forecast.mean), days)
    totals = np.stack([_at_ranks(levels, values[:, day], ranks[day], float(means[day])) for day in range(days)])
    if first_share < 1:
        # Of a day's sales each is still to come or not by itself: a binomial share of them, as a normal deviate.
        deviates = _even(np.random.default_rng(7), 1, courses)[0]
        share = max(0.0, first_share)
        left = totals[0] * share + deviates * np.sqrt(totals[0] * share * (1 - share))
        totals[0] = np.clip(left, 0.0, totals[0])
    if whole_units:
        # Rounded up as often as the fraction says: 0.4 units are one unit in four courses of ten.
        totals = np.floor(totals + rest[:days])
    return Courses(totals, rest[days : 2 * days])


def _at_ranks(levels: Array, values: Array, ranks: Array, mean: float) -> Array:
    """A day's demand at these ranks of its distribution."""
    # Half-way between the outermost level and certainty, twice the step between the last two levels at most.
    low = max(0.0, values[0] - (values[1] - values[0]) * levels[0] / (levels[1] - levels[0]))
    slope = (values[-1] - values[-2]) / (levels[-1] - levels[-2])
    high = values[-1] + 2 * slope * (1 - levels[-1])
    spots = np.concatenate([[0.0], levels, [1.0]])
    found = np.asarray(np.interp(ranks, spots, np.concatenate([[low], values, [high]])))
    if 0 < mean < found.mean() and mean < SELDOM:
        # Quantiles of whole units are steps; what lies evenly between them is more than was meant.
        return np.asarray(found * (mean / found.mean()))
    short = mean - float(found.mean())
    if short > 0 and found.mean() < 0.5:
        # What the quantiles do not show of a seldom sold article is in its tail: single sales, as often as the mean needs.
        return np.asarray(found + np.where(ranks > 1 - min(1.0, short), max(1.0, short), 0.0))
    return found
