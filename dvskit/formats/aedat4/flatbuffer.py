"""Read flatbuffers with every offset checked, so that a damaged one is an error and no more.

Layout: google.github.io/flatbuffers/internals.html. The buffers here are size-prefixed: a u32
length, then the offset of the root table and a four-letter identifier.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat4 import packet_kernels as k

Buffer = bytes | bytearray | memoryview


class FlatbufferError(ValueError):
    """An offset or a size that points out of the buffer."""


def _unpack(form: str, buffer: Buffer, at: int) -> int:
    if at < 0 or at + struct.calcsize(form) > len(buffer):
        raise FlatbufferError(f"an offset points to byte {at} of {len(buffer)}")
    value: int = struct.unpack_from(form, buffer, at)[0]
    return value


class Table:
    """A table in a buffer, at the byte `at`."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer = buffer
        self.at = at
        self._vtable = at - _unpack("<i", buffer, at)
        self._length = _unpack("<H", buffer, self._vtable)
        self._bytes = _unpack("<H", buffer, self._vtable + 2)
        if self._length < 4 or self._length % 2 or self._bytes < 4:
            raise FlatbufferError(f"its table at byte {at} is none")
        if self._vtable + self._length > len(buffer) or at + self._bytes > len(buffer):
            raise FlatbufferError(f"its table at byte {at} exceeds it")

    def place(self, field: int) -> int | None:
        """Return where the field number `field` stands, None where it is left out."""
        slot = 4 + 2 * field
        if slot + 2 > self._length:
            return None
        offset = _unpack("<H", self.buffer, self._vtable + slot)
        if offset >= self._bytes:
            raise FlatbufferError(f"field {field} lies {offset} bytes into {self._bytes}")
        return self.at + offset if offset else None

    def number(self, field: int, form: str, default: int) -> int:
        """Return a scalar field; `form` is its struct format, such as "<q"."""
        place = self.place(field)
        return default if place is None else _unpack(form, self.buffer, place)

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Return where the items of a vector field begin, and their number."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = place + _unpack("<I", self.buffer, place)
        count = _unpack("<I", self.buffer, start)
        if start + 4 + count * item_bytes > len(self.buffer):
            raise FlatbufferError(f"{count} items of {item_bytes} bytes exceed the buffer")
        return start + 4, count

    def text(self, field: int) -> str:
        """Return a string field. Raises FlatbufferError where it is not UTF-8."""
        start, count = self.vector(field, 1)
        try:
            return bytes(self.buffer[start : start + count]).decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError(f"a text is not UTF-8: {error}") from None

    def tables(self, field: int) -> Iterator[Table]:
        """Yield the tables of a vector field."""
        start, count = self.vector(field, 4)
        for place in range(start, start + 4 * count, 4):
            yield Table(self.buffer, place + _unpack("<I", self.buffer, place))


def root(buffer: Buffer, identifier: bytes) -> Table:
    """Return the root table of a size-prefixed buffer.

    Raises FlatbufferError for another identifier or a length other than the buffer's.
    """
    length = _unpack("<I", buffer, 0)
    if length != len(buffer) - 4:
        raise FlatbufferError(f"it says to have {length} bytes and has {len(buffer) - 4}")
    found = bytes(buffer[8:12])
    if found != identifier:
        raise FlatbufferError(f"it is {found!r}, not {identifier!r}")
    return Table(buffer, 4 + _unpack("<I", buffer, 4))


def scalar_tables(buffer: bytes, identifier: bytes, widths: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the scalar fields of the tables in the only vector of a buffer: int64 (n, fields).

    `widths` are the fields' bytes: 1 and 8 give numbers, 4 give bits; 0 for what is left out.
    Raises FlatbufferError.
    """
    start, count = root(buffer, identifier).vector(0, 4)
    values = np.empty((count, len(widths)), np.int64)
    data = np.frombuffer(buffer, np.uint8)
    if not k.read_tables(data, 0, len(buffer), start, np.array(widths, np.int64), values):
        raise FlatbufferError("an offset in its tables points out of it")
    return values
