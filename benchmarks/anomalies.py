"""False alarms, recall and time to detection of the anomalies, over simulated months.

Shops of several sizes live through seventeen weeks made by the simulator's traffic model (people, tills and queues, not curves): each
weekday and hour has its traffic, every day its own luck, business grows, there are festivals (half of the shops tell the calendar),
closed days, lost half days and broken cameras. The workers' rules judge them every two minutes, with the baselines that a worker
would have made that day. Counted as false is every anomaly of severity WARN or CRITICAL on a day on which nothing was wrong; festivals
and closed days count, told or not. Then faults of every type are put into ordinary days, one at a time.

``--seed`` 1 was for setting the thresholds; the figures of ``benchmarks/results/anomalies.json`` are of seed 2. Run by
``make bench-anomalies`` (two and a half minutes of CPU).
"""

from __future__ import annotations

import argparse
import subprocess
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from producers.simulator import traffic
from producers.simulator.shops import BUYERS, HOUR_CURVE, MEAN_SERVICE_S, Shop, make_shops
from schemas.events import SpecialDay
from schemas.layouts import StoreCalendar
from schemas.reading import stored_layout
from stream_processors.anomalies import (
    HOUR_MS,
    MINUTE_MS,
    SETTLED_MS,
    DayFigures,
    Finding,
    OpenAnomaly,
    StoreFigures,
    detect,
    stale_feed,
)
from stream_processors.anomaly_watch import JUDGED_AT_FACTS, changes
from stream_processors.baselines import Baselines, HourFigures, Past, make

RESULTS = Path(__file__).parent / "results"
FIRST = date(2026, 1, 5)
"""A Monday; Europe's clocks change on 29 March."""
WARM_UP = 35
DAYS = 119
LOOK_EVERY_MS = 2 * MINUTE_MS
NEVER = np.inf
AT_LAST = 1e18
"""After everything that happens."""
FAULTS = (
    *("QUEUE_SPIKE", "CONVERSION_DROP", "ABANDONMENT_SPIKE", "DEAD_ZONE"),
    *("CAMERA_DOWN", "STALE_FEED", "FOOTFALL_DROP", "FOOTFALL_SURGE"),
)
LOUD = ("WARN", "CRITICAL")
SIGHTINGS = ("ENTRY", "REENTRY", "EXIT", "ZONE_ENTER", "BILLING_QUEUE_JOIN")


@dataclass(frozen=True)
class Fault:
    """What is wrong, from when to when (ms since 1970), and with which zone or camera."""

    type: str
    start: int
    end: int
    subject: str = ""

    def now(self, at: float) -> bool:
        """Whether it is wrong at a moment."""
        return self.start <= at < self.end


@dataclass
class Day:
    """One shop's day as the workers would know it: times at which things became known, in ms since 1970."""

    day: date
    opens: int
    closes: int
    came: np.ndarray[Any, Any]
    """By visit: its first event."""
    entered: np.ndarray[Any, Any]
    bought: np.ndarray[Any, Any]
    joined: np.ndarray[Any, Any]
    gave_up: np.ndarray[Any, Any]
    waits: list[int]
    served: list[int]
    stays: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
    heard: dict[str, list[int]]
    """By camera: times of its events."""
    sightings: dict[str, list[int]]
    facts: list[int]

    def depth(self, at: float) -> int:
        """People who wait."""
        return bisect_right(self.waits, at) - bisect_right(self.served, at)

    def figures(self, at: float, settled_by: float = AT_LAST) -> DayFigures:
        """What is known at a moment of the visits that began by another."""
        old = self.came <= settled_by
        bought = self.bought <= at
        entered = (self.entered <= at) & old
        return DayFigures(
            visitors=int(entered.sum()),
            purchased=int((entered & bought).sum()),
            joined=int(((self.joined <= at) & old).sum()),
            abandoned=int(((self.gave_up <= at) & ~bought & old).sum()),
        )


class Traffic(traffic._Day):
    """The simulator's day with something wrong, kept as what happened instead of as records."""

    def __init__(
        self, shop: Shop, day: date, seed: int, wrong: Fault | None, factor: float, records: bool = False
    ) -> None:
        super().__init__(shop, day, seed, None, None)
        self.wrong, self.factor, self.records = wrong, factor, records
        self.visits: list[traffic.Visit] = []
        self.paid: list[int] = []
        self.happened: list[traffic.Fact] = []
        self.stays_at_till: list[tuple[traffic.Visit, traffic.Served]] = []

    def _is(self, type_: str, at: float) -> bool:
        return self.wrong is not None and self.wrong.type == type_ and self.wrong.now(at)

    def rates(self) -> Iterator[tuple[int, int, float]]:
        for start, end, rate in super().rates():
            edges = sorted({start, end, *([self.wrong.start, self.wrong.end] if self.wrong else [])})
            for low, high in pairwise([edge for edge in edges if start <= edge <= end]):
                # A coach party for the queue: as many as make one even where one till serves few.
                coach = max(5.0, 300 / self.shop.groups_per_hour)
                times = 4.0 if self._is("FOOTFALL_SURGE", low) else coach if self._is("QUEUE_SPIKE", low) else 1.0
                yield low, high, rate * self.factor * (0.1 if self._is("FOOTFALL_DROP", low) else times)

    def buys(self, visit: traffic.Visit) -> float:
        return super().buys(visit) * (0.25 if self._is("CONVERSION_DROP", visit.now_ms) else 1)

    def service_ms(self, starts: int) -> int:
        return super().service_ms(starts) * (
            20 if self._is("ABANDONMENT_SPIKE", starts) else 3 if self._is("QUEUE_SPIKE", starts) else 1
        )

    def linger(self, visit: traffic.Visit, zone: str, at: int) -> int:
        if self.wrong is not None and zone == self.wrong.subject and self._is("DEAD_ZONE", at):
            zone = self.rng.choice([other for other in self.shop.zones if other != zone])
        return super().linger(visit, zone, at)

    def billing(self, visit: traffic.Visit, stay: traffic.Served, depth: Callable[[int], int]) -> None:
        self.stays_at_till.append((visit, stay))
        super().billing(visit, stay, depth)

    def receipt(self, at: int) -> traffic.Fact:
        self.paid.append(at)
        return super().receipt(at) if self.records else traffic.Fact(at, "", b"")

    def reports(self, visit: traffic.Visit) -> Iterator[traffic.Fact]:
        self.visits.append(visit)
        return super().reports(visit) if self.records else iter(())

    def lost(self, at: int, camera: str) -> bool:
        """Whether what a camera or till saw did not come."""
        return self._is("STALE_FEED", at) or (
            self.wrong is not None and camera == self.wrong.subject and self._is("CAMERA_DOWN", at)
        )

    def day_as_known(self) -> Day:
        """All of it, when nothing comes late."""
        self.happened = list(self.facts())
        shop, heard, sightings = self.shop, defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
        paid = sorted(at for at in self.paid if not self.lost(at, "TILL"))
        stays: dict[str, list[tuple[int, int]]] = defaultdict(list)
        columns: list[tuple[float, float, float, float, float]] = []
        facts = list(paid)
        for visit in self.visits:
            seen = [step for step in visit.steps if not self.lost(step.at_ms, shop.camera(step.zone_id))]
            for step in seen:
                heard[shop.camera(step.zone_id)].append(step.at_ms)
                facts.append(step.at_ms)
            if visit.staff or not seen:
                continue
            for step in seen:
                if step.event_type in SIGHTINGS:
                    sightings[shop.camera(step.zone_id)].append(step.at_ms)
            times = defaultdict[str, list[int]](list)
            for step in seen:
                times[step.event_type].append(step.at_ms)
            entered = min(times["ENTRY"] + times["REENTRY"], default=NEVER)
            till = [step.at_ms for step in seen if step.zone_id == shop.billing]
            bought = NEVER
            if till:
                place = bisect_right(paid, min(till) - 1)
                if place < len(paid) and paid[place] <= max(till) + 5 * MINUTE_MS:
                    bought = paid[place]
            joined, gave_up = (min(times[f"BILLING_QUEUE_{what}"], default=NEVER) for what in ("JOIN", "ABANDON"))
            columns.append((seen[0].at_ms, entered, bought, joined, gave_up))
            for zone, steps in _by_zone(seen).items():
                stays[zone] += steps
        table = np.array(columns, dtype=float).reshape(-1, 5).T
        waits = [
            (stay.joined_ms, stay.left_ms if stay.served_ms is None else stay.served_ms)
            for _, stay in self.stays_at_till
        ]
        waits = [wait for wait in waits if not self.lost(wait[0], "CAM_BILLING")]
        for times_ in (*heard.values(), *sightings.values(), facts):
            times_.sort()
        came, entered_at, bought_at, joined_at, gave_up_at = table
        return Day(
            self.day,
            self.opens,
            self.closes,
            came=came,
            entered=entered_at,
            bought=bought_at,
            joined=joined_at,
            gave_up=gave_up_at,
            waits=sorted(start for start, _ in waits),
            served=sorted(end for _, end in waits),
            stays={
                zone: (np.array([s for s, _ in found]), np.array([e for _, e in found]))
                for zone, found in stays.items()
            },
            heard=dict(heard),
            sightings=dict(sightings),
            facts=facts,
        )


def _by_zone(steps: Sequence[traffic.Step]) -> dict[str, list[tuple[int, int]]]:
    """Stays by zone: each enter with the last step in that zone before the next enter."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for step in steps:
        if step.zone_id is not None:
            if step.event_type == "ZONE_ENTER" or not found[step.zone_id]:
                found[step.zone_id].append((step.at_ms, step.at_ms))
            else:
                found[step.zone_id][-1] = (found[step.zone_id][-1][0], step.at_ms)
    return found


@dataclass
class Life:
    """One shop's months."""

    shop: Shop
    calendar: StoreCalendar
    seed: int
    past: Past = field(default_factory=Past)
    totals: dict[date, DayFigures] = field(default_factory=dict)
    depths: dict[date, list[float]] = field(default_factory=dict)
    """Mean depth by hour of the clock."""
    explain: bool = False
    """Print every false alarm."""

    def hour(self, at: float) -> int:
        """The hour of the shop's clock."""
        return datetime.fromtimestamp(at / 1000, ZoneInfo(self.shop.time_zone)).hour

    def remember(self, day: Day) -> None:
        """Put a day that is over into the history."""
        date_ = day.day
        self.totals[date_] = day.figures(AT_LAST)
        opening = range(self.hour(day.opens), self.hour(day.closes) + 1)
        starts = {hour: day.opens + (hour - opening[0]) * HOUR_MS for hour in opening}
        hours, depths = {}, [0.0] * 24
        for hour, start in starts.items():
            inside = (day.came >= start) & (day.came < start + HOUR_MS)
            entered, bought = inside & (day.entered < NEVER), day.bought < NEVER
            changes_at = [
                start,
                *(at for at in (*day.waits, *day.served) if start <= at < start + HOUR_MS),
                start + HOUR_MS,
            ]
            course = [(at, day.depth(at)) for at in sorted(changes_at)]
            depths[hour] = sum(depth * (end - at) for (at, depth), (end, _) in pairwise(course)) / HOUR_MS
            hours[hour] = HourFigures(
                int(entered.sum()),
                int((entered & bought).sum()),
                int((inside & (day.joined < NEVER)).sum()),
                int((inside & (day.gave_up < NEVER) & ~bought).sum()),
                max((depth for _, depth in course[:-1]), default=0),
            )
        self.past.hours[date_] = {hour: figures for hour, figures in hours.items() if any(figures)}
        self.depths[date_] = depths
        for table, counts in (
            (self.past.zones, {zone: starts_ for zone, (starts_, _) in day.stays.items()}),
            (self.past.cameras, day.sightings),
        ):
            table[date_] = {
                name: dict(
                    Counter(
                        min(23, opening[0] + (minute * MINUTE_MS - day.opens) // HOUR_MS)
                        for minute in {int(at) // MINUTE_MS for at in times if at >= day.opens}
                    )
                )
                for name, times in counts.items()
            }

    def judge(self, day: Day, baselines: Baselines | None) -> list[OpenAnomaly]:
        """Every anomaly of a day, by the workers' rules and states, as it was at its worst; ``calm_since`` tells when it became
        loud first.
        """
        week = tuple(
            figures for back in range(1, 8) if (figures := self.totals.get(day.day - timedelta(days=back))) is not None
        )
        same = [self.depths[past] for weeks in range(1, 5) if (past := day.day - timedelta(weeks=weeks)) in self.depths]
        held: dict[tuple[str, str, int], OpenAnomaly] = {}
        worst: dict[tuple[str, str, int], OpenAnomaly] = {}

        def settle(findings: list[Finding], types: Any, at: int) -> None:
            now = sorted((one for one in held.values() if one.closed_at is None), key=lambda one: one.detected_at)
            for one in changes(now, findings, types, at):
                key = (*one.finding.identity, one.detected_at)
                held[key] = replace(one, announced=one.says)
                known = worst.get(key)
                if known is None or _rank(one.finding) > _rank(known.finding):
                    loud_since = known.calm_since if known is not None and known.finding.severity in LOUD else at
                    worst[key] = replace(one, calm_since=loud_since)

        for clock in range(day.opens, day.closes, LOOK_EVERY_MS):
            place = bisect_right(day.facts, clock)
            newest = day.facts[place - 1] if place else day.opens - 14 * HOUR_MS
            settle(stale_feed(self.calendar, newest, clock, baselines), ("STALE_FEED",), clock)
            if newest < day.opens or (held and newest == getattr(self, "_judged", None)):
                continue
            self._judged = newest
            hour = self.hour(newest)
            now = StoreFigures(
                calendar=self.calendar,
                newest=newest,
                today=day.figures(newest),
                week=week,
                depth=day.depth(newest),
                usual_depth=sum(depths[hour] for depths in same) / len(same) if same else 0.0,
                zones_seen={
                    zone: int(np.minimum(ends[begun], newest).max())
                    for zone, (starts, ends) in day.stays.items()
                    if zone != self.shop.billing and (begun := starts <= newest).any()
                },
                cameras_heard={
                    camera: times[index - 1]
                    for camera, times in day.heard.items()
                    if (index := bisect_right(times, newest))
                },
                settled=day.figures(newest, newest - SETTLED_MS),
                came_lately=tuple(
                    int(((day.came > newest - hours * HOUR_MS) & (day.entered <= newest)).sum()) for hours in (1, 2, 3)
                ),
                baselines=baselines,
                zone_cameras={zone: self.shop.camera(zone) for zone in self.shop.zones},
            )
            settle(detect(now), JUDGED_AT_FACTS, newest)
        return list(worst.values())


def _rank(finding: Finding) -> int:
    return ("INFO", "WARN", "CRITICAL").index(finding.severity)


def make_lives(count: int, seed: int) -> list[Life]:
    """Shops of three sizes; every other one tells the calendar of its festivals and closed days."""
    lives = []
    for index, shop in enumerate(make_shops(count, seed)):
        size = (0.5, 1.0, 1.0, 3.0)[index % 4]
        per_hour = shop.groups_per_hour * size
        load = per_hour * max(HOUR_CURVE) * BUYERS * MEAN_SERVICE_S / 3600
        shop = replace(
            shop, groups_per_hour=per_hour, tills=max(1, round(load / 0.8)), time_zone="Europe/Berlin", dialect=False
        )
        layout = stored_layout(shop.layout(datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))).decode())
        if index % 2 == 0:
            special = [SpecialDay(date=str(day), name="Festival") for day in sorted(festival_days())]
            special += [SpecialDay(date=str(day), name="Holiday", opening_hours=[]) for day in sorted(closed_days())]
            layout = layout.model_copy(update={"special_days": special})
        lives.append(Life(shop, StoreCalendar(shop.store_id, layout), seed))
    return lives


def festival_days() -> set[date]:
    """A week in the warm-up, which must not poison what is usual, and a weekend later."""
    return {FIRST + timedelta(days=day) for day in (*range(21, 28), 82, 83)}


def closed_days() -> set[date]:
    """Days on which nobody comes."""
    return {FIRST + timedelta(days=day) for day in (30, 72)}


def ordinary(life: Life, day: date, rng: Random, wrong: Fault | None = None) -> Traffic:
    """A day of the shop with its own luck."""
    grown = 1 + 0.25 * (day - FIRST).days / 365
    luck = rng.lognormvariate(0, 0.12)
    shop = life.shop
    feast = day in festival_days()
    if feast:
        shop = replace(shop, tills=shop.tills * 2)
    return Traffic(shop, day, life.seed, wrong, grown * luck * (2.2 if feast else 1.0))


def broken(kind: str, life: Life, day: date, rng: Random) -> Fault:
    """A fault of a type at a time of the day at which it matters."""
    opens, closes = life.shop.open_between(day)

    def at(low: float, high: float) -> int:
        return opens + int(rng.uniform(low, high) * HOUR_MS)

    match kind:
        case "QUEUE_SPIKE" | "FOOTFALL_SURGE":
            start = at(2, 9.5)
            return Fault(kind, start, start + HOUR_MS)
        case "ABANDONMENT_SPIKE" | "FOOTFALL_DROP":
            start = at(2, 8)
            return Fault(kind, start, start + 3 * HOUR_MS)
        case "STALE_FEED":
            start = at(1, 9)
            return Fault(kind, start, start + 2 * HOUR_MS)
        case "DEAD_ZONE":
            return Fault(kind, at(1, 5), closes, rng.choice(life.shop.zones))
        case "CAMERA_DOWN":
            return Fault(kind, at(1, 7), closes, rng.choice(life.shop.cameras))
        case _:
            return Fault(kind, at(0, 3), closes)


def live(life: Life, injections: int) -> dict[str, Any]:
    """A shop's months: its alarms on days when nothing was wrong, and what became of faults put into copies of ordinary days."""
    rng = Random(f"life {life.seed} {life.shop.store_id}")
    quiet: list[tuple[str, str, str]] = []
    found: list[dict[str, Any]] = []
    weeks, made_s, made = 0.0, 0.0, 0
    faults = list(FAULTS) * injections
    chosen = sorted(rng.sample(range(WARM_UP + 7, DAYS), min(len(faults), DAYS - WARM_UP - 7)))
    rng.shuffle(faults)
    per_day = defaultdict[int, list[str]](list)
    for index, kind in enumerate(faults):
        per_day[chosen[index % len(chosen)]].append(kind)
    series: list[dict[str, Any]] = []
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        if day in closed_days():
            if number >= WARM_UP:
                empty = Traffic(life.shop, day, life.seed, Fault("STALE_FEED", 0, 1 << 60), 0.01).day_as_known()
                quiet += [(str(day), one.finding.type, one.finding.severity) for one in life.judge(empty, None)]
            continue
        wrong = None
        if rng.random() < 0.02:  # broken cameras and lost half days are part of life
            wrong = broken(rng.choice(["CAMERA_DOWN", "STALE_FEED"]), life, day, rng)
        luck = rng.getstate()
        today = ordinary(life, day, rng, wrong).day_as_known()
        baselines = None
        if number >= WARM_UP:
            began = time.perf_counter()
            rows = make(life.past, life.calendar, day)
            made_s, made = made_s + time.perf_counter() - began, made + 1
            baselines = Baselines.read(day.isoweekday(), rows) if rows else None
            if wrong is None:
                weeks += 1 / 7
                judged = life.judge(today, baselines)
                quiet += [(str(day), one.finding.type, one.finding.severity) for one in judged]
                if life.explain:
                    for one in judged:
                        if one.finding.severity in LOUD:
                            print(life.shop.store_id, day, one.finding, life.hour(one.detected_at), flush=True)
            for kind in per_day[number] if day not in festival_days() else ():
                fault = broken(kind, life, day, rng)
                after = rng.getstate()
                rng.setstate(luck)
                ill = ordinary(life, day, rng, fault).day_as_known()
                rng.setstate(after)
                found.append(
                    outcome(fault, life.judge(ill, baselines)) | {"store": life.shop.store_id, "day": str(day)}
                )
                series.append(hourly(life, ill, fault))
        series.append(hourly(life, today, wrong) | {"past": True, "judged": number >= WARM_UP and wrong is None})
        life.remember(today)
    return {"quiet": quiet, "weeks": weeks, "found": found, "made_ms": 1000 * made_s / max(1, made), "series": series}


def outcome(fault: Fault, judged: list[OpenAnomaly]) -> dict[str, Any]:
    """Whether a fault was found, and how many minutes after it began it was loud (and known at all)."""
    mine = [
        one
        for one in judged
        if one.finding.type == fault.type
        and one.finding.subject == fault.subject
        and (one.calm_since or 0) >= fault.start
    ]
    loud = [one for one in mine if one.finding.severity in LOUD]

    def minutes(times: list[int]) -> float | None:
        return round((min(times) - fault.start) / MINUTE_MS, 1) if times else None

    return {
        "type": fault.type,
        "known": minutes([one.detected_at for one in mine]),
        "loud": minutes([one.calm_since or 0 for one in loud]),
        "others": sorted({one.finding.type for one in judged if one.finding.severity in LOUD} - {fault.type}),
    }


def hourly(life: Life, day: Day, wrong: Fault | None) -> dict[str, Any]:
    """The day as hourly figures, for detectors that take series: visitors, conversion, abandonment, longest queue."""
    copy = Life(life.shop, life.calendar, life.seed)
    copy.remember(day)
    hours = copy.past.hours[day.day]
    rows = []
    for hour in range(9, 21):
        visitors, bought, joined, gave_up, queue = hours.get(hour, HourFigures())
        rows.append([visitors, bought / visitors if visitors else 0.0, gave_up / joined if joined else 0.0, queue])
    start, end = (life.hour(wrong.start), life.hour(min(wrong.end, day.closes) - 1)) if wrong else (0, 0)
    return {
        "store": life.shop.store_id,
        "day": str(day.day),
        "hours": rows,
        "fault": wrong and [wrong.type, start, end],
    }


def wilson(part: int, whole: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, 1927)."""
    if not whole:
        return 0.0, 1.0
    z, share = 1.96, part / whole
    centre = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * np.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return round(float(centre - half), 3), round(float(centre + half), 3)


def rate_interval(count: int, weeks: float) -> tuple[float, float]:
    """95 % interval of a Poisson rate, by Byar's approximation."""
    low = count * (1 - 1 / (9 * count) - 1.96 / (3 * np.sqrt(count))) ** 3 if count else 0.0
    high = (count + 1) * (1 - 1 / (9 * (count + 1)) + 1.96 / (3 * np.sqrt(count + 1))) ** 3
    return round(float(low / weeks), 3), round(float(high / weeks), 3)


def report(lives: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures by type."""
    weeks = sum(life["weeks"] for life in lives)
    quiet = [one for life in lives for one in life["quiet"]]
    special = {str(day) for day in festival_days() | closed_days()}
    table: dict[str, Any] = {}
    for kind in FAULTS:
        days = [day for day, type_, severity in quiet if type_ == kind and severity in LOUD]
        hits = [one for life in lives for one in life["found"] if one["type"] == kind]
        times = sorted(one["loud"] for one in hits if one["loud"] is not None)
        table[kind] = {
            "alarms_per_shop_week": round(len(days) / weeks, 4),
            "alarms_interval": rate_interval(len(days), weeks),
            "of_them_on_special_days": sum(day in special for day in days),
            "found_per_shop_week": round(sum(type_ == kind for _, type_, _ in quiet) / weeks, 2),
            "faults": len(hits),
            "recall": round(len(times) / len(hits), 3) if hits else None,
            "recall_interval": wilson(len(times), len(hits)),
            "known_at_all": sum(one["known"] is not None for one in hits),
            "minutes_median": float(np.median(times)) if times else None,
            "minutes_p90": float(np.quantile(times, 0.9)) if times else None,
        }
    loud = sum(severity in LOUD for _, _, severity in quiet)
    hits = [one for life in lives for one in life["found"]]
    caught = sum(one["loud"] is not None for one in hits)
    total = {
        "shop_weeks": round(weeks, 1),
        "alarms_per_shop_week": round(loud / weeks, 3),
        "alarms_interval": rate_interval(loud, weeks),
        "worst_shop_alarms_per_week": round(
            max(sum(severity in LOUD for _, _, severity in life["quiet"]) / life["weeks"] for life in lives), 2
        ),
        "found_by_definition_per_shop_week": round(sum(type_ != "DEAD_ZONE" for _, type_, _ in quiet) / weeks, 2),
        "notes_per_shop_week": round((len(quiet) - loud) / weeks, 2),
        "faults": len(hits),
        "recall": round(caught / len(hits), 3) if hits else None,
        "recall_interval": wilson(caught, len(hits)),
        "baselines_made_ms": round(float(np.mean([life["made_ms"] for life in lives])), 1),
    }
    return {"total": total, "by_type": table}


def peer(series: list[dict[str, Any]], python: Path) -> dict[str, Any] | None:
    """scikit-learn's detectors on the hourly figures of the same days, in their own environment; None where that is not
    installed.
    """
    if not python.exists():
        return None
    command = [str(python), str(Path(__file__).parent / "peers" / "anomalies_sklearn.py")]
    done = subprocess.run(command, input=orjson.dumps(series), capture_output=True, check=True)
    result: dict[str, Any] = orjson.loads(done.stdout)
    return result


def main() -> None:
    """Run and write ``results/anomalies.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--shops", type=int, default=6)
    parser.add_argument("--injections", type=int, default=7, help="faults of each type a shop")
    parser.add_argument("--out", type=Path, default=RESULTS / "anomalies.json")
    args = parser.parse_args()
    began = time.process_time()
    lives = []
    for life in make_lives(args.shops, args.seed):
        lives.append(live(life, args.injections))
        print(
            f"{life.shop.store_id}: {len(lives[-1]['quiet'])} on ordinary days, {time.process_time() - began:.0f} s",
            flush=True,
        )
    result = report(lives)
    result["peer"] = peer([one for life in lives for one in life["series"]], Path(".venv-bench/bin/python"))
    result |= {
        "seed": args.seed,
        "shops": args.shops,
        "cpu_s": round(time.process_time() - began),
    }
    args.out.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
