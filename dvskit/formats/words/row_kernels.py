# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""What loops that judge words share: rows of what they say, and clocks that may run back.

A row is a word that tells time or that is lost: its unit, how many units it has, its time and why
it is lost (EVENT, CLOCK, AGAIN, TRIGGERED: it is not), and two values: for the message of a loss;
the place and the mask of events; the number and the edge of a trigger. A clock counts on from wrap
to wrap.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits, keep_in_order, lose, lowest_bit
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import layout as w

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
FEW = 6  # times that can show that the first one of all is wrong

# In the place of why a word is lost. AGAIN: the clock is told as it is already.
EVENT, CLOCK, AGAIN, TRIGGERED = -1, -2, -3, -4
R_UNIT, R_UNITS, R_TIME, R_WHY, R_A, R_B, ROW = range(7)
Y_AT, P_AT = 16, 32  # bits of a place where the row and the polarity stand, behind the column
# Places in what a clock knows: its value, the values that it had some units ahead, how often it was
# set; then how many bits words have of it, the steps that are small and far, and how far on from a
# value those that follow are near it.
(K_NOW, K_FLOOR, K_LATER, K_NEXT, K_AGE, K_BITS, K_SMALL, K_FAR, K_NEAR, KNOWN) = range(10)

GROUP = 1 << 13  # rows that are judged together, by themselves and as many that follow
SURE = 1 << 24  # a step of less, either way, needs no judging
_FLOOR_UNITS = 1 << 13
_OLD = 8  # values that a clock can begin anew behind


@njit(cache=True, nogil=True)
def start_clock(
    state: NDArray[np.int64], bits: int, small: int, far: int, near: int
) -> NDArray[np.int64]:
    """Return what a clock of `bits` bits knows where a pass is; it does not run yet where -1."""
    clock = np.zeros(KNOWN, np.int64)
    now = np.int64(-1)
    if state[w.S_HIGH] >= 0:
        now = (state[w.S_LOOPS] << bits) | state[w.S_HIGH]
    clock[K_NOW] = clock[K_FLOOR] = clock[K_LATER] = now
    clock[K_AGE] = _OLD if now >= 0 else 0
    clock[K_BITS], clock[K_SMALL], clock[K_FAR], clock[K_NEAR] = bits, small, far, near
    return clock


@njit(cache=True, nogil=True)
def shown(clock: NDArray[np.int64]) -> int:
    """Return the value of a clock as words have it, -1 where it does not run."""
    return clock[K_NOW] & ((1 << clock[K_BITS]) - 1) if clock[K_NOW] >= 0 else np.int64(-1)


@njit(cache=True, nogil=True)
def set_in_turn(
    clock: NDArray[np.int64], new: int, following: NDArray[np.int64], count: int
) -> int:
    """Set the clock to a value, judged by the `count` ones that follow.

    Returns SPURIOUS (it is not set), RESET or ACCEPT. Values wrap: a smaller one is a step back
    unless it is smaller by more than half the range. Small steps are good if all around are. A
    value is spurious where most of those that follow stand between the old one and it, or where it
    is far ahead and too few follow near it. A step back is spurious, unless it is far and most that
    follow go on from there: the clock was reset. Several steps ahead may lead round the whole
    range: a far one is spurious where nearly all that follow go on from the old value.
    """
    verdict = _judge(clock, new, following, count)
    if verdict != w.SPURIOUS:
        now = clock[K_NOW]
        clock[K_NOW] = now + ((new - now) & ((1 << clock[K_BITS]) - 1)) if now >= 0 else new
    return verdict


@njit(cache=True, nogil=True)
def _judge(clock: NDArray[np.int64], new: int, following: NDArray[np.int64], count: int) -> int:
    small, far, near = clock[K_SMALL], clock[K_FAR], clock[K_NEAR]
    mask = (1 << clock[K_BITS]) - 1
    half = 1 << (clock[K_BITS] - 1)
    old = shown(clock)
    step = (new - old) & mask
    ordered = True
    between = behind = soon = restarted = returned = 0
    latest = new
    for i in range(count):
        value = following[i]
        ordered = ordered and ((value - latest) & mask) < small
        latest = value
        between += ((value - old) & mask) < step
        returned += ((value - old) & mask) < min(far, step)
        behind += value < new and new - value < half
        soon += ((value - new) & mask) < near
        restarted += ((value - new) & mask) < min(near, (value - old) & mask)
    if old < 0:
        return w.SPURIOUS if not ordered and 2 * behind > count else w.ACCEPT
    if new >= old or old - new > half:
        if step > far and count >= 2 and 4 * returned >= 3 * count:
            return w.SPURIOUS
        if ordered and step < small:
            return w.ACCEPT
        if 2 * between > count or (not ordered and step > far and 4 * soon < 3 * count):
            return w.SPURIOUS
        return w.ACCEPT
    if old - new > far and count >= 2 and 4 * restarted >= 3 * count:
        return w.RESET
    return w.SPURIOUS


@njit(cache=True, nogil=True)
def step_of(clock: NDArray[np.int64], at: int, value: int) -> tuple[int, bool, bool]:
    """Return the step from the clock, at unit `at`, to a value, either way.

    And whether it leads far behind all that the clock has been of late, but never behind its first
    values, any of which may be damaged; and whether it needs no judging.
    """
    now, far = clock[K_NOW], clock[K_FAR]
    if at >= clock[K_NEXT]:
        clock[K_FLOOR] = clock[K_LATER] if clock[K_LATER] >= 0 else now
        clock[K_LATER] = now
        clock[K_NEXT] = at + _FLOOR_UNITS
    half = 1 << (clock[K_BITS] - 1)
    step = ((value - now + half) & ((1 << clock[K_BITS]) - 1)) - half
    behind = step < -far and now + step < clock[K_FLOOR] - far
    back = now >= 0 and behind and clock[K_AGE] >= _OLD
    return step, back, now >= 0 and not back and -SURE < step <= far


@njit(cache=True, nogil=True)
def _begins_anew(
    clock: NDArray[np.int64], value: int, following: NDArray[np.int64], count: int
) -> bool:
    """Tell whether most of the values that follow go on from a value that leads back."""
    mask = (1 << clock[K_BITS]) - 1
    restarted = 0
    for i in range(count):
        onward = (following[i] - value) & mask
        restarted += onward < min(clock[K_NEAR], (clock[K_NOW] - value) & mask)
    return count >= 2 and 4 * restarted >= 3 * count


@njit(cache=True, nogil=True)
def _is_near(value: int, following: NDArray[np.int64], count: int, bits: int) -> bool:
    """Tell whether most of the values that follow are near one."""
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    near = 0
    for i in range(count):
        near += -SURE < ((following[i] - value + half) & mask) - half < SURE
    return 4 * near >= 3 * count


@njit(cache=True, nogil=True)
def _goes_on(value: int, following: NDArray[np.int64], count: int, bits: int) -> bool:
    """Tell whether the values that follow go on from one: most are near it, or all run on."""
    passed = 0
    latest = value
    for i in range(count):
        passed += (following[i] - latest) & ((1 << bits) - 1)
        latest = following[i]
    return passed < 1 << (bits - 1) or _is_near(value, following, count, bits)


@njit(cache=True, nogil=True)
def _leads_astray(now: int, step: int, following: NDArray[np.int64], count: int, bits: int) -> bool:
    """Tell whether most of the values that follow a step ahead stand between both its ends."""
    between = 0
    for i in range(count):
        between += (following[i] - now) & ((1 << bits) - 1) < step
    return 2 * between > count


@njit(cache=True, nogil=True)
def set_clock(
    clock: NDArray[np.int64],
    step: int,
    value: int,
    following: NDArray[np.int64],
    count: int,
    back: bool,
) -> int:
    """Set the clock to a value, which is judged by what follows where its step is not sure.

    Where it leads `back` and begins anew there, that is read as a wrap. Returns SPURIOUS (it is not
    set), RESET or ACCEPT.
    """
    now, bits = clock[K_NOW], clock[K_BITS]
    if now >= 0 and step > 0 and _leads_astray(now, step, following, count, bits):
        return w.SPURIOUS
    clock[K_AGE] += 1
    if now < 0:
        agreed = count >= FEW and _goes_on(following[0], following[1:], count - 1, bits)
        if agreed and following[0] < value and not _is_near(value, following, count, bits):
            return w.SPURIOUS  # rather than a wrap right behind the first value
        clock[K_NOW] = clock[K_LATER] = clock[K_FLOOR] = value
        return w.ACCEPT
    if back and _begins_anew(clock, value, following, count):
        clock[K_NOW] = now + ((value - now) & ((1 << bits) - 1))
        clock[K_LATER] = clock[K_FLOOR] = clock[K_NOW]
        return w.RESET
    sure = -SURE < step < SURE
    if now + step < 0 or (not sure and not _goes_on(value, following, count, bits)):
        return w.SPURIOUS
    clock[K_NOW] = now + step
    return w.ACCEPT


@njit(cache=True, nogil=True)
def add_row(
    rows: NDArray[np.int64], n: int, unit: int, units: int, time: int, why: int, a: int, b: int
) -> int:
    """Add a row; return how many there are."""
    rows[n, R_UNIT], rows[n, R_UNITS], rows[n, R_TIME], rows[n, R_WHY] = unit, units, time, why
    rows[n, R_A], rows[n, R_B] = a, b
    return n + 1


@njit(cache=True, nogil=True)
def enough_lost(rows: NDArray[np.int64], n: int, lost: NDArray[np.int64], most: int) -> bool:
    """Tell whether `most` stretches of lost words have ended among the first `n` rows.

    Asked ahead of each word. `lost` holds how many have, and whether one goes on.
    """
    goes_on = n > 0 and rows[n - 1, R_WHY] >= 0
    lost[0] += lost[1] != 0 and not goes_on
    lost[1] = goes_on
    return lost[0] >= most


@njit(cache=True, nogil=True)
def choose(rows: NDArray[np.int64], floor: int) -> NDArray[np.bool_]:
    """Mark rows of events and clock, as many as can be in the order of time, from `floor` on."""
    why = rows[:, R_WHY]
    keep = why <= AGAIN
    places = np.flatnonzero((why == EVENT) | (why == CLOCK))
    keep[places] = keep_in_order(rows[:, R_TIME][places], floor, GROUP)
    return keep


@njit(cache=True, nogil=True)
def next_clocks(rows: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each row what the next kept one of the clock from there on tells, -1 for none."""
    found = np.full(rows.shape[0] + 1, -1, np.int64)
    for i in range(rows.shape[0] - 1, -1, -1):
        found[i] = found[i + 1]
        if keep[i] and (rows[i, R_WHY] == CLOCK or rows[i, R_WHY] == AGAIN):
            found[i] = rows[i, R_B]
    return found


@njit(cache=True, nogil=True)
def lost_rows(
    rows: NDArray[np.int64], keep: NDArray[np.bool_], last: int, losses: NDArray[np.int64]
) -> int:
    """Put what is lost of `rows` into `losses`, as `lose` does; return how many there are.

    `last` is the time of the event ahead of them, NEVER for none.
    """
    count = 0
    for i in range(rows.shape[0]):
        why, time = rows[i, R_WHY], rows[i, R_TIME]
        a, b = rows[i, R_A], rows[i, R_B]
        if keep[i]:
            if why == EVENT:
                last = time
            continue
        if why == CLOCK:
            why = np.int64(w.HIGH_JUMP)
        elif why == EVENT:
            why, a, b = np.int64(w.TIME_BACK), last, time
            if last == w.NEVER or time >= last:
                why, a, b = np.int64(w.TIME_AHEAD), time, last
                for later in range(i + 1, min(i + GROUP, rows.shape[0])):
                    if keep[later] and rows[later, R_WHY] == EVENT:
                        b = rows[later, R_TIME]
                        break
        count = lose(losses, count, rows[i, R_UNIT], rows[i, R_UNITS], why, a, b)
    return count


@njit(cache=True, nogil=True)
def count_events(rows: NDArray[np.int64], keep: NDArray[np.bool_]) -> tuple[int, int]:
    """Return for how many events, and triggers, the kept rows need room."""
    events = triggers = 0
    for i in range(rows.shape[0]):
        if keep[i] and rows[i, R_WHY] == EVENT:
            events += count_bits(rows[i, R_B])
        triggers += rows[i, R_WHY] == TRIGGERED
    return events, triggers


@njit(cache=True, nogil=True)
def put_events(
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
    columns: EventColumns,
    triggers: TriggerColumns,
) -> None:
    """Fill columns with the events and triggers of the kept rows."""
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    n = nt = 0
    for i in range(rows.shape[0]):
        a, b = rows[i, R_A], rows[i, R_B]
        if rows[i, R_WHY] == TRIGGERED:
            trigger_t[nt], trigger_id[nt], trigger_p[nt] = rows[i, R_TIME], a, b != 0
            nt += 1
        elif keep[i] and rows[i, R_WHY] == EVENT:
            mask = np.uint32(b)
            while mask != 0:
                t[n], p[n] = rows[i, R_TIME], a >> P_AT != 0
                x[n] = (a & 0xFFFF) + np.int64(lowest_bit(mask))  # type: ignore[call-arg]
                y[n] = a >> Y_AT & 0xFFFF
                mask &= mask - np.uint32(1)
                n += 1
