"""Where words come from: a file, read by several threads at once, or a stream that they arrive on.

Both give chunks: words of which the first ones are to be decoded, and those behind them looked at.
A unit is 32 bits, as in the layouts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.input_stream import InputStream
from dvskit.formats.words.layout import UNIT
from dvskit.formats.words.salvage_kernels import LOOK_AHEAD

NEAR = 1 << 12  # units of look-ahead that are read at once; nearly always they are enough
_ARRIVING_UNITS = 1 << 16


class Chunk:
    """Some units: `stop` of them are to be decoded; `number` is that of the first.

    They are in `units` already, or have their places there: then `read` puts those from one place
    on into an array. `left` units are there in all, and `ended` says that no more can come.
    """

    def __init__(
        self,
        units: NDArray[np.uint32],
        number: int,
        stop: int,
        left: int,
        *,
        ended: bool = True,
        read: Callable[[NDArray[np.uint32], int], None] | None = None,
    ) -> None:
        self.number, self.stop = number, stop
        self._units, self._left, self._ended, self._read = units, left, ended, read
        self._near, self._end = min(left, stop + NEAR), min(left, stop + LOOK_AHEAD)
        self._far = read is None

    def fill(self, begin: int, stop: int) -> None:
        """Put the units begin..stop in their places, and those near the end behind the last."""
        if self._read is not None:
            end = self._near if stop == self.stop else stop
            self._read(self._units[begin:end], begin)

    def words(self, *, far: bool) -> NDArray[np.uint32]:
        """Return the units, and those behind them that may be looked at, near or far."""
        if far and not self._far and self._read is not None:
            self._read(self._units[self._near : self._end], self._near)
            self._far = True
        return self._units[: self._end if self._far else self._near]

    def peek(self, at: int, count: int) -> NDArray[np.uint32]:
        """Return `count` units from place `at` on, filled or not; fewer where there are no more."""
        stop = min(at + count, self._left)
        if self._read is None:
            return self._units[at:stop]
        units = np.empty(max(0, stop - at), "<u4")
        self._read(units, at)
        return units

    def ended(self) -> bool:
        """Tell whether nothing stands behind the units that may be looked at far."""
        return self._ended and self._end == self._left


class _File:
    """Reads at any place, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = Lock()

    def read(self, room: memoryview, offset: int) -> None:
        """Fill `room` from byte `offset` on. Raises FormatError where the file ends."""
        count = 0
        while count < len(room):
            got = self._read(room[count:], offset + count)
            if not got:
                raise FormatError(f"{self.path}: became shorter while it was read; read it anew")
            count += got

    def _read(self, room: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [room], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(room)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FileWords:
    """The words of a file, of `width` units each, from byte `start` on.

    waits  whether words may be yet to come: a chunk is then not asked for ahead of its time
    """

    waits = False

    def __init__(self, path: Path, start: int, width: int, most: int) -> None:
        self.start = start
        self._width = width
        self._file = _File(path)
        self._measure()
        self._room = min(most, self._total) + LOOK_AHEAD + 2 * width
        self._buffers: list[NDArray[np.uint32]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def next(self, number: int, most: int) -> Chunk | None:
        """Return the chunk from unit `number` on, of `most` units at most; None at the end.

        The one given before stays as it is, those ahead of it do not.
        """
        left = max(0, self._total - number)
        stop = min(most // self._width * self._width, left)
        if not stop:
            return None
        # The chunk ahead keeps its buffer; that of the one before it is free.
        buffer = self._buffers.pop(0) if len(self._buffers) == 2 else np.empty(self._room, "<u4")
        self._buffers.append(buffer)
        offset = self.start + UNIT * number

        def read(room: NDArray[np.uint32], at: int) -> None:
            self._file.read(room.view(np.uint8).data, offset + UNIT * at)

        return Chunk(buffer, number, stop, left, read=read)

    def move(self, count: int) -> None:
        """Let all units begin `count` bytes further on: words have got out of step."""
        self.start += count
        self._measure()

    def wait(self) -> None:
        """Do nothing: a file is all there."""

    def tail(self, words: int) -> NDArray[np.uint8]:
        """Return the last words, and the bytes behind them that are no whole one."""
        count = min(self._total, words * self._width) * UNIT
        content = np.empty(count + self._bytes - self._total * UNIT, np.uint8)
        self._file.read(content.data, self._file.size - len(content))
        return content

    def _measure(self) -> None:
        self._bytes = max(0, self._file.size - self.start)
        self._total = self._bytes // (UNIT * self._width) * self._width

    def trailing_bytes(self) -> tuple[int, int]:
        """Return where the last whole word ends, in bytes, and how many bytes stand behind it."""
        whole = self._total * UNIT
        return self.start + whole, self._bytes - whole


class StreamWords:
    """The words of a stream whose header, of `start` bytes, has been taken.

    A chunk is what is there. A last unit of one of the types in `heads`, a bit each, is not decoded
    before the unit behind it is there.
    """

    waits = True

    def __init__(self, stream: InputStream, start: int, width: int, heads: int) -> None:
        self.start = start
        self._stream, self._width, self._heads = stream, width, heads
        self._buffer = np.empty(_ARRIVING_UNITS, "<u4")
        self._first = 0  # number of the first unit in the buffer
        self._held = 0  # bytes in the buffer
        self._ended = False
        self._moved = 0  # bytes that are to be left out
        self._more = False

    def next(self, number: int, most: int) -> Chunk | None:
        """Wait for a whole word and return what is there; None at the end."""
        used = UNIT * (number - self._first) + self._moved
        self._moved = 0
        content = self._buffer.view(np.uint8)
        content[: self._held - used] = content[used : self._held].copy()
        self._first, self._held = number, self._held - used
        stop = self._ready()
        while (self._more or not stop) and not self._ended:
            got = self._stream.readinto(content[self._held :].data)
            self._held += got
            self._ended = not got
            self._more, stop = False, self._ready()
        units = self._buffer[: self._whole()]
        if not stop:
            return None
        return Chunk(units, number, stop, len(units), ended=self._ended)

    def move(self, count: int) -> None:
        """Let all units begin `count` bytes further on."""
        self.start += count
        self._moved += count

    def wait(self) -> None:
        """Let the next chunk hold more than the rest of this one, where more can come."""
        self._more = True

    def _whole(self) -> int:
        return self._held // (UNIT * self._width) * self._width

    def _ready(self) -> int:
        whole = self._whole()
        if whole and not self._ended and self._heads >> (int(self._buffer[whole - 1]) >> 28) & 1:
            return whole - 1
        return whole

    def trailing_bytes(self) -> tuple[int, int]:
        """Return where the last whole word ends, in bytes, and how many bytes stand behind it."""
        whole = UNIT * self._whole()
        return self.start + UNIT * self._first + whole, self._held - whole


WordSource = FileWords | StreamWords
