"""The files of a model, checked before memory is allocated.

model.toml is checked key by key, and the header of weights.safetensors against the network's
shapes. Reading them runs no code except that of `networks`, which the caller passes.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dvskit.errors import (
    ConfigError,
    DvskitError,
    ModelError,
    count_of,
    did_you_mean,
    one_line,
)
from dvskit.networks import Network, is_own, network_from
from dvskit.networks.network import Maker, outline
from dvskit.training.config import Config
from dvskit.training.input_config import FITTED_FILE, InputConfig, fitted_file, with_fitted
from dvskit.training.model_tables import emulation_from, reject_from
from dvskit.training.toml_config import data_from, section, table_of

_NEEDED = ("name", "classes", "network", "input")
_ABOUT: Mapping[str, type] = {
    "start": str, "seed": int, "steps": int, "reject": dict, "emulation": dict,
    "data": list, "scores": dict, "likeness": dict,
}  # fmt: skip
_MOST_BYTES = 1 << 24  # of model.toml
_KINDS = {"F": "floats", "B": "truths", "I": "whole numbers", "U": "whole numbers"}


class Described(NamedTuple):
    """The content of model.toml."""

    name: str
    network: Network
    input: InputConfig
    classes: tuple[str, ...]
    about: dict[str, Any]


def read_description(path: Path, networks: Mapping[str, Maker] | None = None) -> Described:
    """Return the content of a model.toml. Raises ModelError, with the path, if it is invalid."""
    values = _toml_of(path)
    try:
        return _described(values, path, networks)
    except ModelError:
        raise
    except DvskitError as error:
        raise ModelError(f"{path}: {one_line(error)}") from error


def _toml_of(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ModelError(
                f"{path}: is larger than {_MOST_BYTES:,} bytes, too large for a model.toml"
            )
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise ModelError(f"{path}: is not TOML: {one_line(error)}") from error
    except RecursionError as error:
        raise ModelError(f"{path}: is not a model's TOML: it is nested too deeply") from error


def _described(
    values: Mapping[str, Any], path: Path, networks: Mapping[str, Maker] | None
) -> Described:
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is missing; give a folder that training wrote")
    about = {key: value for key, value in values.items() if key not in _NEEDED}
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
    return Described(name, network, given, classes, about)


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


def check_header(path: Path, expected: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless the header of a weights file names tensors of the expected shapes.

    Dtypes may differ only in their size: float16 for float32, for example.
    """
    try:
        with safe_open(path, "pt") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            found = {key: (tuple(x.get_shape()), x.get_dtype()) for key, x in parts.items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: does not fit model.toml: it cannot be read: {one_line(error)[:200]}"
        ) from error
    wrong = [f"it has no {key}" for key in expected if key not in found]
    wrong += [f"{key[:80]} is not in the network" for key in found if key not in expected]
    for key, tensor in expected.items():
        shape, kind = found.get(key, (None, ""))
        if shape is None or is_lazy(tensor):  # takes the shape of its weights
            continue
        meant = tuple(tensor.shape)
        if shape != meant:
            wrong.append(f"{key} is {shape}, but the network has {meant}")
        elif _kind_of(tensor) != _KINDS.get(kind.removeprefix("B")[:1] or "B"):
            wrong.append(f"{key} is {kind}, but must be {_kind_of(tensor)}")
    if wrong:
        more = f"; {len(wrong) - 1:,} more tensors are wrong" if len(wrong) > 1 else ""
        raise ModelError(f"{path}: does not fit model.toml: {wrong[0]}{more}")


def _kind_of(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return _KINDS["F"]
    return _KINDS["B"] if tensor.dtype == torch.bool else _KINDS["I"]


def load_weights(path: Path, module: nn.Module) -> None:
    """Load weights, from a file that `check_header` passes, into a module. Raises ModelError."""
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {one_line(error)[:200]}") from error
    new = {key: value for key, value in module.state_dict().items() if not is_lazy(value)}
    infinite = {key for key, value in new.items() if not value.isfinite().all()}
    module.load_state_dict(given)
    check_finite(module.state_dict(), str(path), infinite)


def check_finite(weights: Mapping[str, Tensor], where: str, infinite: Collection[str] = ()) -> None:
    """Raise ModelError for weights that are not finite, and for variances below 0.

    infinite  names of tensors that may hold infinities, as in a new network
    """
    for key, value in weights.items():
        bad = value.isnan() if key in infinite else ~value.isfinite()
        if key.rpartition(".")[2] == "running_var":
            bad |= value < 0
        if bool(bad.any()):
            raise ModelError(
                f"{where}: {key} holds {count_of(int(bad.sum()), 'impossible number')} among "
                f"{value.numel():,} (not finite, or a variance below 0): the file is damaged, or "
                "the training diverged; train again with a lower learning rate"
            )


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
    check_header(weights, outlined.state_dict())
    module = outlined if is_own(network) else network.build()
    load_weights(weights, module)
    return module


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a module as they are saved: copies on the CPU."""
    return {
        key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()
    }
