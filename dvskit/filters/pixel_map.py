"""Filters that map each pixel to another one: flips, quarter turns, affine transforms.

Columns and rows are mapped separately, or each pixel has a place. Neighbors in a chain become one
map, so that events are moved once; the result is that of the maps in sequence.

Flips and quarter turns keep all events. Otherwise a pixel goes to the pixel that contains its
transformed center, on a sensor of the same size. One event stays one event: zooming in leaves
holes, zooming out merges the events of several pixels. Events that leave the sensor are dropped
and counted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_choice, check_number, check_whole, checked, checked_dataclass
from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.filters.base import (
    CallableFilter,
    Columns,
    Step,
    Tally,
    columns,
    columns_kept,
    in_parts,
    part_of,
    parts_of,
    room,
)

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


def compose(first: Map, second: Map, number: int) -> Axes | Places:
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
        found = compose(found, each.places(size), number)
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


Matrix = tuple[float, float, float, float, float, float]

_MOST = 1e6
_ROUNDING = 1e-9  # coordinates between two pixels, up to rounding, all go to the same one


@dataclass(frozen=True, slots=True)
class Flip(PixelMap):
    """Mirror the sensor: the axis "x" swaps left and right, "y" top and bottom, "xy" both.

    A label may change its meaning, such as a wave of the left hand. Raises ConfigError for another
    axis.

        events = dvskit.load_events("events.raw")
        mirrored = dvskit.filters.Flip("x")(events)
        mirrored.x[0] == 127 - events.x[0]    # True on a sensor of 128 columns
    """

    axis: Literal["x", "y", "xy"] = checked(check_choice, ("x", "y", "xy"), default="x")

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        columns, rows = _counted(size.width), _counted(size.height)
        return Axes(
            columns[::-1].copy() if "x" in self.axis else columns,
            rows[::-1].copy() if "y" in self.axis else rows,
        )


@dataclass(frozen=True, slots=True)
class Transpose(PixelMap):
    """Swap x and y, and the sensor's width and height.

    No event is dropped.

        events = dvskit.Events(t=[0], x=[7], y=[2], p=[True], size=(8, 6))
        swapped = dvskit.filters.Transpose()(events)
        swapped.x, swapped.y, swapped.sensor_size    # ([2], [7], Size(width=6, height=8))
    """

    def target(self, size: Size) -> Size:
        """Return height x width."""
        return Size(size.height, size.width)

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        return Axes(_counted(size.height), _counted(size.width), swap=True)


@dataclass(frozen=True, slots=True)
class QuarterTurn(PixelMap):
    """Turn the sensor clockwise by quarter turns.

    turns  negative ones turn counter-clockwise; odd ones swap the sensor's width and height

        events = dvskit.Events(t=[0], x=[0], y=[0], p=[True], size=(8, 6))
        turned = dvskit.filters.QuarterTurn(1)(events)
        turned.x, turned.y, turned.sensor_size    # ([5], [0], Size(width=6, height=8))
    """

    turns: int = checked(check_whole, -3, 3, default=1)

    def target(self, size: Size) -> Size:
        """Return the size; height x width for an odd number of quarter turns."""
        return Size(size.height, size.width) if self.turns % 2 else size

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        x, y = _counted(size.width), _counted(size.height)
        left, up = x[::-1].copy(), y[::-1].copy()
        return (Axes(x, y), Axes(up, x, True), Axes(left, up), Axes(y, left, True))[self.turns % 4]


def _counted(count: int) -> NDArray[np.int16]:
    return np.arange(count, dtype=np.int16)


class _AboutTheMiddle(PixelMap):
    __slots__ = ()

    @property
    @abstractmethod
    def matrix(self) -> Matrix:
        """xx, xy, yx, yy, x and y of x' = xx x + xy y + x, y' = yx x + yy y + y."""

    def places(self, size: Size) -> Places:
        """Return the new places of pixels."""
        from dvskit.filters.event_kernels import affine_places

        xx, xy, yx, yy, x_px, y_px = self.matrix
        middle_x, middle_y = (size.width - 1) / 2, (size.height - 1) / 2
        found = np.empty((size.height, size.width), np.int32)
        affine_places(
            (xx, xy, yx, yy),
            middle_x - xx * middle_x - xy * middle_y + x_px + 0.5 + _ROUNDING,
            middle_y - yx * middle_x - yy * middle_y + y_px + 0.5 + _ROUNDING,
            found,
        )  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class Affine(_AboutTheMiddle):
    """Map pixels by a matrix about the middle: x' = xx x + xy y + x_px, y' = yx x + yy y + y_px.

    x and y count from the middle of the sensor, in pixels, to the right and down. Events that leave
    the sensor are dropped and counted. The default is no change.

        events = dvskit.load_events("events.raw")
        narrow = dvskit.filters.Affine(xx=0.5, x_px=10)(events)    # half as wide, then to the right
    """

    xx: float = checked(check_number, -_MOST, _MOST, default=1.0)
    xy: float = checked(check_number, -_MOST, _MOST, default=0.0)
    yx: float = checked(check_number, -_MOST, _MOST, default=0.0)
    yy: float = checked(check_number, -_MOST, _MOST, default=1.0)
    x_px: float = checked(check_number, -_MOST, _MOST, default=0.0)
    y_px: float = checked(check_number, -_MOST, _MOST, default=0.0)

    @property
    def matrix(self) -> Matrix:
        """The six numbers."""
        return tuple(float(each) for each in astuple(self))  # type: ignore[return-value]


@checked_dataclass(frozen=True, slots=True)
class Rotate(_AboutTheMiddle):
    """Rotate the events clockwise about the middle of the sensor, by an angle in degrees.

    Events that leave the sensor are dropped and counted. `QuarterTurn` keeps all events.

        source = dvskit.filters.Rotate(10)(dvskit.open_events("events.raw"))
        dvskit.save_events(source, "rotated.raw")
        source.dropped    # events that left the sensor
    """

    degrees: float = checked(check_number, -360, 360)

    @property
    def matrix(self) -> Matrix:
        """The six numbers."""
        angle = math.radians(self.degrees)
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle), 0.0, 0.0


@checked_dataclass(frozen=True, slots=True)
class Zoom(_AboutTheMiddle):
    """Zoom in (a factor above 1) or out (below 1) about the middle of the sensor.

    Zooming in leaves holes and drops the events that leave the sensor; zooming out merges the
    events of several pixels.

        events = dvskit.load_events("events.raw")
        smaller = dvskit.filters.Zoom(0.5)(events)
        smaller.x.min() >= 32, smaller.x.max() <= 96    # (True, True)
    """

    factor: float = checked(check_number, 1 / _MOST, _MOST)

    @property
    def matrix(self) -> Matrix:
        """The six numbers."""
        factor = float(self.factor)
        return factor, 0.0, 0.0, factor, 0.0, 0.0


@dataclass(frozen=True, slots=True)
class Shear(_AboutTheMiddle):
    """Shear the events by angles in degrees, along x and along y.

    Along x, a row moves by tan(x_deg) of its distance from the middle; along y, a column by
    tan(y_deg).

        events = dvskit.load_events("events.raw")
        slanted = dvskit.filters.Shear(x_deg=15)(events)    # lower rows move to the right
    """

    x_deg: float = checked(check_number, -80, 80, default=0.0)
    y_deg: float = checked(check_number, -80, 80, default=0.0)

    @property
    def matrix(self) -> Matrix:
        """The six numbers."""
        along = (math.tan(math.radians(each)) for each in (self.x_deg, self.y_deg))
        x, y = along
        return 1.0, x, y, 1.0, 0.0, 0.0


@dataclass(frozen=True, slots=True)
class _ByPixels(PixelMap):
    """A move by whole pixels, to the right and downwards."""

    x_px: int = checked(check_whole, -32767, 32767, default=0)
    y_px: int = checked(check_whole, -32767, 32767, default=0)


@dataclass(frozen=True, slots=True)
class Shift(_ByPixels):
    """Move the events by whole pixels: `x_px` to the right and `y_px` down.

    Negative numbers move them to the left and up. Events that leave the sensor are dropped and
    counted.

        events = dvskit.Events(t=[0, 1], x=[1, 7], y=[2, 2], p=[1, 0], size=(8, 6))
        dvskit.filters.Shift(x_px=3)(events).x    # [4]: the second one left the sensor
    """

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        return Axes(_shifted(size.width, self.x_px), _shifted(size.height, self.y_px))


def _shifted(count: int, by: int) -> NDArray[np.int16]:
    at = np.arange(count) + by
    return np.where((at >= 0) & (at < count), at, -1).astype(np.int16)


@dataclass(frozen=True, slots=True)
class Roll(_ByPixels):
    """Move the events as `Shift(x_px, y_px)`; those off the sensor enter on the other side.

    No event is dropped.

        events = dvskit.Events(t=[0, 1], x=[1, 7], y=[2, 2], p=[1, 0], size=(8, 6))
        dvskit.filters.Roll(x_px=3)(events).x    # [4, 2]
    """

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        columns, rows = (
            ((np.arange(count) + by) % count).astype(np.int16)
            for count, by in zip(size, (self.x_px, self.y_px), strict=True)
        )
        return Axes(columns, rows)


@dataclass(frozen=True, slots=True)
class RollShare(PixelMap):
    """Roll by shares of the sensor's width and height, rounded to pixels."""

    x: float = checked(check_number, -1, 1, default=0.0)
    y: float = checked(check_number, -1, 1, default=0.0)

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        return Roll(round(self.x * size.width), round(self.y * size.height)).places(size)
