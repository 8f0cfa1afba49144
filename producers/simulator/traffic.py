"""What happens in one shop on one business day: people, staff, queues and receipts, as its devices report them.

People arrive in groups by a Poisson process, walk through zones, and some go to the tills. The queue is simulated, not
drawn: first come first served at the shop's tills, service times are lognormal, everybody has a patience and leaves
when the wait outlasts it. What cameras and tills report follows from that.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from random import Random
from typing import Any, NamedTuple

import orjson

from producers.simulator.catalogue import shares_so_far
from producers.simulator.shops import BUYERS, HOUR_CURVE, MEAN_SERVICE_S, WEEKDAY_FACTOR, Shop
from schemas.topics import TRANSACTIONS, VISIT_EVENTS

HOUR_MS = 3_600_000
DWELL_EVERY_MS = 30_000
GROUP_SIZES, GROUP_WEIGHTS = (1, 2, 3, 4), (66, 22, 8, 4)
DOOR_MISSES = 0.04
REENTERS = 0.05
REGULARS = 0.03
ZONE_EXIT_MISSES = 0.06
MEAN_PATIENCE_MS = 240_000
HEADERS_ONLY = 0.05
PAID_UNSEEN = 0.01


class Fact(NamedTuple):
    """One record as a device sends it, and the instant (ms since 1970) at which it would."""

    at_ms: int
    topic: str
    value: bytes


@dataclass(frozen=True)
class Rush:
    """From ``from_ms`` on, ``factor`` times as many people arrive, and ``tills`` times as many tills are open."""

    from_ms: int
    factor: float
    tills: float = 1.0


class Step(NamedTuple):
    """One thing a camera saw of a visitor."""

    at_ms: int
    event_type: str
    zone_id: str | None = None
    dwell_ms: int = 0
    depth: int | None = None


@dataclass
class Visit:
    """One person's day in the shop."""

    visitor_id: str
    group_id: str | None = None
    group_size: int = 1
    staff: bool = False
    steps: list[Step] = field(default_factory=list)
    now_ms: int = 0


class Served(NamedTuple):
    """What came of one wait: served from ``served_ms`` (None: gave up), out of the billing zone at ``left_ms``."""

    joined_ms: int
    served_ms: int | None
    left_ms: int


def facts(shop: Shop, day: date, seed: int, *, rush: Rush | None = None, until_ms: int | None = None) -> list[Fact]:
    """Everything that the devices of one shop send about one business day, in time order, without faults.

    Nobody arrives after ``until_ms``. The same arguments give the same bytes.
    """
    return sorted(_Day(shop, day, seed, rush, until_ms).facts())


class _Day:
    def __init__(self, shop: Shop, day: date, seed: int, rush: Rush | None, until_ms: int | None) -> None:
        self.shop, self.day, self.rush = shop, day, rush
        self.rng = Random(f"day {seed} {shop.store_id} {day}")  # noqa: S311 - a simulation, not a secret
        self.opens, self.closes = shop.open_between(day)
        self.until = self.closes if until_ms is None else min(until_ms, self.closes)
        self.clock = _clock(330 * 60_000 if shop.dialect else 0, 1000 if shop.coarse_clock else 1)
        self.receipts = 0

    def facts(self) -> Iterator[Fact]:
        visits = [self.tour(visit) for visit in self.arrivals()]
        rng = self.rng
        # One of a group pays for all.
        payers = [visit for visit in visits if visit.group_id is None or visit.group_id.endswith("+")]
        buyers = sorted(
            (v for v in payers if rng.random() < self.buys(v) * 1.3), key=lambda visit: (visit.now_ms, visit.visitor_id)
        )
        served = self.queue([visit.now_ms for visit in buyers])
        waits = sorted(stay.joined_ms for stay in served)
        ends = sorted(stay.left_ms if stay.served_ms is None else stay.served_ms for stay in served)

        def depth(at_ms: int) -> int:
            return bisect_right(waits, at_ms) - bisect_right(ends, at_ms)

        for visit, stay in zip(buyers, served, strict=True):
            self.billing(visit, stay, depth)
            if stay.served_ms is not None:
                yield self.receipt(stay.served_ms + int((stay.left_ms - stay.served_ms) * rng.uniform(0.3, 0.8)))
        for _ in range(int(PAID_UNSEEN * len(buyers) + rng.random())):
            yield self.receipt(rng.randrange(self.opens, max(self.until, self.opens + 1)))
        for visit in visits:
            self.leave(visit)
            yield from self.reports(visit)
        for number in range(self.shop.staff):
            yield from self.reports(self.staff(number, depth))

    def arrivals(self) -> Iterator[Visit]:
        """Visits in order of arrival, one per person, with only the arrival time set."""
        rng, shop = self.rng, self.shop
        number = 0
        regulars = set[int]()
        for start, end, per_hour in self.rates():
            at = start + rng.expovariate(per_hour / HOUR_MS)
            while at < end:
                (size,) = rng.choices(GROUP_SIZES, GROUP_WEIGHTS)
                for member in range(size):
                    number += 1
                    name = f"{shop.store_id}-{self.day:%m%d}-{number:05}"
                    regular = rng.randrange(300)
                    if rng.random() < REGULARS and regular not in regulars:
                        regulars.add(regular)
                        name = f"{shop.store_id}-REGULAR-{regular:03}"
                    group = None if size == 1 else f"G{number - member}{'+' if member == 0 else ''}"
                    yield Visit(name, group, size, now_ms=int(at) + member * rng.randrange(400, 2500))
                at += rng.expovariate(per_hour / HOUR_MS)

    def rates(self) -> Iterator[tuple[int, int, float]]:
        """(start, end, groups an hour) of stretches of constant rate, in order."""
        base = self.shop.groups_per_hour * WEEKDAY_FACTOR[self.day.weekday()]
        for hour, share in enumerate(HOUR_CURVE):
            start, end = self.opens + hour * HOUR_MS, min(self.opens + (hour + 1) * HOUR_MS, self.until)
            cut = end if self.rush is None else min(max(self.rush.from_ms, start), end)
            if start < cut:
                yield start, cut, base * share
            if cut < end and self.rush is not None:
                yield cut, end, base * share * self.rush.factor

    def buys(self, visit: Visit) -> float:
        """The share of groups like this one that buy."""
        return BUYERS

    def service_ms(self, starts: int) -> int:
        """How long the service that starts now takes."""
        return int(self.rng.lognormvariate(0, 0.5) * 0.88 * MEAN_SERVICE_S * 1000) + 5_000

    def tour(self, visit: Visit) -> Visit:
        """Walk in and through some zones."""
        rng, steps = self.rng, visit.steps
        at = visit.now_ms
        if rng.random() >= DOOR_MISSES:
            steps.append(Step(at, "ENTRY"))
        for _ in range(1 + min(5, int(rng.expovariate(0.6)))):
            at = self.linger(visit, rng.choice(self.shop.zones), at + rng.randrange(4_000, 40_000))
        visit.now_ms = at + rng.randrange(3_000, 30_000)
        return visit

    def linger(self, visit: Visit, zone: str, at: int) -> int:
        """A stay in one zone; returns when it ends."""
        rng = self.rng
        stay = int(rng.lognormvariate(10.4, 0.8))
        visit.steps.append(Step(at, "ZONE_ENTER", zone))
        for dwell in range(DWELL_EVERY_MS, stay, DWELL_EVERY_MS):
            visit.steps.append(Step(at + dwell, "ZONE_DWELL", zone, dwell))
        if rng.random() >= ZONE_EXIT_MISSES:
            visit.steps.append(Step(at + stay, "ZONE_EXIT", zone, stay))
        return at + stay

    def queue(self, joins: list[int]) -> list[Served]:
        """First come first served at the tills; who waits longer than their patience leaves unserved."""
        rng = self.rng
        free = [self.opens] * self.shop.tills
        more = self.rush
        served = []
        for joined in joins:
            if more is not None and joined >= more.from_ms:
                for _ in range(round(self.shop.tills * (more.tills - 1))):
                    heapq.heappush(free, more.from_ms)
                more = None
            starts = max(joined, free[0])
            patience = 20_000 + int(rng.expovariate(1 / MEAN_PATIENCE_MS))
            if starts - joined > patience:
                served.append(Served(joined, None, joined + patience))
                continue
            ends = starts + self.service_ms(starts)
            heapq.heapreplace(free, ends)
            served.append(Served(joined, starts, ends))
        return served

    def billing(self, visit: Visit, stay: Served, depth: Callable[[int], int]) -> None:
        """What the billing camera reports of one person; it does not put its count on every event."""
        rng, zone, steps = self.rng, self.shop.billing, visit.steps
        at, left = stay.joined_ms, stay.left_ms
        steps.append(Step(at, "ZONE_ENTER", zone))
        if stay.served_ms != at:
            steps.append(Step(at, "BILLING_QUEUE_JOIN", zone, 0, depth(at) if rng.random() < 0.8 else None))
        for dwell in range(DWELL_EVERY_MS, left - at, DWELL_EVERY_MS):
            counted = depth(at + dwell) if rng.random() < 0.3 else None
            steps.append(Step(at + dwell, "ZONE_DWELL", zone, dwell, counted))
        counted = depth(left) if rng.random() < 0.5 else None
        steps.append(
            Step(left, "BILLING_QUEUE_ABANDON" if stay.served_ms is None else "ZONE_EXIT", zone, left - at, counted)
        )
        visit.now_ms = left

    def leave(self, visit: Visit) -> None:
        """Walk out, and in some cases back in and out again."""
        rng = self.rng
        at = visit.now_ms + rng.randrange(5_000, 45_000)
        if rng.random() >= DOOR_MISSES:
            visit.steps.append(Step(at, "EXIT"))
        if rng.random() < REENTERS:
            at += rng.randrange(60_000, 900_000)
            visit.steps.append(Step(at, "REENTRY"))
            at = self.linger(visit, rng.choice(self.shop.zones), at + rng.randrange(4_000, 40_000))
            visit.steps.append(Step(at + rng.randrange(5_000, 45_000), "EXIT"))

    def staff(self, number: int, depth: Callable[[int], int]) -> Visit:
        """Somebody who works there: in before opening, about the shop all day, at the till now and then."""
        rng, shop = self.rng, self.shop
        visit = Visit(f"{shop.store_id}-STAFF-{number + 1}", staff=True)
        at = self.opens - rng.randrange(300_000, 1_800_000)
        visit.steps.append(Step(at, "ENTRY"))
        while at < self.until:
            at += rng.randrange(120_000, 900_000)
            if rng.random() < 0.15:
                visit.steps.append(Step(at, "ZONE_ENTER", shop.billing, 0, depth(at)))
                at += rng.randrange(20_000, 300_000)
                visit.steps.append(Step(at, "ZONE_EXIT", shop.billing))
            else:
                at = self.linger(visit, rng.choice(shop.zones), at)
        visit.steps.append(Step(at + rng.randrange(60_000, 900_000), "EXIT"))
        return visit

    def reports(self, visit: Visit) -> Iterator[Fact]:
        """The records that the cameras send about one visit."""
        return self.other_make(visit) if self.shop.dialect else self.own_make(visit)

    def own_make(self, visit: Visit) -> Iterator[Fact]:
        rng, shop, clock = self.rng, self.shop, self.clock
        random = rng.random
        for seq, (at, event_type, zone, dwell, depth) in enumerate(visit.steps, 1):
            # Some cameras report the queue as such, without naming the zone.
            unnamed = event_type in ("BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON") and random() < 0.1
            bits = f"{rng.getrandbits(128):032x}"
            event = {
                "event_id": f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
                "store_id": shop.store_id,
                "camera_id": shop.camera(zone),
                "visitor_id": visit.visitor_id,
                "event_type": event_type,
                "timestamp": clock(at),
                "zone_id": None if unnamed else zone,
                "dwell_ms": dwell,
                # Uniforms are seen from most sides, not from all.
                "is_staff": visit.staff and random() < 0.9,
                "confidence": round(0.4 + 0.6 * random(), 2),
                "metadata": {"queue_depth": depth, "sku_zone": None, "session_seq": None if shop.coarse_clock else seq},
            }
            yield Fact(at, VISIT_EVENTS.name, _packed(event))

    def other_make(self, visit: Visit) -> Iterator[Fact]:
        rng, shop, clock = self.rng, self.shop, self.clock
        joined: Step | None = None
        for step in visit.steps:
            if step.event_type == "BILLING_QUEUE_JOIN":
                joined = step
        for step in visit.steps:
            billed = joined is not None and step.zone_id == shop.billing and step.at_ms >= joined.at_ms
            common: dict[str, Any] = {"store_code": shop.store_id, "camera_id": shop.camera(step.zone_id)}
            common["is_staff"] = visit.staff and rng.random() < 0.9
            if step.event_type in ("ENTRY", "REENTRY", "EXIT"):
                record = common | {
                    "event_type": "exit" if step.event_type == "EXIT" else "entry",
                    "id_token": visit.visitor_id,
                    "event_timestamp": clock(step.at_ms),
                    "group_id": visit.group_id,
                    "group_size": visit.group_size,
                }
            elif billed and joined is not None and step.event_type in ("BILLING_QUEUE_ABANDON", "ZONE_EXIT"):
                # One record a stay, sent when it is over: this make's joins arrive late by nature.
                gave_up = step.event_type == "BILLING_QUEUE_ABANDON"
                record = common | {
                    "event_type": "queue_abandoned" if gave_up else "queue_completed",
                    "queue_event_id": f"Q-{rng.getrandbits(48):012x}",
                    "track_id": visit.visitor_id,
                    "zone_name": shop.billing,
                    "queue_join_ts": clock(joined.at_ms),
                    "queue_exit_ts": clock(step.at_ms),
                    "wait_seconds": (step.at_ms - joined.at_ms) // 1000,
                    "queue_position_at_join": joined.depth,
                    "abandoned": gave_up,
                }
            elif not billed and step.event_type in ("ZONE_ENTER", "ZONE_EXIT"):
                record = common | {
                    "event_type": "zone_entered" if step.event_type == "ZONE_ENTER" else "zone_exited",
                    "track_id": visit.visitor_id,
                    "zone_name": step.zone_id,
                    "zone_type": "BILLING" if step.zone_id == shop.billing else "SHELF",
                    "event_time": clock(step.at_ms),
                }
            else:
                continue
            yield Fact(step.at_ms, VISIT_EVENTS.name, _packed(record))

    def receipt(self, at: int) -> Fact:
        """A till receipt whose lines add up to its basket."""
        rng, shop = self.rng, self.shop
        self.receipts += 1
        picked = rng.choices(shop.products, cum_weights=shares_so_far(), k=rng.randint(1, 6))
        bought = [(item, rng.choice((1, 1, 1, 2, 3))) for item in picked]
        lines = [
            {"sku": item.sku, "gtin": item.gtin, "quantity": count, "unit_price": money(item.cents)}
            for item, count in bought
        ]
        receipt = {
            "store_id": shop.store_id,
            "transaction_id": f"T{self.day:%y%m%d}-{self.receipts:05}",
            "timestamp": self.clock(at),
            "basket_value": money(sum(item.cents * count for item, count in bought)),
            "currency": shop.currency,
            "payment_kind": rng.choice(("card", "card", "cash", "upi")),
            "lines": [] if rng.random() < HEADERS_ONLY else lines,
        }
        return Fact(at, TRANSACTIONS.name, _packed(receipt))


def _packed(record: dict[str, Any]) -> bytes:
    # orjson's result holds on to its 4 KiB buffer; a day of shops is kept in memory, so keep a copy of the right size.
    return bytes(memoryview(orjson.dumps(record)))


def money(cents: int) -> str:
    """Cents as a decimal."""
    return f"{cents // 100}.{cents % 100:02}"


def _clock(offset_ms: int, step_ms: int) -> Callable[[int], str]:
    """Writes instants as RFC 3339, cut to steps, at a fixed offset; remembers the minutes, since there are few."""
    minutes: dict[int, str] = {}
    suffix = f"+{offset_ms // HOUR_MS:02}:{offset_ms // 60_000 % 60:02}" if offset_ms else "Z"

    def write(at_ms: int) -> str:
        minute, rest = divmod(at_ms - at_ms % step_ms + offset_ms, 60_000)
        if (prefix := minutes.get(minute)) is None:
            prefix = minutes[minute] = datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
        return f"{prefix}{rest // 1000:02}.{rest % 1000:03}{suffix}"

    return write
