"""Whether published forecasts still do as well as their backtests said: the test, without I/O.

Each night the last seven days are held against the forecast that was made just before them, which is how the windows of a backtest
were made too. See docs/forecast_service.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.series import Days

WINDOW = 7
"""Days of a look, and of each window of the nightly backtest."""
WINDOWS = 13
"""Windows of the backtest that make its range: a quarter of a year."""
LEAST_DAYS = 5
"""Days of the window whose sales must be known."""
LEAST_WINDOWS = 4
"""Windows that a backtest needs before anything is said to leave its range."""
LEVEL = 0.01
"""How often chance may raise an alarm: of a shop's articles together in one night, and of the shop as a whole."""


@dataclass(frozen=True)
class Live:
    """What was forecast for the days of the window, and what was sold; NaN where that is not known.

    ``backtest`` is the mean absolute error of each window of the backtest, the oldest first, and ``scale`` the one of "as a week ago",
    as the forecast had them when it was made.
    """

    mean: Days
    low: Days
    high: Days
    sold: Days
    backtest: tuple[float, ...]
    scale: float


@dataclass(frozen=True)
class Accuracy:
    """How a forecast did.

    ``error`` is the mean absolute error of ``days`` days, ``usual`` the mean of the backtest's windows and ``highest`` the end of their
    range, all units a day. ``outside`` counts days beyond the 95 % interval; ``chance`` is the probability of as many or more.
    ``bias`` is predicted less sold, units a day.
    """

    days: int
    error: float
    usual: float
    highest: float
    scale: float
    bias: float
    outside: int
    chance: float
    drifts: bool


def of_product(live: Live, products: int, was_drifting: bool) -> Accuracy | None:
    """How the forecast of one article did; None while too little is known.

    It drifts when its error is larger than in every window of the backtest, and so many days lie outside the 95 % interval that
    chance would do it to any of the shop's ``products`` articles in less than one of a hundred nights (binomial test, Bonferroni's
    correction). It drifts no more once the error is back in the range.
    """
    known = np.isfinite(live.sold)
    days = int(known.sum())
    if days < LEAST_DAYS or len(live.backtest) < LEAST_WINDOWS:
        return None
    sold, mean = live.sold[known], live.mean[known]
    error = float(np.abs(sold - mean).mean())
    outside = int(((sold < live.low[known]) | (sold > live.high[known])).sum())
    chance = at_least(outside, days, 0.05)
    highest = max(live.backtest)
    return Accuracy(
        days=days,
        error=error,
        usual=float(np.mean(live.backtest)),
        highest=highest,
        scale=live.scale,
        bias=float((mean - sold).mean()),
        outside=outside,
        chance=chance,
        drifts=error > highest and (was_drifting or chance < LEVEL / max(products, 1)),
    )


def of_shop(products: Mapping[str, Live], accuracies: Mapping[str, Accuracy], was_drifting: bool) -> Accuracy | None:
    """How the forecasts of a shop's articles did together; None while too few windows are known.

    Errors are added up over the articles, in the window and in each window of the backtest. It drifts when the sum lies above what a
    further window would stay below with a probability of 99 % (prediction interval of a normal sample, Hahn & Meeker, Statistical
    Intervals, 4.7; one-sided). It drifts no more once it is below the largest of the backtest's windows.
    """
    alike = {sku: products[sku] for sku in accuracies}
    windows = min((len(live.backtest) for live in alike.values()), default=0)
    if windows < LEAST_WINDOWS:
        return None
    past = np.sum([live.backtest[-windows:] for live in alike.values()], axis=0)
    error = sum(one.error for one in accuracies.values())
    limit = upper_bound(past)
    days = sum(one.days for one in accuracies.values())
    outside = sum(one.outside for one in accuracies.values())
    return Accuracy(
        days=max(one.days for one in accuracies.values()),
        error=float(error),
        usual=float(past.mean()),
        highest=limit,
        scale=sum(one.scale for one in accuracies.values()),
        bias=sum(one.bias for one in accuracies.values()),
        outside=outside,
        chance=at_least(outside, days, 0.05),
        drifts=bool(error > (past.max() if was_drifting else limit)),
    )


def upper_bound(values: Sequence[float] | Days, level: float = LEVEL) -> float:
    """What one more value of a normal sample exceeds with this probability."""
    from scipy.special import stdtrit

    sample = np.asarray(values, dtype=float)
    count = len(sample)
    return float(sample.mean() + stdtrit(count - 1, 1 - level) * sample.std(ddof=1) * math.sqrt(1 + 1 / count))


def at_least(hits: int, trials: int, share: float) -> float:
    """The probability of so many hits or more, each having the probability ``share``."""
    return (
        sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits, trials + 1))
        if hits
        else 1.0
    )
