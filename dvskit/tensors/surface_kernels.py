# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Times of the latest events, and what fades since then: plain arrays in and out.

Planes, borders and indices are as in `counts_kernels`; bin k goes from edges[k] to edges[k + 1],
microseconds after the first bin begins at start_us. What is left of an age is in the two tables of
`fading_tables`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.tensors.counts_kernels import begin_plane

_AT_ONCE = 2048  # pixels that are followed through all bins together, within the nearest cache


@njit(cache=True, nogil=True)
def _left(age: int, low: NDArray[Any], high: NDArray[Any], shift: int) -> float:
    """Return exp(-age / tau)."""
    coarse = np.uintp(age) >> np.uintp(shift)
    if coarse >= np.uintp(len(high)):
        return 0.0
    return high[coarse] * low[np.uintp(age) & np.uintp(len(low) - 1)]


@njit(cache=True, nogil=True)
def _shift_of(low: NDArray[Any]) -> int:
    shift = 0
    while 1 << shift < len(low):
        shift += 1
    return shift


@njit(cache=True, nogil=True)
def stamp(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    borders: NDArray[Any],
    flat: NDArray[Any],
    origin: int,
    step: int,
    length: int,
    held: NDArray[Any],
    clean: bool,
    width: int,
    on: int,
    start_us: int,
    edges: NDArray[Any],
) -> None:
    """Write when each pixel's latest event of a bin was: 1 for the time at which the bin begins."""
    row, above = np.uintp(width), np.uintp(on)
    kind = flat.dtype.type
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        ts, xs, ys, ps = t[start:stop], x[start:stop], y[start:stop], p[start:stop]
        plane = flat[origin + k * step : origin + k * step + length]
        begin_plane(plane, held[k], len(ts), clean)
        held[k] += len(ts)
        zero = start_us + edges[k] - 1
        for i in range(len(ts)):
            at = np.uintp(ys[i]) * row + np.uintp(xs[i]) + np.uintp(ps[i]) * above
            plane[at] = kind(ts[i] - zero)


@njit(cache=True, nogil=True)
def carry_stamps(
    stamps: NDArray[Any],
    step: int,
    first: int,
    stop: int,
    start_us: int,
    edges: NDArray[Any],
    never: int,
) -> None:
    """Turn the stamps of pixels first, ..., stop - 1 into times, those of earlier bins kept."""
    latest = np.empty(_AT_ONCE, np.int64)
    for low in range(first, stop, _AT_ONCE):
        high = min(stop, low + _AT_ONCE)
        latest[:] = never
        for k in range(len(edges) - 1):
            plane = stamps[k * step + low : k * step + high]
            zero = start_us + edges[k] - 1
            for i in range(len(plane)):
                if plane[i]:
                    latest[i] = zero + plane[i]
                plane[i] = latest[i]


@njit(cache=True, nogil=True)
def fade_stamps(
    stamps: NDArray[Any],
    stamps_step: int,
    surface: NDArray[Any],
    step: int,
    first: int,
    stop: int,
    edges: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
) -> None:
    """Write exp(-age / tau) of pixels first, ..., stop - 1 at the end of each bin, 0 where never.

    `surface` may be the memory of `stamps`: each value is read before it is written.
    """
    latest = np.empty(_AT_ONCE, np.int64)
    shift = _shift_of(low)
    for some in range(first, stop, _AT_ONCE):
        rest = min(stop, some + _AT_ONCE)
        latest[:] = -1
        for k in range(len(edges) - 1):
            plane = stamps[k * stamps_step + some : k * stamps_step + rest]
            faded = surface[k * step + some : k * step + rest]
            for i in range(len(plane)):
                if plane[i]:
                    latest[i] = edges[k] - 1 + plane[i]
                if latest[i] < 0:
                    faded[i] = 0.0
                else:
                    faded[i] = _left(edges[k + 1] - latest[i], low, high, shift)


@njit(cache=True, nogil=True)
def add_faded(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    borders: NDArray[Any],
    flat: NDArray[Any],
    origin: int,
    step: int,
    length: int,
    held: NDArray[Any],
    clean: bool,
    width: int,
    on: int,
    start_us: int,
    edges: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
) -> None:
    """Add for each event what is left of it at the end of its bin, exp(-age / tau)."""
    row, above, shift = np.uintp(width), np.uintp(on), _shift_of(low)
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        ts, xs, ys, ps = t[start:stop], x[start:stop], y[start:stop], p[start:stop]
        plane = flat[origin + k * step : origin + k * step + length]
        begin_plane(plane, held[k], len(ts), clean)
        held[k] += len(ts)
        end = start_us + edges[k + 1]
        for i in range(len(ts)):
            at = np.uintp(ys[i]) * row + np.uintp(xs[i]) + np.uintp(ps[i]) * above
            plane[at] += np.float32(_left(end - ts[i], low, high, shift))


@njit(cache=True, nogil=True)
def carry_faded(
    flat: NDArray[Any], step: int, first: int, stop: int, factors: NDArray[Any]
) -> None:
    """Add to each bin what is left of the one before: factors[k] times its values, for k > 0."""
    for low in range(first, stop, _AT_ONCE):
        high = min(stop, low + _AT_ONCE)
        for k in range(1, len(factors)):
            before = flat[(k - 1) * step + low : (k - 1) * step + high]
            plane = flat[k * step + low : k * step + high]
            for i in range(len(plane)):
                plane[i] += before[i] * factors[k]
