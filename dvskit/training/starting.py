"""Beginning with the weights of a model: all layers are taken over but the last, which is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from dvskit.errors import ConfigError
from dvskit.layers import Conv2d, Linear
from dvskit.networks import Layered, Network
from dvskit.training.models import load_model


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


def begin_with(module: nn.Module, start: str) -> None:
    """Put the weights of a model in the place of a module's, but for those of its last layer.

    Raises ModelError where there is no such model, ConfigError where it is another network.
    """
    kept = set(dict(parameters_of_last(module)))
    given = load_model(start).module.state_dict()
    own = module.state_dict()
    wrong = [
        key
        for key in {**own, **given}
        if key not in kept
        and (key not in own or key not in given or own[key].shape != given[key].shape)
    ]
    if wrong:
        raise ConfigError(
            f"start = {start!r}: its network is another one ({wrong[0]} differs); take its "
            "[network] and [input], with classes of your own"
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
