"""Events of one sensor put on another of a given size: whole, undistorted, in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.events import Events, Size, as_size
from dvskit.filters.pixel_map import Axes, PixelMap, PixelMapStep

# How much of a sensor a picture fills whose scale is a whole number, to be preferred.
_LEAST_FILLED, _MOST_FILLED = Fraction(9, 10), Fraction(51, 50)


@check_arguments
@dataclass(frozen=True, slots=True)
class Fit(PixelMap):
    """Put the events of one sensor on another of `size`: whole, undistorted, in the middle.

    One event stays one event, with its time and polarity. On a smaller sensor the k x k pixels of
    a block become one pixel, which has the events of all of them; on a larger one each event is put
    in the middle of its block of m x m pixels, and the others of the block stay empty. What the
    proportions leave free is an empty border. `Placement` says how the scale is chosen.

    Only where a whole k or m makes the picture larger than the sensor, by a fiftieth at most, are
    events at its edges left out; the step of a pass counts them: `step.dropped`.
    """

    size: tuple[int, int]

    def target(self, size: Size) -> Size:
        """Return the size of the other sensor. Raises GeometryError."""
        return as_size(self.size)

    def places(self, size: Size) -> Axes:
        """Return where columns and rows go."""
        placement = Placement.of(size, as_size(self.size))
        return Axes(placement.places(axis=0), placement.places(axis=1))

    def start(self, size: Size) -> FitStep:
        """Return the step of one pass."""
        return FitStep(self, size)


class FitStep(PixelMapStep):
    """A pass of a `Fit`. `placement` says how it fits, `dropped` how many events were left out."""

    def __init__(self, fit: Fit, size: Size) -> None:
        super().__init__((fit,), size)
        self.placement = Placement.of(size, self.size)

    def __call__(self, events: Events) -> Events:
        """Return the events on the other sensor."""
        return events if self.placement.size == self.size else super().__call__(events)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sensor of `size` lies on one of size `target`, their middles one upon the other.

    `scale` is the side of a pixel in pixels of the target: the largest at which all is on it, or
    1/k, or m, of whole numbers, where that is near: where the picture then fills nine tenths of the
    target, or is cut by a fiftieth. Whole numbers give every pixel a block of the same size; others
    give some a row more, and a pattern to what is uniform.
    """

    size: Size
    target: Size
    scale: Fraction

    @classmethod
    def of(cls, size: Size, target: Size) -> Placement:
        """Return the placement that the rule gives."""
        whole = min(Fraction(target.width, size.width), Fraction(target.height, size.height))
        if whole < 1:
            near = [Fraction(1, count) for count in (floor(1 / whole), ceil(1 / whole))]
        else:
            near = [Fraction(count) for count in (floor(whole), ceil(whole))]
        good = [each for each in near if _LEAST_FILLED <= each / whole <= _MOST_FILLED]
        return cls(size, target, min(good, key=lambda each: abs(each - whole), default=whole))

    @property
    def weight(self) -> float:
        """What an event counts for a network: the area of its pixel, in pixels of the target.

        A pixel of the target would have seen the mean brightness of its block, and given about the
        mean of the events of its pixels.
        """
        return float(self.scale**2)

    def places(self, *, axis: int) -> NDArray[np.int16]:
        """Return the target's column (axis 0) or row (1) of each of the sensor's; -1 is off it."""
        count, room = self.size[axis], self.target[axis]
        # Middle upon middle: floor((i + 1/2 - count / 2) scale + room / 2), in whole numbers.
        above, below = self.scale.numerator, self.scale.denominator
        doubled = 2 * np.arange(count, dtype=np.int64) + 1 - count
        place = (doubled * above + room * below) // (2 * below)
        return np.where((place >= 0) & (place < room), place, -1).astype(np.int16)

    def __str__(self) -> str:
        return f"{self.size} fitted to {self.target} ({self._scaling()}{self._edges()})"

    def _scaling(self) -> str:
        if self.scale == 1:
            return "at its own scale"
        if self.scale.numerator == 1:
            side = self.scale.denominator
            return f"{side}x{side} pixels to one"
        return f"scaled by {float(self.scale):.3g}"

    def _edges(self) -> str:
        off = [int(np.count_nonzero(self.places(axis=axis) < 0)) for axis in (0, 1)]
        cut = [f"{n} {name}" for n, name in zip(off, ("columns", "rows"), strict=True) if n]
        if cut:
            return f", without {' and '.join(cut)} at the edges"
        full = all(
            count * self.scale == room for count, room in zip(self.size, self.target, strict=True)
        )
        return "" if full else ", in the middle"
