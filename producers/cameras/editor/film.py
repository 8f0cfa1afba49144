"""A camera's pictures for the editor: any frame of a clip, or the newest of a live camera."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from producers.cameras import CameraError

# Forward to a frame this near, reading on is quicker than searching the file's index.
NEAR = 40
JPEG_QUALITY = 85


class Film:
    """A clip whose frames can be had in any order, one at a time; safe to use from several threads.

    Attributes:
        fps: Frames per second.
        size: Width and height, pixels.
        count: Frames in it.

    Raises:
        CameraError: the file is missing, or OpenCV cannot read a frame of it.
    """

    is_live = False

    def __init__(self, path: Path) -> None:
        import cv2

        if not path.is_file():
            raise CameraError(f"there is no file {path}")
        self.name = path.name
        self._path = path
        self._lock = threading.Lock()
        self._capture: Any = cv2.VideoCapture(str(path))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if self.count == 0:
            # Some formats do not say.
            while self._capture.grab():
                self.count += 1
            self._capture.open(str(path))
        self._next = 0
        self._index, self._image = -1, None
        if not self.count or self.picture(0) is None:
            self._capture.release()
            raise CameraError(f"{path} is damaged or no video: OpenCV cannot read it")
        height, width = self.picture(0).shape[:2]
        self.size = (int(width), int(height))

    def picture(self, index: int) -> Any:
        """A frame, BGR. Where the file is damaged, the last one that could be read before it."""
        with self._lock:
            if index != self._index:
                self._seek(index)
                while self._next <= index:
                    readable, image = self._capture.read()
                    if not readable:
                        break
                    self._index, self._image = self._next, image
                    self._next += 1
            return self._image

    def _seek(self, index: int) -> None:
        import cv2

        if self._next <= index <= self._next + NEAR:
            return
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        self._next = int(self._capture.get(cv2.CAP_PROP_POS_FRAMES))
        if self._next != index:
            # A format without an index: from the start.
            self._capture.open(str(self._path))
            self._next = 0
            while self._next < index and self._capture.grab():
                self._next += 1

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()


class Window:
    """A live camera: every frame asked for is its newest. The attributes are those of ``Film``.

    Raises:
        CameraError: no picture came in time.
    """

    is_live = True
    count = 1

    def __init__(self, address: str, *, rate: float = 10.0, wait_s: float = 15.0) -> None:
        from producers.cameras.sources import Live, open_source

        source = open_source(address, rate=rate)
        if not isinstance(source, Live):
            raise CameraError(f"{address} is neither a clip nor a live camera")
        self.name, self.fps, self._source = source.name, rate, source.__enter__()
        source.fresh.wait(wait_s)
        self._image: Any = None
        if self.picture(0) is None:
            self.close()
            raise CameraError(f"no picture came from {self.name}: {source.counts().problem}")
        height, width = self.picture(0).shape[:2]
        self.size = (int(width), int(height))

    def picture(self, _index: int) -> Any:
        """The newest frame, BGR."""
        if (frame := self._source.take()) is not None:
            self._image = frame.image
        return self._image

    def close(self) -> None:
        """Stop reading."""
        self._source.__exit__()


def jpeg(image: Any) -> bytes:
    """A picture for the browser."""
    import cv2

    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())


def colour_at(image: Any, x: float, y: float, radius: int = 3) -> str:
    """The colour around a pixel as ``#rrggbb``: the median, which neither noise nor a button changes."""
    import numpy as np

    x, y = int(x), int(y)
    patch = image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
    blue, green, red = (int(value) for value in np.median(patch.reshape(-1, 3), axis=0))
    return f"#{red:02x}{green:02x}{blue:02x}"
