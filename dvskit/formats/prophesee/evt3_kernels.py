# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 3.0 words; `dvskit.formats.prophesee.layout` describes them.

A word has 16 bits: a type in bits 12 to 15, and a value that later words build on.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import bit_count, count_bits, lowest_bit
from dvskit.formats.prophesee import clock_kernels as k
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

# Types of words.
ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, CONTINUED_4, TIME_HIGH, TRIGGER, OTHERS, CONTINUED_12 = 0x6, 0x7, 0x8, 0xA, 0xE, 0xF

LOOK_AHEAD = 1 << 13  # words that are searched to judge the clock
_HIGH_BITS = 12
_IN_ORDER = 1 << 11  # half the range: a longer step runs back
_SHORT, _NEAR = 1 << 8, 1 << 11  # of 4096 us: 1 s, 8 s
_CLOCK = (_HIGH_BITS, _IN_ORDER, _SHORT, _NEAR)
_AGAIN = w.NEED_LOW | w.NEED_ROW | w.NEED_BASE | w.LOST_BASE  # what a fault spoils
_NO_BASE = w.NEED_BASE | w.LOST_BASE
_TIMED = w.NEED_HIGH | w.NEED_LOW

_SHORT_RUN = 4096  # words whose events can be counted in 16 bits
_SPAN = 2048  # words that are decoded into records before those become columns
_RECORDS = 12 * _SPAN + 8  # a word holds at most 12 events

_U16, _U64 = np.uint16, np.uint64

# A record is an event in 64 bits: its word in bits 0 to 15, row 16 to 31, time from 32 on. Each
# word changes those bits of it that _CHANGES says; it is an event where it is of type ADDR_X.
_CHANGES = np.full(16, 0xFFFF, np.uint64)
_CHANGES[ADDR_Y] |= 0x7FF << 16
_CHANGES[TIME_LOW] |= 0xFFF << 32
_PLAIN = _U64(1 << ADDR_Y | 1 << ADDR_X | 1 << TIME_LOW)
_LOW_BITS = _U64(0xFFF << 32)


@njit(cache=True, nogil=True)
def scan(words: WordUnits, start: int, stop: int, row: NDArray[np.int64]) -> None:
    """Count the events, triggers and vector words of words start..stop.

    All in 16 bits and without a branch, so that the loop is vectorized.
    """
    row[:] = 0
    for begin in range(start, stop, _SHORT_RUN):
        part = words.units[begin : min(stop, begin + _SHORT_RUN)]
        events, triggers, vectors = _U16(0), _U16(0), _U16(0)
        for i in range(part.size):
            word = part[i]
            kind = _U16(word >> _U16(12))
            bits = _U16(0xFFF) if kind == _U16(4) else (_U16(0xFF) if kind == _U16(5) else _U16(0))
            single = _U16(kind == _U16(2))
            events = _U16(events + _U16(bit_count(_U16(word & bits)) + single))  # type: ignore[call-arg]
            triggers = _U16(triggers + _U16(kind == _U16(0xA)))
            vectors = _U16(vectors + _U16(_U16(kind - _U16(3)) < _U16(3)))
        row[w.R_EVENTS] += np.int64(events)
        row[w.R_TRIGGERS] += np.int64(triggers)
        row[w.R_VECTORS] += np.int64(vectors)
    row[w.R_END] = stop


@njit(cache=True, nogil=True)
def _is_sound(words: WordUnits, start: int, stop: int) -> bool:
    """Whether words start..stop are of known types, with rows and columns on the sensor.

    All in 16 bits and without a branch, so that the loop is vectorized.
    """
    rows_off, columns_off = _U16(0x800 - words.height), _U16(0x800 - words.width)
    first_row = _U16(words.height)
    column, base = _U16(0x2000 + words.width), _U16(0x3000 + words.width)
    invalid = _U16(0)
    part = words.units[start:stop]
    for i in range(part.size):
        place = _U16(part[i] & _U16(0xF7FF))  # without the polarity
        off = _U16(_U16(place - first_row) < rows_off)
        off = _U16(off | _U16(_U16(place - column) < columns_off))
        off = _U16(off | _U16(_U16(place - base) < columns_off))
        off = _U16(off | _U16(_U16(place - _U16(0x1000)) < _U16(0x1000)))
        off = _U16(off | _U16(_U16(place - _U16(0x9000)) < _U16(0x1000)))
        off = _U16(off | _U16(_U16(place - _U16(0xB000)) < _U16(0x3000)))
        invalid = _U16(invalid | off)
    return invalid == 0


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits, start: int, stop: int, row: NDArray[np.int64], state: NDArray[np.int64]
) -> None:
    """Predict the state behind a slice of valid words: search it backward for each kind of word.

    Right for at most one wrap of the clock.
    """
    units = words.units
    high, low, place, lowered = np.int64(-1), np.int64(-1), np.int64(-1), False
    for i in range(stop - 1, start - 1, -1):
        kind, value = units[i] >> 12, np.int64(units[i]) & 0xFFF
        if kind == TIME_LOW and low < 0:
            low = value
        elif kind == ADDR_Y and place < 0:
            place = value & 0x7FF
        elif kind == TIME_HIGH and not lowered:
            lowered = high >= 0 and value != high
            if not lowered:
                high = value
        if place >= 0 and (lowered or (low >= 0 and high >= 0)):
            break
    now = state[w.S_NOW]
    if high >= 0:
        state[w.S_NOW] = now + ((high - now) & 0xFFF) if now >= 0 else high
        state[w.S_NEEDS] &= ~w.NEED_HIGH
    if low >= 0:
        state[w.S_LOW] = low
    elif lowered or state[w.S_NOW] != now:
        state[w.S_LOW] = 0
    if place >= 0:
        state[w.S_Y] = place
        state[w.S_NEEDS] &= ~w.NEED_ROW
    if row[w.R_VECTORS] == 0:
        return
    moved = np.int64(0)
    for i in range(stop - 1, start - 1, -1):
        kind = units[i] >> 12
        if kind == VECT_12:
            moved += 12
        elif kind == VECT_8:
            moved += 8
        elif kind == VECT_BASE_X:
            state[w.S_BASE], state[w.S_ON] = np.int64(units[i]) & 0x7FF, (units[i] >> 11) & 1
            state[w.S_NEEDS] &= ~_NO_BASE
            break
    state[w.S_BASE] += moved


@njit(cache=True, nogil=True)
def _following_highs(words: WordUnits, at: int, found: NDArray[np.int64]) -> int:
    """Put the next TIME_HIGH values from `at` on into `found`; return their number."""
    count = 0
    for i in range(at, min(at + LOOK_AHEAD, words.units.size)):
        if words.units[i] >> 12 == TIME_HIGH:
            found[count] = np.int64(words.units[i]) & 0xFFF
            count += 1
            if count == found.size:
                break
    return count


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
def _decode_span(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    records: NDArray[np.uint64],
    columns: EventColumns,
    n: int,
    triggers: TriggerColumns,
    nt: int,
) -> tuple[int, int, int]:
    """Decode words start..stop, whose values are valid, to row `n`; move the state on.

    Returns the next word, which is `stop` or a TIME_HIGH to judge, and the next rows of events and
    triggers. If an event is off the sensor or out of order, the next word is `start`, and the
    state stays.

    The type of a word cannot be predicted, and a branch on it costs more than all the rest: plain
    words are put together by masks, one store each, and turned into columns at the end.
    """
    units, width = words.units, words.width
    trigger_t, trigger_id, trigger_p = triggers
    now = state[w.S_NOW] << 12 | state[w.S_LOW]
    base, on, needs = state[w.S_BASE], state[w.S_ON], state[w.S_NEEDS]
    others = np.int64(0)
    origin, high = now >> 12 << 12, now >> 12
    record = _U64((now & 0xFFF) << 32 | state[w.S_Y] << 16)
    m, hits, i = 0, nt, start
    while i < stop:
        word, kind = _U64(0), _U64(0)
        while i < stop:
            word = _U64(units[_U64(i)])
            kind = word >> _U64(12)
            i += 1
            if (_PLAIN >> kind) & _U64(1) == _U64(0):
                break
            record ^= (record ^ (word * _U64(0x100010001))) & _CHANGES[kind]
            records[_U64(m)] = record
            m += np.int64((_U64(1 << ADDR_X) >> kind) & _U64(1))
        # Ranges, not types: the compiler would make a jump table of those.
        if word ^ _U64(TIME_HIGH << 12) < _U64(0x1000):
            step = (np.int64(word) - high) & 0xFFF
            if step > 1:
                stop = i - 1
                break
            if step > 0:
                high += 1
                record = (record & ~_LOW_BITS) + _U64(1 << 44)
        elif word ^ _U64(VECT_BASE_X << 12) < _U64(0x1000):
            base, on = np.int64(word & _U64(0x7FF)), np.int64(word >> _U64(11)) & 1
            needs &= ~_NO_BASE
            while i + 2 < stop:  # groups of 12 + 12 + 8
                first, second = np.int64(units[_U64(i)]), np.int64(units[_U64(i + 1)])
                third = np.int64(units[_U64(i + 2)])
                if (first ^ 0x4000) | (second ^ 0x4000) | (third ^ 0x5000) > 0xFFF:
                    break
                bits = (first & 0xFFF) | (second & 0xFFF) << 12 | (third & 0xFF) << 24
                if bits >> _beyond(width, base) != 0:
                    return start, n, nt
                i += 3
                event = (record & ~_U64(0xFFFF)) + _U64(on << 11 | base)
                mask = np.uint32(bits)
                to = m
                for _ in range(4):  # most groups hold no more
                    records[_U64(to)] = event + _U64(lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    to += 1
                while mask != 0:
                    records[_U64(to)] = event + _U64(lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    to += 1
                m += np.int64(bit_count(np.uint32(bits)))  # type: ignore[call-arg]
                base += 32
        elif kind == _U64(VECT_12) or kind == _U64(VECT_8):
            mask = np.uint32(word & (_U64(0xFFF) if kind == _U64(VECT_12) else _U64(0xFF)))
            if needs & w.NEED_BASE != 0 or np.int64(mask) >> _beyond(width, base) != 0:
                return start, n, nt
            event = (record & ~_U64(0xFFFF)) + _U64(on << 11)
            while mask != 0:
                records[_U64(m)] = event + _U64(base + np.int64(lowest_bit(mask)))  # type: ignore[call-arg]
                mask &= mask - np.uint32(1)
                m += 1
            base += 12 if kind == _U64(VECT_12) else 8
        elif kind == _U64(TRIGGER):
            trigger_t[hits] = origin + np.int64(record >> _U64(32))
            trigger_id[hits] = np.int64(word >> _U64(8)) & 0xF
            trigger_p[hits] = (word & _U64(1)) != _U64(0)
            hits += 1
        elif kind == _U64(OTHERS):
            others += 1
    t, x, y, p = columns
    to = n + m
    if not _unpack(records[:m], origin, state[w.S_LAST], t[n:to], x[n:to], y[n:to], p[n:to]):
        return start, n, nt
    now = origin + np.int64(record >> _U64(32))
    state[w.S_NOW], state[w.S_LOW] = now >> 12, now & 0xFFF
    state[w.S_Y] = np.int64(record >> _U64(16)) & 0xFFFF
    state[w.S_BASE], state[w.S_ON], state[w.S_NEEDS] = base, on, needs
    state[w.S_OTHERS] += others
    if m:
        state[w.S_LAST] = t[to - 1]
    return stop, to, hits


@njit(cache=True, nogil=True)
def _take_high(
    words: WordUnits, here: int, state: NDArray[np.int64], following: NDArray[np.int64]
) -> bool:
    """Set the clock to a TIME_HIGH; False if it cannot be right."""
    new, now = np.int64(words.units[here]) & 0xFFF, state[w.S_NOW]
    step = (new - now) & 0xFFF if now >= 0 else new
    if now < 0 or step > 1:
        count, old = _following_highs(words, here + 1, following), k.shown(now, _HIGH_BITS)
        if not k.is_confirmed(old, new, following, count, state[w.S_LOST] != 0, _CLOCK):
            return False
    if now < 0 or step > 0:
        state[w.S_LOW] = 0
    state[w.S_NOW] = max(now, 0) + step
    state[w.S_NEEDS] &= ~w.NEED_HIGH
    return True


@njit(cache=True, nogil=True)
def decode(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
    losses: NDArray[np.int64],
) -> int:
    """Decode words start..stop, and move the state on; return the next word.

    At a fault, skips words up to the next event whose low time, row and, if it is in a vector,
    base have come anew; after a wrong TIME_HIGH, the next one that the clock can have, too.
    """
    units = words.units
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    records, following = np.empty(_RECORDS, np.uint64), np.empty(k.FOLLOWING, np.int64)
    k.begin(state, losses, start)
    n = nt = 0
    i, room = start, True
    while i < stop and room:
        limit = min(stop, i + _SPAN)
        known = state[w.S_NEEDS] & ~_NO_BASE == 0 and state[w.S_LOST] == 0
        if known and _is_sound(words, i, limit):
            at, n, nt = _decode_span(words, i, limit, state, records, columns, n, triggers, nt)
            if at > i:
                i, limit = at, min(at + 1, limit)
        while i < limit and room:
            word = np.int64(units[i])
            kind, value = word >> 12, word & 0xFFF
            place, on, mask, lost = value & 0x7FF, value >> 11, np.int64(0), state[w.S_LOST] != 0
            why, a, b = -1, word, place
            if kind == ADDR_Y:
                state[w.S_Y] = place
                state[w.S_NEEDS] &= ~w.NEED_ROW
                why = w.ROW_OFF if place >= words.height else -1
            elif kind == ADDR_X:
                mask = np.int64(1)
            elif kind == VECT_BASE_X:
                state[w.S_BASE], state[w.S_ON] = place, on
                state[w.S_NEEDS] &= ~_NO_BASE
                if place >= words.width:
                    why, a, b = w.OFF_SENSOR, place, state[w.S_Y]
            elif kind == VECT_12 or kind == VECT_8:
                mask = value if kind == VECT_12 else value & 0xFF
                place, on = state[w.S_BASE], state[w.S_ON]
                state[w.S_BASE] += 12 if kind == VECT_12 else 8
            elif kind == TIME_LOW:
                state[w.S_LOW] = value
                if state[w.S_NEEDS] & w.NEED_HIGH == 0:
                    state[w.S_NEEDS] &= ~w.NEED_LOW
            elif kind == TIME_HIGH:
                if not _take_high(words, i, state, following):
                    why, a, b = w.HIGH_JUMP, k.shown(state[w.S_NOW], _HIGH_BITS), value
            elif kind == TRIGGER:
                if not lost and state[w.S_NEEDS] & _TIMED == 0:
                    trigger_t[nt] = state[w.S_NOW] << 12 | state[w.S_LOW]
                    trigger_id[nt], trigger_p[nt] = value >> 8, value & 1 != 0
                    nt += 1
            elif kind == OTHERS:
                state[w.S_OTHERS] += 1
            elif kind != CONTINUED_4 and kind != CONTINUED_12:
                why, b = w.NO_TYPE, kind
            if mask != 0:
                missing = state[w.S_NEEDS] & (~_NO_BASE if kind == ADDR_X else -1)
                now = state[w.S_NOW] << 12 | state[w.S_LOW]
                off = k.off_column(words.width, place, mask)
                if missing != 0:
                    if not lost and missing == _NO_BASE:
                        why = w.NO_BASE
                    elif not lost:
                        state[w.S_EARLY] += count_bits(mask)
                elif off >= 0:
                    why, a, b = w.OFF_SENSOR, off, state[w.S_Y]
                elif now < state[w.S_LAST]:
                    why, a, b = w.TIME_BACK, state[w.S_LAST], now
                else:
                    if lost:
                        room = k.stop_losing(state, losses, i)
                    state[w.S_LAST] = now
                    bits = np.uint32(mask)
                    while bits != 0:
                        t[n], y[n], p[n] = now, state[w.S_Y], on != 0
                        x[n] = place + np.int64(lowest_bit(bits))  # type: ignore[call-arg]
                        bits &= bits - np.uint32(1)
                        n += 1
            if why >= 0:
                if why != w.NO_BASE:
                    state[w.S_NEEDS] |= _AGAIN
                if why == w.HIGH_JUMP:
                    state[w.S_NEEDS] |= w.NEED_HIGH
                if not lost:
                    room = k.lose(state, losses, i, why, a, b)
            i += 1
    return k.finish(state, losses, i, n, nt)
