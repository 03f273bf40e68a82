"""Dense flow between the nodes of a grid: velocities of events, their derivatives, total variation.

The flow is given at nodes (rows, columns, 2), `step` pixels apart, and bilinear between them. The
first node is at the middle of pixel (0, 0).
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True, inline="always")
def _patch(x: float, y: float, step: float, rows: int, columns: int) -> Any:
    """Return row and column of the first of the four nodes around a place, and their weights."""
    right, low = x / step, y / step
    i, j = min(int(low), rows - 2), min(int(right), columns - 2)
    right -= j
    low -= i
    return i, j, (1 - low) * (1 - right), (1 - low) * right, low * (1 - right), low * right


@njit(cache=True, nogil=True)
def interpolate(x: Array, y: Array, nodes: Array, step: float, at_x: Array, at_y: Array) -> None:
    """Set the flow at each place (n,)."""
    rows, columns = nodes.shape[:2]
    for n in range(len(x)):
        i, j, a, b, c, d = _patch(x[n], y[n], step, rows, columns)
        for k, out in ((0, at_x), (1, at_y)):
            out[n] = (
                a * nodes[i, j, k]
                + b * nodes[i, j + 1, k]
                + c * nodes[i + 1, j, k]
                + d * nodes[i + 1, j + 1, k]
            )


@njit(cache=True, nogil=True)
def gather(x: Array, y: Array, slope_x: Array, slope_y: Array, step: float, pulled: Array) -> None:
    """Add the derivatives by each node, from those by the flow at each place: its transpose."""
    rows, columns = pulled.shape[:2]
    for n in range(len(x)):
        i, j, a, b, c, d = _patch(x[n], y[n], step, rows, columns)
        for k, slope in ((0, slope_x[n]), (1, slope_y[n])):
            pulled[i, j, k] += a * slope
            pulled[i, j + 1, k] += b * slope
            pulled[i + 1, j, k] += c * slope
            pulled[i + 1, j + 1, k] += d * slope


@njit(cache=True, nogil=True)
def variation(nodes: Array, soft: float, pulled: Array) -> float:
    """Return the total variation, and add its derivatives by each node.

    It is the sum of sqrt(|difference|^2 + soft^2) - soft over neighbours.
    """
    rows, columns = nodes.shape[:2]
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            for k, m in ((i + 1, j), (i, j + 1)):
                if k == rows or m == columns:
                    continue
                u, v = nodes[k, m, 0] - nodes[i, j, 0], nodes[k, m, 1] - nodes[i, j, 1]
                size = math.sqrt(u * u + v * v + soft * soft)
                total += size - soft
                pulled[k, m, 0] += u / size
                pulled[i, j, 0] -= u / size
                pulled[k, m, 1] += v / size
                pulled[i, j, 1] -= v / size
    return total


@njit(cache=True, nogil=True)
def bending(nodes: Array, soft: float, pulled: Array) -> float:
    """Return the total variation of the slopes, and add its derivatives by each node.

    It is the sum of sqrt(|second difference|^2 + soft^2) - soft over rows and columns.
    """
    rows, columns = nodes.shape[:2]
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            for di, dj in ((1, 0), (0, 1)):
                a, b, c, d = i - di, j - dj, i + di, j + dj
                if a < 0 or b < 0 or c == rows or d == columns:
                    continue
                u = nodes[a, b, 0] - 2 * nodes[i, j, 0] + nodes[c, d, 0]
                v = nodes[a, b, 1] - 2 * nodes[i, j, 1] + nodes[c, d, 1]
                size = math.sqrt(u * u + v * v + soft * soft)
                total += size - soft
                for k, e in ((0, u / size), (1, v / size)):
                    pulled[a, b, k] += e
                    pulled[i, j, k] -= 2 * e
                    pulled[c, d, k] += e
    return total


@njit(cache=True, nogil=True)
def squares(image: Array) -> float:
    """Return the sum of squares, the same for any number of threads."""
    total = 0.0
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            total += float(image[i, j]) * float(image[i, j])
    return total
