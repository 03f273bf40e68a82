"""A small recurrent network from voxel grids to images: description, module, files, passes.

The network has a level for the full resolution and one for each halving. Each level keeps a state,
which its input changes through a gate. The image is decoded from the coarsest state to the finest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit._checks import check_fields, check_whole, checked
from dvskit._files import whole_file
from dvskit._tables import read_table
from dvskit.errors import ConfigError, DvskitError, ModelError, one_line
from dvskit.events import Events, Size, as_size
from dvskit.networks.model_folder import (
    DIGEST,
    MODEL_TOML,
    WEIGHTS,
    check_header,
    find_model,
    load_weights,
    read_toml,
)
from dvskit.networks.network import outline, silence
from dvskit.networks.onnx import export
from dvskit.reconstruction.image_kernels import normalize_nonzero
from dvskit.tensors import VoxelGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelInput:
    """The voxel grid of a window of events, as image networks take it: (bins, H, W) float32.

    An event at time t adds its polarity, +1 or -1, to the two nodes nearest to t* = (bins - 1)
    (t - t0)/(t1 - t0), by distance (see `VoxelGrid`). The times t0 and t1 are those of the first
    and the last event, unless the ends of the window are given.

    bins        the number of nodes
    normalized  shift and scale the voxels other than 0 to mean 0 and standard deviation 1, as E2VID
                does (Rebecq et al. 2019); equal voxels stay as they are

        window = dvskit.load_events("events.raw").between(400_000, 450_000)
        voxels = dvskit.reconstruction.VoxelInput(bins=5)(window)  # (5, 128, 128) float32
        voxels.sum()  # the number of ON events less that of OFF events
    """

    bins: int = 5
    normalized: bool = False

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
        if self.normalized:
            normalize_nonzero(voxels.reshape(-1))
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


TASK = "reconstruction"
_ABOUT = ("start", "seed", "steps", "sequences", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelTable:
    """The content of model.toml."""

    task: str
    name: str
    network: ReconstructionNetwork
    weights_sha256: str | None = None
    start: str = ""
    seed: int = 0
    steps: int = 0
    sequences: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ReconstructionModel:
    """A network with its weights.

    name    of the model
    module  voxels (B, bins, H, W), states -> images (B, 1, H, W), states
    about   tables about data and scores, of plain values

        network = dvskit.reconstruction.ReconstructionNetwork(channels=(4, 8))
        model = dvskit.reconstruction.ReconstructionModel("mine", network, network.build())
        with torch.inference_mode():
            image, states = model.module(torch.zeros(1, 5, 64, 64), None)  # (1, 1, 64, 64)
    """

    name: str
    network: ReconstructionNetwork
    module: nn.Module
    about: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        weights = sum(each.numel() for each in self.module.parameters())
        return f"<ReconstructionModel {self.name}: {weights:,} weights>"


def load_reconstruction_model(name_or_path: str | PathLike[str]) -> ReconstructionModel:
    """Return a shipped model by name, or the model in a folder, ready for use on the CPU.

    Its file names no code. Raises ModelError if there is no such model, if it is a classifier, or
    if its files are missing, damaged or do not fit together.

        model = dvskit.reconstruction.load_reconstruction_model("reconstruct")
        model.network.bins, model.network.channels  # (5, (8, 16, 16, 16))
        model.about["scores"]  # on held-out sequences, by name
    """
    folder = find_model(name_or_path, TASK)
    path = folder / MODEL_TOML
    values = read_toml(path)
    if values.get("task") != TASK:
        raise ModelError(
            f"{path}: has no task = {TASK!r}, so its model makes no images from events; use a "
            "classifier with dvskit classify --model"
        )
    try:
        table = read_table(_ModelTable, values)
        shapes = outline(table.network).state_dict()  # type: ignore[arg-type]
    except DvskitError as error:
        raise ModelError(f"{path}: {one_line(error)}") from error
    check_header(folder / WEIGHTS, shapes)
    module = table.network.build()
    load_weights(folder / WEIGHTS, module, values.get(DIGEST))
    about = {key: value for key, value in values.items() if key in _ABOUT}
    return ReconstructionModel(table.name, table.network, module.eval(), about)


def to_onnx(
    model: ReconstructionModel,
    path: str | PathLike[str],
    *,
    size: tuple[int, int],
    overwrite: bool = False,
) -> None:
    """Write one step of a model for a sensor's size (width, height) as an ONNX file.

    The graph takes "events" (1, bins, H, W) and the states "state0", "state1", ..., which are 0 at
    first. It returns "image" (1, 1, H, W), from 0 to 1, and the states after the step, as
    "state0_next". H and W are rounded up to multiples of `model.network.multiple`. Raises
    ConfigError without the packages onnx and onnxscript, OutputError if the file exists and
    `overwrite` is false.

        network = dvskit.reconstruction.ReconstructionNetwork(channels=(4,))
        model = dvskit.reconstruction.ReconstructionModel("mine", network, network.build())
        dvskit.reconstruction.to_onnx(model, "mine.onnx", size=(128, 128))
    """
    width, height = as_size(size)
    multiple = model.network.multiple
    width, height = width + -width % multiple, height + -height % multiple
    voxels = silence(model.module, 1, model.network.bins, height, width)
    with torch.no_grad():
        states = tuple(map(torch.zeros_like, model.module(voxels)[1]))
    names = [f"state{number}" for number in range(len(states))]
    ends = ["events", *names], ["image", *(f"{name}_next" for name in names)]
    with whole_file(Path(path), overwrite=overwrite) as partial:
        export("to_onnx", _Flat(model.module), (voxels, *states), partial, ends)


class _Flat(nn.Module):
    """A step with the states as separate inputs and outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, voxels: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        image, after = self.module(voxels, states)
        return image, *after


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
