"""Decompress packets of events on all threads, and split the events into columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Size
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.aedat4.compression import MOST_BYTES, Compression
from dvskit.formats.aedat4.lz4_kernels import SPARE
from dvskit.formats.decompression import zstd_decompressor
from dvskit.formats.storage import EventColumns

_SCRATCH = 1 << 19  # bytes that stay in a processor's own cache
_ROOM, _MOST_ROOM = 1 << 22, 1 << 25  # bytes a thread decompresses to at a time
TOO_MANY = 1
_HEAD_BYTES = 64  # ahead of the events of a packet, at most, in all files known
_SMALL_EVENTS = 1 << 11  # for which a stream takes longer to make than to read
_SHORT_BYTES = 1 << 14  # not worth a second thread


class Unpacked(NamedTuple):
    """Decompressed packets of events.

    data    uint8, bytes that hold the events
    events  int64 (n, 2), where in `data` the events of each packet begin, and their number; a
            damaged packet has -1 and 0, one that would be larger than MOST_BYTES -1 and TOO_MANY
    """

    data: NDArray[np.uint8]
    events: NDArray[np.int64]


def cut_evenly(weights: NDArray[np.int64], least: int) -> list[int]:
    """Return where to cut items into parts of about equal weight, one a thread.

    There is one part where the whole weighs less than `least`.
    """
    ends = np.cumsum(weights)
    parts = thread_count() if len(ends) > 1 and ends[-1] >= least else 1
    middles = ends - weights / 2
    inner = np.searchsorted(middles, [ends[-1] * part / parts for part in range(1, parts)])
    return [0, *inner.tolist(), len(ends)]


class Unpacker:
    """Decompresses packets into arrays that it uses again.

    Packets are rows of an int64 (n, 2) array: where in the data their content begins, and how long
    it is.
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._is_lz4 = compression in (Compression.LZ4, Compression.LZ4_HIGH)
        self._scratch: dict[int, NDArray[np.uint8]] = {}
        self._arena = np.empty(0, np.uint8)
        self._room = _ROOM

    def expected_counts(
        self, data: NDArray[np.uint8], packets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return how many events each packet will most likely give; -1 where it does not say."""
        if self._compression is Compression.NONE:
            events = np.empty_like(packets)
            k.locate_all(data, packets, events)
            return np.where(events[:, 0] < 0, -1, events[:, 1])
        count = k.expected_counts_lz4 if self._is_lz4 else k.expected_counts_zstd
        counts: NDArray[np.int64] = count(data, packets)
        counts[counts > MOST_BYTES // k.EVENT_BYTES] = -1
        return counts

    def split(
        self,
        data: NDArray[np.uint8],
        packets: NDArray[np.int64],
        counts: NDArray[np.int64],
        size: Size,
        columns: EventColumns,
    ) -> int:
        """Decompress packets and split their events into columns at once.

        Returns what became of them: GOOD, BAD_EVENTS or OTHERWISE of the kernels.
        """
        cuts = cut_evenly(packets[:, 1], _SHORT_BYTES)
        places = np.concatenate([[0], np.cumsum(counts)])
        results = [k.GOOD] * (len(cuts) - 1)

        def work(part: int) -> None:
            own = slice(cuts[part], cuts[part + 1])
            room = columns.part(slice(places[own.start], places[own.stop]))
            results[part] = self._split_part(part, data, packets[own], counts[own], size, room)

        run_parts(work, len(results))
        result = max(results)
        t = columns.t
        inner = [int(places[cut]) for cut in cuts[1:-1]]
        if result == k.GOOD and any(0 < at < len(t) and t[at] < t[at - 1] for at in inner):
            return k.BAD_EVENTS
        return result

    def _split_part(
        self,
        part: int,
        data: NDArray[np.uint8],
        packets: NDArray[np.int64],
        counts: NDArray[np.int64],
        size: Size,
        columns: EventColumns,
    ) -> int:
        if self._compression is Compression.NONE:
            events = np.empty_like(packets)
            k.locate_all(data, packets, events)
            return k.BAD_EVENTS if k.split_events(data, events, *size, columns) else k.GOOD
        largest = _HEAD_BYTES + k.EVENT_BYTES * int(counts.max(initial=0))
        scratch = self._scratch.get(part)
        if scratch is None or len(scratch) < largest + SPARE:
            self._scratch[part] = scratch = np.empty(max(largest, _SCRATCH) + SPARE, np.uint8)
        if self._is_lz4:
            result: int = k.unpack_and_split_lz4(data, packets, counts, scratch, *size, columns)
            return result
        return self._split_zstd(data, packets, counts, scratch, size, columns)

    def _split_zstd(
        self,
        data: NDArray[np.uint8],
        packets: NDArray[np.int64],
        counts: NDArray[np.int64],
        scratch: NDArray[np.uint8],
        size: Size,
        columns: EventColumns,
    ) -> int:
        result, done, place = k.GOOD, 0, 0
        events = np.empty_like(packets)
        room = len(scratch) - SPARE
        ends = np.cumsum(_HEAD_BYTES + k.EVENT_BYTES * counts)
        while done < len(packets):
            fitting = np.searchsorted(ends, room + (ends[done - 1] if done else 0), "right")
            some = slice(done, int(fitting))
            taken = _unpack_zstd(data, packets[some], scratch, 0, room, events)
            there = events[:taken]
            if not taken or not np.array_equal(there[:, 1], counts[some]):
                return k.OTHERWISE
            t = columns.t
            if k.split_events(scratch, there, *size, columns.part(slice(place, None))):
                result = k.BAD_EVENTS
            if there[0, 1] and place and t[place] < t[place - 1]:
                result = k.BAD_EVENTS
            done, place = done + taken, place + int(there[:, 1].sum())
        return result

    def unpack(self, data: NDArray[np.uint8], packets: NDArray[np.int64]) -> Unpacked:
        """Decompress as many packets as there is room for, at least one."""
        if self._compression is Compression.NONE:
            events = np.empty_like(packets)
            k.locate_all(data, packets, events)
            return Unpacked(data, events)
        events = self._some(data, packets)
        while not len(events):  # the first needs more room than all are given
            if self._room >= MOST_BYTES:
                events = np.array([[-1, TOO_MANY]])
                break
            self._room = min(2 * self._room, MOST_BYTES)
            events = self._some(data, packets[:1])
        if self._room > _MOST_ROOM:
            self._room = _MOST_ROOM
        return Unpacked(self._arena, events)

    def _some(self, data: NDArray[np.uint8], packets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the events of as many packets as there is room for; make room for more."""
        cuts = cut_evenly(packets[:, 1], _SHORT_BYTES)
        parts = len(cuts) - 1
        events = np.empty_like(packets)
        space = self._room + SPARE
        if len(self._arena) < parts * space:
            self._arena = np.empty(0, np.uint8)  # never two at a time
            self._arena = np.empty(parts * space, np.uint8)
        taken = [0] * parts
        unpack = k.unpack_lz4 if self._is_lz4 else _unpack_zstd

        def work(part: int) -> None:
            own = slice(cuts[part], cuts[part + 1])
            begin = part * space
            taken[part] = unpack(
                data, packets[own], self._arena, begin, begin + self._room, events[own]
            )

        run_parts(work, parts)
        for part in range(parts):
            full = cuts[part] + taken[part]
            if full == cuts[part + 1]:
                continue
            if full:
                self._room = min(2 * self._room, _MOST_ROOM)
            return events[:full]
        return events


def _unpack_zstd(
    data: NDArray[np.uint8],
    packets: NDArray[np.int64],
    out: NDArray[np.uint8],
    place: int,
    room: int,
    events: NDArray[np.int64],
) -> int:
    """Do for Zstandard what the kernel unpack_lz4 does."""
    decompressor = zstd_decompressor()
    source, target = data.data, out.data
    places = np.zeros_like(packets)
    expected = k.expected_counts_zstd(data, packets).tolist()
    count = 0
    for (begin, length), events_there in zip(packets.tolist(), expected, strict=True):
        content = source[begin : begin + length]
        try:
            if 0 <= events_there < min(_SMALL_EVENTS, (room - place) // k.EVENT_BYTES - 4):
                whole = decompressor.decompress(content)
                size = len(whole)
                target[place : place + size] = whole
            else:
                with decompressor.stream_reader(content) as reader:
                    size = reader.readinto(target[place:room])
        except (zstandard.ZstdError, MemoryError):
            size = 0  # no packet of events is empty
        if size == room - place:
            break
        places[count] = place, size
        place = min((place + size + 15) & ~15, room)
        count += 1
    k.locate_all(out, places[:count], events)
    return count
