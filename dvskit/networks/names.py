"""Networks by name: from the table of a configuration, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from dvskit.errors import ArgumentError, ConfigError, did_you_mean
from dvskit.networks.chains import ConvLIF, MotionLIF, PointNet
from dvskit.networks.layered import Layered
from dvskit.networks.network import Network
from dvskit.networks.residual_lif import GestureNet, ResidualLIF

_Known = (
    type[ConvLIF] | type[GestureNet] | type[Layered] | type[MotionLIF] | type[PointNet]
    | type[ResidualLIF]
)  # fmt: skip

NETWORKS: Mapping[str, _Known] = {
    "conv-lif": ConvLIF,
    "gesture-net": GestureNet,
    "layers": Layered,
    "motion-lif": MotionLIF,
    "point-net": PointNet,
    "residual-lif": ResidualLIF,
}


def network_from(values: Mapping[str, Any]) -> Network:
    """Return the network that a table of a configuration or of a model names.

    Without a name it is "layers" where the table has layers, else "conv-lif".
    Raises ConfigError for an unknown name, an unknown field and values out of range.
    """
    name = str(values.get("name", "layers" if "layers" in values else "conv-lif"))
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; {did_you_mean(name, NETWORKS)}")
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
        return NETWORKS[name](**values)
    except ArgumentError as error:  # it names the field
        raise ConfigError(f"a field of network {name} has the wrong type: {error}") from None
    except TypeError as error:
        raise ConfigError(f"a field of network {name} has the wrong type: {error}") from error


def network_values(network: Network) -> dict[str, Any]:
    """Return what `network_from` makes the same network of."""
    return asdict(network)  # type: ignore[call-overload, no-any-return]


def _fields(name: str) -> list[str]:
    return [field.name for field in fields(NETWORKS[name])]
