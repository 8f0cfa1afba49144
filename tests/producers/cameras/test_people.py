"""Which models are taken, and that ours finds what ultralytics finds in the same picture."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from aisleflow.cli import app
from producers.cameras import CameraError
from producers.cameras.people import OFFICIAL, OpenVinoYolo, Tracker, frame_shape, load_detector, wanted_classes
from producers.cameras.sources import Recording, open_source

MODEL = Path("models") / "yolov8n_int8_openvino_model"


@given(st.integers(32, 4000), st.integers(32, 4000), st.sampled_from([320, 640, 1280]))
def test_the_network_sees_the_frame_s_own_shape(height: int, width: int, side: int) -> None:
    rows, columns = frame_shape(height, width, side, 32)
    assert rows % 32 == columns % 32 == 0
    assert max(rows, columns) == side
    # Nothing is cut off, and less than one stride is empty.
    scale = side / max(height, width)
    assert 0 <= rows - round(height * scale) < 32
    assert 0 <= columns - round(width * scale) < 32


@pytest.mark.parametrize(
    ("task", "names", "words"),
    [
        ("segment", {0: "person"}, "made to segment"),
        (None, {0: "person"}, "something unknown"),
        ("detect", {0: "product"}, "does not know the class 'person'"),
        ("detect", None, "does not know the class 'person'"),
    ],
)
def test_models_that_do_not_find_people(task: Any, names: Any, words: str) -> None:
    with pytest.raises(CameraError, match=words):
        wanted_classes(Path("m"), task, names, "person")
    assert wanted_classes(Path("m"), "detect", {0: "bicycle", 7: "person"}, "person") == [7]
    assert wanted_classes(Path("m"), "detect", {0: "bicycle", "7": "person"}, None) == [0, 7]


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo11m.pt", "yolo26x.pt", "yolov5su.pt"])
def test_official_names(name: str) -> None:
    assert OFFICIAL.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["./yolov8n.pt", "yolov8n-seg.pt", "yolov8n.pt/x", "sub/yolov8n.pt", "mine.pt", "yolov8n.pth"]
)
def test_other_names_are_not_official(name: str) -> None:
    assert not OFFICIAL.fullmatch(name)


@pytest.mark.vision
@pytest.mark.parametrize("name", ["mine.pt", "mine.engine", "mine.torchscript"])
def test_a_file_that_can_hold_a_program_is_not_run(vision: None, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(CameraError, match="--trust-model"):
        load_detector(path, cache_dir=tmp_path)


@pytest.mark.vision
def test_a_model_of_another_task(vision: None, material: Path, tmp_path: Path) -> None:
    folder = tmp_path / MODEL.name
    shutil.copytree(material / MODEL, folder)
    about = folder / "metadata.yaml"
    about.chmod(0o600)
    about.write_text(about.read_text().replace("task: detect", "task: pose"))
    with pytest.raises(CameraError, match="made to pose"):
        load_detector(folder, cache_dir=tmp_path)


@pytest.mark.vision
@pytest.mark.parametrize("files", [[], ["a.xml"], ["a.xml", "b.xml", "metadata.yaml"]])
def test_a_folder_that_holds_no_model(vision: None, tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(CameraError, match="not a YOLO model exported to OpenVINO"):
        load_detector(tmp_path, cache_dir=tmp_path)


@pytest.mark.vision
def test_the_same_people_as_by_ultralytics(vision: None, material: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Although it sees a picture as wide and high as the frame, and theirs a padded square."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    import supervision as sv
    from ultralytics.models import YOLO

    ours, theirs = OpenVinoYolo(material / MODEL), YOLO(str(material / MODEL), task="detect")
    sure = 0
    for clip, every in (("one-by-one-person-detection.mp4", 90), ("store-aisle-detection.gif", 6)):
        source = open_source(str(material / "clips" / clip))
        assert isinstance(source, Recording)
        for frame in source.frames(every):
            found = ours.detect(frame.image)
            result = theirs.predict(frame.image, classes=[0], conf=0.5, verbose=False)[0]
            expected = sv.Detections.from_ultralytics(result)
            found_sure = found[found.confidence >= 0.45]
            assert len(found[found.confidence >= 0.55]) <= len(expected) <= len(found_sure)
            if len(expected):
                overlap = sv.box_iou_batch(expected.xyxy, found_sure.xyxy).max(axis=1)
                assert overlap.min() > 0.9
                sure += len(expected)
    assert sure > 30


@pytest.mark.vision
def test_a_portrait_picture_and_an_empty_one(vision: None, material: Path) -> None:
    detector = OpenVinoYolo(material / MODEL)
    assert len(detector.detect(np.zeros((700, 300, 3), np.uint8))) == 0
    clip = open_source(str(material / "clips" / "one-by-one-person-detection.mp4"))
    assert isinstance(clip, Recording)
    with clip:
        empty, image = (frame.image for frame in islice(clip.frames(100), 2))
    assert len(detector.detect(empty)) == 0
    wide = detector.detect(image)
    # The same person in a picture turned upright: the part of the frame around them.
    tall = detector.detect(np.ascontiguousarray(image[:, 300:560]))
    assert len(wide[wide.confidence > 0.5]) == len(tall[tall.confidence > 0.5]) == 1
    # Where the table hides the legs, the box may end anywhere.
    assert np.abs(tall.xyxy[0] + [300, 0, 300, 0] - wide.xyxy[0])[:3].max() < 12


@pytest.mark.vision
def test_unconfirmed_and_faint_boxes_are_nobody(vision: None) -> None:
    import supervision as sv

    def seen(confidence: float, at_ms: int) -> list[int]:
        boxes = sv.Detections(
            np.array([[10.0, 10, 50, 120]]), confidence=np.array([confidence]), class_id=np.array([0])
        )
        return [int(track) for track in tracker.update(boxes, at_ms).tracker_id]

    tracker = Tracker(patience_s=2)
    assert [seen(0.3, at) for at in (0, 100, 200)] == [[], [], []]  # too faint to begin with
    assert seen(0.9, 300) == []  # not confirmed yet
    first = seen(0.9, 400)
    assert len(first) == 1
    assert seen(0.2, 500) == first  # faint boxes go on with a track
    assert tracker.update(sv.Detections.empty(), 600).tracker_id.tolist() == []
    assert seen(0.9, 2400) == first  # within its patience
    assert seen(0.9, 9000) == []


@pytest.mark.vision
def test_export_makes_a_model_that_loads(vision: None, tmp_path: Path, monkeypatch: Any) -> None:
    """With random weights: the real ones come from a network that tests do not use."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path / "data"))
    from ultralytics.models import YOLO

    network = YOLO("yolov8n.yaml")
    network.model.names[0] = "person"
    network.save(tmp_path / "mine.pt")
    call = ["camera", "export", str(tmp_path / "mine.pt"), "--to", str(tmp_path / "out"), "--size", "320"]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 1 and "--trust-model" in refused.output
    made = CliRunner().invoke(app, [*call, "--trust-model"])
    assert made.exit_code == 0, made.output
    detector = load_detector(tmp_path / "out" / "mine_openvino_model", cache_dir=tmp_path)
    assert len(detector.detect(np.zeros((90, 160, 3), np.uint8))) == 0
    again = CliRunner().invoke(app, [*call, "--trust-model"])
    assert again.exit_code == 1 and "there already" in again.output
