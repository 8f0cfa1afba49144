"""The shop in metres, the cameras that look at it, and the layout that describes it to the product.

The floor is [0, width] x [0, depth]; y = 0 is the shop front with the door, and what has a negative y lies outside, before the
shop. z points up. A picture is taken by a pinhole without distortion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.events import StoreLayout

Floats = NDArray[np.float64]
Point = tuple[float, float]
NEAREST_M = 0.3
"""What is nearer to the lens is not in the picture."""
COUNTER_M = 1.0
LINE_BEYOND_DOOR_M = 0.25
"""The entrance line is a little longer than the door is wide, as docs/cameras.md asks."""


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of floor, metres."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, points: Floats) -> NDArray[np.bool_]:
        """Which of ``points`` (..., 2) lie in it."""
        x, y = points[..., 0], points[..., 1]
        return (self.x0 <= x) & (x <= self.x1) & (self.y0 <= y) & (y <= self.y1)

    def grown(self, by: float) -> Rect:
        return Rect(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    @property
    def corners(self) -> tuple[Point, ...]:
        return ((self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1))

    def cut_by(self, a: Point, b: Point) -> bool:
        """Whether the line from ``a`` to ``b`` crosses it (Liang and Barsky's clipping)."""
        t0, t1 = 0.0, 1.0
        for start, end, low, high in ((a[0], b[0], self.x0, self.x1), (a[1], b[1], self.y0, self.y1)):
            step = end - start
            if step == 0:
                if not low <= start <= high:
                    return False
                continue
            near, far = sorted(((low - start) / step, (high - start) / step))
            t0, t1 = max(t0, near), min(t1, far)
        return t0 < t1


@dataclass(frozen=True, slots=True)
class Furniture:
    """A thing that stands on the floor and hides what is behind it."""

    foot: Rect
    height: float
    colour: tuple[int, int, int]
    """BGR."""
    shelf: bool = False


@dataclass(frozen=True)
class Lens:
    """A camera on the wall: where it is, where it looks, and how its picture is coloured."""

    camera_id: str
    position: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float
    """Pixels."""
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """White balance and exposure, by which blue, green and red are multiplied."""
    width: int = 640
    height: int = 360
    door: bool = True
    """Whether its layout has the entrance line."""

    @cached_property
    def axes(self) -> Floats:
        """Right, down and forward, as rows."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack((right, np.cross(forward, right), forward))

    def seen_from(self, points: Any) -> Floats:
        """World points (..., 3) in the camera's own axes; the last is the distance along its view."""
        return (np.asarray(points, dtype=np.float64) - self.position) @ self.axes.T

    def pixels(self, points: Any) -> Floats:
        """World points (..., 3) in the picture; nan where they are behind the lens."""
        own = self.seen_from(points)
        ahead = np.where(own[..., 2] > NEAREST_M, own[..., 2], np.nan)
        return own[..., :2] / ahead[..., None] * self.focal + (self.width / 2, self.height / 2)

    def outline(self, points: Any) -> Floats | None:
        """The visible part of a flat convex polygon (world points, N x 3), in pixels; None when nothing of it is in view.

        Clipped by each side of the view in turn (Sutherland and Hodgman), in the camera's axes, where they are planes.
        """
        half_w, half_h, f = self.width / 2, self.height / 2, self.focal
        sides = ((0, 0, 1, -NEAREST_M), (f, 0, half_w, 0), (-f, 0, half_w, 0), (0, f, half_h, 0), (0, -f, half_h, 0))
        shape = list(self.seen_from(points))
        for *normal, offset in sides:
            inside = [float(np.dot(normal, point)) + offset for point in shape]
            clipped = []
            for i, point in enumerate(shape):
                here, before = inside[i], inside[i - 1]
                if (here >= 0) != (before >= 0):
                    clipped.append(shape[i - 1] + (point - shape[i - 1]) * (before / (before - here)))
                if here >= 0:
                    clipped.append(point)
            if len(clipped) < 3:
                return None
            shape = clipped
        own = np.array(shape)
        pixels: Floats = own[:, :2] / own[:, 2:] * f + (half_w, half_h)
        return np.clip(pixels, 0, (self.width, self.height))


@dataclass(frozen=True)
class Plan:
    """A shop: its size, its door, what stands in it, and the zones by name."""

    width: float
    depth: float
    door: tuple[float, float]
    """From where to where it is open at y = 0."""
    till: Rect
    """The counter."""
    table: Rect
    zones: dict[str, tuple[str, Rect]]
    """Zone id to its type and its floor. ``TILL`` is where customers wait, ``BACK`` where only staff go."""
    pillars: tuple[Rect, ...] = ()
    lamp: Point = (0.0, 0.0)
    """The brightest place of the floor."""

    @property
    def door_x(self) -> float:
        return sum(self.door) / 2

    @property
    def spots(self) -> list[Point]:
        """Where somebody stands to look at goods: around the table and along the shelves."""
        table, found = self.table, []
        for x in (table.x0 + 0.3, table.x1 - 0.3):
            found += [(x, table.y0 - 0.45), (x, table.y1 + 0.45)]
        found += [(1.15, y) for y in np.arange(2.2, self.depth - 1.0, 0.9)]
        found += [(x, self.depth - 1.2) for x in np.arange(2.4, self.width - 2.0, 1.0)]
        return [(float(x), float(y)) for x, y in found]

    @cached_property
    def furniture(self) -> list[Furniture]:
        wood, grey, white = (96, 132, 168), (120, 118, 116), (208, 212, 214)
        return [
            Furniture(Rect(0.0, 1.2, 0.55, self.depth - 0.2), 1.9, wood, shelf=True),
            Furniture(Rect(0.8, self.depth - 0.5, self.width - 1.5, self.depth), 1.9, wood, shelf=True),
            Furniture(Rect(self.width - 0.5, self.till.y1 + 0.8, self.width, self.depth - 0.2), 1.9, wood, shelf=True),
            Furniture(self.till, COUNTER_M, grey),
            Furniture(self.table, 0.75, white),
            *(Furniture(pillar, 3.0, white) for pillar in self.pillars),
        ]

    @cached_property
    def walls(self) -> list[Furniture]:
        """The side walls: they hide who walks past beside the shop."""
        white = (196, 204, 206)
        return [Furniture(Rect(x, 0.0, x + 0.1, self.depth), 3.2, white) for x in (-0.1, self.width)]

    def route(self, a: Point, b: Point) -> list[Point]:
        """The corners on the shortest way from ``a`` to before ``b`` around the furniture and, unless it starts or ends there,
        around the queue; none when the straight line is free, or when no way round is found.
        """
        walls = [thing.foot.grown(0.22) for thing in self.furniture]
        queue = self.zones["TILL"][1].grown(0.4)
        if not queue.holds(np.array((a, b))).any():
            walls.append(queue)

        def free(*points: Point) -> bool:
            return not any(wall.cut_by(*leg) for wall in walls for leg in pairwise(points))

        if free(a, b):
            return []
        corners = [corner for wall in walls if wall.cut_by(a, b) for corner in wall.grown(0.15).corners]
        ways = [[corner] for corner in corners] + [list(pair) for pair in permutations(corners, 2)]
        return min(
            (way for way in ways if free(a, *way, b)),
            key=lambda way: sum(_gap(*leg) for leg in pairwise((a, *way, b))),
            default=[],
        )

    def bright(self, points: Floats) -> Floats:
        """How light it is at points of the floor: 1 under the lamp, 0.75 far from it."""
        far = np.hypot(points[..., 0] - self.lamp[0], points[..., 1] - self.lamp[1])
        result: Floats = 0.75 + 0.25 * np.exp(-((far / 5.0) ** 2))
        return result


def layout(
    plan: Plan, lenses: Sequence[Lens], *, store_id: str, uniform: Sequence[str], floor_points: bool, staff_zone: bool
) -> StoreLayout:
    """The layout that somebody would draw over the cameras' pictures; ``uniform`` holds colours such as #1a5fb4."""
    zones = []
    for zone_id, (kind, rect) in plan.zones.items():
        if zone_id == "BACK" and not staff_zone:
            continue
        areas = []
        for lens in lenses:
            shape = _drawn(plan, lens, rect)
            if shape is not None and _area(shape) > MIN_AREA_PX:
                areas.append({"camera_id": lens.camera_id, "polygon": shape.round(1).tolist()})
        zone: dict[str, Any] = {"zone_id": zone_id, "type": kind, "areas": areas}
        zones.append(zone | ({"staff_only": True} if zone_id == "BACK" else {}))
    cameras = []
    for lens in lenses:
        camera: dict[str, Any] = {
            "camera_id": lens.camera_id,
            "frame_width": lens.width,
            "frame_height": lens.height,
        }
        if lens.door:
            camera["entrance_line"] = entrance_line(plan, lens)
        if floor_points:
            camera["floor_points"] = [
                # A plan on paper has its origin at the top left: the door is at its lower edge.
                {"pixel": lens.pixels((x, y, 0.0)).round(1).tolist(), "floor": [x, round(plan.depth - y, 2)]}
                for x, y in _marks(plan, lens)
            ]
        cameras.append(camera)
    whole: dict[str, Any] = {
        "store_id": store_id,
        "timestamp": "2026-11-01T00:00:00Z",
        "zones": zones,
        "cameras": cameras,
    }
    if uniform:
        whole["staff"] = {"uniform": list(uniform)}
    if floor_points:
        whole["plan"] = {"width_m": plan.width, "height_m": plan.depth}
    return StoreLayout.model_validate(whole)


def _drawn(plan: Plan, lens: Lens, rect: Rect) -> Floats | None:
    """A zone as somebody draws it who sees where people's boxes end: on the floor, and where the counter hides the floor
    from the camera, up to the height at which people show above it.
    """
    floor = lens.outline([(x, y, 0.0) for x, y in rect.corners])
    middle = ((rect.x0 + rect.x1) / 2, (rect.y0 + rect.y1) / 2)
    if floor is None or not plan.till.cut_by(middle, lens.position[:2]):
        return floor
    above = lens.outline([(x, y, COUNTER_M + 0.1) for x, y in rect.corners])
    return floor if above is None else _hull(np.concatenate((floor, above)))


MIN_AREA_PX = 400
"""A zone that shows less of itself to a camera is not drawn on it."""


def entrance_line(plan: Plan, lens: Lens) -> list[list[float]]:
    """The door's threshold in a camera's picture, directed so that the way in leads to its right.

    Raises:
        ValueError: the camera does not see the whole door.
    """
    left, right = plan.door[0] - LINE_BEYOND_DOOR_M, plan.door[1] + LINE_BEYOND_DOOR_M
    ends = lens.pixels([(left, 0.0, 0.0), (right, 0.0, 0.0), (plan.door_x, 1.0, 0.0)])
    if not ((ends[:2] >= 0) & (ends[:2] <= (lens.width, lens.height))).all():
        raise ValueError(f"{lens.camera_id} does not see the door: {ends.round()}")
    (ax, ay), (bx, by), (x, y) = ends.tolist()
    inwards = (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
    line: list[list[float]] = ends[:2].round(1).tolist()
    return line if inwards else line[::-1]


def _marks(plan: Plan, lens: Lens) -> list[Point]:
    """Up to eight points of the floor that a camera sees, far apart and no three of the first four in a line."""
    grid = [(x, y) for x in np.linspace(0.6, plan.width - 0.6, 7) for y in np.linspace(0.0, plan.depth - 0.6, 7)]
    seen = lens.pixels([(x, y, 0.0) for x, y in grid])
    visible = [
        (round(float(x), 2), round(float(y), 2))
        for (x, y), pixel in zip(grid, seen, strict=True)
        if (pixel >= 0).all() and (pixel <= (lens.width, lens.height)).all()
    ]
    chosen = visible[:1]
    while len(chosen) < min(8, len(visible)):
        # Three in a line say nothing about how the floor leans to the side.
        free = [
            mark
            for mark in visible
            if len(chosen) > 3 or all(_area(np.array([*pair, mark])) > 0.5 for pair in combinations(chosen, 2))
        ]
        chosen.append(max(free or visible, key=lambda mark: min(_gap(mark, other) for other in chosen)))
    return chosen


def _hull(points: Floats) -> Floats:
    """The convex hull, by Andrew's monotone chain."""
    ordered = sorted(map(tuple, points.tolist()))
    halves = []
    for run in (ordered, ordered[::-1]):
        half: list[Point] = []
        for x, y in run:
            while len(half) > 1 and _turn(half[-2], half[-1], (x, y)) <= 0:
                half.pop()
            half.append((x, y))
        halves += half[:-1]
    return np.array(halves)


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _gap(a: Point, b: Point) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def _area(polygon: Floats) -> float:
    """By the shoelace formula."""
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
