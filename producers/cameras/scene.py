"""What of a store's layout one camera sees, and where a person's foot point lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from producers.cameras import CameraError, Entrance
from producers.cameras.presence import Sighting
from schemas.events import StoreLayout

Polygon = list[list[float]]


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
    return Scene(layout.store_id, camera_id, width, height, areas, line, entrance)


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


class Geometry:
    """Places tracked boxes in a scene by their bottom centre."""

    def __init__(self, scene: Scene) -> None:
        import numpy as np
        import supervision as sv

        self._scene = scene
        self._zones = [(zone, sv.PolygonZone(np.round(polygon).astype(np.int64))) for zone, polygon in scene.areas]

    def sightings(self, people: Any) -> list[Sighting]:
        """One sighting for each box of ``people`` (``supervision.Detections`` with confirmed tracker ids)."""
        import numpy as np

        if not len(people):
            return []
        # Somebody cut off by the frame's lower edge stands at least on its last row.
        people.xyxy = np.clip(people.xyxy, 0, [self._scene.width - 1, self._scene.height - 1] * 2)
        held = [(zone, polygon.trigger(people)) for zone, polygon in self._zones]
        return [
            Sighting(
                track_id=int(people.tracker_id[i]),
                zone=next((zone for zone, holds in held if holds[i]), None),
                inside=inside_of(self._scene.line, (x0 + x1) / 2, y1) if self._scene.line else None,
                confidence=float(people.confidence[i]),
            )
            for i, (x0, _, x1, y1) in enumerate(people.xyxy.tolist())
        ]
