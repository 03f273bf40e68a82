"""Events -> voxel grids: signed events distributed to the two nearest nodes in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.events import Events, Source, as_size, as_source
from dvskit.tensors.bins import (
    BinnedPart,
    Bins,
    Outside,
    TimeParts,
    check_outside,
    check_whole,
    find_span,
)
from dvskit.tensors.counts_kernels import add_shares
from dvskit.tensors.representation import PlanesFill, fill


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelGrid:
    """A voxel grid, bilinear in time: (bins, 1, H, W) float32.

    An event at time t adds its polarity, +1 or -1, times max(0, 1 - |b - t*|) to bin b, with t* =
    (bins - 1) (t - start) / duration (Zhu et al. 2019, "Unsupervised event-based learning of
    optical flow, depth, and egomotion", equations 1 to 3). The sum is that of the polarities: the
    first event counts fully in the first bin, the last one in the last.

    bins         the number of nodes in time
    duration_us  the time from the first node to the last, both inclusive; up to the last event if
                 None
    outside      "error" or "ignore", for events outside a given duration

    Values are added as float32 in the order of time, with a rounding error up to 1e-7 per event.

        grid = dvskit.tensors.VoxelGrid(bins=5)
        voxels = grid(dvskit.load_events("events.raw"))    # (5, 1, 128, 128) float32
        voxels = voxels / voxels.abs().max()               # for a network of images
    """

    bins: int
    duration_us: int | None = None
    outside: Outside = "error"
    dtype: ClassVar[torch.dtype] = torch.float32
    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_whole("bins", self.bins)
        check_whole("duration_us", self.duration_us)
        check_outside(self.outside)

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, 1, H, W)."""
        width, height = as_size(size)
        return int(self.bins), 1, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the voxel grid; see `Representation`."""
        source = as_source(events)
        parts = TimeParts(source, self._intervals(source, start_us))
        tensor = fill(self, parts, _VoxelFill, out, reaching=True)
        parts.refuse_missed(self.outside)
        return tensor

    def _intervals(self, source: Source, start_us: int | None) -> Bins:
        """Return the intervals between nodes; that of the last node has one instant."""
        first, last, bins = start_us, None, int(self.bins)
        if start_us is None or self.duration_us is None:
            first, last = find_span(source)
        start = int(start_us) if start_us is not None else first or 0
        if self.duration_us is not None:
            duration = int(self.duration_us)
        else:
            duration = 0 if last is None else max(0, last - start)
        if duration and bins > 1:
            found = Bins(start, start + duration + 1, bins, bins - 1, duration)
        else:
            found = Bins(start, start + duration + 1, bins, 0, 1)  # all at the first node
        found.check()
        return found


class _VoxelFill(PlanesFill):
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        bins, node = self.bins, part.first + first
        add_shares(
            part.columns,
            (part.borders[first : stop + 1], part.borders[first - 1] if first else 0),
            self.planes.span(node, part.first + stop),
            self.width,
            (bins.start, bins.numerator, bins.denominator),
            node,
        )
