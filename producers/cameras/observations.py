"""What a camera knows of the people in one frame: boxes with their tracks, and what of their clothes can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from producers.cameras.appearance import (
    EDGE,
    HIDDEN,
    LOWER,
    MIN_HEIGHT,
    UPPER,
    Box,
    Describe,
    Descriptor,
    Floats,
    Image,
    Light,
    clothes,
    hidden,
    part,
    shades_of,
    to_lab,
    uniform_share,
)


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


class Observer:
    """One camera's eye for clothes, over its frames.

    Args:
        uniform: The store's uniform colours, ``#rrggbb``.
        describe: A re-identification model (``appearance.model``) in place of the clothes' colours.
    """

    def __init__(self, uniform: Sequence[str] = (), describe: Describe | None = None) -> None:
        self._uniform = shades_of(uniform)
        self._describe = describe
        self._light = Light()

    def see(self, image: Image, people: Any) -> list[Observation]:
        """The people of a frame, ``supervision.Detections`` with confirmed tracker ids, as observations."""
        light = self._light.see(image)
        if not len(people):
            return []
        height, width = image.shape[:2]
        x0, y0, x1, y1 = people.xyxy.T
        # A detector's boxes end a little before the frame does.
        edge = 2 + EDGE * (y1 - y0)
        good = (y1 - y0 >= MIN_HEIGHT) & (x0 > edge) & (y0 > edge) & (x1 < width - edge) & (y1 < height - edge)
        good &= hidden(people.xyxy) <= HIDDEN
        observations = []
        for box, track, confidence, tells in zip(
            people.xyxy.tolist(), people.tracker_id.tolist(), people.confidence.tolist(), good, strict=True
        ):
            appearance, uniform = self._clothes(image, box, light) if tells else (None, None)
            observations.append(Observation(track, tuple(box), confidence, appearance, uniform))
        return observations

    def _clothes(self, image: Image, box: Box, light: Floats) -> tuple[Descriptor, float | None]:
        upper = part(image, box, UPPER)
        if self._describe is not None and not len(self._uniform):
            return self._describe(image, box), None
        # Both parts at once: small arrays cost by the call.
        both = to_lab(np.concatenate([upper, part(image, box, LOWER)]) * light)
        chest, legs = both[: len(upper)], both[len(upper) :]
        uniform = uniform_share(chest, self._uniform) if len(self._uniform) else None
        return (clothes(chest, legs) if self._describe is None else self._describe(image, box)), uniform
