"""A small recurrent network from voxel grids to images: its description and its module.

It has a level for the full resolution and one for each halving. Each level keeps a state, which its
input changes through a gate. The image is decoded from the coarsest state to the finest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._checks import check_fields, check_whole, checked
from dvskit.errors import ConfigError

States = tuple[Tensor, ...]

_MOST_LEVELS = 8
_MOST_CHANNELS = 1024
_CLIP = 8.0  # of a voxel's sum of polarities: hot pixels are not brighter than others
_GATE_BIAS = -1.0  # states change slowly at first


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionNetwork:
    """The description of a network.

    bins      nodes of the voxel grid in time
    channels  of each level, from the full resolution to the coarsest

    Raises ConfigError for values out of range.

        network = dvskit.reconstruction.ReconstructionNetwork(bins=5, channels=(4, 8))
        module, states = network.build(), None  # None: before the first window
        voxels = torch.zeros(1, 5, 64, 64)  # sides are multiples of network.multiple, 2
        for _ in range(3):
            image, states = module(voxels, states)  # (1, 1, 64, 64), from 0 to 1
    """

    bins: int = checked(check_whole, 1, 64, default=5)
    channels: tuple[int, ...] = (8, 16, 16, 16)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "channels", tuple(self.channels))
        if not 1 <= len(self.channels) <= _MOST_LEVELS:
            raise ConfigError(
                f"channels = {list(self.channels)}; give 1 to {_MOST_LEVELS} numbers, one a level"
            )
        for each in self.channels:
            check_whole("channels", each, 1, _MOST_CHANNELS)

    @property
    def name(self) -> str:
        """The name in messages."""
        return "reconstruction"

    @property
    def values(self) -> dict[str, Any]:
        """The fields, as in the table [network]."""
        return asdict(self)

    @property
    def multiple(self) -> int:
        """The width and the height that `build` takes are multiples of this."""
        return 1 << (len(self.channels) - 1)

    def build(self) -> ReconstructionModule:
        """Return the module with new weights from torch's generator."""
        return ReconstructionModule(self.bins, self.channels)


class ReconstructionModule(nn.Module):
    """Voxel grids of consecutive windows to images.

    module(voxels (B, bins, H, W), states) -> images (B, 1, H, W) from 0 to 1, and the states after
    them, a tuple of tensors (B, ...). States None are those before the first window.
    """

    def __init__(self, bins: int, channels: Sequence[int]) -> None:
        super().__init__()
        steps = [*pairwise(channels)]
        self.head = _conv3(bins, channels[0])
        self.down = nn.ModuleList(_conv3(fine, coarse, stride=2) for fine, coarse in steps)
        self.cells = nn.ModuleList(map(_Cell, channels))
        self.up = nn.ModuleList(_conv3(coarse, fine) for fine, coarse in steps)
        self.mix = nn.ModuleList(_conv3(fine, fine) for fine, _ in steps)
        self.last = nn.Conv2d(channels[0], 1, 1)

    def forward(self, voxels: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the images of one window, and the states after it."""
        images, after = self.windows(voxels[None], states)
        return images[0], after

    def windows(self, voxels: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the images (n, B, 1, H, W) of n consecutive windows, and the states after them.

        voxels  (n, B, bins, H, W)

        Only the states go from window to window. Everything else takes all windows at once.
        """
        number = voxels.shape[:2]
        given = voxels.flatten(0, 1).clamp(-_CLIP, _CLIP)
        # Convolutions of oneDNN are faster with channels last.
        x = functional.relu(self.head(given.contiguous(memory_format=torch.channels_last)))
        levels: list[Tensor] = []
        after: list[Tensor] = []
        for level, cell in enumerate(self.cells):
            if level:
                x = functional.relu(self.down[level - 1](x))
            state = None if states is None else states[level]
            kept: list[Tensor] = []
            for window in x.chunk(number[0]):  # which keeps channels last
                state = cell(window, state)
                kept.append(state)
            x = torch.cat(kept) if len(kept) > 1 else kept[0]
            levels.append(x)
            after.append(kept[-1])
        for level in reversed(range(len(levels) - 1)):
            fine = levels[level]
            coarse = functional.interpolate(
                self.up[level](x), size=fine.shape[-2:], mode="bilinear", align_corners=False
            )
            joined = functional.relu(coarse + fine)
            x = functional.relu(self.mix[level](joined) + coarse)
        images = torch.sigmoid(self.last(x))
        return images.view(*number, *images.shape[1:]), tuple(after)


class _Cell(nn.Module):
    """A state that moves towards a new one: by a gate of 1x1, to a candidate of 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        self.candidate = _conv3(2 * channels, channels)
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, _GATE_BIAS)

    def forward(self, x: Tensor, state: Tensor | None) -> Tensor:
        if state is None:
            state = torch.zeros_like(x)
        both = torch.cat([x, state], 1)
        gate = torch.sigmoid(self.gate(both))
        return state + gate * (torch.tanh(self.candidate(both)) - state)


def _conv3(given: int, made: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, 3, stride=stride, padding=1)
