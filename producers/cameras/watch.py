"""All cameras of one store, from their frames to its events."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from producers.cameras import CameraError
from producers.cameras.observations import Observer
from producers.cameras.people import Detector, Tracker
from producers.cameras.shop import Shop
from producers.cameras.sources import Frame, Live, Recording, played
from schemas.events import VisitEvent

# Somebody hidden behind another shopper for this long is still the same person.
PATIENCE_S = 2.0
# Frames per second below which a walking person's boxes no longer overlap.
SLOWEST = 2.0
# How often somebody waiting for a frame looks whether a camera has gone.
TICK_S = 0.2

Sources = Mapping[str, Recording | Live]


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame of one camera brought about."""

    camera_id: str
    frame: Frame | None
    """None when the camera's source is over."""
    people: Any
    """Confirmed tracks in the frame, ``supervision.Detections``."""
    events: list[VisitEvent]


def watch(
    sources: Sources,
    shop: Shop,
    observers: Mapping[str, Observer],
    detector: Detector,
    *,
    every: int = 1,
    rate: float = 0.0,
    speed: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[Look]:
    """What each frame of each camera brings about, in the order of time.

    Recordings are read to their end in the order of their frames' own times, or played as if they were live where another
    source is. Every camera is finished, which closes what is open there: at the end of its recording, or of all.

    Args:
        sources: By camera; opened and closed here.
        observers: By camera, its eye for clothes.
        every: Of a recording, look at each ``every``-th frame.
        rate: Look at so many frames a second at most; 0 is all.
        speed: Seconds of a recording that pass in a second; 0 is as fast as it goes.
        stop: Set it to end; what has been read is still looked at.

    Raises:
        CameraError: a recording turned out damaged. Raised at the end: the other cameras go on.
    """
    stop = stop or threading.Event()
    trackers = {camera_id: Tracker(PATIENCE_S) for camera_id in sources}
    damage: CameraError | None = None
    done: set[str] = set()
    pending: deque[tuple[str, Frame, Future[Any]]] = deque()

    def oldest() -> Look:
        camera_id, frame, found = pending.popleft()
        people = trackers[camera_id].update(found.result(), frame.at_ms)
        return Look(
            camera_id, frame, people, shop.see(camera_id, frame.at_ms, observers[camera_id].see(frame.image, people))
        )

    with ExitStack() as stack:
        recordings = {camera_id: source for camera_id, source in sources.items() if isinstance(source, Recording)}
        for recording in recordings.values():
            stack.enter_context(recording)
        if len(recordings) == len(sources):
            items = _recorded(recordings, every, rate, speed, stop)
        else:
            lives = {
                camera_id: played(source, rate=rate, speed=speed or 1.0) if isinstance(source, Recording) else source
                for camera_id, source in sources.items()
            }
            items = _live(lives, stop, stack)
        pool = stack.enter_context(ThreadPoolExecutor(detector.at_once, "detector"))
        for item in items:
            if item is None:
                while pending:
                    yield oldest()
                continue
            camera_id, frame = item
            if isinstance(frame, Frame):
                pending.append((camera_id, frame, pool.submit(detector.detect, frame.image)))
                # One more than it works on, so that it never waits for the next frame to be read.
                while len(pending) > detector.at_once:
                    yield oldest()
                continue
            while any(waiting[0] == camera_id for waiting in pending):
                yield oldest()
            damage = damage or frame
            done.add(camera_id)
            yield Look(camera_id, None, None, shop.finish(camera_id))
        while pending:
            yield oldest()
        for camera_id in sources:
            if camera_id not in done:
                yield Look(camera_id, None, None, shop.finish(camera_id))
    if damage is not None:
        raise damage


_Item = tuple[str, Frame | CameraError | None]


def _recorded(
    recordings: Mapping[str, Recording], every: int, rate: float, speed: float, stop: threading.Event
) -> Iterator[_Item | None]:
    """Frames of all recordings in the order of time; after a camera's last frame None or what was wrong with it."""

    def one(order: int, camera_id: str, recording: Recording) -> Iterator[tuple[int, int, _Item]]:
        last_ms, problem = 0, None
        try:
            for frame in recording.frames(every, rate):
                last_ms = frame.at_ms
                yield frame.at_ms, order, (camera_id, frame)
        except CameraError as error:
            problem = error
        yield last_ms, order, (camera_id, problem)

    began: float | None = None
    streams = [one(order, *recording) for order, recording in enumerate(recordings.items())]
    for at_ms, _, item in heapq.merge(*streams, key=lambda entry: entry[:2]):
        if speed:
            offset_s = at_ms / 1000 / speed
            began = time.monotonic() - offset_s if began is None else began
            if (wait_s := began + offset_s - time.monotonic()) > 0:
                # What has been seen is told before waiting for what comes next.
                yield None
                stop.wait(wait_s)
        if stop.is_set():
            return
        yield item


def _live(lives: Mapping[str, Live], stop: threading.Event, stack: ExitStack) -> Iterator[_Item | None]:
    """The newest frames of all cameras as they come, and None when there is nothing to do."""
    fresh = threading.Event()
    last_ms = 0
    for live in lives.values():
        live.fresh = fresh
        stack.enter_context(live)
    open_ones = dict(lives)
    while open_ones and not stop.is_set():
        fresh.clear()
        taken = [(frame, camera_id) for camera_id, live in open_ones.items() if (frame := live.take()) is not None]
        for frame, camera_id in sorted(taken, key=lambda entry: entry[0].at_ms):
            # A frame may be stamped a moment before, and arrive a moment after, another camera's. A clock set back waits.
            last_ms = max(last_ms, frame.at_ms)
            yield camera_id, Frame(frame.image, last_ms)
        for camera_id in [camera_id for camera_id, live in open_ones.items() if live.over]:
            del open_ones[camera_id]
            yield camera_id, None
        if not taken:
            yield None
            fresh.wait(TICK_S)
