"""Rows from boxes: tiers, stacks, bays; and that how the camera is held changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.shelves.rows import Array, find_rows, level_frame
from producers.simulator.shelves import shelves
from tests.producers.shelves.layouts import SIZE, boxes, full, shelf


def sets(found: Array, size: tuple[int, int] = SIZE) -> set[frozenset[int]]:
    """Rows as sets of products."""
    return {frozenset(row.members) for row in find_rows(found, size).rows if row.members}


def test_rows_from_top_to_bottom() -> None:
    rows = find_rows(shelf(), SIZE).rows
    assert [len(row.members) for row in rows] == [18, 17, 16, 15]
    assert [row.base for row in rows] == pytest.approx([200, 320, 440, 560], abs=1)
    assert {row.bay for row in rows} == {0}
    for upper, lower in pairwise(rows):
        assert upper.floor == lower.ceiling
        assert upper.base < upper.floor < lower.top


def test_no_products_and_one() -> None:
    assert find_rows(np.zeros((0, 4)), SIZE).rows == []
    assert [row.members for row in find_rows(np.array([[1.0, 2, 30, 40]]), SIZE).rows] == [[0]]


@pytest.mark.parametrize(
    ("between", "rows"),
    [(0, 1), (5, 1), (11, 1), (20, 2), (40, 2)],
    ids=["touching", "boxes a little off", "just touching", "a board between", "two boards"],
)
def test_what_touches_is_a_stack(between: float, rows: int) -> None:
    two = boxes((300, full()), (300 + 80 + between, full()))
    assert len(find_rows(two, SIZE).rows) == rows


@pytest.mark.parametrize(("off", "rows"), [(0, 1), (15, 1), (30, 2)])
def test_what_is_level_is_a_tier(off: float, rows: int) -> None:
    spans = full()
    assert len(find_rows(boxes((300, spans[:9]), (300 + off, spans[9:])), SIZE).rows) == rows


def test_bays_end_where_their_rows_do() -> None:
    """Two bays with an upright between them, boards at one height: nothing but the spaces tells."""
    both = boxes(*((100 + 100 * row, full(40, 480, 30 + 2 * row) + full(530, 960, 31 + 3 * row)) for row in range(9)))
    found = find_rows(both, SIZE)
    assert any(460 < p + s * 500 < 550 for p, s in found.borders)
    assert len(found.rows) == 18
    assert len({row.bay for row in found.rows}) == 2


def test_products_in_line_by_chance_are_no_border() -> None:
    for found in (shelf(rows=6), boxes(*((200 + 120 * row, full()) for row in range(6)))):
        assert {row.bay for row in find_rows(found, SIZE).rows} == {0}


def test_an_empty_row_is_seen() -> None:
    spans = {row: full(width=40 + row) for row in (0, 1, 2, 4, 5)}
    rows = find_rows(boxes(*((150 + 120 * row, spans[row]) for row in spans)), SIZE).rows
    assert [not row.members for row in rows] == [False, False, False, True, False, False]
    assert rows[3].base == pytest.approx(510, abs=2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.floats(0.3, 3))
def test_the_photo_s_size_changes_nothing(seed: int, scale: float) -> None:
    scene = shelves(seed)
    found = scene.boxes(missing=False)
    width, height = (round(side * scale) for side in scene.size)
    assert sets(found, scene.size) == sets(found * (width / scene.size[0]), (width, height))


@settings(max_examples=25, deadline=None)
@given(st.floats(-90, 90), st.floats(-100, 300))
def test_the_shelf_s_place_changes_nothing(right: float, down: float) -> None:
    assert sets(shelf() + np.array([right, down, right, down])) == sets(shelf())


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 14)), st.integers(1, 3), max_size=4))
def test_a_mirror_changes_nothing(missing: dict[tuple[int, int], int]) -> None:
    found = shelf(missing)
    assert sets(found) == sets(np.column_stack([1000 - found[:, 2], found[:, 1], 1000 - found[:, 0], found[:, 3]]))


@settings(max_examples=40, deadline=None)
@given(st.floats(-6, 6), st.integers(3, 6))
def test_a_tilted_camera_changes_nothing(degrees: float, rows: int) -> None:
    level = shelf(rows=rows)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (level[:, :2] + level[:, 2:]) / 2
    turned = (middle - 500) @ turn.T + 500
    half = (level[:, 2:] - level[:, :2]) / 2
    assert sets(np.hstack([turned - half, turned + half])) == sets(level)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200))
def test_boards_are_level_in_the_level_frame(seed: int) -> None:
    scene = shelves(seed)
    frame = level_frame(scene.boxes(missing=False), scene.size)
    for bay in scene.bays:
        for board in bay.boards:
            ends = frame.rectify(scene.pixels(np.array([[bay.left, board], [bay.left + bay.width, board]])))
            slope = (ends[1, 1] - ends[0, 1]) / (ends[1, 0] - ends[0, 0])
            assert abs(slope) < 0.05


def test_boards_of_known_shelves() -> None:
    """Boxes without errors of cameras turned, pitched and rolled: a row holds one board of each bay, and nearly all of it."""
    whole = mixed = total = 0
    for seed in range(40):
        scene = shelves(seed, missing=0.0, empty_rows=False)
        boards: list[tuple[int, int]] = []
        for product in scene.products:
            for level in range(product.stack):
                corners = replace(product, base=product.base - level * product.height, stack=1).corners
                if scene.seen(scene.box(corners)) >= 0.6:
                    boards.append((product.bay, product.row))
        rows = sets(scene.boxes(missing=False), scene.size)
        for board in {board for board in boards if boards.count(board) >= 4}:
            own = {number for number, one in enumerate(boards) if one == board}
            best = max(rows, key=lambda row: len(row & own))
            total += 1
            whole += len(best & own) >= 0.9 * len(own)
            mixed += any(boards[one][0] == board[0] and boards[one] != board for one in best)
    assert whole / total > 0.9
    assert mixed / total < 0.1
