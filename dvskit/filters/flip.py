"""Mirrored and turned by quarters: every event stays, and its pixel is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.filters.parameters import check_choice, check_whole
from dvskit.filters.pixel_map import Axes, PixelMap


@dataclass(frozen=True, slots=True)
class Flip(PixelMap):
    """Mirror the sensor: axis x swaps left and right, y swaps top and bottom, xy both.

    What a class is called may change with it, such as a wave of the left hand.
    """

    axis: Literal["x", "y", "xy"] = "x"

    def __post_init__(self) -> None:
        check_choice(self, "axis", ("x", "y", "xy"))

    def places(self, size: Size) -> Axes:
        """Return where columns and rows go."""
        columns, rows = _counted(size.width), _counted(size.height)
        return Axes(
            columns[::-1].copy() if "x" in self.axis else columns,
            rows[::-1].copy() if "y" in self.axis else rows,
        )


@dataclass(frozen=True, slots=True)
class Transpose(PixelMap):
    """Swap x and y, and the width and height of the sensor."""

    def target(self, size: Size) -> Size:
        """Return height x width."""
        return Size(size.height, size.width)

    def places(self, size: Size) -> Axes:
        """Return where columns and rows go."""
        return Axes(_counted(size.height), _counted(size.width), swap=True)


@dataclass(frozen=True, slots=True)
class QuarterTurn(PixelMap):
    """Turn the sensor by `turns` quarters, clockwise as one sees it; its size turns with it."""

    turns: int = 1

    def __post_init__(self) -> None:
        check_whole(self, "turns", -3, 3)

    def target(self, size: Size) -> Size:
        """Return the size; by an odd number of quarters, height x width."""
        return Size(size.height, size.width) if self.turns % 2 else size

    def places(self, size: Size) -> Axes:
        """Return where columns and rows go."""
        x, y = _counted(size.width), _counted(size.height)
        left, up = x[::-1].copy(), y[::-1].copy()
        return (Axes(x, y), Axes(up, x, True), Axes(left, up), Axes(y, left, True))[self.turns % 4]


def _counted(count: int) -> NDArray[np.int16]:
    return np.arange(count, dtype=np.int16)
