"""The input of image networks: the events of a window as a voxel grid with few nodes in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.reconstruction.voxel_kernels import normalise_nonzero
from dvskit.tensors import VoxelGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelInput:
    """The voxel grid of a window of events, as image networks take it: (bins, H, W) float32.

    An event at time t adds its polarity, +1 or -1, to the two nodes nearest to t* = (bins - 1)
    (t - t0)/(t1 - t0), by distance (see `VoxelGrid`). The times t0 and t1 are those of the first
    and the last event, unless the ends of the window are given.

    bins        the number of nodes
    normalised  shift and scale the voxels other than 0 to mean 0 and standard deviation 1, as E2VID
                does (Rebecq et al. 2019); equal voxels stay as they are

        window = dvskit.load_events("events.raw").between(400_000, 450_000)
        voxels = dvskit.reconstruction.VoxelInput(bins=5)(window)  # (5, 128, 128) float32
        voxels.sum()  # the number of ON events less that of OFF events
    """

    bins: int = 5
    normalised: bool = False

    def __call__(
        self, events: Events, *, start_us: int | None = None, stop_us: int | None = None
    ) -> NDArray[np.float32]:
        """Return the voxel grid, (bins, H, W); zeros without events.

        Raises ShapeError for events outside start_us <= t <= stop_us, if these are given.
        """
        if start_us is None:
            start_us = int(events.t[0]) if len(events) else 0
        if stop_us is None:
            stop_us = int(events.t[-1]) if len(events) else start_us
        duration_us = max(1, stop_us - start_us)
        grid = VoxelGrid(bins=self.bins, duration_us=duration_us)(events, start_us=start_us)
        voxels: NDArray[np.float32] = grid.numpy()[:, 0]
        if self.normalised:
            normalise_nonzero(voxels.reshape(-1))
        return voxels


class EventWindow:
    """The events of a pass since the last image; `take` returns them and begins the next window.

    The memory is that of the blocks that hold the window's events, 13 bytes an event: a window that
    is never taken grows with the stream.
    """

    def __init__(self, size: Size) -> None:
        self._size = size
        self._blocks: list[Events] = []

    def add(self, events: Events) -> None:
        """Add a block of events; its borders have no meaning."""
        self._blocks.append(events)

    def take(self) -> Events:
        """Return the events of the window, and begin the next one.

        Raises EventsError if times decrease from block to block, GeometryError for another size.
        """
        blocks, self._blocks = self._blocks, []
        return Events.concatenate(blocks, self._size)
