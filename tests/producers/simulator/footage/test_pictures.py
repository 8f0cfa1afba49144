"""What the pictures show is what is true; and the detector errs as it says."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from producers.simulator.footage.detector import Detector, overlap
from producers.simulator.footage.pictures import Seen, Shot, shots
from producers.simulator.footage.scenes import START_MS, scene


def _some(seed: int, first: int, number: int) -> list[Shot]:
    shown = scene(seed)
    return [
        Shot(shot.camera_id, shot.at_ms, shot.number, shot.image.copy(), shot.seen)
        for shot in islice(shots(shown), first * len(shown.lenses), (first + number) * len(shown.lenses))
    ]


@pytest.mark.vision
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 9999))
def test_a_seed_makes_the_same_frames(vision: None, seed: int) -> None:
    one, two = _some(seed, 90, 3), _some(seed, 90, 3)
    assert [(a.camera_id, a.at_ms, a.number, a.seen) for a in one] == [
        (b.camera_id, b.at_ms, b.number, b.seen) for b in two
    ]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert one[0].at_ms == START_MS + round(1000 * 90 / scene(seed).fps)


@pytest.mark.vision
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 9999))
def test_boxes_stand_where_people_do(vision: None, seed: int) -> None:
    """Who is wholly in view has the feet at the box's lower edge and the height of the projected person."""
    shown = scene(seed)
    lenses = {lens.camera_id: lens for lens in shown.lenses}
    for shot in islice(shots(shown), 0, 400, 7):
        for seen in shot.seen:
            x0, y0, x1, y1 = seen.box
            assert 0 <= x0 < x1 <= 640
            assert 0 <= y0 < y1 <= 360
            assert 0 < seen.visible <= 1
            x, y = shown.places[shot.number, seen.person]
            assert seen.inside == (y > 0)
            if seen.visible == 1:
                tall = shown.people[seen.person].height
                feet, head = lenses[shot.camera_id].pixels([(x, y, 0.0), (x, y, tall)]).tolist()
                assert y1 == pytest.approx(feet[1], abs=2 + 0.04 * (y1 - y0))
                assert y0 == pytest.approx(head[1], abs=2 + 0.04 * (y1 - y0))
                assert x0 < feet[0] < x1


@pytest.mark.vision
def test_a_pillar_hides(vision: None) -> None:
    shown = scene(8, "occlusion")
    least: dict[int, float] = {}
    for shot in shots(shown):
        for seen in shot.seen:
            x0, _, x1, _ = seen.box
            if x0 > 5 and x1 < 635:
                least[seen.person] = min(least.get(seen.person, 1.0), seen.visible)
    assert min(least.values()) < 0.3


def _standing(visible: float, x: float = 100.0) -> Seen:
    return Seen(0, (x, 50.0, x + 40, 150.0), visible, inside=True, zone=None)


def test_the_hidden_are_missed_more_and_less_sure() -> None:
    found, sure = [], []
    for visible in (1.0, 0.5, 0.2, 0.05):
        detector = Detector((1,), 640, 360)
        answers = [detector.see([_standing(visible)]) for _ in range(400)]
        near = [
            float(confidence[0])
            for boxes, confidence in answers
            if len(boxes) and overlap(boxes[:1], np.array([[100.0, 50, 140, 150]]))[0, 0] > 0.7
        ]
        found.append(len(near) / 400)
        sure.append(np.mean(near) if near else 0.0)
    assert found == sorted(found, reverse=True)
    assert sure == sorted(sure, reverse=True)
    assert found[0] > 0.97
    assert found[-1] == 0


def test_of_two_boxes_in_one_place_one_remains() -> None:
    boxes, confidence = Detector((1,), 640, 360).see([_standing(1.0), _standing(0.8, 101.0), _standing(1.0, 300.0)])
    assert len(boxes) == len(confidence) == 2
    assert sorted(round(x, -1) for x in boxes[:, 0].tolist()) == [100, 300]


@pytest.mark.vision
def test_films_can_be_watched(vision: None, tmp_path: Path) -> None:
    import cv2

    from producers.simulator.footage import __main__ as program

    app = program.app()
    done = CliRunner().invoke(app, ["--video", str(tmp_path / "films"), "--seed", "3", "--kind", "empty"])
    assert done.exit_code == 0, done.output
    film = cv2.VideoCapture(str(tmp_path / "films" / "empty-3-CAM-1.mp4"))
    readable, image = film.read()
    assert readable
    assert image.shape == (360, 640, 3)
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == scene(3, "empty").frames
    assert CliRunner().invoke(app, ["--video", str(tmp_path), "--kind", "flood"]).exit_code == 2
