"""Bins along time or along the number of events, and streams cut at their borders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges, thread_count
from dvskit.errors import ShapeError, did_you_mean
from dvskit.events import Events, Source, cut
from dvskit.tensors.counts_kernels import Columns

Outside = Literal["error", "ignore"]

LARGEST = 1 << 62  # bound on products of times and bins: exact in int64
LATEST_US = (1 << 63) - 1
_WORTH_A_THREAD = 1 << 17  # starting a thread costs as much as counting ten thousand events


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal length on an integer axis: times in microseconds, or event numbers.

    Bin k holds start <= at < stop with (at - start) * numerator // denominator == k.
    """

    start: int
    stop: int
    count: int
    numerator: int
    denominator: int

    def of(self, at: int) -> int:
        """Return the bin of a position between start and stop."""
        return (at - self.start) * self.numerator // self.denominator

    def edges(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return the starts of the bins first, ..., stop - 1, relative to `start`."""
        numbers = np.arange(first, stop, dtype=np.int64)
        return -(-numbers * self.denominator // max(1, self.numerator))

    def reaching(self, part: BinnedPart) -> BinnedPart:
        """Return a part extended by the next bin, empty, if there is one."""
        if part.first + len(part.borders) > self.count:
            return part
        return part._replace(borders=np.append(part.borders, part.borders[-1]))

    def check(self) -> None:
        """Raise ShapeError if int64 cannot compute the bins exactly."""
        span = self.stop - self.start
        if span * self.numerator + self.denominator >= LARGEST:
            raise ShapeError(
                f"{self.count} bins over {span} us are too many to count exactly; take fewer bins"
            )


class BinnedPart(NamedTuple):
    """Events of a block and the bin borders: bin `first` + i is events[borders[i]:borders[i + 1]].

    borders  int64, from 0 to the number of events
    """

    events: Events
    first: int
    borders: NDArray[np.int64]

    @property
    def columns(self) -> Columns:
        """The event columns for kernels."""
        return columns_of(self.events)


def columns_of(events: Events) -> Columns:
    """Return the event columns for kernels: t, x, y and p."""
    return events.t, events.x, events.y, events.p


class TimeParts:
    """A Source cut at the borders of time bins. `missed` counts the events outside all bins."""

    def __init__(self, source: Source, bins: Bins) -> None:
        self.source, self.bins, self.missed = source, bins, 0

    def __iter__(self) -> Iterator[BinnedPart]:
        bins = self.bins
        # Numbers beyond int64 would be compared as floats.
        stop = None if bins.stop > LATEST_US else bins.stop
        for block in self.source:
            inside = cut(block, bins.start, stop)
            self.missed += len(block) - len(inside)
            if not len(inside):
                continue
            first, last = bins.of(int(inside.t[0])), bins.of(int(inside.t[-1]))
            borders = np.zeros(last - first + 2, np.int64)
            borders[-1] = len(inside)
            if last > first:
                edges = bins.edges(first + 1, last + 1) + bins.start
                borders[1:-1] = np.searchsorted(inside.t, edges)
            yield BinnedPart(inside, first, borders)

    def refuse_missed(self, outside: Outside) -> None:
        """Raise ShapeError if events were missed and `outside` is "error"."""
        refuse_outside(self.missed, (self.bins.start, self.bins.stop), outside)


def refuse_outside(missed: int, window_us: tuple[int, int], outside: Outside) -> None:
    """Raise ShapeError if events were outside the window and `outside` is "error"."""
    if missed and outside == "error":
        start_us, stop_us = window_us
        raise ShapeError(
            f"{missed:,} events are outside the window [{start_us}, {stop_us}) us; widen it, "
            'or pass outside="ignore"'
        )


class NumberParts:
    """A Source cut at bins of event numbers. `missed` counts the events after the last bin.

    Number 0 is the first event at or after `start_us`; earlier events are dropped.
    """

    def __init__(self, source: Source, bins: Bins, start_us: int | None = None) -> None:
        self.source, self.bins, self.start_us, self.missed = source, bins, start_us, 0

    def __iter__(self) -> Iterator[BinnedPart]:
        bins, seen = self.bins, 0
        for block in self.source:
            block = cut(block, self.start_us, None)
            inside = block[: max(0, bins.stop - seen)]
            self.missed += len(block) - len(inside)
            if len(inside):
                first, last = bins.of(seen), bins.of(seen + len(inside) - 1)
                borders = np.zeros(last - first + 2, np.int64)
                borders[1:-1] = bins.edges(first + 1, last + 1) - seen
                borders[-1] = len(inside)
                yield BinnedPart(inside, first, borders)
            seen += len(block)

    def refuse_missed(self, outside: Outside) -> None:
        """Raise ShapeError if events were missed and `outside` is "error"."""
        if self.missed and outside == "error":
            raise ShapeError(
                f"{self.missed:,} events follow the {self.bins.count} frames of "
                f'{self.bins.denominator} events; use more frames, or pass outside="ignore"'
            )


def in_spans(work: Callable[[int, int], None], count: int, amount: int) -> None:
    """Call `work(first, stop)` for spans that cover range(count), in parallel if it pays.

    `amount` is the number of values touched in total. Spans do not overlap, so each bin can be
    written without a lock.
    """
    threads = threads_for(amount)
    if threads == 1 or count == 1:
        work(0, count)
        return
    parts = min(count, 4 * threads)
    run_ranges(work, count, parts, threads)


def threads_for(amount: int) -> int:
    """Return the number of threads for touching this many values."""
    return thread_count() if amount >= _WORTH_A_THREAD else 1


def check_bins(bins: int | None, bin_us: int | None, outside: str = "error") -> None:
    """Raise ShapeError unless bins or bin_us is given, and whole."""
    if bins is None and bin_us is None:
        raise ShapeError("neither bins nor bin_us is given; pass one of them, or both")
    for name, value in (("bins", bins), ("bin_us", bin_us)):
        check_whole(name, value)
    check_outside(outside)


def check_whole(name: str, value: int | None) -> None:
    """Raise ShapeError unless a number is None or a whole number of at least 1."""
    if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
        raise ShapeError(f"{name}={value} is not a whole number of at least 1")


def check_outside(outside: str) -> None:
    """Raise ShapeError for an unknown value of `outside`."""
    if outside not in ("error", "ignore"):
        raise ShapeError(
            f"unknown outside={outside!r}; {did_you_mean(outside, ('error', 'ignore'))}"
        )


def time_bins(
    blocks: Iterable[Events], bins: int | None, bin_us: int | None, start_us: int | None
) -> Bins:
    """Return the time bins that `bin_events` describes; reads the times if necessary."""
    first, last = start_us, None
    if bins is None or bin_us is None or start_us is None:
        first, last = find_span(blocks)
    start = int(start_us) if start_us is not None else first if first is not None else 0
    span = 0 if last is None else max(0, last - start + 1)  # [start, last], the last included
    if bin_us is not None:
        bins = -(-span // bin_us) if bins is None else int(bins)
        found = Bins(start, start + bins * int(bin_us), bins, 1, int(bin_us))
    else:
        bins = int(bins or 0)  # ensured by check_bins
        found = Bins(start, start + span, bins, bins, max(1, span))
    found.check()
    return found


def find_span(blocks: Iterable[Events]) -> tuple[int | None, int | None]:
    """Return the times of the first and the last event; None without events."""
    first = last = None
    for block in blocks:
        if len(block):
            first = int(block.t[0]) if first is None else first
            last = int(block.t[-1])
    return first, last


def count_events(source: Source, start_us: int | None = None) -> int:
    """Return the number of events of a Source at or after `start_us`."""
    return sum(len(cut(block, start_us, None)) for block in source)
