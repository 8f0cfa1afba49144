"""How good forecasts of the days held out were: the measures of ``forecasting.backtest`` as sums a series, so that executors judge
their series apart and the figures of all follow. No I/O.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecasting.days import cut
from forecasting.series import QUANTILES, Forecast, Forecaster, Series

WEEK = 7


@dataclass(frozen=True)
class Judged:
    """One forecaster on one series, over the days of the held-out window whose demand is known."""

    key: str
    model: str
    days: int
    sold: float
    """Units sold on those days."""
    forecast: float
    """Units that were expected."""
    absolute: float
    """Sum of the absolute errors of the median."""
    scale: float
    """Mean absolute error of the same weekday a week before, on the days before the window; NaN if that is 0 or not known."""
    pinball: float
    """Sum of the pinball losses of all quantiles, divided by their number."""
    within: int
    """Days inside the 80 % interval."""

    @property
    def mase(self) -> float:
        """Mean absolute scaled error: 1 is as good as a week ago was on the history."""
        return self.absolute / self.days / self.scale if self.days else float("nan")


#: Judged as Spark has it.
SCHEMA = "key string, model string, days long, sold double, forecast double, absolute double, scale double, pinball double, within long"


def judge(series: Sequence[Series], forecasters: Sequence[Forecaster], days: int) -> list[Judged]:
    """What each forecaster, given each series without its last ``days`` days, said of them."""
    earlier = [cut(one, days) for one in series]
    found = []
    for forecaster in forecasters:
        for whole, before, forecast in zip(series, earlier, forecaster.forecast(earlier, days), strict=True):
            found.append(judged(forecaster.name, whole.quantity[-days:], before, forecast))
    return found


def judged(model: str, sold: np.ndarray[Any, np.dtype[np.float64]], before: Series, forecast: Forecast) -> Judged:
    """One forecast beside what was sold; days that are not known count for nothing."""
    known = np.isfinite(sold)
    actual = sold[known]
    of = {level: np.asarray(forecast.quantiles[level])[known] for level in QUANTILES}
    pinball = sum(
        np.maximum(level * (actual - said), (level - 1) * (actual - said)).sum() for level, said in of.items()
    )
    weekly = np.abs(before.quantity[WEEK:] - before.quantity[:-WEEK])
    scale = float(np.nanmean(weekly)) if np.isfinite(weekly).any() else float("nan")
    return Judged(
        key=before.key,
        model=model,
        days=int(known.sum()),
        sold=float(actual.sum()),
        forecast=float(np.asarray(forecast.mean)[known].sum()),
        absolute=float(np.abs(actual - of[0.5]).sum()),
        scale=scale if scale > 0 else float("nan"),
        pinball=float(pinball) / len(QUANTILES),
        within=int(((actual >= of[0.1]) & (actual <= of[0.9])).sum()),
    )


def summed(rows: Iterable[Judged]) -> dict[str, float]:
    """Figures over all series: ``wql`` (weighted quantile loss, a share of what was sold), ``mase`` (mean over series), ``bias``
    (units expected too many, a share of what was sold), ``coverage_80``, and ``series`` and ``days`` judged.
    """
    known = [row for row in rows if row.days]
    days = sum(row.days for row in known)
    sold = sum(row.sold for row in known)
    scaled = [row.mase for row in known if np.isfinite(row.scale)]
    figures = {"series": float(len(known)), "days": float(days)}
    if days:
        figures["coverage_80"] = sum(row.within for row in known) / days
    if sold > 0:
        figures["wql"] = 2 * sum(row.pinball for row in known) / sold
        figures["bias"] = (sum(row.forecast for row in known) - sold) / sold
    if scaled:
        figures["mase"] = float(np.mean(scaled))
    return figures


def table(rows: Sequence[Judged]) -> bytes:
    """A Parquet file with a row for each model and series: its MASE, and how far the expected units were from those sold."""
    import polars

    frame = polars.DataFrame(
        {
            "key": [row.key for row in rows],
            "model": [row.model for row in rows],
            "days": [row.days for row in rows],
            "sold": [row.sold for row in rows],
            "expected": [row.forecast for row in rows],
            "mase": [row.mase for row in rows],
            "pinball": [row.pinball for row in rows],
            "days_within_80": [row.within for row in rows],
        }
    )
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()
