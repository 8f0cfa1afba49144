"""Which facts an answer is about: a business day, or the time from one moment to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms

LONGEST = timedelta(days=400)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """From ``start`` (included) to ``end`` (excluded), UTC. ``business_day`` is set when it is exactly that day of the
    store.
    """

    start: datetime
    end: datetime
    last_day: date
    business_day: date | None = None


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def of_day(calendar: StoreCalendar, day: date) -> Window:
    """The window of one business day.

    Raises:
        ValueError: the day lies outside 2000 to 2099.
    """
    if not EARLIEST.date() < day < LATEST.date() - timedelta(days=1):
        raise ValueError("date must lie between 2000-01-02 and 2099-12-30")
    start, end = calendar.bounds(day)
    return Window(_moment(start), _moment(end), day, day)


def choose(
    calendar: StoreCalendar, newest: datetime, start: datetime | None, end: datetime | None, day: date | None
) -> Window:
    """The window that ``from`` and ``to``, or ``date``, ask for; without them the business day of ``newest``.

    Raises:
        ValueError: what was asked for contradicts itself or is too long.
    """
    if day is not None:
        if start is not None or end is not None:
            raise ValueError("date cannot go with from and to")
        return of_day(calendar, day)
    if start is None and end is None:
        return of_day(calendar, calendar.business_day(epoch_ms(newest)))
    if start is None or end is None:
        raise ValueError("from and to go together")
    if not EARLIEST <= start < LATEST or not EARLIEST <= end < LATEST:
        raise ValueError("from and to must lie between 2000 and 2099")
    if start >= end:
        raise ValueError("from must be earlier than to")
    if end - start > LONGEST:
        raise ValueError(f"from and to may lie at most {LONGEST.days} days apart")
    last_moment = epoch_ms(end.astimezone(UTC)) - 1
    return Window(start.astimezone(UTC), end.astimezone(UTC), calendar.business_day(last_moment))
