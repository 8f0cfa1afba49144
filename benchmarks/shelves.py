"""How well shelf photos are read: empty places, rows, and seconds a photo.

Three measures, each with what is true known:

- ``rendered``: shelves by chance (``producers.simulator.shelves``), rendered, through the detector and everything behind it;
- ``painted``: your own photos (``--photos``), in which the products of some facings are painted over with what is above and
  beside them. Which places were empty before nobody knows: those that are reported for the photo as it was are left out;
- ``rows``: your own photos with a label file beside each (YOLO: class, middle and size of every row's box, in shares).

A reported place is right when it and a missing facing share half of the narrower one's width and half of the lower one's height; each
is matched once. Intervals are 95 % by bootstrap over photos, whose places are not independent. Seeds below 10,000 are for
tuning; the printed ones begin there.

``python -m benchmarks.shelves --model MODEL [--photos FOLDER] [--scenes 60] [--seed 10000] [--tiles N]``; with ``--draw FILE.jpg``
the scene of ``--seed`` alone is rendered, read and drawn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from aisleflow.settings import settings
from benchmarks._report import report
from producers.cameras.people import Detector, load_detector
from producers.shelves.annotate import write_annotated
from producers.shelves.gaps import columns
from producers.shelves.pictures import read_picture
from producers.shelves.products import find_products
from producers.shelves.scan import Seen, as_event, see
from producers.shelves.seams import Seams
from producers.simulator.shelves import photo, shelves

Array = npt.NDArray[np.float64]
PRINTED = 10_000
FACINGS = 0.06
"""Share of a photo's facings that are painted over."""


def read(pixels: Any, detector: Detector, tiles: int) -> Seen:
    """What the product makes of a photo."""
    size = (pixels.shape[1], pixels.shape[0])
    return see(*find_products(pixels, detector, tiles=tiles), size, None, partial(Seams, pixels))


def places(seen: Seen) -> list[Array]:
    """Boxes of the empty places of every gap, pixels."""
    made = []
    for gap, _ in seen.gaps:
        corners = [
            [[left, gap.top], [right, gap.top], [right, gap.base], [left, gap.base]] for left, right in gap.parts()
        ]
        points = [seen.shelf.frame.restore(np.array(one)) for one in corners]
        made.append(np.array([np.concatenate([one.min(axis=0), one.max(axis=0)]) for one in points]))
    return made


def meet(one: Array, other: Array) -> npt.NDArray[np.bool_]:
    """Which boxes (n x 4) share half of the narrower one's width and half of the lower one's height with which (m x 4)."""
    one, other = one.reshape(-1, 1, 4), other.reshape(1, -1, 4)
    shared = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    least = np.minimum(one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2])
    return np.asarray((shared > 0.5 * least).all(axis=-1))


def matched(found: Array, true: Array) -> int:
    """How many of the places found are missing facings, each once."""
    pairs = meet(found, true).astype(int)
    return int(pairs[linear_sum_assignment(-pairs)].sum()) if pairs.size else 0


def score(found: Sequence[Array], true: Array) -> list[int]:
    """Places right, reported and missing; gaps right and reported; missing facings in a reported gap."""
    every = np.vstack([*found, np.zeros((0, 4))])
    touching = [bool(meet(gap, true).any()) for gap in found]
    reached = int(meet(every, true).any(axis=0).sum()) if len(every) else 0
    return [matched(every, true), len(every), len(true), sum(touching), len(found), reached]


def rendered(detector: Detector, seeds: Sequence[int], tiles: int) -> tuple[Array, list[float]]:
    """A score a scene, and seconds a photo."""
    scores, seconds = [], []
    for seed in seeds:
        scene = shelves(seed)
        pixels = photo(scene)
        began = time.perf_counter()
        seen = read(pixels, detector, tiles)
        seconds.append(time.perf_counter() - began)
        scores.append(score(places(seen), scene.boxes(missing=True)))
    return np.array(scores, float), seconds


def paint(pixels: Any, seen: Seen, rng: np.random.Generator) -> tuple[Any, Array]:
    """The photo with some facings painted over, and their boxes.

    The wall behind a shelf shows between the products' tops and the board above: that strip is drawn down over the product, darker
    towards the board, and its edges are softened.
    """
    import cv2

    image = pixels.copy()
    gone = []
    for row in seen.shelf.rows:
        sides = columns(seen.shelf.boxes, row.members)
        if len(sides) < 5:
            continue
        at = 0
        while at < len(sides):
            if rng.random() >= FACINGS / 2:
                at += 1
                continue
            for column in sides[at : at + int(rng.integers(1, 4))]:
                box = np.concatenate([seen.boxes[column, :2].min(axis=0), seen.boxes[column, 2:].max(axis=0)])
                left, top, right, bottom = (round(value) for value in box)
                strip = image[max(0, top - max(4, (bottom - top) // 12)) : max(1, top), left:right]
                if not strip.size or right - left < 6:
                    continue
                wall = cv2.GaussianBlur(
                    cv2.resize(strip, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR), (0, 0), 6
                )
                shade = np.linspace(0.9, 0.6, bottom - top)[:, None, None]
                image[top:bottom, left:right] = np.clip(wall * shade + rng.normal(0, 3, wall.shape), 0, 255)
                foot = seen.boxes[max(column, key=lambda one: seen.shelf.boxes[one, 3])]
                gone.append([foot[0], top, foot[2], bottom])
            at += 4
    return image, np.array(gone, float).reshape(-1, 4)


def painted(detector: Detector, files: Sequence[Path], tiles: int, times: int = 2) -> Array:
    """A score a painted photo."""
    scores = []
    for number, file in enumerate(files):
        pixels = read_picture(file).pixels
        before = read(pixels, detector, tiles)
        known = np.vstack([*places(before), np.zeros((0, 4))])
        for again in range(times):
            image, gone = paint(pixels, before, np.random.default_rng((PRINTED + again, number)))
            found = []
            for gap in places(read(image, detector, tiles)):
                fresh = meet(gap, gone).any(axis=1) | ~(
                    meet(gap, known).any(axis=1) if len(known) else np.zeros(len(gap), bool)
                )
                if fresh.any():
                    found.append(gap[fresh])
            scores.append(score(found, gone))
    return np.array(scores, float)


def rows(detector: Detector, files: Sequence[Path], tiles: int) -> Array:
    """Of every photo: rows right, labelled, reported, and of those the ones that the labels speak about.

    A row is right at an intersection over union of 0.5 or more, each once. Labels are of whole bays; bays beside them are not
    labelled, so rows of which less than half lies in the labels' convex hull are not counted as wrong.
    """
    import cv2

    scores = []
    for file in files:
        picture = read_picture(file)
        width, height = picture.size
        label = np.array([line.split()[1:5] for line in file.with_suffix(".txt").read_text().splitlines()], float)
        middle, half = label[:, :2] * [width, height], label[:, 2:] * [width, height] / 2
        true = np.hstack([middle - half, middle + half])
        seen = read(picture.pixels, detector, tiles)
        outlines = [
            seen.shelf.frame.restore(row.corners())
            for row in seen.shelf.rows
            if len(row.members) >= 2 or not row.members
        ]
        found = np.array(
            [np.clip(np.concatenate([one.min(axis=0), one.max(axis=0)]), 0, [width, height] * 2) for one in outlines]
        )
        shared = np.clip(
            np.minimum(found[:, None, 2:], true[None, :, 2:]) - np.maximum(found[:, None, :2], true[None, :, :2]),
            0,
            None,
        ).prod(axis=2)
        area = (found[:, 2:] - found[:, :2]).prod(axis=1)
        right = shared / (area[:, None] + (true[:, 2:] - true[:, :2]).prod(axis=1)[None] - shared) >= 0.5
        at = linear_sum_assignment(-right.astype(int))
        corners = np.concatenate([true[:, [0, 1]], true[:, [2, 1]], true[:, [2, 3]], true[:, [0, 3]]])
        hull = cv2.convexHull(corners.astype(np.float32))
        quads = [one.astype(np.float32) for one in outlines]
        inside = np.array([cv2.intersectConvexConvex(one, hull)[0] / max(cv2.contourArea(one), 1.0) for one in quads])
        spoken = inside >= 0.5
        spoken[at[0][right[at]]] = True
        scores.append([int(right[at].sum()), len(true), len(found), int(spoken.sum())])
    return np.array(scores, float)


def share(scores: Array, of: Callable[[Array], float]) -> str:
    """A figure over photos with its 95 % interval: 2,000 bootstrap samples."""
    rng = np.random.default_rng(0)
    drawn = [of(scores[rng.integers(len(scores), size=len(scores))]) for _ in range(2000)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{of(scores):.3f} ({low:.3f} to {high:.3f})"


def ratio(above: int, below: int) -> Callable[[Array], float]:
    """Sum of one column over the sum of another."""
    return lambda scores: (
        float(scores[:, above].sum() / scores[:, below].sum()) if scores[:, below].sum() else float("nan")
    )


def f1(scores: Array, reported: int = 3) -> Array:
    """F1 of every photo's rows."""
    return np.asarray(2 * scores[:, 0] / (scores[:, 1] + scores[:, reported]))


def main() -> None:
    """Measure, print, and keep ``benchmarks/results/shelves.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=PRINTED)
    parser.add_argument("--tiles", type=int, default=1)
    parser.add_argument("--draw", type=Path)
    args = parser.parse_args()
    detector = load_detector(args.model, cache_dir=settings().data_dir / "ultralytics", wanted=None)
    if args.draw is not None:
        pixels = photo(shelves(args.seed))
        scan = as_event(
            read(pixels, detector, args.tiles), "0" * 64, store_id="X", zone_id=None, timestamp=datetime.now(UTC)
        )
        write_annotated(args.draw, pixels, scan)
        return
    table: list[list[Any]] = []

    def tell(name: str, scores: Array) -> None:
        table.append([f"{name}: places, precision", share(scores, ratio(0, 1))])
        table.append([f"{name}: places, recall", share(scores, ratio(0, 2))])
        table.append([f"{name}: gaps, precision", share(scores, ratio(3, 4))])
        table.append([f"{name}: missing facings in a reported gap", share(scores, ratio(5, 2))])

    scores, seconds = rendered(detector, range(args.seed, args.seed + args.scenes), args.tiles)
    tell(f"{len(scores)} rendered shelves, {scores[:, 2].sum():.0f} missing", scores)
    table.append(["seconds a rendered photo, median", f"{np.median(seconds):.2f}"])
    if args.photos is not None:
        files = sorted([*args.photos.glob("*.jpg"), *args.photos.glob("*.png")])
        scores = painted(detector, files, args.tiles)
        tell(f"{len(files)} photos painted {len(scores) // len(files)} times, {scores[:, 2].sum():.0f} missing", scores)
        labelled = [file for file in files if file.with_suffix(".txt").exists()]
        if labelled:
            scores = rows(detector, labelled, args.tiles)
            table.append([f"rows of {len(labelled)} photos: recall", share(scores, ratio(0, 1))])
            table.append(["rows: F1, mean", share(scores, lambda some: float(f1(some).mean()))])
            table.append(
                ["rows: photos with F1 of 0.8 or more", share(scores, lambda some: float((f1(some) >= 0.8).mean()))]
            )
            table.append(
                [
                    "rows: F1, mean, unlabelled bays counted as wrong",
                    share(scores, lambda some: float(f1(some, 2).mean())),
                ]
            )
    if args.seed < PRINTED:
        for row in table:
            sys.stdout.write(f"{row[0]}: {row[1]}\n")
        return
    report(
        "shelves",
        ["openvino", "opencv-python-headless", "numpy"],
        ["measure", "figure (95 %)"],
        table,
        model=args.model.name,
        seed=args.seed,
        tiles=args.tiles,
    )


if __name__ == "__main__":
    main()
