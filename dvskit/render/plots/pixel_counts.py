"""Events counted per pixel, and the pixels that stand out from their surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Source, as_source

_TIMES = 5.0
_DEVIATIONS = 8.0
_REACH = 4  # pixels to either side, in which a hot one has few like it
_RIVALS = 2
_ABOVE_RIVALS = 3.0


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Events per pixel: counts (2, H, W) int64, 0 OFF and 1 ON."""

    counts: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Events of both polarities, (H, W)."""
        total: NDArray[np.int64] = self.counts.sum(0)
        return total


class PixelCounter:
    """A Source whose events are counted per pixel while it is read: `counts` is of one pass."""

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self.counts = PixelCounts(np.zeros((2, self.size.height, self.size.width), np.int64))
        self._source = source

    def __iter__(self) -> Iterator[Events]:
        width, height = self.size
        counts = np.zeros(2 * height * width, np.int64)
        self.counts = PixelCounts(counts.reshape(2, height, width))
        for block in self._source:
            at = (block.p * np.int64(height) + block.y) * np.int64(width) + block.x
            counts += np.bincount(at, minlength=len(counts))
            yield block


def count_pixels(events_or_source: Events | Source) -> PixelCounts:
    """Count the events of each pixel and polarity."""
    counter = PixelCounter(as_source(events_or_source))
    for _ in counter:
        pass
    return counter.counts


def hot_pixels(total: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark pixels with far more events than those around them: (H, W) bool.

    With m the median of the 5 x 5 pixels around: n > 5 m and n > m + 8 sqrt(m + 1). And of the
    80 pixels up to four away at most two have a third of its events: a moving edge leaves as much
    on its neighbours, and where all flickers there are many such pixels; a hot pixel stands alone.
    """
    # Reflected at the edge: medianBlur alone would repeat the last pixel, and a hot one in a corner
    # would be its own surroundings.
    padded = np.pad(total.astype(np.float32), 2, mode="reflect")
    around = cv2.medianBlur(padded, 5)[2:-2, 2:-2]
    hot: NDArray[np.bool_] = (total > _TIMES * around) & (
        total > around + _DEVIATIONS * np.sqrt(around + 1.0)
    )
    rows, columns = np.nonzero(hot)
    wide = np.pad(total, _REACH)  # beyond the edge there is none like it
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side))[rows, columns]
    others = np.delete(windows.reshape(len(rows), side * side), side * side // 2, axis=1)
    rival = np.partition(others, -1 - _RIVALS, axis=1)[:, -1 - _RIVALS]
    hot[rows, columns] = total[rows, columns] > _ABOVE_RIVALS * rival
    return hot
