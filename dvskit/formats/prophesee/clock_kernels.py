# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that all word formats share: the judgment of a step of the clock, and losses."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import lowest_bit
from dvskit.formats.prophesee import layout as w

FOLLOWING = 8  # later values of the clock that judge one

Clock = tuple[int, int, int, int]


@njit(cache=True, nogil=True)
def shown(now: int, bits: int) -> int:
    """Return the value of a clock as words hold it, -1 before the first."""
    return now & ((1 << bits) - 1) if now >= 0 else np.int64(-1)


@njit(cache=True, nogil=True)
def is_confirmed(
    old: int,
    new: int,
    following: NDArray[np.int64],
    count: int,
    lost: bool,
    clock: Clock,
) -> bool:
    """Whether the next `count` values of a clock confirm a step from `old` to `new`.

    `clock` holds the bits of a value, and the limits of a step in order, a short step and a near
    step. Values wrap: a step of half the range or more runs back, and no clock does. Where words
    are being skipped (`lost`), most of the next values must follow `new` in short steps. Elsewhere
    all steps in order confirm a value; if they are not, at most half of the next values may lie
    between `old` and `new`, and most must be near `new` if the step is not short.
    """
    bits, in_order, short, near = clock
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    step = (new - old) & mask
    ordered, latest = True, new
    between = behind = soon = beside = 0
    for i in range(count):
        value = following[i]
        ordered = ordered and ((value - latest) & mask) < in_order
        latest = value
        between += ((value - old) & mask) < step
        behind += 0 < ((new - value) & mask) <= half
        soon += ((value - new) & mask) < near
        beside += ((value - new) & mask) < short
    if old < 0:
        return ordered or 2 * behind <= count
    if step >= half:
        return False
    if lost:
        return 4 * beside >= 3 * count and (step <= short or count > 1)
    repeated = count > 0 and (following[0] - new) & mask == step  # as across a gap
    if step > short and count > 1 and 4 * between >= 3 * count and not (ordered and repeated):
        return False
    if ordered and step < in_order:
        return True
    return 2 * between <= count and (step <= short or 4 * soon >= 3 * count)


@njit(cache=True, nogil=True)
def off_column(width: int, column: int, mask: int) -> int:
    """Return the first column of a mask of 32 pixels that is off the sensor, -1 if none is."""
    room = min(max(width - column, 0), 32)
    beyond = mask >> room
    if beyond == 0:
        return np.int64(-1)
    return column + room + np.int64(lowest_bit(np.uint32(beyond)))  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def begin(state: NDArray[np.int64], losses: NDArray[np.int64], unit: int) -> None:
    """Clear the results of the call before; go on with a loss that has not ended."""
    state[w.S_EVENTS] = state[w.S_TRIGGERS] = state[w.S_LOSSES] = 0
    if state[w.S_LOST] != 0:
        lose(state, losses, unit, state[w.S_LOST] - 1, state[w.S_A], state[w.S_B])


@njit(cache=True, nogil=True)
def lose(
    state: NDArray[np.int64], losses: NDArray[np.int64], unit: int, why: int, a: int, b: int
) -> bool:
    """Begin a loss at a unit; return whether to go on: not where `losses` holds only this one."""
    count = state[w.S_LOSSES]
    losses[count, w.L_UNIT], losses[count, w.L_WHY] = unit, why
    losses[count, w.L_A], losses[count, w.L_B] = a, b
    state[w.S_LOST], state[w.S_A], state[w.S_B] = why + 1, a, b
    state[w.S_LOSSES] = count + 1
    return losses.shape[0] > 1


@njit(cache=True, nogil=True)
def stop_losing(state: NDArray[np.int64], losses: NDArray[np.int64], unit: int) -> bool:
    """End a loss ahead of a unit; return whether `losses` has room for another one."""
    losses[state[w.S_LOSSES] - 1, w.L_UNITS] = unit - losses[state[w.S_LOSSES] - 1, w.L_UNIT]
    state[w.S_LOST] = 0
    return state[w.S_LOSSES] < losses.shape[0]


@njit(cache=True, nogil=True)
def finish(
    state: NDArray[np.int64], losses: NDArray[np.int64], unit: int, events: int, triggers: int
) -> int:
    """Set the numbers of events and triggers, and the length of a loss that goes on."""
    if state[w.S_LOST] != 0:
        losses[state[w.S_LOSSES] - 1, w.L_UNITS] = unit - losses[state[w.S_LOSSES] - 1, w.L_UNIT]
    state[w.S_EVENTS], state[w.S_TRIGGERS] = events, triggers
    return unit
