# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 3.0 words that are valid: their events at full speed, and what is known behind."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.careful_kernels import judge_high
from dvskit.formats.evt3.layout import Words
from dvskit.formats.order_kernels import bit_count, count_bits, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns

SPAN = 2048  # words between two checks that time runs forward
RECORDS = w.MOST_BITS * SPAN + 8  # that a span may fill

_U64 = np.uint64


# A record is an event in 64 bits: its word in bits 0 to 15, row 16 to 31, time from 32 on. Each
# word changes those bits of it that _CHANGES says; it is an event where it is of type ADDR_X.
_CHANGES = np.full(16, 0xFFFF, np.uint64)
_CHANGES[w.ADDR_Y] |= 0x7FF << 16
_CHANGES[w.TIME_LOW] |= 0xFFF << 32
_PLAIN = _U64(1 << w.ADDR_Y | 1 << w.ADDR_X | 1 << w.TIME_LOW)
_LOW_BITS = _U64(0xFFF << 32)


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
def decode(
    chunk: Words,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    records: NDArray[np.uint64],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> int:
    """Decode words[start:stop], which a survey found valid; clock and row are usable.

    Stops ahead of what takes care to judge, and returns the index of that word.

    A word's type cannot be foretold, and a branch on it costs more than all the rest: plain words
    are put together by masks, one store each, and turned into columns span by span.
    """
    words, width = chunk.words, chunk.width
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    now = (state[w.S_LOOPS] << 24) | (state[w.S_HIGH] << 12) | state[w.S_LOW]
    row, base, on = state[w.S_Y], state[w.S_BASE], state[w.S_ON]
    vectors = state[w.S_VECTOR] == w.USABLE
    last, n, nt = state[w.S_LAST], state[w.S_EVENTS], state[w.S_TRIGGERS]
    i = start
    while i < stop:
        kept_i, kept_row, kept_base, kept_on, kept_nt = i, row, base, on, nt
        kept_vectors, kept_now = vectors, now
        limit = min(stop, i + SPAN)
        origin = now >> 12 << 12
        high = now >> 12
        record = _U64((now & 0xFFF) << 32 | row << 16)
        m = 0
        halt = False
        while i < limit and not halt:
            word, kind = _U64(0), _U64(0)
            while i < limit:
                word = _U64(words[_U64(i)])
                kind = word >> _U64(12)
                i += 1
                if (_PLAIN >> kind) & _U64(1) == _U64(0):
                    break
                record ^= (record ^ (word * _U64(0x100010001))) & _CHANGES[kind]
                records[_U64(m)] = record
                m += np.int64((_U64(1 << w.ADDR_X) >> kind) & _U64(1))
            # Ranges, not types: the compiler would make a jump table of those.
            if word ^ _U64(w.TIME_HIGH << 12) < _U64(0x1000):
                step = (np.int64(word) - high) & 0xFFF
                if step > 1:
                    halt = True
                    i -= 1
                elif step == 1:
                    high += 1
                    record = (record & ~_LOW_BITS) + _U64(1 << 44)
            elif word ^ _U64(w.VECT_BASE_X << 12) < _U64(0x1000):
                base, on = np.int64(word & _U64(0x7FF)), np.int64(word >> _U64(11)) & 1
                vectors = True
                while i + 2 < limit:  # groups of 12 + 12 + 8
                    first, second = np.int64(words[_U64(i)]), np.int64(words[_U64(i + 1)])
                    third = np.int64(words[_U64(i + 2)])
                    if (first ^ 0x4000) | (second ^ 0x4000) | (third ^ 0x5000) > 0xFFF:
                        break
                    bits = (first & 0xFFF) | (second & 0xFFF) << 12 | (third & 0xFF) << 24
                    if bits >> _beyond(width, base) != 0:
                        halt = True
                        break
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
            elif kind == _U64(w.VECT_12) or kind == _U64(w.VECT_8):
                mask = np.uint32(word & (_U64(0xFFF) if kind == _U64(w.VECT_12) else _U64(0xFF)))
                if not vectors or np.int64(mask) >> _beyond(width, base) != 0:
                    halt = True
                    i -= 1
                else:
                    event = (record & ~_U64(0xFFFF)) + _U64(on << 11)
                    while mask != 0:
                        records[_U64(m)] = event + _U64(base + np.int64(lowest_bit(mask)))  # type: ignore[call-arg]
                        mask &= mask - np.uint32(1)
                        m += 1
                    base += 12 if kind == _U64(w.VECT_12) else 8
            elif kind == _U64(w.TRIGGER):
                trigger_t[nt] = origin + np.int64(record >> _U64(32))
                trigger_id[nt] = np.int64(word >> _U64(8)) & 0xF
                trigger_p[nt] = (word & _U64(1)) != _U64(0)
                nt += 1
        now = origin + np.int64(record >> _U64(32))
        row = np.int64(record >> _U64(16)) & 0xFFFF
        if not _unpack(
            records[:m], origin, last, t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m]
        ):
            i, row, base, on, nt = kept_i, kept_row, kept_base, kept_on, kept_nt
            vectors, now = kept_vectors, kept_now
            break
        if m:
            n += m
            last = t[n - 1]
        if halt:
            word = _U64(words[i])
            if word >> _U64(12) != _U64(w.TIME_HIGH):
                break
            value = np.int64(word & _U64(0xFFF))
            verdict = judge_high(chunk, i, high & 0xFFF, now & 0xFFF, value, state[w.S_BAD])
            if verdict != w.ACCEPT:
                break
            loops = (now >> 24) + (1 if (high & 0xFFF) >= value + w.WRAP else 0)
            now = loops << 24 | value << 12
            i += 1
    state[w.S_HIGH], state[w.S_LOW], state[w.S_LOOPS] = (now >> 12) & 0xFFF, now & 0xFFF, now >> 24
    state[w.S_Y], state[w.S_BASE], state[w.S_ON] = row, base, on
    if vectors:
        state[w.S_VECTOR] = w.USABLE
    state[w.S_LAST], state[w.S_EVENTS], state[w.S_TRIGGERS] = last, n, nt
    return i


@njit(cache=True, nogil=True)
def guess_state(
    words: NDArray[np.uint16], start: int, stop: int, vectors: bool, state: NDArray[np.int64]
) -> None:
    """Turn the `state` ahead of words[start] into the likely one ahead of words[stop].

    Looks back from `stop` for the latest word of each kind; right for valid words with at most one
    wrap of time. `vectors` says whether there are vector words among them. The caller compares it
    with the state that decoding ends in.
    """
    high, low, lowered = np.int64(-1), np.int64(-1), False
    for i in range(stop - 1, start - 1, -1):
        kind, value = words[i] >> 12, np.int64(words[i]) & 0xFFF
        if kind == w.TIME_LOW and low < 0:
            low = value
        elif kind == w.TIME_HIGH:
            if high >= 0 and value != high:
                lowered = True
                break
            high = value
        if low >= 0 and high >= 0:
            break
    if high < 0:
        high = state[w.S_HIGH]
    if low < 0:
        low = np.int64(0) if lowered or high != state[w.S_HIGH] else state[w.S_LOW]
    if state[w.S_HIGH] >= high + w.WRAP:
        state[w.S_LOOPS] += 1
    state[w.S_HIGH], state[w.S_LOW] = high, low
    for i in range(stop - 1, start - 1, -1):
        if words[i] >> 12 == w.ADDR_Y:
            state[w.S_Y], state[w.S_ROW] = np.int64(words[i]) & 0x7FF, w.USABLE
            break
    if not vectors:
        return
    moved = 0
    for i in range(stop - 1, start - 1, -1):
        kind = words[i] >> 12
        if kind == w.VECT_12:
            moved += 12
        elif kind == w.VECT_8:
            moved += 8
        elif kind == w.VECT_BASE_X:
            state[w.S_BASE], state[w.S_ON] = np.int64(words[i]) & 0x7FF, (words[i] >> 11) & 1
            state[w.S_VECTOR] = w.USABLE
            break
    state[w.S_BASE] += moved


@njit(cache=True, nogil=True)
def _count_events(word: int) -> int:
    kind = word >> 12
    if kind == w.VECT_12:
        return count_bits(word & 0xFFF)
    if kind == w.VECT_8:
        return count_bits(word & 0xFF)
    return np.int64(kind == w.ADDR_X)


@njit(cache=True, nogil=True)
def note_places(chunk: Words, stop: int, places: NDArray[np.int64]) -> None:
    """Fill `places` with the numbers of the words of the latest events ahead of words[stop]."""
    left, i = places.size, stop
    while left > 0:
        i -= 1
        count = _count_events(chunk.words[i])
        while count > 0 and left > 0:
            count -= np.int64(1)
            left -= 1
            places[left] = chunk.number + i
