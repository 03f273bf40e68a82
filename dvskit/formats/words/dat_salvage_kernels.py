# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events in step, some of them damaged.

The functions are those of `dvskit.formats.words.evt_salvage_kernels`: each event tells the clock.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.words.clock_kernels import (
    CLOCK_RESET,
    FOLLOWING,
    HIGH_JUMP,
    NO_POLARITY,
    OFF_SENSOR,
    RESET,
    S_HIGH,
    S_LOOPS,
    SPURIOUS,
    STRAY_BITS,
)
from dvskit.formats.words.dat_kernels import (
    BITS,
    D_P_AT,
    D_P_BITS,
    D_X_AT,
    D_X_BITS,
    D_Y_AT,
    D_Y_BITS,
    D_ZEROS,
    FAR,
    LOOK_EVENTS,
    NEAR,
    first_wraps,
    possible,
)
from dvskit.formats.words.salvage_kernels import (
    EVENT,
    K_NOW,
    R_TIME,
    R_UNIT,
    R_WHY,
    SURE,
    add_row,
    begins_anew,
    far_back,
    leads_astray,
    set_clock,
    start_clock,
    sure_step,
)

_TIME = (1 << BITS) - 1
_CATCH_UP = 1 << 15  # units in which a clock that has only stepped back comes up again


@njit(cache=True, nogil=True)
def _following(
    words: NDArray[np.uint32],
    at: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    found: NDArray[np.int64],
) -> int:
    """Put the times of the next possible events from `at` on into `found`; return how many."""
    count = 0
    for i in range(at, min(at + 2 * LOOK_EVENTS, words.size - 1), 2):
        if possible(words[i + 1], layout, width, height):
            found[count] = words[i]
            count += 1
            if count == found.size:
                break
    return count


@njit(cache=True, nogil=True)
def _catches_up(words: NDArray[np.uint32], at: int, now: int) -> bool:
    """Tell whether an event from `at` on goes on from a time."""
    for i in range(at, min(at + _CATCH_UP, words.size - 1), 2):
        if (np.int64(words[i]) - now) & _TIME < SURE:
            return True
    return False


@njit(cache=True, nogil=True)
def _set_time(
    words: NDArray[np.uint32],
    here: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    clock: NDArray[np.int64],
    following: NDArray[np.int64],
) -> int:
    new, was = np.int64(words[here]), clock[K_NOW]
    step = sure_step(clock, here, new, BITS)
    back = far_back(clock, step, FAR) and was >= 0
    count, anew = 0, False
    if was < 0 or back or step > FAR or step <= -SURE:
        count = _following(words, here + 2, layout, width, height, following)
        if was < 0 and first_wraps(new, following, count):
            return SPURIOUS
        if was >= 0 and step > 0 and leads_astray(was, step, following, count, BITS):
            return SPURIOUS
        anew = back and begins_anew(clock, new, following, count, NEAR, BITS)
        anew = anew and not _catches_up(words, here + 2, was)
    return set_clock(clock, step, new, following, count, anew, BITS)


@njit(cache=True, nogil=True)
def read_rows(
    words: NDArray[np.uint32],
    stop: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    joints: NDArray[np.int64],
    before: NDArray[np.int64],
    kept: NDArray[np.bool_],
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `rows`, which has room for two a word; return how many, where to stop, and 0."""
    clock = start_clock((state[S_LOOPS] << BITS) | state[S_HIGH] if state[S_HIGH] >= 0 else -1)
    following = np.empty(FOLLOWING, np.int64)
    n, kept_now = 0, clock[K_NOW]
    for here in range(0, words.size - 1, 2):
        if here <= stop:
            kept_now = clock[K_NOW]
        word = np.int64(words[here + 1])
        column = word >> layout[D_X_AT] & ((1 << layout[D_X_BITS]) - 1)
        row = word >> layout[D_Y_AT] & ((1 << layout[D_Y_BITS]) - 1)
        on = word >> layout[D_P_AT] & ((1 << layout[D_P_BITS]) - 1)
        if column >= width or row >= height:  # such an event sets no clock
            n = add_row(rows, n, here, 2, 0, OFF_SENSOR, column, row)
            continue
        if on > 1 or word & layout[D_ZEROS] != 0:
            why = NO_POLARITY if on > 1 else STRAY_BITS
            n = add_row(rows, n, here, 2, 0, why, word, on)
            continue
        was = clock[K_NOW]
        verdict = _set_time(words, here, layout, width, height, clock, following)
        if verdict == SPURIOUS:
            n = add_row(rows, n, here, 2, 0, HIGH_JUMP, was, np.int64(words[here]))
            continue
        if verdict == RESET:
            n = add_row(rows, n, here, 2, 0, CLOCK_RESET, was, np.int64(words[here]))
        n = add_row(rows, n, here, 2, clock[K_NOW], EVENT, 0, 0)
    if words.size <= stop:
        kept_now = clock[K_NOW]
    if kept_now >= 0:
        state[S_HIGH], state[S_LOOPS] = kept_now & _TIME, kept_now >> BITS
    return n, min(stop, words.size), 0


@njit(cache=True, nogil=True)
def count_events(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
) -> tuple[int, int]:
    """Return for how many events, and triggers, the kept rows need room."""
    events = 0
    for i in range(rows.shape[0]):
        events += keep[i] and rows[i, R_WHY] == EVENT
    return events, 0


@njit(cache=True, nogil=True)
def put_events(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    width: int,
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    trigger_t: NDArray[np.int64],
    trigger_id: NDArray[np.int16],
    trigger_p: NDArray[np.bool_],
) -> int:
    """Fill columns with the events of the kept rows; return how many there are."""
    n = 0
    for i in range(rows.shape[0]):
        if keep[i] and rows[i, R_WHY] == EVENT:
            word = np.int64(words[rows[i, R_UNIT] + 1])
            t[n] = rows[i, R_TIME]
            x[n] = word >> layout[D_X_AT] & ((1 << layout[D_X_BITS]) - 1)
            y[n] = word >> layout[D_Y_AT] & ((1 << layout[D_Y_BITS]) - 1)
            p[n] = word >> layout[D_P_AT] & 1
            n += 1
    return n
