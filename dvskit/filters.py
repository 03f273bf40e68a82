"""Events to Events: frozen parameters, and a step that holds the state of one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Events, Filter, Size, Source, Viewable, about


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Keep events with start_us <= t < stop_us; None leaves that side open."""

    start_us: int | None = None
    stop_us: int | None = None

    def __post_init__(self) -> None:
        if self.start_us is not None and self.stop_us is not None and self.stop_us <= self.start_us:
            raise ConfigError(f"the window {self.start_us}..{self.stop_us} us is empty")

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""

        def step(events: Events) -> Events:
            return events.between(self.start_us, self.stop_us)

        return step


@dataclass(frozen=True, slots=True)
class Crop:
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
            inside = events.select(
                (events.x >= self.x)
                & (events.x < self.x + self.width)
                & (events.y >= self.y)
                & (events.y < self.y + self.height)
            )
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


class FilteredSource(Viewable):
    """A Source seen through a Filter. Each iteration starts the filter anew."""

    def __init__(self, source: Source, chosen: Filter) -> None:
        self._source = source
        self._filter = chosen
        self.size = chosen.start(source.size)(Events.empty(source.size)).size

    def __iter__(self) -> Iterator[Events]:
        step = self._filter.start(self._source.size)
        for block in self._source:
            yield step(block)

    def about(self) -> list[tuple[str, str]]:
        """Return the filter and what it is applied to."""
        return [("filter", repr(self._filter)), *about(self._source)]
