"""The classical models of statsforecast behind our interface: exponential smoothing, Theta, and those for intermittent demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import numpy as np

from forecasting import effects, intervals, smoothing
from forecasting.baseline import by_weeks, last_known
from forecasting.series import QUANTILES, Days, Forecast, Series

WEEK = 7
CEILING = 3.0
DemandClass = Literal["smooth", "erratic", "intermittent", "lumpy"]
ADI, CV2 = 1.32, 0.49
"""Where the classes part: Syntetos, Boylan & Croston 2005, "On the categorization of demand patterns", J. Oper. Res. Soc. 56."""
_LEVELS = (95, 80, 50)
"""The library's intervals that hold our quantiles between them."""
_LONGEST = 3 * 364
"""Days of history that the slower models are fitted on: older ones say nothing of a weekly course."""


def demand_class(quantity: Days) -> DemandClass:
    """How a product sells: by the days from one sale to the next (ADI), and by the squared coefficient of variation of the sales."""
    known = quantity[np.isfinite(quantity)]
    sold = known[known > 0]
    if len(sold) < 2:
        return "intermittent"
    rare = len(known) / len(sold) >= ADI
    uneven = float(sold.var() / sold.mean() ** 2) >= CV2
    return ("lumpy" if uneven else "intermittent") if rare else ("erratic" if uneven else "smooth")


class Statistical:
    """One model of statsforecast. It sees history without the effects of promotions, prices and days, which are put back afterwards.

    ``alone`` leaves effects out: the model as it comes. Unknown days are given the last known sale of their weekday. ETS and Theta
    bring intervals of their own; those of the others are conformal, from what they would have said at past weeks' ends.
    Models: "ets" (AutoETS), "theta" (AutoTheta), "croston" (SBA), "tsb", "adida", "imapa".
    """

    def __init__(self, model: str, *, alone: bool = False) -> None:
        if model not in _MODELS:
            raise ValueError(f"no model {model!r}: there are {', '.join(_MODELS)}")
        self.model, self.alone = model, alone
        self.name = f"{model}-alone" if alone else model
        self.intermittent = model in ("croston", "tsb", "adida", "imapa")

    def suits(self, series: Series) -> bool:
        """Whether the model is made for products that sell like this one."""
        return self.intermittent == (demand_class(series.quantity) in ("intermittent", "lumpy"))

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order."""
        return [self._one(one, horizon) for one in series]

    def _one(self, series: Series, horizon: int) -> Forecast:
        start = series.end + timedelta(days=1)
        multipliers = np.ones(len(series.quantity) + horizon)
        if not self.alone:
            found = effects.estimate(series, horizon)
            multipliers = found.calendar * found.marketing
        history = filled(series.quantity / multipliers[: len(series.quantity)])[-_LONGEST:]
        ahead = multipliers[-horizon:]
        ceiling = CEILING * max(float(history.max(initial=0.0)), 0.0)
        if not history.any() or len(history) < 2 * WEEK:
            point = np.full(horizon, history.mean() if len(history) else 0.0)
            fan = intervals.fan(point, np.full((len(QUANTILES), horizon), np.nan))
        elif self.intermittent:
            point, fan = self._conformal(history, horizon)
        else:
            point, fan = self._own(history, horizon)
        mean = np.clip(point, 0, ceiling) * ahead
        fan = np.maximum.accumulate(np.clip(fan, 0, ceiling), axis=0) * ahead
        return Forecast(
            series.key, start, mean, dict(zip(QUANTILES, fan, strict=True)), self.name, f"{self.model} of statsforecast"
        )

    def _own(self, history: Days, horizon: int) -> tuple[Days, Days]:
        """The model's mean and its own quantiles."""
        made = _MODELS[self.model]().forecast(history.astype(np.float32), h=horizon, level=list(_LEVELS))
        mean = np.asarray(made["mean"], dtype=float)
        low = [made[f"lo-{level}"] for level in _LEVELS]
        high = [made[f"hi-{level}"] for level in reversed(_LEVELS)]
        fan = np.nan_to_num(np.array([*low, mean, *high], dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
        return np.nan_to_num(mean, nan=float(history[-4 * WEEK :].mean())), fan

    def _conformal(self, history: Days, horizon: int) -> tuple[Days, Days]:
        history = history[len(history) % WEEK :]
        weeks, sold = smoothing.origins(history, horizon)
        said = np.array([self._flat(history[: week * WEEK], horizon) for week in weeks]).reshape(-1, horizon)
        point = self._flat(history, horizon)
        return point, intervals.fan(point, intervals.learn(said, sold))

    def _flat(self, history: Days, horizon: int) -> Days:
        if not history.any():
            return np.zeros(horizon)
        made = _MODELS[self.model]().forecast(history.astype(np.float32), h=1)["mean"][0]
        return np.full(horizon, float(np.nan_to_num(made, nan=history.mean(), posinf=history.max())))


def filled(quantity: Days) -> Days:
    """Unknown days given the last known sale of their weekday, else the average: these models take no holes."""
    if not np.isfinite(quantity).any():
        return np.zeros(len(quantity))
    weeks = by_weeks(quantity)
    whole = np.where(np.isfinite(weeks), weeks, last_known(weeks)).ravel()[-len(quantity) :]
    return np.where(np.isfinite(whole), whole, np.nanmean(quantity))


def _library(name: str, *settings: Any, **more: Any) -> Callable[[], Any]:
    def made() -> Any:
        from statsforecast import models  # seconds of import: only where such a model is asked

        return getattr(models, name)(*settings, **more)

    return made


_MODELS: Mapping[str, Callable[[], Any]] = {
    "ets": _library("AutoETS", WEEK),
    "theta": _library("AutoTheta", WEEK),
    "croston": _library("CrostonSBA"),
    "tsb": _library("TSB", 0.1, 0.1),
    "adida": _library("ADIDA"),
    "imapa": _library("IMAPA"),
}
