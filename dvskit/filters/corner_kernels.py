"""Scores of corners, and their links to tracks: plain arrays in and out.

`scores` gets a float32 for each event; events within BORDER pixels of the border, and those with
too few others around, get -inf. `last` is flat, a plane a polarity; 0 is never, and other times
count from `origin_us`, which lies before the first event. Indices are unsigned: signed ones would
be checked for negative values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.base import Columns

Array = NDArray[Any]

BORDER = 4
NONE = np.float32(-np.inf)
NEVER = np.iinfo(np.int64).min  # in `link`
# Pixels (x, y) at a distance of 3 and of 4, in order around the middle.
CIRCLE_3 = np.array([
    (0, 3), (1, 3), (2, 2), (3, 1), (3, 0), (3, -1), (2, -2), (1, -3),
    (0, -3), (-1, -3), (-2, -2), (-3, -1), (-3, 0), (-3, 1), (-2, 2), (-1, 3),
])  # fmt: skip
CIRCLE_4 = np.array([
    (0, 4), (1, 4), (2, 3), (3, 2), (4, 1), (4, 0), (4, -1), (3, -2), (2, -3), (1, -4),
    (0, -4), (-1, -4), (-2, -3), (-3, -2), (-4, -1), (-4, 0), (-4, 1), (-3, 2), (-2, 3), (-1, 4),
])  # fmt: skip
_K = 0.04  # Harris and Stephens 1988: determinant - K trace^2

_FAINTEST = 241  # of a surface of latest events: 255 - 2 x 7
# OpenCV's cornerHarris divides slopes of a uint8 image by this (3 x 3 Sobel, blocks of 7).
_HARRIS_SCALE = (4 * 7 * 255) ** -4.0

_LATEST = 25  # pixels of a patch of 9 x 9
_SMOOTH, _SLOPE = np.array([1, 4, 6, 4, 1]), np.array([1, 2, 0, -2, -1])
_SOBEL_SCALE = 12.0**-4  # the largest coefficient of the 5 x 5 Sobel operator is 12
_FIELD = 12  # bits of a packed response
_MIDDLE = 512  # added to each field, so that none is negative


def _responses(kernel: Array) -> Array:
    """Return the five responses to a row of 9 pixels, as packed fields: (512,) by its bits."""
    bits = np.arange(512)[:, None] >> np.arange(9) & 1
    found = [bits[:, k : k + 5] @ kernel << _FIELD * k for k in range(5)]
    packed: Array = np.sum(found, 0).astype(np.int64)
    return packed


_SMOOTHED, _SLOPED = _responses(_SMOOTH), _responses(_SLOPE)
_MIDDLES = int(np.sum(_MIDDLE << _FIELD * np.arange(5)))
_DISTANCE = np.arange(-2, 3)
_GAUSS = np.exp(-(_DISTANCE[:, None] ** 2 + _DISTANCE**2) / 2.0)
_GAUSS /= _GAUSS.sum()


@njit(cache=True, nogil=True, inline="always")
def inside(x: Any, y: Any, width: Any, height: Any) -> Any:
    """Return whether a pixel is at least BORDER from the border; all are uint64."""
    border = np.uint64(BORDER)
    both = border + border
    return (x - border < width - both) & (y - border < height - both)


@njit(cache=True, nogil=True)
def offsets(circle: Array, width: int) -> Array:
    """Return the offsets of a circle in a flat surface, modulo 2^64."""
    return (circle[:, 1] * width + circle[:, 0]).astype(np.uint64)


@njit(cache=True, nogil=True, inline="always")
def newest_arc(times: Array, at: Any, circle: Array, ring: Array, by: tuple[int, int, int]) -> int:
    """Return the length of the shortest arc with all its times later than the rest of a circle.

    by  the pixels of the circle, the least length, and the most: if the length is longer, some
        number above the most is returned. It is the number of pixels if there is no such arc

    The arc grows from the newest pixel, to the side with the newer one, to as many pixels as are
    not older than its oldest. `ring` is scratch, twice as long as the circle.
    """
    count, least, most = by
    newest = np.int32(0)
    where = np.uint64(0)
    for k in range(count):
        time = times[at + circle[np.uint64(k)]]
        ring[np.uint64(k)] = time
        ring[np.uint64(k + count)] = time
        later = time > newest
        newest = time if later else newest
        where = np.uint64(k) if later else where
    right = where + np.uint64(1)
    left = where + np.uint64(count - 1)
    oldest = newest
    length, wanted = 1, least
    while True:
        while length < wanted:
            to_right = ring[right] > ring[left]
            time = ring[right] if to_right else ring[left]
            oldest = time if time < oldest else oldest
            right += np.uint64(to_right)
            left -= np.uint64(not to_right)
            length += 1
        wanted = 0
        for k in range(count):
            wanted += ring[np.uint64(k)] >= oldest
        if wanted == length or wanted > most:
            return wanted


@njit(cache=True, nogil=True)
def e_fast(events: Columns, origin_us: int, width: int, last: Array, scores: Array) -> None:
    """Score 1 where the newest arcs have 3 to 6 of 16 and 4 to 8 of 20 pixels, else 0.

    last  (2, H * W), the latest time of each pixel
    """
    t, x, y, p = events
    pixels, wide = np.uint64(last.shape[1]), np.uint64(width)
    high = pixels // wide
    times = last.reshape(-1)
    small, large = offsets(CIRCLE_3, width), offsets(CIRCLE_4, width)
    ring = np.empty(40, np.int32)
    for i in range(len(t)):
        column, row = np.uint64(x[i]), np.uint64(y[i])
        at = np.uint64(p[i]) * pixels + row * wide + column
        times[at] = t[i] - origin_us
        score = NONE
        if inside(column, row, wide, high):
            score = np.float32(0)
            if newest_arc(times, at, small, ring, (16, 3, 6)) <= 6:
                score = np.float32(newest_arc(times, at, large, ring, (20, 4, 8)) <= 8)
        scores[i] = score


@njit(cache=True, nogil=True)
def arc_star(
    events: Columns, origin_us: int, width: int, repeat_us: int, last: Array, scores: Array
) -> None:
    """Score 1 where the newest arcs, or their complements, have the lengths of `e_fast`, else 0.

    last  (4, H * W): the times of the events that started a change, by polarity, and of the latest
          events. An event starts a change if the pixel's latest event of the same polarity is more
          than repeat_us old, or older than the latest event of the other polarity
    """
    t, x, y, p = events
    pixels, wide = np.uint64(last.shape[1]), np.uint64(width)
    high = pixels // wide
    times = last.reshape(-1)
    small, large = offsets(CIRCLE_3, width), offsets(CIRCLE_4, width)
    ring = np.empty(40, np.int32)
    for i in range(len(t)):
        column, row = np.uint64(x[i]), np.uint64(y[i])
        pixel = row * wide + column
        at = np.uint64(p[i]) * pixels + pixel
        same = at + pixels + pixels
        other = np.uint64(3 - p[i]) * pixels + pixel
        now, before = t[i] - origin_us, times[same]
        times[same] = now
        starts = (before == 0) | (now - before > repeat_us) | (times[other] > before)
        score = np.float32(0) if inside(column, row, wide, high) else NONE
        if starts:
            times[at] = now
            if score == 0:
                length = newest_arc(times, at, small, ring, (16, 3, 13))
                if (length <= 6) | ((length >= 10) & (length <= 13)):
                    length = newest_arc(times, at, large, ring, (20, 4, 16))
                    score = np.float32((length <= 8) | ((length >= 12) & (length <= 16)))
        scores[i] = score


@njit(cache=True, nogil=True)
def luv_harris(events: Columns, surface: Array, scores: Array) -> None:
    """Score the Harris response of a surface of latest events.

    surface  (H + 8, W + 8) uint8, with a border of 4. An event takes 1 from the 7 x 7 pixels around
             it, pixels below 241 become 0, and the pixel of the event becomes 255
    """
    _, x, y, _ = events
    stride = np.uint64(surface.shape[1])
    wide, high = stride - np.uint64(8), np.uint64(surface.shape[0] - 8)
    values = surface.reshape(-1)
    smooth, slope = np.empty((9, 8), np.int32), np.empty((9, 8), np.int32)
    for i in range(len(x)):
        column, row = np.uint64(x[i]), np.uint64(y[i])
        first = row * stride + column  # of the 9 x 9 pixels around the event's
        for r in range(1, 8):
            at = first + np.uint64(r) * stride
            for c in range(1, 8):
                value = values[at + np.uint64(c)]
                left = np.uint8(value - np.uint8(1)) if value > _FAINTEST else np.uint8(0)
                values[at + np.uint64(c)] = left
        values[first + np.uint64(4) * (stride + np.uint64(1))] = 255
        score = NONE
        if inside(column, row, wide, high):
            for r in range(9):
                at = first + np.uint64(r) * stride
                for c in range(8):  # 7 and one to fill a register
                    a, b = np.int32(values[at + np.uint64(c)]), values[at + np.uint64(c + 1)]
                    d = np.int32(values[at + np.uint64(c + 2)])
                    smooth[r, c] = a + b + b + d
                    slope[r, c] = d - a
            xx = xy = yy = 0
            for c in range(7):
                for r in range(7):
                    right = slope[r, c] + slope[r + 1, c] + slope[r + 1, c] + slope[r + 2, c]
                    down = smooth[r + 2, c] - smooth[r, c]
                    xx += right * right
                    xy += right * down
                    yy += down * down
            score = harris(float(xx), float(xy), float(yy), _HARRIS_SCALE)
        scores[i] = score


@njit(cache=True, nogil=True, inline="always")
def harris(xx: float, xy: float, yy: float, scale: float) -> np.float32:
    """Return the Harris response of summed products of slopes."""
    return np.float32((xx * yy - xy * xy - _K * (xx + yy) * (xx + yy)) * scale)


@njit(cache=True, nogil=True, inline="always")
def floor_of_latest(near: Array, now: int, age: int) -> int:
    """Return a number that _LATEST of the distinct numbers in `near` reach; 0 if there are fewer.

    now  the largest; `age` is a guess of how far below it the result lies, for speed
    """
    low, high = 0, now + 1  # reached by too many, and by too few
    floor = max(now - age, 1)
    while True:
        count = 0
        for k in range(len(near)):
            count += near[np.uint64(k)] >= floor
        if count == _LATEST or (count < _LATEST and floor == 1):
            return floor if count == _LATEST else 0
        if count > _LATEST:
            low = floor
            floor = (low + high) >> 1 if high <= now else now - (now - floor) // 2
        else:
            high = floor
            floor = (low + high) >> 1 if low else max(now - 2 * (now - floor + 1), 1)


@njit(cache=True, nogil=True)
def e_harris(events: Columns, first: int, width: int, last: Array, scores: Array) -> None:
    """Score the Harris response of the latest 25 pixels of the event's polarity in 9 x 9.

    last   (2, H * W), the number of each pixel's latest event; the first one here has `first`
    """
    _, x, y, p = events
    pixels, wide = np.uint64(last.shape[1]), np.uint64(width)
    high = pixels // wide
    numbers = last.reshape(-1)
    near, rows = np.zeros(96, np.int32), np.empty(9, np.uint64)  # 81, and zeros to fill registers
    age = 1000
    for i in range(len(x)):
        column, row = np.uint64(x[i]), np.uint64(y[i])
        at = np.uint64(p[i]) * pixels + row * wide + column
        numbers[at] = first + i
        score = NONE
        if inside(column, row, wide, high):
            corner = at - np.uint64(4) * (wide + np.uint64(1))
            for r in range(9):
                for c in range(9):
                    near[np.uint64(9 * r + c)] = numbers[corner + np.uint64(c)]
                corner += wide
            floor = floor_of_latest(near, first + i, age)
            if floor:
                age = first + i - floor
                for r in range(9):
                    bits = np.int64(0)
                    for c in range(9):
                        bits |= np.int64(near[np.uint64(9 * r + c)] >= floor) << c
                    rows[r] = bits
                score = harris_of_rows(rows)
        scores[i] = score


@njit(cache=True, nogil=True, inline="always")
def harris_of_rows(rows: Array) -> np.float32:
    """Return the Harris response of 9 rows of 9 bits: 5 x 5 Sobel, weighted by a Gaussian."""
    xx = xy = yy = 0.0
    for r in range(5):
        across, down = np.int64(_MIDDLES), np.int64(_MIDDLES)
        for k in range(5):
            across += _SMOOTH[k] * _SLOPED[rows[r + k]]
            down += _SLOPE[k] * _SMOOTHED[rows[r + k]]
        for c in range(5):
            a = (across >> _FIELD * c & (1 << _FIELD) - 1) - _MIDDLE
            d = (down >> _FIELD * c & (1 << _FIELD) - 1) - _MIDDLE
            xx += _GAUSS[r, c] * (a * a)
            xy += _GAUSS[r, c] * (a * d)
            yy += _GAUSS[r, c] * (d * d)
    return harris(xx, xy, yy, _SOBEL_SCALE)


@njit(cache=True, nogil=True)
def link(
    t: Array, x: Array, y: Array, near: Array, within_us: int, last: Array, count: int, ids: Array
) -> int:
    """Fill `ids` with the track of each corner event; return the number of tracks.

    near  (k, 3) int64: dx, dy and squared distance, the nearest first
    last  (H, W, 2) int64: the time and the track of each pixel's latest corner event; NEVER at
          first. Of equally near pixels, the one with the later event counts

    `count` is the number of tracks so far.
    """
    height, width = last.shape[:2]
    for i in range(len(t)):
        column, row = np.int64(x[i]), np.int64(y[i])
        latest, track, reached = NEVER, np.int64(-1), np.int64(-1)
        for k in range(len(near)):
            if track >= 0 and near[k, 2] > reached:
                break
            a, b = column + near[k, 0], row + near[k, 1]
            if a < 0 or a >= width or b < 0 or b >= height:
                continue
            time = last[b, a, 0]
            if time > latest and time >= t[i] - within_us:
                latest, track, reached = time, last[b, a, 1], near[k, 2]
        if track < 0:
            track = np.int64(count)
            count += 1
        ids[i] = track
        last[row, column, 0], last[row, column, 1] = t[i], track
    return count
