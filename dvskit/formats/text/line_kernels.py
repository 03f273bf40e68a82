# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over lines of text: parsing and writing."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns
from dvskit.formats.text.plain_line_kernels import WINDOW, byte_at, plain_line

# Kinds of fields.
TIME, COLUMN, ROW, POLARITY, OTHER = range(5)

# Reasons for losing a line.
NOT_A_NUMBER, NOT_WHOLE, TOO_LARGE, TOO_FEW, TOO_MANY, BAD_POLARITY, NO_TEXT = range(1, 8)
_FINE, _BLANK = 0, -1

# Indices in the parser's state: the events, the losses, the value of OFF (its bits), and whether an
# event is off the sensor or earlier than the one before it.
S_EVENTS, S_LOSSES, S_OFF, S_BAD, STATE_FIELDS = range(5)
# Columns of a loss: the number of events before it, the place and bytes of its line, why, field.
L_ROW, L_PLACE, L_BYTES, L_WHY, L_FIELD, LOSS_FIELDS = range(6)
OFF_IS_ZERO, OFF_IS_MINUS = 1, 2

MOST_BYTES = 48  # of one written event
PADDING = WINDOW + 8  # bytes after the lines that may be read, with any content
_MOST = 1 << 62  # the largest number
_MOST_PIXEL = 32767
_EARLIEST = -(1 << 62)
_MORE_DIGITS = 900_000_000_000_000_000  # a number below it can take one more digit


@njit(cache=True, nogil=True)
def _is_blank(byte: int) -> bool:
    return byte == 32 or byte == 9


@njit(cache=True, nogil=True)
def _scaled(value: int, power: int, whole: bool, lost: bool) -> tuple[int, int]:
    """Return (value * 10^power, error): rounded to the nearest, or an error if it is not whole.

    `lost`: digits other than 0 have been dropped after the value.
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
def _number(at: int, end: int, power: int, whole: bool) -> tuple[int, int, int]:
    """Parse the decimal number in byte_at(at:end); return (number * 10^power, its end, error)."""
    negative = False
    if at < end and (byte_at(at) == 43 or byte_at(at) == 45):
        negative = byte_at(at) == 45
        at += 1
    value, digits, point, lost = 0, 0, False, False
    while at < end and (48 <= byte_at(at) <= 57 or (byte_at(at) == 46 and not point)):
        if byte_at(at) == 46:
            point = True
        else:
            digits += 1
            if value < _MORE_DIGITS:
                value = value * 10 + (np.int64(byte_at(at)) - 48)
                power -= 1 if point else 0
            else:
                lost = lost or byte_at(at) != 48
                power += 0 if point else 1
        at += 1
    if digits == 0:
        return 0, at, NOT_A_NUMBER
    if at < end and (byte_at(at) == 101 or byte_at(at) == 69):  # e, E
        at += 1
        down = False
        if at < end and (byte_at(at) == 43 or byte_at(at) == 45):
            down = byte_at(at) == 45
            at += 1
        exponent, digits = 0, 0
        while at < end and 48 <= byte_at(at) <= 57:
            exponent = min(10_000, exponent * 10 + (np.int64(byte_at(at)) - 48))
            digits += 1
            at += 1
        if digits == 0:
            return 0, at, NOT_A_NUMBER
        power += -exponent if down else exponent
    value, why = _scaled(value, power, whole, lost)
    return -value if negative else value, at, why


@njit(cache=True, nogil=True)
def _polarity(at: int, end: int) -> tuple[int, int, int]:
    """Parse a polarity: a number, or a word such as True; return (number, its end, error)."""
    first = byte_at(at) | 32 if at < end else 0
    if first != 116 and first != 102:  # t, f
        return _number(at, end, 0, True)
    start = at
    while at < end and 97 <= (byte_at(at) | 32) <= 122:
        at += 1
    word = 4 if first == 116 else 5
    return (1 if first == 116 else 0), at, (_FINE if at - start == word else NOT_A_NUMBER)


@njit(cache=True, nogil=True)
def _ends_field(byte: int) -> bool:
    return byte == 44 or byte == 59 or _is_blank(byte)  # , ;


@njit(cache=True, nogil=True)
def _field(at: int, stop: int, kind: int, seconds: bool) -> tuple[int, int, int]:
    """Parse the field at byte_at(at); return (its value, its end, error)."""
    if kind == OTHER:
        while at < stop and not _ends_field(byte_at(at)):
            at += 1
        return 0, at, _FINE
    if at >= stop:
        return 0, at, TOO_FEW
    if kind == POLARITY:
        value, at, why = _polarity(at, stop)
    elif kind == TIME and seconds:
        value, at, why = _number(at, stop, 6, False)
    else:
        value, at, why = _number(at, stop, 0, True)
    if why == _FINE and (kind == COLUMN or kind == ROW) and abs(value) > _MOST_PIXEL:
        why = TOO_LARGE
    if why == _FINE and at < stop and not _ends_field(byte_at(at)):
        why = NOT_A_NUMBER
    return value, at, why


@njit(cache=True, nogil=True)
def _line(
    start: int, end: int, fields: NDArray[np.int64], seconds: bool, off: int
) -> tuple[int, int, int, int, int, int, int, int]:
    """Parse the line at the address `start`, of any kind; `end` is the end of the last line.

    `off` is the value of OFF so far. Returns the start of the next line; the reason why this one is
    not an event (_BLANK for an empty line or a comment), and the field; the value of OFF; and time,
    column, row and polarity.
    """
    stop = start
    while stop < end and byte_at(stop) != 10:
        stop += 1
    following, at = min(stop + 1, end), start
    while stop > at and (byte_at(stop - 1) == 13 or _is_blank(byte_at(stop - 1))):
        stop -= 1
    while at < stop and _is_blank(byte_at(at)):
        at += 1
    time, column, row, polarity = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    if at == stop or byte_at(at) == 35 or byte_at(at) == 37:  # empty, or a # or % comment
        why = _BLANK
        for place in range(at, stop):  # a line turned into a comment by damage is rarely text
            if (byte_at(place) < 32 and byte_at(place) != 9) or byte_at(place) == 127:
                why = NO_TEXT
        return following, why, 0, off, time, column, row, polarity
    for field in range(fields.size):
        kind = fields[field]
        value, at, why = _field(at, stop, kind, seconds)
        if why != _FINE:
            return following, why, field, off, time, column, row, polarity
        time = value if kind == TIME else time
        column = value if kind == COLUMN else column
        row = value if kind == ROW else row
        polarity = value if kind == POLARITY else polarity
        while at < stop and _is_blank(byte_at(at)):
            at += 1
        if at < stop and (byte_at(at) == 44 or byte_at(at) == 59):
            at += 1
            while at < stop and _is_blank(byte_at(at)):
                at += 1
    why = _FINE
    if at < stop:
        why = TOO_MANY
    elif polarity != 1:
        written = OFF_IS_ZERO if polarity == 0 else OFF_IS_MINUS
        if abs(polarity) > 1 or (off != 0 and off != written):
            why = BAD_POLARITY
        else:
            off = written
    return following, why, fields.size, off, time, column, row, polarity


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    fields: NDArray[np.int64],
    shifts: int,
    separator: int,
    returns: int,
    seconds: bool,
    width: int,
    height: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    losses: NDArray[np.int32],
    places: NDArray[np.int64],
) -> None:
    """Parse the lines of data[start:end] into events, unchecked, and lines that are no events.

    `fields` are the kinds of a line's fields. `shifts` are the positions of fields in plain lines
    (see `plain_line`), -1 if no line is plain. PADDING bytes after `end` are read. Columns and
    losses need room for each line. `places` (2, n) gets the place and length of each event's line;
    it may be empty (2, 0). state[S_OFF] is the value of OFF so far; plain lines may have both.
    """
    t, x, y, p = columns
    base, placed = data.ctypes.data, places.shape[1] > 0
    at, stop, n, last, off = base + start, base + end, 0, np.int64(_EARLIEST), state[S_OFF]
    lost, bad = 0, False
    while at < stop:
        plain = False
        if shifts >= 0:
            plain, following, time, column, row, polarity = plain_line(
                at, stop, shifts, separator, returns, seconds
            )
            if plain:
                off |= (polarity == 0) * OFF_IS_ZERO | (polarity < 0) * OFF_IS_MINUS
        if not plain:
            following, why, field, off, time, column, row, polarity = _line(
                at, stop, fields, seconds, off
            )
            if why != _FINE:
                if why != _BLANK:
                    losses[lost, L_ROW], losses[lost, L_PLACE] = n, at - base
                    losses[lost, L_BYTES] = following - at
                    losses[lost, L_WHY], losses[lost, L_FIELD] = why, field
                    lost += 1
                at = following
                continue
        on_sensor = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if not on_sensor or time < last:
            bad = True
        last = time
        t[n], x[n], y[n], p[n] = time, column, row, polarity == 1
        if placed:
            places[0, n], places[1, n] = at - base, following - at
        n += 1
        at = following
    state[S_EVENTS], state[S_LOSSES], state[S_OFF], state[S_BAD] = n, lost, off, bad


@njit(cache=True, nogil=True)
def count_lines(data: NDArray[np.uint8]) -> int:
    """Return the number of line ends in the bytes."""
    count = 0
    for byte in data:
        count += byte == 10
    return count


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
