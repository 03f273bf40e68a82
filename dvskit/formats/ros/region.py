"""Bytes that records stand in: a file, or a chunk of it that was decompressed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import BinaryIO


class Region(ABC):
    """A file or a buffer of `size` bytes. `base` is where it stands in the file.

    exact  whether byte n of the region is byte base + n of the file; false if it was compressed
    whole  whether it is the file itself
    """

    whole = False

    def __init__(self, size: int, base: int, *, exact: bool) -> None:
        self.size, self.base, self.exact = size, base, exact

    @abstractmethod
    def read(self, at: int, count: int) -> bytes | memoryview:
        """Return `count` bytes from `at` on; fewer at the end."""

    def place(self, at: int) -> int:
        """Return where byte `at` stands in the file, or the compressed chunk that holds it."""
        return self.base + at if self.exact else self.base


class FileRegion(Region):
    """A whole file."""

    whole = True

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(size, 0, exact=True)
        self._file = file
        self._at = -1

    def read(self, at: int, count: int) -> bytes:
        """Return `count` bytes from `at` on; fewer at the end."""
        if at != self._at:
            self._file.seek(at)
        data = self._file.read(count)
        self._at = at + len(data)
        return data


class BufferRegion(Region):
    """Bytes in memory."""

    def __init__(self, data: bytes, base: int, *, exact: bool) -> None:
        super().__init__(len(data), base, exact=exact)
        self._data = memoryview(data)

    def read(self, at: int, count: int) -> memoryview:
        """Return `count` bytes from `at` on; fewer at the end."""
        return self._data[at : at + count]
