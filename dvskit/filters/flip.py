"""Mirrored and turned by quarters: every event stays, and its pixel is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dvskit.events import Size
from dvskit.filters.parameters import check_choice, check_whole
from dvskit.filters.pixel_map import Axes, PixelMap, Places, place


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
        columns, rows = (np.arange(count, dtype=np.int16) for count in size)
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

    def places(self, size: Size) -> Places:
        """Return where pixels go."""
        return place(np.arange(size.height)[:, None], np.arange(size.width)[None, :])


@dataclass(frozen=True, slots=True)
class QuarterTurn(PixelMap):
    """Turn the sensor by `turns` quarters, clockwise as one sees it; its size turns with it."""

    turns: int = 1

    def __post_init__(self) -> None:
        check_whole(self, "turns", -3, 3)

    def target(self, size: Size) -> Size:
        """Return the size; by an odd number of quarters, height x width."""
        return Size(size.height, size.width) if self.turns % 2 else size

    def places(self, size: Size) -> Places:
        """Return where pixels go."""
        x, y = np.arange(size.width)[None, :], np.arange(size.height)[:, None]
        right, below = size.width - 1, size.height - 1
        turned = [(x, y), (below - y, x), (right - x, below - y), (y, right - x)]
        return place(*turned[self.turns % 4])
