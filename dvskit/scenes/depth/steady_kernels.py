# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""What flickers in time, held still; what moves, left as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True, fastmath=True)
def steady(values: Array, reach: int, jump: float, slack: float) -> Array:
    """Return (T, N) values averaged over `reach` frames each way, and then held.

    The average leaves out what differs by much more than `jump`: motion. Weights fall with the
    distance in time as a Gaussian's, to its two sigma, and by (1 + (difference / jump)^2)^-2. What
    is left of a flicker is held: the result follows only what leaves a band of +-slack about it.
    """
    frames, count = values.shape
    mean = np.empty_like(values)
    total = np.empty(count, np.float32)
    weights = np.empty(count, np.float32)
    sharp = np.float32(1 / (jump * jump))
    one = np.float32(1.0)
    for k in range(frames):
        total[:] = 0
        weights[:] = 0
        for j in range(max(0, k - reach), min(frames, k + reach + 1)):
            window = np.float32(math.exp(-2.0 * (j - k) ** 2 / max(1, reach * reach)))
            for n in range(count):
                apart = values[j, n] - values[k, n]
                weight = one + apart * apart * sharp
                weight = window / (weight * weight)
                weights[n] += weight
                total[n] += weight * values[j, n]
        for n in range(count):
            mean[k, n] = total[n] / weights[n]
    _hold(mean, np.float32(slack))
    return mean


@njit(cache=True, nogil=True)
def _hold(values: Array, slack: float) -> None:
    """Let each of (T, N) values follow only what leaves a band of +-slack about the last one."""
    frames, count = values.shape
    # It begins amid what comes first, up to the frame at which that is wider than the band.
    low, high = values[0].copy(), values[0].copy()
    open_ = np.ones(count, np.bool_)
    for k in range(1, frames):
        for n in range(count):
            if open_[n]:
                least, most = min(low[n], values[k, n]), max(high[n], values[k, n])
                if most - least > 2 * slack:
                    open_[n] = False
                else:
                    low[n], high[n] = least, most
    held = (low + high) / 2
    for k in range(frames):
        for n in range(count):
            held[n] = min(max(held[n], values[k, n] - slack), values[k, n] + slack)
            values[k, n] = held[n]
