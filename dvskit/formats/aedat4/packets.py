"""The walk over the packets of a file; after damage it goes on at the next header of a packet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat4.compression import MOST_BYTES
from dvskit.formats.aedat4.layout import PACKET_HEADER, Aedat4Header
from dvskit.formats.aedat4.lz4_kernels import SPARE
from dvskit.formats.file_bytes import read_at
from dvskit.formats.losses import Losses

_SEEN = PACKET_HEADER.size + 12  # bytes that identify a packet
_MOST_PACKED = MOST_BYTES + (1 << 20)  # per packet, compressed: compression adds no more
_WINDOW = 1 << 22
_MOST_PACKETS = 1 << 14


class Group(NamedTuple):
    """Packets of one stream in a window of a file; they are valid until the next group.

    data     uint8, the bytes of the file from byte `base` on, with some spare bytes at the end
    packets  byte offset and length of the content of each
    """

    data: NDArray[np.uint8]
    base: int
    packets: list[tuple[int, int]]

    def content(self, number: int) -> memoryview:
        """Return the compressed content of a packet."""
        begin, length = self.packets[number]
        return self.data.data[begin - self.base : begin - self.base + length]


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
        self._buffer = np.zeros(SPARE, np.uint8)
        self._window, self._base, self._stop = self._buffer.data[:0], 0, 0
        self._most = _MOST_PACKETS
        self._damage: tuple[int, str] | None = None
        self._header = _header_pattern(container)

    def __iter__(self) -> Iterator[Group]:
        with self._container.path.open("rb", buffering=0) as file:
            while self._at < self._bytes and self._at != self._table:
                before = self._at
                group = self._group(file)
                if group.packets:
                    yield group
                elif self._at == before:
                    self._damage = self._at, self._problem()
                if self._damage:
                    self._skip(file, *self._damage)
        if self._table > self._bytes:
            problem = f"the file ends before its packet table at byte {self._table}"
            self._losses.lose(self._bytes, 0, problem)

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

    def _group(self, file: FileIO) -> Group:
        """Return the packets from here on, as far as they are valid and in the window."""
        self._load(file, self._at, _SEEN)
        packets: list[tuple[int, int]] = []
        while len(packets) < self._most:
            at = self._at
            header = self._header_at(at)
            if header is None:
                break
            stream, length = header
            stop = at + PACKET_HEADER.size + length
            # Only the length of a packet with valid content is certain.
            self._search_from = at + 1
            if stream == self._stream:
                if stop > self._stop and (packets or not self._load(file, at, stop - at)):
                    break
                packets.append((at + PACKET_HEADER.size, length))
                self._search_from = stop
            self._at = stop
        self._most = min(2 * self._most, _MOST_PACKETS)
        return Group(self._buffer, self._base, packets)

    def _header_at(self, at: int) -> tuple[int, int] | None:
        """Return stream and length of the packet at a byte; None for none in the window."""
        place = at - self._base
        if at == self._table or not self._header.match(self._window, place):
            return None
        header: tuple[int, int] = PACKET_HEADER.unpack_from(self._window, place)
        stream, length = header
        if length < 1 or at + PACKET_HEADER.size + length > self._bytes:
            return None
        return header if stream != self._stream or length <= _MOST_PACKED else None

    def _search(self, file: FileIO) -> int:
        """Return the start of the next packet; the end of the packets if there is none."""
        at = self._search_from
        while self._bytes - at >= _SEEN:
            self._load(file, at, _SEEN)
            found = self._header.search(self._window, at - self._base)
            if found is None:
                at = self._base + len(self._window) - _SEEN + 1
                continue
            at = self._base + found.start()
            if self._header_at(at):
                return at
            at += 1
        table = self._table
        return table if self._search_from <= table < self._bytes else self._bytes

    def _load(self, file: FileIO, at: int, count: int) -> bool:
        """Move the window to the byte `at` unless `count` bytes from there on are in it.

        Returns False if the file has fewer.
        """
        if not self._base <= at <= at + count <= self._stop:
            wanted = max(0, min(count + _WINDOW, self._bytes - at))
            if len(self._buffer) < wanted + SPARE:
                self._buffer = np.zeros(wanted + SPARE, np.uint8)
            filled = read_at(file, at, self._buffer.data[:wanted])
            self._window, self._base, self._stop = self._buffer.data[:filled], at, at + filled
            if filled < wanted:  # the file has become shorter
                self._bytes = at + filled
        return at + count <= self._stop

    def _problem(self) -> str:
        """Return what is wrong with the packet here."""
        magic, place = self._container.compression.magic, self._at - self._base
        head = bytes(self._window[place : place + _SEEN])
        if len(head) < _SEEN:
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
        if not self._header.match(head):
            return f"a packet of stream {stream} is {content[8:12]!r}"
        return f"a packet of {length} bytes, more than the limit of {_MOST_PACKED}"


def _header_pattern(container: Aedat4Header) -> re.Pattern[bytes]:
    """Return the pattern of the first bytes of a packet.

    They are the number of its stream, its length, and the first bytes of compressed data or the
    identifier of a flatbuffer.
    """
    forms = []
    for stream in container.streams.values():
        magic, kind = container.compression.magic, stream.kind.encode("latin-1", "replace")
        content = re.escape(magic) if magic else b".{8}" + re.escape(kind.ljust(4, b"\0")[:4])
        forms.append(re.escape(stream.number.to_bytes(4, "little")) + b".{4}" + content)
    return re.compile(b"|".join(forms), re.DOTALL)
