"""Your own networks: any torch.nn.Module, described like other networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.networks.network import Network

Maker = Callable[..., Network | nn.Module]
"""A class or a function that makes a network from the values in a model's file."""


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNetwork:
    """Any torch.nn.Module as a network.

    module     takes (T, B, inputs, H, W), for a point set (N, B, 4), and returns logits
               (B, classes) or those of each step (T, B, classes). It is trained in place
    width      of the input, pixels                height     of the input, pixels
    classes    number of logits                    inputs     channels of the input
    arguments  values that make the module again: `load_model(folder, networks={name: make})` calls
               make(**arguments). Numbers, texts, booleans and lists of them
    name       of the network in the model's file; default: the class of the module

    Raises ConfigError for sizes below 1.
    """

    module: nn.Module = field(compare=False, repr=False)
    width: int
    height: int
    classes: int
    inputs: int = 2
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):  # annotations contain no classes of torch here
            kind = type(self.module).__name__
            raise ConfigError(f"ModuleNetwork: module is {kind}; it must be a torch.nn.Module")
        object.__setattr__(self, "arguments", dict(self.arguments))
        object.__setattr__(self, "name", self.name or type(self.module).__name__)
        if min(self.width, self.height, self.classes, self.inputs) < 1:
            raise ConfigError(
                f"width = {self.width}, height = {self.height}, classes = {self.classes}, inputs = "
                f"{self.inputs}: numbers of at least 1 are required"
            )

    def build(self) -> nn.Module:
        """Return the module itself, with its current weights."""
        return self.module
