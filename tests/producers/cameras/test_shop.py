"""A shop of two cameras by tables of people: where each stands at each look, and the events of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.cameras import Entrance
from producers.cameras.appearance import Descriptor
from producers.cameras.observations import Observation
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from schemas.events import StoreLayout, VisitEvent

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
START_MS = round(START.timestamp() * 1000)
STEP_MS = 200
SIZE = 1000
TALL = 200.0

# Two cameras that see the same floor of 10 by 10 metres, 1 cm a pixel: D from the other side. One comes in downwards in C.
SQUARE = [[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]]
FLOOR = {
    "C": [{"pixel": p, "floor": [p[0] / 100, p[1] / 100]} for p in SQUARE],
    "D": [{"pixel": p, "floor": [10 - p[0] / 100, 10 - p[1] / 100]} for p in SQUARE],
}
LINE = [[0, 300], [1000, 300]]
AISLE = [[0, 600], [400, 600], [400, 1000], [0, 1000]]
TILL = [[600, 600], [1000, 600], [1000, 1000], [600, 1000]]


def seen_from_d(polygon: list[list[float]]) -> list[list[float]]:
    return [[SIZE - x, SIZE - y] for x, y in polygon]


def layout(**more: Any) -> StoreLayout:
    """Zones AISLE and TILL on both cameras, an entrance line on C, and floor points unless ``floor=False``."""
    floor = more.pop("floor", True)
    document = {
        "store_id": "S",
        "timestamp": "2026-11-01T00:00:00Z",
        "zones": [
            {
                "zone_id": name,
                "type": kind,
                "areas": [
                    {"camera_id": "C", "polygon": polygon},
                    {"camera_id": "D", "polygon": seen_from_d(polygon)},
                ],
            }
            for name, kind, polygon in (("AISLE", "SHELF", AISLE), ("TILL", "BILLING", TILL))
        ],
        "cameras": [
            {"camera_id": "C", "entrance_line": LINE, "floor_points": FLOOR["C"] if floor else None},
            {"camera_id": "D", "floor_points": FLOOR["D"] if floor else None},
        ],
        **more,
    }
    return StoreLayout.model_validate_json(json.dumps(document))


def shop(salt: bytes = b"salt", entrance: Entrance | None = None, **more: Any) -> Shop:
    shown = layout(**more)
    scenes = {camera: scene_of(shown, camera, SIZE, SIZE, entrance if camera == "C" else None) for camera in "CD"}
    return Shop(shown, scenes, salt=salt)


def clothes(kind: int) -> Descriptor:
    """Descriptors of which two kinds are entirely unlike."""
    vector = np.zeros(8, np.float32)
    vector[kind] = 1
    return vector


Point = tuple[float, float]
Person = tuple[int, dict[str, Any], Callable[[int], Point | None]]


def box(x: float, y: float) -> tuple[float, float, float, float]:
    return (x - 40, y - TALL, x + 40, y)


def way(*stops: tuple[int, float, float]) -> Callable[[int], Point | None]:
    """Walking in a straight line from stop to stop (look, x, y); None before the first and after the last."""

    def at(look: int) -> Point | None:
        for (l0, x0, y0), (l1, x1, y1) in pairwise(stops):
            if l0 <= look <= l1:
                share = (look - l0) / (l1 - l0)
                return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        return None

    return at


def run(
    store: Shop, looks: int, *people: tuple[str, int, dict[str, Any], Callable[[int], Point | None]]
) -> list[VisitEvent]:
    """People as (camera, track, what is seen of them, way). The way is camera C's; D sees it from the other side."""
    events: list[VisitEvent] = []
    for look in range(looks):
        for camera in "CD":
            observations = []
            for name, track, seen, at in people:
                if name == camera and (point := at(look)) is not None:
                    x, y = point if camera == "C" else (SIZE - point[0], SIZE - point[1])
                    observations.append(
                        Observation(
                            track, box(x, y), seen.get("confidence", 0.9), seen.get("clothes"), seen.get("uniform")
                        )
                    )
            events += store.see(camera, START_MS + look * STEP_MS, observations)
    return [*events, *store.finish("C"), *store.finish("D")]


def names(events: Sequence[VisitEvent]) -> dict[str, str]:
    """Visitors in the order of their first event, as a, b, ..."""
    found = dict.fromkeys(event.visitor_id for event in events)
    return {visitor: "abcdefghijklmnopqrstuvwxyz"[number] for number, visitor in enumerate(found)}


def brief(events: Sequence[VisitEvent]) -> str:
    name = names(events)
    return ", ".join(
        f"{name[event.visitor_id]} {event.event_type.removeprefix('ZONE_').removeprefix('BILLING_QUEUE_')}"
        f"{' ' + event.zone_id if event.zone_id else ''}"
        for event in events
    )


IN_AND_OUT = way((0, 500, 150), (10, 500, 450), (30, 200, 800), (60, 200, 800), (80, 500, 450), (90, 500, 150))


def test_a_visit_from_the_door_to_the_aisle_and_out() -> None:
    events = run(shop(), 140, ("C", 1, {"clothes": clothes(0)}, IN_AND_OUT))
    assert brief(events) == "a ENTRY, a ENTER AISLE, a EXIT AISLE, a EXIT"
    assert [event.metadata.session_seq for event in events] == [0, 1, 2, 3]
    assert all(event.confidence == 0.9 and not event.is_staff for event in events)
    # Held back until it is known who comes along, but told with the time at which it was.
    assert events[0].timestamp == START + timedelta(milliseconds=6 * STEP_MS)


def test_an_empty_shop_has_no_events() -> None:
    assert run(shop(), 100) == []


@pytest.mark.parametrize(
    ("stops", "entrance", "expected"),
    [
        (((0, 500, 500), (10, 500, 500)), Entrance.FRAME, "a ENTRY"),
        (((0, 500, 500), (1, 500, 500)), Entrance.FRAME, "a ENTRY"),
        (((0, 500, 500), (1, 500, 500)), Entrance.NONE, ""),
        (((0, 200, 800), (10, 200, 800)), Entrance.FRAME, "a ENTRY, a ENTER AISLE, a EXIT AISLE, a EXIT"),
        (((0, 500, 100), (60, 500, 200)), Entrance.LINE, ""),
    ],
)
def test_what_counts_as_coming_in(stops: Any, entrance: Entrance, expected: str) -> None:
    events = run(shop(entrance=entrance), 60, ("C", 1, {}, way(*stops)))
    assert brief([event for event in events if event.event_type != "EXIT" or expected.endswith("EXIT")]) == expected


def test_the_end_of_a_source_is_nobodys_departure() -> None:
    events = run(shop(entrance=Entrance.FRAME), 20, ("C", 1, {}, way((0, 200, 800), (19, 200, 800))))
    assert brief(events) == "a ENTRY, a ENTER AISLE, a EXIT AISLE"


def test_ids_repeat_for_the_same_footage_and_for_no_other() -> None:
    person = ("C", 1, {"clothes": clothes(0)}, IN_AND_OUT)
    first, again = run(shop(), 140, person), run(shop(), 140, person)
    assert first == again
    for other in (
        run(shop(salt=b"other"), 140, person),
        run(shop(store_id="S2"), 140, person),
        run(shop(), 140, ("C", 2, *person[2:])),
        run(shop(), 140, (*person[:3], lambda look: IN_AND_OUT(look - 1))),
    ):
        assert len(other) == len(first)
        assert not {event.event_id for event in first} & {event.event_id for event in other}
        assert not {event.visitor_id for event in first} & {event.visitor_id for event in other}


def test_nobody_is_called_the_same_on_another_day() -> None:
    """Over midnight in the store's time zone, without leaving."""
    store = shop(time_zone="Asia/Kolkata")
    midnight_ms = round(datetime(2026, 11, 20, 18, 30, tzinfo=UTC).timestamp() * 1000)
    events = [
        event
        for at_ms in range(midnight_ms - 40_000, midnight_ms + 40_000, 500)
        for event in store.see("C", at_ms, [Observation(1, box(200, 800), 0.9)])
    ]
    days = [
        {e.visitor_id for e in events if (e.timestamp.timestamp() * 1000 < midnight_ms) is early}
        for early in (True, False)
    ]
    assert all(len(day) == 1 for day in days)
    assert not days[0] & days[1]


def seen_by_both(
    track: int, kind: int | None, at: Callable[[int], Point | None], **seen: Any
) -> list[tuple[str, int, dict[str, Any], Callable[[int], Point | None]]]:
    """The same person on C and D."""
    worn = {} if kind is None else {"clothes": clothes(kind)}
    return [(camera, track, {**seen, **worn}, at) for camera in "CD"]


LATER = way((20, 500, 150), (30, 500, 450), (50, 250, 850), (80, 250, 850), (100, 500, 450), (110, 500, 150))


@pytest.mark.parametrize("floor", [True, False])
def test_overlapping_cameras_count_nobody_twice(floor: bool) -> None:
    """By the floor where it is known, and else by the zone that both see and the clothes."""
    events = run(shop(floor=floor), 160, *seen_by_both(1, 0, IN_AND_OUT), *seen_by_both(2, 1, LATER))
    told = [brief([event for event in events if event.visitor_id == visitor]) for visitor in names(events)]
    assert told == ["a ENTRY, a ENTER AISLE, a EXIT AISLE, a EXIT"] * 2


def test_two_who_stand_together_are_told_apart_by_the_floor_alone() -> None:
    """Without clothes; half a metre between their places, and three between them later."""
    one, other = way((0, 300, 150), (10, 300, 450), (60, 200, 800)), way((0, 700, 150), (10, 700, 450), (60, 500, 800))
    store = shop()
    events = run(store, 60, *seen_by_both(1, None, one), *seen_by_both(2, None, other))
    assert sorted(event.event_type for event in events if event.event_type == "ENTRY") == ["ENTRY"] * 2
    assert len(names(events)) == 2
    merged = [decision for decision in store.decisions if decision.outcome == "merged"]
    assert {decision.kind for decision in merged} == {"overlap"}
    assert all(decision.score >= decision.threshold for decision in merged)


def test_one_door_on_two_cameras_that_nobody_placed() -> None:
    """Both with an entrance line, without floor points or a zone there."""
    store = shop(
        floor=False,
        zones=[],
        cameras=[
            {"camera_id": "C", "entrance_line": LINE},
            {"camera_id": "D", "entrance_line": seen_from_d(LINE)},
        ],
    )
    assert brief(run(store, 140, *seen_by_both(1, 0, IN_AND_OUT))) == "a ENTRY, a EXIT"


@pytest.mark.parametrize(
    ("first", "second", "layouts", "expected"),
    [
        (0, 0, {}, "a ENTRY, a EXIT, a REENTRY, a EXIT"),
        (0, 1, {}, "a ENTRY, a EXIT, b ENTRY, b EXIT"),
        # Nothing known of the clothes: nobody is taken for somebody else.
        (0, None, {}, "a ENTRY, a EXIT, b ENTRY, b EXIT"),
        (0, 0, {"identity": {"reentry_s": 10}}, "a ENTRY, a EXIT, b ENTRY, b EXIT"),
    ],
)
def test_who_comes_back(first: int, second: int | None, layouts: dict[str, Any], expected: str) -> None:
    def visit(
        track: int, kind: int | None, since: int
    ) -> tuple[str, int, dict[str, Any], Callable[[int], Point | None]]:
        stops = ((0, 500, 150), (10, 500, 450), (20, 500, 450), (30, 500, 150))
        worn = {} if kind is None else {"clothes": clothes(kind)}
        return ("C", track, worn, way(*((since + look, x, y) for look, x, y in stops)))

    events = run(shop(**layouts), 260, visit(1, first, 0), visit(2, second, 150))
    assert brief(events) == expected


def test_back_in_changed_order() -> None:
    """Out A, B; in B, A."""

    def visit(track: int, kind: int, since: int) -> tuple[str, int, dict[str, Any], Callable[[int], Point | None]]:
        stops = ((0, 500, 150), (10, 500, 450), (20, 500, 450), (30, 500, 150))
        return ("C", track, {"clothes": clothes(kind)}, way(*((since + look, x, y) for look, x, y in stops)))

    events = run(shop(), 300, visit(1, 0, 0), visit(2, 1, 40), visit(3, 1, 150), visit(4, 0, 190))
    assert brief(events) == "a ENTRY, a EXIT, b ENTRY, b EXIT, b REENTRY, b EXIT, a REENTRY, a EXIT"


def test_lookalikes_are_refused_with_their_scores() -> None:
    """Two who left in the same clothes: who comes in them now may be either."""
    stops = ((0, 500, 150), (10, 500, 450), (20, 500, 450), (30, 500, 150))
    store = shop()
    people = [
        ("C", number, {"clothes": clothes(0)}, way(*((since + look, x, y) for look, x, y in stops)))
        for number, since in ((1, 0), (2, 10), (3, 150))
    ]
    events = run(store, 220, *people)
    assert [event.event_type for event in events if event.event_type != "EXIT"] == ["ENTRY"] * 3
    ambiguous = [decision for decision in store.decisions if decision.outcome == "ambiguous"]
    assert [(decision.kind, decision.score, decision.second) for decision in ambiguous] == [("reentry", 1.0, 1.0)]


def test_a_short_loss_is_bridged_by_movement() -> None:
    """Hidden for three seconds on the way through the aisle; the tracker has given up and numbers anew."""
    first = way((0, 500, 150), (10, 500, 450), (30, 100, 700), (40, 150, 750))
    second = way((56, 230, 830), (80, 380, 950), (100, 500, 450), (110, 500, 150))
    store = shop()
    events = run(store, 150, ("C", 1, {}, first), ("C", 2, {}, second))
    assert brief(events) == "a ENTRY, a ENTER AISLE, a EXIT AISLE, a EXIT"
    assert [(d.kind, d.outcome) for d in store.decisions] == [("bridge", "merged")]
    apart = run(shop(identity={"bridge_s": 0}), 150, ("C", 1, {}, first), ("C", 2, {}, second))
    assert len(names(apart)) == 2


def test_a_track_that_goes_over_to_somebody_else_is_another_person() -> None:
    """The tracker mixes up two who meet; their clothes tell."""
    a, b = way((0, 450, 150), (10, 450, 450), (80, 200, 800)), way((0, 550, 150), (10, 550, 450), (80, 800, 500))
    worn = [{"clothes": clothes(0)}, {"clothes": clothes(1)}]
    store = shop(groups={"window_s": 0})
    labels: dict[int, list[tuple[str, str]]] = {}
    for look in range(80):
        here = [(a(look), worn[0]), (b(look), worn[1])]
        swapped = look >= 30
        observations = [
            Observation(1 + (number ^ swapped), box(*point), 0.9, seen["clothes"])
            for number, (point, seen) in enumerate(here)
            if point is not None
        ]
        store.see("C", START_MS + look * STEP_MS, observations)
        seen = store.view("C")
        labels[look] = [(seen[1].visitor_id, seen[2].visitor_id)]
    assert labels[79][0] == labels[25][0][::-1]


@pytest.mark.parametrize(
    ("apart", "later", "sizes"), [(70, 0, [2, 2]), (70, 4, [2, 2]), (400, 0, [None, None]), (70, 20, [None, None])]
)
def test_groups(apart: float, later: int, sizes: list[int | None]) -> None:
    """Pixels apart are centimetres; looks later are fifths of a second."""
    stops = ((0, 400, 50), (20, 400, 650), (60, 400, 660))
    people = [
        ("C", number, {"clothes": clothes(number)}, way(*((late + look, x + aside, y) for look, x, y in stops)))
        for number, aside, late in ((0, 0.0, 0), (1, apart, later))
    ]
    entries = [event for event in run(shop(), 100, *people) if event.event_type == "ENTRY"]
    more = [event.metadata.model_extra or {} for event in entries]
    assert [extra.get("group_size") for extra in more] == sizes
    if sizes == [2, 2]:
        assert len({extra["group_id"] for extra in more}) == 1
        assert len(names(entries)) == 2


def test_staff_are_told_before_they_are_counted() -> None:
    (entry, *rest) = run(shop(staff={"uniform": ["#1a5fb4"]}), 140, ("C", 1, {"uniform": 0.9}, IN_AND_OUT))
    assert entry.event_type == "ENTRY"
    assert all(event.is_staff for event in (entry, *rest))
    assert not any(event.is_staff for event in run(shop(), 140, ("C", 1, {"uniform": 0.1}, IN_AND_OUT)))


def test_who_stays_where_only_staff_go_is_staff_from_then_on() -> None:
    behind = {"zone_id": "BACK", "type": "STOCKROOM", "staff_only": True}
    zones = [{**behind, "areas": [{"camera_id": camera, "polygon": AISLE} for camera in "CD"]}]
    events = run(shop(zones=zones), 140, ("C", 1, {}, IN_AND_OUT))
    assert [(event.event_type, event.is_staff) for event in events] == [
        ("ENTRY", False),
        ("ZONE_ENTER", False),
        ("ZONE_EXIT", True),
        ("EXIT", True),
    ]


def at_the_till(track: int, since: int, until: int, **seen: Any) -> tuple[str, int, dict[str, Any], Any]:
    """Someone who stands at the till from look to look, a metre from the next, and goes to where nothing is drawn."""
    x = 620 + 90 * track
    return (
        "C",
        track,
        {"clothes": clothes(track), **seen},
        way((since, x, 800), (until, x, 800), (until + 8, x, 500), (until + 20, x, 480)),
    )


def test_the_queue_at_the_till() -> None:
    """Staff stand there all the time and are nobody in it; the third gives up, the second is served."""
    people = (
        at_the_till(0, 0, 250, uniform=0.9),
        at_the_till(1, 10, 120),
        at_the_till(2, 40, 180),
        at_the_till(3, 60, 90),
    )
    events = run(shop(staff={"uniform": ["#1a5fb4"]}, groups={"window_s": 0}), 300, *people)
    told = [(e.event_type, e.metadata.queue_depth) for e in events if not e.is_staff and e.event_type != "ZONE_DWELL"]
    assert told == [
        ("ZONE_ENTER", 1),
        ("ZONE_ENTER", 2),
        ("BILLING_QUEUE_JOIN", 2),
        ("ZONE_ENTER", 3),
        ("BILLING_QUEUE_JOIN", 3),
        ("BILLING_QUEUE_ABANDON", 2),
        ("ZONE_EXIT", 2),
        ("ZONE_EXIT", 1),
        ("ZONE_EXIT", 0),
    ]
    assert {e.zone_id for e in events if e.metadata.queue_depth is not None} == {"TILL"}


def test_who_only_passes_the_till_joins_no_queue() -> None:
    events = run(shop(), 120, at_the_till(1, 0, 100), at_the_till(2, 40, 41))
    assert [e.event_type for e in events if e.event_type.startswith("BILLING")] == []


def test_low_confidence_is_told_and_not_dropped() -> None:
    events = run(shop(), 140, ("C", 1, {"confidence": 0.12}, IN_AND_OUT))
    assert [event.confidence for event in events] == [0.12] * 4


def test_a_box_that_loses_its_legs_keeps_its_place() -> None:
    """Behind a counter by the door: the box ends at its top, beyond the line."""
    store = shop()
    events: list[VisitEvent] = []
    for look in range(80):
        x, y = 500.0, min(420.0, 150.0 + 30 * look)
        whole = box(x, y)
        seen = whole if not 30 <= look < 45 else (whole[0], whole[1], whole[2], whole[1] + 0.3 * TALL)
        events += store.see("C", START_MS + look * STEP_MS, [Observation(1, seen, 0.9, clothes(0))])
    assert brief([*events, *store.finish("C")]) == "a ENTRY"


def test_what_lies_in_time_behind_the_newest_frame_counts_as_now() -> None:
    store = shop()
    store.see("C", START_MS + 1000, [Observation(1, box(200, 800), 0.9)])
    assert store.see("D", START_MS, []) == []
    assert store.see("C", START_MS + 1200, [Observation(1, box(200, 800), 0.9)]) == []


def size(store: Shop) -> int:
    """Everything that a shop keeps of people, and how much of each; the last decisions apart, which are 1,000 at most."""
    people = sum(
        1 + len(v.held) + len(v.drafts) + len(v.outbox) + len(v.looks) + sum(len(t.trail) for t in v.tracks.values())
        for v in store._visitors.values()
    )
    return people + len(store._tracks) + len(store._arrivals)


def test_a_week_leaves_memory_flat() -> None:
    """Somebody new every twelve minutes, in clothes of their own, some of whom never leave in view; and a loiterer outside."""
    rng = np.random.default_rng(3)
    store = shop(identity={"reentry_s": 1800, "handover_s": 1800})
    sizes = []
    for minute in range(0, 7 * 24 * 60, 12):
        worn = np.abs(rng.normal(size=8)).astype(np.float32)
        worn /= np.linalg.norm(worn)
        leaves = minute % 36
        for look in range(40):
            y = 150 + 90 * look if look < 7 else 690 - 90 * (look - 7) * bool(leaves)
            seen = [Observation(minute, box(500, y), 0.9, worn if look % 2 else None)]
            if minute % 60 < 24:
                seen.append(Observation(10**6 + minute // 60, box(900, 200), 0.4))
            store.see("C", START_MS + minute * 60_000 + look * 500, seen)
        sizes.append(size(store))
    day = len(sizes) // 7
    assert max(sizes[-day:]) <= max(sizes[day : 2 * day])
    assert len(store._visitors) < 40
    assert store.decisions.maxlen == 1000


EVENTS_OF_A_MESS = st.lists(
    st.tuples(
        st.sampled_from("CD"),
        st.integers(1, 3000),
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 1000), st.integers(60, 1000), st.integers(-1, 3)),
            max_size=4,
            unique_by=lambda person: person[0],
        ),
    ),
    max_size=30,
)


@settings(max_examples=50, deadline=None)
@given(EVENTS_OF_A_MESS, st.sampled_from(Entrance))
def test_whatever_cameras_see_the_events_are_whole(mess: list[Any], entrance: Entrance) -> None:
    """Ids differ, sequences count up, crossings alternate, and every zone visit has an end."""
    store = shop(entrance=entrance)
    events: list[VisitEvent] = []
    at_ms = START_MS
    for camera, wait_ms, people in mess:
        at_ms += wait_ms
        observations = [
            Observation(track, box(x, y), 0.5, None if kind < 0 else clothes(kind)) for track, x, y, kind in people
        ]
        events += store.see(camera, at_ms, observations)
        assert set(store.view(camera)) == {observation.track_id for observation in observations}
    events += store.finish("C") + store.finish("D")
    assert len({event.event_id for event in events}) == len(events)
    for visitor in names(events):
        own = [event for event in events if event.visitor_id == visitor]
        assert [event.metadata.session_seq for event in own] == list(range(len(own)))
        crossings = [event.event_type for event in own if event.event_type in ("ENTRY", "REENTRY", "EXIT")]
        assert all(a != b and "EXIT" in (a, b) for a, b in pairwise(crossings))
        entered = [event.zone_id for event in own if event.event_type == "ZONE_ENTER"]
        assert sorted(entered) == sorted(event.zone_id for event in own if event.event_type == "ZONE_EXIT")
        assert sum(event.event_type == "BILLING_QUEUE_ABANDON" for event in own) <= sum(
            event.event_type == "BILLING_QUEUE_JOIN" for event in own
        )
    assert not store._tracks
