"""Events counted in bins of time, in one pass and bounded memory, however long the stream is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Events, Source, as_source

MOST_BINS = 1 << 22


@dataclass(frozen=True, slots=True)
class TimeCounts:
    """Counts of bins of `bin_us` from the first event on.

    counts    (2, n) int64: row 0 OFF, row 1 ON; bin k holds k <= (t - start_us) / bin_us < k + 1
    stop_us   one microsecond behind the last event; start_us where there is none
    """

    start_us: int
    stop_us: int
    bin_us: int
    counts: NDArray[np.int64]

    @property
    def span_us(self) -> int:
        """How long the events last, the last one's microsecond included."""
        return self.stop_us - self.start_us

    def edges_us(self) -> NDArray[np.float64]:
        """Return the (n + 1,) edges, relative to the first event; the last is where events end."""
        edges = np.arange(self.counts.shape[1] + 1) * float(self.bin_us)
        edges[-1] = self.span_us
        return edges

    def without_short_end(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts and edges with a last bin of less than half a length joined to the one
        ahead: its rate would be that of a moment."""
        counts, edges = self.counts, self.edges_us()
        if counts.shape[1] > 1 and edges[-1] - edges[-2] < 0.5 * self.bin_us:
            counts = np.column_stack([counts[:, :-2], counts[:, -2:].sum(1)])
            edges = np.delete(edges, -2)
        return counts, edges


def count_over_time(
    events_or_source: Events | Source, *, bin_us: int | None = None, least_us: int = 1,
    most_bins: int = 100_000,
) -> TimeCounts:  # fmt: skip
    """Count events in bins of `bin_us`, or of the least 10^k least_us that gives `most_bins`.

    Raises ConfigError if bin_us is below 1 or gives more than 4,194,304 bins.
    """
    if bin_us is not None and bin_us < 1:
        raise ConfigError(f"bin_us={bin_us} is below 1 microsecond")
    counter = _Counter(least_us if bin_us is None else bin_us, most_bins, fixed=bin_us is not None)
    for block in as_source(events_or_source):
        if len(block):
            counter.add(block)
    return counter.result()


class _Counter:
    """Counts of one pass; unless fixed, bins grow tenfold where there would be too many."""

    def __init__(self, bin_us: int, most_bins: int, *, fixed: bool) -> None:
        self._bin_us, self._fixed = bin_us, fixed
        self._most = MOST_BINS if fixed else most_bins
        self._counts = np.zeros((2, 0), np.int64)
        self._start: int | None = None
        self._last = 0

    def add(self, block: Events) -> None:
        if self._start is None:
            self._start = int(block.t[0])
        self._last = int(block.t[-1])
        self._make_room(self._last - self._start)
        # Unsigned, the distance of any two times in int64 is exact.
        since = block.t.view(np.uint64) - np.int64(self._start).view(np.uint64)
        at = (since // np.uint64(self._bin_us)).astype(np.int64)
        first, length = int(at[0]), int(at[-1] - at[0]) + 1
        at -= first
        for row, chosen in enumerate((~block.p, block.p)):
            self._counts[row, first : first + length] += np.bincount(at[chosen], minlength=length)

    def _make_room(self, span_us: int) -> None:
        while span_us // self._bin_us >= self._most:
            if self._fixed:
                raise ConfigError(
                    f"{span_us:,} us in bins of {self._bin_us} us are more than {MOST_BINS:,} "
                    "bins; take longer bins or a part of the recording"
                )
            self._counts = _coarser(self._counts, 10)
            self._bin_us *= 10
        missing = span_us // self._bin_us + 1 - self._counts.shape[1]
        if missing > 0:
            missing = max(missing, min(self._counts.shape[1], self._most))  # few copies
            self._counts = np.pad(self._counts, ((0, 0), (0, missing)))

    def result(self) -> TimeCounts:
        if self._start is None:
            return TimeCounts(0, 0, self._bin_us, self._counts)
        used = (self._last - self._start) // self._bin_us + 1
        return TimeCounts(self._start, self._last + 1, self._bin_us, self._counts[:, :used])


def _coarser(counts: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    padded = np.pad(counts, ((0, 0), (0, -counts.shape[1] % factor)))
    summed: NDArray[np.int64] = padded.reshape(2, -1, factor).sum(2)
    return summed


def for_eyes(counts: TimeCounts, bins: int) -> TimeCounts:
    """Return the counts in at most `bins` bins, 1, 2 or 5 times a power of ten as long."""
    length = counts.counts.shape[1]
    factor = 1
    for step in range(60):
        factor = (1, 2, 5)[step % 3] * 10 ** (step // 3)
        if length <= factor * bins:
            break
    coarse = _coarser(counts.counts, factor)
    return TimeCounts(counts.start_us, counts.stop_us, counts.bin_us * factor, coarse)
