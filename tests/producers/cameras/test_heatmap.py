"""The heat map: its sum is the time that people were seen for, once each, whoever saw them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras import CameraError, Entrance
from producers.cameras.heatmap import Dwell, HeatMap
from producers.cameras.scene import Scene
from producers.cameras.shop import Seen
from producers.cameras.sources import Frame
from producers.cameras.watch import PATIENCE_S, Look
from schemas.events import StoreLayout
from tests.producers.cameras.looks import looks, scenes_of
from tests.producers.cameras.test_annotate import detections, noise

pytestmark = pytest.mark.usefixtures("vision")

# One pixel is a centimetre, of a plan of 8 by 6 m from its corner on.
FLOOR = ((0.01, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 1.0))


def layout(**fields: Any) -> StoreLayout:
    return StoreLayout.model_validate_json(
        StoreLayout.model_validate(
            {"store_id": "S", "timestamp": "2026-11-01T00:00:00Z", **fields}, strict=False
        ).model_dump_json()
    )


def scene(camera: str = "C", floor: Any = None) -> Scene:
    return Scene("S", camera, 320, 240, (), None, Entrance.NONE, floor)


def look(at_ms: int, *feet: tuple[float, float], camera: str = "C") -> Look:
    people = detections(*((x - 10, y - 50, x + 10, y) for x, y in feet))
    return Look(camera, Frame(noise(), at_ms), people, [], [], people)


def who(*names: str | None, staff: bool = False) -> dict[int, Seen]:
    return {i: Seen(name or f"VIS_maybe_{i}", name is not None, None, staff, None) for i, name in enumerate(names)}


def test_a_person_warms_the_square_they_stand_on(tmp_path: Path) -> None:
    heat = HeatMap(tmp_path / "heat.png", layout(plan={"width_m": 4.0, "height_m": 3.0}), {"C": scene(floor=FLOOR)})
    for n in range(11):
        heat.see(look(100 * n, (120, 220)), who("VIS_1"))
    assert heat.floor is not None and heat.floor.seconds.shape == (6, 8)
    assert heat.floor.seconds[4, 2] == pytest.approx(1.0) == heat.floor.seconds.sum()
    assert heat.floor.visitors == {"VIS_1"}


@given(
    st.lists(
        st.tuples(st.integers(1, 4000), st.lists(st.tuples(st.integers(20, 300), st.integers(60, 235)), max_size=4)),
        max_size=20,
    ),
    st.sampled_from([None, FLOOR]),
)
def test_the_sum_is_that_of_the_person_seconds(tmp_path_factory: Any, steps: Any, floor: Any) -> None:
    """What passes between two sightings of somebody, where it is short enough to know that they stayed."""
    path = tmp_path_factory.getbasetemp() / "heat.png"
    heat = HeatMap(path, layout(plan={"width_m": 4.0, "height_m": 3.0}), {"C": scene(floor=floor)})
    at_ms, expected, last = 1_000_000, 0.0, {}
    for gap, feet in steps:
        at_ms += gap
        heat.see(look(at_ms, *feet), who(*(f"VIS_{i}" for i in range(len(feet)))))
        for i in range(len(feet)):
            seconds = (at_ms - last.get(i, at_ms)) / 1000
            expected += seconds if seconds <= PATIENCE_S else 0
            last[i] = at_ms
    dwell = heat.floor or heat.frames["C"]
    assert dwell.seconds.sum() == pytest.approx(expected) and dwell.beside == 0


def test_two_cameras_share_a_persons_time(tmp_path: Path) -> None:
    scenes = {camera: scene(camera, FLOOR) for camera in "AB"}
    heat = HeatMap(tmp_path / "heat.png", layout(plan={"width_m": 4.0, "height_m": 3.0}), scenes)
    for n in range(21):
        heat.see(look(100 * n, (120, 220), camera="AB"[n % 2]), who("VIS_1"))
    assert heat.floor is not None and heat.floor.seconds.sum() == pytest.approx(2.0)


def test_who_is_named_late_keeps_their_time_and_staff_have_none(tmp_path: Path) -> None:
    heat = HeatMap(tmp_path / "heat.png", layout(), {"C": scene()})
    for n in range(11):
        heat.see(look(100 * n, (120, 220)), who("VIS_1" if n >= 5 else None))
        heat.see(look(100 * n, (200, 220)), who("VIS_9", staff=True))
    assert heat.frames["C"].seconds.sum() == pytest.approx(1.0) and heat.frames["C"].visitors == {"VIS_1"}


def test_who_passes_beside_the_plan_is_said_apart(tmp_path: Path) -> None:
    heat = HeatMap(tmp_path / "heat.png", layout(plan={"width_m": 1.0, "height_m": 1.0}), {"C": scene(floor=FLOOR)})
    for n in range(11):
        heat.see(look(100 * n, (50, 99), (150, 99)), who("VIS_1", "VIS_2"))
    assert heat.floor is not None
    assert (heat.floor.seconds.sum(), heat.floor.beside) == (pytest.approx(1.0), pytest.approx(1.0))
    assert heat.floor.visitors == {"VIS_1"}


def test_a_week_of_visitors_leaves_memory_flat(tmp_path: Path) -> None:
    heat = HeatMap(tmp_path / "heat.png", layout(), {"C": scene()})
    for n in range(300):
        heat.see(look(10_000 * n, (120, 220)), who(None))
        heat.see(look(10_000 * n + 1, (120, 220)), who(f"VIS_{n}"))
    assert len(heat._last_ms) < 20


def test_a_rendered_scene_has_its_map(tmp_path: Path) -> None:
    """Against the truth: customers' time in view on the plan, whichever cameras saw them."""
    import cv2

    from producers.simulator.footage.scenes import scene as story_of

    # Not every seed's cameras have floor points.
    story = next(story for seed in range(20) if (story := story_of(seed, "busy")).layout.plan)
    scenes = scenes_of(story)
    heat = HeatMap(tmp_path / "heat.png", story.layout, scenes)
    seen: dict[int, set[int]] = {}
    plan = story.layout.plan
    assert plan is not None
    for one, view, shot in islice(looks(story, scenes), 600):
        heat.see(one, view)
        for person in shot.seen:
            x, y = story.places[shot.number, person.person]
            if person.visible >= 0.3 and 0 <= x < plan.width_m and 0 <= y < plan.height_m:
                seen.setdefault(shot.number, set()).add(person.person)
    customers = {i for i, person in enumerate(story.people) if not person.staff}
    truth = sum(len(people & customers) for people in seen.values()) / story.fps
    assert heat.floor is not None and heat.floor.seconds.sum() == pytest.approx(truth, rel=0.15)
    assert heat.save() == [tmp_path / "heat.png"]
    image = cv2.imread(str(tmp_path / "heat.png"))
    assert min(image.shape[:2]) > 300 and [path.name for path in tmp_path.iterdir()] == ["heat.png"]


def test_cameras_without_floor_points_have_pictures_of_their_own(tmp_path: Path) -> None:
    import cv2

    scenes = {"A": scene("A", FLOOR), "B": scene("B"), "C": scene("C")}
    heat = HeatMap(tmp_path / "heat.png", layout(plan={"width_m": 4.0, "height_m": 3.0}), scenes)
    for camera in "AB":
        for n in range(5):
            heat.see(look(100 * n, (120, 220), camera=camera), who("VIS_1"))
    assert [path.name for path in heat.save()] == ["heat.png", "heat.B.png"]
    shown = cv2.imread(str(tmp_path / "heat.B.png"))
    sharp = cv2.Laplacian(noise(), cv2.CV_64F).var()
    assert cv2.Laplacian(shown[200:700, 200:400], cv2.CV_64F).var() < 0.05 * sharp, "nobody is to be told in it"


def test_an_empty_shop_has_a_map_too(tmp_path: Path) -> None:
    heat = HeatMap(tmp_path / "heat.png", layout(), {"C": scene()})
    heat.see(look(0), {})
    assert heat.save() == [tmp_path / "heat.png"]


def test_time_outside_is_not_at_the_edge() -> None:
    dwell = Dwell(2, 2)
    dwell.add(1.0, 0.5, 3.0, "VIS_1")
    assert dwell.seconds.sum() == 0 and dwell.beside == 3.0 and not dwell.visitors


@pytest.mark.parametrize("name", ["heat.jpg", "heat", "none/heat.png"])
def test_a_name_that_no_map_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(CameraError):
        HeatMap(tmp_path / name, layout(), {"C": scene()})
