"""AEDAT 4 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat4 import _kernels
from dvskit.formats.aedat4.compression import CompressionError, decompress
from dvskit.formats.aedat4.container import Container, Packet, Packets, read_container
from dvskit.formats.aedat4.flatbuffer import FlatbufferError, Table, root
from dvskit.formats.recording import Damage, ReadOptions, Recording, SizeOrigin, smallest_size
from dvskit.formats.storage import Storage
from dvskit.streams import Triggers

GROUP_EVENTS = 1 << 18
_EVENT_BYTES = 16
_NEVER = np.iinfo(np.int64).min
_ANY_SIZE = Size(32767, 32767)
_RISING, _FALLING, _PULSE = 1, 2, 3  # trigger types that come from outside
_ITEM_FIELDS = {"IMUS": ("imu", 4), "TRIG": ("triggers", 4), "EVTS": ("events", _EVENT_BYTES)}


class _Part(NamedTuple):
    """The events of one packet, as two words each, and where the packet begins."""

    offset: int
    words: NDArray[np.int64]


def _open_packet(container: Container, packets: Packets, packet: Packet, kind: str) -> Table | None:
    """Return the root table of a packet; count it as lost and return None where it is damaged."""
    try:
        return root(decompress(packet.content, container.compression), kind.encode("latin-1"))
    except (CompressionError, FlatbufferError) as error:
        packets.reject(packet.offset, f"{kind} packet is damaged: {error}")
        return None


def _find_events(table: Table) -> tuple[int, int]:
    """Return where the events of a packet begin, and their number; they are all it holds."""
    start, count = table.vector(0, _EVENT_BYTES)
    end = start + _EVENT_BYTES * count if count else table.at
    if len(table.buffer) - end >= 2 * _EVENT_BYTES:
        raise FlatbufferError(f"{len(table.buffer) - end} bytes stand behind its {count} events")
    return start, count


class _EventReader:
    """One pass over the event packets of one stream."""

    def __init__(
        self, container: Container, stream: int, size: Size, *, strict: bool, damage: Damage
    ) -> None:
        self._container, self._stream, self._size = container, stream, size
        self._strict = strict
        self._packets = Packets(container, strict=strict, damage=damage)
        self._last = int(_NEVER)

    def blocks(self) -> Iterator[Events]:
        """Yield the events in groups of whole packets."""
        group: list[_Part] = []
        count = 0
        for packet in self._packets:
            if packet.stream != self._stream:
                continue
            table = _open_packet(self._container, self._packets, packet, "EVTS")
            if table is None:
                continue
            try:
                start, events = _find_events(table)
            except FlatbufferError as error:
                self._packets.reject(packet.offset, f"EVTS packet is damaged: {error}")
                continue
            self._packets.accept()
            words = np.frombuffer(table.buffer, "<i8", 2 * events, start)
            group.append(_Part(packet.offset, words))
            count += events
            # Three packets at least, so that one with damaged times is outvoted by the others.
            if count >= GROUP_EVENTS and len(group) >= 3:
                yield self._block(group[:-1])
                group, count = group[-1:], events
        if group:
            yield self._block(group)

    def _block(self, group: list[_Part]) -> Events:
        words = np.concatenate([part.words for part in group])
        count = len(words) // 2
        t, x = np.empty(count, np.int64), np.empty(count, np.int16)
        y, p = np.empty(count, np.int16), np.empty(count, np.bool_)
        bad = _kernels.split(words, *self._size, self._last, t, x, y, p)
        events = Events.from_checked(t, x, y, p, self._size)
        if bad >= 0:
            events = self._without_damage(events, bad, group)
        if len(events):
            self._last = int(events.t[-1])
        return events

    def _without_damage(self, events: Events, bad: int, group: list[_Part]) -> Events:
        """Return the events on the sensor and in order, counting the others as lost."""
        starts = np.concatenate([[0], np.cumsum([len(part.words) // 2 for part in group])])
        width, height = self._size
        on_sensor = (events.x >= 0) & (events.x < width) & (events.y >= 0) & (events.y < height)
        usable = np.flatnonzero(on_sensor & (events.t >= self._last))
        kept = np.zeros(len(events), np.bool_)
        kept[usable[_kernels.longest_rise(events.t[usable])]] = True
        lost = np.array([bad]) if self._strict else np.flatnonzero(~kept)
        for packet in np.unique(np.searchsorted(starts, lost, "right") - 1).tolist():
            first, stop = int(starts[packet]), int(starts[packet + 1])
            here = lost[(lost >= first) & (lost < stop)]
            at = int(here[0])
            problem = (
                f"event {at - first} of a packet, at {events.t[at]} us and "
                f"({events.x[at]}, {events.y[at]}), is "
                + ("out of time order" if on_sensor[at] else f"off the {self._size} sensor")
            )
            if len(here) > 1:
                problem = f"{len(here)} damaged events: {problem}"
            self._packets.lose(group[packet].offset, _EVENT_BYTES * len(here), problem)
        return events.select(kept)


class Aedat4Recording(Recording):
    """The first event stream of an AEDAT 4 file, and its external triggers."""

    format = "aedat4"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        container: Container,
        stream: int,
    ) -> None:
        super().__init__(path, options, size, origin)
        self._container = container
        self._stream = stream

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reader = _EventReader(
            self._container, self._stream, self.size, strict=self.strict, damage=damage
        )
        yield from reader.blocks()

    def triggers(self) -> Triggers:
        """Return the edges on the external input (id 0) in time order; a pulse is a rising edge."""
        rows = [
            (time, kind != _FALLING)
            for time, kind in self._trigger_items()
            if kind in (_RISING, _FALLING, _PULSE)
        ]
        if not rows:
            return Triggers.empty()
        t = np.array([time for time, _ in rows], np.int64)
        p = np.array([rising for _, rising in rows], np.bool_)
        return Triggers.in_order([Triggers(t, np.zeros(len(t), np.int16), p)])

    def _trigger_items(self) -> Iterator[tuple[int, int]]:
        stream = self._container.first("TRIG")
        if stream is None:
            return
        packets = Packets(self._container, strict=self.strict, damage=Damage())
        for packet in packets:
            if packet.stream != stream.number:
                continue
            table = _open_packet(self._container, packets, packet, "TRIG")
            if table is None:
                continue
            try:
                for item in table.tables(0):
                    yield item.number(0, "<q", 0), item.number(1, "<b", 0)
            except FlatbufferError as error:
                packets.reject(packet.offset, f"TRIG packet is damaged: {error}")

    def header(self) -> Mapping[str, str]:
        """Return the compression and the attributes of the event stream."""
        return {
            "compression": self._container.compression.name,
            **self._container.streams[self._stream].attributes,
        }

    def other_streams(self) -> Mapping[str, int]:
        """Count IMU samples, frames, triggers that are no edges, and events of other streams."""
        counts: dict[str, int] = {}
        packets = Packets(self._container, strict=False, damage=Damage())
        for packet in packets:
            stream = self._container.streams[packet.stream]
            if packet.stream == self._stream or stream.kind == "TRIG":
                continue
            name, items = ("frames" if stream.kind == "FRME" else stream.kind or "unnamed"), 1
            if stream.kind in _ITEM_FIELDS:
                name, item_bytes = _ITEM_FIELDS[stream.kind]
                if stream.kind == "EVTS":
                    name = f"events of stream {packet.stream}"
                table = _open_packet(self._container, packets, packet, stream.kind)
                try:
                    items = 0 if table is None else table.vector(0, item_bytes)[1]
                except FlatbufferError:
                    items = 0
            counts[name] = counts.get(name, 0) + items
        inner = sum(kind not in (_RISING, _FALLING, _PULSE) for _, kind in self._trigger_items())
        return {**counts, **({"other triggers": inner} if inner else {})}


def _header_size(path: Path, attributes: Mapping[str, str]) -> Size | None:
    if "sizeX" not in attributes or "sizeY" not in attributes:
        return None
    try:
        return as_size((int(attributes["sizeX"]), int(attributes["sizeY"])))
    except (ValueError, GeometryError) as error:
        raise GeometryError(
            f"{path}: the header's sensor size cannot be used ({error}); pass size=(width, height)"
        ) from None


def _data_size(path: Path, container: Container, stream: int) -> Size:
    reader = _EventReader(container, stream, _ANY_SIZE, strict=False, damage=Damage())
    return smallest_size(path, reader.blocks())


def open_recording(path: Path, options: ReadOptions) -> Aedat4Recording:
    """Open an AEDAT 4 file: its first event stream.

    The size is the argument, the header's, or the smallest that holds the events. Raises
    FormatError for a header that cannot be used or names no event stream, GeometryError.
    """
    container = read_container(path)
    stream = container.first("EVTS")
    if stream is None:
        kinds = ", ".join(each.kind or "unnamed" for each in container.streams.values())
        raise FormatError(f"{path}: holds no event stream, only {kinds}")
    size: Size | None
    origin: SizeOrigin
    if options.size is not None:
        size, origin = options.size, "argument"
    else:
        size, origin = _header_size(path, stream.attributes), "header"
        if size is None:
            size, origin = _data_size(path, container, stream.number), "data"
    recording = Aedat4Recording(path, options, size, origin, container, stream.number)
    others = [each.number for each in container.streams.values() if each.kind == "EVTS"][1:]
    if others:
        recording.assumptions.append(
            f"events are those of stream {stream.number}; streams {others} hold events too"
        )
    return recording
