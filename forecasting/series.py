"""What every model of demand takes and gives.

A model never sees a database: it is given whole days of sales and answers with a forecast for the days that follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt

Days = npt.NDArray[np.float64]

#: The quantiles that every forecast answers: 0.1 to 0.9 is the 80 % interval, 0.025 to 0.975 the 95 % one.
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


@dataclass(frozen=True)
class Series:
    """Sales of one product (in one shop, or of a whole shop) by day, without holes.

    ``quantity`` has one number a day from ``start`` on, in units sold; NaN where demand is not known (the shop was closed, the
    shelf was empty). The others have one number a day for the history and, where they are known ahead, for the days to be
    forecast too: ``promotion`` 0 or 1, ``price`` in the shop's currency, ``holiday`` 0 or 1. ``holiday_names`` tells which
    holiday a day is, where that is known: the same one of earlier years then says more than others do.
    """

    key: str
    start: date
    quantity: Days
    category: str = ""
    promotion: Days | None = None
    price: Days | None = None
    holiday: Days | None = None
    holiday_names: Mapping[date, str] = field(default_factory=dict)

    @property
    def end(self) -> date:
        """The last day of the history."""
        return self.start + timedelta(days=len(self.quantity) - 1)


def whole(quantity: Days) -> bool:
    """Whether only whole units were ever sold."""
    known = quantity[np.isfinite(quantity)]
    return bool((np.mod(known, 1) == 0).all())


@dataclass(frozen=True)
class Forecast:
    """Demand of the ``len(mean)`` days from ``start`` on, in units a day, none below 0.

    ``quantiles`` has an array of as many days for each of ``QUANTILES``, never decreasing from one quantile to the next.
    ``model`` names what made it, ``reason`` says in a sentence why that one.
    """

    key: str
    start: date
    mean: Days
    quantiles: Mapping[float, Days]
    model: str
    reason: str = ""
    warnings: tuple[str, ...] = field(default=())


class Forecaster(Protocol):
    """A model of demand. ``name`` is how answers, tables and plots call it."""

    name: str

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order."""
        ...
