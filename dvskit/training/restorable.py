"""Check, before training and saving, that a network can be loaded again."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from dvskit.errors import ConfigError, one_line
from dvskit.networks import NETWORKS, ModuleNetwork, Network, is_own, network_from, network_values
from dvskit.networks.network import outline
from dvskit.training.toml_config import to_toml


def check_restorable(network: Network, module: nn.Module) -> None:
    """Raise ConfigError, with the fix, for a network that `load_model` could not load again."""
    name = network_values(network).get("name")
    if is_own(network):
        _check_values(network)
    else:
        own, known = _shapes(module), _shapes(outline(network))
        for key in {**known, **own}:
            if own.get(key) != known.get(key):
                raise ConfigError(
                    f"network {name!r} does not make this module ({key} differs); describe your "
                    "own module with dvskit.networks.ModuleNetwork"
                )
    for key, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"network {name!r}: {key} of its state dict is {type(value).__name__}; only "
                "tensors are saved: make it a buffer, or pass it to ModuleNetwork(arguments=)"
            )
    try:
        save(weights_of(module))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"network {name!r} cannot be saved: {one_line(error)[:200]}") from error


def _check_values(network: Network) -> None:
    """Check that a network of the caller's own is the same after a round trip through TOML."""
    kind, values = type(network), network_values(network)
    name = values.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"network {kind.__name__} has no name to load it by; add a field: name: str = 'mine'"
        )
    if name in NETWORKS:
        raise ConfigError(
            f"network {kind.__name__} has the name {name!r} of a dvskit network; rename it"
        )
    try:
        again = tomllib.loads(to_toml({"network": values}))["network"]
        if isinstance(network, ModuleNetwork):
            same = _plain(again) == _plain(values)
        else:
            same = network_from(again, {name: kind}) == network
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"network {name!r} could not be loaded again: {one_line(error)}; its fields must be "
            "numbers, texts, booleans and tuples of them"
        ) from error
    if not same:
        raise ConfigError(
            f"network {name!r} would differ after loading; its fields must be numbers, texts, "
            "booleans and tuples of them (TOML gives lists: convert them to tuples in "
            "__post_init__)"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a module as they are saved: copies on the CPU."""
    return {
        key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()
    }
