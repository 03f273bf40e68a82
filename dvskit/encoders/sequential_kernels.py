"""The codes whose next spike depends on the ones before, on plain arrays.

Arrays are (T, N), float32 or float64, and one time step is a run of memory. A call covers channels
[first, last), so threads share nothing. The innermost loop runs over channels; sums go in the order
of the definition. No fast mathematics: a spike may hang on the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def follow(x: Any, spikes: Any, level: Any, height: Any, first: int, last: int) -> None:
    """Fill the spikes of the step-forward code; `level` is the baseline before, and after it."""
    for t in range(x.shape[0]):
        xt, st = x[t], spikes[t]
        for n in range(first, last):
            above, below = level[n] + height[n], level[n] - height[n]
            up, down = xt[n] > above, xt[n] < below
            st[n] = (1.0 if up else 0.0) - (1.0 if down else 0.0)
            level[n] = above if up else (below if down else level[n])


@njit(cache=True, nogil=True, error_model="numpy")
def hough(left: Any, spikes: Any, shape: Any, first: int, last: int) -> None:
    """Fill the spikes of the Hough spiker; `left` is the signal, then what is left of it."""
    fits = np.empty(last - first, np.bool_)
    for t in range(left.shape[0] - shape.size + 1):
        fits[:] = True
        for k in range(shape.size):
            row, height = left[t + k, first:last], shape[k]
            for n in range(row.size):
                fits[n] &= row[n] >= height
        spiked = spikes[t, first:last]
        for n in range(spiked.size):
            spiked[n] = 1.0 if fits[n] else 0.0
        if np.any(fits):
            for k in range(shape.size):
                row, height = left[t + k, first:last], shape[k]
                for n in range(row.size):
                    if fits[n]:
                        row[n] -= height


@njit(cache=True, nogil=True, error_model="numpy")
def ben(left: Any, spikes: Any, shape: Any, threshold: Any, first: int, last: int) -> None:
    """Fill the spikes of Ben's spiker; `left` is the signal, then what is left of it."""
    with_spike = np.empty(last - first, left.dtype)
    without = np.empty(last - first, left.dtype)
    limit = threshold[first:last]
    for t in range(left.shape[0] - shape.size + 1):
        with_spike[:] = 0.0
        without[:] = 0.0
        for k in range(shape.size):
            row, height = left[t + k, first:last], shape[k]
            for n in range(row.size):
                with_spike[n] += abs(row[n] - height)
                without[n] += abs(row[n])
        any_fits = False
        spiked = spikes[t, first:last]
        for n in range(spiked.size):
            fits = with_spike[n] <= without[n] - limit[n]
            spiked[n] = 1.0 if fits else 0.0
            any_fits |= fits
        if any_fits:
            for k in range(shape.size):
                row, height = left[t + k, first:last], shape[k]
                for n in range(row.size):
                    row[n] -= spiked[n] * height
