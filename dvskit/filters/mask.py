"""Filters by pixel: crops, masks, dropped areas and random pixels."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import (
    check_flag,
    check_number,
    check_seed,
    check_whole,
    checked,
    checked_dataclass,
)
from dvskit.errors import ConfigError, GeometryError, MissingFileError, ShapeError
from dvskit.events import Size
from dvskit.filters.pixel_map import Axes, Kept, PixelMap

Inside = NDArray[np.bool_]

_FAR = 1e6  # pixels, beyond any sensor
_LEAST = 1e-3  # pixels, of a side or a radius


@checked_dataclass(frozen=True, slots=True)
class Crop(PixelMap):
    """Keep the events of a rectangle; its upper left corner becomes (0, 0).

    x, y, width, height  the rectangle, in pixels

    `start` raises GeometryError if the rectangle is not on the sensor.

        events = dvskit.load_events("events.raw")
        part = dvskit.filters.Crop(x=32, y=0, width=64, height=48)(events)
        part.sensor_size    # Size(width=64, height=48)
    """

    x: int = checked(check_whole, -32767, 32767)
    y: int = checked(check_whole, -32767, 32767)
    width: int = checked(check_whole, 0, 32767)
    height: int = checked(check_whole, 0, 32767)

    def target(self, size: Size) -> Size:
        """Return the rectangle's size. Raises GeometryError."""
        fits = 0 <= self.x < self.x + self.width <= size.width
        if not (fits and 0 <= self.y < self.y + self.height <= size.height):
            raise GeometryError(
                f"the crop {self.x},{self.y},{self.width},{self.height} is not on the {size} sensor"
            )
        return Size(self.width, self.height)

    def places(self, size: Size) -> Axes:
        """Return the new columns and rows."""
        return Axes(
            _inside(size.width, self.x, self.width), _inside(size.height, self.y, self.height)
        )


def _kept_by_shape(shape: CircleMask | RectangleMask | PolygonMask, inside: Inside) -> Kept:
    """Return the pixels that a shape keeps. Raises GeometryError."""
    if not inside.any():
        height, width = inside.shape
        raise GeometryError(
            f"{shape}: no pixel of the {width}x{height} sensor is inside; give a larger shape, or "
            "another place"
        )
    return Kept(inside != shape.invert)


def _inside(count: int, first: int, kept: int) -> NDArray[np.int16]:
    place = np.arange(count, dtype=np.int16) - np.int16(first)
    return np.where((place >= 0) & (place < kept), place, np.int16(-1))


class Mask(PixelMap):
    """Keep the events of the pixels that `keep` marks: (H, W) booleans, or an image.

    On the command line it is the path of an image: "mask:area.png" keeps the pixels that are
    neither black nor transparent, "mask:area.png,invert=true" the others. `Mask.read` reads one.
    Raises ShapeError for other arrays. `start` raises GeometryError for another sensor size.

        keep = np.zeros((128, 128), bool)
        keep[:64] = True    # the upper half
        upper = dvskit.filters.Mask(keep)(dvskit.load_events("events.raw"))
    """

    __slots__ = ("keep", "path")

    def __init__(self, keep: ArrayLike) -> None:
        array = np.array(keep)
        if array.ndim != 2 or array.dtype != np.bool_:
            raise ShapeError(
                f"Mask: a mask is (H, W) booleans, not {array.dtype} of shape {array.shape}"
                + "; mask > 0 makes it so" * (array.ndim == 2)
            )
        array.flags.writeable = False
        self.keep: NDArray[np.bool_] = array
        self.path: str | None = None

    @classmethod
    def read(cls, path: str | PathLike[str], *, invert: bool = False) -> Mask:
        """Return the mask of an image: pixels that are neither black nor transparent are kept.

        With `invert` the others are. Raises MissingFileError, VideoError for a file that is not an
        image, and ConfigError if no pixel is kept.
        """
        from dvskit.formats.image_list import read_image

        file = Path(path)
        if not file.exists():
            raise MissingFileError(file)
        image = read_image(file)
        seen = image > 0 if image.ndim == 2 else (image[..., :3] > 0).any(2)
        if image.ndim == 3 and image.shape[2] == 4:
            seen &= image[..., 3] > 0
        if seen.all() if invert else not seen.any():
            which = "none is" if invert else "all are"
            other = "false" if invert else "true"
            raise ConfigError(
                f"{path}: as a mask it keeps no pixel: {which} black or transparent; change the "
                f"image, or pass invert={other}"
            )
        mask = cls(seen != invert)
        mask.path = str(path)
        return mask

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.keep, other.keep) if isinstance(other, Mask) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.keep.shape, self.keep.tobytes()))

    def __repr__(self) -> str:
        height, width = self.keep.shape
        share = f"{np.count_nonzero(self.keep):,} of {self.keep.size:,} pixels"
        return f"Mask({self.path or f'{width}x{height}'}, {share})"

    def target(self, size: Size) -> Size:
        """Return the unchanged size. Raises GeometryError if the mask has another."""
        height, width = self.keep.shape
        if (width, height) != size:
            raise GeometryError(
                f"the mask{f' {self.path}' if self.path else ''} is {width}x{height}, the sensor "
                f"{size[0]}x{size[1]}; pass a mask of the sensor's size"
            )
        return Size(*size)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        return Kept(self.keep)


@checked_dataclass(frozen=True, slots=True)
class CircleMask(PixelMap):
    """Keep the events of a disc around (x, y); with `invert` those outside.

    A pixel is inside if its middle is at most `radius_px` away. `start` raises GeometryError if no
    pixel of the sensor is inside.

        disc = dvskit.filters.CircleMask(64, 64, radius_px=40)
        inside = disc(dvskit.load_events("events.raw"))
    """

    x: float = checked(check_number, -_FAR, _FAR)
    y: float = checked(check_number, -_FAR, _FAR)
    radius_px: float = checked(check_number, _LEAST, _FAR)
    invert: bool = checked(check_flag, default=False)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        y, x = np.ogrid[: size.height, : size.width]
        inside = (x - self.x) ** 2 + (y - self.y) ** 2 <= self.radius_px**2
        return _kept_by_shape(self, inside)


@checked_dataclass(frozen=True, slots=True)
class RectangleMask(PixelMap):
    """Keep the events with x <= column < x + width and y <= row < y + height.

    With `invert` those outside are kept. Unlike `Crop` it keeps the sensor size. The rectangle may
    reach beyond the sensor; `start` raises GeometryError if no pixel is inside.

        hidden = dvskit.filters.RectangleMask(0, 0, 128, 10, invert=True)    # hides ten rows
        events = hidden(dvskit.load_events("events.raw"))
        events.y.min() >= 10    # True
    """

    x: float = checked(check_number, -_FAR, _FAR)
    y: float = checked(check_number, -_FAR, _FAR)
    width: float = checked(check_number, _LEAST, _FAR)
    height: float = checked(check_number, _LEAST, _FAR)
    invert: bool = checked(check_flag, default=False)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        y, x = np.ogrid[: size.height, : size.width]
        columns = (x >= self.x) & (x < self.x + self.width)
        return _kept_by_shape(self, columns & (y >= self.y) & (y < self.y + self.height))


@dataclass(frozen=True, slots=True)
class PolygonMask(PixelMap):
    """Keep the events inside a polygon; with `invert` those outside.

    points  (x, y) of three corners and more, in order. Sides may cross: a pixel is inside if a ray
            from its middle crosses an odd number of sides (even-odd rule)

    On the command line: "polygon_mask:10,10,60,10,35,50". Raises ConfigError for fewer corners;
    `start` raises GeometryError if no pixel of the sensor is inside.

        triangle = dvskit.filters.PolygonMask(((64, 10), (120, 120), (8, 120)))
        events = triangle(dvskit.load_events("events.raw"))
    """

    points: tuple[tuple[float, float], ...]
    invert: bool = False

    def __post_init__(self) -> None:
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError):
            points = ()
        if len(points) < 3 or not (np.abs(points) <= _FAR).all():
            raise ConfigError(
                f"PolygonMask: {self.points!r} are not three corners (x, y) and more, in pixels"
            )
        check_flag("invert", self.invert)
        object.__setattr__(self, "points", points)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        y, x = np.ogrid[: size.height, : size.width]
        inside = np.zeros((size.height, size.width), np.bool_)
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:] + self.points[:1], strict=True):
            if y0 != y1:
                at = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
                inside ^= ((y0 > y) != (y1 > y)) & (x < at)
        return _kept_by_shape(self, inside)


@checked_dataclass(frozen=True, slots=True)
class DropArea(PixelMap):
    """Drop the events of a rectangle, given in shares of the sensor's width and height.

    0 is the left or top edge, 1 the right or bottom one. The rectangle may reach beyond the sensor.
    A pixel is dropped if its center is inside.

        quarter = dvskit.filters.DropArea(left=0.5, top=0.5, width=0.5, height=0.5)
        events = quarter(dvskit.load_events("events.raw"))    # without the lower right quarter
    """

    left: float = checked(check_number, -1, 1)
    top: float = checked(check_number, -1, 1)
    width: float = checked(check_number, 0, 2)
    height: float = checked(check_number, 0, 2)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        x = (np.arange(size.width) + 0.5) / size.width
        y = (np.arange(size.height) + 0.5) / size.height
        columns = (x >= self.left) & (x < self.left + self.width)
        rows = (y >= self.top) & (y < self.top + self.height)
        return Kept(~(columns[None, :] & rows[:, None]))


@checked_dataclass(frozen=True, slots=True)
class DropPixels(PixelMap):
    """Drop all events of dead pixels; each one is dead with the probability `share`, by `seed`.

    The same seed and sensor size give the same dead pixels.

        broken = dvskit.filters.DropPixels(0.05, seed=4)
        events = broken(dvskit.load_events("events.raw"))
    """

    share: float = checked(check_number, 0, 1)
    seed: int = checked(check_seed, default=0)

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        from dvskit.filters.chance_kernels import kept_by_chance

        keep = np.empty(size.width * size.height, np.bool_)
        kept_by_chance(self.seed, 1, 0, self.share, keep)
        return Kept(keep.reshape(size.height, size.width))
