"""Prophet behind our interface (extra ``training``): trend, weekday, year and holidays by a Bayesian curve, seconds a series."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from forecasting.series import QUANTILES, Days, Forecast, Series

CEILING = 3.0
SAMPLES = 300
FEWEST = 14
YEAR = 365


class Prophet:
    """Prophet with the series' holidays by name, its promotions and prices as regressors, and unknown days left out.

    Quantiles are those of its predictive samples. Source: Taylor & Letham 2018, "Forecasting at scale", The American Statistician 72.
    Raises ModuleNotFoundError without the extra ``training``.
    """

    name = "prophet"

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order; the same for the same series."""
        return [self._one(one, horizon) for one in series]

    def _one(self, series: Series, horizon: int) -> Forecast:
        import pandas as pd
        from prophet import Prophet as Model

        for noisy in ("prophet", "cmdstanpy"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        start = series.end + timedelta(days=1)
        length = len(series.quantity) + horizon
        known = np.isfinite(series.quantity)
        if known.sum() < FEWEST or not series.quantity[known].any():
            mean = np.full(horizon, series.quantity[known].mean() if known.any() else 0.0)
            return Forecast(
                series.key, start, mean, dict.fromkeys(QUANTILES, mean), self.name, "history too short for Prophet"
            )
        frame = pd.DataFrame({"ds": pd.date_range(series.start, periods=length)})
        frame["y"] = np.append(series.quantity, np.full(horizon, np.nan))
        model = Model(
            holidays=_holidays(series, length),
            seasonality_mode="multiplicative",
            yearly_seasonality=len(series.quantity) >= 2 * YEAR,
            uncertainty_samples=SAMPLES,
        )
        for name, values in (("promotion", series.promotion), ("price", series.price)):
            if values is not None and np.nanstd(values[: len(series.quantity)]) > 0:
                frame[name] = _carried(values, length)
                model.add_regressor(name)
        np.random.seed(0)  # Prophet draws from NumPy's global state
        model.fit(frame[frame["y"].notna()], seed=0)
        ahead = frame.tail(horizon)
        drawn = model.predictive_samples(ahead)["yhat"]
        highest = CEILING * float(series.quantity[known].max())
        mean = np.clip(model.predict(ahead)["yhat"].to_numpy(), 0, highest)
        fan = np.clip(np.quantile(drawn, QUANTILES, axis=1), 0, highest)
        return Forecast(
            series.key, start, mean, dict(zip(QUANTILES, fan, strict=True)), self.name, "Prophet, multiplicative"
        )


def _holidays(series: Series, length: int) -> object:
    """Prophet's table of holidays, by name where they have one; None without any."""
    import pandas as pd

    days = dict(series.holiday_names)
    if series.holiday is not None:
        for at in np.flatnonzero(series.holiday[:length] > 0).tolist():
            days.setdefault(series.start + timedelta(days=at), "holiday")
    days = {day: name for day, name in days.items() if series.start <= day < series.start + timedelta(days=length)}
    if not days:
        return None
    return pd.DataFrame({"ds": pd.to_datetime(list(days)), "holiday": list(days.values())})


def _carried(values: Days, length: int) -> Days:
    """Values up to ``length``: unknown ones and those to come are as the last known."""
    padded = np.append(values, np.full(max(length - len(values), 0), np.nan))[:length]
    at = np.maximum.accumulate(np.where(np.isfinite(padded), np.arange(length), -1))
    first = padded[np.isfinite(padded)][0]
    return np.where(at >= 0, padded[np.maximum(at, 0)], first)
