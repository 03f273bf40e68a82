"""Loops that write lines of text."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOST_BYTES = 48  # that one written event may take


@njit(cache=True, nogil=True)
def _put(data: NDArray[np.uint8], n: int, value: np.uint64, least: int) -> int:
    """Write the digits of `value`, at least `least` of them, at data[n]; return their end."""
    ten = np.uint64(10)
    digits = 1
    rest = value // ten
    while rest > np.uint64(0):
        rest //= ten
        digits += 1
    digits = max(digits, least)
    for place in range(n + digits - 1, n - 1, -1):
        data[place] = np.uint8(48) + np.uint8(value % ten)
        value //= ten
    return n + digits


@njit(cache=True, nogil=True)
def write(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    start: int,
    seconds: bool,
    separator: int,
    data: NDArray[np.uint8],
) -> tuple[int, int]:
    """Write events from `start` on as lines; return the next event and the number of bytes.

    Stops early where `data` may not hold another line.
    """
    million = np.uint64(1_000_000)
    i, n = start, 0
    while i < t.size and n + MOST_BYTES <= data.size:
        time = np.uint64(t[i])
        if t[i] < 0:
            data[n] = 45
            n += 1
            time = np.uint64(-(t[i] + 1)) + np.uint64(1)  # -t itself may not fit
        if seconds:
            n = _put(data, n, time // million, 1)
            data[n] = 46
            n = _put(data, n + 1, time % million, 6)
        else:
            n = _put(data, n, time, 1)
        data[n] = separator
        n = _put(data, n + 1, np.uint64(x[i]), 1)
        data[n] = separator
        n = _put(data, n + 1, np.uint64(y[i]), 1)
        data[n] = separator
        data[n + 1] = 49 if p[i] else 48
        data[n + 2] = 10
        n += 3
        i += 1
    return i, n
