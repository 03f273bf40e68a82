"""Loops over EVT 3.0 words."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

# Word types, bits 12-15.
ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, CONTINUED_4, TIME_HIGH, TRIGGER, OTHERS, CONTINUED_12 = 0x6, 0x7, 0x8, 0xA, 0xE, 0xF

# Places in the decoder's state.
(S_HIGH, S_LOW, S_LOOPS, S_Y, S_BASE, S_ON, S_CLOCK, S_ROW, S_VECTOR, S_LAST) = range(10)
(S_BEFORE, S_SEGMENT, S_SEGMENT_WORD, S_EARLY, S_EVENTS, S_TRIGGERS, S_LOSSES) = range(10, 17)
STATE_FIELDS = 17
# S_CLOCK, S_ROW and S_VECTOR: nothing heard yet, usable, or spoilt until the next good word; a
# spoilt clock needs a TIME_HIGH (SPOILT) and then a TIME_LOW (HALF).
UNHEARD, USABLE, SPOILT, HALF = 0, 1, 2, 3
NO_SEGMENT = -1

# Why a word is lost.
(UNKNOWN, ROW_OFF, COLUMN_OFF, TIME_BACK, TIME_AHEAD, HIGH_JUMP, CLOCK_RESET, NO_ROW, NO_BASE,
 NO_CLOCK) = range(10)  # fmt: skip

LOOK_AHEAD = 1 << 16  # words that may be looked at to judge a TIME_HIGH
MOST_BITS = 12  # events that one word may hold
_WRAP = 2048  # a TIME_HIGH this much smaller than the one ahead of it has wrapped (OpenEB)
_RESET_NEAR = 64
_ACCEPT, _SPURIOUS, _RESET = 0, 1, 2


@intrinsic
def _lowest_bit(typing_context: Any, value: Any) -> Any:
    """Return the number of the lowest set bit of a uint32 that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.cttz", [word], ir.FunctionType(word, [word, ir.IntType(1)])
        )
        return builder.call(function, [arguments[0], ir.Constant(ir.IntType(1), 1)])

    return types.uint32(types.uint32), generate


@njit(cache=True, nogil=True)
def _judge_high(words: NDArray[np.uint16], at: int, high: int, new: int) -> int:
    """Judge the TIME_HIGH `new` in words[at], more than one step from `high`, by the next one.

    It is spurious where the next one goes on as if it had not been there.
    """
    busy = False
    following = -1
    for i in range(at + 1, min(at + 1 + LOOK_AHEAD, words.size)):
        kind = words[i] >> 12
        if kind == TIME_HIGH:
            following = np.int64(words[i]) & 0xFFF
            break
        busy = busy or kind == ADDR_X or kind == VECT_12 or kind == VECT_8
    wraps = high >= new + _WRAP
    back = new < high and not wraps
    if following < 0:
        return _SPURIOUS if back and high - new > 1 else _ACCEPT
    wraps_next = new >= following + _WRAP
    onward = (following - high) & 0xFFF
    if onward <= 1 and (busy or wraps or wraps_next):
        return _SPURIOUS
    if back and high - new > 1:
        return _RESET if ((following - new) & 0xFFF) <= _RESET_NEAR else _SPURIOUS
    if busy and not wraps_next and onward < ((new - high) & 0xFFF):
        return _SPURIOUS
    return _ACCEPT


@njit(cache=True, nogil=True)
def _lose(
    losses: NDArray[np.int64], count: int, word: int, length: int, why: int, a: int, b: int
) -> int:
    """Add a loss of `length` words, or lengthen the latest one; return the number of losses."""
    if count > 0:
        latest = losses[count - 1]
        if latest[2] == why and latest[0] + latest[1] == word:
            latest[1] += length
            return count
    losses[count, 0] = word
    losses[count, 1] = length
    losses[count, 2] = why
    losses[count, 3] = a
    losses[count, 4] = b
    return count + 1


@njit(cache=True, nogil=True)
def decode(
    words: NDArray[np.uint16],
    start: int,
    stop: int,
    first_word: int,
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
    """Decode words[start:stop] and return the index of the first word that was not decoded.

    Events go behind the state[S_EVENTS] ones that are in the columns already, so do triggers, and
    losses: rows of (word, words, why, two values for the message). Stops early where one of the
    three is full, and in strict mode soon behind the first loss. `first_word` is the number of
    words[0] in the file; words behind `stop` are only looked at.
    """
    high, low, loops = state[S_HIGH], state[S_LOW], state[S_LOOPS]
    row, base, base_on = state[S_Y], state[S_BASE], state[S_ON]
    clock, row_state, vector_state = state[S_CLOCK], state[S_ROW], state[S_VECTOR]
    last, before = state[S_LAST], state[S_BEFORE]
    segment, segment_word = state[S_SEGMENT], state[S_SEGMENT_WORD]
    n, nt, nl = state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES]
    now = (loops << 24) | (high << 12) | low
    ready = clock == USABLE and row_state == USABLE
    i = start
    while i < stop and not (strict and nl > 0):
        # So many words overfill nothing: the loop over them need not look.
        room = min((t.size - n) // MOST_BITS, (losses.shape[0] - nl) // 2, trigger_t.size - nt)
        if room <= 0:
            break
        limit = min(stop, i + room)
        while i < limit:
            word = np.int64(words[np.uint64(i)])
            kind, value = word >> 12, word & 0xFFF
            here = first_word + i
            i += 1
            if kind == ADDR_X and ready and now == last and (word & 0x7FF) < width:
                place = np.uint64(n)  # an index that cannot be negative needs no test
                t[place], x[place], y[place], p[place] = now, word & 0x7FF, row, value > 0x7FF
                n += 1
                continue
            if kind == ADDR_Y:
                row = value & 0x7FF
                row_state = USABLE
                if row >= height:
                    row_state = SPOILT
                    nl = _lose(losses, nl, here, 1, ROW_OFF, word, row)
                ready = clock == USABLE and row_state == USABLE
            elif kind == ADDR_X or kind == VECT_12 or kind == VECT_8:
                if kind == ADDR_X:
                    mask, column, on = np.uint32(1), value & 0x7FF, value >> 11
                else:
                    mask, column, on = np.uint32(value), base, base_on
                    if kind == VECT_12:
                        base += 12
                    else:
                        mask &= np.uint32(0xFF)
                        base += 8
                    if mask == 0:
                        continue
                if not ready or (kind != ADDR_X and vector_state != USABLE):
                    if clock == SPOILT or clock == HALF:
                        nl = _lose(losses, nl, here, 1, NO_CLOCK, word, 0)
                    elif row_state == SPOILT:
                        nl = _lose(losses, nl, here, 1, NO_ROW, word, 0)
                    elif kind != ADDR_X and vector_state == SPOILT:
                        nl = _lose(losses, nl, here, 1, NO_BASE, word, 0)
                    else:
                        state[S_EARLY] += 1
                    continue
                if now < last:
                    if segment == NO_SEGMENT or now < before:
                        nl = _lose(losses, nl, here, 1, TIME_BACK, last, now)
                        continue
                    # All events between the two agree on the time ahead of them: they were ahead.
                    nl = _lose(losses, nl, segment_word, here - segment_word, TIME_AHEAD, last, now)
                    n, last = segment, before
                    segment_word = here
                if now > last:
                    before, last, segment, segment_word = last, now, n, here
                while mask != 0:
                    at = column + np.int64(_lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    if at >= width:
                        nl = _lose(losses, nl, here, 1, COLUMN_OFF, word, at)
                        break
                    place = np.uint64(n)
                    t[place], x[place], y[place], p[place] = now, at, row, on != 0
                    n += 1
            elif kind == TIME_LOW:
                low = value
                now = (loops << 24) | (high << 12) | low
                if clock == HALF:
                    clock = USABLE
                    ready = row_state == USABLE
            elif kind == TIME_HIGH:
                verdict = _ACCEPT
                if clock != UNHEARD and ((value - high) & 0xFFF) > 1:
                    verdict = _judge_high(words, i - 1, high, value)
                if verdict == _SPURIOUS:
                    clock = SPOILT
                    ready = False
                    nl = _lose(losses, nl, here, 1, HIGH_JUMP, high, value)
                    continue
                if verdict == _RESET:
                    nl = _lose(losses, nl, here, 1, CLOCK_RESET, high, value)
                    loops += 1
                elif clock != UNHEARD and high >= value + _WRAP:
                    loops += 1
                if value != high:
                    low = 0
                high = value
                now = (loops << 24) | (high << 12) | low
                if clock == UNHEARD:
                    clock = USABLE
                elif clock == SPOILT:
                    clock = HALF
                ready = clock == USABLE and row_state == USABLE
            elif kind == VECT_BASE_X:
                base, base_on = value & 0x7FF, value >> 11
                vector_state = USABLE
                if base >= width:
                    vector_state = SPOILT
                    nl = _lose(losses, nl, here, 1, COLUMN_OFF, word, base)
            elif kind == TRIGGER:
                if clock == USABLE:
                    trigger_t[nt], trigger_id[nt], trigger_p[nt] = now, value >> 8, value & 1 != 0
                    nt += 1
            elif kind != OTHERS and kind != CONTINUED_4 and kind != CONTINUED_12:
                nl = _lose(losses, nl, here, 1, UNKNOWN, word, kind)
    state[S_HIGH], state[S_LOW], state[S_LOOPS] = high, low, loops
    state[S_Y], state[S_BASE], state[S_ON] = row, base, base_on
    state[S_CLOCK], state[S_ROW], state[S_VECTOR] = clock, row_state, vector_state
    state[S_LAST], state[S_BEFORE] = last, before
    state[S_SEGMENT], state[S_SEGMENT_WORD] = segment, segment_word
    state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES] = n, nt, nl
    return i


@njit(cache=True, nogil=True)
def guess_state(words: NDArray[np.uint16], stop: int, state: NDArray[np.int64]) -> None:
    """Turn the `state` ahead of words[0] into the likely one ahead of words[stop].

    Looks back from `stop` for the latest word of each kind; right for sound words with at most one
    wrap of time. The caller compares it with the state that decoding ends in.
    """
    high, low, lowered = np.int64(-1), np.int64(-1), False
    for i in range(stop - 1, -1, -1):
        kind, value = words[i] >> 12, np.int64(words[i]) & 0xFFF
        if kind == TIME_LOW and low < 0:
            low = value
        elif kind == TIME_HIGH:
            if high >= 0 and value != high:
                lowered = True
                break
            high = value
        if low >= 0 and high >= 0:
            break
    if high < 0:
        high = state[S_HIGH]
    if low < 0:
        low = np.int64(0) if lowered or high != state[S_HIGH] else state[S_LOW]
    if state[S_HIGH] >= high + _WRAP:
        state[S_LOOPS] += 1
    state[S_HIGH], state[S_LOW] = high, low
    for i in range(stop - 1, -1, -1):
        if words[i] >> 12 == ADDR_Y:
            state[S_Y], state[S_ROW] = np.int64(words[i]) & 0x7FF, USABLE
            break
    moved = 0
    for i in range(stop - 1, -1, -1):
        kind = words[i] >> 12
        if kind == VECT_12:
            moved += 12
        elif kind == VECT_8:
            moved += 8
        elif kind == VECT_BASE_X:
            state[S_BASE], state[S_ON] = np.int64(words[i]) & 0x7FF, (words[i] >> 11) & 1
            state[S_VECTOR] = USABLE
            break
    state[S_BASE] += moved


# Places in the encoder's state. E_HIGH counts on through wraps; -1 is nothing written yet.
E_HIGH, E_LOW, E_ROW, E_BASE, E_ON = range(5)
ENCODER_FIELDS = 5

# Across gaps TIME_HIGH rises by 1, as cameras do and some readers need in order to count wraps;
# in front of the last LONG_GAP steps by LONG_STEP, which is below half a wrap.
LONG_GAP, LONG_STEP = 1 << 20, 1024
MOST_WORDS = 8  # that one event may take, beside the steps of TIME_HIGH
_SPAN = 32  # columns of a vector group: 12 + 12 + 8


@njit(cache=True, nogil=True)
def _vector_run(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    first: int,
    base: int,
) -> int:
    """Count the events from `first` on that one vector group at `base` can hold, in their order."""
    if x[first] < base or x[first] >= base + _SPAN:
        return 0
    i = first + 1
    while (
        i < t.size
        and x[i] > x[i - 1]
        and x[i] < base + _SPAN
        and t[i] == t[first]
        and y[i] == y[first]
        and p[i] == p[first]
    ):
        i += 1
    return i - first


@njit(cache=True, nogil=True)
def encode(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    start: int,
    trigger_t: NDArray[np.int64],
    trigger_id: NDArray[np.int16],
    trigger_p: NDArray[np.bool_],
    trigger_start: int,
    all_triggers: bool,
    width: int,
    state: NDArray[np.int64],
    words: NDArray[np.uint16],
) -> tuple[int, int, int]:
    """Encode events from `start` and triggers from `trigger_start` on, merged by time.

    Triggers behind the last event wait, unless `all_triggers`. Returns the next event, the next
    trigger and the number of words; stops early where `words` is full. Times are not negative.
    """
    high, low, row = state[E_HIGH], state[E_LOW], state[E_ROW]
    base, base_on = state[E_BASE], state[E_ON]
    leftmost = max(0, width - _SPAN)  # so that a group does not run off the sensor
    room = words.size - MOST_WORDS
    i, j, n = start, trigger_start, 0
    while n <= room:
        trigger = False
        if j < trigger_t.size and (trigger_t[j] <= t[i] if i < t.size else all_triggers):
            trigger = True
            now = trigger_t[j]
        elif i < t.size:
            now = t[i]
        else:
            break
        new_high = now >> 12
        if high < 0:
            high = 0 if new_high > 0xFFF else new_high  # wraps are counted from the first one
            words[n] = TIME_HIGH << 12 | high
            n += 1
            low = base = -1
        while high < new_high and n <= room:
            high += LONG_STEP if new_high - high > LONG_GAP else 1
            words[n] = TIME_HIGH << 12 | (high & 0xFFF)
            n += 1
            low = base = -1  # some readers keep the low part, some clear it: it is written anew
        if high < new_high:
            break
        if n > room:
            break
        if now & 0xFFF != low:
            low = now & 0xFFF
            words[n] = TIME_LOW << 12 | low
            n += 1
            base = -1  # some readers lose the vector base: groups go on only from a group
        if trigger:
            words[n] = TRIGGER << 12 | np.int64(trigger_id[j]) << 8 | np.int64(trigger_p[j])
            n += 1
            j += 1
            base = -1
            continue
        if y[i] != row:
            row = np.int64(y[i])
            words[n] = ADDR_Y << 12 | row
            n += 1
            base = -1
        on = np.int64(p[i])
        fresh_base = np.int64(x[i]) if x[i] < leftmost else np.int64(leftmost)
        fresh = _vector_run(t, x, y, p, i, fresh_base)
        going = _vector_run(t, x, y, p, i, base) if base >= 0 and on == base_on else 0
        if max(fresh - 4, going - 3) <= 0:
            words[n] = ADDR_X << 12 | on << 11 | np.int64(x[i])
            n += 1
            i += 1
            base = -1
            continue
        count = going
        if fresh - 4 > going - 3:
            count = fresh
            base, base_on = fresh_base, on
            words[n] = VECT_BASE_X << 12 | on << 11 | base
            n += 1
        mask = np.int64(0)
        for event in range(i, i + count):
            mask |= np.int64(1) << (np.int64(x[event]) - base)
        words[n] = VECT_12 << 12 | (mask & 0xFFF)
        words[n + 1] = VECT_12 << 12 | (mask >> 12 & 0xFFF)
        words[n + 2] = VECT_8 << 12 | mask >> 24
        n += 3
        base += _SPAN  # readers move on with each vector word
        i += count
    state[E_HIGH], state[E_LOW], state[E_ROW] = high, low, row
    state[E_BASE], state[E_ON] = base, base_on
    return i, j, n
