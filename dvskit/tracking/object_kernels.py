"""Rigid templates of events: prediction, shares, likely shifts, learning, the box; mean shift.

Events are (t, x, y, p). An event that was `ago` seconds before `now` is at x + ago vx - x0 in a
template at x0 with velocity vx. A template is (2, h, w), OFF and ON.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = tuple[Array, Array, Array, Array]

_WEIGHT = 0.25  # of the likelihood: the events of one edge are not independent
_LEAST_VAR = 0.02  # px^2, of a place
_FARTHEST = 16  # px, that an object is looked for from its prediction
_OTHER = 0.1  # share of the template of the other polarity


@njit(cache=True, nogil=True)
def predict(state: Array, cov: Array, dt: float, accel: float) -> None:
    """Move a state (x, y, vx, vy) and its covariance on by `dt` seconds."""
    q = accel * accel
    for a in range(2):
        state[a] += dt * state[a + 2]
    for j in range(4):
        for a in range(2):
            cov[a, j] += dt * cov[a + 2, j]
    for j in range(4):
        for a in range(2):
            cov[j, a] += dt * cov[j, a + 2]
    for a in range(2):
        cov[a, a] += q * dt**4 / 4
        cov[a, a + 2] += q * dt**3 / 2
        cov[a + 2, a] += q * dt**3 / 2
        cov[a + 2, a + 2] += q * dt * dt


@njit(cache=True, nogil=True, inline="always")
def _at(picture: Array, u: float, v: float) -> float:
    """Return a picture between its cells; 0 beyond them."""
    height, width = picture.shape
    if not (0 <= u < width - 1 and 0 <= v < height - 1):
        return 0.0
    a, b = int(u), int(v)
    fu, fv = u - a, v - b
    upper = picture[b, a] + fu * (picture[b, a + 1] - picture[b, a])
    lower = picture[b + 1, a] + fu * (picture[b + 1, a + 1] - picture[b + 1, a])
    return float(upper + fv * (lower - upper))


@njit(cache=True, nogil=True, inline="always")
def _place(
    t: int, x: int, y: int, now: int, state: Array, corner: Array
) -> tuple[float, float, float]:
    """Return where an event is in a template, in cells, and its age in seconds."""
    ago = (now - t) * 1e-6
    u = x + ago * state[2] - state[0] - corner[0]
    v = y + ago * state[3] - state[1] - corner[1]
    return u, v, ago


@njit(cache=True, nogil=True)
def explain(
    events: Columns, now: int, state: Array, template: Array, corner: Array, way: float,
    grow: float, own: Array, total: Array, claims: Array,
) -> None:  # fmt: skip
    """Fill `own` with the density of an object's events at each event, and add it to `total`.

    way     the pixels that it moves in a window
    grow    the density of its events next to it, that the template does not hold yet
    claims  counts the objects next to each event
    """
    t, x, y, p = events
    height, width = template.shape[1:]
    for i in range(len(t)):
        u, v, _ = _place(t[i], x[i], y[i], now, state, corner)
        own[i] = 0.0
        if 0 <= u < width - 1 and 0 <= v < height - 1:
            sign = np.int64(p[i])
            same, other = _at(template[sign], u, v), _at(template[1 - sign], u, v)
            own[i] = way * ((1 - _OTHER) * same + _OTHER * other) + grow
            total[i] += own[i]
            claims[i] += 1


@njit(cache=True, nogil=True)
def _likelihood(near: Array, template: Array, off_u: float, off_v: float) -> float:
    """Return the log likelihood of events with a shifted template, over that without it."""
    total = 0.0
    for i in range(near.shape[1]):
        same = _at(template[int(near[2, i])], near[0, i] - off_u, near[1, i] - off_v)
        if same > 0:
            total += math.log1p(same / near[3, i])
    return total


@njit(cache=True, nogil=True)
def _near(
    events: Columns, now: int, state: Array, template: Array, corner: Array, reach: int,
    rest: Array,
) -> Array:  # fmt: skip
    """Return u, v, polarity, `rest` and age of the events around a template, (5, n)."""
    t, x, y, p = events
    height, width = template.shape[1:]
    near, n = np.empty((5, len(t))), 0
    for i in range(len(t)):
        u, v, ago = _place(t[i], x[i], y[i], now, state, corner)
        if -reach <= u < width + reach and -reach <= v < height + reach:
            near[0, n], near[1, n], near[2, n], near[3, n], near[4, n] = u, v, p[i], rest[i], ago
            n += 1
    return near[:, :n]


@njit(cache=True, nogil=True)
def _best(near: Array, template: Array, cov: Array, reach: int, like: Array) -> tuple[float, float]:
    """Return the most likely shift, to half a pixel; fill `like` (3, 3) around it."""
    det = cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2
    du = dv = best_u = best_v = 0.0
    for turn in range(3):
        around, step = (reach, 1.0) if turn == 0 else (1, 0.5)
        best, du, dv = -np.inf, best_u, best_v
        for b in range(-around, around + 1):
            for a in range(-around, around + 1):
                u, v = du + step * a, dv + step * b
                value = _likelihood(near, template, u, v)
                if turn:
                    like[b + 1, a + 1] = value
                far = (cov[1, 1] * u * u - 2 * cov[0, 1] * u * v + cov[0, 0] * v * v) / det
                value = _WEIGHT * value - 0.5 * far
                if value > best:
                    best, best_u, best_v = value, u, v
    return du, dv


@njit(cache=True, nogil=True)
def correct(
    events: Columns, now: int, state: Array, cov: Array, template: Array, corner: Array,
    way: float, rest: Array, least: float, sums: Array,
) -> float:  # fmt: skip
    """Correct a state by the most likely shift of its template; return the events that show it.

    rest   (n,) density of the events of noise and other objects, at each event
    least  fewer events change nothing
    sums   (2,) filled with the sums of u and v of these events

    The curvature of the likelihood gives the covariance of the shift: along an edge it is unknown.
    """
    reach = min(_FARTHEST, 1 + math.ceil(3 * math.sqrt(max(cov[0, 0], cov[1, 1]))))
    near = _near(events, now, state, template, corner, reach, rest / way)
    like = np.zeros((3, 3))
    du, dv = _best(near, template, cov, reach, like)
    ages, count = 0.0, 0.0
    sums[:] = 0.0
    for i in range(near.shape[1]):
        same = _at(template[int(near[2, i])], near[0, i] - du, near[1, i] - dv)
        share = same / (same + near[3, i])
        ages += share * near[4, i]
        count += share
        sums[0] += share * (near[0, i] - du)
        sums[1] += share * (near[1, i] - dv)
    if count < least:
        return count
    ago = ages / count
    gu, gv = like[1, 2] - like[1, 0], like[2, 1] - like[0, 1]  # of steps of half a pixel
    huu = 4 * (2 * like[1, 1] - like[1, 2] - like[1, 0])
    hvv = 4 * (2 * like[1, 1] - like[2, 1] - like[0, 1])
    huv = like[0, 2] + like[2, 0] - like[2, 2] - like[0, 0]
    mean, half = (huu + hvv) / 2, math.hypot((huu - hvv) / 2, huv)
    angle = 0.5 * math.atan2(2 * huv, huu - hvv)
    moved = np.zeros(4)
    for n in range(2):  # along both axes of the curvature
        info = _WEIGHT * (mean - half if n else mean + half)
        if info <= 1e-6:
            continue
        eu, ev = math.cos(angle + n * math.pi / 2), math.sin(angle + n * math.pi / 2)
        slope = _WEIGHT * (gu * eu + gv * ev)
        off = du * eu + dv * ev + min(max(slope / info, -0.5), 0.5)
        h = np.array([eu, ev, -ago * eu, -ago * ev])
        ph = cov @ h
        change = ph * ((off - h @ moved) / (h @ ph + 1 / info + _LEAST_VAR))
        cov -= np.outer(ph, ph) / (h @ ph + 1 / info + _LEAST_VAR)
        state += change
        moved += change
    return count


@njit(cache=True, nogil=True)
def learn(
    events: Columns, now: int, state: Array, template: Array, corner: Array, share: Array,
    keep: float,
) -> None:  # fmt: skip
    """Keep a share of a template, and add shares of events.

    template  (2, 2, h, w), as the events come, and smoothed by (1, 2, 1) / 4 in x and y
    """
    t, x, y, p = events
    own, smooth = template
    height, width = own.shape[1:]
    own *= keep
    for i in range(len(t)):
        u, v, _ = _place(t[i], x[i], y[i], now, state, corner)
        if share[i] <= 0 or not (0 <= u < width - 1 and 0 <= v < height - 1):
            continue
        a, b, sign = int(u), int(v), np.int64(p[i])
        fu, fv = u - a, v - b
        own[sign, b, a] += share[i] * (1 - fu) * (1 - fv)
        own[sign, b, a + 1] += share[i] * fu * (1 - fv)
        own[sign, b + 1, a] += share[i] * (1 - fu) * fv
        own[sign, b + 1, a + 1] += share[i] * fu * fv
    for s in range(2):
        for b in range(1, height - 1):
            for a in range(1, width - 1):
                value = 0.0
                for k in range(-1, 2):
                    row = own[s, b + k, a - 1] + 2 * own[s, b + k, a] + own[s, b + k, a + 1]
                    value += (2 - abs(k)) * row
                smooth[s, b, a] = value / 16


@njit(cache=True, nogil=True)
def find_box(template: Array, least: float, box: Array) -> None:
    """Fill `box` with left, top, right, bottom of the cells of a level, if there are any."""
    height, width = template.shape[1:]
    columns, rows = np.zeros(width), np.zeros(height)
    for b in range(height):
        for a in range(width):
            value = template[0, b, a] + template[1, b, a]
            columns[a] = max(columns[a], value)
            rows[b] = max(rows[b], value)
    if columns.max() < least:
        return
    for k in range(2):
        most = columns if k == 0 else rows
        first, last = 0, len(most) - 1
        while most[first] < least:
            first += 1
        while most[last] < least:
            last -= 1
        box[k], box[k + 2] = first + 0.5, last - 0.5  # an event is learned in two cells
        if first > 0:
            box[k] -= most[first - 1] / least
        if last + 1 < len(most):
            box[k + 2] += most[last + 1] / least


@njit(cache=True, nogil=True)
def supported(x: Array, y: Array, p: Array, least: int, counts: Array, kept: Array) -> None:
    """Mark the events with at least so many of their polarity in 3x3 pixels.

    counts  (2, H, W) int32, zeros before and after; of a pixel at most two events count, because
            hot pixels have many
    """
    height, width = counts.shape[1:]
    for i in range(len(x)):
        counts[np.int64(p[i]), y[i], x[i]] += 1
    for i in range(len(x)):
        near = 0
        for b in range(max(y[i] - 1, 0), min(y[i] + 2, height)):
            for a in range(max(x[i] - 1, 0), min(x[i] + 2, width)):
                near += min(counts[np.int64(p[i]), b, a], 2)
        kept[i] = near >= least
    for i in range(len(x)):
        counts[np.int64(p[i]), y[i], x[i]] = 0


@njit(cache=True, nogil=True)
def shift_to_mean(
    x: Array, y: Array, start: tuple[float, float], radius: float, most: int
) -> tuple[float, float, int]:
    """Return the place that is the mean of the events within a radius, and the number of events.

    It starts at `start`, and ends when the mean moves by less than 0.01 px, or after `most` means.
    """
    at_x, at_y = start
    count = 0
    for _ in range(most):
        sum_x, sum_y, count = 0.0, 0.0, 0
        for i in range(len(x)):
            dx, dy = x[i] - at_x, y[i] - at_y
            if dx * dx + dy * dy <= radius * radius:
                sum_x += dx
                sum_y += dy
                count += 1
        if count == 0:
            break
        at_x += sum_x / count
        at_y += sum_y / count
        if abs(sum_x) + abs(sum_y) < 0.01 * count:
            break
    return at_x, at_y, count
