# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loop over EVT 3.0 words that judges each, a word of time by those behind it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.layout import Words
from dvskit.formats.evt3.survey_kernels import impossible
from dvskit.formats.order_kernels import lose, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns

_ONE, _NOTHING = np.int64(1), np.int64(0)
_LOOK_AHEAD = 1 << 16  # words that may be looked at to judge a TIME_HIGH
_NEAR = 64  # steps of TIME_HIGH
_SHORT_WAY = 256  # steps back that a clock which begins anew would hardly take
_VOTERS = 8
_NEIGHBOURS = 16  # words around an impossible one that are not trusted with a jump of time


@njit(cache=True, nogil=True)
def _catches_up(words: NDArray[np.uint16], at: int, high: int) -> bool:
    """Whether a TIME_HIGH behind words[at] reaches `high` again, within what may be looked at."""
    for i in range(at + 1, min(at + 1 + _LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH and ((np.int64(words[i]) - high) & 0xFFF) < _NEAR:
            return True
    return False


@njit(cache=True, nogil=True)
def _next_low(words: NDArray[np.uint16], at: int) -> int:
    """Return the TIME_LOW behind words[at] and ahead of the next TIME_HIGH, -1 if there is none."""
    for i in range(at + 1, min(at + 1 + _LOOK_AHEAD, words.size)):
        kind = words[i] >> 12
        if kind == w.TIME_LOW:
            return int(np.int64(words[i]) & 0xFFF)
        if kind == w.TIME_HIGH:
            break
    return -1


@njit(cache=True, nogil=True)
def _vote(words: NDArray[np.uint16], at: int, blind: bool, high: int, new: int) -> int:
    """Judge by several TIME_HIGH behind words[at] whether time goes on from `high` or `new`."""
    voters, for_high, for_new, first = 0, 0, 0, -1
    for i in range(at + 1, min(at + 1 + _LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH:
            value = np.int64(words[i]) & 0xFFF
            voters += 1
            for_new += ((value - new) & 0xFFF) < _VOTERS
            if ((value - high) & 0xFFF) < _VOTERS:
                for_high += 1
                first = value if first < 0 else first
            if voters == _VOTERS:
                break
    if blind and voters < _VOTERS:
        return w.WAIT
    if for_high > for_new and 2 * for_high > voters:
        return w.IGNORED if first == high else w.SPURIOUS
    return w.ACCEPT


@njit(cache=True, nogil=True)
def judge_high(chunk: Words, at: int, high: int, low: int, new: int, bad_word: int) -> int:
    """Judge the TIME_HIGH `new` in words[at], more than one step from `high`, by what follows.

    It is spurious where the next ones go on as if it had not been there, and near impossible
    words, of which the latest ahead is number `bad_word`. A high part that goes back is that of
    words which stand out of order if it comes to `high` again, else of a clock that began anew.
    """
    words, ended = chunk.words, chunk.ended
    behind_bad = chunk.number + at - bad_word <= _NEIGHBOURS
    following = -1
    for i in range(at + 1, min(at + 1 + _LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH:
            following = np.int64(words[i]) & 0xFFF
            break
    step, wraps = (new - high) & 0xFFF, high >= new + w.WRAP
    back = new < high - 1 and not wraps
    blind = not ended and at + _LOOK_AHEAD >= words.size  # some that may be looked at are missing
    if blind and (following < 0 or back or at + _NEIGHBOURS >= words.size):
        return w.WAIT
    for i in range(at + 1, min(at + 1 + _NEIGHBOURS, words.size)):
        behind_bad = behind_bad or impossible(np.int64(words[i]), chunk.width, chunk.height)
    if behind_bad:
        return w.IGNORED
    if following < 0:
        return w.SPURIOUS if back else w.ACCEPT
    onward = (following - high) & 0xFFF
    if onward == 0:
        return w.IGNORED
    if onward == 1:  # where the low part falls, this was the word of the next high part
        return w.IGNORED if _next_low(words, at) >= low else w.SPURIOUS
    stride = (following - new) & 0xFFF
    if stride > 1 and stride != step:  # some encoders cross gaps in equal strides
        verdict = _vote(words, at, blind, high, new)
        if verdict != w.ACCEPT:
            return verdict
    if back:
        if ((following - new) & 0xFFF) > _NEAR:
            return w.SPURIOUS
        if _catches_up(words, at, high) or (ended and high - new <= _SHORT_WAY):
            return w.BACK
        return w.RESET
    if new < following + w.WRAP and onward < step:
        return w.SPURIOUS
    return w.ACCEPT


@njit(cache=True, nogil=True)
def decode(
    chunk: Words,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
    losses: NDArray[np.int64],
    places: NDArray[np.int64],
) -> int:
    """Decode words[start:stop] and return the index of the first word that was not decoded.

    Events go behind the state[S_EVENTS] ones that are in the columns already, so do triggers, and
    losses: rows of (word, words, why, two values for the message). `places`, a column too, tells
    the number of each event's word; events whose time runs back are put as they are. The columns
    have room for all; stops early where there is no room for losses, and ahead of a TIME_HIGH that
    cannot be judged yet. Words behind `stop` are only looked at.
    """
    words, first_word, width, height = chunk.words, chunk.number, chunk.width, chunk.height
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    high, low, loops = state[w.S_HIGH], state[w.S_LOW], state[w.S_LOOPS]
    row, base, base_on = state[w.S_Y], state[w.S_BASE], state[w.S_ON]
    clock, row_state, vector_state = state[w.S_CLOCK], state[w.S_ROW], state[w.S_VECTOR]
    last, n, nt, nl = state[w.S_LAST], state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES]
    now = (loops << 24) | (high << 12) | low
    ready = clock == w.USABLE and row_state == w.USABLE
    bad_word = state[w.S_BAD]
    i = start
    waiting = False
    while i < stop and not waiting:
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
                last = now
                while mask != 0:
                    at = column + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                    mask &= mask - np.uint32(1)
                    if at >= width:
                        bad_word = here
                        nl = lose(losses, nl, here, _ONE, w.COLUMN_OFF, word, at)
                        break
                    place = np.uint64(n)
                    t[place], x[place], y[place], p[place] = now, at, row, on != 0
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
                    verdict = judge_high(chunk, i - 1, high, low, value, bad_word)
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
    state[w.S_LAST], state[w.S_BAD] = last, bad_word
    state[w.S_EVENTS], state[w.S_TRIGGERS], state[w.S_LOSSES] = n, nt, nl
    return i
