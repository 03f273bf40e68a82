"""Loops over AEDAT 4 events."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def split(
    words: NDArray[np.int64],
    width: int,
    height: int,
    last: int,
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
) -> int:
    """Split events of two words each (time; x, y, polarity) into columns.

    Returns the number of the first event that runs back from the one ahead of it (`last` for the
    first) or is off the sensor, with the columns filled up to the end all the same; -1 for none.
    """
    bad = -1
    for i in range(t.size):
        time, rest = words[2 * i], words[2 * i + 1]
        column = np.int16(rest & 0xFFFF)
        row = np.int16((rest >> 16) & 0xFFFF)
        t[i], x[i], y[i], p[i] = time, column, row, ((rest >> 32) & 0xFF) != 0
        if bad < 0 and (time < last or column < 0 or column >= width or row < 0 or row >= height):
            bad = i
        last = time
    return bad


@njit(cache=True, nogil=True)
def longest_rise(t: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the events of a longest non-decreasing run of times: the fewest that have to go.

    Patience sorting: Fredman 1975, On computing the length of longest increasing subsequences.
    """
    tops = np.empty(t.size, np.int64)  # tops[k]: the event that ends the best run of k + 1
    ahead = np.empty(t.size, np.int64)
    piles = 0
    for i in range(t.size):
        low, high = 0, piles
        while low < high:
            middle = (low + high) // 2
            if t[tops[middle]] <= t[i]:
                low = middle + 1
            else:
                high = middle
        ahead[i] = tops[low - 1] if low > 0 else -1
        tops[low] = i
        piles = max(piles, low + 1)
    kept = np.zeros(t.size, np.bool_)
    at = tops[piles - 1] if piles > 0 else -1
    while at >= 0:
        kept[at] = True
        at = ahead[at]
    return kept
