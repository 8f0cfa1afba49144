"""Forecasts whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from scipy.stats import poisson

from forecasting.series import QUANTILES, Forecast


def poisson_days(means: Sequence[float]) -> Forecast:
    """Days whose demand is Poisson distributed."""
    return Forecast(
        "shop/sku",
        date(2026, 3, 2),
        np.array(means, dtype=float),
        {level: poisson.ppf(level, means).clip(0) for level in QUANTILES},
        "poisson",
    )
