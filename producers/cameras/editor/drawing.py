"""A layout while it is drawn on one camera's picture: what each press, drag and key does to the document. No I/O.

The document is the layout's JSON as it was read, so that fields this program does not know stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Literal

from pydantic import ValidationError

from producers.cameras.layouts import Finding, Level, check
from producers.cameras.polygons import contains, distance
from schemas.events import StoreLayout, as_problem

Document = dict[str, Any]
Place = tuple[float, float]
KEPT_STEPS = 200


class Tool(StrEnum):
    """What a press on the picture does."""

    SELECT = "select"
    ZONE = "zone"
    LINE = "line"
    FLOOR = "floor"
    COLOUR = "colour"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the panel shows and Delete removes."""

    kind: Literal["zone", "line", "floor"]
    index: int = 0
    """Of the zone in the layout, or of the floor point on the camera."""
    area: int | None = None
    """Of the zone's areas; None where the zone is chosen from the list and has none on this camera."""
    corner: int | None = None
    """The corner pressed last."""


@dataclass(slots=True)
class _Drag:
    points: list[list[float]]
    """What moves: one corner, or all of a shape; lists of the document."""
    start: Place
    origin: list[list[float]]
    moved: bool = False


@dataclass
class Drawing:
    """One editing session on one camera's picture.

    Args:
        document: The layout's JSON; changed in place.
        camera_id: The camera whose picture is drawn on; added to the layout where it is new.
        size: Width and height of its picture, pixels.
    """

    document: Document
    camera_id: str
    size: tuple[int, int]
    tool: Tool = Tool.SELECT
    selection: Selection | None = None
    points: list[list[float]] = field(default_factory=list)
    """Corners of what is being drawn."""
    cursor: Place | None = None
    _extends: int | None = None
    _drag: _Drag | None = None
    _done: list[Document] = field(default_factory=list)
    _undone: list[Document] = field(default_factory=list)
    _saved: str = ""
    _plan: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        self._saved = json.dumps(self.document)
        cameras = self.document.setdefault("cameras", [])
        if all(camera["camera_id"] != self.camera_id for camera in cameras):
            cameras.append({"camera_id": self.camera_id})
        if not (self.camera.get("frame_width") and self.camera.get("frame_height")):
            self.camera.update(frame_width=self.size[0], frame_height=self.size[1])

    @property
    def fits(self) -> bool:
        """Whether the camera was drawn on pictures of this size."""
        return (self.camera["frame_width"], self.camera["frame_height"]) == self.size

    def rescale(self) -> None:
        """Carry everything drawn on this camera over to the picture's size."""
        across = self.size[0] / self.camera["frame_width"]
        down = self.size[1] / self.camera["frame_height"]
        self._remember()
        for corners in (
            *(corners for _, _, corners in self.areas()),
            self.line or [],
            [point["pixel"] for point in self.floor_points],
        ):
            for point in corners:
                point[:] = self._within(point[0] * across, point[1] * down)
        self.camera.update(frame_width=self.size[0], frame_height=self.size[1])

    @property
    def camera(self) -> Document:
        """The camera drawn on."""
        found: Document = next(c for c in self.document["cameras"] if c["camera_id"] == self.camera_id)
        return found

    @property
    def zones(self) -> list[Document]:
        """All zones of the layout."""
        found: list[Document] = self.document.setdefault("zones", [])
        return found

    @property
    def line(self) -> list[list[float]] | None:
        """This camera's entrance line."""
        return self.camera.get("entrance_line")

    @property
    def floor_points(self) -> list[Document]:
        """This camera's floor points."""
        return self.camera.get("floor_points") or []

    @property
    def plan(self) -> tuple[float | None, float | None]:
        """Width and height of the shop's plan, metres."""
        plan = self.document.get("plan")
        return (plan["width_m"], plan["height_m"]) if plan else self._plan

    @property
    def colours(self) -> list[str]:
        """The uniform's colours."""
        return list((self.document.get("staff") or {}).get("uniform") or [])

    def areas(self) -> list[tuple[int, int, list[list[float]]]]:
        """This camera's polygons as (zone, area, corners), in the layout's order."""
        return [
            (i, j, area["polygon"])
            for i, zone in enumerate(self.zones)
            for j, area in enumerate(zone.get("areas") or [])
            if area["camera_id"] == self.camera_id
        ]

    @property
    def reach(self) -> float:
        """How near to a corner a press must be to take hold of it, pixels."""
        return max(6.0, self.size[0] / 80)

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to save."""
        return json.dumps(self.document) != self._saved

    @property
    def is_dragging(self) -> bool:
        """Whether something is being moved."""
        return self._drag is not None

    @property
    def can_undo(self) -> bool:
        return bool(self._done or self.points)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def problems(self) -> list[Finding]:
        """What the layout check says of the document as it is; one finding where it is no valid layout."""
        try:
            return check(self.layout(), {self.camera_id: self.size})
        except ValidationError as error:
            where, reason = as_problem(error)
            text = f"{where or 'document'}: {reason}"
            return [Finding(Level.ERROR, "not-valid", text, "mend it: no program could read this layout")]

    def layout(self) -> StoreLayout:
        """The document as a layout.

        Raises:
            ValidationError: it is none.
        """
        return StoreLayout.model_validate_json(json.dumps(self.document))

    # What a person does.

    def choose(self, tool: Tool) -> None:
        """Take a tool; what was half drawn with another is dropped."""
        if tool is not self.tool:
            self.cancel()
        self.tool = tool

    def press(self, x: float, y: float) -> None:
        """The button goes down at a place on the picture."""
        x, y = self._within(x, y)
        self.cursor = (x, y)
        if self.tool is Tool.ZONE:
            if len(self.points) >= 3 and self._near(self.points[0], x, y):
                self.finish()
            elif not self.points or not self._near(self.points[-1], x, y):
                self.points.append([x, y])
            elif len(self.points) >= 3:
                self.finish()  # a double press
        elif self.tool is Tool.LINE:
            if not self.points or not self._near(self.points[0], x, y):
                self.points.append([x, y])
            self._end_line()
        elif self.tool is Tool.FLOOR:
            self._remember()
            self.camera.setdefault("floor_points", []).append({"pixel": [x, y], "floor": [0.0, 0.0]})
            self.selection = Selection("floor", len(self.floor_points) - 1)
        elif self.tool is Tool.SELECT:
            self._take_hold(x, y)

    def move(self, x: float, y: float, *, pressed: bool) -> None:
        """The pointer goes to a place; ``pressed`` tells whether its button is down."""
        x, y = self._within(x, y)
        self.cursor = (x, y)
        if self._drag is None:
            return
        if not pressed:
            self._drag = None
            return
        drag = self._drag
        dx, dy = x - drag.start[0], y - drag.start[1]
        if not drag.moved and (dx or dy):
            self._remember_before(drag)
        for point, (x0, y0) in zip(drag.points, drag.origin, strict=True):
            point[:] = self._within(x0 + dx, y0 + dy)

    def release(self, x: float, y: float) -> None:
        """The button goes up."""
        x, y = self._within(x, y)
        self._drag = None
        if self.tool is Tool.LINE and self.points and not self._near(self.points[0], x, y):
            self.points.append([x, y])
            self._end_line()

    def finish(self) -> None:
        """Close the polygon that is being drawn; it becomes a zone, or one more area of the zone to be extended."""
        if self.tool is not Tool.ZONE or len(self.points) < 3:
            return
        self._remember()
        area = {"camera_id": self.camera_id, "polygon": self.points}
        index = self._extends
        if index is None:
            taken = {zone["zone_id"] for zone in self.zones}
            number = next(n for n in range(1, len(taken) + 2) if f"ZONE-{n}" not in taken)
            self.zones.append({"zone_id": f"ZONE-{number}", "type": "SHELF", "areas": []})
            index = len(self.zones) - 1
        areas = self.zones[index].setdefault("areas", [])
        areas.append(area)
        self.points, self._extends, self.tool = [], None, Tool.SELECT
        self.selection = Selection("zone", index, len(areas) - 1)

    def extend(self, zone: int) -> None:
        """Draw one more area of a zone."""
        self.choose(Tool.ZONE)
        self._extends = zone

    def cancel(self) -> None:
        """Drop what is half drawn; where nothing is, drop the selection."""
        if not self.points and self._extends is None:
            self.selection = None
        self.points, self._extends, self._drag = [], None, None

    def delete(self) -> None:
        """Remove what is selected: a corner while three remain, else the area, and the zone with its last one. A zone that
        only other cameras see stays.
        """
        chosen = self.selection
        if chosen is None or (chosen.kind == "zone" and chosen.area is None and self.zones[chosen.index].get("areas")):
            return
        self._remember()
        if chosen.kind == "line":
            self.camera.pop("entrance_line", None)
        elif chosen.kind == "floor":
            self._remove_floor_point(chosen.index)
        else:
            zone = self.zones[chosen.index]
            if chosen.area is not None:
                polygon = zone["areas"][chosen.area]["polygon"]
                if chosen.corner is not None and len(polygon) > 3:
                    del polygon[chosen.corner]
                    self.selection = replace(chosen, corner=None)
                    return
                del zone["areas"][chosen.area]
            if not zone.get("areas"):
                del self.zones[chosen.index]
        self.selection = None

    def nudge(self, dx: float, dy: float) -> None:
        """Move what is selected by some pixels."""
        moving = self._selected_points()
        if not moving:
            return
        self._remember()
        for point in moving:
            point[:] = self._within(point[0] + dx, point[1] + dy)

    def select_zone(self, index: int) -> None:
        """Choose a zone by its place in the layout."""
        self.choose(Tool.SELECT)
        self.selection = Selection("zone", index, next((j for i, j, _ in self.areas() if i == index), None))

    def set_zone(self, index: int, **fields: Any) -> None:
        """Change fields of a zone; None and False take them out."""
        self._set(self.zones[index], fields)

    def set_camera(self, **fields: Any) -> None:
        """Change fields of the camera."""
        self._set(self.camera, fields)

    def set_floor(self, index: int, x: float, y: float) -> None:
        """Say where on the plan a floor point lies, metres."""
        self._set(self.floor_points[index], {"floor": [x, y]})

    def set_plan(self, width_m: float | None, height_m: float | None) -> None:
        """Say how large the plan is, metres. Half of it is kept until the other is said."""
        self._plan = (width_m, height_m)
        if width_m and height_m:
            plan = self.document.get("plan") or {}
            self._set(self.document, {"plan": {**plan, "width_m": width_m, "height_m": height_m}})

    def set_colours(self, colours: list[str]) -> None:
        """Say what the staff wear; each as ``#rrggbb``."""
        staff = {**(self.document.get("staff") or {}), "uniform": list(dict.fromkeys(colours))}
        self._set(self.document, {"staff": staff if len(staff) > 1 or colours else None})

    def turn_line(self) -> None:
        """Exchange in and out."""
        if self.line:
            self._set(self.camera, {"entrance_line": self.line[::-1]})

    def earlier(self, index: int) -> None:
        """Name a zone before its neighbour, so that it holds where the two overlap."""
        if index > 0:
            self._remember()
            self.zones.insert(index - 1, self.zones.pop(index))
            if self.selection and self.selection.kind == "zone":
                self.selection = replace(self.selection, index=index - 1)

    def undo(self) -> None:
        """Take back the last corner of what is being drawn, or else the last change."""
        if self.points:
            self.points.pop()
        elif self._done:
            self._undone.append(deepcopy(self.document))
            self._return_to(self._done.pop())

    def redo(self) -> None:
        """Do again what was taken back."""
        if self._undone:
            self._done.append(deepcopy(self.document))
            self._return_to(self._undone.pop())

    def saved(self) -> None:
        """The document as it is now has been written."""
        self._saved = json.dumps(self.document)

    # How it is done.

    def _set(self, where: Document, fields: Document) -> None:
        changed = {key: value for key, value in fields.items() if (where.get(key) or None) != (value or None)}
        if not changed:
            return
        self._remember()
        for key, value in changed.items():
            if value is None or value is False or value == "":
                where.pop(key, None)
            else:
                where[key] = value

    def _remember(self) -> None:
        self._done.append(deepcopy(self.document))
        del self._done[:-KEPT_STEPS]
        self._undone.clear()

    def _remember_before(self, drag: _Drag) -> None:
        self._remember()
        drag.moved = True

    def _return_to(self, document: Document) -> None:
        self.document.clear()
        self.document.update(document)
        self.selection = self._drag = None

    def _within(self, x: float, y: float) -> list[float]:
        """The nearest pixel of the picture."""
        width, height = self.size
        return [min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)]

    def _near(self, point: list[float], x: float, y: float) -> bool:
        return (point[0] - x) ** 2 + (point[1] - y) ** 2 <= self.reach**2

    def _end_line(self) -> None:
        if len(self.points) == 2:
            self._remember()
            self.camera["entrance_line"] = self.points
            self.points, self.tool, self.selection = [], Tool.SELECT, Selection("line")

    def _remove_floor_point(self, index: int) -> None:
        del self.floor_points[index]
        if not self.floor_points:
            self.camera.pop("floor_points", None)

    def _shapes(self) -> list[tuple[Selection, list[list[float]], Callable[[float, float], bool]]]:
        """What can be taken hold of, that on top first: its corners, and whether a place lies on it."""
        shapes: list[tuple[Selection, list[list[float]], Callable[[float, float], bool]]] = [
            (Selection("floor", i), [point["pixel"]], lambda _x, _y: False) for i, point in enumerate(self.floor_points)
        ]
        if (line := self.line) is not None:

            def on_line(x: float, y: float) -> bool:
                return distance((x, y), line[0], line[1]) <= self.reach

            shapes.append((Selection("line"), line, on_line))
        shapes += [(Selection("zone", i, j), polygon, partial(contains, polygon)) for i, j, polygon in self.areas()]
        # What is selected lies on top of its neighbours.
        chosen = replace(self.selection, corner=None) if self.selection else None
        return sorted(shapes, key=lambda shape: shape[0] != chosen)

    def _take_hold(self, x: float, y: float) -> None:
        shapes = self._shapes()
        for selection, corners, _ in shapes:
            for number, corner in enumerate(corners):
                if self._near(corner, x, y):
                    self.selection = replace(selection, corner=number if selection.kind == "zone" else None)
                    self._drag = _Drag([corner], (x, y), [list(corner)])
                    return
        # The middle of a selected zone's edge makes a new corner.
        for selection, corners, _ in shapes[:1]:
            if selection.kind == "zone" and self.selection is not None:
                for number, middle in enumerate(middles(corners)):
                    if self._near(middle, x, y) and len(corners) < 64:
                        self._remember()
                        corners.insert(number + 1, [x, y])
                        self.selection = replace(selection, corner=number + 1)
                        self._drag = _Drag([corners[number + 1]], (x, y), [[x, y]], moved=True)
                        return
        for selection, corners, holds in shapes:
            if holds(x, y):
                self.selection = selection
                self._drag = _Drag(corners, (x, y), deepcopy(corners))
                return
        self.selection = None

    def _selected_points(self) -> list[list[float]]:
        chosen = self.selection
        if chosen is None:
            return []
        if chosen.kind == "line":
            return self.line or []
        if chosen.kind == "floor":
            return [self.floor_points[chosen.index]["pixel"]]
        if chosen.area is None:
            return []
        polygon: list[list[float]] = self.zones[chosen.index]["areas"][chosen.area]["polygon"]
        return polygon if chosen.corner is None else [polygon[chosen.corner]]


def middles(corners: list[list[float]]) -> list[list[float]]:
    """The middle of each edge of a polygon."""
    return [
        [(x0 + x1) / 2, (y0 + y1) / 2] for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True)
    ]


def empty_document(store_id: str) -> Document:
    """A layout with nothing in it."""
    return {"store_id": store_id, "timestamp": stamp(datetime.now(UTC)), "zones": [], "cameras": []}


def stamp(moment: datetime) -> str:
    """A time as layouts write it, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def text_of(document: Document) -> str:
    """A document as a file: indented, a point on one line."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # A line break never stands within a JSON string, so only lists of two numbers match.
    number = r"(-?[0-9][0-9.eE+-]*)"
    return re.sub(rf"\[\n\s*{number},\n\s*{number}\n\s*\]", r"[\1, \2]", text) + "\n"
