# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Count events per bin, polarity and pixel: plain arrays in and out.

Event i of bin k, borders[k] <= i < borders[k + 1], adds to the value p * on + y * width + x of
the plane that begins at origin + k * step of `flat`. One call at a time writes a plane.
`held` is the number of events in each plane. A plane with 0 holds zeros if `clean`, else anything.
Indices are unsigned, which doubles the speed: numba checks signed ones for negative values, which
count from the end.

Related arguments come in a plain tuple at no cost; a named tuple takes 20 us more per call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = tuple[Array, Array, Array, Array]
"""t, x, y and p of events."""
Pixels = tuple[Array, Array, Array]
"""x, y and p of events."""
Layout = tuple[int, int]
"""width and on: the layout of values in a plane."""
Span = tuple[Array, int, int, int, Array, bool]
"""flat, origin, step, length, held and clean of some planes."""

_DENSE = 8  # pixels per event below which a plane is counted in bytes


@njit(cache=True, nogil=True)
def plane_of(span: Span, k: int) -> Array:
    """Return plane k of a span."""
    flat, origin, step, length, _, _ = span
    return flat[origin + k * step : origin + k * step + length]


@njit(cache=True, nogil=True)
def begin_plane(span: Span, k: int, events: int) -> Array:
    """Return plane k, to which that many events will be added; an empty one is cleared.

    Clearing zeros again also helps: in-order access brings the plane into the cache.
    """
    _, _, _, length, held, clean = span
    plane = plane_of(span, k)
    if held[k] == 0 and (not clean or events * _DENSE > length):
        plane[:] = 0
    held[k] += events
    return plane


@njit(cache=True, nogil=True)
def add_counts(events: Columns, borders: Array, span: Span, width: int, on: int, most: int) -> int:
    """Add one for each event; return the total excess over `most`, which is not added."""
    _, x, y, p = events
    _, _, _, length, held, _ = span
    full = 0
    longest = 0
    for k in range(len(borders) - 1):
        longest = max(longest, borders[k + 1] - borders[k])
    dense = longest * _DENSE > length
    tally = np.empty(length if dense else 0, np.uint8)
    wrapped = np.empty(longest // 256 + 1 if dense else 0, np.int64)
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        if start == stop:
            continue
        xs, ys, ps = x[start:stop], y[start:stop], p[start:stop]
        if len(xs) * _DENSE > length:
            wraps = _tally((xs, ys, ps), (width, on), tally, wrapped)
            full += add_tally(plane_of(span, k), tally, wrapped[:wraps], held[k], len(xs), most)
            held[k] += len(xs)
        else:
            plane = begin_plane(span, k, len(xs))
            full += _add_each((xs, ys, ps), (width, on), plane, most)
    return full


@njit(cache=True, nogil=True)
def count_few(
    events: Columns,
    bins: tuple[int, int, int, int, int],
    planes: tuple[Array, int, int, bool],
    width: int,
    on: int,
    most: int,
) -> tuple[int, int]:
    """Count the events of start <= t <= latest in empty planes, in one pass.

    bins    number, start, latest, numerator and denominator: see `dvskit.tensors.bins.Bins`
    planes  flat, step, length and clean

    Returns the total excess over `most`, and the number of events outside.
    """
    t, x, y, p = events
    count, start, latest, numerator, denominator = bins
    flat, step, length, clean = planes
    first = _until(t, 0, len(t), start - 1)
    stop = _until(t, first, len(t), latest)
    missed = len(t) - (stop - first)
    full = written = 0
    while first < stop:
        k = (t[first] - start) * numerator // denominator
        edge = -(-(k + 1) * denominator // numerator)
        # start + edge - 1 may exceed int64.
        behind = _until(t, first + 1, stop, start + min(edge - 1, latest - start))
        if not clean:
            _clear(flat, written, k + 1, step, length)
            written = k + 1
        plane = flat[k * step : k * step + length]
        part = slice(first, behind)
        full += _add_each((x[part], y[part], p[part]), (width, on), plane, most)
        first = behind
    if not clean:
        _clear(flat, written, count, step, length)
    return full, missed


@njit(cache=True, nogil=True)
def _until(t: Array, first: int, stop: int, last_us: int) -> int:
    """Return the index after the events of t <= last_us among those from `first` to `stop`."""
    low, high = np.uintp(first), np.uintp(stop)
    while low < high:
        middle = (low + high) >> np.uintp(1)
        if t[middle] <= last_us:
            low = middle + np.uintp(1)
        else:
            high = middle
    return np.int64(low)


@njit(cache=True, nogil=True)
def _clear(flat: Array, first: int, stop: int, step: int, length: int) -> None:
    for k in range(first, stop):
        flat[k * step : k * step + length] = 0


@njit(cache=True, nogil=True)
def _add_each(events: Pixels, layout: Layout, plane: Array, most: int) -> int:
    """Count in the plane itself."""
    (x, y, p), (width, on) = events, layout
    full = 0
    one = plane.dtype.type(1)
    row, above = np.uintp(width), np.uintp(on)
    for i in range(len(x)):
        at = np.uintp(y[i]) * row + np.uintp(x[i]) + np.uintp(p[i]) * above
        before = plane[at]
        if before == most:
            full += 1
        else:
            plane[at] = before + one
    return full


@njit(cache=True, nogil=True)
def _tally(events: Pixels, layout: Layout, tally: Array, wrapped: Array) -> int:
    """Count in bytes, which stay in the cache: a third of the time.

    Returns how often a byte wrapped from 255 to 0; `wrapped` lists where.
    """
    (x, y, p), (width, on) = events, layout
    wraps = 0
    row, above = np.uintp(width), np.uintp(on)
    tally[:] = 0
    if on == 0:  # ignores polarities: a quarter less time
        for i in range(len(x)):
            at = np.uintp(y[i]) * row + np.uintp(x[i])
            after = np.uint8(tally[at] + np.uint8(1))
            tally[at] = after
            if after == 0:
                wrapped[wraps] = at
                wraps += 1
        return wraps
    for i in range(len(x)):
        at = np.uintp(y[i]) * row + np.uintp(x[i]) + np.uintp(p[i]) * above
        after = np.uint8(tally[at] + np.uint8(1))
        tally[at] = after
        if after == 0:
            wrapped[wraps] = at
            wraps += 1
    return wraps


@njit(cache=True, nogil=True)
def add_tally(plane: Array, tally: Array, wrapped: Array, held: int, events: int, most: int) -> int:
    """Add a tally to a plane; return the total excess over `most`."""
    full = 0
    if held == 0:
        for at in range(len(plane)):
            plane[at] = tally[at]
    elif held + events <= most:
        for at in range(len(plane)):
            plane[at] += tally[at]
    else:
        for at in range(len(plane)):
            above = np.int64(plane[at]) + np.int64(tally[at]) - most
            plane[at] = most if above > 0 else above + most
            full += above if above > 0 else 0
    for at in wrapped:
        above = np.int64(plane[at]) + 256 - most
        plane[at] = most if above > 0 else above + most
        full += above if above > 0 else 0
    return full


@njit(cache=True, nogil=True)
def add_signs(events: Columns, borders: Array, span: Span, width: int, most: int) -> int:
    """Add 1 for each ON and -1 for each OFF event; return the excess over +-`most`."""
    _, x, y, p = events
    full = 0
    row = np.uintp(width)
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        xs, ys, ps = x[start:stop], y[start:stop], p[start:stop]
        plane = begin_plane(span, k, len(xs))
        for i in range(len(xs)):
            at = np.uintp(ys[i]) * row + np.uintp(xs[i])
            after = plane[at] + (2 * np.int64(ps[i]) - 1)
            if after > most or after < -most:
                full += 1
            else:
                plane[at] = after
    return full


@njit(cache=True, nogil=True)
def mark(events: Columns, borders: Array, span: Span, width: int, on: int) -> None:
    """Write 1 where there is an event."""
    _, x, y, p = events
    row, above = np.uintp(width), np.uintp(on)
    for k in range(len(borders) - 1):
        start, stop = borders[k], borders[k + 1]
        xs, ys, ps = x[start:stop], y[start:stop], p[start:stop]
        plane = begin_plane(span, k, len(xs))
        for i in range(len(xs)):
            plane[np.uintp(ys[i]) * row + np.uintp(xs[i]) + np.uintp(ps[i]) * above] = 1


@njit(cache=True, nogil=True)
def add_shares(
    events: Columns,
    intervals: tuple[Array, int],
    span: Span,
    width: int,
    bins: tuple[int, int, int],
    number: int,
) -> None:
    """Add the events of adjacent intervals to node `number` + k.

    The intervals are given by borders and before: interval k holds the events borders[k] <= i <
    borders[k + 1]; those from `before` to borders[0] belong to the interval that ends at the first
    node. Each event is visited once per node, so that one thread writes each node, in the order of
    time.

    bins  start_us, numerator and denominator: see `dvskit.tensors.bins.Bins`
    """
    (t, x, y, p), (borders, before) = events, intervals
    for k in range(len(borders) - 1):
        earlier = before if k == 0 else borders[k - 1]
        start, stop = borders[k], borders[k + 1]
        plane = begin_plane(span, k, stop - earlier)
        part = t[earlier:start], x[earlier:start], y[earlier:start], p[earlier:start]
        _add_part(part, plane, width, bins, number + k - 1, True)
        part = t[start:stop], x[start:stop], y[start:stop], p[start:stop]
        _add_part(part, plane, width, bins, number + k, False)


@njit(cache=True, nogil=True)
def _add_part(
    events: Columns, plane: Array, width: int, bins: tuple[int, int, int], node: int, rising: bool
) -> None:
    """Add the share of each event, by its distance from the start or the end of its interval."""
    t, x, y, p = events
    start_us, numerator, denominator = bins
    offset = node * denominator
    row = np.uintp(width)
    scale = 1.0 / denominator
    for i in range(len(t)):
        into = (t[i] - start_us) * numerator - offset
        share = np.float32((into if rising else denominator - into) * scale)
        at = np.uintp(y[i]) * row + np.uintp(x[i])
        plane[at] += share if p[i] else -share


@njit(cache=True, nogil=True)
def write_points(
    events: Columns, start_us: int, scales: tuple[float, float, float], points: Array
) -> None:
    """Write x, y, t - start_us, each scaled, and -1 or 1 to points, (events, 4)."""
    t, x, y, p = events
    x_scale, y_scale, t_scale = scales
    for i in range(len(t)):
        points[i, 0] = x[i] * x_scale
        points[i, 1] = y[i] * y_scale
        points[i, 2] = (t[i] - start_us) * t_scale
        points[i, 3] = 1.0 if p[i] else -1.0
