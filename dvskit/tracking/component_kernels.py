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
def _nonzero(mask: Array, words: Array, places: Array) -> int:
    """Fill `places` with the indices of the nonzero values; return how many there are."""
    count = np.uint64(0)  # unsigned: an index below zero need not be looked for
    for w in range(len(words)):
        word = words[w]
        if word == 0:
            continue
        for k in range(8):  # no branch on a pixel: in noise, it is taken at random
            places[count] = 8 * w + k
            count += np.uint64(word & np.uint64(0xFF) != 0)
            word >>= np.uint64(8)
    for i in range(8 * len(words), len(mask)):
        places[count] = i
        count += np.uint64(mask[i] != 0)
    return int(count)


@njit(cache=True, nogil=True)
def label_pixels(
    mask: Array, words: Array, width: int, labels: Array, places: Array, parent: Array
) -> int:
    """Fill `labels` with the 8-connected component of each pixel of a mask; return their number.

    mask    (H * W,) uint8, row by row
    words   (H * W // 8,) uint64, little-endian, the same memory
    labels  (H * W,) int32: 0 for a zero pixel, else from 1 on, in the order of the components'
            first pixels
    places  (H * W + 1,) int32, room for the indices of the nonzero pixels
    parent  (H * W + 1,) int32, room for a forest of labels; a root is the least label of its tree
    """
    labels[:] = 0
    count = _nonzero(mask, words, places)
    last, begin = 0, 0
    for k in range(count):
        i = places[k]
        while i >= begin + width:
            begin += width
        left = labels[i - 1] if i > begin else 0
        above_left = above = above_right = 0
        if begin > 0:
            above = labels[i - width]
            above_left = labels[i - width - 1] if i > begin else 0
            above_right = labels[i - width + 1] if i + 1 < begin + width else 0
        if above:  # it touches the three others
            labels[i] = above
            continue
        left = above_left or left  # these touch
        if left and above_right and left != above_right:
            one, two = _root(parent, left), _root(parent, above_right)
            parent[max(one, two)] = min(one, two)
        if not (left or above_right):
            last += 1
            left = parent[last] = last
        labels[i] = left or above_right
    found = 0
    for k in range(1, last + 1):  # a root comes before its tree
        if parent[k] == k:
            found += 1
            parent[k] = found
        else:
            parent[k] = parent[parent[k]]
    for k in range(count):
        labels[places[k]] = parent[labels[places[k]]]
    return found


@njit(cache=True, nogil=True)
def mark_pixels(x: Array, y: Array, mask: Array) -> None:
    """Set the pixels of events in a mask, (H, W) uint8, to 1."""
    for i in range(len(x)):
        mask[y[i], x[i]] = 1


@njit(cache=True, nogil=True)
def labels_of(x: Array, y: Array, labels: Array, of: Array) -> None:
    """Fill `of`, (n,) int32, with the labels of the pixels of events, less 1."""
    for i in range(len(x)):
        of[i] = labels[y[i], x[i]] - 1


@njit(cache=True, nogil=True)
def sum_clusters(t: Array, x: Array, y: Array, of: Array, table: Array) -> None:
    """Add events to the rows of their clusters.

    of     (n,) int32, the cluster of each event; -1 for none
    table  (k, 8) int64: number of events, latest time, sums of x and y, least and greatest x,
           least and greatest y; zeros at first
    """
    for i in range(len(of)):
        if of[i] < 0:
            continue
        row = table[of[i]]
        if row[0] == 0:
            row[1], row[4], row[5], row[6], row[7] = t[i], x[i], x[i], y[i], y[i]
        row[0] += 1
        row[1] = max(row[1], t[i])
        row[2] += x[i]
        row[3] += y[i]
        row[4], row[5] = min(row[4], x[i]), max(row[5], x[i])
        row[6], row[7] = min(row[6], y[i]), max(row[7], y[i])


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
    """Mark the pixels with company of their latest event; return their number.

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
