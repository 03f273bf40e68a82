# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events: a 32-bit time, then x, y and polarity in another 32 bits.

`dvskit.formats.prophesee.layout` describes them. Each event sets the clock: S_NOW is its time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.prophesee import clock_kernels as k
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

# The table: first bit and number of bits of x, y and polarity, and the bits that are always 0.
T_X_AT, T_X_BITS, T_Y_AT, T_Y_BITS, T_P_AT, T_P_BITS, T_ZEROS = range(7)

LOOK_AHEAD = 1 << 6  # units that are searched to judge a time
_BITS = 32
_HALF = 1 << 31
_TIME = 0xFFFFFFFF
_SURE, _FORWARD = 1 << 10, 1 << 26  # us; a longer step is judged, alone or in a span
_SHORT, _NEAR = 1 << 20, 1 << 26  # us: 1 s, 67 s
_CLOCK = (_BITS, _HALF, _SHORT, _NEAR)
_SPAN = 1 << 14  # events that are decoded together


@njit(cache=True, nogil=True)
def move_on(
    words: WordUnits, start: int, stop: int, row: NDArray[np.int64], state: NDArray[np.int64]
) -> None:
    """Predict the clock behind a slice, from the time of its last event."""
    now = state[w.S_NOW]
    state[w.S_NOW] = now + ((row[w.R_NEWEST] - now) & _TIME) if now >= 0 else row[w.R_NEWEST]


@njit(cache=True, nogil=True)
def _decode_span(
    words: WordUnits, start: int, now: int, columns: EventColumns, n: int, count: int
) -> bool:
    """Decode `count` events to row `n` as if all were valid; return whether they and time are.

    An event is one 64-bit word here, without a branch, so that the loop is vectorized.
    """
    t, x, y, p = columns
    t, x, y, p = t[n : n + count], x[n : n + count], y[n : n + count], p[n : n + count]
    table = words.table
    one = np.uint64(1)
    time_mask, zeros = np.uint64(_TIME), np.uint64(table[T_ZEROS])
    x_mask = (one << np.uint64(table[T_X_BITS])) - one
    y_mask = (one << np.uint64(table[T_Y_BITS])) - one
    p_mask = (one << np.uint64(table[T_P_BITS])) - one
    x_at, y_at = np.uint64(32 + table[T_X_AT]), np.uint64(32 + table[T_Y_AT])
    p_at = np.uint64(32 + table[T_P_AT])
    right, bottom = words.width - 1, words.height - 1
    events = words.units[start : start + 2 * count].view(np.uint64)
    base = now >> _BITS << _BITS
    after = min(start + 2 * count, words.units.size - 2)  # its time judges the last one
    bad = np.int64(words.units[after]) - np.int64(events[count - 1] & time_mask)
    step = np.int64(events[0] & time_mask) - (now & _TIME)
    bad |= step | (_FORWARD - step)  # negative from the first invalid event on
    for i in range(count):
        event = events[i]
        time = np.int64(event & time_mask)
        column = np.int64(event >> x_at & x_mask)
        row = np.int64(event >> y_at & y_mask)
        on = np.int64(event >> p_at & p_mask)
        step = time - np.int64(events[max(i - 1, 0)] & time_mask)
        bad |= step | (_FORWARD - step) | (right - column) | (bottom - row) | (1 - on)
        bad |= -np.int64(event >> np.uint64(32) & zeros)
        t[i], x[i], y[i], p[i] = base | time, column, row, on != 0
    return bad >= 0


@njit(cache=True, nogil=True)
def _fields(address: int, table: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the column, row and polarity in an address."""
    x = address >> table[T_X_AT] & ((1 << table[T_X_BITS]) - 1)
    y = address >> table[T_Y_AT] & ((1 << table[T_Y_BITS]) - 1)
    return x, y, address >> table[T_P_AT] & ((1 << table[T_P_BITS]) - 1)


@njit(cache=True, nogil=True)
def _fault(words: WordUnits, at: int) -> int:
    """Return why the address of an event is invalid, -1 if it is not."""
    address = np.int64(words.units[at + 1])
    column, row, on = _fields(address, words.table)
    if column >= words.width or row >= words.height:
        return np.int64(w.OFF_SENSOR)
    if on > 1:
        return np.int64(w.NO_POLARITY)
    return np.int64(w.STRAY_BITS if address & words.table[T_ZEROS] != 0 else -1)


@njit(cache=True, nogil=True)
def _following_times(words: WordUnits, at: int, found: NDArray[np.int64]) -> int:
    """Put the times of the next valid events from `at` on into `found`; return their number.

    Returns -1 if more than a quarter of the next events are not valid: words that are out of step
    are valid by chance, of triggers one in three.
    """
    valid = invalid = 0
    for i in range(at, min(at + LOOK_AHEAD, words.units.size - 1), 2):
        if _fault(words, i) < 0:
            if valid < found.size:
                found[valid] = words.units[i]
            valid += 1
        else:
            invalid += 1
    return min(valid, found.size) if valid >= 3 * invalid else np.int64(-1)


@njit(cache=True, nogil=True)
def decode(
    words: WordUnits,
    start: int,
    stop: int,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
    losses: NDArray[np.int64],
) -> int:
    """Decode units start..stop, and move the state on; return the next unit.

    At a fault, skips events up to the next one that is valid at a time that the clock can have.
    """
    t, x, y, p = columns
    units, following = words.units, np.empty(k.FOLLOWING, np.int64)
    k.begin(state, losses, start)
    now, n, i = state[w.S_NOW], 0, start
    while i < stop:
        limit = min(stop, i + 2 * _SPAN)
        if (
            now >= 0
            and state[w.S_LOST] == 0
            and _decode_span(words, i, now, columns, n, (limit - i) // 2)
        ):
            n, i = n + (limit - i) // 2, limit
            now = t[n - 1]
            continue
        room = True
        while i < limit and room:
            new, why = np.int64(units[i]), _fault(words, i)
            column, row, on = _fields(np.int64(units[i + 1]), words.table)
            a, b = np.int64(units[i + 1]), on
            if why == w.OFF_SENSOR:
                a, b = column, row
            elif why < 0:
                step = (new - now) & _TIME if now >= 0 else new
                if now < 0 or step > _SURE:
                    count, old = _following_times(words, i + 2, following), k.shown(now, _BITS)
                    lost = state[w.S_LOST] != 0
                    # A first time right ahead of a wrap is damage: recordings start elsewhere.
                    wraps = now < 0 and count > 1 and new - following[0] > _HALF
                    good = k.is_confirmed(old, new, following, max(count, 0), lost, _CLOCK)
                    if wraps or not good or (count < 0 and step > _SHORT):
                        why, a, b = np.int64(w.HIGH_JUMP), old, new
            if why < 0:
                if state[w.S_LOST] != 0:
                    room = k.stop_losing(state, losses, i)
                now = max(now, 0) + step
                t[n], x[n], y[n], p[n] = now, column, row, on != 0
                n += 1
            elif state[w.S_LOST] == 0:
                room = k.lose(state, losses, i, why, a, b)
            i += 2
        if not room:
            break
    state[w.S_NOW] = now
    if n > 0:
        state[w.S_LAST] = now
    return k.finish(state, losses, i, n, 0)
