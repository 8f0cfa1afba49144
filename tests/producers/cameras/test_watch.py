"""Several cameras at once: their order, their ends, and live ones that stop. Detection is given, so none needs a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from producers.cameras import CameraError, Entrance
from producers.cameras.observations import Observer
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from producers.cameras.sources import Live, Recording, open_source
from producers.cameras.watch import Camera, Look, watch
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar
from tests.producers.cameras.test_sources import START, mjpeg_camera, write_clip

pytestmark = pytest.mark.vision

LAYOUT = StoreLayout.model_validate(
    {
        "store_id": "S",
        "timestamp": "2026-01-01T00:00:00Z",
        "zones": [
            {
                "zone_id": "FLOOR",
                "type": "SHELF",
                "areas": [
                    {"camera_id": camera, "polygon": [[0, 0], [64, 0], [64, 48], [0, 48]]} for camera in ("A", "B", "C")
                ],
            }
        ],
        "cameras": [{"camera_id": camera, "frame_width": 64, "frame_height": 48} for camera in ("A", "B", "C")],
    },
    strict=False,
)


class Somebody:
    """A detector that finds the same person in every picture."""

    at_once = 2

    def detect(self, image: Any) -> Any:
        import supervision as sv

        return sv.Detections(
            np.array([[20.0, 5, 36, 44]], np.float32), confidence=np.array([0.9]), class_id=np.array([0])
        )


def cameras(sources: Mapping[str, Recording | Live], wanted: float = 5) -> dict[str, Camera]:
    return {
        name: Camera(
            source,
            scene_of(LAYOUT, name, 64, 48, Entrance.NONE),
            Observer(),
            StoreCalendar("S", LAYOUT),
            wanted,
        )
        for name, source in sources.items()
    }


def looks(sources: Mapping[str, Recording | Live], **options: Any) -> Iterator[Look]:
    watched = cameras(sources)
    shop = Shop(LAYOUT, {name: camera.scene for name, camera in watched.items()}, salt=b"salt")
    return watch(watched, shop, Somebody(), **options)


def clip(path: Path, frames: int = 30, **options: Any) -> Recording:
    source = open_source(str(write_clip(path, frames)), start=START, **options)
    assert isinstance(source, Recording)
    return source


@pytest.fixture(autouse=True)
def _vision(vision: None) -> None:
    pass


def test_recordings_are_merged_by_time_and_each_is_finished(tmp_path: Path) -> None:
    found = list(looks({"A": clip(tmp_path / "a.mp4", 20), "B": clip(tmp_path / "b.mp4", 30)}))
    times = [look.frame.at_ms for look in found if look.frame is not None]
    assert times == sorted(times)
    assert len(times) == 50
    ends = [(look.camera_id, look.health[-1].kind, look.health[-1].state) for look in found if look.frame is None]
    assert ends == [("A", "END", "ONLINE"), ("B", "END", "ONLINE")]
    kinds = [(look.camera_id, event.event_type) for look in found for event in look.events]
    assert kinds.count(("A", "ZONE_ENTER")) + kinds.count(("B", "ZONE_ENTER")) >= 1
    assert len([kind for _, kind in kinds if kind == "ZONE_ENTER"]) == len([k for _, k in kinds if k == "ZONE_EXIT"])


def test_a_truncated_clip_is_told_at_the_end_and_holds_up_no_other(tmp_path: Path) -> None:
    import cv2

    # A declared length that the file does not hold: cut an intra-coded clip short.
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(60):
        writer.write(np.random.default_rng(index).integers(0, 255, (48, 64, 3)).astype(np.uint8))
    writer.release()
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    broken = open_source(str(tmp_path / "a.avi"), start=START)
    assert isinstance(broken, Recording)
    found = []
    with pytest.raises(CameraError, match=r"a\.avi is damaged: it ends after \d+ of 60"):
        found.extend(looks({"A": broken, "B": clip(tmp_path / "b.mp4", 60)}))
    assert len([look for look in found if look.camera_id == "B" and look.frame is not None]) == 60
    (end,) = [look for look in found if look.camera_id == "A" and look.frame is None]
    assert end.health[-1].state == "OFFLINE"
    assert "damaged" in end.health[-1].reason


def test_a_replay_takes_its_time(tmp_path: Path) -> None:
    began = time.monotonic()
    found = list(looks({"A": clip(tmp_path / "a.mp4", 16)}, speed=5))
    assert time.monotonic() - began > 0.3
    assert len(found) == 17


def test_a_stop_closes_what_is_open(tmp_path: Path) -> None:
    stop = threading.Event()
    found = []
    for look in looks({"A": clip(tmp_path / "a.mp4", 30)}, stop=stop):
        found.append(look)
        if len(found) == 12:
            stop.set()
    assert len(found) < 20
    assert [event.event_type for look in found for event in look.events] == ["ZONE_ENTER", "ZONE_EXIT"]
    assert found[-1].health[-1].reason == "it is not watched any more"


def test_a_live_camera_freezes_stops_and_comes_back_beside_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits of tenths of seconds instead of tens."""
    from producers.cameras import health, sources
    from producers.cameras import watch as watching

    limits = health.Limits(offline_after_s=0.6, frozen_after_s=0.8, window_s=0.5, hold_s=0.2)
    monkeypatch.setattr(health, "Limits", lambda: limits)
    monkeypatch.setattr(watching, "JUDGE_MS", 50)
    monkeypatch.setattr(watching, "TICK_S", 0.02)
    monkeypatch.setattr(sources, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(sources, "TIMEOUT_S", 1.0)
    stop = threading.Event()
    states: list[tuple[str, str]] = []
    zones: list[tuple[str, str]] = []
    with mjpeg_camera() as camera, mjpeg_camera() as other:
        live = {name: open_source(one.address, rate=20) for name, one in (("A", camera), ("B", other))}
        story = iter([camera.frozen.set, camera.frozen.clear, camera.stop, camera.start, stop.set])
        expected = iter(["FROZEN", "ONLINE", "OFFLINE", "ONLINE", None])
        awaited: str | None = "ONLINE"
        give_up = threading.Timer(60, stop.set)
        give_up.daemon = True
        give_up.start()
        for look in looks(live, rate=20, stop=stop):
            zones += [(look.camera_id, event.event_type) for event in look.events]
            for report in look.health:
                if report.kind == "END":
                    states.append((report.camera_id, "END"))
                elif report.kind == "CHANGE" and report.state != "DEGRADED":
                    states.append((report.camera_id, report.state))
                    if report.camera_id == "A" and report.state == awaited:
                        next(story)()
                        awaited = next(expected)
    assert [state for name, state in states if name == "A"] == [
        *("ONLINE", "FROZEN", "ONLINE", "OFFLINE", "ONLINE"),
        "END",
    ]
    assert [state for name, state in states if name == "B"] == ["ONLINE", "END"]
    # What the silent camera saw was closed; the other went on.
    assert ("A", "ZONE_EXIT") in zones or ("B", "ZONE_EXIT") in zones


def test_a_live_camera_whose_picture_has_another_size_is_offline_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from producers.cameras import health
    from producers.cameras import watch as watching

    limits = health.Limits(offline_after_s=0.3)
    monkeypatch.setattr(health, "Limits", lambda: limits)
    monkeypatch.setattr(watching, "JUDGE_MS", 50)

    class Wide:
        def grab(self) -> bool:
            time.sleep(0.01)
            return True

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.zeros((48, 128, 3), np.uint8)

        def release(self) -> None:
            pass

    stop = threading.Event()
    reasons = []
    for look in looks({"A": Live("A", Wide)}, stop=stop):
        assert look.frame is None
        reasons += [report.reason for report in look.health if report.kind == "CHANGE"]
        if reasons:
            stop.set()
    assert reasons == ["it sends 128x48 pixels, the layout is drawn for 64x48"]
