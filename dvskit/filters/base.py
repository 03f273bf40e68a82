"""The common interface of filters: steps that count, chains, sources, and selected events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields
from dvskit._threads import run_parts
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
    """One pass of a filter: called with each block in turn, it returns the filtered events.

    size     size of the sensor of the filtered events
    dropped  number of events dropped so far
    added    number of events added so far

    The input equals the output plus `dropped`, less `added`, plus the events held back until
    `finish`. A filter's `start(size)` returns a new step for each pass. The filter holds
    parameters and never changes; the step holds the state. A block may be empty and may end
    anywhere: the result must not depend on that. This base class is optional. dvskit counts the
    events of other callables.

        class OnStep(dvskit.filters.Step):
            def __call__(self, events):
                kept = events[events.p]
                self.dropped += len(events) - len(kept)
                return kept

        step = OnStep(dvskit.Size(128, 128))
        on = [step(block) for block in dvskit.open_events("events.raw")]
        step.dropped    # the number of OFF events
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.dropped = 0
        self.added = 0

    @abstractmethod
    def __call__(self, events: Events) -> Events:
        """Return the filtered events of this block and of those held back before."""

    def finish(self) -> Events:
        """Return the events still held back after the last block; called once."""
        return Events.empty(self.size)


class Blockwise(Step):
    """A pass that holds nothing back: `work` filters a block, and the loss is counted."""

    def __init__(self, work: Callable[[Events], Events], size: Size) -> None:
        super().__init__(size)
        self._work = work

    def __call__(self, events: Events) -> Events:
        """Return the filtered events of a block."""
        given = self._work(events)
        self.dropped += len(events) - len(given)
        return given


class CountedStep(Step):
    """A pass of a step that does not count: the events that went in, less those that came out."""

    def __init__(self, step: Callable[[Events], Events], size: Size) -> None:
        super().__init__(step(Events.empty(size)).sensor_size)
        self._step, self._lost = step, 0

    def __call__(self, events: Events) -> Events:
        """Return the result of the step."""
        return self._counted(len(events), self._step(events))

    def finish(self) -> Events:
        """Return the events that the step holds back, if it has `finish`."""
        return self._counted(0, finish(self._step, self.size))

    def _counted(self, taken: int, given: Events) -> Events:
        self._lost += taken - len(given)
        self.dropped, self.added = max(self._lost, 0), max(-self._lost, 0)
        return given


def begin(chosen: Filter, size: Size) -> Step:
    """Return the step of one pass, which counts the events that it drops and adds."""
    step = chosen.start(size)
    return step if isinstance(step, Step) else CountedStep(step, size)


def finish(step: Callable[[Events], Events], size: Size) -> Events:
    """Return the events that a step holds back at the end of a stream; empty without `finish`.

    Call it once, after the last block. `size` is the sensor size of the filtered events.

        jitter = dvskit.filters.TemporalJitter(500)
        events = dvskit.load_events("events.raw")
        step = jitter.start(events.sensor_size)
        early = step(events)
        late = dvskit.filters.finish(step, events.sensor_size)    # could still change places
    """
    rest = getattr(step, "finish", None)
    return Events.empty(size) if rest is None else rest()


class Tally(NamedTuple):
    """The number of events that a filter has dropped and added in a pass.

    `FilteredSource.tally` and `Chain`'s steps return one for each filter.

        both = dvskit.filters.Chain(dvskit.filters.Polarity("on"), dvskit.filters.Noise(0.5))
        source = both(dvskit.open_events("events.raw"))
        noisy = source.load()
        dropped = {str(each.filter): each.dropped for each in source.tally()}
    """

    filter: Filter
    dropped: int
    added: int


def tally_of(chosen: Filter, step: Any) -> list[Tally]:
    """Return the numbers of events that a step has dropped and added, per filter in it."""
    if hasattr(step, "tally"):
        return list(step.tally())
    return [Tally(chosen, step.dropped, step.added)]


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
    step = begin(learned(chosen, EventsSource(events)), events.sensor_size)
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
            if not isinstance(given, Events) or given.sensor_size != size:
                kind = type(given).__name__
                found = f"Events of {given.sensor_size}" if isinstance(given, Events) else kind
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
    """Filters in sequence, the first one first: `Chain(a, b)(events)`.

    Each is a Filter, possibly your own (only `start` is needed), or a function: see `as_filter`.
    Without filters, events are unchanged. Neighbors that only move pixels are combined, so that
    events are moved once.

        clean = dvskit.filters.Chain(
            dvskit.filters.HotPixel(),
            dvskit.filters.BackgroundActivity(5_000),
            lambda events: events[events.y >= 10],
        )
        dvskit.save_events(clean(dvskit.open_events("noisy.raw")), "clean.raw")
    """

    __slots__ = ("filters",)

    def __init__(self, *filters: Filter | Function) -> None:
        self.filters = tuple(map(as_filter, filters))

    def __eq__(self, other: object) -> bool:
        return self.filters == other.filters if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.filters)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.filters))})"

    def joined(self) -> list[Filter]:
        """Return equivalent filters, with neighbors combined where possible."""
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
            known.append(learned(each, FilteredSource(source, Chain(*known)) if known else source))
        return Chain(*known)

    def start(self, size: Size) -> ChainStep:
        """Return the step of one pass; each filter starts with the previous one's output size."""
        return ChainStep(self.joined(), size)


class ChainStep(Step):
    """A pass of a `Chain`."""

    def __init__(self, filters: Sequence[Filter], size: Size) -> None:
        self._steps: list[tuple[Filter, Step]] = []
        for each in filters:
            step = begin(each, size)
            size = step(Events.empty(size)).sensor_size
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
        self.size = self._step(Events.empty(source.size)).sensor_size

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


PART = 1 << 17  # events per part of the work


def columns(events: Events) -> Columns:
    """Return the four columns for kernels: contiguous, copied only if necessary."""
    return _whole(events.t), _whole(events.x), _whole(events.y), _whole(events.p)


def _whole(column: NDArray[Any]) -> NDArray[Any]:
    whole = np.ascontiguousarray(column)
    if whole is not column:
        whole.flags.writeable = (
            False  # the same type as the others, so that one compiled loop serves all
        )
    return whole


def room(count: int) -> Columns:
    """Return uninitialized columns for `count` events."""
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def parts_of(count: int) -> list[slice]:
    """Return the parts of the work on `count` events."""
    return [slice(start, min(count, start + PART)) for start in range(0, count, PART)]


def part_of(given: Columns, at: slice) -> Columns:
    """Return a part of the columns, as views."""
    t, x, y, p = given
    return t[at], x[at], y[at], p[at]


def in_parts(work: Callable[[slice], object], count: int) -> None:
    """Do the work on `count` events, part by part, on all threads."""
    parts = parts_of(count)
    run_parts(lambda k: work(parts[k]), len(parts))


def select(events: Events, keep: NDArray[np.bool_]) -> Events:
    """Return the events marked by `keep`, one boolean per event: a faster `events[keep]`."""
    given = columns(events)
    out = columns_kept(given, keep)
    return events if out is given else Events.from_checked(*out, events.sensor_size)


def columns_kept(given: Columns, keep: NDArray[np.bool_]) -> Columns:
    """Return the columns of the events marked by `keep`; the given ones if all are kept."""
    from dvskit.filters.event_kernels import select_events

    parts = parts_of(len(keep))
    counts = [int(np.count_nonzero(keep[part])) for part in parts]
    total = sum(counts)
    if total == len(keep):
        return given
    ends, out = np.cumsum(counts), room(total)

    def work(k: int) -> None:
        at = slice(ends[k] - counts[k], ends[k])
        select_events(keep[parts[k]], part_of(given, parts[k]), part_of(out, at))

    run_parts(work, len(parts))
    return out
