"""What the cameras made of their pictures, as a video to look at: boxes, trails, zones, counts, and no faces.

The pictures come from people's cameras, so heads are made unrecognisable before anything else is drawn: where somebody was
found, and, since a detector misses one frame in a while, where they were found half a second before or after.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from zoneinfo import ZoneInfo

from producers.cameras import CameraError
from producers.cameras.scene import Box, Scene
from producers.cameras.shop import Seen
from producers.cameras.watch import Look

# A standing person's head and neck are the upper sixth of their height; a quarter leaves room for raised chins and boxes
# that begin too low. Of somebody cut off below, or bent, the width says more: shoulders are some three heads wide.
HEAD_OF_HEIGHT = 0.25
HEAD_OF_WIDTH = 0.75
# Below this height a person is hidden as a whole: a box that small may begin anywhere on them.
SMALL_PX = 64
# A head becomes so many squares across: a face needs some 16 to be told from another's (Bachmann 1991).
SQUARES = 4
# Boxes overlapping this much (intersection over union) in two neighbouring frames are one person.
SAME = 0.3
WINDOW_MS = 500
TRAIL_MS = 4000
CODECS = {".mp4": "mp4v", ".webm": "VP80"}
# BGR. Zones take turns; people are in one of the last three.
ZONES = ((255, 185, 116), (181, 214, 69), (63, 191, 255), (255, 155, 199), (207, 193, 179))
CUSTOMER, STAFF, UNDECIDED = (181, 214, 69), (63, 191, 255), (200, 200, 200)
WHITE, BLACK = (250, 247, 244), (18, 13, 9)


def head_of(box: Box, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of a person's box that may show their face, in whole pixels of the frame; None outside of it."""
    x0, y0, x1, y1 = box
    across, tall = x1 - x0, y1 - y0
    reach = tall if tall < SMALL_PX else min(tall, max(HEAD_OF_HEIGHT * tall, HEAD_OF_WIDTH * across))
    left, right = max(0, math.floor(x0 - 0.1 * across)), min(width, math.ceil(x1 + 0.1 * across))
    top, bottom = max(0, math.floor(y0 - 0.05 * tall)), min(height, math.ceil(y0 + reach))
    return (left, top, right, bottom) if left < right and top < bottom else None


def hide(image: Any, region: tuple[int, int, int, int]) -> None:
    """Replace a region by a few squares of its mean colours, in place."""
    import cv2

    x0, y0, x1, y1 = region
    part = image[y0:y1, x0:x1]
    down = max(1, min(y1 - y0, round(SQUARES * (y1 - y0) / (x1 - x0))))
    small = cv2.resize(part, (min(SQUARES, x1 - x0), min(down, 2 * SQUARES)), interpolation=cv2.INTER_AREA)
    image[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)


def boxes_of(detections: Any) -> list[Box]:
    """The boxes of ``supervision.Detections``."""
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in detections.xyxy.tolist()]


def write(
    image: Any, words: str, x: float, y: float, size: float, colour: tuple[int, int, int], *, mid: bool = False
) -> None:
    """Text with its baseline at a point, or centred on it, and within the image; ``size`` is its height in pixels."""
    import cv2

    scale, thick, edge = size / 24, max(1, round(size / 12)), max(1, round(size / 14))
    (long, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    left = min(max(x - long / 2 if mid else x, 2 * edge), image.shape[1] - long - 2 * edge)
    # A thicker font would be a wider one, so the dark edge is the same text beside itself.
    around = [(dx, dy, BLACK) for dx in (-edge, 0, edge) for dy in (-edge, 0, edge) if dx or dy]
    for dx, dy, shade in (*around, (0, 0, colour)):
        at = (round(left) + dx, round(y) + dy)
        cv2.putText(image, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, thick, cv2.LINE_AA)


def name_of(seen: Seen | None) -> str:
    """What to call somebody: the first of their pseudonym, and whether they are staff."""
    if seen is None:
        return "?"
    name = seen.visitor_id.rpartition("_")[2][:4]
    return f"{name} staff" if seen.is_staff else name


@dataclass(slots=True)
class _Waiting:
    """A frame that is drawn once it is known who is found in the next ones."""

    at_ms: int
    image: Any
    boxes: list[Box]
    people: list[tuple[Box, str, tuple[int, int, int]]]
    trails: list[list[tuple[float, float]]]
    zones: Counter[str]
    entries: int
    exits: int


@dataclass(slots=True)
class Annotator:
    """Draws on one camera's frames, half a second later than they come.

    Args:
        scene: What the camera sees.
        zone: The shop's time zone, for the clock.
    """

    scene: Scene
    zone: ZoneInfo
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _shown: deque[tuple[int, list[Box]]] = field(default_factory=deque)
    _trails: dict[int, deque[tuple[int, float, float]]] = field(default_factory=dict)
    _groups: dict[str, str] = field(default_factory=dict)
    _entries: int = 0
    _exits: int = 0

    def see(self, look: Look, view: Mapping[int, Seen]) -> list[Any]:
        """Take a look, with who the shop says they are; the frames that are done now.

        Args:
            look: One with a frame.
            view: ``Shop.view`` of this camera, right after the look.
        """
        assert look.frame is not None
        at_ms, kinds = look.frame.at_ms, [event.event_type for event in look.events]
        self._entries += sum(kind in ("ENTRY", "REENTRY") for kind in kinds)
        self._exits += kinds.count("EXIT")
        people = []
        for box, track in zip(boxes_of(look.people), look.people.tracker_id.tolist(), strict=True):
            seen = view.get(track)
            trail = self._trails.setdefault(track, deque())
            trail.append((at_ms, (box[0] + box[2]) / 2, box[3]))
            colour = STAFF if seen and seen.is_staff else CUSTOMER if seen and seen.known else UNDECIDED
            people.append((box, self._label(seen), colour))
        for track, trail in list(self._trails.items()):
            while trail and at_ms - trail[0][0] > TRAIL_MS:
                trail.popleft()
            if not trail:
                del self._trails[track]
        self._waiting.append(
            _Waiting(
                at_ms,
                look.frame.image,
                boxes_of(look.found),
                people,
                [[(x, y) for _, x, y in trail] for trail in self._trails.values()],
                Counter(seen.zone for seen in view.values() if seen.zone is not None),
                self._entries,
                self._exits,
            )
        )
        return self._done(at_ms - WINDOW_MS)

    def finish(self) -> list[Any]:
        """The frames that were still waiting."""
        return self._done(None)

    def _label(self, seen: Seen | None) -> str:
        if seen is None or seen.group_id is None:
            return name_of(seen)
        letter = self._groups.setdefault(seen.group_id, chr(ord("A") + len(self._groups) % 26))
        return f"{name_of(seen)} group {letter}"

    def _done(self, until_ms: int | None) -> list[Any]:
        frames = []
        while self._waiting and (until_ms is None or self._waiting[0].at_ms <= until_ms):
            one = self._waiting.popleft()
            while self._shown and one.at_ms - self._shown[0][0] > WINDOW_MS:
                self._shown.popleft()
            near = [*(boxes for _, boxes in self._shown), *(later.boxes for later in self._waiting)]
            self._shown.append((one.at_ms, one.boxes))
            frames.append(self._draw(one, near))
        return frames

    def _draw(self, one: _Waiting, near: Iterable[list[Box]]) -> Any:
        import cv2
        import numpy as np

        image = one.image.copy()
        height, width = image.shape[:2]
        unit = max(1.0, width / 900)
        for box in (*one.boxes, *missed(one.boxes, near)):
            if (region := head_of(box, width, height)) is not None:
                hide(image, region)
        for i, (_, polygon) in enumerate(self.scene.areas):
            corners = [np.round(polygon).astype(np.int32)]
            cv2.polylines(image, corners, True, ZONES[i % len(ZONES)], round(2 * unit), cv2.LINE_AA)
        for trail in one.trails:
            cv2.polylines(image, [np.round(trail).astype(np.int32)], False, WHITE, round(unit), cv2.LINE_AA)
        for (x0, y0, x1, y1), label, colour in one.people:
            cv2.rectangle(image, (round(x0), round(y0)), (round(x1), round(y1)), colour, round(2 * unit), cv2.LINE_AA)
            cv2.circle(image, (round((x0 + x1) / 2), round(y1)), round(4 * unit), colour, -1, cv2.LINE_AA)
            write(image, label, (x0 + x1) / 2, max(18 * unit, y0 - 6 * unit), 15 * unit, colour, mid=True)
        shown: set[str] = set()
        for i, (zone, polygon) in enumerate(self.scene.areas):
            if zone not in shown:
                shown.add(zone)
                x, y = (sum(values) / len(polygon) for values in zip(*polygon, strict=True))
                write(image, f"{zone}: {one.zones[zone]}", x, y, 16 * unit, ZONES[i % len(ZONES)], mid=True)
        if self.scene.line is not None:
            self._entrance(image, self.scene.line, one, unit)
        clock = datetime.fromtimestamp(one.at_ms / 1000, self.zone)
        words = (
            f"{self.scene.store_id} {self.scene.camera_id}  {clock:%Y-%m-%d %H:%M:%S}.{clock.microsecond // 100_000}"
        )
        write(image, words, 10 * unit, height - 12 * unit, 16 * unit, WHITE)
        return image

    def _entrance(self, image: Any, line: Sequence[Sequence[float]], one: _Waiting, unit: float) -> None:
        import cv2

        (x0, y0), (x1, y1) = line
        cv2.line(image, (round(x0), round(y0)), (round(x1), round(y1)), WHITE, round(3 * unit), cv2.LINE_AA)
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        # In leads to the right of start-to-end; the y axis points down.
        nx, ny, mx, my = -(y1 - y0) / length, (x1 - x0) / length, (x0 + x1) / 2, (y0 + y1) / 2
        tip = (round(mx + 34 * unit * nx), round(my + 34 * unit * ny))
        cv2.arrowedLine(image, (round(mx), round(my)), tip, WHITE, round(2 * unit), cv2.LINE_AA, tipLength=0.3)
        for words, way in ((f"in {one.entries}", 1), (f"out {one.exits}", -1)):
            x, y = mx + way * 54 * unit * nx, my + way * 54 * unit * ny + 5 * unit
            write(image, words, x, y, 17 * unit, WHITE, mid=True)


def missed(boxes: Sequence[Box], near: Iterable[Sequence[Box]]) -> list[Box]:
    """Boxes of neighbouring frames that no box of this one stands for."""
    return [
        other for neighbours in near for other in neighbours if all(overlap_share(other, box) < SAME for box in boxes)
    ]


def overlap_share(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across, down = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other))
    return float(both / (areas - both))


class Video:
    """A video file that has its name only once it is whole.

    Args:
        path: ``.mp4`` or ``.webm``, in a folder that is there.
        size: Width and height of its frames, pixels.
        fps: Frames a second.

    Raises:
        CameraError: the suffix is another, or it cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import cv2

        check_target(path)
        self._path = path
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._frames = 0
        # Unused without the extra `vision`, of whose stubs it complains.
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])  # type: ignore[attr-defined,unused-ignore]
        self._writer: Any = cv2.VideoWriter(str(self._partial), code, fps, size)
        if not self._writer.isOpened():
            self.drop()
            raise CameraError(f"{path} cannot be written")

    def add(self, frame: Any) -> None:
        """Append a frame."""
        self._writer.write(frame)
        self._frames += 1

    def keep(self) -> None:
        """End the file and give it its name.

        Raises:
            CameraError: it did not hold all frames, as on a full disk.
        """
        import cv2

        self._writer.release()
        written = cv2.VideoCapture(str(self._partial))
        frames = round(written.get(cv2.CAP_PROP_FRAME_COUNT))
        written.release()
        if frames < self._frames:
            self.drop()
            raise CameraError(f"{self._path} cannot be written: it holds {max(0, frames)} of {self._frames} frames")
        self._partial.replace(self._path)

    def drop(self) -> None:
        """Leave nothing behind."""
        self._writer.release()
        self._partial.unlink(missing_ok=True)


class Show:
    """Annotated videos of a shop's cameras; a context manager that keeps them unless the program fails.

    Args:
        path: The video, or, of several cameras, what their names are made from: ``OUT.CAMERA.mp4``.
        scenes: What each camera sees.
        fps: Looks a second, by camera.
        zone: The shop's time zone.

    Raises:
        CameraError: the name is not one of a video, or there is no such folder.
    """

    def __init__(self, path: Path, scenes: Mapping[str, Scene], fps: Mapping[str, float], zone: ZoneInfo) -> None:
        check_target(path)
        self._fps = fps
        self.paths = {camera: path if len(scenes) == 1 else named(path, camera) for camera in scenes}
        self._annotators = {camera: Annotator(scene, zone) for camera, scene in scenes.items()}
        self._videos: dict[str, Video] = {}

    def see(self, look: Look, view: Mapping[int, Seen]) -> None:
        """Take a look, with ``Shop.view`` of its camera right after it."""
        if look.frame is not None:
            self._add(look.camera_id, self._annotators[look.camera_id].see(look, view))

    def _add(self, camera: str, frames: Iterable[Any]) -> None:
        for frame in frames:
            if camera not in self._videos:
                size = (int(frame.shape[1]), int(frame.shape[0]))
                self._videos[camera] = Video(self.paths[camera], size, self._fps[camera])
            self._videos[camera].add(frame)

    def __enter__(self) -> Show:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A damaged clip's frames have all been seen up to the damage; after any other failure nobody knows.
        if error is not None and not isinstance(error, CameraError):
            for video in self._videos.values():
                video.drop()
            return
        for camera, annotator in self._annotators.items():
            self._add(camera, annotator.finish())
        for video in self._videos.values():
            video.keep()


def check_target(path: Path) -> None:
    """Refuse a video's name before any work is done.

    Raises:
        CameraError: another suffix, or no such folder.
    """
    if path.suffix.lower() not in CODECS:
        raise CameraError(f"{path}: a video is called {' or '.join('*' + suffix for suffix in CODECS)}")
    if not path.parent.is_dir():
        raise CameraError(f"there is no folder {path.parent}")


def named(path: Path, camera_id: str) -> Path:
    """The file of one camera of several."""
    return path.with_name(f"{path.stem}.{re.sub(r'[^A-Za-z0-9_.-]+', '-', camera_id)}{path.suffix}")
