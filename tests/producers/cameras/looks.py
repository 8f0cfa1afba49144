"""Rendered scenes as looks of the pipeline: what ``watch`` would yield of them, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from producers.cameras.observations import Observer
from producers.cameras.people import Tracker
from producers.cameras.scene import Scene, scene_of
from producers.cameras.shop import Seen, Shop
from producers.cameras.sources import Frame
from producers.cameras.watch import PATIENCE_S, Look
from producers.simulator.footage.detector import Detector
from producers.simulator.footage.pictures import shots
from producers.simulator.footage.scenes import Scene as Story


def scenes_of(story: Story) -> dict[str, Scene]:
    """What each camera of a rendered scene sees."""
    return {lens.camera_id: scene_of(story.layout, lens.camera_id, lens.width, lens.height) for lens in story.lenses}


def looks(story: Story, scenes: Mapping[str, Scene]) -> Iterator[tuple[Look, Mapping[int, Seen], Any]]:
    """Looks, with the shop's view right after each, and what is true of its picture (``pictures.Shot``)."""
    import numpy as np
    import supervision as sv

    shop = Shop(story.layout, scenes, salt=b"test")
    trackers = {camera: Tracker(PATIENCE_S) for camera in scenes}
    uniform = story.layout.staff.uniform if story.layout.staff else ()
    observers = {camera: Observer(uniform) for camera in scenes}
    detectors = {
        camera: Detector((story.seed, i), scene.width, scene.height) for i, (camera, scene) in enumerate(scenes.items())
    }
    for shot in shots(story):
        camera, image = shot.camera_id, shot.image.copy()
        boxes, sure = detectors[camera].see(shot.seen)
        found = sv.Detections(
            boxes.astype(np.float32), confidence=sure.astype(np.float32), class_id=np.zeros(len(sure), int)
        )
        people = trackers[camera].update(found, shot.at_ms)
        events = shop.see(camera, shot.at_ms, observers[camera].see(image, people))
        yield Look(camera, Frame(image, shot.at_ms), people, events, [], found), shop.view(camera), shot
