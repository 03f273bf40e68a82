# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT words in step, some of them damaged: rows of what they tell, then events."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w
from dvskit.formats.words import salvage_kernels as k
from dvskit.formats.words.evt_kernels import (
    HIGH_BITS,
    HIGH_FAR,
    HIGH_NEAR,
    following_highs,
    next_low,
)
from dvskit.formats.words.line_kernels import bit_length
from dvskit.formats.words.salvage_kernels import FOLLOWING

_CATCH_UP = 1 << 14  # units in which a clock that has only stepped back comes up again
_CLEARLY = 8  # us by which the low part of time is less where a TIME_HIGH is missing


@njit(cache=True, nogil=True)
def _catches_up(words: NDArray[np.uint32], at: int, layout: NDArray[np.int64], high: int) -> bool:
    """Tell whether a TIME_HIGH from `at` on goes on from `high`."""
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    for i in range(at, min(at + _CATCH_UP, words.size - stride + 1), stride):
        word = np.int64(words[i + head])
        if layout[word >> 28] == w.HIGH and (word - high) & 0xFFFFFFF < k.SURE:
            return True
    return False


# Places in where `read_rows` is: the next unit and row, whether the clock is known, the latest low
# part of time, the next joint, and the next of the rows that were found before.
_AT, _N, _USABLE, _LOW, _JOINT, _BEFORE, _EARLY, _OTHERS, _PLACES = range(9)


@njit(cache=True, nogil=True)
def _keep_state(clock: NDArray[np.int64], at: NDArray[np.int64], state: NDArray[np.int64]) -> None:
    now = clock[k.K_NOW]
    state[w.S_HIGH] = now & ((1 << HIGH_BITS) - 1) if now >= 0 else -1
    state[w.S_LOOPS] = now >> HIGH_BITS if now >= 0 else 0
    state[w.S_CLOCK] = w.USABLE if at[_USABLE] else w.SPOILT
    state[w.S_EARLY] += at[_EARLY]


@njit(cache=True, nogil=True)
def _read_event(
    words: NDArray[np.uint32],
    here: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    now: int,
    at: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    word = np.int64(words[here + head])
    meaning = layout[word >> 28]
    n, mask, length = at[_N], np.int64(1), stride
    if meaning >= w.MANY_OFF:
        place = here + 1 if stride == 1 else here + 1 - head
        length = 2
        at[_AT] = here + 2
        if place >= words.size:
            at[_N] = k.add_row(rows, n, here, 1, 0, w.HALF_VECTOR, word, 0)
            return
        mask = np.int64(words[place])
    column, row = word >> 11 & 0x7FF, word & 0x7FF
    if mask == 0:
        return
    if not at[_USABLE]:
        n = k.add_row(rows, n, here, length, 0, w.NO_CLOCK, word, 0)
    elif now < 0:
        at[_EARLY] += count_bits(mask)
    elif row >= height or column >= width:
        n = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, column, row)
    else:
        at[_LOW] = word >> 22 & 0x3F
        n = k.add_row(rows, n, here, length, now << 6 | at[_LOW], k.EVENT, 0, 0)
        right = column + bit_length(mask) - 1
        if right >= width:
            n = k.add_row(rows, n, here, length, 0, w.OFF_SENSOR, right, row)
    at[_N] = n


@njit(cache=True, nogil=True)
def _set_high(
    words: NDArray[np.uint32],
    here: int,
    layout: NDArray[np.int64],
    new: int,
    clock: NDArray[np.int64],
    following: NDArray[np.int64],
) -> int:
    behind, was = here + layout[w.L_STRIDE], clock[k.K_NOW]
    step = k.sure_step(clock, here, new, HIGH_BITS)
    back = k.far_back(clock, step, HIGH_FAR) and was >= 0
    count, anew = 0, False
    if was < 0 or back or step > HIGH_FAR or step <= -k.SURE:
        count = following_highs(words, behind, layout, following)
        if was >= 0 and step > 0 and k.leads_astray(was, step, following, count, HIGH_BITS):
            return w.SPURIOUS
        anew = back and k.begins_anew(clock, new, following, count, HIGH_NEAR, HIGH_BITS)
        anew = anew and not _catches_up(words, behind, layout, was)
    return k.set_clock(clock, step, new, following, count, anew, HIGH_BITS)


@njit(cache=True, nogil=True)
def _read_high(
    words: NDArray[np.uint32],
    here: int,
    layout: NDArray[np.int64],
    fits: bool,
    onward: int,
    clock: NDArray[np.int64],
    following: NDArray[np.int64],
    at: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    stride = layout[w.L_STRIDE]
    new = np.int64(words[here + layout[w.L_HEAD]]) & 0xFFFFFFF
    was, n, verdict = clock[k.K_NOW], at[_N], w.SPURIOUS
    if fits:
        verdict = _set_high(words, here, layout, new, clock, following)
    if verdict == w.SPURIOUS:
        at[_N] = k.add_row(rows, n, here, stride, 0, w.HIGH_JUMP, was, new)
        low = next_low(words, here + stride, layout)
        holds = was >= 0 and (low < 0 or low >= at[_LOW] or onward == was)
        at[_USABLE] = at[_USABLE] and holds
        return
    if verdict == w.RESET:
        n = k.add_row(rows, n, here, stride, 0, w.CLOCK_RESET, was, new)
    now = clock[k.K_NOW]
    if now != was:
        at[_LOW] = -1
    at[_N] = k.add_row(
        rows, n, here, stride, now << 6, k.CLOCK if now != was else k.AGAIN, was, now
    )
    at[_USABLE] = True


@njit(cache=True, nogil=True)
def read_rows(
    words: NDArray[np.uint32],
    stop: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    joints: NDArray[np.int64],
    before: NDArray[np.int64],
    kept: NDArray[np.bool_],
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `rows`, which has room for two a word.

    Returns how many there are, where the word at or next behind unit `stop` begins, and how many
    OTHER words stand ahead of it.

    `before` are rows of the same words that were found before, none at first, and `kept` those of
    them that fit: a TIME_HIGH that does not is damaged, or no TIME_HIGH. Then, and at `joints`
    (units ahead of which bytes are left out), the clock holds on for the events that follow, if no
    TIME_HIGH seems to be missing; else it is not known. `state` is set to that at unit `stop`.
    """
    stride, head, high = layout[w.L_STRIDE], layout[w.L_HEAD], state[w.S_HIGH]
    clock = k.start_clock((state[w.S_LOOPS] << HIGH_BITS) | high if high >= 0 else np.int64(-1))
    following = np.empty(FOLLOWING, np.int64)
    onward = k.next_clocks(before, kept)
    at = np.zeros(_PLACES, np.int64)
    at[_USABLE], at[_LOW] = state[w.S_CLOCK] == w.USABLE, -1
    if clock[k.K_NOW] >= 0 and state[w.S_LAST] >> 6 == clock[k.K_NOW]:
        at[_LOW] = state[w.S_LAST] & 0x3F
    stopped, end = False, words.size
    while at[_AT] + stride <= words.size:
        here = at[_AT]
        if here >= stop and not stopped:
            stopped, end = True, here
            _keep_state(clock, at, state)
        while at[_BEFORE] < before.shape[0] and before[at[_BEFORE], k.R_UNIT] < here:
            at[_BEFORE] += 1
        if at[_JOINT] < joints.size and joints[at[_JOINT]] <= here:
            at[_JOINT] += 1
            value = onward[at[_BEFORE]]
            low = next_low(words, here, layout)
            lower = value < 0 and 0 <= low < at[_LOW] - _CLEARLY
            if lower or (value >= 0 and not 0 <= value - clock[k.K_NOW] <= 1):
                at[_USABLE] = False
            at[_LOW] = -1
        word = np.int64(words[here + head])
        meaning = layout[word >> 28]
        at[_AT] += stride
        if meaning <= w.MANY_ON:
            _read_event(words, here, layout, width, height, clock[k.K_NOW], at, rows)
        elif meaning == w.HIGH:
            place, fits = at[_BEFORE], True
            while place < before.shape[0] and before[place, k.R_UNIT] == here:
                fits = fits and (before[place, k.R_WHY] != k.CLOCK or kept[place])
                place += 1
            _read_high(words, here, layout, fits, onward[place], clock, following, at, rows)
        elif meaning == w.TRIGGER:
            now = clock[k.K_NOW] << 6 | (word >> 22 & 0x3F)
            if not at[_USABLE]:
                at[_N] = k.add_row(rows, at[_N], here, stride, 0, w.NO_CLOCK, word, 0)
            elif clock[k.K_NOW] >= 0:
                at[_N] = k.add_row(rows, at[_N], here, stride, now, k.TRIGGERED, 0, 0)
        elif meaning == w.OTHER:
            at[_OTHERS] += here < stop
        elif meaning == w.UNKNOWN:
            at[_N] = k.add_row(rows, at[_N], here, stride, 0, w.NO_TYPE, word, word >> 28)
    if not stopped:
        _keep_state(clock, at, state)
    return at[_N], end, at[_OTHERS]


@njit(cache=True, nogil=True)
def count_events(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
) -> tuple[int, int]:
    """Return for how many events, and triggers, the kept rows need room."""
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    events = triggers = 0
    for i in range(rows.shape[0]):
        if keep[i] and rows[i, k.R_WHY] == k.EVENT:
            here = rows[i, k.R_UNIT]
            many = layout[words[here + head] >> np.uint32(28)] >= w.MANY_OFF
            events += count_bits(words[here + 1 - head if stride == 2 else here + 1]) if many else 1
        triggers += rows[i, k.R_WHY] == k.TRIGGERED
    return events, triggers


@njit(cache=True, nogil=True)
def put_events(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    width: int,
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> int:
    """Fill columns with the events and triggers of the kept rows; return how many events."""
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    n = nt = 0
    for i in range(rows.shape[0]):
        here = rows[i, k.R_UNIT]
        if rows[i, k.R_WHY] == k.TRIGGERED:
            word = words[here + head]
            trigger_t[nt], trigger_p[nt] = rows[i, k.R_TIME], word & np.uint32(1)
            trigger_id[nt] = word >> np.uint32(8) & np.uint32(0x1F)
            nt += 1
        elif keep[i] and rows[i, k.R_WHY] == k.EVENT:
            word = np.int64(words[here + head])
            meaning = layout[word >> 28]
            mask = np.uint32(1)
            if meaning >= w.MANY_OFF:
                mask = words[here + 1 - head] if stride == 2 else words[here + 1]
            column, row, now = word >> 11 & 0x7FF, word & 0x7FF, rows[i, k.R_TIME]
            while mask != 0:
                place = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                mask &= mask - np.uint32(1)
                if place >= width:
                    break
                t[n], x[n], y[n], p[n] = now, place, row, meaning & 1 != 0
                n += 1
    return n
