"""What presses, drags and keys do to a layout, by tables and properties; no page."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.editor.drawing import Drawing, Selection, Tool, empty_document, text_of
from schemas.events import StoreLayout

SIZE = (640, 400)
SQUARE = [[100, 100], [300, 100], [300, 300], [100, 300]]


def document(*zones: Any, **camera: Any) -> dict[str, Any]:
    """A layout with zones on camera C."""
    return {
        "store_id": "S",
        "timestamp": "2026-11-01T00:00:00Z",
        "zones": [
            {"zone_id": f"Z{i}", "type": "SHELF", "areas": [{"camera_id": "C", "polygon": deepcopy(polygon)}]}
            for i, polygon in enumerate(zones)
        ],
        "cameras": [{"camera_id": "C", "frame_width": 640, "frame_height": 400, **camera}],
    }


def drawing(*zones: Any, **camera: Any) -> Drawing:
    return Drawing(document(*zones, **camera), "C", SIZE)


def press(one: Drawing, *places: tuple[float, float]) -> None:
    for x, y in places:
        one.press(x, y)
        one.release(x, y)


def drag(one: Drawing, start: tuple[float, float], *through: tuple[float, float]) -> None:
    one.press(*start)
    for x, y in through:
        one.move(x, y, pressed=True)
    one.release(*(through or [start])[-1])


def polygon(one: Drawing, zone: int = 0, area: int = 0) -> Any:
    return one.document["zones"][zone]["areas"][area]["polygon"]


@pytest.mark.parametrize("end", ["the first corner", "a double press", "Enter"])
def test_a_polygon_closes(end: str) -> None:
    one = drawing()
    one.choose(Tool.ZONE)
    press(one, (10.4, 10.6), (200, 10), (200, 150))
    press(one, *{"the first corner": [(12, 12)], "a double press": [(201, 150)]}.get(end, []))
    one.finish()
    assert polygon(one) == [[10, 11], [200, 10], [200, 150]]
    assert one.document["zones"][0]["zone_id"] == "ZONE-1"
    assert (one.tool, one.selection, one.points) == (Tool.SELECT, Selection("zone", 0, 0), [])


def test_two_corners_are_no_zone_and_escape_drops_them() -> None:
    one = drawing()
    one.choose(Tool.ZONE)
    press(one, (10, 10), (200, 10))
    one.finish()
    assert one.points and not one.zones
    one.undo()
    assert one.points == [[10, 10]]
    one.cancel()
    assert not one.points and not one.is_dirty


def test_ids_are_new_and_another_area_joins_its_zone() -> None:
    one = drawing(SQUARE)
    one.set_zone(0, zone_id="ZONE-1")
    one.choose(Tool.ZONE)
    press(one, (400, 10), (600, 10), (600, 150))
    one.finish()
    assert [zone["zone_id"] for zone in one.zones] == ["ZONE-1", "ZONE-2"]
    one.extend(0)
    press(one, (400, 200), (600, 200), (600, 350))
    one.finish()
    assert [len(zone["areas"]) for zone in one.zones] == [2, 1]
    assert one.selection == Selection("zone", 0, 1)


@pytest.mark.parametrize(
    "gesture",
    [lambda one: drag(one, (50, 50), (90, 90), (300, 60)), lambda one: press(one, (50, 50), (51, 50), (300, 60))],
    ids=["dragged", "pressed twice"],
)
def test_an_entrance_line(gesture: Any) -> None:
    one = drawing()
    one.choose(Tool.LINE)
    gesture(one)
    assert one.line == [[50, 50], [300, 60]]
    one.turn_line()
    assert one.line == [[300, 60], [50, 50]]
    one.selection = Selection("line")
    one.delete()
    assert one.line is None and "entrance_line" not in one.camera


def test_corners_edges_and_whole_zones_are_dragged() -> None:
    one = drawing(SQUARE)
    drag(one, (301, 299), (350, 350), (361, 369))
    assert polygon(one) == [[100, 100], [300, 100], [360, 370], [100, 300]]
    # The middle of an edge of the selected zone makes a corner.
    drag(one, (200, 100), (200, 60))
    assert polygon(one) == [[100, 100], [200, 60], [300, 100], [360, 370], [100, 300]]
    one.delete()
    assert polygon(one) == [[100, 100], [300, 100], [360, 370], [100, 300]]
    drag(one, (200, 200), (210, 190))
    assert polygon(one) == [[110, 90], [310, 90], [370, 360], [110, 290]]
    for _ in range(4):
        one.undo()
    assert polygon(one) == SQUARE and not one.can_undo


def test_a_press_without_a_move_changes_nothing() -> None:
    one = drawing(SQUARE)
    press(one, (100, 100), (200, 200))
    assert not one.can_undo and not one.is_dirty


def test_a_button_let_go_outside_of_the_picture_ends_the_drag() -> None:
    one = drawing(SQUARE)
    one.press(100, 100)
    one.move(120, 120, pressed=True)
    one.move(200, 200, pressed=False)
    one.move(220, 220, pressed=True)
    assert polygon(one)[0] == [120, 120]


def test_delete_takes_the_area_and_the_zone_with_its_last() -> None:
    one = drawing(SQUARE, [[400, 100], [500, 100], [500, 300]])
    one.zones[0]["areas"].append({"camera_id": "D", "polygon": SQUARE})
    press(one, (200, 200))
    one.delete()
    assert [zone["zone_id"] for zone in one.zones] == ["Z0", "Z1"] and one.zones[0]["areas"][0]["camera_id"] == "D"
    one.select_zone(0)
    one.delete()
    assert len(one.zones) == 2, "what other cameras see stays"
    # A triangle has no corner to spare.
    press(one, (500, 300))
    one.delete()
    assert [zone["zone_id"] for zone in one.zones] == ["Z0"]


def test_fields_are_set_and_taken_out() -> None:
    one = drawing(SQUARE)
    one.set_zone(0, name="Table", staff_only=True, type="BILLING")
    one.set_colours(["#112233", "#112233", "#445566"])
    one.set_plan(12.0, 8.0)
    zone = one.layout().zones[0]
    assert (zone.name, zone.staff_only, zone.type) == ("Table", True, "BILLING")
    assert one.colours == ["#112233", "#445566"] and one.document["plan"] == {"width_m": 12.0, "height_m": 8.0}
    one.set_zone(0, name=None, staff_only=False)
    one.set_colours([])
    assert one.zones[0].keys() == {"zone_id", "type", "areas"} and "staff" not in one.document
    before = one.can_undo, len(text_of(one.document))
    one.set_zone(0, type="BILLING")
    assert (one.can_undo, len(text_of(one.document))) == before


def test_floor_points_are_placed_measured_and_removed() -> None:
    one = drawing()
    one.choose(Tool.FLOOR)
    press(one, (10, 10), (600, 20))
    one.set_floor(1, 4.5, 0)
    assert one.floor_points == [{"pixel": [10, 10], "floor": [0.0, 0.0]}, {"pixel": [600, 20], "floor": [4.5, 0]}]
    assert any("floor_points" in finding.message for finding in one.problems()), "four are needed"
    for _ in range(2):
        one.selection = Selection("floor", 0)
        one.delete()
    assert "floor_points" not in one.camera


def test_what_lies_below_the_selected_zone_does_not_take_its_corners() -> None:
    one = drawing(SQUARE, [[100, 100], [400, 100], [400, 380]])
    one.select_zone(1)
    drag(one, (100, 100), (90, 90))
    assert polygon(one) == SQUARE and polygon(one, 1)[0] == [90, 90]


def test_the_order_of_zones_can_be_changed() -> None:
    one = drawing(SQUARE, SQUARE)
    assert [f.zone_id for f in one.problems() if f.rule == "overlap"] == ["Z1"]
    one.select_zone(1)
    one.earlier(1)
    assert [zone["zone_id"] for zone in one.zones] == ["Z1", "Z0"] and one.selection == Selection("zone", 0, 0)


def test_a_drawing_of_another_size_is_carried_over() -> None:
    one = Drawing(document(SQUARE, entrance_line=[[0, 0], [639, 399]]), "C", (1280, 800))
    assert not one.fits and any(f.rule == "frame-size" for f in one.problems())
    one.rescale()
    assert polygon(one) == [[200, 200], [600, 200], [600, 600], [200, 600]]
    assert one.fits and not any(f.rule == "frame-size" for f in one.problems())


def test_a_new_layout_gets_the_camera_and_its_size() -> None:
    one = Drawing(empty_document("SHOP"), "CAM-7", SIZE)
    assert one.layout().cameras[0].camera_id == "CAM-7" and one.fits and one.is_dirty


def test_an_id_that_no_layout_may_have_is_a_finding() -> None:
    one = drawing(SQUARE)
    one.set_zone(0, zone_id="A\x07")
    assert [f.rule for f in one.problems()] == ["not-valid"]


def test_unknown_fields_stay_where_they_were() -> None:
    given = document(SQUARE, colour="green")
    given.update(invented={"a": [1, 2, 3]}, opening_hours={"mon": [["09:00", "20:00"]]})
    given["zones"][0]["note"] = "keep 1.0, [2.0, 3.0]"
    one = Drawing(given, "C", SIZE)
    drag(one, (200, 200), (210, 200))
    read = json.loads(text_of(one.document))
    assert read == one.document and read["invented"] == {"a": [1, 2, 3]}
    assert read["cameras"][0]["colour"] == "green" and read["zones"][0]["note"] == "keep 1.0, [2.0, 3.0]"
    assert "[110, 100]" in text_of(one.document), "a point is on one line"


PLACES = st.tuples(st.integers(-20, 700), st.integers(-20, 450))
ACTS = st.one_of(
    st.tuples(st.just("press"), PLACES),
    st.tuples(st.just("drag"), PLACES, PLACES),
    st.tuples(st.just("choose"), st.sampled_from(list(Tool))),
    st.tuples(st.sampled_from(["finish", "cancel", "delete", "turn_line"])),
)


def act(one: Drawing, step: Any) -> None:
    name, *given = step
    if name == "press":
        press(one, *given)
    elif name == "drag":
        drag(one, *given)
    else:
        getattr(one, name)(*given)


@given(st.lists(ACTS, max_size=40))
def test_whatever_is_done_the_layout_stays_readable_and_can_be_taken_back(steps: list[Any]) -> None:
    one = drawing(SQUARE, entrance_line=[[10, 10], [300, 10]])
    first = deepcopy(one.document)
    for step in steps:
        act(one, step)
        fewer = 0 < len(one.floor_points) < 4
        if not fewer:
            StoreLayout.model_validate_json(text_of(one.document))
        one.problems()
        for _, _, corners in one.areas():
            assert all(0 <= x < 640 and 0 <= y < 400 for x, y in corners)
    last, half_drawn = deepcopy(one.document), len(one.points)
    steps_back = 0
    while one.can_undo:
        one.undo()
        steps_back += 1
    assert one.document == first
    for _ in range(steps_back - half_drawn):
        one.redo()
    assert one.document == last and not one.can_redo
