"""AEDAT 4 files as a Sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from dvskit._threads import run_parts, thread_count
from dvskit.errors import EventsError, ShapeError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.aedat4 import encoding
from dvskit.formats.aedat4.layout import MAGIC, PACKET_HEADER, Compression, Compressor
from dvskit.formats.file_sink import FileSink
from dvskit.streams import Frame, Imu, Triggers

PACKET_EVENTS = 1 << 14
_BLOCK_PACKETS = 16  # compressed at a time
_MOST_ITEMS = 1 << 14  # IMU samples or triggers per packet


class Aedat4Sink(FileSink):
    """Writes an AEDAT 4 file: a stream of events, and triggers, IMU samples and frames if given."""

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
        self._even = EvenBlocks(_BLOCK_PACKETS * PACKET_EVENTS)
        self._compressors = [Compressor(compression) for _ in range(thread_count())]
        self._triggers, self._imu = Triggers.empty(), Imu.empty()
        self._frames: Iterator[Frame] | None = None
        self._entries: list[encoding.PacketEntry] = []
        self._kinds = ["EVTS"]

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording; they are stored after all events.

        Ids 0..4 are those of reading. Call it once, before the events. Raises EventsError for
        triggers after events and for time that runs back.
        """
        self._check_early("triggers", "TRIG", triggers.t)
        lost = encoding.lost_ids(triggers)
        if lost:
            self.notes.append(
                f"AEDAT 4 has no trigger ids {lost}: they are written as the external input, id 0"
            )
        self._triggers = triggers

    def write_imu(self, samples: Imu) -> None:
        """Take all IMU samples of the recording; they are stored after all events.

        Call it once, before the events. Raises EventsError for samples after events and for time
        that runs back.
        """
        self._check_early("IMU samples", "IMUS", samples.t)
        self._imu = samples

    def write_frames(self, frames: Iterable[Frame]) -> None:
        """Take the frames of the recording, in time order; they are read and stored at the end.

        Call it once, before the events. Raises EventsError for frames after events, and at the end
        ShapeError for an image that is not (H, W) or (H, W, 3) of uint8 or uint16.
        """
        iterator = iter(frames)
        first = next(iterator, None)
        self._check_early("frames", "FRME", np.empty(int(first is not None), np.int64))
        if first is not None:
            self._frames = chain([first], iterator)

    def _check_early(
        self, name: str, kind: str, t: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> None:
        if self.count or kind in self._kinds:
            raise EventsError(f"{self.path}: {name} are written once, before the events")
        if (t[1:] < t[:-1]).any():
            raise EventsError(f"{self.path}: the time of the {name} runs back; sort them first")
        if len(t):
            self._kinds.append(kind)

    def _open(self, partial: Path) -> None:
        self._file = partial.open("wb")

    def _write(self, events: Events) -> None:
        for block in self._even.push(events):
            self._write_block(block)

    def _header(self, table: int) -> bytes:
        """Return the header; its length does not depend on the place of the table of packets."""
        xml = encoding.streams_xml(self.size, self.compression, self._kinds)
        return MAGIC + encoding.header(self.compression, table, xml)

    def _write_block(self, events: Events) -> None:
        starts = range(0, len(events), PACKET_EVENTS)
        packets = [events[start : start + PACKET_EVENTS] for start in starts]
        packed = [b""] * len(packets)
        threads = min(len(self._compressors), len(packets))

        def work(part: int) -> None:
            for number in range(part, len(packets), threads):
                content = encoding.event_packet(packets[number])
                packed[number] = self._compressors[part].compress(content.data)

        run_parts(work, threads)
        for events_of_one, content in zip(packets, packed, strict=True):
            self._put("EVTS", content, len(events_of_one), _span(events_of_one))

    def _write_others(self) -> None:
        # After all events: some readers take a packet of triggers for the end of the events.
        compress = self._compressors[0].compress
        for frame in self._frames or ():
            _check_image(self.path, frame)
            span = frame.t_us, frame.stop_us
            self._put("FRME", compress(encoding.frame_packet(frame)), 1, span)
        for start in range(0, len(self._imu), _MOST_ITEMS):
            samples = self._imu.part(slice(start, start + _MOST_ITEMS))
            self._put("IMUS", compress(encoding.imu_packet(samples)), len(samples), _span(samples))
        for start in range(0, len(self._triggers), _MOST_ITEMS):
            edges = self._triggers.part(slice(start, start + _MOST_ITEMS))
            self._put("TRIG", compress(encoding.trigger_packet(edges)), len(edges), _span(edges))

    def _put(self, kind: str, packed: bytes, items: int, span_us: tuple[int, int]) -> None:
        """Write a compressed packet."""
        if not self._entries:
            self._file.write(self._header(0))
        stream = self._kinds.index(kind)
        self._file.write(PACKET_HEADER.pack(stream, len(packed)))
        entry = encoding.PacketEntry(self._file.tell(), stream, len(packed), items, *span_us)
        self._file.write(packed)
        self._entries.append(entry)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._write_block(block)
            self._write_others()
            if not self._entries:
                self._file.write(self._header(0))
            table = self._file.tell()
            entries = encoding.packet_table(self._entries)
            self._file.write(self._compressors[0].compress(entries))
            self._file.seek(0)
            self._file.write(self._header(table))
        finally:
            self._file.close()


def _span(timed: Events | Imu | Triggers) -> tuple[int, int]:
    return int(timed.t[0]), int(timed.t[-1])


def _check_image(path: Path, frame: Frame) -> None:
    image = frame.image
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not shaped or image.dtype not in (np.uint8, np.uint16) or max(image.shape) > 32767:
        raise ShapeError(
            f"{path}: a frame of {image.dtype} {image.shape}; give (height, width) or "
            "(height, width, 3) of uint8 or uint16"
        )


open_sink = Aedat4Sink
