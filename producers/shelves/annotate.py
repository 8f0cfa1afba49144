"""A scan drawn over its photo: rows, products, empty places. What is no product is made coarse: somebody may stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from producers.shelves import ShelfError
from schemas.events import ShelfScan

# The photo's longer side becomes so many squares: one standing before a shelf of two metres has a face of some 6 of them, and 16 are
# needed to tell it from another's (Bachmann 1991).
SQUARES = 64
# BGR; rows take turns.
ROWS = ((181, 214, 69), (255, 185, 116), (63, 191, 255), (255, 155, 199))
GAP, INK, PAPER = (60, 60, 235), (18, 13, 9), (250, 247, 244)
LONGEST = 2048


def annotate(pixels: Any, scan: ShelfScan) -> Any:
    """The photo (BGR) with the scan drawn over it; at most ``LONGEST`` pixels long."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    squares = max(1, round(SQUARES * width / max(width, height))), max(1, round(SQUARES * height / max(width, height)))
    image = cv2.resize(
        cv2.resize(small, squares, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST
    )
    pen = max(1, round(max(height, width) / 700))
    font = max(0.35, max(height, width) / 2400)
    for product in scan.products:
        left, top, right, bottom = _pixels(product.box, scale)
        image[top:bottom, left:right] = small[top:bottom, left:right]
    for number, row in enumerate(scan.rows):
        colour = ROWS[number % len(ROWS)]
        cv2.polylines(image, [np.round(np.array(row.outline) * scale).astype(int)], True, colour, pen, cv2.LINE_AA)
    for product in scan.products:
        left, top, right, bottom = _pixels(product.box, scale)
        colour = ROWS[product.row % len(ROWS)] if product.row is not None else PAPER
        cv2.rectangle(image, (left, top), (right, bottom), colour, pen, cv2.LINE_AA)
        if product.sku is not None:
            _write(image, product.sku, left, bottom, font, colour)
    for gap in scan.empty:
        for number, place in enumerate(gap.places):
            left, top, right, bottom = _pixels(place, scale)
            part = image[top:bottom, left:right]
            part[:] = (0.7 * part + 0.3 * np.array(GAP)).astype(np.uint8)
            cv2.rectangle(image, (left, top), (right, bottom), GAP, 2 * pen, cv2.LINE_AA)
            sku = gap.skus[number] if number < len(gap.skus) else None
            _write(image, sku or "empty", left, bottom, font, GAP)
    return image


def encode_annotated(pixels: Any, scan: ShelfScan) -> bytes:
    """A scan drawn over its photo as a JPEG, which carries nothing of the photo's own metadata."""
    import cv2

    done, content = cv2.imencode(".jpg", annotate(pixels, scan), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done  # OpenCV encodes whatever it has drawn on
    return bytes(content.tobytes())


def write_annotated(path: Path, pixels: Any, scan: ShelfScan) -> None:
    """Draw a scan into a JPEG file.

    Raises:
        ShelfError: it cannot be written.
    """
    content = encode_annotated(pixels, scan)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ShelfError(f"the annotated picture {path} cannot be written: {error.strerror}") from error


def _pixels(box: list[float], scale: float) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(value * scale) for value in box)
    return left, top, right, bottom


def _write(image: Any, text: str, left: int, bottom: int, font: float, colour: tuple[int, int, int]) -> None:
    """A label at a box's lower left corner."""
    import cv2

    # The font knows ASCII only.
    text = text.encode("ascii", "replace").decode()[:24]
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font, 1)
    cv2.rectangle(image, (left, bottom - height - 4), (left + width + 2, bottom), colour, -1)
    cv2.putText(image, text, (left + 1, bottom - 3), cv2.FONT_HERSHEY_SIMPLEX, font, INK, 1, cv2.LINE_AA)
