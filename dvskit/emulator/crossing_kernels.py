"""Loops that sort the crossings of one interval, or count them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# A mark, int64: the pixel from bit MARK_PIXEL on, the noise flag, the ON flag.
MARK_PIXEL, MARK_NOISE, MARK_ON = 2, 2, 1

_PIXEL, _NOISE, _ON = np.uint32(MARK_PIXEL), np.uint32(MARK_NOISE), np.uint32(MARK_ON)
_TIME = np.uint64(32)  # shift of the time above the mark
_OF_PIXEL = np.uint64((1 << MARK_PIXEL) - 1)

# Plain tuples: a named tuple takes 2 us more per call.
Marked = tuple[Array, Array]
"""times (int32, microseconds since the previous frame) and marks (int64) of events."""
Columns = tuple[Array, Array, Array, Array, Array]
"""t, x, y, p of events, and their noise flags: of length 0 if not requested."""


@njit(cache=True, nogil=True)
def places(histograms: Array) -> None:
    """Turn counts (parts, times) into the index of the first event of each, by time, then part."""
    place = 0
    for t in range(histograms.shape[1]):
        for part in range(histograms.shape[0]):
            count = histograms[part, t]
            histograms[part, t] = place
            place += count


@njit(cache=True, nogil=True)
def count_times(times: Array, histogram: Array) -> None:
    """Add the number of `times` at each microsecond to `histogram`."""
    for i in range(times.size):
        histogram[times[i]] += 1


@njit(cache=True, nogil=True)
def scatter(times: Array, marks: Array, place: Array, packed: Array) -> None:
    """Put the events of a part in their places; `place` (one per microsecond) is advanced.

    packed  uint64, the time above 32 bits of mark
    """
    for o in range(times.size):
        time = np.uint64(times[o])
        d = np.uint64(place[time])  # unsigned indices need no bounds test
        place[time] += 1
        packed[d] = (time << _TIME) | np.uint64(marks[o])


@njit(cache=True, nogil=True)
def order_pixels(packed: Array) -> None:
    """Sort events of the same time by pixel; those of one pixel keep their order.

    packed  uint64, see `scatter`, in order of time
    """
    for d in range(1, packed.size):
        own = packed[d]
        if packed[d - 1] <= own | _OF_PIXEL:
            continue
        at = d
        while at > 0 and packed[at - 1] > own | _OF_PIXEL:
            packed[at] = packed[at - 1]
            at -= 1
        packed[at] = own


@njit(cache=True, nogil=True)
def unpack(packed: Array, start_us: int, width: int, events: Columns) -> None:
    """Fill in the events of an interval that begins at `start_us`.

    packed  uint64, see `scatter`
    """
    t, x, y, p, noise = events
    for d in range(packed.size):
        t[d] = start_us + np.int64(packed[d] >> _TIME)
    # A row is an integer and a fraction of at least half a column: rounding of the inverse cannot
    # reach the next integer.
    inverse = 1.0 / width
    across = np.int32(width)
    for d in range(packed.size):
        pixel = np.int32(np.uint32(packed[d]) >> _PIXEL)
        row = np.int32((pixel + 0.5) * inverse)
        y[d] = np.int16(row)
        x[d] = np.int16(pixel - np.int32(row * across))
    for d in range(packed.size):
        p[d] = (np.uint32(packed[d]) & _ON) != 0
    for d in range(noise.size):
        noise[d] = (np.uint32(packed[d]) & _NOISE) != 0


@njit(cache=True, nogil=True)
def add_crossings(times: Array, marks: Array, offset: int, bin_us: int, counts: Array) -> int:
    """Add events to counts (bins, 2, pixels), `offset` their zero in bins; return the outside."""
    missed = 0
    for o in range(times.size):
        t = offset + times[o]
        k = t // bin_us
        if k < 0 or k >= counts.shape[0]:
            missed += 1
        else:
            counts[k, marks[o] & MARK_ON, marks[o] >> MARK_PIXEL] += 1
    return missed
