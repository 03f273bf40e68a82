"""Rays from a camera to the nearest of some textured rectangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_NOTHING = -1  # the number of the rectangle where a ray meets none
_NEAREST = 1e-6  # meters in front of the camera


@njit(cache=True, nogil=True)
def cast(
    origin: Array, rays: Array, frames: Array, shapes: Array, texels: Array, background: float
) -> tuple[Array, Array]:
    """Return the brightness (N,) float32 and the depth (N,) float64 that each ray meets.

    origin  (3,) of all rays             rays    (N, 3) directions; depth is in their lengths
    frames  (P, 4, 3) of each rectangle: center, right / |right|^2, down / |down|^2, normal
    shapes  (P, 3) of each texture: its first value in `texels`, rows, columns
    texels  all textures in sequence, float32

    Where a ray meets no rectangle, brightness is `background` and depth infinite.
    """
    count = len(rays)
    brightness = np.empty(count, np.float32)
    depth = np.empty(count, np.float64)
    for n in range(count):
        nearest, number, at_right, at_down = np.inf, _NOTHING, 0.0, 0.0
        for p in range(len(frames)):
            across = 0.0
            ahead = 0.0
            for k in range(3):
                across += frames[p, 3, k] * rays[n, k]
                ahead += frames[p, 3, k] * (frames[p, 0, k] - origin[k])
            if across == 0.0:
                continue
            far = ahead / across
            if far <= _NEAREST or far >= nearest:
                continue
            right = 0.0
            down = 0.0
            for k in range(3):
                off = origin[k] + far * rays[n, k] - frames[p, 0, k]
                right += off * frames[p, 1, k]
                down += off * frames[p, 2, k]
            if abs(right) <= 1.0 and abs(down) <= 1.0:
                nearest, number, at_right, at_down = far, p, right, down
        depth[n] = nearest
        if number == _NOTHING:
            brightness[n] = background
        else:
            first, rows, columns = shapes[number]
            brightness[n] = _texel(texels, first, rows, columns, at_right, at_down)
    return brightness, depth


@njit(cache=True, nogil=True, inline="always")
def _texel(texels: Array, first: int, rows: int, columns: int, right: float, down: float) -> float:
    """Return the texture at (right, down), each -1 to 1, between the middles of its pixels."""
    x = min(max((right + 1) * 0.5 * columns - 0.5, 0.0), columns - 1.0)
    y = min(max((down + 1) * 0.5 * rows - 0.5, 0.0), rows - 1.0)
    left, top = min(int(x), columns - 2), min(int(y), rows - 2)
    part_x, part_y = x - left, y - top
    at = first + top * columns + left
    upper = texels[at] * (1 - part_x) + texels[at + 1] * part_x
    lower = texels[at + columns] * (1 - part_x) + texels[at + columns + 1] * part_x
    return float(upper * (1 - part_y) + lower * part_y)
