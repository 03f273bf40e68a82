# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Features of the time surface around events: learned and found, plain arrays in and out.

`surface` is flat, a plane of height x width a channel, and ROW more values, which are read but not
used. It holds exp((t - origin_us) / tau_us) of the latest event of each pixel, 0 without
one. The surface of a later time is the same but for a factor, which falls out when a patch is
normalized; so no value is computed anew at an event but that of its own pixel. Patches wait until
there are AT_ONCE: all features are read once for them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

ROW = 16  # values of a row that are copied together; the rest is overwritten by the next row
AT_ONCE = 8  # patches compared with all features together
ABREAST = 4  # features and patches multiplied together; both numbers are multiples of it
_MOST_TAUS = 40.0  # of the surface's unit: exp(40) squared, times a patch, fits into float32
_NONE = np.float32(-3e38)  # below any product
_FAST = {"reassoc", "contract", "nsz"}  # sums in any order, so that they are vectorized


@njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a: Array, b: Array) -> float:
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _products(weights: Array, patches: Array, count: int, products: Array) -> None:
    """Write the products of features (n, d) and the first patches (m, d or more) to (m, n or more).

    n and `count` are multiples of ABREAST.
    """
    depth = weights.shape[1]
    for k in range(0, len(weights), ABREAST):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for i in range(0, count, ABREAST):
            p0, p1, p2, p3 = patches[i], patches[i + 1], patches[i + 2], patches[i + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.float32(0)
            for j in range(depth):
                x0, x1, x2, x3 = w0[j], w1[j], w2[j], w3[j]
                a0, a1, a2, a3 = a0 + x0 * p0[j], a1 + x1 * p0[j], a2 + x2 * p0[j], a3 + x3 * p0[j]
                b0, b1, b2, b3 = b0 + x0 * p1[j], b1 + x1 * p1[j], b2 + x2 * p1[j], b3 + x3 * p1[j]
                c0, c1, c2, c3 = c0 + x0 * p2[j], c1 + x1 * p2[j], c2 + x2 * p2[j], c3 + x3 * p2[j]
                d0, d1, d2, d3 = d0 + x0 * p3[j], d1 + x1 * p3[j], d2 + x2 * p3[j], d3 + x3 * p3[j]
            for row, s0, s1, s2, s3 in (
                (i, a0, a1, a2, a3), (i + 1, b0, b1, b2, b3),
                (i + 2, c0, c1, c2, c3), (i + 3, d0, d1, d2, d3),
            ):  # fmt: skip
                products[row, k], products[row, k + 1] = s0, s1
                products[row, k + 2], products[row, k + 3] = s2, s3


@njit(cache=True, nogil=True)
def _gather(
    surface: Array, first: int, layout: tuple[int, int, int], channels: int, patch: Array
) -> None:
    """Copy the patches of one or more channels, one after the other, and ROW zeros.

    first  the place of the upper left corner in the first channel
    """
    width, pixels, side = layout
    to = 0
    for channel in range(channels):
        for line in range(side):
            at = first + channel * pixels + line * width
            for part in range(0, side, ROW):
                source, target = surface[at + part :], patch[to + part :]
                for i in range(ROW):
                    target[i] = source[i]
            to += side
    rest = patch[to:]
    for i in range(ROW):
        rest[i] = 0


@njit(cache=True, nogil=True)
def _nearest(products: Array, least: Array, length: float, masked: Array, lanes: Array) -> int:
    """Return the first feature with the largest product above least * length; -1 if none is.

    The maximum is taken in ROW lanes, since one maximum alone would not be vectorized.

    products, least, masked  (n,), n a multiple of ROW; masked is overwritten, as is lanes (ROW,)
    """
    for k in range(len(masked)):
        value = products[k]
        masked[k] = value if value > least[k] * length else _NONE
    for i in range(ROW):
        lanes[i] = masked[i]
    for first in range(ROW, len(masked), ROW):
        row = masked[first : first + ROW]
        for i in range(ROW):
            value, top = row[i], lanes[i]
            lanes[i] = value if value > top else top
    top = lanes[0]
    for i in range(1, ROW):
        if lanes[i] > top:
            top = lanes[i]
    if top == _NONE:
        return -1
    best = len(masked)
    for i in range(ROW):
        if lanes[i] == top:
            k = i
            while masked[k] != top:
                k += ROW
            best = min(best, k)
    return best


@njit(cache=True, nogil=True, fastmath=_FAST)
def _move(winner: Array, patch: Array, keep: float, add: float) -> None:
    """Move a feature towards a patch, and scale it to length 1."""
    for j in range(len(winner)):
        winner[j] = keep * winner[j] + add * patch[j]
    scale = np.float32(1) / np.sqrt(_dot(winner, winner))
    for j in range(len(winner)):
        winner[j] *= scale


@njit(cache=True, nogil=True)
def _learn(
    features: tuple[Array, Array],
    waiting: Array,
    held: int,
    products: Array,
    spare: tuple[Array, Array],
    rates: tuple[float, float, float],
) -> int:
    """Adapt the features to the patches that are held, in order; return how many missed."""
    (weights, thresholds), (masked, lanes), (eta, delta_i, delta_e) = features, spare, rates
    count, depth = len(thresholds), weights.shape[1]
    changed, changes, missed, one = np.empty(AT_ONCE, np.int64), 0, 0, np.float32(1)
    least = np.full(len(masked), -_NONE, np.float32)
    least[:count] = one - thresholds
    for i in range(held):
        patch, row = waiting[i][:depth], products[i]
        for each in range(changes):
            row[changed[each]] = _dot(weights[changed[each]], patch)
        length = np.sqrt(_dot(patch, patch))
        best = _nearest(row, least, length, masked, lanes)
        if best < 0:
            missed += 1
            for k in range(count):
                thresholds[k] += delta_e
                least[k] = one - thresholds[k]
            continue
        thresholds[best] -= delta_i
        least[best] = one - thresholds[best]
        _move(weights[best], patch, one - eta, eta / length)
        known = False
        for each in range(changes):
            known |= changed[each] == best
        if not known:
            changed[changes] = best
            changes += 1
    return missed


@njit(cache=True, nogil=True)
def _advance(surface: Array, origin: Array, t: int, tau_us: float) -> float:
    """Return the value of an event at t, after a change of the surface's unit if it is due."""
    age = (t - origin[0]) / tau_us
    if age <= _MOST_TAUS:
        return math.exp(age)
    left = np.float32(math.exp(-age))
    for i in range(len(surface)):
        surface[i] *= left
        if surface[i] < np.float32(1e-30):  # denormal numbers are slow
            surface[i] = 0
    origin[0] = t
    return 1.0


@njit(cache=True, nogil=True)
def feature_pass(
    events: tuple[Array, Array, Array, Array],
    kept: tuple[Array, Array],
    layout: tuple[int, int, int, float],
    features: tuple[Array, Array],
    rates: tuple[float, float, float],
    found: Array,
) -> tuple[int, int]:
    """Take events to the surface; learn from their patches, or find their features.

    events    t, x, y and their channel
    kept      the surface, and origin_us (1,)
    layout    width, height, side of a patch, tau_us
    features  (n, d) float32 of length 1, with rows and columns of zeros up to multiples of ABREAST
              and ROW, and the thresholds (count,) of the real rows
    rates     eta, delta_i and delta_e
    found     int32, the feature of each event, -1 near the border; if it is empty, features and
              thresholds are changed instead

    Returns how many patches there were, and how many matched no feature.
    """
    t, x, y, channel = events
    surface, origin = kept
    width, height, side, tau_us = layout
    weights, thresholds = features
    count, pixels, radius = len(thresholds), width * height, side // 2
    channels, padded = (len(surface) - ROW) // pixels, -(-count // ROW) * ROW
    waiting = np.zeros((AT_ONCE, weights.shape[1] + ROW), np.float32)
    products = np.zeros((AT_ONCE, padded), np.float32)  # the columns behind the features too
    spare = np.empty(padded, np.float32), np.empty(ROW, np.float32)
    every = np.full(padded, -_NONE, np.float32)
    every[:count] = _NONE
    numbers, held = np.empty(AT_ONCE, np.int64), 0
    learns, seen, missed = len(found) == 0, 0, 0
    for i in range(len(t)):
        line, column = np.int64(y[i]), np.int64(x[i])
        value = _advance(surface, origin, t[i], tau_us)
        surface[np.int64(channel[i]) * pixels + line * width + column] = value
        line, column = line - radius, column - radius
        if min(line, column) >= 0 and line + side <= height and column + side <= width:
            at = line * width + column
            _gather(surface, at, (width, pixels, side), channels, waiting[held])
            numbers[held] = i
            held += 1
            seen += 1
        elif not learns:
            found[i] = -1
        if held < AT_ONCE and (i + 1 < len(t) or held == 0):
            continue
        _products(weights, waiting, -(-held // ABREAST) * ABREAST, products)
        if learns:
            missed += _learn(features, waiting, held, products, spare, rates)
        else:
            for each in range(held):
                found[numbers[each]] = _nearest(products[each], every, np.float32(1), *spare)
        held = 0
    return seen, missed
