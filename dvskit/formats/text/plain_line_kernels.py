"""Plain lines, read and written: digits and a single separator, nothing else.

Several bytes are read at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns
from dvskit.formats.text.byte_kernels import (
    byte_at,
    first_bit,
    fraction_us,
    marks,
    number4,
    number16,
    stops_and,
)

MOST_BYTES = 48  # of one written event
USUAL = 24 << 24 | 16 << 16 | 8 << 8  # time, column, row, polarity: see plain_line


@njit(cache=True, nogil=True, inline="always")
def _time_us(at: Any, end: Any, point: Any) -> Any:
    """Return the time between two addresses in microseconds, or -1 if it is not plain.

    `point` is the place of its decimal point if it is in seconds, else -1.
    """
    if point < 0:
        return number16(at, end - at) if 1 <= end - at <= 16 else -1
    if point <= at or point - at > 12 or point >= end:
        return -1
    return number16(at, point - at) * 1_000_000 + fraction_us(point + 1, min(8, end - point - 1))


@njit(cache=True, nogil=True, inline="always")
def plain_line(
    at: Any,
    end: Any,
    shifts: int,
    separator: Any,
    returns: int,
    seconds: bool,
) -> tuple[bool, Any, Any, Any, Any, Any]:
    """Parse the line at an address if it is plain: digits and a single separator, nothing else.

    `shifts` are the positions of time, column, row and polarity in a line: 8 times the index, a
    byte each; `returns` is the number of carriage returns at the end, 0 or 1. Returns whether the
    line is plain; the start of the next one; and time, column, row and polarity.
    """
    one, byte = np.uint64(1), np.uint64(0xFF)
    seen = marks(at)
    stops = seen & np.uint64(0xFFFFFFFF)
    end0 = first_bit(stops)
    stops &= stops - one
    end1 = first_bit(stops)
    stops &= stops - one
    end2 = first_bit(stops)
    stops &= stops - one
    end3 = first_bit(stops)
    stop = at + end3 + returns
    following = stop + 1
    if stops == 0:
        return False, 0, 0, 0, 0, 0  # fewer than four fields, or a long line
    # Only the place of the line's end may reach `following`: the next line waits for it.
    wrong = (
        (byte_at(at + end0) ^ separator)
        | (byte_at(at + end1) ^ separator)
        | (byte_at(at + end2) ^ separator)
        | (byte_at(stop) ^ 10)
        | (byte_at(at + end3) ^ (13 if returns else 10))
    )
    # The ends of the fields, and the bytes at which they begin, a byte each.
    ends = np.uint64(end0 | end1 << 8 | end2 << 16 | end3 << 24)
    starts = (ends << np.uint64(8)) + np.uint64(0x01010100)
    time_at = np.uint64(shifts) & byte
    column_at = np.uint64(shifts) >> np.uint64(8) & byte
    row_at = np.uint64(shifts) >> np.uint64(16) & byte
    polarity_at = np.uint64(shifts) >> np.uint64(24)

    sign = np.int64(starts >> polarity_at & byte)
    negative = np.int64(byte_at(at + sign) == 45)
    odd = (seen >> np.uint64(32)) & ((one << np.uint64(end3)) - one)
    odd ^= np.uint64(negative) << np.uint64(sign)
    point = np.int64(-1)
    if seconds:
        if odd == 0 or odd & (odd - one) != 0:
            return False, 0, 0, 0, 0, 0
        point = at + first_bit(odd)
        wrong |= byte_at(point) ^ 46
    elif odd != 0:
        return False, 0, 0, 0, 0, 0
    column, row = np.int64(starts >> column_at & byte), np.int64(starts >> row_at & byte)
    wide = np.int64(ends >> column_at & byte) - column
    high = np.int64(ends >> row_at & byte) - row
    on = np.int64(byte_at(at + sign + negative)) - 48
    single = np.int64(ends >> polarity_at & byte) - sign - negative == 1
    fine = (wrong == 0) & (following <= end) & single & (on <= 1) & (on >= negative)
    if not (fine and 1 <= wide <= 4 and 1 <= high <= 4):
        return False, 0, 0, 0, 0, 0
    first, last = np.int64(starts >> time_at & byte), np.int64(ends >> time_at & byte)
    time = _time_us(at + first, at + last, point)
    return (
        time >= 0,
        following,
        time,
        number4(at + column, wide),
        number4(at + row, high),
        on - 2 * negative,
    )


@njit(cache=True, nogil=True, inline="always")
def run(
    at: Any,
    stop: int,
    separator: Any,
    width: int,
    height: int,
    last: int,
    n: int,
    columns: EventColumns,
    seconds: bool,
) -> tuple[Any, Any, Any]:
    """Parse lines of time, column, row, and 0 or 1, up to one of another form.

    Times are whole microseconds, or seconds with decimals. Returns the other line's address, the
    number of events, and how many of the new ones are ON.
    """
    t, x, y, p = columns
    one, low = np.uint64(1), np.uint64(0xFFFFFFFF)
    on = 0
    while at < stop:
        seen = stops_and(at, separator)
        every = seen & low
        # The point of the seconds does not end a field.
        stops = every & (every - one) if seconds else every
        stops1 = stops & (stops - one)
        stops2 = stops1 & (stops1 - one)
        stops3 = stops2 & (stops2 - one)
        if stops3 == 0:
            break
        end0, end1, end2 = first_bit(stops), first_bit(stops1), first_bit(stops2)
        end3 = first_bit(stops3)
        # Among the stops up to the line's end, only the end and a point are not separators.
        line = (every ^ seen >> np.uint64(32)) & (stops3 ^ (stops3 - one))
        wide, high = end1 - end0 - 1, end2 - end1 - 1
        polarity = byte_at(at + end2 + 1) - 48
        wrong = (wide - 1) >> 2 | (high - 1) >> 2 | (end3 - end2 - 2) | polarity >> 1
        wrong |= byte_at(at + end3) ^ 10
        if seconds:
            point = first_bit(every)
            decimals = end0 - point - 1
            if point < 1 or point > 12 or decimals < 1:
                break
            wrong |= byte_at(at + point) ^ 46
            line ^= one << np.uint64(point)
        else:
            wrong |= (end0 - 1) >> 4
        if line != one << np.uint64(end3) or wrong != 0 or at + end3 >= stop:
            break
        if seconds:
            time = number16(at, point) * 1_000_000 + fraction_us(at + point + 1, min(8, decimals))
        else:
            time = number16(at, end0)
        column, row = number4(at + end0 + 1, wide), number4(at + end1 + 1, high)
        if (width - 1 - column) | (height - 1 - row) | (time - last) < 0:
            break
        t[n], x[n], y[n], p[n] = time, column, row, polarity != 0
        last = time
        on += polarity
        n += 1
        at += end3 + 1
    return at, n, on


@njit(cache=True, nogil=True)
def _put(data: NDArray[np.uint8], n: int, value: np.uint64, least: int) -> int:
    """Write `value` with at least `least` digits at data[n]; return their end."""
    ten = np.uint64(10)
    digits = 1
    rest = value // ten
    while rest > np.uint64(0):
        rest //= ten
        digits += 1
    digits = max(digits, least)
    for place in range(n + digits - 1, n - 1, -1):
        data[place] = np.uint8(48) + np.uint8(value % ten)
        value //= ten
    return n + digits


@njit(cache=True, nogil=True)
def write(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    start: int,
    seconds: bool,
    separator: int,
    data: NDArray[np.uint8],
) -> tuple[int, int]:
    """Write events from `start` on as lines; return the next event and the number of bytes.

    Stops early if `data` may not hold another line.
    """
    million = np.uint64(1_000_000)
    i, n = start, 0
    while i < t.size and n + MOST_BYTES <= data.size:
        time = np.uint64(t[i])
        if t[i] < 0:
            data[n] = 45
            n += 1
            time = np.uint64(-(t[i] + 1)) + np.uint64(1)  # -t itself may not fit
        if seconds:
            n = _put(data, n, time // million, 1)
            data[n] = 46
            n = _put(data, n + 1, time % million, 6)
        else:
            n = _put(data, n, time, 1)
        data[n] = separator
        n = _put(data, n + 1, np.uint64(x[i]), 1)
        data[n] = separator
        n = _put(data, n + 1, np.uint64(y[i]), 1)
        data[n] = separator
        data[n + 1] = 49 if p[i] else 48
        data[n + 2] = 10
        n += 3
        i += 1
    return i, n
