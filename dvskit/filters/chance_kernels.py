# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Random numbers drawn per event or pixel, by index: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit._random_kernels import GOLDEN, mix, uniform
from dvskit.filters.base import Columns

Array = NDArray[Any]
# Plain tuples: a named tuple takes 2 us more per call.
Drawing = tuple[int, int]
"""A seed, and the index of the first event or pixel."""
Table = tuple[Array, Array]
"""chance and other of `alias_of`."""
Places = tuple[Array, Array]
"""x and y of events."""
Moved = tuple[Array, Array, Array]
"""Outputs: x and y, and which events to keep."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def begin(seed: int, stream: int) -> int:
    """Return the start of the random words of a stream, uint64."""
    return mix(mix(np.uint64(seed)) + np.uint64(stream) * GOLDEN)


@njit(cache=True, nogil=True)
def word(begun: int, number: int) -> int:
    """Return 64 random bits, uint64: step `number` of SplitMix64 (Steele, Lea, Flood 2014)."""
    return mix(np.uint64(begun) + np.uint64(number) * GOLDEN)


@njit(cache=True, nogil=True)
def kept_by_chance(seed: int, stream: int, first: int, dropped_share: float, keep: Array) -> None:
    """Mark the kept ones of the indices first, first + 1, ..."""
    begun = begin(seed, stream)
    least = np.uint64(dropped_share * 9007199254740992.0)  # of 53 bits
    for i in range(len(keep)):
        keep[i] = (word(begun, first + i) >> np.uint64(11)) >= least


@njit(cache=True, nogil=True)
def alias_of(weights: Array, chance: Array, other: Array) -> None:
    """Fill the tables of Vose 1991: entry k has `chance[k]` of 2**32, else `other` is drawn."""
    count = len(weights)
    scaled = weights / weights.sum() * count
    small, large = np.empty(count, np.int64), np.empty(count, np.int64)
    few = many = 0
    for k in range(count):
        if scaled[k] < 1.0:
            small[few] = k
            few += 1
        else:
            large[many] = k
            many += 1
    while few and many:
        few -= 1
        less, more = small[few], large[many - 1]
        chance[less] = np.uint64(scaled[less] * 4294967296.0)
        other[less] = more
        scaled[more] -= 1.0 - scaled[less]
        if scaled[more] < 1.0:
            many -= 1
            small[few] = more
            few += 1
    for k in range(many):
        chance[large[k]] = np.uint64(4294967296)
    for k in range(few):
        chance[small[k]] = np.uint64(4294967296)


@njit(cache=True, nogil=True)
def drawn(bits: int, chance: Array, other: Array) -> int:
    """Return the entry selected by 32 random bits."""
    product = np.uint64(bits) * np.uint64(len(chance))
    k = product >> _HALF
    another = np.int64((product & _LOW) >= chance[k])  # no branch, which would be mispredicted
    return np.int64(k) + another * (np.int64(other[k]) - np.int64(k))


@njit(cache=True, nogil=True)
def jitter_pixels(
    drawing: Drawing, size: tuple[int, int], table: Table, places: Places, moved: Moved
) -> None:
    """Move the events first, first + 1, ... and mark those that stay on the sensor."""
    (seed, first), (width, height), (chance, other) = drawing, size, table
    (x, y), (out_x, out_y, keep) = places, moved
    middle, begun = len(chance) // 2, begin(seed, 2)
    for i in range(len(x)):
        bits = word(begun, first + i)
        new_x = x[i] + drawn(bits & _LOW, chance, other) - middle
        new_y = y[i] + drawn(bits >> _HALF, chance, other) - middle
        out_x[i] = new_x
        out_y[i] = new_y
        keep[i] = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)


@njit(cache=True, nogil=True)
def jitter_times(drawing: Drawing, table: Table, t: Array, out_t: Array, keep: Array) -> None:
    """Move the times of the events first, first + 1, ... and mark those not before 0."""
    (seed, first), (chance, other) = drawing, table
    middle, begun = len(chance) // 2, begin(seed, 3)
    for i in range(len(t)):
        new = t[i] + drawn(word(begun, first + i) >> _HALF, chance, other) - middle
        out_t[i] = new
        keep[i] = (new >= 0) | (t[i] < 0)


@njit(cache=True, nogil=True)
def noise_times(
    seed: int, number: int, next_us: float, gap_us: float, stop_us: int, times: Array
) -> tuple[int, float]:
    """Fill `times` with noise at exponential gaps, from next_us to stop_us inclusive.

    `number` is the index of the noise event at next_us. Returns how many were written, and the time
    of the next; a full array means that there may be more.
    """
    count = 0
    while count < len(times) and np.floor(next_us) <= stop_us:
        times[count] = np.int64(np.floor(next_us))
        count += 1
        next_us -= np.log(uniform(seed, 4, number + count, 0)) * gap_us
    return count, next_us


@njit(cache=True, nogil=True)
def merge_noise(
    drawing: Drawing, on_share: float, size: tuple[int, int], times: Array, given: Columns,
    out: Columns,
) -> None:  # fmt: skip
    """Merge noise at `times` into the events, before events of the same time."""
    (seed, first), (width, height) = drawing, size
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    pixels, begun = np.uint64(width * height), begin(seed, 5)
    i = 0
    for j in range(len(times)):
        while i < len(t) and t[i] < times[j]:
            out_t[i + j] = t[i]
            out_x[i + j] = x[i]
            out_y[i + j] = y[i]
            out_p[i + j] = p[i]
            i += 1
        bits = word(begun, first + j)
        pixel = np.int64(((bits >> _HALF) * pixels) >> _HALF)
        out_t[i + j] = times[j]
        out_x[i + j] = pixel % width
        out_y[i + j] = pixel // width
        out_p[i + j] = np.float64(bits & _LOW) + 0.5 < on_share * 4294967296.0
    for k in range(i, len(t)):
        out_t[k + len(times)] = t[k]
        out_x[k + len(times)] = x[k]
        out_y[k + len(times)] = y[k]
        out_p[k + len(times)] = p[k]
