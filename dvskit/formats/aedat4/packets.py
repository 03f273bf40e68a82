"""Walks over the packets of a file; after damage it finds the next one."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat4 import packet_kernels as k
from dvskit.formats.aedat4.compression import MOST_BYTES
from dvskit.formats.aedat4.layout import PACKET_HEADER, Container
from dvskit.formats.aedat4.lz4_kernels import SPARE
from dvskit.formats.file_bytes import read_at
from dvskit.formats.losses import Losses

MOST_PACKED = MOST_BYTES + (1 << 20)  # per packet, compressed: compression adds no more
_LEAST_WINDOW, _FIRST_WINDOW, _WINDOW = 1 << 12, 1 << 20, 1 << 23
_ROWS = 1 << 14


class Window(NamedTuple):
    """A part of a file and the packets of one stream in it.

    data    uint8, the bytes of the file from byte `base` on, with some spare bytes at the end
    rows    int64 (n, 2), byte offset of each packet's header and length of its content
    """

    data: NDArray[np.uint8]
    base: int
    rows: NDArray[np.int64]

    def contents(self) -> NDArray[np.int64]:
        """Return offset in `data` and length of the content of each packet, as rows."""
        shift = np.array([self.base - PACKET_HEADER.size, 0], np.int64)
        return np.subtract(self.rows, shift)

    def content(self, row: int) -> memoryview:
        """Return the compressed content of a packet; it is valid until the next window."""
        offset, length = self.rows[row].tolist()
        begin = offset - self.base + PACKET_HEADER.size
        return self.data.data[begin : begin + length]


class Packets:
    """One walk over the packets of a stream, from the byte `start` (default: the first) on.

    In strict mode the first invalid data raises DamagedFileError, after the packets before it.
    Otherwise it is counted as a loss, and the walk goes on with the next packet.
    """

    def __init__(
        self, container: Container, stream: int, losses: Losses, start: int | None = None
    ) -> None:
        self._container, self._stream, self._losses = container, stream, losses
        self._start = container.start if start is None else start
        self._bytes = container.path.stat().st_size
        self._magic = int.from_bytes(container.compression.magic, "little")
        self._data = np.empty(0, np.uint8)
        self._base = self._filled = 0
        self._reach = _FIRST_WINDOW
        self._cut: int | None = None
        self._state = np.zeros(k.WALK_FIELDS, np.int64)
        self._streams = np.array(
            [(each.number, _code(each.kind)) for each in container.streams.values()], np.int64
        )

    def __iter__(self) -> Iterator[Window]:
        state = self._state
        state[k.W_AT], state[k.W_PREVIOUS] = self._start, self._start - 1
        state[k.W_LOSS] = state[k.W_BEHIND] = k.NOWHERE
        state[k.W_SPENT], state[k.W_STATUS] = 0, k.MORE
        rows, losses = np.empty((2, _ROWS, 2), np.int64)
        most_spent = 4 * self._bytes + (1 << 24)  # bounds the time for packets within packets
        fixed = (self._stream, MOST_PACKED, self._losses.strict, most_spent)
        with self._container.path.open("rb", buffering=0) as file:
            while state[k.W_STATUS] != k.ENDED:
                if state[k.W_STATUS] == k.MORE:
                    self._load(file)
                k.walk(self._look(), *fixed, state, rows, losses)
                if state[k.W_ROWS]:
                    yield Window(self._data, self._base, rows[: state[k.W_ROWS]].copy())
                self._count_losses(file, losses[: state[k.W_LOSSES]])
                if state[k.W_STATUS] == k.PEEK:
                    self._peek(file)
                if state[k.W_STATUS] == k.PROBLEM:
                    at = int(state[k.W_AT])
                    self._losses.lose(at, 0, self._problem(file, at))
        table = self._container.table
        if table > self._bytes:
            problem = f"the file ends before its packet table at byte {table}"
            self._losses.lose(self._bytes, 0, problem)

    def _peek(self, file: FileIO) -> None:
        """Check whether another packet follows one that reaches out of the window."""
        at = int(self._state[k.W_BEHIND])
        data = np.zeros(k.SEEN_BYTES + SPARE, np.uint8)
        filled = read_at(file, at, data.data[: k.SEEN_BYTES])
        look = self._look()._replace(window=data, base=at, filled=filled)
        self._state[k.W_FOLLOWED] = k.valid_at(look, at)

    def _look(self) -> k.Look:
        return k.Look(
            self._data, self._base, self._filled, self._bytes, self._container.table,
            self._streams, self._magic,
        )  # fmt: skip

    def _load(self, file: FileIO) -> None:
        """Read the window that begins at the current position."""
        at = int(self._state[k.W_AT])
        need = k.SEEN_BYTES
        if self._base <= at <= self._base + self._filled - k.HEADER_BYTES:
            length = int.from_bytes(self._data[at - self._base + 4 :][:4].tobytes(), "little")
            need = k.HEADER_BYTES + min(length, MOST_PACKED)
        if at < self._base:  # after damage the same bytes may be searched several times
            self._reach = _LEAST_WINDOW
        wanted = min(max(need, self._reach), max(0, self._bytes - at))
        self._reach = min(4 * self._reach, _WINDOW)
        if len(self._data) < wanted + SPARE:
            self._data = np.empty(max(wanted, self._reach) + SPARE, np.uint8)
        self._base = at
        self._filled = read_at(file, at, self._data.data[:wanted])
        if self._filled < wanted:  # the file has become shorter
            self._bytes = at + self._filled

    def _count_losses(self, file: FileIO, losses: NDArray[np.int64]) -> None:
        starts, following = losses[:, 0], losses[:, 1]
        self._losses.lose_all(
            starts,
            np.maximum(0, following - starts),
            lambda number: self._problem(file, int(starts[number])),
        )
        if len(losses) and losses[-1, 1] >= self._bytes:
            self._cut = int(losses[-1, 0])

    def cut_packet(self) -> tuple[int, bytes]:
        """Return offset and readable content of a packet cut by the end of the file.

        Call it after the walk. The content is empty if there is no such packet.
        """
        if self._cut is None:
            return 0, b""
        with self._container.path.open("rb") as file:
            file.seek(self._cut)
            header = file.read(PACKET_HEADER.size)
            content = file.read(MOST_PACKED)
        if len(header) < PACKET_HEADER.size:
            return 0, b""
        stream, length = PACKET_HEADER.unpack(header)
        begun = stream == self._stream and content.startswith(self._container.compression.magic)
        return (self._cut, content) if begun and len(content) < length <= MOST_PACKED else (0, b"")

    def _problem(self, file: FileIO, at: int) -> str:
        magic = self._container.compression.magic
        file.seek(at)
        head = file.read(k.SEEN_BYTES)
        if len(head) < k.SEEN_BYTES:
            return f"{len(head)} bytes are left where a packet begins"
        stream, length = PACKET_HEADER.unpack_from(head)
        content = head[PACKET_HEADER.size :]
        if stream not in self._container.streams:
            return f"a packet of stream {stream}, which is not in the header"
        left = self._bytes - at - PACKET_HEADER.size
        if length < 1 or length > left:
            return f"a packet of {length} bytes where only {left} are left"
        if content[: len(magic)] != magic:
            return f"a packet starts with {content[:4].hex()}, not as compressed data does"
        if not magic and content[8:12] != self._container.streams[stream].kind.encode("latin-1"):
            return f"a packet of stream {stream} is {content[8:12]!r}"
        return f"a packet of {length} bytes, more than the limit of {MOST_PACKED}"


def _code(kind: str) -> int:
    letters = kind.encode("latin-1", "replace")
    return int.from_bytes(letters, "little") if len(letters) == 4 else -1
