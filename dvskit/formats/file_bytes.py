"""Bytes of files: as an array, in parts on all threads, or of a small file at once. And of pipes.

A pipe can be read once, and its length is unknown.
"""

from __future__ import annotations

import mmap
import os
import stat
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count

_STEP_BYTES = 1 << 22
_PART_BYTES = 1 << 18  # worth a thread


class FileMap:
    """The bytes of a nonempty file, read on access, in order.

    `data` is read-only. Accessed pages count as memory of the process until `forget`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.data: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self._forgotten = 0

    def forget(self, stop: int) -> None:
        """Release the memory of the bytes before `stop`; they can be read again."""
        stop = min(stop, len(self.data)) // _STEP_BYTES * _STEP_BYTES
        if stop > self._forgotten and hasattr(mmap, "MADV_DONTNEED"):
            begin = self._forgotten
            self._map.madvise(mmap.MADV_DONTNEED, begin, stop - begin)
            self._forgotten = stop


_SEEKING = Lock()


def _read(file: FileIO, at: int, view: memoryview) -> int:
    """Read until the view is full or the file ends; return the number of bytes."""
    filled = 0
    while filled < len(view):
        if hasattr(os, "preadv"):
            count = os.preadv(file.fileno(), [view[filled:]], at + filled)
        else:
            with _SEEKING:  # threads share one position in a file
                file.seek(at + filled)
                count = file.readinto(view[filled:])
        if not count:
            break
        filled += count
    return filled


def read_at(file: FileIO, at: int, view: memoryview) -> int:
    """Fill `view` with the bytes of a file from `at` on; return their number: fewer at its end.

    It uses all threads, as copying from the system's cache takes time. May be called from several
    threads.
    """
    parts = len(view) // _PART_BYTES
    parts = min(thread_count(), parts) if parts > 1 and hasattr(os, "preadv") else 1
    if parts == 1:
        return _read(file, at, view)
    cuts = [len(view) * part // parts for part in range(parts + 1)]
    ends = list(cuts[:-1])

    def work(part: int) -> None:
        ends[part] += _read(file, at + cuts[part], view[cuts[part] : cuts[part + 1]])

    run_parts(work, parts)
    return next((end for end, cut in zip(ends, cuts[1:], strict=True) if end < cut), len(view))


# Data sets consist of small files, and opening each a second time takes as long as decoding it. The
# bytes read to detect the format are therefore decoded too.
SMALL_BYTES = 1 << 16

State = tuple[int, int, int]  # of a file: it differs if the file has changed


class FirstBytes(NamedTuple):
    """The beginning of a file.

    data   the first bytes; all bytes of a small file
    state  of a small file, the result of `state_of`; None for others
    """

    data: bytes
    state: State | None


def read_first(path: Path, count: int) -> FirstBytes:
    """Return the first `count` bytes of a file, or all of a small one. Raises OSError."""
    # Opening a file by its Path takes as long as reading it.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        length = status.st_size
        if length > SMALL_BYTES or not stat.S_ISREG(status.st_mode):
            return FirstBytes(file.read(count), None)
        data = file.read(max(1, length))
    return FirstBytes(data, state_of(status) if len(data) == length else None)


def read_small(path: Path, room: memoryview) -> int:
    """Read a small file into `room`, of SMALL_BYTES, and return its length; 0 for other files.

    Raises OSError.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if status.st_size > SMALL_BYTES or not stat.S_ISREG(status.st_mode):
            return 0
        return status.st_size if file.readinto(room) == status.st_size else 0


def state_of(status: os.stat_result) -> State:
    """Return a state that differs if a file has changed."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def is_named_pipe(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a pipe in the file system, such as one of <(command)."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


class NamedPipe(FileIO):
    """A named pipe, closed with its last reader."""

    def __del__(self) -> None:
        self.close()


class Readable(Protocol):
    """A raw binary stream, such as sys.stdin.buffer.raw or open(path, "rb", buffering=0)."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Wait for some bytes and put them into `buffer`; return their number, 0 at the end."""


class InputStream:
    """A stream with access to its next bytes before reading. `name` is for messages.

    raw  an unbuffered binary stream, such as sys.stdin.buffer.raw

        with open("events.raw", "rb", buffering=0) as raw:
            stream = dvskit.formats.InputStream(raw, "events.raw")
            stream.peek(5)    # b'% evt'
            recording = dvskit.formats.open_stream(stream, None, dvskit.formats.ReadOptions())
            events = recording.load()
    """

    def __init__(self, raw: Readable, name: str) -> None:
        self.name = name
        self._raw = raw
        self._ahead = bytearray()  # peeked but not yet read
        self._ended = False

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes without taking them; fewer only at the end.

        Waits for them.
        """
        while len(self._ahead) < count and self._look_further(count - len(self._ahead)):
            pass
        return bytes(self._ahead[:count])

    def peek_more(self) -> bytes:
        """Wait for bytes beyond those peeked so far; return all of them.

        They are the same as before only at the end.
        """
        self._look_further(1 << 12)
        return bytes(self._ahead)

    def readinto(self, buffer: memoryview) -> int:
        """Put available bytes into `buffer`; waits for at least one, 0 at the end."""
        if self._ahead:
            count = min(len(self._ahead), len(buffer))
            buffer[:count] = self._ahead[:count]
            del self._ahead[:count]
            return count
        if self._ended or not len(buffer):
            return 0
        count = self._raw.readinto(buffer) or 0
        self._ended = count == 0
        return count

    def _look_further(self, count: int) -> bool:
        if self._ended:
            return False
        room = bytearray(count)
        got = self._raw.readinto(memoryview(room)) or 0
        self._ended = got == 0
        self._ahead += room[:got]
        return got > 0
