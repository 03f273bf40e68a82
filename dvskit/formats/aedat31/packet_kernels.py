# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The loops over packets of AEDAT 3.1 and over the events in them: all little-endian."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import load_i64, load_u16, load_u32
from dvskit.formats.storage import EventColumns

# Indices in a row of a table of packets, or of parts of them: the byte of the first event, ...
P_START, P_KIND, P_SOURCE, P_SIZE, P_OVERFLOW, P_NUMBER, PACKET_FIELDS = range(7)
# The state of a walk: a row of the rest of the current packet, and the next header.
W_AT, WALK_FIELDS = PACKET_FIELDS, PACKET_FIELDS + 1
# Indices in the result of `decode` for a part: events, first and last time, and all valid.
D_EVENTS, D_FIRST, D_LAST, D_GOOD, DECODE_FIELDS = range(5)

REACH = 1 << 25
HEAD_BYTES = 28
WORD_BYTES = 8  # of a polarity or special event
MOST_KINDS = 128
MOST_PART = 1 << 20  # events of a packet that are recorded together


@njit(cache=True, nogil=True)
def _number(data: NDArray[np.uint8], at: int) -> int:
    return np.int64(np.int32(load_u32(data, at)))


@njit(cache=True, nogil=True)
def size_fits(kind: int, size: int) -> bool:
    """Return whether events of a kind may have `size` bytes."""
    if kind <= 1:
        return size == 8
    if kind == 2:
        return size >= 36
    if kind == 3:
        return size == 36
    return size == 48 if kind == 4 else size >= 1


@njit(cache=True, nogil=True)
def _behind(data: NDArray[np.uint8], at: int) -> int:
    """Return the end of the packet at `at`, -1 if its header is impossible or cut."""
    left = len(data) - at - HEAD_BYTES
    if left < 0:
        return -1
    kind, source = np.int16(load_u16(data, at)), np.int16(load_u16(data, at + 2))
    size, place = _number(data, at + 4), _number(data, at + 8)
    overflow, capacity = _number(data, at + 12), _number(data, at + 16)
    number, valid = _number(data, at + 20), _number(data, at + 24)
    if (
        0 <= kind < MOST_KINDS
        and size_fits(kind, size)
        and 0 <= place <= max(0, size - 4)
        and (kind > 1 or place == 4)
        and overflow >= 0
        and source >= 0
        and 0 <= valid <= number <= capacity
        and capacity * size <= left
    ):
        return at + HEAD_BYTES + capacity * size
    return -1


@njit(cache=True, nogil=True)
def next_packet(data: NDArray[np.uint8], start: int) -> int:
    """Return the first place from `start` on where two packets, or the last one, start; else -1.

    The first packet must have small sizes and counts, as random bytes rarely do.
    """
    for at in range(start, len(data) - HEAD_BYTES + 1):
        if data[at + 1] or data[at + 7] or data[at + 19] > 7 or data[at + 23] > 7:
            continue
        behind = _behind(data, at)
        if behind == len(data) or (behind >= 0 and _behind(data, behind) >= 0):
            return at
    return -1


@njit(cache=True, nogil=True)
def walk(
    data: NDArray[np.uint8],
    state: NDArray[np.int64],
    kind: int,
    source: int,
    room: int,
    table: NDArray[np.int64],
) -> int:
    """Walk over packets and record those of `kind` and `source` (-1: any) in rows of `table`.

    Returns the number of rows; they hold at most `room` events: a larger packet is recorded in
    parts. Stops if the table or the room is full, after `REACH` bytes, at the end, and before an
    impossible header.
    """
    rows = 0
    held = 0
    farthest = state[W_AT] + REACH
    while rows < len(table) and held < room and state[W_AT] < farthest:
        if state[P_NUMBER]:
            taken = min(state[P_NUMBER], room - held, MOST_PART)
            for i in range(PACKET_FIELDS):
                table[rows, i] = state[i]
            table[rows, P_NUMBER] = taken
            state[P_START] += taken * state[P_SIZE]
            state[P_NUMBER] -= taken
            held += taken
            rows += 1
            continue
        at = state[W_AT]
        behind = _behind(data, at)
        if behind < 0:
            break
        here = np.int64(np.int16(load_u16(data, at)))
        sender = np.int64(np.int16(load_u16(data, at + 2)))
        if (kind < 0 or here == kind) and (source < 0 or sender == source):
            state[P_START] = at + HEAD_BYTES
            state[P_KIND], state[P_SOURCE] = here, sender
            state[P_SIZE], state[P_OVERFLOW] = _number(data, at + 4), _number(data, at + 12)
            state[P_NUMBER] = _number(data, at + 20)
        state[W_AT] = behind
    return rows


@njit(cache=True, nogil=True)
def decode(
    data: NDArray[np.uint8],
    table: NDArray[np.int64],
    width: int,
    height: int,
    events: EventColumns,
    row: NDArray[np.int64],
) -> None:
    """Decode the valid events of recorded polarity packets; write their number to `row`.

    Also writes whether all are on the sensor, at a time of at least 0, and in order.
    """
    t, x, y, p = events
    columns, rows = np.uint32(width), np.uint32(height)
    bad = False
    k = 0
    last = np.int64(0)
    for packet in range(len(table)):
        base = table[packet, P_OVERFLOW] << 31
        at = table[packet, P_START]
        number = table[packet, P_NUMBER]
        valid = np.uint32(1)
        worst = np.uint32(0)
        before = last
        for i in range(number):
            both = load_i64(data, at + 8 * i)
            address = np.uint32(both & 0xFFFFFFFF)
            stamp = both >> 32
            column = address >> np.uint32(17)
            line = (address >> np.uint32(2)) & np.uint32(0x7FFF)
            valid &= address
            now = (base & ~(stamp >> 63)) + stamp  # a negative stamp is impossible: it stays so
            worst |= np.uint32((column >= columns) | (line >= rows) | (now < before))
            before = now
            t[k + i] = before
            x[k + i] = column
            y[k + i] = line
            p[k + i] = (address >> np.uint32(1)) & np.uint32(1)
        if valid:
            bad |= worst != 0
            last = before
            k += number
            continue
        first = k  # the valid ones move up
        for i in range(first, first + number):
            if data[at + 8 * (i - first)] & 1:
                now = t[i]
                bad |= (x[i] >= width) | (y[i] >= height) | (now < last)
                t[k], x[k], y[k], p[k] = now, x[i], y[i], p[i]
                last = now
                k += 1
    row[D_EVENTS] = k
    row[D_FIRST] = t[0] if k else 0
    row[D_LAST] = last
    row[D_GOOD] = not bad


@njit(cache=True, nogil=True)
def latest(data: NDArray[np.uint8], table: NDArray[np.int64]) -> int:
    """Return the latest time of valid events in recorded polarity packets, -1 for none."""
    found = np.int64(-1)
    for packet in range(len(table)):
        base = table[packet, P_OVERFLOW] << 31
        at = table[packet, P_START]
        for _ in range(table[packet, P_NUMBER]):
            if data[at] & 1:
                stamp = _number(data, at + 4)
                found = max(found, base + stamp if stamp >= 0 else stamp)
            at += 8
    return found


@njit(cache=True, nogil=True)
def extent(data: NDArray[np.uint8], table: NDArray[np.int64], sides: NDArray[np.int64]) -> None:
    """Widen `sides`, width and height, to hold the valid events of recorded polarity packets."""
    for packet in range(len(table)):
        at = table[packet, P_START]
        for _ in range(table[packet, P_NUMBER]):
            address = np.uint32(load_u32(data, at))
            if address & np.uint32(1):
                sides[0] = max(sides[0], np.int64(address >> np.uint32(17)) + 1)
                sides[1] = max(
                    sides[1], np.int64((address >> np.uint32(2)) & np.uint32(0x7FFF)) + 1
                )
            at += 8
