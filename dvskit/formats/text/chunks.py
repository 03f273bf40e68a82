"""Whole lines of a file or a pipe, some megabytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.file_bytes import read_at
from dvskit.formats.text import line_kernels as k

CHUNK_BYTES = 1 << 23
LONGEST_LINE = 1 << 16


class Chunk(NamedTuple):
    """Lines of a file.

    data      uint8, with at least PADDING bytes behind the lines; valid until the chunk after next
    end       where the last line ends in `data`; the first begins at 0
    offset    where the first line begins in the file
    too_long  bytes of one line that is too long to be an event; `end` is 0 then
    """

    data: NDArray[np.uint8]
    end: int
    offset: int
    too_long: int = 0

    def find(self, start: int) -> int:
        """Return where the first line begins that begins at `start` or behind it, or `end`."""
        if start == 0:
            return 0
        size = 1 << 8
        for at in range(start - 1, self.end, size):
            found = np.flatnonzero(self.data[at : min(at + size, self.end)] == 10)
            if found.size:
                return at + int(found[0]) + 1
        return self.end


# Puts bytes from a place in the file on into a view; returns how many, 0 at the end.
_Fill = Callable[[memoryview, int], int]


def file_chunks(path: Path, start: int) -> Iterator[Chunk]:
    """Yield the lines of a file from byte `start` on, where a line begins."""
    with path.open("rb", buffering=0) as file:
        yield from chunks(lambda view, at: read_at(file, at, view), start)


def chunks(fill: _Fill, start: int) -> Iterator[Chunk]:
    """Yield the lines of what `fill` gives, from byte `start` on, as soon as they are whole."""
    buffers = [bytearray(LONGEST_LINE + CHUNK_BYTES + k.PADDING) for _ in range(2)]
    cutter, turn = _Cutter(start), 0
    while count := fill(
        memoryview(buffers[turn])[LONGEST_LINE : LONGEST_LINE + CHUNK_BYTES], cutter.at
    ):
        yield from cutter.cut(buffers[turn], LONGEST_LINE, LONGEST_LINE + count)
        turn = 1 - turn
    yield from cutter.rest()


class _Cutter:
    """Cuts what arrives behind whole lines. `at` is the place in the file that it has reached."""

    def __init__(self, start: int) -> None:
        self.at = start
        self._ahead = b""  # a line that has begun
        self._skipped = 0  # bytes of a line that is too long

    def cut(self, buffer: bytearray, start: int, stop: int) -> Iterator[Chunk]:
        """Take buffer[start:stop]; there is room for a line ahead of it."""
        if self._skipped:
            first = buffer.find(b"\n", start, stop) + 1 or stop
            self._skipped += first - start
            self.at += first - start
            start = first
            if buffer[first - 1] == 10:
                yield self._too_long()
        end = buffer.rfind(b"\n", start, stop) + 1
        if end:
            begin = start - len(self._ahead)
            buffer[begin:start] = self._ahead
            lines = np.frombuffer(buffer, np.uint8)[begin:]
            offset = self.at - len(self._ahead)
            self.at += end - start
            self._ahead, start = b"", end
            yield Chunk(lines, end - begin, offset)
        self._ahead += bytes(memoryview(buffer)[start:stop])
        self.at += stop - start
        if len(self._ahead) > LONGEST_LINE:
            self._ahead, self._skipped = b"", len(self._ahead)

    def rest(self) -> Iterator[Chunk]:
        """Yield the last line, if no line end follows it."""
        if self._skipped:
            yield self._too_long()
        elif self._ahead:
            lines = np.frombuffer(self._ahead + bytes(k.PADDING), np.uint8)
            yield Chunk(lines, len(self._ahead), self.at - len(self._ahead))

    def _too_long(self) -> Chunk:
        length, self._skipped = self._skipped, 0
        return Chunk(np.empty(0, np.uint8), 0, self.at - length, length)
