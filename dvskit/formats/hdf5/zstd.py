"""Zstandard frames, with a limit on what they may become."""

from __future__ import annotations

import threading

import zstandard

_own = threading.local()  # a decompressor serves one thread at a time, and is dear to make


def unpack_zstd(data: memoryview, most: int) -> bytes:
    """Return the content of a frame, of at most `most` bytes. Raises zstandard.ZstdError."""
    decompressor = getattr(_own, "decompressor", None)
    if decompressor is None:
        decompressor = _own.decompressor = zstandard.ZstdDecompressor()
    if zstandard.frame_content_size(data) > most:
        raise zstandard.ZstdError(f"it claims to be more than {most} bytes")
    content: bytes = decompressor.decompress(data, max_output_size=most)
    return content
