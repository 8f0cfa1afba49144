"""The forecast that every other one has to beat: a day sells what the same weekday sold last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import NormalDist

import numpy as np

from forecasting.series import QUANTILES, Days, Forecast, Series

WEEK = 7
FEW_ERRORS = 12
"""With fewer errors than this the spread is that of a Poisson count, which needs only the mean."""


class SeasonalNaive:
    """The last known sale of each weekday, repeated; its quantiles are those of the errors that this made k weeks ahead.

    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2. Days whose demand is not known are
    passed over: the weekday's last known one counts.
    """

    name = "seasonal-naive"

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order; zeros, with a warning, where nothing was ever known."""
        return [self._one(one, horizon) for one in series]

    def _one(self, series: Series, horizon: int) -> Forecast:
        start = series.end + timedelta(days=1)
        known = np.isfinite(series.quantity)
        if not known.any():
            nothing = np.zeros(horizon)
            warning = ("no day of this product's demand is known",)
            return Forecast(series.key, start, nothing, dict.fromkeys(QUANTILES, nothing), self.name, warnings=warning)
        weeks = by_weeks(series.quantity)
        level = np.nanmean(series.quantity)
        last = last_known(weeks)[-1]
        last = np.where(np.isfinite(last), last, level)
        point = np.resize(last, horizon)
        quantiles = np.empty((len(QUANTILES), horizon))
        for ahead in range(1, -(-horizon // WEEK) + 1):
            days = slice((ahead - 1) * WEEK, ahead * WEEK)
            errors = errors_at(weeks, ahead)
            if len(errors) < FEW_ERRORS and ahead > 1:
                quantiles[:, days] = quantiles[:, days.start - WEEK : days.start][:, : point[days].size]
            elif len(errors) < FEW_ERRORS:
                quantiles[:, days] = [poisson(q, point[days]) for q in QUANTILES]
            else:
                quantiles[:, days] = point[days] + np.quantile(errors, QUANTILES, method="weibull")[:, None]
        quantiles = np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=0)
        reason = "the last known sale of the same weekday"
        return Forecast(series.key, start, point, dict(zip(QUANTILES, quantiles, strict=True)), self.name, reason)


def by_weeks(quantity: Days) -> Days:
    """A row for each 7 days, the last row ending on the last day; days before the first are NaN."""
    missing = -len(quantity) % WEEK
    return np.concatenate([np.full(missing, np.nan), quantity]).reshape(-1, WEEK)


def last_known(weeks: Days) -> Days:
    """For each week and weekday the newest known value up to then, NaN where there was none yet."""
    newest = np.where(np.isfinite(weeks), np.arange(len(weeks))[:, None], -1)
    newest = np.maximum.accumulate(newest, axis=0)
    values = np.take_along_axis(weeks, np.maximum(newest, 0), axis=0)
    return np.where(newest >= 0, values, np.nan)


def errors_at(weeks: Days, ahead: int) -> Days:
    """What was sold less what the naive forecast ``ahead`` weeks before had said, wherever both are known."""
    errors = (weeks[ahead:] - last_known(weeks)[:-ahead]).ravel() if ahead < len(weeks) else np.empty(0)
    return errors[np.isfinite(errors)]


def poisson(quantile: float, mean: Days) -> Days:
    """A quantile of Poisson counts, by their normal approximation with its skew (Cornish-Fisher); 0 at the least."""
    z = NormalDist().inv_cdf(quantile)
    return np.maximum(mean + z * np.sqrt(mean) + (z * z - 1) / 6, 0.0)
