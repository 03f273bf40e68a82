# mypy: allow-untyped-decorators
# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The judge of clocks that the loops over fixed-size words share."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.words import layout as w

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
FEW = 6  # times that can show that the first one of all is wrong


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
