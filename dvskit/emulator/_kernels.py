"""Loops of the emulator: quiet pixels cost one byte comparison each.

All arrays are flat and of a frame's length unless said otherwise. `table` turns a pixel's code
into its level; where it is empty the codes are levels already.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def float_levels(
    frame: Array,
    knee: float,
    slope: float,
    offset: float,
    white: float,
    unit: float,
    brightest: float,
    levels: Array,
) -> int:
    """Fill `levels`; return the index of the first pixel that has none, or -1."""
    for k in range(frame.size):
        value = frame[k]
        if not (value >= 0.0 and value <= brightest):
            return k
        number = value * white
        if offset >= 0.0:
            level = math.log(number + offset)
        else:
            level = number * slope if number <= knee else math.log(number)
        levels[k] = np.int32(math.floor(level * unit + 0.5))
    return -1


@njit(cache=True, nogil=True)
def _next_codes(ref: int, on: int, off: int, table: Array) -> tuple[int, int]:
    """Return the least code that is bright enough for ON and the greatest dark enough for OFF.

    255 and 0 stand in where no code is: a pixel there is looked at again, and gives no event.
    """
    low, high = 0, 255
    while low < high:
        middle = (low + high) >> 1
        if table[middle] - ref >= on:
            high = middle
        else:
            low = middle + 1
    up = low
    low, high = 0, 255
    while low < high:
        middle = (low + high + 1) >> 1
        if ref - table[middle] >= off:
            low = middle
        else:
            high = middle - 1
    return up, low


@njit(cache=True, nogil=True)
def start_codes(codes: Array, table: Array, on: int, off: int, up: Array, down: Array) -> None:
    """Fill `up` and `down` (uint8) for pixels whose reference is their first code."""
    ups = np.empty(256, np.uint8)
    downs = np.empty(256, np.uint8)
    for code in range(256):
        above, below = _next_codes(np.int64(table[code]), on, off, table)
        ups[code] = above
        downs[code] = below
    for k in range(codes.size):
        up[k] = ups[codes[k]]
        down[k] = downs[codes[k]]


@njit(cache=True, nogil=True)
def _crossings(level: int, ref: int, on: int, off: int) -> int:
    """Return how many thresholds lie between `ref` and `level`; negative for OFF."""
    change = np.int64(level) - np.int64(ref)
    if change >= 0:
        return change // on
    return -((-change) // off)


@njit(cache=True, nogil=True)
def count_codes(
    codes: Array,
    up: Array,
    down: Array,
    ref: Array,
    table: Array,
    on: int,
    off: int,
    loud: Array,
    counts: Array,
) -> int:
    """Mark pixels that may fire in `loud` (uint8), count their events; return their sum.

    `loud` is padded to whole words of 8, which are skipped where all 8 pixels are quiet.
    """
    n = codes.size
    for k in range(n):
        loud[k] = (codes[k] >= up[k]) | (codes[k] <= down[k])
    words = loud.view(np.uint64)
    total = np.int64(0)
    for w in range(words.size):
        if words[w] != 0:
            for k in range(w * 8, min(n, w * 8 + 8)):
                c = _crossings(table[codes[k]], ref[k], on, off) if loud[k] != 0 else 0
                counts[k] = c
                total += abs(c)
    return total


@njit(cache=True, nogil=True)
def count_levels(
    codes: Array, ref: Array, table: Array, on: int, off: int, loud: Array, counts: Array
) -> int:
    """As `count_codes`, for codes of more than 8 bits and for levels."""
    total = np.int64(0)
    tabled = table.size > 0
    for k in range(codes.size):
        level = table[codes[k]] if tabled else codes[k]
        change = np.int64(level) - np.int64(ref[k])
        loud[k] = (change >= on) | (-change >= off)
        if loud[k] != 0:
            c = _crossings(level, ref[k], on, off)
            counts[k] = c
            total += abs(c)
    return total


@njit(cache=True, nogil=True)
def emit(
    before: Array,
    after: Array,
    first: int,
    up: Array,
    down: Array,
    ref: Array,
    table: Array,
    on: int,
    off: int,
    loud: Array,
    counts: Array,
    interval: int,
    times: Array,
    marks: Array,
    histogram: Array,
) -> None:
    """Write the events of a slice of pixels, in order of pixels, and move their references.

    times      int32  microseconds since the frame before, 0..interval, rounded to the nearest
    marks      int64  pixel index (`first` + place in the slice) * 2 + polarity
    histogram  int32  interval + 1 counts of `times`; of length 0 where it is not wanted
    up, down   of length 0 where the codes are not 8 bits wide
    """
    n = after.size
    words = loud.view(np.uint64)
    tabled = table.size > 0
    counted = histogram.size > 0
    coded = up.size > 0
    o = 0
    for w in range(words.size):
        if words[w] == 0:
            continue
        for k in range(w * 8, min(n, w * 8 + 8)):
            if loud[k] == 0 or counts[k] == 0:
                continue
            c = np.int64(counts[k])
            start = np.int64(table[before[k]] if tabled else before[k])
            stop = np.int64(table[after[k]] if tabled else after[k])
            rise = c > 0
            sign = np.int64(1) if rise else np.int64(-1)
            threshold = on if rise else off
            span = (stop - start) * sign
            way = (np.int64(ref[k]) - start) * sign
            mark = ((first + k) << 1) | np.int64(rise)
            for _ in range(c * sign):
                way += threshold
                t = (2 * way * interval + span) // (2 * span)
                times[o] = t
                marks[o] = mark
                if counted:
                    histogram[t] += 1
                o += 1
            moved = np.int64(ref[k]) + c * threshold
            ref[k] = moved
            if coded:
                up[k], down[k] = _next_codes(moved, on, off, table)


@njit(cache=True, nogil=True)
def places(histograms: Array) -> None:
    """Turn counts (parts, times) into the place of the first event of each, by time, then part."""
    place = 0
    for t in range(histograms.shape[1]):
        for part in range(histograms.shape[0]):
            count = histograms[part, t]
            histograms[part, t] = place
            place += count


@njit(cache=True, nogil=True)
def scatter(
    times: Array,
    marks: Array,
    place: Array,
    start_us: int,
    width: int,
    t: Array,
    x: Array,
    y: Array,
    p: Array,
) -> None:
    """Put a part's events in their places; `place` (one an interval's microsecond) is used up."""
    for o in range(times.size):
        d = place[times[o]]
        place[times[o]] = d + 1
        mark = marks[o]
        row = (mark >> 1) // width
        t[d] = start_us + times[o]
        y[d] = row
        x[d] = (mark >> 1) - row * width
        p[d] = (mark & 1) != 0
