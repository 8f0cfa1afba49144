"""From points as people have them (unsorted, repeated, with holes) to whole days, and what had to be done to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from forecasting.series import Days, Series

LONGEST = 2000
"""Days of history that are used; older ones are left out."""
SHORT = 28
"""A history of fewer known days says little of weekdays: answers warn."""
SURPRISE = 0.05
"""A day without sales that chance would give less often than this in the whole history is a day that nobody wrote down."""
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True)
class Point:
    """One line of a product's sales: units sold on a day, and what is known of the day.

    ``stock_out``: the shelf was empty for some of the day, so that demand may have been higher than what was sold.
    """

    day: date
    quantity: float
    promotion: bool | None = None
    price: float | None = None
    stock_out: bool = False


@dataclass(frozen=True)
class History:
    """A series, and in plain words what was summed, filled, masked or left out to make it."""

    series: Series
    warnings: tuple[str, ...]


def to_series(
    key: str,
    points: Iterable[Point],
    *,
    category: str = "",
    until: date | None = None,
    holidays: Mapping[date, str] | None = None,
) -> History:
    """Whole days from the first point to the last (or to ``until``): the order of the points changes nothing.

    Several points of a day are summed. A day of a stock-out is unknown (NaN): what was sold is only the least of what was wanted.
    A day without a point is unknown where zeros are written down; where they are not, it is 0 unless a day without sales would
    be a surprise for this product, the gap is too long for chance, or the shop never sells on that weekday. A day's returns
    beyond its sales count as 0. Raises ValueError without points, or when a number is not finite.
    """
    days: dict[date, list[Point]] = {}
    for point in points:
        if not np.isfinite(point.quantity):
            raise ValueError(f"the quantity of {point.day} is not a number")
        days.setdefault(point.day, []).append(point)
    if not days:
        raise ValueError("a history needs one day at least")
    warnings = []
    end = max(max(days), until or date.min)
    start = max(min(days), end - timedelta(days=LONGEST - 1))
    if left := sum(day < start for day in days):
        warnings.append(f"{left} days older than the last {LONGEST:,} were left out")
    length = (end - start).days + 1
    quantity, promotion, price = np.full((3, length), np.nan)
    doubled = returned = empty = 0
    for day, lines in days.items():
        at = (day - start).days
        if not 0 <= at < length:
            continue
        total = sum(sorted(line.quantity for line in lines))
        doubled += len(lines) > 1
        returned += total < 0
        quantity[at] = max(total, 0.0)
        if any(line.stock_out for line in lines):
            empty += 1
            quantity[at] = np.inf  # unknown, yet not a gap
        flags = [line.promotion for line in lines if line.promotion is not None]
        promotion[at] = float(any(flags)) if flags else np.nan
        prices = [line.price for line in lines if line.price is not None]
        price[at] = sum(sorted(prices)) / len(prices) if prices else np.nan
    quantity, gaps = _without_gaps(quantity, start)
    warnings += gaps
    quantity[np.isinf(quantity)] = np.nan
    if doubled:
        warnings.append(f"{doubled} days had several points: they were summed")
    if returned:
        warnings.append(f"{returned} days had more returns than sales: they count as 0")
    if empty:
        warnings.append(f"{empty} days of stock-out were masked: what was sold on them is less than what was wanted")
    known = int(np.isfinite(quantity).sum())
    if known < SHORT:
        warnings.append(f"short history: demand is known on {known} days only")
    ahead = range(length + 366)
    series = Series(
        key,
        start,
        quantity,
        category,
        promotion=np.nan_to_num(promotion) if np.isfinite(promotion).any() else None,
        price=_carried(price) if np.isfinite(price).any() else None,
        holiday=np.array([float(start + timedelta(days=day) in holidays) for day in ahead]) if holidays else None,
        holiday_names=holidays or {},
    )
    return History(series, tuple(warnings))


def _without_gaps(quantity: Days, start: date) -> tuple[Days, list[str]]:
    """Days without a point (NaN) that stand for no sales made 0, the others left unknown, with warnings."""
    missing = np.isnan(quantity)
    if not missing.any():
        return quantity, []
    written = quantity[np.isfinite(quantity)]
    weekday = (np.arange(len(quantity)) + start.weekday()) % 7
    closed = [day for day in range(7) if len(quantity) >= 4 * 7 and missing[weekday == day].all()]
    is_closed = np.isin(weekday, closed)
    warnings = [f"nothing was ever sold on {WEEKDAYS[day]}: taken as closed" for day in closed]
    gap = missing & ~is_closed
    if not gap.any():
        return quantity, warnings
    unknown = gap.copy()
    if not (written == 0).any() and _zero_share(written) * (~is_closed).sum() >= SURPRISE:
        share = gap.sum() / (~is_closed).sum()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(int), [0]])))
        for begin, stop in edges.reshape(-1, 2):
            long = share ** gap[begin:stop].sum() * len(quantity) < SURPRISE
            unknown[begin:stop] &= long
    filled = quantity.copy()
    filled[gap & ~unknown] = 0.0
    if count := int((gap & ~unknown).sum()):
        warnings.append(f"{count} days without a point were taken as days without sales")
    if count := int(unknown.sum()):
        warnings.append(f"gaps: {count} days without a point were left unknown")
    return filled, warnings


def _zero_share(sold: Days) -> float:
    """How often a product that sells like this sells nothing: the chance of 0 of a negative binomial of their mean and variance."""
    if len(sold) < 2:
        return 1.0
    mean, variance = float(sold.mean()), float(sold.var(ddof=1))
    if variance <= mean:
        return float(np.exp(-mean))
    size = mean * mean / (variance - mean)
    return float((size / (size + mean)) ** size)


def _carried(price: Days) -> Days:
    """Days without a price have that of the day before; the first ones have the first known."""
    at = np.maximum.accumulate(np.where(np.isfinite(price), np.arange(len(price)), -1))
    first = int(np.flatnonzero(np.isfinite(price))[0])
    return price[np.where(at >= 0, at, first)]
