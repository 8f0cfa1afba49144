"""Plane geometry of hand-drawn polygons: their area, whether they cross themselves, how much two share.

A polygon is its corners in order, without the first repeated at the end. Coordinates are pixels or metres; areas are
their squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

Point = Sequence[float]
Polygon = Sequence[Point]
Edge = tuple[Point, Point]


def area(polygon: Polygon) -> float:
    """Area by the shoelace formula; 0 for fewer than three corners. Meaningful where the polygon is simple."""
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(polygon))) / 2


def is_simple(polygon: Polygon) -> bool:
    """Whether no two edges meet but neighbours in their common corner. A corner given twice in a row is one corner."""
    corners = [p for p, q in _edges(polygon) if tuple(p) != tuple(q)]
    edges = _edges(corners)
    for i, j in combinations(range(len(edges)), 2):
        (p, q), (r, s) = edges[i], edges[j]
        if j == i + 1 or (i == 0 and j == len(edges) - 1):
            # Neighbours may only fold back over each other.
            before, corner, after = (p, q, s) if j == i + 1 else (r, p, q)
            if _turn(before, corner, after) == 0 and _dot(corner, before, after) > 0:
                return False
        elif _meet(p, q, r, s):
            return False
    return True


def overlap(first: Polygon, second: Polygon) -> float:
    """Area that two polygons share, by the even-odd rule where one crosses itself.

    Exact: between two neighbouring heights of corners and crossings no edges cross, so the common width changes linearly
    and its value half-way is its mean.
    """
    if any(
        max(p[axis] for p in one) <= min(p[axis] for p in other)
        for one, other in ((first, second), (second, first))
        for axis in (0, 1)
    ):
        return 0.0
    edges = [*_edges(first), *_edges(second)]
    heights = {point[1] for point in (*first, *second)}
    heights.update(y for one, other in combinations(edges, 2) if (y := _crossing_height(one, other)) is not None)
    return sum(
        (high - low) * _common(_spans(first, (low + high) / 2), _spans(second, (low + high) / 2))
        for low, high in pairwise(sorted(heights))
    )


def contains(polygon: Polygon, x: float, y: float) -> bool:
    """Whether a point lies in a polygon (even-odd); on its border either may be said."""
    return any(left <= x <= right for left, right in _spans(polygon, y))


def flatness(three: Polygon) -> float:
    """Height of a triangle in shares of its longest side: 0 where its corners lie in a line, 0.87 where it is
    equilateral; negative where they turn to the left as a picture shows it.
    """
    a, b, c = three
    longest = max(_dot(p, q, q) for p, q in _edges(three))
    return _turn(a, b, c) / longest if longest else 0.0


def distance(point: Point, start: Point, end: Point) -> float:
    """How far a point is from a segment."""
    length = _dot(start, end, end)
    along = 0.0 if length == 0 else min(max(_dot(start, end, point) / length, 0.0), 1.0)
    x, y = start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1])
    return float(((point[0] - x) ** 2 + (point[1] - y) ** 2) ** 0.5)


def _edges(polygon: Polygon) -> list[Edge]:
    return list(zip(polygon, [*polygon[1:], *polygon[:1]], strict=True))


def _turn(a: Point, b: Point, c: Point) -> float:
    """Twice the signed area of a triangle: its sign tells on which side of a-b the point c lies."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _dot(origin: Point, a: Point, b: Point) -> float:
    return (a[0] - origin[0]) * (b[0] - origin[0]) + (a[1] - origin[1]) * (b[1] - origin[1])


def _meet(p: Point, q: Point, r: Point, s: Point) -> bool:
    """Whether two segments have a point in common."""
    turns = (_turn(p, q, r), _turn(p, q, s), _turn(r, s, p), _turn(r, s, q))
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((p, q, r), (p, q, s), (r, s, p), (r, s, q))
    return any(turn == 0 and _dot(c, a, b) <= 0 for turn, (a, b, c) in zip(turns, ends, strict=True))


def _crossing_height(one: Edge, other: Edge) -> float | None:
    (p, q), (r, s) = one, other
    before, after = _turn(r, s, p), _turn(r, s, q)
    if before * after >= 0 or _turn(p, q, r) * _turn(p, q, s) >= 0:
        return None
    return float(p[1] + (q[1] - p[1]) * before / (before - after))


def _spans(polygon: Polygon, y: float) -> list[tuple[float, float]]:
    """Where a horizontal line runs inside of a polygon, from left to right."""
    xs = sorted(
        p[0] + (q[0] - p[0]) * (y - p[1]) / (q[1] - p[1]) for p, q in _edges(polygon) if (p[1] <= y) != (q[1] <= y)
    )
    return list(zip(xs[::2], xs[1::2], strict=True))


def _common(first: list[tuple[float, float]], second: list[tuple[float, float]]) -> float:
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in first for c, d in second)
