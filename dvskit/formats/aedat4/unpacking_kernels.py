# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over the events of packets. What is read of a file is checked before it is used."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.aedat4 import lz4_kernels as lz4
from dvskit.formats.aedat4.packet_kernels import locate_vector
from dvskit.formats.storage import EventColumns
from dvskit.formats.unaligned import load_i64, load_u8, load_u16, load_u32

EVENT_BYTES = 16
EVTS = int.from_bytes(b"EVTS", "little")

# What became of packets that were split at once.
GOOD, BAD_EVENTS, OTHERWISE = range(3)
_HEAD_BYTES = 256


@njit(cache=True, nogil=True)
def locate_events(data: NDArray[np.uint8], at: int, size: int) -> tuple[int, int]:
    """Return where the events of a packet begin, and their number: -1, 0 for a damaged packet.

    They must be all it holds: less than two events fit behind them.
    """
    start, count = locate_vector(data, at, size, EVTS, EVENT_BYTES)
    if at + size - (start + EVENT_BYTES * count) >= 2 * EVENT_BYTES:
        return -1, 0
    return start, count


@njit(cache=True, nogil=True)
def locate_all(data: NDArray[np.uint8], packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for packets (place and length in `data`, a row each) where the events of each begin.

    And their number, behind it; a damaged packet has -1 and 0.
    """
    events = np.empty_like(packets)
    for i in range(packets.shape[0]):
        events[i, 0], events[i, 1] = locate_events(data, packets[i, 0], packets[i, 1])
    return events


@njit(cache=True, nogil=True)
def unpack_lz4(
    data: NDArray[np.uint8], packets: NDArray[np.int64], out: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Decompress packets one behind the other; return where their events are, as `locate_all`."""
    place, room = 0, len(out) - lz4.SPARE
    events = np.empty_like(packets)
    for i in range(packets.shape[0]):
        begin = packets[i, 0]
        size = lz4.decompress(data, begin, begin + packets[i, 1], out, place, room)
        if size < 0:
            events[i, 0], events[i, 1] = -1, 0
            continue
        events[i, 0], events[i, 1] = locate_events(out, place, size)
        place = min((place + size + 15) & ~15, room)
    return events


@njit(cache=True, nogil=True)
def _split_run(
    data: NDArray[np.uint8], at: int, width: int, height: int, columns: EventColumns
) -> bool:
    t, x, y, p = columns
    bad = False
    for i in range(t.size):
        time, rest = load_i64(data, at + 16 * i), load_i64(data, at + 16 * i + 8)
        column, row = rest & 0xFFFF, (rest >> 16) & 0xFFFF
        t[i] = time
        x[i] = column
        y[i] = row
        p[i] = ((rest >> 32) & 0xFF) != 0
        bad |= (column >= width) | (row >= height)
    for i in range(1, t.size):
        bad |= t[i] < t[i - 1]
    return bad


@njit(cache=True, nogil=True)
def split_events(
    data: NDArray[np.uint8],
    events: NDArray[np.int64],
    width: int,
    height: int,
    columns: EventColumns,
) -> bool:
    """Split the events of packets into columns.

    `events` says where in `data` the events of each packet begin, and their number. An event has
    two words of 64 bits: time; x, y, polarity. Returns whether any runs back from the one ahead of
    it or is off the sensor.
    """
    t, x, y, p = columns
    bad = False
    place = 0
    for i in range(events.shape[0]):
        stop = place + events[i, 1]
        if stop > place:
            part = EventColumns(t[place:stop], x[place:stop], y[place:stop], p[place:stop])
            bad |= _split_run(data, events[i, 0], width, height, part)
            bad |= place > 0 and t[place] < t[place - 1]
            place = stop
    return bad


@njit(cache=True, nogil=True)
def expected_counts_lz4(data: NDArray[np.uint8], packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many events each packet says to have, from its first bytes; -1 for no answer."""
    counts = np.empty(packets.shape[0], np.int64)
    head = np.zeros(_HEAD_BYTES + lz4.SPARE, np.uint8)
    for i in range(packets.shape[0]):
        begin = packets[i, 0]
        head[:4] = 0
        lz4.decompress(data, begin, begin + packets[i, 1], head, 0, _HEAD_BYTES)
        counts[i] = -1
        table = 4 + load_u32(head, 4)
        if table + 4 > _HEAD_BYTES:
            continue
        vtable = table - np.int64(np.int32(load_u32(head, table)))
        if vtable < 0 or vtable + 6 > _HEAD_BYTES:
            continue
        place = table + load_u16(head, vtable + 4)
        if place + 4 > _HEAD_BYTES:
            continue
        start = place + load_u32(head, place)
        if start + 4 <= _HEAD_BYTES and EVENT_BYTES * load_u32(head, start) <= load_u32(head, 0):
            counts[i] = load_u32(head, start)
    return counts


@njit(cache=True, nogil=True)
def expected_counts_zstd(data: NDArray[np.uint8], packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many events fit the size that each frame says to have; -1 for no answer.

    Layout: RFC 8878, 3.1.1.1. Such packets have 32 bytes ahead of their events in all files known.
    """
    counts = np.empty(packets.shape[0], np.int64)
    for i in range(packets.shape[0]):
        at = packets[i, 0]
        counts[i] = -1
        if packets[i, 1] < 18:
            continue
        flags = load_u8(data, at + 4)
        single = (flags >> 5) & 1
        place = at + 6 - single + (0, 1, 2, 4)[flags & 3]
        size = -1
        if flags >> 6 == 3:
            size = load_i64(data, place)
        elif flags >> 6 == 2:
            size = load_u32(data, place)
        elif flags >> 6 == 1:
            size = load_u16(data, place) + 256
        elif single:
            size = load_u8(data, place)
        if size >= 32:
            counts[i] = (size - 32) // EVENT_BYTES
    return counts
