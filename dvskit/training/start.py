"""A run that starts with the weights of a model. With other classes its last layer is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import nn

from dvskit.datasets import Split
from dvskit.errors import ConfigError
from dvskit.models.model import Model, load_model
from dvskit.models.run_samples import Used, used_samples
from dvskit.networks import Layered, ModuleNetwork, Network, is_own
from dvskit.networks.network import Maker
from dvskit.training.config import Config


def start_of(config: Config, split: Split) -> Model | None:
    """Return the model that a run starts with, if any; `split` holds the run's samples in files.

    Raises ModelError if there is no such model, ConfigError if it was trained on or chosen by
    recordings that now choose or judge.
    """
    if not config.start:
        return None
    start = load_model(config.start, networks=maker_of(config.network))
    leaked = _leaked(start.used, used_samples(split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def maker_of(network: Network) -> dict[str, Maker]:
    """Return `networks` for `load_model` with the caller's own network; {} for others."""
    if isinstance(network, ModuleNetwork):
        module: Any = network.module
        made = isinstance(module, nn.Module)
        return {network.name: (lambda **arguments: deepcopy(module)) if made else module}
    return {network.name: type(network)} if is_own(network) else {}


def load_start(module: nn.Module, start: Model, classes: Sequence[str]) -> None:
    """Load a model's weights into a fresh module, without the last layer if the classes differ.

    Raises ConfigError if the networks differ.
    """
    same = tuple(classes) == start.classes
    kept = set() if same else set(dict(parameters_of_last(module)))
    given, own = start.module.state_dict(), module.state_dict()
    wrong = [
        key
        for key in {**own, **given}
        if key not in kept
        and (key not in own or key not in given or own[key].shape != given[key].shape)
    ]
    if wrong:
        raise ConfigError(
            f"start = {start.name!r}: its network is another one ({wrong[0]} differs); copy the "
            "[network] and [input] of its model.toml, with your own classes"
        )
    module.load_state_dict(given | {key: own[key] for key in kept})


def parameters_of_last(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the names and weights of the last layer with weights, which gives the logits."""
    last = [
        name for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)
    ][-1:]
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] in last:
            yield name, parameter


def with_classes(network: Network, classes: int) -> Network:
    """Return a network whose last layer has as many outputs as there are classes.

    Raises ConfigError for a list of layers without a dense layer at the end.
    """
    if not isinstance(network, Layered):
        return replace(network, classes=classes)  # type: ignore[type-var]
    words, votes = list(network.layers), 1
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if isinstance(word, str) and word.startswith("V") and word[1:].isdecimal():
            votes = int(word[1:])
        elif isinstance(word, str) and word.removeprefix("F").isdecimal():
            words[at] = str(classes * votes)
            return replace(network, layers=tuple(words), classes=classes)
    raise ConfigError("layers: no dense layer at the end for other classes; add one")


def with_earlier_samples(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, followed by further recordings of its start model.

    The start's validation recordings count as trained on, since its weights depend on them.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def common_samples(start: Model, used: Sequence[Used]) -> list[Used]:
    """Return the samples that a model learned from or was chosen by."""
    before = {_what(row) for row in start.used if row.part != "test"}
    return [row for row in used if _what(row) in before]


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return the samples that judge now and were used before, or choose now and were trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span
