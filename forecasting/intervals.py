"""How far off a forecast may be: quantiles of its own errors in the past, by how many days ahead it was made.

Split conformal prediction on the errors of rolling origins (Vovk et al. 2005; for time series Stankeviciute et al. 2021, NeurIPS):
the quantile of n errors is their (n + 1) q-th smallest. Errors are divided by the forecast to the power of ``POWER`` first, between
the square root that counts have and the proportion that large sales have, so that a Saturday's spread is a Saturday's.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from forecasting.series import QUANTILES, Days

POWER = 0.65
STRETCH = 1.04
"""How much farther from the median quantiles are taken than their name says: a model that was chosen by its past errors makes
somewhat larger ones afterwards."""
AHEAD = (7, 14, 28, 56)
"""Days ahead are taken together up to these."""
FEW = 12
"""With fewer errors the spread is that of negative binomial counts."""
UNSURE = 0.25
"""The variance of those is the mean plus this times its square."""

Fan = Days
"""(quantiles, days ahead), by ``QUANTILES``."""


def learn(said: Days, sold: Days) -> Fan:
    """Quantiles of the scaled errors at past origins: ``said`` and ``sold`` are (origins, days ahead), NaN where unknown.

    All NaN where there were too few errors.
    """
    horizon = said.shape[1]
    spread = np.full((len(QUANTILES), horizon), np.nan)
    levels = np.array(QUANTILES)
    levels = np.where(
        np.abs(levels - 0.5) < 0.45, 0.5 + (levels - 0.5) * STRETCH, 0.5 + (levels - 0.5) * (1 + (STRETCH - 1) / 4)
    )
    begin = 0
    for end in (*AHEAD, horizon):
        if begin >= horizon:
            break
        errors = ((sold - said) / scale(said))[:, begin:end]
        errors = errors[np.isfinite(errors)]
        if len(errors) >= FEW:
            spread[:, begin:end] = np.quantile(errors, levels, method="weibull")[:, None]
        elif begin:
            spread[:, begin:end] = spread[:, begin - 1 : begin]
        begin = end
    return spread


def fan(point: Days, spread: Fan) -> Fan:
    """The quantiles of each day about what is forecast for it: never decreasing, none below 0."""
    counts = np.array([NormalDist().inv_cdf(quantile) for quantile in QUANTILES])[:, None] * np.sqrt(
        point + UNSURE * point**2
    )
    quantiles = point + np.where(np.isfinite(spread), spread * scale(point), counts)
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
