"""Planograms: what is refused, and how facings are matched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.shelves import ShelfError
from producers.shelves.planogram import PlanogramRow, Position, match, read_planogram

GOOD: dict[str, Any] = {
    "planogram_id": "COFFEE",
    "rows": [{"positions": [{"sku": "A", "facings": 3}, {"sku": "B", "facings": 2}]}],
}


def slots(*positions: tuple[str, int]) -> list[tuple[str, float]]:
    return PlanogramRow(positions=[Position(sku=sku, facings=facings) for sku, facings in positions]).slots()


def spans(count: int, width: float = 10) -> list[tuple[float, float]]:
    return [(k * width, k * width + width - 1) for k in range(count)]


def test_a_planogram_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(GOOD))
    plan = read_planogram(path)
    assert [sku for sku, _ in plan.rows[0].slots()] == ["A", "A", "A", "B", "B"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": []}, "rows"),
        ({"planogram_id": ""}, "planogram_id"),
        ({"shelves": 3}, "shelves"),
        ({"rows": [{"positions": [{"sku": "A", "facings": 0}]}]}, "facings"),
        ({"rows": [{"positions": [{"sku": "A", "width_cm": 8}, {"sku": "B"}]}]}, "width_cm for all positions"),
        ({"bay": 0}, "bay"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ShelfError, match=words):
        read_planogram(path)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ShelfError, match="cannot be read"):
        read_planogram(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ShelfError, match="not valid"):
        read_planogram(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (spans(5), ["A", "A", "A", "B", "B"]),
        ([], []),
        ([*spans(5)[:1], *spans(5)[2:]], ["A", "A", "B", "B"]),
        (spans(6), ["A", "A", "A", None, "B", "B"]),
    ],
    ids=["all there", "nothing", "one not seen", "one too many"],
)
def test_facings_are_matched_in_order(seen: list[tuple[float, float]], expected: list[str | None]) -> None:
    found = match(slots(("A", 3), ("B", 2)), seen)
    assert len(found) == len(expected)
    assert [sku for sku in found if sku] == sorted(sku for sku in found if sku)
    if expected.count(None) == 0:
        assert found == expected


@given(st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(1, 4)), min_size=1, max_size=8), st.floats(0.1, 10))
def test_a_full_row_is_named_rightly(positions: list[tuple[str, int]], scale: float) -> None:
    plan = slots(*positions)
    assert match(plan, [(left * scale, right * scale) for left, right in spans(len(plan))]) == [sku for sku, _ in plan]


def test_widths_tell_where_facings_are() -> None:
    row = PlanogramRow(positions=[Position(sku="WIDE", width_cm=30), Position(sku="SLIM", facings=3, width_cm=10)])
    assert match(row.slots(), [(0, 29), (30, 39), (50, 59)]) == ["WIDE", "SLIM", "SLIM"]
