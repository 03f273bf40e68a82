"""Events counted per pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Source, as_source


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
