"""What the network sees of a series: the same code when it learns and when it answers, so the two cannot drift apart.

Everything is put relative to the series: sales by their own recent mean, prices by their usual price, last year's season by
last year's level. A network that learnt from some products can then answer for others.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from forecasting.series import Days, Series

Floats = npt.NDArray[np.float32]

WEEK = 7
#: Weeks back to the same season on the same weekday.
YEAR = 52 * WEEK
#: So far from its recent mean nothing is told apart: absurd values must not lead the network out of what it has seen.
FARTHEST = 20.0
#: A day counts at most as so many times the median of the days with sales.
BULK = 30.0

PAST = (
    "sales",
    "known",
    "promotion",
    "price",
    "holiday",
    "usual for the weekday",
    *(f"weekday {day}" for day in range(WEEK)),
)
AHEAD = (
    "usual for the weekday, 8 weeks", "usual for the weekday, 4 weeks", "last of the weekday", "last year", "last year known",
    "promotion", "price", "holiday", "holiday the day before", "holiday the day after", "promotion's effect", "holiday's effect",
    "days ahead", "days ahead, log",
    *(f"weekday {day}" for day in range(WEEK)),
    *(f"{wave} of {turns}/year" for turns in (1, 2) for wave in ("sin", "cos")), "sin of month", "cos of month",
)  # fmt: skip
WHOLE = (
    "noise", "level, log", "days without sales", "spread", "last week", "last 4 weeks", "older", "known days", "promoted days",
    "promotion's effect", "holiday's effect",
)  # fmt: skip


class FeatureSettings(BaseModel):
    """Kept with the weights: a network is asked with what it was trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(1, description="Of this file's rules: a network of another version cannot be asked.")
    window: int = Field(56, ge=14, le=730, description="Days of history that the LSTM reads.")
    horizon: int = Field(90, ge=1, le=366, description="Days ahead, at most.")
    categories: int = Field(64, ge=1, description="Categories are told apart by a hash into so many; 0 is none given.")


class Sample(NamedTuple):
    """What the network is given for a series at a moment."""

    past: Floats
    """One row a day of the window, columns as ``PAST``; days before the first known one are zeros."""
    ahead: Floats
    """One row a day to be forecast, columns as ``AHEAD``."""
    whole: Floats
    """Of the series as a whole, as ``WHOLE``."""
    category: int
    scale: float
    """Units a day that 1.0 stands for: the mean of the known days in the window, or of all when the window has no sale."""


@dataclass(frozen=True)
class Prepared:
    """A series with its covariates lined up to ``ahead`` days past its end, ready to be cut at any day."""

    series: Series
    ahead: int
    calendar: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "calendar", calendar(self.series.start, self.days))

    @property
    def days(self) -> int:
        """Of the history and the days ahead."""
        return len(self.series.quantity) + self.ahead

    @cached_property
    def promotion(self) -> Days:
        """1 on promoted days."""
        return _padded(self.series.promotion, self.days)

    @cached_property
    def holiday(self) -> Days:
        """1 on holidays, with a day more at each end."""
        return np.pad(_padded(self.series.holiday, self.days + 1), (1, 0))

    @cached_property
    def price(self) -> Days:
        """Natural logarithm of the price: a known one holds until the next. NaN before the first."""
        found = _padded(self.series.price, self.days, np.nan)
        found = found[np.maximum.accumulate(np.where(np.isfinite(found), np.arange(self.days), 0))]
        return np.log(found, where=found > 0, out=np.full(self.days, np.nan))


def _padded(values: Days | None, days: int, nothing: float = 0.0) -> Days:
    out = np.full(days, nothing)
    if values is not None:
        count = min(days, len(values))
        out[:count] = values[:count]
    return out if np.isnan(nothing) else np.nan_to_num(out)


@lru_cache(maxsize=512)
def calendar(start: date, days: int) -> Floats:
    """The last columns of ``AHEAD`` for so many days: weekday (Monday first), season of the year, place in the month."""
    first = np.datetime64(start)
    dates = first + np.arange(days)
    months = dates.astype("datetime64[M]")
    month_days = (dates - months).astype(np.float64)
    month_length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.float64)
    year_days = (dates - dates.astype("datetime64[Y]")).astype(np.float64)
    out = np.zeros((days, WEEK + 6), np.float32)
    out[np.arange(days), (start.weekday() + np.arange(days)) % WEEK] = 1.0
    turns = (year_days / 365.25, year_days / 365.25 * 2, month_days / month_length)
    for column, turn in enumerate(turns):
        out[:, WEEK + 2 * column] = np.sin(2 * np.pi * turn)
        out[:, WEEK + 2 * column + 1] = np.cos(2 * np.pi * turn)
    out.setflags(write=False)
    return out


def bucket(category: str, categories: int) -> int:
    """The number of a category, the same on every machine; 0 for none."""
    return 1 + zlib.crc32(category.encode()) % (categories - 1) if category and categories > 1 else 0


def sample(prepared: Prepared, origin: int, horizon: int, settings: FeatureSettings) -> Sample:
    """What is known of a series when its first ``origin`` days are, and of the ``horizon`` days that follow.

    Only the covariates are looked up beyond ``origin``: a promotion, price or holiday is taken as known ahead.
    """
    past = prepared.series.quantity[:origin]
    known = np.isfinite(past)
    if (past[known] > 0).any():  # one bulk order must not make every other day look like nothing
        past = np.minimum(past, BULK * float(np.median(past[known & (past > 0)])))
    scale = _scale(past, known, settings.window)
    sold = np.where(known, np.minimum(past / scale, FARTHEST), np.nan)
    two_years = slice(max(0, origin - 2 * YEAR), origin)
    promotion, holiday = prepared.promotion[:origin], prepared.holiday[1 : 1 + origin]
    lift = _lift(promotion[two_years], sold[two_years])
    feast = _lift(holiday[two_years], sold[two_years])
    # What is usual is that of days with nothing special, if there are enough of them.
    plain = np.where((promotion > 0) | (holiday > 0), np.nan, sold)[-8 * WEEK :]
    plain = plain if np.isfinite(plain).sum() >= WEEK else sold[-8 * WEEK :]
    mean = _mean(plain, _mean(sold[-settings.window :], 1.0))
    weeks = _weeks(plain)
    usual = _shrunk(weeks, mean)
    usual_4 = _shrunk(weeks[-4:], mean)
    last = _newest(weeks, usual)

    window = settings.window
    begin = max(0, origin - window)
    rows = slice(window - (origin - begin), window)
    columns = np.zeros((window, len(PAST)), np.float32)
    price = _price(prepared.price, begin, origin, horizon)
    columns[rows, 0] = np.where(known[begin:], np.log1p(np.nan_to_num(sold[begin:])), 0.0)
    columns[rows, 1] = known[begin:]
    columns[rows, 2] = promotion[begin:]
    columns[rows, 3] = price[: origin - begin]
    columns[rows, 4] = holiday[begin:]
    special = np.exp(lift * promotion[begin:] + feast * holiday[begin:])
    columns[rows, 5] = np.log1p(np.resize(usual[::-1], origin - begin)[::-1] * special)
    columns[rows, 6:] = prepared.calendar[begin:origin, :WEEK]

    steps = np.arange(horizon)
    coming = np.zeros((horizon, len(AHEAD)), np.float32)
    promoted, feasts = prepared.promotion[origin : origin + horizon], prepared.holiday[origin : origin + horizon + 2]
    special = np.exp(lift * promoted + feast * feasts[1:-1])
    coming[:, 0] = np.log1p(usual[steps % WEEK] * special)
    coming[:, 1] = np.log1p(usual_4[steps % WEEK] * special)
    coming[:, 2] = np.log1p(last[steps % WEEK] * special)
    coming[:, 3], coming[:, 4] = _last_year(past, origin, horizon)
    coming[:, 5] = promoted
    coming[:, 6] = price[origin - begin :]
    coming[:, 7], coming[:, 8], coming[:, 9] = feasts[1:-1], feasts[:-2], feasts[2:]
    coming[:, 10] = promoted * lift
    coming[:, 11] = feasts[1:-1] * feast
    coming[:, 12] = (steps + 1) / 90
    coming[:, 13] = np.log1p(steps) / 4
    coming[:, 14:] = prepared.calendar[origin : origin + horizon]

    in_window = sold[begin:]
    whole = np.array(
        [
            _noise(columns[rows, 0] - columns[rows, 5], known[begin:]),
            np.log1p(scale) / 4,
            _mean(in_window == 0, 0.0, known[begin:]),
            min(3.0, float(in_window[known[begin:]].std())) if known[begin:].any() else 0.0,
            np.log1p(_mean(sold[-WEEK:], mean)),
            np.log1p(_mean(sold[-4 * WEEK :], mean)),
            np.log1p(min(FARTHEST, _mean(past[max(0, origin - YEAR) : begin] / scale, 1.0))),
            known[begin:].sum() / window,
            promotion[begin:].mean() if origin > begin else 0.0,
            lift,
            feast,
        ],
        np.float32,
    )
    return Sample(columns, coming, whole, bucket(prepared.series.category, settings.categories), scale)


def _noise(off: Floats, known: npt.NDArray[np.bool_]) -> float:
    """How far days are from what is usual for their weekday, in logarithms, on average; of few known days, nearer to 0.3.

    What the network says is in multiples of it, so calm series get narrow intervals and wild ones wide.
    """
    far = float(np.abs(off[known]).sum())
    return min(2.0, max(0.02, (far + 3 * 0.3) / (int(known.sum()) + 3)))


def _mean(values: npt.NDArray[np.generic], otherwise: float, where: npt.NDArray[np.bool_] | None = None) -> float:
    picked = values[np.isfinite(values) if where is None else where]
    return float(picked.sum()) / picked.size if picked.size else otherwise


def _scale(past: Days, known: npt.NDArray[np.bool_], window: int) -> float:
    recent = _mean(past[-window:], 0.0)
    return recent if recent > 0 else _mean(past, 0.0) or 1.0


def _weeks(sold: Days) -> Days:
    """A row a week, the first column the weekday of the first day after the end."""
    return np.concatenate([np.full(-len(sold) % WEEK, np.nan), sold]).reshape(-1, WEEK)


def _shrunk(weeks: Days, mean: float) -> Days:
    """The mean of each weekday; of few known days, nearer to the mean of all (as if one more such day were known)."""
    known = np.isfinite(weeks)
    shrunk: Days = (np.where(known, weeks, 0.0).sum(axis=0) + mean) / (known.sum(axis=0) + 1)
    return shrunk


def _newest(weeks: Days, otherwise: Days) -> Days:
    out = otherwise.copy()
    for row in weeks[-4:]:
        out = np.where(np.isfinite(row), row, out)
    return out


def _lift(active: Days, sold: Days) -> float:
    """By how much, as a logarithm, days were better when something was active than the other days of their weekday.

    Shrunk as if four more such days without an effect were known.
    """
    on = (active > 0) & np.isfinite(sold)
    if not on.any():
        return 0.0
    off = (active == 0) & np.isfinite(sold)
    weekday = np.arange(len(sold)) % WEEK
    count = np.bincount(weekday[off], minlength=WEEK)
    total = np.bincount(weekday[off], weights=sold[off], minlength=WEEK)
    mean = _mean(sold[off], 1.0)
    usual = (total + mean) / (count + 1)
    ratio = (sold[on].sum() + 4 * mean) / (usual[weekday[on]].sum() + 4 * mean) if mean > 0 else 1.0
    return float(np.clip(np.log(max(ratio, 1e-3)), -2.0, 2.0))


def _last_year(past: Days, origin: int, horizon: int) -> tuple[Days, Days]:
    """The week around the same day last year against the four weeks before this day last year (log), and 1 where known."""
    ratio, found = np.zeros(horizon), np.zeros(horizon)
    then = origin - YEAR
    if then < 4 * WEEK:
        return ratio, found
    before = _mean(past[then - 4 * WEEK : then], 0.0)
    if before <= 0:
        return ratio, found
    span = past[then - 3 : then + horizon + 3]
    known = np.isfinite(span)
    sums = np.cumsum(np.concatenate([[0.0], np.where(known, span, 0.0)]))
    counts = np.cumsum(np.concatenate([[0], known]))
    count = counts[WEEK:] - counts[:-WEEK]
    week = (sums[WEEK:] - sums[:-WEEK]) / np.maximum(count, 1)
    days = min(horizon, len(week))
    found[:days] = count[:days] > 0
    ratio[:days] = np.where(
        found[:days] > 0, np.clip(np.log((week[:days] + 0.1 * before) / (1.1 * before)), -2.0, 2.0), 0.0
    )
    return ratio, found


def _price(price: Days, begin: int, origin: int, horizon: int) -> Days:
    """Log of the price against the median price of the window; 0 where there is none."""
    span = price[begin : origin + horizon]
    seen = price[begin:origin]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return np.zeros(len(span))
    return np.clip(np.nan_to_num(span - np.median(seen)), -1.0, 1.0)


def stacked(samples: Sequence[Sample]) -> dict[str, npt.NDArray[np.generic]]:
    """A batch: the network's inputs by name."""
    return {
        "past": np.stack([one.past for one in samples]),
        "ahead": np.stack([one.ahead for one in samples]),
        "whole": np.stack([one.whole for one in samples]),
        "category": np.array([one.category for one in samples], np.int64),
    }
