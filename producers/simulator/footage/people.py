"""People of the footage: what they wear, and the ways they walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from producers.simulator.footage.plan import Floats, Plan, Point

Colour = tuple[int, int, int]
"""BGR."""

# Shirts, coats and dresses as shops see them; trousers are mostly dark or blue.
UPPERS: tuple[Colour, ...] = (
    (40, 40, 44), (225, 228, 230), (128, 126, 124), (46, 40, 176), (160, 80, 40), (70, 130, 50), (40, 170, 215),
    (150, 60, 120), (180, 160, 90), (60, 90, 190), (190, 150, 210), (95, 60, 30), (80, 130, 170), (140, 190, 120),
)  # fmt: skip
LOWERS: tuple[Colour, ...] = (
    (34, 34, 36), (110, 74, 44), (150, 118, 84), (88, 88, 90), (100, 140, 172), (46, 62, 88), (200, 202, 204), (60, 80, 58),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((24, 26, 30), (32, 52, 84), (60, 110, 160), (130, 130, 132))
SKIN: tuple[Colour, ...] = ((140, 170, 214), (110, 146, 196), (70, 100, 150), (46, 66, 104))
DIFFERENT = 45.0
"""People of one scene differ by this much in the upper or the lower part (a distance in CIE Lab, where 2.3 is just to be
seen and a lighter or darker corner of the shop makes about 20)."""
TOUCH_M = 0.3
"""Nobody's feet come nearer to somebody else's."""
ALIKE = (20.0, 34.0)
"""A lookalike differs by this much, and in the upper part only."""


@dataclass(frozen=True, slots=True)
class Clothes:
    upper: Colour
    lower: Colour
    hair: Colour
    skin: Colour
    stripes: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and where they are from when to when."""

    clothes: Clothes
    height: float
    """Metres."""
    way: Floats
    """Rows of time (s), x and y (m); between two rows they walk straight on, before and after all they are not there."""
    staff: bool = False
    party: int | None = None
    """Number of the group they came with."""


def places(way: Floats, times: Floats) -> Floats:
    """Where the feet are (N x 2) at ``times``; nan when the person is not there."""
    t, x, y = way.T
    return np.stack([np.interp(times, t, values, np.nan, np.nan) for values in (x, y)], axis=-1)


class Way:
    """Builds ``Person.way`` step by step, around what stands in the shop."""

    def __init__(self, plan: Plan, at_s: float, start: Point, speed: float) -> None:
        self.plan = plan
        self.rows: list[tuple[float, float, float]] = [(at_s, *start)]
        self.speed = speed

    @property
    def now(self) -> float:
        return self.rows[-1][0]

    @property
    def place(self) -> Point:
        return self.rows[-1][1:]

    def to(self, *points: Point) -> Way:
        starts = (self.place, *points)
        legs = [leg for a, b in zip(starts, points, strict=False) for leg in (*self.plan.route(a, b), b)]
        for x, y in legs:
            t, x0, y0 = self.rows[-1]
            self.rows.append((t + max(0.05, float(np.hypot(x - x0, y - y0)) / self.speed), x, y))
        return self

    def wait(self, seconds: float) -> Way:
        if seconds > 0:
            self.rows.append((self.now + seconds, *self.place))
        return self

    def until(self, at_s: float) -> Way:
        return self.wait(at_s - self.now)

    @property
    def array(self) -> Floats:
        return np.array(self.rows, dtype=np.float64)


def lab(colour: Colour) -> Floats:
    """CIE Lab (D65) of an sRGB colour given as BGR."""
    rgb = np.array(colour[::-1], dtype=np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))) @ linear
    f = np.cbrt(np.maximum(xyz / (0.9505, 1.0, 1.089), 0.008856))
    return np.array((116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])))


def apart(a: Colour, b: Colour) -> float:
    """How different two colours look (CIE76)."""
    return float(np.linalg.norm(lab(a) - lab(b)))


class Wardrobe:
    """Hands out clothes that differ from each other and from the staff's uniform."""

    def __init__(self, rng: np.random.Generator, uniform: Colour | None = None) -> None:
        self._rng = rng
        self._uniform = uniform
        self._worn: list[Clothes] = []

    def clothes(self) -> Clothes:
        """For a customer. Raises RuntimeError when the palette is used up."""
        for _ in range(500):
            worn = self._draw(self._near(UPPERS, 8), self._near(LOWERS, 8))
            if self._uniform is not None and apart(worn.upper, self._uniform) < DIFFERENT:
                continue
            if all(max(apart(worn.upper, o.upper), apart(worn.lower, o.lower)) > DIFFERENT for o in self._worn):
                self._worn.append(worn)
                return worn
        raise RuntimeError("no more clothes that differ")

    def several(self, number: int) -> list[Clothes]:
        return [self.clothes() for _ in range(number)]

    def lookalike(self, other: Clothes) -> Clothes:
        """Nearly the same as another's, and unlike everybody else's."""
        for _ in range(2000):
            upper = self._near([other.upper], 40)
            if ALIKE[0] <= apart(upper, other.upper) <= ALIKE[1]:
                worn = Clothes(upper, other.lower, other.hair, other.skin, other.stripes)
                self._worn.append(worn)
                return worn
        raise RuntimeError("no lookalike found")

    def uniform(self) -> Clothes:
        """For staff: everybody in the same upper part, in trousers of their own."""
        if self._uniform is None:
            return self.clothes()
        return replace(self._draw(self._uniform, self._near(LOWERS[:4], 8)), stripes=False)

    def _draw(self, upper: Colour, lower: Colour) -> Clothes:
        hair, skin = (palette[int(self._rng.integers(len(palette)))] for palette in (HAIR, SKIN))
        return Clothes(upper, lower, hair, skin, bool(self._rng.random() < 0.2))

    def _near(self, palette: Sequence[Colour], spread: float) -> Colour:
        mixed = np.array(palette[int(self._rng.integers(len(palette)))]) + self._rng.normal(0, spread, 3)
        b, g, r = np.clip(mixed, 20, 235).astype(int).tolist()
        return b, g, r


def clear_of_others(
    attempt: Callable[[], Floats], others: Sequence[Person], plan: Plan, *, tries: int = 40, gap_m: float = 0.5
) -> Floats:
    """The first of ``attempt``'s ways that keeps clear of people and furniture, or else the best of ``tries``.

    Raises:
        RuntimeError: on the best they would still run into something.
    """
    best, most = attempt(), -1.0
    way = best
    for _ in range(tries):
        clearance = _clearance(way, others, plan)
        if clearance > most:
            best, most = way, clearance
        if most >= gap_m:
            break
        way = attempt()
    if most < TOUCH_M:
        raise RuntimeError("they would run into each other")
    return best


def _clearance(way: Floats, others: Sequence[Person], plan: Plan) -> float:
    """The smallest distance to anybody else, metres; 0 when the way leads through furniture, or through the queue without
    stopping there: whether that is joining it nobody could say.
    """
    times = np.arange(way[0, 0], way[-1, 0], 0.25)
    me = places(way, times)
    if any(thing.foot.grown(0.1).holds(me).any() for thing in plan.furniture):
        return 0.0
    if 0 < np.count_nonzero(plan.zones["TILL"][1].holds(me)) < 4 / 0.25:
        return 0.0
    gaps = [np.hypot(*(places(other.way, times) - me).T) for other in others]
    return min((float(np.nanmin(gap)) for gap in gaps if not np.isnan(gap).all()), default=np.inf)
