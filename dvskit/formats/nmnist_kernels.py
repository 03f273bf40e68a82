# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over ATIS rows of 5 bytes.

Unsigned indices halve the time where all rows are read (see `counts_kernels.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns

EVENT_BYTES = 5
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13
_FIRST_ROWS = 512  # that show whether times have 13 bits
_MARKED_ROWS = 1 << 16  # that then hold an overflow: cameras do not send so many in 8 ms

# Places in the state of a pass: the time of the latest overflow, whether the file has overflows.
S_CLOCK, S_MARKED, STATE_FIELDS = range(3)


@njit(cache=True, nogil=True)
def _byte(data: NDArray[np.uint8], at: int, number: int) -> int:
    return np.int64(data[np.uintp(at) + np.uintp(number)])


@njit(cache=True, nogil=True)
def _field(data: NDArray[np.uint8], at: int) -> int:
    return (_byte(data, at, 2) & 0x7F) << 16 | _byte(data, at, 3) << 8 | _byte(data, at, 4)


@njit(cache=True, nogil=True)
def has_overflows(data: NDArray[np.uint8]) -> bool:
    """Return whether rows of overflow advance the time; its field then has 13 bits.

    They do if there are any near the start of the file, and most fields there are that short.
    """
    rows, long = min(_FIRST_ROWS, len(data) // EVENT_BYTES), 0
    for i in range(rows):
        long += _field(data, i * EVENT_BYTES) >= OVERFLOW_US
    if 2 * long > rows:
        return False
    for at in range(1, min(_MARKED_ROWS * EVENT_BYTES, len(data)), EVENT_BYTES):
        if data[at] == OVERFLOW_ROW:
            return True
    return False


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    width: int,
    height: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    all_valid: bool,
) -> tuple[int, bool]:
    """Decode the rows of data[start:stop]; return the number of events, and if all are valid.

    Valid events are on the sensor and in order. Where overflows do not advance the time, each row
    gives an event, and one of overflow an invalid one. `all_valid` may stop at an invalid event:
    the number is then 0, and the state unchanged.
    """
    t, x, y, p = columns
    clock, last = state[S_CLOCK], np.int64(0)
    n, one = np.uintp(0), np.uintp(1)
    bad = False
    if state[S_MARKED] == 0:
        # Without a branch for each row it takes a third of the time.
        count = np.uintp((stop - start) // EVENT_BYTES)
        for i in range(count):
            at = np.uintp(start) + i * np.uintp(EVENT_BYTES)
            column, row, now = _byte(data, at, 0), _byte(data, at, 1), clock + _field(data, at)
            bad |= (column >= width) | (row >= height) | (row == OVERFLOW_ROW) | (now < last)
            last = now
            t[i], x[i], y[i], p[i] = now, column, row, _byte(data, at, 2) > 0x7F
        return np.int64(count), not bad
    for at in range(start, stop, EVENT_BYTES):
        column, row = _byte(data, at, 0), _byte(data, at, 1)
        if row == OVERFLOW_ROW:
            clock += OVERFLOW_US
            continue
        now = clock + _field(data, at)
        if all_valid and (column >= width or row >= height or now < last):
            return 0, False
        last = now
        t[n], x[n], y[n], p[n] = now, column, row, _byte(data, at, 2) > 0x7F
        n += one
    state[S_CLOCK] = clock
    return np.int64(n), all_valid


@njit(cache=True, nogil=True)
def decode_files(
    data: NDArray[np.uint8],
    spans: NDArray[np.int64],
    width: int,
    height: int,
    columns: EventColumns,
    counts: NDArray[np.int64],
) -> None:
    """Decode files, each the bytes of `data` of a span (start, stop); spans follow one another.

    The events of a file are placed from its first byte divided by EVENT_BYTES on. `counts` gets
    their numbers: -1 if a row is invalid, or cut.
    """
    t, x, y, p = columns
    state = np.zeros(STATE_FIELDS, np.int64)
    for k in range(len(spans)):
        start, stop = spans[k]
        file, first = data[start:stop], start // EVENT_BYTES
        state[S_CLOCK], state[S_MARKED] = 0, has_overflows(file)
        room = t[first:], x[first:], y[first:], p[first:]
        counts[k] = -1
        if len(file) % EVENT_BYTES == 0:
            count, valid = decode(file, 0, len(file), width, height, state, room, True)
            counts[k] = count if valid else -1


@njit(cache=True, nogil=True)
def survey(data: NDArray[np.uint8], fit_width: int, fit_height: int) -> tuple[int, int, int, int]:
    """Return the width and height that hold all events, their number, and how many fit a sensor."""
    width = height = count = fit = 0
    for at in range(0, len(data) - EVENT_BYTES + 1, EVENT_BYTES):
        column, row = _byte(data, at, 0), _byte(data, at, 1)
        event = np.int64(row != OVERFLOW_ROW)  # a factor, not a branch: several rows at a time
        width, height = max(width, (column + 1) * event), max(height, (row + 1) * event)
        count += event
        fit += event & np.int64(column < fit_width) & np.int64(row < fit_height)
    return width, height, count, fit
