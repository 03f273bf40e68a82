"""Bytes that arrive in pieces, as through a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dvskit.formats import Format, InputStream, ReadOptions, Recording, open_stream


class Pieces:
    """A raw stream that gives one piece at a time, and counts how many were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.asked = 0

    def readinto(self, buffer: memoryview) -> int:
        if not self._rest:
            self.asked += 1
            self._rest = next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def cut(content: bytes, length: int) -> Iterator[bytes]:
    return (content[at : at + length] for at in range(0, len(content), length))


def arrive(
    content: bytes, length: int = 1 << 20, row: Format | None = None, **options: Any
) -> Recording:
    stream = InputStream(Pieces(cut(content, length)), "pipe")
    return open_stream(stream, row, ReadOptions(**options))
