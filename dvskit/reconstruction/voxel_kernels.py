"""The compiled loop of the normalisation of voxel grids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


_EQUAL = 1e-10  # of the mean square: a variance from rounding alone


@njit(cache=True, nogil=True)
def normalise_nonzero(values: Array) -> None:
    """Shift and scale the values other than 0 to mean 0 and deviation 1, in place.

    Values that are all equal stay.
    """
    count, total, squares = _sums(values)
    if count == 0:
        return
    mean, square = total / count, squares / count
    variance = square - mean * mean
    if variance <= _EQUAL * square:
        return
    shift, scale = np.float32(mean), np.float32(1 / np.sqrt(variance))
    zero = np.float32(0)
    for i in range(len(values)):
        value = values[i]
        values[i] = (value - shift) * scale if value != 0 else zero


@njit(cache=True, nogil=True, fastmath={"reassoc"})  # in any order, several at once: half the time
def _sums(values: Array) -> tuple[int, float, float]:
    """Return the number of values other than 0, and the sums of the values and of their squares."""
    count, total, squares = 0, 0.0, 0.0
    for i in range(len(values)):  # without a branch: zeros add nothing to the sums
        value = np.float64(values[i])
        total += value
        squares += value * value
        count += value != 0
    return count, total, squares
