"""Shelves to put before the rules: boxes in pixels, row by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
SIZE = (1000, 1000)


def boxes(*rows: tuple[float, list[tuple[float, float]]], height: float = 80) -> Array:
    """Boxes of rows given as (base, [(left, right), ...]), all so high."""
    return np.array([[left, base - height, right, base] for base, spans in rows for left, right in spans], float)


def full(left: float = 100, right: float = 900, width: float = 40, space: float = 4) -> list[tuple[float, float]]:
    """A row without gaps."""
    count = int((right - left + space) // (width + space))
    return [(left + k * (width + space), left + k * (width + space) + width) for k in range(count)]


def shelf(missing: dict[tuple[int, int], int] | None = None, rows: int = 4, pitch: float = 120) -> Array:
    """A bay of full rows, from which at (row, position) so many products are missing. Positions are 0 to 17."""
    made = []
    for row in range(rows):
        # Products of every row have another width, so that nothing lines up from board to board.
        spans = full(width=40 + 3 * row)
        gone = {k for (at, first), count in (missing or {}).items() if at == row for k in range(first, first + count)}
        made.append((200 + row * pitch, [span for k, span in enumerate(spans) if k not in gone]))
    return boxes(*made)
