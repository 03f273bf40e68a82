# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events: a 32-bit time, then x, y and polarity in another 32 bits.

`dvskit.formats.prophesee.layout` describes them. Each event sets the clock: S_NOW is its time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee import row_kernels as k
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

# The table: first bit and number of bits of x, y and polarity, and the bits that are always 0.
T_X_AT, T_X_BITS, T_Y_AT, T_Y_BITS, T_P_AT, T_P_BITS, T_ZEROS = range(7)

BITS = 32
HALF = 1 << 31
_TIME = 0xFFFFFFFF
_LOOK_EVENTS = 256  # that are searched to judge a time
_FAR, _NEAR = 1 << 20, 1 << 32  # us: 1 s, any
_CLOCK = (BITS, HALF, _FAR, _NEAR)


@njit(cache=True, nogil=True)
def scan(words: WordUnits, start: int, stop: int, row: NDArray[np.int64]) -> None:
    """Count the events, without looking at them."""
    row[:] = 0
    row[w.R_EVENTS], row[w.R_END] = (stop - start) // 2, stop


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits,
    start: int,
    stop: int,
    row: NDArray[np.int64],
    state: NDArray[np.int64],
    last: bool,
) -> bool:
    """Count the events: nothing else has to be known ahead of the next ones."""
    state[w.S_EVENTS] += row[w.R_EVENTS]
    return True


@njit(cache=True, nogil=True)
def decode_clean(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> bool:
    """Decode units start..stop; False if an event is not valid, or the clock wraps.

    An event is one 64-bit word here, without a branch, so that the loop is vectorised.
    """
    t, x, y, p = columns
    layout = words.table
    x_bits, y_bits, p_bits = layout[T_X_BITS], layout[T_Y_BITS], layout[T_P_BITS]
    one = np.uint64(1)
    time_mask = np.uint64(_TIME)
    x_mask = (one << np.uint64(x_bits)) - one
    y_mask = (one << np.uint64(y_bits)) - one
    p_mask = (one << np.uint64(p_bits)) - one
    x_at, y_at = np.uint64(32 + layout[T_X_AT]), np.uint64(32 + layout[T_Y_AT])
    p_at = np.uint64(32 + layout[T_P_AT])
    zeros = np.uint64(layout[T_ZEROS])
    base = max(state[w.S_NOW], 0) >> BITS << BITS
    right, bottom = words.width - 1, words.height - 1
    events = words.units[start:stop].view(np.uint64)
    bad = np.int64(0)  # negative from the first invalid event on
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
    if events.size > 0:
        state[w.S_NOW] = state[w.S_LAST] = t[events.size - 1]
    return bad >= 0


@njit(cache=True, nogil=True)
def goes_on(words: WordUnits, at: int, state: NDArray[np.int64]) -> int:
    """Return whether the events from `at` on cast doubt on the clean ones before them."""
    end, latest = at + 2 * _LOOK_EVENTS, k.shown(state[w.S_NOW], BITS)
    for i in range(at, min(end, words.units.size - 1), 2):
        now = np.int64(words.units[i])
        # A wrap, too: damaged times may have gone half way round, and half way again.
        if now < latest or now - latest >= HALF:
            return w.DOUBT
        latest = now
    return w.NO_DOUBT if end <= words.units.size else w.TOO_FEW


@njit(cache=True, nogil=True)
def _fields(address: int, table: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the column, row and polarity in an address."""
    x = address >> table[T_X_AT] & ((1 << table[T_X_BITS]) - 1)
    y = address >> table[T_Y_AT] & ((1 << table[T_Y_BITS]) - 1)
    return x, y, address >> table[T_P_AT] & ((1 << table[T_P_BITS]) - 1)


@njit(cache=True, nogil=True)
def _fault(words: WordUnits, at: int) -> int:
    """Return why the address of an event is invalid, EVENT if it is not."""
    address = np.int64(words.units[at + 1])
    column, row, on = _fields(address, words.table)
    if column >= words.width or row >= words.height:
        return np.int64(w.OFF_SENSOR)
    if on > 1:
        return np.int64(w.NO_POLARITY)
    return np.int64(w.STRAY_BITS if address & words.table[T_ZEROS] != 0 else k.EVENT)


@njit(cache=True, nogil=True)
def _following_times(words: WordUnits, at: int, found: NDArray[np.int64]) -> int:
    """Put the times of the next valid events from `at` on into `found`; return their number."""
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
    """Whether the clock would wrap right after the first time of all.

    That time is damaged: else the recording would begin in the last instant of 71 minutes.
    """
    passed = 0
    for i in range(1, count):
        passed += (following[i] - following[i - 1]) & _TIME
    return count >= k.FEW and now - following[0] > HALF and passed < HALF


@njit(cache=True, nogil=True)
def _set_time(
    words: WordUnits,
    at: int,
    state: NDArray[np.int64],
    doubtful: bool,
    following: NDArray[np.int64],
) -> bool:
    new, count = np.int64(words.units[at]), 0
    if new != k.shown(state[w.S_NOW], BITS):
        count = _following_times(words, at + 2, following)
    if state[w.S_NOW] < 0 and _first_wraps(new, following, count):
        return False
    return k.set_clock(state, new, following, count, doubtful, _CLOCK)


@njit(cache=True, nogil=True)
def read_rows(
    words: WordUnits,
    stop: int,
    strict: bool,
    ended: bool,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill `rows`, which has room for two a word; return their number and the next unit."""
    own, following = k.start(state), np.empty(k.FOLLOWING, np.int64)
    sure = own.copy()
    while own[w.S_AT] < min(stop, words.units.size - 1):
        here, first = own[w.S_AT], own[w.S_N]
        time, word = np.int64(words.units[here]), np.int64(words.units[here + 1])
        column, row, on = _fields(word, words.table)
        own[w.S_AT] += 2
        why, a, b = _fault(words, here), word, on
        if why == w.OFF_SENSOR:
            a, b = column, row
        elif why == k.EVENT:  # others set no clock
            a, b = column | row << k.Y_AT | on << k.P_AT, np.int64(1)
            if _set_time(words, here, own, k.is_doubtful(own, sure), following):
                own[w.S_LAST] = own[w.S_NOW]
            else:
                why, a, b = np.int64(w.HIGH_JUMP), k.shown(own[w.S_NOW], BITS), time
        k.add_row(rows, own, here, 2, own[w.S_LAST], why, a, b)
        if strict and why != k.EVENT:
            break
        k.weigh(rows, first, own, sure)
    return k.finish(rows, own, sure, strict or ended, state)
