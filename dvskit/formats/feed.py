"""Words of a file or of a stream in order, one window at a time.

A window begins at any byte. Its first words are to be decoded; those after them can be read ahead.
A word is one or more items: numbers of one type.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.file_bytes import Readable, read_at

Items = NDArray[Any]


class WordKind(NamedTuple):
    """The composition of words: `width` items of a type.

    ahead  items after a window that can be read ahead
    """

    item: np.dtype[Any]
    width: int = 1
    ahead: int = 0

    def whole(self, count: int) -> int:
        """Return the number of items in the whole words among `count` bytes."""
        return count // (self.item.itemsize * self.width) * self.width


class WordWindow:
    """Words from byte `offset` on, of which `stop` items are to be decoded.

    They are in an array, or have space there: `read` then fills in items from a place on. `left`
    is the total number of items; once the feed has `ended`, no more can come.
    """

    def __init__(
        self,
        kind: WordKind,
        items: Items,
        offset: int,
        stop: int,
        left: int,
        *,
        ended: bool = True,
        read: Callable[[Items, int], None] | None = None,
    ) -> None:
        self.offset, self.stop = offset, stop
        self._items, self._left, self._read = items, left, read
        self._end = min(left, stop + kind.ahead)
        self.ended = ended and self._end == left

    def fill(self, begin: int, stop: int) -> None:
        """Fill in the items begin..stop; after the last one, also the items to read ahead."""
        if self._read is not None:
            end = self._end if stop == self.stop else stop
            self._read(self._items[begin:end], begin)

    def items(self) -> Items:
        """Return the items, and the items to read ahead after them."""
        return self._items[: self._end]

    def peek(self, at: int, count: int) -> Items:
        """Return `count` items from place `at` on, filled in or not; fewer at the end."""
        stop = min(at + count, self._left)
        if self._read is None:
            return self._items[at:stop]
        items = np.empty(max(0, stop - at), self._items.dtype)
        self._read(items, at)
        return items


class FileFeed:
    """The words of a file, which can be read at any place and from any thread.

    The latest `keep` windows stay valid; earlier ones do not.
    """

    live = False

    def __init__(self, path: Path, kind: WordKind, *, keep: int = 1) -> None:
        self.path, self.kind = path, kind
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._buffers = deque([np.empty(0, kind.item)] * keep)

    def window(self, at: int, most: int, *, longer: bool = False) -> WordWindow | None:
        """Return the window from byte `at` on, of at most `most` items; None if no word is left.

        Its items are not filled in yet.
        """
        kind = self.kind
        left = kind.whole(self.left(at))
        stop = min(most // kind.width * kind.width, left)
        if not stop:
            return None
        room = min(stop + kind.ahead, left)
        buffer = self._buffers.popleft()
        if len(buffer) < room:
            buffer = np.empty(room + room // 8, kind.item)
        self._buffers.append(buffer)

        def read(items: Items, first: int) -> None:
            self.read(items.view(np.uint8).data, at + kind.item.itemsize * first)

        return WordWindow(kind, buffer, at, stop, left, read=read)

    def left(self, at: int) -> int:
        """Return the number of bytes after byte `at`."""
        return max(0, self._size - at)

    def read(self, view: memoryview, at: int) -> None:
        """Fill `view` from byte `at` on. Raises FormatError if the file ends."""
        if read_at(self._file, at, view) < len(view):
            raise FormatError(f"{self.path}: became shorter while it was read; read it again")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StreamFeed:
    """The words of a stream that is read once, from byte `start` on.

    If `live`, bytes arrive over time: a window ends with those that are there, with none to read
    ahead. Otherwise windows are as long as those of a file.
    """

    def __init__(self, stream: Readable, start: int, kind: WordKind, *, live: bool = True) -> None:
        self.kind, self.live = kind, live
        self._stream, self._first = stream, start
        self._bytes = np.empty(0, np.uint8)  # the bytes from `_first` on
        self._held = 0
        self._ended = False

    def window(self, at: int, most: int, *, longer: bool = False) -> WordWindow | None:
        """Return the window of the available bytes from byte `at` on, of at least a word.

        A `longer` window has more than the rest of the window before, if more can come. Bytes
        before `at` are dropped.
        """
        kind = self.kind
        room = kind.item.itemsize * (most if self.live else most + kind.ahead)
        self._move(at, room)
        while not self._ended and (
            longer or not kind.whole(self._held) or (not self.live and self._held < room)
        ):
            got = self._stream.readinto(self._bytes.data[self._held : room]) or 0
            self._held += got
            self._ended = got == 0
            longer = False
        left = kind.whole(self._held)
        if not left:
            return None
        items = self._bytes[: left * kind.item.itemsize].view(kind.item)
        stop = min(left, most // kind.width * kind.width)
        return WordWindow(kind, items, at, stop, left, ended=self._ended)

    def _move(self, at: int, room: int) -> None:
        """Move the start of the buffer to byte `at`, with this much room."""
        rest = self._bytes[at - self._first : self._held]
        if len(self._bytes) < room:
            larger = np.empty(room + room // 8, np.uint8)
            larger[: len(rest)] = rest
            self._bytes = larger
        elif at > self._first:
            self._bytes[: len(rest)] = rest.copy()
        self._first, self._held = at, len(rest)

    def left(self, at: int) -> int:
        """Return the number of bytes received after byte `at`."""
        return self._first + self._held - at

    def close(self) -> None:
        """Do nothing: the caller owns the stream."""


Feed = FileFeed | StreamFeed
