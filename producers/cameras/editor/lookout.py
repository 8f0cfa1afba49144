"""Who is in the picture that is drawn on, by the same detector, tracker and rules as ``aisleflow camera``."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from producers.cameras import CameraError
from producers.cameras.observations import Observer
from producers.cameras.people import SURE, Detector, Tracker
from producers.cameras.scene import Box, Scene, place, scene_of
from producers.cameras.shop import Shop
from producers.cameras.watch import PATIENCE_S
from schemas.events import StoreLayout

TRAIL = 40


@dataclass(frozen=True, slots=True)
class Spotted:
    """One person in the picture."""

    box: Box
    label: str
    zone: str | None


class Lookout:
    """Finds and follows people for one page; safe to use from several threads.

    Args:
        detector: Finds people; may be shared.
        camera_id: Whose zones and line count.
        size: Width and height of its pictures, pixels.

    Attributes:
        entries, exits: Crossings of the entrance line since ``restart``.
    """

    def __init__(self, detector: Detector, camera_id: str, size: tuple[int, int]) -> None:
        self._detector, self._camera_id, self._size = detector, camera_id, size
        self._lock = threading.Lock()
        self._layout: StoreLayout | None = None
        self._scene: Scene | None = None
        self._observer = Observer()
        self.restart()

    def restart(self) -> None:
        """Forget who was seen: the next picture does not follow from the last."""
        with self._lock:
            self._tracker = Tracker(PATIENCE_S)
            self._shop: Shop | None = None
            self._trails: dict[int, deque[tuple[float, float]]] = {}
            self.entries = self.exits = 0

    def trails(self) -> list[list[tuple[float, float]]]:
        """Foot points of who is in view, oldest first."""
        return [list(trail) for trail in self._trails.values()]

    def glance(self, image: Any, layout: StoreLayout | None) -> list[Spotted]:
        """People in a single picture, with the detector's confidence."""
        found = self._detector.detect(image)
        with self._lock:
            self._take(layout)
            return [
                Spotted(box, f"{confidence:.0%}", self._zone(box))
                for box, confidence in zip(map(_box, found.xyxy), found.confidence, strict=True)
                if confidence >= SURE
            ]

    def follow(self, image: Any, at_ms: int, layout: StoreLayout | None) -> list[Spotted]:
        """People in the next picture, each with the tracker's number; ``at_ms`` counts up until ``restart``."""
        found = self._detector.detect(image)
        with self._lock:
            self._take(layout)
            seen = self._observer.see(image, self._tracker.update(found, at_ms))
            if self._scene is not None and layout is not None:
                # A layout that has changed begins to count anew.
                self._shop = self._shop or Shop(layout, {self._camera_id: self._scene}, salt=secrets.token_bytes(16))
                kinds = [event.event_type for event in self._shop.see(self._camera_id, at_ms, seen)]
                self.entries += sum(kind in ("ENTRY", "REENTRY") for kind in kinds)
                self.exits += kinds.count("EXIT")
            view = self._shop.view(self._camera_id) if self._shop else {}
            staff = {track for track, who in view.items() if who.is_staff}
            self._trails = {one.track_id: self._trails.get(one.track_id, deque(maxlen=TRAIL)) for one in seen}
            for one in seen:
                self._trails[one.track_id].append(((one.box[0] + one.box[2]) / 2, one.box[3]))
            return [
                Spotted(one.box, f"{one.track_id}{' staff' if one.track_id in staff else ''}", self._zone(one.box))
                for one in seen
            ]

    def _zone(self, box: Box) -> str | None:
        return place(self._scene, box).zone if self._scene else None

    def _take(self, layout: StoreLayout | None) -> None:
        if layout == self._layout:
            return
        self._layout, self._shop, self._scene = layout, None, None
        self._observer = Observer(layout.staff.uniform if layout and layout.staff else ())
        try:
            self._scene = scene_of(layout, self._camera_id, *self._size) if layout else None
        except CameraError:
            return  # half drawn: the page's findings say what is wrong


def _box(corners: Any) -> Box:
    x0, y0, x1, y1 = (float(value) for value in corners)
    return x0, y0, x1, y1
