"""Events distributed to the two nearest nodes in time, and as points: plain arrays in and out.

Planes, borders and indices are as in `counts_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.tensors.counts_kernels import Columns, Span, begin_plane

Array = NDArray[Any]


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
