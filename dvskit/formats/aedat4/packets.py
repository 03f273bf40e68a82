"""The walk over the packets of a file; after damage it goes on at the next header of a packet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.aedat4.layout import MOST_BYTES, PACKET_HEADER, Aedat4Header, StreamInfo
from dvskit.formats.file_bytes import read_at
from dvskit.formats.losses import Losses

_MOST_BYTES = 1 << 25
_spare: deque[NDArray[np.uint8]] = deque(maxlen=8)


def spare_array(count: int) -> NDArray[np.uint8]:
    """Return an uninitialized array of at least `count` bytes."""
    try:
        found = _spare.pop()
        while len(found) < count:
            found = _spare.pop()
    except IndexError:
        return np.empty(1 << count.bit_length(), np.uint8)  # few sizes fit more often
    return found


def give_back(*arrays: NDArray[np.uint8]) -> None:
    """Keep arrays for later passes; the caller must not use them any more."""
    _spare.extend(each for each in arrays if 0 < len(each) <= _MOST_BYTES)


_MOST_PACKED = MOST_BYTES + (1 << 20)  # per packet, compressed: compression adds no more
_WINDOW = 1 << 22
_MOST_PACKETS = 1 << 14


class Group(NamedTuple):
    """Packets of one stream in a window of a file; they are valid until the next group.

    data     uint8, the bytes of the file from byte `base` on
    packets  int64 (n, 2), byte offset and length of the content of each
    """

    data: NDArray[np.uint8]
    base: int
    packets: NDArray[np.int64]

    def contents(self) -> Iterator[memoryview]:
        """Yield the compressed content of each packet."""
        data = self.data.data
        for begin, length in self.packets.tolist():
            yield data[begin - self.base : begin - self.base + length]


class Packets:
    """One walk over the packets of a stream, in groups, from the byte `start` on.

    In strict mode an invalid packet raises DamagedFileError, after the packets before it. Salvage
    counts it as a loss and goes on at the next header, which may lie inside the invalid packet: its
    length may be wrong.
    """

    def __init__(
        self, container: Aedat4Header, stream: int, losses: Losses, start: int | None = None
    ) -> None:
        self._container, self._stream, self._losses = container, stream, losses
        self._table = container.table
        self._at = container.start if start is None else start
        self._search_from = self._at
        self._bytes = container.path.stat().st_size
        self._buffer = np.empty(0, np.uint8)
        self._base, self._stop = 0, 0
        self._most = _MOST_PACKETS
        self._damage: tuple[int, str] | None = None
        streams = [(each.number, _code(each)) for each in container.streams.values()]
        magic = int.from_bytes(container.compression.magic, "little")
        self._rules = k.PacketRules(
            np.array(streams, np.int64), stream, _MOST_PACKED, magic, container.table
        )

    def __iter__(self) -> Iterator[Group]:
        try:
            with self._container.path.open("rb", buffering=0) as file:
                yield from self._groups(file)
        finally:
            give_back(self._buffer)
            self._buffer, self._stop = np.empty(0, np.uint8), self._base
        if self._table > self._bytes:
            problem = f"the file ends before its packet table at byte {self._table}"
            self._losses.lose(self._bytes, 0, problem)

    def _groups(self, file: FileIO) -> Iterator[Group]:
        need = k.SEEN_BYTES
        while self._at < self._bytes and self._at != self._table:
            window = self._load(file, self._at, need)
            rows = np.empty((self._most, 2), np.int64)
            count, self._at, self._search_from, need = k.walk(
                window, self._rules, self._at, self._search_from, rows
            )
            self._most = min(2 * self._most, _MOST_PACKETS)
            if count:
                yield Group(self._buffer, self._base, rows[:count])
            if not need and self._damage is None:
                self._damage = self._at, self._problem()
            if self._damage:
                self._skip(file, *self._damage)
                need = k.SEEN_BYTES

    def reject(self, begin: int, reason: str) -> None:
        """Lose the packet with its content at byte `begin`; those after it are yielded again."""
        offset, kind = begin - PACKET_HEADER.size, self._container.streams[self._stream].kind
        self._damage = offset, f"{kind} packet is damaged: {reason}"
        self._search_from = offset + 1
        self._most = 1

    def _skip(self, file: FileIO, offset: int, problem: str) -> None:
        """Go on at the next header after the damage at byte `offset`."""
        self._damage = None
        if not self._losses.strict:
            self._at = self._search(file)
        self._losses.lose(offset, max(0, self._at - offset), problem)

    def _search(self, file: FileIO) -> int:
        """Return the start of the next packet; the end of the packets if there is none."""
        at = self._search_from
        while self._bytes - at >= k.SEEN_BYTES:
            at = k.search(self._load(file, at, k.SEEN_BYTES), self._rules, at)
            if at + k.SEEN_BYTES <= self._stop:
                return at
        table = self._table
        return table if self._search_from <= table < self._bytes else self._bytes

    def _load(self, file: FileIO, at: int, count: int) -> k.PacketWindow:
        """Return a window with `count` bytes from byte `at` on; fewer only at the file's end."""
        if not self._base <= at <= at + count <= self._stop:
            wanted = max(0, min(max(count, _WINDOW), self._bytes - at))
            if len(self._buffer) < wanted:
                self._buffer = spare_array(wanted)
            filled = read_at(file, at, self._buffer.data[:wanted])
            self._base, self._stop = at, at + filled
            if filled < wanted:  # the file has become shorter
                self._bytes = at + filled
        return k.PacketWindow(self._buffer, self._base, self._stop, self._bytes)

    def _problem(self) -> str:
        """Return what is wrong with the packet here."""
        magic, place = self._container.compression.magic, self._at - self._base
        head = bytes(self._buffer[place : self._stop - self._base][: k.SEEN_BYTES])
        if len(head) < k.SEEN_BYTES:
            return f"{len(head)} bytes are left where a packet begins"
        stream, length = PACKET_HEADER.unpack_from(head)
        content = head[PACKET_HEADER.size :]
        if stream not in self._container.streams:
            return f"a packet of stream {stream}, which is not in the header"
        left = self._bytes - self._at - PACKET_HEADER.size
        if length < 1 or length > left:
            return f"a packet of {length} bytes where only {left} are left"
        if content[: len(magic)] != magic:
            return f"a packet starts with {content[:4].hex()}, not as compressed data does"
        kind = int.from_bytes(content[8:12], "little")
        if not magic and kind != _code(self._container.streams[stream]):
            return f"a packet of stream {stream} is {content[8:12]!r}"
        return f"a packet of {length} bytes, more than the limit of {_MOST_PACKED}"


def _code(stream: StreamInfo) -> int:
    """Return the identifier of a stream's flatbuffers as a number."""
    return int.from_bytes(stream.kind.encode("latin-1", "replace")[:4], "little")
