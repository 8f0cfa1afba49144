"""From what a tracker sees of people to visit events: the rules, without video.

A person is in at most one zone of a camera at a time, because the answers close a zone visit when the same camera sees
the person in another zone. Changes count only after ``inertia`` sightings in a row agree, so that neither a flickering
box nor somebody dithering on a line makes events; they are then dated to the first of those sightings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID, uuid5

from producers.cameras import Entrance
from schemas.events import EventType, Metadata, VisitEvent

DWELL_STEP_MS = 30_000
# Names every id that cameras make; changing it would make every clip new.
_NAMESPACE = UUID("6f0a4c53-2f5e-5d0b-9c0e-7a1d3c1f8e42")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One tracked person in one frame."""

    track_id: int
    zone: str | None = None
    """The zone that holds the foot point."""
    inside: bool | None = None
    """On the inner side of the entrance line; None without a line or beyond its ends."""
    confidence: float = 1.0
    """The detector's, 0 to 1."""


@dataclass(slots=True)
class _Settled(Generic[T]):
    """A value that changes when ``inertia`` sightings in a row agree on another; ``since_ms`` dates the first of
    them.
    """

    value: T
    candidate: T
    since_ms: int = 0
    run: int = 0

    def see(self, value: T, at_ms: int, inertia: int) -> bool:
        """Take one sighting; true when the value has just changed."""
        if value == self.value:
            self.run = 0
            return False
        if self.run == 0 or value != self.candidate:
            self.candidate, self.since_ms, self.run = value, at_ms, 0
        self.run += 1
        if self.run < inertia:
            return False
        self.value, self.run = value, 0
        return True


@dataclass(slots=True)
class _Track:
    """What is remembered of one person while the tracker holds them."""

    first_ms: int
    last_ms: int
    confidence: float
    sightings: int = 0
    zone: _Settled[str | None] = field(default_factory=lambda: _Settled(None, None))
    inside: _Settled[bool | None] = field(default_factory=lambda: _Settled(None, None))
    entered_ms: int = 0
    next_dwell_ms: int = DWELL_STEP_MS
    made: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Events made so far, by type and zone."""

    @property
    def left_ms(self) -> int:
        """When the person was last known to be in the zone, should no further sighting come."""
        return self.zone.since_ms if self.zone.run else self.last_ms


class Presence:
    """Turns the sightings of one clip, frame by frame in order, into visit events with ids that a second run repeats.

    Track ids must not be used again after ``lost_after_ms`` without a sighting: by then the person is taken to have
    gone and is forgotten, so memory holds only the people in view.

    Args:
        store_id, camera_id: Where the clip was taken.
        start: Time of the clip's first frame; part of every id.
        entrance: What makes ENTRY and EXIT; each comes at most once a track.
        inertia: Sightings in a row that make a change.
        lost_after_ms: An absence up to this long changes nothing.
    """

    def __init__(
        self,
        store_id: str,
        camera_id: str,
        start: datetime,
        *,
        entrance: Entrance,
        inertia: int,
        lost_after_ms: int,
    ) -> None:
        self.store_id = store_id
        self.camera_id = camera_id
        self.start = start.astimezone(UTC)
        self.entrance = entrance
        self.inertia = inertia
        self.lost_after_ms = lost_after_ms
        self._tracks: dict[int, _Track] = {}

    def see(self, at_ms: int, sightings: Iterable[Sighting]) -> list[VisitEvent]:
        """The events that a frame brings about. ``at_ms`` counts from the clip's start and never goes back."""
        events: list[VisitEvent] = []
        for track_id, track in list(self._tracks.items()):
            if at_ms - track.last_ms > self.lost_after_ms:
                events += self._gone(track_id, track)
        for sighting in sightings:
            events += self._seen(at_ms, sighting)
        return events

    def finish(self) -> list[VisitEvent]:
        """The clip is over: zone visits end where they were last seen. Nobody is taken to have left the shop."""
        events = [event for track_id, track in self._tracks.items() for event in self._leave_zone(track_id, track)]
        self._tracks.clear()
        return events

    def _seen(self, at_ms: int, sighting: Sighting) -> Iterable[VisitEvent]:
        track_id = sighting.track_id
        track = self._tracks.setdefault(track_id, _Track(at_ms, at_ms, sighting.confidence))
        track.last_ms, track.confidence = at_ms, sighting.confidence
        track.sightings += 1
        if self.entrance is Entrance.FRAME and track.sightings == self.inertia:
            yield self._event(track_id, track, "ENTRY", track.first_ms)
        if self.entrance is Entrance.LINE:
            yield from self._on_line(at_ms, sighting.inside, track_id, track)
        left = track.zone.value
        if track.zone.see(sighting.zone, at_ms, self.inertia):
            if left is not None:
                yield self._zone_exit(track_id, track, left, track.zone.since_ms)
            if track.zone.value is not None:
                track.entered_ms, track.next_dwell_ms = track.zone.since_ms, DWELL_STEP_MS
                yield self._event(track_id, track, "ZONE_ENTER", track.entered_ms, track.zone.value)
        # A dwell while a change is pending could turn out later than the exit that it would then have to precede.
        dwell_ms = at_ms - track.entered_ms
        if (
            track.zone.value is not None
            and not (track.zone.run or track.inside.run)
            and dwell_ms >= track.next_dwell_ms
        ):
            track.next_dwell_ms = (dwell_ms // DWELL_STEP_MS + 1) * DWELL_STEP_MS
            yield self._event(track_id, track, "ZONE_DWELL", at_ms, track.zone.value, dwell_ms)

    def _on_line(self, at_ms: int, inside: bool | None, track_id: int, track: _Track) -> Iterable[VisitEvent]:
        if inside is None:
            track.inside.run = 0
        elif track.inside.value is None:
            track.inside.value = inside
        elif track.inside.see(inside, at_ms, self.inertia):
            if inside and not track.made["ENTRY", None] and not track.made["REENTRY", None]:
                kind: EventType = "REENTRY" if track.made["EXIT", None] else "ENTRY"
                yield self._event(track_id, track, kind, track.inside.since_ms)
            elif not inside and not track.made["EXIT", None]:
                # EXIT ends zone visits; a ZONE_EXIT after it would open one that never was.
                yield from self._leave_zone(track_id, track, by_ms=track.inside.since_ms)
                yield self._event(track_id, track, "EXIT", track.inside.since_ms)

    def _gone(self, track_id: int, track: _Track) -> Iterable[VisitEvent]:
        yield from self._leave_zone(track_id, track)
        if self.entrance is Entrance.FRAME and track.made["ENTRY", None]:
            yield self._event(track_id, track, "EXIT", track.last_ms)
        del self._tracks[track_id]

    def _leave_zone(self, track_id: int, track: _Track, by_ms: int | None = None) -> Iterable[VisitEvent]:
        if (zone := track.zone.value) is not None:
            left_ms = track.left_ms if by_ms is None else min(track.left_ms, by_ms)
            track.zone = _Settled(None, None)
            yield self._zone_exit(track_id, track, zone, left_ms)

    def _zone_exit(self, track_id: int, track: _Track, zone: str, left_ms: int) -> VisitEvent:
        left_ms = max(left_ms, track.entered_ms)
        return self._event(track_id, track, "ZONE_EXIT", left_ms, zone, left_ms - track.entered_ms)

    def _event(
        self, track_id: int, track: _Track, kind: EventType, at_ms: int, zone: str | None = None, dwell_ms: int = 0
    ) -> VisitEvent:
        event = VisitEvent(
            event_id=self._id(track_id, kind, zone, track.made[kind, zone]),
            store_id=self.store_id,
            camera_id=self.camera_id,
            visitor_id=self._id(track_id),
            event_type=kind,
            timestamp=self.start + timedelta(milliseconds=at_ms),
            zone_id=zone,
            dwell_ms=dwell_ms,
            confidence=round(min(max(track.confidence, 0.0), 1.0), 4),
            metadata=Metadata(session_seq=track.made.total()),
        )
        track.made[kind, zone] += 1
        return event

    def _id(self, *parts: object) -> str:
        clip = (self.store_id, self.camera_id, self.start.isoformat(timespec="milliseconds"))
        return str(uuid5(_NAMESPACE, json.dumps([*clip, *parts])))
