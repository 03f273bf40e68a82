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
    TOO_LARGE,
    Compression,
    CompressionError,
    decompress,
    decompress_begun,
)
from dvskit.formats.aedat4.layout import PACKET_HEADER, Container, FlatbufferError, root
from dvskit.formats.aedat4.packets import Packets, Window
from dvskit.formats.aedat4.unpacking import TOO_MANY, Unpacker
from dvskit.formats.losses import Losses
from dvskit.formats.order_kernels import longest_in_order
from dvskit.formats.storage import EventColumns, Storage, new_columns

LOOK_AHEAD = 1 << 16  # events behind an event that may show that it stands ahead of its time
GROUP_EVENTS = 1 << 20  # that packets decoded at a time may say to have
_NEVER = np.iinfo(np.int64).min


class _Runs(NamedTuple):
    """Events that stand together in the file, and the byte where their packet begins: int64 (n,)"""

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    def join(self, other: _Runs) -> _Runs:
        """Return these and then the others."""
        return _Runs(
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.counts, other.counts]),
        )

    def behind(self, start: int) -> _Runs:
        """Return what is left without the first `start` events."""
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
            # The one rejected last may have been shorter than it said.
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
        """Yield the whole events of a packet that the end of the file cuts, in salvage mode."""
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
        columns = self._columns(count)
        place = columns.part(slice(len(self._held.t), None))
        bad = k.split_events(data, np.array([(start, count)]), *self._size, place)
        if self._compression is Compression.NONE:
            self._damage.lost_bytes -= k.EVENT_BYTES * count
        runs = _Runs(np.array([offset]), np.array([count]))
        yield from self._judge(columns, bad, runs, self._look_ahead)

    def _columns(self, count: int) -> EventColumns:
        """Return columns that begin with the events held back, with room for `count` behind."""
        held = len(self._held.t)
        columns = self._storage.columns(held + count)
        columns.part(slice(0, held)).fill(self._held)
        return columns

    def _group(
        self, window: Window, contents: NDArray[np.int64], counts: NDArray[np.int64], first: int
    ) -> Iterator[Events]:
        """Yield the events of some packets, at once where all are as they say."""
        offsets = window.rows[first : first + len(contents), 0]
        if counts.min() >= 0:
            columns = self._columns(int(counts.sum()))
            place = columns.part(slice(len(self._held.t), None))
            result = self._unpacker.split(window.data, contents, counts, self._size, place)
            if result != k.OTHERWISE:
                runs = _Runs(offsets, counts)
                yield from self._judge(columns, result != k.GOOD, runs, self._look_ahead)
                return
        done = 0
        while done < len(contents):
            data, events = self._unpacker.unpack(window.data, contents[done:])
            good = events[:, 0] >= 0
            bad = np.flatnonzero(~good)
            if self._strict and len(bad):
                good[bad[0] :] = False
            too_large = events[bad, 1] == TOO_MANY
            events, runs = events[good], _Runs(offsets[done:][: len(good)][good], events[good, 1])
            if len(events):
                columns = self._columns(int(runs.counts.sum()))
                own = columns.part(slice(len(self._held.t), None))
                is_bad = k.split_events(data, events, *self._size, own)
                yield from self._judge(columns, is_bad, runs, self._look_ahead)
            self._reject(window, first + done + bad, too_large)
            done += len(good)

    def _reject(
        self, window: Window, rows: NDArray[np.int64], too_large: NDArray[np.bool_]
    ) -> None:
        """Count packets as lost."""
        starts = window.rows[rows, 0]
        ends = starts + PACKET_HEADER.size + window.rows[rows, 1]
        inner = rows + 1 < len(window.rows)  # another packet may begin inside a damaged one
        ends[inner] = np.minimum(ends[inner], window.rows[rows[inner] + 1, 0])

        def problem(number: int) -> str:
            row = int(rows[number])
            reason = TOO_LARGE if too_large[number] else _reason(window, row, self._compression)
            return f"EVTS packet is damaged: {reason}"

        self._losses.lose_all(starts, ends - starts, problem)
        if len(rows) and rows[-1] == len(window.rows) - 1:
            self._lost_until = int(ends[-1])

    def _judge(
        self, columns: EventColumns, bad: bool, runs: _Runs, look_ahead: int
    ) -> Iterator[Events]:
        """Yield the events of columns, less `look_ahead` that are held back from now on.

        The columns begin with the events held back until now; `runs` are the others. Nothing is
        `bad` in them, or it has to be looked for.
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
            self._hold(columns, certain, runs)
            self._held_bad = bad
        else:
            self._held = new_columns(0)
        kept = columns.part(slice(0, certain))
        if bad:
            kept = kept.part(self._valid(columns, certain, runs))
        if len(kept.t):
            self._last = int(kept.t[-1])
            yield kept.events(len(kept.t), self._size)

    def _hold(self, columns: EventColumns, certain: int, runs: _Runs) -> None:
        self._held = columns.part(slice(certain, None)).copy()
        self._held_runs = runs.behind(certain)

    def _valid(self, columns: EventColumns, certain: int, runs: _Runs) -> NDArray[np.bool_]:
        """Mark which of the `certain` first events stay; count the others as lost.

        They are on the sensor, and as few as possible are given up for time to run forward.
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
        if len(lost):
            self._lose(columns, on_sensor, lost, runs)
        return kept[:certain]

    def _lose(
        self,
        columns: EventColumns,
        on_sensor: NDArray[np.bool_],
        lost: NDArray[np.int64],
        runs: _Runs,
    ) -> None:
        """Count lost events, those of a packet together."""
        packets = np.searchsorted(np.cumsum(runs.counts), lost, "right")
        numbers, firsts, sizes = np.unique(packets, return_index=True, return_counts=True)
        t, x, y, _ = columns

        def problem(number: int) -> str:
            at = int(lost[firsts[number]])
            wrong = "out of time order" if on_sensor[at] else f"off the {self._size} sensor"
            found = f"an event at {t[at]} us and ({x[at]}, {y[at]}) is {wrong}"
            many = sizes[number] > 1
            return f"{sizes[number]} damaged events: {found}" if many else found

        self._losses.lose_all(runs.offsets[numbers], k.EVENT_BYTES * sizes, problem)


def _reason(window: Window, row: int, compression: Compression) -> str:
    """Say why a packet gives no events."""
    try:
        table = root(decompress(bytes(window.content(row)), compression), b"EVTS")
        count = table.vector(0, k.EVENT_BYTES)[1]
    except (CompressionError, FlatbufferError) as error:
        return str(error)
    return f"its {count} events do not fill it"
