# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loop over EVT 3.0 words that judges each, and skips what cannot be."""

from __future__ import annotations

from typing import cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3.clock_kernels import (
    ACCEPT,
    BACK,
    IGNORED,
    NEIGHBOURS,
    RESET,
    SPURIOUS,
    WAIT,
    judge_high,
)
from dvskit.formats.evt3.state import (
    HALF,
    NO_SEGMENT,
    S_BAD,
    S_BASE,
    S_BEFORE,
    S_CLOCK,
    S_EARLY,
    S_EVENTS,
    S_HIGH,
    S_LAST,
    S_LOOPS,
    S_LOSSES,
    S_LOW,
    S_ON,
    S_ROW,
    S_SEGMENT,
    S_SEGMENT_WORD,
    S_TRIGGERS,
    S_VECTOR,
    S_Y,
    SPOILT,
    UNHEARD,
    USABLE,
)
from dvskit.formats.evt3.words import (
    ADDR_X,
    ADDR_Y,
    CONTINUED_4,
    CONTINUED_12,
    OTHERS,
    TIME_HIGH,
    TIME_LOW,
    TRIGGER,
    VECT_8,
    VECT_12,
    VECT_BASE_X,
    WRAP,
)
from dvskit.formats.order_kernels import lowest_bit

# Why a word is lost. Numbers of NumPy: what takes a plain one is compiled anew for each.
_WHY = cast("list[int]", [np.int64(why) for why in range(12)])
(UNKNOWN, ROW_OFF, COLUMN_OFF, TIME_BACK, TIME_AHEAD, HIGH_JUMP, CLOCK_RESET, NO_ROW, NO_BASE,
 NO_CLOCK, HIGH_BACK, OUT_OF_ORDER) = _WHY  # fmt: skip
_ONE, _NOTHING = np.int64(1), np.int64(0)


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
    ended: bool,
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
    places: NDArray[np.int64],
) -> int:
    """Decode words[start:stop] and return the index of the first word that was not decoded.

    Events go behind the state[S_EVENTS] ones that are in the columns already, so do triggers, and
    losses: rows of (word, words, why, two values for the message). The columns have room for all;
    stops early where there is no room for losses, in strict mode soon behind the first loss, and
    ahead of a TIME_HIGH that cannot be judged yet. `first_word` is the number of words[0] in the
    file; words behind `stop` are only looked at, and `ended` says that none follow them. In strict
    mode events whose time runs back are a loss; else they go into the columns as they are, and
    `places`, a column too, tells the number of each event's word.
    """
    high, low, loops = state[S_HIGH], state[S_LOW], state[S_LOOPS]
    row, base, base_on = state[S_Y], state[S_BASE], state[S_ON]
    clock, row_state, vector_state = state[S_CLOCK], state[S_ROW], state[S_VECTOR]
    last, before = state[S_LAST], state[S_BEFORE]
    segment, segment_word = state[S_SEGMENT], state[S_SEGMENT_WORD]
    n, nt, nl = state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES]
    now = (loops << 24) | (high << 12) | low
    ready = clock == USABLE and row_state == USABLE
    bad_word = state[S_BAD]
    i = start
    waiting = False
    while i < stop and not waiting and not (strict and nl > 0):
        # So many words overfill nothing: the loop over them need not look.
        room = (losses.shape[0] - nl) // 2
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
                if not strict:
                    places[place] = here
                n += 1
                continue
            if kind == ADDR_Y:
                row = value & 0x7FF
                row_state = USABLE
                if row >= height:
                    row_state = SPOILT
                    bad_word = here
                    nl = _lose(losses, nl, here, _ONE, ROW_OFF, word, row)
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
                        nl = _lose(losses, nl, here, _ONE, NO_CLOCK, word, _NOTHING)
                    elif kind == ADDR_X and column >= width:
                        bad_word = here
                        nl = _lose(losses, nl, here, _ONE, COLUMN_OFF, word, column)
                    elif row_state == SPOILT:
                        nl = _lose(losses, nl, here, _ONE, NO_ROW, word, _NOTHING)
                    elif kind != ADDR_X and vector_state == SPOILT:
                        nl = _lose(losses, nl, here, _ONE, NO_BASE, word, _NOTHING)
                    else:
                        state[S_EARLY] += 1
                    continue
                if strict and now < last:
                    if segment == NO_SEGMENT or now < before:
                        nl = _lose(losses, nl, here, _ONE, TIME_BACK, last, now)
                        continue
                    # All events between the two agree on the time ahead of them: they were ahead.
                    nl = _lose(losses, nl, segment_word, here - segment_word, TIME_AHEAD, last, now)
                    n, last = segment, before
                    segment_word = here
                if now != last:
                    before, last, segment, segment_word = last, now, n, here
                while mask != 0:
                    at = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    if at >= width:
                        bad_word = here
                        nl = _lose(losses, nl, here, _ONE, COLUMN_OFF, word, at)
                        break
                    place = np.uint64(n)
                    t[place], x[place], y[place], p[place] = now, at, row, on != 0
                    if not strict:
                        places[place] = here
                    n += 1
            elif kind == TIME_LOW:
                low = value
                now = (loops << 24) | (high << 12) | low
                if clock == HALF:
                    clock = USABLE
                    ready = row_state == USABLE
            elif kind == TIME_HIGH:
                verdict = ACCEPT
                if clock != UNHEARD and ((value - high) & 0xFFF) > 1:
                    verdict = judge_high(
                        words, i - 1, ended, width, height, high, low, value,
                        here - bad_word <= NEIGHBOURS,
                    )  # fmt: skip
                if verdict == WAIT:
                    i -= 1
                    waiting = True
                    break
                if verdict == SPURIOUS or verdict == IGNORED:
                    if verdict == SPURIOUS:
                        clock = SPOILT
                        ready = False
                    nl = _lose(losses, nl, here, _ONE, HIGH_JUMP, high, value)
                    continue
                if verdict == RESET:
                    nl = _lose(losses, nl, here, _ONE, CLOCK_RESET, high, value)
                    loops += 1
                elif verdict == BACK:
                    nl = _lose(losses, nl, here, _ONE, HIGH_BACK, high, value)
                elif clock != UNHEARD and high >= value + WRAP:
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
                    bad_word = here
                    nl = _lose(losses, nl, here, _ONE, COLUMN_OFF, word, base)
            elif kind == TRIGGER:
                if clock == USABLE:
                    trigger_t[nt], trigger_id[nt], trigger_p[nt] = now, value >> 8, value & 1 != 0
                    nt += 1
            elif kind != OTHERS and kind != CONTINUED_4 and kind != CONTINUED_12:
                bad_word = here
                nl = _lose(losses, nl, here, _ONE, UNKNOWN, word, kind)
    state[S_HIGH], state[S_LOW], state[S_LOOPS] = high, low, loops
    state[S_Y], state[S_BASE], state[S_ON] = row, base, base_on
    state[S_CLOCK], state[S_ROW], state[S_VECTOR] = clock, row_state, vector_state
    state[S_LAST], state[S_BEFORE] = last, before
    state[S_SEGMENT], state[S_SEGMENT_WORD] = segment, segment_word
    state[S_EVENTS], state[S_TRIGGERS], state[S_LOSSES] = n, nt, nl
    state[S_BAD] = bad_word
    return i
