"""LZ4 frames, decompressed by compiled loops.

Layout: github.com/lz4/lz4, doc/lz4_Frame_format.md and doc/lz4_Block_format.md; the checksum is
XXH32 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.unaligned import copy_8, copy_16, load_u8, load_u16, load_u32

MAGIC = 0x184D2204
# Errors of decompression; other results are the number of bytes.
ENDS_EARLY, MALFORMED, NO_ROOM, BAD_CHECKSUM, BYTES_BEHIND = -1, -2, -3, -4, -5
SPARE = 32  # bytes after the end of an array that may be overwritten

_P1, _P2, _P3, _P4, _P5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
_MASK = 0xFFFFFFFF


@njit(cache=True, nogil=True)
def _turn(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK


@njit(cache=True, nogil=True)
def xxh32(data: NDArray[np.uint8], at: int, stop: int) -> int:
    """Return the XXH32 checksum of data[at:stop], seed 0."""
    length = stop - at
    if length >= 16:
        a, b, c, d = (_P1 + _P2) & _MASK, _P2, 0, (-_P1) & _MASK
        while stop - at >= 16:
            a = (_turn((a + load_u32(data, at) * _P2) & _MASK, 13) * _P1) & _MASK
            b = (_turn((b + load_u32(data, at + 4) * _P2) & _MASK, 13) * _P1) & _MASK
            c = (_turn((c + load_u32(data, at + 8) * _P2) & _MASK, 13) * _P1) & _MASK
            d = (_turn((d + load_u32(data, at + 12) * _P2) & _MASK, 13) * _P1) & _MASK
            at += 16
        total = (_turn(a, 1) + _turn(b, 7) + _turn(c, 12) + _turn(d, 18)) & _MASK
    else:
        total = _P5
    total = (total + length) & _MASK
    while stop - at >= 4:
        total = (_turn((total + load_u32(data, at) * _P3) & _MASK, 17) * _P4) & _MASK
        at += 4
    while at < stop:
        total = (_turn((total + load_u8(data, at) * _P5) & _MASK, 11) * _P1) & _MASK
        at += 1
    total = ((total ^ (total >> 15)) * _P2) & _MASK
    total = ((total ^ (total >> 13)) * _P3) & _MASK
    return total ^ (total >> 16)


@njit(cache=True, nogil=True)
def _block(
    data: NDArray[np.uint8],
    at: int,
    stop: int,
    out: NDArray[np.uint8],
    low: int,
    place: int,
    room: int,
) -> int:
    """Decompress the block data[at:stop] to out[place:room]; matches reach back to `low`.

    Returns the end of the written bytes, or an error. The arrays contain SPARE bytes after `stop`
    and `room`.
    """
    while at < stop:
        token = load_u8(data, at)
        at += 1
        count = token >> 4
        if count == 15:
            more = 255
            while more == 255:
                if at >= stop:
                    return ENDS_EARLY
                more = load_u8(data, at)
                at += 1
                count += more
        if count > stop - at:
            return ENDS_EARLY
        if count > room - place:
            return NO_ROOM
        copy_16(out, place, data, at)
        done = 16
        while done < count:
            copy_16(out, place + done, data, at + done)
            done += 16
        at += count
        place += count
        if at == stop:  # the last sequence has no match
            return place
        if stop - at < 2:
            return ENDS_EARLY
        offset = load_u16(data, at)
        at += 2
        count = token & 15
        if count == 15:
            more = 255
            while more == 255:
                if at >= stop:
                    return ENDS_EARLY
                more = load_u8(data, at)
                at += 1
                count += more
        count += 4
        begin = place - offset
        if offset == 0 or begin < low:
            return MALFORMED
        if count > room - place:
            return NO_ROOM
        if offset >= 8:
            copy_8(out, place, out, begin)
            copy_8(out, place + 8, out, begin + 8)
            done = 16
            while done < count:
                copy_8(out, place + done, out, begin + done)
                copy_8(out, place + done + 8, out, begin + done + 8)
                done += 16
        else:
            for i in range(8):
                out[np.uint64(place + i)] = out[np.uint64(begin + i)]
            back = offset * (7 // offset + 1)  # the pattern again, at least 8 bytes back
            done = 8
            while done < count:
                copy_8(out, place + done, out, place + done - back)
                done += 8
        place += count
    return ENDS_EARLY


@njit(cache=True, nogil=True)
def _begin(data: NDArray[np.uint8], at: int, stop: int) -> int:
    """Check the head of a frame; return the offset of its blocks, or an error."""
    if stop - at < 7:
        return ENDS_EARLY
    flags = load_u8(data, at + 4)
    if load_u32(data, at) != MAGIC or flags >> 6 != 1 or flags & 0x03:
        return MALFORMED  # only version 1; reserved bits and dictionaries are not read
    length = 14 if flags & 0x08 else 6
    if stop - at <= length:
        return ENDS_EARLY
    if load_u8(data, at + length) != (xxh32(data, at + 4, at + length) >> 8) & 0xFF:
        return BAD_CHECKSUM
    return at + length + 1


@njit(cache=True, nogil=True)
def decompress(
    data: NDArray[np.uint8], at: int, stop: int, out: NDArray[np.uint8], start: int, room: int
) -> int:
    """Decompress the frame data[at:stop] to out[start:room].

    Returns the number of bytes, or an error. The arrays must contain SPARE bytes after `stop` and
    `room`.
    """
    flags = load_u8(data, at + 4) if stop - at > 4 else 0
    place = start
    at = _begin(data, at, stop)
    if at < 0:
        return at
    linked, block_checks, whole_check = not flags & 0x20, flags & 0x10, flags & 0x04
    while True:
        if stop - at < 4:
            return ENDS_EARLY
        size = load_u32(data, at)
        at += 4
        if size == 0:
            break
        plain = size >> 31
        size &= 0x7FFFFFFF
        if size + (4 if block_checks else 0) > stop - at:
            return ENDS_EARLY
        if plain:
            if size > room - place:
                return NO_ROOM
            out[place : place + size] = data[at : at + size]
            end = place + size
        else:
            end = _block(data, at, at + size, out, start if linked else place, place, room)
            if end < 0:
                return end
        if block_checks:
            if load_u32(data, at + size) != xxh32(data, at, at + size):
                return BAD_CHECKSUM
            at += 4
        at += size
        place = end
    if whole_check:
        if stop - at < 4:
            return ENDS_EARLY
        if load_u32(data, at) != xxh32(out, start, place):
            return BAD_CHECKSUM
        at += 4
    return place - start if at == stop else BYTES_BEHIND


@njit(cache=True, nogil=True)
def decompress_all(
    data: NDArray[np.uint8],
    packets: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    done: int,
    most: int,
) -> tuple[int, int]:
    """Decompress frames (offset and length in `data`, as rows) to `out`, one after the other.

    Begins with number `done`; ends[i] receives the end of number i - 1. Returns the number of
    decompressed frames, and 0 or the error of the next one: NO_ROOM if it exceeds `out` or `most`
    bytes.
    """
    for i in range(done, packets.shape[0]):
        room = min(len(out) - SPARE, ends[i] + most)
        begin = packets[i, 0]
        size = decompress(data, begin, begin + packets[i, 1], out, ends[i], room)
        if size < 0:
            return i, size
        ends[i + 1] = ends[i] + size
    return packets.shape[0], 0
