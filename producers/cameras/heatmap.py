"""Where customers spend their time: seconds by square of the shop's floor, or of a camera's picture, as an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from producers.cameras import CameraError
from producers.cameras.annotate import boxes_of, named, write
from producers.cameras.scene import Scene, place, project
from producers.cameras.shop import Seen
from producers.cameras.watch import PATIENCE_S, Look
from schemas.events import Plan, StoreLayout

# Half a metre of floor is what one person stands on; a picture gets as many squares as people fit side by side in it.
SQUARE_M = 0.5
SQUARES_ACROSS = 48
# Sides of the images, pixels.
LONGEST = 1400
# From nothing to most, BGR: the wall's cold and hot.
COLD, HOT, HOTTEST = (66, 47, 25), (20, 74, 190), (120, 220, 255)
GROUND, PANEL, LINE, TEXT, SOFT = (18, 13, 9), (34, 25, 18), (66, 50, 37), (250, 247, 244), (207, 193, 179)

Grid = npt.NDArray[np.float64]


@dataclass(slots=True)
class Dwell:
    """Seconds by square. A person counts once, whichever cameras see them, and only for time in which they are seen."""

    rows: int
    columns: int
    seconds: Grid = field(init=False)
    beside: float = 0.0
    """Seconds at places outside of it."""
    visitors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.seconds = np.zeros((self.rows, self.columns))

    def add(self, across: float, down: float, seconds: float, visitor_id: str | None) -> None:
        """Somebody's time at a place, given in shares of the whole."""
        if 0 <= across < 1 and 0 <= down < 1:
            if visitor_id is not None:
                self.visitors.add(visitor_id)
            self.seconds[int(down * self.rows), int(across * self.columns)] += seconds
        else:
            self.beside += seconds


class HeatMap:
    """Dwell over all cameras that are tied to the plan, and over each other camera's picture; a context manager that saves
    unless the program fails.

    Staff are left out from when they are known as such.

    Args:
        path: The image; those of single cameras are called ``OUT.CAMERA.png`` where there are several images.
        layout: The store's.
        scenes: What each camera sees.

    Raises:
        CameraError: the name is not one of a ``.png`` file, or there is no such folder.
    """

    def __init__(self, path: Path, layout: StoreLayout, scenes: Mapping[str, Scene]) -> None:
        if path.suffix.lower() != ".png":
            raise CameraError(f"{path}: a heat map is called *.png")
        if not path.parent.is_dir():
            raise CameraError(f"there is no folder {path.parent}")
        self._path, self._layout, self._scenes = path, layout, scenes
        self.plan = layout.plan if any(scene.floor for scene in scenes.values()) else None
        on_plan = {camera for camera, scene in scenes.items() if self.plan and scene.floor}
        self.floor = Dwell(_squares(self.plan.height_m), _squares(self.plan.width_m)) if self.plan else None
        self.frames = {
            camera: Dwell(max(1, round(SQUARES_ACROSS * scene.height / scene.width)), SQUARES_ACROSS)
            for camera, scene in scenes.items()
            if camera not in on_plan
        }
        self._backgrounds: dict[str, Any] = {}
        self._last_ms: dict[object, int] = {}
        self._swept_ms = 0

    def see(self, look: Look, view: Mapping[int, Seen]) -> None:
        """Take a look, with ``Shop.view`` of its camera right after it."""
        if look.frame is None:
            return
        at_ms, scene = look.frame.at_ms, self._scenes[look.camera_id]
        if look.camera_id in self.frames and look.camera_id not in self._backgrounds:
            self._backgrounds[look.camera_id] = look.frame.image
        for box, track in zip(boxes_of(look.people), look.people.tracker_id.tolist(), strict=True):
            seen = view.get(track)
            if seen is not None and seen.is_staff:
                continue
            # Cameras that share a plan share a person's time; until it is known who it is, a track is one person.
            whose = look.camera_id if look.camera_id in self.frames else None
            alone = (look.camera_id, track)
            visitor_id = seen.visitor_id if seen is not None and seen.known else None
            key: object = alone
            if visitor_id is not None:
                key = (whose, visitor_id)
                self._last_ms.setdefault(key, self._last_ms.pop(alone, at_ms))
            seconds = (at_ms - self._last_ms.get(key, at_ms)) / 1000
            self._last_ms[key] = at_ms
            stands = place(scene, box)
            if look.camera_id in self.frames:
                dwell, across, down = self.frames[look.camera_id], stands.x / scene.width, stands.y / scene.height
            elif stands.floor is not None and self.floor is not None and self.plan is not None:
                dwell = self.floor
                across, down = stands.floor[0] / self.plan.width_m, stands.floor[1] / self.plan.height_m
            else:
                continue  # beyond the horizon
            # Longer unseen is not known to have been here.
            dwell.add(across, down, seconds if seconds <= PATIENCE_S else 0.0, visitor_id)
        if at_ms - self._swept_ms > 60_000:
            self._swept_ms = at_ms
            self._last_ms = {key: last for key, last in self._last_ms.items() if at_ms - last <= 1000 * PATIENCE_S}

    def __enter__(self) -> HeatMap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What a damaged clip showed until then stands.
        if error is None or isinstance(error, CameraError):
            self.save()

    def save(self) -> list[Path]:
        """Draw and write the images; a camera that sent nothing gets none.

        Raises:
            CameraError: one cannot be written.
        """
        images: dict[Path, Any] = {}
        if self.floor is not None and self.plan is not None:
            images[self._path] = self._on_plan(self.floor, self.plan)
        alone = self.floor is None and len(self.frames) == 1
        for camera, background in self._backgrounds.items():
            path = self._path if alone else named(self._path, camera)
            images[path] = self._on_frame(self._scenes[camera], self.frames[camera], background)
        for path, image in images.items():
            _write_png(path, image)
        return list(images)

    def _on_plan(self, dwell: Dwell, plan: Plan) -> Any:
        import cv2

        scale = LONGEST / max(plan.width_m, plan.height_m, 0.6 * plan.width_m + 0.6 * plan.height_m)
        width, height = round(plan.width_m * scale), round(plan.height_m * scale)
        image = np.full((height, width, 3), PANEL, np.uint8)
        for metre in range(1, math.ceil(max(plan.width_m, plan.height_m))):
            at = round(metre * scale)
            cv2.line(image, (at, 0), (at, height), LINE, 1)
            cv2.line(image, (0, at), (width, at), LINE, 1)
        _heat(image, dwell)
        self._zones_on(image, scale)
        for scene in self._scenes.values():
            ends = [project(scene.floor, x, y) for x, y in scene.line] if scene.floor and scene.line else []
            points = np.array([(x * scale, y * scale) for x, y in filter(None, ends)])
            if len(points) == 2:
                cv2.polylines(image, [np.round(points).astype(np.int32)], False, TEXT, 4, cv2.LINE_AA)
                _name(image, "entrance", points - (0, 10))
        where = f"{plan.width_m:.1f} x {plan.height_m:.1f} m, lines every metre, squares of about {SQUARE_M:g} m"
        if dwell.beside:
            where += f"; {_time(dwell.beside)} beside the plan"
        return self._framed(image, dwell, where)

    def _zones_on(self, image: Any, scale: float) -> None:
        """Outlines of zones on the plan, each the union of what the cameras see of it."""
        import cv2

        masks: dict[str, Any] = {}
        for scene in self._scenes.values():
            for zone, polygon in scene.areas if scene.floor else ():
                corners = [project(scene.floor, x, y) for x, y in _dense(polygon)] if scene.floor else []
                points = np.array([(x * scale, y * scale) for x, y in filter(None, corners)])
                if len(points) >= 3:
                    mask = masks.setdefault(zone, np.zeros(image.shape[:2], np.uint8))
                    # Far beyond the plan is as good as just beyond it, and fits in what OpenCV draws with.
                    cv2.fillPoly(mask, [np.round(np.clip(points, -1e4, 1e4)).astype(np.int32)], 255)
        for zone, mask in masks.items():
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, outlines, -1, SOFT, 2, cv2.LINE_AA)
            if outlines:
                _name(image, zone, max(outlines, key=len).reshape(-1, 2))

    def _on_frame(self, scene: Scene, dwell: Dwell, background: Any) -> Any:
        import cv2

        scale = LONGEST / scene.width
        # Nobody can be told in the picture, nor read: it only shows which place this is.
        image = cv2.GaussianBlur(background, (0, 0), scene.width / 50)
        image = cv2.resize(image, (LONGEST, round(scene.height * scale)))
        image = (image * 0.55).astype(np.uint8)
        _heat(image, dwell)
        for zone, polygon in scene.areas:
            points = np.round(np.array(polygon) * scale).astype(np.int32)
            cv2.polylines(image, [points], True, SOFT, 2, cv2.LINE_AA)
            _name(image, zone, points)
        if scene.line is not None:
            cv2.polylines(image, [np.round(np.array(scene.line) * scale).astype(np.int32)], False, TEXT, 4, cv2.LINE_AA)
        where = f"camera {scene.camera_id}, squares of {scene.width / dwell.columns:.0f} pixels"
        return self._framed(image, dwell, where)

    def _framed(self, image: Any, dwell: Dwell, where: str) -> Any:
        """The image with a title above and the scale of its colours beside it."""
        height, width = image.shape[:2]
        whole = np.full((max(height, 300) + 76, width + 150, 3), GROUND, np.uint8)
        whole[64 : 64 + height, 12 : 12 + width] = image
        total = float(dwell.seconds.sum())
        people = len(dwell.visitors)
        write(
            whole,
            f"{self._layout.store_id}: where {people} customer{'s' * (people != 1)} spent {_time(total)}",
            12,
            28,
            24,
            TEXT,
        )
        write(whole, where, 12, 54, 18, SOFT)
        bar_height, left = min(height, 420), width + 30
        top = 64 + 34
        most = float(dwell.seconds.max())
        shades = np.linspace(1, 0, bar_height - 34)
        whole[top : top + len(shades), left : left + 22] = _colours(shades)[:, None, :]
        write(whole, "per square", left, 80, 16, SOFT)
        for share in (1.0, 0.75, 0.5, 0.25, 0.0):
            y = top + (1 - share) * (len(shades) - 1)
            # Colours go by the square root, or one person standing still would leave all others black.
            write(whole, _time(most * share**2), left + 30, y + 6, 16, TEXT)
        return whole


def _squares(metres: float) -> int:
    return max(1, math.ceil(metres / SQUARE_M))


def _time(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _colours(shares: Grid) -> npt.NDArray[np.uint8]:
    """BGR for shares from 0 to 1."""
    return np.stack(
        [np.interp(shares, (0, 0.55, 1), stops) for stops in zip(COLD, HOT, HOTTEST, strict=True)], axis=-1
    ).astype(np.uint8)


def _heat(image: Any, dwell: Dwell) -> None:
    """Lay the squares over an image, in place; where nobody was it shows through."""
    most = dwell.seconds.max()
    if most <= 0:
        return
    height, width = image.shape[:2]
    rows = np.minimum(np.arange(height) * dwell.rows // height, dwell.rows - 1)
    columns = np.minimum(np.arange(width) * dwell.columns // width, dwell.columns - 1)
    shares = np.sqrt(dwell.seconds / most)[np.ix_(rows, columns)]
    seen = shares > 0
    image[seen] = (0.25 * image[seen] + 0.75 * _colours(shares[seen])).astype(np.uint8)


def _name(image: Any, words: str, points: npt.NDArray[Any]) -> None:
    x, y = points.mean(axis=0)
    write(image, words, x, y, 20, TEXT, mid=True)


def _dense(polygon: list[list[float]]) -> list[tuple[float, float]]:
    """A polygon with points along its edges: some of an edge may lie beyond the horizon."""
    return [
        (x0 + step / 8 * (x1 - x0), y0 + step / 8 * (y1 - y0))
        for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True)
        for step in range(8)
    ]


def _write_png(path: Path, image: Any) -> None:
    import cv2

    data = cv2.imencode(".png", image)[1]
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CameraError(f"{path} cannot be written: {error.strerror}") from error
