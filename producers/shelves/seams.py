"""Where the boards of two bays meet: an edge across every price strip, at one place of each. Seen in the photo's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from producers.shelves.rows import Array, Frame

# Longer side of what is looked at: a joint is then some pixels wide, and a camera's noise averaged away.
SIDE = 1200
SAMPLES = 9


class Seams:
    """How strongly the photo changes across a line.

    Args:
        pixels: The photo, BGR.
        frame: The level frame, in which lines are given.
    """

    def __init__(self, pixels: Any, frame: Frame) -> None:
        import cv2

        self._frame = frame
        self._scale = min(1.0, SIDE / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_AREA)
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (0, 0), 1).astype(np.float32)
        self._across: Any = cv2.Sobel(grey, cv2.CV_32F, 1, 0)

    def __call__(self, upper: Array, lower: Array) -> Array:
        """Change of brightness across lines, averaged along each so that only what runs along it counts.

        Args:
            upper, lower: The lines' ends, level frame (... x 2).
        """
        at = np.linspace(0.1, 0.9, SAMPLES)[:, None]
        points = upper.reshape(-1, 2)[None] * (1 - at[..., None]) + lower.reshape(-1, 2)[None] * at[..., None]
        pixels = np.round(self._frame.restore(points.reshape(-1, 2)) * self._scale).astype(int)
        height, width = self._across.shape
        found = self._across[np.clip(pixels[:, 1], 0, height - 1), np.clip(pixels[:, 0], 0, width - 1)]
        mean = np.abs(found.reshape(SAMPLES, -1).mean(axis=0))
        return np.asarray(mean, float).reshape(upper.shape[:-1])
