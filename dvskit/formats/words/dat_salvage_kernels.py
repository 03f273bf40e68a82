# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events in step, some of them damaged.

The functions are those of `dvskit.formats.words.evt_salvage_kernels`: each event tells the clock.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w
from dvskit.formats.words import salvage_kernels as k
from dvskit.formats.words.dat_kernels import (
    BITS,
    FAR,
    NEAR,
    fields,
    first_wraps,
    following_times,
)
from dvskit.formats.words.salvage_kernels import FOLLOWING

_TIME = (1 << BITS) - 1
_CATCH_UP = 1 << 15  # units in which a clock that has only stepped back comes up again


@njit(cache=True, nogil=True)
def _catches_up(words: NDArray[np.uint32], at: int, now: int) -> bool:
    """Tell whether an event from `at` on goes on from a time."""
    for i in range(at, min(at + _CATCH_UP, words.size - 1), 2):
        if (np.int64(words[i]) - now) & _TIME < k.SURE:
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
    new, was = np.int64(words[here]), clock[k.K_NOW]
    step = k.sure_step(clock, here, new, BITS)
    back = k.far_back(clock, step, FAR) and was >= 0
    count, anew = 0, False
    if was < 0 or back or step > FAR or step <= -k.SURE:
        count = following_times(words, here + 2, layout, width, height, following)
        if was < 0 and first_wraps(new, following, count):
            return w.SPURIOUS
        if was >= 0 and step > 0 and k.leads_astray(was, step, following, count, BITS):
            return w.SPURIOUS
        anew = back and k.begins_anew(clock, new, following, count, NEAR, BITS)
        anew = anew and not _catches_up(words, here + 2, was)
    return k.set_clock(clock, step, new, following, count, anew, BITS)


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
    clock = k.start_clock(
        (state[w.S_LOOPS] << BITS) | state[w.S_HIGH] if state[w.S_HIGH] >= 0 else -1
    )
    following = np.empty(FOLLOWING, np.int64)
    n, kept_now = 0, clock[k.K_NOW]
    for here in range(0, words.size - 1, 2):
        if here <= stop:
            kept_now = clock[k.K_NOW]
        word = np.int64(words[here + 1])
        column, row, on = fields(word, layout)
        if column >= width or row >= height:  # such an event sets no clock
            n = k.add_row(rows, n, here, 2, 0, w.OFF_SENSOR, column, row)
            continue
        if on > 1 or word & layout[w.W_ZEROS] != 0:
            why = w.NO_POLARITY if on > 1 else w.STRAY_BITS
            n = k.add_row(rows, n, here, 2, 0, why, word, on)
            continue
        was = clock[k.K_NOW]
        verdict = _set_time(words, here, layout, width, height, clock, following)
        if verdict == w.SPURIOUS:
            n = k.add_row(rows, n, here, 2, 0, w.HIGH_JUMP, was, np.int64(words[here]))
            continue
        if verdict == w.RESET:
            n = k.add_row(rows, n, here, 2, 0, w.CLOCK_RESET, was, np.int64(words[here]))
        n = k.add_row(rows, n, here, 2, clock[k.K_NOW], k.EVENT, 0, 0)
    if words.size <= stop:
        kept_now = clock[k.K_NOW]
    if kept_now >= 0:
        state[w.S_HIGH], state[w.S_LOOPS] = kept_now & _TIME, kept_now >> BITS
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
        events += keep[i] and rows[i, k.R_WHY] == k.EVENT
    return events, 0


@njit(cache=True, nogil=True)
def put_events(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    width: int,
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> int:
    """Fill columns with the events of the kept rows; return how many there are."""
    t, x, y, p = columns
    n = 0
    for i in range(rows.shape[0]):
        if keep[i] and rows[i, k.R_WHY] == k.EVENT:
            word = np.int64(words[rows[i, k.R_UNIT] + 1])
            x[n], y[n], on = fields(word, layout)
            t[n], p[n] = rows[i, k.R_TIME], on != 0
            n += 1
    return n
