# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events: a 32-bit time, then x, y and polarity in another 32 bits.

The functions are those of `dvskit.formats.words.evt_kernels` and `evt_clean_kernels`, with the
whole time in place of the TIME_HIGH words: each event sets the clock.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w
from dvskit.formats.words import row_kernels as k
from dvskit.formats.words.layout import Words
from dvskit.formats.words.line_kernels import fields
from dvskit.formats.words.row_kernels import FEW, FOLLOWING

BITS = 32
HALF = 1 << 31
_TIME = 0xFFFFFFFF
_LOOK_EVENTS = 256  # that may be looked at to judge a time
_FAR, _NEAR = 1 << 20, 1 << 32  # us: 1 s, any
_CATCH_UP = 1 << 15  # units in which a clock that has only stepped back comes up again


@njit(cache=True, nogil=True)
def safe_start(units: NDArray[np.uint32], table: NDArray[np.int64], number: int) -> int:
    """Return the first place behind units[0], unit `number` of a chunk, that begins an event."""
    return 1 + (number + 1) % 2


@njit(cache=True, nogil=True)
def decode_clean(
    words: Words,
    start: int,
    stop: int,
    high: int,
    loops: int,
    columns: EventColumns,
    triggers: TriggerColumns,
    summary: NDArray[np.int64],
) -> None:
    """Decode units start..stop; put in `summary` whether all events are possible, without a wrap.

    One event is one 64-bit word here, without a branch: vector instructions do it.
    """
    t, x, y, p = columns
    layout = words.table
    x_bits, y_bits, p_bits = layout[w.W_X_BITS], layout[w.W_Y_BITS], layout[w.W_P_BITS]
    one = np.uint64(1)
    time_mask = np.uint64(_TIME)
    x_mask = (one << np.uint64(x_bits)) - one
    y_mask = (one << np.uint64(y_bits)) - one
    p_mask = (one << np.uint64(p_bits)) - one
    x_at, y_at = np.uint64(32 + layout[w.W_X_AT]), np.uint64(32 + layout[w.W_Y_AT])
    p_at = np.uint64(32 + layout[w.W_P_AT])
    zeros = np.uint64(layout[w.W_ZEROS])
    base = loops << BITS
    right, bottom = words.width - 1, words.height - 1
    events = words.units[start:stop].view(np.uint64)
    bad = np.int64(0)  # negative from the first impossible event on
    for i in range(events.size):
        event = events[i]
        now = np.int64(event & time_mask)
        column = np.int64(event >> x_at & x_mask)
        row = np.int64(event >> y_at & y_mask)
        on = np.int64(event >> p_at & p_mask)
        step = now - np.int64(events[max(i - 1, 0)] & time_mask)
        bad |= step | (HALF - 1 - step) | (right - column) | (bottom - row) | (1 - on)
        bad |= -np.int64(event >> np.uint64(32) & zeros)
        t[i], x[i], y[i], p[i] = base | now, column, row, on != 0
    summary[w.C_CLEAN], summary[w.C_ANY], summary[w.C_LOOPS] = bad >= 0, events.size > 0, loops
    if events.size > 0:
        summary[w.C_FIRST_T], summary[w.C_LAST_T] = t[0], t[events.size - 1]
        summary[w.C_HIGH] = t[events.size - 1] & _TIME


@njit(cache=True, nogil=True)
def goes_on(words: Words, at: int, high: int, last: int) -> int:
    """Tell whether the events from `at` on give reason to doubt the clean ones ahead of them."""
    end = at + 2 * _LOOK_EVENTS
    for i in range(at, min(end, words.units.size - 1), 2):
        now = np.int64(words.units[i])
        # A wrap, too: damaged times may have gone half way round, and half way again.
        if now < high or now - high >= HALF:
            return w.DOUBT
        high = now
    return w.NO_DOUBT if end <= words.units.size else w.TOO_FEW


@njit(cache=True, nogil=True)
def _fault(words: Words, at: int) -> int:
    """Return why the address of an event is impossible, EVENT where it is not."""
    address = np.int64(words.units[at + 1])
    column, row, on = fields(address, words.table)
    if column >= words.width or row >= words.height:
        return np.int64(w.OFF_SENSOR)
    if on > 1:
        return np.int64(w.NO_POLARITY)
    return np.int64(w.STRAY_BITS if address & words.table[w.W_ZEROS] != 0 else k.EVENT)


@njit(cache=True, nogil=True)
def _following_times(words: Words, at: int, found: NDArray[np.int64]) -> int:
    """Put the times of the next possible events from `at` on into `found`; return how many."""
    count = 0
    for i in range(at, min(at + 2 * _LOOK_EVENTS, words.units.size - 1), 2):
        if _fault(words, i) == k.EVENT:
            found[count] = words.units[i]
            count += 1
            if count == found.size:
                break
    return count


@njit(cache=True, nogil=True)
def _first_wraps(now: int, following: NDArray[np.int64], count: int) -> bool:
    """Tell whether the first time of all would be the only one ahead of a wrap.

    It is damaged rather than that: of 71 minutes the recording would begin in the last instant.
    """
    passed = 0
    for i in range(1, count):
        passed += (following[i] - following[i - 1]) & _TIME
    return count >= FEW and now - following[0] > HALF and passed < HALF


@njit(cache=True, nogil=True)
def _catches_up(words: Words, at: int, now: int) -> bool:
    """Tell whether an event from `at` on goes on from a time."""
    for i in range(at, min(at + _CATCH_UP, words.units.size - 1), 2):
        if (np.int64(words.units[i]) - now) & _TIME < k.SURE:
            return True
    return False


@njit(cache=True, nogil=True)
def _set_time(
    words: Words, here: int, in_turn: bool, clock: NDArray[np.int64], following: NDArray[np.int64]
) -> int:
    new, was, count = np.int64(words.units[here]), clock[k.K_NOW], 0
    if in_turn:
        if new != k.shown(clock):
            count = _following_times(words, here + 2, following)
        if was < 0 and _first_wraps(new, following, count):
            return w.SPURIOUS
        return k.set_in_turn(clock, new, following, count)
    step, back, sure = k.step_of(clock, here, new)
    if not sure:
        count = _following_times(words, here + 2, following)
        if was < 0 and _first_wraps(new, following, count):
            return w.SPURIOUS
    back = back and not _catches_up(words, here + 2, was)
    return k.set_clock(clock, step, new, following, count, back)


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
    """Fill `rows`, which has room for two a word; return how many, where to stop, and 0."""
    clock = k.start_clock(state, BITS, HALF, _FAR, _NEAR)
    following = np.empty(FOLLOWING, np.int64)
    end = min(stop, words.units.size)
    in_turn, lost = most_lost > 0, np.zeros(2, np.int64)
    n, kept_now = 0, clock[k.K_NOW]
    for here in range(0, end if in_turn else words.units.size - 1, 2):
        if in_turn and k.enough_lost(rows, n, lost, most_lost):
            break
        time, word = np.int64(words.units[here]), np.int64(words.units[here + 1])
        column, row, on = fields(word, words.table)
        told = k.shown(clock) if in_turn else clock[k.K_NOW]
        why = _fault(words, here)
        if why == w.OFF_SENSOR:  # such an event sets no clock
            n = k.add_row(rows, n, here, 2, 0, why, column, row)
            continue
        if why != k.EVENT:
            n = k.add_row(rows, n, here, 2, 0, why, word, on)
            continue
        verdict = _set_time(words, here, in_turn, clock, following)
        if here < stop:
            kept_now = clock[k.K_NOW]
        if verdict == w.SPURIOUS:
            n = k.add_row(rows, n, here, 2, 0, w.HIGH_JUMP, told, time)
            continue
        if verdict == w.RESET:
            n = k.add_row(rows, n, here, 2, 0, w.CLOCK_RESET, told, time)
        place = column | row << k.Y_AT | on << k.P_AT
        n = k.add_row(rows, n, here, 2, clock[k.K_NOW], k.EVENT, place, 1)
    if kept_now >= 0:
        state[w.S_HIGH], state[w.S_LOOPS] = kept_now & _TIME, kept_now >> BITS
    return n, end, 0
