"""Connected pixels of an image, and the clusters of events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_ONE, _EVERY = np.uint64(1), np.uint64(2**64 - 1)


@njit(cache=True, nogil=True, inline="always")
def _root(parent: Array, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True, inline="always")
def _ones(word: Any) -> Any:
    """Return the number of bits of a uint64 that are 1; the compiler makes it one instruction."""
    count = 0
    while word:
        word &= word - _ONE
        count += 1
    return count


@njit(cache=True, nogil=True, inline="always")
def _run_at(begun: Any, before: Any, bit: Any) -> Any:
    """Return the run that begins last up to a bit of a word, or before it."""
    return before + _ones(begun & (_EVERY >> (np.uint64(63) - bit))) - 1


@njit(cache=True, nogil=True)
def label_runs(words: Array, begins: Array, before: Array, parent: Array) -> int:
    """Find the runs of ones in the rows of a mask, and their components; return their number.

    words   (H, n) uint64, a bit per pixel, the lowest first
    begins  (H, n) uint64, set to the bits that begin a run
    before  (H, n) int32, set to the number of runs that begin before each word
    parent  (32 * H * n,) int32, set to the component of each run, in the order of their first
            pixels
    """
    height, across = words.shape
    count = 0
    for y in range(height):
        left = np.uint64(0)
        for n in range(across):
            word = words[y, n]
            shifted = (word << _ONE) | (left >> np.uint64(63))
            left = word
            begin = begins[y, n] = word & ~shifted
            before[y, n] = count
            if word | shifted == 0:
                continue
            for _ in range(_ones(begin)):
                parent[count] = count
                count += 1
            if y == 0:
                continue
            # Two runs touch where one begins: at or next to a pixel of the other.
            over, above = words[y - 1, n], begins[y - 1, n]
            over_left = words[y - 1, n - 1] if n > 0 else np.uint64(0)
            touching = begin & (over | (over << _ONE) | (over_left >> np.uint64(63)))
            touching |= above & shifted
            while touching:
                bit = np.uint64(_ones((touching & -touching) - _ONE))
                touching &= touching - _ONE
                one = _root(parent, _run_at(begin, before[y, n], bit))
                two = _root(parent, _run_at(above, before[y - 1, n], bit))
                parent[max(one, two)] = min(one, two)
    found = 0
    for k in range(count):  # a root comes before its tree
        if parent[k] == k:
            parent[k] = found
            found += 1
        else:
            parent[k] = parent[parent[k]]
    return found


@njit(cache=True, nogil=True)
def mark_pixels(x: Array, y: Array, words: Array) -> None:
    """Set the bits of the pixels of events, as in `label_runs`."""
    for i in range(len(x)):
        words[y[i], x[i] >> 6] |= _ONE << np.uint64(x[i] & 63)


@njit(cache=True, nogil=True)
def paint_runs(words: Array, begins: Array, before: Array, parent: Array, labels: Array) -> None:
    """Write components, from 1 on, to the marked pixels of `labels`, (H, W) int32."""
    height, across = words.shape
    for y in range(height):
        row = labels[y]
        for n in range(across):
            word, run = words[y, n], before[y, n] - 1
            while word:
                bit = np.uint64(_ones((word & -word) - _ONE))
                word &= word - _ONE
                run += np.int64((begins[y, n] >> bit) & _ONE)
                row[64 * n + np.int64(bit)] = parent[run] + 1


@njit(cache=True, nogil=True)
def labels_of(x: Array, y: Array, begins: Array, before: Array, parent: Array, of: Array) -> None:
    """Fill `of`, (n,) int32, with the components of the pixels of events; see `label_runs`."""
    for i in range(len(x)):
        n, bit = x[i] >> 6, np.uint64(x[i] & 63)
        of[i] = parent[_run_at(begins[y[i], n], before[y[i], n], bit)]


@njit(cache=True, nogil=True)
def sum_clusters(t: Array, x: Array, y: Array, of: Array, boxes: Array, rows: Array) -> None:
    """Fill the rows of clusters from their events, in time order.

    of     (n,) int32, the cluster of each event; -1 for none
    boxes  (k, 4) int16, room for boxes
    rows   (k,) of CLUSTER_ROW, zeros at first
    """
    for i in range(len(of)):
        if of[i] < 0:
            continue
        row, box, a, b = rows[of[i]], boxes[of[i]], x[i], y[i]
        if row.events == 0:
            box[0] = box[1] = a
            box[2] = box[3] = b
        row.t = t[i]
        row.x += a
        row.y += b
        row.events += 1
        box[0], box[1] = min(box[0], a), max(box[1], a)
        box[2], box[3] = min(box[2], b), max(box[3], b)
    for k in range(len(rows)):
        row = rows[k]
        row.x /= row.events
        row.y /= row.events
        row.width = boxes[k, 1] - boxes[k, 0] + 1
        row.height = boxes[k, 3] - boxes[k, 2] + 1
