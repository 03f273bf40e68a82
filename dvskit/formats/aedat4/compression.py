"""The compressions of AEDAT 4, with a limit on what a packet may become."""

from __future__ import annotations

from enum import IntEnum

import lz4.frame
import zstandard

MOST_BYTES = 1 << 27  # of one packet, decompressed: some 8 million events
_FIRST_BYTES = 1 << 16


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
    # Parts of growing size: a small packet that claims to be huge costs what it really holds.
    decompressor = lz4.frame.LZ4FrameDecompressor()
    parts = [decompressor.decompress(data, max_length=max(_FIRST_BYTES, 4 * len(data)))]
    total = len(parts[0])
    while not decompressor.eof:
        if total > MOST_BYTES:
            raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
        part = decompressor.decompress(b"", max_length=max(_FIRST_BYTES, total))
        if not part and (decompressor.needs_input or not decompressor.eof):
            raise CompressionError("its compressed data ends early")
        parts.append(part)
        total += len(part)
    if decompressor.unused_data:
        raise CompressionError(
            f"{len(decompressor.unused_data)} bytes stand behind its compressed data"
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpack_zstd(data: bytes) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_BYTES)
    with decompressor.stream_reader(data) as reader:
        parts = []
        total = 0
        while part := reader.read(max(_FIRST_BYTES, total)):
            parts.append(part)
            total += len(part)
            if total > MOST_BYTES:
                raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
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


def compress(data: bytes, compression: Compression) -> bytes:
    """Return the compressed data, the same on any machine with the same libraries."""
    if compression is Compression.NONE:
        return data
    if compression in (Compression.LZ4, Compression.LZ4_HIGH):
        level = 9 if compression is Compression.LZ4_HIGH else 0
        packed: bytes = lz4.frame.compress(data, compression_level=level, store_size=False)
        return packed
    level = 12 if compression is Compression.ZSTD_HIGH else 3
    return zstandard.ZstdCompressor(level=level).compress(data)
