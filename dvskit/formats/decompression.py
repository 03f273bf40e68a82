"""Decompression with a limit on the size of the result."""

from __future__ import annotations

import bz2
import threading
from collections.abc import Iterator

import lz4.frame
import zstandard

MOST_WINDOW = 1 << 27  # bytes that a Zstandard frame may refer back to
_PIECE = 1 << 16
# Errors of the libraries for damaged data.
ERRORS = (RuntimeError, EOFError, MemoryError, OSError, ValueError, zstandard.ZstdError)

_own = threading.local()


def zstd_decompressor() -> zstandard.ZstdDecompressor:
    """Return this thread's decompressor: creating one takes longer than a small frame."""
    if not hasattr(_own, "zstd"):
        _own.zstd = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
    made: zstandard.ZstdDecompressor = _own.zstd
    return made


def unpack_zstd(data: bytes | memoryview, most: int) -> bytes:
    """Return the content of a frame, of at most `most` bytes. Raises zstandard.ZstdError."""
    if zstandard.frame_content_size(data) > most:
        raise zstandard.ZstdError(f"it claims to be more than {most} bytes")
    content: bytes = zstd_decompressor().decompress(data, max_output_size=most)
    return content


def pieces(data: bytes, kind: str, limit: int) -> Iterator[bytes]:
    """Yield decompressed pieces of zstd, lz4 or bz2 data, of at most `limit` bytes.

    Raises one of ERRORS for damage, after the pieces before it.
    """
    if kind == "zstd":
        decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
        with decompressor.stream_reader(data) as reader:
            while part := reader.read(min(_PIECE, limit)):
                yield part
        return
    unpacker: lz4.frame.LZ4FrameDecompressor | bz2.BZ2Decompressor
    unpacker = lz4.frame.LZ4FrameDecompressor() if kind == "lz4" else bz2.BZ2Decompressor()
    at = 0
    while not unpacker.eof and at < len(data):
        part = unpacker.decompress(data[at : at + _PIECE], max_length=limit)
        at += _PIECE
        yield part
        while not unpacker.eof and not unpacker.needs_input:
            part = unpacker.decompress(b"", max_length=limit)
            if not part:
                break
            yield part
