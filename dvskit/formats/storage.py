"""Columns to decode into: new arrays, the same arrays again, or the final ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size


class EventColumns(NamedTuple):
    """Columns that events are decoded into. Loops take them as they are."""

    t: NDArray[np.int64]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.bool_]

    def part(self, which: slice | NDArray[np.bool_] | NDArray[np.int64]) -> EventColumns:
        """Return some of the rows; views for a slice."""
        return EventColumns(self.t[which], self.x[which], self.y[which], self.p[which])

    def copy(self) -> EventColumns:
        """Return the same rows in new arrays."""
        return EventColumns(self.t.copy(), self.x.copy(), self.y.copy(), self.p.copy())

    def fill(self, rows: EventColumns) -> None:
        """Copy as many rows into these columns as they have."""
        self.t[:], self.x[:], self.y[:], self.p[:] = rows

    def events(self, count: int, size: Size) -> Events:
        """Return the first `count` rows as events that are known to be valid."""
        rows = self if count == len(self.t) else self.part(slice(0, count))
        return Events.from_checked(*rows, size)


class TriggerColumns(NamedTuple):
    """Columns that external triggers are decoded into."""

    t: NDArray[np.int64]
    id: NDArray[np.int16]
    p: NDArray[np.bool_]

    def part(self, which: slice) -> TriggerColumns:
        """Return views of some of the rows."""
        return TriggerColumns(self.t[which], self.id[which], self.p[which])

    def fill(self, rows: TriggerColumns) -> None:
        """Copy as many rows into these columns as they have."""
        self.t[:], self.id[:], self.p[:] = rows


def new_columns(count: int) -> EventColumns:
    """Return uninitialized columns of `count` events."""
    return EventColumns(
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def new_triggers(count: int) -> TriggerColumns:
    """Return uninitialized columns t, id, p of `count` external triggers."""
    return TriggerColumns(
        np.empty(count, np.int64), np.empty(count, np.int16), np.empty(count, np.bool_)
    )


class Storage:
    """Provides the columns that a block is decoded into: new ones for each block.

    A decoder requests columns, fills the first rows and yields a block that is a view of these. It
    requests columns again for each block, and must not change those of earlier blocks.
    """

    def columns(self, count: int) -> EventColumns:
        """Return columns t, x, y, p with room for `count` events."""
        return new_columns(count)


class ReusedStorage(Storage):
    """Provides the same columns again, which stay in the processor's cache.

    A block is valid until the next one is requested.
    """

    def __init__(self) -> None:
        self._columns = new_columns(0)

    def columns(self, count: int) -> EventColumns:
        """Return the columns of the previous block, with room for `count` events."""
        if len(self._columns[0]) < count:
            self._columns = new_columns(count)
        return self._columns.part(slice(0, count))


class WholeStorage(Storage):
    """Provides consecutive parts of columns that hold all events in the end.

    `room` is the expected number of events; unused room is reserved, but takes no memory.
    """

    def __init__(self, room: int) -> None:
        try:
            self._columns = new_columns(max(1, room))
        except MemoryError:
            self._columns = new_columns(1 << 20)
        self.count = 0

    def columns(self, count: int) -> EventColumns:
        """Return the next `count` rows of the columns."""
        self._reserve(self.count + count)
        return self._columns.part(slice(self.count, self.count + count))

    def keep(self, events: Events) -> None:
        """Append a block; it is copied unless it is in its place already."""
        stop = self.count + len(events)
        self._reserve(stop)
        places: tuple[NDArray[Any], ...] = self._columns.part(slice(self.count, stop))
        columns: tuple[NDArray[Any], ...] = (events.t, events.x, events.y, events.p)
        for place, column in zip(places, columns, strict=True):
            if _address(place) != _address(column):
                place[:] = column
        self.count = stop

    def events(self, size: Size) -> Events:
        """Return all events."""
        return self._columns.events(self.count, size)

    def sorted_events(self, blocks: Iterable[Events], size: Size) -> tuple[Events, int]:
        """Return the events of blocks sorted by time (stable), and how many had to be moved."""
        for block in blocks:
            self.keep(block)
        rows = self._columns.part(slice(0, self.count))
        late = int(np.count_nonzero(rows.t < np.maximum.accumulate(rows.t)))
        if late:
            rows = rows.part(np.argsort(rows.t, kind="stable"))
        return rows.events(self.count, size), late

    def _reserve(self, count: int) -> None:
        if count <= len(self._columns[0]):
            return
        larger = new_columns(max(count, 3 * len(self._columns[0]) // 2))
        kept = slice(0, self.count)
        larger.part(kept).fill(self._columns.part(kept))
        self._columns = larger


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
