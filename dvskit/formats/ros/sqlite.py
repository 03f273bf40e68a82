"""SQLite databases read page by page, so that the valid rows of a damaged one are had.

Layout: sqlite.org/fileformat2.html: tables are trees of pages, a leaf page holds rows, and what of
a row does not fit goes on in a chain of overflow pages.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.losses import Lose, Losses
from dvskit.formats.ros.container import MOST_BYTES

MAGIC = b"SQLite format 3\0"
INTERIOR, LEAF = 0x05, 0x0D

_DEEPEST = 20
_MOST_SPARE = 60  # bytes of a page between its rows
_BORDERS = 8  # that are tried where pages have moved
# The size of a message's header, and the serial types of its id (NULL), topic and time.
_MESSAGE_HEAD = re.compile(rb"(?=[\x05-\x0a]\x00[\x01-\x06\x08\x09][\x01-\x06\x08\x09])")
_LONGEST_HEAD = 18  # bytes of a row's length and number
_ENCODINGS = {0: "utf-8", 1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}
_NUMBER_BYTES = (0, 1, 2, 3, 4, 6, 8)

Value = int | float | bytes | str | None


class RowError(ValueError):
    """A row that cannot be what it says."""


class Row(NamedTuple):
    """A row of a table, as yet without what stands on overflow pages.

    number    its rowid
    kinds     the serial type of each column; `header` bytes say so at the start of the payload
    local     the bytes of the payload that stand on the leaf page, `offset` in the file
    length    of the whole payload
    overflow  the page that goes on, 0 if none does
    """

    number: int
    kinds: tuple[int, ...]
    header: int
    local: bytes
    length: int
    overflow: int
    offset: int


def kind_bytes(kind: int) -> int:
    """Return how many bytes a value of a serial type takes."""
    if kind >= 12:
        return (kind - 12) // 2
    return _NUMBER_BYTES[kind] if kind < 7 else 8 if kind == 7 else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes and where it ends. Raises RowError."""
    value = 0
    for index in range(9):
        if at + index >= len(data):
            break
        byte = data[at + index]
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    raise RowError("a number runs off its page")


class Database:
    """The pages of a database. Raises FormatError where its first page is not that of one.

    A loss of pages and rows is given to a `lose` as that of Losses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(100)
        page = int.from_bytes(head[16:18], "big")
        self.page_bytes = 65536 if page == 1 else page
        if not head.startswith(MAGIC) or len(head) < 100:
            raise FormatError(f"{path}: does not start as a SQLite database does")
        if self.page_bytes < 512 or self.page_bytes & (self.page_bytes - 1):
            raise FormatError(f"{path}: pages of {self.page_bytes} bytes, which cannot be")
        self.usable = self.page_bytes - head[20]
        if self.usable < 480:
            raise FormatError(f"{path}: {head[20]} bytes of each page are reserved; cannot be")
        self.encoding = _ENCODINGS.get(int.from_bytes(head[56:60], "big"), "utf-8")
        self.pages = -(-self.bytes // self.page_bytes)
        self.said_pages = int.from_bytes(head[28:32], "big")
        self._moved_from, self._moved = self.pages + 1, 0

    def open(self) -> BinaryIO:
        """Open the file for reading."""
        return self.path.open("rb", buffering=1 << 16)

    def read(self, file: BinaryIO, number: int, count: int = 1) -> bytes:
        """Return `count` pages from page `number` on (from 1 on); fewer bytes at the end."""
        if number < self._moved_from < number + count:
            count = self._moved_from - number
        start = self.start(number)
        if start < 0:
            return b""
        file.seek(start)
        return file.read(count * self.page_bytes)

    def start(self, number: int) -> int:
        """Return where a page begins in the file."""
        moved = self._moved if number >= self._moved_from else 0
        return (number - 1) * self.page_bytes + moved

    def _move(self, border: int, moved: int) -> None:
        """Take the pages behind page `border` to stand `moved` bytes from their places."""
        self.pages, self._moved_from, self._moved = self.said_pages, border + 1, moved

    def leaves(self, file: BinaryIO, root: int, lose: Lose) -> Iterator[int]:
        """Yield where the leaf pages of a table begin, in order."""
        seen = {root}
        waiting = [(root, 0)]
        while waiting:
            number, depth = waiting.pop()
            inside = 1 <= number <= self.pages
            start = self.start(number) if inside else self.bytes
            page = self.read(file, number) if inside else b""
            head = 100 if number == 1 else 0
            below: list[int] = []
            problem = None
            if len(page) < self.page_bytes:
                problem = f"page {number} is missing from the file"
            elif page[head] not in (LEAF, INTERIOR) or (
                page[head] == INTERIOR and depth >= _DEEPEST
            ):
                problem = f"page {number} is of the kind {page[head]:#x}, no page of a table"
            elif page[head] == INTERIOR:
                cells = int.from_bytes(page[head + 3 : head + 5], "big")
                if head + 12 + 2 * cells > self.usable:
                    problem = f"page {number} says to have {cells} cells"
                else:
                    places = struct.unpack_from(f">{cells}H", page, head + 12)
                    below = [int.from_bytes(page[at : at + 4], "big") for at in (*places, head + 8)]
            length = self.page_bytes if start < self.bytes else 0
            if problem is not None:
                lose(start, length, problem)
            if page[head : head + 1] == bytes((LEAF,)):  # or what is left of it
                yield start
            for child in reversed(below):
                if child in seen:
                    lose(start, length, f"page {number} leads to page {child} again")
                else:
                    seen.add(child)
                    waiting.append((child, depth + 1))

    def likely_leaves(self, file: BinaryIO) -> list[int]:
        """Return where pages begin that are like leaves of a table, by their place in the file.

        Where the file does not have the pages that it says, they may begin at any byte.
        """
        found: list[int] = []
        width = 1 << 20
        even = self.bytes == self.said_pages * self.page_bytes
        for first in range(0, self.bytes, width):
            file.seek(first)
            window = np.frombuffer(file.read(width + 7), np.uint8)
            places = np.flatnonzero(window[: max(0, len(window) - 7)] == LEAF)
            if even:
                places = places[(places + first) % self.page_bytes == 0]
            heads = window[places[:, None] + np.arange(8)]
            found += (places[self._likely_heads(heads)] + first).tolist()
        return found

    def _likely_heads(self, heads: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which rows of (n, 8) bytes can be what a page of a tree begins with."""
        head = heads.T.astype(np.int64)
        cells, content = head[3] << 8 | head[4], head[5] << 8 | head[6]
        likely = (cells > 0) & (cells < self.usable // 4) & (head[7] <= _MOST_SPARE)
        likely &= (content >= 8 + 2 * cells) & (content < self.usable)
        found: NDArray[np.bool_] = likely
        return found

    def rows(self, file: BinaryIO, start: int, lose: Lose) -> Iterator[Row]:
        """Yield the rows of the leaf page at byte `start`."""
        file.seek(start)
        page = file.read(self.page_bytes)
        head = 0 if start else 100
        cells = int.from_bytes(page[head + 3 : head + 5], "big")
        if head + 8 + 2 * cells > len(page):
            lose(start, 0, f"a page says to have {cells} rows")
            return
        for place in struct.unpack_from(f">{cells}H", page, head + 8):
            try:
                yield self._row(page, place, start)
            except RowError as error:
                lose(start + place, 0, f"a row is damaged: {error}")

    def table(self, file: BinaryIO, root: int, lose: Lose) -> Iterator[Row]:
        """Yield the rows of the table at page `root`."""
        for leaf in self.leaves(file, root, lose):
            yield from self.rows(file, leaf, lose)

    def displaced_rows(self, file: BinaryIO, start: int, numbers: range) -> Iterator[Row]:
        """Yield the rows of some `numbers` that stand at any byte of the page at byte `start`, or
        of the one behind it: where bytes are missing or too many, none stands where the page says.

        They are found by what the rows of rosbag2's messages begin with.
        """
        file.seek(start)
        window = file.read(2 * self.page_bytes)
        for found in _MESSAGE_HEAD.finditer(window):
            for ahead in range(2, min(_LONGEST_HEAD, found.start()) + 1):
                at = max(0, found.start() - ahead - 8)  # a row stands behind the page's own head
                page = window[at : at + self.page_bytes]
                with contextlib.suppress(RowError):
                    row = self._row(page, found.start() - ahead - at, start + at)
                    if row.offset == start + found.start() and row.number in numbers:
                        yield row
                        break

    def _row(self, page: bytes, at: int, base: int) -> Row:
        if at < 8:
            raise RowError(f"it stands at byte {at} of its page")
        length, at = _varint(page, at)
        number, at = _varint(page, at)
        if length > MOST_BYTES or length > self.bytes:
            raise RowError(f"it says to have {length} bytes, more than can be")
        held = self._held(length)
        local = page[at : at + held]
        if at + held > self.usable:  # less may be there: at the end of a file that was cut
            raise RowError(f"it says to have {held} bytes on its page, which has no room for them")
        overflow = 0
        if held < length:
            overflow = int.from_bytes(page[at + held : at + held + 4], "big")
            if not 1 <= overflow <= self.pages:
                raise RowError(f"it goes on at page {overflow}, which is not in the file")
        header, first = _varint(local, 0)
        if not first <= header <= len(local):
            raise RowError(f"its header says to have {header} bytes")
        kinds = []
        while first < header:
            kind, first = _varint(local, first)
            if kind in (10, 11):
                raise RowError(f"a column is of the unknown kind {kind}")
            kinds.append(kind)
        if first != header or header + sum(map(kind_bytes, kinds)) != length:
            raise RowError("its columns do not fill it")
        return Row(number, tuple(kinds), header, local, length, overflow, base + at)

    def _held(self, length: int) -> int:
        """Return how much of a row of `length` bytes stands on its leaf page."""
        if length <= self.usable - 35:
            return length
        least = (self.usable - 12) * 32 // 255 - 23
        held = least + (length - least) % (self.usable - 4)
        return held if held <= self.usable - 35 else least

    def payload(self, file: BinaryIO, row: Row) -> tuple[bytes, str | None]:
        """Return all bytes of a row and None; where its chain of pages breaks, what is ahead of
        the break, and what is wrong.
        """
        if not row.overflow:
            cut = len(row.local) < row.length
            return row.local, "a row is cut by the end of the file" if cut else None
        each = self.usable - 4
        left = row.length - len(row.local)
        parts: list[bytes | memoryview] = [row.local]
        number = row.overflow
        while left > 0:
            # Mostly a chain is a run of pages: so many are read at once, and used while it is.
            count = -(-left // each)
            data = self.read(file, number, min(count, 1 << 12)) if number <= self.pages else b""
            full = len(data) // self.page_bytes
            if number < 1 or not full:
                return b"".join(parts), f"a row goes on at page {number}, which is not in the file"
            for at in range(0, full * self.page_bytes, self.page_bytes):
                following = int.from_bytes(data[at : at + 4], "big")
                content = data[at + 4 : at + 4 + min(left, each)]
                parts.append(content)
                left -= len(content)
                number += 1
                if following != number:
                    number = following
                    break
            if (left <= 0) != (number == 0):
                how = "ends early" if number == 0 else f"goes on to page {number} behind its end"
                return b"".join(parts), f"a row's chain of pages {how}"
        return b"".join(parts), None

    def values(self, row: Row, payload: bytes) -> list[Value]:
        """Return the columns of a row, of which `payload` is all that is left."""
        found: list[Value] = []
        at = row.header
        for kind in row.kinds:
            data = payload[at : at + kind_bytes(kind)]
            at += kind_bytes(kind)
            value: Value = None
            if kind in (8, 9):
                value = kind - 8
            elif kind == 7:
                value = struct.unpack(">d", data)[0] if len(data) == 8 else None
            elif 0 < kind < 7:
                value = int.from_bytes(data, "big", signed=True)
            elif kind >= 12:
                value = data.decode(self.encoding, "replace") if kind % 2 else data
            found.append(value)
        return found

    def find_moved(self, file: BinaryIO, root: int) -> str | None:
        """Find out from which page on all stand elsewhere, as bytes are missing or too many.

        The header says how many pages there are: that tells by how much. Where the pages do not
        tell from which on, the table at page `root` does. Returns what is wrong.
        """
        said = self.said_pages
        moved = self.bytes - said * self.page_bytes
        if not moved or not 1 < said <= 2 * self.pages:
            return None
        here, there = self._likely_pages(file, 0), self._likely_pages(file, moved)
        # The best border: pages in their places ahead of it, in the moved ones from it on.
        ahead = np.concatenate([[0], np.cumsum(here)])
        behind = np.concatenate([np.cumsum(there[::-1])[::-1], [0]])
        scores = (ahead + behind)[1:]  # page 1 is where it is
        borders = (np.flatnonzero(scores == scores.max()) + 1).tolist()
        what = f"{abs(moved)} bytes are {'missing' if moved < 0 else 'too many'}"
        if scores.max() <= scores[-1]:
            self._move(said, moved)
            return f"{what} in page {said} or behind it"

        def faults(border: int) -> int:
            self._move(border, moved)
            quiet = Losses(self.path, strict=False)
            for _ in self.table(file, root, quiet.lose):
                pass
            return quiet.damage.count

        border = min(borders[:: -(-len(borders) // _BORDERS)], key=faults)
        self._move(border, moved)
        return f"{what} ahead of page {border + 1}"

    def _likely_pages(self, file: BinaryIO, moved: int) -> NDArray[np.bool_]:
        """Return which of the pages that the file says to have are like one, were all moved."""
        found = np.zeros(self.said_pages, np.bool_)
        step = max(1, (1 << 20) // self.page_bytes)
        for first in range(0, self.said_pages, step):
            start = first * self.page_bytes + moved
            ahead = max(0, -(start // self.page_bytes))  # pages ahead of the file
            count = max(0, min(step, self.said_pages - first) - ahead)
            file.seek(start + ahead * self.page_bytes)
            data = np.frombuffer(file.read(count * self.page_bytes), np.uint8)
            whole = len(data) // self.page_bytes
            heads = data[: whole * self.page_bytes].reshape(whole, self.page_bytes)[:, :8]
            tree = np.isin(heads[:, 0], (0x02, INTERIOR, 0x0A, LEAF)) & self._likely_heads(heads)
            following = heads[:, :4].copy().view(">u4")[:, 0]  # of an overflow page: the next one
            chain = following == first + ahead + np.arange(2, whole + 2)
            found[first + ahead : first + ahead + whole] = tree | chain
        return found
