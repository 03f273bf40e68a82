"""Connected pixels of an image, and the recent pixels of a surface of latest times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

NEVER = np.iinfo(np.int64).min


@njit(cache=True, nogil=True, inline="always")
def _root(parent: Array, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True, boundscheck=False)
def label_runs(mask: Array, words: Array, labels: Array, runs: Array, parent: Array) -> int:
    """Fill `labels` with the 8-connected component of each pixel of a mask; return their number.

    mask    (H, W) uint8; labels (H, W) int32: 0 for a zero pixel, else from 1 on, in the order of
            the components' first pixels, row by row
    words   (H, W / 8) uint64, the same memory; (H, 0) if a row is not whole words
    runs    (n, 3) int32, room for all runs: row, first column, column after the last
    parent  (n + 1,) int32, room
    """
    height, width = mask.shape
    fast = words.shape[1]
    count, above, above_end = 0, 0, 0
    for y in range(height):
        first = count
        x = 0
        while x < width:
            if fast and x & 7 == 0 and words[y, x >> 3] == 0:
                x += 8
                continue
            if mask[y, x] == 0:
                x += 1
                continue
            start = x
            while x < width and mask[y, x] != 0:
                x += 1
            runs[count, 0], runs[count, 1], runs[count, 2] = y, start, x
            parent[count] = count
            while above < above_end and runs[above, 2] < start:
                above += 1
            other = above
            while other < above_end and runs[other, 1] <= x:
                one, two = _root(parent, other), _root(parent, count)
                if one < two:
                    parent[two] = one
                else:
                    parent[one] = two
                other += 1
            count += 1
        above, above_end = first, count
    found = 0
    labels[:] = 0
    for k in range(count):  # a root comes before its other runs
        if parent[k] == k:
            found += 1
            parent[k] = -found
        else:
            up = parent[k]
            parent[k] = up if up < 0 else parent[up]
        for x in range(runs[k, 1], runs[k, 2]):
            labels[runs[k, 0], x] = -parent[k]
    return found


@njit(cache=True, nogil=True)
def add_events(
    t: Array, x: Array, y: Array, p: Array, latest: Array, on: Array, rows: Array, counts: Array
) -> None:
    """Enter events in time order.

    latest, on  (H, W) int64 and bool: the latest time and polarity of each pixel
    rows        (H,) int64: the latest time of each row
    counts      (2, H, W) uint8: the events of each polarity and pixel, at most 255
    """
    for i in range(len(t)):
        a, b, sign = x[i], y[i], np.int64(p[i])
        latest[b, a] = t[i]
        on[b, a] = p[i]
        rows[b] = t[i]
        if counts[sign, b, a] < 255:
            counts[sign, b, a] += 1


@njit(cache=True, nogil=True)
def supported_pixels(
    surface: tuple[Array, Array, Array], counts: Array, since: int, least: int, most: int,
    mask: Array, found: Array,
) -> int:  # fmt: skip
    """Mark the pixels whose latest event has company; return how many.

    surface  as in `add_events`
    counts   (2, H, W) uint16, events since the time `since`; of a pixel at most `most` count
    least    events of the same polarity in 3x3 pixels that are company
    mask     (H, W) uint8, filled with 0 and 1
    found    (4, H * W) int64, room for t, x, y and polarity
    """
    latest, on, rows = surface
    height, width = latest.shape
    count = 0
    for y in range(height):
        mask[y] = 0
        if rows[y] < since:
            continue
        for x in range(width):
            if latest[y, x] < since:
                continue
            sign, near = np.int64(on[y, x]), 0
            for b in range(max(y - 1, 0), min(y + 2, height)):
                for a in range(max(x - 1, 0), min(x + 2, width)):
                    near += min(counts[sign, b, a], most)
            if near < least:
                continue
            mask[y, x] = 1
            found[0, count], found[1, count], found[2, count] = latest[y, x], x, y
            found[3, count] = sign
            count += 1
    return count
