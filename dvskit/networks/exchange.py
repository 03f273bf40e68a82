"""What all ways to other libraries and files share: the layers in a row, and their errors."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dvskit.errors import ArgumentError, ConfigError, did_you_mean
from dvskit.layers import Dropout, Sequence
from dvskit.networks.network import NetworkModule
from dvskit.neurons import Neurons

Shape = tuple[int, ...]
"""The shape of one time step of one sample: (channels, rows, columns), or (numbers,)."""
_OF_A_STEP = "that of one time step of one sample, (channels, rows, columns) or (numbers,)"


def optional_package(name: str, caller: str) -> Any:
    """Return a package that dvskit does not need elsewhere. Raises ConfigError if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(
            f"{caller} needs the package {package}, which cannot be imported ({error}); "
            f"pip install {package}"
        ) from error


def layers_in_a_row(
    module: nn.Sequential, leave_out: Collection[str], caller: str
) -> list[tuple[str, nn.Module]]:
    """Return the layers of a Sequence by name, those inside other Sequences too: "block.conv".

    Dropout, which does nothing outside training, and those named in `leave_out` are not among them.
    Raises ConfigError for a name that there is not.
    """
    every = list(_flat(module, ""))
    known = [name for name, _ in every]
    for name in leave_out:
        if name not in known:
            raise ConfigError(f"{caller}: leave_out has {name!r}; {did_you_mean(name, known)}")
    return [
        (name, layer)
        for name, layer in every
        if name not in leave_out and not isinstance(layer, Dropout)
    ]


def _flat(module: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in module.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


def input_shape(module: nn.Module, shape: Shape | None, caller: str) -> Shape:
    """Return the shape of one time step: as given, or as a network's description says."""
    if shape is not None:
        if isinstance(shape, int | str):
            raise ArgumentError(f"{caller}: shape = {shape!r} is no tuple; it is {_OF_A_STEP}")
        if not shape or min(shape) < 1:
            raise ConfigError(
                f"{caller}: shape = {shape} is not of numbers of at least 1; it is {_OF_A_STEP}"
            )
        return tuple(shape)
    if isinstance(module, NetworkModule):
        return module.step_shape
    raise ConfigError(
        f"{caller}: a {type(module).__name__} does not know its input; pass shape=, {_OF_A_STEP}"
    )


def silence(module: nn.Module, *shape: int) -> Tensor:
    """Return zeros of a shape, of the dtype and on the device of the module's weights."""
    weights = next(module.parameters(), torch.zeros(0))
    return torch.zeros(shape, dtype=weights.dtype, device=weights.device)


@contextmanager
def plain_evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation, its neurons into plain torch, and both back behind it."""
    training = [(part, part.training) for part in module.modules()]
    backends = [(part, part.backend) for part in module.modules() if isinstance(part, Neurons)]
    try:
        module.eval()
        for part, _ in backends:
            part.backend = "torch"
        yield
    finally:
        for each, was in training:
            each.training = was
        for part, backend in backends:
            part.backend = backend


def named_row(layers: list[tuple[str, nn.Module]]) -> Sequence:
    """Return a Sequence of layers under their names, changed where torch could not take them."""
    row = Sequence()
    for name, layer in layers:
        name = name.replace(".", "_") or "layer"
        while name in dict(row.named_children()) or hasattr(row, name):
            name += "_"
        row.add_module(name, layer)
    return Sequence(OrderedDict(row.named_children()))
