"""How well a camera is: pure rules over what it sent, without video, threads or a clock of their own.

A stopped camera still shows its last frames per second, and a stuck one still sends frames. So what counts is the age of
the last frame, and of the last *new* one: a picture unlike those before it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from schemas.events import CameraHealth, CameraState, VisitEvent
from schemas.layouts import StoreCalendar

Box = tuple[float, float, float, float]
# Names every id of these events; changing it would make every report of a recording new.
_NAMESPACE = UUID("9d0d3f8a-6c1e-5b0e-8a54-1f1d0b3f7c11")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a camera is not well. All are seconds, but for the shares of the wanted rate."""

    offline_after_s: float = 10.0
    """Without a frame. Longer than the pause of a camera that changes its exposure or its key frame."""
    frozen_after_s: float = 30.0
    """Without a new one. Cameras that smooth their noise away still redo the whole picture with each key frame, mostly
    every 1 to 10 s, which changes it a little even in an empty shop."""
    window_s: float = 10.0
    """Over which rates are measured."""
    degraded_below: float = 0.5
    """Of the wanted frames a second: at 2.5 of 5, people who walk past each other are mixed up (docs/cameras.md)."""
    well_above: float = 0.7
    """What it must reach to be well again, so that a rate near the limit does not swing."""
    hold_s: float = 5.0
    """How long a better or worse rate must last, and frames must come again, before the state follows."""
    report_every_s: float = 300.0
    """A state is said again this often: silence then means that nobody watches."""


class Stillness:
    """Tells new pictures from repeated ones.

    Sparse pixels are compared with those of the last new picture, not of the last one: slow changes add up. A repeated picture
    that was encoded anew differs by a level or two; a live sensor's noise differs by more in some pixels, always. So noise is a
    sign of life, and an empty shop by night is not frozen.
    """

    LEVELS = 3
    """Differences of a pixel up to this are encoding."""
    SHARE = 0.001
    """Of the pixels must differ by more."""
    ACROSS = 160
    """Pixels compared in a row, and as many in a column of a square picture."""

    def __init__(self) -> None:
        self._last: Any = None

    def is_new(self, image: Any) -> bool:
        """Whether a BGR picture shows something else than the last new one; the first one is new."""
        import numpy as np

        step = max(1, max(image.shape[:2]) // self.ACROSS)
        green = image[step // 2 :: step, step // 2 :: step, 1].astype(np.int16)
        if self._last is not None and self._last.shape == green.shape:
            differing = np.count_nonzero(np.abs(green - self._last) > self.LEVELS)
            if differing <= self.SHARE * green.size:
                return False
        self._last = green
        return True


def ended_inside(box: Box, width: int, height: int, line: Sequence[Sequence[float]] | None) -> bool:
    """Whether a track that ended with this box broke: its person can have left neither the frame nor through the door.

    Args:
        box: The last one, pixels.
        width, height: Of the frame.
        line: The entrance line's ends, if there is one.
    """
    x0, y0, x1, y1 = box
    # A step's length from the edge, as a share of the frame: people are lost a moment before they are out of it.
    if x0 < 0.05 * width or x1 > 0.95 * width or y0 < 0.02 * height or y1 > 0.95 * height:
        return False
    if line is None:
        return True
    (ax, ay), (bx, by) = line
    foot_x, foot_y = (x0 + x1) / 2, y1
    dx, dy = bx - ax, by - ay
    along = max(0.0, min(1.0, ((foot_x - ax) * dx + (foot_y - ay) * dy) / ((dx * dx + dy * dy) or 1.0)))
    away = ((foot_x - ax - along * dx) ** 2 + (foot_y - ay - along * dy) ** 2) ** 0.5
    # Half of a person's height is about a step.
    return bool(away > (y1 - y0) / 2)


class Tracks:
    """Counts tracks that broke: that ended with their person still in the picture."""

    def __init__(self, width: int, height: int, line: Sequence[Sequence[float]] | None, patience_ms: int) -> None:
        self._frame = width, height, line
        self._patience_ms = patience_ms
        self._seen: dict[int, tuple[int, Box]] = {}

    def see(self, at_ms: int, boxes: Mapping[int, Box]) -> int:
        """Tracks that have broken, found out at this frame. ``boxes`` are those of the frame by track."""
        self._seen.update((track, (at_ms, box)) for track, box in boxes.items())
        ended = [track for track, (seen_ms, _) in self._seen.items() if at_ms - seen_ms > self._patience_ms]
        return sum(ended_inside(self._seen.pop(track)[1], *self._frame) for track in ended)


@dataclass(slots=True)
class _Day:
    """What one camera counted on one business day."""

    day: date | None = None
    entries: int = 0
    exits: int = 0
    broken: int = 0


class Health:
    """One camera's state, from what it sends.

    Times are milliseconds since 1970, of the frames: the wall clock's for a live camera, the recording's own for a recording.

    Args:
        store_id, camera_id: Whose.
        calendar: The store's, for business days.
        wanted: Frames a second that are to be looked at.
    """

    def __init__(
        self, store_id: str, camera_id: str, calendar: StoreCalendar, wanted: float, limits: Limits | None = None
    ) -> None:
        self.store_id, self.camera_id = store_id, camera_id
        self.state: CameraState | None = None
        self._calendar, self._wanted = calendar, wanted
        self._limits = limits or Limits()
        self._began_ms: int | None = None
        self._since_ms = self._said_ms = 0
        self._last_ms: int | None = None
        self._new_ms: int | None = None
        self._processed = self._read = 0
        self._window: deque[tuple[int, int, int]] = deque()
        self._candidate: CameraState | None = None
        self._candidate_ms = 0
        self._day = _Day()

    def saw(self, at_ms: int, *, new: bool) -> None:
        """A frame has been looked at; ``new`` as ``Stillness`` says."""
        self._processed += 1
        self._last_ms = at_ms
        if new:
            self._new_ms = at_ms

    def count(self, events: Iterable[VisitEvent], broken: int = 0) -> None:
        """What a frame brought about."""
        for event in events:
            self._day.entries += event.event_type in ("ENTRY", "REENTRY")
            self._day.exits += event.event_type == "EXIT"
        self._day.broken += broken

    @property
    def processed(self) -> int:
        """Frames looked at since the beginning."""
        return self._processed

    @property
    def new_ms(self) -> int | None:
        """When the last new picture was taken."""
        return self._new_ms

    @property
    def broken(self) -> int:
        """Tracks that broke on this business day."""
        return self._day.broken

    @property
    def balance(self) -> int:
        """Who came in and has not gone out, on this business day."""
        return self._day.entries - self._day.exits

    @property
    def drift(self) -> float | None:
        """The balance as a share of those who came in: at the end of a day, how wrong the counts are at least."""
        return self.balance / self._day.entries if self._day.entries else None

    def tick(self, at_ms: int, read: int, problem: str = "") -> list[CameraHealth]:
        """What is to be said now. Call it about once a second, and at a recording's every frame before ``saw``.

        Args:
            at_ms: Now; never earlier than before.
            read: Frames that the camera has sent since the beginning.
            problem: Why it sends none, if its reader knows.
        """
        said: list[CameraHealth] = []
        self._began_ms = at_ms if self._began_ms is None else self._began_ms
        self._read = read
        day = self._calendar.business_day(at_ms)
        if self._day.day is not None and day != self._day.day and self.state is not None:
            # The counts of the day that is over, dated to its last moment.
            said.append(self._event(self._calendar.bounds(self._day.day)[1] - 1, "DAY"))
        if day != self._day.day:
            self._day = _Day(day)
        self._window.append((at_ms, read, self._processed))
        while at_ms - self._window[0][0] > 1000 * self._limits.window_s and len(self._window) > 2:
            self._window.popleft()
        state, reason = self._judge(at_ms, problem)
        if state == "OFFLINE":
            # Silence is no slowness: rates begin anew with the next frame.
            self._window = deque([self._window[-1]])
        if self._changes(at_ms, state):
            self.state, self._since_ms = state, at_ms
            said.append(self._event(at_ms, "CHANGE", reason))
        elif self.state is not None and at_ms - self._said_ms >= 1000 * self._limits.report_every_s:
            said.append(self._event(at_ms, "REPORT", reason if state == self.state else ""))
        return said

    def finish(self, at_ms: int, reason: str, *, offline: bool) -> list[CameraHealth]:
        """Nobody watches any more.

        Args:
            at_ms: When that was.
            reason: Why, in words.
            offline: The camera is to be taken as away: it is a live one, or its recording is damaged.
        """
        if self._began_ms is None:
            self.tick(at_ms, 0)
        if offline or self.state is None:
            self.state, self._since_ms = "OFFLINE", at_ms
        return [self._event(at_ms, "END", reason)]

    def rates(self) -> tuple[float, float]:
        """Frames a second that were sent, and that were looked at, over the last seconds."""
        (first_ms, read, processed), (last_ms, read_now, processed_now) = self._window[0], self._window[-1]
        span_s = (last_ms - first_ms) / 1000
        return ((read_now - read) / span_s, (processed_now - processed) / span_s) if span_s else (0.0, 0.0)

    def _judge(self, at_ms: int, problem: str) -> tuple[CameraState | None, str]:
        """The state that the present moment alone would give, and why; None while it is too early to say."""
        limits = self._limits
        began_ms = self._began_ms if self._began_ms is not None else at_ms
        if at_ms - (self._last_ms if self._last_ms is not None else began_ms) >= 1000 * limits.offline_after_s:
            return "OFFLINE", problem or "it sends no frames"
        if self._last_ms is None:
            return None, ""
        if self._new_ms is not None and at_ms - self._new_ms >= 1000 * limits.frozen_after_s:
            return "FROZEN", f"the same picture for {(at_ms - self._new_ms) / 1000:.0f} s"
        if self._window[-1][0] - self._window[0][0] < 1000 * limits.window_s * 0.8:
            return "ONLINE", ""
        least = self._wanted * (limits.well_above if self.state == "DEGRADED" else limits.degraded_below)
        read, processed = self.rates()
        if read < least:
            return "DEGRADED", f"it sends {read:.1f} frames/s, {self._wanted:.1f} are wanted"
        if processed < least:
            return (
                "DEGRADED",
                f"{processed:.1f} frames/s are looked at, {self._wanted:.1f} are wanted: this computer is busy",
            )
        return "ONLINE", ""

    def _changes(self, at_ms: int, state: CameraState | None) -> bool:
        """Hysteresis: whether the state follows now."""
        if state is None or state == self.state:
            self._candidate = None
            return False
        if state != self._candidate:
            self._candidate, self._candidate_ms = state, at_ms
        # Silence and stillness have lasted when they are judged; and somebody waits for the first word.
        lasted = state in ("OFFLINE", "FROZEN") or self.state is None
        if not lasted and at_ms - self._candidate_ms < 1000 * self._limits.hold_s:
            return False
        self._candidate = None
        return True

    def _event(self, at_ms: int, kind: Literal["CHANGE", "REPORT", "DAY", "END"], reason: str = "") -> CameraHealth:
        assert self.state is not None
        self._said_ms = at_ms
        read, processed = self.rates()
        name = (self.store_id, self.camera_id, at_ms, kind, self.state)
        return CameraHealth(
            event_id=str(uuid5(_NAMESPACE, json.dumps(name))),
            store_id=self.store_id,
            camera_id=self.camera_id,
            timestamp=moment(at_ms),
            kind=kind,
            state=self.state,
            reason=reason[:256],
            since=moment(self._since_ms),
            last_frame_at=None if self._new_ms is None else moment(self._new_ms),
            read_fps=round(read, 2),
            processed_fps=round(processed, 2),
            skipped_fps=round(max(0.0, read - processed), 2),
            tracks_broken=self._day.broken,
            entries=self._day.entries,
            exits=self._day.exits,
            entrance_balance=self.balance,
            drift=None if self.drift is None else round(self.drift, 4),
        )


def moment(at_ms: int) -> datetime:
    """Milliseconds since 1970 as a time, exactly."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
