# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 2.0, EVT 2.1 and EVT 4.0 words, as 32-bit units.

All three share a head word: type 28-31, low part of time 22-27, x 11-21, y 0-10. A `layout` says
what each type means, and where a head and its mask of 32 pixels stand.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lose, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w
from dvskit.formats.words.salvage_kernels import FOLLOWING, LOOK_AHEAD, judge

HIGH_BITS = 28
# A step of the clock of less than this is not judged where all around it are such steps.
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes
HIGH_FAR, HIGH_NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes


@njit(cache=True, nogil=True)
def safe_start(words: NDArray[np.uint32], layout: NDArray[np.int64], number: int) -> int:
    """Return the first place behind words[0] that is certainly a head, len(words) for none.

    words[0] is the unit `number` of a chunk.
    """
    if layout[w.L_STRIDE] == 2:
        return 1 + (number + 1) % 2
    i = 1
    while i < words.size:
        before = layout[words[i - 1] >> np.uint32(28)]
        if before != w.MANY_OFF and before != w.MANY_ON:
            break
        i += 1
    return i


@njit(cache=True, nogil=True)
def following_highs(
    words: NDArray[np.uint32], at: int, layout: NDArray[np.int64], found: NDArray[np.int64]
) -> int:
    """Put the next TIME_HIGH values from `at` on into `found`; return how many there are."""
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    count = 0
    i = at
    end = min(at + LOOK_AHEAD - 2, words.size - stride + 1)
    while i < end and count < found.size:
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        i += stride
        if meaning == w.HIGH:
            found[count] = word & 0xFFFFFFF
            count += 1
        elif stride == 1 and (meaning == w.MANY_OFF or meaning == w.MANY_ON):
            i += 1
    return count


@njit(cache=True, nogil=True)
def next_low(words: NDArray[np.uint32], at: int, layout: NDArray[np.int64]) -> int:
    """Return the low part of time of the next event word ahead of a TIME_HIGH, -1 for none."""
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    i = at
    end = min(at + LOOK_AHEAD - 2, words.size - stride + 1)
    while i < end:
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        i += stride
        if meaning == w.HIGH:
            return -1
        if meaning == w.MANY_OFF or meaning == w.MANY_ON:
            at = i - 1 - head if stride == 2 else i
            if stride == 1:
                i += 1
            if at >= words.size or words[at] == 0:
                continue
        if meaning <= w.MANY_ON:
            return word >> 22 & 0x3F
    return -1


@njit(cache=True, nogil=True)
def goes_on(
    words: NDArray[np.uint32], at: int, layout: NDArray[np.int64], high: int, last: int
) -> int:
    """Tell whether the words from `at` on give reason to doubt the clean ones ahead of them."""
    following = np.empty(FOLLOWING, np.int64)
    count = following_highs(words, at, layout, following)
    for i in range(count):
        if ((following[i] - high) & 0xFFFFFFF) >= HIGH_STEP:
            return w.DOUBT
        high = following[i]
    low = next_low(words, at, layout)
    if 0 <= low < last & 0x3F:
        return w.DOUBT
    # Where a low part was not found, a TIME_HIGH stands ahead of it.
    return w.NO_DOUBT if count == FOLLOWING else w.TOO_FEW


@njit(cache=True, nogil=True)
def decode_careful(
    words: NDArray[np.uint32],
    stop: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    strict: bool,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
    losses: NDArray[np.int64],
) -> int:
    """Decode words[:stop], judging each; return the first unit that was not decoded.

    Events go behind the state[S_EVENTS] ones in the columns, which have room for all; so do
    triggers. Losses are rows of (unit, units, why, two values for the message). Stops early where
    they are full, and in strict mode behind the first. Words behind `stop` are only looked at,
    but for a mask.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    stride, head = layout[w.L_STRIDE], layout[w.L_HEAD]
    high, loops, clock, last = state[w.S_HIGH], state[w.S_LOOPS], state[w.S_CLOCK], state[w.S_LAST]
    n, nt, nl = state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES]
    following = np.empty(FOLLOWING, np.int64)
    base = ((loops << HIGH_BITS) | high) << 6
    i = 0
    while i < stop:
        if nl > losses.shape[0] - 3 or (strict and nl > 0):
            break
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        here, length = i, stride
        i += stride
        mask = np.uint32(1)
        if meaning == w.MANY_OFF or meaning == w.MANY_ON:
            if stride == 1:
                if i >= words.size:
                    nl = lose(losses, nl, here, 1, w.HALF_VECTOR, word, 0)
                    break
                mask = words[i]
                i += 1
                length = 2
            else:
                mask = words[i - 1 - head]
            if mask == 0:
                continue
        if meaning <= w.MANY_ON:
            if clock == w.SPOILT:
                nl = lose(losses, nl, here, length, w.NO_CLOCK, word, 0)
                continue
            if high < 0:
                state[w.S_EARLY] += count_bits(mask)
                continue
            column, row = word >> 11 & 0x7FF, word & 0x7FF
            low = word >> 22 & 0x3F
            now = base | low
            if row >= height or column >= width:
                nl = lose(losses, nl, here, length, w.OFF_SENSOR, column, row)
                continue
            if now < last:
                nl = lose(losses, nl, here, length, w.TIME_BACK, last, now)
                continue
            if now > last:
                after = next_low(words, i, layout)
                if after >= 0 and after < low and (base | after) >= last:
                    nl = lose(losses, nl, here, length, w.TIME_AHEAD, now, base | after)
                    continue
            while mask != 0:
                at = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                mask &= mask - np.uint32(1)
                if at >= width:
                    nl = lose(losses, nl, here, length, w.OFF_SENSOR, at, row)
                    break
                t[n], x[n], y[n], p[n] = now, at, row, meaning & 1 != 0
                last = now
                n += 1
        elif meaning == w.HIGH:
            new = word & 0xFFFFFFF
            verdict = w.ACCEPT
            if high < 0 or ((new - high) & 0xFFFFFFF) > 1:
                count = following_highs(words, i, layout, following)
                verdict = judge(
                    high, new, following, count, HIGH_BITS, HIGH_STEP, HIGH_FAR, HIGH_NEAR
                )
            if verdict == w.SPURIOUS:
                clock = w.SPOILT
                nl = lose(losses, nl, here, stride, w.HIGH_JUMP, high, new)
                continue
            if verdict == w.RESET:
                nl = lose(losses, nl, here, stride, w.CLOCK_RESET, high, new)
            loops += new < high
            high = new
            base = ((loops << HIGH_BITS) | high) << 6
            clock = w.USABLE
        elif meaning == w.TRIGGER:
            if clock == w.SPOILT:
                nl = lose(losses, nl, here, stride, w.NO_CLOCK, word, 0)
            elif high >= 0:
                trigger_t[nt] = base | (word >> 22 & 0x3F)
                trigger_id[nt], trigger_p[nt] = word >> 8 & 0x1F, word & 1 != 0
                nt += 1
        elif meaning == w.UNKNOWN:
            nl = lose(losses, nl, here, stride, w.NO_TYPE, word, word >> 28)
    state[w.S_HIGH], state[w.S_LOOPS], state[w.S_CLOCK], state[w.S_LAST] = high, loops, clock, last
    state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES] = n, nt, nl
    return i
