"""The recent pixels of a window, and their clusters."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BY_CHANCE = 1e-4
_MOST = 256  # clusters of a window that may be objects, the largest


class RecentPixels(NamedTuple):
    """Recent pixels: time before now in s, column, row, polarity, cluster, and whether new."""

    ago: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    on: NDArray[np.int64]
    of: NDArray[np.int64]
    new: NDArray[np.bool_]


class FreePixels:
    """The pixels of a window that belong to no object yet, and their clusters.

    boxes  (count, 4) left, top, right, bottom
    whole  (count,) clusters of enough pixels, most of which are free
    """

    def __init__(self, pixels: RecentPixels, count: int, least: int) -> None:
        self.pixels, self.count, self._least = pixels, count, least
        self._all = np.bincount(pixels.of, minlength=count)
        self.claim(np.zeros(len(pixels.of), np.bool_))

    def claim(self, which: NDArray[np.bool_]) -> None:
        """Take pixels out."""
        of, x, y = self.pixels.of, self.pixels.x, self.pixels.y
        of[which] = -1
        some = of >= 0
        left = self.counts = self._number(some)
        self.whole = (left >= self._least) & (left >= 0.5 * self._all)
        some_whole = np.flatnonzero(self.whole)
        smaller = np.argsort(-left[some_whole], kind="stable")[_MOST:]
        self.whole[some_whole[smaller]] = False
        self.boxes = np.empty((self.count, 4))
        self.boxes[:, :2], self.boxes[:, 2:] = np.inf, -np.inf
        np.minimum.at(self.boxes[:, 0], of[some], x[some] - 0.5)
        np.minimum.at(self.boxes[:, 1], of[some], y[some] - 0.5)
        np.maximum.at(self.boxes[:, 2], of[some], x[some] + 0.5)
        np.maximum.at(self.boxes[:, 3], of[some], y[some] + 0.5)

    def mostly(self, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the clusters that some pixels are a notable part of."""
        number = self._number(inside & (self.pixels.of >= 0))
        return np.asarray(number >= np.maximum(3, 0.15 * self._all))

    def _number(self, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(self.pixels.of[which], minlength=self.count)


def company(silent: float) -> int:
    """Return the number of events within 3x3 pixels that one pixel in 10,000 has by chance.

    silent  share of the pixels without events: exp(-mean) for a Poisson distribution
    """
    mean = 9 * -math.log(max(silent, 0.5))
    tail, term, least = 1.0, math.exp(-mean), 0
    while tail > _BY_CHANCE:
        tail -= term
        least += 1
        term *= mean / least
    return max(least, 2)


def sides_of(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return the sides of a box of points, without the outermost 2 % on either side."""
    few = len(places) // 50
    ordered = np.partition(places, (few, len(places) - 1 - few))
    return float(ordered[few]), float(ordered[-1 - few])
