"""What is out of the ordinary in a store: the rules, without I/O. See the table in ``docs/metrics.md``.

All are judged at the time of the store's newest fact, but for STALE_FEED, which looks at the wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from schemas.events import AnomalyType, Severity
from schemas.layouts import StoreCalendar

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DEAD_ZONE_MS = 30 * MINUTE_MS
SILENT_MS = 10 * MINUTE_MS
LONG_STALE_MS = 60 * MINUTE_MS

Identity = tuple[AnomalyType, str]
"""(type, subject): the zone or camera concerned, empty for the whole store."""


@dataclass(frozen=True)
class DayFigures:
    """One store's figures of one business day, staff left out. ``visitors`` and ``purchased`` count visitors, the rest
    all visits.
    """

    visitors: int = 0
    purchased: int = 0
    joined: int = 0
    abandoned: int = 0

    @property
    def conversion(self) -> float:
        """Share of visitors who purchased; 0 without visitors."""
        return self.purchased / self.visitors if self.visitors else 0.0

    @property
    def abandonment(self) -> float:
        """Share of visits that joined the queue and abandoned it; 0 without joins."""
        return self.abandoned / self.joined if self.joined else 0.0


@dataclass(frozen=True)
class StoreFigures:
    """What the anomalies of one store are judged by."""

    calendar: StoreCalendar
    newest: int
    """Time of the store's newest fact, milliseconds since 1970."""
    today: DayFigures = DayFigures()
    week: tuple[DayFigures, ...] = ()
    """Those of the 7 days before that have visits."""
    depth: int = 0
    usual_depth: float = 0.0
    zones_seen: Mapping[str, int] = field(default_factory=dict)
    """By zone: the latest end of today's zone visits."""
    cameras_heard: Mapping[str, int] = field(default_factory=dict)
    """By camera: its newest event of today."""


@dataclass(frozen=True)
class Finding:
    """An anomaly as it stands."""

    type: AnomalyType
    subject: str
    severity: Severity
    message: str
    suggested_action: str
    value: float
    baseline: float

    @property
    def identity(self) -> Identity:
        """What makes it the same anomaly as a moment ago."""
        return (self.type, self.subject)


@dataclass(frozen=True)
class OpenAnomaly:
    """An anomaly that is open, and the event time at which it opened."""

    finding: Finding
    detected_at: int


def detect(figures: StoreFigures) -> list[Finding]:
    """Every anomaly of a store at its newest fact."""
    return [
        *_queue_spike(figures),
        *_conversion_drop(figures),
        *_abandonment_spike(figures),
        *_dead_zones(figures),
        *_cameras_down(figures),
    ]


def _queue_spike(figures: StoreFigures) -> Iterable[Finding]:
    depth, usual = figures.depth, figures.usual_depth
    if depth > 5 and depth > 2 * usual:
        yield Finding(
            "QUEUE_SPIKE",
            "",
            "CRITICAL" if depth > 10 else "WARN",
            f"{depth} people wait to pay; {usual:.1f} are usual at this hour.",
            "Open another till and call staff to the front.",
            depth,
            usual,
        )


def _conversion_drop(figures: StoreFigures) -> Iterable[Finding]:
    rates = [day.conversion for day in figures.week if day.visitors]
    if not rates or figures.today.visitors < 20:
        return
    rate, mean = figures.today.conversion, sum(rates) / len(rates)
    if rate < 0.7 * mean:
        yield Finding(
            "CONVERSION_DROP",
            "",
            "CRITICAL" if rate < 0.35 * mean else "WARN",
            f"{rate:.0%} of visitors buy today; {mean:.0%} did over the last week.",
            "Walk the floor: look for empty shelves, missing prices and closed tills.",
            rate,
            mean,
        )


def _abandonment_spike(figures: StoreFigures) -> Iterable[Finding]:
    rates = [day.abandonment for day in figures.week if day.joined]
    rate, mean = figures.today.abandonment, sum(rates) / len(rates) if rates else 0.0
    if figures.today.joined >= 10 and rate > 0.2 and rate > 1.5 * mean:
        yield Finding(
            "ABANDONMENT_SPIKE",
            "",
            "CRITICAL" if rate > 0.5 else "WARN",
            f"{rate:.0%} of those who queue give up; {mean:.0%} did over the last week.",
            "Shorten the queue: open a till, or take payment on the floor.",
            rate,
            mean,
        )


def _dead_zones(figures: StoreFigures) -> Iterable[Finding]:
    calendar, now = figures.calendar, figures.newest
    opened = calendar.open_since(now)
    if opened is None or now - opened < DEAD_ZONE_MS:
        return
    listed = {zone for zone, kind in calendar.zone_types.items() if kind in ("SHELF", "DISPLAY")}
    unlisted = {
        zone for zone in figures.zones_seen if zone not in calendar.zone_types and not calendar.is_billing(zone)
    }
    for zone in sorted(listed | unlisted):
        last = figures.zones_seen.get(zone)
        if last is None or last <= now - DEAD_ZONE_MS:
            minutes = (now - max(last or 0, opened)) // MINUTE_MS
            yield Finding(
                "DEAD_ZONE",
                zone,
                "INFO",
                f"Nobody has visited {zone} for {in_words(minutes)}.",
                "Check that the zone can be reached and looks inviting, and that its camera sees it.",
                minutes,
                DEAD_ZONE_MS // MINUTE_MS,
            )


def _cameras_down(figures: StoreFigures) -> Iterable[Finding]:
    calendar, now = figures.calendar, figures.newest
    opened = calendar.open_since(now)
    if opened is None or now - opened < SILENT_MS:
        return
    # A camera that has not spoken today is taken to have spoken when the store opened.
    cameras = calendar.layout.cameras if calendar.layout else []
    heard = {camera.camera_id: opened for camera in cameras} | dict(figures.cameras_heard)
    for camera, last in sorted(heard.items()):
        if now - last > SILENT_MS:
            minutes = (now - last) // MINUTE_MS
            yield Finding(
                "CAMERA_DOWN",
                camera,
                "CRITICAL",
                f"Camera {camera} has sent nothing for {in_words(minutes)}.",
                "Check its power, its network and its lens; figures of its zones are too low until it is back.",
                minutes,
                SILENT_MS // MINUTE_MS,
            )


def stale_feed(calendar: StoreCalendar, newest: int, now: int) -> list[Finding]:
    """STALE_FEED, by the wall clock: nothing has come from an open store for more than ten minutes."""
    silent = now - newest
    if calendar.open_since(now) is None or silent <= SILENT_MS:
        return []
    minutes = silent // MINUTE_MS
    severity: Severity = "CRITICAL" if silent > LONG_STALE_MS else "WARN"
    return [
        Finding(
            "STALE_FEED",
            "",
            severity,
            f"Nothing has come from this store for {in_words(minutes)}.",
            "Check the store's network and whatever publishes its events.",
            minutes,
            SILENT_MS // MINUTE_MS,
        )
    ]


def mean_depth(courses: Iterable[tuple[int, list[tuple[int, int]]]]) -> float:
    """The depth that is usual in an hour: its mean over time in the same hour of earlier days.

    Args:
        courses: per day, the start of the hour (milliseconds since 1970) and the day's (time, depth) in order up to its
            end.
    """
    total = spent = 0
    for start, course in courses:
        end = start + HOUR_MS
        for (begins, depth), (ends, _) in pairwise([(0, 0), *course, (end, 0)]):
            total += depth * max(0, min(ends, end) - max(begins, start))
        spent += HOUR_MS
    return total / spent if spent else 0.0


def in_words(minutes: int) -> str:
    """A duration for people: whole minutes up to two hours, then hours, from two days on days."""
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"
