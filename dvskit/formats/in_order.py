"""Checks of decoded columns against the sensor and the clock, for independent events.

Valid pieces of a file become events in a fast way, others in one that checks each event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats import order_kernels as k
from dvskit.formats.losses import Losses

_MOST_PIXEL = 32767
SORT_HINT = " (sort=True puts all events in order)"
LOOK_AHEAD = 1 << 12  # later events that may show that an event is ahead of its time


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


def extent(blocks: Iterable[tuple[Columns, NDArray[np.bool_]]]) -> tuple[int, int]:
    """Return the width and height that hold all events but those that a mask marks as bad.

    Negative coordinates and those from 32767 on do not count either.
    """
    width = height = 0
    for columns, bad in blocks:
        x, y = columns.x, columns.y
        good = ~bad & (x >= 0) & (x < _MOST_PIXEL) & (y >= 0) & (y < _MOST_PIXEL)
        if good.any():
            width = max(width, int(x[good].max()) + 1)
            height = max(height, int(y[good].max()) + 1)
    return width, height


class InOrder:
    """Makes blocks of decoded columns: all events on the sensor and in time order.

    In strict mode the first bad event raises DamagedFileError. In salvage mode as few events as
    possible are dropped to restore the order: one that is ahead of all that follow, not the others.
    Dropped events are passed to `losses`. No time may be before `earliest_us`. An event is judged
    by the `look_ahead` events after it: more than may be wrong together.
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
        self._last = earliest_us
        self._look_ahead = look_ahead
        self._held: Columns | None = None

    def push(self, columns: Columns) -> Iterator[Events]:
        """Take decoded events; yield the certain ones."""
        on_sensor = self._on_sensor(columns)
        if self.strict:
            yield from self._certain(on_sensor, len(on_sensor.t))
            return
        if self._held is not None:
            on_sensor = self._held.join(on_sensor)
        certain = max(0, len(on_sensor.t) - self._look_ahead)
        yield from self._certain(on_sensor, certain)
        self._held = on_sensor.part(slice(certain, None))

    def rest(self) -> Iterator[Events]:
        """Yield the events held back."""
        if self._held is not None:
            held, self._held = self._held, None
            yield from self._certain(held, len(held.t))

    def latest_us(self) -> int:
        """Return the time from which on others may follow without checking the events held back."""
        if self._held is None or not len(self._held.t):
            return self._last
        t = self._held.t
        in_order = bool((t[1:] >= t[:-1]).all()) and t[0] >= self._last
        return int(t[-1]) if in_order else int(np.iinfo(np.int64).max)

    def pass_on(self, last_us: int) -> None:
        """Record that events up to `last_us`, known to be in order, were yielded elsewhere."""
        self._last = last_us

    def first(self, columns: Columns, count: int) -> Iterator[Events]:
        """Take `count` events; later ones only judge them and must be passed again."""
        certain = self._on_sensor(columns.part(slice(0, count)))
        behind = columns.part(slice(count, None))
        judges = behind.part(~self._off(behind))
        yield from self._certain(certain.join(judges), len(certain.t))

    def _off(self, columns: Columns) -> NDArray[np.bool_]:
        x, y = columns.x, columns.y
        off: NDArray[np.bool_] = (x < 0) | (x >= self.size.width)
        return off | (y < 0) | (y >= self.size.height)

    def _on_sensor(self, columns: Columns) -> Columns:
        x, y = columns.x, columns.y
        off = self._off(columns)
        if not off.any():
            return columns
        if self.strict:
            # Time may run back before it: the first bad event is reported.
            first = int(np.argmax(off))
            for _ in self._certain(columns.part(slice(0, first)), first):
                pass
        self._lose(
            columns,
            off,
            lambda i: f"event at ({x[i]}, {y[i]}) is off the {self.size} sensor",
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
            sortable = self._losses.sortable
            self._lose(
                columns,
                bad,
                lambda i: (
                    f"time runs back from {newest[i]} to {t[i]} us{SORT_HINT * sortable}"
                    if self.strict
                    else f"an event at {t[i]} us is out of order among its neighbours"
                ),
            )
            good = ~bad
            good[count:] = False
            columns = columns.part(good)
        else:
            columns = columns.part(slice(0, count))
        if len(columns.t):
            self._last = int(columns.t[-1])
            yield Events.from_checked(
                columns.t,
                columns.x.astype(np.int16, copy=False),
                columns.y.astype(np.int16, copy=False),
                columns.p,
                self.size,
            )

    def _lose(
        self, columns: Columns, bad: NDArray[np.bool_], problem: Callable[[int], str]
    ) -> None:
        places = np.flatnonzero(bad)
        self._losses.lose_all(
            columns.offsets[places], columns.widths[places], lambda n: problem(int(places[n]))
        )


class InStep:
    """Finds rows that are out of step in one pass over a file, and loses each stretch of them.

    Bytes that are missing or too many put all rows behind them out of step: many of those are
    impossible or run back in time.
    """

    def __init__(self, losses: Losses, size: Size) -> None:
        self._losses, self._size = losses, size
        self._state = np.zeros(k.STEP_FIELDS, np.int64)
        self._state[k.LATEST] = k.NEVER

    def lost(self, columns: Columns, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark the rows that are lost, of rows of which some are `bad` whatever their columns."""
        x, y, (width, height) = columns.x, columns.y, self._size
        bad = bad | (x < 0) | (x >= width) | (y < 0) | (y >= height)
        marks = k.out_of_step(columns.t, bad, self._losses.any_order, self._state)
        edges = np.flatnonzero(np.diff(marks, prepend=False, append=False)).reshape(-1, 2)
        for first, stop in edges.tolist():
            start = int(columns.offsets[first])
            end = int(columns.offsets[stop - 1] + columns.widths[stop - 1])
            problem = "rows make no sense: bytes are damaged, missing or too many"
            self._losses.lose(start, end - start, problem)
        return marks


Piece = TypeVar("Piece")


class Lost(NamedTuple):
    """Invalid parts of a piece: offsets and lengths in bytes, and the problem of each."""

    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    problem: Callable[[int], str]


def push(order: InOrder, losses: Losses, columns: Columns, lost: Lost) -> Iterator[Events]:
    """Yield the events of which `order` is certain; in strict mode those before a loss."""
    if order.strict and len(lost.offsets):
        yield from order.push(columns.part(columns.offsets < lost.offsets[0]))
    losses.lose_all(*lost)
    yield from order.push(columns)


def decoded(
    pieces: Iterable[Piece],
    order: InOrder,
    quick: Callable[[Piece, int], Events | None],
    careful: Callable[[Piece], Iterator[Events]],
) -> Iterator[Events]:
    """Yield the events of pieces of a file.

    quick    takes a piece and the time of the latest event; None if the piece is not valid.
             Not used in salvage mode: a later piece may show that events are ahead of their time
    careful  pushes a piece through `order`; in strict mode errors raise
    """
    for piece in pieces:
        if not order.strict:
            yield from careful(piece)
            continue
        events = quick(piece, order.latest_us())
        if events is None:
            events = Events.concatenate(careful(piece), size=order.size)
        elif len(events):
            order.pass_on(int(events.t[-1]))
        yield events
    yield from order.rest()
