"""Shelves of which everything is known: bays, boards, products, which of them are missing, and a photo of it all.

A layout is in centimetres on the plane of the products' fronts, x to the right and y down; a camera is a homography from there to
pixels. Nothing here knows how rows and gaps are found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BOARD_CM = 3.0
PRICE_STRIP_CM = 3.5
SIZE = (1536, 2048)


@dataclass(frozen=True)
class Product:
    """A facing: where it stands or should stand (cm), in which bay and row, with how many on top of each other."""

    bay: int
    row: int
    left: float
    base: float
    width: float
    height: float
    stack: int
    sku: str
    missing: bool = False

    @property
    def corners(self) -> Array:
        """Its front, stack and all, from the upper left, clockwise."""
        top, right = self.base - self.height * self.stack, self.left + self.width
        return np.array([[self.left, top], [right, top], [right, self.base], [self.left, self.base]])


@dataclass(frozen=True)
class Bay:
    """From ``left`` on, ``width`` wide; ``boards`` are the heights (y) on which products stand, from the top."""

    left: float
    width: float
    boards: tuple[float, ...]
    top: float


@dataclass(frozen=True)
class Shelves:
    """Shelves and the camera that looks at them (``camera``: cm to pixels)."""

    seed: int
    bays: tuple[Bay, ...]
    products: tuple[Product, ...]
    camera: Array
    size: tuple[int, int]

    def pixels(self, points: Array) -> Array:
        """Points (n x 2, cm) in the photo."""
        out = np.column_stack([points, np.ones(len(points))]) @ self.camera.T
        return np.asarray(out[:, :2] / out[:, 2:])

    def box(self, corners: Array) -> Array:
        """Left, top, right, bottom of an outline (cm), pixels, uncut by the photo."""
        points = self.pixels(corners)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    def seen(self, box: Array) -> float:
        """Share of a box that lies in the photo."""
        inside = np.clip(box, 0, [*self.size, *self.size])
        return float(np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2]))

    def boxes(self, *, missing: bool) -> Array:
        """Boxes (n x 4, pixels) of the products that stand there, each of a stack, or of the facings that are missing."""
        found = []
        for product in self.products:
            if product.missing != missing:
                continue
            for level in range(1 if missing else product.stack):
                one = replace(product, base=product.base - level * product.height, stack=1)
                box = self.box(one.corners)
                if self.seen(box) >= 0.6:
                    found.append(np.clip(box, 0, [*self.size, *self.size]))
        return np.array(found).reshape(-1, 4)


def shelves(seed: int, *, missing: float = 0.06, empty_rows: bool = True) -> Shelves:
    """Shelves by chance.

    Args:
        seed: The same seed gives the same shelves.
        missing: Share of facings at which products begin to be missing, one to three of them.
        empty_rows: In one of ten photos a whole row is empty.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    same_boards = rng.random() < 0.5
    bays: list[Bay] = []
    products: list[Product] = []
    left = 0.0
    heights = _boards(rng)
    for number in range(count):
        if not same_boards:
            heights = _boards(rng)
        bay = Bay(left, float(rng.choice([90, 100, 125])), tuple(heights), 0.0)
        bays.append(bay)
        for row, base in enumerate(bay.boards):
            above = bay.boards[row - 1] + BOARD_CM + 1 if row else base - 35
            products += _filled(rng, bay, number, row, base, base - above, missing)
        left += bay.width + 2.5
    if empty_rows and rng.random() < 0.1:
        number = int(rng.integers(count))
        row = int(rng.integers(1, len(bays[number].boards) - 1))
        products = [replace(one, missing=True) if (one.bay, one.row) == (number, row) else one for one in products]
    camera = _camera(rng, bays)
    return Shelves(seed, tuple(bays), tuple(products), camera, SIZE)


def _boards(rng: np.random.Generator) -> list[float]:
    pitches = rng.uniform(24, 38) * rng.uniform(0.85, 1.2, int(rng.integers(4, 8)))
    return [float(height) for height in np.cumsum(pitches)]


def _filled(
    rng: np.random.Generator, bay: Bay, number: int, row: int, base: float, space: float, missing: float
) -> list[Product]:
    made: list[Product] = []
    first, limit = bay.left + rng.uniform(0.5, 2), bay.left + bay.width - 0.5
    at, away = first, 0
    while True:
        width = float(rng.uniform(5, 16))
        height = float(min(space * rng.uniform(0.5, 0.92), width * 3.5))
        stack = 2 if height * 2 < space * 0.95 and rng.random() < 0.5 else 1
        between = float(rng.uniform(0.2, 1.2))
        sku = f"SKU-{number}{row}{len(made):03d}"
        for _ in range(int(rng.integers(1, 7))):
            if at + width > limit:
                # What is left is shared out, as whoever fills a shelf does.
                spread = (limit - made[-1].left - made[-1].width) / max(1, len(made) - 1)
                return [replace(one, left=one.left + spread * place) for place, one in enumerate(made)]
            if away == 0 and rng.random() < missing:
                away = int(rng.integers(1, 4))
            made.append(Product(number, row, at, base, width, height, stack, sku, away > 0))
            away = max(0, away - 1)
            at += width + between


def _camera(rng: np.random.Generator, bays: list[Bay]) -> Array:
    """A pinhole camera before the shelves: turned by up to 25 degrees, pitched by 10, rolled by 3."""
    width, height = SIZE
    right, lowest = bays[-1].left + bays[-1].width, max(bay.boards[-1] for bay in bays)
    focal = 0.85 * max(SIZE)
    yaw, pitch, roll = (math.radians(rng.uniform(-most, most)) for most in (25, 10, 3))
    turn = _rotation(yaw, 1) @ _rotation(pitch, 0) @ _rotation(roll, 2)
    # All of the height, and of the width what then fits: bays at the sides are cut off.
    far = 1.12 * focal * max(lowest + 10, min(right, lowest * width / height)) / height
    middle = np.array([right / 2 + rng.uniform(-0.1, 0.1) * right, lowest / 2 + 2, 0])
    place = middle - turn.T @ np.array([0, 0, far])
    inner = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    outer = np.column_stack([turn[:, 0], turn[:, 1], -turn @ place])
    return np.asarray(inner @ outer)


def _rotation(angle: float, axis: int) -> Array:
    one, other = [k for k in range(3) if k != axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = math.cos(angle)
    turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
    return turn


def photo(scene: Shelves) -> Any:
    """The shelves as a camera sees them, BGR: boards with price strips and tags, products, a dark back, noise."""
    import cv2

    rng = np.random.default_rng((scene.seed, 1))
    scale = 8.0
    right = scene.bays[-1].left + scene.bays[-1].width
    lowest = max(bay.boards[-1] for bay in scene.bays)
    pad = 60.0
    plane = np.full(
        (round((lowest + 2 * pad) * scale), round((right + 2 * pad) * scale), 3), rng.integers(150, 220, 3), np.uint8
    )

    def area(left: float, top: float, wide: float, high: float) -> Any:
        x0, y0 = round((left + pad) * scale), round((top + pad) * scale)
        return plane[max(0, y0) : max(0, round(y0 + high * scale)), max(0, x0) : max(0, round(x0 + wide * scale))]

    plane[round((lowest + pad + 12) * scale) :] = rng.integers(90, 200, 3)
    metal = int(rng.integers(180, 235))
    back = rng.integers(25, 130)
    for bay in scene.bays:
        inside = area(bay.left, bay.top - 10, bay.width, bay.boards[-1] - bay.top + 12)
        inside[:] = np.clip(back + rng.normal(0, 3, inside.shape[:2])[..., None], 0, 255)
        for base in bay.boards:
            shade = area(bay.left, base + BOARD_CM, bay.width, 9)
            shade[:] = (shade * np.linspace(0.45, 1, len(shade))[:, None, None]).astype(np.uint8)
        area(bay.left - 2.5, bay.top - 10, 2.5, bay.boards[-1] + 10)[:] = metal * 0.8
        area(bay.left + bay.width, bay.top - 10, 2.5, bay.boards[-1] + 10)[:] = metal * 0.8
        for base in bay.boards:
            area(bay.left, base, bay.width, BOARD_CM)[:] = metal
            area(bay.left + 0.4, base + 0.3, bay.width - 0.8, BOARD_CM - 0.6)[:] = metal - 18
    for product in scene.products:
        tag = area(product.left + product.width / 2 - 2, product.base + 0.3, 4, 2.4)
        if product.sku not in _tagged(scene, product):
            tag[:] = (235, 245, 245)
            tag[len(tag) // 3 : len(tag) // 2, 4:-4] = 40
    for product in scene.products:
        if not product.missing:
            for level in range(product.stack):
                _draw(
                    area(product.left, product.base - (level + 1) * product.height, product.width, product.height),
                    product.sku,
                )
    shift = np.array([[1 / scale, 0, -pad], [0, 1 / scale, -pad], [0, 0, 1.0]])
    image = cv2.warpPerspective(
        plane, scene.camera @ shift, scene.size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    light = np.clip(1 + 0.25 * (np.linspace(-1, 1, scene.size[0])[None, :] * rng.uniform(-1, 1)), 0.6, 1.3)
    noisy = image * light[..., None] + rng.normal(0, 4, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _tagged(scene: Shelves, product: Product) -> set[str]:
    """SKUs that have their price tag left of this facing."""
    return {other.sku for other in scene.products if other.sku == product.sku and other.left < product.left}


def _draw(front: Any, sku: str) -> None:
    """A package: a bottle, a box or a can in the SKU's colours, with a label and some print on it."""
    import zlib

    import cv2

    if front.size == 0:
        return
    rng = np.random.default_rng(zlib.crc32(sku.encode()))
    high, wide = front.shape[:2]
    colour, label, print_ = (rng.integers(low, 255, 3).tolist() for low in (20, 90, 0))
    kind = rng.choice(["box", "bottle", "can"])
    mask = np.zeros((high, wide), np.uint8)
    if kind == "bottle":
        neck, shoulder = int(wide * 0.35), int(high * rng.uniform(0.2, 0.35))
        cv2.rectangle(mask, ((wide - neck) // 2, 0), ((wide + neck) // 2, shoulder), 255, -1)
        cv2.ellipse(mask, (wide // 2, shoulder), (wide // 2, max(1, shoulder // 2)), 0, 180, 360, 255, -1)
        cv2.rectangle(mask, (0, shoulder), (wide, high), 255, -1)
    else:
        mask[:] = 255
    body = np.empty_like(front)
    body[:] = colour
    top, bottom = int(high * rng.uniform(0.25, 0.4)), int(high * rng.uniform(0.65, 0.9))
    body[top:bottom, int(wide * 0.06) : int(wide * 0.94)] = label
    size = wide / 90
    for line, text in enumerate((sku[-4:], "FRESH", "250 g")):
        cv2.putText(
            body,
            text,
            (int(wide * 0.12), top + int((line + 1) * (bottom - top) / 4)),
            cv2.FONT_HERSHEY_DUPLEX,
            size,
            print_,
            max(1, round(size * 2)),
        )
    cv2.circle(body, (wide // 2, int(high * 0.15 + top * 0.5)), max(2, wide // 5), print_, -1)
    across = np.linspace(-1, 1, wide)
    shade = 1 - (0.45 if kind != "box" else 0.12) * across**2
    body = np.clip(body * shade[None, :, None], 0, 255).astype(np.uint8)
    cv2.rectangle(body, (0, 0), (wide - 1, high - 1), (body.mean(axis=(0, 1)) * 0.5).tolist(), max(1, wide // 40))
    front[mask > 0] = body[mask > 0]
