# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 3.0 words that judge each word.

A word has 16 bits: a type in bits 12 to 15, and a value that later words build on.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee import row_kernels as k
from dvskit.formats.prophesee.layout import WordUnits

# Types of words.
ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, CONTINUED_4, TIME_HIGH, TRIGGER, OTHERS, CONTINUED_12 = 0x6, 0x7, 0x8, 0xA, 0xE, 0xF

LOOK_AHEAD = 1 << 14  # words that are searched to judge a time
HIGH_BITS = 12
# A shorter step of the clock is not judged where all around it are such steps.
HIGH_STEP = 1 << 8  # of 4096 us: 1 s
_ORDERED = 1 << 11  # half the range: a longer step runs back
_FAR, _NEAR = 1 << 8, 1 << 11
_CLOCK = (HIGH_BITS, _ORDERED, _FAR, _NEAR)


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
def _next_low(words: WordUnits, at: int) -> int:
    """Return the next TIME_LOW that events follow ahead of a TIME_HIGH, -1 for none."""
    low = np.int64(-1)
    for i in range(at, min(at + LOOK_AHEAD, words.units.size)):
        word = np.int64(words.units[i])
        kind, value = word >> 12, word & 0xFFF
        if kind == TIME_HIGH:
            return np.int64(-1)
        if kind == TIME_LOW:
            low = value
        elif low >= 0 and (
            kind == ADDR_X
            or (kind == VECT_12 and value != 0)
            or (kind == VECT_8 and value & 0xFF != 0)
        ):
            return low
    return np.int64(-1)


@njit(cache=True, nogil=True)
def goes_on(words: WordUnits, at: int, state: NDArray[np.int64]) -> int:
    """Return whether the words from `at` on cast doubt on the clean ones before them."""
    following, now, last = np.empty(k.FOLLOWING, np.int64), state[w.S_NOW], state[w.S_LAST]
    count = _following_highs(words, at, following)
    high = k.shown(now, HIGH_BITS)
    for i in range(count):
        if ((following[i] - high) & 0xFFF) >= HIGH_STEP:
            return w.DOUBT
        high = following[i]
    low = _next_low(words, at)
    if low >= 0 and now << 12 | low < last:
        return w.DOUBT
    return w.NO_DOUBT if count == k.FOLLOWING else w.TOO_FEW


@njit(cache=True, nogil=True)
def _read_event(
    words: WordUnits,
    here: int,
    column: int,
    on: int,
    mask: int,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    word = np.int64(words.units[here])
    vector = word >> 12 != ADDR_X
    now, low, last, row = state[w.S_NOW], state[w.S_LOW], state[w.S_LAST], state[w.S_Y]
    if not vector and column >= words.width:
        k.add_row(rows, state, here, 1, 0, w.OFF_SENSOR, column, row)
    elif state[w.S_CLOCK] == w.SPOILT or state[w.S_CLOCK] == w.HALF:
        k.add_row(rows, state, here, 1, 0, w.NO_CLOCK, word, 0)
    elif state[w.S_ROW] == w.SPOILT:
        k.add_row(rows, state, here, 1, 0, w.NO_ROW, word, 0)
    elif vector and state[w.S_VECTOR] == w.SPOILT:
        k.add_row(rows, state, here, 1, 0, w.NO_BASE, word, 0)
    elif now < 0 or state[w.S_ROW] == w.UNHEARD or (vector and state[w.S_VECTOR] == w.UNHEARD):
        state[w.S_EARLY] += count_bits(mask)
    else:
        time = now << 12 | low
        after = _next_low(words, here + 1) if time > last else np.int64(-1)
        if time < last:
            k.add_row(rows, state, here, 1, 0, w.TIME_BACK, last, time)
            state[w.S_CLOCK] = w.HALF
        elif 0 <= after < low and now << 12 | after >= last:
            k.add_row(rows, state, here, 1, 0, w.TIME_AHEAD, time, now << 12 | after)
            state[w.S_CLOCK] = w.HALF
        else:
            place = column | row << k.Y_AT | on << k.P_AT
            k.add_event(words, rows, state, here, 1, time, place, mask)


@njit(cache=True, nogil=True)
def _read_high(
    words: WordUnits,
    here: int,
    doubtful: bool,
    following: NDArray[np.int64],
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    new, now = np.int64(words.units[here]) & 0xFFF, state[w.S_NOW]
    sure = now >= 0 and (new - now) & 0xFFF <= 1
    count = 0 if sure else _following_highs(words, here + 1, following)
    if not k.set_clock(state, new, following, count, doubtful, _CLOCK):
        k.add_row(rows, state, here, 1, 0, w.HIGH_JUMP, k.shown(now, HIGH_BITS), new)
        state[w.S_CLOCK] = w.SPOILT
        return
    if state[w.S_NOW] != now:
        state[w.S_LOW] = 0
    if state[w.S_CLOCK] == w.UNHEARD:
        state[w.S_CLOCK] = w.USABLE
    elif state[w.S_CLOCK] == w.SPOILT:
        state[w.S_CLOCK] = w.HALF


@njit(cache=True, nogil=True)
def _read_other(
    words: WordUnits, here: int, state: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    """Take a word that is neither an event nor a TIME_HIGH."""
    word = np.int64(words.units[here])
    kind, value = word >> 12, word & 0xFFF
    column = value & 0x7FF
    if kind == ADDR_Y:
        state[w.S_Y], state[w.S_ROW] = column, w.USABLE
        if column >= words.height:
            state[w.S_ROW] = w.SPOILT
            k.add_row(rows, state, here, 1, 0, w.ROW_OFF, word, column)
    elif kind == VECT_BASE_X:
        state[w.S_BASE], state[w.S_ON], state[w.S_VECTOR] = column, value >> 11, w.USABLE
        if column >= words.width:
            state[w.S_VECTOR] = w.SPOILT
            k.add_row(rows, state, here, 1, 0, w.OFF_SENSOR, column, state[w.S_Y])
    elif kind == TIME_LOW:
        state[w.S_LOW] = value
        if state[w.S_CLOCK] == w.HALF:
            state[w.S_CLOCK] = w.USABLE
    elif kind == TRIGGER:
        if state[w.S_CLOCK] == w.USABLE:
            now = state[w.S_NOW] << 12 | state[w.S_LOW]
            k.add_row(rows, state, here, 1, now, k.TRIGGERED, value >> 8, value & 1)
        elif state[w.S_CLOCK] != w.UNHEARD:
            k.add_row(rows, state, here, 1, 0, w.NO_CLOCK, word, 0)
    elif kind == OTHERS:
        state[w.S_OTHERS] += 1
    elif kind != CONTINUED_4 and kind != CONTINUED_12:
        k.add_row(rows, state, here, 1, 0, w.NO_TYPE, word, kind)


@njit(cache=True, nogil=True)
def read_rows(
    words: WordUnits,
    stop: int,
    strict: bool,
    ended: bool,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill `rows`, which has room for two a word; return their number and the next unit.

    As `evt_kernels.read_rows` does.
    """
    own, following = k.start(state), np.empty(k.FOLLOWING, np.int64)
    sure = own.copy()
    while own[w.S_AT] < stop:
        here, first = own[w.S_AT], own[w.S_N]
        word = np.int64(words.units[here])
        kind, value = word >> 12, word & 0xFFF
        own[w.S_AT] += 1
        if kind == ADDR_X:
            _read_event(words, here, value & 0x7FF, value >> 11, np.int64(1), own, rows)
        elif kind == VECT_12 or kind == VECT_8:
            mask = value if kind == VECT_12 else value & 0xFF
            base = own[w.S_BASE]
            own[w.S_BASE] += 12 if kind == VECT_12 else 8
            if mask != 0:
                _read_event(words, here, base, own[w.S_ON], mask, own, rows)
        elif kind == TIME_HIGH:
            _read_high(words, here, k.is_doubtful(own, sure), following, own, rows)
        else:
            _read_other(words, here, own, rows)
        if strict and own[w.S_N] > first and rows[own[w.S_N] - 1, k.R_WHY] >= 0:
            break
        k.weigh(rows, first, own, sure)
    return k.finish(rows, own, sure, strict or ended, state)
