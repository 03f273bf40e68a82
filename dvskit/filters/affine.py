"""Flips, quarter turns, and affine transforms about the middle of the sensor.

Flips and quarter turns keep all events. Otherwise a pixel goes to the pixel that contains its
transformed centre, on a sensor of the same size. One event stays one event: zooming in leaves
holes, zooming out merges the events of several pixels. Events that leave the sensor are dropped
and counted.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_choice, check_number, check_whole, checked
from dvskit.events import Size
from dvskit.filters.pixel_map import Axes, PixelMap, Places

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
        swapped.x, swapped.y, swapped.size    # ([2], [7], Size(width=6, height=8))
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
        turned.x, turned.y, turned.size    # ([5], [0], Size(width=6, height=8))
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
