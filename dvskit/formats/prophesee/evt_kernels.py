# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 2.0, EVT 2.1 and EVT 4.0 words, as 32-bit units.

`dvskit.formats.prophesee.layout` describes the loops. All three formats share a head: type in bits
28-31, low part of the time 22-27, x 11-21, y 0-10. The table holds the meaning of each type, and
where a head and its mask of 32 pixels stand. Most words are decoded in groups of events: a group
has a fixed length and no branches, so that its loop is vectorized.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lowest_bit
from dvskit.formats.prophesee import clock_kernels as k
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

# The meaning of a type; the lowest bit of the first four is the polarity.
ONE_OFF, ONE_ON, MANY_OFF, MANY_ON, HIGH, TRIGGER, OTHER, SKIPPED, UNKNOWN = range(9)
# The table: the meanings of the 16 types, units of a word, the unit with the type.
T_STRIDE, T_HEAD, TABLE_FIELDS = 16, 17, 18

LOOK_AHEAD = 1 << 12  # units that are searched to judge the clock
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes; steps that a reader accepts as in order
_SURE = 16  # of 64 us: 1 ms; a longer step of the clock is judged
_SHORT, _NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes
_HIGH_BITS = 28
_HIGH_MASK = (1 << _HIGH_BITS) - 1
_CLOCK = (_HIGH_BITS, HIGH_STEP, _SHORT, _NEAR)

_RUN = 8  # valid events in a row that show that words make sense again
_GROUP = 32
_SINGLE = 8  # words to decode one by one where a group was cut short
_SPAN = 1 << 14  # units that are decoded before their events are checked
_TILE = 4096  # events that are checked while they are in the nearest cache


@njit(cache=True, nogil=True)
def _kinds(table: NDArray[np.int64], first: int, last: int) -> Any:
    """Return the types that mean `first` to `last`, a bit each."""
    kinds = np.uint32(0)
    for kind in range(16):
        if first <= table[kind] <= last:
            kinds |= np.uint32(1) << np.uint32(kind)
    return kinds


@njit(cache=True, nogil=True)
def _scan_apart(words: WordUnits, start: int, stop: int, row: NDArray[Any]) -> None:
    """Count words of one length, each by itself."""
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    ones, many = _kinds(table, ONE_OFF, ONE_ON), _kinds(table, MANY_OFF, MANY_ON)
    triggers = _kinds(table, TRIGGER, TRIGGER)
    one, events, hits = np.uint32(1), np.uint32(0), np.uint32(0)
    part = units[start:stop]
    if stride == 1:
        for i in range(part.size):
            kind = part[i] >> np.uint32(28)
            events += ones >> kind & one
            hits += triggers >> kind & one
    else:
        pairs = part.view(np.uint64)
        head_at, mask_at = np.uint64(32 * head), np.uint64(32 - 32 * head)
        for i in range(pairs.size):
            kind = np.uint32(pairs[i] >> head_at) >> np.uint32(28)
            mask = np.uint32(pairs[i] >> mask_at) * (many >> kind & one)
            events += np.uint32(count_bits(mask))
            hits += triggers >> kind & one
    row[w.R_EVENTS], row[w.R_TRIGGERS], row[w.R_END] = events, hits, stop
    for i in range(stop - stride, start - 1, -stride):
        if table[units[i + head] >> np.uint32(28)] == HIGH:
            row[w.R_NEWEST] = units[i + head] & np.uint32(_HIGH_MASK)
            break


@njit(cache=True, nogil=True)
def _scan_in_turn(words: WordUnits, start: int, stop: int, row: NDArray[Any]) -> None:
    """Count words of which some have a mask behind them."""
    units, table = words.units, words.table
    ones = _kinds(table, ONE_OFF, ONE_ON)
    i = start
    while i < stop:
        if i + _GROUP <= stop:
            group = units[i : i + _GROUP]
            alike = np.uint32(1)
            for place in range(_GROUP):
                alike &= ones >> (group[place] >> np.uint32(28))
            if alike != 0:
                row[w.R_EVENTS] += _GROUP
                i += _GROUP
                continue
        limit = min(i + _GROUP, stop)
        while i < limit:
            word = np.int64(units[i])
            meaning = table[word >> 28]
            i += 1
            if meaning == HIGH:
                row[w.R_NEWEST] = word & _HIGH_MASK
            elif meaning <= ONE_ON:
                row[w.R_EVENTS] += 1
            elif meaning <= MANY_ON:
                if i < units.size:
                    row[w.R_EVENTS] += count_bits(units[i])
                    i += 1
            elif meaning == TRIGGER:
                row[w.R_TRIGGERS] += 1
    row[w.R_END] = i


@njit(cache=True, nogil=True)
def scan(words: WordUnits, start: int, stop: int, row: NDArray[np.int64]) -> None:
    """Count the events and triggers in units start..stop, and find the last TIME_HIGH."""
    row[:] = 0
    row[w.R_NEWEST] = -1
    if words.table[T_STRIDE] == 1 and _kinds(words.table, MANY_OFF, MANY_ON) != 0:
        _scan_in_turn(words, start, stop, row)
    else:
        _scan_apart(words, start, stop, row)


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits, start: int, stop: int, row: NDArray[np.int64], state: NDArray[np.int64]
) -> None:
    """Predict the clock behind a scanned slice of valid words."""
    newest, now = row[w.R_NEWEST], state[w.S_NOW]
    if newest >= 0:
        state[w.S_NOW] = now + ((newest - now) & _HIGH_MASK) if now >= 0 else newest


@njit(cache=True, nogil=True)
def _following_highs(words: WordUnits, at: int, found: NDArray[np.int64], most: int) -> int:
    """Put the next `most` TIME_HIGH values from `at` on into `found`; return their number."""
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    count = 0
    i = at
    end = min(at + LOOK_AHEAD - 2, units.size - stride + 1)
    while i < end and count < most:
        word = np.int64(units[i + head])
        meaning = table[word >> 28]
        i += stride
        if meaning == HIGH:
            found[count] = word & _HIGH_MASK
            count += 1
        elif stride == 1 and (meaning == MANY_OFF or meaning == MANY_ON):
            i += 1
    return count


# With the columns as one argument, decoding takes a fifth longer.
@njit(cache=True, nogil=True)
def _possible(
    t: NDArray[np.int64], x: NDArray[np.int16], y: NDArray[np.int16], width: int, height: int
) -> bool:
    """Whether all events are on the sensor and in order of time."""
    bad = np.int64(0)  # negative from the first impossible one on
    right, bottom = np.int16(width - 1), np.int16(height - 1)
    for start in range(0, t.size, _TILE):
        stop = min(start + _TILE, t.size)
        now, before = t[max(start, 1) : stop], t[max(start, 1) - 1 : stop - 1]
        for i in range(now.size):
            bad |= now[i] - before[i]
        columns, rows = x[start:stop], y[start:stop]
        off = np.int16(0)
        for i in range(columns.size):
            off |= np.int16(right - columns[i]) | np.int16(bottom - rows[i])
        bad |= np.int64(off)
    return bad >= 0


# Inlined, with places that cannot be negative, the loops over a group become vector instructions.
@njit(cache=True, nogil=True, inline="always")
def _decode_ones(
    units: NDArray[np.uint32],
    at: Any,
    ones: Any,
    base: int,
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    n: Any,
) -> Any:
    """Decode a group of words as if all were events; return whether they are."""
    alike = np.uint32(1)
    for i in range(_GROUP):
        word = units[at + np.uint64(i)]
        kind = word >> np.uint32(28)
        alike &= ones >> kind
        place = n + np.uint64(i)
        t[place] = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
        x[place] = np.int16(word >> np.uint32(11) & np.uint32(0x7FF))
        y[place] = np.int16(word & np.uint32(0x7FF))
        p[place] = kind & np.uint32(1)
    return alike != 0


@njit(cache=True, nogil=True, inline="always")
def _decode_bits(
    pairs: NDArray[np.uint64],
    at: Any,
    head_at: Any,
    mask_at: Any,
    many: Any,
    base: int,
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    n: Any,
) -> Any:
    """Decode a group of pairs as if each mask had one bit; return whether they are such events."""
    alike, rest = np.uint32(1), np.uint32(0)
    for i in range(_GROUP):
        pair = pairs[at + np.uint64(i)]
        word, mask = np.uint32(pair >> head_at), np.uint32(pair >> mask_at)
        kind = word >> np.uint32(28)
        alike &= many >> kind & np.uint32(mask != 0)
        rest |= mask & (mask - np.uint32(1))
        bit = np.int32(lowest_bit(mask | np.uint32(0x80000000)))  # type: ignore[call-arg]
        place = n + np.uint64(i)
        t[place] = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
        x[place] = np.int16(np.int32(word >> np.uint32(11) & np.uint32(0x7FF)) + bit)
        y[place] = np.int16(word & np.uint32(0x7FF))
        p[place] = kind & np.uint32(1)
    return alike != 0 and rest == 0


@njit(cache=True, nogil=True)
def _can_follow(
    words: WordUnits,
    i: int,
    high: int,
    new: int,
    lost: bool,
    following: NDArray[np.int64],
) -> bool:
    """Whether the clock can step from `high` to `new`, a TIME_HIGH whose next unit is `i`."""
    step = (new - high) & _HIGH_MASK if high >= 0 else np.int64(_HIGH_MASK)
    if step <= _SURE:
        return True
    if step <= _SHORT and not lost:
        count = _following_highs(words, i, following, 1)
        if count > 0 and (following[0] - new) & _HIGH_MASK <= _SHORT:
            return True
    count, old = _following_highs(words, i, following, k.FOLLOWING), k.shown(high, _HIGH_BITS)
    return k.is_confirmed(old, new, following, count, lost, _CLOCK)


@njit(cache=True, nogil=True)
def _decode_span(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    following: NDArray[np.int64],
    columns: EventColumns,
    n: int,
    triggers: TriggerColumns,
    nt: int,
) -> tuple[int, int, int]:
    """Decode units start..stop to row `n` as if all were valid; move the state on.

    Returns the next rows of events and triggers, and the next unit; -1 if a word is not valid: then
    the state stays.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    ones, many = _kinds(table, ONE_OFF, ONE_ON), _kinds(table, MANY_OFF, MANY_ON)
    meanings = np.empty(16, np.uint8)
    for kind in range(16):
        meanings[kind] = table[kind]
    high, others = state[w.S_NOW], 0  # the clock is counted through wraps
    base = high << 6
    pairs = units[: units.size >> 1 << 1].view(np.uint64)
    head_at, mask_at = np.uint64(32 * head), np.uint64(32 - 32 * head)
    first = n
    i = start
    single = 0  # words to decode one by one before a group is tried
    one, kind_at = np.uint32(1), np.uint32(28)
    while i < stop:
        if single == 0:
            if i + _GROUP * stride > stop or n + _GROUP > t.size:
                single = _GROUP
                continue
            at, to = np.uint64(i), np.uint64(n)
            if stride == 2:
                at >>= np.uint64(1)
                alike = _decode_bits(pairs, at, head_at, mask_at, many, base, t, x, y, p, to)
            else:
                alike = _decode_ones(units, at, ones, base, t, x, y, p, to)
            if alike:
                n, i = n + _GROUP, i + _GROUP * stride
                continue
            # The events ahead of the first other word are right.
            before = n
            if stride == 1:
                while ones >> (units[np.uint64(i)] >> kind_at) & one != 0:
                    i += 1
                    n += 1
            else:
                while True:
                    mask = units[np.uint64(i + 1 - head)]
                    if (
                        many >> (units[np.uint64(i + head)] >> kind_at) & one == 0
                        or mask == 0
                        or mask & (mask - one) != 0
                    ):
                        break
                    i += 2
                    n += 1
            single = 1 if n - before >= _SINGLE else _SINGLE
        word = units[np.uint64(i + head)]
        kind = word >> kind_at
        i += stride
        single -= 1
        meaning = meanings[kind]
        if meaning <= MANY_ON:
            mask = one
            if meaning > ONE_ON:
                at = i - 1 - head if stride == 2 else i
                if at >= units.size:
                    return -1, -1, -1
                mask = units[at]
                if stride == 1:
                    i += 1
            now = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
            column = np.int64(word >> np.uint32(11) & np.uint32(0x7FF))
            row = np.int64(word & np.uint32(0x7FF))
            on = meaning & np.uint8(1) != 0
            while mask != 0:
                bit = np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                mask &= mask - one
                place = np.uint64(n)
                t[place], x[place], y[place], p[place] = now, column + bit, row, on
                n += 1
        elif meaning == HIGH:
            new = np.int64(word & np.uint32(_HIGH_MASK))
            step = (new - high) & _HIGH_MASK
            if step > _SURE and not _can_follow(words, i, high, new, False, following):
                return -1, -1, -1
            high += step
            base = high << 6
            single = _SINGLE
        elif meaning == TRIGGER:
            trigger_t[nt] = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
            trigger_id[nt] = word >> np.uint32(8) & np.uint32(0x1F)
            trigger_p[nt] = word & np.uint32(1)
            nt += 1
        elif meaning == OTHER:
            others += 1
        elif meaning == UNKNOWN:
            return -1, -1, -1
    if n > first:
        late = t[first] < state[w.S_LAST]
        if late or not _possible(t[first:n], x[first:n], y[first:n], words.width, words.height):
            return -1, -1, -1
        state[w.S_LAST] = t[n - 1]
    state[w.S_NOW] = high
    state[w.S_OTHERS] += others
    return n, nt, i


@njit(cache=True, nogil=True)
def _event_fault(
    words: WordUnits, column: int, row: int, mask: int, now: int, last: int
) -> tuple[int, int, int]:
    """Return why the events of a word are invalid, -1 if they are not; two values for a message."""
    off = k.off_column(words.width, column, mask)
    if row >= words.height or off >= 0:
        return np.int64(w.OFF_SENSOR), max(column, off), row
    return np.int64(w.TIME_BACK if now < last else -1), last, now


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
    """Decode units start..stop, and move the state on; return the next unit.

    At a fault, skips words up to the next TIME_HIGH that the clock can have, or up to the end of
    _RUN valid events in a row, if no TIME_HIGH was wrong.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    units, table, following = words.units, words.table, np.empty(k.FOLLOWING, np.int64)
    stride, head = table[T_STRIDE], table[T_HEAD]
    k.begin(state, losses, start)
    n = nt = 0
    i, room = start, True
    while i < stop and room:
        limit = min(stop, i + _SPAN)
        if state[w.S_NOW] >= 0 and state[w.S_LOST] == 0:
            to, hits, end = _decode_span(
                words, i, limit, state, following, columns, n, triggers, nt
            )
            if to >= 0:
                n, nt, i = to, hits, end
                continue
        while i < limit and room:
            here, lost, high = i, state[w.S_LOST] != 0, state[w.S_NOW]
            word = np.int64(units[i + head])
            meaning = table[word >> 28]
            now = high << 6 | (word >> 22 & 0x3F)
            why, a, b = np.int64(-1), word, word >> 28
            i += stride
            if meaning <= MANY_ON:
                mask = np.int64(1)
                if meaning > ONE_ON:
                    place = i - 1 - head if stride == 2 else i
                    i = max(i, place + 1)
                    if place < units.size:
                        mask = np.int64(units[place])
                    else:
                        why, mask, i = np.int64(w.HALF_VECTOR), np.int64(0), place
                column, row = word >> 11 & 0x7FF, word & 0x7FF
                if mask != 0 and high >= 0:
                    why, a, b = _event_fault(words, column, row, mask, now, state[w.S_LAST])
                    if lost and why < 0:
                        state[w.S_NEEDS] -= 1
                        if state[w.S_NEEDS] == 0:
                            room = k.stop_losing(state, losses, i)
                    bits = np.uint32(mask if why < 0 and not lost else 0)
                    while bits != 0:
                        t[n], y[n], p[n] = now, row, meaning & 1 != 0
                        x[n] = column + np.int64(lowest_bit(bits))  # type: ignore[call-arg]
                        bits &= bits - np.uint32(1)
                        n += 1
                        state[w.S_LAST] = now
                elif high < 0 and not lost:
                    state[w.S_EARLY] += count_bits(mask)
            elif meaning == HIGH:
                new = word & _HIGH_MASK
                if _can_follow(words, i, high, new, lost, following):
                    state[w.S_NOW] = high + ((new - high) & _HIGH_MASK) if high >= 0 else new
                    if lost:
                        room = k.stop_losing(state, losses, here)
                else:
                    why, a, b = np.int64(w.HIGH_JUMP), k.shown(high, _HIGH_BITS), new
            elif meaning == TRIGGER:
                if high >= 0 and not lost:
                    trigger_t[nt], trigger_id[nt] = now, word >> 8 & 0x1F
                    trigger_p[nt] = word & 1 != 0
                    nt += 1
            elif meaning == OTHER:
                state[w.S_OTHERS] += 1
            elif meaning == UNKNOWN:
                why = np.int64(w.NO_TYPE)
            if why == w.HIGH_JUMP:
                state[w.S_NEEDS] = -1
            elif why >= 0 and (not lost or state[w.S_NEEDS] > 0):
                state[w.S_NEEDS] = _RUN
            if why >= 0 and not lost:
                room = k.lose(state, losses, here, why, a, b)
    return k.finish(state, losses, i, n, nt)
