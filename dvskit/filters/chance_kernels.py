"""What is drawn for each event or pixel by its number: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator.random._kernels import bits, uniform

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def kept_by_chance(
    seed: int, stream: int, first: int, dropped_share: float, keep: NDArray[Any]
) -> None:
    """Mark what is kept of the things numbered first, first + 1, ..."""
    for i in range(len(keep)):
        keep[i] = uniform(seed, stream, first + i, 0) >= dropped_share


@njit(cache=True, nogil=True)
def alias_of(weights: NDArray[Any], chance: NDArray[Any], other: NDArray[Any]) -> None:
    """Fill the tables of Vose 1991: entry k stands with `chance[k]` of 2**32, else for `other`."""
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
def drawn(word: int, chance: NDArray[Any], other: NDArray[Any]) -> int:
    """Return the entry that 32 random bits draw."""
    product = np.uint64(word) * np.uint64(len(chance))
    k = np.int64(product >> _HALF)
    return k if (product & _LOW) < chance[k] else np.int64(other[k])


@njit(cache=True, nogil=True)
def jitter_pixels(
    seed: int,
    first: int,
    width: int,
    height: int,
    chance: NDArray[Any],
    other: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    keep: NDArray[Any],
) -> None:
    """Move the events numbered first, first + 1, ... and mark those that stay on the sensor."""
    middle = len(chance) // 2
    for i in range(len(x)):
        word = bits(seed, 2, first + i, 0)
        new_x = x[i] + drawn(word & _LOW, chance, other) - middle
        new_y = y[i] + drawn(word >> _HALF, chance, other) - middle
        out_x[i] = new_x
        out_y[i] = new_y
        keep[i] = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)


@njit(cache=True, nogil=True)
def jitter_times(
    seed: int,
    first: int,
    chance: NDArray[Any],
    other: NDArray[Any],
    t: NDArray[Any],
    out_t: NDArray[Any],
    keep: NDArray[Any],
) -> None:
    """Move the times of the events numbered first, first + 1, ... and mark those not before 0."""
    middle = len(chance) // 2
    for i in range(len(t)):
        new = t[i] + drawn(bits(seed, 3, first + i, 0) >> _HALF, chance, other) - middle
        out_t[i] = new
        keep[i] = (new >= 0) | (t[i] < 0)


@njit(cache=True, nogil=True)
def noise_times(
    seed: int,
    number: int,
    next_us: float,
    gap_us: float,
    stop_us: int,
    times: NDArray[Any],
) -> tuple[int, float]:
    """Fill `times` with the noise from next_us up to and with stop_us, exponential gaps apart.

    `number` is that of the event at next_us. Returns how many there are, and the time of the next;
    where they fill the array there may be more.
    """
    count = 0
    while count < len(times) and np.floor(next_us) <= stop_us:
        times[count] = np.int64(np.floor(next_us))
        count += 1
        next_us -= np.log(uniform(seed, 4, number + count, 0)) * gap_us
    return count, next_us


@njit(cache=True, nogil=True)
def merge_noise(
    seed: int,
    first: int,
    on_share: float,
    width: int,
    height: int,
    times: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    out_t: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    out_p: NDArray[Any],
) -> None:
    """Put noise at `times` between events, ahead of those of the same time."""
    pixels = np.uint64(width * height)
    i = 0
    for j in range(len(times)):
        while i < len(t) and t[i] < times[j]:
            out_t[i + j] = t[i]
            out_x[i + j] = x[i]
            out_y[i + j] = y[i]
            out_p[i + j] = p[i]
            i += 1
        word = bits(seed, 5, first + j, 0)
        pixel = np.int64(((word >> _HALF) * pixels) >> _HALF)
        out_t[i + j] = times[j]
        out_x[i + j] = pixel % width
        out_y[i + j] = pixel // width
        out_p[i + j] = np.float64(word & _LOW) + 0.5 < on_share * 4294967296.0
    for k in range(i, len(t)):
        out_t[k + len(times)] = t[k]
        out_x[k + len(times)] = x[k]
        out_y[k + len(times)] = y[k]
        out_p[k + len(times)] = p[k]
