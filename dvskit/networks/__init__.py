"""Networks: each is a frozen dataclass that describes one; its `build` makes the module.

    "conv-lif"      ConvLIF      two convolutions, for small sensors
    "motion-lif"    MotionLIF    convolutions and neurons with growing time constants, for movements
    "residual-lif"  ResidualLIF  residual blocks with tdBN: SEW, or MS-ResNet
    "gesture-net"   GestureNet   the usual benchmark network of DVS128 Gesture (Fang et al. 2021)
    "point-net"     PointNet     over the points of an event cloud
    "layers"        Layered      any chain of layers, written as in papers
    of your own     ModuleNetwork  any torch.nn.Module

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

from dvskit.errors import ArgumentError, ConfigError, did_you_mean, one_line
from dvskit.networks.chains import ConvLIF, MotionLIF, PointNet
from dvskit.networks.layered import Layered
from dvskit.networks.network import Maker, ModuleNetwork, Network, NetworkModule
from dvskit.networks.nir_reading import from_nir
from dvskit.networks.nir_writing import to_nir, write_nir
from dvskit.networks.onnx_step import onnx_start, write_onnx, write_onnx_step
from dvskit.networks.residual_lif import GestureNet, ResidualLIF
from dvskit.networks.snntorch_layers import from_snntorch, snntorch_state, to_snntorch

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
    "snntorch_state",
    "to_nir",
    "to_snntorch",
    "write_nir",
    "write_onnx",
    "write_onnx_step",
]

NETWORKS: Mapping[str, type[Any]] = {
    "conv-lif": ConvLIF,
    "gesture-net": GestureNet,
    "layers": Layered,
    "motion-lif": MotionLIF,
    "point-net": PointNet,
    "residual-lif": ResidualLIF,
}
_LARGEST = 2**31 - 1  # for whole numbers: torch counts elements in 64 bits
_PLAIN = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def network_from(values: Mapping[str, Any], networks: Mapping[str, Maker] | None = None) -> Network:
    """Return the network described by a table of a configuration or a model.

    networks  makers of your own networks by name: see `dvskit.training.load_model`

    The default name is "layers" if the table has layers, else "conv-lif".
    Raises ConfigError for an unknown name, an unknown field and values out of range.
    """
    name = values.get("name", "layers" if "layers" in values else "conv-lif")
    if not isinstance(name, str):
        raise ConfigError(f"network.name = {name!r} must be a text")
    _check_numbers("network", values)
    if networks is not None and name in networks:
        return _own(name, networks[name], values)
    if name not in NETWORKS:
        hint = did_you_mean(name, {**NETWORKS, **(networks or {})})
        raise ConfigError(
            f"unknown network {name!r}; load a network of your own in Python: "
            f"load_model(folder, networks={{{name!r}: ...}}); {hint}"
        )
    known = _fields(name)
    for key in values:
        others = [other for other in NETWORKS if key in _fields(other)]
        if key not in known and others:
            raise ConfigError(
                f"unknown network.{key}, as network.name is {name!r}; {' or '.join(others)} has it"
            )
        if key not in known:
            raise ConfigError(f"unknown network.{key}; {did_you_mean(key, known)}")
    try:
        made: Network = NETWORKS[name](**values)
    except ArgumentError as error:  # its message names the field
        raise ConfigError(f"a field of network {name} has the wrong type: {error}") from None
    except TypeError as error:
        raise ConfigError(f"a field of network {name} has the wrong type: {error}") from error
    for key, value in values.items():  # Python accepts 5.0 and true as whole numbers
        if type(value) not in _PLAIN.get(known[key], (type(value),)):
            raise ConfigError(
                f"network.{key} = {value!r} is {type(value).__name__}; it must be {known[key]}"
            )
    return made


def _own(name: str, make: Maker, values: Mapping[str, Any]) -> Network:
    """Return a user's own network: described by its values, or a module."""
    is_module = "arguments" in values
    given = values["arguments"] if is_module else values
    try:
        made = make(**given)
        if is_module and isinstance(made, nn.Module):
            return ModuleNetwork(module=made, **values)
    except (TypeError, RuntimeError, MemoryError) as error:
        why = one_line(error)[:200]
        raise ConfigError(f"networks[{name!r}] does not take {dict(given)}: {why}") from error
    if is_module or isinstance(made, nn.Module) or not hasattr(made, "build"):
        wanted = "a torch.nn.Module" if is_module else "a description with build()"
        raise ConfigError(f"networks[{name!r}] made {type(made).__name__}; it must make {wanted}")
    return made


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
    """Return the values from which `network_from` makes the same network, if it is a dataclass."""
    if not is_dataclass(network):
        raise ConfigError(
            f"network {type(network).__name__} is not a dataclass, so its values cannot be "
            "saved; put @dataclass(frozen=True) above it"
        )
    return {each.name: getattr(network, each.name) for each in fields(network) if each.compare}


def is_own(network: Network) -> bool:
    """Return whether a network is not one of dvskit's named networks."""
    return type(network) not in NETWORKS.values()


def _fields(name: str) -> dict[str, str]:
    return {field.name: str(field.type) for field in fields(NETWORKS[name])}
