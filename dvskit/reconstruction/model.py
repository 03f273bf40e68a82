"""A trained reconstruction network: saved, loaded with its files checked, and written as ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._files import whole_file
from dvskit._tables import read_table
from dvskit.errors import DvskitError, ModelError, one_line
from dvskit.events import as_size
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
from dvskit.reconstruction.network import ReconstructionNetwork

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
