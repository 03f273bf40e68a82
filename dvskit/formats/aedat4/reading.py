"""AEDAT 4 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat4.event_packets import first_time, read_events
from dvskit.formats.aedat4.layout import Aedat4Header, StreamInfo, read_container
from dvskit.formats.aedat4.side_streams import (
    SidePackets,
    count_items,
    read_frames,
    read_imu,
    read_triggers,
)
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, smallest_size, stated_size
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

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
        """Yield the frames, one at a time; colours are RGB."""
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
