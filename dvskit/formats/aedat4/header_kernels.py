# mypy: disable-error-code="arg-type,return-value,no-any-return"
"""The walk over the headers of packets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.unaligned import load_u32

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
