# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 2.0, EVT 2.1 and EVT 4.0 words, as 32-bit units, that judge each word.

All three share a head word: type 28-31, low part of time 22-27, x 11-21, y 0-10. A table says what
each type means, and where a head and its mask of 32 pixels stand.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lowest_bit
from dvskit.formats.words import layout as w
from dvskit.formats.words import row_kernels as k
from dvskit.formats.words.layout import Words
from dvskit.formats.words.row_kernels import FOLLOWING, LOOK_AHEAD

HIGH_BITS = 28
# A step of the clock of less than this is not judged where all around it are such steps.
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes
_FAR, _NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes


@njit(cache=True, nogil=True)
def safe_start(units: NDArray[np.uint32], table: NDArray[np.int64], number: int) -> int:
    """Return the first place behind units[0] that is certainly a head, len(units) for none.

    units[0] is the unit `number` of a chunk.
    """
    if table[w.L_STRIDE] == 2:
        return 1 + (number + 1) % 2
    i = 1
    while i < units.size:
        before = table[units[i - 1] >> np.uint32(28)]
        if before != w.MANY_OFF and before != w.MANY_ON:
            break
        i += 1
    return i


@njit(cache=True, nogil=True)
def _following_highs(words: Words, at: int, found: NDArray[np.int64]) -> int:
    """Put the next TIME_HIGH values from `at` on into `found`; return how many there are."""
    units, table = words.units, words.table
    stride, head = table[w.L_STRIDE], table[w.L_HEAD]
    count = 0
    i = at
    end = min(at + LOOK_AHEAD - 2, units.size - stride + 1)
    while i < end and count < found.size:
        word = np.int64(units[i + head])
        meaning = table[word >> 28]
        i += stride
        if meaning == w.HIGH:
            found[count] = word & 0xFFFFFFF
            count += 1
        elif stride == 1 and (meaning == w.MANY_OFF or meaning == w.MANY_ON):
            i += 1
    return count


@njit(cache=True, nogil=True)
def _next_low(words: Words, at: int) -> int:
    """Return the low part of time of the next event word ahead of a TIME_HIGH, -1 for none."""
    units, table = words.units, words.table
    stride, head = table[w.L_STRIDE], table[w.L_HEAD]
    i = at
    end = min(at + LOOK_AHEAD - 2, units.size - stride + 1)
    while i < end:
        word = np.int64(units[i + head])
        meaning = table[word >> 28]
        i += stride
        if meaning == w.HIGH:
            return -1
        if meaning == w.MANY_OFF or meaning == w.MANY_ON:
            at = i - 1 - head if stride == 2 else i
            if stride == 1:
                i += 1
            if at >= units.size or units[at] == 0:
                continue
        if meaning <= w.MANY_ON:
            return word >> 22 & 0x3F
    return -1


@njit(cache=True, nogil=True)
def goes_on(words: Words, at: int, high: int, last: int) -> int:
    """Tell whether the words from `at` on give reason to doubt the clean ones ahead of them."""
    following = np.empty(FOLLOWING, np.int64)
    count = _following_highs(words, at, following)
    for i in range(count):
        if ((following[i] - high) & 0xFFFFFFF) >= HIGH_STEP:
            return w.DOUBT
        high = following[i]
    low = _next_low(words, at)
    if 0 <= low < last & 0x3F:
        return w.DOUBT
    # Where a low part was not found, a TIME_HIGH stands ahead of it.
    return w.NO_DOUBT if count == FOLLOWING else w.TOO_FEW


@njit(cache=True, nogil=True)
def _read_event(
    words: Words, here: int, now: int, at: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    units, stride, head = words.units, words.table[w.L_STRIDE], words.table[w.L_HEAD]
    word = np.int64(units[here + head])
    meaning = words.table[word >> 28]
    n, mask, length = at[k.N], np.int64(1), stride
    if meaning >= w.MANY_OFF:
        place = here + 1 if stride == 1 else here + 1 - head
        length = 2
        at[k.AT] = here + 2
        if place >= units.size:
            at[k.AT] = here + 1
            at[k.N] = k.add_row(rows, n, here, 1, 0, w.HALF_VECTOR, word, 0)
            return
        mask = np.int64(units[place])
    column, row, low = word >> 11 & 0x7FF, word & 0x7FF, word >> 22 & 0x3F
    if mask == 0:
        return
    if not at[k.USABLE]:
        at[k.N] = k.add_row(rows, n, here, length, 0, w.NO_CLOCK, word, 0)
        return
    if now < 0:
        at[k.EARLY] += count_bits(mask)
        return
    if row >= words.height or column >= words.width:
        at[k.N] = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, column, row)
        return
    time = now << 6 | low
    if time < at[k.LAST]:
        at[k.N] = k.add_row(rows, n, here, length, 0, w.TIME_BACK, at[k.LAST], time)
        return
    after = _next_low(words, at[k.AT]) if time > at[k.LAST] else -1
    if 0 <= after < low and now << 6 | after >= at[k.LAST]:
        at[k.N] = k.add_row(rows, n, here, length, 0, w.TIME_AHEAD, time, now << 6 | after)
        return
    on_sensor = mask & ((1 << (words.width - column)) - 1) if words.width - column < 32 else mask
    if on_sensor != 0:
        at[k.LAST] = time
    place = column | row << k.Y_AT | (meaning & 1) << k.P_AT
    n = k.add_row(rows, n, here, length, time, k.EVENT, place, on_sensor)
    if on_sensor != mask:
        right = column + np.int64(lowest_bit(np.uint32(mask ^ on_sensor)))  # type: ignore[call-arg]
        n = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, right, row)
    at[k.N] = n


@njit(cache=True, nogil=True)
def _read_high(
    words: Words,
    here: int,
    clock: NDArray[np.int64],
    doubtful: bool,
    following: NDArray[np.int64],
    at: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    stride, was = words.table[w.L_STRIDE], clock[k.K_NOW]
    new = np.int64(words.units[here + words.table[w.L_HEAD]]) & 0xFFFFFFF
    sure = was >= 0 and (new - was) & 0xFFFFFFF <= 1
    count = 0 if sure else _following_highs(words, here + stride, following)
    if k.set_clock(clock, new, following, count, doubtful):
        at[k.USABLE] = 1
    else:
        at[k.N] = k.add_row(rows, at[k.N], here, stride, 0, w.HIGH_JUMP, k.shown(clock), new)
        at[k.USABLE] = 0


@njit(cache=True, nogil=True)
def read_rows(
    words: Words,
    stop: int,
    strict: bool,
    ended: bool,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `rows`, which has room for two a word; judge each word, and skip it if it is wrong.

    Returns how many there are, where the next word begins, and how many OTHER words stand ahead of
    it; `state` is set to that there. If `strict`, nothing is read behind the first lost word. Words
    at the end that may turn out to make no sense are left, unless nothing follows (`ended`).
    """
    units, table = words.units, words.table
    stride, head = table[w.L_STRIDE], table[w.L_HEAD]
    clock = k.start_clock(state, HIGH_BITS, HIGH_STEP, _FAR, _NEAR)
    following = np.empty(FOLLOWING, np.int64)
    at = k.start_places(state)
    sure_clock, sure = clock.copy(), at.copy()
    while at[k.AT] + stride <= units.size and at[k.AT] < stop:
        here, first = at[k.AT], at[k.N]
        word = np.int64(units[here + head])
        meaning = table[word >> 28]
        at[k.AT] += stride
        if meaning <= w.MANY_ON:
            _read_event(words, here, clock[k.K_NOW], at, rows)
        elif meaning == w.HIGH:
            doubtful = at[k.DOUBT] > 0 and clock[k.K_NOW] != sure_clock[k.K_NOW]
            _read_high(words, here, clock, doubtful, following, at, rows)
        elif meaning == w.TRIGGER:
            now = clock[k.K_NOW] << 6 | (word >> 22 & 0x3F)
            if not at[k.USABLE]:
                at[k.N] = k.add_row(rows, first, here, stride, 0, w.NO_CLOCK, word, 0)
            elif clock[k.K_NOW] >= 0:
                number, rises = word >> 8 & 0x1F, word & 1
                at[k.N] = k.add_row(rows, first, here, stride, now, k.TRIGGERED, number, rises)
        elif meaning == w.OTHER:
            at[k.OTHERS] += 1
        elif meaning == w.UNKNOWN:
            at[k.N] = k.add_row(rows, first, here, stride, 0, w.NO_TYPE, word, word >> 28)
        if strict and at[k.N] > first and rows[at[k.N] - 1, k.R_WHY] >= 0:
            break
        k.weigh(rows, first, clock, at, sure_clock, sure)
    if strict or ended:
        sure[k.AT] = 0
    k.finish(rows, clock, at, sure_clock, sure, state)
    return at[k.N], at[k.AT], at[k.OTHERS]
