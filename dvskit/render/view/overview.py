"""One pass over a recording in the background: a sample of its events, and its event rate."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DvskitError, one_line
from dvskit.events import Events, Size, Source
from dvskit.render._thin import Thinned, Thinner

_FINE_BINS = 1 << 14


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


class Overview:
    """A sample of at most `max_events` of a source and its event rate, growing as it is read.

    Reading starts at once, in a thread of its own, and ends with `close`.
    """

    def __init__(self, source: Source, *, max_events: int) -> None:
        self.size: Size = source.size
        self._source, self._lock = source, threading.Lock()
        self._thinner, self._rate = Thinner(source.size, max_events), RateBins()
        self._progress = Progress(False, 0, "")
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
                    self._thinner.add(block)
                    self._rate.add(block)
                    self._progress = Progress(False, total, "")
        except (DvskitError, OSError, MemoryError) as error:
            problem = one_line(error)
        self._progress = Progress(True, total, problem)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._progress

    @property
    def start_us(self) -> int:
        """The time of the first event, 0 before it was read."""
        return self._thinner.start_us

    def kept(self) -> tuple[Thinned, NDArray[np.int64]]:
        """Return the sample so far, and the events in 240 equal parts of its time."""
        with self._lock:
            kept = self._thinner.kept()
            return kept, self._rate.rebinned(240, kept.stop_us - kept.start_us)

    def wait(self, seconds: float) -> None:
        """Wait until it is done, but no longer than that."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join()
