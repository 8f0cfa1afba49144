"""Products in a photo: what the detector finds in it, whole and in parts, each once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from producers.shelves.rows import Array

if TYPE_CHECKING:
    from producers.cameras.people import Detector

# From here on a box is a product. Fainter ones only make a gap there less sure.
SURE = 0.35
# Two boxes of which one lies so far within the other are one product, and its better box.
WITHIN = 0.7
# Parts of a photo overlap by this share of their side, more than a product is wide.
OVERLAP = 0.2


def find_products(pixels: Any, detector: Detector, *, tiles: int = 1) -> tuple[Array, Array]:
    """Boxes (left, top, right, bottom; n x 4) and their confidences, from faint to sure, each product once.

    Args:
        pixels: The photo, BGR.
        tiles: Look at so many by so many parts besides the whole: shows small products larger.
    """
    height, width = pixels.shape[:2]
    looks = [_look(detector, pixels)]
    if tiles > 1:
        looks += [_part(detector, pixels, part) for part in tile(width, height, tiles)]
    boxes, sure = np.vstack([found for found, _ in looks]), np.concatenate([one for _, one in looks])
    of_part = np.repeat([float(number > 0) for number in range(len(looks))], [len(one) for _, one in looks])
    # What the whole shows surely goes before parts, which cut large products to pieces; then what they show, then the faint.
    kept = each_once(boxes, np.where(sure >= SURE, 2 - of_part, 0) + sure)
    return boxes[kept], sure[kept]


def _look(detector: Detector, pixels: Any) -> tuple[Array, Array]:
    found = detector.detect(pixels)
    boxes, sure = np.asarray(found.xyxy, float).reshape(-1, 4), np.asarray(found.confidence, float).reshape(-1)
    # What lies in the grey that fills the picture up to the network's shape has no size in it.
    there = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=math.inf) >= 2
    return boxes[there], sure[there]


def _part(detector: Detector, pixels: Any, part: tuple[int, int, int, int]) -> tuple[Array, Array]:
    """What one part shows, but for what its inner sides cut."""
    left, top, right, bottom = part
    height, width = pixels.shape[:2]
    boxes, sure = _look(detector, pixels[top:bottom, left:right])
    boxes = boxes + np.array([left, top, left, top])
    near = 0.01 * max(right - left, bottom - top)
    cut = (
        ((boxes[:, 0] < left + near) & (left > 0))
        | ((boxes[:, 1] < top + near) & (top > 0))
        | ((boxes[:, 2] > right - near) & (right < width))
        | ((boxes[:, 3] > bottom - near) & (bottom < height))
    )
    return boxes[~cut], sure[~cut]


def tile(width: int, height: int, count: int) -> list[tuple[int, int, int, int]]:
    """Parts (left, top, right, bottom) that cover a photo, ``count`` each way, overlapping by ``OVERLAP`` of their side."""
    share = 1 / (count - (count - 1) * OVERLAP)
    across, along = round(width * share), round(height * share)
    lefts = [round(k * (width - across) / (count - 1)) for k in range(count)]
    tops = [round(k * (height - along) / (count - 1)) for k in range(count)]
    return [(left, top, left + across, top + along) for top in tops for left in lefts]


def each_once(boxes: Array, rank: Array) -> Array:
    """Indices of boxes that do not lie within one of higher rank, nor hold one, in falling rank."""
    order = np.argsort(-rank, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for one in order.tolist():
        others = boxes[kept]
        shared = np.clip(np.minimum(others[:, 2:], boxes[one, 2:]) - np.maximum(others[:, :2], boxes[one, :2]), 0, None)
        if not (shared.prod(axis=1) > WITHIN * np.minimum(area[kept], area[one])).any():
            kept.append(one)
    return np.array(kept, int)
