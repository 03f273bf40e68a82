"""Where the events of pixels go: columns and rows apart, or a place for each pixel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int32]  # (H, W) of y * 65536 + x; below 0 is nowhere


class Axes(NamedTuple):
    """Columns and rows that are mapped apart: x' = columns[x], y' = rows[y], int16.

    With `swap`, x' = columns[y] and y' = rows[x]. Below 0 is nowhere: the events are left out.
    """

    columns: NDArray[np.int16]
    rows: NDArray[np.int16]
    swap: bool = False

    def places(self) -> Places:
        """Return the same as places of pixels."""
        if self.swap:
            return place(self.columns[:, None], self.rows[None, :])
        return place(self.columns[None, :], self.rows[:, None])


def place(x: NDArray[Any], y: NDArray[Any]) -> Places:
    """Return places: y * 65536 + x, and -1 where either is below 0."""
    x, y = x.astype(np.int32), y.astype(np.int32)
    return np.where((x < 0) | (y < 0), np.int32(-1), (y << 16) | x)


def one_behind_the_other(first: Axes | Places, second: Axes | Places, number: int) -> Axes | Places:
    """Return both maps in one; where the second leaves out, it says -1 - number."""
    if isinstance(first, Axes) and isinstance(second, Axes):
        of = (first.rows, first.columns) if second.swap else (first.columns, first.rows)
        return Axes(
            _behind(of[0], second.columns, number),
            _behind(of[1], second.rows, number),
            first.swap != second.swap,
        )
    one, two = (each.places() if isinstance(each, Axes) else each for each in (first, second))
    known = np.maximum(one, 0)
    there = two[known >> 16, known & 0xFFFF]
    return np.where(one < 0, one, np.where(there < 0, np.int32(-1 - number), there))


def _behind(one: NDArray[np.int16], two: NDArray[np.int16], number: int) -> NDArray[np.int16]:
    there = two[np.maximum(one, 0)]
    return np.where(one < 0, one, np.where(there < 0, np.int16(-1 - number), there))
