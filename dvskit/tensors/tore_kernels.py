"""The K latest events of each pixel, the newest first: plain arrays in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_AT_ONCE = 512  # pixels whose rows of K stay in the nearest cache


@njit(cache=True, nogil=True)
def push_latest(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    latest: NDArray[Any],
    width: int,
    on: int,
    zero_us: int,
) -> None:
    """Put t - zero_us in front of the row of each event's pixel; the oldest falls out.

    latest  (2 * H * W, K) int64
    """
    row, above = np.uintp(width), np.uintp(on)
    deep = latest.shape[1]
    for i in range(len(t)):
        at = np.uintp(y[i]) * row + np.uintp(x[i]) + np.uintp(p[i]) * above
        for k in range(deep - 1, 0, -1):
            latest[at, k] = latest[at, k - 1]
        latest[at, 0] = t[i] - zero_us


@njit(cache=True, nogil=True)
def log_ages(
    latest: NDArray[Any],
    plane: NDArray[Any],
    pixels: int,
    first: int,
    stop: int,
    now: int,
    shortest_us: float,
    longest_us: float,
) -> None:
    """Write log(age + 1) - log(shortest + 1) of pixels first, ..., stop - 1; 0 is no event.

    plane  (2 * K * H * W,): the K of OFF, then those of ON
    """
    deep = latest.shape[1]
    least = math.log(shortest_us + 1.0)
    most = math.log(longest_us + 1.0) - least
    for low in range(first, stop, _AT_ONCE):
        high = min(stop, low + _AT_ONCE)
        for k in range(deep):
            for at in range(low, high):
                polarity = at // pixels
                to = (polarity * deep + k) * pixels + at - polarity * pixels
                age = float(now - latest[at, k])
                if latest[at, k] == 0 or age >= longest_us:
                    plane[to] = most
                elif age <= shortest_us:
                    plane[to] = 0.0
                else:
                    plane[to] = math.log(age + 1.0) - least
