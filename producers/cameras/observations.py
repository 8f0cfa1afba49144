"""What a camera knows of the people in one frame: boxes with their tracks, and what of their clothes can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Descriptor = npt.NDArray[np.float32]
"""A unit vector; two of them are as alike as their scalar product says, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One tracked person in one frame of one camera."""

    track_id: int
    """The number that this camera's tracker gave; never used again for somebody else."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels."""
    confidence: float
    """The detector's, 0 to 1."""
    appearance: Descriptor | None = None
    """The clothes; None where the person is too small, cut off or hidden to tell."""
    uniform: float | None = None
    """Share of the torso in the store's uniform colours, 0 to 1; None likewise."""


def observe(people: Any) -> list[Observation]:
    """The people of a frame, ``supervision.Detections`` with confirmed tracker ids, as observations."""
    return [
        Observation(int(track), (float(x0), float(y0), float(x1), float(y1)), float(confidence))
        for (x0, y0, x1, y1), track, confidence in zip(people.xyxy, people.tracker_id, people.confidence, strict=True)
    ]
