"""How well a camera's visits are those of a clip whose truth is known: counts, precision, recall, and errors in time.

    python -m benchmarks.visits CLIP --truth FILE.csv --model NAME_openvino_model [--layout FILE] [--every 1 2 3]

The truth is a table with the columns ``file``, ``first_frame`` and ``last_frame``: one row a visit. A visit found is right if its
start and its end lie within a second of the truth's; each counts for one at most. With a layout, a visit is a visit to any of
its zones; without one, the time in the picture.
"""

from __future__ import annotations

import argparse
import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._report import report
from benchmarks.camera import layout_of, opened
from producers.cameras import Entrance
from producers.cameras.layouts import read_layout
from producers.cameras.observations import Observer
from producers.cameras.people import Detector, load_detector
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from producers.cameras.watch import Camera, watch
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms

WITHIN_S = 1.0
Span = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """Visits found beside true ones."""

    truth: int
    found: int
    right: int
    worst_s: float
    """Largest error of a start or an end among those that are right."""

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.truth if self.truth else 1.0


def score(truth: list[Span], found: list[Span]) -> Score:
    """Match each true visit to the nearest found one that nobody has, in the order of how near they are."""
    pairs = sorted(
        (max(abs(a[0] - b[0]), abs(a[1] - b[1])), i, j) for i, a in enumerate(truth) for j, b in enumerate(found)
    )
    taken, matched, worst = set[int](), set[int](), 0.0
    for error, i, j in pairs:
        if error <= WITHIN_S and i not in taken and j not in matched:
            taken.add(i)
            matched.add(j)
            worst = max(worst, error)
    return Score(len(truth), len(found), len(taken), worst)


def visits(path: Path, layout: StoreLayout | None, detector: Detector, every: int) -> tuple[list[Span], int]:
    """Zone visits of a clip as seconds from its start, and the most people who were in zones at once."""
    clip = opened(path)
    layout = layout or layout_of(clip)
    name = layout.cameras[0].camera_id
    scene = scene_of(layout, name, clip.width, clip.height, Entrance.FRAME)
    camera = Camera(clip, scene, Observer(), StoreCalendar(layout.store_id, layout), clip.fps / every)
    shop, began = Shop(layout, {name: scene}, salt=b"benchmark"), epoch_ms(clip.start)
    spans = []
    for look in watch({name: camera}, shop, detector, every=every):
        for event in look.events:
            if event.event_type == "ZONE_EXIT":
                end = (epoch_ms(event.timestamp) - began) / 1000
                spans.append((end - event.dwell_ms / 1000, end))
    most = max((sum(a <= start < b for a, b in spans) for start, _ in spans), default=0)
    return sorted(spans), most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=os.environ.get("AISLEFLOW_CAMERA_MODEL"), required=False)
    parser.add_argument("--layout", type=Path)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    if given.model is None:
        parser.error("--model, or AISLEFLOW_CAMERA_MODEL, must name a folder *_openvino_model")
    fps = opened(given.clip).fps
    with given.truth.open() as file:
        truth = [
            (int(row["first_frame"]) / fps, int(row["last_frame"]) / fps)
            for row in csv.DictReader(file)
            if row["file"] == given.clip.name
        ]
    detector = load_detector(Path(given.model), cache_dir=Path())
    layout = read_layout(given.layout) if given.layout else None
    rows: list[list[Any]] = []
    for every in given.every:
        found, most = visits(given.clip, layout, detector, every)
        told = score(truth, found)
        rows.append([every, told.truth, told.found, told.precision, told.recall, round(told.worst_s, 2), most])
    report(
        f"visits_{given.clip.stem}",
        ["openvino", "supervision", "trackers"],
        ["every", "true visits", "found", "precision", "recall", "worst error, s", "most at once"],
        rows,
        clip=given.clip.name,
        zone=str(given.layout.name) if given.layout else "the whole picture",
        right_within_s=WITHIN_S,
    )


if __name__ == "__main__":
    main()
