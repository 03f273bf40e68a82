"""Event Stream files as Recordings, and as a Sink.

Layout: github.com/neuromorphic-paris/event_stream, version 2.0. An event begins with a byte that
holds the microseconds since the event before. If all of its time bits are set, it is not an event:
time alone, or a reset without meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.es import byte_kernels as k
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.file_sink import FileSink
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import stated_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Labels

MAGIC = b"Event Stream"
_HEADER_BYTES = 20  # the last 4 are the size of the sensor, which generic events lack
_GENERIC_HEADER_BYTES = 16
_KINDS = {k.GENERIC: "generic", k.DVS: "dvs", k.ATIS: "atis", k.COLOR: "color"}


def _version_of(path: Path) -> str:
    """Return the version in a header, such as 2.0.0."""
    return ".".join(str(part) for part in _read_head(path)[12:15])


def _read_head(path: Path) -> bytes:
    """Return the header of a file."""
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _checked_head(path: Path) -> bytes:
    """Return the header of a file of a version and a type that are read. Raises FormatError."""
    head = _read_head(path)
    if not head.startswith(MAGIC):
        raise FormatError(f"{path}: starts with {head[:12]!r}, not with {MAGIC!r}")
    if len(head) > 13 and head[12] != 2:
        fix = "convert it with the tool that wrote it"
        if head[12] < 2:
            fix = "the sepia library of 2017 (github.com/neuromorphic-paris/sepia) reads it"
        raise FormatError(
            f"{path}: byte 12: is an Event Stream of version {head[12]}.{head[13]}, and only "
            f"version 2 is read; {fix}"
        )
    kind = head[15] if len(head) > 15 else k.DVS
    if kind not in _KINDS:
        named = " (display)" if kind == k.DISPLAY else ""
        raise FormatError(
            f"{path}: byte 15: is an Event Stream of type {kind}{named}; only dvs, atis, color "
            "and generic events are read"
        )
    if len(head) < (_GENERIC_HEADER_BYTES if kind == k.GENERIC else _HEADER_BYTES):
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    return head


_LOSSES = 4096
_ROWS = 1 << 16  # of generic events
_NO_SENSOR = Size(1, 1)
_INDEXED_BYTES = 1 << 24  # smaller files are read from the start
_COLOR = (
    "the events have colors and no polarity: ON means that a pixel is no darker (luma of ITU-R "
    "BT.601) than at its previous event, or has none; .colors() returns red, green and blue"
)


class EsRecording(Recording):
    """Events of an Event Stream of a DVS, an ATIS, or a color camera.

    Times are relative to earlier ones: in salvage mode, events after a loss lack its time.
    """

    format = "es"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, kind: int
    ) -> None:
        super().__init__(path, options, size, origin)
        self._note_map()
        self._kind = kind
        self._others: int | None = None
        if kind == k.COLOR:
            self.assumptions.append(_COLOR)
        self.assumptions.append(
            f"y is counted from the bottom in the file: row 0 here is y = {size.height - 1} there"
        )

    def header(self) -> Mapping[str, str]:
        """Return the version and the type."""
        return {"version": _version_of(self.path), "type": _KINDS[self._kind]}

    def other_streams(self) -> Mapping[str, int]:
        """Count data other than events: threshold crossings of an ATIS, colors."""
        if self._kind == k.DVS:
            return {}
        if self._others is None:
            reading = _Pass(self, Losses(self.path, strict=False))
            events = sum(len(block) for block in reading.blocks(ReusedStorage()))
            self._others = events if self._kind == k.COLOR else int(reading.state[k.S_OTHERS])
        name = "colors" if self._kind == k.COLOR else "threshold crossings"
        return {name: self._others} if self._others else {}

    def crossings(self) -> Events:
        """Return the threshold crossings of an ATIS, two for each measurement of an exposure.

        p is False for the first of the two and True for the second. The shorter the time between
        them, the brighter the pixel. Empty for other cameras.
        """
        if self._kind != k.ATIS:
            return Events.empty(self.size)
        reading = _Pass(self, self._losses(), crossings=True)
        return Events.concatenate(reading.blocks(Storage()), self.size)

    def colors(self) -> NDArray[np.uint8]:
        """Return red, green and blue of each event, (n, 3); (0, 3) for other cameras."""
        parts = [np.empty((0, 3), np.uint8)]
        if self._kind == k.COLOR:
            reading = _Pass(self, self._losses(), colored=True)
            for block in reading.blocks(ReusedStorage()):
                parts.append(reading.colors[: len(block)].copy())
        return np.concatenate(parts)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return _Pass(self, self._losses(damage)).blocks(storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        begin = None
        # The polarity of a color depends on all earlier events.
        if self._kind != k.COLOR and self.path.stat().st_size > _INDEXED_BYTES:
            index = find_index(self.path, f"es {self._kind} {self.size}", self._index)
            place = index.at(start_us)
            begin = int(index.offset[place]), int(index.state[place, 0])
        return _Pass(self, self._losses(damage), begin=begin).blocks(storage)

    def _index(self) -> Index:
        reading = _Pass(self, Losses(self.path, strict=False))
        rows = [(NEVER, reading.at, 0)]
        for block in reading.blocks(ReusedStorage()):
            if len(block):
                rows.append((int(block.t[-1]), reading.at, int(reading.state[k.S_CLOCK])))
        return index_of(rows)


class _Pass:
    """One pass over an Event Stream, from byte and clock `begin` on.

    at       the current byte; `state` is that of the loops there
    colors  of the latest block, if requested
    """

    def __init__(
        self,
        recording: EsRecording,
        losses: Losses,
        *,
        begin: tuple[int, int] | None = None,
        crossings: bool = False,
        colored: bool = False,
    ) -> None:
        self.size, self.kind = recording.size, recording._kind
        self.crossings, self._losses = crossings, losses
        self.at, clock_us = begin or (_HEADER_BYTES, 0)
        self.colors = np.empty((BLOCK_EVENTS if colored else 0, 3), np.uint8)
        self.state = np.zeros(k.STATE_FIELDS, np.int64)
        self.state[k.S_CLOCK] = clock_us
        self._lost = np.empty((_LOSSES, 4), np.int64)

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; in strict mode the first loss raises DamagedFileError."""
        path, strict = self._losses.path, self._losses.strict
        file = FileMap(path)
        data = file.data
        gray = _blank(path, self.size if self.kind == k.COLOR else Size(1, 1))
        step = k.event_bytes(self.kind)
        count, before = min(BLOCK_EVENTS, len(data) // step + 1), -1
        while self.at < len(data) and self.at != before:  # it stops if the last event is cut
            columns, self.state[k.S_EVENTS] = storage.columns(count), 0
            while self.at < len(data) and self.at != before and self.state[k.S_EVENTS] < count:
                before = self.at
                self.at = k.decode(
                    data, self.at, self.kind, self.crossings, *self.size, strict,
                    self.state, gray, self.colors, columns, self._lost,
                )  # fmt: skip
                self._take_losses()
            n = int(self.state[k.S_EVENTS])
            file.forget(self.at)
            yield columns.events(n, self.size)
        if self.at < len(data):
            cut = len(data) - self.at
            self._losses.lose(self.at, cut, f"the last event has {cut} of {step} bytes")

    def _take_losses(self) -> None:
        for place, length, x, y in self._lost[: self.state[k.S_LOSSES]].tolist():
            problem = f"event at ({x}, {y}), y from the bottom, is off the {self.size} sensor"
            self._losses.lose(place, length, problem)
        self.state[k.S_LOSSES] = 0


def _blank(path: Path, size: Size) -> NDArray[np.int32]:
    try:
        return np.zeros(size.width * size.height, np.int32)  # takes memory only where used
    except MemoryError:
        raise GeometryError(
            f"{path}: not enough memory for the colors of a {size} sensor; pass the right size="
        ) from None


class GenericEvent(NamedTuple):
    """Bytes at a time, in microseconds."""

    t_us: int
    data: bytes


class GenericRecording(Recording):
    """An Event Stream of generic events: they have no pixels, so there are no Events.

    `generic_events` yields them as bytes, `labels` returns them as text with their times.
    """

    format = "es"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        size = options.size
        super().__init__(
            path, options, size or _NO_SENSOR, "format" if size is None else "argument"
        )
        self.assumptions.append(
            "generic events have no pixels: there are no events here, and the size has no meaning; "
            ".labels() returns them as text"
        )

    def header(self) -> Mapping[str, str]:
        """Return the version and the type."""
        return {"version": _version_of(self.path), "type": "generic"}

    def other_streams(self) -> Mapping[str, int]:
        """Count the generic events."""
        count = sum(1 for _ in self._events(Losses(self.path, strict=False)))
        return {"generic events": count} if count else {}

    def generic_events(self) -> Iterator[GenericEvent]:
        """Yield the events in time order."""
        return self._events(self._losses())

    def labels(self) -> Labels:
        """Return the events as labels with a span of one microsecond.

        Bytes that are not UTF-8 are written as \\x and two digits each.
        """
        events = list(self.generic_events())
        start_us = np.array([event.t_us for event in events], np.int64)
        names = tuple(event.data.decode("utf-8", "backslashreplace") for event in events)
        return Labels(start_us, start_us + 1, names)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        for _ in self._events(self._losses(damage)):
            pass
        yield Events.empty(self.size)

    def _events(self, losses: Losses) -> Iterator[GenericEvent]:
        file = FileMap(self.path)
        data = file.data
        clock, rows = np.zeros(1, np.int64), np.empty((_ROWS, 3), np.int64)
        at, n = _GENERIC_HEADER_BYTES, _ROWS
        while n == _ROWS:
            n, at = k.find_generic(data, at, clock, rows)
            for t_us, place, length in rows[:n].tolist():
                yield GenericEvent(t_us, data[place : place + length].tobytes())
            file.forget(at)
        if at < len(data):
            cut = len(data) - at
            losses.lose(at, cut, f"the last event is cut: it has only {cut} bytes")


def open_recording(path: Path, options: ReadOptions) -> EsRecording | GenericRecording:
    """Open an Event Stream. Its size is the argument or the header's.

    Raises FormatError for versions other than 2 and for display events, GeometryError for an
    invalid size in the header.
    """
    head = _checked_head(path)
    kind = head[15]
    if kind == k.GENERIC:
        return GenericRecording(path, options)
    if options.size is not None:
        return EsRecording(path, options, options.size, "argument", kind)
    width, height = np.frombuffer(head[16:], "<u2").tolist()
    size = stated_size(path, lambda: as_size((width, height)))
    return EsRecording(path, options, size, "header", kind)


_VERSION_AND_TYPE = bytes((2, 0, 0, 1))
_BUFFER_BYTES = 1 << 20
_LONGEST_GAP_US = 1 << 35  # 9.5 hours: as time alone 270 MB, a byte per 127 us


class EsSink(FileSink):
    """Writes an Event Stream 2 of type DVS: all events in order.

    Times start at 0 in the file. Raises EventsError for times below 0 and for gaps of more than 9.5
    hours, including the one before the first event, as they would fill the disk.
    """

    format = "es"
    _longest_gap_us = _LONGEST_GAP_US

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        self._clock = np.zeros(1, np.int64)
        self._data = np.empty(_BUFFER_BYTES, np.uint8)
        self._file.write(MAGIC + _VERSION_AND_TYPE + struct.pack("<HH", *self.size))
        self.notes.append("y is counted from the bottom in the file, as Event Stream defines it")

    def _write(self, events: Events) -> None:
        if not self.count and not 0 <= events.t[0] <= _LONGEST_GAP_US:
            raise EventsError(
                f"{self.path}: the first time, {events.t[0]} us, is not within 0 to 9.5 hours, as "
                "in Event Stream; shift the events, or choose .npz or .aedat4"
            )
        at = 0
        while at < len(events):
            at, count = k.encode(
                events.t, events.x, events.y, events.p, at,
                self.size.height, self._clock, self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)


open_sink = EsSink
