"""A shop of two cameras by tables of people: where each stands at each look, and the events of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

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
