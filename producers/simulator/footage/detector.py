"""A person detector that errs as real ones do: boxes shake, hidden people are missed, ghosts flash up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from producers.simulator.footage.pictures import Seen
from producers.simulator.footage.plan import Floats

SHAKE = 0.012
"""How far each edge of a box is off, as a share of the box's height (standard deviation), on top of half a pixel."""
GHOSTS = 0.004
"""Frames with a box where nobody is."""
SMALLEST_PX = 24
"""Lower people are not found."""
SAME = 0.7
"""Of two boxes that overlap more (intersection over union) only the surer remains, as a detector's non-maximum suppression
leaves it."""


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of each box of ``a`` (N x 4) with each of ``b`` (M x 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    result: Floats = shared / np.maximum(sizes[0][:, None] + sizes[1][None, :] - shared, 1e-9)
    return result


class Detector:
    """Boxes of one camera's people, frame by frame.

    Args:
        seed: of its errors; each camera needs one of its own.
        width, height: of the frame, pixels.
    """

    def __init__(self, seed: Sequence[int], width: int, height: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._size = width, height

    def see(self, seen: Sequence[Seen]) -> tuple[Floats, Floats]:
        """Boxes (N x 4) and their confidences (N)."""
        rng, found = self._rng, []
        width, height = self._size
        for person in seen:
            tall = person.box[3] - person.box[1]
            # Always the same number of draws a person, so that one person less does not change everybody's errors.
            shake, luck, mood = rng.normal(0, 0.5 + SHAKE * tall, 4), rng.random(), rng.normal(0, 0.035)
            missed = 0.01 + 0.9 * (1 - person.visible) ** 3
            if tall < SMALLEST_PX or luck < missed or person.visible < 0.1:
                continue
            sure = 0.92 * min(1.0, 0.55 + tall / 160) * (0.3 + 0.7 * person.visible**0.6) + mood
            box = np.clip(np.array(person.box) + shake, 0, (width, height) * 2)
            if (box[2:] - box[:2] > 2).all():
                found.append((*box.tolist(), float(np.clip(sure, 0.05, 0.98))))
        flash, x, y, tall, sure = rng.random(5)
        if flash < GHOSTS:
            tall, x = 40 + 80 * tall, x * (width - 40)
            y = y * (height - tall)
            found.append((x, y, x + 0.4 * tall, y + tall, 0.1 + 0.5 * sure))
        boxes = np.array(sorted(found, key=lambda row: -row[4])).reshape(-1, 5)
        kept: list[int] = []
        shared = overlap(boxes[:, :4], boxes[:, :4])
        for i in range(len(boxes)):
            if not any(shared[i, j] > SAME for j in kept):
                kept.append(i)
        return boxes[kept, :4], boxes[kept, 4]
