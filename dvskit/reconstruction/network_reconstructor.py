"""A trained network as a Reconstructor: the windows between images, and its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit.events import Events, Size, as_size
from dvskit.reconstruction.model import ReconstructionModel
from dvskit.reconstruction.network import States
from dvskit.reconstruction.voxels import EventWindow, VoxelInput


@dataclass(frozen=True, slots=True, eq=False)
class NetworkReconstructor:
    """A network from events to images; it uses no frames.

    The events between two images are one window: a voxel grid from its first to its last event.
    Without events the grid is 0, and the network still takes a step. A sensor of any size is padded
    to multiples of `model.network.multiple`. Images are computed on the device of the weights.

        model = dvskit.reconstruction.load_reconstruction_model("reconstruct")
        method = dvskit.reconstruction.NetworkReconstructor(model)
        events = dvskit.filters.Crop(32, 32, 64, 64)(dvskit.load_events("events.raw"))
        images = dvskit.reconstruction.reconstruct(events, method, [100_000, 200_000])
        t_us, image = next(iter(images))  # 100000, (64, 64) uint8
    """

    model: ReconstructionModel

    def start(self, size: Size) -> _NetworkPass:
        """Return one pass over a stream of a sensor's size."""
        return _NetworkPass(self.model, as_size(size))


class _NetworkPass:
    def __init__(self, model: ReconstructionModel, size: Size) -> None:
        self._module = model.module
        self._size = size
        self._voxels = VoxelInput(bins=model.network.bins)
        self._multiple = model.network.multiple
        self._window = EventWindow(size)
        self._states: States | None = None
        self._device = next(model.module.parameters()).device

    def add(self, events: Events) -> None:
        """Take in events."""
        self._window.add(events)

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Ignore a frame."""

    def image(self, t_us: int) -> NDArray[np.float32]:
        """Return the brightness at `t_us`, (height, width), 0 black to 1 white."""
        voxels = torch.from_numpy(self._voxels(self._window.take()))
        with torch.inference_mode():
            given = padded(voxels[None].to(self._device), self._multiple)
            image, self._states = self._module(given, self._states)
        whole: NDArray[np.float32] = image[0, 0].float().cpu().numpy()
        return np.ascontiguousarray(whole[: self._size.height, : self._size.width])


def padded(voxels: Tensor, multiple: int) -> Tensor:
    """Return (B, bins, H, W) with zeros at the right and below, up to multiples of a number."""
    height, width = voxels.shape[-2:]
    right, below = -width % multiple, -height % multiple
    return functional.pad(voxels, (0, right, 0, below)) if right or below else voxels
