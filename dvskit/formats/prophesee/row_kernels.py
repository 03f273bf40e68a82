# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that judge words one by one: rows of events and losses, the clock, and doubt.

A row is an event word, a trigger or a lost word: its unit, its length in units, its time, why it is
lost (EVENT, TRIGGERED: it is not) and two values: of a loss those of the message; of an event word
its place and its mask; of a trigger its number and its edge.

Salvage skips invalid words. Doubt rises by 4 with each of them and falls by 1 with each other word.
At 32 words make no sense, as they do after missing bytes: all words are lost from where doubt rose
from 0 until it is back at 0. The state goes on from the word before them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lose, lowest_bit
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.layout import WordUnits
from dvskit.formats.storage import EventColumns, TriggerColumns

FOLLOWING = 8  # later times that judge one
FEW = 6  # later times that show that the first one of all is wrong
_FAULT, _MOST_DOUBT = 4, 32

EVENT, TRIGGERED = -1, -2  # in place of the reason of a loss
R_UNIT, R_UNITS, R_TIME, R_WHY, R_A, R_B, ROW = range(7)
Y_AT, P_AT = 16, 32  # bits of a place that hold the row and the polarity, after the column

Clock = tuple[int, int, int, int]


@njit(cache=True, nogil=True)
def shown(now: int, bits: int) -> int:
    """Return the value of a clock as words hold it, -1 before the first."""
    return now & ((1 << bits) - 1) if now >= 0 else np.int64(-1)


@njit(cache=True, nogil=True)
def set_clock(
    state: NDArray[np.int64],
    new: int,
    following: NDArray[np.int64],
    count: int,
    doubtful: bool,
    clock: Clock,
) -> bool:
    """Set S_NOW to a value that the `count` following ones confirm; False if they do not.

    `clock`: bits of a value, and the limits of small, far and near steps. Values wrap: a smaller
    one is a step back unless it is smaller by more than half the range. Small steps are good if
    all around are. A value is spurious if it is a step back, if most of the following ones stand
    between the old one and it, or if it is far ahead and too few follow near it. Several steps
    ahead may lead round the whole range: a far one is spurious if nearly all following ones go on
    from the old value, unless the next step is alike, as across gaps; it always is where words are
    `doubtful`.
    """
    bits, _, far, _ = clock
    now, mask = state[w.S_NOW], (1 << bits) - 1
    if doubtful and (new - now) & mask > far:
        return False
    if not _is_good(shown(now, bits), new, following, count, clock):
        return False
    state[w.S_NOW] = now + ((new - now) & mask) if now >= 0 else new
    return True


@njit(cache=True, nogil=True)
def _is_good(old: int, new: int, following: NDArray[np.int64], count: int, clock: Clock) -> bool:
    bits, small, far, near = clock
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    step = (new - old) & mask
    ordered = True
    between = behind = soon = returned = 0
    latest = new
    for i in range(count):
        value = following[i]
        ordered = ordered and ((value - latest) & mask) < small
        latest = value
        between += ((value - old) & mask) < step
        returned += ((value - old) & mask) < min(far, step)
        behind += value < new and new - value < half
        soon += ((value - new) & mask) < near
    if old < 0:
        return ordered or 2 * behind <= count
    if new < old and old - new <= half:
        return False
    if ordered and step < small and count > 0 and (following[0] - new) & mask == step:
        return True
    if step > far and count >= 2 and 4 * returned >= 3 * count:
        return False
    if ordered and step < small:
        return True
    return 2 * between <= count and (ordered or step <= far or 4 * soon >= 3 * count)


@njit(cache=True, nogil=True)
def is_doubtful(state: NDArray[np.int64], sure: NDArray[np.int64]) -> bool:
    """Whether the clock has moved since doubt rose from 0."""
    return state[w.S_DOUBT] > 0 and state[w.S_NOW] != sure[w.S_NOW]


@njit(cache=True, nogil=True)
def add_row(
    rows: NDArray[np.int64],
    state: NDArray[np.int64],
    unit: int,
    units: int,
    time: int,
    why: int,
    a: int,
    b: int,
) -> None:
    """Add a row."""
    n = state[w.S_N]
    rows[n, R_UNIT], rows[n, R_UNITS], rows[n, R_TIME], rows[n, R_WHY] = unit, units, time, why
    rows[n, R_A], rows[n, R_B] = a, b
    state[w.S_N] = n + 1


@njit(cache=True, nogil=True)
def add_event(
    words: WordUnits,
    rows: NDArray[np.int64],
    state: NDArray[np.int64],
    unit: int,
    units: int,
    time: int,
    place: int,
    mask: int,
) -> None:
    """Add the events of a mask of up to 32 pixels from a place on; those off the sensor are lost.

    `place`: column, row << Y_AT, polarity << P_AT.
    """
    column, row = place & 0xFFFF, place >> Y_AT & 0xFFFF
    if row >= words.height or column >= words.width:
        add_row(rows, state, unit, units, 0, w.OFF_SENSOR, column, row)
        return
    room = words.width - column
    on_sensor = mask & ((1 << room) - 1) if room < 32 else mask
    if on_sensor != 0:
        state[w.S_LAST] = time
    add_row(rows, state, unit, units, time, EVENT, place, on_sensor)
    if on_sensor != mask:
        right = column + np.int64(lowest_bit(np.uint32(mask ^ on_sensor)))  # type: ignore[call-arg]
        add_row(rows, state, unit, units, 0, w.OFF_SENSOR, right, row)


@njit(cache=True, nogil=True)
def start(state: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the state that a loop works on, with its own fields set to 0."""
    own = state.copy()
    own[w.S_AT] = own[w.S_N] = own[w.S_GAP] = 0
    return own


@njit(cache=True, nogil=True)
def weigh(
    rows: NDArray[np.int64], first: int, state: NDArray[np.int64], sure: NDArray[np.int64]
) -> None:
    """Weigh a word whose rows begin with `first`; take back words that make no sense.

    `sure` is the state after the latest word that nothing can take back.
    """
    wrong, unknown = False, state[w.S_N] > first
    for i in range(first, state[w.S_N]):
        wrong = wrong or 0 <= rows[i, R_WHY] < w.NO_CLOCK
        unknown = unknown and rows[i, R_WHY] >= w.NO_CLOCK
    if wrong:
        state[w.S_DOUBT] = min(state[w.S_DOUBT] + _FAULT, _MOST_DOUBT)
    elif not unknown:
        state[w.S_DOUBT] = max(state[w.S_DOUBT] - 1, 0)
    if state[w.S_LOST] != 0:
        state[w.S_N] = sure[w.S_N]
    if wrong and (state[w.S_LOST] != 0 or state[w.S_DOUBT] == _MOST_DOUBT):
        at, doubt = state[w.S_AT], state[w.S_DOUBT]
        gap = state[w.S_GAP] if state[w.S_LOST] != 0 else sure[w.S_AT]
        _copy(sure, state)
        state[w.S_AT], state[w.S_DOUBT], state[w.S_LOST], state[w.S_GAP] = at, doubt, 1, gap
        state[w.S_CLOCK] = state[w.S_ROW] = state[w.S_VECTOR] = w.SPOILT
        _copy(state, sure)
    elif state[w.S_DOUBT] == 0:
        if state[w.S_LOST] != 0:
            state[w.S_LOST] = 0
            _add_gap(rows, state)
        _copy(state, sure)


@njit(cache=True, nogil=True)
def _copy(state: NDArray[np.int64], target: NDArray[np.int64]) -> None:
    for i in range(w.STATE_FIELDS):
        target[i] = state[i]


@njit(cache=True, nogil=True)
def _add_gap(rows: NDArray[np.int64], state: NDArray[np.int64]) -> None:
    gap, at = state[w.S_GAP], state[w.S_AT]
    if at > gap:
        add_row(rows, state, gap, at - gap, 0, w.NO_SENSE, 0, 0)


@njit(cache=True, nogil=True)
def finish(
    rows: NDArray[np.int64],
    own: NDArray[np.int64],
    sure: NDArray[np.int64],
    certain: bool,
    state: NDArray[np.int64],
) -> tuple[int, int]:
    """Put the state at the end of a loop into `state`; return the number of rows, the next unit.

    Unless all words are `certain`, the loop ends at the latest sure one: unit 0 if there is none.
    """
    if not certain:
        own[:] = sure
    if own[w.S_LOST] != 0:
        _add_gap(rows, own)
    state[:] = own
    return own[w.S_N], own[w.S_AT]


@njit(cache=True, nogil=True)
def lost_rows(rows: NDArray[np.int64], losses: NDArray[np.int64]) -> int:
    """Put the losses among `rows` into `losses`, as `lose` does; return their number."""
    count = 0
    for i in range(rows.shape[0]):
        if rows[i, R_WHY] >= 0:
            count = lose(
                losses, count, rows[i, R_UNIT], rows[i, R_UNITS], rows[i, R_WHY], rows[i, R_A],
                rows[i, R_B],
            )  # fmt: skip
    return count


@njit(cache=True, nogil=True)
def count_events(rows: NDArray[np.int64]) -> tuple[int, int]:
    """Return the number of events and of triggers among the rows."""
    events = triggers = 0
    for i in range(rows.shape[0]):
        if rows[i, R_WHY] == EVENT:
            events += count_bits(rows[i, R_B])
        triggers += rows[i, R_WHY] == TRIGGERED
    return events, triggers


@njit(cache=True, nogil=True)
def put_events(
    rows: NDArray[np.int64],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> None:
    """Fill columns with the events and triggers of rows."""
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    n = nt = 0
    for i in range(rows.shape[0]):
        a, b = rows[i, R_A], rows[i, R_B]
        if rows[i, R_WHY] == TRIGGERED:
            trigger_t[nt], trigger_id[nt], trigger_p[nt] = rows[i, R_TIME], a, b != 0
            nt += 1
        elif rows[i, R_WHY] == EVENT:
            mask = np.uint32(b)
            while mask != 0:
                t[n], p[n] = rows[i, R_TIME], a >> P_AT != 0
                x[n] = (a & 0xFFFF) + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                y[n] = a >> Y_AT & 0xFFFF
                mask &= mask - np.uint32(1)
                n += 1
