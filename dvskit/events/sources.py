"""Sources of events, and the protocols that carry events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from dvskit.errors import EventsError
from dvskit.events.columns import Events, NotebookOutput, cut
from dvskit.events.even_blocks import even_blocks
from dvskit.events.window import Size, check_window, early_end_us, warn_of_seconds


@runtime_checkable
class Source(Protocol):
    """A stream of events in blocks.

    Blocks follow each other in time; their borders have no meaning. Memory is bounded by the
    block. A file starts over at each iteration; a camera does not. Anything with `size` and
    `__iter__` is a Source; one that derives from `ReadableSource` has its methods too.

        class Ticks:
            size = dvskit.Size(64, 48)

            def __iter__(self):
                for t in range(0, 3_000, 1_000):
                    yield dvskit.Events(t=[t], x=[5], y=[5], p=[True], size=self.size)

        dvskit.save_events(Ticks(), "ticks.raw")
    """

    @property
    def size(self) -> Size:
        """The sensor size."""

    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""


class Filter(Protocol):
    """Frozen parameters of a function from events to events.

    The smallest one of your own has no state, so that its step is a plain function. `Chain` makes
    it callable; see `dvskit.filters.CallableFilter` for one that is callable itself.

        class OnOnly:
            def start(self, size):
                return lambda events: events[events.p]

        recording = dvskit.open_events("events.raw")
        on = dvskit.filters.Chain(OnOnly())(recording).load()
    """

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass over a stream; it holds the state of that pass.

        A step that needs later events holds events back and has `finish() -> Events`, which
        returns the remainder. The caller calls it once at the end (`dvskit.filters.finish`).
        """


class Sink(Protocol):
    """A destination for events: a context manager.

    A clean exit completes the output. An exception keeps the previous output.
    `dvskit.formats.open_sink` returns the Sink of a file.

        class Counting:
            def __enter__(self):
                self.count = 0
                return self

            def write(self, events):
                self.count += len(events)

            def __exit__(self, kind, error, trace):
                print(self.count, "events" if error is None else "events, then an error")

        with Counting() as sink:
            for block in dvskit.open_events("events.raw"):
                sink.write(block)
    """

    def __enter__(self) -> Self:
        """Open a temporary output."""

    def write(self, events: Events) -> None:
        """Append a block; blocks come in time order and share one size."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the output, or remove it after an error."""


class ReadableSource(NotebookOutput, ABC):
    """A Source with the full interface; subclasses define `size` and `__iter__`.

    It adds `load`, `blocks`, `between` and the output in notebooks. `__iter__` yields `Events` of
    this size in order of time, each time from the start if the source can be read again.

        class Ticks(dvskit.events.ReadableSource):
            size = dvskit.Size(64, 48)

            def __iter__(self):
                for t in range(0, 3_000, 1_000):
                    yield dvskit.Events(t=[t], x=[5], y=[5], p=[True], size=self.size)

        Ticks().between(1_000, None).load().t    # [1000, 2000]
    """

    size: Size

    @abstractmethod
    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""

    def load(self) -> Events:
        """Return all events."""
        return read_all(self)

    def blocks(
        self, *, count: int | None = None, duration_us: int | None = None
    ) -> Iterator[Events]:
        """Yield the events in blocks of `count` events or of `duration_us` microseconds each.

        Without either, blocks keep their borders. Time spans begin at the first event; spans
        without events are skipped. Raises ConfigError for both at once and for less than 1.
        """
        return even_blocks(self, count=count, duration_us=duration_us)

    def between(self, start_us: int | None = None, stop_us: int | None = None) -> ReadableSource:
        """Return the part with start_us <= t < stop_us as a Source. None leaves a side open.

        Reading stops at the end of the part. Gives a UnitWarning if microseconds look like seconds.
        """
        return SourcePart(self, *check_window(start_us, stop_us))

    if not TYPE_CHECKING:  # which would accept any attribute

        def __getattr__(self, name: str) -> Any:
            # Called only for missing attributes.
            kind = type(self).__name__
            if name in ("t", "x", "y", "p", "duration_us"):
                raise AttributeError(f"{kind} has no {name!r} until it is read; use .load().{name}")
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")

    def about(self) -> list[tuple[str, str]]:
        """Return names and values for display that need no reading of events."""
        return []

    def __repr__(self) -> str:
        said = "".join(f"; {name}: {value}" for name, value in self.about())
        return f"<{type(self).__name__} {self.size}{said}>"


class EventsSource(ReadableSource):
    """Events in memory as a Source of one block; it can be read again.

    Functions of a Source make one from Events by themselves; see `as_source`.

        events = dvskit.load_events("events.raw")
        source = dvskit.events.EventsSource(events)
        [len(block) for block in source.blocks(duration_us=500_000)]    # events in each half second
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self.size = events.sensor_size

    def __iter__(self) -> Iterator[Events]:
        yield self.events

    def about(self) -> list[tuple[str, str]]:
        """Return the number of events."""
        return [("events", f"{len(self.events):,}, in memory")]


class SourcePart(ReadableSource):
    """The part of a Source with start_us <= t < stop_us; restarts as often as `source` does.

    None leaves a side open. `source.between(start_us, stop_us)` makes one, with checks.

        clip = dvskit.emulate("video.mp4")
        part = dvskit.events.SourcePart(clip, None, 200_000)
        part.load().t.max() < 200_000    # True; frames after that time were not decoded
    """

    def __init__(self, source: Source, start_us: int | None, stop_us: int | None) -> None:
        self.source, self.start_us, self.stop_us = source, start_us, stop_us
        self.size = source.size

    def __iter__(self) -> Iterator[Events]:
        live = getattr(self.source, "live", False)
        return blocks_between(self.source, self.start_us, self.stop_us, live=live)

    def about(self) -> list[tuple[str, str]]:
        """Return the window and the description of the source."""
        return [("part", part_words(self.start_us, self.stop_us)), *about(self.source)]


def blocks_between(
    blocks: Iterable[Events], start_us: int | None, stop_us: int | None, *, live: bool
) -> Iterator[Events]:
    """Yield the events with start_us <= t < stop_us, without empty blocks.

    Reads up to the first block that reaches `stop_us`. Gives a UnitWarning if the window looks like
    seconds.
    """
    if start_us is not None and stop_us is not None and stop_us <= start_us:
        return
    whole = filter(len, blocks)
    # The first block of a file may be short: the second one shows whether the events go on.
    ahead = 1 if live or early_end_us(start_us, stop_us) is None else 2
    first = list(islice(whole, ahead))
    if first:
        warn_of_seconds(start_us, stop_us, int(first[-1].t[-1]))
    for block in chain(first, whole):
        part = cut(block, start_us, stop_us)
        if len(part):
            yield part
        if stop_us is not None and block.t[-1] >= stop_us:
            return


def part_words(start_us: int | None, stop_us: int | None) -> str:
    """Return a window as text, such as "5 to end µs"."""
    start, stop = ("start" if start_us is None else start_us), stop_us
    return f"{start} to {'end' if stop is None else stop} µs"


def about(source: Source) -> list[tuple[str, str]]:
    """Return names and values for display that a Source provides without being read.

    Returns (name, value) texts; the first is the type of the Source.

        recording = dvskit.open_events("events.raw")
        dict(dvskit.events.about(recording))["format"]    # 'evt3'
    """
    said = source.about() if isinstance(source, ReadableSource) else []
    return [("source", type(source).__name__), *said]


def file_name(events_or_source: Events | Source) -> str | None:
    """Return the name of the file behind a Source or a part of it.

    It is None for a Source without a file, such as Events.

        part = dvskit.open_events("recordings/b.dat").between(0, 100_000)
        dvskit.events.file_name(part)    # 'b.dat'
    """
    innermost = inside(events_or_source)
    path = getattr(innermost, "path", None)
    return None if path is None else Path(path).name


def inside(events_or_source: Events | Source) -> Any:
    """Return the Source that a part or a view wraps; else the Source itself."""
    found: Any = events_or_source
    while True:
        within = getattr(found, "source", getattr(found, "recording", None))
        if within is None:
            return found
        found = within


def as_source(events_or_source: Events | Source) -> Source:
    """Return a Source: the argument itself, or a wrapper around Events. Raises EventsError.

    A function that takes `events_or_source` begins with it, and then reads blocks.

        def mean_rate_hz(events_or_source):
            source = dvskit.events.as_source(events_or_source)
            times = [block.t for block in source if len(block)]
            return sum(map(len, times)) / (times[-1][-1] - times[0][0]) * 1e6

        mean_rate_hz(dvskit.open_events("events.raw"))
    """
    if isinstance(events_or_source, Events):
        return EventsSource(events_or_source)
    if not is_source(events_or_source):
        kind = type(events_or_source).__name__
        path = f"; open_events({str(events_or_source)!r}) opens a file"
        raise EventsError(
            f"{kind} is neither Events nor a source of them"
            + path * isinstance(events_or_source, str | PathLike)
        )
    return events_or_source


def is_source(value: object) -> bool:
    """Return whether a value is a Source.

    Events are none; `as_source` wraps them. Arrays have a `size` too, but are none.

        dvskit.events.is_source(dvskit.open_events("events.raw"))    # True
        dvskit.events.is_source(np.zeros(3))                         # False
    """
    return isinstance(value, Source) and isinstance(value.size, tuple)


def read_all(source: Source) -> Events:
    """Return all events of a Source as one Events.

    Raises EventsError for blocks that run back in time, GeometryError for blocks of another size.
    """
    return Events.concatenate(source, size=source.size)
