"""Where one visitor is, from what cameras see of them: zones, the entrance, dwell. Pure rules, without ids or video.

A visitor is in one zone at a time, whichever cameras see them, because the answers close a zone visit when the same
camera sees the person in another zone. A change counts when it has lasted, so that neither a flickering box nor somebody
dithering on a line makes events; it is then dated to the first look that showed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from producers.cameras import Entrance
from schemas.events import EventType

DWELL_STEP_MS = 30_000
# A change must last this long, and at least two looks. A walker takes about that long for one step.
SETTLE_MS = 300
SETTLE_LOOKS = 2
# Looks of two cameras this far apart still show one moment.
SAME_MOMENT_MS = 1000
# A tracker finds somebody again within 2 s (people.PATIENCE_S): until then they stand where they were last seen.
LOST_AFTER_MS = 2500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person in one frame, placed in the scene."""

    camera_id: str
    at_ms: int
    zone: str | None = None
    """The zone that holds the foot point."""
    inside: bool | None = None
    """On the inner side of the entrance line; None without a line or beyond its ends."""
    clear: bool = True
    """Far enough from the line for a change of sides to be more than a swaying box."""
    confidence: float = 1.0
    """The detector's, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that has yet to get its visitor."""

    kind: EventType
    camera_id: str
    at_ms: int
    confidence: float
    zone: str | None = None
    dwell_ms: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """A step over an entrance line."""

    camera_id: str
    at_ms: int
    inwards: bool


@dataclass(slots=True)
class Settled(Generic[T]):
    """A value that changes when another has been seen ``SETTLE_LOOKS`` times in a row over ``SETTLE_MS``; each look
    stands for the time since the one before. ``since_ms`` dates the first of them.
    """

    value: T
    candidate: T
    since_ms: int = 0
    last_ms: int = 0
    run: int = 0
    unseen_ms: int = 0
    """Before the first look of the run."""

    def see(self, value: T, at_ms: int, firm: bool = True) -> bool:
        """Take one look; true when the value has just changed, which it does only with a firm one."""
        gap_ms, self.last_ms = at_ms - self.last_ms, at_ms
        if value == self.value:
            self.run = 0
            return False
        if self.run == 0 or value != self.candidate:
            self.candidate, self.since_ms, self.run, self.unseen_ms = value, at_ms, 0, gap_ms
        self.run += 1
        if not firm or self.run < SETTLE_LOOKS or at_ms - self.since_ms + gap_ms < SETTLE_MS:
            return False
        self.value, self.run = value, 0
        return True

    def pause(self, at_ms: int | None = None) -> None:
        """A look that says nothing: a run of changes starts over."""
        self.run = 0
        self.last_ms = self.last_ms if at_ms is None else at_ms


@dataclass(slots=True)
class Presence:
    """One visitor's place in the shop. ``inside`` is None until an entrance has told.

    Crossings alternate: an ENTRY only for somebody who is not inside, an EXIT only for somebody who has not left,
    however many lines or cameras see it.
    """

    drawn: dict[str, frozenset[str]]
    """Cameras and the zones that they can see."""
    first_ms: int
    inside: bool | None = None
    left: bool = False
    """Has been seen leaving: the next time in is a REENTRY."""
    zone: Settled[str | None] = field(default_factory=lambda: Settled(None, None))
    zone_camera: str = ""
    entered_ms: int = 0
    confidence: float = 1.0
    crossed: Crossing | None = None
    """The last one, whether it made an event or not."""
    _sides: dict[str, Settled[bool | None]] = field(default_factory=dict)
    _votes: dict[str, tuple[str | None, int]] = field(default_factory=dict)
    _next_dwell_ms: int = DWELL_STEP_MS

    def see(self, sighting: Sighting) -> Iterator[Draft]:
        """The events that one look brings about."""
        yield from self.cross(sighting)
        camera_id, at_ms = sighting.camera_id, sighting.at_ms
        zone, before = self._vote(sighting), self.zone.value
        if zone is not None and zone == before:
            self.zone_camera = camera_id
        if self.zone.see(zone, at_ms):
            if before is not None:
                yield self._zone_exit(before, self.zone.since_ms)
            if zone is not None:
                self.zone_camera, self.entered_ms, self._next_dwell_ms = camera_id, self.zone.since_ms, DWELL_STEP_MS
                yield Draft("ZONE_ENTER", camera_id, self.entered_ms, self.confidence, zone)
        # A dwell while a change is pending could turn out later than the exit that it would then have to precede.
        pending = self.zone.run or any(side.run for side in self._sides.values())
        dwell_ms = at_ms - self.entered_ms
        if self.zone.value is not None and not pending and dwell_ms >= self._next_dwell_ms:
            self._next_dwell_ms = (dwell_ms // DWELL_STEP_MS + 1) * DWELL_STEP_MS
            yield Draft("ZONE_DWELL", camera_id, at_ms, self.confidence, self.zone.value, dwell_ms)

    def appear(self, camera_id: str, at_ms: int) -> Iterator[Draft]:
        """Seen in a frame where appearing is coming in."""
        if self.inside is not True:
            yield self._come(camera_id, at_ms)

    def vanish(self, entrances: dict[str, Entrance], camera_id: str, last_ms: int) -> Iterator[Draft]:
        """Not seen by any camera since ``last_ms``, and ``camera_id`` was the last: out of the zone, and out of the
        shop where disappearing is leaving.
        """
        for name, side in self._sides.items():
            # Not seen clear of the line, but not again on its near side either.
            if side.run >= SETTLE_LOOKS and side.last_ms - side.since_ms >= SETTLE_MS:
                side.value = side.candidate
                yield from self._step(name, bool(side.value), side.since_ms)
            side.pause()
        yield from self.leave_zone(last_ms)
        if self.inside and entrances[camera_id] is Entrance.FRAME:
            yield self._go(camera_id, last_ms)
        self._votes.clear()

    def leave_zone(self, by_ms: int) -> Iterator[Draft]:
        """End the zone visit, if there is one, when it was last known to last, and by ``by_ms``."""
        if (zone := self.zone.value) is not None:
            left_ms = min(self.zone.since_ms if self.zone.run else self.zone.last_ms, by_ms)
            self.zone = Settled(None, None)
            yield self._zone_exit(zone, left_ms)

    def _vote(self, sighting: Sighting) -> str | None:
        """The zone by the looks of all cameras: the present one holds while any camera that sees it says so."""
        camera_id, at_ms, held = sighting.camera_id, sighting.at_ms, self.zone.value
        self._votes[camera_id] = sighting.zone, at_ms
        others = [(zone, at_ms - then) for name, (zone, then) in self._votes.items() if name != camera_id and zone]
        if held is not None and sighting.zone != held:
            # A camera that cannot see the zone at all says nothing against it, until the one that can has lost them.
            patience_ms = SAME_MOMENT_MS if held in self.drawn[camera_id] else LOST_AFTER_MS
            if any(zone == held and age_ms <= patience_ms for zone, age_ms in others):
                return held
        return sighting.zone or next((zone for zone, age_ms in others if age_ms <= SETTLE_MS), None)

    def cross(self, sighting: Sighting) -> Iterator[Draft]:
        """What one look says of the entrance line alone."""
        self.confidence = sighting.confidence
        side = self._sides.setdefault(sighting.camera_id, Settled(None, None))
        if sighting.inside is None:
            side.pause(sighting.at_ms)
        elif side.value is None:
            side.value, side.last_ms = sighting.inside, sighting.at_ms
        elif side.see(sighting.inside, sighting.at_ms, sighting.clear):
            # Behind something on the doorstep: the middle of that time is the least wrong.
            hidden_ms = side.unseen_ms if side.unseen_ms > SAME_MOMENT_MS else 0
            yield from self._step(sighting.camera_id, sighting.inside, side.since_ms - hidden_ms // 2)

    def _step(self, camera_id: str, inwards: bool, at_ms: int) -> Iterator[Draft]:
        """Over the line."""
        self.crossed = Crossing(camera_id, at_ms, inwards)
        if inwards and self.inside is not True:
            yield self._come(camera_id, at_ms)
        elif not inwards and self.inside is not False:
            # EXIT ends zone visits; a ZONE_EXIT after it would open one that never was.
            yield from self.leave_zone(at_ms)
            yield self._go(camera_id, at_ms)

    def _come(self, camera_id: str, at_ms: int) -> Draft:
        self.inside = True
        return Draft("REENTRY" if self.left else "ENTRY", camera_id, at_ms, self.confidence)

    def _go(self, camera_id: str, at_ms: int) -> Draft:
        self.inside, self.left = False, True
        return Draft("EXIT", camera_id, at_ms, self.confidence)

    def _zone_exit(self, zone: str, left_ms: int) -> Draft:
        left_ms = max(left_ms, self.entered_ms)
        return Draft("ZONE_EXIT", self.zone_camera, left_ms, self.confidence, zone, left_ms - self.entered_ms)
