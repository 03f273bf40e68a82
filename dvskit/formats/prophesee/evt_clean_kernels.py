# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over valid EVT 2.0, EVT 2.1 and EVT 4.0 words, most of them in groups of events.

`dvskit.formats.prophesee.layout` describes the loops. Groups have a fixed length, no branches and
no checks, so that they are vectorised; a group with any other word is decoded word by word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lowest_bit
from dvskit.formats.prophesee import evt_kernels as e
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

_GROUP = 32
_SINGLE = 8  # words to go through one by one where a group was cut short
_HIGH_MASK = 0xFFFFFFF
_TILE = 4096  # events that are checked while they are in the nearest cache


@njit(cache=True, nogil=True)
def _kinds(layout: NDArray[np.int64], first: int, last: int) -> Any:
    """Return the types that mean `first` to `last`, a bit each."""
    kinds = np.uint32(0)
    for kind in range(16):
        if first <= layout[kind] <= last:
            kinds |= np.uint32(1) << np.uint32(kind)
    return kinds


@njit(cache=True, nogil=True)
def _mask_place(i: int, stride: int, head: int) -> int:
    """Return where the mask of the word at `i` stands."""
    return i + 1 - head if stride == 2 else i + 1


@njit(cache=True, nogil=True)
def _walk(words: WordUnits, start: int, stop: int, row: NDArray[np.int64], until_high: bool) -> int:
    """Count units start..stop one by one into `row`; return the end, or the first TIME_HIGH."""
    units, layout = words.units, words.table
    stride, head = layout[e.T_STRIDE], layout[e.T_HEAD]
    i = start
    while i < stop:
        word = np.int64(units[i + head])
        meaning = layout[word >> 28]
        if meaning == e.HIGH:
            if until_high:
                return i
            if row[w.R_FIRST] < 0:
                row[w.R_FIRST] = word & _HIGH_MASK
            row[w.R_NEWEST] = word & _HIGH_MASK
        elif meaning <= e.ONE_ON:
            row[w.R_EVENTS] += 1
        elif meaning <= e.MANY_ON:
            at = _mask_place(i, stride, head)
            if stride == 1:
                i += 1
            if at < units.size:
                row[w.R_EVENTS] += count_bits(units[at])
            else:
                row[w.R_CLEAN] = 0
        elif meaning == e.TRIGGER:
            row[w.R_TRIGGERS] += 1
        elif meaning == e.OTHER:
            row[w.R_OTHERS] += 1
        elif meaning == e.UNKNOWN:
            row[w.R_CLEAN] = 0
        i += stride
    return i


@njit(cache=True, nogil=True)
def _scan_apart(words: WordUnits, start: int, stop: int, row: NDArray[Any]) -> None:
    """Count words of one length, each by itself; the latest TIME_HIGH is looked for from behind."""
    units, layout = words.units, words.table
    stride, head = layout[e.T_STRIDE], layout[e.T_HEAD]
    ones, many = _kinds(layout, e.ONE_OFF, e.ONE_ON), _kinds(layout, e.MANY_OFF, e.MANY_ON)
    triggers, others = _kinds(layout, e.TRIGGER, e.TRIGGER), _kinds(layout, e.OTHER, e.OTHER)
    unknown = _kinds(layout, e.UNKNOWN, e.UNKNOWN)
    one, events, rare = np.uint32(1), np.uint32(0), np.uint32(0)
    part = units[start:stop]
    if stride == 1:
        for i in range(part.size):
            kind = part[i] >> np.uint32(28)
            events += ones >> kind & one
            rare |= (triggers | others | unknown) >> kind
    else:
        pairs = part.view(np.uint64)
        head_at, mask_at = np.uint64(32 * head), np.uint64(32 - 32 * head)
        for i in range(pairs.size):
            kind = np.uint32(pairs[i] >> head_at) >> np.uint32(28)
            mask = np.uint32(pairs[i] >> mask_at) * (many >> kind & one)
            events += np.uint32(count_bits(mask))
            rare |= (triggers | others | unknown) >> kind
    rare &= one
    row[w.R_EVENTS] += events
    if rare != 0:
        hits, rest, odd = np.uint32(0), np.uint32(0), np.uint32(0)
        for i in range(part.size // stride):
            kind = part[i * stride + head] >> np.uint32(28)
            hits += triggers >> kind & one
            rest += others >> kind & one
            odd |= unknown >> kind & one
        row[w.R_TRIGGERS] += hits
        row[w.R_OTHERS] += rest
        if odd != 0:
            row[w.R_CLEAN] = 0
    for i in range(stop - stride, start - 1, -stride):
        if layout[units[i + head] >> np.uint32(28)] == e.HIGH:
            row[w.R_NEWEST] = units[i + head] & np.uint32(_HIGH_MASK)
            break


@njit(cache=True, nogil=True)
def _scan_on(words: WordUnits, start: int, stop: int, row: NDArray[Any]) -> int:
    """Count words of which some have a mask behind them; return where they end."""
    ones = _kinds(words.table, e.ONE_OFF, e.ONE_ON)
    i = start
    while i < stop:
        if i + _GROUP <= stop:
            group = words.units[i : i + _GROUP]
            alike = np.uint32(1)
            for place in range(_GROUP):
                alike &= ones >> (group[place] >> np.uint32(28))
            if alike != 0:
                row[w.R_EVENTS] += _GROUP
                i += _GROUP
                continue
        i = _walk(words, i, min(i + _GROUP, stop), row, False)
    return i


@njit(cache=True, nogil=True)
def scan(words: WordUnits, start: int, stop: int, row: NDArray[np.int64]) -> None:
    """Count what is in units start..stop and find their first and last TIME_HIGH, for `row`."""
    layout = words.table
    row[:] = 0
    row[w.R_FIRST] = row[w.R_NEWEST] = -1
    row[w.R_CLEAN] = 1
    i = _walk(words, start, stop, row, True)
    row[w.R_EARLY], row[w.R_EARLY_TRIGGERS] = row[w.R_EVENTS], row[w.R_TRIGGERS]
    if i < stop:
        row[w.R_FIRST] = words.units[i + layout[e.T_HEAD]] & np.uint32(_HIGH_MASK)
        row[w.R_NEWEST] = row[w.R_FIRST]
        if layout[e.T_STRIDE] == 2 or _kinds(layout, e.MANY_OFF, e.MANY_ON) == 0:
            _scan_apart(words, i, stop, row)
            i = stop
        else:
            i = _scan_on(words, i, stop, row)
    row[w.R_END] = i


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits,
    start: int,
    stop: int,
    row: NDArray[np.int64],
    state: NDArray[np.int64],
    last: bool,
) -> bool:
    """Predict the state behind a scanned slice; False if it is not clean."""
    clean = row[w.R_CLEAN] != 0 and state[w.S_CLOCK] != w.SPOILT
    state[w.S_EVENTS] += row[w.R_EVENTS]
    state[w.S_TRIGGERS] += row[w.R_TRIGGERS]
    state[w.S_OTHERS] += row[w.R_OTHERS]
    first, now = row[w.R_FIRST], state[w.S_NOW]
    if now < 0:
        state[w.S_EVENTS] -= row[w.R_EARLY]
        state[w.S_EARLY] += row[w.R_EARLY]
        state[w.S_TRIGGERS] -= row[w.R_EARLY_TRIGGERS]
    if first >= 0:
        step = (first - now) & _HIGH_MASK if now >= 0 else np.int64(0)
        clean = clean and step < e.HIGH_STEP
        state[w.S_NOW] = (now + step if now >= 0 else first) + (
            (row[w.R_NEWEST] - first) & _HIGH_MASK
        )
        state[w.S_CLOCK] = w.USABLE
    return clean


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
def decode_clean(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> bool:
    """Decode units start..stop into columns of the length that `scan` found; move the state on.

    False if an event is off the sensor or out of order; then the columns hold nothing of use.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    units, layout = words.units, words.table
    stride, head = layout[e.T_STRIDE], layout[e.T_HEAD]
    ones, many = _kinds(layout, e.ONE_OFF, e.ONE_ON), _kinds(layout, e.MANY_OFF, e.MANY_ON)
    meanings = np.empty(16, np.uint8)
    for kind in range(16):
        meanings[kind] = layout[kind]
    high = state[w.S_NOW]  # counted through wraps
    base = high << 6
    pairs = units[: units.size >> 1 << 1].view(np.uint64)
    head_at, mask_at = np.uint64(32 * head), np.uint64(32 - 32 * head)
    clean = True
    n = nt = 0
    i = start
    single = _SINGLE  # words to go one by one before a group is tried
    one, kind_at = np.uint32(1), np.uint32(28)
    while i < stop:
        if single == 0:
            if i + _GROUP * stride > stop or n + _GROUP > t.size or high < 0:
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
            # Those ahead of the first other word stand.
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
        if ones >> kind & one != 0:
            if high >= 0:
                place = np.uint64(n)
                t[place] = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
                x[place] = np.int16(word >> np.uint32(11) & np.uint32(0x7FF))
                y[place] = np.int16(word & np.uint32(0x7FF))
                p[place] = kind & one
                n += 1
            continue
        meaning = meanings[kind]
        if meaning <= e.MANY_ON:
            mask = one
            if meaning > e.ONE_ON:
                mask = units[i - 1 - head] if stride == 2 else units[i]
                if stride == 1:
                    i += 1
            if high < 0:
                continue
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
        elif meaning == e.HIGH:
            new = np.int64(word & np.uint32(_HIGH_MASK))
            if high >= 0:
                step = (new - high) & _HIGH_MASK
                clean = clean and step < e.HIGH_STEP
                high += step
            else:
                high = new
                state[w.S_CLOCK] = w.USABLE
            base = high << 6
            single = _SINGLE
        elif meaning == e.TRIGGER and high >= 0:
            trigger_t[nt] = base | np.int64(word >> np.uint32(22) & np.uint32(0x3F))
            trigger_id[nt] = word >> np.uint32(8) & np.uint32(0x1F)
            trigger_p[nt] = word & np.uint32(1)
            nt += 1
    state[w.S_NOW] = high
    state[w.S_EVENTS] += n
    state[w.S_TRIGGERS] += nt
    if n > 0:
        state[w.S_LAST] = t[n - 1]
    return clean and _possible(t, x, y, words.width, words.height)
