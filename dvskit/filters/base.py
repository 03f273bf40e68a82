"""What filters share: they are called, put one behind the other, and applied to sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, overload

from dvskit._arguments import check_fields
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


class Step(ABC):
    """One pass of a filter: called with each block in turn, it gives what becomes of it.

    size     of the sensor whose events it gives
    dropped  how many events it has left out so far
    added    how many it has added

    What came in is what came out, with `dropped`, less `added`, and with what is held back until
    `finish`.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.dropped = 0
        self.added = 0

    @abstractmethod
    def __call__(self, events: Events) -> Events:
        """Return what becomes of a block, and of what was held back of the ones before."""

    def finish(self) -> Events:
        """Return what is still held back, behind the last block; to be called once."""
        return Events.empty(self.size)


class Blockwise(Step):
    """A pass that holds nothing back: what `work` makes of a block, less what it leaves out."""

    def __init__(self, work: Callable[[Events], Events], size: Size) -> None:
        super().__init__(size)
        self._work = work

    def __call__(self, events: Events) -> Events:
        """Return what becomes of a block."""
        given = self._work(events)
        self.dropped += len(events) - len(given)
        return given


def finish(step: Callable[[Events], Events], size: Size) -> Events:
    """Return what a step holds back at the end of a stream; any step, also one without `finish`."""
    rest = getattr(step, "finish", None)
    return Events.empty(size) if rest is None else rest()


class Tally(NamedTuple):
    """How many events a filter has left out, and added, in a pass."""

    filter: Filter
    dropped: int
    added: int


class CallableFilter(ABC):
    """A Filter that is called: `Crop(0, 0, 64, 48)(events)`; who derives from it gives `start`.

    Fields of a dataclass that are `checked` are checked.

    moves_times  whether it moves events in time: triggers and frames then no longer fit them
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
        """Return Events filtered; of a Source, a Source that filters as it is read.

        Raises EventsError for anything else.
        """
        if isinstance(events_or_source, Events):
            return self.of_events(events_or_source)
        return FilteredSource(as_source(events_or_source), self)

    def of_events(self, events: Events) -> Events:
        """Return events filtered that are all there: what a pass gives, and what it holds back."""
        return _filtered(self, events)


def _filtered(chosen: Filter, events: Events) -> Events:
    step = learned(chosen, EventsSource(events)).start(events.size)
    part = step(events)
    rest = finish(step, part.size)
    return Events.concatenate([part, rest]) if len(rest) else part


def learned(chosen: Filter, source: Source) -> Filter:
    """Return a filter that gives the same and need not hold back a whole stream to learn from it.

    A filter with `learn(source)` is asked, where the source can be read again: Events, and files.
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

    def start(self, size: Size) -> FunctionStep:
        """Return the step of one pass: the function, called with each block that has events."""
        return FunctionStep(self.function, size)


class FunctionStep(Step):
    """A pass of a `FunctionFilter`; nothing is held back."""

    def __init__(self, function: Function, size: Size) -> None:
        super().__init__(size)
        self._function = function

    def __call__(self, events: Events) -> Events:
        """Return what the function makes of a block. Raises EventsError for another result."""
        if not len(events):
            return events
        given = self._function(events)
        if not isinstance(given, Events) or given.size != self.size:
            found = f"Events of {given.size}" if isinstance(given, Events) else type(given).__name__
            raise EventsError(
                f"filter {_name_of(self._function)} returned {found}; return Events of {self.size}"
            )
        self.dropped += max(len(events) - len(given), 0)
        self.added += max(len(given) - len(events), 0)
        return given


def as_filter(given: Filter | Function) -> Filter:
    """Return a Filter: as given, or made of a plain function of Events that returns Events.

    A function is called with each block of a stream that has events, and returns Events of the same
    size in time order. It keeps no state, and it decides about each event by itself: blocks may be
    cut anywhere, so `lambda e: e[::2]` starts anew in each. A filter with state has `start`: derive
    it from `CallableFilter`.
    Raises ConfigError for anything else and for a class instead of an instance.
    """
    if isinstance(given, type):
        raise ConfigError(f"{given.__name__} is a class, no filter; pass {given.__name__}(...)")
    if hasattr(given, "start"):
        return given
    if not callable(given):
        raise ConfigError(
            f"{given!r} is no filter; pass a Filter, or a function that takes and returns Events"
        )
    return FunctionFilter(given)


def _name_of(function: Function) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


class Chain(CallableFilter):
    """Filters one behind the other, the first one first."""

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
        """Return filters that do the same: neighbours that can be one are joined."""
        found: list[Filter] = []
        for each in self.filters:
            for one in each.joined() if isinstance(each, Chain) else [each]:
                join = getattr(found[-1], "join", None) if found else None
                both = None if join is None else join(one)
                found[-1:] = [both] if both is not None else [*found[-1:], one]
        return found

    def of_events(self, events: Events) -> Events:
        """Return events filtered, by one filter behind the other."""
        for each in self.joined():
            if isinstance(each, CallableFilter):
                events = each.of_events(events)
            else:
                events = _filtered(each, events)
        return events

    def learn(self, source: Source) -> Chain:
        """Return the same chain, of filters that have learned from what comes to them."""
        known: list[Filter] = []
        for each in self.joined():
            known.append(learned(each, FilteredSource(source, Chain(known)) if known else source))
        return Chain(known)

    def start(self, size: Size) -> ChainStep:
        """Return the step of one pass: the steps of all, each started with what the last leaves."""
        return ChainStep(self.joined(), size)


class ChainStep(Step):
    """A pass of a `Chain`."""

    def __init__(self, filters: Sequence[Filter], size: Size) -> None:
        self._steps: list[tuple[Filter, Any, Size]] = []
        for each in filters:
            step = each.start(size)
            size = step(Events.empty(size)).size
            self._steps.append((each, step, size))
        self.size = size

    def __call__(self, events: Events) -> Events:
        """Return what the last step makes of a block."""
        for _, step, _ in self._steps:
            events = step(events)
        return events

    def finish(self) -> Events:
        """Return what the steps hold back, each followed through those behind it."""
        events: Events | None = None
        for _, step, size in self._steps:
            parts = [] if events is None else [step(events)]
            events = Events.concatenate([*parts, finish(step, size)])
        return Events.empty(self.size) if events is None else events

    def tally(self) -> list[Tally]:
        """Return how many events each filter has left out, and added."""
        return [each for chosen, step, _ in self._steps for each in tally_of(chosen, step)]

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """How many events the filters have left out."""
        return sum(each.dropped for each in self.tally())

    @property
    def added(self) -> int:  # type: ignore[override]
        """How many events the filters have added."""
        return sum(each.added for each in self.tally())


def tally_of(chosen: Filter, step: Any) -> list[Tally]:
    """Return how many events a step has left out and added: one of each filter in it."""
    within = getattr(step, "tally", None)
    if within is not None:
        return list(within())
    return [Tally(chosen, getattr(step, "dropped", 0), getattr(step, "added", 0))]


def chain(*filters: Filter | Function) -> Chain:
    """Return one filter that applies `filters` in order: `chain(a, b)(events)`.

    Each is a Filter, of your own too (only `start` is needed), or a function: see `as_filter`.
    Without any, events stay as they are.
    """
    return Chain(filters)


class FilteredSource(ReadableSource):
    """A Source seen through a Filter. Each iteration starts the filter anew.

    A filter that learns from the whole stream (`HotPixel`) reads a file once more for that; of live
    events it holds back what it learns from.
    """

    def __init__(self, source: Source, chosen: Filter | Function) -> None:
        self.source = source
        self.filter = self._filter = as_filter(chosen)
        self._step = self.filter.start(source.size)
        self.size = self._step(Events.empty(source.size)).size

    def __iter__(self) -> Iterator[Events]:
        self._filter = learned(self.filter, self.source)
        self._step = step = self._filter.start(self.source.size)
        for block in self.source:
            yield step(block)
        rest = finish(step, self.size)
        if len(rest):
            yield rest

    @property
    def dropped(self) -> int:
        """How many events the latest pass has left out, of those that the filter counts."""
        return int(getattr(self._step, "dropped", 0))

    @property
    def added(self) -> int:
        """How many events the latest pass has added."""
        return int(getattr(self._step, "added", 0))

    def tally(self) -> list[Tally]:
        """Return what each filter of the latest pass has left out, and added."""
        return tally_of(self._filter, self._step)

    def about(self) -> list[tuple[str, str]]:
        """Return the filter and what it is applied to."""
        return [("filter", repr(self.filter)), *about(self.source)]
