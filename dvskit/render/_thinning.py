"""A stream thinned for display, in one pass and bounded memory; also while it is read."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_whole
from dvskit.errors import DvskitError, one_line
from dvskit.events import Events, Size, Source, as_source


@dataclass(frozen=True, slots=True)
class ThinnedEvents:
    """Events 0, every, 2 * every, ... of a stream of `total` events in start_us .. stop_us.

    rows  (n,) a number of each event, if it has one
    """

    events: Events
    every: int
    total: int
    start_us: int
    stop_us: int
    rows: NDArray[np.uint8] | None = None

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

    The step doubles whenever more would be kept, so the result depends on the events alone.
    """

    def __init__(self, size: Size, max_events: int) -> None:
        """Raise ConfigError if max_events < 1."""
        check_whole("max_events", max_events, 1)
        self._size, self._most = size, max_events
        self._parts: list[Events] = []
        self._rows: list[NDArray[np.uint8]] = []
        self._every, self._total, self._count = 1, 0, 0
        self.start_us = self._stop_us = 0  # of the first and the last event, once there are some

    def add(self, block: Events, rows: NDArray[np.uint8] | None = None) -> None:
        """Add the next block of the stream; all of them with `rows`, a number of each event."""
        if not len(block):
            return
        if not self._total:
            self.start_us = int(block.t[0])
        self._stop_us = int(block.t[-1])
        first = -self._total % self._every
        self._parts.append(_every(block[first:], self._every))
        if rows is not None:
            self._rows.append(rows[first :: self._every].copy())
        self._total += len(block)
        self._count += len(self._parts[-1])
        while self._count > self._most:
            self._every *= 2
            # Kept events start at 0 with an even step: every second one gives the new step.
            self._parts = [_every(Events.concatenate(self._parts, self._size), 2)]
            self._count = len(self._parts[0])
            if self._rows:
                self._rows = [np.concatenate(self._rows)[::2].copy()]

    def kept(self) -> ThinnedEvents:
        events = Events.concatenate(self._parts, self._size)
        rows = np.concatenate(self._rows) if self._rows else None
        return ThinnedEvents(events, self._every, self._total, self.start_us, self._stop_us, rows)


def thin(events_or_source: Events | Source, max_events: int) -> ThinnedEvents:
    """Keep at most `max_events`: every event, or every 2nd, 4th, 8th, ... by count, in one pass."""
    source = as_source(events_or_source)
    thinner = Thinner(source.size, max_events)
    for block in source:
        thinner.add(block)
    return thinner.kept()


def _every(events: Events, step: int) -> Events:
    # A strided view would keep its whole block in memory.
    return events if step == 1 else events[::step].copy()


class Latest:
    """Keeps the latest `keep_us` of a stream; of more than `max_events` every 2nd, 3rd, ... one."""

    def __init__(self, size: Size, max_events: int, keep_us: int) -> None:
        self._size, self._most, self._keep_us = size, max_events, keep_us
        self._blocks: deque[Events] = deque()
        self.start_us = 0  # the time of the first kept event

    def add(self, block: Events) -> None:
        """Add the next block of the stream."""
        if not len(block):
            return
        self._blocks.append(block.copy())
        since_us = int(block.t[-1]) - self._keep_us
        while self._blocks[0].t[-1] < since_us:
            self._blocks.popleft()
        self.start_us = max(int(self._blocks[0].t[0]), since_us)

    def kept(self) -> ThinnedEvents:
        events = Events.concatenate(self._blocks, self._size).between(self.start_us, None)
        if not len(events):
            return ThinnedEvents(events, 1, 0, 0, 0)
        every = -(-len(events) // self._most)
        return ThinnedEvents(
            events[::every], every, len(events), int(events.t[0]), int(events.t[-1])
        )


class ReadProgress(NamedTuple):
    """Progress of an overview: whether it is done, events so far, and the error, if any."""

    done: bool = False
    total: int = 0
    problem: str = ""


class Overview:
    """A sample of a source, growing while it is read in a thread of its own, until `close`.

    max_events  the most events kept: of all, or of the latest `keep_us` if that is given
    """

    def __init__(self, source: Source, *, max_events: int, keep_us: int | None = None) -> None:
        self._source, self._lock, self._closed = source, threading.Lock(), threading.Event()
        self._sample: Thinner | Latest = (
            Thinner(source.size, max_events)
            if keep_us is None
            else Latest(source.size, max_events, keep_us)
        )
        self.progress = ReadProgress()
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
                    self.progress = ReadProgress(total=total)
        except (DvskitError, OSError, MemoryError) as error:
            problem = one_line(error)
        self.progress = ReadProgress(True, total, problem)

    @property
    def start_us(self) -> int:
        """The time of the first kept event, 0 before it was read."""
        with self._lock:
            return self._sample.start_us

    def kept(self) -> ThinnedEvents:
        """Return the sample so far."""
        with self._lock:
            return self._sample.kept()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def close(self, patience_s: float | None = None) -> None:
        """Stop reading, and wait for the end, up to a time limit."""
        self._closed.set()
        self._thread.join(patience_s)
