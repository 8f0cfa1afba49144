"""Layouts as a camera sees them: refusals in words, the line's sides, foot points in polygons."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producers.cameras import CameraError, Entrance
from producers.cameras.scene import (
    FOCAL,
    Ruler,
    Scene,
    camera_of,
    holds,
    homography,
    inside_of,
    place,
    project,
    scene_of,
)
from schemas.events import StoreLayout

SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]


def layout(areas: dict[str, Any] | None = None, cameras: list[dict[str, Any]] | None = None) -> StoreLayout:
    """Zones with one area each on camera C, and cameras."""
    return StoreLayout.model_validate(
        {
            "store_id": "S",
            "timestamp": datetime(2026, 11, 1, tzinfo=UTC),
            "zones": [
                {"zone_id": zone, "type": "DISPLAY", "areas": [{"camera_id": "C", "polygon": polygon}]}
                for zone, polygon in ({"TABLE": SQUARE} if areas is None else areas).items()
            ],
            "cameras": cameras or [{"camera_id": "C"}],
        }
    )


def test_the_only_camera_need_not_be_named() -> None:
    assert camera_of(layout(), None) == "C"
    assert camera_of(layout(cameras=[{"camera_id": "C"}, {"camera_id": "D"}]), "D") == "D"


@pytest.mark.parametrize(
    ("cameras", "named", "words"),
    [
        ([{"camera_id": "C"}], "X", "no camera 'X'; it has: C"),
        ([{"camera_id": "C"}, {"camera_id": "D"}], None, "--camera.*: C, D"),
    ],
)
def test_a_camera_that_is_not_there(cameras: list[dict[str, Any]], named: str | None, words: str) -> None:
    with pytest.raises(CameraError, match=words):
        camera_of(layout(cameras=cameras), named)


@pytest.mark.parametrize(
    ("areas", "camera", "entrance", "words"),
    [
        ({"TABLE": [[10, 10], [101, 10], [50, 50]]}, {}, None, r"zone TABLE has the point \[101, 10\].*100x80"),
        ({"TABLE": [[10, 10], [50, -1], [50, 50]]}, {}, None, r"zone TABLE has the point \[50, -1\]"),
        (None, {"entrance_line": [[0, 0], [0, 81]]}, None, r"the entrance line has the point \[0, 81\]"),
        (None, {"entrance_line": [[5, 5], [5, 5]]}, None, "starts where it ends"),
        (None, {"frame_width": 1920, "frame_height": 1080}, None, "1920x1080 pixels, but the clip has 100x80"),
        (None, {}, Entrance.LINE, "no entrance_line"),
        ({}, {}, None, "no zone .* and it has no entrance"),
    ],
)
def test_a_layout_that_does_not_fit(
    areas: dict[str, Any] | None, camera: dict[str, Any], entrance: Entrance | None, words: str
) -> None:
    with pytest.raises(CameraError, match=words):
        scene_of(layout(areas, [{"camera_id": "C", **camera}]), "C", 100, 80, entrance)


@pytest.mark.parametrize(
    ("line", "asked", "entrance"),
    [
        (None, None, Entrance.NONE),
        (None, Entrance.FRAME, Entrance.FRAME),
        ([[0, 40], [100, 40]], None, Entrance.LINE),
        ([[0, 40], [100, 40]], Entrance.FRAME, Entrance.FRAME),
    ],
)
def test_the_entrance_line_decides_where_there_is_one(line: Any, asked: Entrance | None, entrance: Entrance) -> None:
    scene = scene_of(layout(cameras=[{"camera_id": "C", "entrance_line": line}]), "C", 100, 80, asked)
    assert scene.entrance is entrance
    assert (scene.line is None) == (entrance is not Entrance.LINE)


@pytest.mark.parametrize(
    ("line", "point", "inside"),
    [
        # Drawn from left to right, one walks in downwards in the picture; drawn from right to left, upwards.
        ([[0, 40], [100, 40]], (50, 60), True),
        ([[0, 40], [100, 40]], (50, 20), False),
        ([[100, 40], [0, 40]], (50, 60), False),
        # Drawn downwards, one walks in to the left.
        ([[50, 0], [50, 80]], (20, 40), True),
        ([[50, 0], [50, 80]], (70, 40), False),
        # On the line or beyond its ends: no side.
        ([[0, 40], [100, 40]], (50, 40), None),
        ([[20, 40], [80, 40]], (10, 60), None),
        ([[20, 40], [80, 40]], (90, 20), None),
    ],
)
def test_sides_of_the_line(line: list[list[float]], point: tuple[float, float], inside: bool | None) -> None:
    assert inside_of(line, *point) is inside


@pytest.mark.vision
def test_sides_are_those_of_supervision_with_start_and_end_exchanged(vision: None) -> None:
    """Its "in" is towards the left of start-to-end, ours towards the right."""
    import numpy as np
    import supervision as sv

    line = [[90.0, 10.0], [20.0, 70.0]]
    zone = sv.LineZone(sv.Point(*line[1]), sv.Point(*line[0]), triggering_anchors=[sv.Position.BOTTOM_CENTER])
    for tracker_id, (before, after) in enumerate([((40, 20), (70, 60)), ((70, 60), (40, 20)), ((10, 10), (12, 10))]):
        crossed = (False, False)
        for x, y in (before, after):
            box = sv.Detections(xyxy=np.array([[x - 5, y - 9, x + 5, y]], float), tracker_id=np.array([tracker_id]))
            crossed = tuple(bool(direction[0]) for direction in zone.trigger(box))
        sides = (inside_of(line, *before), inside_of(line, *after))
        assert crossed == (sides == (False, True), sides == (True, False))


@pytest.mark.parametrize(
    ("box", "zone", "inside"),
    [
        ((15, 0, 25, 30), "LEFT", False),
        ((15, 30, 25, 60), None, True),
        # Where two zones overlap, the one named first holds.
        ((35, 0, 45, 30), "LEFT", False),
        ((60, 0, 70, 70), "BOTH", True),
        # Cut off by the frame's lower edge, where the polygon ends too.
        ((60, 20, 70, 80), "BOTH", True),
        ((60, 20, 70, 95), "BOTH", True),
    ],
)
def test_the_bottom_centre_decides(box: tuple[float, float, float, float], zone: str | None, inside: bool) -> None:
    areas = (("LEFT", SQUARE), ("BOTH", [[30, 10], [90, 10], [90, 80], [30, 80]]))
    there = place(Scene("S", "C", 100, 80, areas, [[0, 40], [100, 40]], Entrance.LINE), box)
    assert (there.zone, there.inside) == (zone, inside)
    assert there.floor is None


@pytest.mark.parametrize(("foot", "clear"), [(40, False), (45, False), (46, True), (34, True), (36, False)])
def test_near_the_line_a_side_is_not_clear(foot: float, clear: bool) -> None:
    """In heights of the box, here 40 pixels."""
    there = place(Scene("S", "C", 100, 80, (), [[0, 40], [100, 40]], Entrance.LINE), (45, foot - 40, 55, foot))
    assert there.clear is clear


@given(st.lists(st.floats(0, 100), min_size=2, max_size=2), st.integers(0, 2**32 - 1))
def test_a_convex_polygon_holds_what_lies_on_one_side_of_every_edge(point: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
    polygon = [[50 + 40 * float(np.cos(a)), 50 + 40 * float(np.sin(a))] for a in angles]
    x, y = point
    turns = [
        (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    ]
    if min(map(abs, turns)) > 1e-6:
        assert holds(polygon, x, y) is all(turn > 0 for turn in turns)


SEEN_FROM = st.tuples(st.floats(-3, 3), st.floats(2, 6), st.floats(-0.6, 0.6), st.floats(0.3, 1.0))


@given(SEEN_FROM, st.lists(st.tuples(st.floats(-4, 4), st.floats(3, 12)), min_size=3, max_size=6))
def test_the_floor_is_found_from_four_points(camera: tuple[float, ...], probes: list[tuple[float, float]]) -> None:
    """A pinhole camera at (x, 0) in some height, turned and tilted: what it projects comes back to the centimetre."""
    x0, height, pan, tilt = camera

    def pixel(x: float, y: float) -> list[float]:
        along = (y * math.cos(pan) + (x - x0) * math.sin(pan)) * math.cos(tilt) + height * math.sin(tilt)
        down = height * math.cos(tilt) - (y * math.cos(pan) + (x - x0) * math.sin(pan)) * math.sin(tilt)
        return [320 + 500 * ((x - x0) * math.cos(pan) - y * math.sin(pan)) / along, 180 + 500 * down / along]

    corners = [(-4.0, 3.0), (4.0, 3.0), (4.0, 12.0), (-4.0, 12.0)]
    assume(all(pixel(*corner)[1] > 0 for corner in corners))
    floor = homography([(pixel(*corner), corner) for corner in corners])
    for probe in probes:
        found = project(floor, *pixel(*probe))
        assert found is not None
        assert math.dist(found, probe) < 0.01


@pytest.mark.parametrize(
    "pixels",
    [[[0, 0], [10, 10], [20, 20], [30, 0]], [[0, 0], [0, 0], [20, 20], [30, 0]], [[5, 5]] * 4],
)
def test_points_that_determine_no_floor(pixels: list[list[float]]) -> None:
    points = [{"pixel": p, "floor": f} for p, f in zip(pixels, [[0, 0], [0, 1], [1, 1], [1, 0]], strict=True)]
    with pytest.raises(CameraError, match="floor_points of camera C"):
        scene_of(layout(cameras=[{"camera_id": "C", "floor_points": points}]), "C", 100, 80)


def test_the_layout_in_the_documentation_fits() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "cameras.md").read_text()
    shown = StoreLayout.model_validate_json(text.split("```json")[1].split("```")[0])
    scene = scene_of(shown, "CAM-1", 768, 432)
    assert scene.line is not None
    # "walking to the left in the picture is coming in"
    assert inside_of(scene.line, 500, 300) is True
    assert inside_of(scene.line, 700, 300) is False


def test_over_the_line_is_measured_in_metres_where_they_are_known() -> None:
    """1 cm a pixel: 0.6 m beyond the line are clear, whatever the height of the box."""
    metres = ((0.01, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 1.0))
    scene = Scene("S", "C", 1000, 800, (), [[0, 400], [1000, 400]], Entrance.LINE, metres)
    assert [place(scene, (480, y - 300, 520, y)).clear for y in (455, 465, 345, 335)] == [False, True, False, True]
    assert place(scene, (480, 100, 520, 465)).ground == pytest.approx((5, 4.65))
    bare = Scene("S", "C", 1000, 800, (), [[0, 400], [1000, 400]], Entrance.LINE)
    assert place(bare, (480, 155, 520, 455), metres).clear is False
    assert place(bare, (480, 165, 520, 465), metres).floor is None


# Draws of people, not all draws: a search for 300 people who mislead it would find them.
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tilt", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("up", [2.4, 2.9, 3.4])
def test_a_ruler_learns_the_ground_from_peoples_heights(up: float, tilt: float, seed: int) -> None:
    """A camera like those the ruler assumes: what it makes of two feet a metre apart is right to some 40 cm."""
    rng = np.random.default_rng(seed)
    focal = FOCAL * 640

    def pixel(x: float, y: float, z: float) -> tuple[float, float]:
        along, down = y * math.cos(tilt) + (up - z) * math.sin(tilt), (up - z) * math.cos(tilt) - y * math.sin(tilt)
        return 320 + focal * x / along, 180 + focal * down / along

    ruler = Ruler(640, 360)
    for _ in range(300):
        x, y, tall = rng.uniform(-2, 2), rng.uniform(4, 8), rng.normal(1.7, 0.07)
        (u, v), (_, head) = pixel(x, y, 0), pixel(x, y, tall)
        ruler.see((u - 20, head, u + 20, v))
    assert ruler.ground is not None
    for one, other in (((0, 5), (1, 5)), ((0, 5), (0, 6)), ((-1, 6), (-1, 7))):
        ends = [project(ruler.ground, *pixel(*point, 0)) for point in (one, other)]
        assert ends[0] is not None and ends[1] is not None
        assert math.dist(ends[0], ends[1]) == pytest.approx(1, abs=0.4)


def test_a_ruler_says_nothing_where_heights_tell_nothing() -> None:
    above, near = Ruler(640, 360), Ruler(640, 360)
    for look in range(200):
        above.see((100, 3 * look % 250, 200, 3 * look % 250 + 100))
        near.see((100, 100, 200, 300 + look % 3))
    assert above.ground is None
    assert near.ground is None
