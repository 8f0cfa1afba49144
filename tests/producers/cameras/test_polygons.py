"""Polygon geometry by tables and by properties; OpenCV's for convex polygons as a second opinion."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.polygons import area, contains, distance, is_simple, overlap

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]
# A U whose gap is 4 to 6 wide and opens upwards.
CUP = [[0, 0], [4, 0], [4, 8], [6, 8], [6, 0], [10, 0], [10, 10], [0, 10]]
STEPS = st.integers(0, 200).map(float)


@st.composite
def convex(draw: Any) -> list[list[float]]:
    """Corners on a circle, in order."""
    x, y, radius = draw(st.integers(0, 60)), draw(st.integers(0, 60)), draw(st.integers(5, 60))
    turns = draw(st.lists(st.integers(0, 359), min_size=3, max_size=9, unique=True))
    return [[x + radius * math.cos(math.radians(t)), y + radius * math.sin(math.radians(t))] for t in sorted(turns)]


@st.composite
def star(draw: Any) -> list[list[float]]:
    """A simple polygon, seldom convex: corners at any distance around a centre, in order of their direction."""
    x, y = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    count = draw(st.integers(3, 10))
    reach = draw(st.lists(st.integers(5, 60), min_size=count, max_size=count))
    return [
        [x + r * math.cos(2 * math.pi * i / count), y + r * math.sin(2 * math.pi * i / count)]
        for i, r in enumerate(reach)
    ]


@pytest.mark.parametrize(
    ("polygon", "expected"), [(SQUARE, 100), (SQUARE[::-1], 100), (CUP, 84), ([[0, 0], [5, 5], [9, 9]], 0), ([], 0)]
)
def test_area(polygon: Any, expected: float) -> None:
    assert area(polygon) == expected


@pytest.mark.parametrize(
    ("polygon", "simple"),
    [
        (SQUARE, True),
        (CUP, True),
        ([[0, 0], [0, 0], [10, 0], [10, 10], [0, 10]], True),
        ([[0, 0], [10, 10], [10, 0], [0, 10]], False),
        # A corner that touches another edge, and one that folds back along its own.
        ([[0, 0], [10, 0], [10, 10], [5, 0], [0, 10]], False),
        ([[0, 0], [10, 0], [5, 0], [5, 10]], False),
        # A straight corner is no fold.
        ([[0, 0], [5, 0], [10, 0], [10, 10]], True),
    ],
)
def test_simple(polygon: Any, simple: bool) -> None:
    assert is_simple(polygon) is simple
    assert is_simple(polygon[::-1]) is simple
    assert is_simple([*polygon[1:], polygon[0]]) is simple


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([[5, 5], [15, 5], [15, 15], [5, 15]], 22),
        ([[10, 0], [20, 0], [20, 10], [10, 10]], 0),
        ([[4, 0], [6, 0], [6, 8], [4, 8]], 0),
        ([[4, 0], [6, 0], [6, 10], [4, 10]], 4),
        ([[-5, 4], [15, 4], [15, 6], [-5, 6]], 16),
        (CUP, 84),
    ],
)
def test_overlap_with_a_cup(second: Any, expected: float) -> None:
    assert overlap(CUP, second) == pytest.approx(expected)


@given(star(), star(), st.integers(-50, 50), st.integers(-50, 50))
def test_overlap_is_symmetric_bounded_and_does_not_depend_on_the_place(a: Any, b: Any, dx: int, dy: int) -> None:
    shared = overlap(a, b)
    assert shared == pytest.approx(overlap(b, a), abs=1e-6)
    assert -1e-9 <= shared <= min(area(a), area(b)) + 1e-6
    assert shared == pytest.approx(overlap(*([[x + dx, y + dy] for x, y in p] for p in (a, b))), abs=1e-6)
    assert overlap(a, a) == pytest.approx(area(a))


@given(star(), STEPS)
def test_two_halves_of_a_polygon_share_it_between_them(polygon: Any, cut: float) -> None:
    left, right = ([[x0, -500], [x1, -500], [x1, 500], [x0, 500]] for x0, x1 in ((-500, cut / 2), (cut / 2, 500)))
    assert overlap(polygon, left) + overlap(polygon, right) == pytest.approx(area(polygon))


@given(star(), st.data())
def test_a_polygon_around_a_centre_is_simple_until_two_of_four_corners_change_places(polygon: Any, data: Any) -> None:
    assert is_simple(polygon) and is_simple(polygon[::-1])
    x, y = polygon[0]
    width, height = data.draw(st.tuples(st.integers(1, 99), st.integers(1, 99)))
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    assert is_simple(corners)
    assert not is_simple([corners[0], corners[2], corners[1], corners[3]])


@given(star(), STEPS, STEPS)
def test_a_point_inside_shares_its_pixel(polygon: Any, x: float, y: float) -> None:
    x, y = x / 2 - 20.003, y / 2 - 20.007
    tiny = 1e-4
    pixel = [[x - tiny, y - tiny], [x + tiny, y - tiny], [x + tiny, y + tiny], [x - tiny, y + tiny]]
    shared = overlap(polygon, pixel) / area(pixel)
    if shared < 0.01 or shared > 0.99:
        assert contains(polygon, x, y) is (shared > 0.5)


@pytest.mark.parametrize(("point", "expected"), [((5, 3), 3), ((-3, 4), 5), ((13, 4), 5), ((10, 0), 0), ((5, 0), 0)])
def test_distance_to_a_segment(point: Any, expected: float) -> None:
    assert distance(point, (0, 0), (10, 0)) == pytest.approx(expected)
    assert distance(point, (10, 0), (0, 0)) == pytest.approx(expected)


def test_distance_to_a_segment_of_no_length() -> None:
    assert distance((3, 4), (0, 0), (0, 0)) == 5


@pytest.mark.vision
@given(convex(), convex())
def test_convex_overlap_is_that_of_opencv(vision: None, a: Any, b: Any) -> None:
    import cv2
    import numpy as np

    theirs, _ = cv2.intersectConvexConvex(np.array(a, np.float32), np.array(b, np.float32))
    # Single precision, there.
    assert overlap(a, b) == pytest.approx(theirs, abs=0.5, rel=1e-3)
