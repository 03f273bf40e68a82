# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that encode events and triggers, merged by time, as EVT words."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.prophesee.evt_kernels import HIGH_STEP
from dvskit.formats.storage import EventColumns, TriggerColumns

# EVT 2.0, EVT 2.1 and EVT 4.0. Across a gap TIME_HIGH rises in steps that no reader doubts, and at
# a wrap it takes both the last value and 0: some readers count only that as one.
_STEP = HIGH_STEP >> 1
_MOST_UNITS = 2  # that one event may take, beside TIME_HIGH

# The settings: the types of one event, many events (-1: no vectors), TIME_HIGH and trigger; units
# of a word, and the unit with the type.
T_ONE, T_MANY, T_HIGH, T_TRIGGER, T_STRIDE, T_HEAD, TYPE_FIELDS = range(7)

# EVT 3.0. The state: E_HIGH is counted through wraps; -1: nothing written yet.
E_HIGH, E_LOW, E_ROW, E_BASE, E_ON, ENCODER_FIELDS = range(6)
# Across gaps TIME_HIGH rises by 1, as cameras do and some readers need in order to count wraps;
# ahead of the last LONG_GAP steps by _LONG_STEP, which is below half a wrap.
LONG_GAP, _LONG_STEP = 1 << 20, 1024
_MOST_WORDS = 8  # that one event may take, beside the steps of TIME_HIGH
_SPAN = 32  # columns of a vector group: 12 + 12 + 8


@njit(cache=True, nogil=True)
def encode_evt(
    columns: EventColumns,
    start: int,
    triggers: TriggerColumns,
    trigger_start: int,
    all_triggers: bool,
    types: NDArray[np.int64],
    state: NDArray[np.int64],
    words: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Encode events from `start` and triggers from `trigger_start` on in EVT 2.0, 2.1 or 4.0.

    `state` is the latest TIME_HIGH, counted through wraps, -1 at the start. Returns the next event,
    the next trigger and the number of units; stops early when `words` is full. Triggers after the
    last event wait, unless `all_triggers`. Times are not negative.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    stride, head, high = types[T_STRIDE], types[T_HEAD], state[0]
    room = words.size - _MOST_UNITS
    i, j, n = start, trigger_start, 0
    while n <= room:
        trigger = False
        if j < trigger_t.size and (trigger_t[j] <= t[i] if i < t.size else all_triggers):
            trigger = True
            now = trigger_t[j]
        elif i < t.size:
            now = t[i]
        else:
            break
        new_high = now >> 6
        if new_high > high:
            if high < 0:
                high = new_high & 0xFFFFFFF  # wraps are counted from the first one
            else:
                edge = high | 0xFFFFFFF
                high = min(new_high, high + _STEP, edge if high < edge else high + 1)
            words[n + head] = types[T_HIGH] << 28 | (high & 0xFFFFFFF)
            if stride == 2:
                words[n + 1 - head] = 0
            n += stride
            continue
        low = now & 0x3F
        if trigger:
            value = np.int64(trigger_id[j]) << 8 | np.int64(trigger_p[j])
            words[n + head] = types[T_TRIGGER] << 28 | low << 22 | value
            if stride == 2:
                words[n + 1 - head] = 0
            n += stride
            j += 1
            continue
        column, row, on = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        first = column & ~31 if stride == 2 else column
        mask = np.int64(0)
        k = i
        if types[T_MANY] >= 0:
            while (
                k < t.size
                and t[k] == now
                and y[k] == y[i]
                and p[k] == p[i]
                and x[k] < first + 32
                and (k == i or x[k] > x[k - 1])
            ):
                mask |= np.int64(1) << (np.int64(x[k]) - first)
                k += 1
        place = low << 22 | first << 11 | row
        if stride == 2:
            words[n + head] = (types[T_MANY] + on) << 28 | place
            words[n + 1 - head] = mask
            n += 2
            i = k
        elif k - i > 2:  # a vector takes two words
            words[n] = (types[T_MANY] + on) << 28 | place
            words[n + 1] = mask
            n += 2
            i = k
        else:
            words[n] = (types[T_ONE] + on) << 28 | place
            n += 1
            i += 1
    state[0] = high
    return i, j, n


@njit(cache=True, nogil=True)
def _vector_run(
    columns: EventColumns,
    first: int,
    base: int,
) -> int:
    """Count the events from `first` on that one vector group at `base` can hold, in their order."""
    t, x, y, p = columns
    if x[first] < base or x[first] >= base + _SPAN:
        return 0
    i = first + 1
    while (
        i < t.size
        and x[i] > x[i - 1]
        and x[i] < base + _SPAN
        and t[i] == t[first]
        and y[i] == y[first]
        and p[i] == p[first]
    ):
        i += 1
    return i - first


@njit(cache=True, nogil=True)
def encode_evt3(
    columns: EventColumns,
    start: int,
    triggers: TriggerColumns,
    trigger_start: int,
    all_triggers: bool,
    width: int,
    state: NDArray[np.int64],
    words: NDArray[np.uint16],
) -> tuple[int, int, int]:
    """Encode events from `start` and triggers from `trigger_start` on in EVT 3.0.

    Returns the next event, the next trigger and the number of words, as `encode_evt` does.
    """
    t, x, y, p = columns
    trigger_t, trigger_id, trigger_p = triggers
    high, low, row = state[E_HIGH], state[E_LOW], state[E_ROW]
    base, base_on = state[E_BASE], state[E_ON]
    leftmost = max(0, width - _SPAN)  # so that a group does not run off the sensor
    room = words.size - _MOST_WORDS
    i, j, n = start, trigger_start, 0
    while n <= room:
        trigger = False
        if j < trigger_t.size and (trigger_t[j] <= t[i] if i < t.size else all_triggers):
            trigger = True
            now = trigger_t[j]
        elif i < t.size:
            now = t[i]
        else:
            break
        new_high = now >> 12
        if high < 0:
            high = 0 if new_high > 0xFFF else new_high  # wraps are counted from the first one
            words[n] = w.TIME_HIGH << 12 | high
            n += 1
            low = base = -1
        while high < new_high and n <= room:
            high += _LONG_STEP if new_high - high > LONG_GAP else 1
            words[n] = w.TIME_HIGH << 12 | (high & 0xFFF)
            n += 1
            low = base = -1  # some readers keep the low part, some clear it: it is written anew
        if high < new_high:
            break
        if n > room:
            break
        if now & 0xFFF != low:
            low = now & 0xFFF
            words[n] = w.TIME_LOW << 12 | low
            n += 1
            base = -1  # some readers lose the vector base: groups go on only from a group
        if trigger:
            words[n] = w.TRIGGER << 12 | np.int64(trigger_id[j]) << 8 | np.int64(trigger_p[j])
            n += 1
            j += 1
            base = -1
            continue
        if y[i] != row:
            row = np.int64(y[i])
            words[n] = w.ADDR_Y << 12 | row
            n += 1
            base = -1
        on = np.int64(p[i])
        fresh_base = np.int64(x[i]) if x[i] < leftmost else np.int64(leftmost)
        fresh = _vector_run(columns, i, fresh_base)
        going = _vector_run(columns, i, base) if base >= 0 and on == base_on else 0
        if max(fresh - 4, going - 3) <= 0:
            words[n] = w.ADDR_X << 12 | on << 11 | np.int64(x[i])
            n += 1
            i += 1
            base = -1
            continue
        count = going
        if fresh - 4 > going - 3:
            count = fresh
            base, base_on = fresh_base, on
            words[n] = w.VECT_BASE_X << 12 | on << 11 | base
            n += 1
        mask = np.int64(0)
        for event in range(i, i + count):
            mask |= np.int64(1) << (np.int64(x[event]) - base)
        words[n] = w.VECT_12 << 12 | (mask & 0xFFF)
        words[n + 1] = w.VECT_12 << 12 | (mask >> 12 & 0xFFF)
        words[n + 2] = w.VECT_8 << 12 | mask >> 24
        n += 3
        base += _SPAN  # readers move on with each vector word
        i += count
    state[E_HIGH], state[E_LOW], state[E_ROW] = high, low, row
    state[E_BASE], state[E_ON] = base, base_on
    return i, j, n
