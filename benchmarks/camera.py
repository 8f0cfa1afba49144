"""``make bench-camera``: how fast a clip becomes visit events, beside ultralytics' own ``track``, and what each stage costs.

    python -m benchmarks.camera CLIP --model NAME_openvino_model [--frames N] [--rounds N]

Three measurements:

1. Frames a second of the whole pipeline (read, detect, track, observe, rules) and of ``YOLO.track`` (ByteTrack, people only)
   with the same model and clip, both at the size the model was exported for, in turns, from the second frame on.
2. CPU time by stage, one frame after the other, so that a stage's threads are counted with it.
3. How many cameras of 5 looks a second this machine carries: the clip played in real time by so many cameras at once, more
   and more until one gets less than 95 % of its looks.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks._report import report
from producers.cameras import Entrance
from producers.cameras.health import Stillness
from producers.cameras.observations import Observer
from producers.cameras.people import Detector, Tracker, load_detector
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from producers.cameras.sources import Live, Recording, open_source, played
from producers.cameras.watch import PATIENCE_S, Camera, watch
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar

GOAL = 1.5
LOOKS = 5.0
CARRIED = 0.95
SPELL_S = 15.0


def layout_of(clip: Recording, cameras: int = 1) -> StoreLayout:
    """A shop whose every camera sees one zone, all of its frame."""
    names = [f"CAM-{number}" for number in range(cameras)]
    corners = [[0, 0], [clip.width, 0], [clip.width, clip.height], [0, clip.height]]
    zones = [
        {"zone_id": f"FLOOR-{name}", "type": "SHELF", "areas": [{"camera_id": name, "polygon": corners}]}
        for name in names
    ]
    described = [{"camera_id": name, "frame_width": clip.width, "frame_height": clip.height} for name in names]
    about = {"store_id": "BENCH", "timestamp": "2026-01-01T00:00:00Z", "zones": zones, "cameras": described}
    return StoreLayout.model_validate_json(json.dumps(about))


def opened(path: Path) -> Recording:
    source = open_source(str(path))
    assert isinstance(source, Recording)
    return source


def shop_of(
    layout: StoreLayout, sources: dict[str, Recording | Live], size: Recording
) -> tuple[dict[str, Camera], Shop]:
    """Cameras that watch these sources, and their shop."""
    scenes = {name: scene_of(layout, name, size.width, size.height, Entrance.FRAME) for name in sources}
    calendar = StoreCalendar(layout.store_id, layout)
    cameras = {
        name: Camera(source, scenes[name], Observer(["#1d4ed8"]), calendar, LOOKS) for name, source in sources.items()
    }
    return cameras, Shop(layout, scenes, salt=b"bench")


def ours(path: Path, detector: Detector, frames: int) -> dict[str, float]:
    """The whole pipeline over a clip: frames a second, CPU, people seen."""
    clip = opened(path)
    cameras, shop = shop_of(layout_of(clip), {"CAM-0": clip}, clip)
    stop, tracks, boxes, looked = threading.Event(), set[int](), 0, 0
    kinds: Counter[str] = Counter()
    began = cpu = 0.0
    for look in watch(cameras, shop, detector, stop=stop):
        kinds.update(event.event_type for event in look.events)
        if look.frame is None:
            continue
        if not looked:
            began, cpu = time.perf_counter(), time.process_time()
        looked += 1
        tracks.update(look.people.tracker_id.tolist())
        boxes += len(look.people)
        if looked == frames:
            # What is read ahead of the last frame is thrown away.
            ended = time.perf_counter(), time.process_time()
            stop.set()
            break
    else:
        ended = time.perf_counter(), time.process_time()
    return _figures(looked, ended[0] - began, ended[1] - cpu, boxes, len(tracks)) | {"visits": kinds["ENTRY"]}


def theirs(path: Path, model: Path, frames: int) -> dict[str, float]:
    """``YOLO.track`` over a clip, as its documentation shows it."""
    from ultralytics.models import YOLO

    yolo = YOLO(str(model), task="detect")
    person = next(number for number, name in yolo.names.items() if name == "person")
    results = yolo.track(str(path), stream=True, tracker="bytetrack.yaml", classes=[person], verbose=False)
    tracks, boxes, looked = set[int](), 0, 0
    began = cpu = 0.0
    for result in results:
        if not looked:
            began, cpu = time.perf_counter(), time.process_time()
        looked += 1
        if result.boxes is not None and result.boxes.id is not None:
            tracks.update(map(int, result.boxes.id))
            boxes += len(result.boxes)
        if looked == frames:
            break
    return _figures(looked, time.perf_counter() - began, time.process_time() - cpu, boxes, len(tracks))


def _figures(looked: int, took_s: float, cpu_s: float, boxes: int, tracks: int) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "fps": (looked - 1) / took_s,
        "cpu_ms": 1000 * cpu_s / (looked - 1),
        "frames": looked,
        "people": boxes,
        "tracks": tracks,
        "peak_mib": peak,
    }


def stages(path: Path, detector: Detector, frames: int) -> dict[str, float]:
    """CPU milliseconds a frame by stage."""
    clip = opened(path)
    layout = layout_of(clip)
    scene = scene_of(layout, "CAM-0", clip.width, clip.height, Entrance.FRAME)
    tracker, observer = Tracker(PATIENCE_S), Observer(["#1d4ed8"])
    shop, stillness = Shop(layout, {"CAM-0": scene}, salt=b"bench"), Stillness()
    spent: Counter[str] = Counter()
    looked = 0
    with clip:
        source = clip.frames()
        while looked != frames:
            at = time.process_time()

            def done(stage: str, at: float = at) -> None:
                spent[stage] += int(1e9 * (time.process_time() - at))

            frame = next(source, None)
            if frame is None:
                break
            done("read")
            people = found = None
            for stage in ("detect", "track", "observe", "rules"):
                at = time.process_time()
                if stage == "detect":
                    found = detector.detect(frame.image)
                elif stage == "track":
                    people = tracker.update(found, frame.at_ms)
                elif stage == "observe":
                    observations = observer.see(frame.image, people)
                else:
                    shop.see("CAM-0", frame.at_ms, observations)
                    stillness.is_new(frame.image)
                done(stage, at)
            looked += 1
    return {stage: nanoseconds / 1e6 / looked for stage, nanoseconds in spent.items()}


def carried(path: Path, detector: Detector, count: int) -> float:
    """Looks a second of the camera that got the fewest, of so many that play the clip in real time."""
    size = opened(path)
    layout = layout_of(size, count)
    # Not all at the same moment of the clip's frames, as cameras are not.
    sources: dict[str, Recording | Live] = {
        f"CAM-{number}": played(opened(path), rate=LOOKS) for number in range(count)
    }
    cameras, shop = shop_of(layout, sources, size)
    stop, looks, began = threading.Event(), Counter[str](), 0.0
    timer = threading.Timer(SPELL_S + 3, stop.set)
    timer.start()
    for look in watch(cameras, shop, detector, rate=LOOKS, stop=stop):
        if look.frame is not None:
            # The first two seconds are for the threads to start in.
            began = began or time.perf_counter() + 2
            looks[look.camera_id] += time.perf_counter() > began
    timer.cancel()
    return min(looks[name] for name in sources) / (time.perf_counter() - began)


def child(arguments: list[str]) -> dict[str, Any]:
    """A measurement in a process of its own: neither warms the other's caches, nor counts its memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.camera", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", type=Path, default=os.environ.get("AISLEFLOW_CAMERA_MODEL"))
    parser.add_argument("--frames", type=int, default=0, help="of the clip; all of them if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cameras", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", choices=["ours", "theirs", "stages"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model is None:
        parser.error("--model, or AISLEFLOW_CAMERA_MODEL, must name a folder *_openvino_model")
    model = Path(given.model)
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="0")
    if given.only == "theirs":
        print(json.dumps(theirs(given.clip, model, given.frames)))
        return
    if given.only:
        detector = load_detector(model, cache_dir=Path())
        print(json.dumps((ours if given.only == "ours" else stages)(given.clip, detector, given.frames)))
        return
    same = [str(given.clip), "--model", str(model), "--frames", str(given.frames)]
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for _ in range(given.rounds):
        for name, found in runs.items():
            found.append(child([*same, "--only", name]))
    cost = child([*same, "--only", "stages"])
    middle = {
        name: {figure: statistics.median(run[figure] for run in found) for figure in found[0]}
        for name, found in runs.items()
    }
    faster = statistics.median(
        mine["fps"] / yours["fps"] for mine, yours in zip(runs["ours"], runs["theirs"], strict=True)
    )
    carries, tried = 0, {}
    if given.cameras:
        detector = load_detector(model, cache_dir=Path())
        count = max(1, round(0.7 * middle["ours"]["fps"] / LOOKS))
        while count not in tried:
            tried[count] = round(carried(given.clip, detector, count), 2)
            if tried[count] >= CARRIED * LOOKS:
                carries = max(carries, count)
                count += 1 if len(tried) > 4 else max(1, count // 8)
            else:
                count = max(1, carries + (count - carries) // 2)
    total = sum(cost.values())
    rows: list[list[Any]] = [
        [f"ours: {name}", "", round(spent, 3), f"{spent / total:.1%}", "", ""] for name, spent in cost.items()
    ]
    names = {"ours": "ours, all of it", "theirs": "ultralytics track"}
    rows = [
        [names[name], round(found["fps"], 1), round(found["cpu_ms"], 2), "", int(found["people"]), int(found["tracks"])]
        for name, found in middle.items()
    ] + rows
    report(
        "camera",
        ["openvino", "ultralytics", "opencv-python-headless", "supervision", "trackers", "numpy"],
        ["what", "frames/s", "CPU ms a frame", "share", "people in frames", "tracks"],
        rows,
        clip=f"{given.clip.name}, {int(middle['ours']['frames'])} frames, {given.rounds} rounds in turns, medians",
        times_ultralytics=round(faster, 2),
        goal=GOAL,
        visits=int(middle["ours"]["visits"]),
        peak_mib={name: round(found["peak_mib"]) for name, found in middle.items()},
        cameras_of_5_looks=carries,
        tried={str(count): looks for count, looks in tried.items()},
        runs={name: [round(run["fps"], 1) for run in found] for name, found in runs.items()},
    )


if __name__ == "__main__":
    main()
