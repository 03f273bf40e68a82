"""The compressions of chunks, with a limit on what a chunk may become."""

from __future__ import annotations

import bz2
from collections.abc import Iterator

import lz4.frame
import zstandard

from dvskit.formats.ros.container import MOST_BYTES

KINDS = ("none", "", "lz4", "zstd", "bz2")
_PIECE = 1 << 16


def decompress(data: bytes, kind: str, size: int) -> tuple[bytes, str | None]:
    """Return decompressed data of `size` bytes, and None; where it is damaged what comes ahead
    of the damage, and what is wrong.

    `kind` is one of KINDS. Never returns more than `size` bytes, or MOST_BYTES.
    """
    if size > MOST_BYTES:
        return b"", f"a chunk says to hold {size} bytes, more than the {MOST_BYTES} that can be"
    if kind in ("none", ""):
        whole = data[:size]
        problem = None if len(data) == size else f"a chunk holds {len(data)} bytes, not {size}"
        return whole, problem
    parts: list[bytes] = []
    total = 0
    problem = None
    try:
        for part in _pieces(data, kind, size + 1):
            parts.append(part)
            total += len(part)
            if total > size:
                break
    except (RuntimeError, EOFError, MemoryError, OSError, ValueError, zstandard.ZstdError) as error:
        problem = f"a chunk does not decompress ({error})"
    if problem is None and total != size and size < MOST_BYTES:
        problem = f"a chunk decompresses to {'more' if total > size else total} than {size} bytes"
        if total < size:
            problem = f"a chunk decompresses to {total} bytes, not {size}"
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    return whole[:size], problem


def _pieces(data: bytes, kind: str, limit: int) -> Iterator[bytes]:
    """Yield decompressed pieces, so that what comes ahead of an error is had."""
    if kind == "zstd":
        decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_BYTES)
        with decompressor.stream_reader(data) as reader:
            while part := reader.read(_PIECE):
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


def zstd_size(data: bytes | memoryview) -> int:
    """Return how many bytes zstd data say to become; MOST_BYTES where they do not say."""
    try:
        size: int = zstandard.frame_content_size(bytes(data[:32]))
    except zstandard.ZstdError:
        return MOST_BYTES
    return size if size >= 0 else MOST_BYTES
