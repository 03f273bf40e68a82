"""Events of a rectangle of the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvskit._arguments import check_arguments
from dvskit.errors import GeometryError
from dvskit.events import Size
from dvskit.filters.pixel_map import Axes, PixelMap


@check_arguments
@dataclass(frozen=True, slots=True)
class Crop(PixelMap):
    """Keep events of a rectangle of the sensor; its upper left corner becomes (0, 0).

    Raises GeometryError, when started, if the rectangle is not on the sensor.
    """

    x: int
    y: int
    width: int
    height: int

    def target(self, size: Size) -> Size:
        """Return the rectangle's size. Raises GeometryError."""
        return cropped_size(self, size)

    def places(self, size: Size) -> Axes:
        """Return where columns and rows go."""
        return Axes(
            _inside(size.width, self.x, self.width), _inside(size.height, self.y, self.height)
        )


def _inside(count: int, first: int, kept: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    place = np.arange(count, dtype=np.int16) - np.int16(first)
    return np.where((place >= 0) & (place < kept), place, np.int16(-1))


def cropped_size(crop: Crop, size: Size) -> Size:
    """Return the size that `crop` leaves of a sensor. Raises GeometryError."""
    fits = 0 <= crop.x < crop.x + crop.width <= size.width
    if not (fits and 0 <= crop.y < crop.y + crop.height <= size.height):
        raise GeometryError(
            f"the crop {crop.x},{crop.y},{crop.width},{crop.height} is not on the {size} sensor"
        )
    return Size(crop.width, crop.height)
