"""When a camera is well: tables of what it sends, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.health import Health, Limits, Stillness, Tracks, ended_inside, moment
from schemas.events import CameraHealth, EventType, StoreLayout, VisitEvent
from schemas.layouts import StoreCalendar

LAYOUT = StoreLayout.model_validate_json(
    '{"store_id": "S", "timestamp": "2026-01-01T00:00:00Z", "time_zone": "Asia/Kolkata"}'
)
START = 1_790_000_000_000


def machine(wanted: float = 5.0, limits: Limits | None = None) -> Health:
    return Health("S", "CAM", StoreCalendar("S", LAYOUT), wanted, limits)


def said(events: list[CameraHealth]) -> list[tuple[int, str, str]]:
    """Seconds after START, kind and state."""
    return [(round(event.timestamp.timestamp() - START / 1000), event.kind, event.state) for event in events]


def play(
    health: Health, seconds: int, *, sends: float = 5, looks: float | None = None, new: bool = True, begin: int = 0
) -> list[CameraHealth]:
    """A second at a time: a camera that sends so many frames, of which so many are looked at."""
    events: list[CameraHealth] = []
    counted = getattr(health, "counted", [0.0, 0.0])
    for second in range(begin, begin + seconds):
        at = START + 1000 * second
        counted[0] += sends
        counted[1] += sends if looks is None else looks
        for _ in range(int(counted[1])):
            health.saw(at, new=new)
        counted[1] %= 1
        events += health.tick(at, int(counted[0]))
    health.counted = counted  # type: ignore[attr-defined]
    return events


def test_a_camera_that_is_well_is_reported_every_five_minutes() -> None:
    assert said(play(machine(), 700)) == [(0, "CHANGE", "ONLINE"), (300, "REPORT", "ONLINE"), (600, "REPORT", "ONLINE")]


def test_a_camera_that_never_answers() -> None:
    health = machine()
    events = [event for second in range(20) for event in health.tick(START + 1000 * second, 0, "it does not answer")]
    assert said(events) == [(10, "CHANGE", "OFFLINE")]
    assert (events[0].reason, events[0].last_frame_at) == ("it does not answer", None)


def test_a_camera_that_stops_and_comes_back() -> None:
    health = machine()
    events = play(health, 30) + play(health, 30, sends=0, begin=30) + play(health, 30, begin=60)
    # The last frame came at 29. The silence is over when frames have come for 5 s, and no rate counts it.
    assert said(events) == [(0, "CHANGE", "ONLINE"), (39, "CHANGE", "OFFLINE"), (65, "CHANGE", "ONLINE")]


def test_a_frozen_picture() -> None:
    health = machine()
    events = play(health, 20) + play(health, 60, new=False, begin=20) + play(health, 20, begin=80)
    assert said(events) == [(0, "CHANGE", "ONLINE"), (49, "CHANGE", "FROZEN"), (85, "CHANGE", "ONLINE")]
    assert events[1].last_frame_at == moment(START + 19_000)
    assert events[1].reason == "the same picture for 30 s"
    assert events[1].read_fps == 5


@pytest.mark.parametrize(
    ("sends", "looks", "state", "reason"),
    [
        (5.0, 5.0, "ONLINE", ""),
        (5.0, 3.0, "ONLINE", ""),
        (25.0, 5.0, "ONLINE", ""),
        (2.0, 2.0, "DEGRADED", "it sends 2.0 frames/s, 5.0 are wanted"),
        (25.0, 1.0, "DEGRADED", "1.0 frames/s are looked at, 5.0 are wanted: this computer is busy"),
    ],
)
def test_rates(sends: float, looks: float, state: str, reason: str) -> None:
    health = machine()
    events = play(health, 60, sends=sends, looks=looks)
    assert health.state == state
    assert events[-1].reason == reason


def test_a_rate_near_the_limit_does_not_swing() -> None:
    """Below a half it is degraded, and only above seven tenths well again."""
    health = machine()
    events = play(health, 60, sends=2.0)
    for begin, rate in ((60, 2.7), (120, 2.4), (180, 2.9), (240, 2.3)):
        events += play(health, 60, sends=rate, begin=begin)
    events += play(health, 60, sends=4.0, begin=300)
    assert [event.state for event in events if event.kind == "CHANGE"] == ["ONLINE", "DEGRADED", "ONLINE"]


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.4, 2.6, 5.0]), st.booleans(), st.integers(1, 20)), max_size=20))
def test_changes_are_changes_and_never_faster_than_the_hold(spells: list[tuple[float, bool, int]]) -> None:
    health, begin, events = machine(), 0, []
    for sends, new, seconds in spells:
        events += play(health, seconds, sends=sends, new=new, begin=begin)
        begin += seconds
    changes = [event for event in events if event.kind == "CHANGE"]
    assert all(one.state != other.state for one, other in pairwise(changes))
    assert all(one.timestamp <= other.timestamp for one, other in pairwise(events))
    for one, other in pairwise(changes):
        assert other.state in ("OFFLINE", "FROZEN") or (other.timestamp - one.timestamp).seconds >= 5
    assert len(health._window) < 20


def happening(kind: EventType) -> VisitEvent:
    return VisitEvent(
        event_id="7a4a3f5e-6f1c-5a55-9c92-0d7e6c2f1b10",
        store_id="S",
        camera_id="CAM",
        visitor_id="V",
        event_type=kind,
        timestamp=moment(START),
        confidence=0.9,
        zone_id="Z",
    )


def test_counts_are_those_of_the_business_day() -> None:
    """Midnight in Kolkata is 18:30 UTC."""
    health = machine()
    before = round(datetime.fromisoformat("2026-11-20T18:29:50Z").timestamp() * 1000)
    events: list[CameraHealth] = []
    for second in range(20):
        events += health.tick(before + 1000 * second, 5 * second)
        health.saw(before + 1000 * second, new=True)
        if second == 5:
            kinds: list[EventType] = ["ENTRY", "ENTRY", "REENTRY", "ZONE_ENTER", "EXIT"]
            health.count([happening(kind) for kind in kinds], broken=2)
        if second == 15:
            health.count([happening("EXIT")])
    day = next(event for event in events if event.kind == "DAY")
    assert day.timestamp == datetime.fromisoformat("2026-11-20T18:29:59.999Z")
    assert (day.entries, day.exits, day.entrance_balance, day.tracks_broken) == (3, 1, 2, 2)
    assert day.drift == pytest.approx(2 / 3, abs=1e-4)
    (end,) = health.finish(before + 20_000, "", offline=True)
    assert (end.entries, end.exits, end.entrance_balance, end.drift) == (0, 1, -1, None)


@pytest.mark.parametrize(
    ("offline", "state"),
    [(False, "ONLINE"), (True, "OFFLINE")],
)
def test_how_it_ends(offline: bool, state: str) -> None:
    health = machine()
    play(health, 30)
    (end,) = health.finish(START + 30_000, "the recording is over", offline=offline)
    assert (end.kind, end.state, end.reason) == ("END", state, "the recording is over")


def test_a_camera_of_which_nothing_was_ever_seen_ends_offline() -> None:
    (end,) = machine().finish(START, "x.mp4 is damaged", offline=False)
    assert (end.kind, end.state, end.since) == ("END", "OFFLINE", moment(START))


def test_a_replay_says_the_same() -> None:
    def run() -> list[CameraHealth]:
        health = machine()
        return play(health, 40) + play(health, 40, sends=0, begin=40) + health.finish(START + 80_000, "", offline=False)

    assert run() == run()
    assert len({event.event_id for event in run()}) == len(run())


# Pictures.


def scene(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(20, 230, (360, 640, 3)).astype(np.uint8)


def noisy(sigma: float) -> Callable[[Any, int], Any]:
    def add(image: Any, seed: int) -> Any:
        noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
        return np.clip(image + noise, 0, 255).round().astype(np.uint8)

    return add


@pytest.mark.parametrize(
    ("change", "new"),
    [
        pytest.param(lambda image, _: image, False, id="the same bytes"),
        pytest.param(noisy(0.6), False, id="encoded anew"),
        pytest.param(noisy(2), True, id="a sensor's noise"),
        pytest.param(lambda image, seed: np.roll(image, seed, axis=1), True, id="another picture"),
    ],
)
def test_what_is_a_new_picture(change: Callable[[Any, int], Any], new: bool) -> None:
    stillness, image = Stillness(), scene()
    assert stillness.is_new(image)
    assert [stillness.is_new(change(image, seed)) for seed in range(1, 20)] == [new] * 19


def test_slow_changes_add_up() -> None:
    stillness, image = Stillness(), scene()
    found = [stillness.is_new(np.clip(image.astype(int) + step, 0, 255).astype(np.uint8)) for step in range(12)]
    assert found == [True, False, False, False] * 3


def test_somebody_small_in_the_picture_is_new() -> None:
    stillness, image = Stillness(), scene()
    stillness.is_new(image)
    image[200:240, 300:316] = 0
    assert stillness.is_new(image)


@pytest.mark.vision
def test_a_still_picture_sent_as_jpeg_of_changing_quality_is_frozen(vision: None) -> None:
    import cv2

    smooth = cv2.GaussianBlur(scene(), (0, 0), 9)
    stillness = Stillness()
    found = [
        stillness.is_new(cv2.imdecode(cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1))
        for quality in (95, 94, 93, 95, 92, 95)
    ]
    assert found == [True] + [False] * 5


# Tracks.


@pytest.mark.parametrize(
    ("box", "line", "broke"),
    [
        ((300, 100, 340, 200), None, True),
        ((2, 100, 42, 200), None, False),
        ((300, 250, 340, 358), None, False),
        ((300, 100, 340, 200), [[250, 230], [400, 230]], False),
        ((300, 100, 340, 200), [[250, 330], [400, 330]], True),
        ((300, 100, 340, 200), [[20, 200], [60, 200]], True),
    ],
)
def test_where_a_track_may_end(box: Any, line: Any, broke: bool) -> None:
    assert ended_inside(box, 640, 360, line) is broke


def test_broken_tracks_are_counted_once_and_forgotten() -> None:
    tracks = Tracks(640, 360, None, patience_ms=2000)
    middle = (300.0, 100.0, 340.0, 200.0)
    assert tracks.see(0, {1: middle, 2: (2.0, 100.0, 40.0, 200.0)}) == 0
    assert tracks.see(1000, {3: middle}) == 0
    assert tracks.see(2100, {3: middle}) == 1
    assert tracks.see(9000, {}) == 1
    assert tracks.see(99_000, {}) == 0
    assert not tracks._seen
