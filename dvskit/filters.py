"""Events to Events: frozen parameters, and a step that holds the state of one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np

from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Events, Filter, ReadableSource, Size, Source, about, as_source, cut
from dvskit.events.window import check_window


class CallableFilter(ABC):
    """A Filter that is called: `Crop(0, 0, 64, 48)(events)`; who derives from it gives `start`."""

    __slots__ = ()

    @abstractmethod
    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass over a stream; it holds the state of that pass."""

    @overload
    def __call__(self, events_or_source: Events) -> Events: ...
    @overload
    def __call__(self, events_or_source: Source) -> FilteredSource: ...
    def __call__(self, events_or_source: Events | Source) -> Events | FilteredSource:
        """Return Events filtered; of a Source, a Source that filters as it is read.

        Raises EventsError for anything else.
        """
        if isinstance(events_or_source, Events):
            return self.start(events_or_source.size)(events_or_source)
        return FilteredSource(as_source(events_or_source), self)


@dataclass(frozen=True, slots=True)
class TimeWindow(CallableFilter):
    """Keep events with start_us <= t < stop_us; None leaves that side open."""

    start_us: int | None = None
    stop_us: int | None = None

    def __post_init__(self) -> None:
        check_window(self.start_us, self.stop_us)
        if self.start_us is not None and self.stop_us is not None and self.stop_us <= self.start_us:
            raise ConfigError(f"the window {self.start_us}..{self.stop_us} us is empty")

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""

        def step(events: Events) -> Events:
            return cut(events, self.start_us, self.stop_us)

        return step


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


@dataclass(frozen=True, slots=True)
class Chain(CallableFilter):
    """Filters one behind the other, the first one first."""

    filters: tuple[Filter, ...]

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass: the steps of all, each started with what the last leaves."""
        steps = []
        for each in self.filters:
            steps.append(each.start(size))
            size = steps[-1](Events.empty(size)).size

        def step(events: Events) -> Events:
            for each in steps:
                events = each(events)
            return events

        return step


def chain(*filters: Filter) -> Chain:
    """Return one filter that does what `filters` do, one behind the other: `chain(a, b)(events)`.

    Any Filter will do, also one of your own that only has `start`. Without any, events stay as they
    are.
    """
    return Chain(filters)


class FilteredSource(ReadableSource):
    """A Source seen through a Filter. Each iteration starts the filter anew."""

    def __init__(self, source: Source, chosen: Filter) -> None:
        self.source = source
        self.filter = chosen
        self.size = chosen.start(source.size)(Events.empty(source.size)).size

    def __iter__(self) -> Iterator[Events]:
        step = self.filter.start(self.source.size)
        for block in self.source:
            yield step(block)

    def about(self) -> list[tuple[str, str]]:
        """Return the filter and what it is applied to."""
        return [("filter", repr(self.filter)), *about(self.source)]
