# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Removal of flicker between pictures, and the motion between them by point drift.

After Myronenko and Song 2010 (Point Set Registration: Coherent Point Drift): the points of the
second picture are drawn from Gaussians about the moved points of the first; their width shrinks
from step to step. In place of the paper's linear system, each point moves by the mean motion of its
neighbours, weighted by a Gaussian that narrows as well. This keeps limbs whole.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

STEPS = 8
_WIDE, _NARROW = 0.12, 0.025  # metres, of the Gaussians: the motion of a hand in a frame
_STIFF, _SOFT = 0.12, 0.05  # metres, of the neighbourhood that moves as one
_STRAYS = 0.3  # share of a point's weight for points without a counterpart
_REST = 0.3  # weight of points known to stand still
_DOUBT = 0.05


@njit(cache=True, nogil=True, fastmath=True)
def drift(points: Array, moves: Array, targets: Array) -> Array:
    """Return (N, 3) the motion of each of `points` (N, 3) onto `targets` (M, 3), in metres.

    Points excluded by `moves` (N,) stand still. All are float32.
    """
    n, m = len(points), len(targets)
    moved = np.zeros((n, 3), np.float32)
    pulled = np.empty((n, 3), np.float32)
    weights = np.empty(n, np.float32)
    share = np.empty(n, np.float32)
    near = np.empty((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            square = np.float32(0.0)
            for c in range(3):
                square += (points[i, c] - points[j, c]) ** 2
            near[i, j] = square
    for step in range(STEPS):
        part = step / (STEPS - 1)
        width = _WIDE * (_NARROW / _WIDE) ** part
        reach = _STIFF * (_SOFT / _STIFF) ** part
        sharp = np.float32(0.5 / (width * width))
        pulled[:] = 0
        weights[:] = 0
        for j in range(m):
            total = np.float32(_STRAYS)
            for i in range(n):
                square = np.float32(0.0)
                for c in range(3):
                    square += (points[i, c] + moved[i, c] - targets[j, c]) ** 2
                square *= sharp
                share[i] = math.exp(-square) if square < 8 else np.float32(0.0)
                total += share[i]
            for i in range(n):
                if share[i] > 0:
                    weight = share[i] / total
                    weights[i] += weight
                    for c in range(3):
                        pulled[i, c] += weight * (targets[j, c] - points[i, c])
        sharp = np.float32(0.5 / (reach * reach))
        for i in range(n):
            if not moves[i]:
                continue
            x = y = z = np.float32(0.0)
            total = np.float32(_DOUBT)
            for j in range(n):
                square = near[i, j] * sharp
                if square > 5:
                    continue
                weight = math.exp(-square)
                if not moves[j]:
                    total += _REST * weight
                    continue
                total += weight * weights[j]
                x += weight * pulled[j, 0]
                y += weight * pulled[j, 1]
                z += weight * pulled[j, 2]
            moved[i, 0], moved[i, 1], moved[i, 2] = x / total, y / total, z / total
    return moved


@njit(cache=True, nogil=True)
def spread(
    depth: Array, inside: Array, places: tuple[Array, Array], flow: Array, near_m: float, out: Array
) -> None:
    """Fill `out` (H, W, 2) from the flow (N, 2) of some pixels, each at a row and a column.

    A pixel takes the mean of pixels within 3 px at about the same depth.
    """
    height, width = depth.shape
    rows, columns = places
    weights = np.zeros((height, width), np.float32)
    out[:] = 0
    for i in range(len(rows)):
        row, column = rows[i], columns[i]
        for y in range(max(0, row - 3), min(height, row + 4)):
            for x in range(max(0, column - 3), min(width, column + 4)):
                if not inside[y, x]:
                    continue
                apart = (depth[y, x] - depth[row, column]) / near_m
                square = ((x - column) ** 2 + (y - row) ** 2) / 4 + apart * apart
                weight = math.exp(-square)
                weights[y, x] += weight
                out[y, x, 0] += weight * flow[i, 0]
                out[y, x, 1] += weight * flow[i, 1]
    for y in range(height):
        for x in range(width):
            if weights[y, x] > 1e-6:
                out[y, x, 0] /= weights[y, x]
                out[y, x, 1] /= weights[y, x]


@njit(cache=True, nogil=True, fastmath=True)
def steady(values: Array, reach: int, jump: float, slack: float) -> Array:
    """Return (T, N) values averaged over `reach` frames each way, and then held.

    The average excludes values that differ by much more than `jump`: motion. Weights fall with the
    distance in time like a Gaussian's, to its two sigma, and by (1 + (difference / jump)^2)^-2. The
    remaining flicker is held: the result follows only values outside a band of +-slack around it.
    """
    frames, count = values.shape
    mean = np.empty_like(values)
    total = np.empty(count, np.float32)
    weights = np.empty(count, np.float32)
    sharp = np.float32(1 / (jump * jump))
    one = np.float32(1.0)
    for k in range(frames):
        total[:] = 0
        weights[:] = 0
        for j in range(max(0, k - reach), min(frames, k + reach + 1)):
            window = np.float32(math.exp(-2.0 * (j - k) ** 2 / max(1, reach * reach)))
            for n in range(count):
                apart = values[j, n] - values[k, n]
                weight = one + apart * apart * sharp
                weight = window / (weight * weight)
                weights[n] += weight
                total[n] += weight * values[j, n]
        for n in range(count):
            mean[k, n] = total[n] / weights[n]
    _hold(mean, np.float32(slack))
    return mean


@njit(cache=True, nogil=True)
def _hold(values: Array, slack: float) -> None:
    """Let each of (T, N) values follow only values outside a band of +-slack around the last."""
    frames, count = values.shape
    # It begins in the middle of the first values, up to the frame where they exceed the band.
    low, high = values[0].copy(), values[0].copy()
    open_ = np.ones(count, np.bool_)
    for k in range(1, frames):
        for n in range(count):
            if open_[n]:
                least, most = min(low[n], values[k, n]), max(high[n], values[k, n])
                if most - least > 2 * slack:
                    open_[n] = False
                else:
                    low[n], high[n] = least, most
    held = (low + high) / 2
    for k in range(frames):
        for n in range(count):
            held[n] = min(max(held[n], values[k, n] - slack), values[k, n] + slack)
            values[k, n] = held[n]
