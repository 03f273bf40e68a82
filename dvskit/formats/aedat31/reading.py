"""AEDAT 3.1 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat2.chips import named_chip
from dvskit.formats.aedat31.packets import (
    FRAME,
    IMU6,
    IMU9,
    POLARITY,
    SPECIAL,
    Head,
    Packet,
    Walk,
    build_index,
    clean_block,
    extent,
    read_head,
    read_packets,
)
from dvskit.formats.aedat31.samples import (
    INPUTS,
    read_frames,
    read_imu,
    read_triggers,
    special_words,
)
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.index_cache import find_index
from dvskit.formats.losses import Damage, Lose
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

_BYTES = 8  # of a polarity event
_KINDS = {FRAME: "frames", IMU6: "IMU samples", IMU9: "IMU samples", 5: "ADC samples", 12: "spikes"}


class Aedat31Recording(Recording):
    """Events of an AEDAT 3.1 file; edges on inputs, samples of motion and frames beside."""

    format = "aedat31"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        head: Head,
        source: int,
    ) -> None:
        super().__init__(path, options, size, origin)
        self._head = head
        self._source = source

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._head.keys

    def triggers(self) -> Triggers:
        """Return the edges on external inputs in time order; a pulse is given as a rising edge."""
        file = FileMap(self.path)
        return read_triggers(file.data, self._packets(file, SPECIAL))

    def imu(self) -> Imu:
        """Return the samples of motion, with those of a compass if there is one, in time order."""
        lose = self._losses().lose
        parts = []
        for kind in (IMU6, IMU9):
            file = FileMap(self.path)
            parts.append(read_imu(file.data, self._packets(file, kind), lose))
        return Imu.in_order(parts)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, uint16 and gray or RGB, as they stand in the file."""
        file = FileMap(self.path)
        yield from read_frames(file.data, self._packets(file, FRAME), self._losses().lose)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples, special events that are no triggers, and invalid events."""
        file = FileMap(self.path)
        data = file.data
        counts: dict[str, int] = {}

        def count(name: str, number: int) -> None:
            counts[name] = counts.get(name, 0) + number

        for packet in _each_packet(file, self._head.end, self._losses().lose):
            if packet.kind == SPECIAL:
                kinds, _ = special_words(data, packet)
                count("special events", int(np.count_nonzero(~np.isin(kinds, list(INPUTS)))))
            elif packet.kind != POLARITY:
                count(_KINDS.get(packet.kind, f"events of type {packet.kind}"), packet.number)
            elif packet.source != self._source:
                count(f"events of source {packet.source}", packet.number)
            else:
                valid = data[packet.start : packet.start + packet.number * _BYTES : _BYTES] & 1
                count("events marked invalid", packet.number - int(np.count_nonzero(valid)))
        return {name: number for name, number in counts.items() if number}

    def _packets(self, file: FileMap, kind: int) -> Iterator[Packet]:
        """Yield the packets of a kind, from all sources."""
        walk = Walk(file, self._head.end, kind)
        yield from walk.packets()
        yield from (
            packet
            for packet in _each_packet(file, walk.at, self._losses().lose)
            if packet.kind == kind
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        file = FileMap(self.path)
        if self.strict:
            walk = Walk(file, self._head.end, POLARITY, self._source)
            yield from self._strict_blocks(walk, damage, storage)
            return
        order = self._order(damage, 0)
        for packet in _each_packet(file, self._head.end, self._losses(damage).lose):
            if packet.kind == POLARITY and packet.source == self._source:
                yield from _judge(file.data, packet, order)
        yield from order.rest()

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            yield from self._blocks(damage, storage)
            return
        walk = Walk(FileMap(self.path), self._head.end, POLARITY, self._source)
        index = find_index(self.path, f"aedat31 {self._source}", lambda: build_index(walk))
        walk.state[:] = index.state[index.at(start_us)]
        yield from self._strict_blocks(walk, damage, storage)

    def _strict_blocks(self, walk: Walk, damage: Damage, storage: Storage) -> Iterator[Events]:
        last = 0
        for table in walk.tables():
            events = clean_block(walk, table, self.size, last, storage)
            if events is None:
                order = self._order(damage, last)
                packets = [Packet(*row) for row in table.tolist()]
                found = [part for packet in packets for part in _judge(walk.data, packet, order)]
                events = Events.concatenate(found, size=self.size)
            if len(events):
                last = int(events.t[-1])
            yield events
        if walk.at < len(walk.data):
            # The header there is impossible: the first is named, and ends the walk.
            for _ in read_packets(walk.data, walk.at, self._losses(damage).lose):
                pass

    def _order(self, damage: Damage, earliest_us: int) -> InOrder:
        return InOrder(
            self.path, self.size, strict=self.strict, damage=damage, earliest_us=earliest_us
        )


def _each_packet(file: FileMap, start: int, lose: Lose) -> Iterator[Packet]:
    """Yield the packets from byte `start` on, also behind what is impossible."""
    for packet in read_packets(file.data, start, lose):
        yield packet
        file.forget(packet.start)


def _judge(data: NDArray[np.uint8], packet: Packet, order: InOrder) -> Iterator[Events]:
    """Yield the events of a polarity packet, as far as `order` is certain of them."""
    stop = packet.start + packet.number * _BYTES
    for start in range(packet.start, stop, BLOCK_EVENTS * _BYTES):
        part = data[start : min(stop, start + BLOCK_EVENTS * _BYTES)]
        words = np.frombuffer(part.tobytes(), "<u4").reshape(-1, 2)
        offsets = start + np.arange(len(words)) * _BYTES
        valid = words[:, 0] & 1 == 1
        address = words[valid, 0]
        stamps = words[valid, 1].view("<i4").astype(np.int64)
        yield from order.push(
            Columns(
                # A negative stamp is impossible; it stays negative, whatever the wraps are.
                t=np.where(stamps < 0, stamps, stamps + (packet.overflow << 31)),
                x=(address >> 17).astype(np.int32),
                y=(address >> 2 & 0x7FFF).astype(np.int32),
                p=address >> 1 & 1 == 1,
                offsets=offsets[valid],
                widths=np.full(len(address), _BYTES),
            )
        )


def _first_source(path: Path, head: Head) -> int:
    """Return the source of the first polarity packet, -1 if there is none."""
    file = FileMap(path)
    walk = Walk(file, head.end, POLARITY)
    for packet in walk.packets():
        return packet.source
    for packet in _each_packet(file, walk.at, lambda *_: None):
        if packet.kind == POLARITY:
            return packet.source
    return -1


def _extent(path: Path, head: Head, source: int) -> tuple[int, int]:
    """Return the width and height that hold the events of a source, in damaged files too."""
    file = FileMap(path)
    walk = Walk(file, head.end, POLARITY, source)
    width, height = extent(walk)
    for packet in _each_packet(file, walk.at, lambda *_: None):
        if packet.kind == POLARITY and packet.source == source:
            rest = Walk(file, len(file.data), POLARITY)
            rest.state[: len(packet)] = packet
            more = extent(rest)
            width, height = max(width, more[0]), max(height, more[1])
    return width, height


def open_recording(path: Path, options: ReadOptions) -> Aedat31Recording:
    """Open an AEDAT 3.1 file.

    Its events are those of the first source that sent any; the size is the argument, that of the
    camera which the header names, or the smallest that holds the events. Raises FormatError.
    """
    head = read_head(path)
    source = _first_source(path, head)
    chip = named_chip(head.keys.get(f"Source {source}", ""))
    if chip is None and source < 0:
        sources = [value for key, value in head.keys.items() if key.startswith("Source ")]
        chip = next((found for found in map(named_chip, sources) if found), None)
    if options.size is not None:
        return Aedat31Recording(path, options, options.size, "argument", head, source)
    if chip is not None:
        return Aedat31Recording(path, options, chip.size, "camera", head, source)
    width, height = _extent(path, head, source)
    if not width:
        raise FormatError(f"{path}: holds no event and names no known camera")
    size = as_size((min(width, 32767), min(height, 32767)))
    return Aedat31Recording(path, options, size, "data", head, source)
