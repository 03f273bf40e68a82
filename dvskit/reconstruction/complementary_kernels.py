"""Log intensity from events: plain arrays in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.base import Columns

Array = NDArray[Any]

# level: of log intensity; rate: of its decay, per microsecond; last: time of its latest change
CELL = np.dtype([("level", np.float32), ("rate", np.float32), ("last", np.int32)])
_LATEST = 1 << 30  # of times after the origin


@njit(cache=True, nogil=True)
def leaky_sums(
    events: Columns, origin_us: int, width: int, steps: tuple[float, float], cells: Array
) -> int:
    """Let the level of each event's pixel decay to 0 until the event, and add its step.

    origin_us  time from which `last` counts; at most the time of the first event
    steps      added for OFF and for ON
    cells      (H * W,) of CELL

    Returns the new origin, which moves before `last` overflows.
    """
    t, x, y, p = events
    for i in range(len(t)):
        if t[i] - origin_us > _LATEST:
            for each in cells:
                each.last = max(each.last - (t[i] - origin_us), -_LATEST)
            origin_us = t[i]
        now = t[i] - origin_us
        cell = cells[np.int64(y[i]) * width + x[i]]
        kept = math.exp(np.float32(cell.last - now) * cell.rate)
        cell.level = np.float32(cell.level * kept + steps[np.int64(p[i])])
        cell.last = now
    return origin_us


@njit(cache=True, nogil=True)
def count_events(events: Columns, width: int, counts: Array) -> None:
    """Count the events of each pixel: (H * W, 2) int32, OFF and ON."""
    _, x, y, p = events
    for i in range(len(x)):
        counts[np.int64(y[i]) * width + x[i], np.int64(p[i])] += 1
