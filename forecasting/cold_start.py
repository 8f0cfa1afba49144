"""Products with next to no history: what others of their category sell, scaled to the little that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from forecasting.series import QUANTILES, Days, Forecast, Series

WEEK = 7
COLD = 14
"""A product known on fewer days than this is new."""
TOLD = 56
"""A product known on at least this many tells about its category."""
FEWEST = 3
"""Products that a category needs to tell anything."""
WORTH = 7.0
"""How many days of the product's own the category's level is worth."""


@dataclass(frozen=True)
class Category:
    """What a usual product of a category sells a day (``level``), each weekday's share (Monday first), and the ratios of a day's sales
    to the forecast that a newcomer would have had: by ``QUANTILES``, with the level known from ``k`` days and from none."""

    level: float
    profile: Days
    unknown: Days
    known: Days
    products: int


@dataclass(frozen=True)
class Categories:
    """Every category that enough products told about."""

    by_name: Mapping[str, Category] = field(default_factory=dict)

    @classmethod
    def learned(cls, series: Sequence[Series]) -> Categories:
        """From the products with a longer history; categories of fewer than three such products are left out."""
        told: dict[str, list[Series]] = {}
        for one in series:
            if one.category and np.isfinite(one.quantity).sum() >= TOLD and np.nansum(one.quantity) > 0:
                told.setdefault(one.category, []).append(one)
        return cls({name: _category(members) for name, members in told.items() if len(members) >= FEWEST})

    def forecast(self, series: Series, horizon: int) -> Forecast | None:
        """A new product's forecast from its category; None where it is not new or nothing is known of the category."""
        own = series.quantity[np.isfinite(series.quantity)]
        category = self.by_name.get(series.category)
        if len(own) >= COLD or category is None:
            return None
        start = series.end + timedelta(days=1)
        shares = category.profile[(start.weekday() + np.arange(horizon)) % WEEK]
        level = (WORTH * category.level + own.sum()) / (WORTH + len(own))
        trust = len(own) / COLD
        ratios = np.exp((1 - trust) * np.log(category.unknown + 1e-3) + trust * np.log(category.known + 1e-3)) - 1e-3
        mean = level * shares
        fan = np.maximum.accumulate(np.maximum(ratios, 0.0)[:, None] * mean, axis=0)
        said = f"a new product ({len(own)} days known): the average of {category.products} others of {series.category}, scaled to them"
        return Forecast(
            series.key,
            start,
            mean,
            dict(zip(QUANTILES, fan, strict=True)),
            "category",
            said,
            ("new product: forecast from its category",),
        )


def _category(members: Sequence[Series]) -> Category:
    levels = np.array([np.nanmean(one.quantity) for one in members])
    level = float(np.exp(np.log(np.maximum(levels, 1e-6)).mean()))
    shares = [_shares(one) for one in members]
    profile = np.mean(shares, axis=0)
    within = np.concatenate([_ratios(one, mean, profile) for one, mean in zip(members, levels, strict=True)])
    across = np.concatenate([_ratios(one, level, profile) for one in members])
    return Category(level, profile, _quantiles(across), _quantiles(within), len(members))


def _shares(series: Series) -> Days:
    weekday = (series.start.weekday() + np.arange(len(series.quantity))) % WEEK
    mean = np.nanmean(series.quantity)
    known = np.isfinite(series.quantity)
    sold = np.bincount(weekday[known], series.quantity[known], WEEK)
    return np.asarray((sold + mean) / (np.bincount(weekday[known], minlength=WEEK) + 1) / mean)


def _ratios(series: Series, level: float, profile: Days) -> Days:
    weekday = (series.start.weekday() + np.arange(len(series.quantity))) % WEEK
    ratio = series.quantity / np.maximum(level * profile[weekday], 1e-9)
    return np.asarray(ratio[np.isfinite(ratio)])


def _quantiles(ratios: Days) -> Days:
    return np.asarray(np.quantile(ratios, QUANTILES, method="weibull"))
