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


@njit(cache=True, nogil=True, inline="always")
def _set_pixels(
    mask: Array, words: Array, y: int, places: Array, count: int
) -> int:  # fmt: skip
    """Append the columns of the nonzero pixels of a row; return how many there are so far."""
    width = mask.shape[1]
    for w in range(words.shape[1]):
        if words[y, w] != 0:
            for x in range(8 * w, 8 * w + 8):
                places[count] = x  # no branch on the pixel: noise makes it a coin toss
                count += mask[y, x] != 0
    for x in range(8 * words.shape[1], width):
        places[count] = x
        count += mask[y, x] != 0
    return count


@njit(cache=True, nogil=True, boundscheck=False)
def label_pixels(
    mask: Array, words: Array, labels: Array, places: Array, ends: Array, parent: Array
) -> int:
    """Fill `labels` with the 8-connected component of each pixel of a mask; return their number.

    mask    (H, W) uint8
    labels  (H, W) int32: 0 for a zero pixel, else from 1 on, in the order of the components' first
            pixels, row by row
    words   (H, W / 8) uint64, the same memory; (H, 0) if a row is not whole words
    places  (H * W + 1,) int32, room for the columns of the nonzero pixels
    ends    (H + 1,) int64, room for where those of each row begin
    parent  (H * W + 1,) int32, room for a forest of labels; a root is the least label of its tree
    """
    height, width = mask.shape
    labels[:] = 0
    last = count = 0
    for y in range(height):
        ends[y] = first = count
        count = _set_pixels(mask, words, y, places, count)
        for k in range(first, count):
            x = places[k]
            left = labels[y, x - 1] if x > 0 else 0
            above_left = above = above_right = 0
            if y > 0:
                above = labels[y - 1, x]
                above_left = labels[y - 1, x - 1] if x > 0 else 0
                above_right = labels[y - 1, x + 1] if x + 1 < width else 0
            if above:  # it touches the three others
                labels[y, x] = above
                continue
            left = above_left or left  # these touch
            if left and above_right and left != above_right:
                one, two = _root(parent, left), _root(parent, above_right)
                parent[max(one, two)] = min(one, two)
            if not (left or above_right):
                last += 1
                left = parent[last] = last
            labels[y, x] = left or above_right
    ends[height] = count
    found = 0
    for k in range(1, last + 1):  # a root comes before its tree
        if parent[k] == k:
            found += 1
            parent[k] = found
        else:
            parent[k] = parent[parent[k]]
    for y in range(height):
        for k in range(ends[y], ends[y + 1]):
            labels[y, places[k]] = parent[labels[y, places[k]]]
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
