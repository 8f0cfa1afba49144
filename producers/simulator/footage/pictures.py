"""Draws a scene as its cameras see it, and tells what is to be seen of everybody. Needs OpenCV (the extra ``vision``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.simulator.footage.people import Clothes, Colour, Person
from producers.simulator.footage.plan import Floats, Furniture, Lens, Plan
from producers.simulator.footage.scenes import START_MS, Scene

Image = NDArray[np.uint8]
SPRITE_W, SPRITE_H = 96, 240
STEP_M = 0.7
"""Length of a step; two of them are one turn of the legs."""
PHASES = 8
NOISE = 5
"""Sensor noise: each value is off by up to this, evenly."""
_FURNITURE = 255


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows of one person."""

    person: int
    """Index into the scene's people."""
    box: tuple[float, float, float, float]
    """Around the visible part, as annotators draw it: x0, y0, x1, y1, pixels."""
    visible: float
    """Share of the person that is in the frame and not hidden, 0 to 1."""
    inside: bool
    """Whether the feet are behind the threshold."""
    zone: str | None
    """The first zone of the plan that holds the feet."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame of one camera."""

    camera_id: str
    at_ms: int
    """Epoch milliseconds."""
    number: int
    """Of the frame in the scene."""
    image: Image
    seen: tuple[Seen, ...]


def require_opencv() -> None:
    """Raises RuntimeError, with what to do, where OpenCV is missing."""
    from importlib.util import find_spec

    if find_spec("cv2") is None:
        raise RuntimeError("drawing footage needs OpenCV: run `make vision`")


def shots(scene: Scene) -> Iterator[Shot]:
    """Every frame of every camera, in the order of time. The image is drawn over by the camera's next frame."""
    require_opencv()
    painters = [Painter(scene, lens) for lens in scene.lenses]
    for number in range(scene.frames):
        for painter in painters:
            image, seen = painter.draw(number)
            at_ms = START_MS + round(1000 * number / scene.fps)
            yield Shot(painter.lens.camera_id, at_ms, number, image, seen)


class Painter:
    """One camera's pictures of a scene."""

    def __init__(self, scene: Scene, lens: Lens) -> None:
        self.scene, self.lens = scene, lens
        rng = np.random.default_rng((scene.seed, scene.lenses.index(lens)))
        self._empty = _shop(scene.plan, lens, rng)
        self._layers = [
            (thing, *_layer(thing, lens, self._empty.shape))
            for thing in (*scene.plan.walls, *scene.plan.furniture)
            if not thing.shelf
        ]
        self._sprites: dict[tuple[int, str, int], Image] = {}
        self._shadow = _shadow()
        # A bank of noise pictures, added at changing offsets: drawing new noise for each frame would cost more than all else.
        height, width = self._empty.shape[:2]
        self._noise = rng.integers(0, 2 * NOISE, (height + 64, width + 64, 3)).astype(np.uint8)
        self._offsets = rng.integers(0, 64, (scene.frames, 2))
        self._image = self._empty.copy()
        self._sizes: dict[int, tuple[int, slice, slice]] = {}
        self._owner = np.zeros((height, width), np.uint8)
        self._feet, self._tall = self._project(scene.places)
        self._poses = [self._pose(scene.places[:, number], number) for number in range(len(scene.people))]
        self._light = scene.plan.bright(np.nan_to_num(scene.places))

    def draw(self, number: int) -> tuple[Image, tuple[Seen, ...]]:
        """The picture of a frame, and who is to be seen on it."""
        import cv2

        image, owner = self._image, self._owner
        np.copyto(image, self._empty)
        owner.fill(0)
        places, feet, tall = self.scene.places[number], self._feet[number], self._tall[number]
        present = [int(i) for i in np.flatnonzero(np.isfinite(tall))]
        drawn = []
        # Who stands farther away is drawn first: on a flat floor that is who stands higher in the picture.
        for person in sorted(present, key=lambda i: float(feet[i, 1])):
            if self._paint(person, number, feet[person], float(tall[person])):
                drawn.append(person)
                self._hide(places[person])
        seen = tuple(found for person in sorted(drawn) if (found := self._seen(person, places[person])) is not None)
        dy, dx = self._offsets[number]
        noise = self._noise[dy : dy + image.shape[0], dx : dx + image.shape[1]]
        cv2.add(image, noise, dst=image)
        return image, seen

    def _project(self, places: Floats) -> tuple[Floats, Floats]:
        """Pixels of the feet, and how tall everybody is there in pixels; nan for who is not there or far out of view."""
        lens = self.lens
        floor = np.concatenate((places, np.zeros((*places.shape[:2], 1))), axis=-1)
        heads = floor.copy()
        heads[..., 2] = [person.height for person in self.scene.people]
        feet = lens.pixels(floor)
        tall = (feet - lens.pixels(heads))[..., 1]
        x, y = feet[..., 0], feet[..., 1]
        margin = tall * 0.3
        out = (x < -margin) | (x > lens.width + margin) | (y < 0) | (y - 1.3 * tall > lens.height) | ~(tall > 8)
        return feet, np.where(out, np.nan, tall)

    def _pose(self, way: Floats, person: int) -> list[tuple[str, int]]:
        """For each frame, from which side the person is seen and how the legs stand."""
        step = np.nan_to_num(np.diff(way, axis=0, prepend=way[:1]))
        walked = np.hypot(*step.T)
        phase = (np.cumsum(walked) / (2 * STEP_M) * PHASES).astype(int) % PHASES
        view = np.nan_to_num(way) - self.lens.position[:2]
        view = view / np.maximum(np.hypot(*view.T), 1e-6)[:, None]
        away = (step * view).sum(axis=1)
        across = step[:, 0] * view[:, 1] - step[:, 1] * view[:, 0]
        poses, side = [], "front"
        for i in range(len(way)):
            if walked[i] > 0.01:
                ways = ("right" if across[i] > 0 else "left", "back" if away[i] > 0 else "front")
                side = ways[0] if abs(across[i]) > 0.7 * walked[i] else ways[1]
                poses.append((side, int(phase[i])))
            else:
                poses.append((side, -1))
        return poses

    def _sprite(self, person: int, side: str, phase: int) -> Image:
        key = (person, side, phase)
        if key not in self._sprites:
            self._sprites[key] = _figure(self.scene.people[person], side, phase, person, self.lens.gain)
        return self._sprites[key]

    def _paint(self, person: int, number: int, foot: Floats, height: float) -> bool:
        """Draw one person over what is there; false when no pixel of them is in the frame."""
        import cv2

        h = max(8, round(height))
        w = max(4, round(height * SPRITE_W / SPRITE_H))
        x0, y0 = round(float(foot[0]) - w / 2), round(float(foot[1])) - h
        self._darken(round(float(foot[0])), round(float(foot[1])), w)
        cut = _cut(x0, y0, w, h, self._image.shape)
        if cut is None:
            return False
        figure = cv2.resize(self._sprite(person, *self._poses[person][number]), (w, h), interpolation=cv2.INTER_AREA)
        rows, columns, inner_rows, inner_columns = cut
        solid = figure[..., 3] > 127
        self._sizes[person] = (int(solid.sum()), rows, columns)
        part = figure[inner_rows, inner_columns]
        coat = cv2.convertScaleAbs(part[..., :3], alpha=float(self._light[number, person]))
        under = self._image[rows, columns]
        clear = cv2.cvtColor(255 - part[..., 3], cv2.COLOR_GRAY2BGR)
        self._image[rows, columns] = cv2.add(cv2.multiply(under, clear, scale=1 / 255), coat)
        self._owner[rows, columns][solid[inner_rows, inner_columns]] = person + 1
        return True

    def _darken(self, x: int, y: int, width: int) -> None:
        """The shadow on the floor round somebody's feet."""
        import cv2

        w, h = max(4, int(width * 1.1)), max(3, int(width * 0.4))
        cut = _cut(x - w // 2, y - h // 2, w, h, self._image.shape)
        if cut is not None:
            rows, columns, inner_rows, inner_columns = cut
            shade = cv2.resize(self._shadow, (w, h), interpolation=cv2.INTER_AREA)[inner_rows, inner_columns]
            under = self._image[rows, columns]
            self._image[rows, columns] = cv2.multiply(under, shade, scale=1 / 255)

    def _hide(self, place: Floats) -> None:
        """Put back in front of the person drawn last what stands between them and the lens."""
        x, y, _ = self.lens.position
        for thing, solid, rows, columns in self._layers:
            if thing.foot.cut_by((float(place[0]), float(place[1])), (x, y)):
                np.copyto(self._image[rows, columns], self._empty[rows, columns], where=solid[..., None])
                self._owner[rows, columns][solid] = _FURNITURE

    def _seen(self, person: int, place: Floats) -> Seen | None:
        size, rows, columns = self._sizes[person]
        mine = self._owner[rows, columns] == person + 1
        if not mine.any():
            return None
        ys, xs = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        x0, y0 = columns.start, rows.start
        zones = self.scene.plan.zones.items()
        return Seen(
            person,
            (float(x0 + xs[0]), float(y0 + ys[0]), float(x0 + xs[-1] + 1), float(y0 + ys[-1] + 1)),
            float(mine.sum()) / size,
            bool(place[1] > 0),
            next((name for name, (_, rect) in zones if rect.holds(place)), None),
        )


def _cut(x: int, y: int, w: int, h: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of a w x h picture at (x, y) that lie in the frame, of the frame and of the picture."""
    x0, y0, x1, y1 = max(0, x), max(0, y), min(shape[1], x + w), min(shape[0], y + h)
    if x0 >= x1 or y0 >= y1:
        return None
    return slice(y0, y1), slice(x0, x1), slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)


def _tinted(colour: Colour | Floats, gain: tuple[float, float, float], light: float = 1.0) -> tuple[int, int, int]:
    b, g, r = (int(min(255.0, value * factor * light)) for value, factor in zip(colour, gain, strict=True))
    return b, g, r


def _figure(person: Person, side: str, phase: int, seed: int, gain: tuple[float, float, float]) -> Image:
    """Somebody standing (phase -1) or walking, with premultiplied alpha, as tall as the picture."""
    import cv2

    wear: Clothes = person.clothes
    picture = np.zeros((SPRITE_H, SPRITE_W, 4), np.uint8)
    middle, h = SPRITE_W / 2, float(SPRITE_H)
    profile = side in ("left", "right")
    facing = -1 if side == "left" else 1
    swing = 0.0 if phase < 0 else float(np.sin(2 * np.pi * phase / PHASES))
    # Seen from the side legs swing to and fro, from the front one foot is a little higher.
    reach = (0.095 if profile else 0.02) * h * swing

    def paint(colour: Colour, light: float = 1.0) -> tuple[int, int, int, int]:
        return (*_tinted(colour, gain, light), 255)

    def limb(points: list[tuple[float, float]], thick: float, colour: tuple[int, int, int, int]) -> None:
        dots = np.array(points).round().astype(np.int32)
        cv2.polylines(picture, [dots], False, colour, max(1, round(thick)), cv2.LINE_AA)

    shoulder = (0.075 if profile else 0.115) * h
    hip = (0.065 if profile else 0.085) * h
    stance = 0.0 if profile else 0.042 * h
    for leg, light in ((-1, 0.8), (1, 1.0)):
        foot = middle + leg * stance + leg * reach
        lift = 0.022 * h * max(0.0, leg * swing) if phase >= 0 else 0.0
        knee = middle + leg * stance + leg * reach * 0.55 + facing * (0.012 * h if profile else 0)
        sole = 0.978 * h - lift
        limb(
            [(middle + leg * stance * 0.9, 0.5 * h), (knee, 0.73 * h), (foot, 0.945 * h - lift)],
            0.068 * h,
            paint(wear.lower, light),
        )
        toe = facing * 0.04 * h if profile else 0.0
        limb([(foot - toe * 0.3, sole), (foot + toe, sole)], 0.042 * h, paint((30, 30, 34)))
    arm_swing = -reach * 0.8
    arms = ((-1, 0.8), (1, 1.05))
    for arm, light in arms[:1] if profile else arms:
        _arm(limb, paint, wear, middle, arm * shoulder * (0.2 if profile else 1.02), arm_swing * arm, h, light)
    torso = np.array(
        [
            (middle - shoulder, 0.185 * h), (middle - shoulder * 0.5, 0.155 * h), (middle + shoulder * 0.5, 0.155 * h),
            (middle + shoulder, 0.185 * h), (middle + hip, 0.53 * h), (middle - hip, 0.53 * h),
        ]
    )  # fmt: skip
    cv2.fillPoly(picture, [torso.round().astype(np.int32)], paint(wear.upper), cv2.LINE_AA)
    if wear.stripes:
        inside = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(inside, [torso.round().astype(np.int32)], 255)
        bands = (np.arange(SPRITE_H) // 8 % 3 == 0)[:, None] & (inside > 0)
        picture[bands, :3] = np.clip(picture[bands, :3] * 0.7 + 20, 0, 255).astype(np.uint8)
    if profile:
        _arm(limb, paint, wear, middle, 0.0, arm_swing, h, 0.88)
    neck, skin, hair = (round(middle), round(0.14 * h)), paint(wear.skin), paint(wear.hair)
    cv2.ellipse(picture, neck, (round(0.028 * h), round(0.035 * h)), 0, 0, 360, paint(wear.skin, 0.85), -1, cv2.LINE_AA)
    head, axes = (round(middle), round(0.075 * h)), (round(0.047 * h), round(0.064 * h))
    cv2.ellipse(picture, head, axes, 0, 0, 360, hair if side == "back" else skin, -1, cv2.LINE_AA)
    if side == "front":
        cv2.ellipse(
            picture,
            (head[0], head[1] - round(0.02 * h)),
            (axes[0], round(0.046 * h)),
            0,
            180,
            360,
            hair,
            -1,
            cv2.LINE_AA,
        )
    elif profile:
        cv2.ellipse(
            picture,
            (head[0] - facing * 4, head[1] - 3),
            (round(0.042 * h), round(0.058 * h)),
            0,
            0,
            360,
            hair,
            -1,
            cv2.LINE_AA,
        )
    # Light falls from the upper left, and cloth has folds.
    rng = np.random.default_rng((seed, 7))
    folds = cv2.resize(
        rng.normal(1.0, 0.09, (15, 6)).astype(np.float32), (SPRITE_W, SPRITE_H), interpolation=cv2.INTER_CUBIC
    )
    shade = np.linspace(1.12, 0.8, SPRITE_W, dtype=np.float32)[None, :] * folds
    picture[..., :3] = np.minimum(picture[..., :3] * shade[..., None], picture[..., 3:]).astype(np.uint8)
    return picture


def _arm(
    limb: Any, paint: Any, wear: Clothes, middle: float, aside: float, swing: float, h: float, light: float
) -> None:
    shoulder, elbow = (middle + aside, 0.2 * h), (middle + aside * 1.12 + swing * 0.5, 0.35 * h)
    hand = (middle + aside * 1.1 + swing, 0.475 * h)
    limb([shoulder, elbow, hand], 0.045 * h, paint(wear.upper, light))
    limb([hand, (hand[0], hand[1] + 0.012 * h)], 0.036 * h, paint(wear.skin))


def _shadow() -> Image:
    """A soft dark spot, as factors of 255."""
    y, x = np.mgrid[-1:1:24j, -1:1:64j]
    shade: Image = (255 - 110 * np.clip(1.1 - np.hypot(x, y), 0, 1)).astype(np.uint8)
    return shade[..., None].repeat(3, axis=2)


def _shop(plan: Plan, lens: Lens, rng: np.random.Generator) -> Image:
    """The empty shop."""
    import cv2

    image = np.full((lens.height, lens.width, 3), _tinted((70, 74, 78), lens.gain), np.uint8)

    def fill(points: list[tuple[float, float, float]], colour: Colour, light: float = 1.0) -> None:
        shape = lens.outline(points)
        if shape is not None:
            cv2.fillPoly(image, [shape.round().astype(np.int32)], _tinted(colour, lens.gain, light), cv2.LINE_AA)

    def wall(
        x0: float, y0: float, x1: float, y1: float, low: float, high: float, colour: Colour, light: float = 1.0
    ) -> None:
        fill([(x0, y0, low), (x1, y1, low), (x1, y1, high), (x0, y0, high)], colour, light)

    width, depth = plan.width, plan.depth
    # Outside: the way past the shop and the front across it.
    for x in map(float, range(-8, int(width) + 9)):
        fill([(x, -3.4, 0), (x + 1, -3.4, 0), (x + 1, 0, 0), (x, 0, 0)], (128, 130, 134), 0.95 + 0.08 * (x % 2))
        wall(x, -3.4, x + 1, -3.4, 0, 3.2, (150, 140, 128), 0.7 + float(rng.uniform(0, 0.35)))
    tile = 0.6
    for x in np.arange(0, width, tile):
        for y in np.arange(0, depth, tile):
            light = float(plan.bright(np.array((x, y)))) * (0.97 + 0.05 * float(rng.random()))
            x1, y1 = min(width, x + tile), min(depth, y + tile)
            fill([(x, y, 0), (x1, y, 0), (x1, y1, 0), (x, y1, 0)], (186, 196, 204), light)
    for side in plan.walls:
        x = side.foot.x1 if side.foot.x0 < 0 else side.foot.x0
        wall(x, 0, x, depth, 0, side.height, side.colour, 0.85 if x == 0 else 0.95)
    wall(0, depth, width, depth, 0, 3.2, (196, 204, 206), 0.9)
    # The front is glass on a low wall, with posts at the door and a lintel.
    for x0, x1 in ((0.0, plan.door[0]), (plan.door[1], width)):
        wall(x0, 0, x1, 0, 0, 0.25, (90, 92, 96))
    for x in (0.0, *plan.door, width):
        wall(x - 0.05, 0, x + 0.05, 0, 0, 3.0, (70, 72, 76))
    wall(0, 0, width, 0, 2.5, 3.2, (88, 84, 80))
    fill([(plan.door[0], 0, 0), (plan.door[1], 0, 0), (plan.door[1], 0.5, 0), (plan.door[0], 0.5, 0)], (92, 90, 88))
    far = sorted(plan.furniture, key=lambda thing: -_distance(thing, lens))
    for thing in far:
        for points, light in _faces(thing, lens):
            fill(points, thing.colour, light)
        if thing.shelf:
            _goods(thing, lens, fill, rng)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), np.uint8)


def _distance(thing: Furniture, lens: Lens) -> float:
    x, y = (thing.foot.x0 + thing.foot.x1) / 2, (thing.foot.y0 + thing.foot.y1) / 2
    return float(np.hypot(x - lens.position[0], y - lens.position[1]))


def _faces(thing: Furniture, lens: Lens) -> Iterator[tuple[list[tuple[float, float, float]], float]]:
    """The sides of a box that a camera sees, and how light they are; the top last."""
    corners, top = thing.foot.corners, thing.height
    cx, cy, cz = lens.position
    outward = ((0, -1), (1, 0), (0, 1), (-1, 0))
    for i, (nx, ny) in enumerate(outward):
        (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 4]
        if (cx - ax) * nx + (cy - ay) * ny > 0:
            yield [(ax, ay, 0), (bx, by, 0), (bx, by, top), (ax, ay, top)], 0.7 if nx else 0.82
    if cz > top:
        yield [(x, y, top) for x, y in corners], 1.05


def _goods(thing: Furniture, lens: Lens, fill: Any, rng: np.random.Generator) -> None:
    """Rows of coloured boxes on the long side of a shelf that faces the shop."""
    foot = thing.foot
    along_y = foot.y1 - foot.y0 > foot.x1 - foot.x0
    length = foot.y1 - foot.y0 if along_y else foot.x1 - foot.x0
    face = (foot.x1 if foot.x0 < 1 else foot.x0) if along_y else foot.y0
    if (lens.position[0] - face) * (1 if along_y and foot.x0 < 1 else -1) < 0 and along_y:
        return
    for level in np.arange(0.15, thing.height - 0.3, 0.42):
        at = 0.05
        while at < length - 0.3:
            wide, tall = float(rng.uniform(0.14, 0.4)), float(rng.uniform(0.2, 0.34))
            colour = tuple(int(value) for value in rng.integers(60, 220, 3))
            a, b = at, min(length - 0.05, at + wide)
            ends = [(face, foot.y0 + a), (face, foot.y0 + b)] if along_y else [(foot.x0 + a, face), (foot.x0 + b, face)]
            (ax, ay), (bx, by) = ends
            fill([(ax, ay, level), (bx, by, level), (bx, by, level + tall), (ax, ay, level + tall)], colour, 0.85)
            at += wide + 0.02


def _layer(thing: Furniture, lens: Lens, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], slice, slice]:
    """Which pixels a thing covers, within the rows and columns around it."""
    import cv2

    solid = np.zeros(shape[:2], np.uint8)
    for points, _ in _faces(thing, lens):
        outline = lens.outline(points)
        if outline is not None:
            cv2.fillPoly(solid, [outline.round().astype(np.int32)], 255)
    x, y, w, h = cv2.boundingRect(solid)
    rows, columns = slice(y, y + h), slice(x, x + w)
    return solid[rows, columns] > 0, rows, columns
