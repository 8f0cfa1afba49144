"""What can be told of somebody's clothes from one frame: a descriptor to know them again by, and the share of uniform.

The descriptor needs no model: for the upper and the lower body a histogram of colours in CIE Lab, each pixel shared among
its neighbouring bins, and its square root taken, so that the scalar product of two is their Bhattacharyya coefficient (1 less
the squared Hellinger distance). Colours are taken as they would be under the light that makes the whole picture grey on
average, so that cameras with another white balance or exposure agree. No crop is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Descriptor = npt.NDArray[np.float32]
"""A unit vector; two of them are as alike as their scalar product says, 0 to 1."""
Image = npt.NDArray[np.uint8]
"""BGR."""
Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
Describe = Callable[[Image, Box], Descriptor]
"""Turns the box of one person into a unit vector; an image already balanced for light."""

# Smaller people are a few dozen pixels of cloth, mixed with their surroundings.
MIN_HEIGHT = 40
# Who is cut off by the frame, or hidden by more than this share of their box, would be described by something else.
HIDDEN = 0.12
# How near to the frame's edge a box is cut off by it, in heights of the box.
EDGE = 0.03
# Parts of a person's box, as shares of its width and height: the cloth of the chest and belly, and of the legs. What lies
# beside them is background and arms.
UPPER = (0.30, 0.20, 0.70, 0.48)
LOWER = (0.28, 0.56, 0.72, 0.88)
# Pixels that a part is averaged to: noise and weave vanish, colours stay.
GRID = (12, 16)
# Centres of bins. Lightness tells less than colour, since it changes with the place in the shop.
LIGHTNESS = np.linspace(5, 95, 7, dtype=np.float32)
CHROMA = np.array([-55, -35, -18, -6, 6, 18, 35, 55], np.float32)
# Two colours this far apart look alike on cloth (CIE76; 2.3 is a just noticeable difference).
UNIFORM_REACH = 20.0
# Folds and corners of the shop make a colour darker or lighter by such factors, which changes all of its channels; a grey,
# which has nothing but its lightness, would become another.
SHADES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3)
GREY = 12.0
GREY_SHADES = (0.85, 1.0, 1.15)
# The light of a camera's picture changes over minutes.
LIGHT_FRAMES = 200
# What a grey world looks like: the mean of everyday pictures, of 255.
MID_GREY = 118.0


def to_lab(pixels: Floats) -> Floats:
    """CIE Lab (D65) of BGR pixels of 0 to 255, sRGB, N x 3; lightness 0 to 100."""
    xyz = _LINEAR[np.clip(pixels, 0, 255).astype(np.uint8)] @ _TO_XYZ
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.asarray(f @ _FROM_XYZ - _BLACK, np.float32)


_VALUES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4).astype(np.float32)
# Blue, green and red to X, Y and Z over those of white.
_TO_XYZ = np.array([[0.18995, 0.0722, 0.87307], [0.37624, 0.7152, 0.10950], [0.43395, 0.2126, 0.01774]], np.float32)
_FROM_XYZ = np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]], np.float32)
_BLACK = np.array([16, 0, 0], np.float32)


class Light:
    """What a camera's picture has to be multiplied by, channel by channel, to be grey on average."""

    def __init__(self) -> None:
        self._mean: Floats | None = None
        self._frames = 0

    def see(self, image: Image) -> Floats:
        """Take a frame; the factors for blue, green and red as of now."""
        # Every eighth pixel each way tells as much.
        mean = image[::8, ::8].reshape(-1, 3).mean(axis=0, dtype=np.float32)
        self._frames = min(self._frames + 1, LIGHT_FRAMES)
        self._mean = mean if self._mean is None else self._mean + (mean - self._mean) / np.float32(self._frames)
        return np.asarray(MID_GREY / np.maximum(self._mean, 1), np.float32)


def histogram(lab: Floats) -> Floats:
    """Share of each bin, sum 1: a pixel counts for its neighbouring bins by how near it is to their centres."""
    (light, light_share), (a, a_share), (b, b_share) = (
        _between(lab[:, axis], centres) for axis, centres in enumerate((LIGHTNESS, CHROMA, CHROMA))
    )
    first = (light * len(CHROMA) + a) * len(CHROMA) + b
    steps = (len(CHROMA) ** 2, len(CHROMA), 1)
    index, weight = [], []
    for up, right, on in product((0, 1), repeat=3):
        index.append(first + up * steps[0] + right * steps[1] + on * steps[2])
        weight.append(
            (light_share if up else 1 - light_share)
            * (a_share if right else 1 - a_share)
            * (b_share if on else 1 - b_share)
        )
    bins = np.bincount(np.concatenate(index), np.concatenate(weight), len(LIGHTNESS) * len(CHROMA) ** 2)
    return (bins / max(1, len(lab))).astype(np.float32)


def _between(values: Floats, centres: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """The bin below each value, and the share of the one above."""
    low = np.clip(np.searchsorted(centres, values, side="right") - 1, 0, len(centres) - 2)
    share = (values - centres[low]) / (centres[low + 1] - centres[low])
    return low, np.clip(share, 0, 1).astype(np.float32)


def part(image: Image, box: Box, shares: Box) -> Floats:
    """The pixels of a part of a box, N x 3, averaged to ``GRID``."""
    import cv2

    (x0, y0, x1, y1), (left, top, right, bottom) = box, shares
    width, height = x1 - x0, y1 - y0
    columns = slice(max(0, round(x0 + left * width)), max(1, round(x0 + right * width)))
    rows = slice(max(0, round(y0 + top * height)), max(1, round(y0 + bottom * height)))
    small = cv2.resize(image[rows, columns], GRID, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(-1, 3)


def clothes(upper: Floats, lower: Floats) -> Descriptor:
    """The descriptor of an upper and a lower body in Lab: a unit vector."""
    both = np.concatenate([histogram(upper), histogram(lower)]) / 2
    return np.sqrt(both)


def uniform_share(lab: Floats, shades: Floats) -> float:
    """Share of pixels that look like one of the uniform's colours in some light, 0 to 1; both in Lab, N x 3 and M x 3."""
    apart = np.linalg.norm(lab[:, None, :] - shades[None, :, :], axis=2)
    return float((apart.min(axis=1) <= UNIFORM_REACH).mean())


def shades_of(colours: Sequence[str]) -> Floats:
    """Colours as the layout writes them (``#rrggbb``), in the light and the shade, in Lab, N x 3."""
    shades = []
    for colour in colours:
        bgr = np.array([[int(colour[i : i + 2], 16) for i in (5, 3, 1)]], np.float32)
        _, a, b = to_lab(bgr)[0]
        shades += [bgr * factor for factor in (GREY_SHADES if math.hypot(a, b) < GREY else SHADES)]
    return to_lab(np.concatenate(shades)) if shades else np.zeros((0, 3), np.float32)


def hidden(boxes: Floats) -> Floats:
    """For each box (N x 4) the largest share of it that one nearer to the camera covers. On a floor, who stands lower in the
    picture is nearer.
    """
    shares = np.zeros(len(boxes), np.float32)
    areas = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-6)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        wide = np.minimum(x1, boxes[:, 2]) - np.maximum(x0, boxes[:, 0])
        high = np.minimum(y1, boxes[:, 3]) - np.maximum(y0, boxes[:, 1])
        shared = np.where(boxes[:, 3] > y1, np.clip(wide, 0, None) * np.clip(high, 0, None), 0)
        shared[i] = 0
        shares[i] = shared.max() / areas[i]
    return shares


def model(path: Any) -> Describe:
    """A re-identification model of the user's as a describer: anything that OpenVINO reads (.xml, .onnx) with one image in
    (1 x 3 x height x width, BGR of 0 to 255) and one vector out, such as Open Model Zoo's person-reidentification-retail.

    Raises:
        CameraError: it cannot be read, or is no such model.
    """
    import cv2
    import openvino

    from producers.cameras import CameraError

    try:
        network = openvino.Core().compile_model(str(path), "CPU")
        one, three, height, width = network.input(0).shape
        if (one, three) != (1, 3) or len(network.outputs) != 1:
            raise ValueError("it needs one image of 1 x 3 x height x width in and one vector out")
    except Exception as error:  # OpenVINO raises whatever its parsers do
        words = str(error).strip().splitlines() or [""]
        raise CameraError(f"the re-identification model {path} cannot be used: {words[-1]}") from error

    def describe(image: Image, box: Box) -> Descriptor:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
        crop = cv2.resize(image[y0:y1, x0:x1], (width, height)).transpose(2, 0, 1)[None].astype(np.float32)
        vector = np.asarray(network(crop)[0], np.float32).ravel()
        return vector / max(1e-9, float(np.linalg.norm(vector)))

    return describe
