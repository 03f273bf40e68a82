"""AEDAT 4 files as Recordings: events, IMU samples, triggers and frames.

Layout of other data: the flatbuffer schemas imu.fbs, trigger.fbs and frame.fbs of dv-processing
(Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat4.event_packets import first_time, read_events
from dvskit.formats.aedat4.layout import (
    PACKET_HEADER,
    Aedat4Header,
    CompressionError,
    FlatbufferError,
    FlatTable,
    StreamInfo,
    decompressor,
    read_container,
    root,
    scalar_tables,
)
from dvskit.formats.aedat4.packets import Packets
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, smallest_size, stated_size
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

# A trigger's type to (id, rising): the external input is 0, the external generator 1, a frame's
# start and end 2, an exposure's 3, a reset of the clock 4. A pulse counts as a rising edge.
TRIGGER_TYPES = {
    0: (4, True),
    1: (0, True),
    2: (0, False),
    3: (0, True),
    4: (1, True),
    5: (1, False),
    6: (2, True),
    7: (2, False),
    8: (3, True),
    9: (3, False),
}
IMU_WIDTHS = (8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4)  # t; temperature; x, y, z of three sensors
TRIGGER_WIDTHS = (8, 1)
# Fields of a frame.
_TIME, _START, _END, _FORMAT, _WIDTH, _HEIGHT, _X, _Y = 0, 3, 4, 5, 6, 7, 8, 9
_PIXELS, _EXPOSURE = 10, 11
_DEPTHS: dict[int, np.dtype[Any]] = {0: np.dtype("u1"), 2: np.dtype("<u2")}  # CV_8U, CV_16U


class SidePackets:
    """The decompressed packets of one stream. Damage raises in strict mode, else is left out."""

    def __init__(self, container: Aedat4Header, stream: StreamInfo, *, strict: bool) -> None:
        self._container, self._stream = container, stream
        self.path, self.strict = container.path, strict

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        losses = Losses(self.path, strict=self.strict)
        unpack = decompressor(self._container.compression)
        for group in Packets(self._container, self._stream.number, losses):
            begins = group.packets[:, 0].tolist()
            for begin, content in zip(begins, group.contents(), strict=True):
                offset = begin - PACKET_HEADER.size
                try:
                    yield offset, bytes(unpack(content))
                except CompressionError as error:
                    self.reject(offset, error)

    def reject(self, offset: int, error: Exception) -> None:
        """In strict mode, raise DamagedFileError for the packet at a byte of the file."""
        if self.strict:
            problem = f"{self._stream.kind} packet is damaged: {error}"
            raise DamagedFileError(self.path, offset, problem)

    def tables(self, widths: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the scalar fields of all tables in the packets: int64 (n, fields)."""
        parts = [np.empty((0, len(widths)), np.int64)]
        identifier = self._stream.kind.encode("latin-1", "replace")
        for offset, buffer in self:
            try:
                parts.append(scalar_tables(buffer, identifier, widths))
            except FlatbufferError as error:
                self.reject(offset, error)
        return np.concatenate(parts)


def read_imu(packets: SidePackets) -> Imu:
    """Return the samples of an IMU stream. Quantities that are always 0 were not measured: NaN."""
    values = packets.tables(IMU_WIDTHS)
    measured = values[:, 1:].astype(np.uint32).view(np.float32).reshape(-1, len(IMU_WIDTHS) - 1)
    for columns in (slice(0, 1), slice(1, 4), slice(4, 7), slice(7, 10)):
        if not measured[:, columns].any():
            measured[:, columns] = np.nan
    parts = (measured[:, 1:4], measured[:, 4:7], measured[:, 0], measured[:, 7:10])
    return Imu.in_order([Imu(values[:, 0], *(np.ascontiguousarray(part) for part in parts))])


def read_triggers(packets: SidePackets) -> Triggers:
    """Return the triggers of a stream; ids and edges are those of TRIGGER_TYPES."""
    values = packets.tables(TRIGGER_WIDTHS)
    known = np.isin(values[:, 1], list(TRIGGER_TYPES))
    if not known.all() and packets.strict:
        raise FormatError(
            f"{packets.path}: a trigger is of the unknown type {values[~known][0, 1]}; "
            "pass strict=False to leave it out"
        )
    values = values[known]
    edges = np.array([TRIGGER_TYPES[kind] for kind in range(len(TRIGGER_TYPES))])[values[:, 1]]
    return Triggers.in_order(
        [Triggers(values[:, 0], edges[:, 0].astype(np.int16), edges[:, 1].astype(np.bool_))]
    )


def read_frames(packets: SidePackets) -> Iterator[Frame]:
    """Yield the frames of a stream, one at a time.

    In strict mode, a frame earlier than the one before raises DamagedFileError, and one with pixels
    other than 8-bit or 16-bit unsigned integers FormatError; else they are left out.
    """
    last: int | None = None
    for offset, buffer in packets:
        try:
            frame = _frame(root(buffer, b"FRME"))
        except FlatbufferError as error:
            packets.reject(offset, error)
            continue
        except FormatError as error:
            if packets.strict:
                raise FormatError(f"{packets.path}: {error}") from None
            continue
        if last is not None and frame.t_us < last:
            packets.reject(offset, ValueError(f"time runs back from {last} to {frame.t_us} us"))
            continue
        last = frame.t_us
        yield frame


def _frame(table: FlatTable) -> Frame:
    kind = table.number(_FORMAT, "<b", 0)
    width, height = table.number(_WIDTH, "<h", 0), table.number(_HEIGHT, "<h", 0)
    depth, channels = kind & 7, (kind >> 3) + 1  # OpenCV's numbers of pixel types
    if depth not in _DEPTHS or channels not in (1, 3, 4):
        raise FormatError(
            f"a frame has pixels of OpenCV's type {kind}; only gray, BGR and BGRA of 8 and 16 "
            "bits, unsigned, are read; pass strict=False to leave it out"
        )
    pixel = _DEPTHS[depth]
    start, count = table.vector(_PIXELS, 1)
    if width < 1 or height < 1 or count != width * height * channels * pixel.itemsize:
        raise FlatbufferError(f"{count} bytes do not make {width}x{height} pixels of type {kind}")
    image: NDArray[Any] = np.frombuffer(table.buffer, pixel, count // pixel.itemsize, start)
    if channels == 1:
        image = image.reshape(height, width).astype(pixel.newbyteorder("="))
    else:  # (H, W, BGR or BGRA) -> (H, W, RGB)
        image = image.reshape(height, width, channels)[:, :, 2::-1].astype(
            pixel.newbyteorder("="), order="C"
        )
    t_us, stop_us = _exposure(table)
    return Frame(t_us, stop_us, image, table.number(_X, "<h", 0), table.number(_Y, "<h", 0))


def _exposure(table: FlatTable) -> tuple[int, int]:
    """Return the start and end of a frame's exposure.

    Old files store both (with a time stamp between them); new ones the start and the length.
    """
    time = table.number(_TIME, "<q", 0)
    start, end = table.number(_START, "<q", 0), table.number(_END, "<q", 0)
    if 0 < start <= end:
        return start, end
    return time, time + max(0, table.number(_EXPOSURE, "<q", 0))


def count_items(container: Aedat4Header, stream: StreamInfo) -> int:
    """Return the number of events, samples or triggers of a stream; of other streams, packets."""
    item_bytes = {"EVTS": 16, "IMUS": 4, "TRIG": 4}.get(stream.kind)
    identifier = stream.kind.encode("latin-1", "replace")
    count = 0
    for _, buffer in SidePackets(container, stream, strict=False):
        try:
            count += 1 if item_bytes is None else root(buffer, identifier).vector(0, item_bytes)[1]
        except FlatbufferError:
            continue
    return count


_NEAR_BYTES = 1 << 20  # read in about the time of a step of the search


def find_start(container: Aedat4Header, stream: int, time_us: int) -> int:
    """Return a byte to read from: all events before it are earlier than `time_us`.

    The file must be in time order.
    """
    low, high = container.start, container.path.stat().st_size
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        found = first_time(container, stream, middle)
        if found is not None and found[0] < high and found[1] < time_us:
            low = found[0]
        else:
            high = middle
    return low


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
        container: Aedat4Header,
        stream: int,
    ) -> None:
        super().__init__(path, options, size, origin)
        self._container = container
        self._stream = stream

    def _blocks(
        self, damage: Damage, storage: Storage, start: int | None = None
    ) -> Iterator[Events]:
        losses = self._losses(damage)
        return read_events(self._container, self._stream, self.size, losses, storage, start)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        # Salvage of a damaged file depends on earlier data: all of it is read.
        if not self.strict:
            return self._blocks(damage, storage)
        return self._blocks(damage, storage, find_start(self._container, self._stream, start_us))

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
        """Yield the frames, one at a time; colors are RGB."""
        packets = self._packets("FRME")
        return iter(()) if packets is None else read_frames(packets)

    def _packets(self, kind: str) -> SidePackets | None:
        stream = self._beside(kind)
        return stream and SidePackets(self._container, stream, strict=self.strict)

    def _beside(self, kind: str) -> StreamInfo | None:
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


def _data_size(path: Path, container: Aedat4Header, stream: int) -> Size:
    losses = Losses(path, strict=False)
    return smallest_size(path, read_events(container, stream, _ANY_SIZE, losses))


def _event_stream(container: Aedat4Header, variant: str | None) -> StreamInfo:
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
