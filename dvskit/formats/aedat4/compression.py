"""The compressions of AEDAT 4, with a limit on what a packet may become."""

from __future__ import annotations

from enum import IntEnum

import lz4.frame
import numpy as np
import zstandard

from dvskit.formats.aedat4 import lz4_kernels as lz4_frames
from dvskit.formats.decompression import pieces, zstd_decompressor

MOST_BYTES = 1 << 27  # of one packet, decompressed: some 8 million events
TOO_LARGE = f"it decompresses to more than {MOST_BYTES} bytes"
_FIRST_BYTES = 1 << 16
_LZ4_PROBLEMS = {
    lz4_frames.ENDS_EARLY: "its compressed data ends early",
    lz4_frames.MALFORMED: "it does not decompress",
    lz4_frames.BAD_CHECKSUM: "a checksum of its compressed data is wrong",
    lz4_frames.BYTES_BEHIND: "bytes stand behind its compressed data",
}


class Compression(IntEnum):
    """As numbered in the file header."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4

    @property
    def magic(self) -> bytes:
        """The first bytes of compressed data; empty without compression."""
        if self is Compression.NONE:
            return b""
        lz4_family = self in (Compression.LZ4, Compression.LZ4_HIGH)
        return b"\x04\x22\x4d\x18" if lz4_family else b"\x28\xb5\x2f\xfd"


class CompressionError(ValueError):
    """Data that does not decompress, or to more than MOST_BYTES."""


def _unpack_lz4(data: bytes) -> bytes:
    # Room grows: a small packet that claims to be huge costs what it really holds.
    source = np.frombuffer(data + bytes(lz4_frames.SPARE), np.uint8)
    room = max(_FIRST_BYTES, 4 * len(data))
    while True:
        room = min(room, MOST_BYTES)
        target = np.empty(room + lz4_frames.SPARE, np.uint8)
        size = lz4_frames.decompress(source, 0, len(data), target, 0, room)
        if size >= 0:
            return target[:size].tobytes()
        if size != lz4_frames.NO_ROOM:
            raise CompressionError(_LZ4_PROBLEMS[size])
        if room == MOST_BYTES:
            raise CompressionError(TOO_LARGE)
        del target
        room *= 4


def _unpack_zstd(data: bytes) -> bytes:
    parts, total = [], 0
    for part in pieces(data, "zstd", MOST_BYTES):
        parts.append(part)
        total += len(part)
        if total > MOST_BYTES:
            raise CompressionError(TOO_LARGE)
    return b"".join(parts)


def decompress(data: bytes, compression: Compression) -> bytes:
    """Return the decompressed data. Raises CompressionError."""
    try:
        if compression is Compression.NONE:
            return data
        if compression in (Compression.LZ4, Compression.LZ4_HIGH):
            return _unpack_lz4(data)
        return _unpack_zstd(data)
    except (RuntimeError, EOFError, MemoryError, zstandard.ZstdError) as error:
        raise CompressionError(f"it does not decompress ({error})") from None


def decompress_begun(data: bytes, compression: Compression) -> bytes:
    """Return what can be had of data that was cut off, MOST_BYTES at most; empty for none."""
    try:
        if compression is Compression.NONE:
            return data
        if compression in (Compression.LZ4, Compression.LZ4_HIGH):
            begun: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, MOST_BYTES)
            return begun
        with zstd_decompressor().stream_reader(data) as reader:
            return reader.read(MOST_BYTES)
    except (RuntimeError, EOFError, MemoryError, zstandard.ZstdError):
        return b""


class Compressor:
    """Compresses packets, the same on any machine with the same libraries; for one thread."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._zstd: zstandard.ZstdCompressor | None = None
        if compression in (Compression.ZSTD, Compression.ZSTD_HIGH):
            level = 12 if compression is Compression.ZSTD_HIGH else 3
            self._zstd = zstandard.ZstdCompressor(level=level)

    def compress(self, data: bytes | memoryview) -> bytes:
        """Return the compressed data."""
        if self._zstd is not None:
            return self._zstd.compress(data)
        if self._compression is Compression.NONE:
            return bytes(data)
        level = 9 if self._compression is Compression.LZ4_HIGH else 0
        packed: bytes = lz4.frame.compress(data, compression_level=level, store_size=False)
        return packed
