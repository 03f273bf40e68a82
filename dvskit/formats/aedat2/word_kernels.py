# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loops over words of AEDAT 2: eight bytes, an address and a time, both big-endian."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns

# Indices in the result of `scan` for a part: the number of events, first and last stored time, and
# whether the times are in order.
S_EVENTS, S_FIRST, S_LAST, S_ORDERED, SCAN_FIELDS = range(5)
# Indices in the parameters of a layout.
(L_OTHER, L_SPARE, L_X_SHIFT, L_X_MASK, L_Y_SHIFT, L_Y_MASK, L_P_SHIFT, L_ON, L_RIGHT, L_BOTTOM,
 L_WIDTH, L_HEIGHT) = range(12)  # fmt: skip
# Indices in the state of an unfinished frame.
F_SIGNALS, F_FIRST_RESET, F_LAST_RESET, F_FIRST_SIGNAL, F_LEFT, F_RIGHT, F_TOP, F_BOTTOM = range(8)
RESET, SIGNAL = 1, 2  # the samples read of a pixel
NEVER = -(1 << 62)


@njit(cache=True, nogil=True)
def _swap(value: int) -> int:
    v = np.uint32(value)
    return np.uint32(
        (v >> np.uint32(24))
        | ((v >> np.uint32(8)) & np.uint32(0xFF00))
        | ((v << np.uint32(8)) & np.uint32(0xFF0000))
        | (v << np.uint32(24))
    )


@njit(cache=True, nogil=True)
def scan(words: NDArray[np.uint32], other: int, row: NDArray[np.int64]) -> None:
    """Write a summary of the events among words (n, 2), in the file's byte order, to `row`."""
    bits = _swap(np.uint32(other))
    events = 0
    steps_back = 0
    first = 0
    last = np.int32(0)
    begin = 0
    while begin < len(words) and words[begin, 0] & bits:
        begin += 1
    if begin < len(words):
        first = np.int32(_swap(words[begin, 1]))
        last = np.int32(first)
    for i in range(begin, len(words)):
        is_event = (words[i, 0] & bits) == 0
        t = np.int32(_swap(words[i, 1]))
        events += is_event
        steps_back += is_event & (t < last)
        last = t if is_event else last
    row[S_EVENTS] = events
    row[S_FIRST] = first
    row[S_LAST] = last
    row[S_ORDERED] = steps_back == 0


@njit(cache=True, nogil=True)
def decode(
    words: NDArray[np.uint32],
    layout: NDArray[np.int64],
    base_us: int,
    columns: EventColumns,
) -> bool:
    """Decode the events among words into columns of their number; True if all are valid.

    `base_us` is added to the stored times. A valid event has no spare bits set, and is on the
    sensor.
    """
    t, x, y, p = columns
    other, spare = np.uint32(layout[L_OTHER]), np.uint32(layout[L_SPARE])
    x_shift, x_mask = np.uint32(layout[L_X_SHIFT]), np.uint32(layout[L_X_MASK])
    y_shift, y_mask = np.uint32(layout[L_Y_SHIFT]), np.uint32(layout[L_Y_MASK])
    p_shift, on = np.uint32(layout[L_P_SHIFT]), np.uint32(layout[L_ON])
    right, bottom = np.int32(layout[L_RIGHT]), np.int32(layout[L_BOTTOM])
    width, height = np.uint32(layout[L_WIDTH]), np.uint32(layout[L_HEIGHT])
    bad = np.uint32(0)
    if len(t) == len(words):
        for i in range(len(words)):
            address = _swap(words[i, 0])
            column = right - np.int32((address >> x_shift) & x_mask)
            row = bottom - np.int32((address >> y_shift) & y_mask)
            bad |= address & spare
            # As unsigned numbers, values below 0 are beyond the sensor's end.
            bad |= np.uint32(np.uint32(column) >= width) | np.uint32(np.uint32(row) >= height)
            t[i] = base_us + np.int64(np.int32(_swap(words[i, 1])))
            x[i] = column
            y[i] = row
            p[i] = ((address >> p_shift) & np.uint32(1)) == on
        return bad == 0
    k = 0
    for i in range(len(words)):
        address = _swap(words[i, 0])
        bad |= address & spare
        if address & other:
            continue
        column = right - np.int32((address >> x_shift) & x_mask)
        row = bottom - np.int32((address >> y_shift) & y_mask)
        bad |= np.uint32(np.uint32(column) >= width) | np.uint32(np.uint32(row) >= height)
        t[k] = base_us + np.int64(np.int32(_swap(words[i, 1])))
        x[k] = column
        y[k] = row
        p[k] = ((address >> p_shift) & np.uint32(1)) == on
        k += 1
    return bad == 0


@njit(cache=True, nogil=True)
def add_samples(
    address: NDArray[np.uint32],
    t: NDArray[np.int64],
    start: int,
    level: NDArray[np.uint16],
    image: NDArray[np.uint16],
    seen: NDArray[np.uint8],
    state: NDArray[np.int64],
) -> int:
    """Add APS words from `start` on to a frame; return the index of the next frame's first.

    The frame ends when all pixels have been read, or when a pixel is reset that was read before.
    Samples off the frame, and of read cycles other than reset (0) and signal (1), are skipped.
    """
    height, width = image.shape
    for i in range(start, len(t)):
        word = np.int64(address[i])
        cycle, column, row = word >> 10 & 3, word >> 12 & 0x3FF, height - 1 - (word >> 22 & 0x1FF)
        sample = np.uint16(word & 0x3FF)
        if column >= width or row < 0 or cycle > 1:
            continue
        if cycle == 0:
            if seen[row, column] & SIGNAL:
                return i
            seen[row, column] = RESET
            level[row, column] = sample
            if state[F_FIRST_RESET] == NEVER:
                state[F_FIRST_RESET] = t[i]
            state[F_LAST_RESET] = t[i]
        elif seen[row, column] == RESET:
            seen[row, column] |= SIGNAL
            # Light discharges the pixel: the signal is below the reset level, except for noise.
            above = level[row, column] > sample
            image[row, column] = level[row, column] - sample if above else 0
            if state[F_SIGNALS] == 0:
                state[F_FIRST_SIGNAL] = t[i]
            state[F_SIGNALS] += 1
            state[F_LEFT] = min(state[F_LEFT], column)
            state[F_RIGHT] = max(state[F_RIGHT], column)
            state[F_TOP] = min(state[F_TOP], row)
            state[F_BOTTOM] = max(state[F_BOTTOM], row)
            if state[F_SIGNALS] == width * height:
                return i + 1
    return len(t)
