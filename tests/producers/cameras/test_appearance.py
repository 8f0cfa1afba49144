"""Clothes by painted rectangles: what is alike, what is told under another light, and when nothing is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from producers.cameras import CameraError
from producers.cameras.appearance import (
    CHROMA,
    LIGHTNESS,
    clothes,
    hidden,
    histogram,
    model,
    shades_of,
    to_lab,
    uniform_share,
)
from producers.cameras.identity import likeness
from producers.cameras.observations import Observation, Observer

RED, BLUE, BLACK, WHITE, KHAKI = (40, 40, 190), (170, 80, 40), (35, 35, 38), (228, 230, 230), (90, 140, 150)


def lab_of(colour: str) -> Any:
    return to_lab(np.array([[int(colour[i : i + 2], 16) for i in (5, 3, 1)]], np.float32))


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        # White, black and the primaries as CIE Lab has them (D65, sRGB).
        ("#ffffff", (100, 0, 0)),
        ("#000000", (0, 0, 0)),
        ("#ff0000", (53.24, 80.09, 67.20)),
        ("#00ff00", (87.73, -86.18, 83.18)),
    ],
)
def test_lab(colour: str, lab: tuple[float, float, float]) -> None:
    assert lab_of(colour)[0] == pytest.approx(lab, abs=0.3)


@pytest.mark.vision
def test_lab_is_opencvs(vision: None) -> None:
    import cv2

    pixels = np.random.default_rng(1).integers(0, 256, (500, 3)).astype(np.float32)
    theirs = cv2.cvtColor(pixels[None] / 255, cv2.COLOR_BGR2Lab)[0]
    assert to_lab(pixels) == pytest.approx(theirs, abs=0.5)


LAB = arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-120, 120, width=32))


@given(LAB)
def test_a_histogram_is_all_of_the_pixels(lab: Any) -> None:
    bins = histogram(lab)
    assert len(bins) == len(LIGHTNESS) * len(CHROMA) ** 2
    assert bins.min() >= 0
    assert bins.sum() == pytest.approx(1, abs=1e-3)


@given(LAB, LAB)
def test_a_descriptor_is_a_unit_vector_most_like_itself(upper: Any, lower: Any) -> None:
    one, other = clothes(upper, lower), clothes(lower, upper)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-3)
    assert likeness(one, one) == pytest.approx(1, abs=1e-3)
    like = likeness(one, other)
    assert like is not None and 0 <= like <= 1


def test_a_slightly_other_colour_is_slightly_less_alike() -> None:
    """Where hard bins would jump."""
    likes = [
        likeness(clothes(to_lab(np.float32([[40, 40, red]])), to_lab(np.float32([[40, 40, 40]]))), BASE)
        for red in range(150, 200, 2)
    ]
    assert all(one is not None and other is not None and abs(one - other) < 0.06 for one, other in pairwise(likes))
    assert likes[0] > likes[12] > likes[-1]


BASE = clothes(to_lab(np.array([[40, 40, 150]], np.float32)), to_lab(np.array([[40, 40, 40]], np.float32)))


@pytest.mark.parametrize(
    ("worn", "share"),
    [("#1a5fb4", 1), ("#2b6cc4", 1), ("#123f7a", 1), ("#b41a1a", 0), ("#3a3a3a", 0), ("#5fa8d0", 0)],
)
def test_a_uniform_is_told_in_light_and_shade(worn: str, share: float) -> None:
    assert uniform_share(lab_of(worn), shades_of(["#f5c211", "#1a5fb4"])) == share


@pytest.mark.parametrize(("worn", "share"), [("#202020", 1), ("#404040", 1), ("#909090", 0), ("#e0e0e0", 0)])
def test_a_black_uniform_is_told_from_grey_by_its_lightness(worn: str, share: float) -> None:
    assert uniform_share(lab_of(worn), shades_of(["#202020"])) == share


@pytest.mark.parametrize(
    ("boxes", "shares"),
    [
        ([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0]),
        # The one that ends lower stands in front.
        ([[0, 0, 10, 10], [5, 0, 15, 12]], [0.5, 0]),
        ([[0, 0, 10, 10], [0, 5, 10, 15], [2, 0, 8, 20]], [0.6, 0.6, 0]),
        ([[0, 0, 10, 10]], [0]),
    ],
)
def test_who_is_hidden(boxes: list[list[float]], shares: list[float]) -> None:
    assert hidden(np.array(boxes, np.float32)) == pytest.approx(shares)


Person = tuple[int, int, int, tuple[int, int, int], tuple[int, int, int]]


def picture(*people: Person, gain: tuple[float, float, float] = (1, 1, 1)) -> Any:
    """A grey room with people (x, y of the feet, height, upper colour, lower colour), nearer ones last."""
    rng = np.random.default_rng(1)
    image = np.full((360, 640, 3), 130.0)
    for x, y, height, upper, lower in people:
        wide = height // 6
        for top, bottom, colour in ((1.0, 0.85, KHAKI), (0.85, 0.5, upper), (0.5, 0.0, lower)):
            image[round(y - top * height) : round(y - bottom * height), x - wide : x + wide] = colour
    return np.clip(image * gain + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def seen(image: Any, *people: Person, uniform: tuple[str, ...] = ()) -> list[Observation]:
    import supervision as sv

    boxes = [[x - h // 6, y - h, x + h // 6, y] for x, y, h, _, _ in people]
    found = sv.Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.full(len(people), 0.9, np.float32),
        tracker_id=np.arange(len(people)),
    )
    return Observer(uniform).see(image, found)


def like(one: Observation, other: Observation) -> float:
    found = likeness(one.appearance, other.appearance)
    assert found is not None
    return found


@pytest.mark.vision
def test_people_are_known_by_their_clothes_whatever_the_light(vision: None) -> None:
    red, blue = (200, 250, 160, RED, BLACK), (420, 300, 200, BLUE, KHAKI)
    (first, other) = seen(picture(red, blue), red, blue)
    assert like(first, other) < 0.5
    nearer = (450, 330, 260, RED, BLACK)
    for gain in ((1, 1, 1), (0.8, 0.8, 0.8), (1.1, 0.95, 0.85), (0.85, 1.0, 1.12)):
        (again,) = seen(picture(nearer, gain=gain), nearer)
        assert like(first, again) > 0.9
        assert like(other, again) < 0.6


@pytest.mark.vision
def test_uniforms_are_told_whatever_the_light(vision: None) -> None:
    staff, customer = (200, 250, 160, BLUE, BLACK), (420, 300, 200, RED, BLUE)
    for gain in ((1, 1, 1), (0.8, 0.85, 0.8), (1.1, 0.95, 0.9)):
        shares = [
            one.uniform for one in seen(picture(staff, customer, gain=gain), staff, customer, uniform=("#2850aa",))
        ]
        assert shares[0] is not None and shares[1] is not None
        assert shares[0] > 0.9 and shares[1] < 0.1
    assert all(one.uniform is None for one in seen(picture(staff), staff))


@pytest.mark.vision
def test_nothing_is_told_of_who_is_small_cut_off_or_hidden(vision: None) -> None:
    behind, front = (300, 240, 160, RED, BLACK), (320, 280, 180, BLUE, BLACK)
    small, cut, left = (100, 200, 36, RED, BLACK), (500, 357, 160, RED, BLACK), (20, 300, 160, RED, BLACK)
    people = [behind, front, small, cut, left]
    found = seen(picture(*people), *people, uniform=("#2850aa",))
    assert [one.appearance is not None for one in found] == [False, True, False, False, False]
    assert [one.uniform is not None for one in found] == [False, True, False, False, False]
    assert [one.track_id for one in found] == list(range(5))
    assert seen(picture()) == []


def reid_model(path: Path, shape: tuple[int, ...] = (1, 3, 32, 16), outputs: int = 1) -> Path:
    """A network whose vector is the mean colour of the picture."""
    import openvino as ov
    from openvino import opset13 as ops

    picture = ops.parameter(shape, np.float32)
    mean = ops.reduce_mean(picture, np.array(range(2, len(shape))), keep_dims=False)
    ov.save_model(ov.Model([mean] * outputs, [picture]), path)
    return path


@pytest.mark.vision
def test_a_re_identification_model_takes_the_place_of_colours(vision: None, tmp_path: Path) -> None:
    import supervision as sv

    describe = model(reid_model(tmp_path / "reid.xml"))
    red, blue = (200, 250, 160, RED, RED), (420, 300, 200, BLUE, BLUE)
    boxes = [[x - h // 6, y - h, x + h // 6, y] for x, y, h, _, _ in (red, blue)]
    found = sv.Detections(np.array(boxes, np.float32), None, np.ones(2, np.float32), None, np.arange(2))
    first, other = Observer(("#2850aa",), describe).see(picture(red, blue), found)
    assert first.appearance is not None and first.appearance.shape == (3,)
    assert np.linalg.norm(first.appearance) == pytest.approx(1, abs=1e-5)
    assert like(first, first) == pytest.approx(1)
    assert like(first, other) < 0.95
    assert other.uniform is not None and other.uniform > 0.9


@pytest.mark.vision
@pytest.mark.parametrize("case", ["missing", "text", "batch", "outputs"])
def test_a_model_that_is_no_re_identification_model(vision: None, tmp_path: Path, case: str) -> None:
    path = tmp_path / "reid.xml"
    if case == "text":
        path.write_text("not a model")
    elif case == "batch":
        reid_model(path, shape=(4, 3, 32, 16))
    elif case == "outputs":
        reid_model(path, outputs=2)
    with pytest.raises(CameraError, match="reid"):
        model(path)
