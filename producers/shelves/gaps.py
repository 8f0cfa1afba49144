"""Where products are missing in shelf rows: pure geometry in the level frame.

A place is empty where a row's own products do not explain the space: with usual spacing s and product width w, one missing
product leaves w + 2 s. So a space holds a gap when it is wider than two usual spacings by most of the narrower neighbour, and as
many places as that product fits into it. At the ends the row is compared with how far its bay goes, and an empty row shows as a space in
which a whole shelf fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from producers.shelves.rows import LEAST, Array, Row, Shelf

# So much of a product must be missing from the space for one to have stood there: boxes are some 10 % inexact on each side.
FIT = 0.8
# A product that takes up more than this of a place's height stands in it; less is how boxes of two boards overlap.
INTRUDES = 0.3
# The usual space of a row is the quartile of its spaces: three in four of them may be gaps.
USUAL = 0.25
Kind = Literal["BETWEEN", "END", "ROW"]


@dataclass(frozen=True)
class Gap:
    """Empty space in a row.

    Attributes:
        row: Index of its row in ``Shelf.rows``.
        kind: BETWEEN two products, at an END of the row, or the whole ROW.
        left, right, top, base: Its space, level frame.
        places: How many products are missing.
        fit: Width that the usual spacing does not explain, in products, at most 1.
    """

    row: int
    kind: Kind
    left: float
    right: float
    top: float
    base: float
    places: int
    fit: float

    def parts(self) -> list[tuple[float, float]]:
        """Left and right end of every place."""
        edges = np.linspace(self.left, self.right, self.places + 1)
        return [(float(left), float(right)) for left, right in pairwise(edges)]


def columns(boxes: Array, members: Sequence[int]) -> list[list[int]]:
    """A row's facings from left to right: products that share most of their width stand on, or behind, each other."""
    found: list[tuple[float, float, list[int]]] = []
    for box in sorted(members, key=lambda one: -boxes[one, 3]):
        left, right = boxes[box, 0], boxes[box, 2]
        for first, last, column in found:
            if min(right, last) - max(left, first) > 0.5 * min(right - left, last - first):
                column.append(box)
                break
        else:
            found.append((left, right, [box]))
    return [column for _, _, column in sorted(found, key=lambda one: one[0] + one[1])]


def find_gaps(shelf: Shelf) -> list[Gap]:
    """All gaps of a shelf."""
    margins = _margins(shelf)
    return [gap for number, row in enumerate(shelf.rows) for gap in _gaps(shelf, number, row, margins)]


def _gaps(shelf: Shelf, number: int, row: Row, margins: dict[tuple[int, int], float]) -> list[Gap]:
    if not row.members:
        return _whole(shelf, number, row)
    if len(row.members) < LEAST:
        return []
    own = facings(shelf.boxes, row.members)
    widths = own[:, 2] - own[:, 0]
    reached = np.maximum.accumulate(own[:, 2])
    spaces = np.maximum(0.0, own[1:, 0] - reached[:-1])
    usual = float(np.quantile(spaces, USUAL)) if len(spaces) else 0.0
    found = []
    for after in range(len(spaces)):
        width = float(min(widths[after], widths[after + 1]))
        top = float(min(own[after, 1], own[after + 1, 1]))
        for left, right in _clear(shelf, row, reached[after], own[after + 1, 0], top):
            if right - left - 2 * usual >= FIT * width:
                found.append(_gap(number, "BETWEEN", left, right, top, row.base, width, usual))
    for side in (0, 1):
        edge = own[0] if side == 0 else own[-1]
        width = float(edge[2] - edge[0])
        margin = margins.get((row.bay, side), 0.0)
        first, last = (row.ends[0] + margin, edge[0]) if side == 0 else (edge[2], row.ends[1] - margin)
        for left, right in _clear(shelf, row, first, last, edge[1]):
            # Only what touches the row: beyond a product of another row is another bay.
            touches = right >= last if side == 0 else left <= first
            if touches and right - left - usual >= FIT * width:
                found.append(_gap(number, "END", left, right, float(edge[1]), row.base, width, usual))
    return sorted(found, key=lambda gap: gap.left)


def facings(boxes: Array, members: Sequence[int]) -> Array:
    """One box for each facing of a row: what stands on the board, with what is stacked on it."""
    made = []
    for column in columns(boxes, members):
        foot = boxes[max(column, key=lambda one: boxes[one, 3])]
        made.append([foot[0], boxes[column, 1].min(), foot[2], foot[3]])
    return np.array(made).reshape(-1, 4)


def _gap(
    number: int, kind: Kind, left: float, right: float, top: float, base: float, width: float, usual: float
) -> Gap:
    ends = 2 if kind == "BETWEEN" else 1
    free = right - left - ends * usual
    places = max(1, round((free + usual) / (width + usual)))
    return Gap(number, kind, left, right, top, base, places, min(1.0, free / width))


def _margins(shelf: Shelf) -> dict[tuple[int, int], float]:
    """How far from its end a bay's rows usually begin, by bay and side."""
    found = {}
    for bay in {row.bay for row in shelf.rows}:
        rows = [row for row in shelf.rows if row.bay == bay and len(row.members) >= LEAST]
        for side in (0, 1):
            spaces = [row.left - row.ends[0] if side == 0 else row.ends[1] - row.right for row in rows]
            # Half of the rows or more do not end in a gap.
            found[bay, side] = max(0.0, float(np.median(spaces))) if spaces else 0.0
    return found


def _whole(shelf: Shelf, number: int, row: Row) -> list[Gap]:
    """An empty row: as many places as products of the rows beside it fit in."""
    near = [
        shelf.boxes[box, 2] - shelf.boxes[box, 0]
        for other in shelf.rows
        if other.bay == row.bay
        for box in other.members
    ]
    if not near:
        return []
    places = max(1, round((row.ends[1] - row.ends[0]) / float(np.median(near))))
    return [Gap(number, "ROW", row.ends[0], row.ends[1], row.top, row.base, places, 1.0)]


def _clear(shelf: Shelf, row: Row, first: float, last: float, top: float) -> list[tuple[float, float]]:
    """The parts of a space in which no product of any row stands: a border of bays may have gone unseen."""
    boxes = np.delete(shelf.boxes, row.members, axis=0)
    shared = np.minimum(boxes[:, 3], row.base) - np.maximum(boxes[:, 1], top)
    beside = shared > INTRUDES * (row.base - top)
    there = boxes[beside & (boxes[:, 2] > first) & (boxes[:, 0] < last)]
    clear, reached = [], float(first)
    for left, _, right, _ in sorted(there.tolist()):
        if left > reached:
            clear.append((reached, left))
        reached = max(reached, right)
    if reached < last:
        clear.append((reached, float(last)))
    return clear
