"""Undo the filters of an HDF5 chunk without the HDF5 library.

This works on several threads, with a limit on the size of a chunk, and an invalid chunk affects
only itself.

Blosc 1 (github.com/Blosc/c-blosc, README_CHUNK_FORMAT): u8 version, u8 version of the codec, u8
flags (1 bytes shuffled, 2 stored, 4 bits shuffled, 16 blocks not split; codec in the upper three
bits), u8 item bytes, u32 bytes, u32 bytes of a block, u32 bytes of the container; a u32 start for
each block; blocks of streams: a u32 length each, stored as they are if that is their own size.
A block is split into a stream for each byte of an item if splitting is allowed, the items are 2 to
16 bytes wide, and there are at least 128 of them.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import NamedTuple

import lz4.block
import numpy as np
import zstandard
from numpy.typing import NDArray

from dvskit.formats.decompression import unpack_zstd
from dvskit.formats.hdf5 import ecf_kernels as k
from dvskit.formats.storage import EventColumns, new_columns

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD, ECF = 32000, 32001, 32004, 32008, 32015, 0x8ECF
# Left to the HDF5 library and hdf5plugin: szip, n-bit, scale-offset, bzip2, Blosc with the other
# codecs, Bitshuffle, Blosc 2.
_BY_LIBRARY = (4, 5, 6, 307, BLOSC, BITSHUFFLE, 32026)
_SPARE = 64  # bytes that a checksum or a second filter may add to a chunk: only a few in practice
_MOST_ECF_EVENTS = 65535  # per chunk, in Prophesee's codec
_MOST_ECF_BYTES = 32 + 24 * _MOST_ECF_EVENTS
_ECF_PROBLEMS = {
    k.ENDS_EARLY: "its codes end early",
    k.LONG_RUN: "a run exceeds its events",
    k.EMPTY_RUN: "a run of no events",
    k.LONG_STEP: "a time step of more than 16 digits",
}

Data = bytes | memoryview


class ChunkError(ValueError):
    """A chunk that cannot be decoded."""


class BloscError(ValueError):
    """An invalid container."""


class ChunkFilter(NamedTuple):
    """One filter of a dataset, as named in its creation properties."""

    code: int
    options: tuple[int, ...]
    name: str


def is_known(each: ChunkFilter) -> bool:
    """Whether a filter can be undone here; others are left to the HDF5 library."""
    if each.code == BLOSC:
        shuffle = each.options[5] if len(each.options) > 5 else 1
        codec = each.options[6] if len(each.options) > 6 else 0  # blosclz
        return shuffle < 2 and codec in (1, 2, 4, 5)
    return each.code in _UNDO or each.code in (SHUFFLE, ECF)


def why_not(each: ChunkFilter, item_bytes: int, chunk_bytes: int) -> str | None:
    """Return why a filter cannot be undone, or None: it is unknown, or has invalid options.

    The HDF5 library, and Blosc's and Bitshuffle's plugins, crash on options of other filters.
    """
    options = each.options
    if not is_known(each) and each.code not in _BY_LIBRARY:
        return "is unknown"
    valid = True
    if each.code == SHUFFLE:
        valid = options == (item_bytes,)
    elif each.code == FLETCHER32:
        valid = not options
    elif each.code == BLOSC:
        valid = len(options) >= 4 and 1 <= options[2] <= 255 and options[3] == chunk_bytes
    elif each.code == BITSHUFFLE:
        valid = len(options) >= 3 and options[2] == item_bytes
    return None if valid else f"has the options {options}"


def undo(data: Data, filters: tuple[ChunkFilter, ...], mask: int, most: int) -> Data:
    """Return a chunk of about `most` bytes as before `filters`, except those of `mask`.

    Raises ChunkError.
    """
    try:
        for number in range(len(filters) - 1, -1, -1):
            if mask >> number & 1:
                continue
            code, options, _ = filters[number]
            if code == SHUFFLE:
                data = _unshuffled(data, options[0])
            else:
                data = _UNDO.get(code, _unpack_blosc)(data, most)
    except (zlib.error, zstandard.ZstdError, lz4.block.LZ4BlockError, BloscError) as error:
        raise ChunkError(f"it does not decompress ({error})") from None
    return data


def undo_ecf(
    data: Data, filters: tuple[ChunkFilter, ...], mask: int, rows: int, out: EventColumns
) -> None:
    """Decode the first `rows` events of a chunk into the columns of that length.

    Prophesee's format is the first of `filters`. Raises ChunkError for a chunk of fewer events, and
    if its codes do not end at its end.
    """
    data = undo(data, filters[1:], mask >> 1, _MOST_ECF_BYTES)
    if len(data) < 4:
        raise ChunkError(f"{len(data)} bytes are not an ECF chunk")
    count = int.from_bytes(data[:4], "little") >> 2
    if count > _MOST_ECF_EVENTS:
        raise ChunkError(f"it claims {count} events, more than {_MOST_ECF_EVENTS}")
    if count < rows:
        raise ChunkError(f"it holds {count} events instead of {rows}")
    columns = out if count == rows else new_columns(count)
    used = k.ecf_decode(np.frombuffer(data, np.uint8), count, *columns)
    if used < 0:
        raise ChunkError(_ECF_PROBLEMS[used])
    if used != len(data):
        raise ChunkError(f"{len(data) - used} bytes follow its events")
    if count > rows:
        out.fill(columns.part(slice(0, rows)))


def _inflate(data: Data, most: int) -> Data:
    decompressor = zlib.decompressobj()
    unpacked = decompressor.decompress(data, most + _SPARE)
    if not decompressor.eof:
        raise ChunkError(
            f"it decompresses to more than its {most} bytes"
            if len(unpacked) > most
            else "its compressed data ends early"
        )
    return unpacked


def _check(data: Data, most: int) -> Data:
    if len(data) < 4:
        raise ChunkError(f"{len(data)} bytes are too few for a checksum")
    content, stored = data[:-4], data[-4:]
    found = k.fletcher32(np.frombuffer(content, np.uint8))
    # The library before 1.6.3 swapped the bytes of the checksum's halves.
    swapped = (found & 0xFF00FF) << 8 | (found >> 8) & 0xFF00FF
    if int.from_bytes(stored, "little") not in (found, swapped):
        raise ChunkError("its checksum is wrong")
    return content


def _unpack_zstd(data: Data, most: int) -> Data:
    return unpack_zstd(data, most + _SPARE)


def _unpack_lzf(data: Data, most: int) -> Data:
    out = np.empty(most + _SPARE, np.uint8)
    made = k.unpack_lzf(np.frombuffer(data, np.uint8), out)
    if made < 0:
        raise ChunkError("it does not decompress (LZF codes that no encoder makes)")
    return out[:made].data


def _unpack_lz4(data: Data, most: int) -> Data:
    """HDF5's LZ4: u64 bytes in all, u32 bytes per block, then blocks after a u32 length each."""
    if len(data) < 12:
        raise ChunkError(f"{len(data)} bytes are not an LZ4 chunk")
    total = int.from_bytes(data[:8], "big")
    block = int.from_bytes(data[8:12], "big")
    if total > most + _SPARE or (total and not block):
        raise ChunkError(f"it claims to have {total} bytes instead of {most}")
    parts = []
    at, left = 12, total
    while left:
        want = min(block, left)
        length = int.from_bytes(data[at : at + 4], "big")
        part = data[at + 4 : at + 4 + length]
        if len(part) != length or not length:
            raise ChunkError("its compressed data ends early")
        parts.append(part if length == want else lz4.block.decompress(part, want))
        if len(parts[-1]) != want:
            raise ChunkError("one of its blocks is too short")
        at, left = at + 4 + length, left - want
    return b"".join(parts)


def _unshuffled(data: Data, width: int) -> Data:
    if width < 2 or not data:
        return data
    out = np.empty(len(data), np.uint8)
    unshuffle(np.frombuffer(data, np.uint8), width, out)
    return out.data


def unshuffle(data: NDArray[np.uint8], width: int, out: NDArray[np.uint8]) -> None:
    """Put the items of `width` bytes back together; bytes after the last are copied as they are."""
    whole = len(data) // width * width
    source, target = data[:whole], out[:whole]
    if width in k.UNSHUFFLE and sys.byteorder == "little":
        k.UNSHUFFLE[width](source, target.view(f"u{width}"))
    else:
        target.reshape(-1, width)[:] = source.reshape(width, -1).T
    out[whole:] = data[whole:]


_HEADER = struct.Struct("<4B3I")
_SHUFFLED, _STORED, _BITS, _WHOLE = 1, 2, 4, 16
_BY_LZ4, _BY_ZLIB, _BY_ZSTD = 1, 3, 4
_MOST_ITEM_BYTES, _LEAST_ITEMS = 16, 128


def _unpack_blosc(packed_data: Data, most: int) -> Data:
    data = memoryview(packed_data)
    if len(data) < 16:
        raise BloscError(f"{len(data)} bytes are not a Blosc container")
    _, _, flags, width, total, block, packed = _HEADER.unpack_from(data)
    if packed != len(data) or total > most or (total and not block):
        raise BloscError(f"a container of {packed} bytes for {total} in {len(data)} for {most}")
    if flags & _STORED:
        if len(data) != 16 + total:
            raise BloscError(f"{len(data) - 16} stored bytes instead of {total}")
        return data[16:]
    if flags & _BITS:
        raise BloscError("its bits are shuffled")
    blocks = -(-total // block) if total else 0
    if 16 + 4 * blocks > len(data):
        raise BloscError(f"{blocks} blocks do not fit into {len(data)} bytes")
    out = np.empty(total, np.uint8)
    starts = struct.unpack_from(f"<{blocks}I", data, 16)
    for number, start in enumerate(starts):
        place = out[number * block : min((number + 1) * block, total)]
        split = len(place) == block and not flags & _WHOLE
        _unpack_block(data, start, flags, width, place, split=split)
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
        length = int.from_bytes(data[at : at + 4], "little")
        part = data[at + 4 : at + 4 + length]
        if at + 4 > len(data) or len(part) != length:
            raise BloscError("its compressed data ends early")
        parts.append(part if length == want else _unpack_stream(part, flags >> 5, want))
        at += 4 + length
    content = np.frombuffer(parts[0] if streams == 1 else b"".join(parts), np.uint8)
    if flags & _SHUFFLED and width > 1:
        unshuffle(content, width, out)
    else:
        out[:] = content


def _unpack_stream(data: memoryview, codec: int, size: int) -> bytes:
    if codec == _BY_ZSTD:
        unpacked = unpack_zstd(data, size)
    elif codec == _BY_LZ4:
        unpacked = lz4.block.decompress(data, uncompressed_size=size)
    elif codec == _BY_ZLIB:
        unpacked = zlib.decompressobj().decompress(data, size + 1)
    else:
        raise BloscError(f"its codec {codec} is not that of its dataset")
    if len(unpacked) != size:
        raise BloscError(f"a stream holds {len(unpacked)} bytes instead of {size}")
    return unpacked


_UNDO = {
    DEFLATE: _inflate,
    FLETCHER32: _check,
    LZF: _unpack_lzf,
    BLOSC: _unpack_blosc,
    LZ4: _unpack_lz4,
    ZSTD: _unpack_zstd,
}
