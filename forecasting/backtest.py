"""How good forecasts were: the measures, and models tried at past origins with nothing but what was known then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.series import QUANTILES, Days, Forecast, Forecaster, Series

SEASON = 7
TINY = 1e-9
"""A scale below this is that of a history without change."""


@dataclass(frozen=True)
class Scores:
    """Errors over days whose sales are known.

    ``mase``: mean absolute error of the median forecast, divided by that of the seasonal naive forecast (7 days) within the history;
    below 1 is better than that (Hyndman & Koehler 2006, "Another look at measures of forecast accuracy"). The median is scored because
    it is what makes absolute errors small; ``mase_mean`` is the same of the mean forecast (Kolassa 2020, "Why the 'best' point
    forecast depends on the error or accuracy measure").
    ``rmsse``: root of the mean squared error of the mean forecast, divided by that of the seasonal naive (M5: Makridakis et al. 2022).
    ``wql``: pinball losses of all quantiles, doubled, their mean over quantiles divided by what was sold (Salinas et al. 2020, DeepAR).
    ``coverage_80``, ``coverage_95``: share of days within the interval, its ends included. ``bias``: mean forecast less sold, divided by
    sold; above 0 is too much. ``days``: how many days were scored. A ratio to nothing sold or to a history without change is NaN.
    """

    mase: float
    mase_mean: float
    rmsse: float
    wql: float
    coverage_80: float
    coverage_95: float
    bias: float
    days: int


def scores(sold: Days, mean: Days, quantiles: Days, history: Days) -> Scores:
    """Scores of forecasts: ``sold`` and ``mean`` of one shape, ``quantiles`` (quantiles, that shape), ``history`` by day for the scale."""
    known = np.isfinite(sold)
    sold, mean, quantiles = sold[known], mean[known], quantiles[:, known]
    if not sold.size:
        nothing = float("nan")
        return Scores(nothing, nothing, nothing, nothing, nothing, nothing, nothing, 0)
    steps = history[SEASON:] - history[:-SEASON]
    steps = steps[np.isfinite(steps)]
    absolute = _ratio(1.0, np.abs(steps).mean() if steps.size else 0.0)
    squared = _ratio(1.0, (steps**2).mean() if steps.size else 0.0)
    levels = np.array(QUANTILES)[:, None]
    off = sold - quantiles
    pinball = np.maximum(levels * off, (levels - 1) * off).sum(axis=1)
    inside = {
        width: (sold >= quantiles[low]) & (sold <= quantiles[high]) for width, low, high in ((80, 1, -2), (95, 0, -1))
    }
    return Scores(
        mase=float(np.abs(sold - quantiles[len(QUANTILES) // 2]).mean() * absolute),
        mase_mean=float(np.abs(sold - mean).mean() * absolute),
        rmsse=float(np.sqrt(((sold - mean) ** 2).mean() * squared)),
        wql=_ratio(2 * pinball.mean(), sold.sum()),
        coverage_80=float(inside[80].mean()),
        coverage_95=float(inside[95].mean()),
        bias=_ratio((mean - sold).sum(), sold.sum()),
        days=int(sold.size),
    )


def rolled(model: Forecaster, series: Series, horizon: int, ends: Sequence[int]) -> list[Forecast]:
    """What a model would have said after the first ``end`` days of the history, for each of ``ends``: it sees no later sale."""
    return [model.forecast([replace(series, quantity=series.quantity[:end])], horizon)[0] for end in ends]


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > TINY else float("nan")
