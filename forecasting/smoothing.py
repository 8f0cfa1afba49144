"""Levels and weekday profiles that forget, at many speeds at once: the cheap family of models behind the quick forecast.

Each member says: the level of lately, times the weekday's share of it, times the day's known effects. Level and profile are ratios of
discounted sums (sold over expected), so unknown days drop out, zeros do no harm, and a holiday does not shift the level. They are
the multiplicative seasonal exponential smoothing of Holt and Winters with its updates written as ratios; members differ in how fast
they forget. What every member would have said at every past week's end falls out of the same sums, which makes a rolling-origin
backtest of all of them cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.series import Days

WEEK = 7
LEVEL_HALF_LIVES = (7.0, 14.0, 28.0, 56.0, 112.0)
"""In days."""
PROFILE_HALF_LIVES = (8.0, 30.0, None)
"""In weeks; None: all weekdays alike."""
PROFILE_SPREAD = 0.25
"""How far a weekday's share usually is from 1."""
ORIGINS = 52
"""Weeks' ends of the past at which members are tried."""


@dataclass(frozen=True)
class Trials:
    """What models would have said at past origins, and what was sold then.

    ``said`` (models, origins, days ahead), ``sold`` (origins, days ahead; NaN where unknown or not yet), ``now`` (models, days
    ahead): what they say today. Origins are in order of time.
    """

    names: tuple[str, ...]
    said: Days
    sold: Days
    now: Days

    def errors(self) -> Days:
        """The mean absolute error of each model, all origins and days ahead together; NaN where nothing is known."""
        known = np.isfinite(self.sold)
        if not known.any():
            return np.full(len(self.said), np.nan)
        return np.asarray(np.abs(self.said[:, known] - self.sold[known]).mean(axis=1))


def discounted(values: Days, half_life: float | Sequence[float], axis: int = -1) -> Days:
    """Running sums in which a step counts half after ``half_life`` further steps; of several half-lives, one array each in front.

    By doubling: sums over 2 steps, over 4, over 8, until all are in (Hillis & Steele 1986, "Data parallel algorithms"), which NumPy
    does in a dozen operations.
    """
    sums = np.moveaxis(np.asarray(values, dtype=float), axis, -1)
    kept = 0.5 ** (1 / np.asarray(half_life, dtype=float))
    kept = kept.reshape(kept.shape + (1,) * sums.ndim)
    sums = sums * np.ones_like(kept)
    step = 1
    while step < sums.shape[-1]:
        sums[..., step:] += kept**step * sums[..., :-step]
        step *= 2
    return np.moveaxis(sums, -1, axis)


def origins(quantity: Days, horizon: int, most: int = ORIGINS) -> tuple[range, Days]:
    """The last weeks (counted from the first whole one) at whose end forecasts are tried, and what was sold after each of them."""
    weeks = len(quantity) // WEEK
    tried = range(max(min(4, weeks // 2), weeks - most, 1), weeks)
    padded = np.concatenate([quantity, np.full(horizon, np.nan)])
    return tried, padded[days_after(tried, horizon)]


def trials(quantity: Days, known: Sequence[Days], expected: Sequence[Days], horizon: int, noise: float) -> Trials:
    """Every member at every origin and today.

    ``quantity`` are whole weeks (NaN where unknown) ending today. Each of ``known`` is a course of multipliers for its days and the
    ``horizon`` ones after, and makes a family of members; ``expected`` the same for a day that is yet to come when it is forecast:
    an effect seen once is in the first and not in the second. ``noise`` is the relative variance of a day about what is usual.
    """
    tried, sold = origins(quantity, horizon)
    weeks = len(quantity) // WEEK
    at = [*tried, weeks]
    ahead = days_after(at, horizon)
    weekday = np.resize(np.arange(WEEK), horizon)
    have = np.isfinite(quantity)
    sums = np.where(have, quantity, 0.0)
    levels_sold = discounted(sums, LEVEL_HALF_LIVES)
    names, said = [], []
    for course, (multipliers, future) in enumerate(zip(known, expected, strict=True)):
        usual = np.where(have, multipliers[: len(quantity)], 0.0)
        for half_life in PROFILE_HALF_LIVES:
            profile = _profile(sums, usual, half_life, noise)
            before = np.vstack([np.ones(WEEK), profile[:-1]]).ravel()
            levels = levels_sold / np.maximum(discounted(usual * before, LEVEL_HALF_LIVES), 1e-9)
            ends = levels[:, np.array(at) * WEEK - 1]
            says = ends[:, :, None] * (profile[np.array(at) - 1][:, weekday] * future[ahead])[None]
            said.append(says)
            names += [f"smoothing {level:g}/{half_life}/{course}" for level in LEVEL_HALF_LIVES]
    together = np.concatenate(said)
    return Trials(tuple(names), together[:, :-1], sold, together[:, -1])


def _profile(sold: Days, usual: Days, half_life: float | None, noise: float) -> Days:
    """After each week, every weekday's share of an average day (1 for all where nothing was sold).

    Shares are drawn towards 1 as if ``noise / PROFILE_SPREAD**2`` average weeks had been seen before: much for a product whose days
    differ by chance more than weekdays do, next to nothing for a whole shop.
    """
    if half_life is None:
        return np.ones((len(sold) // WEEK, WEEK))
    by_weekday = discounted(sold.reshape(-1, WEEK), half_life, axis=0)
    days = discounted(usual.reshape(-1, WEEK), half_life, axis=0)
    mean = by_weekday.sum(axis=1, keepdims=True) / np.maximum(days.sum(axis=1, keepdims=True), 1e-9)
    before = noise / PROFILE_SPREAD**2
    return np.where(mean > 0, (by_weekday + before * mean) / (days + before) / np.maximum(mean, 1e-9), 1.0)


def days_after(weeks: Sequence[int], horizon: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """For the end of each week the places of the days after it."""
    return np.asarray(np.array(weeks, dtype=np.int64)[:, None] * WEEK + np.arange(horizon))
