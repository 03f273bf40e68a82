"""Where decoded columns go: new arrays, the same arrays again, or their final place."""

from __future__ import annotations

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

    def part(self, which: slice | NDArray[np.bool_]) -> EventColumns:
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


def new_columns(count: int) -> EventColumns:
    """Return uninitialised columns of `count` events."""
    return EventColumns(
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def new_triggers(count: int) -> TriggerColumns:
    """Return uninitialised columns t, id, p of `count` external triggers."""
    return TriggerColumns(
        np.empty(count, np.int64), np.empty(count, np.int16), np.empty(count, np.bool_)
    )


class Storage:
    """Hands out the columns that a block is decoded into; here, new ones for each block.

    A decoder asks for columns, fills the first events of them and yields a block that is a view of
    those. It asks anew for each block, behind the yield of the one ahead, whose columns it must not
    touch again.
    """

    def columns(self, count: int) -> EventColumns:
        """Return columns t, x, y, p with room for `count` events."""
        return new_columns(count)


class ReusedStorage(Storage):
    """Hands out the same columns again: they stay in the processor's cache.

    A block holds until the next one is asked for.
    """

    def __init__(self) -> None:
        self._columns = new_columns(0)

    def columns(self, count: int) -> EventColumns:
        """Return columns t, x, y, p with room for `count` events: those of the block before."""
        if len(self._columns[0]) < count:
            self._columns = new_columns(count)
        return self._columns.part(slice(0, count))


class WholeStorage(Storage):
    """Hands out places one behind the other in columns that hold all events in the end.

    `room` is how many events are expected: what is not used is reserved, but costs no memory.
    """

    def __init__(self, room: int) -> None:
        try:
            self._columns = new_columns(max(1, room))
        except MemoryError:
            self._columns = new_columns(1 << 20)
        self.count = 0

    def columns(self, count: int) -> EventColumns:
        """Return the columns' next `count` places."""
        self._reserve(self.count + count)
        return self._columns.part(slice(self.count, self.count + count))

    def keep(self, events: Events) -> None:
        """Keep a block behind those that are kept; it is copied unless it is in its place."""
        stop = self.count + len(events)
        self._reserve(stop)
        places: tuple[NDArray[Any], ...] = self._columns.part(slice(self.count, stop))
        columns: tuple[NDArray[Any], ...] = (events.t, events.x, events.y, events.p)
        for place, column in zip(places, columns, strict=True):
            if _address(place) != _address(column):
                place[:] = column
        self.count = stop

    def events(self, size: Size) -> Events:
        """Return all that was kept."""
        return self._columns.events(self.count, size)

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
