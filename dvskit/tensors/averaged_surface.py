"""Events -> averaged time surfaces, one per cell of the sensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.events import Events, Source, as_size, as_source, cut
from dvskit.tensors.bins import check_whole, columns_of
from dvskit.tensors.representation import planes_for, zeros_for
from dvskit.tensors.surface_kernels import add_surfaces
from dvskit.tensors.time_surface import check_tau


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class AveragedTimeSurface:
    """Histograms of averaged time surfaces: (cells, 2, S, S) float32, S = 2 * radius_px + 1.

    The sensor is cut into cells of cell_px x cell_px pixels, row by row; cells at the right and
    lower edges may be smaller. The surface of an event holds, for each place within `radius_px` in
    the same cell, the sum of exp(-age / tau) over the earlier events of its polarity there. The
    surface of a cell is the mean over its OFF events and over its ON events; 0 without events
    (Sironi et al. 2018, "HATS: histograms of averaged time surfaces for robust event-based object
    classification", equations 6 to 9). Earlier means earlier in the stream: simultaneous events
    count in their order, and an event does not count for itself.

    cell_px    the side of a cell
    radius_px  the radius of a surface
    tau_us     the age at which 1/e is left, in microseconds
    window_us  the largest age of an event; all earlier events count if None

    Events before the call's `start_us` are dropped.
    """

    cell_px: int = 10
    radius_px: int = 3
    tau_us: float
    window_us: int | None = None
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        check_whole("cell_px", self.cell_px)
        check_whole("radius_px", self.radius_px)
        check_whole("window_us", self.window_us)
        check_tau(self.tau_us)
        if self.radius_px >= self.cell_px:
            raise ShapeError(
                f"radius_px={self.radius_px} is larger than any cell of {self.cell_px} pixels"
            )

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (cells, 2, S, S)."""
        width, height = as_size(size)
        side, cell = 2 * int(self.radius_px) + 1, int(self.cell_px)
        return -(-width // cell) * -(-height // cell), 2, side, side

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the surfaces; see `Representation`."""
        source = as_source(events)
        width, height = as_size(source.size)
        shape = self.shape((width, height))
        planes = planes_for(shape, self.dtype, out)
        sums = zeros_for((2, height, width), torch.float64)
        numbers = zeros_for((2, height, width), torch.int64)
        surfaces, counts = zeros_for(shape, torch.float64), np.zeros(shape[:2], np.int64)
        kept_t = kept_at = np.empty(0, np.int64)
        window = -1 if self.window_us is None else int(self.window_us)
        origin: int | None = None
        for block in source:
            block = cut(block, start_us, None)
            if not len(block):
                continue
            origin = int(block.t[0]) if origin is None else origin
            kept_t, kept_at = (
                np.append(each, np.empty(len(block), np.int64)) for each in (kept_t, kept_at)
            )
            oldest, origin = add_surfaces(
                columns_of(block),
                (kept_t, kept_at),
                (sums, numbers),
                (surfaces, counts),
                origin,
                (int(self.cell_px), window, float(self.tau_us)),
            )
            # Without a window no event expires, so none need be kept.
            oldest = len(kept_t) if window < 0 else oldest
            kept_t, kept_at = kept_t[oldest:].copy(), kept_at[oldest:].copy()
        surfaces /= np.maximum(counts, 1)[:, :, None, None]
        rows = surfaces.reshape(shape[0], prod(shape[1:]))
        for cell in range(shape[0]):
            planes.plane(cell)[:] = rows[cell]
        return planes.finish()
