"""Linking of corner events to tracks: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

NEVER = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def link(
    t: Array, x: Array, y: Array, near: Array, within_us: int, last: Array, count: int, ids: Array
) -> int:
    """Fill `ids` with the track of each corner event; return the number of tracks.

    near  (k, 3) int64: dx, dy and squared distance, the nearest first
    last  (H, W, 2) int64: the time and the track of each pixel's latest corner event; NEVER at
          first. Of equally near pixels, the one with the later event counts

    `count` is the number of tracks so far.
    """
    height, width = last.shape[:2]
    for i in range(len(t)):
        column, row = np.int64(x[i]), np.int64(y[i])
        latest, track, reached = NEVER, np.int64(-1), np.int64(-1)
        for k in range(len(near)):
            if track >= 0 and near[k, 2] > reached:
                break
            a, b = column + near[k, 0], row + near[k, 1]
            if a < 0 or a >= width or b < 0 or b >= height:
                continue
            time = last[b, a, 0]
            if time > latest and time >= t[i] - within_us:
                latest, track, reached = time, last[b, a, 1], near[k, 2]
        if track < 0:
            track = np.int64(count)
            count += 1
        ids[i] = track
        last[row, column, 0], last[row, column, 1] = t[i], track
    return count
