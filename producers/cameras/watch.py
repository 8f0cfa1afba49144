"""All cameras of one store, from their frames to its events."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

from aisleflow import metrics
from producers.cameras import CameraError
from producers.cameras.health import Health, Stillness, Tracks
from producers.cameras.observations import Observer
from producers.cameras.people import Detector, Tracker
from producers.cameras.scene import Scene
from producers.cameras.shop import Shop
from producers.cameras.sources import Frame, Live, Recording, played
from schemas.events import CameraHealth, CameraState, VisitEvent
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms

# Somebody hidden behind another shopper for this long is still the same person.
PATIENCE_S = 2.0
# Frames per second below which a walking person's boxes no longer overlap.
SLOWEST = 2.0
# How often somebody waiting for a frame looks whether a camera has gone.
TICK_S = 0.2

# How often a camera's health is judged.
JUDGE_MS = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame of one camera brought about, or what happened between frames."""

    camera_id: str
    frame: Frame | None
    """None when a live camera is silent, or a source is over."""
    people: Any
    """Confirmed tracks in the frame, ``supervision.Detections``."""
    events: list[VisitEvent]
    health: list[CameraHealth]
    found: Any = None
    """All boxes of the detector, faint ones and strangers to the tracker too; None without a frame."""


class Camera:
    """One camera while it is watched.

    Args:
        source: Its frames.
        scene: What of the layout it sees.
        observer: Its eye for clothes.
        calendar: Of the store.
        wanted: Looks a second that there should be; 0 if that is not known.
    """

    def __init__(
        self, source: Recording | Live, scene: Scene, observer: Observer, calendar: StoreCalendar, wanted: float
    ) -> None:
        self.source, self.scene = source, scene
        self._observer = observer
        self._tracker = Tracker(PATIENCE_S)
        self._stillness = Stillness()
        self._tracks = Tracks(scene.width, scene.height, scene.line, round(1000 * PATIENCE_S))
        self._health = Health(scene.store_id, scene.camera_id, calendar, wanted)
        self._meter = Meter(scene.store_id, scene.camera_id)
        self._judged_ms = -JUDGE_MS
        self._misfit = ""
        self.last_ms: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether the wall clock tells the time of its frames."""
        return isinstance(self.source, Live)

    def fits(self, image: Any) -> bool:
        """Whether a picture has the size that the layout was drawn for; if not, the camera's health will say so."""
        height, width = image.shape[:2]
        expected = self.scene.width, self.scene.height
        self._misfit = (
            ""
            if (width, height) == expected
            else f"it sends {width}x{height} pixels, the layout is drawn for {expected[0]}x{expected[1]}"
        )
        return not self._misfit

    def look(self, shop: Shop, frame: Frame, found: Any) -> Look:
        """What a frame brings about in which the detector found these boxes."""
        camera_id, at_ms = self.scene.camera_id, frame.at_ms
        # A recording has no other clock than its frames; a gap in it is judged before the frame that ends it.
        health = [] if self.is_live else self.judge(at_ms)
        people = self._tracker.update(found, at_ms)
        observations = self._observer.see(frame.image, people)
        events = shop.see(camera_id, at_ms, observations)
        self._health.saw(at_ms, new=self._stillness.is_new(frame.image))
        broken = self._tracks.see(at_ms, {one.track_id: one.box for one in observations})
        self._health.count(events, broken)
        self.last_ms = at_ms
        return Look(camera_id, frame, people, events, health, found)

    def judge(self, at_ms: int) -> list[CameraHealth]:
        """What is to be said of the camera's health, about once a second."""
        if at_ms - self._judged_ms < JUDGE_MS:
            return []
        self._judged_ms = at_ms
        read, problem = self.source.read, self._misfit
        if isinstance(self.source, Live):
            counts = self.source.counts()
            read, problem = counts.read, counts.problem or problem
        said = self._health.tick(at_ms, read, problem)
        self._meter.show(self._health, read)
        return said

    def finish(self, shop: Shop, at_ms: int, problem: CameraError | None, *, stopped: bool = False) -> Look:
        """The source is over, or nobody watches it any more (``stopped``)."""
        events = shop.finish(self.scene.camera_id)
        self._health.count(events)
        reason = str(problem or ("it is not watched any more" if stopped else "the recording is over"))
        offline = problem is not None or (stopped and self.is_live)
        said = self._health.finish(at_ms, reason, offline=offline)
        self._meter.show(self._health, self.source.read)
        return Look(self.scene.camera_id, None, None, events, said)


class Meter:
    """A camera's metrics."""

    def __init__(self, store_id: str, camera_id: str) -> None:
        self._names = store_id, camera_id
        self._shown = Counter[str]()

    def show(self, health: Health, read: int) -> None:
        """Set them to what is so now."""
        for state in get_args(CameraState):
            metrics.CAMERA_STATE.labels(*self._names, state).set(state == health.state)
        totals = {"read": read, "processed": health.processed, "skipped": max(0, read - health.processed)}
        for what, total in totals.items():
            metrics.CAMERA_FRAMES.labels(*self._names, what).inc(max(0, total - self._shown[what]))
            self._shown[what] = max(total, self._shown[what])
        if health.new_ms is not None:
            metrics.CAMERA_NEW_FRAME.labels(*self._names).set(health.new_ms / 1000)
        metrics.CAMERA_TRACKS_BROKEN.labels(*self._names).set(health.broken)
        metrics.CAMERA_BALANCE.labels(*self._names).set(health.balance)
        metrics.CAMERA_DRIFT.labels(*self._names).set(health.drift or 0.0)


def watch(
    cameras: Mapping[str, Camera],
    shop: Shop,
    detector: Detector,
    *,
    every: int = 1,
    rate: float = 0.0,
    speed: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[Look]:
    """What each frame of each camera brings about, in the order of time.

    Recordings are read to their end in the order of their frames' own times, or played as if they were live where another
    source is. Every camera is finished, which closes what is open there: at the end of its recording, or of all. What a live
    camera saw is closed when it goes offline, too.

    Args:
        cameras: By id; their sources are opened and closed here.
        every: Of a recording, look at each ``every``-th frame.
        rate: Look at so many frames a second at most; 0 is all.
        speed: Seconds of a recording that pass in a second; 0 is as fast as it goes.
        stop: Set it to end; what has been read is still looked at.

    Raises:
        CameraError: a recording turned out damaged. Raised at the end: the other cameras go on.
    """
    stop = stop or threading.Event()
    damage: CameraError | None = None
    open_ones = dict(cameras)
    pending: deque[tuple[str, Frame, Future[Any]]] = deque()

    def oldest() -> Look:
        camera_id, frame, found = pending.popleft()
        return cameras[camera_id].look(shop, frame, found.result())

    def rest_of(camera_id: str) -> Iterator[Look]:
        while any(waiting[0] == camera_id for waiting in pending):
            yield oldest()

    with ExitStack() as stack:
        recordings = {name: camera.source for name, camera in cameras.items() if isinstance(camera.source, Recording)}
        for recording in recordings.values():
            stack.enter_context(recording)
        if len(recordings) == len(cameras):
            items = _recorded(recordings, every, rate, speed, stop)
        else:
            for name, recording in recordings.items():
                cameras[name].source = played(recording, rate=rate, speed=speed or 1.0)
            lives = {name: camera.source for name, camera in cameras.items() if isinstance(camera.source, Live)}
            items = _live(lives, stop, stack)
        pool = stack.enter_context(ThreadPoolExecutor(detector.at_once, "detector"))
        for camera_id, item in items:
            camera = cameras[camera_id]
            if isinstance(item, Frame):
                if camera.fits(item.image):
                    pending.append((camera_id, item, pool.submit(detector.detect, item.image)))
                # One more than it works on, so that it never waits for the next frame to be read.
                while len(pending) > detector.at_once:
                    yield oldest()
            elif isinstance(item, Pause):
                while pending:
                    yield oldest()
                if item.at_ms is not None and (said := camera.judge(item.at_ms)):
                    gone = said[-1].kind == "CHANGE" and said[-1].state == "OFFLINE"
                    yield Look(camera_id, None, None, shop.finish(camera_id) if gone else [], said)
            else:
                yield from rest_of(camera_id)
                damage = damage or item.problem
                del open_ones[camera_id]
                yield camera.finish(shop, item.at_ms, item.problem)
        while pending:
            yield oldest()
        for camera in open_ones.values():
            at_ms = round(1000 * time.time()) if camera.is_live or camera.last_ms is None else camera.last_ms
            yield camera.finish(shop, at_ms, None, stopped=True)
    if damage is not None:
        raise damage


@dataclass(frozen=True, slots=True)
class Pause:
    """There is nothing to look at for a moment: what has been seen can be told."""

    at_ms: int | None = None
    """The time, when the camera's health is to be judged."""


@dataclass(frozen=True, slots=True)
class Over:
    """A source is over."""

    at_ms: int
    problem: CameraError | None = None
    """What was wrong with it."""


_Item = tuple[str, Frame | Pause | Over]


def _recorded(
    recordings: Mapping[str, Recording], every: int, rate: float, speed: float, stop: threading.Event
) -> Iterator[_Item]:
    """Frames of all recordings in the order of time, and their ends."""

    def one(order: int, camera_id: str, recording: Recording) -> Iterator[tuple[int, int, _Item]]:
        last_ms, problem = epoch_ms(recording.start), None
        try:
            for frame in recording.frames(every, rate):
                last_ms = frame.at_ms
                yield frame.at_ms, order, (camera_id, frame)
        except CameraError as error:
            problem = error
        yield last_ms, order, (camera_id, Over(last_ms, problem))

    began: float | None = None
    streams = [one(order, *recording) for order, recording in enumerate(recordings.items())]
    for at_ms, _, item in heapq.merge(*streams, key=lambda entry: entry[:2]):
        if speed:
            offset_s = at_ms / 1000 / speed
            began = time.monotonic() - offset_s if began is None else began
            if (wait_s := began + offset_s - time.monotonic()) > 0:
                # What has been seen is told before waiting for what comes next.
                yield item[0], Pause()
                stop.wait(wait_s)
        if stop.is_set():
            return
        yield item


def _live(lives: Mapping[str, Live], stop: threading.Event, stack: ExitStack) -> Iterator[_Item]:
    """The newest frames of all cameras as they come, a pause for each about once a second, and their ends."""
    fresh = threading.Event()
    last_ms = judged_ms = 0
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
        now_ms = max(last_ms, round(1000 * time.time()))
        if now_ms - judged_ms >= JUDGE_MS:
            judged_ms = now_ms
            for camera_id in open_ones:
                yield camera_id, Pause(now_ms)
        for camera_id in [camera_id for camera_id, live in open_ones.items() if live.over]:
            problem = open_ones.pop(camera_id).damage
            yield camera_id, Over(now_ms, problem)
        if not taken:
            yield from ((camera_id, Pause()) for camera_id in [*open_ones][:1])
            fresh.wait(TICK_S)
