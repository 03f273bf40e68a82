# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over the bytes of an Event Stream."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns

# The type of events, as byte 15 of a file says it.
GENERIC, DVS, ATIS, DISPLAY, COLOR = range(5)

EVENT_BYTES = 5
OVERFLOW_US = 127
LONG_OVERFLOW_US = 254  # of a color or generic event
_GRAY = (299, 587, 114)  # parts in 1000 of red, green and blue in brightness (ITU-R BT.601)

# Indices in the decoder's state: the clock, the events in the columns, the losses, and the skipped
# events: threshold crossings if changes are decoded, or changes if crossings are.
S_CLOCK, S_EVENTS, S_LOSSES, S_OTHERS = range(4)
STATE_FIELDS = 4

LOOK_AHEAD = 1024  # bytes that may be read to judge where events go on
_RUN = 8  # events in a row, all on the sensor, that show where events go on


@njit(cache=True, nogil=True)
def event_bytes(kind: int) -> int:
    """Return the number of bytes per event."""
    return 8 if kind == COLOR else EVENT_BYTES


@njit(cache=True, nogil=True)
def _time_alone(first: int, kind: int) -> int:
    """Return the microseconds of a byte that is time alone, 0 for a reset, -1 for an event's."""
    time = -1
    if kind == DVS and first >= 0xFE:
        time = OVERFLOW_US * (first & 1)
    elif kind == ATIS and first >= 0xFC:
        time = 63 * (first & 3)
    elif kind == COLOR and first >= 0xFE:
        time = LONG_OVERFLOW_US * (first & 1)
    return time


@njit(cache=True, nogil=True)
def _event(data: NDArray[np.uint8], at: int, kind: int) -> tuple[int, int, int, int, bool]:
    """Return the event at data[at]: microseconds, column, row, polarity, and if it is a crossing.

    A color event has its brightness in place of the polarity.
    """
    first = np.int64(data[at])
    column = np.int64(data[at + 1]) | np.int64(data[at + 2]) << 8
    row = np.int64(data[at + 3]) | np.int64(data[at + 4]) << 8
    if kind == DVS:
        return first >> 1, column, row, first & 1, False
    if kind == ATIS:
        return first >> 2, column, row, first >> 1 & 1, first & 1 == 1
    return first, column, row, _brightness(data, at + 5), False


@njit(cache=True, nogil=True)
def _brightness(data: NDArray[np.uint8], at: int) -> int:
    red, green, blue = np.int64(data[at]), np.int64(data[at + 1]), np.int64(data[at + 2])
    return red * _GRAY[0] + green * _GRAY[1] + blue * _GRAY[2]


@njit(cache=True, nogil=True)
def _goes_on(data: NDArray[np.uint8], at: int, kind: int, width: int, height: int) -> bool:
    """Return whether events begin at data[at]: _RUN on the sensor, or all up to the end."""
    limit, step = at + LOOK_AHEAD, event_bytes(kind)
    good = 0
    while good < _RUN and at < limit:
        if at >= data.size:
            return at == data.size
        if _time_alone(np.int64(data[at]), kind) >= 0:
            at += 1
            continue
        if at + step > data.size:
            return False
        _, x, y, _, _ = _event(data, at, kind)
        if x >= width or y >= height:
            return False
        good += 1
        at += step
    return True


@njit(cache=True, nogil=True)
def _run_dvs(
    data: NDArray[np.uint8],
    at: int,
    width: int,
    height: int,
    limit: int,
    now: int,
    n: int,
    columns: EventColumns,
) -> tuple[int, int, int]:
    """Decode DVS events up to one off the sensor; return its place, clock, events."""
    t, x, y, p = columns
    while at < limit and n < t.size:
        first = np.int64(data[at])
        if first >= 0xFE:
            now += OVERFLOW_US * (first & 1)
            at += 1
            continue
        column = np.int64(data[at + 1]) | np.int64(data[at + 2]) << 8
        row = height - 1 - (np.int64(data[at + 3]) | np.int64(data[at + 4]) << 8)
        if (width - 1 - column) | row < 0:
            break
        now += first >> 1
        t[n], x[n], y[n], p[n] = now, column, row, first & 1 != 0
        n += 1
        at += EVENT_BYTES
    return at, now, n


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    start: int,
    kind: int,
    crossings: bool,
    width: int,
    height: int,
    strict: bool,
    state: NDArray[np.int64],
    gray: NDArray[np.int32],
    colors: NDArray[np.uint8],
    columns: EventColumns,
    losses: NDArray[np.int64],
) -> int:
    """Decode the events from data[start] on; return the start of the next one.

    Events are appended to the state[S_EVENTS] ones in the columns, and losses, rows of (place,
    bytes, x, y), likewise. Stops early if either is full, at an event cut by the end, and in strict
    mode after the first loss. Row 0 is the top row in the columns. `crossings` decodes threshold
    crossings instead of changes. `gray` is 1 more than the latest brightness of each pixel, 0 for
    none: a color event is ON if it is no darker. Red, green and blue go into the rows of
    `colors`. Both may be empty for other types, `colors` for all.
    """
    t, x, y, p = columns
    now, n, lost = state[S_CLOCK], state[S_EVENTS], state[S_LOSSES]
    at, step = start, event_bytes(kind)
    colored = kind == COLOR
    while at < data.size and n < t.size and lost < losses.shape[0] and not (strict and lost > 0):
        if kind == DVS:
            limit = data.size - EVENT_BYTES + 1
            at, now, n = _run_dvs(data, at, width, height, limit, now, n, columns)
            if at >= data.size or n >= t.size:
                break
        alone = _time_alone(np.int64(data[at]), kind)
        if alone >= 0:
            now += alone
            at += 1
            continue
        if at + step > data.size:
            break
        time, column, row, polarity, crossing = _event(data, at, kind)
        if column < width and row < height:
            now += time
            at += step
            if crossing != crossings:
                state[S_OTHERS] += 1
                continue
            if colored:
                place = row * width + column
                brighter = polarity + 1 >= gray[place]
                gray[place] = polarity + 1
                polarity = 1 if brighter else 0
            if colors.size > 0:
                for part in range(3):
                    colors[n, part] = data[at - 3 + part]
            t[n], x[n], y[n], p[n] = now, column, height - 1 - row, polarity == 1
            n += 1
            continue
        # Probably only the pixel is wrong; otherwise search for the next events.
        onward = at + step
        if _goes_on(data, onward, kind, width, height):
            now += time
        else:
            onward = at + 1
            while onward < data.size and not _goes_on(data, onward, kind, width, height):
                onward += 1
        losses[lost, 0], losses[lost, 1] = at, onward - at
        losses[lost, 2], losses[lost, 3] = column, row
        lost += 1
        at = onward
    state[S_CLOCK], state[S_EVENTS], state[S_LOSSES] = now, n, lost
    return at


@njit(cache=True, nogil=True)
def find_generic(
    data: NDArray[np.uint8],
    start: int,
    clock: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int]:
    """Find the generic events from data[start] on; return their number, and the next one's start.

    Writes rows of (microseconds, place of the data, its length). Stops early if `rows` is full and
    at an event cut by the end. clock[0] is the current time.
    """
    now, at, n = clock[0], start, 0
    while at < data.size and n < rows.shape[0]:
        first = np.int64(data[at])
        if first >= 0xFE:
            now += LONG_OVERFLOW_US * (first & 1)
            at += 1
            continue
        place, length, shift, more = at + 1, np.int64(0), np.int64(0), True
        while more and place < data.size and length <= data.size:
            if shift < 56:
                length |= (np.int64(data[place]) >> 1) << shift
            elif data[place] > 1:
                length = data.size + 1
            more = data[place] & 1 == 1
            place, shift = place + 1, shift + 7
        if more or length > data.size - place:
            break
        now += first
        rows[n, 0], rows[n, 1], rows[n, 2] = now, place, length
        n += 1
        at = place + length
    clock[0] = now
    return n, at


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
    """Encode events from `start` on as DVS events; return the next event and the number of bytes.

    Stops early if `data` is full. clock[0] is the current time of the bytes.
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
