# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 2.0, EVT 2.1 and EVT 4.0 words, as 32-bit units, that judge each word.

All three share a head: type in bits 28-31, low part of the time 22-27, x 11-21, y 0-10. The table
holds the meaning of each type, and where a head and its mask of 32 pixels stand.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee import row_kernels as k
from dvskit.formats.prophesee.layout import LOOK_AHEAD, WordUnits

# The meaning of a type; the lowest bit of the first four is the polarity.
ONE_OFF, ONE_ON, MANY_OFF, MANY_ON, HIGH, TRIGGER, OTHER, SKIPPED, UNKNOWN = range(9)
# The table: the meanings of the 16 types, units of a word, the unit with the type.
T_STRIDE, T_HEAD, TABLE_FIELDS = 16, 17, 18

HIGH_BITS = 28
# A shorter step of the clock is not judged where all around it are such steps.
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes
_FAR, _NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes
_CLOCK = (HIGH_BITS, HIGH_STEP, _FAR, _NEAR)


@njit(cache=True, nogil=True)
def _following_highs(words: WordUnits, at: int, found: NDArray[np.int64]) -> int:
    """Put the next TIME_HIGH values from `at` on into `found`; return their number."""
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    count = 0
    i = at
    end = min(at + LOOK_AHEAD - 2, units.size - stride + 1)
    while i < end and count < found.size:
        word = np.int64(units[i + head])
        meaning = table[word >> 28]
        i += stride
        if meaning == HIGH:
            found[count] = word & 0xFFFFFFF
            count += 1
        elif stride == 1 and (meaning == MANY_OFF or meaning == MANY_ON):
            i += 1
    return count


@njit(cache=True, nogil=True)
def _next_low(words: WordUnits, at: int) -> int:
    """Return the low part of the time of the next event ahead of a TIME_HIGH, -1 for none."""
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    i = at
    end = min(at + LOOK_AHEAD - 2, units.size - stride + 1)
    while i < end:
        word = np.int64(units[i + head])
        meaning = table[word >> 28]
        i += stride
        if meaning == HIGH:
            return -1
        if meaning == MANY_OFF or meaning == MANY_ON:
            at = i - 1 - head if stride == 2 else i
            if stride == 1:
                i += 1
            if at >= units.size or units[at] == 0:
                continue
        if meaning <= MANY_ON:
            return word >> 22 & 0x3F
    return -1


@njit(cache=True, nogil=True)
def goes_on(words: WordUnits, at: int, state: NDArray[np.int64]) -> int:
    """Return whether the words from `at` on cast doubt on the clean ones before them."""
    following, high = np.empty(k.FOLLOWING, np.int64), k.shown(state[w.S_NOW], HIGH_BITS)
    count = _following_highs(words, at, following)
    for i in range(count):
        if ((following[i] - high) & 0xFFFFFFF) >= HIGH_STEP:
            return w.DOUBT
        high = following[i]
    low = _next_low(words, at)
    if 0 <= low < state[w.S_LAST] & 0x3F:
        return w.DOUBT
    # Where no low part was found, a TIME_HIGH stands ahead of it.
    return w.NO_DOUBT if count == k.FOLLOWING else w.TOO_FEW


@njit(cache=True, nogil=True)
def _read_event(
    words: WordUnits, here: int, meaning: int, state: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    units, stride, head = words.units, words.table[T_STRIDE], words.table[T_HEAD]
    word = np.int64(units[here + head])
    mask, length, now = np.int64(1), stride, state[w.S_NOW]
    if meaning >= MANY_OFF:
        place = here + 1 if stride == 1 else here + 1 - head
        length = 2
        state[w.S_AT] = here + 2
        if place >= units.size:
            state[w.S_AT] = here + 1
            k.add_row(rows, state, here, 1, 0, w.HALF_VECTOR, word, 0)
            return
        mask = np.int64(units[place])
    low, last = word >> 22 & 0x3F, state[w.S_LAST]
    time = now << 6 | low
    if mask == 0:
        return
    if state[w.S_CLOCK] == w.SPOILT:
        k.add_row(rows, state, here, length, 0, w.NO_CLOCK, word, 0)
        return
    if now < 0:
        state[w.S_EARLY] += count_bits(mask)
        return
    on_sensor = word & 0x7FF < words.height and word >> 11 & 0x7FF < words.width
    if on_sensor and time < last:
        k.add_row(rows, state, here, length, 0, w.TIME_BACK, last, time)
        return
    after = _next_low(words, state[w.S_AT]) if on_sensor and time > last else -1
    if 0 <= after < low and now << 6 | after >= last:
        k.add_row(rows, state, here, length, 0, w.TIME_AHEAD, time, now << 6 | after)
        return
    at = (word >> 11 & 0x7FF) | (word & 0x7FF) << k.Y_AT | (meaning & 1) << k.P_AT
    k.add_event(words, rows, state, here, length, time, at, mask)


@njit(cache=True, nogil=True)
def _read_high(
    words: WordUnits,
    here: int,
    doubtful: bool,
    following: NDArray[np.int64],
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    stride, now = words.table[T_STRIDE], state[w.S_NOW]
    new = np.int64(words.units[here + words.table[T_HEAD]]) & 0xFFFFFFF
    sure = now >= 0 and (new - now) & 0xFFFFFFF <= 1
    count = 0 if sure else _following_highs(words, here + stride, following)
    if k.set_clock(state, new, following, count, doubtful, _CLOCK):
        state[w.S_CLOCK] = w.USABLE
    else:
        old = k.shown(now, HIGH_BITS)
        k.add_row(rows, state, here, stride, 0, w.HIGH_JUMP, old, new)
        state[w.S_CLOCK] = w.SPOILT


@njit(cache=True, nogil=True)
def read_rows(
    words: WordUnits,
    stop: int,
    strict: bool,
    ended: bool,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill `rows`, which has room for two a word; judge each word, and skip it if it is invalid.

    Returns the number of rows and the next unit, with `state` as it is there. If `strict`, ends
    after the first lost word. Words at the end that may turn out to make no sense are left, unless
    nothing follows (`ended`).
    """
    units, table = words.units, words.table
    stride, head = table[T_STRIDE], table[T_HEAD]
    own, following = k.start(state), np.empty(k.FOLLOWING, np.int64)
    sure = own.copy()
    while own[w.S_AT] + stride <= units.size and own[w.S_AT] < stop:
        here, first = own[w.S_AT], own[w.S_N]
        word = np.int64(units[here + head])
        meaning = table[word >> 28]
        own[w.S_AT] += stride
        if meaning <= MANY_ON:
            _read_event(words, here, meaning, own, rows)
        elif meaning == HIGH:
            _read_high(words, here, k.is_doubtful(own, sure), following, own, rows)
        elif meaning == TRIGGER:
            if own[w.S_CLOCK] == w.SPOILT:
                k.add_row(rows, own, here, stride, 0, w.NO_CLOCK, word, 0)
            elif own[w.S_NOW] >= 0:
                now, number = own[w.S_NOW] << 6 | (word >> 22 & 0x3F), word >> 8 & 0x1F
                k.add_row(rows, own, here, stride, now, k.TRIGGERED, number, word & 1)
        elif meaning == OTHER:
            own[w.S_OTHERS] += 1
        elif meaning == UNKNOWN:
            k.add_row(rows, own, here, stride, 0, w.NO_TYPE, word, word >> 28)
        if strict and own[w.S_N] > first and rows[own[w.S_N] - 1, k.R_WHY] >= 0:
            break
        k.weigh(rows, first, own, sure)
    return k.finish(rows, own, sure, strict or ended, state)
