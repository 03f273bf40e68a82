"""How compiled loops move events from pixel to pixel: by axes, by places, or only left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.filters.places import Axes, Places, place
from dvskit.filters.selecting import Columns, columns_kept, parts_of, room

Column = NDArray[np.int16]


class Moving(ABC):
    """A way to move events; `all_stay` says that none is left out."""

    all_stay: bool

    @abstractmethod
    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        """Return the new columns and rows of events that all stay, shared where they are as old."""

    @abstractmethod
    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        """Count the events that stay in found[0], those that map k leaves out in found[1 + k]."""

    @abstractmethod
    def move(self, given: Columns, out: Columns) -> None:
        """Move the events that stay; `out` has room for just those."""

    def some(self, given: Columns, left_out: NDArray[np.int64]) -> Columns:
        """Return the events that stay, moved; `left_out` is counted up as `count` says."""
        t, x, y, _ = given
        parts = [slice(*each) for each in parts_of(len(t))]
        found = np.zeros((len(parts), len(left_out)), np.int64)
        run_parts(lambda k: self.count(x[parts[k]], y[parts[k]], found[k]), len(parts))
        left_out += found.sum(0)
        ends = np.cumsum(found[:, 0])
        out = room(int(ends[-1]))

        def work(k: int) -> None:
            at = slice(ends[k] - found[k, 0], ends[k])
            self.move(_part(given, parts[k]), _part(out, at))

        run_parts(work, len(parts))
        return out


def moving(places: Axes | Places, *, maps: int) -> Moving:
    """Return the way to move events by a map that is `maps` in one."""
    if isinstance(places, Axes):
        return _ByAxes(places)
    height, width = places.shape
    own = place(np.arange(width)[None, :], np.arange(height)[:, None])
    if maps == 1 and not np.any((places != own) & (places >= 0)):
        return _LeftOut(places)
    return _ByPlaces(places)


def _part(of: Columns, at: slice) -> Columns:
    return of[0][at], of[1][at], of[2][at], of[3][at]


def _in_parts(loop: Callable[..., None], table: Places | Column, *each: Column) -> None:
    parts = [slice(*part) for part in parts_of(len(each[0]))]
    run_parts(lambda k: loop(table, *(one[parts[k]] for one in each)), len(parts))


class _ByAxes(Moving):
    def __init__(self, axes: Axes) -> None:
        self._tables, self._swap = (axes.columns, axes.rows), axes.swap
        self.all_stay = bool(axes.columns.min() >= 0 and axes.rows.min() >= 0)

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        from dvskit.filters.pixel_map_kernels import move_axis

        found = []
        for old, table in zip((y, x) if self._swap else (x, y), self._tables, strict=True):
            same = np.array_equal(table, np.arange(len(table)))
            new = old if same else np.empty_like(old)
            if not same:
                _in_parts(move_axis, table, old, new)
            found.append(new)
        return found[0], found[1]

    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        from dvskit.filters.pixel_map_kernels import count_axes

        count_axes(*((y, x) if self._swap else (x, y)), *self._tables, found)

    def move(self, given: Columns, out: Columns) -> None:
        from dvskit.filters.pixel_map_kernels import move_axes

        t, x, y, p = given
        move_axes(t, *((y, x) if self._swap else (x, y)), p, *self._tables, *out)


class _ByPlaces(Moving):
    def __init__(self, places: Places) -> None:
        self._places = np.ascontiguousarray(places)
        self.all_stay = bool(places.min() >= 0)

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        from dvskit.filters.pixel_map_kernels import move_all

        new = np.empty_like(x), np.empty_like(y)
        _in_parts(move_all, self._places, x, y, *new)
        return new

    def count(self, x: Column, y: Column, found: NDArray[np.int64]) -> None:
        from dvskit.filters.pixel_map_kernels import count_places

        count_places(x, y, self._places, found)

    def move(self, given: Columns, out: Columns) -> None:
        from dvskit.filters.pixel_map_kernels import move_places

        move_places(*given, self._places, *out)


class _LeftOut(_ByPlaces):
    """One map that moves nothing: a byte a pixel is looked up, once."""

    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self._keep = self._places >= 0

    def both(self, x: Column, y: Column) -> tuple[Column, Column]:
        return x, y

    def some(self, given: Columns, left_out: NDArray[np.int64]) -> Columns:
        from dvskit.filters.pixel_map_kernels import look_up

        _, x, y, _ = given
        keep = np.empty(len(x), np.bool_)
        parts = [slice(*each) for each in parts_of(len(x))]
        run_parts(
            lambda k: look_up(self._keep, x[parts[k]], y[parts[k]], keep[parts[k]]), len(parts)
        )
        out = columns_kept(given, keep)
        left_out += (len(out[0]), len(x) - len(out[0]))
        return out
