# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over valid EVT 3.0 words; `dvskit.formats.prophesee.layout` describes them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import bit_count, lowest_bit
from dvskit.formats.prophesee import evt3_kernels as e
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

_SHORT = 4096  # words whose events can be counted in 16 bits
_SPAN = 2048  # words that are decoded into records before those become columns
_RECORDS = 12 * _SPAN + 8  # a word holds at most 12 events

_U16, _U64 = np.uint16, np.uint64

# A record is an event in 64 bits: its word in bits 0 to 15, row 16 to 31, time from 32 on. Each
# word changes those bits of it that _CHANGES says; it is an event where it is of type ADDR_X.
_CHANGES = np.full(16, 0xFFFF, np.uint64)
_CHANGES[e.ADDR_Y] |= 0x7FF << 16
_CHANGES[e.TIME_LOW] |= 0xFFF << 32
_PLAIN = _U64(1 << e.ADDR_Y | 1 << e.ADDR_X | 1 << e.TIME_LOW)
_LOW_BITS = _U64(0xFFF << 32)


@njit(cache=True, nogil=True)
def scan(words: WordUnits, start: int, stop: int, row: NDArray[np.int64]) -> None:
    """Count the events of words start..stop; not clean if one has no known row, column or type.

    All in 16 bits and without a branch, so that the loop is vectorised.
    """
    rows_off, columns_off = _U16(0x800 - words.height), _U16(0x800 - words.width)
    first_row = _U16(words.height)
    column, base = _U16(0x2000 + words.width), _U16(0x3000 + words.width)
    row[:] = 0
    invalid = _U16(0)
    for begin in range(start, stop, _SHORT):
        part = words.units[begin : min(stop, begin + _SHORT)]
        events, triggers, vectors, others = _U16(0), _U16(0), _U16(0), _U16(0)
        for i in range(part.size):
            word = part[i]
            kind = _U16(word >> _U16(12))
            bits = _U16(0xFFF) if kind == _U16(4) else (_U16(0xFF) if kind == _U16(5) else _U16(0))
            single = _U16(kind == _U16(2))
            events = _U16(events + _U16(bit_count(_U16(word & bits)) + single))  # type: ignore[call-arg]
            triggers = _U16(triggers + _U16(kind == _U16(0xA)))
            others = _U16(others + _U16(kind == _U16(0xE)))
            vectors = _U16(vectors + _U16(_U16(kind - _U16(3)) < _U16(3)))
            place = _U16(word & _U16(0xF7FF))  # without the polarity
            off = _U16(_U16(place - first_row) < rows_off)
            off = _U16(off | _U16(_U16(place - column) < columns_off))
            off = _U16(off | _U16(_U16(place - base) < columns_off))
            off = _U16(off | _U16(_U16(place - _U16(0x1000)) < _U16(0x1000)))
            off = _U16(off | _U16(_U16(place - _U16(0x9000)) < _U16(0x1000)))
            off = _U16(off | _U16(_U16(place - _U16(0xB000)) < _U16(0x3000)))
            invalid = _U16(invalid | off)
        row[w.R_EVENTS] += np.int64(events)
        row[w.R_TRIGGERS] += np.int64(triggers)
        row[w.R_OTHERS] += np.int64(others)
        row[w.R_VECTORS] += np.int64(vectors)
    row[w.R_CLEAN], row[w.R_END] = invalid == 0, stop


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits,
    start: int,
    stop: int,
    row: NDArray[np.int64],
    state: NDArray[np.int64],
    last: bool,
) -> bool:
    """Predict the state behind a scanned slice; False if it is not clean.

    Looks back from `stop` for the latest word of each kind; right for valid words with at most one
    wrap of the clock.
    """
    if not row[w.R_CLEAN]:
        return False
    units = words.units
    state[w.S_EVENTS] += row[w.R_EVENTS]
    state[w.S_TRIGGERS] += row[w.R_TRIGGERS]
    state[w.S_OTHERS] += row[w.R_OTHERS]
    if last:
        return True
    high, low, lowered = np.int64(-1), np.int64(-1), False
    for i in range(stop - 1, start - 1, -1):
        kind, value = units[i] >> 12, np.int64(units[i]) & 0xFFF
        if kind == e.TIME_LOW and low < 0:
            low = value
        elif kind == e.TIME_HIGH:
            if high >= 0 and value != high:
                lowered = True
                break
            high = value
        if low >= 0 and high >= 0:
            break
    now = state[w.S_NOW]
    if high >= 0:
        state[w.S_NOW] = now + ((high - now) & 0xFFF)
    if low >= 0:
        state[w.S_LOW] = low
    elif lowered or state[w.S_NOW] != now:
        state[w.S_LOW] = 0
    for i in range(stop - 1, start - 1, -1):
        if units[i] >> 12 == e.ADDR_Y:
            state[w.S_Y] = np.int64(units[i]) & 0x7FF
            break
    if row[w.R_VECTORS]:
        _move_base(units, start, stop, state)
    return True


@njit(cache=True, nogil=True)
def _move_base(units: NDArray[np.uint16], start: int, stop: int, state: NDArray[np.int64]) -> None:
    moved = 0
    for i in range(stop - 1, start - 1, -1):
        kind = units[i] >> 12
        if kind == e.VECT_12:
            moved += 12
        elif kind == e.VECT_8:
            moved += 8
        elif kind == e.VECT_BASE_X:
            state[w.S_BASE], state[w.S_ON] = np.int64(units[i]) & 0x7FF, (units[i] >> 11) & 1
            state[w.S_VECTOR] = w.USABLE
            break
    state[w.S_BASE] += moved


@njit(cache=True, nogil=True)
def _unpack(
    records: NDArray[np.uint64],
    origin: int,
    last: int,
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
) -> bool:
    """Fill columns from records with times from `origin` on; False where time runs back.

    `last` is the time of the event ahead of them.
    """
    runs_back = np.int64(0)
    if records.size:
        runs_back |= origin + np.int64(records[0] >> _U64(32)) - last
    for i in range(records.size):
        record = records[i]
        t[i] = origin + np.int64(record >> _U64(32))
        x[i] = np.int16(record & _U64(0x7FF))
        y[i] = np.int16(record >> _U64(16) & _U64(0xFFFF))
        p[i] = (record & _U64(0x800)) != _U64(0)
    for i in range(1, records.size):
        runs_back |= np.int64(records[i] >> _U64(32)) - np.int64(records[i - 1] >> _U64(32))
    return runs_back >= 0


@njit(cache=True, nogil=True)
def _beyond(width: int, base: int) -> int:
    """Return the first bit of a mask at `base` that is off the sensor, 32 at most."""
    return int(min(max(width - base, 0), 32))


@njit(cache=True, nogil=True)
def decode_clean(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> bool:
    """Decode words start..stop, which a scan found valid, and move the state on.

    False if the clock makes a long step, an event is off the sensor or out of order.

    The type of a word cannot be predicted, and a branch on it costs more than all the rest: plain
    words are put together by masks, one store each, and turned into columns span by span.
    """
    units, width = words.units, words.width
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    records = np.empty(_RECORDS, np.uint64)
    now = state[w.S_NOW] << 12 | state[w.S_LOW]
    row, base, on = state[w.S_Y], state[w.S_BASE], state[w.S_ON]
    vectors = state[w.S_VECTOR] == w.USABLE
    last, n, nt = state[w.S_LAST], 0, 0
    i = start
    while i < stop:
        limit = min(stop, i + _SPAN)
        origin = now >> 12 << 12
        high = now >> 12
        record = _U64((now & 0xFFF) << 32 | row << 16)
        m = 0
        while i < limit:
            word, kind = _U64(0), _U64(0)
            while i < limit:
                word = _U64(units[_U64(i)])
                kind = word >> _U64(12)
                i += 1
                if (_PLAIN >> kind) & _U64(1) == _U64(0):
                    break
                record ^= (record ^ (word * _U64(0x100010001))) & _CHANGES[kind]
                records[_U64(m)] = record
                m += np.int64((_U64(1 << e.ADDR_X) >> kind) & _U64(1))
            # Ranges, not types: the compiler would make a jump table of those.
            if word ^ _U64(e.TIME_HIGH << 12) < _U64(0x1000):
                step = (np.int64(word) - high) & 0xFFF
                if step >= e.HIGH_STEP:
                    return False
                if step > 0:
                    high += step
                    record = (record & ~_LOW_BITS) + (_U64(step) << _U64(44))
            elif word ^ _U64(e.VECT_BASE_X << 12) < _U64(0x1000):
                base, on = np.int64(word & _U64(0x7FF)), np.int64(word >> _U64(11)) & 1
                vectors = True
                while i + 2 < limit:  # groups of 12 + 12 + 8
                    first, second = np.int64(units[_U64(i)]), np.int64(units[_U64(i + 1)])
                    third = np.int64(units[_U64(i + 2)])
                    if (first ^ 0x4000) | (second ^ 0x4000) | (third ^ 0x5000) > 0xFFF:
                        break
                    bits = (first & 0xFFF) | (second & 0xFFF) << 12 | (third & 0xFF) << 24
                    if bits >> _beyond(width, base) != 0:
                        return False
                    i += 3
                    event = (record & ~_U64(0xFFFF)) + _U64(on << 11 | base)
                    mask = np.uint32(bits)
                    k = m
                    for _ in range(4):  # most groups hold no more
                        records[_U64(k)] = event + _U64(lowest_bit(mask))  # type: ignore[call-arg]
                        mask &= mask - np.uint32(1)
                        k += 1
                    while mask != 0:
                        records[_U64(k)] = event + _U64(lowest_bit(mask))  # type: ignore[call-arg]
                        mask &= mask - np.uint32(1)
                        k += 1
                    m += np.int64(bit_count(np.uint32(bits)))  # type: ignore[call-arg]
                    base += 32
            elif kind == _U64(e.VECT_12) or kind == _U64(e.VECT_8):
                mask = np.uint32(word & (_U64(0xFFF) if kind == _U64(e.VECT_12) else _U64(0xFF)))
                if not vectors or np.int64(mask) >> _beyond(width, base) != 0:
                    return False
                event = (record & ~_U64(0xFFFF)) + _U64(on << 11)
                while mask != 0:
                    records[_U64(m)] = event + _U64(base + np.int64(lowest_bit(mask)))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    m += 1
                base += 12 if kind == _U64(e.VECT_12) else 8
            elif kind == _U64(e.TRIGGER):
                trigger_t[nt] = origin + np.int64(record >> _U64(32))
                trigger_id[nt] = np.int64(word >> _U64(8)) & 0xF
                trigger_p[nt] = (word & _U64(1)) != _U64(0)
                nt += 1
        now = origin + np.int64(record >> _U64(32))
        row = np.int64(record >> _U64(16)) & 0xFFFF
        if not _unpack(
            records[:m], origin, last, t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m]
        ):
            return False
        if m:
            n += m
            last = t[n - 1]
    state[w.S_NOW], state[w.S_LOW] = now >> 12, now & 0xFFF
    state[w.S_Y], state[w.S_BASE], state[w.S_ON] = row, base, on
    if vectors:
        state[w.S_VECTOR] = w.USABLE
    state[w.S_LAST] = last
    state[w.S_EVENTS] += n
    state[w.S_TRIGGERS] += nt
    return True
