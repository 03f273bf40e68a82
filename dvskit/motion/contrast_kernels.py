"""Warps of events, their images, the derivatives of what is measured on them, and flow on a grid.

An event at (x, y) and time s (seconds from the reference time) is moved along the motion of a model
to where it would be at s = 0. `move_*` computes the places, `pull_*` the derivative of a function
of all places with respect to the parameters, from its derivatives with respect to each place.
Events are columns (n,) float32; parameters (k,) float64.

Dense flow is given at nodes (rows, columns, 2), `step` pixels apart, and bilinear between them. The
first node is at the middle of pixel (0, 0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_SMALL = 0.5  # squared angle below which the series are exact to float32
_F, _U = np.float32, np.uint32


@njit(cache=True, nogil=True)
def vote(
    to_x: Array, to_y: Array, sign: Array, image: Array, corner: tuple[float, float], cell: float
) -> None:
    """Add the sign of each event to the nine cells around its place, by a quadratic B-spline.

    The weights of a quadratic spline have the same spread at every place between pixels. Bilinear
    ones do not: they favor motions that leave the events on the grid of the pixels.

    corner is the place (x, y) of the upper left corner of the image; cells are `cell` pixels wide.
    Events beyond the image are left out.
    """
    rows, columns = image.shape
    inverse, left, top = _F(1 / cell), _F(corner[0]), _F(corner[1])
    right, low = _F(columns - 1), _F(rows - 1)
    for n in range(len(to_x)):
        x, y = (to_x[n] - left) * inverse, (to_y[n] - top) * inverse
        if not (_F(1) <= x < right and _F(1) <= y < low):
            continue
        column, row = np.uint32(x), np.uint32(y)  # unsigned: no index counts from the end
        x0, x1, x2 = _weights(x - _F(column))
        y0, y1, y2 = _weights(y - _F(row))
        for k, weight in ((_U(0), y0), (_U(1), y1), (_U(2), y2)):
            line, signed = image[row - _U(1) + k], weight * sign[n]
            line[column - _U(1)] += signed * x0
            line[column] += signed * x1
            line[column + _U(1)] += signed * x2


@njit(cache=True, nogil=True, inline="always")
def _weights(part: Any) -> Any:
    """Return the weights of the cells before, at and behind a place, `part` of a cell from one."""
    first, last = _F(0.5) * (_F(1) - part) * (_F(1) - part), _F(0.5) * part * part
    return first, _F(1) - first - last, last


@njit(cache=True, nogil=True)
def slopes(
    to_x: Array, to_y: Array, sign: Array, weights: Array, corner: tuple[float, float],
    cell: float, slope_x: Array, slope_y: Array,
) -> None:  # fmt: skip
    """Set the derivatives of sum(weights * image) with respect to the place of each event."""
    rows, columns = weights.shape
    inverse, left, top = _F(1 / cell), _F(corner[0]), _F(corner[1])
    right, low = _F(columns - 1), _F(rows - 1)
    for n in range(len(to_x)):
        x, y = (to_x[n] - left) * inverse, (to_y[n] - top) * inverse
        if not (_F(1) <= x < right and _F(1) <= y < low):
            slope_x[n] = slope_y[n] = _F(0)
            continue
        column, row = np.uint32(x), np.uint32(y)
        part, down = x - _F(column), y - _F(row)
        x0, x1, x2 = _weights(part)
        y0, y1, y2 = _weights(down)
        along, across = _F(0), _F(0)
        for k, weight, slope in (
            (_U(0), y0, down - _F(1)),
            (_U(1), y1, _F(1) - down - down),
            (_U(2), y2, down),
        ):
            line = weights[row - _U(1) + k]
            a, b, c = line[column - _U(1)], line[column], line[column + _U(1)]
            along += weight * ((part - _F(1)) * a + (_F(1) - part - part) * b + part * c)
            across += slope * (x0 * a + x1 * b + x2 * c)
        slope_x[n] = along * sign[n] * inverse
        slope_y[n] = across * sign[n] * inverse


@njit(cache=True, nogil=True)
def move_steadily(x: Array, y: Array, s: Array, velocity: Array, to_x: Array, to_y: Array) -> None:
    """Translation: x' = x - s v; `velocity` in px/s."""
    v, w = velocity
    for n in range(len(x)):
        to_x[n] = x[n] - s[n] * v
        to_y[n] = y[n] - s[n] * w


@njit(cache=True, nogil=True)
def pull_steadily(s: Array, slope_x: Array, slope_y: Array) -> Array:
    """Return the derivatives of a translation, (2,)."""
    v, w = 0.0, 0.0
    for n in range(len(s)):
        v -= s[n] * slope_x[n]
        w -= s[n] * slope_y[n]
    return np.array([v, w])


@njit(cache=True, nogil=True)
def move_similar(x: Array, y: Array, s: Array, motion: Array, to_x: Array, to_y: Array) -> None:
    """Similarity: p' = exp(-s zoom) R(-s turn) p - s v, with p from the middle of the sensor.

    motion  v (2,) px/s, turn in rad/s, zoom in 1/s
    """
    v, w, turn, zoom = motion
    for n in range(len(x)):
        grown = math.exp(-s[n] * zoom)
        along, across = grown * math.cos(s[n] * turn), grown * math.sin(s[n] * turn)
        to_x[n] = along * x[n] + across * y[n] - s[n] * v
        to_y[n] = along * y[n] - across * x[n] - s[n] * w


@njit(cache=True, nogil=True)
def pull_similar(
    x: Array, y: Array, s: Array, motion: Array, slope_x: Array, slope_y: Array
) -> Array:
    """Return the derivatives of a similarity, (4,)."""
    pulled = np.zeros(4)
    for n in range(len(x)):
        grown = math.exp(-s[n] * motion[3])
        along, across = grown * math.cos(s[n] * motion[2]), grown * math.sin(s[n] * motion[2])
        right, low = along * x[n] + across * y[n], along * y[n] - across * x[n]
        pulled[0] -= s[n] * slope_x[n]
        pulled[1] -= s[n] * slope_y[n]
        pulled[2] += s[n] * (low * slope_x[n] - right * slope_y[n])
        pulled[3] -= s[n] * (right * slope_x[n] + low * slope_y[n])
    return pulled


@njit(cache=True, nogil=True, inline="always")
def _series(angle: float) -> tuple[float, float, float]:
    """Return sin(a) / a, (1 - cos(a)) / a^2 and (a - sin(a)) / a^3."""
    q = angle * angle
    if q < _SMALL:
        return (
            1 - q * (1 / 6) * (1 - q * (1 / 20) * (1 - q * (1 / 42))),
            0.5 - q * (1 / 24) * (1 - q * (1 / 30) * (1 - q * (1 / 56))),
            1 / 6 - q * (1 / 120) * (1 - q * (1 / 42) * (1 - q * (1 / 72))),
        )
    sine = math.sin(angle)
    return sine / angle, (1 - math.cos(angle)) / q, (angle - sine) / (q * angle)


@njit(cache=True, nogil=True)
def move_turned(
    x: Array, y: Array, s: Array, velocity: Array, lens: Array, to_x: Array, to_y: Array
) -> None:
    """Rotation: X' = R(s w) (x, y, 1), seen at lens = (fx, fy, cx, cy); w in rad/s.

    x, y are undistorted directions; directions behind the camera get NaN.
    """
    w1, w2, w3 = velocity
    speed = math.sqrt(w1 * w1 + w2 * w2 + w3 * w3)
    fx, fy, cx, cy = lens
    for n in range(len(x)):
        t = float(s[n])
        a, b, _ = _series(speed * t)
        a *= t
        b *= t * t
        # w x r, and w x (w x r) = w (w . r) - r |w|^2, with r = (x, y, 1)
        across_x, across_y = w2 - w3 * y[n], w3 * x[n] - w1
        across_z = w1 * y[n] - w2 * x[n]
        along = w1 * x[n] + w2 * y[n] + w3
        right = x[n] + a * across_x + b * (w1 * along - x[n] * speed * speed)
        low = y[n] + a * across_y + b * (w2 * along - y[n] * speed * speed)
        ahead = 1 + a * across_z + b * (w3 * along - speed * speed)
        to_x[n] = fx * right / ahead + cx if ahead > 0 else np.nan
        to_y[n] = fy * low / ahead + cy if ahead > 0 else np.nan


@njit(cache=True, nogil=True)
def pull_turned(
    to_x: Array, to_y: Array, s: Array, velocity: Array, lens: Array,
    slope_x: Array, slope_y: Array,
) -> Array:  # fmt: skip
    """Return the derivatives of a rotation, (3,), from the places where the events were moved.

    A small turn d of the moved direction X' changes it by d x X'. The turn that follows from a
    change of w is s J(s w) dw, with J = I + b [sw] + c [sw]^2, the left Jacobian of rotations.
    """
    w1, w2, w3 = velocity
    speed = math.sqrt(w1 * w1 + w2 * w2 + w3 * w3)
    fx, fy, cx, cy = lens
    pulled = np.zeros(3)
    for n in range(len(to_x)):
        if slope_x[n] == 0 and slope_y[n] == 0:
            continue
        t = float(s[n])
        x, y = (to_x[n] - cx) / fx, (to_y[n] - cy) / fy
        gx, gy = fx * slope_x[n], fy * slope_y[n]
        # the slope along a turn d: x' changes by d2 - d3 y - x (d1 y - d2 x), and so on
        d1 = -x * y * gx - (1 + y * y) * gy
        d2 = (1 + x * x) * gx + x * y * gy
        d3 = -y * gx + x * gy
        # its transpose times J(s w): J^T d = d - b s w x d + c s^2 w x (w x d)
        _, b, c = _series(speed * t)
        b *= t
        c *= t * t
        along = w1 * d1 + w2 * d2 + w3 * d3
        pulled[0] += t * (d1 - b * (w2 * d3 - w3 * d2) + c * (w1 * along - d1 * speed * speed))
        pulled[1] += t * (d2 - b * (w3 * d1 - w1 * d3) + c * (w2 * along - d2 * speed * speed))
        pulled[2] += t * (d3 - b * (w1 * d2 - w2 * d1) + c * (w3 * along - d3 * speed * speed))
    return pulled


@njit(cache=True, nogil=True)
def score_trials(
    x: Array, y: Array, on: Array, shift_x: Array, shift_y: Array, trials: Array, image: Array
) -> Array:  # fmt: skip
    """Return the sum of squared counts in the cells of an image, for each of some motions, (m,).

    The motions are of first order: x' = x - shift_x . trial, in cells, with shifts (k, n) float32
    of each event and trials (m, k). ON and OFF are counted apart, in `image` (2, rows, columns).
    """
    _, rows, columns = image.shape
    scores = np.empty(len(trials), np.float64)
    to_x, to_y = np.empty_like(x), np.empty_like(y)
    for m in range(len(trials)):
        to_x[:], to_y[:] = x, y
        for k in range(trials.shape[1]):
            part = _F(trials[m, k])
            for n in range(len(x)):
                to_x[n] -= shift_x[k, n] * part
                to_y[n] -= shift_y[k, n] * part
        image[:] = 0
        total = 0
        for n in range(len(x)):
            if _F(0) <= to_x[n] < _F(columns) and _F(0) <= to_y[n] < _F(rows):
                column, row = np.uint32(to_x[n]), np.uint32(to_y[n])
                total += 2 * image[on[n], row, column] + 1
                image[on[n], row, column] += 1
        scores[m] = total
    return scores


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

    It is the sum of sqrt(|difference|^2 + soft^2) - soft over neighbors.
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
