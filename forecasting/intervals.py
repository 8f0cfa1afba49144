"""How far off a forecast may be: quantiles of its own errors in the past, by how many days ahead it was made.

Split conformal prediction on the errors of rolling origins (Vovk et al. 2005; for time series Stankeviciute et al. 2021, NeurIPS):
the quantile of n errors is their (n + 1) q-th smallest. Errors are divided by the forecast to the power of ``POWER`` first, between
the square root that counts have and the proportion that large sales have, so that a Saturday's spread is a Saturday's. Holidays and
promoted days are harder to forecast than others: their errors are brought to the size of the others' before, and their intervals back
to theirs, so that neither gets the other's width (locally weighted conformal prediction: Lei et al. 2018, JASA 113).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from forecasting.series import QUANTILES, Days

POWER = 0.65
STRETCH = 1.02
"""How much farther from the median quantiles are taken than their name says: a model that was chosen by its past errors makes
somewhat larger ones afterwards. Over 24 origins of each set of benchmarks/forecast.py intervals so widened hold 80 % on average."""
AHEAD = (7, 14, 28, 56)
"""Days ahead are taken together up to these."""
FEW = 12
"""With fewer errors the spread is that of negative binomial counts."""
UNSURE = 0.25
"""The variance of those is the mean plus this times its square."""

WIDER_SPREAD = 0.3
"""How far, as a logarithm, errors of special days usually are from those of others."""
UNEVEN = np.pi / 2 - 1
"""The relative variance of one absolute error, if errors are normal."""

Fan = Days
"""(quantiles, days ahead), by ``QUANTILES``."""


def wider(said: Days, sold: Days, special: npt.NDArray[np.bool_]) -> float:
    """How many times as far off forecasts of special days were: arguments as for ``learn``, origins a week apart.

    Drawn towards 1 by the number of such days, as effects are (``forecasting.effects``).
    """
    errors = np.abs(sold - said) / scale(said)
    known = np.isfinite(errors)
    of_special, of_others = errors[known & special], errors[known & ~special]
    if not (of_special.any() and of_others.any()):
        return 1.0
    days = len(of_special) / max(said.shape[1] / 7, 1.0)  # each is forecast at several origins
    kept = WIDER_SPREAD**2 / (WIDER_SPREAD**2 + UNEVEN / days)
    return float(np.exp(kept * np.log(of_special.mean() / of_others.mean())))


def learn(said: Days, sold: Days, width: Days | float = 1.0) -> Fan:
    """Quantiles of the scaled errors at past origins: ``said`` and ``sold`` are (origins, days ahead), NaN where unknown.

    ``width`` is how far off each of them usually is, compared to an ordinary day. All NaN where there were too few errors.
    """
    horizon = said.shape[1]
    spread = np.full((len(QUANTILES), horizon), np.nan)
    levels = np.array(QUANTILES)
    levels = np.where(
        np.abs(levels - 0.5) < 0.45, 0.5 + (levels - 0.5) * STRETCH, 0.5 + (levels - 0.5) * (1 + (STRETCH - 1) / 2)
    )
    begin = 0
    for end in (*AHEAD, horizon):
        if begin >= horizon:
            break
        errors = ((sold - said) / (scale(said) * width))[:, begin:end]
        errors = errors[np.isfinite(errors)]
        if len(errors) >= FEW:
            spread[:, begin:end] = np.quantile(errors, levels, method="weibull")[:, None]
        elif begin:
            spread[:, begin:end] = spread[:, begin - 1 : begin]
        begin = end
    return spread


def fan(point: Days, spread: Fan, width: Days | float = 1.0) -> Fan:
    """The quantiles of each day about what is forecast for it, ``width`` as for ``learn``: never decreasing, none below 0."""
    counts = np.array([NormalDist().inv_cdf(quantile) for quantile in QUANTILES])[:, None] * np.sqrt(
        point + UNSURE * point**2
    )
    quantiles = point + np.where(np.isfinite(spread), spread * scale(point) * width, counts)
    return np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=0)


def counted(quantiles: Fan) -> Fan:
    """The same for a product that sells in whole units: its median is the nearest whole number between its neighbours.

    The median of a count is a count, and half a unit matters where most days sell nothing: on M5 that takes 2 to 5 % off the error.
    The others stay between units, so that an interval holds on average what it says.
    """
    middle = len(QUANTILES) // 2
    made = quantiles.copy()
    made[middle] = np.clip(np.floor(quantiles[middle] + 0.5), quantiles[middle - 1], quantiles[middle + 1])
    return made


def scale(said: Days) -> Days:
    """What errors of forecasts of this size are divided by, to be compared with those of others."""
    return np.maximum(said, 1e-3) ** POWER
