"""Where frames come from: files and folders (recordings), and RTSP or HTTP streams and USB devices (live cameras).

A recording's frames carry the time at which they were taken and are all read, as fast as they are wanted. A live camera
is read in a thread that keeps only its newest frame, stamped by the wall clock, and connects again for as long as it is
wanted. Addresses may hold a password: everything that names a source in words uses ``name``, which has none.
"""

from __future__ import annotations

import math
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from aisleflow import log
from producers.cameras import CameraError
from schemas.reading import epoch_ms

_VIDEO = (
    ".3gp",
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ts",
    ".webm",
)
CLIPS = frozenset((*_VIDEO, ".wmv"))
PICTURES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
SCHEMES = frozenset(("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"))
# A camera that stops sending is given up and called again after this long: a few key-frame intervals of slow cameras.
TIMEOUT_S = 10.0
# Waits between calls double from the first to the last; the last keeps a dead camera from costing anything, and finds a
# live one again within half a minute.
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 30.0

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: BGR, height x width x 3, uint8; and when it was taken, milliseconds since 1970."""

    image: Any
    at_ms: int


class Capture(Protocol):
    """What is used of ``cv2.VideoCapture``."""

    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


class Pace:
    """Which frames to look at so that there are ``rate`` a second: those on or after each tick of that clock; 0 is all."""

    def __init__(self, rate: float) -> None:
        self._step_s = 1 / rate if rate else 0.0
        self._due_s = -math.inf

    def wants(self, at_s: float) -> bool:
        """Ask once for each frame, in order."""
        # Times are cut to milliseconds: a frame just on its tick must not miss it by that.
        if at_s < self._due_s - 0.001:
            return False
        # Ticks that brought no frame are not made up for.
        tick_s = at_s if math.isinf(self._due_s) else max(self._due_s, at_s - self._step_s / 2)
        self._due_s = tick_s + self._step_s
        return True


def open_source(
    address: str, *, start: datetime | None = None, picture_rate: float = 10.0, rate: float = 0.0
) -> Recording | Live:
    """The source at ``address``: a file, a folder of clips or of pictures, an RTSP or HTTP address, or a USB device.

    Args:
        address: A path; ``rtsp://...`` and the like, in which ``$NAME`` stands for a variable of the environment, so that a
            password need not be written on a command line; a device's number, or ``/dev/videoN``.
        start: When a recording's first frame was taken; by default its file's modification time.
        picture_rate: Pictures a second in a folder of pictures.
        rate: Frames a second that are wanted of a live source; 0 is all of them.

    Raises:
        CameraError: there is nothing of that name, or nothing in it that can be read. A live source is not tried here: it
            may come up later.
    """
    if urlsplit(address).scheme.lower() in SCHEMES:
        return Live(spoken(address), _stream(os.path.expandvars(address)), rate=rate)
    if (device := re.fullmatch(r"(?:/dev/video)?([0-9]{1,3})", address)) is not None:
        return Live(address, _device(int(device[1])), rate=rate)
    path = Path(address)
    if not path.is_dir():
        return Recording([Clip(path)], path.name, start)
    found = sorted((file for file in path.iterdir() if file.suffix.lower() in CLIPS | PICTURES), key=_by_number)
    kinds = {file.suffix.lower() in CLIPS for file in found}
    if len(kinds) != 1:
        raise CameraError(f"{path} holds {'both clips and pictures' if kinds else 'neither clips nor pictures'}")
    if kinds == {False}:
        return Recording([Pictures(found, picture_rate)], path.name, start)
    # Opened one after the other: a month of clips has more files than a process may hold open.
    return Recording([Clip(found[0]), *found[1:]], path.name, start)


def spoken(address: str) -> str:
    """An address without what may be secret in it: user, password, query and fragment."""
    parts = urlsplit(address)
    if not parts.netloc:
        return address
    # Passwords are often written without the escapes that they need, and then end wherever one likes: say nothing.
    if address.count("@") > parts.netloc.count("@") or parts.netloc.count("@") > 1:
        return f"{parts.scheme} camera"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _by_number(path: Path) -> list[Any]:
    """Name order as people number files: clip-9 before clip-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


class Clip:
    """A video file; a context manager.

    Attributes:
        fps: Frames per second.
        width, height: Of a frame, pixels.
        declared: Frames that the file says it has; 0 when it does not say.

    Raises:
        CameraError: the file is missing, or OpenCV cannot read a frame of it.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CameraError(f"there is no file {path}")
        self.path = path
        cv2 = _cv2()
        self._capture: Any = cv2.VideoCapture(str(path))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.declared = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not self._capture.isOpened() or not self.width or not self.height or not 0 < self.fps <= 1000:
            self.close()
            raise CameraError(f"{path} is damaged or no video: OpenCV cannot read it")

    def frames(self, wanted: Callable[[int, float], bool]) -> Iterator[tuple[float, Any]]:
        """Frames with their time in the clip in milliseconds, those for which ``wanted(number, milliseconds)`` holds.

        The file's own times are used: a phone or a recorder that drops frames does not say the same as counting them.

        Raises:
            CameraError: the file ends more than a second before it says it does; what came until then is good.
        """
        cv2 = _cv2()
        index, at_ms, first_ms = 0, 0.0, math.nan
        while self._capture.grab():
            told = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
            first_ms = told if index == 0 else first_ms
            # Some files and formats tell no times, or the same again: those are counted.
            at_ms = told - first_ms if index == 0 or told - first_ms > at_ms else at_ms + 1000 / self.fps
            if wanted(index, at_ms):
                readable, image = self._capture.retrieve()
                if not readable:
                    break
                yield at_ms, image
            index += 1
        if index == 0 or index + self.fps < self.declared:
            raise CameraError(
                f"{self.path} is damaged: it ends after {index} of {self.declared} frames; events up to there stand"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pictures:
    """Still pictures of one camera, as the frames of a clip; the attributes are those of ``Clip``.

    Raises:
        CameraError: the first picture cannot be read.
    """

    def __init__(self, paths: list[Path], fps: float) -> None:
        self.path, self._paths, self.fps, self.declared = paths[0], paths, fps, len(paths)
        self.height, self.width = self._read(paths[0]).shape[:2]

    def frames(self, wanted: Callable[[int, float], bool]) -> Iterator[tuple[float, Any]]:
        """As ``Clip.frames``.

        Raises:
            CameraError: a picture cannot be read; those around it were.
        """
        damage = None
        for index, path in enumerate(self._paths):
            if wanted(index, at_ms := 1000 * index / self.fps):
                try:
                    image = self._read(path)
                except CameraError as error:
                    damage = damage or error
                    continue
                yield at_ms, image
        if damage is not None:
            raise damage

    @staticmethod
    def _read(path: Path) -> Any:
        image = _cv2().imread(str(path))
        if image is None:
            raise CameraError(f"{path} is damaged or no picture: OpenCV cannot read it")
        return image

    def close(self) -> None:
        """Nothing is held open."""


class Recording:
    """One or several clips of one camera, one after the other; a context manager.

    Attributes:
        name: For people.
        fps, width, height: Of the first clip; the others must have its size.
        start: When the first frame was taken.
        declared: Frames that it says it has; 0 when that is not known beforehand.
        read: Frames read so far, looked at or not.
    """

    def __init__(self, clips: Sequence[Clip | Pictures | Path], name: str, start: datetime | None) -> None:
        first = clips[0]
        assert not isinstance(first, Path)
        self._clips, self._said = clips, start
        self._current: Clip | Pictures = first
        self.name, self.fps, self.width, self.height = name, first.fps, first.width, first.height
        self.declared = first.declared if len(clips) == 1 else 0
        self.start = start or _modified(first.path)
        self.read = 0

    def frames(self, every: int = 1, rate: float = 0.0) -> Iterator[Frame]:
        """Each ``every``-th frame, and of these at most ``rate`` a second (0: all of them).

        With a start of its own, the recording is taken as without gaps; else each clip starts at its file's modification
        time, or where the one before ended, whichever is later.

        Raises:
            CameraError: a clip is damaged or has another size. It is raised when all else has been read.
        """
        damage: CameraError | None = None
        end_ms = epoch_ms(self.start)
        for found in self._clips:
            pace = Pace(rate)

            def wanted(index: int, at_ms: float, pace: Pace = pace) -> bool:
                self.read += 1
                return index % every == 0 and pace.wants(at_ms / 1000)

            try:
                self._current = clip = Clip(found) if isinstance(found, Path) else found
                if (clip.width, clip.height) != (self.width, self.height):
                    raise CameraError(
                        f"{clip.path} has {clip.width}x{clip.height} pixels, and the clips before it"
                        f" {self.width}x{self.height}"
                    )
                begin_ms = end_ms if self._said is not None else max(end_ms, epoch_ms(_modified(clip.path)))
                for at_ms, image in clip.frames(wanted):
                    end_ms = begin_ms + round(at_ms + 1000 / clip.fps)
                    yield Frame(image, begin_ms + round(at_ms))
            except CameraError as error:
                damage = damage or error
            finally:
                self._current.close()
        if damage is not None:
            raise damage

    def close(self) -> None:
        """Let go of the file."""
        self._current.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class Counts:
    """What a live source has done so far; read it as a whole by ``Live.counts``."""

    read: int = 0
    """Frames that the camera sent."""
    connections: int = 0
    failures: int = 0
    """Calls that were not answered, and streams that broke off."""
    problem: str = "it has not answered yet"
    """Why there are no frames; empty while they come."""


@dataclass
class Live:
    """A camera that is there or not, read by a thread of its own; a context manager.

    Only the newest frame is kept, so that a slow reader is never behind and memory stays flat: whoever takes a frame gets the
    present. When the camera does not answer or stops, it is called again after waits that double up to half a
    minute, each shortened by chance so that a shop's cameras do not all come back at once.

    Args:
        name: For people, without secrets.
        connect: Opens it; None when it does not answer. Called in the thread, and may block for some seconds.
        rate: Frames a second that are wanted; the others are not even converted. 0 is all of them.
        ends: It is over when it stops (a recording played as if it were live).
    """

    name: str
    connect: Callable[[], Capture | None]
    rate: float = 0.0
    ends: bool = False
    clock: Callable[[], float] = time.time
    fresh: threading.Event = field(default_factory=threading.Event)
    """Set when a frame has come or the source is over; may be shared by many sources, and cleared by who waits."""
    damage: CameraError | None = field(default=None, init=False)
    """What was wrong with a recording."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False)
    _newest: Frame | None = field(default=None, init=False)
    _counts: Counts = field(default_factory=Counts, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Live:
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading. A call that hangs is left to its own time limit: nobody waits for it."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def take(self) -> Frame | None:
        """The newest frame, once; None when none has come since."""
        with self._lock:
            frame, self._newest = self._newest, None
            return frame

    def counts(self) -> Counts:
        """What it has done until now."""
        with self._lock:
            return Counts(self._counts.read, self._counts.connections, self._counts.failures, self._counts.problem)

    @property
    def read(self) -> int:
        """Frames that it has sent."""
        return self._counts.read

    @property
    def over(self) -> bool:
        """No frame will come any more."""
        return self._closed.is_set() and self._newest is None

    def _run(self) -> None:
        failed = 0
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._call()
            except CameraError as error:
                self.damage = error
                self._fail(str(error))
            except Exception as error:  # a driver's whim must not end a camera for good
                logger.exception("camera_reader_failed", camera=self.name)
                self._fail(f"its reader failed ({type(error).__name__})")
            if self.ends:
                self._closed.set()
                self.fresh.set()
                return
            # A camera that answers and breaks off at once is as good as one that does not answer.
            failed = 0 if time.monotonic() - began > LAST_WAIT_S else failed + 1
            self._closed.wait(wait_s(failed, random.random()))  # noqa: S311 (spreads load, guards nothing)

    def _call(self) -> None:
        capture = self.connect()
        if capture is None:
            self._fail("it does not answer")
            return
        try:
            self._read(capture)
        finally:
            capture.release()

    def _read(self, capture: Capture) -> None:
        with self._lock:
            self._counts.connections += 1
        pace = Pace(self.rate)
        while not self._closed.is_set() and capture.grab():
            at_s = self.clock()
            frame = None
            if pace.wants(at_s):
                readable, image = capture.retrieve()
                if not readable:
                    break
                frame = Frame(image, round(1000 * at_s))
            with self._lock:
                self._counts.read += 1
                self._counts.problem = ""
                self._newest = frame or self._newest
            if frame is not None:
                self.fresh.set()
        if not self._closed.is_set():
            self._fail("it stopped sending")

    def _fail(self, problem: str) -> None:
        with self._lock:
            self._counts.failures += 1
            self._counts.problem = problem


def wait_s(failed: int, chance: float) -> float:
    """How long to wait after this many failures in a row; ``chance`` from 0 to 1 takes up to half of it away."""
    return min(LAST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(max(failed - 1, 0), 30)) * (1 - chance / 2)


def played(recording: Recording, *, rate: float = 0.0, speed: float = 1.0) -> Live:
    """A recording as if it were live, for watching beside live cameras: its first frame is now."""
    capture = _Played(recording, speed)
    return Live(recording.name, lambda: capture, rate=rate, ends=True)


class _Played:
    """A recording that takes its time."""

    def __init__(self, recording: Recording, speed: float) -> None:
        self._recording, self._speed = recording, speed
        self._frames = recording.frames()
        self._began: float | None = None
        self._image: Any = None

    def grab(self) -> bool:
        frame = next(self._frames, None)
        if frame is None:
            return False
        offset_s = frame.at_ms / 1000 / self._speed
        if self._began is None:
            self._began = time.monotonic() - offset_s
        time.sleep(max(0.0, self._began + offset_s - time.monotonic()))
        self._image = frame.image
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._image

    def release(self) -> None:
        self._recording.close()


def _stream(address: str) -> Callable[[], Capture | None]:
    def connect() -> Capture | None:
        cv2 = _cv2()
        limit = int(1000 * TIMEOUT_S)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        capture: Any = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        return capture if capture.isOpened() else None

    return connect


def _device(number: int) -> Callable[[], Capture | None]:
    def connect() -> Capture | None:
        capture: Any = _cv2().VideoCapture(number)
        return capture if capture.isOpened() else None

    return connect


@lru_cache
def _cv2() -> Any:
    """OpenCV, told before it opens anything to keep quiet (it would print addresses, passwords and all) and to ask RTSP
    cameras for TCP, which loses no packets.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    import cv2
    from cv2.utils import logging

    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    return cv2


def _modified(path: Path) -> datetime:
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return modified.replace(microsecond=modified.microsecond // 1000 * 1000)
