"""Loops over the bytes of an Event Stream."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

EVENT_BYTES = 5
OVERFLOW_US = 127

# Places in the decoder's state: the clock, the events in the columns, the losses.
S_CLOCK, S_EVENTS, S_LOSSES = range(3)
STATE_FIELDS = 3

LOOK_AHEAD = 1024  # bytes that may be looked at to judge where events go on
_RUN = 8  # events in a row, all on the sensor, that show where events go on


@njit(cache=True, nogil=True)
def _goes_on(data: NDArray[np.uint8], at: int, width: int, height: int) -> bool:
    """Judge whether events begin at data[at]: _RUN of them on the sensor, or all up to the end."""
    limit = at + LOOK_AHEAD
    good = 0
    while good < _RUN and at < limit:
        if at >= data.size:
            return at == data.size
        if data[at] >> 1 == OVERFLOW_US:
            at += 1
            continue
        if at + EVENT_BYTES > data.size:
            return False
        x = np.int64(data[at + 1]) | np.int64(data[at + 2]) << 8
        y = np.int64(data[at + 3]) | np.int64(data[at + 4]) << 8
        if x >= width or y >= height:
            return False
        good += 1
        at += EVENT_BYTES
    return True


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    start: int,
    width: int,
    height: int,
    strict: bool,
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    losses: NDArray[np.int64],
) -> int:
    """Decode the events from data[start] on; return where the next one begins.

    Events go behind the state[S_EVENTS] ones that are in the columns already, and so do losses:
    rows of (place, bytes, x, y). Stops early where either is full, at an event that the end cuts,
    and in strict mode behind the first loss. Row 0 is the top row in the columns.
    """
    now, n, lost = state[S_CLOCK], state[S_EVENTS], state[S_LOSSES]
    at = start
    while at < data.size and n < t.size and lost < losses.shape[0] and not (strict and lost > 0):
        first = np.int64(data[at])
        if first >> 1 == OVERFLOW_US:
            now += OVERFLOW_US
            at += 1
            continue
        if at + EVENT_BYTES > data.size:
            break
        column = np.int64(data[at + 1]) | np.int64(data[at + 2]) << 8
        row = np.int64(data[at + 3]) | np.int64(data[at + 4]) << 8
        if column < width and row < height:
            now += first >> 1
            t[n], x[n], y[n], p[n] = now, column, height - 1 - row, first & 1 != 0
            n += 1
            at += EVENT_BYTES
            continue
        # Most likely only the pixel is wrong; else look for where events go on.
        onward = at + EVENT_BYTES
        if _goes_on(data, onward, width, height):
            now += first >> 1
        else:
            onward = at + 1
            while onward < data.size and not _goes_on(data, onward, width, height):
                onward += 1
        losses[lost, 0], losses[lost, 1] = at, onward - at
        losses[lost, 2], losses[lost, 3] = column, row
        lost += 1
        at = onward
    state[S_CLOCK], state[S_EVENTS], state[S_LOSSES] = now, n, lost
    return at


@njit(cache=True, nogil=True)
def encode(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    start: int,
    height: int,
    clock: NDArray[np.int64],
    data: NDArray[np.uint8],
) -> tuple[int, int]:
    """Encode events from `start` on; return the next event and the number of bytes.

    Stops early where `data` is full. clock[0] is the time that the bytes have reached.
    """
    now, i, n = clock[0], start, 0
    while i < t.size and n + EVENT_BYTES <= data.size:
        step = t[i] - now
        if step >= OVERFLOW_US:
            data[n] = 0xFF
            now += OVERFLOW_US
            n += 1
            continue
        row = height - 1 - np.int64(y[i])
        data[n] = step << 1 | np.int64(p[i])
        data[n + 1], data[n + 2] = x[i] & 0xFF, x[i] >> 8
        data[n + 3], data[n + 4] = row & 0xFF, row >> 8
        now = t[i]
        n += EVENT_BYTES
        i += 1
    clock[0] = now
    return i, n
