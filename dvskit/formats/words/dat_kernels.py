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
from dvskit.formats.words.row_kernels import FEW, FOLLOWING

BITS = 32
HALF = 1 << 31
_TIME = 0xFFFFFFFF
_LOOK_EVENTS = 256  # that may be looked at to judge a time
_FAR, _NEAR = 1 << 20, 1 << 32  # us: 1 s, any


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
def _fields(address: int, table: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the column, row and polarity that an address holds."""
    x = address >> table[w.W_X_AT] & ((1 << table[w.W_X_BITS]) - 1)
    y = address >> table[w.W_Y_AT] & ((1 << table[w.W_Y_BITS]) - 1)
    return x, y, address >> table[w.W_P_AT] & ((1 << table[w.W_P_BITS]) - 1)


@njit(cache=True, nogil=True)
def _fault(words: Words, at: int) -> int:
    """Return why the address of an event is impossible, EVENT where it is not."""
    address = np.int64(words.units[at + 1])
    column, row, on = _fields(address, words.table)
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
def _set_time(
    words: Words,
    here: int,
    clock: NDArray[np.int64],
    doubtful: bool,
    following: NDArray[np.int64],
) -> bool:
    new, count = np.int64(words.units[here]), 0
    if new != k.shown(clock):
        count = _following_times(words, here + 2, following)
    if clock[k.K_NOW] < 0 and _first_wraps(new, following, count):
        return False
    return k.set_clock(clock, new, following, count, doubtful)


@njit(cache=True, nogil=True)
def read_rows(
    words: Words,
    stop: int,
    strict: bool,
    ended: bool,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `rows`, which has room for two a word; return how many, where to go on, and 0."""
    clock = k.start_clock(state, BITS, HALF, _FAR, _NEAR)
    following = np.empty(FOLLOWING, np.int64)
    at = k.start_places(state)
    sure_clock, sure = clock.copy(), at.copy()
    while at[k.AT] < min(stop, words.units.size - 1):
        here, n = at[k.AT], at[k.N]
        time, word = np.int64(words.units[here]), np.int64(words.units[here + 1])
        column, row, on = _fields(word, words.table)
        why, a, b = _fault(words, here), word, on
        if why == w.OFF_SENSOR:
            a, b = column, row
        elif why == k.EVENT:  # others set no clock
            a, b = column | row << k.Y_AT | on << k.P_AT, np.int64(1)
            doubtful = at[k.DOUBT] > 0 and clock[k.K_NOW] != sure_clock[k.K_NOW]
            if not _set_time(words, here, clock, doubtful, following):
                why, a, b = np.int64(w.HIGH_JUMP), k.shown(clock), time
        if why == k.EVENT:
            at[k.LAST] = clock[k.K_NOW]
        at[k.AT] += 2
        at[k.N] = k.add_row(rows, n, here, 2, at[k.LAST], why, a, b)
        if strict and why != k.EVENT:
            break
        k.weigh(rows, n, clock, at, sure_clock, sure)
        at[k.USABLE] = 1
    if strict or ended:
        sure[k.AT] = 0
    k.finish(rows, clock, at, sure_clock, sure, state)
    state[w.S_CLOCK] = w.USABLE
    return at[k.N], at[k.AT], 0
