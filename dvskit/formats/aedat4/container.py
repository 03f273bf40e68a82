"""The container: a header that names the streams, packets, and a table of packets."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

from dvskit.errors import DamagedFileError, FormatError
from dvskit.formats.aedat4.compression import Compression
from dvskit.formats.aedat4.flatbuffer import FlatbufferError, root
from dvskit.formats.recording import Damage

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET_HEADER = struct.Struct("<ii")  # stream id, bytes that follow

_MAX_HEADER = 1 << 24
_MAX_ATTRIBUTES = 10_000
_LEAST_SEARCH, _MOST_SEARCH = 1 << 12, 1 << 20


class Stream(NamedTuple):
    """A stream that the header names: what it holds (EVTS, FRME, IMUS, TRIG) and its attributes."""

    number: int
    kind: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Container:
    """What the header of a file says; `start` is the byte behind it, `table` where packets end."""

    path: Path
    compression: Compression
    start: int
    table: int
    streams: Mapping[int, Stream]

    def first(self, kind: str) -> Stream | None:
        """Return the first stream of a kind."""
        return next((each for each in self.streams.values() if each.kind == kind), None)


class Packet(NamedTuple):
    """A packet: the byte offset of its header, its stream's number, its compressed content."""

    offset: int
    stream: int
    content: bytes


def _attributes(node: ElementTree.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in node.iter("attr"):
        if len(found) < _MAX_ATTRIBUTES:
            found[attribute.get("key", "")] = (attribute.text or "").strip()
    return found


def _read_streams(path: Path, text: str) -> dict[int, Stream]:
    if "<!" in text:
        raise FormatError(f"{path}: the header's XML declares entities, which are not read")
    try:
        document = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FormatError(f"{path}: the header's XML is damaged: {error}") from None
    streams = {}
    for group in document.iter("node"):
        if group.get("name") != "outInfo":
            continue
        for node in group.findall("node"):
            name = node.get("name", "")
            if re.fullmatch(r"[0-9]{1,9}", name):
                attributes = _attributes(node)
                kind = attributes.get("typeIdentifier", "")
                streams[int(name)] = Stream(int(name), kind, attributes)
    if not streams:
        raise FormatError(f"{path}: the header names no streams")
    return dict(sorted(streams.items()))


def read_container(path: Path) -> Container:
    """Read the header of a file. Raises FormatError where it cannot be used."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise FormatError(f"{path}: does not start with {MAGIC!r}")
        prefix = file.read(4)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 4 or length > _MAX_HEADER:
            raise FormatError(f"{path}: the header has {length} bytes, which cannot be")
        header = prefix + file.read(length)
    try:
        table = root(header, b"IOHE")
        number = table.number(0, "<i", 0)
        position = table.number(1, "<q", -1)
        text = table.text(2)
    except FlatbufferError as error:
        raise FormatError(f"{path}: the header is damaged: {error}") from None
    try:
        compression = Compression(number)
    except ValueError:
        raise FormatError(f"{path}: compression {number} is not known; 0..4 are") from None
    return Container(
        path, compression, len(MAGIC) + len(header), position, _read_streams(path, text)
    )


class Packets:
    """Walks over the packets of a file, and finds the next one behind damage."""

    def __init__(self, container: Container, *, strict: bool, damage: Damage) -> None:
        self._container, self._strict, self._damage = container, strict, damage
        self._bytes = container.path.stat().st_size
        self._accepted = False
        self._rejected: str | None = None

    def lose(self, offset: int, length: int, problem: str) -> None:
        """Raise DamagedFileError in strict mode, count the loss otherwise."""
        if self._strict:
            raise DamagedFileError(self._container.path, offset, problem)
        self._damage.add(offset, length, problem)

    def accept(self) -> None:
        """Say that the latest packet was sound: behind damage, none is looked for inside it."""
        self._accepted = True

    def reject(self, offset: int, problem: str) -> None:
        """Say that the latest packet, at `offset`, is damaged: its length may be wrong too."""
        if self._strict:
            raise DamagedFileError(self._container.path, offset, problem)
        self._rejected = problem

    def __iter__(self) -> Iterator[Packet]:
        with self._container.path.open("rb") as file:
            at = searched = self._container.start
            while not self._is_end(at):
                problem = self._problem(file, at)
                if problem is not None:
                    following = self._search(file, searched)
                    start = min(at, following)
                    self.lose(start, following - start, problem)
                    at, searched = following, following + 1
                    continue
                file.seek(at)
                stream, length = PACKET_HEADER.unpack(file.read(PACKET_HEADER.size))
                self._accepted, self._rejected = False, None
                yield Packet(at, stream, file.read(length))
                following = at + PACKET_HEADER.size + length
                searched = following + 1 if self._accepted else at + 1
                if self._rejected is not None:
                    if not self._is_end(following) and self._problem(file, following) is not None:
                        following = self._search(file, searched)
                    self.lose(at, following - at, self._rejected)
                at = following
        if self._container.table > self._bytes:
            table = self._container.table
            self.lose(self._bytes, 0, f"the file ends, ahead of its packet table at byte {table}")

    def _is_end(self, at: int) -> bool:
        return at >= self._bytes or at == self._container.table

    def _problem(self, file: BinaryIO, at: int) -> str | None:
        """Say what is wrong with the packet at `at`, None where nothing is."""
        magic = self._container.compression.magic
        file.seek(at)
        head = file.read(PACKET_HEADER.size + 12)
        if len(head) < PACKET_HEADER.size:
            return f"{len(head)} bytes are left where a packet begins"
        stream, length = PACKET_HEADER.unpack_from(head)
        content = head[PACKET_HEADER.size :]
        if stream not in self._container.streams:
            return f"a packet names stream {stream}, which the header does not"
        if length < 1 or at + PACKET_HEADER.size + length > self._bytes:
            left = self._bytes - at - PACKET_HEADER.size
            return f"a packet says to have {length} bytes where {left} are left"
        if content[: len(magic)] != magic:
            return f"a packet starts with {content[:4].hex()}, not as compressed data does"
        if not magic and content[8:12] != self._container.streams[stream].kind.encode("latin-1"):
            return f"a packet of stream {stream} is {content[8:12]!r}"
        return None

    def _search(self, file: BinaryIO, start: int) -> int:
        """Return where the next sound packet begins from `start` on; the end where none does."""
        magic = self._container.compression.magic
        kinds = {stream.kind.encode("latin-1") for stream in self._container.streams.values()}
        marks = [(magic, 0)] if magic else [(kind, 8) for kind in kinds if kind]
        longest = PACKET_HEADER.size + 12
        at, wide = start, _LEAST_SEARCH
        while at < self._bytes:
            file.seek(at)
            window = file.read(wide + longest)
            for place in _places(window, marks):
                if place >= 0 and self._problem(file, at + place) is None:
                    return at + place
            at += wide
            wide = min(4 * wide, _MOST_SEARCH)  # most damage is short
        table = self._container.table
        return table if start <= table < self._bytes else self._bytes


def _places(window: bytes, marks: list[tuple[bytes, int]]) -> list[int]:
    """Return where in `window` packets would begin whose content has a mark at its place."""
    places = []
    for mark, offset in marks:
        found = window.find(mark)
        while found >= 0:
            places.append(found - offset - PACKET_HEADER.size)
            found = window.find(mark, found + 1)
    return sorted(places)
