"""The common interface of filters: calls, chains and filtered sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields
from dvskit.errors import ConfigError, EventsError
from dvskit.events import (
    Events,
    EventsSource,
    Filter,
    ReadableSource,
    Size,
    Source,
    about,
    as_source,
)
from dvskit.events.sources import inside
from dvskit.filters.steps import CountedStep, Step, Tally, begin, tally_of

Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]
"""t, x, y and p of events."""


class CallableFilter(ABC):
    """A callable Filter: `Crop(0, 0, 64, 48)(events)`; subclasses define `start`.

    Dataclass fields that are `checked` are checked. `start(size)` returns the step of one pass: a
    function from Events to Events, or a `Step`, which also counts.

    moves_times  whether it moves events in time, so that triggers and frames no longer match

        class EverySecond(dvskit.filters.CallableFilter):
            def start(self, size):
                seen = 0

                def step(events):
                    nonlocal seen
                    first, seen = seen % 2, seen + len(events)
                    return events[first::2]

                return step

        half = EverySecond()(dvskit.load_events("events.raw"))
    """

    __slots__ = ()
    moves_times: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass over a stream; it holds the state of that pass."""

    @overload
    def __call__(self, events_or_source: Events) -> Events: ...
    @overload
    def __call__(self, events_or_source: Source) -> FilteredSource: ...
    def __call__(self, events_or_source: Events | Source) -> Events | FilteredSource:
        """Return filtered Events; for a Source, a Source that filters while it is read.

        Raises EventsError for anything else.
        """
        if isinstance(events_or_source, Events):
            return self.of_events(events_or_source)
        return FilteredSource(as_source(events_or_source), self)

    def of_events(self, events: Events) -> Events:
        """Return complete Events filtered, including those that a pass holds back."""
        return _filtered(self, events)


def _filtered(chosen: Filter, events: Events) -> Events:
    step = begin(learned(chosen, EventsSource(events)), events.size)
    part, rest = step(events), step.finish()
    return Events.concatenate([part, rest]) if len(rest) else part


def learned(chosen: Filter, source: Source) -> Filter:
    """Return an equivalent filter that need not hold back a whole stream to learn from it.

    It calls the filter's `learn(source)` if the source can be read again: Events, and files.
    """
    learn = getattr(chosen, "learn", None)
    innermost = inside(source)
    again = isinstance(innermost, EventsSource) or getattr(innermost, "live", True) is False
    return learn(source) if learn is not None and again else chosen


Function = Callable[[Events], Events]


@dataclass(frozen=True, slots=True)
class FunctionFilter(CallableFilter):
    """A plain function as a Filter: see `as_filter`."""

    function: Function

    def start(self, size: Size) -> CountedStep:
        """Return the step of one pass: the function, called with each block that has events.

        The step raises EventsError if the function returns anything but Events of the same size.
        """

        def step(events: Events) -> Events:
            given = self.function(events) if len(events) else events
            if not isinstance(given, Events) or given.size != size:
                kind = type(given).__name__
                found = f"Events of {given.size}" if isinstance(given, Events) else kind
                name = getattr(self.function, "__qualname__", repr(self.function))
                raise EventsError(f"filter {name} returned {found}; return Events of {size}")
            return given

        return CountedStep(step, size)


def as_filter(given: Filter | Function) -> Filter:
    """Return a Filter: the argument itself, or a wrapper around a function of Events.

    The function is called with each block of a stream that has events, and returns Events of the
    same size in time order. It must keep no state and decide about each event alone, since block
    borders are arbitrary: `lambda e: e[::2]` restarts in each block. A filter with state derives
    from `CallableFilter` and has `start`. Raises ConfigError for anything else and for a class
    instead of an instance.

        left = dvskit.filters.as_filter(lambda events: events[events.x < 64])
        left(dvskit.load_events("events.raw")).x.max() < 64    # True
    """
    if isinstance(given, type):
        raise ConfigError(f"{given.__name__} is a class, not a filter; pass {given.__name__}(...)")
    if hasattr(given, "start"):
        return given
    if not callable(given):
        raise ConfigError(
            f"{given!r} is not a filter; pass a Filter, or a function that takes and returns Events"
        )
    return FunctionFilter(given)


class Chain(CallableFilter):
    """Filters in sequence, the first one first.

    `chain(a, b)` makes one. Neighbours that only move pixels are combined, so that events are moved
    once.

        filters = [dvskit.filters.BackgroundActivity(5_000), dvskit.filters.Fit((64, 64))]
        both = dvskit.filters.Chain(filters)
        both(dvskit.load_events("noisy.raw")).size    # Size(width=64, height=64)
    """

    __slots__ = ("filters",)

    def __init__(self, filters: Sequence[Filter | Function]) -> None:
        self.filters = tuple(map(as_filter, filters))

    def __eq__(self, other: object) -> bool:
        return self.filters == other.filters if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.filters)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.filters))})"

    def joined(self) -> list[Filter]:
        """Return equivalent filters, with neighbours combined where possible."""
        found: list[Filter] = []
        for each in self.filters:
            for one in each.joined() if isinstance(each, Chain) else [each]:
                join = getattr(found[-1], "join", None) if found else None
                both = None if join is None else join(one)
                found[-1:] = [both] if both is not None else [*found[-1:], one]
        return found

    def of_events(self, events: Events) -> Events:
        """Return events after all filters in sequence."""
        for each in self.joined():
            if isinstance(each, CallableFilter):
                events = each.of_events(events)
            else:
                events = _filtered(each, events)
        return events

    def learn(self, source: Source) -> Chain:
        """Return the same chain with filters that have learned from their input."""
        known: list[Filter] = []
        for each in self.joined():
            known.append(learned(each, FilteredSource(source, Chain(known)) if known else source))
        return Chain(known)

    def start(self, size: Size) -> ChainStep:
        """Return the step of one pass; each filter starts with the previous one's output size."""
        return ChainStep(self.joined(), size)


class ChainStep(Step):
    """A pass of a `Chain`."""

    def __init__(self, filters: Sequence[Filter], size: Size) -> None:
        self._steps: list[tuple[Filter, Step]] = []
        for each in filters:
            step = begin(each, size)
            size = step(Events.empty(size)).size
            self._steps.append((each, step))
        self.size = size

    def __call__(self, events: Events) -> Events:
        """Return the output of the last step for a block."""
        for _, step in self._steps:
            events = step(events)
        return events

    def finish(self) -> Events:
        """Return the events that the steps hold back, each passed through the later steps."""
        events: Events | None = None
        for _, step in self._steps:
            parts = [] if events is None else [step(events)]
            events = Events.concatenate([*parts, step.finish()])
        return Events.empty(self.size) if events is None else events

    def tally(self) -> list[Tally]:
        """Return the number of events dropped and added by each filter."""
        return [each for chosen, step in self._steps for each in tally_of(chosen, step)]

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """The number of events that the filters have dropped."""
        return sum(each.dropped for each in self.tally())

    @property
    def added(self) -> int:  # type: ignore[override]
        """The number of events that the filters have added."""
        return sum(each.added for each in self.tally())


def chain(*filters: Filter | Function) -> Chain:
    """Return one filter that applies `filters` in order: `chain(a, b)(events)`.

    Each is a Filter, possibly your own (only `start` is needed), or a function: see `as_filter`.
    Without filters, events are unchanged.

        clean = dvskit.filters.chain(
            dvskit.filters.HotPixel(),
            dvskit.filters.BackgroundActivity(5_000),
            lambda events: events[events.y >= 10],
        )
        dvskit.save_events(clean(dvskit.open_events("noisy.raw")), "clean.raw")
    """
    return Chain(filters)


class FilteredSource(ReadableSource):
    """A filtered Source. Each iteration starts a new pass of the filter.

    A filter that learns from the whole stream (`HotPixel`) reads a file once more; it holds back
    live events until it has learned.

        recording = dvskit.open_events("noisy.raw")
        clean = dvskit.filters.BackgroundActivity(5_000)
        source = dvskit.filters.FilteredSource(recording, clean)    # the same as clean(recording)
        kept = source.load()
        source.dropped    # the number of events that it dropped
    """

    def __init__(self, source: Source, chosen: Filter | Function) -> None:
        self.source = source
        self.filter = self._filter = as_filter(chosen)
        self._step = begin(self.filter, source.size)
        self.size = self._step(Events.empty(source.size)).size

    def __iter__(self) -> Iterator[Events]:
        self._filter = learned(self.filter, self.source)
        self._step = step = begin(self._filter, self.source.size)
        for block in self.source:
            yield step(block)
        rest = step.finish()
        if len(rest):
            yield rest

    @property
    def dropped(self) -> int:
        """The number of events that the latest pass has dropped."""
        return self._step.dropped

    @property
    def added(self) -> int:
        """The number of events that the latest pass has added."""
        return self._step.added

    def tally(self) -> list[Tally]:
        """Return the number of events that each filter of the latest pass has dropped and added."""
        return tally_of(self._filter, self._step)

    def about(self) -> list[tuple[str, str]]:
        """Return the filter and the description of its source."""
        return [("filter", repr(self.filter)), *about(self.source)]
