# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""What loops over words share: a judge of clocks, and, in salvage, a clock that may run back.

A row is a word that tells time or that is lost: its unit, how many units it has, its time and why
it is lost (EVENT, CLOCK, AGAIN, TRIGGERED: it is not). A clock counts on from wrap to wrap.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import keep_in_order, lose
from dvskit.formats.words import layout as w

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
FEW = 6  # times that can show that the first one of all is wrong

# In the place of why a word is lost. AGAIN: the clock is told as it is already.
EVENT, CLOCK, AGAIN, TRIGGERED = -1, -2, -3, -4
R_UNIT, R_UNITS, R_TIME, R_WHY, R_A, R_B, ROW = range(7)
# Places in what a clock knows: its value, the values that it had some units ahead, and how often it
# was set.
K_NOW, K_FLOOR, K_LATER, K_NEXT, K_AGE, KNOWN = range(6)

GROUP = 1 << 13  # rows that are judged together, by themselves and as many that follow
SURE = 1 << 24  # a step of less, either way, needs no judging
_FLOOR_UNITS = 1 << 13
_OLD = 8  # values that a clock can begin anew behind


@njit(cache=True, nogil=True)
def judge(
    old: int,
    new: int,
    following: NDArray[np.int64],
    count: int,
    bits: int,
    small: int,
    far: int,
    near: int,
) -> int:
    """Judge the clock value `new` behind `old` (-1: none) by the `count` values that follow.

    Values have `bits` bits and wrap: a smaller value is a step back unless it is smaller by more
    than half the range. Steps below `small` are good if all around are. A value is spurious where
    most of those that follow stand between the old one and it, or where it is more than `far` ahead
    and too few follow within `near`. A step back is spurious, unless it is wider than `far` and
    most that follow go on from there: the clock was reset. Several steps ahead may lead round the
    whole range: a wide one is spurious where nearly all that follow go on from the old value.
    """
    mask = (1 << bits) - 1
    half = 1 << (bits - 1)
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
def start_clock(now: int) -> NDArray[np.int64]:
    """Return what a clock knows at its beginning; it does not run yet where `now` is negative."""
    clock = np.zeros(KNOWN, np.int64)
    clock[K_NOW] = clock[K_FLOOR] = clock[K_LATER] = now
    clock[K_AGE] = _OLD if now >= 0 else 0
    return clock


@njit(cache=True, nogil=True)
def sure_step(clock: NDArray[np.int64], at: int, value: int, bits: int) -> int:
    """Return the step from the clock, at unit `at`, to a value, either way."""
    now = clock[K_NOW]
    if at >= clock[K_NEXT]:
        clock[K_FLOOR] = clock[K_LATER] if clock[K_LATER] >= 0 else now
        clock[K_LATER] = now
        clock[K_NEXT] = at + _FLOOR_UNITS
    half = 1 << (bits - 1)
    return ((value - now + half) & ((1 << bits) - 1)) - half


@njit(cache=True, nogil=True)
def far_back(clock: NDArray[np.int64], step: int, far: int) -> bool:
    """Tell whether a step leads far behind all that the clock has been of late.

    Never behind its first values, any of which may be damaged.
    """
    return step < -far and clock[K_NOW] + step < clock[K_FLOOR] - far and clock[K_AGE] >= _OLD


@njit(cache=True, nogil=True)
def begins_anew(
    clock: NDArray[np.int64], value: int, following: NDArray[np.int64], count: int, near: int,
    bits: int,
) -> bool:  # fmt: skip
    """Tell whether most of the values that follow go on from a value that leads back."""
    mask = (1 << bits) - 1
    restarted = 0
    for i in range(count):
        onward = (following[i] - value) & mask
        restarted += onward < min(near, (clock[K_NOW] - value) & mask)
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
def leads_astray(now: int, step: int, following: NDArray[np.int64], count: int, bits: int) -> bool:
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
    anew: bool,
    bits: int,
) -> int:
    """Set the clock to a value, which is judged by what follows where its step is not sure.

    Where it begins `anew`, that is read as a wrap. Returns SPURIOUS (it is not set), RESET or
    ACCEPT.
    """
    now = clock[K_NOW]
    clock[K_AGE] += 1
    if now < 0:
        agreed = count >= FEW and _goes_on(following[0], following[1:], count - 1, bits)
        if agreed and following[0] < value and not _is_near(value, following, count, bits):
            return w.SPURIOUS  # rather than a wrap right behind the first value
        clock[K_NOW] = clock[K_LATER] = clock[K_FLOOR] = value
        return w.ACCEPT
    if anew:
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
def count_rows(rows: NDArray[np.int64], stop: int) -> int:
    """Return how many rows are of words ahead of unit `stop`."""
    low, high = 0, rows.shape[0]
    while low < high:
        middle = (low + high) // 2
        if rows[middle, R_UNIT] < stop:
            low = middle + 1
        else:
            high = middle
    return low


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
