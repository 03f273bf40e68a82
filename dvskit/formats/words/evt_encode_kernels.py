"""The loop that makes EVT 2.0, EVT 2.1 and EVT 4.0 words of events."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words.evt_kernels import HIGH_STEP

# Across a gap TIME_HIGH rises in steps that no reader doubts, and at a wrap it takes both the last
# value and 0: some readers count only that as one.
_STEP = HIGH_STEP >> 1
_MOST_UNITS = 2  # that one event may take, beside TIME_HIGH


# Places in what tells how words are made: the types of one event, many events (-1: no vectors),
# TIME_HIGH and trigger; units of a word, and the unit with the type.
T_ONE, T_MANY, T_HIGH, T_TRIGGER, T_STRIDE, T_HEAD, TYPE_FIELDS = range(7)


@njit(cache=True, nogil=True)
def encode(
    columns: EventColumns,
    start: int,
    triggers: TriggerColumns,
    trigger_start: int,
    all_triggers: bool,
    types: NDArray[np.int64],
    state: NDArray[np.int64],
    words: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Encode events from `start` and triggers from `trigger_start` on, merged by time.

    `state` is the latest TIME_HIGH, wraps counted, -1 at the start. Returns the next event, the
    next trigger and the number of units; stops early where `words` is full. Triggers behind the
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
