"""Velocities of events pooled over squares around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
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
