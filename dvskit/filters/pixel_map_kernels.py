"""Events moved from pixel to pixel: plain arrays in and out.

A place is y * 65536 + x; -1 - k says that the k-th of several maps leaves the events out. Columns
and rows say the same of an axis each; where both leave out, the earlier map does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_LOOKED = 1024  # see select_kernels


@njit(cache=True, nogil=True)
def count_axes(
    x: NDArray[Any],
    y: NDArray[Any],
    columns: NDArray[Any],
    rows: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Count the events that stay in found[0], and those that map k leaves out in found[1 + k]."""
    stay = 0
    for i in range(len(x)):
        stay += (columns[x[i]] | rows[y[i]]) >= 0
    found[0] = stay
    if stay == len(x):
        return
    for i in range(len(x)):
        column, row = columns[x[i]], rows[y[i]]
        if (column | row) < 0:
            found[-(max(column, row) if column < 0 and row < 0 else min(column, row))] += 1


@njit(cache=True, nogil=True)
def count_places(
    x: NDArray[Any], y: NDArray[Any], places: NDArray[Any], found: NDArray[Any]
) -> None:
    """Count as `count_axes` does."""
    stay = 0
    several = len(found) > 2
    for i in range(len(x)):
        there = places[y[i], x[i]]
        stay += there >= 0
        if several and there < 0:
            found[-there] += 1
    found[0] = stay
    if not several:
        found[1] = len(x) - stay


@njit(cache=True, nogil=True)
def all_axes(
    x: NDArray[Any],
    y: NDArray[Any],
    columns: NDArray[Any],
    rows: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
) -> None:
    """Move events that all stay."""
    for i in range(len(x)):
        out_x[i] = columns[x[i]]
    for i in range(len(x)):
        out_y[i] = rows[y[i]]


@njit(cache=True, nogil=True)
def all_places(
    x: NDArray[Any],
    y: NDArray[Any],
    places: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
) -> None:
    """Move events that all stay."""
    for i in range(len(x)):
        there = places[y[i], x[i]]
        out_x[i] = there & 0xFFFF
        out_y[i] = there >> 16


@njit(cache=True, nogil=True)
def move_axes(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    columns: NDArray[Any],
    rows: NDArray[Any],
    out_t: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    out_p: NDArray[Any],
) -> None:
    """Move the events that stay; the outputs have room for just those."""
    which = np.empty(_LOOKED, np.int32)
    at = 0
    for start in range(0, len(x), _LOOKED):
        found = 0
        for i in range(start, min(start + _LOOKED, len(x))):
            which[found] = i
            found += (columns[x[i]] | rows[y[i]]) >= 0
        for j in range(found):
            out_t[at + j] = t[which[j]]
        for j in range(found):
            out_x[at + j] = columns[x[which[j]]]
        for j in range(found):
            out_y[at + j] = rows[y[which[j]]]
        for j in range(found):
            out_p[at + j] = p[which[j]]
        at += found


@njit(cache=True, nogil=True)
def move_places(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    places: NDArray[Any],
    out_t: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    out_p: NDArray[Any],
) -> None:
    """Move the events that stay; the outputs have room for just those."""
    which = np.empty(_LOOKED, np.int32)
    where = np.empty(_LOOKED, np.int32)
    at = 0
    for start in range(0, len(x), _LOOKED):
        found = 0
        for i in range(start, min(start + _LOOKED, len(x))):
            there = places[y[i], x[i]]
            which[found] = i
            where[found] = there
            found += there >= 0
        for j in range(found):
            out_t[at + j] = t[which[j]]
        for j in range(found):
            out_x[at + j] = where[j] & 0xFFFF
            out_y[at + j] = where[j] >> 16
        for j in range(found):
            out_p[at + j] = p[which[j]]
        at += found


@njit(cache=True, nogil=True)
def count_pixels(x: NDArray[Any], y: NDArray[Any], counts: NDArray[Any]) -> None:
    """Add one to counts[y, x] for each event."""
    for i in range(len(x)):
        counts[y[i], x[i]] += 1
