"""The files of a model, checked before memory is allocated.

model.toml is checked key by key, and the header of weights.safetensors against the network's
shapes. Reading them runs no code except that of `networks`, which the caller passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dvskit.errors import ConfigError, DvskitError, ModelError, did_you_mean, one_line
from dvskit.networks import Network, is_own, network_from
from dvskit.networks.model_folder import DIGEST, TASKS, check_header, load_weights, read_toml
from dvskit.networks.network import Maker, default_arguments, outline
from dvskit.training.config import Config
from dvskit.training.input_config import FITTED_FILE, InputConfig, fitted_file, with_fitted
from dvskit.training.model_tables import emulation_from, reject_from
from dvskit.training.toml_config import data_from, section, table_of

_NEEDED = ("name", "classes", "network", "input")
_ABOUT: Mapping[str, type] = {
    "start": str, "seed": int, "steps": int, "reject": dict, "emulation": dict,
    "data": list, "scores": dict, "likeness": dict,
}  # fmt: skip


class Described(NamedTuple):
    """The content of model.toml; `digest` is that of the weights, None without one."""

    name: str
    network: Network
    input: InputConfig
    classes: tuple[str, ...]
    about: dict[str, Any]
    digest: object


def read_description(path: Path, networks: Mapping[str, Maker] | None = None) -> Described:
    """Return the content of a model.toml. Raises ModelError, with the path, if it is invalid."""
    values = read_toml(path)
    task = values.pop("task", None)
    if task is not None:
        raise ModelError(
            f"{path}: is no classifier: its task is {str(task)[:40]!r}"
            + (f"; use it with {TASKS[task]}" if task in TASKS else "")
        )
    try:
        return _described(values, path, networks)
    except ModelError:
        raise
    except DvskitError as error:
        raise ModelError(f"{path}: {one_line(error)}") from error


def _described(
    values: Mapping[str, Any], path: Path, networks: Mapping[str, Maker] | None
) -> Described:
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is missing; give a folder that training wrote")
    about = {key: value for key, value in values.items() if key not in (*_NEEDED, DIGEST)}
    check_about(about, path)
    name, classes = values["name"], _classes(values["classes"])
    if not isinstance(name, str):
        raise ConfigError(f"name = {name!r} is {type(name).__name__}; it must be a text")
    network = network_from(table_of("network", values["network"]), networks)
    given: InputConfig = section("input", InputConfig, table_of("input", values["input"]))
    if fitted_file(given) not in (None, Path(FITTED_FILE)):  # a model reads its own files only
        raise ConfigError(
            f"input.parameters.fitted must be {FITTED_FILE!r}, beside it; save the model again"
        )
    given = with_fitted(given, path.parent / FITTED_FILE)
    Config(network=network, input=given)  # checks that they fit together
    if len(classes) != network.classes:
        raise ConfigError(f"{len(classes)} class names for {network.classes} logits")
    reject_from(about, str(path))
    emulation_from(about, (network.width, network.height), str(path))
    return Described(name, network, given, classes, about, values.get(DIGEST))


def _classes(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ConfigError(f"classes = {str(given)[:40]}: must be a list of texts")
    twice = [name for place, name in enumerate(given) if name in given[:place]]
    if twice:
        raise ConfigError(f"classes: {twice[0]!r} occurs twice")
    return tuple(given)


def check_about(about: Mapping[str, Any], where: object) -> None:
    """Raise ModelError for unknown keys and wrong values beside the network and its input."""
    for key, value in about.items():
        if key not in _ABOUT:
            known = (*_NEEDED, *_ABOUT)
            raise ModelError(f"{where}: unknown key {key!r}; {did_you_mean(key, known)}")
        if not isinstance(value, _ABOUT[key]) or isinstance(value, bool):
            kind = {"str": "a text", "int": "a whole number", "dict": "a table"}.get(
                _ABOUT[key].__name__, "a list of tables"
            )
            raise ModelError(f"{where}: {key} = {str(value)[:40]}; it must be {kind}")
    for each in about.get("data", []):
        data_from(table_of("data", each))
    for key, ends in about.get("likeness", {}).items():
        paired = isinstance(ends, list | tuple) and len(ends) == 2
        if not paired or not all(isinstance(x, int | float) and math.isfinite(x) for x in ends):
            raise ConfigError(f"likeness.{key} = {str(ends)[:40]}: must be two finite numbers")


def new_module(described: Described, weights: Path) -> nn.Module:
    """Return the described module with its weights. Raises ModelError.

    The shapes are compared with the header of the weights before the module is made; a network of
    the caller's own is made first.
    """
    network = described.network
    try:
        outlined = network.build() if is_own(network) else outline(network)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{weights.parent}: cannot be built: {one_line(error)[:500]}") from error
    odd = [key for key, value in outlined.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise ModelError(f"{weights}: does not fit model.toml: {odd[0]} is no tensor")
    try:
        check_header(weights, outlined.state_dict())
    except ModelError as error:
        if fix := default_arguments(network):
            raise ModelError(f"{error}; {fix}") from error
        raise
    module = outlined if is_own(network) else network.build()
    load_weights(weights, module, described.digest)
    return module
