"""From products' boxes to shelf rows: pure geometry.

A shelf is flat and its boards are parallel, so in a photo from anywhere their edges run through one vanishing point, and its
uprights through another. The first is found from neighbouring products, and a homography takes it to infinity: in that frame every
board is level, however the camera was held (Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 2.7). There
products whose bases are level are a tier, tiers that touch are a stack on one board, and a line across the boards that
cuts hardly any product, more often than chance would have it, is the border of two bays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Seams = Callable[[Array, Array], Array]
"""Change of the photo across lines, from their upper to their lower ends (... x 2, level frame)."""

# Products of one tier stand on one board: their bases differ by how deep they stand and how well boxes fit. Less than the part
# of a product's height by which the next board is away, for that one has the product's whole height over it.
LEVEL = 0.25
# A product on top of another touches it. Between it and the product on the next board are that board and its price strip: some 5 cm
# beside packages of 10 to 30.
TOUCH = 0.15
# Nobody holds a camera so far from level (radians): boards that seem so steep are too few products in disorder.
STEEPEST = math.radians(35)
# A line that cuts a product by less than this share of its width runs beside it: boxes are that exact.
CUT = 0.15
# A border of bays is free of products in so many rows: some boxes are wrong, some goods hang over.
CLEAN = 0.9
# Goods are laid out in blocks, one product over two boards or more: so many rows tell what one would alone.
BLOCK = 2
# A line is a border when it is so much likelier to be one: a false one cuts every row of the photo, a missed one leaves them long.
SURER = 100.0
# Narrowest bay, in products of middling width: 60 cm of packages of 10.
BAY = 6
# Uprights lean by this share of their distance from the middle over the photo's longer side: a camera pitched by 25 degrees, tan 25 over
# a focal length of 0.8 such sides.
LEAN = 0.6
# Lines that are tried: so many places at mid-height, by so many pencils.
PLACES, PENCILS = 600, 41
# A usual shelf is as high as the median distance of boards. So much of that must be free over the products below.
EMPTY = 0.9
# Rows of one product tell nothing about a shelf.
LEAST = 2


@dataclass(frozen=True)
class Frame:
    """The level frame: ``rectify`` takes points of the photo into it, ``restore`` back."""

    matrix: Array
    inverse: Array

    def rectify(self, points: Array) -> Array:
        """Points (n x 2) of the photo, in the level frame."""
        return _apply(self.matrix, points)

    def restore(self, points: Array) -> Array:
        """Points (n x 2) of the level frame, in the photo."""
        return _apply(self.inverse, points)


def _apply(matrix: Array, points: Array) -> Array:
    points = np.asarray(points, float).reshape(-1, 2)
    out = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(out[:, :2] / out[:, 2:])


@dataclass
class Row:
    """The products on one board of one bay; all places are of the level frame.

    Attributes:
        members: Indices of the boxes, from left to right; none in an empty row.
        left, right: Where its products begin and end.
        base, top: Of its products: where most stand, and the highest top.
        bay: Number of its bay from the left, 0 first.
        ends: Where its bay begins and ends.
        floor, ceiling: Lower edges of its board and of the one above.
    """

    members: list[int]
    left: float
    right: float
    base: float
    top: float
    bay: int = 0
    ends: tuple[float, float] = (0.0, 0.0)
    floor: float = 0.0
    ceiling: float = 0.0

    def corners(self) -> Array:
        """Its space: four corners from the upper left, clockwise, level frame."""
        (left, right), top, bottom = self.ends, self.ceiling, self.floor
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


@dataclass
class Shelf:
    """What a photo's products form.

    Attributes:
        frame: The level frame.
        boxes: Left, top, right and base of each product in it.
        rows: Bay by bay from the left, each from top to bottom.
        borders: Lines x = p + s * y between bays, level frame, as (p, s).
    """

    frame: Frame
    boxes: Array
    rows: list[Row]
    borders: list[tuple[float, float]] = field(default_factory=list)

    def level(self, found: Array) -> Array:
        """Boxes of the photo in the level frame."""
        return _levelled(found, self.frame)


def level_frame(boxes: Array, size: tuple[int, int]) -> Frame:
    """The frame in which boards are level.

    Every product and its right neighbour give a line through the middles of their bases. The point V nearest to all of those
    lines, in the sense of least squares with weights that fall for lines which miss it (Cauchy), is the boards' vanishing point.

    Args:
        boxes: Left, top, right, bottom of each product, pixels of the photo (n x 4).
        size: Width and height of the photo, pixels.
    """
    width, height = size
    scale = max(width, height) / 2
    # Hartley's normalisation: pixels would drown the third coordinate.
    normal = np.array([[1 / scale, 0, -width / 2 / scale], [0, 1 / scale, -height / 2 / scale], [0, 0, 1]])
    lines = []
    shifted = (boxes - np.tile([width / 2, height / 2], 2)) / scale
    for one, other in neighbours(shifted):
        a, b = (np.array([(shifted[k, 0] + shifted[k, 2]) / 2, shifted[k, 3], 1.0]) for k in (one, other))
        line = np.cross(a, b)
        lines.append(line / np.hypot(line[0], line[1]))
    vanishing = np.array([1.0, 0.0, 0.0])
    if len(lines) >= 4:
        vanishing = _meeting(np.array(lines))
    angle = math.atan2(vanishing[1], vanishing[0])
    if math.cos(angle) < 0:
        vanishing, angle = -vanishing, angle - math.copysign(math.pi, angle)
    turn = np.array([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    far = math.hypot(vanishing[0], vanishing[1])
    # The vanishing point of a board that is seen at all lies outside of the photo; half of its width away is very oblique.
    k = float(np.clip(vanishing[2] / far, -0.6, 0.6)) if far > 0 else 0.0
    if abs(angle) > STEEPEST:
        angle = k = 0.0
    level = np.array([[1, 0, 0], [0, 1, 0], [-k, 0, 1.0]])
    matrix = np.linalg.inv(normal) @ level @ turn @ normal
    return Frame(matrix, np.linalg.inv(matrix))


def _meeting(lines: Array) -> Array:
    """The homogeneous point that lines run through, by reweighted least squares from their middling slope on."""
    angle = math.atan(float(np.median(-lines[:, 0] / np.where(np.abs(lines[:, 1]) < 1e-9, 1e-9, lines[:, 1]))))
    point = np.array([math.cos(angle), math.sin(angle), 0.0])
    spread = 0.1
    for _ in range(25):
        # Sine of the angle between each line and the way from its foot to the point.
        miss = lines @ point
        weight = 1 / (1 + (miss / spread) ** 2)
        # A line's third coordinate holds its place; a weak prior keeps the point at infinity where lines do not tell.
        moment = (lines * weight[:, None]).T @ lines + np.diag([0, 0, 1e-3 * weight.sum()])
        _, vectors = np.linalg.eigh(moment)
        new = vectors[:, 0]
        if new @ point < 0:
            new = -new
        done = np.abs(new - point).max() < 1e-9
        point = new
        spread = max(0.01, 1.5 * float(np.median(np.abs(lines @ point))))
        if done:
            break
    return point


def neighbours(boxes: Array) -> list[tuple[int, int]]:
    """Each product with the next to its right at about its height: they share half of the lower one's height."""
    pairs = []
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    heights = boxes[:, 3] - boxes[:, 1]
    for one in range(len(boxes)):
        shared = np.minimum(boxes[one, 3], boxes[:, 3]) - np.maximum(boxes[one, 1], boxes[:, 1])
        right = np.flatnonzero(
            (middle > middle[one]) & (shared > 0.5 * np.minimum(heights, heights[one])) & (boxes[:, 0] > middle[one])
        )
        if len(right):
            pairs.append((one, int(right[np.argmin(boxes[right, 0])])))
    return pairs


def find_rows(found: Array, size: tuple[int, int], seams: Callable[[Frame], Seams] | None = None) -> Shelf:
    """The rows of a photo.

    Args:
        found: Left, top, right, bottom of each product, pixels of the photo (n x 4).
        size: Width and height of the photo, pixels.
        seams: What the photo's own pixels say about borders of bays, made for a frame; without it products alone tell.
    """
    frame = level_frame(found, size)
    boxes = _levelled(found, frame)
    rows = _stacked(boxes, _tiers(boxes))
    corners = frame.rectify(np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]]))
    edges = (Edge(corners[0], corners[3]), Edge(corners[1], corners[2]))
    shelf = Shelf(frame, boxes, [_row(boxes, members) for members in rows])
    shelf.borders = _borders(shelf, edges, seams(frame) if seams is not None else None)
    shelf.rows = _bays(shelf)
    shelf.rows = _spaces(shelf.rows)
    return shelf


def _bays(shelf: Shelf) -> list[Row]:
    """Rows cut at the borders of bays, each as long as its bay."""
    boxes = shelf.boxes
    made: list[Row] = []
    for row in shelf.rows:
        y = (row.base + row.top) / 2
        middle = (boxes[row.members, 0] + boxes[row.members, 2]) / 2
        bay = sum((middle > p + s * y).astype(int) for p, s in shelf.borders) + np.zeros(len(row.members), int)
        for number in sorted(set(bay.tolist())):
            part = _row(boxes, [box for box, at in zip(row.members, bay, strict=True) if at == number])
            part.bay = number
            made.append(part)
    for number in range(len(shelf.borders) + 1):
        rows = [row for row in made if row.bay == number]
        if not rows:
            continue
        for side in (0, 1):
            border = number - 1 + side
            between = 0 <= border < len(shelf.borders)
            p, s = shelf.borders[border] if between else _outermost(rows, side)
            for row in rows:
                end = p + s * (row.base + row.top) / 2
                if not between:
                    end = min(end, row.left) if side == 0 else max(end, row.right)
                row.ends = (end, row.ends[1]) if side == 0 else (row.ends[0], end)
    # A border may have nothing on one side.
    numbers = {bay: number for number, bay in enumerate(sorted({row.bay for row in made}))}
    for row in made:
        row.bay = numbers[row.bay]
    return sorted(made, key=lambda row: (row.bay, row.base))


def _outermost(rows: Sequence[Row], side: int) -> tuple[float, float]:
    """The line (p, s) at which a bay ends where no other begins: an edge of the convex hull of its rows' ends, at middle height.

    No row goes beyond it, and two reach it.
    """
    sign = 1 if side else -1
    known = [row for row in rows if len(row.members) >= LEAST] or rows
    ends = sorted(((row.base + row.top) / 2, sign * (row.right if side else row.left)) for row in known)
    hull: list[tuple[float, float]] = []
    for y, x in ends:
        while len(hull) >= 2 and (hull[-1][0] - hull[-2][0]) * (x - hull[-2][1]) >= (hull[-1][1] - hull[-2][1]) * (
            y - hull[-2][0]
        ):
            hull.pop()
        hull.append((y, x))
    middle = ends[len(ends) // 2][0]
    for (y, x), (lower, other) in pairwise(hull):
        if y <= middle <= lower and abs(other - x) <= LEAN * (lower - y) > 0:
            slope = (other - x) / (lower - y)
            return sign * (x - slope * y), sign * slope
    return sign * max(x for _, x in ends), 0.0


def _spaces(rows: list[Row]) -> list[Row]:
    """Rows with floor and ceiling, the lower edges of their own board and of the one above; and the empty rows between them."""
    made = [row for row in rows if len(row.members) < LEAST]
    for row in made:
        row.floor, row.ceiling = row.base, row.top
    for bay in sorted({row.bay for row in rows}):
        own = [row for row in rows if row.bay == bay and len(row.members) >= LEAST]
        own = _with_empty(own)
        boards = []
        for upper, lower in pairwise(own):
            # Between base and tops below lie board and headroom; where one ends and the other begins boxes do not tell.
            space = max(0.0, lower.top - upper.base) / 2
            upper.floor = lower.ceiling = upper.base + space
            boards.append(space)
        board = float(np.median(boards)) if boards else 0.0
        for row in own[:1]:
            row.ceiling = row.top - board
        for row in own[-1:]:
            row.floor = row.base + board
        made += own
    return sorted(made, key=lambda row: (row.bay, row.base))


def _with_empty(rows: list[Row]) -> list[Row]:
    """A bay's rows with those that hold nothing: over the products of a board there is space for a whole usual shelf."""
    if len(rows) < 3:
        return rows
    pitch = float(np.median(np.diff([row.base for row in rows])))
    made = rows[:1]
    for upper, lower in pairwise(rows):
        fits = math.floor((lower.top - upper.base) / (EMPTY * pitch)) if pitch > 0 else 0
        for number in range(fits):
            share = (number + 1) / (fits + 1)
            base = upper.base + share * (lower.base - upper.base)
            left, right = (upper.ends[side] + share * (lower.ends[side] - upper.ends[side]) for side in (0, 1))
            top = base - min(row.base - row.top for row in rows)
            made.append(Row([], left, right, base, top, upper.bay, (left, right)))
        made.append(lower)
    return made


@dataclass(frozen=True)
class Edge:
    """A side of the photo, in the level frame."""

    upper: Array
    lower: Array

    def at(self, y: float) -> float:
        """Its x at a height."""
        rise = self.lower[1] - self.upper[1]
        return float(self.upper[0] + (self.lower[0] - self.upper[0]) * (y - self.upper[1]) / rise)


def _levelled(found: Array, frame: Frame) -> Array:
    """Boxes in the level frame, by the middles of their sides: corners of an upright box would tilt with the frame."""
    left, top, right, bottom = found.T
    across, along = (left + right) / 2, (top + bottom) / 2
    sides = [
        frame.rectify(np.column_stack(point))
        for point in ((left, along), (across, top), (right, along), (across, bottom))
    ]
    return np.column_stack([sides[0][:, 0], sides[1][:, 1], sides[2][:, 0], sides[3][:, 1]])


def _tiers(boxes: Array) -> list[list[int]]:
    """Products level with each other, chained from neighbour to neighbour."""
    chain = Union(len(boxes))
    heights = boxes[:, 3] - boxes[:, 1]
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    for one in range(len(boxes)):
        level = np.abs(boxes[:, 3] - boxes[one, 3]) <= LEVEL * np.minimum(heights, heights[one])
        right, left = np.flatnonzero(level & (middle > middle[one])), np.flatnonzero(level & (middle < middle[one]))
        if len(right):
            chain.join(one, int(right[np.argmin(middle[right])]))
        if len(left):
            chain.join(one, int(left[np.argmax(middle[left])]))
    return chain.groups()


def _stacked(boxes: Array, tiers: list[list[int]]) -> list[list[int]]:
    """Tiers joined with those that they stand on."""
    rows = Union(len(tiers))
    tier_of = {box: number for number, tier in enumerate(tiers) for box in tier}
    heights = boxes[:, 3] - boxes[:, 1]
    widths = boxes[:, 2] - boxes[:, 0]
    held: dict[tuple[int, int], list[bool]] = {}
    for one in range(len(boxes)):
        shared = np.minimum(boxes[:, 2], boxes[one, 2]) - np.maximum(boxes[:, 0], boxes[one, 0])
        below = np.flatnonzero(
            (shared > 0.5 * np.minimum(widths, widths[one]))
            & (boxes[:, 3] > boxes[one, 3] + LEVEL * np.minimum(heights, heights[one]))
        )
        if not len(below):
            continue
        under = int(below[np.argmin(boxes[below, 3])])
        if tier_of[under] != tier_of[one]:
            gap = boxes[under, 1] - boxes[one, 3]
            held.setdefault((tier_of[one], tier_of[under]), []).append(gap <= TOUCH * min(heights[one], heights[under]))
    for (upper, lower), touches in held.items():
        if sum(touches) > len(touches) / 2:
            rows.join(upper, lower)
    return [
        sorted((box for tier in group for box in tiers[tier]), key=lambda box: boxes[box, 0]) for group in rows.groups()
    ]


class Union:
    """Disjoint sets of 0 .. n-1."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, one: int) -> int:
        """The set that one belongs to."""
        while self._parent[one] != one:
            self._parent[one] = self._parent[self._parent[one]]
            one = self._parent[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        self._parent[self.find(one)] = self.find(other)

    def groups(self) -> list[list[int]]:
        """The sets, by their first members."""
        found: dict[int, list[int]] = {}
        for one in range(len(self._parent)):
            found.setdefault(self.find(one), []).append(one)
        return list(found.values())


def _row(boxes: Array, members: Sequence[int]) -> Row:
    own = boxes[list(members)]
    heights = own[:, 3] - own[:, 1]
    # The board is where the lowest tier stands.
    lowest = own[own[:, 3] > own[:, 3].max() - 0.5 * np.median(heights)]
    return Row(
        list(members),
        float(own[:, 0].min()),
        float(own[:, 2].max()),
        float(np.median(lowest[:, 3])),
        float(own[:, 1].min()),
    )


def free_spans(boxes: Array, members: Sequence[int]) -> Array:
    """The spaces between a row's products, widened by what a line may cut of them: left and right ends (n x 2)."""
    own = boxes[list(members)]
    cut = CUT * (own[:, 2] - own[:, 0])
    spans, reached = [], -math.inf
    for left, right in sorted(zip(own[:, 0] + cut, own[:, 2] - cut, strict=True)):
        if left > reached > -math.inf:
            spans.append((reached, left))
        reached = max(reached, right)
    return np.array(spans).reshape(-1, 2)


def _borders(shelf: Shelf, edges: tuple[Edge, Edge], seams: Seams | None) -> list[tuple[float, float]]:
    """Lines between bays.

    Uprights run through one vanishing point, so lines are looked for in pencils. In every row a line has two marks. Beside products
    it runs through a space between them, and one put anywhere runs through a space at least as wide with the probability that
    such spaces' share of the row is; a border does so unless boxes are wrong (``CLEAN``). Below them, on the board's edge, it
    has a seam: the share p of the row in which the photo changes more across the line is then small, with the density
    1 / (2 sqrt p) for a border and 1 for others. The marks' likelihood ratios multiply (Neyman and Pearson, 1933). About one
    line in as many as there are half products in the photo's width is a border; it is taken for one when it is ``SURER``
    times as likely to be as not.
    """
    boxes = shelf.boxes
    rows = [row for row in shelf.rows if len(row.members) >= LEAST]
    if len(rows) < 3:
        return []
    half = float(np.median(boxes[:, 2] - boxes[:, 0])) / 2
    lowest, highest = max(row.base for row in rows), min(row.top for row in rows)
    middle = (lowest + highest) / 2
    first, last = edges[0].at(middle), edges[1].at(middle)
    side = max(last - first, edges[0].lower[1] - edges[0].upper[1])
    places = np.linspace(first, last, PLACES)
    pencils = np.linspace(-LEAN, LEAN, PENCILS) / side
    leans = pencils[:, None] * (places[None, :] - (first + last) / 2)
    score = np.zeros(leans.shape)
    told = np.zeros(leans.shape)
    for row in rows:
        logs, known = _beside(row, boxes, edges, places + leans * ((row.base + row.top) / 2 - middle))
        score, told = score + logs / BLOCK, told + known
        if seams is not None:
            upper, lower = row.base, _next_top(row, rows)
            ends = [np.stack([places + leans * (y - middle), np.full(leans.shape, y)], axis=-1) for y in (upper, lower)]
            score = score + _along(_thick(seams(*ends)), ends[0][..., 0], row)
    score[told < 3] = -math.inf
    enough = math.log((last - first) / half) + math.log(SURER)
    best: list[tuple[float, float]] = []
    most = 0.0
    for number in range(len(pencils)):
        left = score[number] - enough
        found, total = [], 0.0
        while (value := float(left.max())) > 0:
            at = int(np.argmax(left))
            total += value
            found.append((float(places[at] - leans[number, at] * middle), float(leans[number, at])))
            left[np.abs(places - places[at]) < BAY * 2 * half] = -math.inf
        if total > most:
            most, best = total, sorted(found)
    return best


def _beside(row: Row, boxes: Array, edges: tuple[Edge, Edge], x: Array) -> tuple[Array, Array]:
    """Logarithms of the likelihood ratio that lines run between bays, by where they cross a row (x); and whether it tells."""
    y = (row.base + row.top) / 2
    own = float(np.median(boxes[row.members, 2] - boxes[row.members, 0]))
    length = row.right - row.left + own
    spans = free_spans(boxes, row.members)
    widths = spans[:, 1] - spans[:, 0]
    inside = (x > row.left) & (x < row.right)
    logs = np.where(inside, math.log((1 - CLEAN) / max(1e-3, 1 - widths.sum() / length)), 0.0)
    for (left, right), width in zip(spans, widths, strict=True):
        share = float(widths[widths >= width - 1e-9].sum()) / length
        logs[(x > left) & (x < right)] = math.log(CLEAN / share)
    for end, sign, edge in ((row.left, -1, edges[0]), (row.right, 1, edges[1])):
        # Where the photo ends a row, no bay does.
        if abs(edge.at(y) - end) >= own:
            beyond = sign * (x - end)
            here = (beyond > -CUT * own) & (beyond < own)
            logs[here] = np.maximum(logs[here], math.log(CLEAN * length / own))
            inside = inside | here
    return logs, inside.astype(float)


def _thick(strength: Array) -> Array:
    """The strongest of each line and its neighbours: an upright leans a little otherwise than its pencil."""
    wide = np.pad(strength, ((0, 0), (1, 1)), mode="edge")
    return np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])


def _along(strength: Array, x: Array, row: Row) -> Array:
    """Logarithms of the likelihood ratio that lines (at x) lie on a row's seam, by the change of the photo across them."""
    inside = (x > row.left) & (x < row.right)
    own = np.sort(strength[inside])
    if not len(own):
        return np.zeros(strength.shape)
    stronger = 1 - np.searchsorted(own, strength, side="left") / len(own)
    # No finer than lines differ.
    share = np.clip(stronger, 1 / PLACES, 1)
    return np.where(inside, -0.5 * np.log(share) - math.log(2), 0.0)


def _next_top(row: Row, rows: Sequence[Row]) -> float:
    """Where the products below a row begin; a quarter of its height below where there are none."""
    height = row.base - row.top
    below = [
        other.top
        for other in rows
        if other.base > row.base + LEVEL * height
        and min(other.right, row.right) - max(other.left, row.left) > 0.3 * (row.right - row.left)
    ]
    return max(min([*below, row.base + 0.25 * height]), row.base + 0.1 * height)
