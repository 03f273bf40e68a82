"""Events moved from pixel to pixel: plain arrays in and out.

A place is y * 65536 + x; -1 - k means that map k drops the events. Columns and rows have the same
meaning per axis; if both drop, the earlier map counts. Coordinates are made unsigned for lookups:
signed ones would be checked for negative indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.selecting import Columns

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def count_axes(x: Array, y: Array, columns: Array, rows: Array, found: Array) -> None:
    """Count the events that stay in found[0], and those that map k drops in found[1 + k]."""
    stay = 0
    for i in range(len(x)):
        stay += (columns[np.uint16(x[i])] | rows[np.uint16(y[i])]) >= 0
    found[0] = stay
    if len(found) == 2:
        found[1] = len(x) - stay
        return
    for i in range(len(x)):
        column, row = columns[np.uint16(x[i])], rows[np.uint16(y[i])]
        if (column | row) < 0:
            found[-(max(column, row) if column < 0 and row < 0 else min(column, row))] += 1


@njit(cache=True, nogil=True)
def count_places(x: Array, y: Array, places: Array, found: Array) -> None:
    """Count as `count_axes` does."""
    stay = 0
    for i in range(len(x)):
        stay += places[np.uint16(y[i]), np.uint16(x[i])] >= 0
    found[0] = stay
    if len(found) == 2:
        found[1] = len(x) - stay
        return
    for i in range(len(x)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        if there < 0:
            found[-there] += 1


@njit(cache=True, nogil=True)
def look_up(keep: Array, x: Array, y: Array, kept: Array) -> None:
    """Fill `kept` with the values of `keep`, (H, W), at the events' pixels."""
    for i in range(len(x)):
        kept[i] = keep[np.uint16(y[i]), np.uint16(x[i])]


@njit(cache=True, nogil=True)
def move_axis(table: Array, old: Array, new: Array) -> None:
    """Move the columns or rows of events that all stay."""
    for i in range(len(old)):
        new[i] = table[np.uint16(old[i])]


@njit(cache=True, nogil=True)
def move_all(places: Array, x: Array, y: Array, out_x: Array, out_y: Array) -> None:
    """Move events that all stay."""
    for i in range(len(x)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        out_x[i] = there & 0xFFFF
        out_y[i] = there >> 16


@njit(cache=True, nogil=True)
def move_axes(given: Columns, columns: Array, rows: Array, out: Columns) -> None:
    """Move the events that stay, as `select_events` does; outputs have exactly their length."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        column, row = columns[np.uint16(x[i])], rows[np.uint16(y[i])]
        out_t[at] = t[i]
        out_x[at] = column
        out_y[at] = row
        out_p[at] = p[i]
        at += np.uint64((column | row) >= 0)
        i += np.uint64(1)


@njit(cache=True, nogil=True)
def move_places(given: Columns, places: Array, out: Columns) -> None:
    """Move the events that stay, as `select_events` does; outputs have exactly their length."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        there = places[np.uint16(y[i]), np.uint16(x[i])]
        out_t[at] = t[i]
        out_x[at] = there & 0xFFFF
        out_y[at] = there >> 16
        out_p[at] = p[i]
        at += np.uint64(there >= 0)
        i += np.uint64(1)


@njit(cache=True, nogil=True)
def affine_places(
    matrix: tuple[float, float, float, float], dx: float, dy: float, places: Array
) -> None:
    """Fill `places`, (H, W), with the map of a matrix on pixel centres.

    (0, 0) is the centre of the upper left pixel; halves round to the right, and down.
    """
    xx, xy, yx, yy = matrix
    height, width = places.shape
    for y in range(height):
        for x in range(width):
            new_x = np.floor(xx * x + xy * y + dx)
            new_y = np.floor(yx * x + yy * y + dy)
            on = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
            places[y, x] = (np.int64(new_y) << 16) + np.int64(new_x) if on else -1


@njit(cache=True, nogil=True)
def count_pixels(x: Array, y: Array, counts: Array) -> None:
    """Add one to counts[y, x] for each event."""
    for i in range(len(x)):
        counts[np.uint16(y[i]), np.uint16(x[i])] += 1
