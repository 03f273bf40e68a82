# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over packets, flatbuffers and events. Data from the file is checked before use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import load_i64, load_u8, load_u16, load_u32
from dvskit.formats.storage import EventColumns

HEADER_BYTES = 8  # stream and length
SEEN_BYTES = HEADER_BYTES + 12  # bytes that identify a packet


class PacketRules(NamedTuple):
    """Properties of valid packets.

    streams  int64 (n, 2), the number of each stream and the identifier of its flatbuffers
    wanted   the number of the stream to read
    longest  the most bytes in a packet of that stream
    magic    the first bytes of compressed data; 0 without compression
    table    the byte where the packets end
    """

    streams: NDArray[np.int64]
    wanted: int
    longest: int
    magic: int
    table: int


class PacketWindow(NamedTuple):
    """The bytes `base` to `stop` of a file of `file_bytes` bytes."""

    data: NDArray[np.uint8]
    base: int
    stop: int
    file_bytes: int


@njit(cache=True, nogil=True)
def _length(window: PacketWindow, rules: PacketRules, at: int) -> int:
    """Return the length of the packet at byte `at`; 0 if no valid one begins there."""
    data, place, streams = window.data, at - window.base, rules.streams
    if at == rules.table or window.file_bytes - at < SEEN_BYTES:
        return 0
    stream, length = load_u32(data, place), load_u32(data, place + 4)
    if length == 0 or at + HEADER_BYTES + length > window.file_bytes:
        return 0
    if rules.magic != 0 and load_u32(data, place + HEADER_BYTES) != rules.magic:
        return 0
    if length > (rules.longest if stream == rules.wanted else 0x7FFFFFFF):
        return 0
    kind = load_u32(data, place + HEADER_BYTES + 8)
    for row in range(streams.shape[0]):
        if streams[row, 0] == stream and (rules.magic != 0 or streams[row, 1] == kind):
            return length
    return 0


@njit(cache=True, nogil=True)
def walk(
    window: PacketWindow, rules: PacketRules, at: int, search_from: int, rows: NDArray[np.int64]
) -> tuple[int, int, int, int]:
    """Find packets from byte `at` on, until `rows` is full or the window ends.

    Each wanted packet gives a row: byte offset and length of its content, which is in the window.
    Returns the number of rows, the byte after the packets, the byte to search from if that byte is
    damaged, and the bytes from there on that must be in the window; 0 if it begins no valid packet.
    """
    count = 0
    while count < rows.shape[0] and at < window.file_bytes and at != rules.table:
        if at + min(SEEN_BYTES, window.file_bytes - at) > window.stop:
            break
        length = _length(window, rules, at)
        if length == 0:
            return count, at, search_from, 0
        stop = at + HEADER_BYTES + length
        # Only the length of a packet with valid content is certain.
        search_from = at + 1
        if load_u32(window.data, at - window.base) == rules.wanted:
            if stop > window.stop:
                return count, at, search_from, stop - at
            rows[count, 0], rows[count, 1] = at + HEADER_BYTES, length
            count += 1
            search_from = stop
        at = stop
    return count, at, search_from, SEEN_BYTES


@njit(cache=True, nogil=True)
def search(window: PacketWindow, rules: PacketRules, at: int) -> int:
    """Return the first byte from `at` on where a packet begins, or may begin as the window ends."""
    while at + SEEN_BYTES <= window.stop and _length(window, rules, at) == 0:
        at += 1
    return at


EVENT_BYTES = 16
EVTS = int.from_bytes(b"EVTS", "little")


@njit(cache=True, nogil=True)
def _fields(data: NDArray[np.uint8], at: int, size: int, table: int) -> tuple[int, int, int]:
    """Return the offset of the list of a table's fields, its length and that of the table.

    Offsets count from `at`, where a buffer of `size` bytes begins. The first is -1 if one of them
    points outside it.
    """
    bad = (-1, 0, 0)
    if table + 4 > size:
        return bad
    vtable = table - np.int64(np.int32(load_u32(data, at + table)))
    if vtable < 0 or vtable + 4 > size:
        return bad
    length, table_bytes = load_u16(data, at + vtable), load_u16(data, at + vtable + 2)
    if length < 4 or vtable + length > size or table + table_bytes > size:
        return bad
    return vtable, length, table_bytes


@njit(cache=True, nogil=True)
def locate_events(data: NDArray[np.uint8], at: int, size: int) -> tuple[int, int]:
    """Return the offset of the events of the packet data[at:at + size], and their number.

    They are the vector in the only field of its root table, and must fill the packet: less than
    two events fit after them. Returns (-1, 0) for a damaged packet.
    """
    bad = (-1, 0)
    if size < 16 or load_u32(data, at) != size - 4 or load_u32(data, at + 8) != EVTS:
        return bad
    table = 4 + load_u32(data, at + 4)
    vtable, length, table_bytes = _fields(data, at, size, table)
    if vtable < 0 or length % 2 or table_bytes < 4:
        return bad
    start, count = table, 0
    field = load_u16(data, at + vtable + 4) if length >= 6 else 0
    if field > 0:
        place = table + field
        if field >= table_bytes or place + 4 > size:
            return bad
        start = place + load_u32(data, at + place) + 4
        if start > size:
            return bad
        count = load_u32(data, at + start - 4)
    left = size - (start + EVENT_BYTES * count)
    return (at + start, count) if 0 <= left < 2 * EVENT_BYTES else bad


@njit(cache=True, nogil=True)
def locate_all(data: NDArray[np.uint8], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the offset of the events in each packet data[edges[i]:edges[i + 1]], and their number.

    A damaged packet has -1 and 0.
    """
    events = np.empty((len(edges) - 1, 2), np.int64)
    for i in range(len(edges) - 1):
        events[i, 0], events[i, 1] = locate_events(data, edges[i], edges[i + 1] - edges[i])
    return events


@njit(cache=True, nogil=True)
def _split_run(
    data: NDArray[np.uint8], at: int, width: int, height: int, columns: EventColumns
) -> bool:
    t, x, y, p = columns
    good = True
    for i in range(t.size):
        time, rest = load_i64(data, at + 16 * i), load_i64(data, at + 16 * i + 8)
        column, row = rest & 0xFFFF, (rest >> 16) & 0xFFFF
        t[i] = time
        x[i] = column
        y[i] = row
        p[i] = ((rest >> 32) & 0xFF) != 0
        good &= (column < width) & (row < height)
    for i in range(1, t.size):
        good &= t[i] >= t[i - 1]
    return good


@njit(cache=True, nogil=True)
def split_events(
    data: NDArray[np.uint8],
    events: NDArray[np.int64],
    width: int,
    height: int,
    columns: EventColumns,
) -> bool:
    """Split the events of packets into columns.

    `events` has the offset in `data` of the events of each packet, and their number. An event has
    two words of 64 bits: time; x, y, polarity. Returns whether all events are on the sensor and in
    time order.
    """
    t, x, y, p = columns
    good = True
    place = 0
    for i in range(events.shape[0]):
        stop = place + events[i, 1]
        part = EventColumns(t[place:stop], x[place:stop], y[place:stop], p[place:stop])
        good &= _split_run(data, events[i, 0], width, height, part)
        good &= not 0 < place < stop or t[place] >= t[place - 1]
        place = stop
    return good


@njit(cache=True, nogil=True)
def read_tables(
    data: NDArray[np.uint8],
    start: int,
    widths: NDArray[np.int64],
    values: NDArray[np.int64],
) -> bool:
    """Read the scalar fields of the tables of a vector, which begins at `start`.

    Each table gives a row of `values`, field by field: those of 1 and 8 bytes as numbers, those of
    4 as their bits; 0 for absent fields. Returns whether all offsets stay in `data`.
    """
    size = len(data)
    for row in range(values.shape[0]):
        place = start + 4 * row
        table = place + load_u32(data, place)
        vtable, length, table_bytes = _fields(data, 0, size, table)
        if vtable < 0:
            return False
        for field in range(widths.size):
            slot = 4 + 2 * field
            offset = load_u16(data, vtable + slot) if slot + 2 <= length else 0
            values[row, field] = 0
            if offset == 0:
                continue
            if offset + widths[field] > table_bytes:
                return False
            if widths[field] == 8:
                values[row, field] = load_i64(data, table + offset)
            elif widths[field] == 4:
                values[row, field] = load_u32(data, table + offset)
            else:
                values[row, field] = np.int8(load_u8(data, table + offset))
    return True


@njit(cache=True, nogil=True)
def pack_events(
    t: NDArray[np.int64],
    x: NDArray[np.int16],
    y: NDArray[np.int16],
    p: NDArray[np.bool_],
    words: NDArray[np.int64],
) -> None:
    """Pack events into two words each: time; x in bits 0-15, y in 16-31, polarity in 32-39."""
    for i in range(t.size):
        words[2 * i] = t[i]
        words[2 * i + 1] = (
            np.int64(x[i]) & 0xFFFF | (np.int64(y[i]) & 0xFFFF) << 16 | np.int64(p[i]) << 32
        )
