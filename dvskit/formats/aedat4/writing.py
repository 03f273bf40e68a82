"""AEDAT 4 files as a Sink."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import flatbuffers
import numpy as np

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.formats.aedat4.compression import Compression, compress
from dvskit.formats.aedat4.container import MAGIC, PACKET_HEADER
from dvskit.formats.even_blocks import EvenBlocks
from dvskit.formats.recording import FileSink
from dvskit.streams import Triggers

PACKET_EVENTS = 1 << 14
_EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
_EVENTS, _TRIGGERS = 0, 1  # numbers of the streams
_RISING, _FALLING = 1, 2
# The head of an event packet: length, root at 16, EVTS, a table of one field (a vector), its count.
_EVENTS_HEAD = struct.Struct("<II4sxxHHHiII")
_DESCRIPTIONS = {
    "EVTS": ("events", "Array of events (polarity ON/OFF)."),
    "TRIG": ("triggers", "External triggers and special signals."),
}


class _Entry(NamedTuple):
    """A row of the table of packets at the end of the file."""

    offset: int
    stream: int
    length: int
    items: int
    first_us: int
    last_us: int


def _streams_xml(size: Size, compression: Compression, kinds: list[str]) -> str:
    document = ElementTree.Element("dv", version="2.0")
    group = ElementTree.SubElement(
        document, "node", name="outInfo", path="/mainloop/dvskit/outInfo/"
    )

    def attribute(node: ElementTree.Element, key: str, kind: str, value: str) -> None:
        ElementTree.SubElement(node, "attr", key=key, type=kind).text = value

    for number, kind in enumerate(kinds):
        path = f"/mainloop/dvskit/outInfo/{number}/"
        node = ElementTree.SubElement(group, "node", name=str(number), path=path)
        name, description = _DESCRIPTIONS[kind]
        attribute(node, "compression", "string", compression.name)
        attribute(node, "originalModuleName", "string", "dvskit")
        attribute(node, "originalOutputName", "string", name)
        attribute(node, "typeDescription", "string", description)
        attribute(node, "typeIdentifier", "string", kind)
        info = ElementTree.SubElement(node, "node", name="info", path=f"{path}info/")
        attribute(info, "sizeX", "int", str(size.width))
        attribute(info, "sizeY", "int", str(size.height))
        attribute(info, "source", "string", "dvskit")
        attribute(info, "tsOffset", "long", "0")
    ElementTree.indent(document)
    return ElementTree.tostring(document, encoding="unicode")


def _header(compression: Compression, table: int, xml: str) -> bytes:
    """Return the IOHeader; its length does not depend on `table` (which is never -1 here)."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(xml)
    builder.StartObject(3)
    builder.PrependInt32Slot(0, int(compression), -1)
    builder.PrependInt64Slot(1, table, -1)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"IOHE")
    return bytes(builder.Output())


def _packet_table(entries: list[_Entry]) -> bytes:
    builder = flatbuffers.Builder(64 * len(entries) + 64)
    rows = []
    for entry in entries:
        builder.StartObject(5)
        builder.PrependInt64Slot(4, entry.last_us, 0)
        builder.PrependInt64Slot(3, entry.first_us, 0)
        builder.PrependInt64Slot(2, entry.items, 0)
        builder.Prep(4, 8)
        builder.PrependInt32(entry.length)
        builder.PrependInt32(entry.stream)
        builder.PrependStructSlot(1, builder.Offset(), 0)
        builder.PrependInt64Slot(0, entry.offset, 0)
        rows.append(builder.EndObject())
    builder.StartVector(4, len(rows), 4)
    for row in reversed(rows):
        builder.PrependUOffsetTRelative(row)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"FTAB")
    return bytes(builder.Output())


def _event_packet(events: Events) -> bytes:
    rows = np.zeros(len(events), _EVENT)
    for column in ("t", "x", "y", "p"):
        rows[column] = getattr(events, column)
    length = _EVENTS_HEAD.size - 4 + rows.nbytes
    head = _EVENTS_HEAD.pack(length, 16, b"EVTS", 6, 8, 4, 6, 4, len(events))
    return head + rows.tobytes()


def _trigger_packet(triggers: Triggers) -> bytes:
    builder = flatbuffers.Builder(32 * len(triggers) + 64)
    rows = []
    for t, rising in zip(triggers.t.tolist(), triggers.p.tolist(), strict=True):
        builder.StartObject(2)
        builder.PrependInt64Slot(0, t, 0)
        builder.PrependInt8Slot(1, _RISING if rising else _FALLING, 0)
        rows.append(builder.EndObject())
    builder.StartVector(4, len(rows), 4)
    for row in reversed(rows):
        builder.PrependUOffsetTRelative(row)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"TRIG")
    return bytes(builder.Output())


class Aedat4Sink(FileSink):
    """Writes an AEDAT 4 file: one stream of events, one of triggers where there are any."""

    format = "aedat4"

    def __init__(
        self,
        path: Path,
        size: Size,
        *,
        overwrite: bool = False,
        compression: Compression = Compression.LZ4,
    ) -> None:
        super().__init__(path, size, overwrite=overwrite)
        self.compression = compression
        self._even = EvenBlocks(PACKET_EVENTS)
        self._triggers = Triggers.empty()
        self._entries: list[_Entry] = []
        self._xml: str | None = None

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording; they are stored behind all events.

        To be called once, ahead of the events. Raises EventsError for triggers behind events and
        for time that runs back. The format has one input: other ids are lost, and `notes` says so.
        """
        if self.count or len(self._triggers):
            raise EventsError(f"{self.path}: triggers are written once, ahead of the events")
        if (triggers.t[1:] < triggers.t[:-1]).any():
            raise EventsError(f"{self.path}: the triggers' time runs back; sort them first")
        if triggers.id.any():
            self.notes.append("AEDAT 4 has one trigger input: the ids of the triggers are lost")
        self._triggers = triggers

    def _open(self, partial: Path) -> None:
        self._file = partial.open("wb")

    def _write(self, events: Events) -> None:
        for block in self._even.push(events):
            self._write_block(block)

    def _begin(self) -> str:
        kinds = ["EVTS", "TRIG"] if len(self._triggers) else ["EVTS"]
        xml = _streams_xml(self.size, self.compression, kinds)
        self._file.write(MAGIC + _header(self.compression, 0, xml))
        return xml

    def _write_block(self, events: Events) -> None:
        span = int(events.t[0]), int(events.t[-1])
        self._write_packet(_EVENTS, _event_packet(events), len(events), span)

    def _write_triggers(self) -> None:
        # Behind all events: some readers take a packet of triggers for the end of the events.
        for start in range(0, len(self._triggers), PACKET_EVENTS):
            part = slice(start, start + PACKET_EVENTS)
            edges = self._triggers
            triggers = Triggers(edges.t[part], edges.id[part], edges.p[part])
            span = int(triggers.t[0]), int(triggers.t[-1])
            self._write_packet(_TRIGGERS, _trigger_packet(triggers), len(triggers), span)

    def _write_packet(
        self, stream: int, content: bytes, items: int, span_us: tuple[int, int]
    ) -> None:
        if self._xml is None:
            self._xml = self._begin()
        packed = compress(content, self.compression)
        self._file.write(PACKET_HEADER.pack(stream, len(packed)))
        entry = _Entry(self._file.tell(), stream, len(packed), items, *span_us)
        self._file.write(packed)
        self._entries.append(entry)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._write_block(block)
            self._write_triggers()
            if self._xml is None:
                self._xml = self._begin()
            table = self._file.tell()
            self._file.write(compress(_packet_table(self._entries), self.compression))
            self._file.seek(len(MAGIC))
            self._file.write(_header(self.compression, table, self._xml))
        finally:
            self._file.close()

    def _abandon(self) -> None:
        self._file.close()


def open_sink(path: Path, size: Size, *, overwrite: bool) -> Aedat4Sink:
    """Return a Sink that writes an AEDAT 4 file, compressed with LZ4."""
    return Aedat4Sink(path, size, overwrite=overwrite)
