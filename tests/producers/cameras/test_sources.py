"""Where frames come from: recordings with their own times, live cameras that break off, and names without secrets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras import CameraError
from producers.cameras.sources import LAST_WAIT_S, Frame, Live, Pace, Recording, open_source, spoken, wait_s
from tests.conftest import until
from tests.producers.cameras.rtsp import RtspCamera

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
START_MS = round(START.timestamp() * 1000)


def picture(shade: int, width: int = 64, height: int = 48) -> Any:
    """A flat picture whose shade tells which it is."""
    return np.full((height, width, 3), shade, np.uint8)


def write_clip(path: Path, frames: int, fps: float = 10, width: int = 64) -> Path:
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, 48))
    for index in range(frames):
        writer.write(picture(10 * index % 250, width))
    writer.release()
    return path


def write_pictures(folder: Path, count: int) -> Path:
    import cv2

    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index))
    return folder


def recording(address: Path, **options: Any) -> Recording:
    source = open_source(str(address), **options)
    assert isinstance(source, Recording)
    return source


def times(source: Recording, **options: Any) -> list[int]:
    """Milliseconds after START at which a recording's frames were taken."""
    with source:
        return [frame.at_ms - START_MS for frame in source.frames(**options)]


@pytest.mark.vision
def test_a_clip_has_the_times_of_its_frames(vision: None, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 8)
    assert times(recording(clip, start=START)) == [0, 100, 200, 300, 400, 500, 600, 700]
    assert times(recording(clip, start=START), every=3) == [0, 300, 600]
    assert times(recording(clip, start=START), rate=4) == [0, 300, 500]
    os.utime(clip, (START.timestamp() + 60, START.timestamp() + 60))
    assert times(recording(clip))[:2] == [60_000, 60_100]


@pytest.mark.vision
def test_a_folder_of_clips_is_one_recording_in_the_order_people_number_them(vision: None, tmp_path: Path) -> None:
    for name, minute in (("part-9.mp4", 1), ("part-10.mp4", 5), ("part-11.mp4", 5)):
        os.utime(write_clip(tmp_path / name, 3), (START.timestamp() + 60 * minute,) * 2)
    (tmp_path / "notes.txt").write_text("not a clip")
    assert times(recording(tmp_path, start=START)) == [0, 100, 200, 300, 400, 500, 600, 700, 800]
    own = times(recording(tmp_path))
    assert own == [60_000, 60_100, 60_200, 300_000, 300_100, 300_200, 300_300, 300_400, 300_500]


@pytest.mark.vision
def test_a_damaged_clip_in_a_folder_holds_up_no_other(vision: None, tmp_path: Path) -> None:
    write_clip(tmp_path / "1.mp4", 2)
    (tmp_path / "2.mp4").write_text("no video")
    write_clip(tmp_path / "3.mp4", 2, width=128)
    write_clip(tmp_path / "4.mp4", 2)
    seen = []
    with recording(tmp_path, start=START) as source, pytest.raises(CameraError, match=r"2\.mp4 is damaged or no video"):
        seen.extend(source.frames())
    assert len(seen) == 4


@pytest.mark.vision
def test_a_folder_of_pictures(vision: None, tmp_path: Path) -> None:
    source = recording(write_pictures(tmp_path / "shots", 12), start=START, picture_rate=4)
    assert (source.width, source.height, source.fps, source.declared) == (64, 48, 4, 12)
    with source:
        frames = list(source.frames(every=5))
    assert [(int(frame.image[0, 0, 0]), frame.at_ms - START_MS) for frame in frames] == [(0, 0), (5, 1250), (10, 2500)]


@pytest.mark.vision
@pytest.mark.parametrize(
    ("names", "words"),
    [([], "neither clips nor pictures"), (["a.txt"], "neither"), (["a.mp4", "b.png"], "both clips and pictures")],
)
def test_a_folder_that_is_no_recording(vision: None, tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CameraError, match=words):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://user:secret@10.0.0.7:554/stream1?token=abc#x", "rtsp://10.0.0.7:554/stream1"),
        ("rtsp://user:se:c/ret@cam/1", "rtsp camera"),
        ("rtsp://user:se?c#ret@cam/1", "rtsp camera"),
        ("rtsp://us@er:secret@cam/1", "rtsp camera"),
        ("https://cam.example/mjpg", "https://cam.example/mjpg"),
        ("0", "0"),
        ("/dev/video2", "/dev/video2"),
    ],
)
def test_live_sources_are_named_without_secrets(address: str, name: str) -> None:
    source = open_source(address)
    assert isinstance(source, Live)
    assert source.name == name == spoken(address)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_their_limit(failed: int, chance: float) -> None:
    assert 0.5 <= wait_s(failed, chance) <= LAST_WAIT_S
    assert wait_s(failed, chance) <= wait_s(failed + 1, chance)


@given(st.floats(1, 30), st.lists(st.floats(0.001, 2), min_size=1, max_size=200))
def test_a_pace_is_kept_and_never_made_up_for(rate: float, gaps: list[float]) -> None:
    pace, at_s, looked = Pace(rate), 0.0, []
    for gap in gaps:
        at_s += gap
        if pace.wants(at_s):
            looked.append(at_s)
    assert looked[0] == gaps[0]
    span = looked[-1] - looked[0]
    assert len(looked) - 1 <= span * rate * 1.001 + 1
    assert all(later - earlier >= 0.5 / rate - 0.002 for earlier, later in pairwise(looked))


class Script:
    """A capture that gives pictures of these shades, a moment apart, and then ends."""

    def __init__(self, shades: list[int]) -> None:
        self._shades = iter(shades)
        self.released = False

    def grab(self) -> bool:
        time.sleep(0.002)
        self._shade = next(self._shades, None)
        return self._shade is not None

    def retrieve(self) -> tuple[bool, Any]:
        return True, picture(self._shade or 0)

    def release(self) -> None:
        self.released = True


def test_a_reader_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.cameras.sources.FIRST_WAIT_S", 0.01)
    calls = iter([RuntimeError("rtsp://user:secret@cam"), Script([5] * 10_000)])

    def connect() -> Script:
        if isinstance(call := next(calls), Exception):
            raise call
        return call

    with Live("CAM", connect) as live:
        assert until(live.take).image[0, 0, 0] == 5
        assert live.counts().failures == 1


def test_a_slow_reader_gets_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Script(list(range(100)))
    with Live("CAM", lambda: capture, ends=True) as live:
        until(lambda: live.counts().failures)
        frame = live.take()
        assert frame is not None and int(frame.image[0, 0, 0]) == 99
        assert live.take() is None
        assert live.over
    assert live.counts().read == 100
    assert capture.released


def test_a_camera_that_breaks_off_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.cameras.sources.FIRST_WAIT_S", 0.01)
    calls: list[Script | None] = [Script([1, 2]), None, Script([3] * 10_000)]
    with Live("CAM", lambda: calls.pop(0)) as live:
        until(lambda: (frame := live.take()) is not None and frame.image[0, 0, 0] == 3)
        counts = live.counts()
    assert (counts.connections, counts.failures, counts.problem) == (2, 2, "")
    assert counts.read >= 3


class MjpegCamera:
    """An HTTP camera of our own: pictures as multipart JPEG, that can freeze, stop and come back on its port."""

    def __init__(self, pictures: list[Any] | None = None) -> None:
        self._pictures = pictures or [picture(shade) for shade in range(0, 250, 7)]
        self.frozen = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://user:secret@127.0.0.1:{self.port}/stream.mjpg"

    def start(self) -> None:
        import cv2

        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                turn = 0
                while self.server is camera._server:
                    turn += not camera.frozen.is_set()
                    jpeg = cv2.imencode(".jpg", camera._pictures[turn % len(camera._pictures)])[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    time.sleep(0.04)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if (server := self._server) is not None:
            self._server = None
            server.shutdown()
            server.server_close()


@contextmanager
def mjpeg_camera(pictures: list[Any] | None = None) -> Iterator[MjpegCamera]:
    camera = MjpegCamera(pictures)
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


@pytest.mark.vision
def test_an_http_camera_stops_and_comes_back(
    vision: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("producers.cameras.sources.FIRST_WAIT_S", 0.05)
    monkeypatch.setenv("CAMERA_PASSWORD", "secret")
    with mjpeg_camera() as camera:
        source = open_source(camera.address.replace(":secret@", ":$CAMERA_PASSWORD@"), rate=50)
        assert isinstance(source, Live)
        with source as live:
            frame: Frame = until(live.take)
            assert frame.image.shape == (48, 64, 3)
            assert abs(frame.at_ms / 1000 - time.time()) < 5
            camera.stop()
            until(lambda: live.counts().problem)
            camera.start()
            live.take()
            until(live.take)
            assert live.counts().connections == 2
    printed = capfd.readouterr()
    assert "secret" not in printed.out + printed.err


@pytest.mark.vision
def test_an_rtsp_camera_with_a_password_hangs_up_and_comes_back(
    vision: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import cv2

    monkeypatch.setattr("producers.cameras.sources.FIRST_WAIT_S", 0.05)
    writer = cv2.VideoWriter(str(tmp_path / "live.ts"), cv2.VideoWriter.fourcc(*"mpg2"), 25, (64, 48))
    for index in range(250):
        writer.write(picture(index))
    writer.release()
    camera = RtspCamera(tmp_path / "live.ts", seconds=10)
    camera.start()
    stranger = open_source(camera.address.replace("secret", "wrong"))
    known = open_source(camera.address)
    assert isinstance(known, Live) and isinstance(stranger, Live)
    try:
        with stranger:
            until(lambda: stranger.counts().problem == "it does not answer" and stranger.counts().failures)
        assert stranger.take() is None
        assert camera.turned_away >= 1
        with known:
            assert until(known.take).image.shape == (48, 64, 3)
            camera.stop()
            until(lambda: known.counts().problem)
            camera.start()
            known.take()
            until(known.take)
            assert known.counts().connections == 2
    finally:
        camera.stop()
    printed = capfd.readouterr()
    assert "secret" not in printed.out + printed.err
