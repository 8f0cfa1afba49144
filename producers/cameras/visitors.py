"""What ``shop`` remembers of people: how they look, how a camera follows them, who they are, with whom they came."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from producers.cameras.appearance import Descriptor
from producers.cameras.identity import likeness
from producers.cameras.presence import Draft, Presence, Sighting
from producers.cameras.scene import PERSON_M, Box, Place
from producers.cameras.staff import Staff

# The last looks outweigh the first: light and the side a person shows change as they walk.
REMEMBERED_LOOKS = 40
# Of a track's way this much is kept: the seconds in which companions, or two cameras, are compared.
TRAIL_MS = 6000
# Walking speed is read from this much of it.
STEP_MS = 800
# A box lower than this share of those before shows no feet; after so long the person is taken to sit or bend.
WHOLE = 0.75
WHOLE_SHARE = 0.3
LEGLESS_MS = 4000
# A stranger's looks are kept up to this number: who loiters outside of the door for longer is known by the last of them.
HELD_LOOKS = 600


@dataclass(slots=True)
class Look:
    """The mean of a person's clothes over good looks."""

    total: Descriptor | None = None
    looks: int = 0

    def see(self, appearance: Descriptor) -> None:
        if self.total is None:
            self.total = appearance.astype(np.float32)
        else:
            weight = np.float32(1 / min(self.looks + 1, REMEMBERED_LOOKS))
            self.total = self.total + (appearance - self.total) * weight
        self.looks += 1

    def join(self, other: Look) -> None:
        """Take over what was seen of the same person before it was known who it is."""
        if self.total is None or other.total is None:
            self.total = other.total if self.total is None else self.total
        else:
            self.total = self.total + (other.total - self.total) * np.float32(other.looks / (self.looks + other.looks))
        self.looks += other.looks

    @property
    def mean(self) -> Descriptor | None:
        if self.total is None:
            return None
        length = float(np.linalg.norm(self.total))
        return self.total / length if length else None


@dataclass(slots=True, eq=False)
class Track:
    """One person as one camera's tracker follows them."""

    camera_id: str
    track_id: int
    first_ms: int
    last_ms: int
    visitor: Visitor
    looks: int = 0
    strange: int = 0
    """Looks in a row at clothes that are not the visitor's."""
    tall: float = 0.0
    """Height of the box when it last showed the whole person, pixels."""
    whole_ms: int = 0
    """When that was."""
    trail: deque[tuple[int, Place]] = field(default_factory=deque)

    def mend(self, box: Box, at_ms: int) -> Box:
        """The box as it would be if nothing hid the legs: one that suddenly ends much higher has lost its feet, not moved
        them.
        """
        x0, y0, x1, y1 = box
        if y1 - y0 < WHOLE * self.tall and at_ms - self.whole_ms <= LEGLESS_MS:
            return x0, y0, x1, y0 + self.tall
        self.tall = y1 - y0 if self.tall == 0 else self.tall + (y1 - y0 - self.tall) * WHOLE_SHARE
        self.whole_ms = at_ms
        return box

    @property
    def last(self) -> Place:
        return self.trail[-1][1]

    def walk(self, at_ms: int, place: Place) -> None:
        self.trail.append((at_ms, place))
        while at_ms - self.trail[0][0] > TRAIL_MS:
            self.trail.popleft()

    @property
    def velocity(self) -> tuple[float, float]:
        """Pixels a second over the last step."""
        last_ms, last = self.trail[-1]
        at_ms, then = next((at, there) for at, there in self.trail if last_ms - at <= STEP_MS)
        seconds = (last_ms - at_ms) / 1000
        return ((last.x - then.x) / seconds, (last.y - then.y) / seconds) if seconds else (0.0, 0.0)

    def steps(self) -> list[tuple[int, float, float, float]]:
        """The trail as ``groups`` compares it: on the ground where that is known."""
        if all(there.ground is not None for _, there in self.trail):
            return [(at, *there.ground, PERSON_M) for at, there in self.trail if there.ground is not None]
        return [(at, there.x, there.y, there.height) for at, there in self.trail]


@dataclass(slots=True, eq=False)
class Visitor:
    """One person in the shop, or known to have left it; a stranger as long as ``known`` is false."""

    number: int
    serial: tuple[str, int, int]
    """Camera, track and time of the first look: what a replay repeats."""
    start: Place
    """Of the first look."""
    presence: Presence
    staff: Staff
    last_ms: int
    last_camera: str
    known: bool = False
    """It is decided that this is somebody, and who."""
    settled: bool = False
    """Has been seen long enough for any decision."""
    resident: bool = False
    """A stranger who has been in the shop for a while, though nothing has happened."""
    tracks: dict[str, Track] = field(default_factory=dict)
    """By camera, those that are seen or have been lost less than ``LOST_AFTER_MS`` ago."""
    lost: dict[str, Track] = field(default_factory=dict)
    """By camera, the last one that was lost there."""
    looks: dict[str, Look] = field(default_factory=dict)
    """By camera: each sees colours in its own way."""
    held: deque[Sighting] = field(default_factory=lambda: deque(maxlen=HELD_LOOKS))
    """A stranger's sightings, to be told to whoever they turn out to be."""
    drafts: list[Draft] = field(default_factory=list)
    """A stranger's events."""
    outbox: list[tuple[Draft, int | None]] = field(default_factory=list)
    """Events not published yet, with the queue's depth where it belongs to them."""
    made: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Events published, by type and zone."""
    absent: bool = False
    group: tuple[str, int] | None = None
    arrival: Arrival | None = None
    queued: str | None = None
    """The billing zone they wait in."""
    joining: tuple[Draft, int] | None = None
    """That they joined the queue there, as long as they may only be passing through."""

    @property
    def first_ms(self) -> int:
        return self.serial[2]

    @property
    def good_looks(self) -> int:
        return sum(look.looks for look in self.looks.values())

    def like(self, other: Visitor) -> float | None:
        """How alike the clothes are, at best: cameras, and the sides a person shows, differ."""
        return max(
            (
                like
                for own in self.looks.values()
                for their in other.looks.values()
                if (like := likeness(own.mean, their.mean)) is not None
            ),
            default=None,
        )

    def see(self, sighting: Sighting, *, only_line: bool = False) -> Iterator[Draft]:
        """Its events, or those of the entrance line alone; a stranger's sighting is kept."""
        if not self.known:
            self.held.append(sighting)
        yield from self.presence.cross(sighting) if only_line else self.presence.see(sighting)


@dataclass(slots=True, eq=False)
class Arrival:
    """Somebody who came in and whose companions may still follow."""

    visitor: Visitor
    camera_id: str
    at_ms: int
    track: Track
