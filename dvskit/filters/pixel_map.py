"""Filters that map each pixel to another one, or drop its events.

Columns and rows are mapped separately, or each pixel has a place. Neighbours in a chain become one
map, so that events are moved once; the result is that of the maps in sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Columns
from dvskit.filters.selecting import (
    columns,
    columns_kept,
    in_parts,
    part_of,
    parts_of,
    room,
)
from dvskit.filters.steps import Step, Tally

Column = NDArray[np.int16]
Places = NDArray[np.int32]  # (H, W) of y * 65536 + x; negative means dropped


class Axes(NamedTuple):
    """Columns and rows mapped separately: x' = columns[x], y' = rows[y], int16.

    With `swap`, x' = columns[y] and y' = rows[x]. Negative values mean dropped.
    """

    columns: NDArray[np.int16]
    rows: NDArray[np.int16]
    swap: bool = False

    def places(self) -> Places:
        """Return the same map as places of pixels."""
        if self.swap:
            return place(self.columns[:, None], self.rows[None, :])
        return place(self.columns[None, :], self.rows[:, None])


class Kept(NamedTuple):
    """Events of the pixels marked by `keep`, (H, W), stay where they are; others are dropped."""

    keep: NDArray[np.bool_]

    def places(self) -> Places:
        """Return the same map as places of pixels."""
        height, width = self.keep.shape
        own = place(np.arange(width)[None, :], np.arange(height)[:, None])
        return np.where(self.keep, own, np.int32(-1))


Map = Axes | Kept | Places


def place(x: NDArray[Any], y: NDArray[Any]) -> Places:
    """Return places: y * 65536 + x, and -1 if either is negative."""
    x, y = x.astype(np.int32), y.astype(np.int32)
    return np.where((x < 0) | (y < 0), np.int32(-1), (y << 16) | x)


def one_behind_the_other(first: Map, second: Map, number: int) -> Axes | Places:
    """Return the composition of both maps; -1 - number where the second drops events."""
    if isinstance(first, Axes) and isinstance(second, Axes):
        of = (first.rows, first.columns) if second.swap else (first.columns, first.rows)
        return Axes(
            _behind(of[0], second.columns, number),
            _behind(of[1], second.rows, number),
            first.swap != second.swap,
        )
    one, two = (each if isinstance(each, np.ndarray) else each.places() for each in (first, second))
    known = np.maximum(one, 0)
    there = two[known >> 16, known & 0xFFFF]
    return np.where(one < 0, one, np.where(there < 0, np.int32(-1 - number), there))


def _behind(one: NDArray[np.int16], two: NDArray[np.int16], number: int) -> NDArray[np.int16]:
    there = two[np.maximum(one, 0)]
    return np.where(one < 0, one, np.where(there < 0, np.int16(-1 - number), there))


class Moving(ABC):
    """A way to move events; `all_stay` means that none is dropped."""

    all_stay: bool

    @abstractmethod
    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        """Return the new columns and rows of events that all stay; unchanged columns are shared."""

    @abstractmethod
    def some(self, given: Columns, left_out: NDArray[np.int64]) -> Columns:
        """Return the events that stay, moved.

        left_out[0] is increased by their number, left_out[1 + k] by those that map k drops.
        """


class _Counting(Moving):
    """Counts the events that stay, and then moves them to columns of that length."""

    @abstractmethod
    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        """Count the events that stay in found[0], those that map k drops in found[1 + k]."""

    @abstractmethod
    def move(self, given: Columns, out: Columns) -> None:
        """Move the events that stay; `out` has room for exactly those."""

    def some(self, given: Columns, left_out: NDArray[np.int64]) -> Columns:
        """Return the events that stay, moved."""
        t, x, y, _ = given
        parts = parts_of(len(t))
        found = np.zeros((len(parts), len(left_out)), np.int64)
        run_parts(lambda k: self.count(x[parts[k]], y[parts[k]], found[k]), len(parts))
        left_out += found.sum(0)
        ends = np.cumsum(found[:, 0])
        out = room(int(ends[-1]))

        def work(k: int) -> None:
            at = slice(ends[k] - found[k, 0], ends[k])
            self.move(part_of(given, parts[k]), part_of(out, at))

        run_parts(work, len(parts))
        return out


def moving(chosen: Map) -> Moving:
    """Return the way to move events by a map."""
    if isinstance(chosen, Axes):
        return _ByAxes(chosen)
    return _ByKept(chosen) if isinstance(chosen, Kept) else _ByPlaces(chosen)


def _look_up_all(loop: Callable[..., None], table: NDArray[Any], *each: NDArray[Any]) -> None:
    """Run a table lookup loop over columns, part by part."""
    in_parts(lambda at: loop(table, *(one[at] for one in each)), len(each[0]))


class _ByAxes(_Counting):
    def __init__(self, axes: Axes) -> None:
        self._tables, self._swap = (axes.columns, axes.rows), axes.swap
        self.all_stay = bool(axes.columns.min() >= 0 and axes.rows.min() >= 0)

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        from dvskit.filters.event_kernels import move_axis

        found = []
        for old, table in zip((y, x) if self._swap else (x, y), self._tables, strict=True):
            same = np.array_equal(table, np.arange(len(table)))
            new = old if same else np.empty_like(old)
            if not same:
                _look_up_all(move_axis, table, old, new)
            found.append(new)
        return found[0], found[1]

    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        from dvskit.filters.event_kernels import count_axes

        count_axes(*((y, x) if self._swap else (x, y)), *self._tables, found)

    def move(self, given: Columns, out: Columns) -> None:
        from dvskit.filters.event_kernels import move_axes

        t, x, y, p = given
        move_axes((t, y, x, p) if self._swap else given, *self._tables, out)


class _ByPlaces(_Counting):
    def __init__(self, places: Places) -> None:
        self._places = np.ascontiguousarray(places)
        self.all_stay = bool(places.min() >= 0)

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        from dvskit.filters.event_kernels import move_all

        new = np.empty_like(x), np.empty_like(y)
        _look_up_all(move_all, self._places, x, y, *new)
        return new

    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        from dvskit.filters.event_kernels import count_places

        count_places(x, y, self._places, found)

    def move(self, given: Columns, out: Columns) -> None:
        from dvskit.filters.event_kernels import move_places

        move_places(given, self._places, out)


class _ByKept(Moving):
    """One lookup of a byte per event."""

    def __init__(self, kept: Kept) -> None:
        self._keep = np.array(kept.keep)  # writable, so that one compiled loop serves all
        self.all_stay = bool(self._keep.all())

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        return x, y

    def some(self, given: Columns, left_out: NDArray[np.int64]) -> Columns:
        from dvskit.filters.event_kernels import look_up

        _, x, y, _ = given
        keep = np.empty(len(x), np.bool_)
        _look_up_all(look_up, self._keep, x, y, keep)
        out = columns_kept(given, keep)
        left_out += (len(out[0]), len(x) - len(out[0]))
        return out


class PixelMap(CallableFilter):
    """A filter that moves the events of a pixel to another, or drops and counts them.

    Subclasses define `places`, and `target` if the sensor size changes.

        class SwapHalves(dvskit.filters.PixelMap):
            def places(self, size):
                y, x = np.mgrid[: size.height, : size.width]
                x = (x + size.width // 2) % size.width
                return (y * 65536 + x).astype(np.int32)

        swapped = SwapHalves()(dvskit.load_events("events.raw"))
    """

    __slots__ = ()

    def target(self, size: Size) -> Size:
        """Return the size of the target sensor. Raises GeometryError."""
        return size

    @abstractmethod
    def places(self, size: Size) -> Map:
        """Return the new places: `Axes`, `Kept`, or (H, W) int32 of y * 65536 + x, -1: dropped."""

    def start(self, size: Size) -> PixelMapStep:
        """Return the step of one pass."""
        return PixelMapStep((self,), size)

    def join(self, other: object) -> PixelMap | None:
        """Return one map that applies this one and then `other`; None if that is not a map."""
        if not isinstance(other, PixelMap):
            return None
        return _Joined((*_maps(self), *_maps(other)))


@dataclass(frozen=True, slots=True)
class _Joined(PixelMap):
    maps: tuple[PixelMap, ...]

    def target(self, size: Size) -> Size:
        for each in self.maps:
            size = each.target(size)
        return size

    def places(self, size: Size) -> Map:
        return _places(self.maps, size)

    def start(self, size: Size) -> PixelMapStep:
        return PixelMapStep(self.maps, size)


def _maps(chosen: PixelMap) -> tuple[PixelMap, ...]:
    return chosen.maps if isinstance(chosen, _Joined) else (chosen,)


def _places(maps: tuple[PixelMap, ...], size: Size) -> Map:
    """Return the places of pixels after all maps; -1 - k means dropped by map k."""
    found = maps[0].places(size)
    for number, each in enumerate(maps[1:], 1):
        size = maps[number - 1].target(size)
        found = one_behind_the_other(found, each.places(size), number)
    return found


class PixelMapStep(Step):
    """A pass of pixel maps in sequence."""

    added = 0

    def __init__(self, maps: tuple[PixelMap, ...], size: Size) -> None:
        self._maps, self._from = maps, size
        self.size = _Joined(maps).target(size)
        self._moving: Moving | None = None  # created at the first event
        self._left_out = np.zeros(len(maps) + 1, np.int64)  # per map, after the number of kept ones

    def __call__(self, events: Events) -> Events:
        """Return the moved events; unchanged columns are shared."""
        if not len(events):
            return Events.empty(self.size)
        if self._moving is None:
            self._moving = moving(_places(self._maps, self._from))
        given = columns(events)
        if self._moving.all_stay:
            x, y = self._moving.both(given[1], given[2])
            return Events.from_checked(given[0], x, y, given[3], self.size)
        out = self._moving.some(given, self._left_out)
        return Events.from_checked(*out, self.size)

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """The number of dropped events."""
        return int(self._left_out[1:].sum())

    def tally(self) -> list[Tally]:
        """Return the number of events that each map has dropped."""
        return [
            Tally(each, int(count), 0)
            for each, count in zip(self._maps, self._left_out[1:], strict=True)
        ]
