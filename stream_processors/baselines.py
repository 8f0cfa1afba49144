"""What is usual in a store, from its last twelve weeks: the rules, without I/O. See ``docs/anomalies.md``.

By hour of the day and weekday, with statistics that a festival, a sale or a broken camera cannot move: the median, and the
median absolute deviation times 1.4826, which estimates the standard deviation (Rousseeuw and Croux, 1993). Counts of zones
and cameras are small, and their median would be 0 or 1: they have the mean without the highest and lowest fifth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.layouts import StoreCalendar

WEEKS = 12
DAYS = 7 * WEEKS
LEAST_OF_WEEKDAY = 4
"""So many days of one weekday tell what is usual on it; with fewer, all days do, from ``LEAST_DAYS`` on."""
LEAST_DAYS = 7
HOURS = 24
ALL_HOURS = 24
ALL_WEEKDAYS = 0
ANY_DAY = "footfall of any day"
"""The footfall of all days together, which stands beside that of the weekday: zones and cameras are only known of all."""
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
# A silence in which so many minutes with arrivals are missing is no chance: e^-12 is once in 160,000 gaps.
MISSED = 12.0
SHORT_DAY = 0.25
"""A day with less than this share of the median day's visitors closed early, or its data is missing."""

Floats = NDArray[np.float64]


class HourFigures(NamedTuple):
    """One store's visits that began in one hour of one business day, staff left out."""

    visitors: int = 0
    purchased: int = 0
    joined: int = 0
    abandoned: int = 0
    longest_queue: int = 0


@dataclass
class Past:
    """One store's days before today, as ClickHouse holds them: by business day and hour of the store's clock."""

    hours: dict[date, dict[int, HourFigures]] = field(default_factory=dict)
    zones: dict[date, dict[str, dict[int, int]]] = field(default_factory=dict)
    """Minutes of the hour in which a zone visit began, by zone: who comes in a group comes in one minute."""
    cameras: dict[date, dict[str, dict[int, int]]] = field(default_factory=dict)
    """Minutes of the hour in which customers came into view, by camera."""


class Baseline(NamedTuple):
    """A row of ``baselines``."""

    metric: str
    subject: str
    weekday: int
    hour: int
    usual: float
    spread: float
    days: int
    figures: tuple[float, ...]


@dataclass(frozen=True)
class Usual:
    """What is usual at some moment."""

    usual: float
    spread: float
    days: int
    scope: str
    """In words: which days it is of, such as "Fridays at this hour"."""


@dataclass
class Baselines:
    """What is usual in one store on one weekday, hour by hour; compact, since a worker holds it of all its stores."""

    weekday: int
    series: dict[tuple[str, str], Floats] = field(default_factory=dict)
    """By metric and subject: usual, spread, days and weekday (0 for all days) of each hour, one row each."""

    @classmethod
    def read(cls, weekday: int, rows: Iterable[Baseline]) -> Baselines:
        """Of all rows, those for a weekday (1 Monday to 7 Sunday), and those of all days where it has none."""
        found = cls(weekday)
        for row in sorted(rows, key=lambda row: row.weekday):
            if row.weekday in (ALL_WEEKDAYS, weekday):
                kept = (row.usual, row.spread, row.days, row.weekday)
                found.series.setdefault((row.metric, row.subject), np.zeros((HOURS + 1, 4)))[row.hour] = kept
                if (row.metric, row.weekday) == ("footfall", ALL_WEEKDAYS):
                    found.series.setdefault((ANY_DAY, ""), np.zeros((HOURS + 1, 4)))[row.hour] = kept
        return found

    def at(self, metric: str, hour: int, subject: str = "") -> Usual | None:
        """What is usual in an hour; where that hour has no history, in the whole day; None without either."""
        table = self.series.get((metric, subject))
        if table is None:
            return None
        for place in (hour, ALL_HOURS):
            usual, spread, days, weekday = table[place]
            if days:
                when = f"{WEEKDAY_WORDS[int(weekday)]} at this hour" if place < ALL_HOURS else "days"
                return Usual(float(usual), float(spread), int(days), when)
        return None

    def between(self, metric: str, subject: str, start: float, end: float) -> float | None:
        """How many are usual from one time of the day to another (hours since midnight, may pass it); None without
        history.
        """
        table = self.series.get((metric, subject))
        if table is None:
            return None
        return float(
            sum(
                table[hour % HOURS][0] * (min(end, hour + 1) - max(start, hour))
                for hour in range(math.floor(start), math.ceil(end))
            )
        )


WEEKDAY_WORDS = ("days", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def robust(figures: Floats) -> tuple[Floats, Floats]:
    """Median of each column, and median absolute deviation times 1.4826; NaN is no figure."""
    median = np.nanmedian(figures, axis=0)
    return median, 1.4826 * np.nanmedian(np.abs(figures - median), axis=0)


def trimmed(figures: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column without its highest and lowest fifth."""
    cut = len(figures) // 5
    kept = np.sort(figures, axis=0)[cut : len(figures) - cut]
    return kept.mean(axis=0), kept.std(axis=0)


def make(past: Past, calendar: StoreCalendar, today: date) -> list[Baseline]:
    """The baselines for a business day, from the days before it."""
    days = usable(past, calendar, today)
    # Hours in which nobody has ever come have no rows.
    hours = sorted({hour for day in days for hour, figures in past.hours[day].items() if figures.visitors})
    rows: list[Baseline] = []
    for metric, measure in _MEASURES.items():
        table = np.array([measure(past.hours[day]) for day in days], dtype=float).reshape(-1, HOURS)
        rows += _rows(metric, "", ALL_WEEKDAYS, hours, table, LEAST_DAYS)
        for weekday in range(1, 8):
            some = table[[day.isoweekday() == weekday for day in days]]
            rows += _rows(metric, "", weekday, hours, some, LEAST_OF_WEEKDAY)
        if metric in ("conversion", "abandonment"):
            whole_days = np.repeat(table[:, -1:], HOURS + 1, axis=1)
            rows += _rows(metric, "", ALL_WEEKDAYS, [ALL_HOURS], whole_days, LEAST_DAYS)
    for metric, counts in (("zone_visits", past.zones), ("camera_sightings", past.cameras)):
        for subject in sorted({subject for day in days for subject in counts.get(day, {})}):
            seen = [counts[day][subject] for day in days if subject in counts.get(day, {})]
            table = np.array([[day.get(hour, 0) for hour in range(HOURS)] for day in seen], dtype=float)
            rows += _rows(metric, subject, ALL_WEEKDAYS, hours, table, LEAST_DAYS)
    return rows


def _rows(
    metric: str, subject: str, weekday: int, hours: Sequence[int], table: Floats, least: int
) -> Iterable[Baseline]:
    """Rows of the hours that enough days tell of; a row of the table is a day, a column an hour."""
    known = (~np.isnan(table)).sum(axis=0)
    told = [hour for hour in hours if known[hour] >= least]
    if not told:
        return
    figures = table[:, told]
    usual, spread = (trimmed if metric in ("zone_visits", "camera_sightings") else robust)(figures)
    for place, hour in enumerate(told):
        column = figures[:, place]
        kept = tuple(column[~np.isnan(column)].tolist())
        yield Baseline(metric, subject, weekday, hour, float(usual[place]), float(spread[place]), len(kept), kept)


def usable(past: Past, calendar: StoreCalendar, today: date) -> list[date]:
    """The days that tell what is usual: with visitors, neither special nor short, of 24 hours, and no camera blind."""
    days = [
        day
        for day in sorted(past.hours)
        if today - timedelta(days=DAYS) <= day < today and day not in calendar.special_days and _is_whole(calendar, day)
    ]
    totals = {day: sum(hour.visitors for hour in past.hours[day].values()) for day in days}
    middle = float(np.median([total for total in totals.values() if total] or [0]))
    days = [day for day in days if totals[day] and totals[day] >= SHORT_DAY * middle]
    blind = _blind_days(past.cameras, days)
    return [day for day in days if day not in blind]


def _is_whole(calendar: StoreCalendar, day: date) -> bool:
    """Whether the clock is not changed on this day: its hours then compare with those of others."""
    start, end = calendar.bounds(day)
    return end - start == DAY_MS


def _blind_days(cameras: Mapping[date, Mapping[str, Mapping[int, int]]], days: Sequence[date]) -> set[date]:
    """Days on which a camera saw nobody for as long as ``MISSED`` people usually take to come."""
    blind: set[date] = set()
    for camera in {camera for day in days for camera in cameras.get(day, {})}:
        table = np.array([[cameras.get(day, {}).get(camera, {}).get(hour, 0) for hour in range(HOURS)] for day in days])
        began = int(np.argmax(table.any(axis=1)))  # a camera put up since then was not blind before
        usual = np.median(table[began:], axis=0)
        for day, seen in zip(days[began:], table[began:], strict=True):
            missed = longest = 0.0
            for count, expected in zip(seen, usual, strict=True):
                missed = 0.0 if count else missed + expected
                longest = max(longest, missed)
            if longest >= MISSED:
                blind.add(day)
    return blind


def _share_so_far(parts: Iterable[int], wholes: Iterable[int]) -> list[float]:
    return [
        part / whole if whole else math.nan for part, whole in zip(accumulate(parts), accumulate(wholes), strict=True)
    ]


def _each(hours: Mapping[int, HourFigures]) -> list[HourFigures]:
    return [hours.get(hour, HourFigures()) for hour in range(HOURS)]


_MEASURES: Mapping[str, Callable[[Mapping[int, HourFigures]], list[float]]] = {
    "footfall": lambda hours: [float(hour.visitors) for hour in _each(hours)],
    "queue": lambda hours: [float(hour.longest_queue) for hour in _each(hours)],
    "conversion": lambda hours: _share_so_far((h.purchased for h in _each(hours)), (h.visitors for h in _each(hours))),
    "abandonment": lambda hours: _share_so_far((h.abandoned for h in _each(hours)), (h.joined for h in _each(hours))),
}
