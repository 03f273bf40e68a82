"""Loops over events and pixels for still pictures."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

EMPTY = np.float32(np.inf)


@njit(cache=True, nogil=True)
def splat(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    first: int,
    start_us: int,
    # (3, 4): rows right, up and depth; columns t - start_us, x, y and 1
    to_camera: NDArray[np.float64],
    lens: NDArray[np.float64],  # (3,): scale, centre_u, centre_v
    brush: NDArray[np.int64],  # (k, 2): offsets dv, du of the pixels of a point
    depth: NDArray[np.float32],
    owner: NDArray[np.int32],
) -> None:
    """Draw events into a depth buffer (height, width); `owner` gets first + index of the nearest.

    Of events at the same depth, the one with the lower index stays.
    """
    height, width = depth.shape
    for i in range(len(t)):
        time = float(t[i] - start_us)
        column = float(x[i])
        row = float(y[i])
        d = to_camera[2, 0] * time + to_camera[2, 1] * column + to_camera[2, 2] * row
        d += to_camera[2, 3]
        if d <= 0.0:
            continue
        right = to_camera[0, 0] * time + to_camera[0, 1] * column + to_camera[0, 2] * row
        up = to_camera[1, 0] * time + to_camera[1, 1] * column + to_camera[1, 2] * row
        u = int(np.floor(lens[1] + lens[0] * (right + to_camera[0, 3]) / d))
        v = int(np.floor(lens[2] - lens[0] * (up + to_camera[1, 3]) / d))
        near = np.float32(d)
        for k in range(len(brush)):
            a = v + brush[k, 0]
            b = u + brush[k, 1]
            if 0 <= a < height and 0 <= b < width and near < depth[a, b]:
                depth[a, b] = near
                owner[a, b] = first + i


@njit(cache=True, nogil=True)
def merge(
    depth: NDArray[np.float32],
    owner: NDArray[np.int32],
    other_depth: NDArray[np.float32],
    other_owner: NDArray[np.int32],
) -> None:
    """Merge a depth buffer of later events into `depth`, `owner`: the earlier wins a tie."""
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            if other_depth[v, u] < depth[v, u]:
                depth[v, u] = other_depth[v, u]
                owner[v, u] = other_owner[v, u]


@njit(cache=True, nogil=True)
def shade(
    depth: NDArray[np.float32],
    owner: NDArray[np.int32],
    index: NDArray[np.uint8],
    palette: NDArray[np.uint8],
    haze: NDArray[np.float64],  # (4,): nearest, farthest depth, the share of ground there, factor
    ground: NDArray[np.float64],  # (3,): the colour that far points fade into
    picture: NDArray[np.uint8],  # (height / factor, width / factor, 3): drawn over
) -> None:
    """Average blocks of factor x factor pixels of the buffers over `picture`."""
    near, far, share = haze[0], haze[1], haze[2]
    factor = int(haze[3])
    area = factor * factor
    for v in range(picture.shape[0]):
        for u in range(picture.shape[1]):
            red, green, blue = 0.0, 0.0, 0.0
            hits = 0
            for a in range(v * factor, v * factor + factor):
                for b in range(u * factor, u * factor + factor):
                    if owner[a, b] < 0:
                        continue
                    fog = share * min(1.0, max(0.0, (depth[a, b] - near) / (far - near)))
                    colour = palette[index[owner[a, b]]]
                    red += colour[0] * (1.0 - fog) + ground[0] * fog
                    green += colour[1] * (1.0 - fog) + ground[1] * fog
                    blue += colour[2] * (1.0 - fog) + ground[2] * fog
                    hits += 1
            if hits:
                rest = area - hits
                picture[v, u, 0] = int((red + picture[v, u, 0] * rest) / area + 0.5)
                picture[v, u, 1] = int((green + picture[v, u, 1] * rest) / area + 0.5)
                picture[v, u, 2] = int((blue + picture[v, u, 2] * rest) / area + 0.5)


@njit(cache=True, nogil=True)
def count(x: NDArray[np.int16], y: NDArray[np.int16], counts: NDArray[np.int64]) -> None:
    """Add the events of each pixel to `counts` (height, width)."""
    for i in range(len(x)):
        counts[y[i], x[i]] += 1


@njit(cache=True, nogil=True)
def count_levels(counts: NDArray[np.int64], log_most: float, levels: NDArray[np.uint8]) -> None:
    """Set levels (height, width) to round(255 log n / log_most); 0 where n is 0."""
    for v in range(counts.shape[0]):
        for u in range(counts.shape[1]):
            if counts[v, u] > 0:
                levels[v, u] = int(255.0 * math.log(float(counts[v, u])) / log_most + 0.5)


@njit(cache=True, nogil=True)
def pick(
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    levels: NDArray[np.uint8],
    index: NDArray[np.uint8],
) -> None:
    """Give each event the level of its pixel."""
    for i in range(len(x)):
        index[i] = levels[y[i], x[i]]
