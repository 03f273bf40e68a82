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
# S_BLIND: the unit up to which words out of step have been looked for, in vain.
(S_HIGH, S_LOOPS, S_CLOCK, S_LAST, S_EARLY, S_EVENTS, S_TRIGGERS, S_LOSSES, S_BLIND) = range(9)
STATE_FIELDS = 9
USABLE, SPOILT = 0, 1
NEVER = -(1 << 62)

# Why a word is lost.
(NO_TYPE, OFF_SENSOR, TIME_BACK, TIME_AHEAD, HIGH_JUMP, CLOCK_RESET, NO_CLOCK, HALF_VECTOR,
 NO_POLARITY) = range(9)  # fmt: skip

LOOK_AHEAD = 1 << 16  # units that may be looked at to judge a time
FOLLOWING = 8  # times that are heard to judge one
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
    most that follow go on from there: the clock was reset.
    """
    mask = (1 << bits) - 1
    half = 1 << (bits - 1)
    step = (new - old) & mask
    ordered = True
    between = behind = soon = restarted = 0
    latest = new
    for i in range(count):
        value = following[i]
        ordered = ordered and ((value - latest) & mask) < small
        latest = value
        between += ((value - old) & mask) < step
        behind += value < new and new - value < half
        soon += ((value - new) & mask) < near
        restarted += ((value - new) & mask) < min(near, (value - old) & mask)
    if old < 0:
        return SPURIOUS if not ordered and 2 * behind > count else ACCEPT
    if new >= old or old - new > half:
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
# of events with a mask, of TIME_HIGH and of others, a bit each; of DAT, the bits of x, y, polarity.
(W_UNITS, W_HEAD, W_ONES, W_MANY, W_HIGH, W_OTHERS, W_X_BITS, W_Y_BITS, W_P_BITS) = range(9)
LOOK_FIELDS = 9
_BAD, _GOOD, _NEUTRAL = 0, 1, 2
IN_STEP, OUT_OF_STEP, UNDECIDED = 0, 1, 2
_WINDOW, _MOST_WORDS = 32, 128
# Bad words of a window where words still are in step, and where they are believed to be anew.
_STAY_BAD, _MOVE_BAD = 8, 4
_FEW = 8  # words that are enough at the end of a file
_NEAR_HIGH, _NEAR_TIME = 1 << 14, 1 << 20  # about 1 s, in 64 us and in us
_SEARCH_UNITS = 1 << 14


@njit(cache=True, nogil=True)
def _unit(content: NDArray[np.uint8], at: int) -> int:
    return (
        np.int64(content[at])
        | np.int64(content[at + 1]) << 8
        | np.int64(content[at + 2]) << 16
        | np.int64(content[at + 3]) << 24
    )


@njit(cache=True, nogil=True)
def _look_at(
    content: NDArray[np.uint8],
    at: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
    memory: NDArray[np.int64],
) -> tuple[int, int]:
    """Return whether the word at a byte can be one, and how long it is.

    `memory` holds the clock and the low part of time of the words ahead of it, -1 for none, and
    the sum of the clock's steps.
    """
    if look[W_X_BITS] > 0:
        time, address = _unit(content, at), _unit(content, at + 4)
        x_bits, y_bits = look[W_X_BITS], look[W_Y_BITS]
        column, row = address & ((1 << x_bits) - 1), address >> x_bits & ((1 << y_bits) - 1)
        on = address >> (x_bits + y_bits) & ((1 << look[W_P_BITS]) - 1)
        if column >= width or row >= height or on > 1:
            return _BAD, 8
        step = (time - memory[0]) & 0xFFFFFFFF
        known = memory[0] >= 0
        memory[0] = time
        memory[2] += step if known else 0
        return _BAD if known and step >= _NEAR_TIME else _GOOD, 8
    size = 4 * look[W_UNITS]
    word = _unit(content, at + 4 * look[W_HEAD])
    kind = word >> 28
    mask = np.int64(1)
    if look[W_MANY] >> kind & 1:
        if size == 4:
            size = 8
            mask = _unit(content, at + 4) if at + 8 <= content.size else 1
        else:
            mask = _unit(content, at + 4 - 4 * look[W_HEAD])
    if mask == 0 or look[W_OTHERS] >> kind & 1:
        return _NEUTRAL, size
    if (look[W_ONES] | look[W_MANY]) >> kind & 1:
        low = word >> 22 & 0x3F
        if (word >> 11 & 0x7FF) >= width or (word & 0x7FF) >= height:
            return _BAD, size
        back = low < memory[1]
        memory[1] = low
        return _BAD if back else _GOOD, size
    if look[W_HIGH] >> kind & 1:
        high = word & 0xFFFFFFF
        step = (high - memory[0]) & 0xFFFFFFF if memory[0] >= 0 else 0
        far = step >= _NEAR_HIGH
        memory[0], memory[1] = high, -1
        memory[2] += step
        return _BAD if far else _GOOD, size
    return _BAD, size


@njit(cache=True, nogil=True)
def _in_step(
    content: NDArray[np.uint8],
    start: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
    ended: bool,
    most_bad: int,
) -> tuple[int, int]:
    """Tell whether words can begin at byte `start`, by the words that follow; and how ill they fit.

    At most `most_bad` of them may be bad. The fewer are, and the less the clock steps, the better.
    """
    memory = np.full(3, -1, np.int64)
    memory[2] = 0
    few = _FEW if most_bad == _MOVE_BAD else 0
    at, good, bad = start, 0, 0
    for _ in range(_MOST_WORDS):
        if at + 4 * look[W_UNITS] > content.size:
            if ended:
                fits = good >= few and (
                    _WINDOW * bad <= most_bad * (good + bad) or good + bad < _FEW - few
                )
                return IN_STEP if fits else OUT_OF_STEP, (bad << 40) + memory[2]
            return UNDECIDED, 0
        verdict, size = _look_at(content, at, look, width, height, memory)
        at += size
        good += verdict == _GOOD
        bad += verdict == _BAD
        if bad > most_bad or (most_bad == _MOVE_BAD and bad > 0 and good < 2):
            return OUT_OF_STEP, 0
        if good + bad == _WINDOW:
            break
    return IN_STEP if good >= few else OUT_OF_STEP, (bad << 40) + memory[2]


@njit(cache=True, nogil=True)
def _first_bad(
    content: NDArray[np.uint8],
    start: int,
    stop: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
) -> int:
    """Return the first word from byte `start` on that cannot stand behind the others."""
    memory = np.full(3, -1, np.int64)
    at = start
    while at + 4 * look[W_UNITS] <= stop:
        verdict, size = _look_at(content, at, look, width, height, memory)
        if verdict == _BAD:
            return at
        at += size
    return start


@njit(cache=True, nogil=True)
def find_shift(
    content: NDArray[np.uint8],
    start: int,
    stop: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
    blind: int,
    ended: bool,
) -> tuple[int, int, int, int]:
    """Find where words in content[start:stop] get out of step: bytes are missing, or too many.

    Returns (verdict, at, found, blind): the byte of the first word that cannot be one and where
    most of those behind it cannot either; the byte behind it where words go on, not in step with
    it; and the byte up to which that has been looked for in vain. Nothing is looked for ahead of
    byte `blind`. UNDECIDED: the content ends too soon behind `at`, though the file has not `ended`.
    """
    fresh = np.full(3, -1, np.int64)
    width_bytes = 4 * look[W_UNITS]
    at = start
    while at + width_bytes <= stop:
        fresh[:] = -1
        verdict, size = _look_at(content, at, look, width, height, fresh)
        clock = fresh[0] >= 0 and look[W_X_BITS] == 0  # any value could be one
        if (verdict != _BAD and not clock) or at < blind:
            at += size
            continue
        behind = at if clock else at + size
        step, _ = _in_step(content, behind, look, width, height, ended, _STAY_BAD)
        if step == UNDECIDED:
            return UNDECIDED, at, at, blind
        blind = at + size
        if step == IN_STEP:
            at += size
            continue
        if clock:  # those that stand well behind it are not lost
            at = _first_bad(content, at, stop, look, width, height)
        for place in range(at + 1, at + 4 * _SEARCH_UNITS):
            stays = (place - at) % width_bytes == 0
            most = _STAY_BAD if stays else _MOVE_BAD
            step, ill = _in_step(content, place, look, width, height, ended, most)
            if step == UNDECIDED and place < at + 64 * width_bytes:
                return UNDECIDED, at, at, at
            blind = place
            if step == UNDECIDED or (step == IN_STEP and stays):
                break
            if step == IN_STEP:
                best = place
                for other in range(place + 1, place + width_bytes):
                    step, worse = _in_step(content, other, look, width, height, ended, _MOVE_BAD)
                    if step == IN_STEP and worse < ill and (other - at) % width_bytes != 0:
                        best, ill = other, worse
                return OUT_OF_STEP, at, best, best
    return IN_STEP, stop, stop, blind
