# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 2.0, EVT 2.1 and EVT 4.0 words, as 32-bit units.

All three share a head word: type 28-31, low part of time 22-27, x 11-21, y 0-10. A `layout` says
what each type means, and where a head and its mask of 32 pixels stand.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import lowest_bit
from dvskit.formats.words.clock_kernels import (
    ACCEPT,
    CLOCK_RESET,
    DOUBT,
    FOLLOWING,
    HALF_VECTOR,
    HIGH_JUMP,
    LOOK_AHEAD,
    NO_CLOCK,
    NO_DOUBT,
    NO_TYPE,
    OFF_SENSOR,
    RESET,
    S_CLOCK,
    S_EARLY,
    S_EVENTS,
    S_HIGH,
    S_LAST,
    S_LOOPS,
    S_LOSSES,
    S_TRIGGERS,
    SPOILT,
    SPURIOUS,
    TIME_AHEAD,
    TIME_BACK,
    TOO_FEW,
    USABLE,
    judge,
    lose,
)

# What a type can mean; the lowest bit of the first four is the polarity.
ONE_OFF, ONE_ON, MANY_OFF, MANY_ON, HIGH, TRIGGER, OTHER, SKIPPED, UNKNOWN = range(9)
# Places in a layout, behind the meanings of the 16 types.
L_STRIDE, L_HEAD, LAYOUT_FIELDS = 16, 17, 18

HIGH_BITS = 28
# A step of the clock of less than this is not judged where all around it are such steps.
HIGH_STEP = 1 << 24  # of 64 us: 18 minutes
HIGH_FAR, HIGH_NEAR = 1 << 14, 1 << 25  # of 64 us: 1 s, 36 minutes


@njit(cache=True, nogil=True)
def count_bits(value: int) -> int:
    """Return how many bits of a uint32 are set."""
    v = np.uint32(value)
    v = v - ((v >> np.uint32(1)) & np.uint32(0x55555555))
    v = (v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333))
    v = (v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return np.int64(np.uint32(v * np.uint32(0x01010101)) >> np.uint32(24))


@njit(cache=True, nogil=True)
def safe_start(words: NDArray[np.uint32], layout: NDArray[np.int64], number: int) -> int:
    """Return the first place behind words[0] that is certainly a head, len(words) for none.

    words[0] is the unit `number` of a chunk.
    """
    if layout[L_STRIDE] == 2:
        return 1 + (number + 1) % 2
    i = 1
    while i < words.size:
        before = layout[words[i - 1] >> np.uint32(28)]
        if before != MANY_OFF and before != MANY_ON:
            break
        i += 1
    return i


@njit(cache=True, nogil=True)
def following_highs(
    words: NDArray[np.uint32], at: int, layout: NDArray[np.int64], found: NDArray[np.int64]
) -> int:
    """Put the next TIME_HIGH values from `at` on into `found`; return how many there are."""
    stride, head = layout[L_STRIDE], layout[L_HEAD]
    count = 0
    i = at
    end = min(at + LOOK_AHEAD - 2, words.size - stride + 1)
    while i < end and count < found.size:
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        i += stride
        if meaning == HIGH:
            found[count] = word & 0xFFFFFFF
            count += 1
        elif stride == 1 and (meaning == MANY_OFF or meaning == MANY_ON):
            i += 1
    return count


@njit(cache=True, nogil=True)
def next_low(words: NDArray[np.uint32], at: int, layout: NDArray[np.int64]) -> int:
    """Return the low part of time of the next event word ahead of a TIME_HIGH, -1 for none."""
    stride, head = layout[L_STRIDE], layout[L_HEAD]
    i = at
    end = min(at + LOOK_AHEAD - 2, words.size - stride + 1)
    while i < end:
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        i += stride
        if meaning == HIGH:
            return -1
        if meaning == MANY_OFF or meaning == MANY_ON:
            at = i - 1 - head if stride == 2 else i
            if stride == 1:
                i += 1
            if at >= words.size or words[at] == 0:
                continue
        if meaning <= MANY_ON:
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
            return DOUBT
        high = following[i]
    low = next_low(words, at, layout)
    if 0 <= low < last & 0x3F:
        return DOUBT
    # Where a low part was not found, a TIME_HIGH stands ahead of it.
    return NO_DOUBT if count == FOLLOWING else TOO_FEW


@njit(cache=True, nogil=True)
def decode_careful(
    words: NDArray[np.uint32],
    start: int,
    stop: int,
    first_unit: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    strict: bool,
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    trigger_t: NDArray[np.int64],
    trigger_id: NDArray[np.int16],
    trigger_p: NDArray[np.bool_],
    losses: NDArray[np.int64],
) -> int:
    """Decode words[start:stop], judging each; return the first unit that was not decoded.

    Events go behind the state[S_EVENTS] ones in the columns, which have room for all; so do
    triggers. Losses are rows of (unit, units, why, two values for the message). Stops early where
    they are full, and in strict mode behind the first. Words behind `stop` are only looked at,
    but for a mask. `first_unit` is the number of words[0] in the file.
    """
    stride, head = layout[L_STRIDE], layout[L_HEAD]
    high, loops, clock, last = state[S_HIGH], state[S_LOOPS], state[S_CLOCK], state[S_LAST]
    n, nt, nl = state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES]
    following = np.empty(FOLLOWING, np.int64)
    base = ((loops << HIGH_BITS) | high) << 6
    i = start
    while i < stop:
        if nl > losses.shape[0] - 3 or (strict and nl > 0):
            break
        word = np.int64(words[i + head])
        meaning = layout[word >> 28]
        here, length = first_unit + i, stride
        i += stride
        mask = np.uint32(1)
        if meaning == MANY_OFF or meaning == MANY_ON:
            if stride == 1:
                if i >= words.size:
                    nl = lose(losses, nl, here, 1, HALF_VECTOR, word, 0)
                    break
                mask = words[i]
                i += 1
                length = 2
            else:
                mask = words[i - 1 - head]
            if mask == 0:
                continue
        if meaning <= MANY_ON:
            if clock == SPOILT:
                nl = lose(losses, nl, here, length, NO_CLOCK, word, 0)
                continue
            if high < 0:
                state[S_EARLY] += count_bits(mask)
                continue
            column, row = word >> 11 & 0x7FF, word & 0x7FF
            low = word >> 22 & 0x3F
            now = base | low
            if row >= height or column >= width:
                nl = lose(losses, nl, here, length, OFF_SENSOR, column, row)
                continue
            if now < last:
                nl = lose(losses, nl, here, length, TIME_BACK, last, now)
                continue
            if now > last:
                after = next_low(words, i, layout)
                if after >= 0 and after < low and (base | after) >= last:
                    nl = lose(losses, nl, here, length, TIME_AHEAD, now, base | after)
                    continue
            while mask != 0:
                at = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                mask &= mask - np.uint32(1)
                if at >= width:
                    nl = lose(losses, nl, here, length, OFF_SENSOR, at, row)
                    break
                t[n], x[n], y[n], p[n] = now, at, row, meaning & 1 != 0
                last = now
                n += 1
        elif meaning == HIGH:
            new = word & 0xFFFFFFF
            verdict = ACCEPT
            if high < 0 or ((new - high) & 0xFFFFFFF) > 1:
                count = following_highs(words, i, layout, following)
                verdict = judge(
                    high, new, following, count, HIGH_BITS, HIGH_STEP, HIGH_FAR, HIGH_NEAR
                )
            if verdict == SPURIOUS:
                clock = SPOILT
                nl = lose(losses, nl, here, stride, HIGH_JUMP, high, new)
                continue
            if verdict == RESET:
                nl = lose(losses, nl, here, stride, CLOCK_RESET, high, new)
            loops += new < high
            high = new
            base = ((loops << HIGH_BITS) | high) << 6
            clock = USABLE
        elif meaning == TRIGGER:
            if clock == SPOILT:
                nl = lose(losses, nl, here, stride, NO_CLOCK, word, 0)
            elif high >= 0:
                trigger_t[nt] = base | (word >> 22 & 0x3F)
                trigger_id[nt], trigger_p[nt] = word >> 8 & 0x1F, word & 1 != 0
                nt += 1
        elif meaning == UNKNOWN:
            nl = lose(losses, nl, here, stride, NO_TYPE, word, word >> 28)
    state[S_HIGH], state[S_LOOPS], state[S_CLOCK], state[S_LAST] = high, loops, clock, last
    state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES] = n, nt, nl
    return i
