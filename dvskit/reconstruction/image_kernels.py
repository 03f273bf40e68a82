"""Log intensity from events, and the normalization of voxel grids: plain arrays in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator.sensor.signal_kernels import exp, lesser
from dvskit.filters.base import Columns

Array = NDArray[Any]

OFFSET = 5.0  # of log intensity, in digital numbers: the log of darker pixels is mostly noise
DARK = np.float32(OFFSET)
_MOST = 20.0  # of a difference in log intensity: from black, less is white
# level: of log intensity; rate: of its decay, per microsecond; last: time of its latest change
CELL = np.dtype([("level", np.float32), ("rate", np.float32), ("last", np.int64)])


@njit(cache=True, nogil=True)
def leaky_sums(events: Columns, width: int, steps: tuple[float, float], cells: Array) -> None:
    """Let the level of each event's pixel decay to 0 until the event, and add its step.

    steps  added for OFF and for ON
    cells  (H * W,) of CELL
    """
    t, x, y, p = events
    for i in range(len(t)):
        cell = cells[np.int64(y[i]) * width + x[i]]
        kept = math.exp(np.float32(cell.last - t[i]) * cell.rate)
        cell.level = np.float32(cell.level * kept + steps[np.int64(p[i])])
        cell.last = t[i]


@njit(cache=True, nogil=True)
def count_events(events: Columns, width: int, counts: Array) -> None:
    """Count the events of each pixel: (H * W, 2) int32, OFF and ON."""
    _, x, y, p = events
    for i in range(len(x)):
        counts[np.int64(y[i]) * width + x[i], np.int64(p[i])] += 1


@njit(cache=True, nogil=True, inline="always")
def decayed(cell: Any, t_us: int) -> Any:
    """Return the level of a pixel at a time."""
    return cell.level * exp(np.float32(cell.last - t_us) * cell.rate)


@njit(cache=True, nogil=True)
def brightness(
    t_us: int, cells: Array, counts: Array, steps: Array, frame: Array, image: Array, changed: Array
) -> None:
    """Write the brightness of all pixels, 0..1, to `image`, (H * W,) float32.

    Loops have few arrays and no branches, so that the compiler makes them of vector instructions.

    steps    (2,) float32, of an OFF and an ON event since the frame; zeros if `level` has them
    frame    (H * W,) in digital numbers
    changed  (H * W,) uint8, set to 1 for pixels with events since the frame, else to 0
    """
    off, on = steps[0], steps[1]
    for i in range(len(image)):
        image[i] = decayed(cells[i], t_us)
    for i in range(len(image)):
        image[i] += counts[i, 0] * off + counts[i, 1] * on
    for i in range(len(image)):
        light = np.float32((frame[i] + DARK) * exp(lesser(image[i], _MOST)) - DARK)
        image[i] = min(max(light / np.float32(255), np.float32(0)), np.float32(1))
    for i in range(len(image)):
        changed[i] = counts[i, 0] + counts[i, 1] > 0


@njit(cache=True, nogil=True)
def start_from_frame(
    t_us: int, cells: Array, counts: Array, steps: Array, before: Array, after: Array,
    logs: Array, rates: Array,
) -> None:  # fmt: skip
    """Set each pixel's level to how far it is from a new frame, and count anew.

    before, after  (H * W,) uint8
    logs, rates    (256,) float32: log intensity and rate of decay of each value of a frame
    """
    for i in range(len(cells)):
        cell = cells[i]
        apart = decayed(cell, t_us) + counts[i, 0] * steps[0] + counts[i, 1] * steps[1]
        cell.level = apart + logs[before[i]] - logs[after[i]]
        cell.rate = rates[after[i]]
        cell.last = t_us
        counts[i, 0] = counts[i, 1] = 0


@njit(cache=True, nogil=True)
def add_squares(
    before: Array, after: Array, counts: Array, x: Array, limits: tuple[float, float, float],
    noise: float, a: Array, b: Array,
) -> None:  # fmt: skip
    """Add a Gauss-Newton step for the thresholds x, (2,), OFF and ON, to A x = b.

    limits  least and most digital number of a frame that is not saturated, and the largest change
            of log intensity
    noise   variance of an event's step, relative to that of a frame's pixel
    """
    low, high, farthest = limits
    for i in range(len(before)):
        off, on = float(counts[i, 0]), float(counts[i, 1])
        start, stop = float(before[i]), float(after[i])
        if off + on == 0 or start <= low or start >= high or stop >= high:
            continue
        change = min(max(on * x[1] - off * x[0], -farthest), farthest)
        moved = (start + OFFSET) * math.exp(change) / 255
        slope_off, slope_on = -moved * off, moved * on
        wanted = (stop + OFFSET) / 255 - moved + slope_off * x[0] + slope_on * x[1]
        weight = 1 / (1 + noise * (off + on))
        a[0, 0] += weight * slope_off * slope_off
        a[0, 1] += weight * slope_off * slope_on
        a[1, 0] += weight * slope_off * slope_on
        a[1, 1] += weight * slope_on * slope_on
        b[0] += weight * slope_off * wanted
        b[1] += weight * slope_on * wanted


_EQUAL = 1e-10  # of the mean square: a variance from rounding alone


@njit(cache=True, nogil=True)
def normalize_nonzero(values: Array) -> None:
    """Shift and scale the values other than 0 to mean 0 and deviation 1, in place.

    Values that are all equal stay.
    """
    count, total, squares = _sums(values)
    if count == 0:
        return
    mean, square = total / count, squares / count
    variance = square - mean * mean
    if variance <= _EQUAL * square:
        return
    shift, scale = np.float32(mean), np.float32(1 / np.sqrt(variance))
    zero = np.float32(0)
    for i in range(len(values)):
        value = values[i]
        values[i] = (value - shift) * scale if value != 0 else zero


@njit(cache=True, nogil=True, fastmath={"reassoc"})  # in any order, several at once: half the time
def _sums(values: Array) -> tuple[int, float, float]:
    """Return the number of values other than 0, and the sums of the values and of their squares."""
    count, total, squares = 0, 0.0, 0.0
    for i in range(len(values)):  # without a branch: zeros add nothing to the sums
        value = np.float64(values[i])
        total += value
        squares += value * value
        count += value != 0
    return count, total, squares
