"""Gaps in rows, by tables, and what may never be one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.shelves.gaps import Array, Gap, columns, find_gaps
from producers.shelves.rows import find_rows
from tests.producers.shelves.layouts import SIZE, boxes, full, shelf


def gaps(found: Array) -> list[Gap]:
    return find_gaps(find_rows(found, SIZE))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({}, []),
        ({(0, 5): 1}, [(0, "BETWEEN", 1)]),
        ({(0, 5): 3}, [(0, "BETWEEN", 3)]),
        ({(1, 0): 2}, [(1, "END", 2)]),
        ({(2, 14): 2}, [(2, "END", 2)]),
        ({(0, 3): 1, (0, 9): 2, (3, 5): 1}, [(0, "BETWEEN", 1), (0, "BETWEEN", 2), (3, "BETWEEN", 1)]),
    ],
    ids=["full", "one", "three", "left end", "right end", "several"],
)
def test_what_is_missing(missing: dict[tuple[int, int], int], expected: list[tuple[int, str, int]]) -> None:
    assert [(gap.row, gap.kind, gap.places) for gap in gaps(shelf(missing))] == expected


def test_places_lie_where_products_were() -> None:
    there, left = shelf(), shelf({(0, 5): 2})
    removed = [box for box in there if not (left == box).all(axis=1).any()]
    parts = [part for gap in gaps(left) for part in gap.parts()]
    for (start, end), box in zip(parts, removed, strict=True):
        assert min(end, box[2]) - max(start, box[0]) > 0.8 * (box[2] - box[0])


def test_loose_rows_have_no_gaps() -> None:
    """Spaces as wide as a product, if they are the row's usual ones, are how it is laid out."""
    assert gaps(boxes(*((200 + 120 * row, full(width=40 + row, space=38)) for row in range(4)))) == []


def test_an_empty_row_is_one_gap() -> None:
    found = gaps(boxes(*((150 + 120 * row, full(width=40 + row)) for row in (0, 1, 2, 4, 5))))
    assert [(gap.row, gap.kind) for gap in found] == [(3, "ROW")]
    assert 15 <= found[0].places <= 22


def test_a_product_of_another_row_fills_a_space() -> None:
    """A tall thing that hangs before a row is no gap of it."""
    hung = np.vstack([shelf({(0, 5): 1}), [[322, 100, 358, 190]]])
    assert not [gap for gap in gaps(hung) if gap.row == 0]


def test_stacks_are_one_facing() -> None:
    two = boxes((300, full()), (382, full()))
    rows = find_rows(two, SIZE)
    assert len(columns(rows.boxes, rows.rows[0].members)) == 18


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(1, 13), st.floats(0.3, 4))
def test_size_and_side_change_nothing(row: int, first: int, scale: float) -> None:
    found = shelf({(row, first): 1})
    expected = [(gap.kind, gap.places) for gap in gaps(found)]
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    assert [(gap.kind, gap.places) for gap in find_gaps(find_rows(found * scale, size))] == expected
    mirrored = np.column_stack([SIZE[0] - found[:, 2], found[:, 1], SIZE[0] - found[:, 0], found[:, 3]])
    assert [(gap.kind, gap.places) for gap in gaps(mirrored)] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.integers(0, 14), st.integers(1, 3))
def test_a_product_is_never_a_gap(row: int, first: int, count: int) -> None:
    """Put back what is missing, one after the other: where a product stands nothing is missing."""
    found = shelf({(row, first): count})
    missing = [box for box in shelf() if not (found == box).all(axis=1).any()]
    for box in missing:
        found = np.vstack([found, box])
        for gap in gaps(found):
            for left, right in gap.parts():
                crossing = np.minimum(right, found[:, 2]) - np.maximum(left, found[:, 0])
                level = np.abs(found[:, 3] - gap.base) < 20
                assert crossing[level].max() < 2
    assert gaps(found) == []
