"""Events marked that are to be kept, and put one behind the other: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.selecting import Columns

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def select_events(keep: Array, given: Columns, out: Columns) -> None:
    """Copy the events where `keep` is true; the outputs have room for just those.

    Each event is written, and the next one over it unless it is kept: where nothing is skipped by a
    branch, nothing is guessed wrongly. Counters are unsigned: signed ones would be looked at for
    counting from the end.
    """
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        out_t[at] = t[i]
        out_x[at] = x[i]
        out_y[at] = y[i]
        out_p[at] = p[i]
        at += np.uint64(keep[i])
        i += np.uint64(1)


@njit(cache=True, nogil=True)
def first_of_windows(t: Array, window_us: int, most: int, state: Array, keep: Array) -> None:
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
def evenly_of_windows(t: Array, window_us: int, most: int, keep: Array) -> None:
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


@njit(cache=True, nogil=True)
def near_in_time_8(
    events: Columns, origin_us: int, within_us: int, itself: bool, last: Array, keep: Array
) -> None:
    """Mark events of which one of the eight pixels around has fired since within_us before.

    `last` is (H + 2, W + 2), with a border that never fires. Times in it count from `origin_us`,
    which lies before the first event: 0 is never.
    """
    t, x, y, _ = events
    stride, one = last.shape[1], np.uint64(1)
    wide = np.uint64(stride)
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(y[i]) + 1) * stride + np.int64(x[i]) + 1)
        now = t[i] - origin_us
        since = max(now - within_us, 1)
        above, below = at - wide, at + wide
        near = (
            (times[above - one] >= since) | (times[above] >= since)
            | (times[above + one] >= since)
            | (times[at - one] >= since) | (times[at + one] >= since)
            | (times[below - one] >= since) | (times[below] >= since)
            | (times[below + one] >= since)
        )  # fmt: skip
        keep[i] = near | (itself & (times[at] >= since))
        times[at] = now


@njit(cache=True, nogil=True)
def near_in_time_4(
    events: Columns, origin_us: int, within_us: int, itself: bool, last: Array, keep: Array
) -> None:
    """Mark as `near_in_time_8` does, by the four pixels that share a side."""
    t, x, y, _ = events
    stride, one = last.shape[1], np.uint64(1)
    wide = np.uint64(stride)
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(y[i]) + 1) * stride + np.int64(x[i]) + 1)
        now = t[i] - origin_us
        since = max(now - within_us, 1)
        near = (
            (times[at - wide] >= since) | (times[at + wide] >= since)
            | (times[at - one] >= since) | (times[at + one] >= since)
        )  # fmt: skip
        keep[i] = near | (itself & (times[at] >= since))
        times[at] = now


@njit(cache=True, nogil=True)
def rested(
    events: Columns, origin_us: int, period_us: int, restart: bool, last: Array, keep: Array
) -> None:
    """Mark events of pixels that had none for period_us: none kept, or with `restart` none at all.

    `last` is (1, H, W), or (2, H, W) where polarities are apart.
    """
    t, x, y, p = events
    apart = last.shape[0] == 2
    height, width = last.shape[1:]
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(apart & p[i]) * height + y[i]) * width + x[i])
        now = t[i] - origin_us
        before = times[at]
        kept = (before == 0) | (now - before >= period_us)
        keep[i] = kept
        times[at] = now if kept | restart else before
