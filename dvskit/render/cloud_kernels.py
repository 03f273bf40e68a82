"""Loops over events and pixels for pictures of clouds: lines, text, colors, points."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def stroke(
    ends: NDArray[np.float64],  # (n, 4): u, v of the starts and of the ends
    half: float,
    color: NDArray[np.float64],
    picture: NDArray[np.uint8],
) -> None:
    """Draw lines with round ends, 2 * half wide.

    The coverage of a pixel is the depth of its center inside the line: half + 1/2 - distance,
    clipped to 0 and 1; lines thinner than a pixel are fainter in proportion.
    """
    height, width = picture.shape[0], picture.shape[1]
    for n in range(len(ends)):
        u0, v0 = ends[n, 0], ends[n, 1]
        along_u, along_v = ends[n, 2] - u0, ends[n, 3] - v0
        square = along_u * along_u + along_v * along_v
        steep = abs(along_v) > abs(along_u)
        # Rows of a steep line, columns of a flat one: m runs along it, w across it.
        m0, w0, along_m, along_w = u0, v0, along_u, along_v
        size_m, size_w = width, height
        if steep:
            m0, w0, along_m, along_w = v0, u0, along_v, along_u
            size_m, size_w = height, width
        reach = (half + 1.0) * 1.4143
        low = max(0, math.floor(min(m0, m0 + along_m) - reach))
        high = min(size_m, math.ceil(max(m0, m0 + along_m) + reach))
        for m in range(low, high):
            share = (m + 0.5 - m0) / along_m if along_m != 0.0 else 0.0
            middle = w0 + min(max(share, 0.0), 1.0) * along_w
            first = max(0, math.floor(middle - reach))
            last = min(size_w, math.ceil(middle + reach))
            for w in range(first, last):
                u, v = (w, m) if steep else (m, w)
                du, dv = u + 0.5 - u0, v + 0.5 - v0
                place = (du * along_u + dv * along_v) / square if square > 0.0 else 0.0
                place = min(max(place, 0.0), 1.0)
                away = math.hypot(du - place * along_u, dv - place * along_v)
                cover = min(max(half + 0.5 - away, 0.0), 1.0) * min(1.0, 2.0 * half)
                if cover > 0.0:
                    for c in range(3):
                        was = picture[v, u, c]
                        picture[v, u, c] = int(was + (color[c] - was) * cover + 0.5)


@njit(cache=True, nogil=True)
def tint(
    mask: NDArray[np.uint8],
    top: int,
    left: int,
    color: NDArray[np.float64],
    picture: NDArray[np.uint8],
) -> None:
    """Blend a color into a picture with the opacity of a mask (255: opaque)."""
    for v in range(max(0, -top), min(mask.shape[0], picture.shape[0] - top)):
        for u in range(max(0, -left), min(mask.shape[1], picture.shape[1] - left)):
            if mask[v, u]:
                share = mask[v, u] / 255.0
                for c in range(3):
                    was = picture[top + v, left + u, c]
                    value = was + (color[c] - was) * share + 0.5
                    picture[top + v, left + u, c] = int(value)


@njit(cache=True, nogil=True)
def time_levels(
    t: NDArray[np.int64], start_us: int, per_us: float, index: NDArray[np.uint8]
) -> None:
    """Set index to (t - start_us) * per_us, truncated."""
    for i in range(len(t)):
        index[i] = int(float(t[i] - start_us) * per_us)


@njit(cache=True, nogil=True)
def count(x: NDArray[np.int16], y: NDArray[np.int16], counts: NDArray[np.int64]) -> None:
    """Add the events of each pixel to `counts` (height, width)."""
    for i in range(len(x)):
        counts[y[i], x[i]] += 1


@njit(cache=True, nogil=True)
def count_levels(counts: NDArray[np.int64], log_most: float, levels: NDArray[np.uint8]) -> None:
    """Set levels (height, width) to round(255 log n / log_most); 0 for n = 0."""
    for v in range(counts.shape[0]):
        for u in range(counts.shape[1]):
            if counts[v, u] > 0:
                levels[v, u] = int(255.0 * math.log(float(counts[v, u])) / log_most + 0.5)


@njit(cache=True, nogil=True)
def pick(
    x: NDArray[np.int16], y: NDArray[np.int16], levels: NDArray[np.uint8], index: NDArray[np.uint8]
) -> None:
    """Give each event the level of its pixel."""
    for i in range(len(x)):
        index[i] = levels[y[i], x[i]]


@njit(cache=True, nogil=True)
def look_up(picture: NDArray[np.uint8], table: NDArray[np.uint8], index: NDArray[np.uint8]) -> None:
    """Set index to the table's (32, 32, 32) entry for the upper five bits of each color."""
    for v in range(picture.shape[0]):
        for u in range(picture.shape[1]):
            index[v, u] = table[picture[v, u, 0] >> 3, picture[v, u, 1] >> 3, picture[v, u, 2] >> 3]


_STEPS = 16777213.0  # 2^24 - 3: nearness is 1..2^24 - 2
_AT_ONCE = 512
Points = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.uint8]]
"""t, x and y of events, and the indices of their colors."""
CameraAndLens = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The camera, (3, 4): rows right, up and nearness 0..1; columns t - start_us, x, y and 1. And the
lens, (5,): scale, center_u, center_v, farthest depth, depth of the box.
"""


@njit(cache=True, nogil=True, error_model="numpy")
def _project(
    points: Points,
    start_us: int,
    view: CameraAndLens,
    v: NDArray[np.int32],
    u: NDArray[np.int32],
    keys: NDArray[np.uint32],
) -> None:
    """Write the positions of events in a picture, and their values."""
    (t, x, y, index), (to_camera, lens) = points, view
    a0, a1, a2, a3 = to_camera[0, 0], to_camera[0, 1], to_camera[0, 2], to_camera[0, 3]
    b0, b1, b2, b3 = to_camera[1, 0], to_camera[1, 1], to_camera[1, 2], to_camera[1, 3]
    c0, c1, c2, c3 = to_camera[2, 0], to_camera[2, 1], to_camera[2, 2], to_camera[2, 3]
    scale, center_u, center_v, far, reach = lens[0], lens[1], lens[2], lens[3], lens[4]
    for i in range(len(t)):
        time, column, row = float(t[i] - start_us), float(x[i]), float(y[i])
        near = c0 * time + c1 * column + c2 * row + c3
        by = scale / (far - near * reach)
        u[i] = np.int32(math.floor(center_u + by * (a0 * time + a1 * column + a2 * row + a3)))
        v[i] = np.int32(math.floor(center_v - by * (b0 * time + b1 * column + b2 * row + b3)))
        steps = np.uint32(np.int32(1.0 + near * _STEPS))
        keys[i] = (steps << np.uint32(8)) | (np.uint32(255) - np.uint32(index[i]))


@njit(cache=True, nogil=True)
def splat(
    points: Points,
    start_us: int,
    view: CameraAndLens,
    brush: NDArray[np.int64],  # (k, 2): offsets dv, du of the pixels of a point
    nearest: NDArray[np.uint32],
) -> None:
    """Draw events into a buffer (height, width) of the nearest one.

    A value encodes an event: its nearness, from 1 on, in the upper 24 bits, and 255 less its color
    in the lower 8. So the nearest has the highest value, and of equally near ones the one with the
    first color; 0 means none.
    """
    t, x, y, index = points
    height, width = nearest.shape
    flat = nearest.reshape(height * width)
    low_v, high_v = -brush[:, 0].min(), height - brush[:, 0].max()
    low_u, high_u = -brush[:, 1].min(), width - brush[:, 1].max()
    offsets = brush[:, 0] * width + brush[:, 1]
    # Positions of some events are computed first, vectorized. Then they are written, so that many
    # memory accesses overlap; always, because a branch would be mispredicted.
    v, u = np.empty(_AT_ONCE, np.int32), np.empty(_AT_ONCE, np.int32)
    keys = np.empty(_AT_ONCE, np.uint32)
    for start in range(0, len(t), _AT_ONCE):
        count = min(_AT_ONCE, len(t) - start)
        at = slice(start, start + count)
        _project((t[at], x[at], y[at], index[at]), start_us, view, v, u, keys)
        for i in range(count):
            key = keys[i]
            if low_v <= v[i] < high_v and low_u <= u[i] < high_u:
                base = np.int64(v[i]) * width + u[i]
                for k in range(len(offsets)):
                    place = np.uint64(base + offsets[k])
                    flat[place] = max(flat[place], key)
                continue
            for k in range(len(brush)):
                a, b = v[i] + brush[k, 0], u[i] + brush[k, 1]
                if 0 <= a < height and 0 <= b < width:
                    nearest[a, b] = max(nearest[a, b], key)


@njit(cache=True, nogil=True)
def spread(
    # (parts, height + 2 reach, width + 2 reach): points of one pixel, as written by splat
    marked: NDArray[np.uint32],
    reach: int,
    brush: NDArray[np.int64],
    first: int,
    nearest: NDArray[np.uint32],
) -> None:
    """Fill rows from `first` on of a buffer with the result of `splat` with that brush.

    The nearest of the events that reach a pixel is the greatest mark around it.
    """
    width = nearest.shape[1]
    for a in range(nearest.shape[0]):
        into = nearest[a]
        for k in range(len(brush)):
            row, column = first + a + reach - brush[k, 0], reach - brush[k, 1]
            for part in range(marked.shape[0]):
                marks = marked[part, row, column : column + width]
                for b in range(width):
                    into[b] = max(into[b], marks[b])


@njit(cache=True, nogil=True)
def _merge(nearest: NDArray[np.uint32], first: int, rows: NDArray[np.uint32]) -> None:
    """Set rows to the nearest of all layers in as many rows from `first` on."""
    for a in range(rows.shape[0]):
        into, layer = rows[a], nearest[0, first + a]
        for b in range(len(into)):
            into[b] = layer[b]
        for part in range(1, nearest.shape[0]):
            layer = nearest[part, first + a]
            for b in range(len(into)):
                into[b] = max(into[b], layer[b])


@njit(cache=True, nogil=True, inline="always")
def _add(
    rows: NDArray[np.uint32], u: int, shades: NDArray[np.float32], total: NDArray[np.float32]
) -> int:
    """Set total to the sum of the colors in a column of pixels; return how many are covered."""
    total[:] = 0
    covered = 0
    factor = rows.shape[0]
    for a in range(factor):
        for b in range(u * factor, u * factor + factor):
            key = rows[a, b]
            if key:
                color = shades[key >> np.uint32(26), 255 - (key & np.uint32(255))]
                for c in range(3):
                    total[c] += color[c]
                covered += 1
    return covered


@njit(cache=True, nogil=True)
def shade(
    nearest: NDArray[np.uint32],  # (parts, factor * height, factor * width), as written by splat
    factor: int,
    shades: NDArray[np.float32],  # (64, 256, 3): the palette at each of 64 steps of nearness
    picture: NDArray[
        np.uint8
    ],  # (height, width, 3): drawn over; (height, width, 4): on transparency
) -> None:
    """Average blocks of factor x factor pixels of the buffers over `picture`."""
    area = factor * factor
    half = np.float32(0.5)
    alone = picture.shape[2] == 4
    rows = np.empty((factor, nearest.shape[2]), np.uint32)
    total = np.empty(3, np.float32)
    for v in range(picture.shape[0]):
        _merge(nearest, v * factor, rows)
        for u in range(picture.shape[1]):
            covered = _add(rows, u, shades, total)
            if covered and alone:
                for c in range(3):
                    picture[v, u, c] = np.uint8(total[c] / np.float32(covered) + half)
                picture[v, u, 3] = np.uint8(np.float32(255.0 / area) * covered + half)
            elif covered:
                for c in range(3):
                    rest = np.float32((area - covered) * picture[v, u, c])
                    picture[v, u, c] = np.uint8((total[c] + rest) / np.float32(area) + half)
