"""The parts of a person as sprites, and how to lay a sprite over a picture.

A sprite is drawn once, larger than it will be shown; a frame is a few affine warps. Shading comes
from the distance to the outline, as on a body lit from the front, so it may turn with a limb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

Image = NDArray[np.float32]
Point = tuple[float, float]
Draw = Callable[[NDArray[np.uint8]], object]

FINER = 3  # sprite pixels per picture pixel
_SHIFT = 4  # OpenCV takes outlines in 1/16 pixel


class Sprite(NamedTuple):
    """A part of the body: (h, w, 2) float32 of brightness times cover, and cover (0 to 1).

    origin  the joint that it turns about, in sprite pixels
    """

    image: Image
    origin: Point


class Tones(NamedTuple):
    """Reflectances from 0 (black) to 1 (white)."""

    skin: float
    shirt: float
    trousers: float
    hair: float


def soft_noise(rng: np.random.Generator, shape: tuple[int, int], grain_px: Point) -> Image:
    """Return (h, w) float32 smooth noise of zero mean and unit deviation, `grain_px` high, wide."""
    small = [max(2, round(full / grain) + 1) for full, grain in zip(shape, grain_px, strict=True)]
    coarse = rng.standard_normal(small, dtype=np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def wall_pattern(rng: np.random.Generator, size: Size) -> Image:
    """Return (H, W) noise of three grains, each of zero mean and unit deviation, as walls have."""
    shape = (size.height, size.width)
    made = [
        weight * soft_noise(rng, shape, (grain * size.height, grain * size.height))
        for weight, grain in ((0.6, 0.35), (0.3, 0.1), (0.1, 0.03))
    ]
    return np.asarray(sum(made), np.float32)


def paste(
    picture: Image,
    sprite: Sprite,
    joint_px: Point,
    angle: float,
    *,
    stretch: float = 1.0,
    mirror: int = 1,
) -> None:
    """Lay a sprite over a float32 picture (H, W), its origin at `joint_px` and turned by `angle`.

    `stretch` lengthens it along its own x; `mirror` = -1 turns it over about that axis. What is
    off the picture is cut.
    """
    c, s = cos(angle) / FINER, sin(angle) / FINER
    turn = np.array([[c * stretch, -s * mirror], [s * stretch, c * mirror]])
    offset = np.array(joint_px) - turn @ np.array(sprite.origin)
    height, width = sprite.image.shape[:2]
    corners = turn @ np.array([[0, width, 0, width], [0, 0, height, height]]) + offset[:, None]
    left, top = (max(0, int(low)) for low in np.floor(corners.min(1)) - 1)
    right = min(picture.shape[1], int(corners[0].max()) + 2)
    bottom = min(picture.shape[0], int(corners[1].max()) + 2)
    if left >= right or top >= bottom:
        return
    matrix = np.column_stack([turn, offset - (left, top)])
    shown = cv2.warpAffine(sprite.image, matrix, (right - left, bottom - top))
    under = picture[top:bottom, left:right]
    under *= 1 - shown[..., 1]
    under += shown[..., 0]


class _Canvas:
    """A sprite in the making; lengths are in head heights from its origin."""

    def __init__(self, box: tuple[float, float, float, float], head_px: float) -> None:
        left, top, right, bottom = box
        self.unit = head_px * FINER
        self.shape = (round((bottom - top) * self.unit), round((right - left) * self.unit))
        self.origin = (-left * self.unit, -top * self.unit)
        self.image = np.zeros((*self.shape, 2), np.float32)

    def px(self, points: Sequence[Point]) -> NDArray[np.int32]:
        """Return points in fixed-point sprite pixels."""
        place = np.array(points) * self.unit + self.origin
        return np.asarray(np.rint(place * (1 << _SHIFT)), np.int32)

    def add(
        self,
        draw: Draw,
        tone: float | Image,
        depth: float,
        darkest: float = 0.45,
        form: Draw | None = None,
    ) -> None:
        """Lay over what `draw` fills, in a tone that falls to `darkest` times itself at the rim.

        The surface is a quarter circle `depth` head heights deep from the rim inwards, lit from
        the front: brightness follows the cosine of its slope. Where the part goes on beyond what
        is filled, `form` fills the whole of it, and only its rim is dark.
        """
        cover = self._filled(draw).astype(np.float32) / 255
        whole = (self._filled(form or draw) > 127).astype(np.uint8)
        inside = cv2.distanceTransform(whole, cv2.DIST_L2, 5)
        rim = 1 - np.clip(inside / (depth * self.unit), 0, 1)
        light = darkest + (1 - darkest) * np.sqrt(1 - rim**2)
        self.image *= 1 - cover[..., None]
        self.image[..., 0] += cover * tone * light
        self.image[..., 1] += cover

    def _filled(self, draw: Draw) -> NDArray[np.uint8]:
        mask = np.zeros(self.shape, np.uint8)
        draw(mask)
        return mask

    def _inside(self, rim: Sequence[Point]) -> Draw:
        outline = self.px(rim)
        return lambda mask: cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, _SHIFT)

    def blob(self, points: Sequence[Point]) -> Draw:
        """Return a drawing of a smooth closed outline through some points (Catmull-Rom)."""
        p = np.array(points)
        u = np.linspace(0, 1, 12, endpoint=False)[:, None, None]
        a, b, c, d = (np.roll(p, shift, 0) for shift in (1, 0, -1, -2))
        curve = b + u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * b - a - 3 * c + d))) / 2
        return self._inside(curve.transpose(1, 0, 2).reshape(-1, 2).tolist())

    def ellipse(self, centre: Point, radii: Point) -> Draw:
        """Return a drawing of an upright ellipse."""
        turn = np.linspace(0, 2 * pi, 60, endpoint=False)
        rim = [(centre[0] + radii[0] * cos(a), centre[1] + radii[1] * sin(a)) for a in turn]
        return self._inside(rim)

    def bone(self, start: Point, end: Point, radii: Point) -> Draw:
        """Return a drawing of a limb: round ends of two radii and the straight sides between."""
        axis = np.array(end) - start
        along = np.arctan2(axis[1], axis[0])
        half = np.linspace(-pi / 2, pi / 2, 16)
        rim = [
            (point[0] + radius * cos(along + side + a), point[1] + radius * sin(along + side + a))
            for point, radius, side in ((end, radii[1], 0.0), (start, radii[0], pi))
            for a in half
        ]
        return self._inside(rim)

    def sprite(self) -> Sprite:
        """Return the sprite, softened so that a bilinear warp to picture size does not alias."""
        soft = cv2.GaussianBlur(self.image, (0, 0), 0.45 * FINER)
        return Sprite(np.asarray(soft, np.float32), self.origin)


@dataclass(frozen=True, slots=True)
class Parts:
    """The sprites of a person. Limbs lie along +x from their joint."""

    body: Sprite
    upper_arm: Sprite
    forearm: Sprite
    hand: Sprite


def _cloth(canvas: _Canvas, tone: float, rng: np.random.Generator, along: Point) -> Image:
    """Return a cloth's reflectance: its tone with soft folds of a length and a width (x, y)."""
    grain = (along[1] * canvas.unit, along[0] * canvas.unit)
    return tone * (1 + 0.05 * soft_noise(rng, canvas.shape, grain))


def _limb(canvas: _Canvas, length: float, radii: Point, tone: float | Image, width: float) -> None:
    """Add a limb from the origin along +x whose ends are not rims: it goes on at both joints."""
    beyond = canvas.bone((-1, 0), (length + 1, 0), radii)
    canvas.add(canvas.bone((0, 0), (length, 0), radii), tone, width, form=beyond)


def _upper_arm(
    length: float, head_px: float, tones: Tones, long_sleeves: bool, rng: np.random.Generator
) -> Sprite:
    canvas = _Canvas((-0.5, -0.5, length + 0.5, 0.5), head_px)
    _limb(canvas, length, (0.22, 0.175), tones.skin, 0.22)
    cloth = _cloth(canvas, tones.shirt, rng, (0.5, 0.15))
    sleeve = length if long_sleeves else 0.6 * length
    _limb(canvas, sleeve, (0.28, 0.22 if long_sleeves else 0.25), cloth, 0.26)
    return canvas.sprite()


def _forearm(
    length: float, head_px: float, tones: Tones, long_sleeves: bool, rng: np.random.Generator
) -> Sprite:
    canvas = _Canvas((-0.5, -0.5, length + 0.5, 0.5), head_px)
    _limb(canvas, length, (0.19, 0.115), tones.skin, 0.18)
    if long_sleeves:
        cloth = _cloth(canvas, tones.shirt, rng, (0.5, 0.15))
        _limb(canvas, 0.9 * length, (0.22, 0.15), cloth, 0.21)
    return canvas.sprite()


def _hand(head_px: float, tones: Tones) -> Sprite:
    """An open hand, the thumb towards -y."""
    canvas = _Canvas((-0.3, -0.6, 1.2, 0.6), head_px)
    canvas.add(canvas.bone((0.06, -0.1), (0.3, -0.36), (0.1, 0.06)), tones.skin, 0.09, 0.35)
    canvas.add(canvas.bone((0.26, -0.3), (0.44, -0.4), (0.07, 0.05)), tones.skin, 0.07, 0.35)
    fingers = ((-0.155, -0.2, 0.72), (-0.05, -0.06, 0.8), (0.055, 0.08, 0.76), (0.15, 0.22, 0.62))
    for base, fan, tip in fingers:
        end = (tip, base + (tip - 0.36) * fan)
        canvas.add(canvas.bone((0.36, base), end, (0.062, 0.048)), tones.skin, 0.065, 0.3)
    palm = ((0.0, -0.12), (0.2, -0.2), (0.4, -0.2), (0.44, 0.0), (0.4, 0.19), (0.18, 0.17))
    canvas.add(canvas.blob([*palm, (0.0, 0.12), (-0.06, 0.0)]), tones.skin, 0.12, 0.6)
    for crease in ((0.2, -0.04), (0.26, 0.08)):
        line = canvas.bone(crease, (crease[0] + 0.12, crease[1] - 0.08), (0.012, 0.012))
        canvas.add(line, 0.72 * tones.skin, 0.01, 1.0)
    return canvas.sprite()


def _face(canvas: _Canvas, tones: Tones) -> None:
    x, y = 0.0, -0.9
    for side in (-1, 1):
        canvas.add(canvas.ellipse((x + 0.37 * side, y + 0.02), (0.06, 0.12)), tones.skin, 0.08)
    canvas.add(canvas.ellipse((x, y - 0.06), (0.39, 0.48)), tones.hair, 0.3)
    jaw = ((-0.33, -0.1), (-0.27, 0.27), (-0.1, 0.47), (0.1, 0.47), (0.27, 0.27), (0.33, -0.1))
    brow = ((0.27, -0.27), (0.0, -0.33), (-0.27, -0.27))
    outline = [(x + px, y + py) for px, py in (*jaw, *brow)]
    canvas.add(canvas.blob(outline), tones.skin, 0.3, 0.6)
    for side in (-1, 1):
        eye = (x + 0.14 * side, y + 0.02)
        canvas.add(canvas.ellipse(eye, (0.066, 0.032)), 0.9, 0.05, 0.7)
        canvas.add(canvas.ellipse(eye, (0.03, 0.034)), 0.08, 0.03)
        over = canvas.bone(
            (eye[0] - 0.07, eye[1] - 0.085), (eye[0] + 0.07, eye[1] - 0.085), (0.017, 0.017)
        )
        canvas.add(over, tones.hair, 0.02)
    shade = 0.75 * tones.skin
    canvas.add(canvas.bone((x, y), (x, y + 0.15), (0.02, 0.05)), 0.9 * tones.skin, 0.04, 0.85)
    mouth = ((-0.12, 0.27), (0.0, 0.3), (0.12, 0.27), (0.06, 0.34), (-0.06, 0.34))
    canvas.add(canvas.blob([(x + px, y + py) for px, py in mouth]), 0.6 * shade, 0.03, 0.9)


def _body(shoulder: float, head_px: float, tones: Tones, rng: np.random.Generator) -> Sprite:
    """Head, neck, torso and hip; the origin lies between the shoulder joints."""
    canvas = _Canvas((-shoulder - 1.0, -1.75, shoulder + 1.0, 4.2), head_px)
    for side in (-1, 1):
        leg = canvas.bone((0.42 * side, 2.5), (0.5 * side, 5), (0.46, 0.4))
        canvas.add(leg, _cloth(canvas, tones.trousers, rng, (0.15, 0.7)), 0.35)
    half = (
        (0.2, -0.36),
        (0.6 * shoulder, -0.26),
        (shoulder, -0.14),
        (shoulder + 0.12, 0.25),
        (shoulder - 0.06, 0.75),
        (shoulder - 0.14, 1.7),
        (shoulder - 0.1, 2.42),
        (0.3, 2.56),
    )
    outline = [*half, *((-x, y) for x, y in reversed(half))]
    cloth = _cloth(canvas, tones.shirt, rng, (0.2, 0.7))
    canvas.add(canvas.blob(outline), cloth, 0.4, 0.5)
    canvas.add(canvas.ellipse((0, -0.3), (0.27, 0.17)), 0.85 * tones.skin, 0.2, 0.7)
    neck = canvas.bone((0, -0.6), (0, -0.3), (0.18, 0.19))
    canvas.add(neck, 0.75 * tones.skin, 0.2, form=canvas.bone((0, -1), (0, 1), (0.18, 0.19)))
    _face(canvas, tones)
    return canvas.sprite()


def draw_parts(
    limbs: tuple[float, float, float],
    head_px: float,
    tones: Tones,
    long_sleeves: bool,
    rng: np.random.Generator,
) -> Parts:
    """Return the sprites of a person; `limbs` are upper arm, forearm and half the shoulders' width.

    Lengths are in head heights, and a head is `head_px` high in the picture.
    """
    upper, fore, shoulder = limbs
    return Parts(
        body=_body(shoulder, head_px, tones, rng),
        upper_arm=_upper_arm(upper, head_px, tones, long_sleeves, rng),
        forearm=_forearm(fore, head_px, tones, long_sleeves, rng),
        hand=_hand(head_px, tones),
    )
