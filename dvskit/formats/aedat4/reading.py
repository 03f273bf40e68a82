"""AEDAT 4 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat4.compression import CompressionError, decompress
from dvskit.formats.aedat4.event_packets import EventReader
from dvskit.formats.aedat4.layout import (
    PACKET_HEADER,
    Container,
    FlatbufferError,
    Stream,
    read_container,
    root,
    scalar_tables,
)
from dvskit.formats.aedat4.packets import MOST_PACKED, Packets
from dvskit.formats.aedat4.side_streams import (
    SidePackets,
    count_items,
    read_frames,
    read_imu,
    read_triggers,
)
from dvskit.formats.index_cache import count_early
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, smallest_size, stated_size
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

TABLE_WIDTHS = (8, 8, 8, 8, 8)  # offset; stream and length; items; first and last time
_EVENT_BYTES = 16


def read_table(container: Container, stream: int) -> NDArray[np.int64] | None:
    """Return the packets of a stream in the table: int64 (n, 2), header's offset, length.

    None if the file has no table, or an invalid one.
    """
    file_bytes = container.path.stat().st_size
    if not container.start <= container.table < file_bytes:
        return None
    if file_bytes - container.table > MOST_PACKED:
        return None
    with container.path.open("rb") as file:
        file.seek(container.table)
        content = file.read()
    try:
        values = scalar_tables(decompress(content, container.compression), b"FTAB", TABLE_WIDTHS)
    except (CompressionError, FlatbufferError):
        return None
    values = values[(values[:, 1] & 0xFFFFFFFF) == stream]
    offsets, lengths = values[:, 0] - PACKET_HEADER.size, values[:, 1] >> 32
    ends = offsets + PACKET_HEADER.size + lengths
    valid = (
        (lengths > 0).all()
        and (offsets >= container.start).all()
        and (ends <= container.table).all()
        and (offsets[1:] >= ends[:-1]).all()
    )
    return np.stack([offsets, lengths], axis=1) if valid and len(values) else None


class TimeSearch:
    """Finds the packet of a stream at which to start for a time, in a file in order.

    Only the positions of packets are taken from the file's table; times are those of the events.
    """

    def __init__(self, container: Container, stream: int) -> None:
        self._container, self._stream = container, stream
        self._rows = read_table(container, stream)

    def start(self, time_us: int) -> int:
        """Return the byte of a packet; all events before it are earlier than `time_us`."""
        if self._rows is not None:
            try:
                return self._bisect(self._rows, time_us)
            except LookupError:
                pass  # the table is wrong
        packets = Packets(self._container, self._stream, Losses(self._container.path, strict=False))
        parts = [np.empty((0, 2), np.int64), *(window.rows for window in packets)]
        self._rows = np.concatenate(parts)
        return self._bisect(self._rows, time_us)

    def _bisect(self, rows: NDArray[np.int64], time_us: int) -> int:
        def is_early(row: int) -> bool:
            first = self._first_time(*rows[row].tolist())
            return first is not None and first < time_us

        early = count_early(len(rows), is_early)
        return int(rows[early - 1, 0]) if early else self._container.start

    def _first_time(self, offset: int, length: int) -> int | None:
        """Return the time of a packet's first event; None without events or if it is damaged.

        Raises LookupError if no packet of that length begins there.
        """
        with self._container.path.open("rb") as file:
            file.seek(offset)
            header, content = file.read(PACKET_HEADER.size), file.read(length)
        if header != PACKET_HEADER.pack(self._stream, length):
            raise LookupError(offset)
        try:
            table = root(decompress(content, self._container.compression), b"EVTS")
            start, count = table.vector(0, _EVENT_BYTES)
        except (CompressionError, FlatbufferError):
            return None
        first = bytes(table.buffer[start : start + 8])
        return int.from_bytes(first, "little", signed=True) if count else None


_ANY_SIZE = Size(32767, 32767)
_NAMES = {"EVTS": "events", "IMUS": "IMU samples", "FRME": "frames", "TRIG": "triggers"}


class Aedat4Recording(Recording):
    """An event stream of an AEDAT 4 file, with its triggers, IMU samples and frames."""

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
        self._search: TimeSearch | None = None

    def _blocks(
        self, damage: Damage, storage: Storage, start: int | None = None
    ) -> Iterator[Events]:
        losses = self._losses(damage)
        reader = EventReader(self._container, self._stream, self.size, losses, storage, start)
        return reader.blocks()

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        # Salvage of a damaged file depends on earlier data: all of it is read.
        if not self.strict:
            return self._blocks(damage, storage)
        if self._search is None:
            self._search = TimeSearch(self._container, self._stream)
        return self._blocks(damage, storage, self._search.start(start_us))

    def triggers(self) -> Triggers:
        """Return all triggers in time order: id 0 for edges on the external input.

        A pulse is a rising edge. Other ids: 1 for the external generator, 2 and 3 for the start
        (rising) and end of frames and exposures, 4 for a reset of the clock.
        """
        packets = self._packets("TRIG")
        return Triggers.empty() if packets is None else read_triggers(packets)

    def imu(self) -> Imu:
        """Return all IMU samples in time order; NaN where a quantity is 0 in all of them."""
        packets = self._packets("IMUS")
        return Imu.empty() if packets is None else read_imu(packets)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, one at a time; colours are RGB."""
        packets = self._packets("FRME")
        return iter(()) if packets is None else read_frames(packets)

    def _packets(self, kind: str) -> SidePackets | None:
        stream = self._beside(kind)
        return stream and SidePackets(self._container, stream, strict=self.strict)

    def _beside(self, kind: str) -> Stream | None:
        """Return the first stream of a kind, of the same camera if there are several."""
        streams = self._container.streams
        source = streams[self._stream].attributes.get("source")
        of_kind = [each for each in streams.values() if each.kind == kind]
        same = [each for each in of_kind if each.attributes.get("source") == source]
        several = sum(each.kind == "EVTS" for each in streams.values()) > 1
        return next(iter(same if same or several else of_kind), None)

    def header(self) -> Mapping[str, str]:
        """Return the compression and the attributes of the event stream."""
        return {
            "compression": self._container.compression.name,
            **self._container.streams[self._stream].attributes,
        }

    def other_streams(self) -> Mapping[str, int]:
        """Count IMU samples, frames, and the items of streams that are not read."""
        read = {self._stream}
        counts: dict[str, int] = {}
        for kind, name in (("IMUS", "IMU samples"), ("FRME", "frames"), ("TRIG", "")):
            stream = self._beside(kind)
            if stream is not None:
                read.add(stream.number)
                if name:
                    counts[name] = count_items(self._container, stream)
        for stream in self._container.streams.values():
            if stream.number not in read:
                what = _NAMES.get(stream.kind, f"{stream.kind or 'unnamed'} packets")
                name = f"{what} of stream {stream.number}"
                counts[name] = count_items(self._container, stream)
        return {name: count for name, count in counts.items() if count}


def _header_size(path: Path, attributes: Mapping[str, str]) -> Size | None:
    if "sizeX" not in attributes or "sizeY" not in attributes:
        return None
    return stated_size(path, lambda: as_size((int(attributes["sizeX"]), int(attributes["sizeY"]))))


def _data_size(path: Path, container: Container, stream: int) -> Size:
    reader = EventReader(container, stream, _ANY_SIZE, Losses(path, strict=False))
    return smallest_size(path, reader.blocks())


def _event_stream(container: Container, variant: str | None) -> Stream:
    """Return the first event stream, or that with the number `variant`."""
    path = container.path
    streams = [each for each in container.streams.values() if each.kind == "EVTS"]
    if not streams:
        kinds = ", ".join(each.kind or "unnamed" for each in container.streams.values())
        raise FormatError(f"{path}: holds no event stream, only {kinds}")
    if variant is None:
        return streams[0]
    for stream in streams:
        if variant.strip() == str(stream.number):
            return stream
    numbers = ", ".join(str(each.number) for each in streams)
    raise FormatError(
        f"{path}: has no event stream {variant!r}; name one of {numbers}, "
        f"as in aedat4:{streams[0].number}"
    )


def open_recording(path: Path, options: ReadOptions) -> Aedat4Recording:
    """Open an AEDAT 4 file: its first event stream, or that with the number `options.variant`.

    The size is the argument, the header's, or the smallest that holds the events. Raises
    FormatError for an unusable header or one without such an event stream, GeometryError.
    """
    container = read_container(path)
    stream = _event_stream(container, options.variant)
    size, origin = choose_size(
        options,
        lambda: _header_size(path, stream.attributes),
        lambda: _data_size(path, container, stream.number),
    )
    recording = Aedat4Recording(path, options, size, origin, container, stream.number)
    others = [
        each.number for each in container.streams.values() if each.kind == "EVTS" and each != stream
    ]
    if others:
        recording.assumptions.append(
            f"events are those of stream {stream.number}; select others with format="
            + ", ".join(f"aedat4:{number}" for number in others)
        )
    return recording
