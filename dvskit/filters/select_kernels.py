"""Selecting, compacting, sorting and moving events in time: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.selecting import Columns

Array = NDArray[Any]

_MOST = 64  # bucket size up to which insertion sort is used


@njit(cache=True, nogil=True)
def select_events(keep: Array, given: Columns, out: Columns) -> None:
    """Copy the events where `keep` is true; the outputs have room for exactly those.

    Each event is written, and overwritten by the next one unless it is kept: without branches there
    are no mispredictions. Counters are unsigned: signed ones would be checked for negative indices.
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
    """Mark the first `most` events of each window; `state` is the window's end and its count."""
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
    """Mark `most` events of each window, or all if it has no more: event j of N where
    j most / N reaches a whole number.
    """
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
def near_in_time(
    events: Columns, origin_us: int, within_us: int, by: tuple[bool, bool], last: Array, keep: Array
) -> None:
    """Mark events with a neighbouring pixel that fired in the within_us before.

    by    whether the diagonal neighbours count, and whether the pixel's own last event does
    last  (H + 2, W + 2), with a border that never fires. Times in it count from `origin_us`, which
          lies before the first event: 0 is never
    """
    (t, x, y, _), (corners, itself) = events, by
    stride, one = last.shape[1], np.uint64(1)
    wide = np.uint64(stride)
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(y[i]) + 1) * stride + np.int64(x[i]) + 1)
        now = t[i] - origin_us
        since = max(now - within_us, 1)
        above, below = at - wide, at + wide
        near = (
            (times[above] >= since) | (times[below] >= since)
            | (times[at - one] >= since) | (times[at + one] >= since)
        )  # fmt: skip
        if corners:
            near |= (
                (times[above - one] >= since) | (times[above + one] >= since)
                | (times[below - one] >= since) | (times[below + one] >= since)
            )  # fmt: skip
        keep[i] = near | (itself & (times[at] >= since))
        times[at] = now


@njit(cache=True, nogil=True)
def rested(
    events: Columns, origin_us: int, period_us: int, restart: bool, last: Array, keep: Array
) -> None:
    """Mark events of pixels without a kept event for period_us; with `restart`, without any event.

    `last` is (1, H, W), or (2, H, W) for separate polarities.
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


@njit(cache=True, nogil=True)
def order_of(t: Array, order: Array) -> bool:
    """Fill `order` with the indices that sort `t`; equal times keep their order.

    Events go to time buckets, about one each: if times are almost sorted, neighbours in time are
    near in memory. Returns False, without an order, if a bucket is too full.
    """
    count = len(t)
    first, last = t[0], t[0]
    for i in range(count):
        first, last = min(first, t[i]), max(last, t[i])
    shift = 0
    while (last - first) >> shift > 4 * count:
        shift += 1
    ends = np.zeros(((last - first) >> shift) + 2, np.int64)
    for i in range(count):
        ends[((t[i] - first) >> shift) + 1] += 1
    if shift and ends.max() > _MOST:
        return False
    for k in range(1, len(ends)):
        ends[k] += ends[k - 1]
    for i in range(count):
        bucket = (t[i] - first) >> shift
        order[ends[bucket]] = i
        ends[bucket] += 1
    if shift:
        for i in range(1, count):
            one = order[i]
            j = i - 1
            while j >= 0 and t[order[j]] > t[one]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = one
    return True


@njit(cache=True, nogil=True)
def take(order: Array, given: Columns, out: Columns) -> None:
    """Copy the events in the given order."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    for i in range(len(order)):
        out_t[i] = t[order[i]]
        out_x[i] = x[order[i]]
        out_y[i] = y[order[i]]
        out_p[i] = p[order[i]]


@njit(cache=True, nogil=True)
def stretch(t: Array, origin_us: int, factor: float, shift_us: int, new: Array) -> None:
    """Fill `new` with origin + factor (t - origin) + shift, rounded half up."""
    if factor == 1.0:
        for i in range(len(t)):
            new[i] = t[i] + shift_us
        return
    for i in range(len(t)):
        new[i] = origin_us + shift_us + np.int64(np.floor((t[i] - origin_us) * factor + 0.5))
