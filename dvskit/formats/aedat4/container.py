"""The container's header: compression, streams, and where the table of packets is."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from dvskit.errors import FormatError
from dvskit.formats.aedat4.compression import Compression
from dvskit.formats.aedat4.flatbuffer import FlatbufferError, root

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET_HEADER = struct.Struct("<ii")  # stream id, bytes that follow

_MAX_HEADER = 1 << 24
_MAX_ATTRIBUTES = 10_000


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
