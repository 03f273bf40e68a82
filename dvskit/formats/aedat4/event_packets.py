"""One pass over the events of a stream: blocks of valid events in time order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.aedat4.compression import (
    MOST_BYTES,
    Compression,
    CompressionError,
    Unpacker,
    decompress_begun,
    unpacked,
)
from dvskit.formats.aedat4.layout import PACKET_HEADER, Container, FlatbufferError, root
from dvskit.formats.aedat4.packets import Packets, Window
from dvskit.formats.losses import Losses
from dvskit.formats.order_kernels import longest_in_order
from dvskit.formats.storage import EventColumns, Storage, new_columns

LOOK_AHEAD = 1 << 16  # later events that may show that an event is ahead of its time
GROUP_EVENTS = 1 << 20  # claimed events of packets decoded together
_MOST_UNPACKED = 1 << 22  # bytes of packets decompressed one by one before they are split
_NEVER = np.iinfo(np.int64).min


class _Runs(NamedTuple):
    """Events that are adjacent in the file, and the first byte of their packet: int64 (n,)."""

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    def join(self, other: _Runs) -> _Runs:
        """Return these runs followed by the others."""
        return _Runs(
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.counts, other.counts]),
        )

    def behind(self, start: int) -> _Runs:
        """Return the rest without the first `start` events."""
        counts = np.minimum(self.counts, np.maximum(0, np.cumsum(self.counts) - start))
        return _Runs(self.offsets[counts > 0], counts[counts > 0])


_NO_RUNS = _Runs(np.empty(0, np.int64), np.empty(0, np.int64))


class EventReader:
    """One pass over the event packets of one stream, from the byte `start` on."""

    def __init__(
        self,
        container: Container,
        stream: int,
        size: Size,
        losses: Losses,
        storage: Storage | None = None,
        start: int | None = None,
    ) -> None:
        self._compression, self._size = container.compression, size
        self._losses, self._damage, self._strict = losses, losses.damage, losses.strict
        self._storage = Storage() if storage is None else storage
        self._packets = Packets(container, stream, losses, start)
        self._unpacker = Unpacker(container.compression)
        self._look_ahead = 0 if losses.strict else LOOK_AHEAD
        self._held, self._held_runs = new_columns(0), _NO_RUNS
        self._held_bad = False
        self._last = int(_NEVER)
        self._lost_until = 0

    def blocks(self) -> Iterator[Events]:
        """Yield the events, some packets at a time."""
        for window in self._packets:
            # The packet rejected last may have been shorter than its header claimed.
            self._damage.lost_bytes -= max(0, self._lost_until - int(window.rows[0, 0]))
            self._lost_until = 0
            contents = window.contents()
            counts = self._unpacker.expected_counts(window.data, contents)
            done = 0
            while done < len(contents):
                ends = np.cumsum(np.maximum(1, counts[done:]))
                stop = done + max(1, int(np.searchsorted(ends, GROUP_EVENTS)))
                part = slice(done, stop)
                yield from self._group(window, contents[part], counts[part], done)
                done = stop
        if not self._strict:
            yield from self._cut_packet()
        yield from self._judge(self._columns(0), False, _NO_RUNS, 0)

    def _cut_packet(self) -> Iterator[Events]:
        """In salvage mode, yield the whole events of a packet cut by the end of the file."""
        offset, content = self._packets.cut_packet()
        begun = np.frombuffer(decompress_begun(content, self._compression), np.uint8)
        said = int.from_bytes(begun[:4].tobytes(), "little") + 4
        if not len(begun) <= said <= MOST_BYTES:
            return
        data = np.concatenate([begun, np.zeros(said - len(begun), np.uint8)])
        start, count = k.locate_events(data, 0, said)
        count = min(count, (len(begun) - start) // k.EVENT_BYTES)
        if start < 0 or count < 1:
            return
        if self._compression is Compression.NONE:
            self._damage.lost_bytes -= k.EVENT_BYTES * count
        yield from self._split([_Packet(offset, data, start, count)])

    def _columns(self, count: int) -> EventColumns:
        """Return columns that begin with the events held back, with room for `count` more."""
        held = len(self._held.t)
        columns = self._storage.columns(held + count)
        columns.part(slice(0, held)).fill(self._held)
        return columns

    def _group(
        self, window: Window, contents: NDArray[np.int64], counts: NDArray[np.int64], first: int
    ) -> Iterator[Events]:
        """Yield the events of some packets, decoded together if all are valid."""
        if counts.min() >= 0:
            columns = self._columns(int(counts.sum()))
            place = columns.part(slice(len(self._held.t), None))
            result = self._unpacker.split(window.data, contents, counts, self._size, place)
            if result != k.OTHERWISE:
                runs = _Runs(window.rows[first : first + len(contents), 0], counts)
                yield from self._judge(columns, result != k.GOOD, runs, self._look_ahead)
                return
        at, stop = first, first + len(contents)
        while at < stop:
            packets: list[_Packet] = []
            bad: dict[int, str] = {}
            room = _MOST_UNPACKED
            while at < stop and room > 0 and not (self._strict and bad):
                try:
                    packets.append(_unpack(window, at, self._compression))
                    room -= len(packets[-1].content)
                except (CompressionError, FlatbufferError) as error:
                    bad[at] = str(error)
                at += 1
            yield from self._split(packets)
            for row, reason in bad.items():
                self._reject(window, row, reason)

    def _split(self, packets: list[_Packet]) -> Iterator[Events]:
        counts = np.array([each.events for each in packets], np.int64)
        columns = self._columns(int(counts.sum()))
        bad, place, t = False, len(self._held.t), columns.t
        for each in packets:
            stop = place + each.events
            own, events = columns.part(slice(place, stop)), np.array([(each.start, each.events)])
            bad |= k.split_events(each.content, events, *self._size, own)
            bad |= 0 < place < stop and bool(t[place] < t[place - 1])
            place = stop
        offsets = np.array([each.offset for each in packets], np.int64)
        yield from self._judge(columns, bad, _Runs(offsets, counts), self._look_ahead)

    def _reject(self, window: Window, row: int, reason: str) -> None:
        start, length = window.rows[row].tolist()
        end = start + PACKET_HEADER.size + length
        if row + 1 < len(window.rows):  # another packet may begin inside a damaged one
            end = min(end, int(window.rows[row + 1, 0]))
        else:
            self._lost_until = end
        self._losses.lose(start, end - start, f"EVTS packet is damaged: {reason}")

    def _judge(
        self, columns: EventColumns, bad: bool, runs: _Runs, look_ahead: int
    ) -> Iterator[Events]:
        """Yield the events of columns, less `look_ahead` that are held back from now on.

        The columns begin with the events held back until now; `runs` are the others. Unless `bad`,
        all events are valid.
        """
        t, held = columns.t, len(self._held.t)
        runs = self._held_runs.join(runs)
        total = int(runs.counts.sum())
        if not total:
            return
        columns = columns.part(slice(0, total))
        certain = max(0, total - look_ahead)
        bad = bad or t[0] < self._last or (0 < held < total and t[held] < t[held - 1])
        bad = bad or self._held_bad
        if look_ahead:
            self._held, self._held_runs = (
                columns.part(slice(certain, None)).copy(),
                runs.behind(certain),
            )
            self._held_bad = bad
        else:
            self._held = new_columns(0)
        kept = columns.part(slice(0, certain))
        if bad:
            kept = kept.part(self._valid(columns, certain, runs))
        if len(kept.t):
            self._last = int(kept.t[-1])
            yield kept.events(len(kept.t), self._size)

    def _valid(self, columns: EventColumns, certain: int, runs: _Runs) -> NDArray[np.bool_]:
        """Mark which of the `certain` first events stay; count the others as lost.

        Events off the sensor are dropped, and as few as possible for time to run forward.
        """
        t, x, y, _ = columns
        width, height = self._size
        on_sensor = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        kept = np.zeros(len(t), np.bool_)
        if self._strict:
            clock = np.maximum.accumulate(np.where(on_sensor, t, _NEVER))
            late = np.concatenate([[self._last], clock[:-1]])
            kept[:] = on_sensor & (t >= late) & (t >= self._last)
        else:
            usable = np.flatnonzero(on_sensor)
            kept[usable[longest_in_order(t[usable], self._last)]] = True
        lost = np.flatnonzero(~kept[:certain])
        # Losses in a packet are counted together.
        packets = np.searchsorted(np.cumsum(runs.counts), lost, "right")
        numbers, firsts, sizes = np.unique(packets, return_index=True, return_counts=True)

        def problem(number: int) -> str:
            at = int(lost[firsts[number]])
            wrong = "out of time order" if on_sensor[at] else f"off the {self._size} sensor"
            found = f"an event at {t[at]} us and ({x[at]}, {y[at]}) is {wrong}"
            many = sizes[number] > 1
            return f"{sizes[number]} damaged events: {found}" if many else found

        self._losses.lose_all(runs.offsets[numbers], k.EVENT_BYTES * sizes, problem)
        return kept[:certain]


class _Packet(NamedTuple):
    """The packet at byte `offset`: its content, and the offset of its events in it."""

    offset: int
    content: NDArray[np.uint8]
    start: int
    events: int


def _unpack(window: Window, row: int, compression: Compression) -> _Packet:
    """Decompress a packet. Raises CompressionError, or FlatbufferError if it has no events."""
    content = unpacked(window.content(row), compression)
    start, count = k.locate_events(content, 0, len(content))
    if start < 0:
        count = root(content.tobytes(), b"EVTS").vector(0, k.EVENT_BYTES)[1]
        raise FlatbufferError(f"its {count} events do not fill it")
    return _Packet(int(window.rows[row, 0]), content, start, count)
