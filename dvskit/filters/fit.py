"""Events mapped to another camera: to another sensor size, or without lens distortion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number, checked, checked_dataclass
from dvskit.errors import count_of
from dvskit.events import Events, Size, as_size
from dvskit.filters.pixel_map import Axes, PixelMap, PixelMapStep, Places, place
from dvskit.formats.calibration import read_camera
from dvskit.streams import Intrinsics

# Share of the sensor that an integer scale must fill to be preferred.
_LEAST_FILLED, _MOST_FILLED = Fraction(9, 10), Fraction(51, 50)


@dataclass(frozen=True, slots=True)
class Fit(PixelMap):
    """Scale the events to a sensor of another size: whole, undistorted, centered.

    One event stays one event, with its time and polarity. On a smaller sensor each block of k x k
    pixels becomes one pixel with the events of all of them. On a larger one each event goes to the
    middle of its block of m x m pixels; the other pixels of the block stay empty. If the
    proportions differ, a border stays empty. `Placement` chooses the scale.

    Events at the edges are dropped only if an integer k or m makes the image larger than the
    sensor, by a fiftieth at most. `step.dropped` counts them.

        small = dvskit.filters.Fit((34, 34))(dvskit.open_events("events.raw"))
        counts = dvskit.tensors.bin_events(small, bins=20)    # (20, 2, 34, 34) int32
    """

    size: tuple[int, int]

    def target(self, size: Size) -> Size:
        """Return the size of the other sensor. Raises GeometryError."""
        return as_size(self.size)

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        placement = Placement.of(size, as_size(self.size))
        return Axes(placement.places(axis=0), placement.places(axis=1))

    def start(self, size: Size) -> FitStep:
        """Return the step of one pass; its `placement` describes the fit."""
        return FitStep(self, size)


class FitStep(PixelMapStep):
    """A pass of a `Fit`. `placement` describes the fit, `dropped` counts the dropped events."""

    def __init__(self, fit: Fit, size: Size) -> None:
        super().__init__((fit,), size)
        self.placement = Placement.of(size, self.size)

    def __call__(self, events: Events) -> Events:
        """Return the events on the other sensor."""
        return events if self.placement.size == self.size else super().__call__(events)


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement of a sensor of `size` on one of size `target`, center on center.

    `scale` is the side of a pixel in target pixels: the largest at which the whole sensor fits, or
    an integer 1/k or m near it, if the image then fills nine tenths of the target, or loses a
    fiftieth at the edges. Integers give every pixel a block of the same size; other scales give
    some an extra row, which leaves a pattern in uniform areas.

        placement = dvskit.filters.Placement.of(dvskit.Size(346, 260), dvskit.Size(128, 128))
        str(placement)      # '346x260 fitted to 128x128 (3x3 pixels to one, in the middle)'
        placement.weight    # 0.111: an event is a ninth of the change of a target pixel
    """

    size: Size
    target: Size
    scale: Fraction

    @classmethod
    @lru_cache(maxsize=64)  # fractions take as long as a thousand events
    def of(cls, size: Size, target: Size) -> Placement:
        """Return the placement for two sizes."""
        whole = min(Fraction(target.width, size.width), Fraction(target.height, size.height))
        if whole < 1:
            near = [Fraction(1, count) for count in (floor(1 / whole), ceil(1 / whole))]
        else:
            near = [Fraction(count) for count in (floor(whole), ceil(whole))]
        good = [each for each in near if _LEAST_FILLED <= each / whole <= _MOST_FILLED]
        return cls(size, target, min(good, key=lambda each: abs(each - whole), default=whole))

    @property
    def weight(self) -> float:
        """The weight of an event for a network: the area of its pixel, in target pixels.

        A target pixel would have seen the mean brightness of its block, and fired about the mean of
        the events of its pixels.
        """
        return float(self.scale**2)

    def places(self, *, axis: int) -> NDArray[np.int16]:
        """Return the target's column (axis 0) or row (1) for each of the sensor's; -1 if off it."""
        count, room = self.size[axis], self.target[axis]
        # Center on center: floor((i + 1/2 - count / 2) scale + room / 2), in integers.
        above, below = self.scale.numerator, self.scale.denominator
        doubled = 2 * np.arange(count, dtype=np.int64) + 1 - count
        found = (doubled * above + room * below) // (2 * below)
        return np.where((found >= 0) & (found < room), found, -1).astype(np.int16)

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
        cut = [count_of(n, name) for n, name in zip(off, ("column", "row"), strict=True) if n]
        if cut:
            return f", without {' and '.join(cut)} at the edges"
        full = all(
            count * self.scale == room for count, room in zip(self.size, self.target, strict=True)
        )
        return "" if full else ", in the middle"


@checked_dataclass(frozen=True, slots=True)
class Undistort(PixelMap):
    """Correct the distortion of a lens, keeping the camera matrix (Brown 1971, as OpenCV).

    Each pixel moves to the pixel that contains its undistorted center (OpenCV's undistortPoints).
    Events that leave the sensor are dropped and counted, and so are those of pixels without an
    undistorted direction. On the command line the numbers come from a text file, from the
    arguments, or else from the recording. `Undistort.read(path)` reads a file.

    fx, fy, cx, cy      the camera matrix, in pixels
    k1, k2, p1, p2, k3  the distortion, as OpenCV orders it

        recording = dvskit.open_events("davis")
        undistort = dvskit.filters.Undistort(*recording.intrinsics())
        events = undistort(recording.load())
    """

    fx: float = checked(check_number, 1e-6, 1e6)
    fy: float = checked(check_number, 1e-6, 1e6)
    cx: float = checked(check_number, -1e6, 1e6)
    cy: float = checked(check_number, -1e6, 1e6)
    k1: float = checked(check_number, -1e6, 1e6, default=0.0)
    k2: float = checked(check_number, -1e6, 1e6, default=0.0)
    p1: float = checked(check_number, -1e6, 1e6, default=0.0)
    p2: float = checked(check_number, -1e6, 1e6, default=0.0)
    k3: float = checked(check_number, -1e6, 1e6, default=0.0)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Undistort:
        """Return the calibration in a file: see `dvskit.formats.calibration.read_camera`."""
        return cls(*read_camera(path))

    def places(self, size: Size) -> Places:
        """Return the new places of pixels."""
        camera = Intrinsics(*(getattr(self, name) for name in Intrinsics._fields))
        y, x = np.mgrid[: size.height, : size.width].astype(np.float64)
        ideal_x, ideal_y, found = camera.directions(x, y)
        with np.errstate(all="ignore"):  # where there is no such direction
            new_x = np.floor(ideal_x * self.fx + self.cx + 0.5)
            new_y = np.floor(ideal_y * self.fy + self.cy + 0.5)
        on = found & (new_x >= 0) & (new_x < size.width) & (new_y >= 0) & (new_y < size.height)
        return np.where(on, place(np.where(on, new_x, 0), np.where(on, new_y, 0)), np.int32(-1))
