"""Bytes that arrive: a pipe, which can be read once and does not tell its length."""

from __future__ import annotations

from typing import Protocol


class Readable(Protocol):
    """A raw binary stream, such as sys.stdin.buffer.raw or open(path, "rb", buffering=0)."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Wait for some bytes and put them into `buffer`; return how many, 0 at the end."""


class InputStream:
    """A stream whose first bytes can be looked at before it is read. `name` is for messages."""

    def __init__(self, raw: Readable, name: str) -> None:
        self.name = name
        self._raw = raw
        self._ahead = bytearray()  # what was looked at and not yet read
        self._ended = False

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes without taking them; fewer only at the end.

        Waits until they are there.
        """
        while len(self._ahead) < count and self._look_further(count - len(self._ahead)):
            pass
        return bytes(self._ahead[:count])

    def peek_more(self) -> bytes:
        """Wait for some bytes beyond those that were looked at; return all of them.

        They are the same as before only at the end.
        """
        self._look_further(1 << 12)
        return bytes(self._ahead)

    def readinto(self, buffer: memoryview) -> int:
        """Put the bytes that are there into `buffer`; waits for at least one, 0 at the end."""
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
