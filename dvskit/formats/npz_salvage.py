"""What is left of a damaged NumPy archive: its arrays, found by the headers ahead of each.

Layout: PKWARE, .ZIP File Format Specification, 4.3.7 (local file header) and 4.3.12 (central
directory header).
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.in_order import Columns
from dvskit.formats.npy_table import read_array_header
from dvskit.formats.recording import BLOCK_EVENTS

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL_NAME, _CENTRAL_BYTES = 28, 46
_STORED, _DEFLATED = 0, 8
_MOST_NAME = 256
_HEADER_BYTES = 1 << 16
_CHUNK = 1 << 20


class Member(NamedTuple):
    """An array of an archive: where its bytes are, packed or not, and whether more follows."""

    name: str
    start: int
    stop: int
    deflated: bool
    last: bool


def _is_name(name: bytes) -> bool:
    return bool(name) and all(32 < byte < 127 for byte in name)


def _marks(data: mmap.mmap) -> Iterator[tuple[int, Member | None]]:
    """Yield where an entry begins, or (with None) the directory behind the last one."""
    at = data.find(b"PK")
    while at >= 0:
        head = data[at : at + _LOCAL.size]
        if head[:4] == b"PK\x03\x04" and len(head) == _LOCAL.size:
            _, _, _, method, *_, name_bytes, extra_bytes = _LOCAL.unpack(head)
            name = data[at + _LOCAL.size : at + _LOCAL.size + name_bytes]
            if method in (_STORED, _DEFLATED) and name_bytes < _MOST_NAME and _is_name(name):
                start = at + _LOCAL.size + name_bytes + extra_bytes
                text = name.decode("ascii").removesuffix(".npy")
                yield at, Member(text, start, len(data), method == _DEFLATED, True)
        elif head[:4] == b"PK\x01\x02":
            name_bytes = int.from_bytes(head[_CENTRAL_NAME : _CENTRAL_NAME + 2], "little")
            name = data[at + _CENTRAL_BYTES : at + _CENTRAL_BYTES + name_bytes]
            if name_bytes < _MOST_NAME and _is_name(name):
                yield at, None
                return
        at = data.find(b"PK", at + 1)


def find_members(path: Path) -> dict[str, Member]:
    """Return the arrays of an archive by name: the first of each."""
    found: dict[str, Member] = {}
    if not path.stat().st_size:
        return found
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ahead: Member | None = None
        for at, member in _marks(data):
            if ahead is not None:
                found[ahead.name] = ahead._replace(stop=at, last=False)
            ahead = member if member is not None and member.name not in found else None
        if ahead is not None:
            found[ahead.name] = ahead
    return found


class Column:
    """The values of one array, read forward as far as they go."""

    def __init__(self, path: Path, member: Member) -> None:
        self._path, self._member = path, member
        self._packed = member.start
        self._inflater = zlib.decompressobj(-15) if member.deflated else None
        self._held = b""
        self._fill(_HEADER_BYTES)
        file = io.BytesIO(self._held)
        try:
            shape, _, self.dtype = read_array_header(file)
        except Exception as error:  # the header is parsed as Python: damage shows in any way
            problem = " ".join(str(error).split())
            raise FormatError(f"{path}: array {member.name!r} cannot be read: {problem}") from error
        if self.dtype.kind not in "iub" or len(shape) != 1:
            raise FormatError(f"{path}: array {member.name!r} is no column of whole numbers")
        self._held = self._held[file.tell() :]
        self.count: int = shape[0]
        length = file.tell() + self.count * self.dtype.itemsize
        there = member.stop - member.start
        # Bytes came or went, nothing tells where.
        self.shifted = not member.deflated and (
            there > length or (there < length and not member.last)
        )

    def _fill(self, count: int) -> None:
        """Hold at least `count` bytes, or all that are left."""
        parts, total = [self._held], len(self._held)
        with self._path.open("rb") as file:
            while total < count and self._packed < self._member.stop:
                file.seek(self._packed)
                data = file.read(min(_CHUNK, self._member.stop - self._packed))
                if not data:
                    break
                self._packed += len(data)
                if self._inflater is not None:
                    try:
                        data = self._inflater.decompress(data, max(1, count - total) + _CHUNK)
                        self._packed -= len(self._inflater.unconsumed_tail)
                    except zlib.error:
                        self._packed = self._member.stop
                        data = b""
                    if self._inflater.eof:
                        self._packed = self._member.stop
                parts.append(data)
                total += len(data)
        self._held = b"".join(parts)

    def read(self, count: int) -> NDArray[np.int64]:
        """Return the next values, fewer at the end; those that do not fit are -1."""
        self._fill(count * self.dtype.itemsize)
        have = min(count, len(self._held) // self.dtype.itemsize)
        plain = np.dtype("u1") if self.dtype.kind == "b" else self.dtype
        values = np.frombuffer(self._held, plain, have)
        self._held = self._held[have * self.dtype.itemsize :]
        if plain.kind == "u" and plain.itemsize == 8:
            values = np.where(values > np.uint64(1 << 62), np.uint64(1 << 62), values)
        return values.astype(np.int64)


def salvaged(
    path: Path, names: dict[str, str]
) -> Iterator[tuple[Columns, NDArray[np.bool_], set[str]]]:
    """Yield events, unchecked; which polarities are wrong; which columns may be out of step.

    `names` are those of the arrays of t, x, y and p. Offsets are rows. Raises FormatError where one
    is missing.
    """
    members = find_members(path)
    missing = [name for name in names.values() if name not in members]
    if missing:
        raise FormatError(f"{path}: array {missing[0]!r} is not found in what is left of the file")
    columns = {key: Column(path, members[name]) for key, name in names.items()}
    left = min(column.count for column in columns.values())
    shifted = {key for key, column in columns.items() if column.shifted}
    start, off = 0, None
    while left > 0:
        block = {key: column.read(min(left, BLOCK_EVENTS)) for key, column in columns.items()}
        count = min(len(values) for values in block.values())
        if not count:
            return
        t, x, y, p = (block[key][:count] for key in "txyp")
        offs = p[(p == 0) | (p == -1)]
        off = int(offs[0]) if off is None and len(offs) else off
        rows = np.arange(start, start + count)
        wrong = (p != 1) & (p != (0 if off is None else off))
        yield Columns(t, x, y, p == 1, rows, np.full(count, 0)), wrong, shifted
        start, left = start + count, left - count
        if count < min(left + count, BLOCK_EVENTS):
            return
