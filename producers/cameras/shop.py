"""All cameras of one store, from what they observe to its visit events. Pure rules: no video, and no clock of its own.

Every track starts as a stranger, whose events are held back until one decision is made: it is a visitor known already
(``identity``), or a new one. Strangers who follow on each other may be one stranger. Nothing that has been published is ever
taken back.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from hashlib import blake2b
from uuid import UUID, uuid5

from pydantic import JsonValue

from aisleflow import log, metrics
from producers.cameras import Entrance
from producers.cameras.billing import PASSING_MS, Queue
from producers.cameras.groups import Grouping, components
from producers.cameras.identity import (
    SHARED_ZONE,
    UNLIKE,
    ZONE_ALONE,
    Candidate,
    Decision,
    Identity,
    Kind,
    Outcome,
    assign,
    bridge,
    likeness,
    on_floor,
    with_clothes,
)
from producers.cameras.observations import Observation
from producers.cameras.presence import (
    LOST_AFTER_MS,
    SAME_MOMENT_MS,
    SETTLE_LOOKS,
    SETTLE_MS,
    Crossing,
    Draft,
    Presence,
    Sighting,
)
from producers.cameras.scene import Place, Ruler, Scene, place
from producers.cameras.staff import Staff
from producers.cameras.visitors import (
    Arrival,
    Look,
    Track,
    Visitor,
)
from schemas.events import Metadata, StoreLayout, VisitEvent
from schemas.layouts import StoreCalendar
from schemas.reading import EVENT_RANK

_log = log.get(__name__)
# Names every id that cameras make; changing it would make every replay new.
_NAMESPACE = UUID("6f0a4c53-2f5e-5d0b-9c0e-7a1d3c1f8e42")

# A descriptor is worth something from this many good looks on.
GOOD_LOOKS = 3
# How many times longer a decision waits as long as there are fewer.
PATIENCE = 3
# A group as a chain of people, each within the window of the next, is closed after so many windows.
LONGEST_GROUP = 3
# Companions are compared from so long before the first of two crosses the line until so long after the second.
COMPANY_MS = 1500
DECISIONS = 1000
SWEEP_MS = 60_000
# A stranger who has been inside for so long is somebody, events or not.
RESIDENT_MS = 5000
# Strangers decided on at a time; who waits longer goes first, the others are a frame later.
COMPETING = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """A track now in view, for whoever draws it."""

    visitor_id: str
    """Of somebody who is not known yet, the one they will have unless they turn out to be another (``Shop.decisions``)."""
    known: bool
    zone: str | None
    is_staff: bool
    group_id: str | None


class Shop:
    """The people of one store, over all its cameras.

    Memory holds who is in the shop and who left it within the layout's window of re-entry: weeks of visitors come and go
    without its growing.

    Args:
        layout: The store's zones, and its rules of identity, staff, groups and billing.
        scenes: What each camera to come sees of it (``scene.scene_of``).
        salt: Secret of this shop that its visitors' ids are made with: who does not know it cannot link a person's days.
    """

    def __init__(self, layout: StoreLayout, scenes: Mapping[str, Scene], *, salt: bytes) -> None:
        self.store_id = layout.store_id
        self._scenes = dict(scenes)
        self._entrances = {camera_id: scene.entrance for camera_id, scene in scenes.items()}
        self._drawn = {camera_id: frozenset(zone for zone, _ in scene.areas) for camera_id, scene in scenes.items()}
        self._calendar = StoreCalendar(layout.store_id, layout)
        self._key = blake2b(salt, digest_size=32).digest()
        self._layout = layout
        self._identity = Identity.of(layout.identity)
        self._grouping = Grouping.of(layout.groups)
        self._staff_zones = {zone.zone_id for zone in layout.zones if zone.staff_only}
        self._queues = {
            zone.zone_id: Queue.of(layout.billing)
            for zone in layout.zones
            if zone.type == "BILLING" and not zone.staff_only
        }
        self._rulers = {camera_id: Ruler(scene.width, scene.height) for camera_id, scene in scenes.items()}
        self._tracks: dict[tuple[str, int], Track] = {}
        self._visitors: dict[int, Visitor] = {}
        self._arrivals: list[Arrival] = []
        self._numbers = 0
        self._now = 0
        self._swept_ms = 0
        self._looked: dict[str, int] = {}
        self.decisions: deque[Decision] = deque(maxlen=DECISIONS)
        """The last merges and refusals."""

    # What comes in.

    def see(self, camera_id: str, at_ms: int, observations: Sequence[Observation]) -> list[VisitEvent]:
        """The events that a frame brings about.

        Args:
            at_ms: The frame's time, epoch milliseconds. Cameras take turns in the order of time; what is older than the
                newest frame counts as now.
        """
        self._now = at_ms = max(at_ms, self._now)
        self._lose(at_ms)
        for observation in observations:
            self._observe(camera_id, at_ms, observation)
        self._looked[camera_id] = at_ms
        self._decide(camera_id, at_ms)
        self._settle_groups(at_ms)
        self._forget(at_ms)
        return self._publish()

    def finish(self, camera_id: str) -> list[VisitEvent]:
        """The camera's source is over or went away: zone visits that only it saw end where they were last seen. Nobody is
        taken to have left the shop.
        """
        dropped = [track for track in self._tracks.values() if track.camera_id == camera_id]
        for track in dropped:
            self._drop(track)
        # Of two cameras that see somebody the one that finishes last need not be the one that looked last.
        here = {track.visitor.number for track in dropped}

        def left_alone(visitor: Visitor) -> bool:
            seen_here = visitor.last_camera == camera_id or visitor.number in here
            return seen_here and not visitor.tracks and not visitor.absent

        for visitor in list(self._visitors.values()):
            if left_alone(visitor):
                self._conclude(visitor)
        for visitor in self._visitors.values():
            if left_alone(visitor):
                visitor.absent = True
                self._take(visitor, visitor.presence.leave_zone(visitor.last_ms))
        self._settle_groups(None, camera_id)
        return self._publish()

    def view(self, camera_id: str) -> dict[int, Seen]:
        """By track id, who is in the camera's picture now. A track is one visitor from its first look to its last."""
        day = self._calendar.business_day(self._now)
        return {
            track.track_id: Seen(
                self._visitor_id(track.visitor, day),
                track.visitor.known,
                track.visitor.presence.zone.value,
                track.visitor.staff.verdict,
                track.visitor.group[0] if track.visitor.group else None,
            )
            for track in self._tracks.values()
            if track.camera_id == camera_id and track.last_ms == self._looked.get(camera_id)
        }

    # Tracks.

    def _observe(self, camera_id: str, at_ms: int, seen: Observation) -> None:
        ruler = self._rulers[camera_id]
        track = self._tracks.get((camera_id, seen.track_id))
        box = track.mend(seen.box, at_ms) if track is not None else seen.box
        if box is not seen.box:
            seen = replace(seen, appearance=None, uniform=None)
        elif seen.appearance is not None:
            ruler.see(box)
        there = place(self._scenes[camera_id], box, ruler.ground)
        # The tracker may find somebody again whom we have taken another track of this camera for since, or go over to
        # somebody else where two meet.
        if track is not None and (track.visitor.tracks.get(camera_id) is not track or self._strays(track, seen)):
            self._drop(track)
            track = None
        if track is None:
            track = self._start(camera_id, at_ms, seen, there)
        visitor, gap_ms = track.visitor, at_ms - track.last_ms
        track.looks, track.last_ms = track.looks + 1, at_ms
        track.walk(at_ms, there)
        visitor.last_ms, visitor.last_camera, visitor.absent = at_ms, camera_id, False
        visitor.staff.see(seen.uniform)
        visitor.staff.stay(visitor.presence.zone.value in self._staff_zones, gap_ms)
        if seen.appearance is not None and not track.strange:
            visitor.looks.setdefault(camera_id, Look()).see(seen.appearance)
        sighting = Sighting(camera_id, at_ms, there.zone, there.inside, there.clear, seen.confidence)
        if not track.strange:
            self._take(visitor, visitor.see(sighting))
        age_ms = at_ms - visitor.first_ms
        visitor.settled = visitor.settled or (track.looks >= SETTLE_LOOKS and age_ms + gap_ms >= SETTLE_MS)
        visitor.resident = visitor.resident or (
            age_ms >= RESIDENT_MS and (there.inside is True or self._entrances[camera_id] is not Entrance.LINE)
        )
        self._appear(visitor, camera_id)
        if visitor.staff.verdict and visitor.queued is not None:
            self._queues[visitor.queued].leave(visitor, at_ms)
            visitor.queued = visitor.joining = None

    def _strays(self, track: Track, seen: Observation) -> bool:
        """Whether the track has gone over to somebody else: several looks in a row at other clothes."""
        own = track.visitor.looks.get(track.camera_id)
        if seen.appearance is None or own is None or own.looks < GOOD_LOOKS:
            return False
        like = likeness(seen.appearance, own.mean)
        track.strange = track.strange + 1 if like is not None and like < UNLIKE else 0
        return track.strange >= GOOD_LOOKS

    def _start(self, camera_id: str, at_ms: int, seen: Observation, there: Place) -> Track:
        self._numbers += 1
        visitor = Visitor(
            self._numbers,
            (camera_id, seen.track_id, at_ms),
            there,
            Presence(self._drawn, at_ms),
            Staff.of(self._layout.staff),
            at_ms,
            camera_id,
        )
        track = Track(camera_id, seen.track_id, at_ms, at_ms, visitor)
        visitor.tracks[camera_id] = track
        self._tracks[camera_id, seen.track_id] = track
        self._visitors[visitor.number] = visitor
        return track

    def _drop(self, track: Track) -> None:
        """The tracker has lost it."""
        del self._tracks[track.camera_id, track.track_id]
        if track.visitor.tracks.get(track.camera_id) is track:
            del track.visitor.tracks[track.camera_id]
            track.visitor.lost[track.camera_id] = track

    def _lose(self, at_ms: int) -> None:
        for track in [track for track in self._tracks.values() if at_ms - track.last_ms > LOST_AFTER_MS]:
            self._drop(track)
        # Until then somebody who is only hidden would be found again where they stood.
        window_ms = max(LOST_AFTER_MS, self._identity.window_ms[Kind.BRIDGE] + self._identity.wait_ms + SETTLE_MS)
        gone = [v for v in self._visitors.values() if not v.absent and at_ms - v.last_ms > window_ms]
        for visitor in gone:
            self._take(visitor, visitor.presence.vanish(self._entrances, visitor.last_camera, visitor.last_ms))
            self._conclude(visitor)
            visitor.absent = True
            visitor.lost.clear()

    def _appear(self, visitor: Visitor, camera_id: str) -> None:
        if visitor.settled and self._entrances[camera_id] is Entrance.FRAME:
            self._take(visitor, visitor.presence.appear(camera_id, visitor.first_ms))

    # Who it is.

    def _decide(self, camera_id: str, at_ms: int) -> None:
        strangers = [
            visitor
            for visitor in self._visitors.values()
            if not visitor.known and visitor.settled and visitor.last_ms == at_ms and visitor.last_camera == camera_id
        ][:COMPETING]
        options = {stranger.number: self._candidates(stranger) for stranger in strangers}
        chosen = assign(options, self._identity.margin)
        for stranger in strangers:
            best, clear = chosen.get(stranger.number, (None, True))
            age_ms = at_ms - stranger.first_ms
            # Clothes may be hidden at first: by a shelf, or by those who come along.
            patience = 1 if stranger.good_looks >= GOOD_LOOKS else PATIENCE
            waited = age_ms >= patience * self._identity.wait_ms
            placed = best is not None and best.kind in (Kind.BRIDGE, Kind.OVERLAP) and age_ms >= self._identity.wait_ms
            # Somebody chosen may just have become a part of somebody else.
            if best is not None and clear and best.visitor in self._visitors:
                if waited or placed or stranger.good_looks >= GOOD_LOOKS:
                    self._record(stranger, best, options[stranger.number], "merged")
                    self._merge(stranger, self._visitors[best.visitor])
            elif (
                not waited
                or not stranger.drafts
                or (best is None and self._may_be_told_of(stranger, options[stranger.number]))
            ):
                continue
            elif best is not None and best.kind is Kind.OVERLAP and best.visitor in self._visitors:
                # Another camera tells of these people: to wait loses nothing but who crosses a line that only this one
                # sees, and to make a new visitor would count somebody twice.
                crosses = any(draft.zone is None for draft in stranger.drafts)
                if crosses and age_ms >= 2 * self._identity.wait_ms:
                    self._record(stranger, best, options[stranger.number], "merged")
                    self._merge(stranger, self._visitors[best.visitor])
            else:
                self._make_known(stranger, options[stranger.number])

    def _conclude(self, stranger: Visitor) -> None:
        """Nobody sees them any more, and it is not decided who they are: what they did is a visitor's, unless it may be
        one whom another camera tells of.
        """
        if stranger.known or not stranger.drafts:
            return
        candidates = self._candidates(stranger)
        best, clear = assign({stranger.number: candidates}, self._identity.margin).get(stranger.number, (None, True))
        if best is not None and clear:
            self._record(stranger, best, candidates, "merged")
            self._merge(stranger, self._visitors[best.visitor])
        elif not self._may_be_told_of(stranger, candidates) and (best is None or best.kind is not Kind.OVERLAP):
            self._make_known(stranger, candidates)

    def _may_be_told_of(self, stranger: Visitor, candidates: Sequence[Candidate]) -> bool:
        """Whether another camera sees somebody in the same place, and nothing is known of the clothes."""
        overlaps = any(candidate.kind is Kind.OVERLAP and candidate.score for candidate in candidates)
        return overlaps and stranger.good_looks < GOOD_LOOKS

    def _candidates(self, stranger: Visitor) -> list[Candidate]:
        """Everybody whom a stranger may be, each by what speaks most for it, of any score."""
        found: list[Candidate] = []
        # Who stays outside of the entrance is nobody yet, and may be known when they come in.
        asks = (bool(stranger.drafts) or stranger.resident) and stranger.good_looks >= GOOD_LOOKS
        comes = any(draft.kind == "ENTRY" for draft in stranger.drafts)
        for visitor in self._visitors.values():
            # Of two strangers, the later one is the earlier one.
            if visitor is stranger or not (visitor.known or visitor.number < stranger.number):
                continue
            if any(
                camera_id in visitor.tracks and visitor.tracks[camera_id].last_ms >= stranger.first_ms
                for camera_id in stranger.tracks
            ):
                continue
            reasons = [*self._bridge(stranger, visitor), *self._overlap(stranger, visitor)]
            if asks and (visitor.known or visitor.resident):
                reasons += self._return(stranger, visitor, comes)
            found += sorted(reasons, key=lambda candidate: -candidate.lead)[:1]
        return found

    def _candidate(self, visitor: Visitor, kind: Kind, score: float, threshold: float | None = None) -> Candidate:
        return Candidate(visitor.number, kind, score, self._identity.score[kind] if threshold is None else threshold)

    def _bridge(self, stranger: Visitor, visitor: Visitor) -> Iterator[Candidate]:
        camera_id, first = stranger.serial[0], stranger.start
        before = visitor.tracks.get(camera_id) or visitor.lost.get(camera_id)
        if before is None:
            return
        gap_ms = stranger.first_ms - before.last_ms
        if not 0 < gap_ms <= self._identity.window_ms[Kind.BRIDGE]:
            return
        (vx, vy), last, scene = before.velocity, before.last, self._scenes[camera_id]
        # Who walked out of the picture is not hidden in it.
        if not (0 <= last.x + vx < scene.width and last.y + vy >= 0):
            return
        score = bridge((last.x, last.y), (vx, vy), (first.x, first.y), last.height, gap_ms / 1000)
        yield self._candidate(visitor, Kind.BRIDGE, with_clothes(score, visitor.like(stranger)))

    def _overlap(self, stranger: Visitor, visitor: Visitor) -> Iterator[Candidate]:
        places, on_plan = list[float](), False
        for own in stranger.tracks.values():
            for other in visitor.tracks.values():
                if own.camera_id == other.camera_id:
                    continue
                if abs(own.last_ms - other.last_ms) > self._identity.window_ms[Kind.OVERLAP]:
                    continue
                apart = _apart_m(own, other)
                if apart:
                    places.append(on_floor(apart))
                    on_plan = True
                elif own.last.zone is not None and own.last.zone == other.last.zone:
                    places.append(SHARED_ZONE)
        if not places and _crossed_at_once(stranger.presence.crossed, visitor.presence.crossed):
            places.append(SHARED_ZONE)
        if places:
            like = visitor.like(stranger)
            place = min(places) * (ZONE_ALONE if like is None and not on_plan else 1)
            yield self._candidate(visitor, Kind.OVERLAP, with_clothes(place, like))

    def _return(self, stranger: Visitor, visitor: Visitor, comes: bool) -> Iterator[Candidate]:
        like = visitor.like(stranger)
        outside = visitor.presence.inside is False
        kind = Kind.REENTRY if outside else Kind.HANDOVER
        if like is None or outside is not comes:
            return
        if stranger.first_ms - visitor.last_ms > self._identity.window_ms[kind]:
            return
        # Who was counted in has to be somewhere in the shop; others may have gone unseen, and somebody like them come.
        strict = visitor.presence.inside is None
        if visitor.last_ms >= stranger.first_ms:
            # Seen at once by cameras of which nobody said how they lie to each other.
            if outside or any(_apart_m(a, b) for a in stranger.tracks.values() for b in visitor.tracks.values()):
                return
            strict = True
        yield self._candidate(visitor, kind, like, self._identity.score[Kind.REENTRY] if strict else None)

    def _merge(self, stranger: Visitor, visitor: Visitor) -> None:
        """The stranger is this visitor, and always was."""
        told_ms = visitor.last_ms
        del self._visitors[stranger.number]
        for camera_id, track in stranger.tracks.items():
            track.visitor = visitor
            visitor.tracks[camera_id] = track
        visitor.lost.update(stranger.lost)
        visitor.staff.join(stranger.staff)
        for camera_id, look in stranger.looks.items():
            visitor.looks.setdefault(camera_id, Look()).join(look)
        if stranger.last_ms >= visitor.last_ms:
            visitor.last_ms, visitor.last_camera, visitor.absent = stranger.last_ms, stranger.last_camera, False
        for sighting in sorted(stranger.held, key=lambda sighting: sighting.at_ms):
            # What another camera has told already of a moment stands; only the line is this camera's own.
            self._take(visitor, visitor.see(sighting, only_line=sighting.at_ms < told_ms))
        self._appear(visitor, stranger.last_camera)

    def _make_known(self, stranger: Visitor, candidates: Sequence[Candidate] = ()) -> None:
        """The stranger is a visitor not known before."""
        for best in sorted(candidates, key=lambda candidate: -candidate.lead)[:1]:
            self._record(stranger, best, candidates, "refused" if best.lead < 0 else "ambiguous")
        stranger.known = True
        stranger.held.clear()
        drafts, stranger.drafts = stranger.drafts, []
        self._take(stranger, drafts)

    def _record(self, stranger: Visitor, best: Candidate, candidates: Sequence[Candidate], outcome: Outcome) -> None:
        others = [candidate.score for candidate in candidates if candidate.visitor != best.visitor]
        day = self._calendar.business_day(stranger.last_ms)
        decision = Decision(
            stranger.last_ms,
            stranger.serial[0],
            self._visitor_id(stranger, day),
            outcome,
            best.kind,
            round(best.score, 4),
            round(best.threshold, 4),
            self._visitor_id(self._visitors[best.visitor], day),
            round(max(others), 4) if others else None,
        )
        self.decisions.append(decision)
        metrics.CAMERA_IDENTITY.labels(best.kind, outcome).inc()
        _log.debug("identity", **asdict(decision))

    # What becomes of events.

    def _take(self, visitor: Visitor, drafts: Iterable[Draft]) -> None:
        for draft in drafts:
            if not visitor.known:
                visitor.drafts.append(draft)
            elif draft.zone in self._queues:
                self._wait(visitor, draft, draft.zone)
            else:
                visitor.outbox.append((draft, None))
                self._arrive(visitor, draft)

    def _arrive(self, visitor: Visitor, draft: Draft) -> None:
        """Companions of somebody who has come over the line may still follow."""
        line = self._entrances[draft.camera_id] is Entrance.LINE
        if draft.kind in ("ENTRY", "REENTRY") and line and self._grouping.window_ms:
            visitor.group = None
            track = visitor.tracks.get(draft.camera_id)
            if track is not None and visitor.arrival is None:
                visitor.arrival = Arrival(visitor, draft.camera_id, draft.at_ms, track)
                self._arrivals.append(visitor.arrival)

    def _wait(self, visitor: Visitor, draft: Draft, zone: str) -> None:
        """An event of a billing zone, with what it does to the queue."""
        queue, told = self._queues[zone], [draft]
        if draft.kind == "ZONE_ENTER" and not visitor.staff.verdict:
            party = visitor.group[0] if visitor.group else visitor
            joined = queue.enter(visitor, party, draft.at_ms)
            visitor.queued = zone
        elif draft.kind == "ZONE_EXIT":
            self._join(visitor, draft.at_ms)
            if queue.leave(visitor, draft.at_ms) and visitor.joining is None:
                told.insert(0, replace(draft, kind="BILLING_QUEUE_ABANDON"))
            visitor.queued = visitor.joining = None
        depth = sum(map(len, self._queues.values()))
        visitor.outbox += [(one, depth) for one in told]
        if draft.kind == "ZONE_ENTER" and visitor.queued is not None and joined:
            visitor.joining = replace(draft, kind="BILLING_QUEUE_JOIN"), depth

    def _join(self, visitor: Visitor, at_ms: int) -> None:
        """Tell that somebody has joined the queue, once they have stayed: others only pass through."""
        if visitor.joining is not None and at_ms - visitor.joining[0].at_ms >= PASSING_MS:
            visitor.outbox.append(visitor.joining)
            visitor.joining = None

    def _settle_groups(self, at_ms: int | None, camera_id: str | None = None) -> None:
        """Close the groups that nobody can join any more; ``None``: all of a camera's."""
        if not self._arrivals:
            return
        window_ms = self._grouping.window_ms
        # Companions cross within the window; that they did is known when it has settled, and who they are after that.
        late_ms = window_ms + SETTLE_MS + self._identity.wait_ms
        for group in components(self._arrivals, self._linked):
            first, newest = group[0].at_ms, max(arrival.at_ms for arrival in group)
            if at_ms is None:
                done = group[0].camera_id == camera_id
            else:
                done = at_ms >= newest + late_ms or at_ms >= first + LONGEST_GROUP * late_ms
            if not done:
                continue
            name = self._pseudonym("GRP", *sorted(arrival.visitor.serial for arrival in group))
            for arrival in group:
                arrival.visitor.arrival = None
                arrival.visitor.group = (name, len(group)) if len(group) > 1 else None
                self._arrivals.remove(arrival)

    def _linked(self, one: Arrival, other: Arrival) -> bool:
        if (
            one.camera_id != other.camera_id
            or abs(one.at_ms - other.at_ms) > self._grouping.window_ms
            or one.visitor.staff.verdict is not other.visitor.staff.verdict
        ):
            return False
        since, until = min(one.at_ms, other.at_ms) - COMPANY_MS, max(one.at_ms, other.at_ms) + COMPANY_MS
        steps = ([step for step in arrival.track.steps() if since <= step[0] <= until] for arrival in (one, other))
        return self._grouping.together(*steps)

    def _publish(self) -> list[VisitEvent]:
        events = []
        for visitor in self._visitors.values():
            self._join(visitor, self._now)
            if visitor.outbox and visitor.arrival is None:
                ready, visitor.outbox = visitor.outbox, []
                ready.sort(key=lambda one: (one[0].at_ms, EVENT_RANK[one[0].kind]))
                events += [self._event(visitor, draft, depth) for draft, depth in ready]
        return sorted(events, key=lambda event: event.timestamp)

    def _event(self, visitor: Visitor, draft: Draft, depth: int | None) -> VisitEvent:
        visitor_id = self._visitor_id(visitor, self._calendar.business_day(draft.at_ms))
        place = draft.kind, draft.zone
        name = json.dumps([self.store_id, visitor_id, *place, visitor.made[place]])
        company: dict[str, JsonValue] = {}
        if draft.kind in ("ENTRY", "REENTRY") and visitor.group is not None:
            company = {"group_id": visitor.group[0], "group_size": visitor.group[1]}
        event = VisitEvent(
            event_id=str(uuid5(_NAMESPACE, name)),
            store_id=self.store_id,
            camera_id=draft.camera_id,
            visitor_id=visitor_id,
            event_type=draft.kind,
            timestamp=datetime.fromtimestamp(draft.at_ms / 1000, UTC),
            zone_id=draft.zone,
            dwell_ms=draft.dwell_ms,
            is_staff=visitor.staff.verdict,
            confidence=round(min(max(draft.confidence, 0.0), 1.0), 4),
            metadata=Metadata.model_validate({"session_seq": visitor.made.total(), "queue_depth": depth, **company}),
        )
        visitor.made[place] += 1
        return event

    def _visitor_id(self, visitor: Visitor, day: date) -> str:
        return self._pseudonym("VIS", day.isoformat(), *visitor.serial)

    def _pseudonym(self, kind: str, *parts: object) -> str:
        """A name that only the salt's owner can make again."""
        text = json.dumps([kind, self.store_id, *parts]).encode()
        return f"{kind}_{blake2b(text, digest_size=10, key=self._key).hexdigest()}"

    # What is forgotten.

    def _forget(self, at_ms: int) -> None:
        if at_ms - self._swept_ms < SWEEP_MS:
            return
        self._swept_ms, today = at_ms, self._calendar.business_day(at_ms)
        for visitor in list(self._visitors.values()):
            if not visitor.absent or visitor.outbox:
                continue
            if not visitor.known and not visitor.resident:
                del self._visitors[visitor.number]
                continue
            outside = visitor.presence.inside is False
            unseen_ms = at_ms - visitor.last_ms
            # Nobody can be known again on another day: their names would differ.
            past = self._calendar.business_day(visitor.last_ms) != today
            if past or unseen_ms > self._identity.window_ms[Kind.REENTRY if outside else Kind.HANDOVER]:
                del self._visitors[visitor.number]


def _crossed_at_once(one: Crossing | None, other: Crossing | None) -> bool:
    """Whether two cameras saw what may be one step through one door."""
    return (
        one is not None
        and other is not None
        and one.camera_id != other.camera_id
        and one.inwards is other.inwards
        and abs(one.at_ms - other.at_ms) <= SAME_MOMENT_MS
    )


def _apart_m(one: Track, other: Track) -> list[float]:
    """Distances on the floor at moments that both cameras saw, metres; none where a camera has no floor points."""
    times = [at for at, _ in other.trail]
    distances = []
    for at, there in one.trail:
        i = bisect_left(times, at)
        near = min(
            (other.trail[j] for j in (i - 1, i) if 0 <= j < len(times)),
            key=lambda step: abs(step[0] - at),
            default=None,
        )
        if near is None or abs(near[0] - at) > SAME_MOMENT_MS // 2 or there.floor is None or near[1].floor is None:
            continue
        distances.append(math.hypot(there.floor[0] - near[1].floor[0], there.floor[1] - near[1].floor[1]))
    return distances
