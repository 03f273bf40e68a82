"""The look of an object: where it has events of either polarity, around its middle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RADIUS = 24  # cells from the middle to the border of a look
_SEARCH = 8  # cells around the prediction that it is looked for in
_FOLLOW = 0.15  # share of the newest window in a look
_LIKE = 0.35  # of its likeness to itself; less is another object

Points = NDArray[np.float64]


class ObjectLook:
    """A picture of two channels, OFF and ON, 49 cells wide; a cell is a pixel if that is enough."""

    def __init__(self, x: Points, y: Points, on: NDArray[np.int64], size: float) -> None:
        """Keep the look of pixels at x and y from the middle of an object of a size, in pixels."""
        self.cell = max(1.0, (size / 2 + 2) / _RADIUS)
        self._picture = self._draw(x, y, on, _RADIUS)

    def follow(self, x: Points, y: Points, on: NDArray[np.int64]) -> None:
        """Let the look change to that of pixels."""
        self._picture += _FOLLOW * (self._draw(x, y, on, _RADIUS) - self._picture)

    def find(
        self, x: Points, y: Points, on: NDArray[np.int64], within: tuple[float, float]
    ) -> tuple[float, float, float] | None:
        """Return how far the most alike pixels are from the prediction, and how alike, 0 to 1.

        None if none are.

        x, y    of pixels, from the predicted middle
        within  the farthest it may be, in x and y
        """
        import cv2

        there = self._draw(x, y, on, _RADIUS + _SEARCH)
        like = cv2.matchTemplate(there, self._picture, cv2.TM_CCORR)
        away = (np.arange(2 * _SEARCH + 1) - _SEARCH) * self.cell
        like *= np.exp(-0.5 * (away[None, :] / max(within[0], 0.5)) ** 2)
        like *= np.exp(-0.5 * (away[:, None] / max(within[1], 0.5)) ** 2)
        row, column = np.unravel_index(int(like.argmax()), like.shape)
        alike = float(like[row, column]) / max(float((self._picture**2).sum()), 1e-9)
        if alike < _LIKE:
            return None
        return (
            away[column] + self.cell * _top(like[row], int(column)),
            away[row] + self.cell * _top(like[:, column], int(row)),
            min(alike, 1.0),
        )

    def _draw(
        self, x: Points, y: Points, on: NDArray[np.int64], radius: int
    ) -> NDArray[np.float32]:
        import cv2

        side = 2 * radius + 1
        column = np.floor(x / self.cell + radius + 0.5).astype(np.int64)
        row = np.floor(y / self.cell + radius + 0.5).astype(np.int64)
        kept = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        picture = np.zeros((side, side, 2), np.float32)
        picture[row[kept], column[kept], on[kept]] = 1.0
        return np.asarray(cv2.GaussianBlur(picture, (5, 5), 1.0), np.float32)


def _top(values: NDArray[Any], at: int) -> float:
    """Return how far the top of a parabola through three values is from the middle one."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = (float(each) for each in values[at - 1 : at + 2])
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
