"""The compressions of AEDAT 4, with a limit on the decompressed size of a packet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum

import lz4.frame
import zstandard

from dvskit.formats.decompression import zstd_decompressor

MOST_BYTES = 1 << 27  # per packet, decompressed: some 8 million events
_LZ4_RATIO = 255  # the largest possible
_own = threading.local()


class Compression(IntEnum):
    """Compressions by their numbers in the file header."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4

    @property
    def is_lz4(self) -> bool:
        """Whether it is one of the two LZ4 compressions."""
        return self in (Compression.LZ4, Compression.LZ4_HIGH)

    @property
    def magic(self) -> bytes:
        """The first bytes of compressed data; empty without compression."""
        if self is Compression.NONE:
            return b""
        return b"\x04\x22\x4d\x18" if self.is_lz4 else b"\x28\xb5\x2f\xfd"


class CompressionError(ValueError):
    """Data that does not decompress, or exceeds MOST_BYTES."""


def decompressor(compression: Compression) -> Callable[[memoryview], bytes | memoryview]:
    """Return the function that decompresses a packet. It raises CompressionError."""
    if compression is Compression.NONE:
        return lambda data: data
    return _unpack_lz4 if compression.is_lz4 else _unpack_zstd


def _unpack_lz4(data: memoryview) -> bytes:
    # A limit makes the library reserve all of it, which takes longer than a small frame.
    limit = MOST_BYTES + 1 if len(data) > MOST_BYTES // _LZ4_RATIO else -1
    if not hasattr(_own, "lz4"):  # creating one takes a tenth of the time of a small frame
        _own.lz4 = lz4.frame.create_decompression_context()
    content: bytes
    is_whole = False
    try:
        content, used, is_whole = lz4.frame.decompress_chunk(_own.lz4, data, limit)
    except (RuntimeError, MemoryError) as error:
        raise CompressionError(f"it does not decompress ({error})") from None
    finally:
        if not is_whole:  # the library's reset would keep the size that the frame announced
            del _own.lz4
    if len(content) > MOST_BYTES:
        raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
    if not is_whole:
        raise CompressionError("its compressed data ends early")
    if used < len(data):
        raise CompressionError("bytes follow its compressed data")
    return content


def _unpack_zstd(data: memoryview) -> bytes:
    try:
        if zstandard.frame_content_size(data) > MOST_BYTES:
            raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
        content: bytes = zstd_decompressor().decompress(
            data, max_output_size=MOST_BYTES, allow_extra_data=False
        )
    except (MemoryError, zstandard.ZstdError) as error:
        raise CompressionError(f"it does not decompress ({error})") from None
    return content


class Compressor:
    """Compresses packets, equally on any machine with the same libraries; for one thread."""

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
