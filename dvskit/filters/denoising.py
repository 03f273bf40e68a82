"""Noise filters: drop events without support nearby, and those of pixels that fire too often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import (
    check_choice,
    check_flag,
    check_number,
    check_whole,
    checked,
    checked_dataclass,
)
from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size, Source, cut
from dvskit.filters.base import CallableFilter, Columns, Step, columns, part_of, select
from dvskit.filters.mask import Mask
from dvskit.filters.pixel_map import Kept, PixelMap

Times = NDArray[np.signedinteger]
Mark = Callable[[Columns, int, Times, NDArray[np.bool_]], None]

_SHORT_US = 2**30
_LONGEST_US = 2**31 - 1  # range of the four bytes
_REACH = 4  # radius in pixels within which a hot pixel has few similar ones
_RIVALS = 2
_ABOVE_RIVALS = 3.0


@dataclass(frozen=True, slots=True)
class BackgroundActivity(CallableFilter):
    """Keep an event only if a neighboring pixel fired in the `within_us` before it.

    The filter of Delbruck 2008 (Frame-free dynamic digital vision): noise has no neighbors in
    time, edges do. Events of both polarities count, including dropped ones. Of events at the same
    time, those earlier in the stream count.

    neighbors  the 8 pixels around, or the 4 that share a side
    itself      whether the pixel's own last event counts too; then hot pixels pass

        x, y = [5, 6, 20], [5, 5, 9]
        events = dvskit.Events(t=[0, 3_000, 9_000], x=x, y=y, p=[1, 1, 0], size=(32, 24))
        dvskit.filters.BackgroundActivity(5_000)(events).t    # [3000]: (5, 5) fired before it
    """

    within_us: int = checked(check_whole, default=5_000)
    neighbors: Literal[8, 4] = checked(check_choice, (8, 4), default=8)
    itself: bool = checked(check_flag, default=False)

    def start(self, size: Size) -> RecentStep:
        """Return the step of one pass: 4 bytes per pixel, 8 above a quarter of an hour."""

        def mark(events: Columns, origin_us: int, last: Times, keep: NDArray[np.bool_]) -> None:
            from dvskit.filters.event_kernels import near_in_time

            by = self.neighbors == 8, self.itself
            near_in_time(events, origin_us, self.within_us, by, last, keep)

        return RecentStep(size, (size.height + 2, size.width + 2), self.within_us, mark)


@checked_dataclass(frozen=True, slots=True)
class Refractory(CallableFilter):
    """Drop a pixel's events for `period_us` after each event that is kept.

    An event exactly `period_us` later is kept.

    by_polarity  handle the ON and OFF events of a pixel separately
    restart      dropped events restart the period: a pixel must be silent for `period_us`

        events = dvskit.Events(t=[0, 400, 700], x=[5] * 3, y=[5] * 3, p=[1, 0, 1], size=(32, 24))
        dvskit.filters.Refractory(500)(events).t                      # [0, 700]
        dvskit.filters.Refractory(500, by_polarity=True)(events).t    # [0, 400, 700]
        dvskit.filters.Refractory(500, restart=True)(events).t        # [0]
    """

    period_us: int = checked(check_whole)
    by_polarity: bool = checked(check_flag, default=False)
    restart: bool = checked(check_flag, default=False)

    def start(self, size: Size) -> RecentStep:
        """Return the step of one pass: as much memory, and twice as much by polarity."""

        def mark(events: Columns, origin_us: int, last: Times, keep: NDArray[np.bool_]) -> None:
            from dvskit.filters.event_kernels import rested

            rested(events, origin_us, self.period_us, self.restart, last, keep)

        shape = (1 + self.by_polarity, size.height, size.width)
        return RecentStep(size, shape, self.period_us, mark)


class RecentStep(Step):
    """A pass of a filter that selects events by the time of each pixel's last event.

    Only the `memory_us` before an event matter. Times count from an origin, so that four bytes per
    pixel hold them if `memory_us` is short: half the memory traffic. The origin lies before the
    first event, so fresh memory, 0, means "never".
    """

    def __init__(self, size: Size, shape: tuple[int, ...], memory_us: int, mark: Mark) -> None:
        super().__init__(size)
        self._shape, self._memory_us, self._mark = shape, memory_us, mark
        self._short = memory_us < _SHORT_US
        self._last: Times | None = None
        self._origin_us = 0

    def __call__(self, events: Events) -> Events:
        """Return the kept events."""
        if not len(events):
            return events
        if self._last is None:
            self._last = np.zeros(self._shape, np.int32 if self._short else np.int64)
            self._origin_us = int(events.t[0]) - 1
        keep = np.empty(len(events), np.bool_)
        given = columns(events)
        start = 0
        while start < len(events):
            if self._short and events.t[start] - self._origin_us > _LONGEST_US:
                self._forget(int(events.t[start]))
            until = self._origin_us + _LONGEST_US
            stop = int(np.searchsorted(events.t, until, "right")) if self._short else len(events)
            part = slice(start, stop)
            self._mark(part_of(given, part), self._origin_us, self._last, keep[part])
            start = stop
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept

    def _forget(self, now_us: int) -> None:
        """Move the origin forward; earlier events no longer matter."""
        later = now_us - self._memory_us - 1 - self._origin_us
        assert self._last is not None
        self._last = np.maximum(self._last.astype(np.int64) - later, 0).astype(np.int32)
        self._origin_us += later


def hot_pixels(
    total: NDArray[np.integer], *, times: float = 5.0, deviations: float = 8.0
) -> NDArray[np.bool_]:
    """Mark pixels with far more events than those around them: (H, W) bool of (H, W) counts.

    With m the median of the 5 x 5 pixels around: n > times m and n > m + deviations sqrt(m + 1).
    Of the 80 pixels up to four away, at most two may have a third of its events: a moving edge
    leaves as many on its neighbors, and a flickering area has many such pixels, but a hot pixel
    stands alone. (Calibration knows when pixels are at rest, and counts hot pixels by another
    rule: `emulator.calibration.noise.hot_at_rest`.)

        events = dvskit.load_events("noisy.raw")
        counts = np.zeros(events.sensor_size[::-1], np.int64)
        np.add.at(counts, (events.y, events.x), 1)
        hot = dvskit.filters.hot_pixels(counts)    # (128, 128) bool
        cold = dvskit.filters.Mask(~hot)(events)
    """
    import cv2

    # Reflected at the edge: medianBlur alone would repeat the last pixel, and a hot one in a corner
    # would fill its own neighborhood.
    padded = np.pad(total.astype(np.float32), 2, mode="reflect")
    around = cv2.medianBlur(padded, 5)[2:-2, 2:-2]
    hot: NDArray[np.bool_] = (total > times * around) & (
        total > around + deviations * np.sqrt(around + 1.0)
    )
    rows, columns = np.nonzero(hot)
    wide = np.pad(total, _REACH)  # no similar pixels beyond the edge
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side))[rows, columns]
    others = np.delete(windows.reshape(len(rows), side * side), side * side // 2, axis=1)
    rival = np.partition(others, -1 - _RIVALS, axis=1)[:, -1 - _RIVALS]
    hot[rows, columns] = total[rows, columns] > _ABOVE_RIVALS * rival
    return hot


def add_per_pixel(events: Events, counts: NDArray[np.int64]) -> None:
    """Add one to counts[y, x], (H, W), for each event."""
    from dvskit.filters.event_kernels import count_pixels

    _, x, y, _ = columns(events)
    parts = min(thread_count(), len(events) // counts.size + 1)
    # Tables of its own for each thread.
    low = np.zeros((parts, *counts.shape), np.uint8)
    high = [counts, *np.zeros((parts - 1, *counts.shape), np.int64)]
    ends = [len(events) * k // parts for k in range(parts + 1)]

    def work(k: int) -> None:
        at = slice(ends[k], ends[k + 1])
        count_pixels(x[at], y[at], low[k], high[k])

    run_parts(work, parts)
    for one in (*low, *high[1:]):
        counts += one


@dataclass(frozen=True, slots=True)
class HotPixel(CallableFilter):
    """Drop the events of hot pixels, which fire far more often than the pixels around them.

    `hot_pixels` marks them by the counts of all events, or of those in the first `learn_us`. A file
    is read a second time for that. A live stream is held in memory, 13 bytes per event, until the
    counts are complete; without `learn_us` that is at its end.

    times, deviations  how far above its neighborhood a hot pixel is, see `hot_pixels`

        recording = dvskit.open_events("noisy.raw")
        dvskit.save_events(dvskit.filters.HotPixel()(recording), "cold.raw")
        live = dvskit.filters.HotPixel(learn_us=500_000)    # for a camera: learns for 0.5 s
    """

    times: float = checked(check_number, 1, 1e6, default=5.0)
    deviations: float = checked(check_number, 0, 1e6, default=8.0)
    learn_us: int | None = checked(check_whole, 1, default=None)

    def start(self, size: Size) -> HotPixelStep:
        """Return the step of one pass."""
        return HotPixelStep(self, size)

    def learn(self, source: Source) -> HotPixelMask:
        """Return a filter that has learned from a source that can be read again."""
        counting = _Counting(self, source.size)
        for block in source:
            if counting.add(block):
                break
        return HotPixelMask(self, Mask(~counting.hot()))


@dataclass(frozen=True, slots=True)
class HotPixelMask(PixelMap):
    """A `HotPixel` with known pixels: it keeps the events of the others."""

    origin: HotPixel
    cold: Mask

    def places(self, size: Size) -> Kept:
        """Return the pixels that stay."""
        return Kept(self.cold.keep)


class _Counting:
    """Counts events per pixel until a `HotPixel` has enough."""

    def __init__(self, chosen: HotPixel, size: Size) -> None:
        self._chosen = chosen
        self._counts = np.zeros((size.height, size.width), np.int64)
        self._stop_us: int | None = None

    def add(self, events: Events) -> bool:
        """Count a block; return whether counting is complete."""
        if not len(events):
            return False
        if self._stop_us is None and self._chosen.learn_us is not None:
            self._stop_us = int(events.t[0]) + self._chosen.learn_us
        seen = cut(events, None, self._stop_us)
        add_per_pixel(seen, self._counts)
        return len(seen) < len(events)

    def hot(self) -> NDArray[np.bool_]:
        """Mark the hot pixels."""
        chosen = self._chosen
        return hot_pixels(self._counts, times=chosen.times, deviations=chosen.deviations)


class HotPixelStep(Step):
    """A pass of a `HotPixel`, which holds back events until it has learned."""

    def __init__(self, chosen: HotPixel, size: Size) -> None:
        super().__init__(size)
        self._chosen, self._counting = chosen, _Counting(chosen, size)
        self._held: list[Events] = []
        self._known: Step | None = None

    def __call__(self, events: Events) -> Events:
        """Return the events of other pixels, once the hot ones are known."""
        if self._known is None and not self._counting.add(events):
            self._held.append(events.copy())  # the caller may change its arrays
            return Events.empty(self.size)
        return self._without_hot([*self._held, events])

    def finish(self) -> Events:
        """Return the events held back, if the stream ended before learning was complete."""
        return self._without_hot(self._held)

    def _without_hot(self, blocks: list[Events]) -> Events:
        if self._known is None:
            cold = Mask(~self._counting.hot())
            self._known = HotPixelMask(self._chosen, cold).start(self.size)
        self._held = []
        kept = self._known(Events.concatenate(blocks, size=self.size))
        self.dropped = self._known.dropped
        return kept
