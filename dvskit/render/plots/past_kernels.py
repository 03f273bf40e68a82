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
    bounds_us: tuple[int, int],  # the shortest and the longest period
    alike: float,  # how far two periods may be apart, of their sum
    steps: tuple[float, float],  # of the evidence: for a period like the one before, and against
    seen: NDArray[np.int8],  # (H, W): the polarity before, -1 none yet
    risen: NDArray[np.int64],  # (H, W): when OFF last turned to ON, NEVER if it has not
    before: NDArray[np.int64],  # (H, W): the period before, 0 none yet, -1 out of bounds
    evidence: NDArray[np.float64],  # (2, H, W): of the run of periods so far, and the most
    sums: NDArray[np.float64],  # (4, H, W): of it, periods like the one before, their sum; the same
    # of the run with the most evidence
) -> None:
    """Sum up the evidence that periods, OFF to ON to OFF to ON, are those of a lamp.

    It is a cumulative sum that starts anew at 0, and with it the sum of the periods that are like
    the one before; kept is what they were where the evidence was most.
    """
    least_us, most_us = bounds_us
    for i in range(len(t)):
        a, b = y[i], x[i]
        if p[i] and seen[a, b] == 0:
            if risen[a, b] != NEVER:
                period, last = t[i] - risen[a, b], before[a, b]
                within = least_us <= period <= most_us
                if within and last > 0 and abs(period - last) <= alike * (period + last):
                    evidence[0, a, b] += steps[0]
                    sums[0, a, b] += 1
                    sums[1, a, b] += period
                    if evidence[0, a, b] > evidence[1, a, b]:
                        evidence[1, a, b] = evidence[0, a, b]
                        sums[2:, a, b] = sums[:2, a, b]
                elif last != 0:
                    evidence[0, a, b] += steps[1]
                    if evidence[0, a, b] <= 0:
                        evidence[0, a, b] = 0
                        sums[:2, a, b] = 0
                before[a, b] = period if within else -1
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
