"""The command on real clips, and on files that are none."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aisleflow.commands import camera
from aisleflow.settings import Settings
from producers.cameras import CameraError, Entrance
from producers.cameras.publish import Publisher
from producers.cameras.sources import Recording, open_source
from schemas import topics
from schemas.events import StoreLayout, VisitEvent
from tests.producers.cameras.test_sources import mjpeg_camera

TABLE_CLIP = "one-by-one-person-detection.mp4"
AISLE_CLIP = "store-aisle-detection.gif"
START = "2026-11-20T10:00:00Z"
# Two data folders would have two salts, and the same people other names.
SALT = SecretStr("a salt for tests")
# The floor around the table, as its owner would draw it in the clip's first frame; people leave it to the right.
AROUND_TABLE = [[310, 260], [580, 260], [640, 431], [270, 431]]
RIGHT_EDGE = [[600, 200], [600, 431]]
WHOLE_AISLE = [[0, 0], [480, 0], [480, 270], [0, 270]]

pytestmark = pytest.mark.vision


def layout_file(folder: Path, polygon: Any, line: Any = None) -> Path:
    """A layout with one zone on one camera."""
    path = folder / "layout.json"
    area = {"camera_id": "C1", "polygon": polygon}
    path.write_text(
        json.dumps(
            {
                "store_id": "CLIP-SHOP",
                "timestamp": "2026-11-01T00:00:00Z",
                "zones": [{"zone_id": "FLOOR", "type": "DISPLAY", "areas": [area]}],
                "cameras": [{"camera_id": "C1", "entrance_line": line}],
            }
        )
    )
    return path


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, material: Path, vision: None) -> Settings:
    folder = material / "models" / "yolov8n_int8_openvino_model"
    return Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("camera"), camera_model=folder, camera_salt=SALT)


def dry_run(settings: Settings, clip: Path, layout: Path, **options: Any) -> list[VisitEvent]:
    """What the command prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        camera.run(clip, layout, settings=settings, start=START, publish=False, **options)
    return [VisitEvent.model_validate_json(line) for line in out.getvalue().splitlines()]


def test_six_people_one_by_one_at_the_table(settings: Settings, material: Path, tmp_path: Path) -> None:
    """Every second frame (5 a second). The truth says when each person is seen at all, the zone when they stand in
    it.
    """
    with (material / "clips" / "clips_gt.csv").open() as file:
        truth = [
            (int(row["first_frame"]) / 10, int(row["last_frame"]) / 10)
            for row in csv.DictReader(file)
            if row["file"] == TABLE_CLIP
        ]
    layout = layout_file(tmp_path, AROUND_TABLE, RIGHT_EDGE)
    events = dry_run(settings, material / "clips" / TABLE_CLIP, layout, every=2)
    assert Counter(event.event_type for event in events) == {"ZONE_ENTER": 6, "ZONE_EXIT": 6, "EXIT": 6}
    assert len({event.visitor_id for event in events}) == len(truth) == 6
    began = datetime(2026, 11, 20, 10, tzinfo=UTC)
    exits = [event for event in events if event.event_type == "ZONE_EXIT"]
    for (first, last), left in zip(truth, exits, strict=True):
        end = (left.timestamp - began).total_seconds()
        assert end - left.dwell_ms / 1000 == pytest.approx(first, abs=1)
        assert end == pytest.approx(last, abs=1)


@pytest.fixture(scope="module")
def aisle(settings: Settings, material: Path, tmp_path_factory: pytest.TempPathFactory) -> list[VisitEvent]:
    """What a dry run finds in the aisle."""
    layout = layout_file(tmp_path_factory.mktemp("aisle"), WHOLE_AISLE)
    return dry_run(settings, material / "clips" / AISLE_CLIP, layout, entrance=Entrance.FRAME)


def test_three_people_in_a_shop_aisle(aisle: list[VisitEvent]) -> None:
    """Two are there from the start; of the third, more than a shoulder shows from about 1.5 s on. Nobody leaves."""
    assert Counter(event.event_type for event in aisle) == {"ENTRY": 3, "ZONE_ENTER": 3, "ZONE_EXIT": 3}
    assert [event.timestamp.second for event in aisle if event.event_type == "ENTRY"] == [0, 0, 1]


def test_a_truncated_clip_gives_its_frames_and_then_the_error(vision: None, material: Path, tmp_path: Path) -> None:
    whole = (material / "clips" / TABLE_CLIP).read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(whole[:400_000])
    frames = 0
    with open_source(str(part)) as clip:
        assert isinstance(clip, Recording)
        assert (clip.fps, clip.width, clip.height, clip.declared) == (10.0, 768, 432, 1394)
        with pytest.raises(CameraError, match=r"damaged: it ends after \d+ of 1394 frames"):
            for _ in clip.frames(every=10):
                frames += 1
    assert frames > 5


@pytest.mark.parametrize("content", [None, b"", b"no video at all", b"\x00\x00\x00\x18ftypmp42" + bytes(500)])
def test_a_file_that_is_no_video(vision: None, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraError, match=r"clip\.mp4"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera_id": "C9"}, "no camera 'C9'"),
        ({"start": "yesterday"}, "RFC 3339"),
        ({"start": "2026-11-20T10:00:00"}, "RFC 3339"),
        ({"every": 10}, "1.7 frames/s"),
        ({"model": Path("nothing.pt")}, "no model nothing.pt"),
        ({"entrance": Entrance.LINE}, "no entrance_line"),
    ],
)
def test_options_that_cannot_work(
    settings: Settings, material: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(CameraError, match=words):
        clip = material / "clips" / AISLE_CLIP
        camera.run(clip, layout_file(tmp_path, WHOLE_AISLE), settings=settings, publish=False, **options)


def test_a_broken_model(settings: Settings, material: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken_openvino_model"
    shutil.copytree(settings.camera_model or "", folder)
    for weights in folder.glob("*.bin"):
        weights.chmod(0o600)
        weights.write_bytes(b"")
    with pytest.raises(CameraError, match="cannot be read"):
        dry_run(settings, material / "clips" / AISLE_CLIP, layout_file(tmp_path, WHOLE_AISLE), model=folder)


@pytest.mark.parametrize("content", [None, "{", '{"store_id": "S", "zones": 3}'])
def test_a_layout_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "layout.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CameraError, match="layout"):
        camera.run(tmp_path / "clip.mp4", path, settings=Settings(_env_file=None), publish=False)


def test_without_the_vision_extra_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CameraError, match="make vision"):
        camera.run(tmp_path / "clip.mp4", layout_file(tmp_path, WHOLE_AISLE), settings=Settings(_env_file=None))


def test_without_kafka_the_command_says_so(make_world: Any) -> None:
    settings = make_world(None, None)
    with pytest.raises(CameraError, match=f"does not answer at {settings.kafka}"):
        Publisher(settings, timeout_s=0.5)


@pytest.mark.system
def test_layout_and_events_arrive_and_are_those_of_the_run_before(
    settings: Settings, aisle: list[VisitEvent], kafka: str, make_world: Any, material: Path, tmp_path: Path
) -> None:
    from confluent_kafka import Consumer

    world = make_world(kafka, None, camera_model=settings.camera_model, camera_salt=SALT)
    layout = layout_file(tmp_path, WHOLE_AISLE)
    clip = material / "clips" / AISLE_CLIP
    counts = camera.run(clip, layout, settings=world, start=START, entrance=Entrance.FRAME)
    assert counts == Counter(event.event_type for event in aisle)
    names = [world.topic_prefix + topic.name for topic in (topics.STORE_LAYOUTS, topics.VISIT_EVENTS)]
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": world.consumer_group, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(names)
        records = [consumer.poll(10) for _ in range(1 + len(aisle))]
    finally:
        consumer.close()
    assert {record.key() for record in records} == {b"CLIP-SHOP"}
    layouts, events = ([record.value() for record in records if record.topic() == name] for name in names)
    assert [StoreLayout.model_validate_json(value) for value in layouts] == [
        StoreLayout.model_validate_json(layout.read_bytes())
    ]
    assert [VisitEvent.model_validate_json(value) for value in events] == aisle


def test_a_live_camera_until_ctrl_c(settings: Settings, material: Path, tmp_path: Path) -> None:
    """The program itself, on a camera that shows the table again and again: what is open is closed at the end."""
    clip = open_source(str(material / "clips" / TABLE_CLIP))
    assert isinstance(clip, Recording)
    with clip:
        pictures = [frame.image for frame in islice(clip.frames(), 250, 290)]
    layout = layout_file(tmp_path, AROUND_TABLE)
    described = json.loads(layout.read_text())
    described["cameras"][0] |= {"frame_width": 768, "frame_height": 432}
    layout.write_text(json.dumps(described))
    program = [sys.executable, "-m", "aisleflow", "camera", "--layout", str(layout), "--dry-run", "--rate", "5"]
    environment = {
        **os.environ,
        "AISLEFLOW_CAMERA_MODEL": str(settings.camera_model),
        "AISLEFLOW_DATA_DIR": str(settings.data_dir),
    }
    with mjpeg_camera(pictures) as camera:
        process = subprocess.Popen(
            [*program, camera.address], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        entered = VisitEvent.model_validate_json(process.stdout.readline())
        assert entered.event_type == "ZONE_ENTER"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    (left,) = [VisitEvent.model_validate_json(line) for line in out.splitlines()]
    assert (left.event_type, left.visitor_id) == ("ZONE_EXIT", entered.visitor_id)
    assert "C1 is ONLINE" in errors
    assert "Traceback" not in errors and "secret" not in errors


def test_importing_the_command_needs_no_vision() -> None:
    """The main install has none of these: the program must start, and its help be quick."""
    heavy = ["cv2", "torch", "ultralytics", "supervision", "trackers", "openvino"]
    program = f"import sys; sys.modules.update(dict.fromkeys({heavy})); import aisleflow.commands.camera"
    program += ", producers.cameras.watch, producers.cameras.publish, producers.cameras.sources"
    program += ", producers.cameras.annotate, producers.cameras.heatmap, producers.cameras.editor.page"
    subprocess.run([sys.executable, "-c", program], check=True)
