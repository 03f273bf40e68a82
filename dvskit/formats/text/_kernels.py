"""Loops over lines of text."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What a field of a line is.
TIME, COLUMN, ROW, POLARITY, OTHER = range(5)

# Why a line is lost.
NOT_A_NUMBER, NOT_WHOLE, TOO_LARGE, TOO_FEW, TOO_MANY, BAD_POLARITY = range(1, 7)
_FINE = 0

# Places in the parser's state: the events, the losses, and how OFF is written.
S_EVENTS, S_LOSSES, S_OFF = range(3)
STATE_FIELDS = 3
_OFF_IS_ZERO, _OFF_IS_MINUS = 1, 2

MOST_BYTES = 48  # that one written event may take
_MOST = 1 << 62  # that a number may be
_MOST_PIXEL = 1 << 30
_MORE_DIGITS = 900_000_000_000_000_000  # a number below it takes a digit more


@njit(cache=True, nogil=True)
def _is_blank(byte: int) -> bool:
    return byte == 32 or byte == 9


@njit(cache=True, nogil=True)
def _scaled(value: int, power: int, whole: bool, lost: bool) -> tuple[int, int]:
    """Return (value * 10^power, why not): rounded to the nearest, or an error if it is not whole.

    `lost` says that digits other than 0 have been left out behind the value.
    """
    while power > 0 and value != 0:
        if value > _MOST // 10:
            return 0, TOO_LARGE
        value *= 10
        power -= 1
    rest = 0
    while power < 0 and (value != 0 or rest != 0):
        lost = lost or rest != 0
        rest = value % 10
        value //= 10
        power += 1
    if whole and (lost or rest != 0):
        return 0, NOT_WHOLE
    if value > _MOST:
        return 0, TOO_LARGE
    return value + (1 if rest >= 5 else 0), _FINE


@njit(cache=True, nogil=True)
def _number(
    data: NDArray[np.uint8], at: int, end: int, power: int, whole: bool
) -> tuple[int, int, int]:
    """Parse the decimal number in data[at:end]; return (number * 10^power, its end, why not)."""
    negative = False
    if at < end and (data[at] == 43 or data[at] == 45):
        negative = data[at] == 45
        at += 1
    value, digits, point, lost = 0, 0, False, False
    while at < end and (48 <= data[at] <= 57 or (data[at] == 46 and not point)):
        if data[at] == 46:
            point = True
        else:
            digits += 1
            if value < _MORE_DIGITS:
                value = value * 10 + (np.int64(data[at]) - 48)
                power -= 1 if point else 0
            else:
                lost = lost or data[at] != 48
                power += 0 if point else 1
        at += 1
    if digits == 0:
        return 0, at, NOT_A_NUMBER
    if at < end and (data[at] == 101 or data[at] == 69):  # e, E
        at += 1
        down = False
        if at < end and (data[at] == 43 or data[at] == 45):
            down = data[at] == 45
            at += 1
        exponent, digits = 0, 0
        while at < end and 48 <= data[at] <= 57:
            exponent = min(10_000, exponent * 10 + (np.int64(data[at]) - 48))
            digits += 1
            at += 1
        if digits == 0:
            return 0, at, NOT_A_NUMBER
        power += -exponent if down else exponent
    value, why = _scaled(value, power, whole, lost)
    return -value if negative else value, at, why


@njit(cache=True, nogil=True)
def _polarity(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """Parse a polarity: a number, or a word such as True; return (number, its end, why not)."""
    first = data[at] | 32 if at < end else 0
    if first != 116 and first != 102:  # t, f
        return _number(data, at, end, 0, True)
    start = at
    while at < end and 97 <= (data[at] | 32) <= 122:
        at += 1
    word = 4 if first == 116 else 5
    return (1 if first == 116 else 0), at, (_FINE if at - start == word else NOT_A_NUMBER)


@njit(cache=True, nogil=True)
def _plain_line(
    data: NDArray[np.uint8],
    at: int,
    fields: NDArray[np.int64],
    seconds: bool,
    value: NDArray[np.int64],
) -> int:
    """Parse the line at data[at] if it is as most are: digits, one separator, no more.

    Returns where the next line begins, or -1 for a line that needs a closer look.
    """
    last = fields.size - 1
    for field in range(fields.size):
        kind = fields[field]
        negative = at < data.size and data[at] == 45
        at += 1 if negative else 0
        number, first = np.int64(0), at
        while at < data.size and np.uint8(data[at] - np.uint8(48)) < 10:
            number = number * 10 + (np.int64(data[at]) - 48)
            at += 1
        if at == first or at - first > 12 + 6 * (not seconds) or at >= data.size or kind == OTHER:
            return -1
        if kind == TIME and seconds:
            if data[at] != 46 or at + 7 >= data.size:
                return -1
            for place in range(at + 1, at + 7):
                digit = np.uint8(data[place] - np.uint8(48))
                if digit > 9:
                    return -1
                number = number * 10 + np.int64(digit)
            at += 7
            while at < data.size and data[at] == 48:
                at += 1
            if at >= data.size:
                return -1
        value[kind] = -number if negative else number
        byte = data[at]
        if field < last:
            if byte != 44 and byte != 32:
                return -1
        elif byte != 10:
            return -1
        at += 1
    return at


@njit(cache=True, nogil=True)
def parse(
    data: NDArray[np.uint8],
    start: int,
    fields: NDArray[np.int64],
    seconds: bool,
    strict: bool,
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    p: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    widths: NDArray[np.int64],
    losses: NDArray[np.int64],
) -> int:
    """Parse the lines from data[start] on; return where the next one begins.

    `fields` says what each field of a line is. Events go behind the state[S_EVENTS] ones that are
    in the columns already, and so do losses: rows of (place, bytes, why, field). Stops early where
    either is full, and in strict mode behind the first loss.
    """
    n, lost = state[S_EVENTS], state[S_LOSSES]
    value = np.zeros(OTHER + 1, np.int64)
    at = start
    while at < data.size and n < t.size and lost < losses.shape[0] and not (strict and lost > 0):
        stop = _plain_line(data, at, fields, seconds, value)
        if (
            stop >= 0
            and abs(value[COLUMN]) <= _MOST_PIXEL
            and abs(value[ROW]) <= _MOST_PIXEL
            and (value[POLARITY] == 1 or (value[POLARITY] == 0 and state[S_OFF] == _OFF_IS_ZERO))
        ):
            t[n], x[n], y[n] = value[TIME], value[COLUMN], value[ROW]
            p[n], offsets[n], widths[n] = value[POLARITY] == 1, at, stop - at
            n += 1
            at = stop
            continue
        stop = at
        while stop < data.size and data[stop] != 10:
            stop += 1
        line, following = at, min(stop + 1, data.size)
        while stop > at and (data[stop - 1] == 13 or _is_blank(data[stop - 1])):
            stop -= 1
        while at < stop and _is_blank(data[at]):
            at += 1
        if at == stop or data[at] == 35 or data[at] == 37:  # nothing, or a # or % comment
            at = following
            continue
        why, field = _FINE, 0
        while field < fields.size and why == _FINE:
            kind = fields[field]
            if at >= stop and kind != OTHER:
                why = TOO_FEW
            elif kind == OTHER:
                while at < stop and data[at] != 44 and data[at] != 59 and not _is_blank(data[at]):
                    at += 1
            elif kind == POLARITY:
                value[kind], at, why = _polarity(data, at, stop)
            elif kind == TIME and seconds:
                value[kind], at, why = _number(data, at, stop, 6, False)
            else:
                value[kind], at, why = _number(data, at, stop, 0, True)
            if why == _FINE and (kind == COLUMN or kind == ROW) and abs(value[kind]) > _MOST_PIXEL:
                why = TOO_LARGE
            if why != _FINE:
                break
            if at < stop and data[at] != 44 and data[at] != 59 and not _is_blank(data[at]):
                why = NOT_A_NUMBER
                break
            while at < stop and _is_blank(data[at]):
                at += 1
            if at < stop and (data[at] == 44 or data[at] == 59):
                at += 1
                while at < stop and _is_blank(data[at]):
                    at += 1
            field += 1
        if why == _FINE:
            off = _OFF_IS_ZERO if value[POLARITY] == 0 else _OFF_IS_MINUS
            if at < stop:
                why = TOO_MANY
            elif abs(value[POLARITY]) > 1:
                why = BAD_POLARITY
            elif value[POLARITY] != 1:
                if state[S_OFF] != 0 and state[S_OFF] != off:
                    why = BAD_POLARITY
                state[S_OFF] = state[S_OFF] if state[S_OFF] != 0 else off
        if why == _FINE:
            t[n], x[n], y[n] = value[TIME], value[COLUMN], value[ROW]
            p[n], offsets[n], widths[n] = value[POLARITY] == 1, line, following - line
            n += 1
        else:
            losses[lost, 0], losses[lost, 1] = line, following - line
            losses[lost, 2], losses[lost, 3] = why, field
            lost += 1
        at = following
    state[S_EVENTS], state[S_LOSSES] = n, lost
    return at


@njit(cache=True, nogil=True)
def _put(data: NDArray[np.uint8], n: int, value: np.uint64, least: int) -> int:
    """Write the digits of `value`, at least `least` of them, at data[n]; return their end."""
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

    Stops early where `data` may not hold another line.
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
