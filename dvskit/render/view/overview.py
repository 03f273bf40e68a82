"""One pass over a recording in the background: a sample of its events, and its event rate."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DvskitError, one_line
from dvskit.events import Events, Size, Source
from dvskit.render._thin import Thinned, Thinner

_FINE_BINS = 1 << 14
_PARTS = 240  # of the time of a sample, in which events are counted


class RateBins:
    """Counts events over a time whose end is not known: bins double their width as it grows."""

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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an overview is: whether it is done, events so far, and what went wrong, if any."""

    done: bool
    total: int
    problem: str


class Whole:
    """At most `max_events` of a whole stream, evenly."""

    def __init__(self, size: Size, max_events: int) -> None:
        self._thinner, self._rate = Thinner(size, max_events), RateBins()

    @property
    def start_us(self) -> int:
        """The time of the first event, 0 before there is one."""
        return self._thinner.start_us

    def add(self, block: Events) -> None:
        """Take the next block of the stream."""
        self._thinner.add(block)
        self._rate.add(block)

    def kept(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the sample so far, and the events in 240 equal parts of its time."""
        kept = self._thinner.kept()
        return kept, self._rate.rebinned(_PARTS, kept.stop_us - kept.start_us)


class Latest:
    """The latest `keep_us` of a stream, at most `max_events` of them, evenly."""

    def __init__(self, size: Size, max_events: int, keep_us: int) -> None:
        self._size, self._most, self._keep_us = size, max_events, keep_us
        self._blocks: deque[Events] = deque()

    @property
    def start_us(self) -> int:
        """The time of the first event that is kept, 0 before there is one."""
        return self._first_us() if self._blocks else 0

    def _first_us(self) -> int:
        return max(int(self._blocks[0].t[0]), int(self._blocks[-1].t[-1]) - self._keep_us)

    def add(self, block: Events) -> None:
        """Take the next block of the stream."""
        if not len(block):
            return
        self._blocks.append(block.copy())
        while self._blocks[0].t[-1] < self._first_us():
            self._blocks.popleft()

    def kept(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the latest events, and how many there are in 240 equal parts of their time."""
        events = Events.concatenate(self._blocks, self._size)
        if not len(events):
            return Thinned(events, 1, 0, 0, 0), np.zeros(_PARTS, np.int64)
        events = events.between(self._first_us(), None)
        every = -(-len(events) // self._most)
        span_us = int(events.t[-1] - events.t[0])
        parts = (events.t - events.t[0]) * _PARTS // (span_us + 1)
        found = Thinned(events[::every], every, len(events), int(events.t[0]), int(events.t[-1]))
        return found, np.bincount(parts, minlength=_PARTS).astype(np.int64)


class Overview:
    """A sample of a source and its event rate, growing as it is read.

    max_events  the most that is kept: of all, or of the latest `keep_us`, where that is given

    Reading starts at once, in a thread of its own, and ends with `close`.
    """

    def __init__(self, source: Source, *, max_events: int, keep_us: int | None = None) -> None:
        self.size: Size = source.size
        self._source, self._lock = source, threading.Lock()
        self._sample: Whole | Latest = (
            Whole(source.size, max_events)
            if keep_us is None
            else Latest(source.size, max_events, keep_us)
        )
        self.progress = Progress(False, 0, "")  # how far it is
        self._closed = threading.Event()
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
                    self.progress = Progress(False, total, "")
        except (DvskitError, OSError, MemoryError) as error:
            problem = one_line(error)
        self.progress = Progress(True, total, problem)

    @property
    def start_us(self) -> int:
        """The time of the first event that is kept, 0 before it was read."""
        with self._lock:
            return self._sample.start_us

    def kept(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the sample so far, and the events in 240 equal parts of its time."""
        with self._lock:
            return self._sample.kept()

    def wait(self, seconds: float) -> None:
        """Wait until it is done, but no longer than that."""
        self._thread.join(seconds)

    def close(self, patience_s: float | None = None) -> None:
        """Stop reading, and wait until it has stopped, at most so long."""
        self._closed.set()
        self._thread.join(patience_s)
