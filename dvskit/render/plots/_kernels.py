"""Loops over events that remember each pixel's past."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def add_intervals(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    edges: NDArray[np.int64],  # (k + 1,): ascending, the first 0, the last the largest int64
    seen: NDArray[np.int8],  # (H, W): the polarity before, -1 none yet
    last: NDArray[np.int64],  # (H, W): its time
    counts: NDArray[np.int64],  # (3, k): OFF-OFF, ON-ON, mixed
) -> None:
    """Count the times between events of the same pixel."""
    bins = len(edges) - 1
    for i in range(len(t)):
        a, b = y[i], x[i]
        now = np.int8(1) if p[i] else np.int8(0)
        before = seen[a, b]
        if before >= 0:
            interval = t[i] - last[a, b]
            if interval < 0:  # more than int64 holds
                interval = np.iinfo(np.int64).max
            low, high = 0, bins - 1
            while low < high:
                middle = (low + high + 1) >> 1
                if edges[middle] <= interval:
                    low = middle
                else:
                    high = middle - 1
            counts[now if now == before else 2, low] += 1
        seen[a, b] = now
        last[a, b] = t[i]


@njit(cache=True, nogil=True)
def add_periods(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    least_us: int,
    most_us: int,
    seen: NDArray[np.int8],  # (H, W): the polarity before, -1 none yet
    risen: NDArray[np.int64],  # (H, W): when OFF last turned to ON, NEVER if it has not
    count: NDArray[np.int64],  # (H, W): periods within [least_us, most_us]
    total: NDArray[np.float64],  # (H, W): their sum
    squares: NDArray[np.float64],  # (H, W): the sum of their squares
) -> None:
    """Sum up the times from one change of OFF to ON to the next, of each pixel."""
    for i in range(len(t)):
        a, b = y[i], x[i]
        if p[i] and seen[a, b] == 0:
            if risen[a, b] != NEVER:
                period = t[i] - risen[a, b]
                if least_us <= period <= most_us:
                    count[a, b] += 1
                    total[a, b] += period
                    squares[a, b] += float(period) * float(period)
            risen[a, b] = t[i]
        seen[a, b] = 1 if p[i] else 0


@njit(cache=True, nogil=True)
def add_isolated(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    window_us: int,
    until: NDArray[np.int64],  # (H, W): up to when a neighbour's event stands beside the pixel
    covered: NDArray[np.int64],  # (H, W): for how long one has stood beside it, in all
    isolated: NDArray[np.int64],  # (2, H, W): events with none beside them
) -> None:
    """Count events without an event of one of the 8 neighbours in the window_us before."""
    height, width = until.shape
    for i in range(len(t)):
        a, b = int(y[i]), int(x[i])
        now = t[i]
        if now >= until[a, b]:
            isolated[1 if p[i] else 0, a, b] += 1
        stop = now + window_us
        for v in range(max(0, a - 1), min(height, a + 2)):
            for u in range(max(0, b - 1), min(width, b + 2)):
                if v != a or u != b:
                    covered[v, u] += stop - max(now, until[v, u])
                    until[v, u] = stop
