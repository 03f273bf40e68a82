"""Crossings between two frames, not yet sorted: converted to events, or counted directly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.emulator import level_kernels as kernels
from dvskit.emulator.level_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL
from dvskit.events import Events, Size

_FEW = 1 << 17
_PARTS = 2  # of pixels per thread: motion differs between parts
_PART_PIXELS = 1 << 14  # smaller parts do not pay
_NO_LABELS = np.empty(0, np.bool_)


def parts_of(pixels: int, threads: int, unit: int) -> list[slice]:
    """Return slices of whole units of pixels, some for each thread."""
    parts = 1 if threads == 1 else max(1, min(_PARTS * threads, pixels // _PART_PIXELS))
    length = -(-pixels // (parts * unit)) * unit
    return [slice(start, min(start + length, pixels)) for start in range(0, pixels, length)]


class ReusedArray:
    """Reusable memory: the system clears a new array first."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._held = np.empty(0, dtype)

    def of(self, length: int) -> NDArray[Any]:
        """Return an uninitialised view (length,); earlier views share its memory."""
        if length > self._held.size:
            self._held = np.empty(length + length // 4, self._held.dtype)
        return self._held[:length]


class Ordering:
    """Buffers for sorting events; one for all intervals of a run."""

    def __init__(self) -> None:
        self.packed, self.places = ReusedArray(np.uint64), ReusedArray(np.int32)


@dataclass(frozen=True, slots=True)
class Crossings:
    """Events of one interval, in parts, by increasing pixels.

    Their memory may be reused by the next interval.

    start_us, interval_us  of the interval
    times  int32, microseconds after start_us, 0..interval_us; sorted per pixel
    marks  int64, pixel * 4 + noise * 2 + polarity, see MARK_PIXEL
    by_pixel  whether those of the same time are in order of pixels
    """

    size: Size
    start_us: int
    interval_us: int
    times: list[NDArray[np.int32]]
    marks: list[NDArray[np.int64]]
    by_pixel: bool = True
    ordering: Ordering = field(default_factory=Ordering)

    def __len__(self) -> int:
        return sum(map(len, self.times))

    def events(self, *, labelled: bool = False) -> tuple[Events, NDArray[np.bool_]]:
        """Return the events sorted by time, then pixel, and their noise flags if requested."""
        total = len(self)
        if not total:
            return Events.empty(self.size), _NO_LABELS
        # Counting needs an entry per microsecond, so a long interval with few events is sorted.
        if self.interval_us + 1 > 4 * total + (1 << 16):
            return self._sorted()
        # Few events are sorted before another thread would have started.
        threads = 1 if total < _FEW else thread_count()
        packed, begins = self._packed(total, threads)
        t, x = np.empty(total, np.int64), np.empty(total, np.int16)
        y, p = np.empty(total, np.int16), np.empty(total, np.bool_)
        noise = np.empty(total if labelled else 0, np.bool_)
        cuts = [total * share // threads for share in range(threads + 1)]
        # No share ends inside a microsecond, so the order there is fixed within one share.
        cuts[1:-1] = [int(begins[np.searchsorted(begins, cut)]) for cut in cuts[1:-1]]

        def unpack(number: int) -> None:
            here = slice(cuts[number], cuts[number + 1])
            if not self.by_pixel:
                kernels.order_pixels(packed[here])
            columns = t[here], x[here], y[here], p[here], noise[here]
            kernels.unpack(packed[here], self.start_us, self.size.width, columns)

        run_parts(unpack, threads, threads)
        return Events.from_checked(t, x, y, p, self.size), noise

    def _packed(self, total: int, threads: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """Return the events in order of time, packed, and the start of each microsecond."""
        rows = 1 if threads == 1 else len(self.times)
        histograms = self.ordering.places.of(rows * (self.interval_us + 1)).reshape(rows, -1)
        histograms[:] = 0
        places = [histograms[i % rows] for i in range(len(self.times))]
        run_parts(lambda i: kernels.count_times(self.times[i], places[i]), len(places), threads)
        kernels.places(histograms)
        begins = np.append(histograms[0], np.int32(total))
        packed = self.ordering.packed.of(total)

        def scatter(number: int) -> None:
            kernels.scatter(self.times[number], self.marks[number], places[number], packed)

        run_parts(scatter, len(places), threads)
        return packed, begins

    def _sorted(self) -> tuple[Events, NDArray[np.bool_]]:
        times, marks = np.concatenate(self.times), np.concatenate(self.marks)
        order = np.lexsort((marks >> MARK_PIXEL, times))
        marks = marks[order]
        rows, columns = np.divmod(marks >> MARK_PIXEL, self.size.width)
        events = Events.from_checked(
            times[order] + np.int64(self.start_us),
            columns.astype(np.int16),
            rows.astype(np.int16),
            (marks & MARK_ON).astype(np.bool_),
            self.size,
        )
        return events, (marks & MARK_NOISE).astype(np.bool_)

    def count(self, counts: NDArray[np.int32], start_us: int, bin_us: int) -> int:
        """Add the events to counts (bins, 2, H, W), OFF then ON; return the number outside.

        Bin k holds start_us + k bin_us <= t < start_us + (k + 1) bin_us.
        """
        flat = counts.reshape(counts.shape[0], 2, -1)
        missed = [0] * len(self.times)

        def add(number: int) -> None:
            # Parts have different pixels: no two threads add to the same count.
            missed[number] = kernels.add_crossings(
                self.times[number], self.marks[number], self.start_us - start_us, bin_us, flat
            )

        run_parts(add, len(self.times))
        return sum(missed)
