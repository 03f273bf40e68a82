"""Pixels that fire far more often than those around them, and events without theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size, Source, cut
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.mask import Mask, kept_places
from dvskit.filters.parameters import check_number, check_whole
from dvskit.filters.pixel_map import PixelMap, Places
from dvskit.filters.selecting import columns

_REACH = 4  # pixels to either side, in which a hot one has few like it
_RIVALS = 2
_ABOVE_RIVALS = 3.0


def hot_pixels(
    total: NDArray[np.integer], *, times: float = 5.0, deviations: float = 8.0
) -> NDArray[np.bool_]:
    """Mark pixels with far more events than those around them: (H, W) bool of (H, W) counts.

    With m the median of the 5 x 5 pixels around: n > times m and n > m + deviations sqrt(m + 1).
    And of the 80 pixels up to four away at most two have a third of its events: a moving edge
    leaves as much on its neighbours, and where all flickers there are many such pixels; a hot pixel
    stands alone. (Calibration, which knows when pixels are at rest, counts hot pixels by another
    rule: `emulator.calibration.noise.hot_at_rest`.)
    """
    import cv2

    # Reflected at the edge: medianBlur alone would repeat the last pixel, and a hot one in a corner
    # would be its own surroundings.
    padded = np.pad(total.astype(np.float32), 2, mode="reflect")
    around = cv2.medianBlur(padded, 5)[2:-2, 2:-2]
    hot: NDArray[np.bool_] = (total > times * around) & (
        total > around + deviations * np.sqrt(around + 1.0)
    )
    rows, columns = np.nonzero(hot)
    wide = np.pad(total, _REACH)  # beyond the edge there is none like it
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side))[rows, columns]
    others = np.delete(windows.reshape(len(rows), side * side), side * side // 2, axis=1)
    rival = np.partition(others, -1 - _RIVALS, axis=1)[:, -1 - _RIVALS]
    hot[rows, columns] = total[rows, columns] > _ABOVE_RIVALS * rival
    return hot


def add_per_pixel(events: Events, counts: NDArray[np.int64]) -> None:
    """Add one to counts[y, x], (H, W), for each event."""
    from dvskit.filters.pixel_map_kernels import count_pixels

    _, x, y, _ = columns(events)
    parts = min(thread_count(), len(events) // counts.size + 1)
    # A table a thread, of numbers half as long: less memory to look through.
    own = np.zeros((parts, *counts.shape), np.int32)
    ends = [len(events) * k // parts for k in range(parts + 1)]

    def work(k: int) -> None:
        at = slice(ends[k], ends[k + 1])
        count_pixels(x[at], y[at], own[k])

    run_parts(work, parts)
    counts += own.sum(0)


@dataclass(frozen=True, slots=True)
class HotPixel(CallableFilter):
    """Leave out the events of hot pixels, as `hot_pixels` marks them by their counts.

    The counts are of all events, or of the first `learn_us` from the first event on. What is
    counted is held in memory, 13 bytes an event, until it is all there; a file is read once more
    instead. For live events give `learn_us`: else they are held until they end.

    times, deviations   how far above the pixels around, see `hot_pixels`
    """

    times: float = 5.0
    deviations: float = 8.0
    learn_us: int | None = None

    def __post_init__(self) -> None:
        check_number(self, "times", 1, 1e6)
        check_number(self, "deviations", 0, 1e6)
        if self.learn_us is not None:
            check_whole(self, "learn_us", 1)

    def start(self, size: Size) -> HotPixelStep:
        """Return the step of one pass."""
        return HotPixelStep(self, size)

    def learn(self, source: Source) -> HotPixelMask:
        """Return a filter that has counted the events of a source that can be read again."""
        counting = _Counting(self, source.size)
        for block in source:
            if counting.add(block):
                break
        return HotPixelMask(self, Mask(~counting.hot()))


@dataclass(frozen=True, slots=True)
class HotPixelMask(PixelMap):
    """A `HotPixel` that knows the pixels: it keeps the events of the others."""

    origin: HotPixel
    cold: Mask

    def places(self, size: Size) -> Places:
        """Return where pixels go."""
        return kept_places(self.cold.keep)


class _Counting:
    """Counts events per pixel until it has seen what a `HotPixel` learns from."""

    def __init__(self, chosen: HotPixel, size: Size) -> None:
        self._chosen = chosen
        self._counts = np.zeros((size.height, size.width), np.int64)
        self._stop_us: int | None = None

    def add(self, events: Events) -> bool:
        """Count a block; return whether there is nothing more to count."""
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
    """A pass of a `HotPixel`, which holds back what it learns from."""

    def __init__(self, chosen: HotPixel, size: Size) -> None:
        super().__init__(size)
        self._chosen, self._counting = chosen, _Counting(chosen, size)
        self._held: list[Events] = []
        self._known: Step | None = None

    def __call__(self, events: Events) -> Events:
        """Return the events of pixels that are not hot, as soon as that is known."""
        if self._known is None and not self._counting.add(events):
            self._held.append(events.copy())  # the caller's may change
            return Events.empty(self.size)
        return self._without_hot([*self._held, events])

    def finish(self) -> Events:
        """Return what is held back where the stream is shorter than what is to be learnt from."""
        return self._without_hot(self._held)

    def _without_hot(self, blocks: list[Events]) -> Events:
        if self._known is None:
            cold = Mask(~self._counting.hot())
            self._known = HotPixelMask(self._chosen, cold).start(self.size)
        self._held = []
        kept = self._known(Events.concatenate(blocks, size=self.size))
        self.dropped = self._known.dropped
        return kept
