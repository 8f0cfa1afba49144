"""What is out of the ordinary in a store: the rules, without I/O. See ``docs/anomalies.md``.

Whether something is found follows from the definitions in ``docs/metrics.md`` alone. How severe it is follows from how
unusual it is: what chance or an ordinary rush hour brings about is a note (INFO), not an alarm.

All are judged at the time of the store's newest fact, but for STALE_FEED, which looks at the wall clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import get_args

from schemas.events import AnomalyType, Severity
from schemas.layouts import StoreCalendar
from stream_processors.baselines import ANY_DAY, MISSED, Baselines, Usual

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DEAD_ZONE_MS = 30 * MINUTE_MS
SILENT_MS = 10 * MINUTE_MS
LONG_STALE_MS = 60 * MINUTE_MS
SETTLED_MS = 45 * MINUTE_MS
"""After so long nearly everybody who came in has bought, or will not."""
FAR = 3.5
"""So many standard deviations from the usual is no chance, though it is looked for all day long."""
STALE_VISITORS = 6.0
"""A silence in which fewer than so many visitors usually come may be an empty shop."""
GROUPS = 1.9
"""Variance over mean of the number of people who come in groups of one to four, mostly alone."""
DAY_LUCK = 0.15
"""Days of one weekday differ by weather and the like: the standard deviation of their visitors over the mean, at least."""
ENOUGH_FOOTFALL = 20.0
CAMERA_WORD_MS = 16 * MINUTE_MS
"""A camera reports every five minutes: after three missed reports its last word holds no more."""

Identity = tuple[AnomalyType, str]
"""(type, subject): the zone, camera or SKU concerned, empty for the whole store."""
STOCK_TYPES: frozenset[AnomalyType] = frozenset(("STOCKOUT_RISK", "NEGATIVE_STOCK", "FORECAST_DRIFT"))
"""What the stock workers judge (``stream_processors/stock/alerts.py``)."""
SHOP_TYPES: frozenset[AnomalyType] = frozenset(get_args(AnomalyType)) - STOCK_TYPES
"""What the workers of visits judge."""


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
    settled: DayFigures = DayFigures()
    """Those of today's visits that began at least ``SETTLED_MS`` before the newest fact."""
    came_lately: tuple[int, ...] = (0, 0, 0)
    """Visitors who came in the last one, two and three hours before the newest fact."""
    baselines: Baselines | None = None
    """What is usual on this weekday; None while that is not known."""
    zone_cameras: Mapping[str, str] = field(default_factory=dict)
    """By zone: the camera that saw its latest zone visit."""
    camera_words: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """By camera: the state that it last reported of itself, and when."""

    @property
    def hour(self) -> float:
        """Time of the day by the store's clock, in hours."""
        return clock_hour(self.calendar, self.newest)

    @property
    def special(self) -> str | None:
        """What today is, if it is like no other day."""
        day = self.calendar.special_days.get(self.calendar.business_day(self.newest))
        return None if day is None else day.name or "a special day"

    def usual(self, metric: str, at: int | None = None) -> Usual | None:
        """What is usual in the hour of a moment, by default of the newest fact."""
        if self.baselines is None:
            return None
        return self.baselines.at(metric, int(clock_hour(self.calendar, self.newest if at is None else at)))

    def missed(self, metric: str, subject: str, since: int) -> float | None:
        """How many usually come from then to the newest fact, at a shop as busy as this one is today; None without
        history.
        """
        if self.baselines is None:
            return None
        hours = min(24.0, (self.newest - since) / HOUR_MS)
        usual = self.baselines.between(metric, subject, self.hour - hours, self.hour)
        return None if usual is None else usual * self._busyness()

    def _busyness(self) -> float:
        """Today's visitors over those usual by now on any day, from a half to one: a quiet day makes nothing suspicious."""
        opened = self.calendar.open_since(self.newest)
        if self.baselines is None or opened is None:
            return 1.0
        hours = min(24.0, (self.newest - opened) / HOUR_MS)
        usual = self.baselines.between(ANY_DAY, "", self.hour - hours, self.hour) or 0.0
        return min(1.0, max(0.5, self.today.visitors / usual)) if usual >= 5 else 1.0


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
    severity_reason: str = ""
    unusual: str = ""
    """How often it was so on comparable days, in words."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """The counts behind it."""

    @property
    def identity(self) -> Identity:
        """What makes it the same anomaly as a moment ago."""
        return (self.type, self.subject)


ANNOUNCED_BEFORE = "-"
"""What rows say of their announcement that were written before they said anything."""


@dataclass(frozen=True)
class OpenAnomaly:
    """An anomaly from its opening on, and how far the world has been told."""

    finding: Finding
    detected_at: int
    """Event time at which it opened, milliseconds since 1970; with its identity, its name."""
    calm_since: int | None = None
    """Event time since which it is not found any more."""
    closed_at: int | None = None
    announced: str = ""
    """What the last alert that Kafka has confirmed said, in the words of ``says``; empty before the first."""

    @property
    def says(self) -> str:
        """What an alert would say of it now."""
        return "CLOSED" if self.closed_at is not None else f"OPEN {self.finding.severity}"

    @property
    def is_announced(self) -> bool:
        """Whether the world knows it as it is."""
        return self.announced == self.says or (self.announced == ANNOUNCED_BEFORE and self.closed_at is None)


CALM_MS: Mapping[AnomalyType, int] = {
    "QUEUE_SPIKE": 5 * MINUTE_MS,
    "CONVERSION_DROP": 15 * MINUTE_MS,
    "ABANDONMENT_SPIKE": 15 * MINUTE_MS,
    "DEAD_ZONE": 15 * MINUTE_MS,
    "CAMERA_DOWN": 10 * MINUTE_MS,
    "STALE_FEED": MINUTE_MS,
    "FOOTFALL_DROP": 30 * MINUTE_MS,
    "FOOTFALL_SURGE": 30 * MINUTE_MS,
    # What opens and what closes one lie apart already, or it is a fact of the ledger.
    "STOCKOUT_RISK": 0,
    "NEGATIVE_STOCK": 0,
    "FORECAST_DRIFT": 0,
}
"""An anomaly closes when it has not been found for so long: one that comes and goes is one anomaly, not ten."""
NOTE_CALM_MS = 60 * MINUTE_MS
"""The same for a note: what is found ten times a day, since nothing much happens, is one note."""


def follow(held: OpenAnomaly | None, finding: Finding | None, at: int) -> OpenAnomaly | None:
    """An anomaly after a look at it: opened, kept current, calm, or closed as of when it became calm.

    Args:
        held: the open anomaly of this identity, if there is one.
        finding: what is found of it now, if anything.
        at: event time of the look.
    """
    if finding is not None:
        return OpenAnomaly(finding, at) if held is None else replace(held, finding=finding, calm_since=None)
    if held is None:
        return None
    calm_since = at if held.calm_since is None else held.calm_since
    is_note = held.finding.severity == "INFO" and held.finding.type not in STOCK_TYPES
    calm = NOTE_CALM_MS if is_note else CALM_MS[held.finding.type]
    closes = at - calm_since >= calm
    return replace(held, calm_since=calm_since, closed_at=calm_since if closes else None)


def detect(figures: StoreFigures) -> list[Finding]:
    """Every anomaly of a store at its newest fact."""
    cameras = list(_cameras_down(figures))
    blind = {camera.subject for camera in cameras if camera.severity == "CRITICAL"}
    found = [
        *_queue_spike(figures),
        *_conversion_drop(figures),
        *_abandonment_spike(figures),
        *_footfall(figures),
    ]
    return [*(_excused(finding, figures, blind) for finding in found), *_dead_zones(figures, blind), *cameras]


def _excused(finding: Finding, figures: StoreFigures, blind: set[str]) -> Finding:
    """The finding as a note, if the day or a broken camera explains it. More than ten in the queue are never explained."""
    if finding.type == "QUEUE_SPIKE" and finding.severity == "CRITICAL":
        return finding
    if figures.special is not None:
        return replace(finding, severity="INFO", severity_reason=f"today is not an ordinary day: {figures.special}")
    if blind:
        return replace(
            finding, severity="INFO", severity_reason=f"{', '.join(sorted(blind))} is down: counts are too low"
        )
    return finding


def _queue_spike(figures: StoreFigures) -> Iterable[Finding]:
    depth, mean = figures.depth, figures.usual_depth
    if not (depth > 5 and depth > 2 * mean):
        return
    peak = figures.usual("queue")
    severity: Severity = "WARN"
    if depth > 10:
        severity, reason = "CRITICAL", "more than 10 people wait"
    elif peak is None:
        reason = "more than 5 and more than twice the mean; too little history to tell how often that happens"
    elif depth <= peak.usual + 3 * max(peak.spread, 1.0):
        severity, reason = "INFO", f"the queue is that long now and then on {peak.scope}"
    else:
        reason = f"the queue is hardly ever that long on {peak.scope}"
    yield Finding(
        "QUEUE_SPIKE",
        "",
        severity,
        f"{depth} people wait to pay; {mean:.1f} are usual at this hour.",
        f"Open another till{_at_billing(figures.calendar)} and call staff to the front.",
        depth,
        mean,
        reason,
        _usually("The longest queue of the hour is", peak, "{:.0f}"),
        {"waiting": depth},
    )


def _conversion_drop(figures: StoreFigures) -> Iterable[Finding]:
    rates = [day.conversion for day in figures.week if day.visitors]
    if not rates or figures.today.visitors < 20:
        return
    rate, mean = figures.today.conversion, sum(rates) / len(rates)
    if rate < 0.7 * mean:
        known, settled = figures.usual("conversion", figures.newest - SETTLED_MS), figures.settled
        deviation = deviations(settled.purchased, settled.visitors, mean, known)
        severity, reason = _by_chance(-deviation, "CRITICAL" if rate < 0.35 * mean else "WARN")
        yield Finding(
            "CONVERSION_DROP",
            "",
            severity,
            f"{rate:.0%} of visitors buy today; {mean:.0%} did over the last week.",
            "Walk the floor: look for empty shelves, missing prices and closed tills.",
            rate,
            mean,
            reason,
            _usually("By this hour", known, "{:.0%}", " buy"),
            {
                "visitors": figures.today.visitors,
                "bought": figures.today.purchased,
                "settled_visitors": settled.visitors,
                "settled_bought": settled.purchased,
                "deviations": round(deviation, 2),
            },
        )


def _abandonment_spike(figures: StoreFigures) -> Iterable[Finding]:
    rates = [day.abandonment for day in figures.week if day.joined]
    rate, mean = figures.today.abandonment, sum(rates) / len(rates) if rates else 0.0
    if figures.today.joined >= 10 and rate > 0.2 and rate > 1.5 * mean:
        known, settled = figures.usual("abandonment", figures.newest - SETTLED_MS), figures.settled
        deviation = deviations(settled.abandoned, settled.joined, mean if rates else 0.2, known)
        severity, reason = _by_chance(deviation, "CRITICAL" if rate > 0.5 else "WARN")
        yield Finding(
            "ABANDONMENT_SPIKE",
            "",
            severity,
            f"{rate:.0%} of those who queue give up; {mean:.0%} did over the last week.",
            f"Shorten the queue: open a till{_at_billing(figures.calendar)}, or take payment on the floor.",
            rate,
            mean,
            reason,
            _usually("By this hour", known, "{:.0%}", " give up"),
            {
                "joined": figures.today.joined,
                "gave_up": figures.today.abandoned,
                "settled_joined": settled.joined,
                "settled_gave_up": settled.abandoned,
                "deviations": round(deviation, 2),
            },
        )


def _by_chance(deviation: float, severity: Severity) -> tuple[Severity, str]:
    """The severity of a share that lies so many standard deviations on the wrong side, and why."""
    if deviation < FAR:
        return "INFO", f"chance may do that: {deviation:.1f} standard deviations, {FAR} are sure"
    return severity, f"no chance: {deviation:.1f} standard deviations from what is usual"


def deviations(part: int, whole: int, mean: float, usual: Usual | None) -> float:
    """How many standard deviations a share lies above what is usual: the median of comparable days, else ``mean``.

    The variance is that of a binomial share, or that of comparable days if they differ by more than chance would make
    them. 0 of nothing.
    """
    if not whole:
        return 0.0
    centre = min(0.98, max(0.02, mean if usual is None else usual.usual))
    variance = centre * (1 - centre) / whole
    if usual is not None:
        variance = max(variance, usual.spread**2)
    return (part / whole - centre) / math.sqrt(variance)


def count_deviations(count: float, expected: float, spread: float, days: int) -> float:
    """How many standard deviations a count of visitors lies above the expected one, a median of so many days.

    Of square roots, whose variance does not depend on the count (Anscombe, 1948): a quarter for people who come one by one,
    ``GROUPS`` times that since they come in groups, or what comparable hours differ by if that is more; more by what the median
    of few days is off by; and ``DAY_LUCK``, since no day is like another.
    """
    variance = max(GROUPS, spread**2 / max(expected, 1.0)) / 4 * (1 + math.pi / 2 / days) + DAY_LUCK**2 * expected / 4
    return (math.sqrt(count) - math.sqrt(expected)) / math.sqrt(variance)


def _footfall(figures: StoreFigures) -> Iterable[Finding]:
    """Far fewer or far more visitors than usual in the last hour; where few come, in the last two or three."""
    opened, known = figures.calendar.open_since(figures.newest), figures.usual("footfall")
    if figures.baselines is None or known is None or opened is None:
        return
    for hours in range(1, 1 + min(len(figures.came_lately), (figures.newest - opened) // HOUR_MS)):
        expected = figures.baselines.between("footfall", "", figures.hour - hours, figures.hour) or 0.0
        if expected >= ENOUGH_FOOTFALL:
            break
    else:
        return
    came = figures.came_lately[hours - 1]
    deviation = count_deviations(came, expected, known.spread * math.sqrt(hours), known.days)
    counts = {"came": came, "usual": round(expected, 1), "hours": hours, "deviations": round(deviation, 2)}
    words = f"{came} visitors came in the last {'hour' if hours == 1 else f'{hours} hours'}; {expected:.0f} are usual."
    usually = _usually("In an hour", known, "{:.0f}", " come")
    if came < 0.4 * expected and deviation < -FAR:
        what_to_do = "Check that the entrance is open and lit, and that its camera sees the door."
        reason = f"no chance: {-deviation:.1f} standard deviations below"
        yield Finding("FOOTFALL_DROP", "", "WARN", words, what_to_do, came, expected, reason, usually, counts)
    if came > 2 * expected and deviation > FAR:
        what_to_do = "Open tills before the queue grows, and call staff to the floor."
        reason = f"no chance: {deviation:.1f} standard deviations above"
        yield Finding("FOOTFALL_SURGE", "", "WARN", words, what_to_do, came, expected, reason, usually, counts)


def _dead_zones(figures: StoreFigures, blind: set[str]) -> Iterable[Finding]:
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
            since = max(last or 0, opened)
            minutes = (now - since) // MINUTE_MS
            missed = figures.missed("zone_visits", zone, since)
            cameras = _cameras_of(figures, zone)
            severity: Severity = "INFO"
            if cameras & blind:
                reason = f"{', '.join(sorted(cameras & blind))} is down: nobody is seen there"
            elif figures.special is not None:
                reason = f"today is not an ordinary day: {figures.special}"
            elif missed is None:
                reason = "too little history to tell whether that is unusual"
            elif missed < MISSED:
                reason = f"{missed:.0f} visits are usual in that time: chance may do that"
            else:
                severity, reason = "WARN", f"{missed:.0f} visits are usual in that time"
            yield Finding(
                "DEAD_ZONE",
                zone,
                severity,
                f"Nobody has visited {zone} for {in_words(minutes)}.",
                f"Check that {zone} can be reached and looks inviting, and that {_named(cameras)} sees it.",
                minutes,
                DEAD_ZONE_MS // MINUTE_MS,
                reason,
                "" if missed is None else f"{missed:.1f} visits are usual in that time.",
                {"minutes": minutes} | ({} if missed is None else {"visits_missed": round(missed, 1)}),
            )


def _cameras_of(figures: StoreFigures, zone: str) -> set[str]:
    """The cameras over a zone: by the layout, else the one that saw it last."""
    layout = figures.calendar.layout
    areas = next((one.areas for one in layout.zones if one.zone_id == zone), []) if layout else []
    cameras = {area.camera_id for area in areas}
    return cameras or ({figures.zone_cameras[zone]} if zone in figures.zone_cameras else set())


def _named(cameras: set[str]) -> str:
    return " or ".join(sorted(cameras)) if cameras else "its camera"


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
            severity, reason, missed = _of_silence(figures, camera, last)
            yield Finding(
                "CAMERA_DOWN",
                camera,
                severity,
                f"Camera {camera} has sent nothing for {in_words(minutes)}.",
                f"Check the power, the network and the lens of {camera}; figures of its zones are too low until it is back.",
                minutes,
                SILENT_MS // MINUTE_MS,
                reason,
                "" if missed is None else f"{missed:.1f} arrivals are usual in its view in that time.",
                {"minutes": minutes} | ({} if missed is None else {"arrivals_missed": round(missed, 1)}),
            )


def _of_silence(figures: StoreFigures, camera: str, last: int) -> tuple[Severity, str, float | None]:
    """How bad a camera's silence is, why, and how many people it should have seen meanwhile."""
    missed = figures.missed("camera_sightings", camera, last)
    state, said = figures.camera_words.get(camera, ("", 0))
    if said < figures.newest - CAMERA_WORD_MS:
        state = ""
    if state in ("FROZEN", "OFFLINE"):
        return "CRITICAL", f"it says itself that it is {state.lower()}", missed
    if missed is not None and missed >= MISSED:
        return "CRITICAL", f"{missed:.0f} arrivals are usual in its view in that time", missed
    if state == "ONLINE":
        return "INFO", "it says itself that it is well", missed
    if missed is not None:
        return "INFO", f"{missed:.0f} arrivals are usual in its view in that time: perhaps nobody passed", missed
    return "CRITICAL", "too little history to tell whether people usually pass it", missed


def stale_feed(calendar: StoreCalendar, newest: int, now: int, baselines: Baselines | None = None) -> list[Finding]:
    """STALE_FEED, by the wall clock: nothing has come from an open store for more than ten minutes.

    Args:
        baselines: what is usual on the weekday of ``now``, if that is known.
    """
    silent = now - newest
    opened = calendar.open_since(now)
    if opened is None or silent <= SILENT_MS:
        return []
    minutes = silent // MINUTE_MS
    # Before it opened nobody was to be expected.
    hour, hours = clock_hour(calendar, now), min(24.0, (now - max(newest, opened)) / HOUR_MS)
    missed = None if baselines is None else baselines.between("footfall", "", hour - hours, hour)
    severity: Severity = "CRITICAL" if silent > LONG_STALE_MS else "WARN"
    if missed is not None and missed < STALE_VISITORS:
        severity, reason = "INFO", f"{missed:.1f} visitors are usual in that time: perhaps nobody came"
    elif missed is not None:
        reason = f"{missed:.0f} visitors are usual in that time"
    else:
        reason = "too little history to tell whether the shop is usually empty at this hour"
    return [
        Finding(
            "STALE_FEED",
            "",
            severity,
            f"Nothing has come from this store for {in_words(minutes)}.",
            "Check the store's network and whatever publishes its events.",
            minutes,
            SILENT_MS // MINUTE_MS,
            reason,
            "" if missed is None else f"{missed:.1f} visitors are usual in that time.",
            {"minutes": minutes} | ({} if missed is None else {"visitors_missed": round(missed, 1)}),
        )
    ]


def clock_hour(calendar: StoreCalendar, at: int) -> float:
    """The time of the day of a moment (milliseconds since 1970) by the store's clock, in hours."""
    local = datetime.fromtimestamp(at / 1000, calendar.zone)
    return local.hour + local.minute / 60 + local.second / 3600


def _at_billing(calendar: StoreCalendar) -> str:
    zones = sorted(zone for zone, kind in calendar.zone_types.items() if kind == "BILLING")
    return f" at {' or '.join(zones)}" if zones else ""


def _usually(what: str, usual: Usual | None, form: str, verb: str = "") -> str:
    """What comparable days were like, in words."""
    if usual is None:
        return ""
    low, high = max(0.0, usual.usual - 2 * usual.spread), usual.usual + 2 * usual.spread
    middle, least, most = (
        form.format(figure) for figure in (usual.usual, low, min(high, 1.0) if "%" in form else high)
    )
    return f"{what} {middle}{verb} in the middle of the last {usual.days} {usual.scope}, mostly {least} to {most}."


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
