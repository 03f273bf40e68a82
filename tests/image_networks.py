"""Image networks in the layouts of FireNet and E2VID, with random weights, and their ONNX files."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Gates(nn.Module):
    """A ConvGRU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.out = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        return (1 - update) * h + update * torch.tanh(self.out(torch.cat([x, reset * h], 1)))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class FireShaped(nn.Module):
    """Head, ConvGRU, residual, ConvGRU, residual, 1x1: two states of the size of the sensor."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.head = nn.Conv2d(5, channels, 3, padding=1)
        self.gru1, self.gru2 = Gates(channels), Gates(channels)
        self.res1, self.res2 = Residual(channels), Residual(channels)
        self.out = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor, h1: Tensor, h2: Tensor) -> tuple[Tensor, ...]:
        h1 = self.gru1(torch.relu(self.head(x)), h1)
        h2 = self.gru2(self.res1(h1), h2)
        return self.out(self.res2(h2)), h1, h2

    def rest(self, height: int, width: int) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(1, self.channels, height, width) for _ in range(2))


class E2vidShaped(nn.Module):
    """Three layers that halve, each with two states, and one that enlarges: six states.

    Sides must be multiples of 8.
    """

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.wide = [5, *(channels << k for k in range(1, 4))]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in pairwise(self.wide)
        )
        self.up = nn.ConvTranspose2d(self.wide[-1], 1, 8, stride=8)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        after: list[Tensor] = []
        for down, h, c in zip(self.down, states[::2], states[1::2], strict=True):
            x = torch.tanh(down(x) + h - c)
            after += [x, (x + c) / 2]
        return torch.sigmoid(self.up(x)), *after

    def rest(self, height: int, width: int) -> tuple[Tensor, ...]:
        return tuple(
            torch.zeros(1, channels, height >> k, width >> k)
            for k, channels in enumerate(self.wide[1:], 1)
            for _ in range(2)
        )


FIRE_NAMES = ["x", "h1", "h2"], ["image", "h1.next", "h2.next"]
_STATES = [f"state_{k}_{part}" for k in range(3) for part in "hc"]
E2VID_NAMES = ["voxels", *_STATES], ["image", *(f"new_{name}" for name in _STATES)]


def export(
    network: nn.Module, path: Path, names: tuple[list[str], list[str]], *,
    given: tuple[Tensor, ...] | None = None, free: bool = True, sides: tuple[int, int] = (16, 24),
) -> Path:  # fmt: skip
    """Write a network as ONNX; `free` leaves the last two sides of all inputs open."""
    if given is None:
        given = (torch.zeros(1, 5, *sides), *network.rest(*sides))  # type: ignore[operator]
    axes: dict[str, Any] = {}
    if free:
        axes = {name: {2: f"{name}_h", 3: f"{name}_w"} for name in names[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other exporter takes half a minute
        torch.onnx.export(
            network.eval(), given, str(path), input_names=names[0], output_names=names[1],
            opset_version=17, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
    return path


def seeded(kind: type[Any], seed: int = 0, **how: int) -> Any:
    """Return a network with weights of a seed; biases make its image differ from zero."""
    torch.manual_seed(seed)
    return kind(**how).eval()
