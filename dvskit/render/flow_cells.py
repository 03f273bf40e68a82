"""The mean flow of the events in the cells of a grid, as arrows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.motion import Flow

_COLUMNS, _LEAST_PX = 16, 8
_PARTS = 1024  # of a px/s


@dataclass(frozen=True, slots=True)
class FlowCells:
    """A grid of square cells of `cell_px` on a sensor; those at the right and below may be cut."""

    size: Size
    cell_px: int

    @classmethod
    def on(cls, size: Size, cell_px: int | None = None) -> FlowCells:
        """Return the grid with 16 cells along the longer side, or with cells of a size."""
        return cls(size, cell_px or max(_LEAST_PX, round(max(size) / _COLUMNS)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return -(-self.size.height // self.cell_px), -(-self.size.width // self.cell_px)

    def sums(self, flow: Flow) -> NDArray[np.float64]:
        """Return the sums of vx and vy of the known velocities, and their number: (3, cells)."""
        known = flow.known
        rows, columns = self.shape
        cell = flow.events.y[known].astype(np.int64) // self.cell_px * columns
        cell += flow.events.x[known] // self.cell_px
        # Sums of whole numbers are exact, so that they do not depend on the blocks.
        whole = (np.rint(_PARTS * each[known].astype(np.float64)) for each in (flow.vx, flow.vy))
        found = [np.bincount(cell, each, rows * columns) for each in (*whole, None)]
        return np.stack([found[0] / _PARTS, found[1] / _PARTS, found[2]])

    def arrows(self, sums: NDArray[np.float64], least: int) -> NDArray[np.float64]:
        """Return x, y of the cells with at least `least` events, and their mean vx, vy: (n, 4)."""
        (at,) = np.nonzero(sums[2] >= least)
        row, column = np.divmod(at, self.shape[1])
        middle = (self.cell_px - 1) / 2
        return np.stack(
            [
                column * self.cell_px + middle,
                row * self.cell_px + middle,
                *sums[:2, at] / sums[2, at],
            ],
            axis=1,
        )
