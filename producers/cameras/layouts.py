"""Reading a layout file, and what is wrong with a layout as cameras see it: findings in words, with what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from operator import mul
from pathlib import Path

from pydantic import ValidationError

from producers.cameras import CameraError
from producers.cameras.polygons import Polygon, area, flatness, is_simple, overlap
from schemas.events import Camera, PlanPoint, StoreLayout, as_problem

# Neighbours drawn by hand along one edge share slivers; up to this share of the smaller one is meant as a border.
BORDER_SHARE = 0.02
# What earlier zones leave of a zone when they leave nothing that anybody could stand on.
COVERED_SHARE = 0.99
# A foot point jitters by about a hundredth of the frame: a zone of fewer than 3 by 3 such steps is a toss-up.
SMALLEST_SHARE = 0.001
# Someone whose shoulders are narrower than a door of this share of the frame's diagonal is some 20 pixels wide in a 640
# pixel frame, where detectors miss every other one.
SHORTEST_LINE = 0.05
# People must be seen on both sides of a line for about half a step: a sixth of a standing person's height, and those
# who are worth counting are a fifth of the frame's height or more.
CLEARANCE = 0.03
# Height of a triangle in shares of its longest side from which on clicks that are a few pixels off do not turn the floor.
FLATTEST = 0.03
# What may be measured on the threshold.
BESIDE_PLAN_M = 0.5
# In L*a*b*: one cloth in light and in shade, and under two cameras' white balance, is about this far from itself.
ALIKE = 15.0
# Below this chroma a camera's white balance decides what hue it sees.
GREYEST = 12.0


class Level(StrEnum):
    """An error makes figures wrong or keeps cameras from starting; a warning may be meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a layout."""

    level: Level
    rule: str
    """Name of the rule, such as ``self-crossing``; see docs/cameras.md."""
    message: str
    remedy: str
    camera_id: str | None = None
    zone_id: str | None = None

    @property
    def where(self) -> str:
        """The zone and camera concerned, in words."""
        zone = f"zone {self.zone_id}" if self.zone_id is not None else ""
        camera = f"camera {self.camera_id}" if self.camera_id is not None else ""
        return ", ".join(filter(None, (zone, camera))) or "layout"


def read_layout(path: Path) -> StoreLayout:
    """The layout in a file.

    Raises:
        CameraError: there is no such file, or it holds no valid layout.
    """
    try:
        return StoreLayout.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CameraError(f"the layout {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        field, reason = as_problem(error)
        raise CameraError(f"the layout {path} is not valid: {field or 'document'}: {reason}") from error


def check(layout: StoreLayout, frames: Mapping[str, tuple[int, int]] | None = None) -> list[Finding]:
    """Everything that is wrong with a layout, errors first.

    Args:
        frames: Width and height, pixels, of the frames that cameras really send, by camera.
    """
    frames = frames or {}
    found = [*_ids(layout, frames), *_entrances(layout), *_unseen(layout), *_staff(layout)]
    for camera in layout.cameras:
        found += _camera(layout, camera, frames.get(camera.camera_id))
    return sorted(found, key=lambda finding: finding.level is not Level.ERROR)


def size_of(camera: Camera, real: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Width and height that a camera's areas are drawn on, pixels; None where nobody says."""
    if camera.frame_width and camera.frame_height:
        return camera.frame_width, camera.frame_height
    return real


def _ids(layout: StoreLayout, frames: Mapping[str, tuple[int, int]]) -> Iterator[Finding]:
    cameras = Counter(camera.camera_id for camera in layout.cameras)
    for camera_id, times in cameras.items():
        if times > 1:
            text = f"{times} cameras have this id: their events cannot be told apart"
            yield Finding(Level.ERROR, "duplicate-camera", text, "give each its own id", camera_id)
    for zone_id, times in Counter(zone.zone_id for zone in layout.zones).items():
        if times > 1:
            text = f"{times} zones have this id: the later ones are lost"
            yield Finding(
                Level.ERROR, "duplicate-zone", text, "put their areas into one, or rename them", zone_id=zone_id
            )
    for zone in layout.zones:
        for camera_id in sorted({place.camera_id for place in zone.areas} - cameras.keys()):
            text, remedy = "the layout has no such camera", "add the camera, or mend its id in the area"
            yield Finding(Level.ERROR, "unknown-camera", text, remedy, camera_id, zone.zone_id)
    for camera_id in sorted(frames.keys() - cameras.keys()):
        remedy = "add the camera, or name another for the clip"
        yield Finding(Level.ERROR, "unknown-camera", "the layout has no such camera", remedy, camera_id)


def _entrances(layout: StoreLayout) -> Iterator[Finding]:
    blind = [camera.camera_id for camera in layout.cameras if not camera.entrance_line]
    if len(blind) == len(layout.cameras):
        text = "no camera has an entrance line: nobody can be counted" if blind else "there is no camera"
        remedy = "draw entrance_line on the camera that watches the door (a clip without a door: --entrance frame)"
        yield Finding(Level.ERROR, "no-entrance", text, remedy)
        return
    for camera_id in blind:
        remedy = "none, where it does not watch a door; else draw entrance_line"
        yield Finding(Level.WARNING, "no-entrance", "no entrance line: it counts nobody in or out", remedy, camera_id)


def _unseen(layout: StoreLayout) -> Iterator[Finding]:
    cameras = {camera.camera_id for camera in layout.cameras}
    for zone in layout.zones:
        if not zone.areas:
            remedy = "draw it on a camera's frame, or take it out if no camera shows it"
            yield Finding(
                Level.WARNING, "unseen-zone", "no camera sees it: it stays empty", remedy, zone_id=zone.zone_id
            )
        elif not cameras & {place.camera_id for place in zone.areas}:
            text = "all of its areas are on cameras that the layout does not have"
            yield Finding(Level.ERROR, "unseen-zone", text, "draw it on a camera's frame", zone_id=zone.zone_id)


def _camera(layout: StoreLayout, camera: Camera, real: tuple[int, int] | None) -> Iterator[Finding]:
    def finding(level: Level, rule: str, message: str, remedy: str, zone_id: str | None = None) -> Finding:
        return Finding(level, rule, message, remedy, camera.camera_id, zone_id)

    size = size_of(camera, real)
    if size is None:
        remedy = "say frame_width and frame_height, or check with --clip"
        text = "nobody says how large its frame is: points outside of it go unnoticed"
        yield finding(Level.WARNING, "frame-size", text, remedy)
    elif real is not None and size != real:
        text = f"drawn at {size[0]}x{size[1]}, but it sends {real[0]}x{real[1]}: every zone is in another place"
        yield finding(Level.ERROR, "frame-size", text, "draw on a frame of this camera, or set its picture size back")
    areas = [
        (zone.zone_id, place.polygon)
        for zone in layout.zones
        for place in zone.areas
        if place.camera_id == camera.camera_id
    ]
    if not areas and not camera.entrance_line:
        text = "no zone has an area on it, and it has no entrance line: it has nothing to watch"
        yield finding(Level.ERROR, "nothing-to-watch", text, "draw something on it, or take the camera out")
    sound: list[tuple[str, Polygon]] = []
    for zone_id, polygon in areas:
        # The shoelace formula would take a bow tie for empty.
        if overlap(polygon, polygon) < 1:
            text = "its polygon is empty: the corners lie on one line or in one place"
            yield finding(Level.ERROR, "empty-polygon", text, "draw it around some floor", zone_id)
            continue
        if not is_simple(polygon):
            text = "its edges cross or touch each other: what is inside is not what it looks like"
            yield finding(Level.ERROR, "self-crossing", text, "draw the corners in order around the zone", zone_id)
            continue
        sound.append((zone_id, polygon))
        if size is not None:
            yield from _in_frame(camera, zone_id, polygon, size)
    for (first, upper), (second, lower) in combinations(sound, 2):
        if first != second:
            yield from _shared(camera, first, upper, second, lower)
    if camera.entrance_line:
        yield from _line(camera, camera.entrance_line, size)
    if camera.floor_points:
        yield from _floor(layout, camera, camera.floor_points, size)


def _in_frame(camera: Camera, zone_id: str, polygon: Polygon, size: tuple[int, int]) -> Iterator[Finding]:
    width, height = size
    outside = _outside(polygon, size)
    if outside:
        text = f"{outside} outside of the {width}x{height} frame"
        yield Finding(Level.ERROR, "outside-frame", text, "move it onto the picture", camera.camera_id, zone_id)
    elif area(polygon) < SMALLEST_SHARE * width * height:
        text = f"it covers {area(polygon):.0f} pixels, {area(polygon) / width / height:.2%} of the frame"
        remedy = "draw it larger: feet are found to about a hundredth of the frame"
        yield Finding(Level.WARNING, "tiny-polygon", text, remedy, camera.camera_id, zone_id)


def _shared(camera: Camera, first: str, upper: Polygon, second: str, lower: Polygon) -> Iterator[Finding]:
    shared = overlap(upper, lower)
    if shared >= COVERED_SHARE * area(lower):
        text = f"zone {first} covers it and is named first: nobody is ever in it here"
        yield Finding(
            Level.ERROR, "overlap", text, f"name it before {first}, or draw it apart", camera.camera_id, second
        )
    elif (share := shared / min(area(upper), area(lower))) > BORDER_SHARE:
        text = f"it shares {share:.0%} of the smaller one with zone {first}, which is named first and holds there"
        yield Finding(Level.WARNING, "overlap", text, "draw them apart, unless it is meant", camera.camera_id, second)


def _line(camera: Camera, line: Polygon, size: tuple[int, int] | None) -> Iterator[Finding]:
    def finding(level: Level, rule: str, message: str, remedy: str) -> Finding:
        return Finding(level, rule, message, remedy, camera.camera_id)

    (x0, y0), (x1, y1) = line
    length = math.hypot(x1 - x0, y1 - y0)
    if length == 0:
        yield finding(Level.ERROR, "short-line", "the entrance line ends where it starts", "draw it across the door")
        return
    if size is None:
        return
    if outside := _outside(line, size):
        text = f"the entrance line has {outside} outside of the {size[0]}x{size[1]} frame"
        yield finding(Level.ERROR, "outside-frame", text, "move it onto the picture")
        return
    diagonal = math.hypot(*size)
    if length < SHORTEST_LINE * diagonal:
        text = f"the entrance line is {length:.0f} pixels long; who passes beyond its ends is not counted"
        yield finding(Level.WARNING, "short-line", text, "draw it a little longer than the door is wide")
    step = CLEARANCE * diagonal / length
    for side in (-1, 1):
        beside = [
            (x0 + t * (x1 - x0) - side * step * (y1 - y0), y0 + t * (y1 - y0) + side * step * (x1 - x0))
            for t in (0.25, 0.5, 0.75)
        ]
        if all(_outside([point], size) for point in beside):
            text = "the entrance line runs along the frame's edge: nobody is seen on its far side"
            yield finding(Level.WARNING, "line-at-edge", text, "draw it further in, at least half a step from the edge")


def _floor(
    layout: StoreLayout, camera: Camera, points: Sequence[PlanPoint], size: tuple[int, int] | None
) -> Iterator[Finding]:
    def error(message: str, remedy: str) -> Finding:
        return Finding(Level.ERROR, "floor-points", message, remedy, camera.camera_id)

    if size is not None and (outside := _outside([point.pixel for point in points], size)):
        yield error(f"{outside} is outside of the {size[0]}x{size[1]} frame", "take points that the picture shows")
    if (plan := layout.plan) is None:
        remedy = "say plan.width_m and plan.height_m, which they are measured on"
        yield error("they are on a plan whose size nobody says", remedy)
    else:
        off = [
            point.floor
            for point in points
            if max(-min(point.floor), point.floor[0] - plan.width_m, point.floor[1] - plan.height_m) > BESIDE_PLAN_M
        ]
        if off:
            text = f"{off[0]} m is not on the plan of {plan.width_m:.1f} x {plan.height_m:.1f} m"
            remedy = "measure it again, unless it lies outside of the shop"
            yield Finding(Level.WARNING, "floor-points", text, remedy, camera.camera_id)
    turns = [
        (flatness([p.pixel for p in three]), flatness([p.floor for p in three]))
        for three in combinations(points[:4], 3)
    ]
    if min(abs(turn) for pair in turns for turn in pair) < FLATTEST:
        yield error(
            "three of the first four lie in a line: they do not fix the floor", "take the corners of a wide area"
        )
    elif any(seen * measured < 0 for seen, measured in turns):
        text = "no camera sees the floor so: two are exchanged, or the plan is mirrored"
        yield error(text, "measure from the plan's top left corner, x to the right and y down")


def _staff(layout: StoreLayout) -> Iterator[Finding]:
    def warning(rule: str, message: str, remedy: str, zone_id: str | None = None) -> Finding:
        return Finding(Level.WARNING, rule, message, remedy, zone_id=zone_id)

    for zone in layout.zones:
        if zone.staff_only and zone.type in ("ENTRANCE", "BILLING"):
            text = f"customers come into a zone of type {zone.type}: staff_only makes staff of them"
            yield warning("staff-zone", text, "draw the staff's side of the till or door apart", zone.zone_id)
    colours = {colour: lab(colour) for colour in layout.staff.uniform} if layout.staff else {}
    for one, other in combinations(colours, 2):
        if math.dist(colours[one], colours[other]) < ALIKE:
            text = f"cameras cannot tell {one} from {other}"
            yield warning("uniform-colour", text, "keep the one that is seen on more of the uniform")
    for colour, (light, a, b) in colours.items():
        chroma, hue = math.hypot(a, b), math.degrees(math.atan2(b, a))
        if chroma < GREYEST:
            text = f"{colour} is black, white or grey, as many customers' clothes are"
            yield warning("uniform-colour", text, "take a colour that only staff wear, or draw a staff_only zone")
        elif 20 < light < 85 and chroma < 55 and 35 < hue < 80:
            text = f"{colour} looks like skin and like beige or brown clothes"
            yield warning("uniform-colour", text, "take a colour that only staff wear, or draw a staff_only zone")


def lab(colour: str) -> tuple[float, float, float]:
    """CIE 1976 L*a*b* of an sRGB colour such as ``#1a5fb4`` (IEC 61966-2-1, D65): distances in it are about those that
    people see, 2.3 being just noticeable.
    """
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    weights = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        ratio ** (1 / 3) if ratio > 216 / 24389 else (24389 / 27 * ratio + 16) / 116
        for ratio in (sum(map(mul, row, linear)) / of for row, of in zip(weights, white, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _outside(points: Polygon, size: tuple[float, float]) -> str:
    """The first point outside of a frame, in words; empty where there is none."""
    width, height = size
    return next((f"[{x:g}, {y:g}]" for x, y in points if not (0 <= x <= width and 0 <= y <= height)), "")
