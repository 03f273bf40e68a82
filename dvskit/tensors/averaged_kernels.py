"""Averages of the time surfaces around events, cell by cell: plain arrays in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MOST_TAUS = 600.0  # sums are kept in units that grow by exp(600) at most: no float64 overflows


@njit(cache=True, nogil=True)
def add_surfaces(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    kept_t: NDArray[Any],
    kept_at: NDArray[Any],
    held: int,
    sums: NDArray[Any],
    numbers: NDArray[Any],
    surfaces: NDArray[Any],
    events: NDArray[Any],
    origin_us: int,
    cell_px: int,
    window_us: int,
    tau_us: float,
) -> tuple[int, int]:
    """Add to the surface of each event's cell what earlier events around it have left.

    kept_t, kept_at  (held + n,) when events were and at which value of `sums`, oldest first; the
                     first `held` are given, those of the new ones written
    sums, numbers    (2 * H * W,) of the events that are not older than window_us: the sum of
                     exp((t - origin_us) / tau), and how many; window_us below 0 is without end
    surfaces, events  (cells, 2, S, S) and (cells, 2): what is added up, and of how many events

    Returns how many of the oldest are kept no longer, and the new origin_us.
    """
    height, width = numbers.shape[1], numbers.shape[2]
    radius = surfaces.shape[2] // 2
    across = (width + cell_px - 1) // cell_px
    oldest = 0
    for i in range(len(t)):
        now, column, line, polarity = t[i], np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        if (now - origin_us) / tau_us > _MOST_TAUS:
            sums *= math.exp((origin_us - now) / tau_us)
            origin_us = now
        while oldest < held + i and 0 <= window_us < now - kept_t[oldest]:
            _forget(kept_t[oldest], kept_at[oldest], sums, numbers, origin_us, tau_us)
            oldest += 1
        row, cell_column = line // cell_px, column // cell_px
        surface = surfaces[row * across + cell_column, polarity]
        weight = math.exp((origin_us - now) / tau_us)
        top = max(-radius, row * cell_px - line)
        bottom = min(radius, (row + 1) * cell_px - 1 - line, height - 1 - line)
        left = max(-radius, cell_column * cell_px - column)
        right = min(radius, (cell_column + 1) * cell_px - 1 - column, width - 1 - column)
        for down in range(top, bottom + 1):
            for aside in range(left, right + 1):
                around = sums[polarity, line + down, column + aside]
                surface[radius + down, radius + aside] += around * weight
        events[row * across + cell_column, polarity] += 1
        sums[polarity, line, column] += math.exp((now - origin_us) / tau_us)
        numbers[polarity, line, column] += 1
        kept_t[held + i] = now
        kept_at[held + i] = (polarity * height + line) * width + column
    return oldest, origin_us


@njit(cache=True, nogil=True)
def _forget(
    t: int, at: int, sums: NDArray[Any], numbers: NDArray[Any], origin_us: int, tau_us: float
) -> None:
    numbers.reshape(-1)[at] -= 1
    if numbers.reshape(-1)[at] == 0:
        sums.reshape(-1)[at] = 0.0  # exactly: what is rounded off does not add up
    else:
        sums.reshape(-1)[at] -= math.exp((t - origin_us) / tau_us)
