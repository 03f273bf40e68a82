"""Where words come from: a file, read by several threads at once, or a stream that they arrive on.

Both hand out chunks: words of which the first ones are to be decoded, and those behind them looked
at. A unit is 32 bits, as in the layouts.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.input_stream import InputStream
from dvskit.formats.words._kernels import LOOK_AHEAD

UNIT = 4  # bytes
NEAR = 1 << 12  # units of look-ahead that are read at once; nearly always they are enough
_ARRIVING_UNITS = 1 << 16


class Supply(Protocol):
    """Words of a recording, chunk by chunk.

    start  byte offset of the first unit
    """

    start: int

    def next(self, number: int, most: int) -> int:
        """Begin a chunk at unit `number`; return how many units to decode, `most` at most.

        0 is the end. Units behind the last chunk's end are the only ones that can be asked for.
        """

    def fill(self, begin: int, stop: int) -> None:
        """Put the units begin..stop of the chunk in their places."""

    def words(self, *, far: bool) -> NDArray[np.uint32]:
        """Return the units of the chunk and those behind it, near or far."""

    def peek(self, at: int, count: int) -> NDArray[np.uint32]:
        """Return `count` units from place `at` of the chunk on, whether or not they are filled."""

    def odd_bytes(self) -> tuple[int, int]:
        """Return where the last whole word ends, in bytes, and how many bytes stand behind it."""


class FileWords:
    """The words of a file, of `width` units each, from byte `start` on."""

    def __init__(self, path: Path, start: int, width: int, most: int) -> None:
        self.path, self.start, self._width = path, start, width
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._bytes = max(0, os.fstat(self._handle).st_size - start)
        self._total = self._bytes // (UNIT * width) * width
        self._buffer = np.empty(min(most, self._total) + LOOK_AHEAD + 2 * width, "<u4")
        self._number = self._stop = self._near = self._end = 0
        self._far = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def next(self, number: int, most: int) -> int:
        """Begin a chunk at unit `number`; return how many units to decode, 0 at the end."""
        left = max(0, self._total - number)
        self._number, self._far = number, False
        self._stop = min(most // self._width * self._width, left)
        self._near, self._end = min(left, self._stop + NEAR), min(left, self._stop + LOOK_AHEAD)
        return self._stop

    def fill(self, begin: int, stop: int) -> None:
        """Read the units begin..stop; those to look at, too, where `stop` is the chunk's end.

        Raises FormatError where the file has become shorter.
        """
        stop = self._near if stop == self._stop else stop
        self._read(self._buffer[begin:stop], begin)

    def words(self, *, far: bool) -> NDArray[np.uint32]:
        """Return the units of the chunk and those behind it, near or far."""
        if far and not self._far:
            self._read(self._buffer[self._near : self._end], self._near)
            self._far = True
        return self._buffer[: self._end if self._far else self._near]

    def peek(self, at: int, count: int) -> NDArray[np.uint32]:
        """Return `count` units from place `at` of the chunk on, fewer at the end of the file."""
        units = np.empty(max(0, min(count, self._total - self._number - at)), "<u4")
        self._read(units, at)
        return units

    def odd_bytes(self) -> tuple[int, int]:
        """Return where the last whole word ends, in bytes, and how many bytes stand behind it."""
        whole = self._total * UNIT
        return self.start + whole, self._bytes - whole

    def _read(self, units: NDArray[np.uint32], at: int) -> None:
        room = units.view(np.uint8).data
        offset = self.start + UNIT * (self._number + at)
        count = 0
        while count < len(room):
            got = os.preadv(self._handle, [room[count:]], offset + count)
            if not got:
                raise FormatError(f"{self.path}: became shorter while it was read; read it anew")
            count += got


class ArrivingWords:
    """The words of a stream whose header, of `start` bytes, has been taken.

    A chunk is what is there; a last unit that `waits` marks by its type is not decoded before the
    one behind it is there.
    """

    def __init__(self, stream: InputStream, start: int, width: int, waits: int) -> None:
        self.start = start
        self._stream, self._width, self._waits = stream, width, waits
        self._buffer = np.empty(_ARRIVING_UNITS, "<u4")
        self._first = 0  # number of the first unit in the buffer
        self._held = 0  # bytes in the buffer
        self._ended = False

    def next(self, number: int, most: int) -> int:
        """Wait for a whole word; return how many units to decode, 0 at the end."""
        used = UNIT * (number - self._first)
        content = self._buffer.view(np.uint8)
        content[: self._held - used] = content[used : self._held].copy()
        self._first, self._held = number, self._held - used
        stop = 0
        while not stop and not self._ended:
            got = self._stream.readinto(content[self._held :].data)
            self._held += got
            self._ended = got == 0
            stop = self._whole()
            if stop and not self._ended and self._waits >> (int(self._buffer[stop - 1]) >> 28) & 1:
                stop -= 1
        return stop or self._whole()

    def _whole(self) -> int:
        return self._held // (UNIT * self._width) * self._width

    def fill(self, begin: int, stop: int) -> None:
        """Do nothing: what has arrived is in its place."""

    def words(self, *, far: bool) -> NDArray[np.uint32]:
        """Return the units that are there."""
        return self._buffer[: self._whole()]

    def peek(self, at: int, count: int) -> NDArray[np.uint32]:
        """Return `count` units from place `at` of the chunk on, fewer where they are not there."""
        return self._buffer[: self._whole()][at : at + count]

    def odd_bytes(self) -> tuple[int, int]:
        """Return where the last whole word ends, in bytes, and how many bytes stand behind it."""
        whole = UNIT * self._whole()
        return self.start + UNIT * self._first + whole, self._held - whole
