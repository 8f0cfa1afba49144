"""From what was sold on which day to a series without holes: closed days and empty shelves are not known demand. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.effects import holidays_of
from forecasting.series import Days, Series

Dates = npt.NDArray[np.datetime64]
Places = npt.NDArray[np.intp]

#: Days after the history for which holidays are told, since they are known ahead: the longest forecast.
AHEAD = 90


def series_of(
    key: str,
    open_days: Dates,
    day: Dates,
    quantity: Days,
    price: Days | None = None,
    promotion: Days | None = None,
    high: Days | None = None,
    end: Days | None = None,
    category: str = "",
    until: date | None = None,
) -> Series:
    """The series of one product in one shop, from its first sale to the shop's last open day, or to ``until``.

    Args:
        key: how it is called.
        open_days: the days on which the shop sold anything at all; on the others it was closed.
        day: those that something is known of, each once; the next five have as many numbers, NaN for what is not known.
        quantity: units sold, less what came back; below 0 it is 0.
        price: of a unit; between known ones the last one holds, before the first that one.
        promotion: 1 or 0; 0 where nothing is said.
        high: the most that was on the shelf at any moment of the day.
        end: what was on the shelf when the day ended: it lies there until the next of ``day``.
        category: of the product.
        until: the last day of the series; something was sold by then.

    A day is an empty shelf's, and its demand not known, if nothing was on the shelf at any moment of it and nothing was sold. A
    day on which the shelf ran empty counts as it is: what it sold is the least that was wanted, and leaving out just the days
    that sold best would make forecasts too low.
    """
    order = np.argsort(day)
    days = day[order].astype("datetime64[D]")
    open_days = open_days.astype("datetime64[D]")
    sold = np.maximum(np.nan_to_num(quantity[order]), 0.0)
    first = days[np.argmax(sold > 0)]
    last = max(days[-1], open_days.max(initial=days[-1])) if until is None else np.datetime64(until)
    length = int((last - first).astype(int)) + 1
    within = (days >= first) & (days <= last)
    place: Places = (days[within] - first).astype(np.intp)

    demand = np.full(length, np.nan)
    demand[(open_days[(open_days >= first) & (open_days <= last)] - first).astype(np.intp)] = 0.0
    demand[place] = sold[within]

    # For each day the last of ``days`` up to it; -1 before the first.
    newest: Places = np.searchsorted(days, first + np.arange(length), side="right") - 1
    if high is not None and end is not None:
        most = np.where(newest >= 0, end[order][newest], np.nan)  # where nothing happened
        most[place] = high[order][within]
        demand[(most <= 0) & ~(demand > 0)] = np.nan
    promoted = None
    if promotion is not None and np.isfinite(promotion).any():
        promoted = np.zeros(length)
        promoted[place] = np.nan_to_num(promotion[order][within])
    start: date = first.astype(object)
    return Series(
        key,
        start,
        demand,
        category,
        promotion=promoted,
        price=None if price is None or not np.isfinite(price).any() else _held(price[order], newest),
    )


def _held(values: Days, newest: Places) -> Days:
    """Each day's last known value, and before the first one that."""
    places = np.where(np.isfinite(values), np.arange(len(values)), -1)
    places = np.maximum.accumulate(places)
    places = np.where(places >= 0, places, np.argmax(np.isfinite(values)))
    return np.asarray(values[places][np.maximum(newest, 0)])


def with_holidays(series: Series, country: str) -> Series:
    """The series with the public holidays of a country (ISO code), those of the next days too: they are known ahead."""
    length = len(series.quantity) + AHEAD
    names = _holidays(country, series.start, length)
    days = (series.start + timedelta(days=number) for number in range(length))
    return replace(series, holiday=np.array([float(day in names) for day in days]), holiday_names=names)


@lru_cache(maxsize=4096)
def _holidays(country: str, start: date, length: int) -> Mapping[date, str]:
    return holidays_of(country, start, start + timedelta(days=length - 1))


def cut(series: Series, days: int) -> Series:
    """The series as it was ``days`` days earlier. Of what is to come it keeps only the holidays: what would be promoted, and at
    what price, was not written down before it happened.
    """
    kept = len(series.quantity) - days
    return replace(
        series,
        quantity=series.quantity[:kept],
        promotion=None if series.promotion is None else series.promotion[:kept],
        price=None if series.price is None else series.price[:kept],
    )
