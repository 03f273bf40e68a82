"""What the loops over fixed-size words share: places of what they tell, and the judge of clocks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Places in a row of `scan`. R_FIRST and R_NEWEST: first and last TIME_HIGH, -1 where there is none;
# R_EARLY, R_EARLY_TRIGGERS: how many stand ahead of the first; R_END: where the scan ended.
(R_EVENTS, R_TRIGGERS, R_OTHERS, R_EARLY, R_EARLY_TRIGGERS, R_FIRST, R_NEWEST, R_LOOPS, R_CLEAN,
 R_END) = range(10)  # fmt: skip
ROW_FIELDS = 10
# Places in what `decode_clean` tells: whether all was clean, first and last time if there is any,
# and the clock at the end.
C_CLEAN, C_ANY, C_FIRST_T, C_LAST_T, C_HIGH, C_LOOPS, CLEAN_FIELDS = range(7)
# What `goes_on` tells; TOO_FEW: there is no reason to doubt, but more words could give one.
DOUBT, NO_DOUBT, TOO_FEW = range(3)

# Places in the state of a pass. S_HIGH is -1 until the first TIME_HIGH; S_CLOCK is USABLE or, from
# a damaged TIME_HIGH to the next good one, SPOILT.
(S_HIGH, S_LOOPS, S_CLOCK, S_LAST, S_EARLY, S_EVENTS, S_TRIGGERS, S_LOSSES) = range(8)
STATE_FIELDS = 8
USABLE, SPOILT = 0, 1
NEVER = -(1 << 62)

# Why a word is lost.
(NO_TYPE, OFF_SENSOR, TIME_BACK, TIME_AHEAD, HIGH_JUMP, CLOCK_RESET, NO_CLOCK, HALF_VECTOR,
 NO_POLARITY, STRAY_BITS) = range(10)  # fmt: skip

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
FEW = 6  # times that can show that the first one of all is wrong
ACCEPT, SPURIOUS, RESET = 0, 1, 2


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
        return SPURIOUS if not ordered and 2 * behind > count else ACCEPT
    if new >= old or old - new > half:
        if step > far and count >= 2 and 4 * returned >= 3 * count:
            return SPURIOUS
        if ordered and step < small:
            return ACCEPT
        if 2 * between > count or (not ordered and step > far and 4 * soon < 3 * count):
            return SPURIOUS
        return ACCEPT
    if old - new > far and count >= 2 and 4 * restarted >= 3 * count:
        return RESET
    return SPURIOUS


@njit(cache=True, nogil=True)
def lose(
    losses: NDArray[np.int64], count: int, unit: int, length: int, why: int, a: int, b: int
) -> int:
    """Add a loss of `length` units, or lengthen the latest one; return the number of losses."""
    if count > 0:
        latest = losses[count - 1]
        if latest[2] == why and latest[0] + latest[1] == unit:
            latest[1] += length
            return count
    losses[count, 0] = unit
    losses[count, 1] = length
    losses[count, 2] = why
    losses[count, 3] = a
    losses[count, 4] = b
    return count + 1


# Places in what tells how words look: units of a word, its unit with the type, the types of events,
# of events with a mask, of TIME_HIGH and of others, a bit each; of DAT, where x, y and polarity
# stand and how many bits they have, and the bits that are never set.
(W_UNITS, W_HEAD, W_ONES, W_MANY, W_HIGH, W_OTHERS, W_X_AT, W_X_BITS, W_Y_AT, W_Y_BITS, W_P_AT,
 W_P_BITS, W_ZEROS, LOOK_FIELDS) = range(14)  # fmt: skip
