"""Warps of events, their images, and the derivatives of what is measured on them.

An event at (x, y) and time s (seconds from the reference time) is moved along the motion of a model
to where it would be at s = 0. `move_*` computes the places, `pull_*` the derivative of a function
of all places with respect to the parameters, from its derivatives with respect to each place.
Events are columns (n,) float32; parameters (k,) float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_SMALL = 0.5  # squared angle below which the series are exact to float32


@njit(cache=True, nogil=True)
def vote(to_x: Array, to_y: Array, sign: Array, image: Array, margin: float, cell: float) -> None:
    """Add the sign of each event to the nine cells around its place, by a quadratic B-spline.

    The weights of a quadratic spline have the same spread at every place between pixels. Bilinear
    ones do not: they favour motions that leave the events on the grid of the pixels.

    The cell with the middle of pixel (0, 0) is margin cells from the corner of the image; cells
    are `cell` pixels wide. Events beyond the image are left out.
    """
    rows, columns = image.shape
    for n in range(len(to_x)):
        x, y = to_x[n] / cell + margin, to_y[n] / cell + margin
        if not (1 <= x < columns - 1 and 1 <= y < rows - 1):
            continue
        column, row = int(x), int(y)
        right, low = x - column, y - row
        x0, x2 = 0.5 * (1 - right) ** 2, 0.5 * right**2
        y0, y2 = 0.5 * (1 - low) ** 2, 0.5 * low**2
        x1, y1 = 1 - x0 - x2, 1 - y0 - y2
        for k, weight in ((row - 1, y0), (row, y1), (row + 1, y2)):
            weight *= sign[n]
            image[k, column - 1] += weight * x0
            image[k, column] += weight * x1
            image[k, column + 1] += weight * x2


@njit(cache=True, nogil=True)
def slopes(
    to_x: Array, to_y: Array, sign: Array, weights: Array, margin: float, cell: float,
    slope_x: Array, slope_y: Array,
) -> None:  # fmt: skip
    """Set the derivatives of sum(weights * image) with respect to the place of each event."""
    rows, columns = weights.shape
    for n in range(len(to_x)):
        x, y = to_x[n] / cell + margin, to_y[n] / cell + margin
        if not (1 <= x < columns - 1 and 1 <= y < rows - 1):
            slope_x[n] = slope_y[n] = 0
            continue
        column, row = int(x), int(y)
        right, low = x - column, y - row
        x0, x2 = 0.5 * (1 - right) ** 2, 0.5 * right**2
        y0, y2 = 0.5 * (1 - low) ** 2, 0.5 * low**2
        x1, y1 = 1 - x0 - x2, 1 - y0 - y2
        along, across = 0.0, 0.0
        for k, weight, slope in (
            (row - 1, y0, low - 1),
            (row, y1, 1 - 2 * low),
            (row + 1, y2, low),
        ):
            a, b, c = weights[k, column - 1], weights[k, column], weights[k, column + 1]
            along += weight * ((right - 1) * a + (1 - 2 * right) * b + right * c)
            across += slope * (x0 * a + x1 * b + x2 * c)
        slope_x[n] = along * sign[n] / cell
        slope_y[n] = across * sign[n] / cell


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
            1 - q / 6 * (1 - q / 20 * (1 - q / 42)),
            0.5 - q / 24 * (1 - q / 30 * (1 - q / 56)),
            1 / 6 - q / 120 * (1 - q / 42 * (1 - q / 72)),
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
    x: Array, y: Array, s: Array, on: Array, slopes_x: Array, slopes_y: Array, trials: Array,
    image: Array, block: float,
) -> Array:  # fmt: skip
    """Return the sum of squared counts in blocks of pixels, for each of some motions, (m,).

    The motions are of first order: x' = x - s (slopes_x . trial), with slopes (n, k) of each event
    and trials (m, k). ON and OFF are counted apart, in `image` (2, rows, columns), whose blocks
    are `block` pixels wide.
    """
    _, rows, columns = image.shape
    scores = np.empty(len(trials), np.float64)
    for m in range(len(trials)):
        image[:] = 0
        total = 0
        for n in range(len(x)):
            v, w = 0.0, 0.0
            for k in range(trials.shape[1]):
                v += slopes_x[n, k] * trials[m, k]
                w += slopes_y[n, k] * trials[m, k]
            at_x, at_y = (x[n] - s[n] * v) / block, (y[n] - s[n] * w) / block
            if 0 <= at_x < columns and 0 <= at_y < rows:
                column, row = int(at_x), int(at_y)
                total += 2 * image[on[n], row, column] + 1
                image[on[n], row, column] += 1
        scores[m] = total
    return scores
