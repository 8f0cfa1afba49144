"""Whether a person seen anew is a visitor known already: scores, thresholds, and one decision for all who compete.

A score runs from 0 (surely not) to 1. Movement, place and clothes are each a likelihood of their own, and a score is their
product: one that speaks clearly against outweighs the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

import numpy as np

from producers.cameras.appearance import Descriptor
from schemas.events import IdentityRules

Outcome = Literal["merged", "refused", "ambiguous"]


class Kind(StrEnum):
    """Why somebody may be a known visitor."""

    BRIDGE = "bridge"
    """Lost on this camera a moment ago, and found where they were heading."""
    OVERLAP = "overlap"
    """Seen by another camera at the same moment in the same place."""
    HANDOVER = "handover"
    """Lost inside the shop, and found again by their clothes."""
    REENTRY = "reentry"
    """Left the shop, and known again at the entrance by their clothes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The thresholds of one shop. Times in milliseconds, scores and likeness 0 to 1."""

    wait_ms: int
    window_ms: Mapping[Kind, int]
    score: Mapping[Kind, float]
    margin: float

    @classmethod
    def of(cls, rules: IdentityRules | None) -> Identity:
        """By the layout's rules, with defaults for what they leave out."""
        given = (rules or IdentityRules()).model_dump(exclude_none=True)

        def rule(name: str) -> float:
            return float(given.get(name, DEFAULTS[name]))

        return cls(
            round(1000 * rule("wait_s")),
            {kind: round(1000 * rule(f"{kind}_s")) for kind in Kind},
            {kind: rule(f"{kind}_score") for kind in Kind},
            rule("margin"),
        )


DEFAULTS = {
    "wait_s": 1.0,
    "bridge_s": 5.0,
    "bridge_score": 0.4,
    "overlap_s": 1.0,
    "overlap_score": 0.35,
    "handover_s": 1800.0,
    "handover_score": 0.8,
    "reentry_s": 1800.0,
    "reentry_score": 0.92,
    "margin": 0.03,
}

# Clothes as unlike as this are another person's, whatever else speaks for them.
UNLIKE = 0.6
# Where the clothes cannot be told, a place alone is worth this much of one confirmed by them.
UNSEEN = 0.75
# A foot point found again may be off by this many body heights at once, and by so many more for each second unseen: who is
# hidden may have stopped, or turned aside.
REACH, REACH_PER_S = 0.35, 0.25
# Two cameras place one person this far apart on the floor, metres (one standard deviation): half a step between their
# looks, and what hand-drawn floor points and cut-off feet add.
FLOOR_SD_M = 0.7
# Beyond this, metres, two people.
FLOOR_LIMIT_M = 2.5
# A zone that both cameras see is less than a place in it.
SHARED_ZONE = 0.75
# And without anything of the clothes it says no more than that somebody is there.
ZONE_ALONE = 0.5


def likeness(one: Descriptor | None, other: Descriptor | None) -> float | None:
    """How alike two people's clothes are, 0 to 1; None where either is unknown."""
    if one is None or other is None:
        return None
    return min(1.0, max(0.0, float(np.dot(one, other))))


def with_clothes(place: float, like: float | None) -> float:
    """A place's score, with what the clothes add to it."""
    if like is None:
        return place * UNSEEN
    return place * like if like >= UNLIKE else 0.0


def bridge(
    last: tuple[float, float], velocity: tuple[float, float], found: tuple[float, float], height: float, gap_s: float
) -> float:
    """How well a place fits somebody lost ``gap_s`` seconds ago: near the way from where they were last seen to where
    their velocity would have taken them by now. Pixels, pixels a second, and the height of their box.
    """
    (x, y), (vx, vy) = last, (velocity[0] * gap_s, velocity[1] * gap_s)
    length = vx * vx + vy * vy
    along = ((found[0] - x) * vx + (found[1] - y) * vy) / length if length else 0.0
    along = min(1.0, max(0.0, along))
    miss = math.hypot(found[0] - x - along * vx, found[1] - y - along * vy) / height
    return math.exp(-0.5 * (miss / (REACH + REACH_PER_S * gap_s)) ** 2)


def on_floor(distances_m: Sequence[float]) -> float:
    """How well two trails on the floor, at the same moments and so far apart, are one person's."""
    apart = sorted(distances_m)[len(distances_m) // 2]
    return math.exp(-0.5 * (apart / FLOOR_SD_M) ** 2) if apart <= FLOOR_LIMIT_M else 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A visitor that a track may be."""

    visitor: int
    kind: Kind
    score: float
    threshold: float

    @property
    def lead(self) -> float:
        """By how much it passes its threshold: what candidates of different kinds are compared by."""
        return (self.score - self.threshold) / max(1e-9, 1 - self.threshold)


@dataclass(frozen=True, slots=True)
class Decision:
    """One merge or refusal, for whoever asks why."""

    at_ms: int
    camera_id: str
    stranger_id: str
    """Who was asked about: a visitor id of their own, which no event carries where they were merged."""
    outcome: Outcome
    kind: Kind
    score: float
    threshold: float
    visitor_id: str
    """Of the best candidate."""
    second: float | None = None
    """What the second best scored."""

    def told(self) -> str:
        """In one line."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        second = "" if self.second is None else f", the next {self.second:.2f}"
        return (
            f"{at} {self.camera_id} {self.stranger_id} {self.outcome} with {self.visitor_id}: {self.kind}"
            f" {self.score:.2f} of {self.threshold:.2f}{second}"
        )


def assign(options: Mapping[int, Sequence[Candidate]], margin: float) -> dict[int, tuple[Candidate, bool]]:
    """The best of all ways to give each track one of its candidates or none, and no visitor to two tracks.

    A pair is clear when every way without it falls short of the best by more than ``margin``, and no other visitor who
    falls short of the threshold scores as high but for ``margin``.

    Args:
        options: Candidates by track.

    Returns:
        By track its candidate and whether that is clear; tracks without a candidate over its threshold are missing.
    """
    over = {
        track: sorted((c for c in candidates if c.lead >= 0), key=lambda c: -c.lead)[:4]
        for track, candidates in options.items()
    }
    over = {track: candidates for track, candidates in over.items() if candidates}
    best, chosen = _best(list(over), over, None)
    clear = {}
    for track, candidate in chosen.items():
        without, _ = _best(list(over), over, (track, candidate.visitor))
        rivals = any(c.visitor != candidate.visitor for c in over[track]) or any(
            c.visitor == candidate.visitor for other, others in over.items() if other != track for c in others
        )
        # Who falls short of the threshold by a hair is as likely as who passes it by one.
        near = any(
            c.visitor != candidate.visitor
            and c.kind is candidate.kind
            and c.lead < 0
            and candidate.score - c.score <= margin
            for c in options[track]
        )
        clear[track] = candidate, not near and (not rivals or best - without > margin)
    return clear


def _best(
    tracks: list[int],
    options: Mapping[int, Sequence[Candidate]],
    barred: tuple[int, int] | None,
    taken: frozenset[int] = frozenset(),
) -> tuple[float, dict[int, Candidate]]:
    """The highest sum of leads, each pair worth 1 more so that no match is left out for a better one. Few compete at a
    time: all ways are tried.
    """
    if not tracks:
        return 0.0, {}
    track, rest = tracks[0], tracks[1:]
    best = _best(rest, options, barred, taken)
    for candidate in options[track]:
        if candidate.visitor in taken or barred == (track, candidate.visitor):
            continue
        value, chosen = _best(rest, options, barred, taken | {candidate.visitor})
        if value + 1 + candidate.lead > best[0]:
            best = value + 1 + candidate.lead, {track: candidate, **chosen}
    return best
