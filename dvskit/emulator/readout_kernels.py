# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loop of a sensor's readout: pixels wait for it, one event each."""

from __future__ import annotations

import math
from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def read_out(
    t: Array, pixel: Array, ready: Array, rule: tuple[float, float, float], out: Array
) -> tuple[float, float]:
    """Fill `out` with the times of requests that are read in order, -1 for those lost.

    A pixel that waits for its readout makes no other event.

    t, pixel  int64, of the requests, in order of time (microseconds); out: int64
    ready     float64, per pixel: when its latest event is read
    rule      when the readout is free, and the microseconds that it takes for an event and for a
              scan of the whole sensor, 0 for none

    Returns when the readout is free again, and the longest wait.
    """
    free, each, scan = rule
    longest = 0.0
    for i in range(t.size):
        at, k = float(t[i]), pixel[i]
        if ready[k] > at:
            out[i] = -1
            continue
        when = (math.floor(at / scan) + 1.0) * scan if scan > 0.0 else at
        when = max(when, free)
        free = when + each
        ready[k] = when
        longest = max(longest, when - at)
        out[i] = math.floor(when + 0.5)
    return free, longest
