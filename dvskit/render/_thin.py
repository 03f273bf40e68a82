"""A stream thinned for display, in one pass and bounded memory; also while it is read."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, DvskitError, one_line
from dvskit.events import Events, Size, Source, as_source

_FINE_BINS = 1 << 14
_PARTS = 240  # time bins of a sample, in which events are counted


@dataclass(frozen=True, slots=True)
class Thinned:
    """Events 0, every, 2 * every, ... of a stream of `total`.

    start_us and stop_us are the times of the first and the last event of the whole stream.
    """

    events: Events
    every: int
    total: int
    start_us: int
    stop_us: int

    @property
    def span_us(self) -> int:
        """Microseconds from the first event to the last."""
        return self.stop_us - self.start_us

    @property
    def notice(self) -> str:
        """Return the notice on missing events; often empty."""
        if self.every == 1:
            return ""
        return f"1 in {self.every:,} events shown: {len(self.events):,} of {self.total:,}"


class Thinner:
    """Keeps at most `max_events` of a stream whose blocks are added one after the other.

    The step doubles whenever more would be kept. This works for cameras and files, needs memory for
    `max_events` and a block, and the result depends on the events alone.
    """

    def __init__(self, size: Size, max_events: int) -> None:
        """Raise ConfigError if max_events < 1."""
        if max_events < 1:
            raise ConfigError(f"max_events={max_events} must be at least 1")
        self._size, self._most = size, max_events
        self._parts: list[Events] = []
        self._every, self._total, self._count = 1, 0, 0
        self.start_us = self._stop_us = 0  # of the first and the last event, once there are some

    def add(self, block: Events) -> None:
        """Add the next block of the stream."""
        if not len(block):
            return
        if not self._total:
            self.start_us = int(block.t[0])
        self._stop_us = int(block.t[-1])
        self._parts.append(_every(block[-self._total % self._every :], self._every))
        self._total += len(block)
        self._count += len(self._parts[-1])
        while self._count > self._most:
            self._every *= 2
            # Kept events start at 0 with an even step: every second one gives the new step.
            self._parts = [_every(Events.concatenate(self._parts, self._size), 2)]
            self._count = len(self._parts[0])

    def kept(self) -> Thinned:
        events = Events.concatenate(self._parts, self._size)
        return Thinned(events, self._every, self._total, self.start_us, self._stop_us)


def thin(events_or_source: Events | Source, max_events: int) -> Thinned:
    """Keep at most `max_events`: every event, or every 2nd, 4th, 8th, ... by count.

    One pass. Raises ConfigError if max_events < 1.
    """
    source = as_source(events_or_source)
    thinner = Thinner(source.size, max_events)
    for block in source:
        thinner.add(block)
    return thinner.kept()


def _every(events: Events, step: int) -> Events:
    # A strided view would keep its whole block in memory.
    return events if step == 1 else events[::step].copy()


class RateBins:
    """Counts events over a time of unknown length: bins double their width as it grows."""

    def __init__(self) -> None:
        self._start_us, self._width_us = 0, 1
        self._counts = np.zeros(_FINE_BINS, np.int64)
        self._begun = False

    def add(self, events: Events) -> None:
        """Count the next block of a stream, in order of time."""
        if not len(events):
            return
        if not self._begun:
            self._begun, self._start_us = True, int(events.t[0])
        last = int(events.t[-1]) - self._start_us
        while last // self._width_us >= _FINE_BINS:
            halved = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([halved, np.zeros_like(halved)])
            self._width_us *= 2
        first = int(events.t[0]) - self._start_us
        low, high = first // self._width_us, last // self._width_us
        edges = [self._start_us + bin_ * self._width_us for bin_ in range(low + 1, high + 1)]
        places = np.searchsorted(events.t, np.array(edges, np.int64))
        self._counts[low : high + 1] += np.diff(places, prepend=0, append=len(events))

    def rebinned(self, bins: int, span_us: int) -> NDArray[np.int64]:
        """Return the counts in `bins` equal parts of `span_us`, each fine bin in one of them."""
        starts = np.arange(_FINE_BINS) * float(self._width_us)
        at = np.minimum(bins - 1, (starts * (bins / (span_us + 1))).astype(np.int64))
        return np.bincount(at, self._counts, minlength=bins).astype(np.int64)


class Progress(NamedTuple):
    """Progress of an overview: whether it is done, events so far, and the error, if any."""

    done: bool = False
    total: int = 0
    problem: str = ""


class Whole(Thinner):
    """At most `max_events` of a whole stream, evenly, and its event rate."""

    def __init__(self, size: Size, max_events: int) -> None:
        super().__init__(size, max_events)
        self._rate = RateBins()

    def add(self, block: Events) -> None:
        super().add(block)
        self._rate.add(block)

    def rated(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the sample so far, and the events in 240 equal parts of its time."""
        kept = self.kept()
        return kept, self._rate.rebinned(_PARTS, kept.span_us)


class Latest:
    """The latest `keep_us` of a stream, at most `max_events` of them, evenly."""

    def __init__(self, size: Size, max_events: int, keep_us: int) -> None:
        self._size, self._most, self._keep_us = size, max_events, keep_us
        self._blocks: deque[Events] = deque()
        self.start_us = 0  # the time of the first kept event

    def add(self, block: Events) -> None:
        if not len(block):
            return
        self._blocks.append(block.copy())
        since_us = int(block.t[-1]) - self._keep_us
        while self._blocks[0].t[-1] < since_us:
            self._blocks.popleft()
        self.start_us = max(int(self._blocks[0].t[0]), since_us)

    def rated(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the latest events, and their number in 240 equal parts of their time."""
        events = Events.concatenate(self._blocks, self._size).between(self.start_us, None)
        if not len(events):
            return Thinned(events, 1, 0, 0, 0), np.zeros(_PARTS, np.int64)
        every = -(-len(events) // self._most)
        first_us, last_us = int(events.t[0]), int(events.t[-1])
        parts = (events.t - first_us) * _PARTS // (last_us - first_us + 1)
        found = Thinned(events[::every], every, len(events), first_us, last_us)
        return found, np.bincount(parts, minlength=_PARTS).astype(np.int64)


class Overview:
    """A sample of a source and its event rate, growing while it is read.

    max_events  the most events kept: of all, or of the latest `keep_us` if that is given

    Reading starts at once, in its own thread, and ends with `close`.
    """

    def __init__(self, source: Source, *, max_events: int, keep_us: int | None = None) -> None:
        self._source, self._lock, self._closed = source, threading.Lock(), threading.Event()
        self._sample: Whole | Latest = Whole(source.size, max_events)
        if keep_us is not None:
            self._sample = Latest(source.size, max_events, keep_us)
        self.progress = Progress()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        total, problem = 0, ""
        try:
            for block in self._source:
                if self._closed.is_set():
                    return
                total += len(block)
                with self._lock:
                    self._sample.add(block)
                    self.progress = Progress(total=total)
        except (DvskitError, OSError, MemoryError) as error:
            problem = one_line(error)
        self.progress = Progress(True, total, problem)

    @property
    def start_us(self) -> int:
        """The time of the first kept event, 0 before it was read."""
        with self._lock:
            return self._sample.start_us

    def kept(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the sample so far, and the events in 240 equal parts of its time."""
        with self._lock:
            return self._sample.rated()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def close(self, patience_s: float | None = None) -> None:
        """Stop reading, and wait for the end, up to a time limit."""
        self._closed.set()
        self._thread.join(patience_s)
