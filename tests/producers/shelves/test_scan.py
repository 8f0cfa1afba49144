"""From products to the event, the drawn picture and the command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from aisleflow.cli import app
from producers.shelves.annotate import annotate, write_annotated
from producers.shelves.pictures import read_picture
from producers.shelves.planogram import Planogram
from producers.shelves.products import each_once, find_products, tile
from producers.shelves.scan import as_event, see
from producers.simulator.shelves import photo, shelves
from schemas.events import ShelfScan, dump
from tests.producers.shelves.layouts import SIZE, shelf

AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
MODEL = Path("models") / "yolov8n_sku110k_int8_tflite"


def scan(found: Any, plan: Planogram | None = None, faint: Any = None) -> ShelfScan:
    boxes = found if faint is None else np.vstack([found, faint])
    sure = np.concatenate([np.full(len(found), 0.9), np.full(len(boxes) - len(found), 0.2)])
    return as_event(see(boxes, sure, SIZE, plan), "ab" * 32, store_id="ST-1", zone_id="Z", timestamp=AT)


def plan(*facings: int) -> Planogram:
    rows = [
        {"positions": [{"sku": f"{row}A", "facings": 5}, {"sku": f"{row}B", "facings": count - 5}]}
        for row, count in enumerate(facings)
    ]
    return Planogram.model_validate({"planogram_id": "P", "rows": rows})


def test_the_event() -> None:
    found = scan(shelf({(1, 4): 2}))
    assert (found.gaps, len(found.products), len(found.rows)) == (2, 64, 4)
    assert found.confidence == 0.9
    assert [row.facings for row in found.rows] == [18, 15, 16, 15]
    (gap,) = found.empty
    assert (gap.row, gap.kind, len(gap.places)) == (1, "BETWEEN", 2)
    assert found.products[0].row == 0
    assert ShelfScan.model_validate_json(dump(found)) == found


def test_the_same_photo_is_the_same_event() -> None:
    seen = see(shelf(), np.full(66, 0.9), SIZE)
    one, again = (as_event(seen, "ab" * 32, store_id="S", zone_id=None, timestamp=AT) for _ in range(2))
    assert one == again
    others = [("cd" * 32, "S", None), ("ab" * 32, "T", None), ("ab" * 32, "S", "Z")]
    ids = {as_event(seen, sha, store_id=store, zone_id=zone, timestamp=AT).event_id for sha, store, zone in others}
    assert len({*ids, one.event_id}) == 4


def test_a_planogram_names_facings_and_places() -> None:
    found = scan(shelf({(1, 4): 2}), plan(18, 17, 16, 15))
    assert found.planogram_id == "P"
    assert found.facings == {"0A": 5, "0B": 13, "1A": 4, "1B": 11, "2A": 5, "2B": 11, "3A": 5, "3B": 10}
    assert found.missing == {"1A": 1, "1B": 1}
    assert found.empty[0].skus == ["1A", "1B"]
    assert {product.sku for product in found.products if product.row == 0} == {"0A", "0B"}


@pytest.mark.parametrize(
    ("planogram", "words"),
    [(plan(18, 17), "has 2 rows, bay 1 shows 4"), (plan(18, 17, 16, 15).model_copy(update={"bay": 3}), "is for bay 3")],
)
def test_a_planogram_of_another_shelf_names_nothing(planogram: Planogram, words: str) -> None:
    seen = see(shelf(), np.full(66, 0.9), SIZE, planogram)
    assert words in seen.notes[0]
    assert not seen.facings


def test_what_may_be_a_product_makes_a_gap_less_sure() -> None:
    found, there = shelf({(1, 4): 1}), shelf()
    missing = [box for box in there if not (found == box).all(axis=1).any()]
    sure, unsure = scan(found), scan(found, faint=np.array(missing))
    assert sure.empty[0].confidence > unsure.empty[0].confidence == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("count", "size"), [(2, (1000, 800)), (3, (4000, 3000))])
def test_parts_cover_the_photo_and_overlap(count: int, size: tuple[int, int]) -> None:
    seen = np.zeros((size[1], size[0]), int)
    for left, top, right, bottom in tile(*size, count):
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1
    assert len(tile(*size, count)) == count * count


def test_each_product_once() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [2, 2, 8, 9], [30, 0, 40, 20], [9, 0, 19, 20]], float)
    assert sorted(each_once(boxes, np.array([0.8, 0.9, 0.95, 0.5, 0.4])).tolist()) == [2, 3, 4]
    assert sorted(each_once(boxes, np.array([0.8, 0.9, 0.1, 0.5, 0.4])).tolist()) == [1, 3, 4]


def test_the_drawn_picture_hides_what_is_no_product(vision: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (1000, 1000, 3), np.uint8)
    found = scan(shelf({(1, 4): 2}))
    drawn = annotate(pixels, found)
    left, top, right, bottom = (round(value) for value in found.products[0].box)
    assert (
        drawn[top + 8 : bottom - 8, left + 8 : right - 8] == pixels[top + 8 : bottom - 8, left + 8 : right - 8]
    ).all()
    # Below the shelf there is nothing but squares of one colour.
    below = drawn[900:, :].reshape(100, -1)
    assert len(np.unique(below, axis=0)) < 10
    write_annotated(tmp_path / "to" / "x.jpg", pixels, found)
    again = read_picture(tmp_path / "to" / "x.jpg")
    assert again.size == SIZE
    assert b"Exif" not in (tmp_path / "to" / "x.jpg").read_bytes()


@pytest.mark.vision
def test_missing_products_of_a_known_shelf(vision: None, material: Path, tmp_path: Path) -> None:
    """The whole way, through the command: products of a rendered photo, two of them gone."""
    import cv2

    scene = shelves(1)
    path = tmp_path / "shelf.png"
    cv2.imwrite(str(path), photo(scene))
    result = CliRunner().invoke(
        app,
        [
            "shelf",
            str(path),
            str(tmp_path / "none.jpg"),
            "--model",
            str(material / MODEL),
            "--json",
            "--annotate",
            str(tmp_path / "out"),
            "--at",
            "2026-11-21T10:00:00Z",
        ],
    )
    assert result.exit_code == 1
    assert "none.jpg cannot be read" in result.stderr
    found = ShelfScan.model_validate_json(result.stdout)
    assert abs(len(found.products) - len(scene.boxes(missing=False))) <= 0.15 * len(found.products)
    assert found.timestamp == AT
    assert (tmp_path / "out" / "shelf.jpg").exists()
    missing = scene.boxes(missing=True)
    places = np.array([place for gap in found.empty for place in gap.places])
    hit = [
        any(min(p[2], m[2]) - max(p[0], m[0]) > 0.5 * (m[2] - m[0]) and p[1] < m[3] and p[3] > m[1] for p in places)
        for m in missing
    ]
    assert sum(hit) >= 0.5 * len(missing)


@pytest.mark.vision
def test_the_labelled_gaps(vision: None, material: Path) -> None:
    """The one real photo with labelled gaps: each is covered by empty places by more than half."""
    from functools import partial

    from producers.cameras.people import load_detector
    from producers.shelves.seams import Seams

    (path,) = (material / "shelves" / "voids").glob("*.jpg")
    words = path.with_suffix(".txt").read_text().split()[1:]
    labels = np.array(words, float).reshape(-1, 5)[:, :4]
    picture = read_picture(path)
    detector = load_detector(material / MODEL, cache_dir=path.parent, wanted=None)
    seen = see(*find_products(picture.pixels, detector), picture.size, None, partial(Seams, picture.pixels))
    found = as_event(seen, picture.sha256, store_id="S", zone_id=None, timestamp=AT)
    places = np.array([place for gap in found.empty for place in gap.places])
    for label in labels:
        shared = np.clip(np.minimum(places[:, 2:], label[2:]) - np.maximum(places[:, :2], label[:2]), 0, None)
        assert shared.prod(axis=1).sum() > 0.5 * np.prod(label[2:] - label[:2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--publish"], "--publish needs --store"),
        (["--store", "a b"], "not a store's id"),
        (["--at", "yesterday"], "--at 'yesterday'"),
        (["--planogram", "none.json"], "cannot be read"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["shelf", "x.jpg", *options])
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_scan_is_one_json_object() -> None:
    assert json.loads(dump(scan(shelf())))["gaps"] == 0
