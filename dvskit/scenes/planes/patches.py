"""Textured rectangles, boxes made of them, and textures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit.errors import ConfigError, ShapeError
from dvskit.scenes.planes.path import rotation_of

Texture = NDArray[np.float32]
"""(rows, columns) brightness, 0 to 1."""

# The faces of a box: its normal, and the directions right and down, seen from outside.
_FACES = (
    ((0, 0, -1), (1, 0, 0), (0, 1, 0)), ((0, 0, 1), (-1, 0, 0), (0, 1, 0)),
    ((-1, 0, 0), (0, 0, -1), (0, 1, 0)), ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((0, -1, 0), (1, 0, 0), (0, 0, -1)), ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Patch:
    """A textured rectangle, seen from both sides.

    centre   (3,) metres             right    (3,) from the centre to the middle of the right side
    down     (3,) from the centre to the middle of the lower side, at a right angle to `right`
    texture  (rows, columns) float32, 0 to 1, interpolated between pixels

    Raises ConfigError for sides of length 0 or not at a right angle, ShapeError for other textures.

        checks = np.indices((8, 8)).sum(0) % 2.0  # a board of 8x8 fields
        wall = dvskit.scenes.Patch(
            centre=[0, 0, 2], right=[1, 0, 0], down=[0, 1, 0], texture=checks.astype(np.float32)
        )
        scene = dvskit.scenes.PlaneScene([wall], size=(64, 48))
    """

    centre: Any
    right: Any
    down: Any
    texture: Any

    def __post_init__(self) -> None:
        for name in ("centre", "right", "down"):
            vector = np.array(getattr(self, name), np.float64)
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise ConfigError(f"Patch: {name} must be three finite numbers, x y z in metres")
            object.__setattr__(self, name, vector)
        lengths = np.linalg.norm(self.right) * np.linalg.norm(self.down)
        if not lengths > 0 or abs(self.right @ self.down) > 1e-6 * lengths:
            raise ConfigError("Patch: right and down must be longer than 0 and at a right angle")
        texture = np.ascontiguousarray(self.texture, np.float32)
        if texture.ndim != 2 or min(texture.shape) < 2:
            raise ShapeError(
                f"Patch: a texture of shape {texture.shape} must be (rows, columns), at least 2x2"
            )
        object.__setattr__(self, "texture", texture)


def box(
    centre: ArrayLike, sides_m: ArrayLike, textures: Sequence[Texture], turn: ArrayLike = (0, 0, 0)
) -> list[Patch]:
    """Return the six faces of a box: front, back, left, right, top, bottom.

    centre, sides_m  (3,) metres               turn  rotation vector in radians
    textures         of the faces in that order; they repeat if there are fewer

        texture = np.random.default_rng(0).random((16, 16), dtype=np.float32)
        faces = dvskit.scenes.box([0, 0, 2], [0.5, 0.5, 0.5], [texture])  # 6 patches
        scene = dvskit.scenes.PlaneScene(faces, size=(64, 48))
    """
    rotation = rotation_of(np.array(turn, float))
    middle, half = np.array(centre, float), np.array(sides_m, float) / 2
    return [
        Patch(
            middle + rotation @ (half * normal),
            rotation @ (half * right),
            rotation @ (half * down),
            textures[number % len(textures)],
        )
        for number, (normal, right, down) in enumerate(np.array(_FACES, float))
    ]


def noise_texture(
    rng: np.random.Generator, shape: tuple[int, int], *, grain_px: float = 4.0
) -> Texture:
    """Return smooth random blotches, about `grain_px` texture pixels wide, from 0.1 to 0.9."""
    noise = rng.standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain_px / 2)
    ranks = smooth.ravel().argsort().argsort().reshape(shape)  # all shades, equally often
    return (0.1 + 0.8 * ranks / max(ranks.size - 1, 1)).astype(np.float32)


def polygon_texture(rng: np.random.Generator, shape: tuple[int, int]) -> Texture:
    """Return filled polygons of random shades on gray, with anti-aliased edges.

    They are 16 to 70 texture pixels wide, and cover about half of it.
    """
    rows, columns = shape
    image = np.full((rows, columns), 0.5 * 255, np.uint8)
    for _ in range(max(4, rows * columns // 1500)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(8, 35)
        points += rng.uniform((0, 0), (columns, rows))
        shade = int(rng.choice((rng.uniform(15, 90), rng.uniform(165, 240))))
        fixed = np.round(points * 16).astype(np.int32)
        cv2.fillPoly(image, [fixed], shade, cv2.LINE_AA, 4)
    return (image / 255).astype(np.float32)
