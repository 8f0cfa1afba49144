"""One clip from its frames to its visit events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from producers.cameras import CameraError
from producers.cameras.clip import Clip
from producers.cameras.people import People
from producers.cameras.presence import Presence
from producers.cameras.scene import Geometry, Scene
from schemas.events import VisitEvent

# Somebody hidden behind another shopper for this long is still the same person.
PATIENCE_S = 2.0
# A change must last this long to count, and at least two looks.
INERTIA_S = 0.3
# Frames per second below which a walking person's boxes no longer overlap.
SLOWEST = 2


def watch(
    clip: Clip, scene: Scene, model: Path, start: datetime, *, cache_dir: Path, every: int = 1
) -> Iterator[tuple[int, list[VisitEvent]]]:
    """Frame numbers with the events that they brought about, as they come; the last item closes what is open.

    Args:
        model: Folder ``NAME_openvino_model``.
        start: Time of the first frame.
        cache_dir: Where the detector's library may keep its settings.
        every: Look at each ``every``-th frame only.

    Raises:
        CameraError: the model cannot be read, ``every`` leaves too few frames to follow people, or the clip turns out
            damaged (after the events up to there).
    """
    if clip.fps / every < SLOWEST:
        raise CameraError(
            f"--every {every} leaves {clip.fps / every:.1f} frames/s: people are followed from {SLOWEST} on"
        )
    people = People(model, patience_s=PATIENCE_S, cache_dir=cache_dir)
    geometry = Geometry(scene)
    # One look longer than the tracker, so that nobody it could still find again has been sent away.
    lost_after_ms = round(1000 * (PATIENCE_S + every / clip.fps))
    inertia = max(2, round(INERTIA_S * clip.fps / every))
    presence = Presence(
        scene.store_id, scene.camera_id, start, entrance=scene.entrance, inertia=inertia, lost_after_ms=lost_after_ms
    )
    index, damage = 0, None
    try:
        for index, frame in clip.frames(every):
            at_s = index / clip.fps
            yield index, presence.see(round(1000 * at_s), geometry.sightings(people.see(frame, at_s)))
    except CameraError as error:
        damage = error
    yield index, presence.finish()
    if damage is not None:
        raise damage
