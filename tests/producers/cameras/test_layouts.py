"""The layout check by tables: one fault each, and none where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from aisleflow.cli import app
from producers.cameras import CameraError
from producers.cameras.layouts import Finding, Level, check, lab, read_layout
from schemas.events import StoreLayout

FLOOR = [[100, 100], [300, 100], [300, 300], [100, 300]]
BESIDE = [[302, 100], [500, 100], [500, 300], [302, 300]]
DOOR = [[100, 350], [500, 350]]
SIZE = {"frame_width": 640, "frame_height": 400}


def zone(zone_id: str, *polygons: Any, camera: str = "C", **fields: Any) -> dict[str, Any]:
    """A zone with areas on one camera."""
    areas = [{"camera_id": camera, "polygon": polygon} for polygon in polygons]
    return {"zone_id": zone_id, "type": "SHELF", "areas": areas, **fields}


def document(zones: Any = None, cameras: Any = None, **fields: Any) -> dict[str, Any]:
    """A layout of one good zone and one good camera, unless others are given."""
    return {
        "store_id": "S",
        "timestamp": "2026-11-01T00:00:00Z",
        "zones": [zone("FLOOR", FLOOR)] if zones is None else zones,
        "cameras": [{"camera_id": "C", "entrance_line": DOOR, **SIZE}] if cameras is None else cameras,
        **fields,
    }


PLAN = {"width_m": 10.0, "height_m": 8.0}
FLOORED = ["error floor-points: camera C"]
BESIDE_PLAN = ["warning floor-points: camera C"]
PIXELS = [[200, 100], [400, 100], [600, 395], [20, 395], [300, 100]]
METRES = [[1, 1], [5, 1], [5, 4], [1, 4], [3, 1]]


def points(*which: int) -> list[dict[str, Any]]:
    return [{"pixel": PIXELS[i], "floor": METRES[i]} for i in which]


def exchanged() -> list[dict[str, Any]]:
    """The first two in each other's place on the plan."""
    return [{"pixel": PIXELS[i], "floor": METRES[j]} for i, j in ((0, 1), (1, 0), (2, 2), (3, 3))]


def mirrored() -> list[dict[str, Any]]:
    """Measured from the plan's bottom left corner."""
    return [{"pixel": PIXELS[i], "floor": [METRES[i][0], 8 - METRES[i][1]]} for i in range(4)]


def found(layout: dict[str, Any], **frames: tuple[int, int]) -> list[Finding]:
    return check(StoreLayout.model_validate_json(json.dumps(layout)), frames)


def brief(findings: list[Finding]) -> list[str]:
    """ "error overlap: zone A, camera C"."""
    return [f"{finding.level} {finding.rule}: {finding.where}" for finding in findings]


def camera(**fields: Any) -> dict[str, Any]:
    return {"camera_id": "C", "entrance_line": DOOR, **SIZE, **fields}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (document(), []),
        # A shared border, drawn by hand, and two areas of one zone: both are meant.
        (document([zone("A", FLOOR), zone("B", BESIDE)]), []),
        (document([zone("A", FLOOR), zone("B", [[298, 100], [500, 100], [500, 300], [298, 300]])]), []),
        (document([zone("A", FLOOR, [[200, 100], [400, 100], [400, 300]])]), []),
        # Overlaps: of the later zone, and nothing left of it.
        (
            document([zone("A", FLOOR), zone("B", [[250, 100], [500, 100], [500, 300], [250, 300]])]),
            ["warning overlap: zone B, camera C"],
        ),
        (document([zone("A", FLOOR), zone("B", FLOOR)]), ["error overlap: zone B, camera C"]),
        (
            document([zone("B", [[150, 150], [250, 150], [250, 250]]), zone("A", FLOOR)]),
            ["warning overlap: zone A, camera C"],
        ),
        # The same pixels of two cameras are two places.
        (
            document([zone("A", FLOOR), zone("B", FLOOR, camera="D")], [camera(), camera(camera_id="D")]),
            [],
        ),
        # Polygons that hold nothing, or not what they seem to.
        (document([zone("A", [[1, 1], [5, 5], [9, 9]])]), ["error empty-polygon: zone A, camera C"]),
        (document([zone("A", [[7, 7], [7, 7], [7, 7]])]), ["error empty-polygon: zone A, camera C"]),
        (
            document([zone("A", [[100, 100], [300, 300], [300, 100], [100, 300]])]),
            ["error self-crossing: zone A, camera C"],
        ),
        (document([zone("A", [[5, 5], [15, 5], [15, 15], [5, 15]])]), ["warning tiny-polygon: zone A, camera C"]),
        (document([zone("A", [[5, 5], [641, 5], [15, 150]])]), ["error outside-frame: zone A, camera C"]),
        (document([zone("A", [[5, 5], [64, 5], [15, -0.5]])]), ["error outside-frame: zone A, camera C"]),
        (document([zone("A", [[0, 0], [640, 0], [640, 400], [0, 400]])]), []),
        # Zones that nobody sees.
        (document([zone("A")]), ["warning unseen-zone: zone A"]),
        (
            document([zone("A", FLOOR, camera="X")]),
            ["error unknown-camera: zone A, camera X", "error unseen-zone: zone A"],
        ),
        # Entrances.
        (document(cameras=[camera(entrance_line=None)]), ["error no-entrance: layout"]),
        (document([], []), ["error no-entrance: layout"]),
        (
            document([zone("A", FLOOR, camera="D")], [camera(), camera(camera_id="D", entrance_line=None)]),
            ["warning no-entrance: camera D"],
        ),
        (
            document([], [camera(), camera(camera_id="D", entrance_line=None)]),
            ["error nothing-to-watch: camera D", "warning no-entrance: camera D"],
        ),
        (document(cameras=[camera(entrance_line=[[9, 9], [9, 9]])]), ["error short-line: camera C"]),
        (document(cameras=[camera(entrance_line=[[100, 100], [130, 100]])]), ["warning short-line: camera C"]),
        (document(cameras=[camera(entrance_line=[[0, 5], [640, 5]])]), ["warning line-at-edge: camera C"]),
        (document(cameras=[camera(entrance_line=[[635, 0], [635, 400]])]), ["warning line-at-edge: camera C"]),
        (document(cameras=[camera(entrance_line=[[0, 200], [640, 200]])]), []),
        (document(cameras=[camera(entrance_line=[[0, 200], [640, 401]])]), ["error outside-frame: camera C"]),
        # Ids.
        (
            document(cameras=[camera(), camera(entrance_line=None)]),
            ["error duplicate-camera: camera C", "warning no-entrance: camera C"],
        ),
        (document([zone("A", FLOOR), zone("A", BESIDE)]), ["error duplicate-zone: zone A"]),
        # What ties a picture to the plan. A trapezium of floor, 4 m wide and 3 m deep.
        (document(cameras=[camera(floor_points=points(0, 1, 2, 3))], plan=PLAN), []),
        (document(cameras=[camera(floor_points=points(0, 1, 2, 3))]), ["error floor-points: camera C"]),
        (document(cameras=[camera(floor_points=points(0, 1, 2, 3))], plan={"width_m": 3, "height_m": 9}), BESIDE_PLAN),
        (document(cameras=[camera(floor_points=points(0, 4, 1, 2))], plan=PLAN), FLOORED),
        (document(cameras=[camera(floor_points=exchanged())], plan=PLAN), FLOORED),
        (document(cameras=[camera(floor_points=mirrored())], plan=PLAN), FLOORED),
        (document(cameras=[camera(floor_points=points(0, 1, 2, 3), frame_height=390)], plan=PLAN), FLOORED),
        # Staff.
        (document([zone("A", FLOOR, staff_only=True)]), []),
        (document([zone("A", FLOOR, staff_only=True, type="BILLING")]), ["warning staff-zone: zone A"]),
        (document(staff={"uniform": ["#1a5fb4", "#e01b24"]}), []),
        (document(staff={"uniform": ["#1a5fb4", "#1c65b8"]}), ["warning uniform-colour: layout"]),
        (document(staff={"uniform": ["#222222"]}), ["warning uniform-colour: layout"]),
        (document(staff={"uniform": ["#ffffff"]}), ["warning uniform-colour: layout"]),
        (document(staff={"uniform": ["#e66100"]}), []),
        (document(staff={"uniform": ["#e0ac69"]}), ["warning uniform-colour: layout"]),
        (document(staff={"uniform": ["#8d5524"]}), ["warning uniform-colour: layout"]),
        # No size to measure against.
        (document(cameras=[{"camera_id": "C", "entrance_line": DOOR}]), ["warning frame-size: camera C"]),
    ],
)
def test_one_fault_each(layout: dict[str, Any], expected: list[str]) -> None:
    assert brief(found(layout)) == expected


@pytest.mark.parametrize(
    ("layout", "frames", "expected"),
    [
        (document(), {"C": (640, 400)}, []),
        (document(), {"C": (1280, 800)}, ["error frame-size: camera C"]),
        (document(), {"X": (640, 400)}, ["error unknown-camera: camera X"]),
        (document(cameras=[{"camera_id": "C", "entrance_line": DOOR}]), {"C": (640, 400)}, []),
        (
            document(cameras=[{"camera_id": "C", "entrance_line": DOOR}]),
            {"C": (320, 200)},
            ["error outside-frame: zone FLOOR, camera C", "error outside-frame: camera C"],
        ),
    ],
)
def test_what_a_clip_tells(layout: dict[str, Any], frames: Any, expected: list[str]) -> None:
    findings = found(layout, **frames)
    assert sorted(brief(findings)) == sorted(expected)


@given(
    st.lists(
        st.lists(st.lists(st.integers(-9, 700).map(float), min_size=2, max_size=2), min_size=3, max_size=9), max_size=5
    ),
    st.lists(st.lists(st.floats(-9, 700), min_size=2, max_size=2), min_size=2, max_size=2),
)
def test_any_layout_is_answered_with_words(polygons: Any, line: Any) -> None:
    layout = document([zone(f"Z{i}", polygon) for i, polygon in enumerate(polygons)], [camera(entrance_line=line)])
    findings = found(layout)
    assert all(f.message and f.remedy for f in findings)
    assert [f.level for f in findings] == sorted(f.level for f in findings), "errors come first"
    spread = [x for polygon in polygons for point in polygon for x in point]
    if any(x < 0 for x in spread):
        assert any(f.rule in {"outside-frame", "empty-polygon", "self-crossing"} for f in findings)


def run(tmp_path: Path, layout: dict[str, Any] | str, *options: str) -> Any:
    path = tmp_path / "shop.json"
    path.write_text(layout if isinstance(layout, str) else json.dumps(layout))
    return CliRunner().invoke(app, ["layout", "check", str(path), *options])


def test_the_command_says_what_to_do_and_fails_on_errors_only(tmp_path: Path) -> None:
    told = run(tmp_path, document())
    assert (told.exit_code, told.output.strip().endswith("1 zones, 1 cameras: nothing wrong")) == (0, True)
    told = run(tmp_path, document([zone("[red]A"), zone("B", FLOOR)]))
    assert told.exit_code == 0 and "zone [red]A" in told.output and "1 warning" in told.output
    told = run(tmp_path, document([zone("A", FLOOR), zone("B", FLOOR)]))
    assert told.exit_code == 1 and "name it before A" in told.output and told.output.rstrip().endswith("1 error")


@pytest.mark.parametrize(
    "text", ["", "{", '{"store_id": "S", "zones": 3}', json.dumps(document([zone("A", [[1, 2]])]))]
)
def test_a_file_that_holds_no_layout(tmp_path: Path, text: str) -> None:
    told = run(tmp_path, text)
    assert told.exit_code == 1 and "is not valid" in told.output and "Traceback" not in told.output


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="cannot be read"):
        read_layout(tmp_path / "none.json")


@pytest.mark.parametrize(("option", "words"), [("door.mp4", "CAMERA=CLIP"), ("C=none.mp4", "none.mp4")])
def test_a_clip_that_cannot_be_read(vision: None, tmp_path: Path, option: str, words: str) -> None:
    told = run(tmp_path, document(), "--clip", option)
    assert told.exit_code == 1 and words in told.output


@pytest.mark.vision
def test_the_real_clip_has_another_size(vision: None, material: Path, tmp_path: Path) -> None:
    clip = material / "clips" / "one-by-one-person-detection.mp4"
    told = run(tmp_path, document(), "--clip", f"C={clip}")
    assert told.exit_code == 1 and "640x400, but it sends 768x432" in told.output


def test_the_layout_in_the_documentation_has_nothing_wrong() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "cameras.md").read_text()
    shown = StoreLayout.model_validate_json(text.split("```json")[1].split("```")[0])
    assert [f for f in check(shown) if f.level is Level.ERROR] == []


@pytest.mark.parametrize(
    ("colour", "expected"),
    # Worked examples of Bruce Lindbloom's CIE calculator, D65.
    [("#ffffff", (100, 0, 0)), ("#000000", (0, 0, 0)), ("#ff0000", (53.24, 80.09, 67.2)), ("#808080", (53.59, 0, 0))],
)
def test_lab(colour: str, expected: tuple[float, float, float]) -> None:
    assert lab(colour) == pytest.approx(expected, abs=0.05)
