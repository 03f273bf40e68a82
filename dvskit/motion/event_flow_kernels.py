"""Planes through the times at which an edge reached pixels, and velocities pooled over squares.

Times are whole microseconds in float32. All sums of them stay below 2^24 for windows of up to
199 ms (84 is the sum of |x| over 7x7 pixels) and are exact, so that their order, which the compiler
changes for vector instructions, has no effect.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
REACH = 3  # pixels around an event: 7x7
_LONGEST_BURST_US = 500_000
_SIDE = 2 * REACH + 1
_COLUMNS = _SIDE + 1  # eight fit a vector; the last one has no weight
_CELLS = _SIDE * _COLUMNS
_ROUNDS = 8  # of a fit, at most
_LEAST = np.float32(5)  # inliers
_STILL = np.float32(1e-5 * 1e6)  # us/px: a change of the slope that ends the fit
# The first round takes the pixels of the least part of the window that holds so many: an edge
# that has crossed three of seven columns. The rest may belong to earlier edges.
_BEGUN = np.float32(18)
# Inliers are within half a pixel of the plane, or three mean errors.
_OFF_PX, _OFF_ERRORS = np.float32(0.5), np.float32(3)
_SIGNIFICANT = np.float32(9)  # the square of the slope, in variances of the slope
_VARIANCE = np.float32(1.57)  # of a normal distribution, in squares of its mean error
_NONE = np.float32(0)
_US = np.float32(1e6)


@njit(cache=True, nogil=True)
def add_planes(
    columns: tuple[Array, Array, Array, Array], inserted: int, next_us: int, origin_us: int,
    spans_us: tuple[int, int, int], bursts: tuple[Array, Array],
    shared: tuple[Array, Array, Array], vx: Array, vy: Array,
) -> int:  # fmt: skip
    """Set the velocities of the first events, px/s, NaN for none; return their number.

    inserted  events that are in the bursts from an earlier call
    next_us   the time of the event that follows the columns
    spans_us  (window, gap, ahead): an event is fitted once an event more than `ahead` later follows
    bursts    first and last event of each pixel's latest burst, each (2, H + 6, W + 7) int32
              microseconds after `origin_us`, OFF and ON; 0 for none
    shared    time of each pixel's latest fitted event, counted as in the bursts, and its vx and vy:
              each (2, H, W)

    A burst is the events of one edge. It ends with an event of the other polarity, after `gap`
    without events, or after half a second. Events more than a window after its first have no
    velocity.
    """
    t, x, y, p = columns
    first, last = bursts
    cells = _cells()
    done = 0
    for n in range(inserted, len(t) + 1):
        until = t[n] if n < len(t) else next_us
        while done < n and until - t[done] > spans_us[2]:
            at = int(p[done]), int(y[done]), int(x[done])
            now, times = np.int32(t[done] - origin_us), first[at[0]]
            begun = times[at[1] + REACH, at[2] + REACH]
            # Events of a burst share a plane for a while: it hardly changes.
            if shared[0][at] < begun or now - shared[0][at] > spans_us[2]:
                _gather(times, at[1], at[2], cells[3])
                shared[1][at], shared[2][at] = _velocity(cells, np.float32(spans_us[0]))
                shared[0][at] = now
            vx[done], vy[done] = shared[1][at], shared[2][at]
            if now - begun > spans_us[0]:
                vx[done] = vy[done] = np.nan
            done += 1
        if n == len(t):
            break
        now, k = np.int32(t[n] - origin_us), np.intp(p[n])
        row, column = np.intp(y[n]) + REACH, np.intp(x[n]) + REACH
        before = last[k, row, column]
        last[k, row, column] = now
        is_new = now - before > spans_us[1] or last[1 - k, row, column] > before
        if is_new or now - first[k, row, column] > _LONGEST_BURST_US:
            first[k, row, column] = now
    return done


@njit(cache=True, nogil=True)
def _cells() -> tuple[Array, Array, Array, Array]:
    """Return x, y and weight of each cell, and room for its time."""
    steps_x, steps_y = np.empty(_CELLS, np.float32), np.empty(_CELLS, np.float32)
    weights, apart = np.zeros(_CELLS, np.float32), np.empty(_CELLS, np.float32)
    for cell in range(_CELLS):
        steps_x[cell], steps_y[cell] = cell % _COLUMNS - REACH, cell // _COLUMNS - REACH
        if cell % _COLUMNS < _SIDE:
            weights[cell] = 1
    return steps_x, steps_y, weights, apart


@njit(cache=True, nogil=True)
def _gather(times: Array, row: int, column: int, apart: Array) -> None:
    """Set the times of the cells around a pixel, after its own."""
    begun = times[row + REACH, column + REACH]
    for r in range(_SIDE):
        for c in range(_COLUMNS):
            apart[r * _COLUMNS + c] = np.float32(np.int32(times[row + r, column + c] - begun))


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _velocity(cells: tuple[Array, Array, Array, Array], window: Any) -> Any:
    """Return the velocity of the plane through the times of cells, or NaN.

    The plane is fitted to the times in the window by least squares, again without outliers until
    it stays.
    """
    nothing = np.float32(np.nan), np.float32(np.nan)
    begun = _begin(cells[2], cells[3], window)
    a, b, c, off = _NONE, _NONE, _NONE, begun
    for turn in range(_ROUNDS):
        s, sx, sy, sxx, sxy, syy, st, sxt, syt, error = _sums(cells, window, (a, b, c), off)
        xx, xy, yy = s * sxx - sx * sx, s * sxy - sx * sy, s * syy - sy * sy
        det = xx * yy - xy * xy
        if s < _LEAST or det <= 0:
            return nothing
        n = np.float64(s)  # the products with times are long
        xt, yt = n * sxt - np.float64(sx) * st, n * syt - np.float64(sy) * st
        old_a, old_b = a, b
        a, b = np.float32((yy * xt - xy * yt) / det), np.float32((xx * yt - xy * xt) / det)
        c = np.float32((st - np.float64(a) * sx - np.float64(b) * sy) / s)
        if turn and abs(a - old_a) + abs(b - old_b) < _STILL:
            break
        spread = _OFF_ERRORS * error / s if turn else begun / 2
        off = max(_OFF_PX * np.sqrt(a * a + b * b), spread)
    slope = a * a + b * b
    variance = _VARIANCE * error * error / (s * (s - 3))
    along = (a * a * yy - 2 * a * b * xy + b * b * xx) * s / det  # 1 / sum of squares, x slope
    if slope * slope <= _SIGNIFICANT * variance * along:
        return nothing
    return a / slope * _US, b / slope * _US


@njit(cache=True, nogil=True, inline="always", fastmath={"reassoc", "nsz"})
def _sums(
    cells: tuple[Array, Array, Array, Array], window: Any, plane: tuple[Any, Any, Any], off: Any
) -> Any:
    """Return the sums for a fit: n, x, y, xx, xy, yy, t, xt, yt, |error in whole us|.

    They are over the times in the window and less than `off` from the plane ax + by + c.
    """
    steps_x, steps_y, weights, apart = cells
    a, b, c = plane
    s = sx = sy = sxx = sxy = syy = st = sxt = syt = error = _NONE
    for k in range(_CELLS):
        d, x, y = apart[k], steps_x[k], steps_y[k]
        away = abs(d - (a * x + b * y + c))
        w = weights[k] if (abs(d) <= window) & (away <= off) else _NONE
        wx, wy, wd = w * x, w * y, w * d
        s += w
        sx += wx
        sy += wy
        sxx += wx * x
        sxy += wx * y
        syy += wy * y
        st += wd
        sxt += wd * x
        syt += wd * y
        error += w * np.floor(away)
    return s, sx, sy, sxx, sxy, syy, st, sxt, syt, error


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _begin(weights: Array, apart: Array, window: Any) -> Any:
    """Return the span with enough cells: 1/16, 1/8, 1/4, 1/2 of the window, or all of it."""
    half = quarter = eighth = least = _NONE
    for k in range(_CELLS):
        d, w = abs(apart[k]), weights[k]
        half += w if 2 * d <= window else _NONE
        quarter += w if 4 * d <= window else _NONE
        eighth += w if 8 * d <= window else _NONE
        least += w if 16 * d <= window else _NONE
    if least >= _BEGUN:
        return window / np.float32(16)
    if eighth >= _BEGUN:
        return window / np.float32(8)
    if quarter >= _BEGUN:
        return window / np.float32(4)
    return window / np.float32(2) if half >= _BEGUN else window


CELL_PX = 5
LEVELS = 5  # squares of 1, 3, 5, 7, 9 cells a side
SUMS = 4  # of each cell: weights, speeds, vx, vy
_LARGEST = 100.0  # exponent of a weight


@njit(cache=True, nogil=True)
def pool(
    columns: tuple[Array, Array, Array], given: tuple[Array, Array], cells: Array,
    origin_us: int, tau_us: float, vx: Array, vy: Array,
) -> int:  # fmt: skip
    """Set the mean velocity in the square of the largest mean speed; return the next origin.

    columns  t, x, y of events        given  their velocities, NaN for unknown ones, which stay so
    cells    (rows + 8, columns + 8, 4) float64, sums of weighted velocities, with a margin

    The weight of a velocity is exp((t - origin_us) / tau_us): of two sums, the older one weighs
    less without being changed.
    """
    t, x, y = columns
    own_x, own_y = given
    sums = np.empty(SUMS, np.float64)
    for n in range(len(t)):
        if np.isnan(own_x[n]):
            vx[n] = vy[n] = np.nan
            continue
        exponent = (t[n] - origin_us) / tau_us
        if exponent > _LARGEST:
            cells *= np.exp(-exponent)
            origin_us, exponent = t[n], 0.0
        weight = np.exp(exponent)
        row, column = y[n] // CELL_PX + LEVELS - 1, x[n] // CELL_PX + LEVELS - 1
        cell = cells[row, column]
        cell[0] += weight
        cell[1] += weight * np.sqrt(own_x[n] * own_x[n] + own_y[n] * own_y[n])
        cell[2] += weight * own_x[n]
        cell[3] += weight * own_y[n]
        sums[:] = 0
        best = -1.0
        for level in range(LEVELS):
            _add_ring(cells, row, column, level, sums)
            if sums[1] > best * sums[0]:
                best = sums[1] / sums[0]
                vx[n], vy[n] = sums[2] / sums[0], sums[3] / sums[0]
    return origin_us


@njit(cache=True, nogil=True, inline="always")
def _add_ring(cells: Array, row: int, column: int, level: int, sums: Array) -> None:
    """Add the cells at a distance of `level` in x or y."""
    for r in range(row - level, row + level + 1):
        step = 1 if abs(r - row) == level else 2 * level
        for c in range(column - level, column + level + 1, step):
            for k in range(SUMS):
                sums[k] += cells[r, c, k]
