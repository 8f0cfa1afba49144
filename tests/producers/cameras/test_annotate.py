"""The annotated video: heads beyond recognition, every frame there, nothing half written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras import CameraError, Entrance
from producers.cameras.annotate import SMALL_PX, Annotator, Show, head_of, hide, missed, overlap_share
from producers.cameras.scene import Scene
from producers.cameras.shop import Seen
from producers.cameras.sources import Frame
from producers.cameras.watch import Look

UTC = ZoneInfo("UTC")
SCENE = Scene("S", "C", 320, 240, (), None, Entrance.NONE)
PERSON = (100.0, 60.0, 150.0, 200.0)

pytestmark = pytest.mark.usefixtures("vision")


def detections(*boxes: Any) -> Any:
    """Boxes with tracks 0, 1, 2, ..."""
    import numpy as np
    import supervision as sv

    return sv.Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.full(len(boxes), 0.9, np.float32),
        tracker_id=np.arange(len(boxes)),
    )


def noise(seed: int = 0) -> Any:
    """A picture in which every pixel is another."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)


def look(at_ms: int, *boxes: Any, image: Any = None) -> Look:
    found = detections(*boxes)
    return Look("C", Frame(noise() if image is None else image, at_ms), found, [], [], found)


def edges(image: Any, region: Any) -> float:
    """How much is to be seen in a region: variance of its Laplacian."""
    import cv2

    x0, y0, x1, y1 = (round(value) for value in region)
    return float(cv2.Laplacian(cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # Standing: the upper quarter, a little more to each side and above.
        ((100, 100, 140, 220), (96, 94, 144, 130)),
        # As wide as high, so cut off below: three quarters of the width.
        ((100, 100, 200, 200), (90, 95, 210, 175)),
        # Small: all of it.
        ((100, 100, 120, 160), (98, 97, 122, 160)),
        # At the frame's corner, and outside of it.
        ((-20, -20, 40, 160), (0, 0, 46, 25)),
        ((330, 10, 360, 100), None),
    ],
)
def test_where_the_head_is(box: Any, expected: Any) -> None:
    assert head_of(box, 320, 240) == expected


@given(st.tuples(st.floats(-50, 330), st.floats(-50, 250)), st.tuples(st.floats(0.5, 300), st.floats(0.5, 300)))
def test_the_head_lies_in_the_frame_and_covers_the_box_from_above(at: Any, size: Any) -> None:
    box = (*at, at[0] + size[0], at[1] + size[1])
    head = head_of(box, 320, 240)
    if head is None:
        return
    x0, y0, x1, y1 = head
    assert 0 <= x0 < x1 <= 320 and 0 <= y0 < y1 <= 240
    assert x0 <= max(0, box[0]) and x1 >= min(320, box[2]) and y0 <= max(0, box[1])
    assert y1 >= min(240, box[1] + size[1] / 4) and (size[1] >= SMALL_PX or y1 >= min(240, box[3]))


@given(st.integers(0, 300), st.integers(0, 220), st.integers(1, 200), st.integers(1, 200))
def test_a_hidden_region_has_a_few_colours_and_the_rest_is_untouched(x: int, y: int, width: int, height: int) -> None:
    import numpy as np

    before = noise()
    after = before.copy()
    region = (x, y, min(320, x + width), min(240, y + height))
    hide(after, region)
    outside = np.ones((240, 320), bool)
    outside[region[1] : region[3], region[0] : region[2]] = False
    assert (after[outside] == before[outside]).all()
    if region[2] - region[0] >= 24 and region[3] - region[1] >= 24:
        assert edges(after, region) < 0.01 * edges(before, region)
        # Two pictures of one mean cannot be told apart: each square is an average of hundreds of pixels.
        other = noise(1)
        hide(other, region)
        inside = np.s_[region[1] : region[3], region[0] : region[2]]
        assert np.abs(after[inside].astype(int) - other[inside].astype(int)).max() < 90


def test_overlap_share_by_hand() -> None:
    assert overlap_share((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap_share((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap_share((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_who_was_missed_in_a_frame() -> None:
    here, there = (0.0, 0.0, 10.0, 20.0), (50.0, 0.0, 60.0, 20.0)
    assert missed([here], [[(1.0, 0.0, 11.0, 20.0), there], []]) == [there]
    assert missed([], [[here]]) == [here]


def annotated(looks: list[Look], view: Any = None) -> list[Any]:
    annotator = Annotator(SCENE, UTC)
    frames = [frame for one in looks for frame in annotator.see(one, view or {})]
    return [*frames, *annotator.finish()]


def test_heads_are_hidden_in_every_frame_also_where_the_detector_missed_one() -> None:
    """Found in the third and fourth of seven frames, 100 ms apart: all lie within half a second of these."""
    looks = [look(100 * n, *([PERSON] if n in (2, 3) else [])) for n in range(7)]
    frames = annotated(looks)
    assert len(frames) == 7
    head = head_of(PERSON, 320, 240)
    assert head is not None
    middle = (head[0] + 8, head[1] + 12, head[2] - 8, head[3] - 6)  # clear of the label and of the box drawn on it
    for frame in frames:
        assert edges(frame, middle) < 0.05 * edges(noise(), middle)
    feet = (105, 150, 145, 190)
    assert edges(frames[0], feet) == edges(noise(), feet), "what is no head is as it was"


def test_half_a_second_on_it_is_another_place() -> None:
    frames = annotated([look(0, PERSON), look(400), look(900)])
    plain = (105, 70, 145, 90)
    assert edges(frames[1], plain) < 0.05 * edges(noise(), plain)
    assert edges(frames[2], plain) > 0.5 * edges(noise(), plain)


def test_the_picture_that_came_in_is_not_drawn_on() -> None:
    image = noise()
    annotated([look(0, PERSON, image=image)])
    assert (image == noise()).all()


def test_labels_and_counts_are_drawn() -> None:
    """Two same frames of a shop with a line and a zone differ in the places where something is written."""
    import numpy as np

    grey = np.full((240, 320, 3), 90, np.uint8)
    scene = Scene(
        "S", "C", 320, 240, (("Z", [[10, 100], [90, 100], [90, 230]]),), [[200, 20], [300, 20]], Entrance.LINE
    )
    plain = annotated([look(0, PERSON, image=grey)])[0]
    annotator = Annotator(scene, UTC)
    annotator.see(look(0, PERSON, image=grey), {0: Seen("VIS_abcdef", True, "Z", True, "g1")})
    (drawn,) = annotator.finish()
    changed = (drawn != plain).any(axis=2)
    for region in ((slice(90, 235), slice(5, 95)), (slice(10, 100), slice(195, 305)), (slice(35, 60), slice(60, 190))):
        assert changed[region].any()
    assert not changed[150:235, 200:].any()


@pytest.fixture
def show(tmp_path: Path) -> Callable[..., Show]:
    def make(name: str = "out.mp4", cameras: tuple[str, ...] = ("C",)) -> Show:
        return Show(tmp_path / name, dict.fromkeys(cameras, SCENE), dict.fromkeys(cameras, 10.0), UTC)

    return make


def counted(path: Path) -> Iterator[Any]:
    import cv2

    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        yield read[1]
    video.release()


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_every_look_is_a_frame_of_the_video(show: Callable[..., Show], tmp_path: Path, name: str) -> None:
    with show(name) as made:
        for n in range(12):
            made.see(look(100 * n, *([PERSON] if n % 3 else [])), {})
        made.see(Look("C", None, None, [], []), {})
        assert not (tmp_path / name).exists(), "it has its name only when it is whole"
    frames = list(counted(tmp_path / name))
    assert len(frames) == 12 and frames[0].shape == (240, 320, 3)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_crash_leaves_no_file_and_a_damaged_clip_what_was_seen(show: Callable[..., Show], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), show() as made:
        made.see(look(0, PERSON), {})
        made.see(look(900, PERSON), {})
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CameraError), show() as made:
        made.see(look(0, PERSON), {})
        raise CameraError("the clip is damaged")
    assert len(list(counted(tmp_path / "out.mp4"))) == 1


def test_several_cameras_make_several_videos(show: Callable[..., Show], tmp_path: Path) -> None:
    with show("out.mp4", ("A", "B/2")) as made:
        for camera in ("A", "B/2"):
            one = look(0, PERSON)
            made.see(replace(one, camera_id=camera), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.A.mp4", "out.B-2.mp4"]


@pytest.mark.parametrize("name", ["out.gif", "out", "none/out.mp4"])
def test_a_name_that_no_video_can_have(show: Callable[..., Show], name: str) -> None:
    with pytest.raises(CameraError):
        show(name)


def test_the_command_shows_a_real_clip(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """67 frames of a shop's aisle: a video of as many, a heat map, and nothing beside them."""
    import json

    from typer.testing import CliRunner

    from aisleflow.cli import app
    from aisleflow.settings import Settings

    layout = tmp_path / "shop.json"
    area = {"camera_id": "C", "polygon": [[0, 0], [479, 0], [479, 269], [0, 269]]}
    layout.write_text(
        json.dumps(
            {
                "store_id": "AISLE",
                "timestamp": "2026-11-01T00:00:00Z",
                "zones": [{"zone_id": "AISLE", "type": "DISPLAY", "areas": [area]}],
                "cameras": [{"camera_id": "C"}],
            }
        )
    )
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("aisleflow.settings.settings", lambda: Settings(_env_file=None, data_dir=tmp_path))
    model = material / "models" / "yolov8n_int8_openvino_model"
    command = ["camera", str(material / "clips" / "store-aisle-detection.gif"), "--layout", str(layout), "--dry-run"]
    command += ["--entrance", "frame", "--model", str(model), "--heatmap", str(out / "heat.png")]
    told = CliRunner().invoke(app, [*command, "--show", str(out / "seen.mp4")])
    assert told.exit_code == 0, told.output
    assert len(list(counted(out / "seen.mp4"))) == 67
    assert sorted(path.name for path in out.iterdir()) == ["heat.png", "seen.mp4"]
    told = CliRunner().invoke(app, [*command, "--show", str(out / "seen.txt")])
    assert told.exit_code == 1 and "*.mp4 or *.webm" in told.output
