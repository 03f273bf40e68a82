# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loop over EVT 3.0 words that judges each, and skips what cannot be."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.clock_kernels import NEIGHBOURS, judge_high
from dvskit.formats.order_kernels import lose, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns

_ONE, _NOTHING = np.int64(1), np.int64(0)


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
    columns: EventColumns,
    triggers: TriggerColumns,
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
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    high, low, loops = state[w.S_HIGH], state[w.S_LOW], state[w.S_LOOPS]
    row, base, base_on = state[w.S_Y], state[w.S_BASE], state[w.S_ON]
    clock, row_state, vector_state = state[w.S_CLOCK], state[w.S_ROW], state[w.S_VECTOR]
    last, before = state[w.S_LAST], state[w.S_BEFORE]
    segment, segment_word = state[w.S_SEGMENT], state[w.S_SEGMENT_WORD]
    n, nt, nl = state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES]
    now = (loops << 24) | (high << 12) | low
    ready = clock == w.USABLE and row_state == w.USABLE
    bad_word = state[w.S_BAD]
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
            if kind == w.ADDR_X and ready and now == last and (word & 0x7FF) < width:
                place = np.uint64(n)  # an index that cannot be negative needs no test
                t[place], x[place], y[place], p[place] = now, word & 0x7FF, row, value > 0x7FF
                if not strict:
                    places[place] = here
                n += 1
                continue
            if kind == w.ADDR_Y:
                row = value & 0x7FF
                row_state = w.USABLE
                if row >= height:
                    row_state = w.SPOILT
                    bad_word = here
                    nl = lose(losses, nl, here, _ONE, w.ROW_OFF, word, row)
                ready = clock == w.USABLE and row_state == w.USABLE
            elif kind == w.ADDR_X or kind == w.VECT_12 or kind == w.VECT_8:
                if kind == w.ADDR_X:
                    mask, column, on = np.uint32(1), value & 0x7FF, value >> 11
                else:
                    mask, column, on = np.uint32(value), base, base_on
                    if kind == w.VECT_12:
                        base += 12
                    else:
                        mask &= np.uint32(0xFF)
                        base += 8
                    if mask == 0:
                        continue
                if not ready or (kind != w.ADDR_X and vector_state != w.USABLE):
                    if clock == w.SPOILT or clock == w.HALF:
                        nl = lose(losses, nl, here, _ONE, w.NO_CLOCK, word, _NOTHING)
                    elif kind == w.ADDR_X and column >= width:
                        bad_word = here
                        nl = lose(losses, nl, here, _ONE, w.COLUMN_OFF, word, column)
                    elif row_state == w.SPOILT:
                        nl = lose(losses, nl, here, _ONE, w.NO_ROW, word, _NOTHING)
                    elif kind != w.ADDR_X and vector_state == w.SPOILT:
                        nl = lose(losses, nl, here, _ONE, w.NO_BASE, word, _NOTHING)
                    else:
                        state[w.S_EARLY] += 1
                    continue
                if strict and now < last:
                    if segment == w.NO_SEGMENT or now < before:
                        nl = lose(losses, nl, here, _ONE, w.TIME_BACK, last, now)
                        continue
                    # All events between the two agree on the time ahead of them: they were ahead.
                    nl = lose(
                        losses, nl, segment_word, here - segment_word, w.TIME_AHEAD, last, now
                    )
                    n, last = segment, before
                    segment_word = here
                if now != last:
                    before, last, segment, segment_word = last, now, n, here
                while mask != 0:
                    at = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    if at >= width:
                        bad_word = here
                        nl = lose(losses, nl, here, _ONE, w.COLUMN_OFF, word, at)
                        break
                    place = np.uint64(n)
                    t[place], x[place], y[place], p[place] = now, at, row, on != 0
                    if not strict:
                        places[place] = here
                    n += 1
            elif kind == w.TIME_LOW:
                low = value
                now = (loops << 24) | (high << 12) | low
                if clock == w.HALF:
                    clock = w.USABLE
                    ready = row_state == w.USABLE
            elif kind == w.TIME_HIGH:
                verdict = w.ACCEPT
                if clock != w.UNHEARD and ((value - high) & 0xFFF) > 1:
                    verdict = judge_high(
                        words, i - 1, ended, width, height, high, low, value,
                        here - bad_word <= NEIGHBOURS,
                    )  # fmt: skip
                if verdict == w.WAIT:
                    i -= 1
                    waiting = True
                    break
                if verdict == w.SPURIOUS or verdict == w.IGNORED:
                    if verdict == w.SPURIOUS:
                        clock = w.SPOILT
                        ready = False
                    nl = lose(losses, nl, here, _ONE, w.HIGH_JUMP, high, value)
                    continue
                if verdict == w.RESET:
                    nl = lose(losses, nl, here, _ONE, w.CLOCK_RESET, high, value)
                    loops += 1
                elif verdict == w.BACK:
                    nl = lose(losses, nl, here, _ONE, w.HIGH_BACK, high, value)
                elif clock != w.UNHEARD and high >= value + w.WRAP:
                    loops += 1
                if value != high:
                    low = 0
                high = value
                now = (loops << 24) | (high << 12) | low
                if clock == w.UNHEARD:
                    clock = w.USABLE
                elif clock == w.SPOILT:
                    clock = w.HALF
                ready = clock == w.USABLE and row_state == w.USABLE
            elif kind == w.VECT_BASE_X:
                base, base_on = value & 0x7FF, value >> 11
                vector_state = w.USABLE
                if base >= width:
                    vector_state = w.SPOILT
                    bad_word = here
                    nl = lose(losses, nl, here, _ONE, w.COLUMN_OFF, word, base)
            elif kind == w.TRIGGER:
                if clock == w.USABLE:
                    trigger_t[nt], trigger_id[nt], trigger_p[nt] = now, value >> 8, value & 1 != 0
                    nt += 1
            elif kind != w.OTHERS and kind != w.CONTINUED_4 and kind != w.CONTINUED_12:
                bad_word = here
                nl = lose(losses, nl, here, _ONE, w.UNKNOWN, word, kind)
    state[w.S_HIGH], state[w.S_LOW], state[w.S_LOOPS] = high, low, loops
    state[w.S_Y], state[w.S_BASE], state[w.S_ON] = row, base, base_on
    state[w.S_CLOCK], state[w.S_ROW], state[w.S_VECTOR] = clock, row_state, vector_state
    state[w.S_LAST], state[w.S_BEFORE] = last, before
    state[w.S_SEGMENT], state[w.S_SEGMENT_WORD] = segment, segment_word
    state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES] = n, nt, nl
    state[w.S_BAD] = bad_word
    return i
