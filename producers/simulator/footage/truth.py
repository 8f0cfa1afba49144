"""What really happened in a scene: who came in and went out, and how the queue at the till stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from producers.simulator.footage.people import Person, places
from producers.simulator.footage.plan import Floats, Plan

Kind = Literal["ENTRY", "REENTRY", "EXIT", "BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON"]
STEP_S = 0.05
CLEARLY_M = 0.5
"""So far beyond the threshold somebody is in or out; nobody in these scenes turns round farther from it than this but nearer
than 1 m."""
STAYS_S = 1.0
"""A shorter stay in the billing zone is somebody passing through."""


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """``at_s`` from the scene's start; ``person`` is an index into the scene's people."""

    at_s: float
    kind: Kind
    person: int
    group_size: int = 1
    """Of ENTRY: how many came together."""
    queue_depth: int | None = None
    """Of the queue's events: customers in the billing zone after it."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's time in the billing zone, from ``since_s`` to before ``until_s``."""

    person: int
    since_s: float
    until_s: float


def crossings(way: Floats) -> list[tuple[float, bool]]:
    """When somebody came in (true) or went out (false), by the threshold y = 0: dated to stepping over it for the last time
    before being clearly on the other side. Somebody who is in the shop from the start did not come in.
    """
    times = np.arange(way[0, 0], way[-1, 0] + STEP_S, STEP_S)
    y = places(way, np.minimum(times, way[-1, 0]))[:, 1]
    inside, found = bool(y[0] > 0), []
    for i in np.flatnonzero(np.abs(y) > CLEARLY_M):
        if (now := bool(y[i] > 0)) != inside:
            over = i - int(np.argmax((y[i::-1] > 0) == inside))
            found.append((float(times[over + 1]), now))
            inside = now
    return found


def stays(people: Sequence[Person], plan: Plan, seconds: float) -> list[Stay]:
    """The customers' stays in the billing zone, by the time they began."""
    zone, found = plan.zones["TILL"][1], []
    times = np.arange(0, seconds, STEP_S)
    for number, person in enumerate(people):
        if person.staff:
            continue
        held = np.concatenate(([False], zone.holds(places(person.way, times)), [False]))
        edges = np.flatnonzero(held[1:] != held[:-1]).reshape(-1, 2)
        found += [Stay(number, start * STEP_S, end * STEP_S) for start, end in edges.tolist()]
    return sorted((stay for stay in found if stay.until_s - stay.since_s >= STAYS_S), key=lambda stay: stay.since_s)


def queue_events(in_zone: Sequence[Stay], seconds: float) -> list[TrueEvent]:
    """Who comes to the till while somebody waits there joins; who joined and leaves it before somebody who came earlier has
    gone was not served, and abandons. Leaving after the scene's end is not known.
    """
    found: list[TrueEvent] = []

    def depth(at_s: float) -> int:
        return sum(stay.since_s <= at_s < stay.until_s for stay in in_zone)

    for stay in in_zone:
        ahead = [o for o in in_zone if o.since_s < stay.since_s < o.until_s]
        if ahead:
            found.append(TrueEvent(stay.since_s, "BILLING_QUEUE_JOIN", stay.person, queue_depth=depth(stay.since_s)))
            if stay.until_s < seconds - STEP_S and any(o.until_s > stay.until_s for o in ahead):
                at_s = stay.until_s
                found.append(TrueEvent(at_s, "BILLING_QUEUE_ABANDON", stay.person, queue_depth=depth(at_s)))
    return found


def events(people: Sequence[Person], plan: Plan, seconds: float) -> tuple[TrueEvent, ...]:
    """All of a scene, in the order of time."""
    found = queue_events(stays(people, plan, seconds), seconds)
    for number, person in enumerate(people):
        size = sum(other.party == person.party for other in people) if person.party is not None else 1
        left = False
        for at_s, inwards in crossings(person.way):
            kind: Kind = "EXIT" if not inwards else "REENTRY" if left else "ENTRY"
            left = left or not inwards
            found.append(TrueEvent(at_s, kind, number, size if kind == "ENTRY" else 1))
    found = [event for event in found if 0 <= event.at_s < seconds]
    return tuple(sorted(found, key=lambda event: (event.at_s, event.person)))
