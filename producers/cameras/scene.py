"""What of a store's layout one camera sees, and where a person's foot point lies in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from producers.cameras import CameraError, Entrance
from schemas.events import Camera, StoreLayout

Polygon = list[list[float]]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""
Homography = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

# How far beyond the entrance line somebody is clearly over it: nearly a step (0.7 m), which who only sways or shifts from
# one foot to the other does not make. In heights of the box where metres are not known: looking down at a door that is some
# metres away foreshortens a step to about this.
CLEAR_M = 0.6
CLEAR_HEIGHTS = 0.13
# Of a camera that nobody gave floor points for, the ground is known from so many whole people at so many heights of the
# picture, the lowest and the highest this share of it apart.
RULER_LOOKS = 40
RULER_SPREAD = 0.08
# Mean height of a grown person, metres, and focal length in widths of the frame: 80 degrees, as cameras in shops have.
PERSON_M = 1.7
FOCAL = 0.6


@dataclass(frozen=True)
class Scene:
    """One camera's share of a layout, in pixels of its frame, checked against the frame's size."""

    store_id: str
    camera_id: str
    width: int
    height: int
    areas: tuple[tuple[str, Polygon], ...]
    """Zones and their polygons. Where two overlap, the one that the layout names first holds."""
    line: Polygon | None
    """Start and end of the entrance line; walking in goes from the left of start-to-end to its right."""
    entrance: Entrance
    floor: Homography | None = None
    """From pixels to metres on the shop's plan."""


def camera_of(layout: StoreLayout, camera_id: str | None) -> str:
    """The camera meant: the one named, or the layout's only one.

    Raises:
        CameraError: the layout has no such camera, or several and none was named.
    """
    known = [camera.camera_id for camera in layout.cameras]
    named = ", ".join(known) or "none"
    if camera_id is None:
        if len(known) != 1:
            raise CameraError(
                f"say which camera of {layout.store_id} took the clip (--camera); its layout has: {named}"
            )
        return known[0]
    if camera_id not in known:
        raise CameraError(f"the layout of {layout.store_id} has no camera {camera_id!r}; it has: {named}")
    return camera_id


def scene_of(layout: StoreLayout, camera_id: str, width: int, height: int, entrance: Entrance | None = None) -> Scene:
    """The layout as ``camera_id`` sees it; ``entrance`` defaults to the entrance line where there is one.

    Raises:
        CameraError: the layout was drawn for another frame size, a point lies outside of the frame, a line is asked for
            that is not there, or there is nothing to watch for.
    """
    camera = next(camera for camera in layout.cameras if camera.camera_id == camera_id)
    drawn = (camera.frame_width or width, camera.frame_height or height)
    if drawn != (width, height):
        raise CameraError(
            f"the layout draws camera {camera_id} at {drawn[0]}x{drawn[1]} pixels, but the clip has {width}x{height}"
        )
    areas = tuple(
        (zone.zone_id, area.polygon) for zone in layout.zones for area in zone.areas if area.camera_id == camera_id
    )
    entrance = entrance or (Entrance.LINE if camera.entrance_line else Entrance.NONE)
    if entrance is Entrance.LINE and not camera.entrance_line:
        raise CameraError(f"camera {camera_id} has no entrance_line in the layout; draw one, or use --entrance frame")
    line = camera.entrance_line if entrance is Entrance.LINE else None
    for what, points in (*((f"zone {zone}", area) for zone, area in areas), ("the entrance line", line or [])):
        for x, y in points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise CameraError(f"{what} has the point [{x:g}, {y:g}], outside of the {width}x{height} frame")
    if line and line[0] == line[1]:
        raise CameraError("the entrance line starts where it ends")
    if not areas and entrance is Entrance.NONE:
        raise CameraError(f"no zone of the layout has an area on camera {camera_id}, and it has no entrance to watch")
    return Scene(layout.store_id, camera_id, width, height, areas, line, entrance, _floor_of(camera))


def _floor_of(camera: Camera) -> Homography | None:
    if camera.floor_points is None:
        return None
    try:
        floor = homography([(point.pixel, point.floor) for point in camera.floor_points])
    except ValueError as error:
        raise CameraError(f"the floor_points of camera {camera.camera_id} cannot be used: {error}") from error
    for point in camera.floor_points:
        if project(floor, *point.pixel) is None:
            raise CameraError(f"the floor_points of camera {camera.camera_id} contradict each other")
    return floor


def inside_of(line: Polygon, x: float, y: float) -> bool | None:
    """Whether a point lies on the right of start-to-end, where walking in leads; None on the line or beyond its ends.

    supervision's LineZone forgets a person's side after ``minimum_crossing_threshold`` frames without them, so somebody
    hidden for half a second on the doorstep would never have come in; ``Presence`` remembers it as long as the track.
    """
    (x0, y0), (x1, y1) = line
    dx, dy = x1 - x0, y1 - y0
    along = (x - x0) * dx + (y - y0) * dy
    across = dx * (y - y0) - dy * (x - x0)
    if across == 0 or not 0 <= along <= dx * dx + dy * dy:
        return None
    # The frame's y axis points down, so the right-hand side has the positive cross product.
    return across > 0


def holds(polygon: Polygon, x: float, y: float) -> bool:
    """Whether a polygon holds a point, by counting the edges that a ray to the right crosses."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box stands: its bottom centre, roughly the feet, decides."""

    x: float
    y: float
    """Pixels."""
    height: float
    """Of the box, pixels: the yardstick for what is near where metres are not known."""
    zone: str | None
    inside: bool | None
    clear: bool
    """So far from the entrance line that the side is no matter of swaying."""
    floor: tuple[float, float] | None
    """Metres on the shop's plan, by the camera's floor points."""
    ground: tuple[float, float] | None
    """Metres on the ground before this camera: as above, or else as far as people's heights tell."""


def place(scene: Scene, box: Box, ground: Homography | None = None) -> Place:
    """Where in the scene a person with this box stands.

    Args:
        ground: The camera's ground in metres where it has no floor points (``Ruler``).
    """
    x0, y0, x1, y1 = box
    # Somebody cut off by the frame's lower edge stands at least on its last row.
    x = min(max((x0 + x1) / 2, 0.0), scene.width - 1.0)
    y = min(max(y1, 0.0), scene.height - 1.0)
    height = max(1.0, y1 - y0)
    zone = next((zone for zone, polygon in scene.areas if holds(polygon, x, y)), None)
    floor = scene.floor and project(scene.floor, x, y)
    metres = scene.floor or ground
    here = metres and project(metres, x, y)
    inside, clear = None, True
    if scene.line is not None:
        inside = inside_of(scene.line, x, y)
        ends = [metres and project(metres, *end) for end in scene.line]
        if here is not None and ends[0] is not None and ends[1] is not None:
            clear = _distance(ends[0], ends[1], here) >= CLEAR_M
        else:
            clear = _distance(scene.line[0], scene.line[1], (x, y)) >= CLEAR_HEIGHTS * height
    return Place(x, y, height, zone, inside, clear, floor, here)


def _distance(start: Sequence[float], end: Sequence[float], point: Sequence[float]) -> float:
    """Of a point from the straight line through two others."""
    (x0, y0), (x1, y1), (x, y) = start, end, point
    return abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / max(1e-9, math.hypot(x1 - x0, y1 - y0))


class Ruler:
    """Learns a camera's ground from the heights of the people on it, where nobody gave floor points.

    People are about equally tall. On a level floor a box is the taller the lower its foot is below the horizon, in
    proportion: height = k * (foot - horizon), and the camera hangs at 1 / k of a person's height (Hoiem, Efros and Hebert,
    Putting Objects in Perspective, 2006). A straight line through feet and heights gives both; with a usual focal length
    they make a homography to metres, good to some tenths of a distance. Sums are all that is kept.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._sums = np.zeros(5)
        self._looks = 0
        self._low, self._high = math.inf, -math.inf
        self.ground: Homography | None = None
        """From pixels to metres, the camera's foot point at the origin; None as long as it is not known."""

    def see(self, box: Box) -> None:
        """Take the box of somebody who is seen whole."""
        _, y0, _, y1 = box
        self._looks += 1
        self._low, self._high = min(self._low, y1), max(self._high, y1)
        # Weighed by distance: a far box is small, and as wrong in proportion as a near one.
        weight = 1 / max(1.0, y1 - y0) ** 2
        self._sums += weight * np.array([1, y1, y1 * y1, y1 - y0, y1 * (y1 - y0)])
        if self._looks >= RULER_LOOKS and self._looks % 10 == 0:
            self.ground = self._solve() if self._high - self._low >= RULER_SPREAD * self._height else None

    def _solve(self) -> Homography | None:
        n, sy, syy, sh, syh = self._sums.tolist()
        spread = n * syy - sy * sy
        if spread <= 0:
            return None
        k = (n * syh - sy * sh) / spread
        # Looking straight down nobody's height tells, and a camera below people's heads has another geometry.
        if not 0.1 < k < 0.95:
            return None
        horizon = (sy - sh / k) / n
        focal, middle_x, middle_y = FOCAL * self._width, self._width / 2, self._height / 2
        pitch = math.atan2(middle_y - horizon, focal)
        sine, cosine, up = math.sin(pitch), math.cos(pitch), PERSON_M / k
        return (
            (up, 0.0, -up * middle_x),
            (0.0, -up * sine, up * (focal * cosine + middle_y * sine)),
            (0.0, cosine, focal * sine - middle_y * cosine),
        )


def homography(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Homography:
    """The projective map that takes each pair's first point to its second, in the least squares sense.

    Direct linear transformation (Hartley and Zisserman, Multiple View Geometry, 4.1) with the last element fixed to 1 in
    coordinates around the points' centre, which lies on the floor.

    Raises:
        ValueError: the points do not determine it, such as three of four in a line.
    """
    pixels = np.array([pixel for pixel, _ in pairs], float)
    centre, spread = pixels.mean(axis=0), max(1e-9, float(np.ptp(pixels, axis=0).max()))
    rows, targets = [], []
    for (x, y), (u, v) in zip((pixels - centre) / spread, (floor for _, floor in pairs), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    matrix = np.array(rows, float)
    # Columns of one size, or metres beside shares would hide the rank.
    size = np.maximum(np.abs(matrix).max(axis=0), 1e-9)
    solution, _, rank, _ = np.linalg.lstsq(matrix / size, np.array(targets, float), rcond=1e-6)
    if rank < 8:
        raise ValueError("they do not determine a plane: spread them, no three in a line")
    around_centre = np.append(solution / size, 1.0).reshape(3, 3)
    towards_centre = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, spread]])
    first, second, third = (around_centre @ towards_centre).tolist()
    return tuple(first), tuple(second), tuple(third)


def project(by: Homography, x: float, y: float) -> tuple[float, float] | None:
    """A point through a homography; None for one at or beyond the horizon."""
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in by)
    return (u / w, v / w) if w > 1e-9 else None
