"""The stories: one kind of scene for each thing that a camera must get right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from producers.simulator.footage.people import Clothes, Person, Wardrobe, Way, clear_of_others, places
from producers.simulator.footage.plan import Floats, Lens, Plan, Point, Rect, entrance_line, layout
from producers.simulator.footage.truth import TrueEvent, events
from schemas.events import StoreLayout

START_MS = 1_795_168_800_000
"""2026-11-20T10:00:00Z, when every scene begins."""
AFTER_S = 20.0
"""Who stays is there for so long after the scene's planned end, so that it can end a little later."""
QUIET_S = 3.0
"""Nothing happens so shortly before the end: a rule could not yet know it."""
STRANGERS_S = 3.5
"""Who does not belong together comes in with at least so much time between."""
STAFF_S = 6.0
"""Staff are wholly in a camera's picture for longer than this, though furniture may hide their legs."""
UNIFORMS = ((40, 60, 200), (60, 140, 40), (170, 90, 20), (20, 120, 230))
"""BGR: red, green, blue, orange."""


@dataclass(frozen=True)
class Scene:
    """A story with its shop, cameras and people: all that is true in it."""

    kind: str
    seed: int
    fps: int
    seconds: float
    plan: Plan
    lenses: tuple[Lens, ...]
    people: tuple[Person, ...]
    layout: StoreLayout

    @cached_property
    def events(self) -> tuple[TrueEvent, ...]:
        return events(self.people, self.plan, self.seconds)

    @property
    def frames(self) -> int:
        return int(self.seconds * self.fps)

    @cached_property
    def places(self) -> Floats:
        """Where everybody is in every frame: frames x people x 2, metres; nan for who is not there."""
        times = np.arange(self.frames) / self.fps
        ways = [places(person.way, times) for person in self.people]
        return np.stack(ways, axis=1) if ways else np.empty((self.frames, 0, 2))


def scene(seed: int, kind: str | None = None) -> Scene:
    """The scene of a seed; its kind too follows from the seed unless it is named.

    Raises:
        KeyError: there is no such kind.
    """
    names = list(KINDS)
    kind = kind or names[seed % len(names)]
    tell = KINDS[kind]
    # A story that cannot be told in the shop drawn for it (a door out of view, no clothes left) is told in another.
    for attempt in range(40):
        story = Story(np.random.default_rng((seed, names.index(kind), attempt)))
        try:
            tell(story)
            return story.scene(kind, seed)
        except (RuntimeError, ValueError) as error:
            reason = error
    raise RuntimeError(f"no shop for a scene {kind!r} with seed {seed}: {reason}")


class Story:
    """Draws a shop and lets people walk in it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.seconds = 60.0
        self.people: list[Person] = []
        self.plan = self._plan()
        self.lenses: tuple[Lens, ...] = (self.door_lens(),) if rng.random() < 0.5 else (self.whole_lens(),)
        self.uniform = UNIFORMS[int(rng.integers(len(UNIFORMS)))]
        self.wardrobe = Wardrobe(rng, self.uniform)
        self.tells_uniform = False
        self.tells_staff_zone = False
        self._taken: list[Point] = []
        self._parties = 0

    def scene(self, kind: str, seed: int) -> Scene:
        """What has been told.

        Raises:
            ValueError: nobody could tell the truth from the pictures: strangers come in like a group, a pillar hides the door, or
                staff are hardly seen.
        """
        self._check()
        b, g, r = self.uniform
        drawn = layout(
            self.plan,
            self.lenses,
            store_id=f"STAGE-{seed}",
            uniform=[f"#{r:02x}{g:02x}{b:02x}"] if self.tells_uniform else [],
            floor_points=bool(self.rng.random() < 0.5),
            staff_zone=self.tells_staff_zone,
        )
        fps, seconds = int(self.rng.choice((5, 8, 10))), self.seconds
        while late := [e for e in events(self.people, self.plan, seconds + QUIET_S) if abs(e.at_s - seconds) < QUIET_S]:
            seconds = late[-1].at_s + QUIET_S + 0.1
        return Scene(kind, seed, fps, seconds, self.plan, self.lenses, tuple(self.people), drawn)

    def _check(self) -> None:
        came = [(e.at_s, self.people[e.person].party, e.person) for e in self._events() if "ENTRY" in e.kind]
        for (one_s, one, _), (other_s, other, _) in pairwise(came):
            if other_s - one_s < STRANGERS_S and (one is None or one != other):
                raise ValueError("strangers come in like a group")
        eye = self.lenses[0].position[:2]
        doorway = [(x, y) for x in self.plan.door for y in (-0.9, 0.0, 1.0)]
        if any(pillar.grown(0.25).cut_by(point, eye) for pillar in self.plan.pillars for point in doorway):
            raise ValueError("a pillar hides the door")
        times = np.arange(0, self.seconds, 0.5)
        for person in self.people:
            if person.staff and not any(
                np.count_nonzero(_whole(lens, places(person.way, times), person.height)) > STAFF_S / 0.5
                for lens in self.lenses
            ):
                raise ValueError("staff are hardly seen")

    def _events(self) -> tuple[TrueEvent, ...]:
        return events(self.people, self.plan, self.seconds + AFTER_S)

    # The shop

    def _plan(self, pillars: tuple[Rect, ...] = ()) -> Plan:
        width, depth = self.some(10.0, 12.0), self.some(7.6, 9.0)
        door_x, half = self.some(3.6, 5.4), self.some(1.05, 1.4)
        till_x, till_y = width - 1.5, self.some(3.4, 3.9)
        table = Rect(door_x - 0.8, till_y + 2.0, door_x + 0.8, till_y + 2.7)
        zones = {
            "TILL": ("BILLING", Rect(till_x - 3.3, till_y - 0.1, till_x + 0.05, till_y + 1.5)),
            "TABLE": ("DISPLAY", Rect(table.x0 - 1.0, table.y0 - 1.0, table.x1 + 1.0, table.y1 + 0.9)),
            "SHELF": ("SHELF", Rect(0.5, 1.6, 1.9, depth - 0.6)),
            "BACK": ("STOCKROOM", Rect(till_x + 0.6, till_y - 0.6, width, till_y + 2.0)),
        }
        return Plan(
            width,
            depth,
            (door_x - half, door_x + half),
            till=Rect(till_x, till_y - 0.3, till_x + 0.6, till_y + 1.6),
            table=table,
            zones=zones,
            pillars=pillars,
            lamp=(self.some(2, width - 2), self.some(1, depth - 1)),
        )

    def door_lens(self) -> Lens:
        """Looks at the door from inside."""
        x = self.plan.door_x
        at = (x + self.some(-2.0, 2.0), self.some(5.4, 6.4), self.some(2.8, 3.1))
        return self._lens("CAM-1", at, (x + self.some(-0.4, 0.4), 0.6, 0.5), self.some(370, 420))

    def whole_lens(self) -> Lens:
        """Looks over the whole shop from the back wall, left of its middle."""
        at = (self.plan.width * self.some(0.2, 0.3), self.plan.depth - 0.3, self.some(3.0, 3.3))
        return self._lens("CAM-1", at, (self.plan.width * 0.57, 2.6, 0.0), self.some(330, 350))

    def till_lens(self, *, door: bool) -> Lens:
        """Looks at the till, and past it to the door, from the far right corner."""
        at = (self.plan.width - self.some(0.3, 0.7), self.plan.depth - 0.3, self.some(2.9, 3.2))
        return self._lens("CAM-2", at, (self.plan.width * 0.47, 3.0, 0.0), self.some(335, 360), door=door)

    def _lens(
        self,
        camera_id: str,
        at: tuple[float, float, float],
        to: Point | tuple[float, float, float],
        focal: float,
        *,
        door: bool = True,
    ) -> Lens:
        gain = self.some(0.85, 1.1)
        b, g, r = (gain * self.some(0.9, 1.1) for _ in range(3))
        lens = Lens(camera_id, at, (to[0], to[1], to[-1]), focal, (b, g, r), door=door)
        if door:
            entrance_line(self.plan, lens)  # raises when it does not see the door
        return lens

    # Its people

    def some(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def off(self) -> Point:
        """A place before the shop that no camera sees."""
        return (-5.0 if self.chance(0.5) else self.plan.width + 5.0), self.some(-2.5, -1.4)

    def lane(self) -> float:
        """Where somebody goes through the door."""
        return self.some(self.plan.door[0] + 0.35, self.plan.door[1] - 0.35)

    def spot(self, *, in_view: bool = False) -> Point:
        """A place to look at goods where nobody else of this story stands; raises ValueError when none is left."""
        free = [
            spot
            for spot in self.plan.spots
            if spot not in self._taken
            and (not in_view or any(_whole(lens, np.array([spot]), 1.9)[0] for lens in self.lenses))
        ]
        if not free:
            raise ValueError("no place left to stand")
        spot = free[int(self.rng.integers(len(free)))]
        self._taken.append(spot)
        return spot

    def way(self, at_s: float, start: Point | None = None) -> Way:
        return Way(self.plan, at_s, start or self.off(), self.some(0.95, 1.35))

    def come(self, way: Way) -> Way:
        x = self.lane()
        return way.to((x, -0.9), (x, 1.3))

    def go(self, way: Way) -> Way:
        x = self.lane()
        return way.to((x, 1.3), (x, -0.9), self.off())

    def browse(self, way: Way, spots: Iterable[Point], low: float = 4, high: float = 12) -> Way:
        for spot in spots:
            way.to(spot).wait(self.some(low, high))
        return way

    def add(
        self,
        attempt: Callable[[], Way],
        *,
        clothes: Clothes | None = None,
        staff: bool = False,
        party: int | None = None,
    ) -> Person:
        """One more person, on the first of ``attempt``'s ways that keeps clear of everybody so far."""
        person = Person(
            clothes or self.wardrobe.clothes(),
            self.some(1.56, 1.9),
            clear_of_others(lambda: attempt().array, self.people, self.plan),
            staff,
            party,
        )
        self.people.append(person)
        return person

    def shopper(self, at_s: float, *, stays: bool = False, clothes: Clothes | None = None) -> Person:
        """Comes in, looks at one or two things, and goes unless ``stays``."""
        spots = [self.spot() for _ in range(int(self.rng.integers(1, 3)))]

        def attempt() -> Way:
            way = self.browse(self.come(self.way(at_s)), spots)
            return way.until(self.seconds + AFTER_S) if stays else self.go(way)

        return self.add(attempt, clothes=clothes)

    def passer_by(self, at_s: float) -> Person:
        def attempt() -> Way:
            x, y = self.off()
            return self.way(at_s, (x, y)).to((self.plan.width - x, y))

        return self.add(attempt)

    def party(self, at_s: float, size: int, *, leave: bool = True) -> None:
        """People who arrive side by side and in rows, at ``at_s`` or, where somebody is in their way, a little later."""
        number, self._parties = self._parties, self._parties + 1
        spots, before, worn = [self.spot() for _ in range(size)], len(self.people), self.wardrobe.several(size)
        for later in range(8):
            try:
                self._arrive(at_s + later, number, spots, worn, leave=leave)
                return
            except RuntimeError as error:
                del self.people[before:]
                reason = error
        raise reason

    def _arrive(
        self, at_s: float, number: int, spots: Sequence[Point], worn: Sequence[Clothes], *, leave: bool
    ) -> None:
        start, x, speed = self.off(), self.plan.door_x + self.some(-0.15, 0.15), self.some(0.95, 1.25)
        apart = self.some(0.32, 0.42)
        for spot, clothes, (row, side) in zip(spots, worn, ((0, -1), (0, 1), (1, -1), (1, 1)), strict=False):
            dx, dy = side * apart + self.some(-0.06, 0.06), -row * self.some(0.75, 0.95)

            def attempt(dx: float = dx, dy: float = dy, spot: Point = spot) -> Way:
                way = Way(self.plan, at_s, (start[0] + dx, start[1] + dy), speed)
                way.to((x + dx, -1.0 + dy), (x + dx, 1.3 + dy), spot).wait(self.some(8, 18))
                return self.go(way) if leave else way.until(self.seconds + AFTER_S)

            self.add(attempt, party=number, clothes=clothes)


def _whole(lens: Lens, feet: Floats, height: float) -> NDArray[np.bool_]:
    """Where somebody stands from head to foot within the picture, clear of its edges."""
    floor = np.column_stack((feet, np.zeros(len(feet))))
    ends = np.stack((lens.pixels(floor), lens.pixels(floor + np.array((0.0, 0.0, height)))))
    return np.asarray(((ends > 12) & (ends < (lens.width - 12, lens.height - 3))).all(axis=(0, 2)))


def empty(story: Story) -> None:
    """Nobody comes, though somebody may pass by outside."""
    story.seconds = 40
    if story.chance(0.3):
        story.passer_by(story.some(5, 20))


def ordinary(story: Story) -> None:
    """One to three people come, one after the other, and mostly go again; others pass by."""
    story.seconds = 60
    for number in range(int(story.rng.integers(1, 4))):
        story.shopper(story.some(0, 2) + number * story.some(9, 11), stays=story.chance(0.2))
    for _ in range(int(story.rng.integers(0, 3))):
        story.passer_by(story.some(0, 45))


def _there_and_back(story: Story, first: Clothes, second: Clothes) -> None:
    """A and B come; A goes, then B; B comes back, then A; both go."""
    story.seconds = 90
    times = {"A": (0.0, 24.0, 55.0, 82.0), "B": (8.0, 31.0, 46.0, 74.0)}
    for clothes, (comes, goes, back, leaves) in zip((first, second), times.values(), strict=True):
        spots = [story.spot() for _ in range(2)]

        def attempt(
            comes: float = comes,
            goes: float = goes,
            back: float = back,
            leaves: float = leaves,
            spots: list[Point] = spots,
        ) -> Way:
            way = story.come(story.way(comes + story.some(0, 2))).to(spots[0]).until(goes - 5)
            story.go(way).until(back - 6 + story.some(0, 2))
            story.come(way).to(spots[1]).until(leaves - 6)
            return story.go(way)

        story.add(attempt, clothes=clothes)


def reentry(story: Story) -> None:
    """Two go and come back in changed order: out A, B; in B, A."""
    _there_and_back(story, story.wardrobe.clothes(), story.wardrobe.clothes())


def lookalikes(story: Story) -> None:
    """Two in nearly the same clothes: one goes while the other comes, or both go and come back in changed order."""
    one = story.wardrobe.clothes()
    two = story.wardrobe.lookalike(one)
    if story.chance(0.4):
        _there_and_back(story, one, two)
    else:
        story.seconds = 75
        story.shopper(0, clothes=one)
        story.shopper(story.some(12, 40), clothes=two, stays=story.chance(0.5))
        story.shopper(story.some(6, 9))


def group(story: Story) -> None:
    """Two to four arrive together; others come alone, well before or after them."""
    story.seconds = 70
    early = story.chance(0.5)
    story.party(14 if early else 2, int(story.rng.integers(2, 5)), leave=story.chance(0.7))
    story.shopper(0 if early else 22)
    if story.chance(0.4):
        story.shopper(34)


def staff_in_uniform(story: Story) -> None:
    """One or two in the store's uniform, who come in or are there from the start; customers beside them."""
    story.seconds = 70
    story.tells_uniform = True
    for number in range(int(story.rng.integers(1, 3))):
        spots, comes = [story.spot(in_view=True) for _ in range(3)], story.chance(0.5)

        def attempt(spots: list[Point] = spots, comes: bool = comes, number: int = number) -> Way:
            way = story.come(story.way(3.0 * number)) if comes else story.way(0, spots[0])
            return story.browse(way, spots, 8, 14).until(story.seconds + AFTER_S)

        story.add(attempt, clothes=story.wardrobe.uniform(), staff=True)
    for number in range(2):
        story.shopper(14 + 12 * number + story.some(0, 4), stays=story.chance(0.3))


def staff_by_zone(story: Story) -> None:
    """A cashier without a uniform, behind the counter where only staff go; customers."""
    story.seconds = 70
    story.lenses = (story.whole_lens(),)
    _cashier(story)
    for number in range(2):
        story.shopper(5 + 14 * number + story.some(0, 4), stays=story.chance(0.3))


def _cashier(story: Story) -> None:
    story.tells_staff_zone = True
    till = story.plan.till
    post = till.x1 + 0.4

    def attempt() -> Way:
        way = Way(story.plan, 0, (post, story.some(till.y0 + 0.4, till.y1 - 0.4)), 0.6)
        while way.now < story.seconds + AFTER_S:
            way.wait(story.some(4, 12)).to((post, story.some(till.y0 + 0.4, till.y1 - 0.4)))
        return way

    story.add(attempt, staff=True)


def dither(story: Story) -> None:
    """Somebody steps to and fro on the threshold, then comes in or goes away; another walks in as usual."""
    story.seconds = 60
    x, comes, spot = story.lane(), story.chance(0.5), story.spot()

    def attempt() -> Way:
        way = story.way(2).to((x, -0.9))
        way.speed = story.some(0.3, 0.6)
        for step in range(int(story.rng.integers(6, 12))):
            side = 1 if step % 2 == 0 else -1
            way.to((x + story.some(-0.15, 0.15), side * story.some(0.12, 0.38))).wait(story.some(0.2, 1.5))
        way.speed = 1.1
        if not comes:
            return way.to((x, -0.9), story.off())
        return story.go(way.to((x, 1.3), spot).wait(story.some(5, 9)))

    story.add(attempt)
    story.shopper(26, stays=story.chance(0.3))


def occlusion(story: Story) -> None:
    """A pillar beside the way in; some pass or stop behind it, and pass each other there."""
    story.seconds = 65
    plan, lens = story.plan, story.lenses[0]
    eye = np.array(lens.position[:2])
    aside = 1 if eye[0] < plan.door_x else -1
    # Between the lens and a place where people walk, nearer to that.
    seen = np.array((plan.door_x + aside * story.some(1.3, 2.0), story.some(1.7, 2.3)))
    x, y = (seen + (eye - seen) * story.some(0.25, 0.38)).tolist()
    story.plan = replace(plan, pillars=(Rect(x - 0.2, y - 0.2, x + 0.2, y + 0.2),))
    away = (seen - eye) / np.hypot(*(seen - eye))
    across = np.array((-away[1], away[0]))
    for number in range(3):
        hides, spot, back = story.some(0, 3.5) if story.chance(0.6) else 0.0, story.spot(), story.chance(0.4)
        ends = [tuple((seen + away * 0.45 * number + across * step).tolist()) for step in (-1.1, 0.0, 1.1)]
        before, at, after = ends if number % 2 else ends[::-1]

        def attempt(
            number: int = number,
            hides: float = hides,
            back: bool = back,
            points: tuple[Point, ...] = (before, at, after, spot),
        ) -> Way:
            before, at, after, spot = points
            way = story.come(story.way(number * 7 + story.some(0, 2.5))).to(before, at).wait(hides)
            way.to(after, spot).wait(story.some(3, 10))
            return story.go(way.to(after, before) if back else way)

        story.add(attempt)


def queue(story: Story) -> None:
    """Two to four come to the till, wait for their turn and pay; some give up."""
    story.seconds = 90
    story.lenses = (story.whole_lens(),)
    if story.chance(0.4):
        story.lenses += (story.till_lens(door=False),)
    if story.chance(0.6):
        _cashier(story)
    _line_up(story, int(story.rng.integers(2, 5)), 16)


def _line_up(story: Story, number: int, first_s: float) -> None:
    zone, till = story.plan.zones["TILL"][1], story.plan.till
    y = (zone.y0 + zone.y1) / 2
    gap = story.some(0.66, 0.74)
    arrives, leaves = list[float](), list[float]()
    at = first_s
    for place in range(number):
        arrives.append(at)
        turn = max([at, *leaves])
        left = turn + story.some(11, 15)
        # Who gives up has waited a while and is clearly not yet being served.
        if place and turn - at > 9 and story.chance(0.45):
            left = at + story.some(5, turn - at - 3)
        leaves.append(left)
        at += story.some(4.5, 8)
    for place, (comes, goes) in enumerate(zip(arrives, leaves, strict=True)):

        def slot(ahead: int) -> Point:
            return till.x0 - 0.45 - gap * ahead, y

        def attempt(place: int = place, comes: float = comes, goes: float = goes) -> Way:
            ahead = [other for other in leaves[:place] if other > comes]
            speed, wobble = story.some(1.0, 1.3), story.some(-0.1, 0.1)
            x, target = story.lane(), slot(len(ahead))
            entry = zone.x0 - 0.5, y + wobble
            # So early that they reach the queue's end when they should.
            legs = [(x, 1.3), entry, target]
            took = sum(
                float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in zip([(x, -0.9), *legs], legs, strict=False)
            )
            start = story.off()
            took += float(np.hypot(start[0] - x, start[1] + 0.9))
            way = Way(story.plan, comes - took / speed, start, speed).to((x, -0.9), *legs)
            for left in sorted(ahead):
                if left + 0.6 < goes:
                    ahead.remove(left)
                    way.until(left + 0.6).to(slot(len(ahead)))
            way.until(goes)
            return story.go(way.to((way.place[0] - 0.2, zone.y0 - 0.7)))

        story.add(attempt)


def overlap(story: Story) -> None:
    """Two cameras see the same floor in different colours; in half of the scenes both watch the door."""
    story.seconds = 60
    first = story.whole_lens() if story.chance(0.5) else story.door_lens()
    story.lenses = (first, story.till_lens(door=story.chance(0.5)))
    for number in range(int(story.rng.integers(2, 5))):
        story.shopper(number * story.some(6.5, 8), stays=story.chance(0.25))


def busy(story: Story) -> None:
    """Some of everything on two cameras: staff in uniform, a group, a queue, people alone, passers-by."""
    story.seconds = 90
    story.lenses = (story.whole_lens(), story.till_lens(door=False))
    story.tells_uniform = True
    spots = [story.spot(in_view=True) for _ in range(3)]
    story.add(
        lambda: story.browse(story.way(0, spots[0]), spots, 14, 20).until(story.seconds + AFTER_S),
        clothes=story.wardrobe.uniform(),
        staff=True,
    )
    _line_up(story, int(story.rng.integers(2, 4)), 16)
    story.party(40, int(story.rng.integers(2, 4)))
    story.shopper(58, stays=story.chance(0.5))
    story.passer_by(story.some(10, 60))


KINDS: dict[str, Callable[[Story], None]] = {
    tell.__name__: tell
    for tell in (
        empty,
        ordinary,
        reentry,
        lookalikes,
        group,
        staff_in_uniform,
        staff_by_zone,
        dither,
        occlusion,
        queue,
        overlap,
        busy,
    )
}
