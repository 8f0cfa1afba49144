"""Video files, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from producers.cameras import CameraError


class Clip:
    """A video file opened for reading; a context manager.

    Attributes:
        fps: Frames per second.
        width, height: Of a frame, pixels.
        declared: Frames that the file says it has; 0 when it does not say.

    Raises:
        CameraError: the file is missing, or OpenCV cannot read a frame of it.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        if not path.is_file():
            raise CameraError(f"there is no file {path}")
        self.path = path
        self._capture: Any = cv2.VideoCapture(str(path))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.declared = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not self._capture.isOpened() or not self.width or not self.height or not 0 < self.fps <= 1000:
            self._capture.release()
            raise CameraError(f"{path} is damaged or no video: OpenCV cannot read it")

    def frames(self, every: int = 1) -> Iterator[tuple[int, Any]]:
        """Each ``every``-th frame with its number from 0, as BGR.

        Raises:
            CameraError: the file ends more than a second before it says it does; what came until then is good.
        """
        index = 0
        while self._capture.grab():
            if index % every == 0:
                readable, frame = self._capture.retrieve()
                if not readable:
                    break
                yield index, frame
            index += 1
        if index == 0 or index + self.fps < self.declared:
            raise CameraError(
                f"{self.path} is damaged: it ends after {index} of {self.declared} frames; events up to there stand"
            )

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()
