# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Latest events, exponential decay, and averages of decayed events: plain arrays in and out.

Planes, borders and indices are as in `counts_kernels`; bin k goes from edges[k] to edges[k + 1],
microseconds after start_us, the start of the first bin. The two tables of `fading_tables` hold
the decay by age.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.tensors.counts_kernels import Columns, Layout, Span, begin_plane

Array = NDArray[Any]
Tables = tuple[Array, Array]
"""low and high of `fading_tables`."""
_AT_ONCE = 2048  # pixels processed together through all bins, within the L1 cache


@njit(cache=True, nogil=True)
def _left(age: int, low: Array, high: Array, shift: int) -> float:
    """Return exp(-age / tau)."""
    coarse = np.uintp(age) >> np.uintp(shift)
    if coarse >= np.uintp(len(high)):
        return 0.0
    return high[coarse] * low[np.uintp(age) & np.uintp(len(low) - 1)]


@njit(cache=True, nogil=True)
def _shift_of(low: Array) -> int:
    shift = 0
    while 1 << shift < len(low):
        shift += 1
    return shift


@njit(cache=True, nogil=True)
def stamp(
    events: Columns, borders: Array, span: Span, layout: Layout, start_us: int, edges: Array
) -> None:
    """Write the time of each pixel's latest event in a bin; 1 is the start of the bin."""
    (t, x, y, p), (width, on) = events, layout
    row, above = np.uintp(width), np.uintp(on)
    kind = span[0].dtype.type
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        ts, xs, ys, ps = t[start:stop], x[start:stop], y[start:stop], p[start:stop]
        plane = begin_plane(span, k, len(ts))
        zero = start_us + edges[k] - 1
        for i in range(len(ts)):
            at = np.uintp(ys[i]) * row + np.uintp(xs[i]) + np.uintp(ps[i]) * above
            plane[at] = kind(ts[i] - zero)


@njit(cache=True, nogil=True)
def carry_stamps(
    stamps: tuple[Array, int], first: int, stop: int, start_us: int, edges: Array, never: int
) -> None:
    """Turn the stamps of pixels first, ..., stop - 1 into times; earlier bins carry over.

    stamps  values, and the step from one plane to the next
    """
    values, step = stamps
    latest = np.empty(_AT_ONCE, np.int64)
    for low in range(first, stop, _AT_ONCE):
        high = min(stop, low + _AT_ONCE)
        latest[:] = never
        for k in range(len(edges) - 1):
            plane = values[k * step + low : k * step + high]
            zero = start_us + edges[k] - 1
            for i in range(len(plane)):
                if plane[i]:
                    latest[i] = zero + plane[i]
                plane[i] = latest[i]


@njit(cache=True, nogil=True)
def fade_stamps(
    stamps: tuple[Array, int],
    surface: tuple[Array, int],
    first: int,
    stop: int,
    edges: Array,
    tables: Tables,
) -> None:
    """Write exp(-age / tau) of pixels first, ..., stop - 1 at the end of each bin; 0 without event.

    stamps, surface  values, and the step from one plane to the next; they may share memory:
                     each value is read before it is written
    """
    low, high = tables
    values, step = stamps
    faded_values, faded_step = surface
    latest = np.empty(_AT_ONCE, np.int64)
    shift = _shift_of(low)
    for some in range(first, stop, _AT_ONCE):
        rest = min(stop, some + _AT_ONCE)
        latest[:] = -1
        for k in range(len(edges) - 1):
            plane = values[k * step + some : k * step + rest]
            faded = faded_values[k * faded_step + some : k * faded_step + rest]
            for i in range(len(plane)):
                if plane[i]:
                    latest[i] = edges[k] - 1 + plane[i]
                if latest[i] < 0:
                    faded[i] = 0.0
                else:
                    faded[i] = _left(edges[k + 1] - latest[i], low, high, shift)


@njit(cache=True, nogil=True)
def add_faded(
    events: Columns,
    borders: Array,
    span: Span,
    layout: Layout,
    times: tuple[int, Array],
    tables: Tables,
) -> None:
    """Add exp(-age / tau) of each event at the end of its bin.

    times  the start of the first bin, and the bin edges relative to it
    """
    (t, x, y, p), (width, on) = events, layout
    (start_us, edges), (low, high) = times, tables
    row, above, shift = np.uintp(width), np.uintp(on), _shift_of(low)
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        ts, xs, ys, ps = t[start:stop], x[start:stop], y[start:stop], p[start:stop]
        plane = begin_plane(span, k, len(ts))
        end = start_us + edges[k + 1]
        for i in range(len(ts)):
            at = np.uintp(ys[i]) * row + np.uintp(xs[i]) + np.uintp(ps[i]) * above
            plane[at] += np.float32(_left(end - ts[i], low, high, shift))


@njit(cache=True, nogil=True)
def carry_faded(flat: Array, step: int, first: int, stop: int, factors: Array) -> None:
    """Add the decayed previous bin to each bin: factors[k] times its values, for k > 0."""
    for low in range(first, stop, _AT_ONCE):
        high = min(stop, low + _AT_ONCE)
        for k in range(1, len(factors)):
            before = flat[(k - 1) * step + low : (k - 1) * step + high]
            plane = flat[k * step + low : k * step + high]
            for i in range(len(plane)):
                plane[i] += before[i] * factors[k]


_ROWS_AT_ONCE = 512  # pixels whose rows of K values stay in the L1 cache


@njit(cache=True, nogil=True)
def push_latest(events: Columns, latest: Array, width: int, on: int, zero_us: int) -> None:
    """Insert t - zero_us at the front of the row of each event's pixel, dropping the oldest.

    latest  (2 * H * W, K) int64
    """
    t, x, y, p = events
    row, above = np.uintp(width), np.uintp(on)
    deep = latest.shape[1]
    for i in range(len(t)):
        at = np.uintp(y[i]) * row + np.uintp(x[i]) + np.uintp(p[i]) * above
        for k in range(deep - 1, 0, -1):
            latest[at, k] = latest[at, k - 1]
        latest[at, 0] = t[i] - zero_us


@njit(cache=True, nogil=True)
def log_ages(
    latest: Array, plane: Array, first: int, stop: int, now: int, ages_us: tuple[float, float]
) -> None:
    """Write log(age + 1) - log(shortest + 1) of pixels first, ..., stop - 1; 0 means no event.

    latest   (2 * H * W, K)
    plane    (2 * K * H * W,): the K of OFF, then those of ON
    ages_us  shortest and longest
    """
    shortest_us, longest_us = ages_us
    pixels, deep = latest.shape[0] // 2, latest.shape[1]
    least = math.log(shortest_us + 1.0)
    most = math.log(longest_us + 1.0) - least
    for low in range(first, stop, _ROWS_AT_ONCE):
        high = min(stop, low + _ROWS_AT_ONCE)
        for k in range(deep):
            for at in range(low, high):
                polarity = at // pixels
                to = (polarity * deep + k) * pixels + at - polarity * pixels
                age = float(now - latest[at, k])
                if latest[at, k] == 0 or age >= longest_us:
                    plane[to] = most
                elif age <= shortest_us:
                    plane[to] = 0.0
                else:
                    plane[to] = math.log(age + 1.0) - least


_MOST_TAUS = 600.0  # the unit of the sums grows by exp(600) at most, so float64 does not overflow


@njit(cache=True, nogil=True)
def add_surfaces(
    events: Columns,
    kept: tuple[Array, Array],
    around: tuple[Array, Array],
    cells: tuple[Array, Array],
    origin_us: int,
    given: tuple[int, int, float],
) -> tuple[int, int]:
    """Add the decayed earlier events around each event to the surface of its cell.

    kept    (held + n,) each: times of events and their indices in the sums, oldest first; the
            first `held` are inputs, those of the n new ones are written
    around  (2, H, W) each, of the events within the window: the sums of
            exp((t - origin_us) / tau), and their number
    cells   (cells, 2, S, S) and (cells, 2): the sums, and their number of events
    given   cell_px, window_us (negative: unlimited) and tau_us

    Returns how many of the oldest expired, and the new origin_us.
    """
    t, x, y, p = events
    kept_t, kept_at = kept
    sums, numbers = around
    surfaces, counts = cells
    cell_px, window_us, tau_us = given
    held = len(kept_t) - len(t)
    height, width = numbers.shape[1], numbers.shape[2]
    radius = surfaces.shape[2] // 2
    across = (width + cell_px - 1) // cell_px
    oldest = 0
    for i in range(len(t)):
        now, column, line, polarity = t[i], np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        if (now - origin_us) / tau_us > _MOST_TAUS:
            sums *= math.exp((origin_us - now) / tau_us)
            origin_us = now
        while oldest < held + i and 0 <= window_us < now - kept_t[oldest]:
            _forget(kept_t[oldest], kept_at[oldest], sums, numbers, origin_us, tau_us)
            oldest += 1
        row, cell_column = line // cell_px, column // cell_px
        surface = surfaces[row * across + cell_column, polarity]
        weight = math.exp((origin_us - now) / tau_us)
        top = max(-radius, row * cell_px - line)
        bottom = min(radius, (row + 1) * cell_px - 1 - line, height - 1 - line)
        left = max(-radius, cell_column * cell_px - column)
        right = min(radius, (cell_column + 1) * cell_px - 1 - column, width - 1 - column)
        for down in range(top, bottom + 1):
            for aside in range(left, right + 1):
                left_there = sums[polarity, line + down, column + aside]
                surface[radius + down, radius + aside] += left_there * weight
        counts[row * across + cell_column, polarity] += 1
        sums[polarity, line, column] += math.exp((now - origin_us) / tau_us)
        numbers[polarity, line, column] += 1
        kept_t[held + i] = now
        kept_at[held + i] = (polarity * height + line) * width + column
    return oldest, origin_us


@njit(cache=True, nogil=True)
def _forget(t: int, at: int, sums: Array, numbers: Array, origin_us: int, tau_us: float) -> None:
    numbers.reshape(-1)[at] -= 1
    if numbers.reshape(-1)[at] == 0:
        sums.reshape(-1)[at] = 0.0  # exact zero, so rounding errors do not accumulate
    else:
        sums.reshape(-1)[at] -= math.exp((t - origin_us) / tau_us)
