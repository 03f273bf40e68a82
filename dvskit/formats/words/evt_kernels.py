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
from dvskit.formats.words.line_kernels import bit_length
from dvskit.formats.words.row_kernels import FOLLOWING, LOOK_AHEAD

HIGH_BITS = 28
# A step of the clock of less than this is not judged where all around it are such steps.
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes
_FAR, _NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes
_CATCH_UP = 1 << 14  # units in which a clock that has only stepped back comes up again
_CLEARLY = 8  # us by which the low part of time is less where a TIME_HIGH is missing


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
def _catches_up(words: Words, at: int, high: int) -> bool:
    """Tell whether a TIME_HIGH from `at` on goes on from `high`."""
    stride, head = words.table[w.L_STRIDE], words.table[w.L_HEAD]
    for i in range(at, min(at + _CATCH_UP, words.units.size - stride + 1), stride):
        word = np.int64(words.units[i + head])
        if words.table[word >> 28] == w.HIGH and (word - high) & 0xFFFFFFF < k.SURE:
            return True
    return False


# Places in where `read_rows` is: the next unit and row, whether the clock is known, the latest low
# part of time, the next joint, the next of the rows that were found before, the latest event.
(_AT, _N, _USABLE, _LOW, _JOINT, _BEFORE, _EARLY, _OTHERS, _LAST, _PLACES) = range(10)


@njit(cache=True, nogil=True)
def _keep_state(clock: NDArray[np.int64], at: NDArray[np.int64], state: NDArray[np.int64]) -> None:
    now = clock[k.K_NOW]
    state[w.S_HIGH] = now & ((1 << HIGH_BITS) - 1) if now >= 0 else -1
    state[w.S_LOOPS] = now >> HIGH_BITS if now >= 0 else 0
    state[w.S_CLOCK] = w.USABLE if at[_USABLE] else w.SPOILT
    state[w.S_EARLY] += at[_EARLY]


@njit(cache=True, nogil=True)
def _read_event(
    words: Words, here: int, in_turn: bool, now: int, at: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    units, stride, head = words.units, words.table[w.L_STRIDE], words.table[w.L_HEAD]
    word = np.int64(units[here + head])
    meaning = words.table[word >> 28]
    n, mask, length = at[_N], np.int64(1), stride
    if meaning >= w.MANY_OFF:
        place = here + 1 if stride == 1 else here + 1 - head
        length = 2
        at[_AT] = here + 2
        if place >= units.size:
            at[_N] = k.add_row(rows, n, here, 1, 0, w.HALF_VECTOR, word, 0)
            return
        mask = np.int64(units[place])
    column, row, low = word >> 11 & 0x7FF, word & 0x7FF, word >> 22 & 0x3F
    if mask == 0:
        return
    if not at[_USABLE]:
        at[_N] = k.add_row(rows, n, here, length, 0, w.NO_CLOCK, word, 0)
        return
    if now < 0:
        at[_EARLY] += count_bits(mask)
        return
    if row >= words.height or column >= words.width:
        at[_N] = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, column, row)
        return
    time = now << 6 | low
    if in_turn:
        if time < at[_LAST]:
            at[_N] = k.add_row(rows, n, here, length, 0, w.TIME_BACK, at[_LAST], time)
            return
        after = _next_low(words, at[_AT]) if time > at[_LAST] else -1
        if 0 <= after < low and now << 6 | after >= at[_LAST]:
            at[_N] = k.add_row(rows, n, here, length, 0, w.TIME_AHEAD, time, now << 6 | after)
            return
    on_sensor = mask & ((1 << (words.width - column)) - 1) if words.width - column < 32 else mask
    at[_LOW] = low
    if on_sensor != 0:
        at[_LAST] = time
    place = column | row << k.Y_AT | (meaning & 1) << k.P_AT
    n = k.add_row(rows, n, here, length, time, k.EVENT, place, on_sensor)
    if on_sensor != mask:
        right = column + bit_length(mask) - 1
        if in_turn:
            right = column + np.int64(lowest_bit(np.uint32(mask ^ on_sensor)))  # type: ignore[call-arg]
        n = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, right, row)
    at[_N] = n


@njit(cache=True, nogil=True)
def _set_high(
    words: Words,
    here: int,
    in_turn: bool,
    new: int,
    clock: NDArray[np.int64],
    following: NDArray[np.int64],
) -> int:
    behind, was = here + words.table[w.L_STRIDE], clock[k.K_NOW]
    if in_turn:
        sure = was >= 0 and (new - was) & 0xFFFFFFF <= 1
        count = 0 if sure else _following_highs(words, behind, following)
        return k.set_in_turn(clock, new, following, count)
    step, back, sure = k.step_of(clock, here, new)
    count = 0 if sure else _following_highs(words, behind, following)
    back = back and not _catches_up(words, behind, was)
    return k.set_clock(clock, step, new, following, count, back)


@njit(cache=True, nogil=True)
def _read_high(
    words: Words,
    here: int,
    in_turn: bool,
    fits: bool,
    onward: int,
    clock: NDArray[np.int64],
    following: NDArray[np.int64],
    at: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    stride = words.table[w.L_STRIDE]
    new = np.int64(words.units[here + words.table[w.L_HEAD]]) & 0xFFFFFFF
    was, n, verdict = clock[k.K_NOW], at[_N], w.SPURIOUS
    told = k.shown(clock) if in_turn else was
    if fits:
        verdict = _set_high(words, here, in_turn, new, clock, following)
    if verdict == w.SPURIOUS:
        at[_N] = k.add_row(rows, n, here, stride, 0, w.HIGH_JUMP, told, new)
        low = _next_low(words, here + stride)
        holds = was >= 0 and (low < 0 or low >= at[_LOW] or onward == was)
        at[_USABLE] = at[_USABLE] and holds and not in_turn
        return
    if verdict == w.RESET:
        n = k.add_row(rows, n, here, stride, 0, w.CLOCK_RESET, told, new)
    now = clock[k.K_NOW]
    if now != was:
        at[_LOW] = -1
    at[_N] = k.add_row(
        rows, n, here, stride, now << 6, k.CLOCK if now != was else k.AGAIN, was, now
    )
    at[_USABLE] = True


@njit(cache=True, nogil=True)
def read_rows(
    words: Words,
    stop: int,
    most_lost: int,
    joints: NDArray[np.int64],
    before: NDArray[np.int64],
    kept: NDArray[np.bool_],
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `rows`, which has room for two a word.

    Returns how many there are, where the word at or next behind unit `stop` begins, and how many
    OTHER words stand ahead of it. `state` is set to that at unit `stop`.

    Where `most_lost` is above 0, each word is judged in turn, by those ahead of it and the few that
    follow: what it gives stands or is lost, and nothing is read behind `stop`, nor behind so many
    stretches of lost words. Else the rows are to be chosen among:
    `before` are rows of the same words that were found before, none at first, and `kept` those of
    them that fit: a TIME_HIGH that does not is damaged, or no TIME_HIGH. Then, and at `joints`
    (units ahead of which bytes are left out), the clock holds on for the events that follow, if no
    TIME_HIGH seems to be missing; else it is not known.
    """
    units, table = words.units, words.table
    stride, head = table[w.L_STRIDE], table[w.L_HEAD]
    clock = k.start_clock(state, HIGH_BITS, HIGH_STEP, _FAR, _NEAR)
    following = np.empty(FOLLOWING, np.int64)
    onward = k.next_clocks(before, kept)
    at = np.zeros(_PLACES, np.int64)
    at[_USABLE], at[_LOW], at[_LAST] = state[w.S_CLOCK] == w.USABLE, -1, state[w.S_LAST]
    if clock[k.K_NOW] >= 0 and state[w.S_LAST] >> 6 == clock[k.K_NOW]:
        at[_LOW] = state[w.S_LAST] & 0x3F
    stopped, end = False, units.size
    in_turn, lost = most_lost > 0, np.zeros(2, np.int64)
    while at[_AT] + stride <= units.size:
        here = at[_AT]
        if here >= stop and not stopped:
            stopped, end = True, here
            _keep_state(clock, at, state)
            if in_turn:
                break
        if in_turn and k.enough_lost(rows, at[_N], lost, most_lost):
            break
        while at[_BEFORE] < before.shape[0] and before[at[_BEFORE], k.R_UNIT] < here:
            at[_BEFORE] += 1
        if at[_JOINT] < joints.size and joints[at[_JOINT]] <= here:
            at[_JOINT] += 1
            value = onward[at[_BEFORE]]
            low = _next_low(words, here)
            lower = value < 0 and 0 <= low < at[_LOW] - _CLEARLY
            if lower or (value >= 0 and not 0 <= value - clock[k.K_NOW] <= 1):
                at[_USABLE] = False
            at[_LOW] = -1
        word = np.int64(units[here + head])
        meaning = table[word >> 28]
        at[_AT] += stride
        if meaning <= w.MANY_ON:
            _read_event(words, here, in_turn, clock[k.K_NOW], at, rows)
        elif meaning == w.HIGH:
            place, fits = at[_BEFORE], True
            while place < before.shape[0] and before[place, k.R_UNIT] == here:
                fits = fits and (before[place, k.R_WHY] != k.CLOCK or kept[place])
                place += 1
            _read_high(words, here, in_turn, fits, onward[place], clock, following, at, rows)
        elif meaning == w.TRIGGER:
            now = clock[k.K_NOW] << 6 | (word >> 22 & 0x3F)
            if not at[_USABLE]:
                at[_N] = k.add_row(rows, at[_N], here, stride, 0, w.NO_CLOCK, word, 0)
            elif clock[k.K_NOW] >= 0:
                number, rises = word >> 8 & 0x1F, word & 1
                at[_N] = k.add_row(rows, at[_N], here, stride, now, k.TRIGGERED, number, rises)
        elif meaning == w.OTHER:
            at[_OTHERS] += here < stop
        elif meaning == w.UNKNOWN:
            at[_N] = k.add_row(rows, at[_N], here, stride, 0, w.NO_TYPE, word, word >> 28)
    if not stopped:
        _keep_state(clock, at, state)
    return at[_N], end, at[_OTHERS]
