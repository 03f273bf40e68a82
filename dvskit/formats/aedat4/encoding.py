"""The flatbuffers of a file, for writing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.aedat4.layout import Compression
from dvskit.formats.aedat4.reading import TRIGGER_TYPES
from dvskit.streams import Frame, Imu, Triggers

# The head of a packet: length, root at 16, its kind, a table of one field (a vector), its count.
_HEAD = struct.Struct("<II4sxxHHHiII")
_DESCRIPTIONS = {
    "EVTS": ("events", "Array of events (polarity ON/OFF)."),
    "FRME": ("frames", "Standard frame (8-bit image)."),
    "IMUS": ("imu", "Inertial Measurement Unit data samples."),
    "TRIG": ("triggers", "External triggers and special signals."),
}
_IMU = np.dtype(
    [("table", "<i4"), ("temperature", "<f4"), ("t", "<i8"), ("axes", "<f4", 9), ("pad", "V4")]
)
_IMU_PLACES = (8, 4, *range(16, 52, 4))
_TRIGGER = np.dtype([("table", "<i4"), ("kind", "i1"), ("pad", "V3"), ("t", "<i8")])
_TRIGGER_PLACES = (8, 4)
_ENTRY = np.dtype(
    [("table", "<i4"), ("pad", "V4"), ("stream", "<i4"), ("length", "<i4")]
    + [(name, "<i8") for name in ("offset", "items", "first_us", "last_us")]
)
_ENTRY_PLACES = (16, 8, 24, 32, 40)
# The type of an edge: (id, rising) to a number. Of several types the first is the usual one.
_TYPES = {edge: kind for kind, edge in reversed(TRIGGER_TYPES.items())}


class PacketEntry(NamedTuple):
    """A row of the table of packets at the end of a file."""

    offset: int
    stream: int
    length: int
    items: int
    first_us: int
    last_us: int


def streams_xml(size: Size, compression: Compression, kinds: Sequence[str]) -> str:
    """Return the description of the streams, which are numbered in the order of `kinds`."""
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


def header(compression: Compression, table: int, xml: str) -> bytes:
    """Return the IOHeader; its length does not depend on `table` (which is never -1 here)."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(xml)
    builder.StartObject(3)
    builder.PrependInt32Slot(0, int(compression), -1)
    builder.PrependInt64Slot(1, table, -1)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"IOHE")
    return bytes(builder.Output())


def event_packet(events: Events) -> NDArray[np.int64]:
    """Return a packet of events, as words of 64 bits."""
    words = np.empty(_HEAD.size // 8 + 2 * len(events), np.int64)
    head = _HEAD.pack(words.nbytes - 4, 16, b"EVTS", 6, 8, 4, 6, 4, len(events))
    words[: _HEAD.size // 8] = np.frombuffer(head, "<i8")
    k.pack_events(events.t, events.x, events.y, events.p, words[_HEAD.size // 8 :])
    return words


def _tables(kind: bytes, rows: NDArray[Any], places: tuple[int, ...]) -> bytes:
    """Return a packet of tables that share a list of field positions.

    A row is a table; its first field receives the distance to that list.
    """
    count = len(rows)
    vector = _HEAD.size
    vtable = vector + 4 * count
    first = -(-(vtable + 4 + 2 * len(places)) // 8) * 8
    starts = first + rows.itemsize * np.arange(count)
    rows = rows.copy()
    rows["table"] = starts - vtable
    offsets = (starts - vector - 4 * np.arange(count)).astype("<u4")
    layout = np.array([4 + 2 * len(places), rows.itemsize, *places], "<u2").tobytes()
    body = offsets.tobytes() + layout + bytes(first - vtable - len(layout)) + rows.tobytes()
    return _HEAD.pack(_HEAD.size - 4 + len(body), 16, kind, 6, 8, 4, 6, 4, count) + body


def imu_packet(samples: Imu) -> bytes:
    """Return a packet of IMU samples; quantities not measured (NaN) are written as 0."""
    rows = np.zeros(len(samples), _IMU)
    rows["t"], rows["temperature"] = samples.t, np.nan_to_num(samples.temperature)
    axes = (samples.accelerometer, samples.gyroscope, samples.magnetometer)
    rows["axes"] = np.nan_to_num(np.concatenate(axes, axis=1))
    return _tables(b"IMUS", rows, _IMU_PLACES)


def trigger_packet(triggers: Triggers) -> bytes:
    """Return a packet of triggers. An id without a type is written as the external input."""
    rows = np.zeros(len(triggers), _TRIGGER)
    edges = zip(triggers.id.tolist(), triggers.p.tolist(), strict=True)
    rows["t"] = triggers.t
    rows["kind"] = [_TYPES.get(edge, _TYPES[0, edge[1]]) for edge in edges]
    return _tables(b"TRIG", rows, _TRIGGER_PLACES)


def lost_ids(triggers: Triggers) -> list[int]:
    """Return the ids of triggers without a type."""
    known = {edge[0] for edge in _TYPES}
    return sorted(set(np.unique(triggers.id).tolist()) - known)


def packet_table(entries: list[PacketEntry]) -> bytes:
    """Return the table of packets."""
    rows = np.zeros(len(entries), _ENTRY)
    columns = np.array(entries, np.int64).reshape(-1, len(PacketEntry._fields))
    for place, name in enumerate(PacketEntry._fields):
        rows[name] = columns[:, place]
    return _tables(b"FTAB", rows, _ENTRY_PLACES)


def frame_packet(frame: Frame) -> bytes:
    """Return a packet of one frame; colors become BGR."""
    image = frame.image
    kind = 2 if image.dtype == np.uint16 else 0
    if image.ndim == 3:  # (H, W, RGB) -> (H, W, BGR)
        image, kind = image[:, :, ::-1], kind + 16
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).view(np.uint8).ravel()
    builder = flatbuffers.Builder(pixels.size + 256)
    vector = builder.CreateByteVector(pixels.tobytes())
    builder.StartObject(13)
    builder.PrependInt64Slot(11, frame.stop_us - frame.t_us, 0)
    for field, time in enumerate(
        (frame.t_us, frame.t_us, frame.stop_us, frame.t_us, frame.stop_us)
    ):
        builder.PrependInt64Slot(field, time, 0)
    builder.PrependUOffsetTRelativeSlot(10, vector, 0)
    for field, number in ((6, image.shape[1]), (7, image.shape[0]), (8, frame.x), (9, frame.y)):
        builder.PrependInt16Slot(field, number, 0)
    builder.PrependInt8Slot(5, kind, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"FRME")
    return bytes(builder.Output())
