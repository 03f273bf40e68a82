"""Events marked by how many there are in a window of time: plain arrays in and out."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def first_of_windows(
    t: NDArray[Any], window_us: int, most: int, state: NDArray[Any], keep: NDArray[Any]
) -> None:
    """Mark the first `most` events of each window; `state` is its end, and its events so far."""
    stop_us, count = state[0], state[1]
    for i in range(len(t)):
        if t[i] >= stop_us:
            stop_us = (t[i] // window_us + 1) * window_us
            count = 0
        keep[i] = count < most
        count += 1
    state[0], state[1] = stop_us, count


@njit(cache=True, nogil=True)
def evenly_of_windows(t: NDArray[Any], window_us: int, most: int, keep: NDArray[Any]) -> None:
    """Mark `most` events of each window, all of one that has no more: event j of N where the part
    j most / N reaches a whole number."""
    start = 0
    while start < len(t):
        stop_us = (t[start] // window_us + 1) * window_us
        stop = start + 1
        while stop < len(t) and t[stop] < stop_us:
            stop += 1
        count = stop - start
        reached = 0
        for i in range(start, stop):
            reached += min(most, count)
            keep[i] = reached >= count
            if reached >= count:
                reached -= count
        start = stop
