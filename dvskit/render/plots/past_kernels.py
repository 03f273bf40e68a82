"""Loops over events that remember each pixel's past."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.base import Columns

NEVER = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def add_intervals(
    events: Columns,
    edges: NDArray[np.int64],  # (k + 1,): increasing, the first 0, the last the largest int64
    seen: NDArray[np.int8],  # (H, W): the previous polarity, -1 for none yet
    last: NDArray[np.int64],  # (H, W): its time
    counts: NDArray[np.int64],  # (3, k): OFF-OFF, ON-ON, mixed
) -> None:
    """Count the times between events of the same pixel."""
    t, x, y, p = events
    bins = len(edges) - 1
    for i in range(len(t)):
        a, b = y[i], x[i]
        now = np.int8(1) if p[i] else np.int8(0)
        before = seen[a, b]
        if before >= 0:
            interval = t[i] - last[a, b]
            if interval < 0:  # exceeds int64
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


class Lamp(NamedTuple):
    """A lamp's periods: bounds, relative difference of two, evidence for like and unlike ones."""

    least_us: int
    most_us: int
    alike: float
    like: float
    unlike: float


class Periods(NamedTuple):
    """The state of each pixel (H, W).

    seen      the previous polarity, -1 for none yet
    risen     time of the last change from OFF to ON, NEVER without one
    before    the previous period, 0 for none yet, -1 out of bounds
    evidence  (2, H, W): of the current run of periods, and the maximum
    sums      (4, H, W): number of similar periods of it, their sum; the same of the run with the
              maximal evidence
    """

    seen: NDArray[np.int8]
    risen: NDArray[np.int64]
    before: NDArray[np.int64]
    evidence: NDArray[np.float64]
    sums: NDArray[np.float64]


@njit(cache=True, nogil=True)
def add_periods(events: Columns, lamp: Lamp, state: Periods) -> None:
    """Sum up the evidence that periods, OFF to ON to OFF to ON, are those of a lamp.

    It is a cumulative sum that restarts at 0, together with the sum of the periods that are similar
    to the previous one; the values at the maximum of the evidence are kept.
    """
    t, x, y, p = events
    seen, risen, before, evidence, sums = state
    for i in range(len(t)):
        a, b = y[i], x[i]
        if p[i] and seen[a, b] == 0:
            if risen[a, b] != NEVER:
                period, last = t[i] - risen[a, b], before[a, b]
                within = lamp.least_us <= period <= lamp.most_us
                if within and last > 0 and abs(period - last) <= lamp.alike * (period + last):
                    evidence[0, a, b] += lamp.like
                    sums[0, a, b] += 1
                    sums[1, a, b] += period
                    if evidence[0, a, b] > evidence[1, a, b]:
                        evidence[1, a, b] = evidence[0, a, b]
                        sums[2:, a, b] = sums[:2, a, b]
                elif last != 0:
                    evidence[0, a, b] += lamp.unlike
                    if evidence[0, a, b] <= 0:
                        evidence[0, a, b] = 0
                        sums[:2, a, b] = 0
                before[a, b] = period if within else -1
            risen[a, b] = t[i]
        seen[a, b] = 1 if p[i] else 0


@njit(cache=True, nogil=True)
def add_isolated(
    events: Columns,
    window_us: int,
    until: NDArray[np.int64],  # (H, W): end of the window of the latest event of a neighbor
    covered: NDArray[np.int64],  # (H, W): total time within such windows
    isolated: NDArray[np.int64],  # (2, H, W): isolated events
) -> None:
    """Count events without an event of one of the 8 neighbors in the window_us before."""
    t, x, y, p = events
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
