"""Beginning with the weights of a model; of other classes, the last layer is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn

from dvskit.errors import ConfigError
from dvskit.layers import Conv2d, Linear
from dvskit.networks import Layered, Network
from dvskit.training.config import Config
from dvskit.training.feed import Feed
from dvskit.training.model_tables import Used, used_samples
from dvskit.training.models import Model, load_model


def start_of(config: Config, feed: Feed) -> Model | None:
    """Return the model that a run begins with, if any.

    Raises ModelError where there is none of that name, ConfigError where it learned from
    recordings, or was chosen by some, that this run is chosen or judged by.
    """
    if not config.start:
        return None
    start = load_model(config.start)
    leaked = _leaked(start.used, used_samples(feed.split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def begin_with(module: nn.Module, start: Model, classes: Sequence[str]) -> None:
    """Give a fresh module the weights of a model, of other classes all but those of the last layer.

    Raises ConfigError where it is another network.
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
            f"start = {start.name!r}: its network is another one ({wrong[0]} differs); take the "
            "[network] and [input] of its model.toml, with classes of your own"
        )
    module.load_state_dict(given | {key: own[key] for key in kept})


def parameters_of_last(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the name and the weights of the last layer that has any: the one that names classes."""
    last = [name for name, part in module.named_modules() if isinstance(part, Conv2d | Linear)][-1:]
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] in last:
            yield name, parameter


def let_learn(module: nn.Module, *, all_layers: bool) -> None:
    """Let all weights of a module be learned, or those of its last layer alone."""
    last = {id(parameter) for _, parameter in parameters_of_last(module)}
    for parameter in module.parameters():
        parameter.requires_grad_(all_layers or id(parameter) in last)


def with_classes(network: Network, classes: int) -> Network:
    """Return a network whose last layer has as many outputs as there are classes.

    Raises ConfigError for a list of layers that ends with none that could have them.
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
    raise ConfigError("layers: no dense layer at the end that could have other classes")


def used_before(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, and behind them those that its start alone was trained on.

    What the start was chosen by counts as trained on: its weights follow from it.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return what is judged now and was learned from before, or chosen by now and trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span
