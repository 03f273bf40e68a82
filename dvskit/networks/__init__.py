"""Networks: each is a frozen dataclass that describes one; its `build` makes the module.

    "conv-lif"      ConvLIF      two convolutions, for small sensors
    "motion-lif"    MotionLIF    convolutions and neurons with growing time constants, for movements
    "residual-lif"  ResidualLIF  residual blocks with tdBN: SEW, or MS-ResNet
    "gesture-net"   GestureNet   the usual benchmark network of DVS128 Gesture (Fang et al. 2021)
    "point-net"     PointNet     over the points of an event cloud
    "layers"        Layered      any chain of layers, written as in papers
    of your own     ModuleNetwork  any torch.nn.Module; `register_network` gives it a name

The first four take `neurons`: "lif", "signed-lif", "plif", other neurons, also your own
(`dvskit.neurons.register_neuron`), or "relu", the ANN of the same shape.
`network_from` and `network_values` convert from and to tables of configurations. Descriptions raise
ConfigError for values out of range.

Recordings and still images: all networks but PointNet take both. Encoded images are spikes of the
same shape as counts, (T, B, 2, H, W), and use the same weights. The samples of a batch are
independent (with batch normalisation: in evaluation).

Other libraries and devices: `to_nir`, `write_nir` and `from_nir` (the neuromorphic intermediate
representation), `write_onnx`, and `write_onnx_step` with `onnx_start` (ONNX), `to_snntorch`,
`from_snntorch` and `snntorch_state`. The packages they need are installed separately. The docstring
of each lists features without a counterpart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from dvskit._arguments import check_arguments
from dvskit._tables import read_table, table_of
from dvskit.errors import REGISTER_FIRST, ConfigError, did_you_mean, one_line
from dvskit.networks.chains import ConvLIF, MotionLIF, PointNet
from dvskit.networks.layered import Layered
from dvskit.networks.network import Maker, ModuleNetwork, Network, NetworkModule
from dvskit.networks.nir_reading import from_nir
from dvskit.networks.nir_writing import to_nir, write_nir
from dvskit.networks.onnx_step import onnx_start, write_onnx, write_onnx_step
from dvskit.networks.residual_lif import GestureNet, ResidualLIF
from dvskit.networks.snntorch_layers import from_snntorch, snntorch_state, to_snntorch
from dvskit.registry import Registry

__all__ = [
    "NETWORKS",
    "ConvLIF",
    "GestureNet",
    "Layered",
    "ModuleNetwork",
    "MotionLIF",
    "Network",
    "NetworkModule",
    "PointNet",
    "ResidualLIF",
    "from_nir",
    "from_snntorch",
    "network_from",
    "network_values",
    "onnx_start",
    "register_network",
    "snntorch_state",
    "to_nir",
    "to_snntorch",
    "write_nir",
    "write_onnx",
    "write_onnx_step",
]

_DVSKIT: Mapping[str, Maker] = {
    "conv-lif": ConvLIF,
    "gesture-net": GestureNet,
    "layers": Layered,
    "motion-lif": MotionLIF,
    "point-net": PointNet,
    "residual-lif": ResidualLIF,
}
NETWORKS: Registry[Maker] = Registry("network", _DVSKIT)
"""The kinds of networks by name."""
_LARGEST = 2**31 - 1  # for whole numbers: torch counts elements in 64 bits
_NEEDED = ("name", "width", "height", "classes")


@check_arguments
def register_network(name: str, kind: Maker) -> None:
    """Add a network of your own under a name, for configurations and `load_model`.

    kind  a torch.nn.Module class, or a function that makes a module, from the values in
          [network.arguments]; or a description: a frozen dataclass with the fields width, height,
          classes and `name: str = "<name>"`, and a method build() that returns a module

    The module maps inputs (T, B, channels, height, width) to logits (B, classes), or to those of
    each step, (T, B, classes). Example, with a configuration for it:

        import torch
        from dvskit.networks import register_network

        class MyNet(torch.nn.Module):
            def __init__(self, pixels=1156):
                super().__init__()
                self.readout = torch.nn.Linear(2 * pixels, 10)

            def forward(self, counts):
                return self.readout(counts.flatten(2)).mean(0)

        register_network("my-net", MyNet)

        # [network]
        # name = "my-net"
        # width = 34
        # height = 34
        # classes = 10
        # [network.arguments]
        # pixels = 1156

    width, height, classes and inputs of [network] are not passed to the module: if it needs them,
    they go into [network.arguments], too.

    An installed package registers its networks for the command line: see `dvskit.registry`.
    Raises ConfigError for a name that is taken and for another kind.
    """
    _check_kind(name, kind)
    NETWORKS.register(name, kind)


def _check_kind(name: str, kind: Any) -> None:
    if isinstance(kind, nn.Module) or not callable(kind):
        raise ConfigError(
            f"register_network: {name!r} is {type(kind).__name__}; give a class, or a function "
            "that makes a torch.nn.Module"
        )
    if not isinstance(kind, type) or issubclass(kind, nn.Module):
        return
    known = {each.name: each.default for each in fields(kind)} if is_dataclass(kind) else {}
    lacking = [key for key in _NEEDED if key not in known]
    if lacking or not hasattr(kind, "build"):
        what = f"the fields {', '.join(lacking)}" if lacking else "a method build()"
        raise ConfigError(
            f"register_network: {kind.__name__} lacks {what}; give a subclass of torch.nn.Module, "
            "or a frozen dataclass with width, height, classes, name and build()"
        )
    if known["name"] != name:
        raise ConfigError(
            f"register_network: {kind.__name__} is registered as {name!r}, but its field name has "
            f"another default; write name: str = {name!r}"
        )


def network_from(values: Mapping[str, Any], networks: Mapping[str, Maker] | None = None) -> Network:
    """Return the network described by a table of a configuration or a model.

    networks  kinds of networks by name, before the registered ones: see `register_network`

    The default name is "layers" if the table has layers, else "conv-lif".
    Raises ConfigError for an unknown name, an unknown field and values out of range.

        network = dvskit.networks.network_from({"name": "conv-lif", "width": 64, "height": 64})
        network.classes  # 10, the default of ConvLIF
    """
    table = table_of(values, "network")
    name = table.get("name", "layers" if "layers" in table else "conv-lif")
    if not isinstance(name, str):
        raise ConfigError(f"network.name = {name!r} must be a text")
    _check_numbers("network", table)
    kind: Any = networks[name] if networks and name in networks else _registered(name)
    known = _fields(kind)
    for key in table:
        others = [other for other in NETWORKS if key in _fields(NETWORKS[other])]
        if key not in known and others:
            raise ConfigError(
                f"unknown network.{key}, as network.name is {name!r}; {' or '.join(others)} has it"
            )
        if key not in known:
            raise ConfigError(f"unknown network.{key}; {did_you_mean(key, known)}")
    try:
        if not _describes(kind):
            return read_table(ModuleNetwork, {**table, "module": kind}, "network")
        network: Network = read_table(kind, table, "network")
    except (TypeError, ValueError) as error:  # of a class of the caller's
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"network {name!r}: {one_line(error)}") from error
    return network


def _registered(name: str) -> Maker:
    try:
        return NETWORKS.find(name)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; for a network of your own pass load_model(folder, networks={{{name!r}: "
            f"...}}), or {REGISTER_FIRST}: dvskit.networks.register_network"
        ) from None


def _describes(kind: Any) -> bool:
    """Return whether a kind is the class of descriptions, and not a maker of modules."""
    return isinstance(kind, type) and is_dataclass(kind) and not issubclass(kind, nn.Module)


def _check_numbers(key: str, value: Any) -> None:
    """Raise ConfigError for numbers that are not finite or too large for a size."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check_numbers(f"{key}.{name}", each)
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            _check_numbers(f"{key}[{place}]", each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key} = {value} is not finite")
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise ConfigError(f"{key} is larger than {_LARGEST:,}")


def network_values(network: Network) -> dict[str, Any]:
    """Return the values from which `network_from` makes the same network, if it is a dataclass.

    They are those of the table [network] of a configuration, such as "name" and "width".

        network = dvskit.networks.ConvLIF(classes=3)
        values = dvskit.networks.network_values(network)
        values["name"], values["classes"]  # ("conv-lif", 3)
        dvskit.networks.network_from(values) == network  # True
    """
    if not is_dataclass(network):
        raise ConfigError(
            f"network {type(network).__name__} is not a dataclass, so its values cannot be "
            "saved; put @dataclass(frozen=True) above it"
        )
    return {each.name: getattr(network, each.name) for each in fields(network) if each.compare}


def is_own(network: Network) -> bool:
    """Return whether a network is not one of dvskit's named networks."""
    return type(network) not in _DVSKIT.values()


def _fields(kind: Any) -> list[str]:
    """Return the keys of a network's table."""
    found = fields(kind if _describes(kind) else ModuleNetwork)
    return [each.name for each in found if each.name != "module"]
