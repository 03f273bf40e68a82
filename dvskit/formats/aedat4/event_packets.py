"""One pass over the events of a stream: blocks of valid events in time order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.aedat4.layout import (
    PACKET_HEADER,
    Aedat4Header,
    Compression,
    CompressionError,
    decompressor,
)
from dvskit.formats.aedat4.packets import Group, Packets, give_back, spare_array
from dvskit.formats.losses import Losses
from dvskit.formats.storage import EventColumns, Storage
from dvskit.formats.validate import DecodedBlock, Validator

LOOK_AHEAD = 1 << 16  # later events that may show that an event is ahead of its time
Bytes = NDArray[np.uint8]
_LEAST_ROOM = 1 << 16
_MOST_ROOM = 1 << 26  # where a thread stops before the next packet: many may decompress to much
# A thread that decompresses less waits longer for Python's lock than it works.
_SHORT_BYTES = 1 << 15


def read_events(
    container: Aedat4Header,
    stream: int,
    size: Size,
    losses: Losses,
    storage: Storage | None = None,
    start: int | None = None,
) -> Iterator[Events]:
    """Yield the events of one stream, some packets at a time, from the byte `start` on."""
    packets = Packets(container, stream, losses, start)
    blocks = _Decoder(container.compression, size).blocks(packets, storage or Storage())
    return Validator(losses, size, look_ahead=LOOK_AHEAD).blocks(blocks)


def first_time(container: Aedat4Header, stream: int, start: int) -> tuple[int, int] | None:
    """Return the byte of the first packet from `start` on, and the time of its first event.

    None if there is no packet, or if that one is empty or damaged.
    """
    packets = Packets(container, stream, Losses(container.path, strict=False), start)
    for group in packets:
        room = spare_array(_LEAST_ROOM)
        part = _unpack(group._replace(packets=group.packets[:1]), container.compression, room)
        if part.problem or not part.events[0, 1]:
            return None
        at = int(part.events[0, 0])
        first = int.from_bytes(part.room[at : at + 8].tobytes(), "little", signed=True)
        return int(group.packets[0, 0]) - PACKET_HEADER.size, first
    return None


class _Part(NamedTuple):
    """Decompressed packets, before the first invalid one.

    room     uint8, the packets one after the other
    events   int64 (n, 2), offset in `room` of the events of each packet, and their number
    problem  what is wrong with the next packet; empty if there is none
    """

    room: Bytes
    events: NDArray[np.int64]
    problem: str

    def shared(self, count: int) -> list[_Part]:
        """Return the packets in `count` parts of one room."""
        return [self._replace(events=each) for each in np.array_split(self.events, count)]


class _Decoder:
    """Decodes groups of packets on all threads."""

    def __init__(self, compression: Compression, size: Size) -> None:
        self._compression, self._size = compression, size
        # Decompressed data of each thread.
        self._rooms = [spare_array(_LEAST_ROOM) for _ in range(thread_count())]

    def blocks(self, packets: Packets, storage: Storage) -> Iterator[DecodedBlock]:
        """Yield the events of each group, unchecked; reject the first invalid packet."""
        try:
            yield from self._blocks(packets, storage)
        finally:
            give_back(*self._rooms)

    def _blocks(self, packets: Packets, storage: Storage) -> Iterator[DecodedBlock]:
        for group in packets:
            left = group
            while len(left.packets):
                parts = self._unpack(left)
                counts = np.concatenate([part.events[:, 1] for part in parts])
                count = int(counts.sum())
                columns = storage.columns(count)
                is_valid = self._split(parts, columns)
                offsets = left.packets[: len(counts), 0] - PACKET_HEADER.size
                places = partial(_places, offsets, counts)
                yield DecodedBlock(columns, places, (), is_valid)
                left = left._replace(packets=left.packets[len(counts) :])
                if parts[-1].problem:
                    packets.reject(int(left.packets[0, 0]), parts[-1].problem)
                    break

    def _unpack(self, group: Group) -> list[_Part]:
        """Return the first decompressed packets, in parts; only the last may have a problem."""
        packets = group.packets
        is_short = packets[:, 1].mean() < _SHORT_BYTES
        count = 1 if is_short else min(len(self._rooms), len(packets))
        cuts = [len(packets) * number // count for number in range(count + 1)]
        parts: dict[int, _Part] = {}

        def work(number: int) -> None:
            own = group._replace(packets=packets[cuts[number] : cuts[number + 1]])
            parts[number] = _unpack(own, self._compression, self._rooms[number])
            self._rooms[number] = parts[number].room

        run_parts(work, count)
        sizes = np.diff(cuts).tolist()
        stopped = [number for number in range(count) if len(parts[number].events) < sizes[number]]
        whole = [parts[number] for number in range(stopped[0] + 1 if stopped else count)]
        return whole if count > 1 else whole[0].shared(min(len(self._rooms), len(packets)))

    def _split(self, parts: list[_Part], columns: EventColumns) -> bool:
        """Split events into columns; return whether they are on the sensor and in time order."""
        places = np.cumsum([0, *(part.events[:, 1].sum() for part in parts)]).tolist()
        good = [False] * len(parts)

        def work(number: int) -> None:
            own = columns.part(slice(places[number], places[number + 1]))
            part = parts[number]
            good[number] = k.split_events(part.room, part.events, *self._size, own)

        run_parts(work, len(parts))
        t = columns.t
        return all(good) and all(t[at] >= t[at - 1] for at in places[1:-1] if 0 < at < len(t))


def _places(
    offsets: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each event the byte of its packet, and the length of an event."""
    repeated = np.repeat(offsets, counts)
    return repeated, np.full(len(repeated), k.EVENT_BYTES, np.int64)


def _unpack(group: Group, compression: Compression, room: Bytes) -> _Part:
    """Decompress packets into `room`, or a larger array if they do not fit."""
    unpack = decompressor(compression)
    ends, problem = [0], ""
    for packed in group.contents():
        start = ends[-1]
        if start > _MOST_ROOM:
            break
        try:
            content = unpack(packed)
        except CompressionError as error:
            problem = str(error)
            break
        stop = start + len(content)
        if stop > len(room):
            larger = spare_array(2 * stop)
            larger[:start] = room[:start]
            room = larger
        # At once: the library takes the same memory again for the next packet.
        room.data[start:stop] = content
        ends.append(stop)
    events = k.locate_all(room, np.array(ends, np.int64))
    damaged = np.flatnonzero(events[:, 0] < 0)
    if len(damaged):
        events, problem = events[: damaged[0]], "its flatbuffer is not one of events that fill it"
    return _Part(room, events, problem)
