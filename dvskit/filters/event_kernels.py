"""Selecting, sorting and moving events, in time and from pixel to pixel: plain arrays in and out.

A place is y * 65536 + x; -1 - k means that map k drops the events. Columns and rows have the same
meaning per axis; if both drop, the earlier map counts. Coordinates are made unsigned for lookups:
signed ones would be checked for negative indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = tuple[Array, Array, Array, Array]  # t, x, y and p of events

_MOST = 64  # bucket size up to which insertion sort is used
_BLOCK = 16  # events of which it is checked whether all are kept


@njit(cache=True, nogil=True)
def select_events(keep: Array, given: Columns, out: Columns) -> None:
    """Copy the events where `keep` is true; the outputs have room for exactly those.

    Blocks of events that are all kept are copied column by column, in vector instructions. In other
    blocks each event is written, and overwritten by the next one unless it is kept: without
    branches there are no mispredictions. Counters are unsigned, as coordinates are.
    """
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        stop = min(i + np.uint64(_BLOCK), np.uint64(len(keep)))
        whole = True
        for k in range(i, stop):
            whole &= keep[k]
        if whole:
            count = stop - i
            for k in range(count):
                out_t[at + k] = t[i + k]
            for k in range(count):
                out_x[at + k] = x[i + k]
            for k in range(count):
                out_y[at + k] = y[i + k]
            for k in range(count):
                out_p[at + k] = p[i + k]
            i = stop
            at += count
        while i < stop and at < np.uint64(len(out_t)):
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
    """Mark events with a neighboring pixel that fired in the within_us before.

    by    whether the diagonal neighbors count, and whether the pixel's own last event does
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

    Events go to time buckets, about one each: if times are almost sorted, neighbors in time are
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


@njit(cache=True, nogil=True)
def count_axes(x: Array, y: Array, columns: Array, rows: Array, found: Array) -> None:
    """Count the events that stay in found[0], and those that map k drops in found[1 + k]."""
    stay = 0
    for i in range(len(x)):
        stay += (columns[np.uint16(x[i])] | rows[np.uint16(y[i])]) >= 0
    found[0] = stay
    if len(found) == 2:
        found[1] = len(x) - stay
        return
    for i in range(len(x)):
        column, row = columns[np.uint16(x[i])], rows[np.uint16(y[i])]
        if (column | row) < 0:
            found[-(max(column, row) if column < 0 and row < 0 else min(column, row))] += 1


@njit(cache=True, nogil=True)
def count_places(x: Array, y: Array, places: Array, found: Array) -> None:
    """Count as `count_axes` does."""
    stay = 0
    for i in range(len(x)):
        stay += places[np.uint16(y[i]), np.uint16(x[i])] >= 0
    found[0] = stay
    if len(found) == 2:
        found[1] = len(x) - stay
        return
    for i in range(len(x)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        if there < 0:
            found[-there] += 1


@njit(cache=True, nogil=True)
def look_up(keep: Array, x: Array, y: Array, kept: Array) -> None:
    """Fill `kept` with the values of `keep`, (H, W), at the events' pixels."""
    for i in range(len(x)):
        kept[i] = keep[np.uint16(y[i]), np.uint16(x[i])]


@njit(cache=True, nogil=True)
def move_axis(table: Array, old: Array, new: Array) -> None:
    """Move the columns or rows of events that all stay."""
    for i in range(len(old)):
        new[i] = table[np.uint16(old[i])]


@njit(cache=True, nogil=True)
def move_all(places: Array, x: Array, y: Array, out_x: Array, out_y: Array) -> None:
    """Move events that all stay."""
    for i in range(len(x)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        out_x[i] = there & 0xFFFF
        out_y[i] = there >> 16


@njit(cache=True, nogil=True)
def move_axes(given: Columns, columns: Array, rows: Array, out: Columns) -> None:
    """Move the events that stay, as `select_events` does; outputs have exactly their length."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        column, row = columns[np.uint16(x[i])], rows[np.uint16(y[i])]
        out_t[at] = t[i]
        out_x[at] = column
        out_y[at] = row
        out_p[at] = p[i]
        at += np.uint64((column | row) >= 0)
        i += np.uint64(1)


@njit(cache=True, nogil=True)
def move_places(given: Columns, places: Array, out: Columns) -> None:
    """Move the events that stay, as `select_events` does; outputs have exactly their length."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        out_t[at] = t[i]
        out_x[at] = there & 0xFFFF
        out_y[at] = there >> 16
        out_p[at] = p[i]
        at += np.uint64(there >= 0)
        i += np.uint64(1)


@njit(cache=True, nogil=True)
def affine_places(
    matrix: tuple[float, float, float, float], dx: float, dy: float, places: Array
) -> None:
    """Fill `places`, (H, W), with the map of a matrix on pixel centers.

    (0, 0) is the center of the upper left pixel; halves round to the right, and down.
    """
    xx, xy, yx, yy = matrix
    height, width = places.shape
    for y in range(height):
        for x in range(width):
            new_x = np.floor(xx * x + xy * y + dx)
            new_y = np.floor(yx * x + yy * y + dy)
            on = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
            places[y, x] = (np.int64(new_y) << 16) + np.int64(new_x) if on else -1


@njit(cache=True, nogil=True)
def count_pixels(x: Array, y: Array, low: Array, counts: Array) -> None:
    """Add one to counts[y, x] + low[y, x] for each event.

    `low` is uint8: a quarter of the memory of int32 stays in nearer caches. Each 256th event of a
    pixel is carried to `counts`.
    """
    for i in range(len(x)):
        row, column = np.uint16(y[i]), np.uint16(x[i])
        one_more = np.uint8(low[row, column] + np.uint8(1))
        low[row, column] = one_more
        if one_more == 0:
            counts[row, column] += 256
