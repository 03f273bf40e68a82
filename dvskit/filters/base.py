"""What filters share: they are called, put one behind the other, and applied to sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import overload

from dvskit.errors import ConfigError
from dvskit.events import Events, Filter, ReadableSource, Size, Source, about, as_source


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
class Chain(CallableFilter):
    """Filters one behind the other, the first one first."""

    filters: tuple[Filter, ...]

    def __post_init__(self) -> None:
        for each in self.filters:
            if not hasattr(each, "start"):
                raise ConfigError(f"{each!r} is no filter; pass filters alone, as in chain(a, b)")

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
    """A Source seen through a Filter. Each iteration starts the filter anew.

    dropped  how many events the latest pass left out, where the filter counts them: `Fit`
    """

    def __init__(self, source: Source, chosen: Filter) -> None:
        self.source = source
        self.filter = chosen
        self.dropped = 0
        self.size = chosen.start(source.size)(Events.empty(source.size)).size

    def __iter__(self) -> Iterator[Events]:
        step = self.filter.start(self.source.size)
        self.dropped = 0
        for block in self.source:
            part = step(block)
            self.dropped = getattr(step, "dropped", 0)
            yield part

    def about(self) -> list[tuple[str, str]]:
        """Return the filter and what it is applied to."""
        return [("filter", repr(self.filter)), *about(self.source)]
