"""Filters that say for each pixel where its events go, or that they are left out.

Neighbours in a chain become one map, so that events are moved once; the result is that of one
behind the other.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step, Tally
from dvskit.filters.moving import Axes, Moving, Places, moving, one_behind_the_other
from dvskit.filters.selecting import columns


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
        """Return where pixels go: `Axes`, or (H, W) int32 of y * 65536 + x, -1 for nowhere."""

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
    for number, each in enumerate(maps[1:], 1):
        size = maps[number - 1].target(size)
        found = one_behind_the_other(found, each.places(size), number)
    return found


class PixelMapStep(Step):
    """A pass of pixel maps, one behind the other."""

    def __init__(self, maps: tuple[PixelMap, ...], size: Size) -> None:
        self._maps, self._from = maps, size
        self.size = _Joined(maps).target(size)
        self._moving: Moving | None = None  # made when the first event comes
        self._left_out = np.zeros(len(maps) + 1, np.int64)  # of each map, behind the kept ones

    def __call__(self, events: Events) -> Events:
        """Return the events where they go; columns that stay as they are, are shared."""
        if not len(events):
            return Events.empty(self.size)
        if self._moving is None:
            self._moving = moving(_places(self._maps, self._from), maps=len(self._maps))
        given = columns(events)
        if self._moving.all_stay:
            x, y = self._moving.both(given[1], given[2])
            return Events.from_checked(given[0], x, y, given[3], self.size)
        out = self._moving.some(given, self._left_out)
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
