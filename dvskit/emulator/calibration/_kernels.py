"""Loops of the calibration: plain arrays in and out, times in microseconds, levels in e-folds.

Events are sorted by pixel: pixel k has those from starts[k] to starts[k + 1], in time order.
Frames are `numbers` (pixels, frames), digital numbers from 0 to 255, at `frame_t`, float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator._kernels import level_of, light_of

Array = NDArray[Any]

OFF, ON, CUT = 0, 1, 2  # what ends a gap: an event, or the end of what is known
RESET, STEADY, MOVED = 0, 1, 2  # what begins it: an event, or a span, behind rest or motion


@njit(cache=True, nogil=True)
def sort_by_pixel(pixel: Array, pixels: int, order: Array, starts: Array) -> None:
    """Fill order (indices of the events, pixel by pixel, stable) and starts (pixels + 1)."""
    starts[:] = 0
    for k in pixel:
        starts[k + 1] += 1
    for k in range(pixels):
        starts[k + 1] += starts[k]
    free = starts[:-1].copy()
    for i in range(pixel.size):
        k = pixel[i]
        order[free[k]] = i
        free[k] += 1


@njit(cache=True, nogil=True)
def still_spans(
    frame_t: Array, numbers: Array, offset: float, knee: float, tolerance: float, settle: float,
    pole: float, shortest: float, span_pixel: Array, span_start: Array, span_stop: Array,
    span_light: Array, span_moved: Array,
) -> int:  # fmt: skip
    """Write the spans in which a pixel's level stays within `tolerance`.

    Ahead of each, `settle` and six time constants are left out; spans that are `shortest` or more
    are kept, with their mean light, (I + 20) / 275, and whether the pixel saw a change ahead of it.
    Returns their number.
    """
    n = 0
    slope = math.log(knee) / knee
    frames = frame_t.size
    for k in range(numbers.shape[0]):
        first = 0
        lowest = highest = level_of(numbers[k, 0], offset, knee, slope)
        total = np.float64(numbers[k, 0])
        for f in range(1, frames + 1):
            level = level_of(numbers[k, f], offset, knee, slope) if f < frames else math.inf
            if max(highest, level) - min(lowest, level) <= tolerance:
                lowest, highest = min(lowest, level), max(highest, level)
                total += numbers[k, f]
                continue
            light = light_of(total / (f - first))
            start = frame_t[first] + settle + 6.0 * pole / light
            if frame_t[f - 1] - start >= shortest:
                span_pixel[n], span_light[n], span_moved[n] = k, light, first > 0
                span_start[n], span_stop[n] = start, frame_t[f - 1]
                n += 1
            if f < frames:
                first, lowest, highest, total = f, level, level, np.float64(numbers[k, f])
    return n


@njit(cache=True, nogil=True)
def gaps_in_spans(
    t: Array, p: Array, starts: Array, span_pixel: Array, span_start: Array, span_stop: Array,
    span_moved: Array, held: float, gap_span: Array, gap_length: Array, gap_end: Array,
    gap_begin: Array,
) -> int:  # fmt: skip
    """Write the gaps from event to event in each span, less the refractory period, and their ends.

    The first gap of a span begins at the span. Returns the number of gaps: one a span more than
    events.
    """
    n = 0
    for s in range(span_pixel.size):
        low, high = starts[span_pixel[s]], starts[span_pixel[s] + 1]
        i = low + np.searchsorted(t[low:high], span_start[s])
        begun = span_start[s]
        begin = MOVED if span_moved[s] else STEADY
        while True:
            inside = i < high and t[i] < span_stop[s]
            end = np.float64(t[i]) if inside else span_stop[s]
            gap_span[n], gap_length[n], gap_begin[n] = s, max(0.0, end - begun), begin
            gap_end[n] = (ON if p[i] else OFF) if inside else CUT
            n += 1
            if not inside:
                break
            begun = end + held
            begin = RESET
            i += 1
    return n


@njit(cache=True, nogil=True)
def leak_likelihood(
    starts: Array, length: Array, end: Array, begin: Array, shot: Array, share_on: float,
    reach: float, periods: Array, jitter: float, table: Array,
) -> None:  # fmt: skip
    """Fill the log likelihood of each pixel's gaps for each leak period: table (pixels, periods).

    A gap ends at the period, which a jitter spreads evenly by a factor of 1 -+ sqrt(3) jitter, or
    at a shot event (`shot` a microsecond, of either polarity) ahead of it. A gap that begins with a
    span begins anywhere between two events; behind motion, anywhere between the two thresholds, so
    that the leak has up to two periods to go.
    """
    half = math.sqrt(3.0) * jitter
    for k in range(table.shape[0]):
        for j in range(periods.size):
            period = periods[j]
            low, high = period * (1.0 - half), period * (1.0 + half)
            total = 0.0
            for i in range(starts[k], starts[k + 1]):
                g, rate = length[i], max(shot[i], 1e-12)
                if begin[i] == MOVED:
                    stays = max(0.0, 1.0 - g / (reach * period))
                    density = 1.0 / (reach * period) if g < reach * period else 0.0
                elif begin[i] == STEADY:
                    whole = 1.0 - math.exp(-rate * period)
                    left = 1.0 - math.exp(-rate * max(0.0, period - g))
                    stays = left / whole
                    density = rate * (1.0 - left) / whole if g < period else 0.0
                elif g <= low:
                    stays, density = 1.0, 0.0
                elif g < high:
                    stays, density = (high - g) / (high - low), 1.0 / (high - low)
                else:
                    stays, density = 0.0, 0.0
                stays = max(stays, 1e-3)
                if end[i] == ON:
                    total += math.log(share_on * rate * stays + density)
                elif end[i] == OFF:
                    total += math.log((1.0 - share_on) * rate * stays)
                else:
                    total += math.log(stays)
            table[k, j] = total


@njit(cache=True, nogil=True)
def intervals(t: Array, p: Array, starts: Array, kinds: Array, gaps: Array) -> int:
    """Write the intervals between events of a pixel that follow each other; kind 2 p_first + p."""
    n = 0
    for k in range(starts.size - 1):
        for i in range(starts[k] + 1, starts[k + 1]):
            gaps[n] = t[i] - t[i - 1]
            kinds[n] = 2 * p[i - 1] + p[i]
            n += 1
    return n


@njit(cache=True, nogil=True)
def coincidences(
    t: Array, starts: Array, width: int, height: int, span_pixel: Array, span_start: Array,
    span_stop: Array, step: int, window: float,
) -> tuple[int, int]:  # fmt: skip
    """Return how many events in the spans have one of the pixel `step` to the right near in time.

    And how many were asked: those of pixels whose partner is on the sensor.
    """
    near = asked = 0
    for s in range(span_pixel.size):
        k = span_pixel[s]
        if k % width + step >= width:
            continue
        low, high = starts[k], starts[k + 1]
        other, end = starts[k + step], starts[k + step + 1]
        i = low + np.searchsorted(t[low:high], span_start[s])
        while i < high and t[i] < span_stop[s]:
            asked += 1
            j = other + np.searchsorted(t[other:end], t[i] - window)
            if j < end and t[j] <= t[i] + window:
                near += 1
            i += 1
    return near, asked
