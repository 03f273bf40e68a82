# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over DAT events: a 32-bit time, then x, y and polarity in another 32 bits.

The functions are those of `dvskit.formats.words.evt_kernels`, with the whole time in place of the
TIME_HIGH words: each event sets the clock.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import lose
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w
from dvskit.formats.words.salvage_kernels import FEW, FOLLOWING, judge

BITS = 32
_TIME = 0xFFFFFFFF
LOOK_EVENTS = 256  # that may be looked at to judge a time
HALF = 1 << 31
FAR, NEAR = 1 << 20, 1 << 32  # us: 1 s, any


@njit(cache=True, nogil=True)
def safe_start(words: NDArray[np.uint32], layout: NDArray[np.int64], number: int) -> int:
    """Return the first place behind words[0], unit `number` of a chunk, that begins an event."""
    return 1 + (number + 1) % 2


@njit(cache=True, nogil=True)
def decode_clean(
    words: NDArray[np.uint32],
    start: int,
    stop: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    high: int,
    loops: int,
    columns: EventColumns,
    triggers: TriggerColumns,
    summary: NDArray[np.int64],
) -> None:
    """Decode words[start:stop]; put in `summary` whether all events are possible, without a wrap.

    One event is one 64-bit word here, without a branch: vector instructions do it.
    """
    t, x, y, p = columns
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
    right, bottom = width - 1, height - 1
    events = words[start:stop].view(np.uint64)
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
def goes_on(
    words: NDArray[np.uint32], at: int, layout: NDArray[np.int64], high: int, last: int
) -> int:
    """Tell whether the events from `at` on give reason to doubt the clean ones ahead of them."""
    end = at + 2 * LOOK_EVENTS
    for i in range(at, min(end, words.size - 1), 2):
        now = np.int64(words[i])
        # A wrap, too: damaged times may have gone half way round, and half way again.
        if now < high or now - high >= HALF:
            return w.DOUBT
        high = now
    return w.NO_DOUBT if end <= words.size else w.TOO_FEW


@njit(cache=True, nogil=True)
def fields(address: int, layout: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the column, row and polarity that an address holds."""
    x = address >> layout[w.W_X_AT] & ((1 << layout[w.W_X_BITS]) - 1)
    y = address >> layout[w.W_Y_AT] & ((1 << layout[w.W_Y_BITS]) - 1)
    return x, y, address >> layout[w.W_P_AT] & ((1 << layout[w.W_P_BITS]) - 1)


@njit(cache=True, nogil=True)
def possible(word: int, layout: NDArray[np.int64], width: int, height: int) -> bool:
    """Tell whether an address is on the sensor and of a polarity that there is."""
    address = np.int64(word)
    column, row, on = fields(address, layout)
    return column < width and row < height and on <= 1 and address & layout[w.W_ZEROS] == 0


@njit(cache=True, nogil=True)
def following_times(
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
def first_wraps(now: int, following: NDArray[np.int64], count: int) -> bool:
    """Tell whether the first time of all would be the only one ahead of a wrap.

    It is damaged rather than that: of 71 minutes the recording would begin in the last instant.
    """
    passed = 0
    for i in range(1, count):
        passed += (following[i] - following[i - 1]) & _TIME
    return count >= FEW and now - following[0] > HALF and passed < HALF


@njit(cache=True, nogil=True)
def decode_careful(
    words: NDArray[np.uint32],
    stop: int,
    layout: NDArray[np.int64],
    width: int,
    height: int,
    strict: bool,
    state: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
    losses: NDArray[np.int64],
) -> int:
    """Decode words[:stop], judging each event; return the first unit that was not decoded."""
    t, x, y, p = columns
    high, loops, last = state[w.S_HIGH], state[w.S_LOOPS], state[w.S_LAST]
    n, nl = state[w.S_EVENTS], state[w.S_LOSSES]
    following = np.empty(FOLLOWING, np.int64)
    i = 0
    while i < stop:
        if nl > losses.shape[0] - 4 or (strict and nl > 0):
            break
        now, word = np.int64(words[i]), np.int64(words[i + 1])
        here = i
        i += 2
        column, row, on = fields(word, layout)
        if column >= width or row >= height:  # such an event sets no clock
            nl = lose(losses, nl, here, 2, w.OFF_SENSOR, column, row)
            continue
        if on > 1 or word & layout[w.W_ZEROS] != 0:
            nl = lose(losses, nl, here, 2, w.NO_POLARITY if on > 1 else w.STRAY_BITS, word, on)
            continue
        if now != high:
            count = following_times(words, i, layout, width, height, following)
            verdict = judge(high, now, following, count, BITS, HALF, FAR, NEAR)
            if verdict == w.SPURIOUS or (high < 0 and first_wraps(now, following, count)):
                nl = lose(losses, nl, here, 2, w.HIGH_JUMP, high, now)
                continue
            if verdict == w.RESET:
                nl = lose(losses, nl, here, 2, w.CLOCK_RESET, high, now)
            loops += now < high
            high = now
        last = (loops << BITS) | now
        t[n], x[n], y[n], p[n] = last, column, row, on != 0
        n += 1
    state[w.S_HIGH], state[w.S_LOOPS], state[w.S_LAST] = high, loops, last
    state[w.S_EVENTS], state[w.S_LOSSES] = n, nl
    return i
