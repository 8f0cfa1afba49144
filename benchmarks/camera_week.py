"""Whether a camera's memory stays flat: a week of observations of two cameras through the rules, and what each day leaves.

Shoppers come all day at an uneven rate, walk the ways of ``producers.simulator.footage``, are lost by the tracker now and then,
queue, go, and some come back; at night the cameras look at an empty shop. Nothing is drawn: boxes are computed from where
people stand, clothes are a vector of each person's own with noise, so that a week takes minutes.

``python -m benchmarks.camera_week --days 7``
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from benchmarks._report import report
from producers.cameras.observations import Observation
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from producers.simulator.footage.people import Way, places
from producers.simulator.footage.plan import Lens
from producers.simulator.footage.scenes import START_MS, Story

LOOKS_A_SECOND = 5
OPEN_H = 12
NIGHT_LOOK_S = 20
DIMENSIONS = 96
BREAK_S = 40.0
"""Mean time after which the tracker loses somebody and finds them as a new track."""
DAY_MS = 86_400_000
HOUR = 3600 * LOOKS_A_SECOND


@dataclass(frozen=True)
class Shopper:
    """Somebody's looks, from ``first`` (in looks since the hour began) on."""

    first: int
    boxes: list[np.ndarray]
    """By camera, looks x 4; nan where it does not see them."""
    clothes: np.ndarray
    tracks: np.ndarray


def shopper(story: Story, rng: np.random.Generator, track: int) -> Shopper:
    """Somebody who comes some time in the hour; ``track`` is the first free number of a track."""
    way = story.come(Way(story.plan, float(rng.uniform(0, 3600)), story.off(), float(rng.uniform(0.9, 1.4))))
    for _ in range(int(rng.integers(1, 4))):
        way.to(story.plan.spots[int(rng.integers(len(story.plan.spots)))]).wait(float(rng.exponential(25)))
    if rng.random() < 0.4:
        zone = story.plan.zones["TILL"][1]
        y = (zone.y0 + zone.y1) / 2
        way.to((zone.x0 - 0.5, y), (float(rng.uniform(zone.x0 + 0.3, zone.x1 - 0.4)), y)).wait(
            float(rng.uniform(15, 90))
        )
    story.go(way)
    if rng.random() < 0.1:
        story.go(story.come(way.wait(float(rng.uniform(20, 200)))).wait(20))
    rows = way.array
    times = np.arange(np.ceil(rows[0, 0] * LOOKS_A_SECOND), rows[-1, 0] * LOOKS_A_SECOND) / LOOKS_A_SECOND
    clothes = np.abs(rng.normal(0, 1, DIMENSIONS))
    lost = rng.random(len(times)) < 1 / (BREAK_S * LOOKS_A_SECOND)
    floor = np.column_stack((places(rows, times), np.zeros(len(times))))
    return Shopper(
        round(times[0] * LOOKS_A_SECOND),
        [_boxes(lens, floor) + rng.normal(0, 1, (len(times), 4)) for lens in story.lenses],
        clothes / np.linalg.norm(clothes),
        track + np.cumsum(lost),
    )


def _boxes(lens: Lens, floor: np.ndarray) -> np.ndarray:
    feet = lens.pixels(floor)
    tall = feet[:, 1] - lens.pixels(floor + np.array((0, 0, 1.7)))[:, 1]
    boxes = np.column_stack((feet[:, 0] - 0.2 * tall, feet[:, 1] - tall, feet[:, 0] + 0.2 * tall, feet[:, 1]))
    boxes = np.clip(boxes, 0, (lens.width, lens.height) * 2)
    boxes[(boxes[:, 2] - boxes[:, 0] < 5) | (boxes[:, 3] - boxes[:, 1] < 24)] = np.nan
    return boxes


def looks(story: Story, seed: int, days: int, an_hour: int) -> Iterator[tuple[int, list[list[Observation]]]]:
    """The time of each look, epoch milliseconds, and whom each camera sees."""
    rng = np.random.default_rng((seed, 1))
    track, present = 0, list[tuple[int, Shopper]]()
    for hour in range(24 * days):
        open_ = hour % 24 < OPEN_H
        # Nobody comes in the last hour, so that all have gone when the shop closes.
        for _ in range(rng.poisson(an_hour) if hour % 24 < OPEN_H - 1 else 0):
            new = shopper(story, rng, track)
            present.append((new.first, new))
            track = int(new.tracks[-1]) + 1
        for look in range(0, HOUR, 1 if open_ else NIGHT_LOOK_S * LOOKS_A_SECOND):
            here = [(who, look - first) for first, who in present if 0 <= look - first < len(who.tracks)]
            yield (
                START_MS + (hour * HOUR + look) * 1000 // LOOKS_A_SECOND,
                [
                    [_observed(who, i, camera, rng) for who, i in here if not np.isnan(who.boxes[camera][i, 0])]
                    for camera in range(len(story.lenses))
                ],
            )
        present = [(first - HOUR, who) for first, who in present if first + len(who.tracks) > HOUR]


def _observed(who: Shopper, look: int, camera: int, rng: np.random.Generator) -> Observation:
    clothes = who.clothes + rng.normal(0, 0.02, DIMENSIONS)
    x0, y0, x1, y1 = who.boxes[camera][look].tolist()
    seen = (clothes / np.linalg.norm(clothes)).astype(np.float32)
    return Observation(int(who.tracks[look]), (x0, y0, x1, y1), 0.9, seen, 0.0)


def resident_mib() -> float:
    """Memory of this process that is in RAM."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--visitors", type=int, default=25, help="an hour")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    story = Story(np.random.default_rng(options.seed))
    story.lenses = (story.whole_lens(), story.till_lens(door=False))
    layout = story.scene("busy", options.seed).layout
    names = [lens.camera_id for lens in story.lenses]
    scenes = {lens.camera_id: scene_of(layout, lens.camera_id, lens.width, lens.height) for lens in story.lenses}
    shop = Shop(layout, scenes, salt=b"benchmark")
    made: Counter[str] = Counter()
    rows: list[list[int | float]] = []
    seen, total, spent, day_end = 0, 0, 0.0, START_MS + DAY_MS

    def close_day() -> None:
        gc.collect()
        day = [len(rows) + 1, seen, made.total(), resident_mib(), len(gc.get_objects()), spent]
        rows.append(day)
        print(*day, file=sys.stderr, flush=True)

    for at_ms, by_camera in looks(story, options.seed, options.days, options.visitors):
        if at_ms >= day_end:
            close_day()
            day_end += DAY_MS
        began = time.process_time()
        for name, observations in zip(names, by_camera, strict=True):
            made.update(event.event_type for event in shop.see(name, at_ms, observations))
        spent += time.process_time() - began
        seen += sum(map(len, by_camera))
        total += len(by_camera)
    close_day()
    # The first day fills what is kept; what grows after it would grow for ever.
    after = np.array([(row[0], row[3], row[4]) for row in rows[1:]], dtype=float)
    slopes = [float(np.polyfit(after[:, 0], after[:, i], 1)[0]) if len(after) > 1 else float("nan") for i in (1, 2)]
    report(
        "camera_week",
        ["numpy"],
        ("day", "observations", "events", "memory MiB", "objects", "rules CPU s"),
        rows,
        command=" ".join(["python -m benchmarks.camera_week", *sys.argv[1:]]),
        looks=total,
        mib_a_day=round(slopes[0], 3),
        objects_a_day=round(slopes[1], 1),
        events=dict(made),
    )


if __name__ == "__main__":
    main()
