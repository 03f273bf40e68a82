# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""What loops that judge words share: rows of what they say, clocks, and doubt.

A row is a word that tells time or that is lost: its unit, how many units it has, its time and why
it is lost (EVENT, TRIGGERED: it is not), and two values: for the message of a loss; the place and
the mask of events; the number and the edge of a trigger. A clock counts on from wrap to wrap.

Salvage skips wrong words. Doubt rises by 4 with each of them, and falls by 1 with each other one.
Where it comes to 32, words make no sense, as they do behind missing bytes: all are lost from where
doubt rose from 0, and until it falls back to 0. The clock goes on from what it was there.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, lose, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
FEW = 6  # times that can show that the first one of all is wrong
_FAULT, _MOST_DOUBT = 4, 32

EVENT, TRIGGERED = -1, -2  # in the place of why a word is lost
R_UNIT, R_UNITS, R_TIME, R_WHY, R_A, R_B, ROW = range(7)
Y_AT, P_AT = 16, 32  # bits of a place where the row and the polarity stand, behind the column
# Places in a clock: its value, -1 where it does not run yet; how many bits words have of it, the
# steps that are small and far, and how far on from a value those that follow are near it.
K_NOW, K_BITS, K_SMALL, K_FAR, K_NEAR, CLOCK_FIELDS = range(6)
# Places in where a loop is: the next unit and row, whether the clock is known, the time of the
# latest event, events ahead of the first time, words of no interest, doubt, whether words are lost
# for it, and since which unit.
AT, N, USABLE, LAST, EARLY, OTHERS, DOUBT, LOST, GAP, PLACES = range(10)


@njit(cache=True, nogil=True)
def start_clock(
    state: NDArray[np.int64], bits: int, small: int, far: int, near: int
) -> NDArray[np.int64]:
    """Return the clock of `bits` bits where a pass is."""
    clock = np.empty(CLOCK_FIELDS, np.int64)
    clock[K_NOW] = -1
    if state[w.S_HIGH] >= 0:
        clock[K_NOW] = (state[w.S_LOOPS] << bits) | state[w.S_HIGH]
    clock[K_BITS], clock[K_SMALL], clock[K_FAR], clock[K_NEAR] = bits, small, far, near
    return clock


@njit(cache=True, nogil=True)
def start_places(state: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where a loop is that begins in a state."""
    at = np.zeros(PLACES, np.int64)
    at[USABLE], at[LAST] = state[w.S_CLOCK] == w.USABLE, state[w.S_LAST]
    at[DOUBT], at[LOST] = state[w.S_DOUBT], state[w.S_LOST]
    return at


@njit(cache=True, nogil=True)
def shown(clock: NDArray[np.int64]) -> int:
    """Return the value of a clock as words have it, -1 where it does not run."""
    return clock[K_NOW] & ((1 << clock[K_BITS]) - 1) if clock[K_NOW] >= 0 else np.int64(-1)


@njit(cache=True, nogil=True)
def set_clock(
    clock: NDArray[np.int64], new: int, following: NDArray[np.int64], count: int, doubtful: bool
) -> bool:
    """Set the clock to a value, judged by the `count` ones that follow; tell whether it is set.

    Values wrap: a smaller one is a step back unless it is smaller by more than half the range.
    Small steps are good if all around are. A value is spurious where it is a step back, where most
    of those that follow stand between the old one and it, or where it is far ahead and too few
    follow near it. Several steps ahead may lead round the whole range: a far one is spurious where
    nearly all that follow go on from the old value; where words are `doubtful`, any far one is.
    """
    now, mask = clock[K_NOW], (1 << clock[K_BITS]) - 1
    if doubtful and (new - now) & mask > clock[K_FAR]:
        return False
    if not _is_good(clock, new, following, count):
        return False
    clock[K_NOW] = now + ((new - now) & mask) if now >= 0 else new
    return True


@njit(cache=True, nogil=True)
def _is_good(clock: NDArray[np.int64], new: int, following: NDArray[np.int64], count: int) -> bool:
    small, far, near = clock[K_SMALL], clock[K_FAR], clock[K_NEAR]
    mask = (1 << clock[K_BITS]) - 1
    half = 1 << (clock[K_BITS] - 1)
    old = shown(clock)
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
    if step > far and count >= 2 and 4 * returned >= 3 * count:
        return False
    if ordered and step < small:
        return True
    return 2 * between <= count and (ordered or step <= far or 4 * soon >= 3 * count)


@njit(cache=True, nogil=True)
def add_row(
    rows: NDArray[np.int64], n: int, unit: int, units: int, time: int, why: int, a: int, b: int
) -> int:
    """Add a row; return how many there are."""
    rows[n, R_UNIT], rows[n, R_UNITS], rows[n, R_TIME], rows[n, R_WHY] = unit, units, time, why
    rows[n, R_A], rows[n, R_B] = a, b
    return n + 1


@njit(cache=True, nogil=True)
def weigh(
    rows: NDArray[np.int64],
    first: int,
    clock: NDArray[np.int64],
    at: NDArray[np.int64],
    sure_clock: NDArray[np.int64],
    sure: NDArray[np.int64],
) -> None:
    """Weigh a word whose rows begin with `first`; take back words that make no sense.

    `sure` and `sure_clock` are where the loop was, and the clock, at the latest word that nothing
    can take back.
    """
    wrong, unknown = False, at[N] > first
    for i in range(first, at[N]):
        wrong = wrong or (rows[i, R_WHY] >= 0 and rows[i, R_WHY] != w.NO_CLOCK)
        unknown = unknown and rows[i, R_WHY] == w.NO_CLOCK
    if wrong:
        at[DOUBT] = min(at[DOUBT] + _FAULT, _MOST_DOUBT)
    elif not unknown:
        at[DOUBT] = max(at[DOUBT] - 1, 0)
    if at[LOST] != 0:
        at[N] = sure[N]
    if wrong and (at[LOST] != 0 or at[DOUBT] == _MOST_DOUBT):
        if at[LOST] == 0:
            at[LOST], at[GAP] = 1, sure[AT]
        at[N], at[USABLE], at[LAST], at[EARLY] = sure[N], 0, sure[LAST], sure[EARLY]
        clock[:] = sure_clock
        sure[:] = at
    elif at[DOUBT] == 0:
        if at[LOST] != 0:
            at[LOST], at[N] = 0, _add_gap(rows, at)
        sure[:], sure_clock[:] = at, clock


@njit(cache=True, nogil=True)
def _add_gap(rows: NDArray[np.int64], at: NDArray[np.int64]) -> int:
    if at[AT] == at[GAP]:
        return at[N]
    return add_row(rows, at[N], at[GAP], at[AT] - at[GAP], 0, w.NO_SENSE, 0, 0)


@njit(cache=True, nogil=True)
def finish(
    rows: NDArray[np.int64],
    clock: NDArray[np.int64],
    at: NDArray[np.int64],
    sure_clock: NDArray[np.int64],
    sure: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """End a loop where it is sure, unless that is its beginning; move the state on."""
    if sure[AT] > 0:
        at[:], clock[:] = sure, sure_clock
    if at[LOST] != 0:
        at[N] = _add_gap(rows, at)
    now = clock[K_NOW]
    state[w.S_HIGH], state[w.S_LOOPS] = shown(clock), now >> clock[K_BITS] if now >= 0 else 0
    state[w.S_CLOCK] = w.USABLE if at[USABLE] else w.SPOILT
    state[w.S_LAST], state[w.S_DOUBT], state[w.S_LOST] = at[LAST], at[DOUBT], at[LOST]
    state[w.S_EARLY] += at[EARLY]


@njit(cache=True, nogil=True)
def lost_rows(rows: NDArray[np.int64], losses: NDArray[np.int64]) -> int:
    """Put what is lost of `rows` into `losses`, as `lose` does; return how many there are."""
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
    """Return for how many events, and triggers, the rows need room."""
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
