"""Prophesee DAT: 8 bytes an event, a 32-bit time and an address.

Type 0x0C is CD, 0x00 the older "2d" (N-Cars), 0x0E external triggers. Version 2 has x in 14 bits, y
in 14 and the polarity in 4; version 1 has 9, 8 and 1. Time wraps every 71.6 minutes.
Layout: Prophesee, docs.prophesee.ai/stable/data/file_formats/dat.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.feed import WordKind
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.losses import Damage
from dvskit.formats.prophesee import dat_kernels as loops
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.header import RawHeader, read_header, take_header
from dvskit.formats.prophesee.recording import (
    ArrivingRecording,
    RawFile,
    WordRecording,
    file_pass,
    size_of_data,
)
from dvskit.formats.prophesee.sink import HeaderSink
from dvskit.formats.recording import ReadOptions
from dvskit.formats.sensor_size import choose_size, no_size, stated_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Triggers

__all__ = ["DatRecording", "open_recording", "open_sink", "open_stream"]

CD, OLD_2D, TRIGGERS = 0x0C, 0x00, 0x0E
_EVENT_BYTES = 8
# Written: version 2, CD.
_X_BITS, _Y_BITS = 14, 14
_WRAP_US = 1 << 32
_CD = b"\x0c\x08"  # type, bytes an event
_PART = 1 << 18
_NO_VERSION = "no version in the header: read as version 2"


def _layout(
    x: tuple[int, int], y: tuple[int, int], p: tuple[int, int], zeros: int = 0
) -> w.WordLayout:
    """Return the layout of events: first bit and number of bits of each field, bits always 0."""
    table = np.array((*x, *y, *p, zeros), np.int64)
    kind = WordKind(np.dtype("<u4"), 2, ahead=loops.LOOK_AHEAD)
    return w.WordLayout("DAT", kind, table, 0, None, loops.move_on, loops.decode)


# Layouts, and the largest size that is taken from events: no camera has more pixels a side, and
# words out of step are recognized by theirs.
_VERSIONS = {
    1: (_layout((0, 9), (9, 8), (17, 1), 0xFFFC0000), Size(512, 256)),
    2: (_layout((0, 14), (14, 14), (28, 4)), Size(2048, 2048)),
}
# Polarity in bit 0, the input in bits 8-12, no other bit set: as events in one row of inputs.
_TRIGGER_LAYOUT, _INPUTS = _layout((8, 5), (8, 0), (0, 1), ~0x1F01 & 0xFFFFFFFF), Size(32, 1)


class DatRecording(WordRecording):
    """Events, or triggers, of a DAT file."""

    along = False  # a file holds events or triggers

    def __init__(self, file: RawFile, layout: w.WordLayout, *, kind: int) -> None:
        super().__init__(file, layout)
        self._kind = kind

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return super()._blocks(damage, storage) if self._kind != TRIGGERS else iter(())

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if self._kind == TRIGGERS:
            return iter(())
        return super()._blocks_from(start_us, damage, storage)

    def triggers(self) -> Triggers:
        """Return all triggers in time order; none from a file of events.

        Raises DamagedFileError in strict mode.
        """
        if self._kind != TRIGGERS:
            return Triggers.empty()
        reading = file_pass(
            self.path, self._header.end, _INPUTS, _TRIGGER_LAYOUT, self._losses(),
            offset_us=self._offset_us,
        )  # fmt: skip
        parts = [
            Triggers(part.t.copy(), part.x.copy(), part.p.copy())
            for part in reading.blocks(ReusedStorage())
        ]
        return Triggers.in_order(parts)

    def other_streams(self) -> Mapping[str, int]:
        """Return nothing: a DAT file holds words of one kind."""
        return {}


def _version(name: str, keys: Mapping[str, str]) -> int:
    """Return the version in the header, 0 without one. Raises FormatError."""
    text = keys.get("Version", keys.get("version", ""))
    if not text:
        return 0
    try:
        version = int(float(text))
    except (ValueError, OverflowError):
        version = -1
    if version not in _VERSIONS:
        raise FormatError(f"{name}: DAT version {text!r} is not known; 1 and 2 are")
    return version


def _header_size(name: str, keys: Mapping[str, str]) -> Size | None:
    lower = {key.lower(): value for key, value in keys.items()}
    if "width" not in lower or "height" not in lower:
        return None
    return stated_size(name, lambda: as_size((int(lower["width"]), int(lower["height"]))))


def open_recording(path: Path, options: ReadOptions) -> DatRecording:
    """Open a DAT file. Raises FormatError, GeometryError.

    Its size is the argument, the header's, or the smallest that holds the events.
    """
    header = read_header(path)
    with path.open("rb") as opened:
        opened.seek(header.end)
        kind = _kind(str(path), header.end, opened.read(2))
    header = RawHeader(header.keys, header.end + 2)
    version = _version(str(path), header.keys)
    layout, largest = _VERSIONS[version or 2]

    def of_events() -> Size:
        if kind == TRIGGERS:
            return Size(1, 1)
        return size_of_data(path, header.end, layout, largest)

    size, origin = choose_size(options, lambda: _header_size(str(path), header.keys), of_events)
    file = RawFile(path, options, header, size, origin, [] if version else [_NO_VERSION])
    recording = DatRecording(file, layout, kind=kind)
    if kind == TRIGGERS and origin == "data":
        recording.assumptions[:1] = ["triggers only, no events: the sensor size means nothing"]
    return recording


def open_stream(stream: InputStream, options: ReadOptions) -> ArrivingRecording:
    """Open a stream of DAT events. Raises FormatError, GeometryError.

    Its size is the argument or the header's.
    """
    name, header = stream.name, take_header(stream)
    kind = _kind(name, header.end, stream.peek(2))
    if kind == TRIGGERS:
        raise FormatError(f"{name}: DAT triggers are not read from a pipe; save them first")
    stream.readinto(memoryview(bytearray(2)))
    header = RawHeader(header.keys, header.end + 2)
    version = _version(name, header.keys)

    def of_events() -> Size:
        raise no_size(name)

    size, origin = choose_size(options, lambda: _header_size(name, header.keys), of_events)
    notes = [] if version else [_NO_VERSION]
    file = RawFile(Path(name), options, header, size, origin, notes)
    return ArrivingRecording(stream, file, _VERSIONS[version or 2][0])


def _kind(name: str, at: int, marks: bytes) -> int:
    """Return the type of events in the two bytes after the header. Raises FormatError."""
    if len(marks) < 2:
        raise FormatError(f"{name}: the file ends ahead of the event type, at byte {at}")
    kind, length = marks
    if kind not in (CD, OLD_2D, TRIGGERS) or length != _EVENT_BYTES:
        raise FormatError(
            f"{name}: DAT events of type {kind:#04x} and {length} bytes at byte {at}; "
            "types 0x00, 0x0c and 0x0e of 8 bytes are known"
        )
    return kind


class DatSink(HeaderSink):
    """Writes a DAT file of CD events, version 2, all events in order.

    Raises GeometryError for a sensor of more than 16384 pixels a side, EventsError for a gap of
    more than 35 minutes, half the range of the 32-bit clock.
    """

    format = "dat"
    _longest_gap_us = (1 << 31) - 1

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        super().__init__(
            path, size, "DAT", wrap_us=_WRAP_US, largest_side=1 << _X_BITS, overwrite=overwrite
        )
        self._wraps = False

    def _begin(self, first_us: int) -> int:
        offset = super()._begin(first_us)
        self._file.write(_CD)
        return offset

    def _header_lines(self, offset: int, offset_lines: list[str]) -> list[str]:
        return [
            "Data file containing CD events.",
            "Version 2",
            *offset_lines,
            f"Height {self.size.height}",
            f"Width {self.size.width}",
        ]

    def _write(self, events: Events) -> None:
        for start in range(0, len(events), _PART):
            self._write_part(events[start : start + _PART])

    def _write_part(self, events: Events) -> None:
        offset = self._begin(int(events.t[0])) if self._offset_us is None else self._offset_us
        t = events.t - offset
        if t[-1] >= _WRAP_US and not self._wraps:
            self._wraps = True
            self.notes.append(
                "times go on over 71.6 minutes, where the clock of DAT wraps: some readers of DAT "
                "do not count wraps"
            )
        rows = np.empty((len(t), 2), "<u4")
        rows[:, 0] = t & (_WRAP_US - 1)
        rows[:, 1] = events.y
        rows[:, 1] <<= _X_BITS
        rows[:, 1] |= events.x.view(np.uint16)
        rows[:, 1] |= events.p.astype(np.uint32) << (_X_BITS + _Y_BITS)
        self._file.write(rows.data)

    def _finish(self) -> None:
        try:
            if self._offset_us is None:
                self._begin(0)
        finally:
            self._file.close()


open_sink = DatSink
