"""The answers to the questions of docs/analysts.md, computed from what was sent by the rules' second implementation.

A function here has the name of its question's first words. It gives the rows (their first columns, where the rest is left unchecked) in any
order; a rounded figure is a :class:`Rounded`, exact and with the decimals that the query keeps.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from producers.simulator.answers import Day, Visit, World

HOUR_S = 3600
FUNNEL_MS = 900_000


@dataclass(frozen=True)
class Rounded:
    """A figure that the query rounds to so many decimals."""

    exact: float
    decimals: int


def share(part: int, whole: int, decimals: int) -> Rounded:
    """part / whole."""
    return Rounded(float(Fraction(part, whole)), decimals)


def mean(values: Sequence[Any], decimals: int) -> Rounded:
    """The mean of values that are not none."""
    return Rounded(float(sum(values)) / len(values), decimals)


def quantile(values: Sequence[int], level: float) -> int:
    """As ``quantileExact`` takes it: the element at that share of the sorted values."""
    return sorted(values)[int(len(values) * level)]


def first(visit: Visit) -> int:
    """When the visit began, milliseconds."""
    return min(event.at for event in visit.events)


def last(visit: Visit) -> int:
    """When it was last seen, milliseconds."""
    return max(event.at for event in visit.events)


@dataclass(frozen=True)
class Told:
    """What was sent, and the date on which it is asked for."""

    world: World
    today: date

    def days(self, back: int) -> Iterator[tuple[str, date, Day]]:
        """The business days of all shops from so many days ago on."""
        for store in self.world.stores:
            for day, told in self.world.days(store).items():
                if day >= self.today - timedelta(days=back):
                    yield store, day, told

    def yesterday(self) -> Iterator[tuple[str, Day]]:
        """Yesterday of all shops."""
        day = self.today - timedelta(days=1)
        return ((store, self.world.day(store, day)) for store in self.world.stores)


def _bought(day: Day, visit: Visit) -> bool:
    return visit.visitor_id in day.purchasers


def _buyers(day: Day) -> int:
    return sum(_bought(day, visit) for visit in day.visitors)


def _days(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, on, day in told.days(8):
        figures = told.world.metrics(store, on)
        yield (
            store,
            on,
            len(day.visitors),
            _buyers(day),
            Rounded(float(day.conversion), 4),
            len(day.paid),
            figures["revenue"],
            figures["currency"],
            figures["staff_visits"],
            figures["unmatched_visitors"],
        )


def _weeks(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, now in told.yesterday():
        before = told.world.day(store, told.today - timedelta(days=8))
        change = Rounded(len(now.visitors) / len(before.visitors) - 1, 3)
        by_rate = Rounded(float(now.conversion - before.conversion), 4)
        yield store, told.today - timedelta(days=1), len(now.visitors), len(before.visitors), change, by_rate


def _funnel(told: Told) -> Iterator[tuple[Any, ...]]:
    for store in told.world.stores:
        yield store, *told.world.funnel(store, told.today - timedelta(days=1)).values()


def _hours(told: Told) -> Iterator[tuple[Any, ...]]:
    cohorts: dict[int, list[tuple[bool, int, int]]] = defaultdict(list)
    for _, _, day in told.days(7):
        for visit in day.visitors:
            zones = len(day.stays[visit.visitor_id])
            cohorts[day.calendar.local(first(visit)).hour].append(
                (_bought(day, visit), zones, last(visit) - first(visit))
            )
    for hour, visits in cohorts.items():
        bought, zones, stays = zip(*visits, strict=True)
        yield hour, len(visits), mean(bought, 4), mean(zones, 2), Rounded(quantile(stays, 0.5) / 60_000, 1)


def _peaks(told: Told) -> Iterator[tuple[Any, ...]]:
    hours: dict[str, Counter[int]] = defaultdict(Counter)
    for store, _, day in told.days(7):
        hours[store].update(day.calendar.local(first(visit)).hour for visit in day.visitors)
    for store, counts in hours.items():
        peak = max(counts, key=lambda hour: (counts[hour], -hour))
        yield store, peak, counts[peak], share(counts[peak], counts.total(), 3)


def _inside(told: Told) -> Iterator[tuple[Any, ...]]:
    seconds: Counter[tuple[str, int]] = Counter()
    for store, day in told.yesterday():
        for visit in day.people:
            began, ended = first(visit) // 1000, last(visit) // 1000
            for hour in range(began // HOUR_S * HOUR_S, ended + 1, HOUR_S):
                seconds[store, hour] += max(0, min(ended, hour + HOUR_S) - max(began, hour))
    for (store, hour), spent in seconds.items():
        yield store, datetime.fromtimestamp(hour, UTC), Rounded(spent / HOUR_S, 2)


def _came_back(told: Told) -> Iterator[tuple[Any, ...]]:
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for store, _, day in told.days(7):
        for visit in day.visitors:
            entries = sum(event.event_type in ("ENTRY", "REENTRY") for event in visit.events)
            found[store].append((entries > 1, _bought(day, visit)))
    for store, visits in found.items():
        back = [bought for again, bought in visits if again]
        yield store, len(visits), len(back), share(len(back), len(visits), 4), mean(back, 3)


def _zones(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, day in told.yesterday():
        stays = defaultdict[str, list[tuple[str, int]]](list)
        for visitor, of_visit in day.stays.items():
            for stay in of_visit:
                stays[stay.zone_id].append((visitor, stay.dwell_ms))
        for zone, found in stays.items():
            visitors = {visitor for visitor, _ in found}
            yield store, zone, len(found), len(visitors), Rounded(sum(ms for _, ms in found) / len(found) / 1000, 0)


def _lift(told: Told) -> Iterator[tuple[Any, ...]]:
    by_zone: dict[str, list[bool]] = defaultdict(list)
    everybody: list[bool] = []
    for _, _, day in told.days(7):
        for visit in day.visitors:
            everybody.append(_bought(day, visit))
            for zone in {
                stay.zone_id for stay in day.stays[visit.visitor_id] if not day.calendar.is_billing(stay.zone_id)
            }:
                by_zone[zone].append(_bought(day, visit))
    usual = Fraction(sum(everybody), len(everybody))
    for zone, bought in by_zone.items():
        if len(bought) >= 20:
            rate = Fraction(sum(bought), len(bought))
            yield zone, len(bought), Rounded(float(rate), 6), Rounded(float(rate / usual), 6)


def _first_zones(told: Told) -> Iterator[tuple[Any, ...]]:
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for store, _, day in told.days(7):
        for visit in day.visitors:
            if stays := day.stays[visit.visitor_id]:
                found[store, stays[0].zone_id].append(_bought(day, visit))
    for (store, zone), bought in found.items():
        yield store, zone, len(bought), mean(bought, 4)


def _ways(told: Told) -> Iterator[tuple[Any, ...]]:
    ways = Counter(
        (store, one.zone_id, other.zone_id)
        for store, day in told.yesterday()
        for stays in day.stays.values()
        for one, other in pairwise(stays)
        if one.zone_id != other.zone_id
    )
    return ((*way, times) for way, times in ways.items())


def _within_a_quarter(told: Told) -> Iterator[tuple[Any, ...]]:
    since, until = (
        datetime.combine(told.today - timedelta(days=back), datetime.min.time(), UTC).timestamp() * 1000
        for back in (2, 0)
    )
    for store, facts in told.world.stores.items():
        by_visitor: dict[str, list[Any]] = defaultdict(list)
        for event in facts.events:
            if since <= event.at < until and not event.is_staff:
                by_visitor[event.visitor_id].append(event)
        steps = Counter(_step(events) for events in by_visitor.values())
        for step, count in steps.items():
            yield store, step, count


def _step(events: list[Any]) -> int:
    times = {
        kind: [event.at for event in events if event.event_type == kind]
        for kind in ("ENTRY", "ZONE_ENTER", "BILLING_QUEUE_JOIN")
    }
    best = 0
    for entered in times["ENTRY"]:
        zones = [at for at in times["ZONE_ENTER"] if entered <= at <= entered + FUNNEL_MS]
        queues = [at for at in times["BILLING_QUEUE_JOIN"] if zones and min(zones) <= at <= entered + FUNNEL_MS]
        best = max(best, 3 if queues else 2 if zones else 1)
    return best


def _after_the_till(told: Told) -> Iterator[tuple[Any, ...]]:
    found: dict[str, list[bool]] = defaultdict(list)
    for store, _, day in told.days(7):
        for stays in day.stays.values():
            at_till = [day.calendar.is_billing(stay.zone_id) for stay in stays]
            if any(at_till):
                found[store].append(not all(at_till[at_till.index(True) :]))
    for store, went_on in found.items():
        yield store, len(went_on), sum(went_on)


def _nobody(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, day in told.yesterday():
        layout = told.world.stores[store].layout
        assert layout is not None
        seen = {
            stay.zone_id
            for stay in day.all_stays
            if "13:00" <= datetime.fromtimestamp(stay.start / 1000, UTC).strftime("%H:%M") <= "13:04"
        }
        for zone in layout.zones:
            if zone.type in ("SHELF", "DISPLAY") and zone.zone_id not in seen:
                yield store, zone.zone_id


def _waits(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, day in told.yesterday():
        claimed, gave_up = set(day.claims.values()), {visit.visitor_id for visit in day.abandoned}
        waits: dict[str, list[int]] = defaultdict(list)
        for visitor, stays in day.stays.items():
            outcome = "paid" if visitor in claimed else "gave up" if visitor in gave_up else "left"
            waits[outcome] += [stay.dwell_ms for stay in stays if day.calendar.is_billing(stay.zone_id)]
        for outcome, times in waits.items():
            if times:
                yield (
                    store,
                    outcome,
                    len(times),
                    *(Rounded(quantile(times, level) / 1000, 0) for level in (0.5, 0.9, 0.99)),
                )


def _receipts(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, on, day in told.days(8):
        if day.paid:
            figures = told.world.metrics(store, on)
            values = [paid.amount for paid in day.paid]
            yield store, on, figures["currency"], len(values), sum(values), mean(values, 2)


def _worth(told: Told) -> Iterator[tuple[Any, ...]]:
    taken: Counter[str] = Counter()
    visitors: Counter[str] = Counter()
    for store, _, day in told.days(7):
        taken[store] += sum(paid.amount for paid in day.paid)  # type: ignore[assignment]
        visitors[store] += len(day.visitors)
    for store in visitors:
        layout = told.world.stores[store].layout
        assert layout is not None
        yield store, layout.currency, taken[store], visitors[store], Rounded(float(taken[store]) / visitors[store], 2)


def _claimed(told: Told, back: int) -> Iterator[tuple[str, Any, Visit]]:
    for store, _, day in told.days(back):
        visits = {visit.visitor_id: visit for visit in day.people}
        for paid in day.paid:
            if paid.transaction_id in day.claims:
                yield store, paid.amount, visits[day.claims[paid.transaction_id]]


def _by_stay(told: Told) -> Iterator[tuple[Any, ...]]:
    baskets: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for store, amount, visit in _claimed(told, 7):
        baskets[store, (last(visit) - first(visit)) // 600_000 * 10].append(amount)
    for (store, minutes), amounts in baskets.items():
        yield store, minutes, len(amounts), mean(amounts, 2)


def _by_queue(told: Told) -> Iterator[tuple[Any, ...]]:
    baskets: dict[bool, list[Any]] = defaultdict(list)
    for _, amount, visit in _claimed(told, 7):
        baskets[visit.joined].append(amount)
    for joined, amounts in baskets.items():
        yield joined, len(amounts), mean(amounts, 2)


def _tills(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, on, day in told.days(8):
        if day.paid:
            counting = {visit.visitor_id for visit in day.visitors}
            strangers = sum(visitor not in counting for visitor in day.claims.values())
            yield store, on, len(day.paid), len(day.claims), share(len(day.claims), len(day.paid), 4), strangers


def _staff(told: Told) -> Iterator[tuple[Any, ...]]:
    for store, on, day in told.days(8):
        staff = sum(visit.is_staff for visit in day.visits)
        yield store, on, staff, len(day.visitors), share(staff, len(day.visitors), 4)


def _unmatched(told: Told) -> Iterator[tuple[Any, ...]]:
    people: Counter[str] = Counter()
    visitors: Counter[str] = Counter()
    for store, _, day in told.days(7):
        people[store] += len(day.people)
        visitors[store] += len(day.visitors)
    for store in people:
        unmatched = people[store] - visitors[store]
        yield store, unmatched, visitors[store], share(unmatched, people[store], 4)


def _uptime(told: Told) -> Iterator[tuple[Any, ...]]:
    yesterday = told.today - timedelta(days=1)
    for store, facts in told.world.stores.items():
        quarters: dict[str, set[int]] = defaultdict(set)
        for event in facts.events:
            if datetime.fromtimestamp(event.at / 1000, UTC).date() == yesterday:
                quarters[event.camera_id].add(event.at // 900_000)
        best = max(map(len, quarters.values()))
        for camera, seen in quarters.items():
            yield store, camera, len(seen), share(len(seen), best, 3)


#: By question.
ANSWERS: dict[str, Callable[[Told], Iterator[tuple[Any, ...]]]] = {
    "How did each shop do, day by day?": _days,
    "How does this week compare with the last?": _weeks,
    "Where do people drop out between the door and the till?": _funnel,
    "How do those who come at one hour differ from those who come at another?": _hours,
    "Which is the busiest hour of each shop?": _peaks,
    "How many people are inside, hour by hour?": _inside,
    "How many come back in after they left?": _came_back,
    "Which zones draw people, and which hold them?": _zones,
    "Do people who visit a zone buy more often?": _lift,
    "What do people look at first, and how often do they buy then?": _first_zones,
    "Which ways do people take from zone to zone?": _ways,
    "How many of those who enter reach a zone within a quarter of an hour, and the queue within the same?": _within_a_quarter,
    "How many go on shopping after the till?": _after_the_till,
    "Which zones had nobody?": _nobody,
    "How long do people stand at the tills, and what becomes of them?": _waits,
    "What do shops take, and how large is a basket?": _receipts,
    "What is a visitor worth?": _worth,
    "Do those who stay longer buy more?": _by_stay,
    "Do people who had to queue spend more?": _by_queue,
    "Do cameras and tills agree?": _tills,
    "How many staff are there for the visitors?": _staff,
    "How good are the entrance cameras?": _unmatched,
    "How much of the day did each camera see something?": _uptime,
}
