"""What flickers in time, held still; what moves, left as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def steady(values: Array, reach: int, jump: float, slack: float) -> Array:
    """Return (T, N) values averaged over `reach` frames each way, and then held.

    The average leaves out what differs by much more than `jump`: motion. Weights fall with the
    distance in time as a Gaussian's, to its two sigma, and by (1 + (difference / jump)^2)^-2. What
    is left of a flicker is held: the result follows only what leaves a band of +-slack about it.
    The held value begins amid the values of the first `reach` frames, as far as they lie together.
    """
    frames, count = values.shape
    mean = np.empty_like(values)
    window = np.empty(reach + 1, np.float32)
    for d in range(reach + 1):
        window[d] = math.exp(-2.0 * d * d / (reach * reach)) if reach else 1.0
    for k in range(frames):
        first, last = max(0, k - reach), min(frames - 1, k + reach)
        for n in range(count):
            here = values[k, n]
            total = np.float32(0.0)
            weights = np.float32(0.0)
            for j in range(first, last + 1):
                other = (values[j, n] - here) / jump
                weight = window[abs(j - k)] / (1 + other * other) ** 2
                weights += weight
                total += weight * values[j, n]
            mean[k, n] = total / weights
    for n in range(count):
        low = high = mean[0, n]
        for k in range(1, frames):
            # Hold back until the band is left: the middle of what was seen is kept as long.
            if max(high, mean[k, n]) - min(low, mean[k, n]) > 2 * slack:
                break
            low, high = min(low, mean[k, n]), max(high, mean[k, n])
        held = (low + high) / 2
        for k in range(frames):
            held = min(max(held, mean[k, n] - slack), mean[k, n] + slack)
            mean[k, n] = held
    return mean
