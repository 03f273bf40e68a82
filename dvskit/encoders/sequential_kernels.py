"""Codes whose spikes depend on earlier ones, on plain arrays.

Arrays are (T, N), float32 or float64, and each time step is contiguous. A call covers channels
[first, last), so threads share nothing. The innermost loop runs over channels; sums are in the
order of the definition. No fast mathematics: a spike may depend on the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def follow(x: Any, spikes: Any, level: Any, height: Any, first: int, last: int) -> None:
    """Fill the spikes of the step-forward code; `level` is the baseline, updated in place."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    base, step = level[first:last], height[first:last]
    for t in range(x.shape[0]):
        now, spiked = x[t, first:last], spikes[t, first:last]
        for n in range(base.size):
            up = one if now[n] > base[n] + step[n] else zero
            down = one if now[n] < base[n] - step[n] else zero
            spiked[n] = up - down
            base[n] += (up - down) * step[n]


@njit(cache=True, nogil=True, error_model="numpy")
def hough(left: Any, spikes: Any, shape: Any, first: int, last: int) -> None:
    """Fill the spikes of the Hough spiker; `left` is the signal, then the remainder."""
    one, zero = left.dtype.type(1), left.dtype.type(0)
    fits = np.empty(last - first, np.bool_)
    for t in range(left.shape[0] - shape.size + 1):
        fits[:] = True
        for k in range(shape.size):
            row, height = left[t + k, first:last], shape[k]
            for n in range(row.size):
                fits[n] &= row[n] >= height
        spiked = spikes[t, first:last]
        for n in range(spiked.size):
            spiked[n] = one if fits[n] else zero
        if np.any(fits):
            for k in range(shape.size):
                row, height = left[t + k, first:last], shape[k]
                for n in range(row.size):
                    if fits[n]:
                        row[n] -= height


@njit(cache=True, nogil=True, error_model="numpy")
def ben(left: Any, spikes: Any, shape: Any, threshold: Any, first: int, last: int) -> None:
    """Fill the spikes of Ben's spiker; `left` is the signal, then the remainder."""
    one, zero = left.dtype.type(1), left.dtype.type(0)
    with_spike = np.empty(last - first, left.dtype)
    without = np.empty(last - first, left.dtype)
    limit = threshold[first:last]
    for t in range(left.shape[0] - shape.size + 1):
        with_spike[:] = zero
        without[:] = zero
        for k in range(shape.size):
            row, height = left[t + k, first:last], shape[k]
            for n in range(row.size):
                with_spike[n] += abs(row[n] - height)
                without[n] += abs(row[n])
        any_fits = False
        spiked = spikes[t, first:last]
        for n in range(spiked.size):
            fits = with_spike[n] <= without[n] - limit[n]
            spiked[n] = one if fits else zero
            any_fits |= fits
        if any_fits:
            for k in range(shape.size):
                row, height = left[t + k, first:last], shape[k]
                for n in range(row.size):
                    row[n] -= spiked[n] * height
