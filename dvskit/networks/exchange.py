"""Code shared by all exports and imports: layers in a row, and their errors."""

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
    """Return an optional package. Raises ConfigError if it cannot be imported."""
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
    """Return the layers of a Sequence by name, but for Dropout and `leave_out`."""
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
    """Return the shape of one time step: `shape`, or that of a network's description."""
    if shape is not None:
        if isinstance(shape, int | str):
            raise ArgumentError(f"{caller}: shape = {shape!r} is not a tuple; it is {_OF_A_STEP}")
        if not shape or min(shape) < 1:
            raise ConfigError(
                f"{caller}: shape = {shape} must have numbers of at least 1; it is {_OF_A_STEP}"
            )
        return tuple(shape)
    if isinstance(module, NetworkModule):
        return module.step_shape
    raise ConfigError(
        f"{caller}: the input shape of {type(module).__name__} is unknown; pass shape=, "
        f"{_OF_A_STEP}"
    )


def silence(module: nn.Module, *shape: int) -> Tensor:
    """Return zeros of a shape, with the dtype and device of the module's weights."""
    weights = next(module.parameters(), torch.zeros(0))
    return torch.zeros(shape, dtype=weights.dtype, device=weights.device)


@contextmanager
def plain_evaluation(module: nn.Module) -> Iterator[None]:
    """Use evaluation mode and plain torch for the neurons within the context."""
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
    """Return a Sequence of layers under their names, adapted if torch forbids a name."""
    row = Sequence()
    for name, layer in layers:
        name = name.replace(".", "_") or "layer"
        while name in dict(row.named_children()) or hasattr(row, name):
            name += "_"
        row.add_module(name, layer)
    return Sequence(OrderedDict(row.named_children()))
