"""From what was sold on which day to a series without holes: closed days and empty shelves are not known demand. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from forecasting.series import Days, Series

#: Days after the history for which holidays are told, since they are known ahead: the longest forecast.
AHEAD = 90


def series_of(
    key: str,
    open_days: Sequence[date],
    days: Sequence[date],
    quantity: Sequence[float],
    price: Sequence[float | None] | None = None,
    promotion: Sequence[float | None] | None = None,
    high: Sequence[float | None] | None = None,
    end: Sequence[float | None] | None = None,
    category: str = "",
    country: str = "",
) -> Series:
    """The series of one product in one shop, from its first sale to the shop's last open day.

    Args:
        key: how it is called.
        open_days: the days on which the shop sold anything at all; on the others it was closed.
        days: those that something is known of, each once; the next five have as many numbers.
        quantity: units sold, less what came back; below 0 it is 0.
        price: of a unit; between known ones the last one holds, before the first that one.
        promotion: 1 or 0; 0 where nothing is said.
        high: the most that was on the shelf at any moment of the day, None where that is not known.
        end: what was on the shelf when the day ended: it lies there until the next of ``days``.
        category: of the product.
        country: ISO code of the country whose public holidays count; none if empty.

    A day is an empty shelf's, and its demand not known, if nothing was on the shelf at any moment of it and nothing was sold. A
    day on which the shelf ran empty counts as it is: what it sold is the least that was wanted, and leaving out just the days
    that sold best would make forecasts too low.
    """
    order = np.argsort([day.toordinal() for day in days])
    ordinals = np.array([days[i].toordinal() for i in order])
    sold = np.maximum(np.asarray(quantity, dtype=np.float64)[order], 0.0)
    first = int(ordinals[np.argmax(sold > 0)]) if (sold > 0).any() else int(ordinals[0])
    last = max(int(ordinals[-1]), max((day.toordinal() for day in open_days), default=0))
    length = last - first + 1
    within = ordinals >= first
    place = ordinals[within] - first

    demand = np.full(length, np.nan)
    was_open = np.array([day.toordinal() - first for day in open_days if day.toordinal() >= first], dtype=np.int64)
    demand[was_open] = 0.0
    demand[place] = sold[within]

    if high is not None and end is not None:
        most = _numbers(high)[order]
        left = _carried(_numbers(end)[order], ordinals, first, length)
        most_of_day = left  # where nothing happened
        most_of_day[place] = most[within]
        demand[(most_of_day <= 0) & ~(demand > 0)] = np.nan
    return Series(
        key,
        date.fromordinal(first),
        demand,
        category,
        promotion=None if _nothing(promotion) else _placed(np.nan_to_num(_numbers(promotion)[order]), within, place, length),
        price=None if _nothing(price) else _prices(_numbers(price)[order], ordinals, first, length),
        holiday=_holidays(country, date.fromordinal(first), length + AHEAD) if country else None,
    )


def _nothing(values: Sequence[float | None] | None) -> bool:
    return values is None or all(value is None for value in values)


def _numbers(values: Sequence[float | None] | None) -> Days:
    return np.array([np.nan if value is None else value for value in values or ()], dtype=np.float64)


def _placed(values: Days, within: Days, place: Days, length: int) -> Days:
    made = np.zeros(length)
    made[place] = values[within.astype(bool)]
    return made


def _carried(values: Days, ordinals: Days, first: int, length: int) -> Days:
    """For each day the last value up to and with it; NaN before the first."""
    at = np.searchsorted(ordinals, np.arange(first, first + length), side="right") - 1
    return np.where(at >= 0, values[np.maximum(at, 0)], np.nan)


def _prices(values: Days, ordinals: Days, first: int, length: int) -> Days:
    known = np.isfinite(values)
    carried = _carried(values[known], ordinals[known], first, length)
    return np.where(np.isfinite(carried), carried, values[known][0])


@lru_cache(maxsize=256)
def _calendar(country: str, years: tuple[int, ...]) -> Mapping[date, str]:
    import holidays

    found: Mapping[date, str] = holidays.country_holidays(country, years=years)
    return found


def _holidays(country: str, start: date, length: int) -> Days:
    end = start + timedelta(days=length - 1)
    calendar = _calendar(country, tuple(range(start.year, end.year + 1)))
    return np.array([float(start + timedelta(days=i) in calendar) for i in range(length)])


def cut(series: Series, days: int) -> Series:
    """The series as it was ``days`` days earlier. Of what is to come it keeps only the holidays: what would be promoted, and at
    what price, was not written down before it happened.
    """
    kept = len(series.quantity) - days
    return Series(
        series.key,
        series.start,
        series.quantity[:kept],
        series.category,
        None if series.promotion is None else series.promotion[:kept],
        None if series.price is None else series.price[:kept],
        series.holiday,
    )
