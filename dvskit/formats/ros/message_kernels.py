# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Compiled loops that decode the events of messages.

They decode the messages first..last - 1. They return the index of the first event that is off the
sensor or earlier than the one before (-1 if none is), and whether a time was rounded down.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import load_u16, load_u32
from dvskit.formats.storage import EventColumns

# Types of the words of libcaer_cmp, bits 12-15.
TIME_HIGH, TIME_LOW, ADDR_X, ADDR_Y, VECT_BASE_Y, VECT_8 = range(6)
_NEVER = -(1 << 62)


class Messages(NamedTuple):
    """The bytes of messages in one array.

    starts, stops  offsets in `data` where the events of each message begin and end
    bases          time bases in nanoseconds
    places         index of each message's first event in the columns
    packed, big    of EventArrays: whether serialized as in ROS 1, and big-endian
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    bases: NDArray[np.int64]
    places: NDArray[np.int64]
    packed: bool
    big: bool


@njit(cache=True, nogil=True, inline="always")
def _swap(value: int, width: int) -> int:
    swapped = np.int64(0)
    for _ in range(width):
        swapped = swapped << 8 | value & 0xFF
        value >>= 8
    return swapped


@njit(cache=True, nogil=True)
def decode_mono(
    messages: Messages, first: int, last: int, size: tuple[int, int], columns: EventColumns
) -> tuple[int, bool]:
    """Encoding mono: nanoseconds since the base (32 bits), x (16), y (15), polarity (1)."""
    data, starts, stops, bases, places, _, _ = messages
    (width, height), (t, x, y, p) = size, columns
    bad, rounded, latest = np.int64(-1), False, np.int64(_NEVER)
    for part in range(first, last):
        n = places[part]
        for at in range(starts[part], stops[part] - 7, 8):
            ns = bases[part] + load_u32(data, at)
            us = ns // 1000
            column, row = load_u16(data, at + 4), load_u16(data, at + 6)
            rounded |= us * 1000 != ns
            place = np.uint64(n)
            t[place], x[place], y[place], p[place] = us, column, row & 0x7FFF, row > 0x7FFF
            if bad < 0 and (us < latest or column >= width or (row & 0x7FFF) >= height):
                bad = n
            latest = us
            n += 1
    return bad, rounded


@njit(cache=True, nogil=True)
def decode_libcaer(
    messages: Messages, first: int, last: int, size: tuple[int, int], columns: EventColumns
) -> tuple[int, bool]:
    """Encoding libcaer: valid (1), polarity (1), y (15), x (15), microseconds since the base (31).

    Microseconds that fall by more than half of their range have wrapped.
    """
    data, starts, stops, bases, places, _, _ = messages
    (width, height), (t, x, y, p) = size, columns
    bad, rounded, latest = np.int64(-1), False, np.int64(_NEVER)
    for part in range(first, last):
        n, base = places[part], bases[part] // 1000
        rounded |= base * 1000 != bases[part]
        low_before = np.int64(0)
        for at in range(starts[part], stops[part] - 7, 8):
            word, low = load_u32(data, at), load_u32(data, at + 4)
            if low_before - low > 1 << 30:
                base += np.int64(1) << 31
            low_before = low
            us = base + low
            column, row = word >> 17, word >> 2 & 0x7FFF
            place = np.uint64(n)
            t[place], x[place], y[place], p[place] = us, column, row, word & 2 != 0
            if bad < 0 and (us < latest or column >= width or row >= height):
                bad = n
            latest = us
            n += 1
    return bad, rounded


@njit(cache=True, nogil=True)
def count_compressed(data: NDArray[np.uint8], start: int, stop: int) -> tuple[int, int]:
    """Return the number of events of a message in libcaer_cmp, and its words of unknown types."""
    count = unknown = 0
    for at in range(start, stop - 1, 2):
        word = load_u16(data, at)
        kind = word >> 12
        if kind == ADDR_Y:
            count += 1
        elif kind == VECT_8:
            mask = word & 0xFF
            while mask != 0:
                mask &= mask - 1
                count += 1
        elif kind > VECT_8:
            unknown += 1
    return count, unknown


@njit(cache=True, nogil=True)
def decode_compressed(
    messages: Messages, first: int, last: int, size: tuple[int, int], columns: EventColumns
) -> tuple[int, bool]:
    """Encoding libcaer_cmp: 16-bit words, four bits of type and twelve of value.

    Time is 12 low bits and a high part of which the driver writes 4 bits, and none where a packet
    of the camera begins: within a message it runs forward, which restores both.
    """
    data, starts, stops, bases, places, _, _ = messages
    (width, height), (t, x, y, p) = size, columns
    bad, rounded, latest = np.int64(-1), False, np.int64(_NEVER)
    for part in range(first, last):
        n, base = places[part], bases[part] // 1000
        rounded |= base * 1000 != bases[part]
        high = low = column = first_row = np.int64(0)
        on = base_on = lifted = False
        for at in range(starts[part], stops[part] - 1, 2):
            word = load_u16(data, at)
            kind, value = word >> 12, word & 0xFFF
            row, mask = value & 0x7FF, np.int64(0)
            if kind == TIME_LOW:
                if value < low and not lifted:
                    high += 1
                low, lifted = value, False
            elif kind == TIME_HIGH:
                if value < high and value < 16:
                    value = high + (value - high & 15)
                lifted = value != high
                high = value
            elif kind == ADDR_X:
                column = value & 0x7FF
            elif kind == ADDR_Y:
                on, mask = value > 0x7FF, np.int64(1)
            elif kind == VECT_BASE_Y:
                first_row, base_on = row, value > 0x7FF
            elif kind == VECT_8:
                row, on, mask = first_row, base_on, value & 0xFF
                first_row += 8
            us = base + (high << 12 | low)
            while mask != 0:
                if mask & 1:
                    place = np.uint64(n)
                    t[place], x[place], y[place], p[place] = us, column, row, on
                    if bad < 0 and (us < latest or column >= width or row >= height):
                        bad = n
                    latest = us
                    n += 1
                row += 1
                mask >>= 1
    return bad, rounded


@njit(cache=True, nogil=True)
def decode_array(
    messages: Messages, first: int, last: int, size: tuple[int, int], columns: EventColumns
) -> tuple[int, bool]:
    """Events of an EventArray: x, y (16 bits), seconds, nanoseconds (32), polarity (8).

    In ROS 1 each has 13 bytes; in CDR 16, with padding before the seconds, except in the first.
    """
    data, starts, stops, _, places, packed, big = messages
    (width, height), (t, x, y, p) = size, columns
    bad, rounded, latest = np.int64(-1), False, np.int64(_NEVER)
    for part in range(first, last):
        n = places[part]
        at = starts[part]
        while at + 13 <= stops[part]:
            pad = 0 if packed or n == places[part] else -(at - starts[part] + 4) % 4
            column, row = load_u16(data, at), load_u16(data, at + 2)
            seconds, ns = load_u32(data, at + 4 + pad), load_u32(data, at + 8 + pad)
            if big:
                column, row = _swap(column, 2), _swap(row, 2)
                seconds, ns = _swap(seconds, 4), _swap(ns, 4)
            if not packed and seconds >= 1 << 31:
                seconds -= 1 << 32
            us = seconds * 1_000_000 + ns // 1000
            rounded |= ns % 1000 != 0
            place = np.uint64(n)
            t[place], x[place], y[place] = us, column, row
            p[place] = data[np.uint64(at + 12 + pad)] != 0
            if bad < 0 and (us < latest or column >= width or row >= height):
                bad = n
            latest = us
            n += 1
            at += 13 if packed else 13 + pad + (1 if (at + pad + 13 - starts[part]) % 2 else 0)
    return bad, rounded
