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
CELL = np.dtype([("level", np.float32), ("rate", np.float32), ("last", np.int64)])


@njit(cache=True, nogil=True)
def leaky_sums(events: Columns, width: int, steps: tuple[float, float], cells: Array) -> None:
    """Let the level of each event's pixel decay to 0 until the event, and add its step.

    steps  added for OFF and for ON
    cells  (H * W,) of CELL
    """
    t, x, y, p = events
    for i in range(len(t)):
        cell = cells[np.int64(y[i]) * width + x[i]]
        kept = math.exp(np.float32(cell.last - t[i]) * cell.rate)
        cell.level = np.float32(cell.level * kept + steps[np.int64(p[i])])
        cell.last = t[i]


@njit(cache=True, nogil=True)
def count_events(events: Columns, width: int, counts: Array) -> None:
    """Count the events of each pixel: (H * W, 2) int32, OFF and ON."""
    _, x, y, p = events
    for i in range(len(x)):
        counts[np.int64(y[i]) * width + x[i], np.int64(p[i])] += 1
