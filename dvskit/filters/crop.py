"""Events of a rectangle of the sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dvskit._arguments import check_arguments
from dvskit.errors import GeometryError
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter


@check_arguments
@dataclass(frozen=True, slots=True)
class Crop(CallableFilter):
    """Keep events of a rectangle of the sensor; its upper left corner becomes (0, 0).

    Raises GeometryError, when started, if the rectangle is not on the sensor.
    """

    x: int
    y: int
    width: int
    height: int

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""
        cropped = cropped_size(self, size)

        def step(events: Events) -> Events:
            inside = events[
                (events.x >= self.x)
                & (events.x < self.x + self.width)
                & (events.y >= self.y)
                & (events.y < self.y + self.height)
            ]
            return Events.from_checked(
                inside.t,
                inside.x - np.int16(self.x),
                inside.y - np.int16(self.y),
                inside.p,
                cropped,
            )

        return step


def cropped_size(crop: Crop, size: Size) -> Size:
    """Return the size that `crop` leaves of a sensor. Raises GeometryError."""
    fits = 0 <= crop.x < crop.x + crop.width <= size.width
    if not (fits and 0 <= crop.y < crop.y + crop.height <= size.height):
        raise GeometryError(
            f"the crop {crop.x},{crop.y},{crop.width},{crop.height} is not on the {size} sensor"
        )
    return Size(crop.width, crop.height)
