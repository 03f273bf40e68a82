"""Loops over events and pixels for still pictures."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def stroke(
    ends: NDArray[np.float64],  # (n, 4): u, v of the starts and of the ends
    half: float,
    colour: NDArray[np.float64],
    picture: NDArray[np.uint8],
) -> None:
    """Draw lines with round ends, 2 * half wide.

    A pixel is covered by how far its middle is inside the line: half + 1/2 - distance, within 0
    and 1; lines thinner than a pixel are as much fainter.
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
                        picture[v, u, c] = int(was + (colour[c] - was) * cover + 0.5)


@njit(cache=True, nogil=True)
def tint(
    mask: NDArray[np.uint8],
    top: int,
    left: int,
    colour: NDArray[np.float64],
    picture: NDArray[np.uint8],
) -> None:
    """Lay a colour over a picture where a mask lies, as much as it says (255: wholly)."""
    for v in range(max(0, -top), min(mask.shape[0], picture.shape[0] - top)):
        for u in range(max(0, -left), min(mask.shape[1], picture.shape[1] - left)):
            if mask[v, u]:
                share = mask[v, u] / 255.0
                for c in range(3):
                    was = picture[top + v, left + u, c]
                    value = was + (colour[c] - was) * share + 0.5
                    picture[top + v, left + u, c] = int(value)


@njit(cache=True, nogil=True)
def time_levels(
    t: NDArray[np.int64], start_us: int, per_us: float, index: NDArray[np.uint8]
) -> None:
    """Set index to (t - start_us) * per_us, cut to a whole number."""
    for i in range(len(t)):
        index[i] = int(float(t[i] - start_us) * per_us)


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


@njit(cache=True, nogil=True)
def look_up(picture: NDArray[np.uint8], table: NDArray[np.uint8], index: NDArray[np.uint8]) -> None:
    """Set index to the table's (32, 32, 32) entry for the upper five bits of each colour."""
    for v in range(picture.shape[0]):
        for u in range(picture.shape[1]):
            index[v, u] = table[picture[v, u, 0] >> 3, picture[v, u, 1] >> 3, picture[v, u, 2] >> 3]
