"""Checks of decoded events: the sensor's size, the order of times, and doubt about the bytes.

A decoder yields blocks of unchecked columns, and the rows that it could not decode. A `Validator`
makes valid blocks of them. In strict mode it raises at the first fault, in salvage mode it drops
faulty events and reports each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges, thread_count
from dvskit.events import Events, Size
from dvskit.formats import order_kernels as k
from dvskit.formats.losses import Losses

_MOST_PIXEL = 32767
_SORT_HINT = " (sort=True puts all events in order)"
LOOK_AHEAD = 1 << 12  # later events that may show that an event is ahead of its time
_THREAD_EVENTS = 1 << 15  # fewer are not worth a thread


class Columns(NamedTuple):
    """Decoded events, unchecked: integers of any width, and their positions in the file.

    offsets and widths  byte offset and length of each event
    """

    t: NDArray[np.int64]
    x: NDArray[Any]
    y: NDArray[Any]
    p: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    widths: NDArray[np.int64]

    def part(self, which: slice | NDArray[np.bool_]) -> Columns:
        """Return some of the events."""
        own: tuple[NDArray[Any], ...] = self
        return Columns(*(column[which] for column in own))

    def join(self, other: Columns) -> Columns:
        """Return these events followed by the others."""
        both: zip[tuple[NDArray[Any], NDArray[Any]]] = zip(self, other, strict=True)
        return Columns(*(np.concatenate(columns) for columns in both))

    def off(self, size: Size) -> NDArray[np.bool_]:
        """Mark the events off a sensor."""
        x, y, (width, height) = self.x, self.y, size
        marks: NDArray[np.bool_] = (x < 0) | (x >= width) | (y < 0) | (y >= height)
        return marks


class LostRows(NamedTuple):
    """Rows first..stop of a block without an event; none if `first` and `stop` are the same.

    first, stop       int64 (n,), in order
    offsets, lengths  int64 (n,), the bytes of each loss in the file
    problem           returns the reason of loss i
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    problem: Callable[[int], str]


class DecodedBlock(NamedTuple):
    """Decoded events, which may be invalid.

    columns   t, x, y, p; coordinates are integers of any width
    places    returns the positions of the events in the file and about how many bytes each has
    lost      the rows without events
    is_valid  whether the decoder has seen that all events are on the sensor and in time order among
              themselves; None if it has not looked
    """

    columns: tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], NDArray[np.bool_]]
    places: Callable[[], tuple[NDArray[np.int64], NDArray[np.int64]]]
    lost: Sequence[LostRows] = ()
    is_valid: bool | None = None

    def placed(self) -> Columns:
        """Return the events with their positions."""
        return Columns(*self.columns, *self.places())


def block_of(columns: Columns, lost: Sequence[LostRows] = ()) -> DecodedBlock:
    """Return events with known positions as a block that is not yet checked."""
    return DecodedBlock(columns[:4], lambda: (columns.offsets, columns.widths), lost)


def lost_where(
    columns: Columns, marks: NDArray[np.bool_], problem: Callable[[int], str]
) -> LostRows:
    """Return each marked row as a loss; `problem` returns the reason of a row."""
    rows = np.flatnonzero(marks)
    offsets, widths = columns.offsets[rows], columns.widths[rows]
    return LostRows(rows, rows + 1, offsets, widths, lambda i: problem(int(rows[i])))


def runs_of(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n, 2), start and stop of each run of marks."""
    return np.flatnonzero(np.diff(marks, prepend=False, append=False)).reshape(-1, 2)


def extent(blocks: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[int, int]:
    """Return the width and height that hold the events of x and y.

    Negative coordinates and those from 32767 on do not count.
    """
    width = height = 0
    for x, y in blocks:
        good = (x >= 0) & (x < _MOST_PIXEL) & (y >= 0) & (y < _MOST_PIXEL)
        if good.any():
            width = max(width, int(x[good].max()) + 1)
            height = max(height, int(y[good].max()) + 1)
    return width, height


class Validator:
    """Makes valid blocks of decoded ones: all events on the sensor and in time order.

    Blocks stay as they are while all are valid. In strict mode the first fault raises
    DamagedFileError, after the events before it. Salvage holds each block back, as the next one
    may show that its events are ahead of their time. From the first invalid block on, it judges
    each event by the `look_ahead` events after it, as more than one may be wrong together, and
    drops as few as possible to restore the order. No time may be before `earliest_us`.
    """

    def __init__(
        self,
        losses: Losses,
        size: Size,
        *,
        earliest_us: int = np.iinfo(np.int64).min,
        look_ahead: int = LOOK_AHEAD,
    ) -> None:
        self.size, self.strict = size, losses.strict
        self._losses = losses
        self._last = earliest_us  # the time of the latest event that was yielded
        self._look_ahead = look_ahead
        self._one_by_one = losses.any_order
        self._valid: DecodedBlock | None = None  # a block that is held back
        self._judged: Columns | None = None  # events that are held back

    def blocks(self, decoded: Iterable[DecodedBlock]) -> Iterator[Events]:
        """Yield the valid events of a whole pass."""
        for block in decoded:
            yield from self.push(block)
        yield from self.rest()

    def push(self, block: DecodedBlock) -> Iterator[Events]:
        """Take decoded events; yield the certain ones."""
        t = block.columns[0]
        if not self._one_by_one and self._follows(t) and self._is_valid(block):
            if len(t):
                yield from self._release()
                self._valid = block
            if self.strict:
                yield from self._release()
            return
        self._one_by_one = True
        held, self._valid = self._valid, None
        if held is not None:
            yield from self._judge(held)
        yield from self._judge(block)

    def rest(self) -> Iterator[Events]:
        """Yield the events held back."""
        yield from self._release()
        if self._judged is not None:
            held, self._judged = self._judged, None
            yield from self._certain(held, len(held.t))

    def _follows(self, t: NDArray[np.int64]) -> bool:
        latest = self._last if self._valid is None else int(self._valid.columns[0][-1])
        return not len(t) or bool(t[0] >= latest)

    def _is_valid(self, block: DecodedBlock) -> bool:
        """Return whether all events are on the sensor and in order, and no row is lost."""
        if any(len(lost.first) for lost in block.lost):
            return False
        if block.is_valid is not None:
            return block.is_valid
        # The compiled loop takes numbers in the processor's order of bytes.
        t, x, y = (np.ascontiguousarray(c, c.dtype.newbyteorder("=")) for c in block.columns[:3])
        parts = max(1, min(thread_count(), len(t) // _THREAD_EVENTS))
        found: list[bool] = []

        def work(first: int, stop: int) -> None:
            # With the event before them: a border between parts is checked too.
            part = slice(max(0, first - 1), stop)
            found.append(k.is_valid(t[part], x[part], y[part], *self.size))

        run_ranges(work, len(t), parts)
        return all(found)

    def _release(self) -> Iterator[Events]:
        """Yield the valid block that is held back."""
        if self._valid is not None:
            (t, x, y, p), self._valid = self._valid.columns, None
            self._last = int(t[-1])
            yield _events(t, x, y, p, self.size)

    def _judge(self, block: DecodedBlock) -> Iterator[Events]:
        """Take the events of a block one by one; yield the certain ones."""
        columns = block.placed()
        good = np.ones(len(columns.t), np.bool_)
        for lost in sorted(block.lost, key=lambda lost: lost.first[:1].tolist()):
            if self.strict and len(lost.first):
                yield from self._take(columns.part(slice(0, int(lost.first[0]))))
            self._losses.lose_all(lost.offsets, lost.lengths, lost.problem)
            edges = np.zeros(len(good) + 1, np.int64)
            np.add.at(edges, lost.first, 1)
            np.add.at(edges, lost.stop, -1)
            good &= edges[:-1].cumsum() == 0
        yield from self._take(columns if good.all() else columns.part(good))

    def _take(self, columns: Columns) -> Iterator[Events]:
        on_sensor = self._on_sensor(columns)
        if self.strict:
            yield from self._certain(on_sensor, len(on_sensor.t))
            return
        if self._judged is not None:
            on_sensor = self._judged.join(on_sensor)
        certain = max(0, len(on_sensor.t) - self._look_ahead)
        yield from self._certain(on_sensor, certain)
        self._judged = on_sensor.part(slice(certain, None))

    def _on_sensor(self, columns: Columns) -> Columns:
        x, y = columns.x, columns.y
        off = columns.off(self.size)
        if not off.any():
            return columns
        if self.strict:
            # Time may run back before it: the first bad event is reported.
            first = int(np.argmax(off))
            for _ in self._certain(columns.part(slice(0, first)), first):
                pass
        self._lose(
            columns, off, lambda i: f"event at ({x[i]}, {y[i]}) is off the {self.size} sensor"
        )
        return columns.part(~off)

    def _certain(self, columns: Columns, count: int) -> Iterator[Events]:
        """Yield the first `count` events, except those out of order among all of them."""
        if not count:
            return
        t = columns.t
        floor = self._last
        if not self._losses.any_order and (t[0] < floor or (t[1:] < t[:-1]).any()):
            if self.strict:
                newest = np.maximum.accumulate(np.concatenate([[floor], t]))[:-1]
                bad = t < newest
            else:
                bad = ~k.longest_in_order(t, floor)
                bad[count:] = False  # judged again, with later ones
                newest = t
            hint = _SORT_HINT * self._losses.sortable
            self._lose(
                columns,
                bad,
                lambda i: (
                    f"time runs back from {newest[i]} to {t[i]} us{hint}"
                    if self.strict
                    else f"an event at {t[i]} us is out of order among its neighbors"
                ),
            )
            good = ~bad
            good[count:] = False
            columns = columns.part(good)
        else:
            columns = columns.part(slice(0, count))
        if len(columns.t):
            self._last = int(columns.t[-1])
            yield _events(*columns[:4], self.size)

    def _lose(
        self, columns: Columns, bad: NDArray[np.bool_], problem: Callable[[int], str]
    ) -> None:
        lost = lost_where(columns, bad, problem)
        self._losses.lose_all(lost.offsets, lost.lengths, lost.problem)


def _events(
    t: NDArray[np.int64], x: NDArray[Any], y: NDArray[Any], p: NDArray[np.bool_], size: Size
) -> Events:
    x, y = x.astype(np.int16, copy=False), y.astype(np.int16, copy=False)
    return Events.from_checked(t, x, y, p, size)


class InStep:
    """Finds rows that are out of step in one pass over a file, and reports each run of them.

    Bytes that are missing or too many put all rows behind them out of step: many of these rows are
    impossible or run back in time.
    """

    def __init__(self, losses: Losses, size: Size) -> None:
        self._losses, self._size = losses, size
        self._state = np.zeros(k.STEP_FIELDS, np.int64)
        self._state[k.LATEST] = k.NEVER

    def lost(self, columns: Columns, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark the rows that are lost, of rows of which some are `bad` whatever their columns."""
        bad = bad | columns.off(self._size)
        marks = k.out_of_step(columns.t, bad, self._losses.any_order, self._state)
        for first, stop in runs_of(marks).tolist():
            start = int(columns.offsets[first])
            end = int(columns.offsets[stop - 1] + columns.widths[stop - 1])
            problem = "rows make no sense: bytes are damaged, missing or too many"
            self._losses.lose(start, end - start, problem)
        return marks
