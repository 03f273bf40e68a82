# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over ATIS rows of 5 bytes.

Indices are unsigned where all rows are read: it halves the time (`counts_kernels.py` says why).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns

EVENT_BYTES = 5
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13

# Places in the state of a pass: the time of the latest overflow, whether the file has overflows;
# and the events and losses of the latest piece.
S_CLOCK, S_MARKED, S_EVENTS, S_LOSSES, STATE_FIELDS = range(5)


@njit(cache=True, nogil=True)
def _byte(data: NDArray[np.uint8], at: int, number: int) -> int:
    return np.int64(data[np.uintp(at) + np.uintp(number)])


@njit(cache=True, nogil=True)
def _field(data: NDArray[np.uint8], at: int) -> int:
    return (_byte(data, at, 2) & 0x7F) << 16 | _byte(data, at, 3) << 8 | _byte(data, at, 4)


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    earliest_us: int,
    width: int,
    height: int,
    state: NDArray[np.int64],
    columns: EventColumns,
) -> int:
    """Decode the rows of data[start:stop]; return how many events they are, -1 if a row is bad.

    Good is on the sensor, and in order from `earliest_us` on. The state is not moved by bad rows.
    """
    t, x, y, p = columns
    clock, last = state[S_CLOCK], earliest_us
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
        return -1 if bad else np.int64(count)
    for at in range(start, stop, EVENT_BYTES):
        column, row = _byte(data, at, 0), _byte(data, at, 1)
        if row == OVERFLOW_ROW:
            clock += OVERFLOW_US
            continue
        now = clock + _field(data, at)
        if column >= width or row >= height or now < last:
            return -1
        last = now
        t[n], x[n], y[n], p[n] = now, column, row, _byte(data, at, 2) > 0x7F
        n += one
    state[S_CLOCK] = clock
    return np.int64(n)


@njit(cache=True, nogil=True)
def decode_all(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    offsets: NDArray[np.int64],
    losses: NDArray[np.int64],
) -> None:
    """Decode the rows of data[start:stop], with events off the sensor and out of order.

    `losses` gets the offsets of rows that are none; state[S_EVENTS] and state[S_LOSSES] tell how
    many there are.
    """
    t, x, y, p = columns
    marked = state[S_MARKED] != 0
    clock = state[S_CLOCK]
    n = lost = 0
    for at in range(start, stop, EVENT_BYTES):
        row = np.int64(data[at + 1])
        if row == OVERFLOW_ROW:
            if marked:
                clock += OVERFLOW_US
            else:
                losses[lost] = at
                lost += 1
            continue
        t[n], x[n], y[n], p[n] = clock + _field(data, at), data[at], row, data[at + 2] > 0x7F
        offsets[n] = at
        n += 1
    state[S_CLOCK], state[S_EVENTS], state[S_LOSSES] = clock, n, lost


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


@njit(cache=True, nogil=True)
def _same_row(data: NDArray[np.uint8], one: int, other: int) -> bool:
    for k in range(EVENT_BYTES):
        if _byte(data, one, k) != _byte(data, other, k):
            return False
    return True


@njit(cache=True, nogil=True)
def glance(
    data: NDArray[np.uint8], step: int, glance_rows: int, long_share: float
) -> tuple[int, int, int]:
    """Look at a window of rows at every `step` of them, as they line up at each of five bytes.

    Rows equal to the one ahead are left out: they fill a gap. Where more than half are left, their
    time fields are short if no more than `long_share` of them need more than 13 bits. Returns in
    how many windows they are short at some byte, in how many they are long at all, and the overflow
    rows of the short ones, at the byte where the share is least. Once they are long in half of all
    windows the rest is not looked at.
    """
    short = long_windows = marks = 0
    windows = -(-(len(data) // EVENT_BYTES) // step)
    for first in range(0, len(data) // EVENT_BYTES, step):
        if 2 * long_windows >= windows:
            break
        seen = False
        best_share, best_marks = 2.0, 0
        for shift in range(EVENT_BYTES):
            start = first * EVENT_BYTES + shift
            rows = min(glance_rows, (len(data) - start) // EVENT_BYTES)
            kept = long = found = i = 0
            surely_long = False
            while i < rows and not (surely_long and (seen or 2 * kept > rows)):
                at = start + i * EVENT_BYTES
                ahead = start + (i if i > 0 else rows) * EVENT_BYTES - EVENT_BYTES
                if rows == 1 or not _same_row(data, at, ahead):
                    kept += 1
                    if _byte(data, at, 1) == OVERFLOW_ROW:
                        found += 1
                    elif _byte(data, at, 2) & 0x7F != 0 or _byte(data, at, 3) >= OVERFLOW_US >> 8:
                        long += 1
                        surely_long = long > long_share * rows
                i += 1
            if 2 * kept > rows:
                seen = True
                share = long / kept
                if share < best_share or (share == best_share and found > best_marks):
                    best_share, best_marks = share, found
        if seen and best_share <= long_share:
            short += 1
            marks += best_marks
        elif seen:
            long_windows += 1
    return short, long_windows, marks
