# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""A person between two depth pictures: each is moved its share of the way, and both are joined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_BAND_PX = 3.0  # about the outline that moves with it
_NOWHERE = np.float32(1e9)
_ALIKE_M, _APART_M = 0.05, 0.12  # layers so far apart are one, are two
_FAR_OUT = np.float32(-3.0)


@njit(cache=True, nogil=True)
def _land(
    depth: Array, outline: Array, flow: Array, share: float, near: Array, moved: Array
) -> None:
    """Move each pixel `share` of its flow; of those that land on one, the nearest stays.

    Fills `near` (H, W) with its depth, _NOWHERE where none lands, and `moved` (H, W, 2).
    """
    height, width = depth.shape
    near[:] = _NOWHERE
    moved[:] = 0
    for y in range(height):
        for x in range(width):
            if outline[y, x] < -_BAND_PX:
                continue
            # What lies beyond the outline gives way to any body.
            own = depth[y, x] + (np.float32(0.0) if outline[y, x] > -0.5 else np.float32(0.3))
            dx, dy = share * flow[y, x, 0], share * flow[y, x, 1]
            if dx == 0 and dy == 0:
                if own < near[y, x]:
                    near[y, x] = own
                    moved[y, x, 0] = 0
                    moved[y, x, 1] = 0
                continue
            left, top = math.floor(x + dx), math.floor(y + dy)
            for row in range(top, top + 2):
                for column in range(left, left + 2):
                    if not (0 <= row < height and 0 <= column < width):
                        continue
                    off = abs(x + dx - column) + abs(y + dy - row)
                    if own + 0.03 * off < near[row, column]:
                        near[row, column] = own + 0.03 * off
                        moved[row, column, 0] = dx
                        moved[row, column, 1] = dy


@njit(cache=True, nogil=True)
def _close(near: Array, moved: Array, out_near: Array, out_moved: Array) -> None:
    """Fill the gaps that open where neighbours move apart: a pixel with 3 of 4 about it."""
    height, width = near.shape
    for y in range(height):
        for x in range(width):
            out_near[y, x] = near[y, x]
            out_moved[y, x, 0] = moved[y, x, 0]
            out_moved[y, x, 1] = moved[y, x, 1]
            if near[y, x] < _NOWHERE or not (0 < y < height - 1 and 0 < x < width - 1):
                continue
            count = 0
            best = _NOWHERE
            dx = dy = np.float32(0.0)
            for side in range(4):
                row = y + (1 if side == 0 else -1 if side == 1 else 0)
                column = x + (1 if side == 2 else -1 if side == 3 else 0)
                if near[row, column] < _NOWHERE:
                    count += 1
                    best = min(best, near[row, column])
                    dx += moved[row, column, 0]
                    dy += moved[row, column, 1]
            if count >= 3:
                out_near[y, x] = best
                out_moved[y, x, 0] = dx / count
                out_moved[y, x, 1] = dy / count


@njit(cache=True, nogil=True)
def _sample(image: Array, x: float, y: float) -> float:
    height, width = image.shape
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    left, top = int(x), int(y)
    fx, fy = x - left, y - top
    above = image[top, left] * (1 - fx) + image[top, left + 1] * fx
    below = image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx
    return above * (1 - fy) + below * fy


@njit(cache=True, nogil=True)
def _taken(
    outline: Array, light: Array, x: int, y: int, dx: float, dy: float
) -> tuple[float, float]:
    """Return the distance, cut to 3 px, and the light of what was moved to a pixel."""
    if dx == 0 and dy == 0:
        distance, shine = outline[y, x], light[y, x]
    else:
        distance, shine = _sample(outline, x - dx, y - dy), _sample(light, x - dx, y - dy)
    return max(_FAR_OUT, min(-_FAR_OUT, distance)), shine


@njit(cache=True, nogil=True)
def between(
    outlines: Array, depths: Array, lights: Array, motion: tuple[Array, Array], share: float,
    drawn: Array,
) -> None:  # fmt: skip
    """Fill `drawn` (H, W, 2), distance and light, at `share` of the way between two frames.

    outlines, depths, lights are (2, H, W); `motion`, (H, W, 2) each, is from the first to the
    second and from the second to the first. Where both frames show one layer, it is their
    mean; where of two, the nearer one wins in the middle and gives way towards the frame in which
    it is not: at a share of 0 and 1 the result is that frame itself.
    """
    height, width = depths.shape[1:]
    onward, back = motion
    near = np.empty((2, height, width), np.float32)
    moved = np.empty((2, height, width, 2), np.float32)
    raw_near = np.empty((height, width), np.float32)
    raw_moved = np.empty((height, width, 2), np.float32)
    _land(depths[0], outlines[0], onward, share, raw_near, raw_moved)
    _close(raw_near, raw_moved, near[0], moved[0])
    _land(depths[1], outlines[1], back, 1 - share, raw_near, raw_moved)
    _close(raw_near, raw_moved, near[1], moved[1])
    for y in range(height):
        for x in range(width):
            if near[0, y, x] == _NOWHERE and near[1, y, x] == _NOWHERE:
                drawn[y, x, 0] = _FAR_OUT
                drawn[y, x, 1] = 0
                continue
            d0 = d1 = _FAR_OUT
            l0 = l1 = np.float32(0.0)
            if near[0, y, x] < _NOWHERE:
                d0, l0 = _taken(outlines[0], lights[0], x, y, moved[0, y, x, 0], moved[0, y, x, 1])
            if near[1, y, x] < _NOWHERE:
                d1, l1 = _taken(outlines[1], lights[1], x, y, moved[1, y, x, 0], moved[1, y, x, 1])
            apart = abs(near[0, y, x] - near[1, y, x])
            two = min(max((apart - _ALIKE_M) / (_APART_M - _ALIKE_M), 0.0), 1.0)
            if near[0, y, x] < near[1, y, x]:
                front = 1 - min(1.0, 2 * (1 - share))
            else:
                front = min(1.0, 2 * share)
            weight = (1 - two) * share + two * front
            drawn[y, x, 0] = (1 - weight) * d0 + weight * d1
            # A layer that is not there lends no light.
            w0 = (1 - weight) * min(max(d0 + 1.5, 0.0), 1.0)
            w1 = weight * min(max(d1 + 1.5, 0.0), 1.0)
            if w0 + w1 > 0:
                drawn[y, x, 1] = (w0 * l0 + w1 * l1) / (w0 + w1)
            else:
                drawn[y, x, 1] = l0 if share < 0.5 else l1
