"""What is true in a scene, by tables of ways; and that scenes hold what their kind promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.cameras.scene import inside_of
from producers.simulator.footage.people import Wardrobe, apart
from producers.simulator.footage.scenes import KINDS, scene
from producers.simulator.footage.truth import Stay, crossings, queue_events

SEEDS = st.integers(0, 9999)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(0, -2), (4, 2)], [(2.0, True)], id="walks in"),
        pytest.param([(0, 2), (4, -2)], [(2.0, False)], id="walks out"),
        pytest.param([(0, -2), (2, -0.3), (4, 0.3), (6, -0.3), (8, 0.3), (10, -2)], [], id="dithers and goes"),
        pytest.param([(0, -2), (2, 0.3), (4, -0.3), (6, 3.6)], [(4.15, True)], id="dithers and comes: the last step"),
        pytest.param([(0, 2), (8, 3)], [], id="is there from the start"),
        pytest.param([(0, -2), (4, 2), (8, -2), (12, 2)], [(2.0, True), (6.0, False), (10.0, True)], id="and again"),
    ],
)
def test_crossings(steps: list[tuple[float, float]], expected: list[tuple[float, bool]]) -> None:
    found = crossings(np.array([(at, 5.0, y) for at, y in steps]))
    assert [inwards for _, inwards in found] == [inwards for _, inwards in expected]
    assert [at for at, _ in found] == pytest.approx([at for at, _ in expected], abs=0.06)


@pytest.mark.parametrize(
    ("stays", "expected"),
    [
        pytest.param([(0, 10)], [], id="alone: no queue"),
        pytest.param([(0, 10), (5, 20)], [(5, "JOIN", 1, 2)], id="waits and is served"),
        pytest.param([(0, 10), (5, 8)], [(5, "JOIN", 1, 2), (8, "ABANDON", 1, 1)], id="gives up"),
        pytest.param([(0, 10), (5, 60)], [(5, "JOIN", 1, 2)], id="still there at the end"),
        pytest.param([(0, 10), (10, 20)], [], id="comes as the other goes"),
        pytest.param(
            [(0, 10), (2, 20), (4, 12)],
            [(2, "JOIN", 1, 2), (4, "JOIN", 2, 3), (12, "ABANDON", 2, 1)],
            id="the last of three gives up",
        ),
    ],
)
def test_queue(stays: list[tuple[float, float]], expected: list[tuple[float, str, int, int]]) -> None:
    found = queue_events([Stay(number, *stay) for number, stay in enumerate(stays)], seconds=30)
    told = sorted((e.at_s, e.kind.removeprefix("BILLING_QUEUE_"), e.person, e.queue_depth) for e in found)
    assert told == expected


PROMISES = {
    "empty": lambda made, _: not made,
    "ordinary": lambda made, _: 1 <= made["ENTRY"] <= 3 and not made["REENTRY"],
    "reentry": lambda made, _: made == {"ENTRY": 2, "REENTRY": 2, "EXIT": 4},
    "group": lambda _, shown: 2 <= max(event.group_size for event in shown.events) <= 4,
    "staff_in_uniform": lambda _, shown: shown.layout.staff is not None and any(p.staff for p in shown.people),
    "staff_by_zone": lambda _, shown: any(zone.staff_only for zone in shown.layout.zones),
    "dither": lambda made, _: made["ENTRY"] in (1, 2) and not made["REENTRY"],
    "queue": lambda made, _: made["BILLING_QUEUE_JOIN"] >= 1,
    "overlap": lambda _, shown: len(shown.lenses) == 2,
    "busy": lambda made, shown: made["ENTRY"] >= 5 and len(shown.lenses) == 2,
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_scenes_hold_what_they_promise(kind: str, seed: int) -> None:
    shown = scene(seed, kind)
    made = Counter(event.kind for event in shown.events)
    assert PROMISES.get(kind, lambda made, _: made["ENTRY"] >= 2)(made, shown), (made, shown.seconds)
    assert all(0 <= event.at_s < shown.seconds - 2.9 for event in shown.events)
    # Who was there, plus who came, less who went, is who is there.
    there = np.nan_to_num(shown.places[..., 1], nan=-1) > 0
    if len(shown.people):
        assert there[0].sum() + made["ENTRY"] + made["REENTRY"] - made["EXIT"] == there[-1].sum()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_layout_fits_the_pictures(seed: int) -> None:
    """Feet inside lie on the line's inner side and in the zone's polygon; marks on the floor are where they say."""
    shown = scene(seed)
    for lens, camera in zip(shown.lenses, shown.layout.cameras, strict=True):
        for y, inside in ((-0.4, False), (0.4, True)):
            if camera.entrance_line:
                x, v = lens.pixels((shown.plan.door_x, y, 0.0)).tolist()
                assert inside_of(camera.entrance_line, x, v) is inside
        assert (camera.entrance_line is not None) == lens.door
        for mark in camera.floor_points or []:
            x, y = mark.floor
            assert lens.pixels((x, shown.plan.depth - y, 0.0)).tolist() == pytest.approx(mark.pixel, abs=2)
    for zone in shown.layout.zones:
        rect = shown.plan.zones[zone.zone_id][1]
        for area in zone.areas:
            lens = next(lens for lens in shown.lenses if lens.camera_id == area.camera_id)
            middle = np.mean(area.polygon, axis=0)
            corners = [lens.pixels((x, y, 0.0)) for x, y in rect.corners]
            if not np.isnan(corners).any():
                assert np.min(corners, axis=0)[0] <= middle[0] <= np.max(corners, axis=0)[0]


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_people_keep_out_of_furniture_and_of_each_other(seed: int) -> None:
    shown = scene(seed)
    for thing in shown.plan.furniture:
        assert not thing.foot.holds(shown.places).any()
    apart_m = [
        np.nanmin(np.hypot(*(shown.places[:, i] - shown.places[:, j]).T), initial=9)
        for i in range(len(shown.people))
        for j in range(i)
    ]
    assert min(apart_m, default=9) > 0.2


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_a_seed_makes_one_scene(seed: int) -> None:
    one, two = scene(seed), scene(seed)
    assert (one.layout, one.events, one.lenses) == (two.layout, two.events, two.lenses)
    assert np.array_equal(one.places, two.places, equal_nan=True)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_clothes_differ(seed: int) -> None:
    wardrobe = Wardrobe(np.random.default_rng(seed), (40, 60, 200))
    worn = [wardrobe.clothes() for _ in range(6)]
    alike = wardrobe.lookalike(worn[0])
    assert all(apart(one.upper, (40, 60, 200)) >= 45 for one in worn)
    assert 20 <= apart(alike.upper, worn[0].upper) <= 34
    assert wardrobe.uniform().upper == (40, 60, 200)
