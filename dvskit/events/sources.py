"""Sources of events, and the protocols that carry events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from dvskit._arguments import check_arguments
from dvskit.errors import EventsError
from dvskit.events.columns import Events, Viewable, cut
from dvskit.events.even_blocks import even_blocks
from dvskit.events.window import Size, check_window, warn_of_seconds


@runtime_checkable
class Source(Protocol):
    """A stream of events in blocks.

    Blocks follow each other in time; where they are cut means nothing. Memory is bounded by the
    block. A file starts anew at each iteration; a camera does not.
    """

    @property
    def size(self) -> Size:
        """The sensor's size."""

    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""


class Filter(Protocol):
    """Frozen parameters of a function from events to events."""

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass over a stream; it holds the state of that pass.

        A step that must know what follows holds events back, and has `finish() -> Events`, which
        gives the rest: whoever drives it calls that once at the end (`dvskit.filters.finish`).
        """


class Sink(Protocol):
    """Somewhere to write events to: a context manager.

    A clean exit finishes the output; an exception leaves what was there before.
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
        """Finish the output, or remove it if there was an error."""


class ReadableSource(Viewable, ABC):
    """A Source with all that people ask of one; who derives from it gives `size` and `__iter__`."""

    size: Size

    @abstractmethod
    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""

    def load(self) -> Events:
        """Return all events."""
        return read_all(self)

    @check_arguments
    def blocks(
        self, *, count: int | None = None, duration_us: int | None = None
    ) -> Iterator[Events]:
        """Yield the events in blocks of `count` events or of `duration_us` microseconds each.

        Without either, blocks are as they come. Spans of time begin at the first event; those
        without events are left out. Raises ConfigError for both at once and for less than 1.
        """
        return even_blocks(self, count=count, duration_us=duration_us)

    @check_arguments
    def between(self, start_us: int | None = None, stop_us: int | None = None) -> ReadableSource:
        """Return the part with start_us <= t < stop_us, a Source itself; None leaves a side open.

        What is behind the part is not read. Gives a UnitWarning where microseconds look like
        seconds.
        """
        return SourcePart(self, *check_window(start_us, stop_us))

    if not TYPE_CHECKING:  # which would take it for any attribute

        def __getattr__(self, name: str) -> Any:
            # Only asked for what is not there.
            kind = type(self).__name__
            if name in ("t", "x", "y", "p", "duration_us"):
                raise AttributeError(f"{kind} has no {name!r} before it is read: .load().{name}")
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        said = "".join(f"; {name}: {value}" for name, value in self.about())
        return f"<{type(self).__name__} {self.size}{said}>"


class EventsSource(ReadableSource):
    """Events in memory as a Source of one block."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.size = events.size

    def __iter__(self) -> Iterator[Events]:
        yield self.events

    def about(self) -> list[tuple[str, str]]:
        """Return how many events there are."""
        return [("events", f"{len(self.events):,}, in memory")]


class SourcePart(ReadableSource):
    """The part of any Source with start_us <= t < stop_us: it starts anew where `source` does."""

    def __init__(self, source: Source, start_us: int | None, stop_us: int | None) -> None:
        self.source, self.start_us, self.stop_us = source, start_us, stop_us
        self.size = source.size

    def __iter__(self) -> Iterator[Events]:
        start, stop = self.start_us, self.stop_us
        if start is not None and stop is not None and stop <= start:
            return
        is_first = True
        for block in self.source:
            yield cut(block, start, stop)
            if not len(block):
                continue
            if is_first:
                warn_of_seconds(start, stop, int(block.t[-1]))
                is_first = False
            if stop is not None and block.t[-1] >= stop:
                return

    def about(self) -> list[tuple[str, str]]:
        """Return which part it is, and of what."""
        return [("part", part_words(self.start_us, self.stop_us)), *about(self.source)]


def part_words(start_us: int | None, stop_us: int | None) -> str:
    """Return a part of time in words, such as "5 to end µs"."""
    start, stop = ("start" if start_us is None else start_us), stop_us
    return f"{start} to {'end' if stop is None else stop} µs"


def about(source: Source) -> list[tuple[str, str]]:
    """Return names and values for people, of what a Source says of itself without being read."""
    said = source.about() if isinstance(source, Viewable) else []
    return [("source", type(source).__name__), *said]


def file_name(events_or_source: Events | Source) -> str | None:
    """Return the name of the file that a Source, or what it is a part of, is read from."""
    innermost = inside(events_or_source)
    path = getattr(innermost, "path", None)
    return None if path is None else Path(path).name


def inside(events_or_source: Events | Source) -> Any:
    """Return what a Source is a part of, or a view of, itself where it is neither."""
    found: Any = events_or_source
    while True:
        within = getattr(found, "source", getattr(found, "recording", None))
        if within is None:
            return found
        found = within


def as_source(events_or_source: Events | Source) -> Source:
    """Return a Source: the argument itself, or Events wrapped in one. Raises EventsError."""
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
    """Return whether a value is a Source; arrays, which have a size of their own, are none."""
    return isinstance(value, Source) and isinstance(value.size, tuple)


def read_all(source: Source) -> Events:
    """Return all events of a Source as one."""
    return Events.concatenate(source, size=source.size)
