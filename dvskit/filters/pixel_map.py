"""Filters that say for each pixel where its events go, or that they are left out.

Neighbours in a chain become one map, so that events are moved once; the result is that of one
behind the other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step, Tally
from dvskit.filters.selecting import columns, parts_of, room

Places = NDArray[np.int32]


class Axes(NamedTuple):
    """A map of columns and one of rows: (W,) and (H,) int16, -1 where events are left out."""

    columns: NDArray[np.int16]
    rows: NDArray[np.int16]

    def places(self) -> Places:
        """Return the same as places of pixels."""
        return place(self.columns[None, :], self.rows[:, None])


def place(x: NDArray[np.integer], y: NDArray[np.integer]) -> Places:
    """Return places: y * 65536 + x, and -1 where either is below 0."""
    x, y = x.astype(np.int32), y.astype(np.int32)
    return np.where((x < 0) | (y < 0), np.int32(-1), (y << 16) | x)


class PixelMap(CallableFilter):
    """A filter that moves the events of a pixel to another, or leaves them out and counts them.

    Who derives from it gives `places`, and `target` where the sensor's size changes.
    """

    __slots__ = ()

    def target(self, size: Size) -> Size:
        """Return the size of the sensor that the events are moved to. Raises GeometryError."""
        return size

    @abstractmethod
    def places(self, size: Size) -> Axes | Places:
        """Return where pixels go: `Axes`, or (H, W) int32 of y * 65536 + x, below 0 for nowhere."""

    def start(self, size: Size) -> PixelMapStep:
        """Return the step of one pass."""
        return PixelMapStep((self,), size)

    def join(self, other: object) -> PixelMap | None:
        """Return one map that does what this does and then `other`; None where that is no map."""
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

    def places(self, size: Size) -> Axes | Places:
        return _places(self.maps, size)

    def start(self, size: Size) -> PixelMapStep:
        return PixelMapStep(self.maps, size)


def _maps(chosen: PixelMap) -> tuple[PixelMap, ...]:
    return chosen.maps if isinstance(chosen, _Joined) else (chosen,)


def _places(maps: tuple[PixelMap, ...], size: Size) -> Axes | Places:
    """Return where pixels go by all maps; -1 - k says that the k-th leaves them out."""
    found = maps[0].places(size)
    if not isinstance(found, Axes):
        found = np.maximum(found, -1)
    for number, each in enumerate(maps[1:], 1):
        size = maps[number - 1].target(size)
        then = each.places(size)
        if isinstance(found, Axes) and isinstance(then, Axes):
            found = Axes(*(_behind(one, two, number) for one, two in zip(found, then, strict=True)))
            continue
        one = found.places() if isinstance(found, Axes) else found
        table = then.places() if isinstance(then, Axes) else then
        known = np.maximum(one, 0)
        there = table[known >> 16, known & 0xFFFF]
        found = np.where(one < 0, one, np.where(there < 0, np.int32(-1 - number), there))
    return found


def _behind(one: NDArray[np.int16], two: NDArray[np.int16], number: int) -> NDArray[np.int16]:
    there = two[np.maximum(one, 0)]
    return np.where(one < 0, one, np.where(there < 0, np.int16(-1 - number), there))


class _Kernels(NamedTuple):
    """The compiled loops for a kind of map, and its tables."""

    tables: tuple[NDArray[np.integer], ...]
    look: Callable[..., None]
    move_all: Callable[..., None]
    move: Callable[..., None]

    @classmethod
    def of(cls, places: Axes | Places) -> _Kernels:
        from dvskit.filters import pixel_map_kernels as loops

        if isinstance(places, Axes):
            return cls(tuple(places), loops.count_axes, loops.all_axes, loops.move_axes)
        return cls((places,), loops.count_places, loops.all_places, loops.move_places)


class PixelMapStep(Step):
    """A pass of pixel maps, one behind the other."""

    def __init__(self, maps: tuple[PixelMap, ...], size: Size) -> None:
        self._maps, self._from = maps, size
        self.size = _Joined(maps).target(size)
        self._places: Axes | Places | None = None  # made when the first event comes
        self._left_out = np.zeros(len(maps) + 1, np.int64)  # of each map, behind the kept ones

    def __call__(self, events: Events) -> Events:
        """Return the events where they go; times and polarities are shared where all stay."""
        if not len(events):
            return Events.empty(self.size)
        if self._places is None:
            self._places = _places(self._maps, self._from)
        return self._moved(events, _Kernels.of(self._places))

    def _moved(self, events: Events, kernels: _Kernels) -> Events:
        t, x, y, p = columns(events)
        parts = [slice(*each) for each in parts_of(len(events))]
        found = np.zeros((len(parts), len(self._left_out)), np.int64)
        run_parts(
            lambda k: kernels.look(x[parts[k]], y[parts[k]], *kernels.tables, found[k]), len(parts)
        )
        self._left_out += found.sum(0)
        ends = np.cumsum(found[:, 0])
        total = int(ends[-1])
        stay = total == len(events)
        out = (t, *room(total)[1:3], p) if stay else room(total)
        out_t, out_x, out_y, out_p = out

        def work(k: int) -> None:
            part, at = parts[k], slice(ends[k] - found[k, 0], ends[k])
            if stay:
                kernels.move_all(x[part], y[part], *kernels.tables, out_x[at], out_y[at])
            else:
                kernels.move(t[part], x[part], y[part], p[part], *kernels.tables,
                             out_t[at], out_x[at], out_y[at], out_p[at])  # fmt: skip

        run_parts(work, len(parts))
        return Events.from_checked(*out, self.size)

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """How many events have been left out."""
        return int(self._left_out[1:].sum())

    @property
    def added(self) -> int:  # type: ignore[override]
        """Maps add nothing."""
        return 0

    def tally(self) -> list[Tally]:
        """Return how many events each map has left out."""
        return [
            Tally(each, int(count), 0)
            for each, count in zip(self._maps, self._left_out[1:], strict=True)
        ]
