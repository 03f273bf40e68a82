"""Blosc 1 containers, as HDF5 chunks hold them, for the codecs that are at hand: lz4, zlib, zstd.

Layout (github.com/Blosc/c-blosc, README_CHUNK_FORMAT): u8 version, u8 version of the codec, u8
flags (1 bytes shuffled, 2 stored, 4 bits shuffled, 16 blocks not split; codec in the upper three
bits), u8 item bytes, u32 bytes, u32 bytes of a block, u32 bytes of the container; a u32 start for
each block; blocks of streams: a u32 length each, stored as they are where that is their own size.
A block is split into a stream for each byte of an item where it may be and the items are 2 to 16
bytes wide and at least 128 of them.
"""

from __future__ import annotations

import struct
import zlib

import lz4.block
import numpy as np
from numpy.typing import NDArray

from dvskit.formats.hdf5.shuffle import unshuffle
from dvskit.formats.hdf5.zstd import unpack_zstd

_HEADER = struct.Struct("<4B3I")
_SHUFFLED, _STORED, _BITS, _WHOLE = 1, 2, 4, 16
_LZ4, _ZLIB, _ZSTD = 1, 3, 4
_MOST_ITEM_BYTES, _LEAST_ITEMS = 16, 128
_LEVEL = 6  # of the codec, among the options of the HDF5 filter


class BloscError(ValueError):
    """A container that is not what it says."""


def is_known_codec(options: tuple[int, ...]) -> bool:
    """Whether the HDF5 filter's options name a codec that is at hand, without bits shuffled."""
    shuffle = options[5] if len(options) > 5 else 1
    codec = options[6] if len(options) > 6 else 0  # blosclz
    return shuffle < 2 and codec in (1, 2, 4, 5)


def unpack_blosc(packed_data: bytes | memoryview, size: int) -> memoryview:
    """Return what a container of at most `size` bytes holds. Raises BloscError."""
    data = memoryview(packed_data)
    if len(data) < 16:
        raise BloscError(f"{len(data)} bytes are no Blosc container")
    _, _, flags, width, total, block, packed = _HEADER.unpack_from(data)
    if packed != len(data) or total > size or (total and not block):
        raise BloscError(f"a container of {packed} bytes for {total} in {len(data)} for {size}")
    if flags & _STORED:
        if len(data) != 16 + total:
            raise BloscError(f"{len(data) - 16} stored bytes where {total} stand")
        return data[16:]
    if flags & _BITS:
        raise BloscError("its bits are shuffled")
    blocks = -(-total // block) if total else 0
    if 16 + 4 * blocks > len(data):
        raise BloscError(f"{blocks} blocks do not fit into {len(data)} bytes")
    out = np.empty(total, np.uint8)
    starts = struct.unpack_from(f"<{blocks}I", data, 16)
    for number, start in enumerate(starts):
        first = number * block
        place = out[first : min(first + block, total)]
        whole = len(place) == block
        _unpack_block(data, start, flags, width, place, split=whole and not flags & _WHOLE)
    return out.data


def _unpack_block(
    data: memoryview, at: int, flags: int, width: int, out: NDArray[np.uint8], *, split: bool
) -> None:
    size = len(out)
    split = split and 1 < width <= _MOST_ITEM_BYTES and size // width >= _LEAST_ITEMS
    streams = width if split else 1
    want = size // streams
    parts = []
    for _ in range(streams):
        if at + 4 > len(data):
            raise BloscError("its compressed data ends early")
        length = int.from_bytes(data[at : at + 4], "little")
        part = data[at + 4 : at + 4 + length]
        if len(part) != length:
            raise BloscError("its compressed data ends early")
        parts.append(part if length == want else _unpack(part, flags >> 5, want))
        at += 4 + length
    content = np.frombuffer(parts[0] if streams == 1 else b"".join(parts), np.uint8)
    if flags & _SHUFFLED and width > 1:
        unshuffle(content, width, out)
    else:
        out[:] = content


def _unpack(data: memoryview, codec: int, size: int) -> bytes:
    if codec == _ZSTD:
        unpacked = unpack_zstd(data, size)
    elif codec == _LZ4:
        unpacked = lz4.block.decompress(data, uncompressed_size=size)
    elif codec == _ZLIB:
        unpacked = zlib.decompressobj().decompress(data, size + 1)
    else:
        raise BloscError(f"its codec {codec} is not the one that its dataset names")
    if len(unpacked) != size:
        raise BloscError(f"a stream holds {len(unpacked)} bytes where {size} stand")
    return unpacked
