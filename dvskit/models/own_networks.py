"""Networks of your own as models, and their checks before they are trained and saved.

The answer of a network is that of a classifier and depends on its input alone; and `load_model`
would make the same network again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from dvskit._tables import to_toml
from dvskit.datasets import ImageSamples, Samples, SplitSamples
from dvskit.errors import ArgumentError, ConfigError, one_line
from dvskit.events import Size
from dvskit.layers import Sequence, Stateful
from dvskit.models.inputs import POINTS, InputConfig, check_input
from dvskit.models.scores import device_of
from dvskit.networks import (
    NETWORKS,
    ModuleNetwork,
    Network,
    network_from,
    network_values,
)
from dvskit.networks.kinds import is_custom
from dvskit.networks.model_folder import weights_of
from dvskit.networks.network import outline

GivenSamples = Samples | ImageSamples | SplitSamples[Samples] | SplitSamples[ImageSamples]
"""Samples, which a run splits, or samples split into its parts."""


def check_samples(call: str, samples: object) -> None:
    """Raise ArgumentError, with the call, for a path or anything else in place of samples."""
    if isinstance(samples, Samples | ImageSamples | SplitSamples):
        return
    is_path = isinstance(samples, str | PathLike)
    said = repr(str(samples)) if is_path else f"of type {type(samples).__name__}"
    fix = f"open_samples({said})" if is_path else "the samples themselves, as of open_samples(...)"
    raise ArgumentError(f"{call}: a module learns and is judged by samples, not {said}; pass {fix}")


def described(
    given: Network | nn.Module, samples: GivenSamples, taken: InputConfig | None
) -> Network:
    """Return a module as a network with the classes of samples and the size of the first.

    A registered class has its registered name.
    """
    if isinstance(given, ModuleNetwork):
        module = given.module
        plain = getattr(module, "__name__", type(module).__name__) == given.name
        return replace(given, name=_registered_name(module) or given.name) if plain else given
    if not isinstance(given, nn.Module):
        return given
    whole = samples.train if isinstance(samples, SplitSamples) else samples
    if not len(whole):
        raise ConfigError("no samples; give at least one")
    if isinstance(whole, ImageSamples):
        height, width = whole.image(0).shape
        size = Size(width, height)
    else:
        size = whole.events(0).sensor_size
    channels = (taken or InputConfig()).channels
    return ModuleNetwork(
        module=given,
        width=size.width,
        height=size.height,
        classes=len(whole.classes),
        inputs=channels,
        name=_registered_name(given),
    )


def _registered_name(module: Any) -> str:
    """Return the name under which a module's class or function is registered, or ""."""
    kind = type(module) if isinstance(module, nn.Module) else module
    return next((name for name in NETWORKS.registered() if NETWORKS[name] is kind), "")


_OTHER_DRAWS = 0x5EED  # the seed of values that a class draws again


def check_answer(network: Network, module: nn.Module, given: InputConfig) -> None:
    """Raise ConfigError unless a module answers with logits (B, classes), and the same twice."""
    trial = _Trial(network, module, given)
    answer = trial.answer()
    if trial.remembers():
        raise ConfigError(
            f"network {network.name!r}: its answer depends on the batch before, as it keeps its "
            f"state after a call; begin its forward {_reset_of(module)}"
        )
    steps = isinstance(module, Stateful) and not isinstance(module, Sequence)
    if steps and given.representation != POINTS:
        trial.check_chunks(module, answer)


def _reset_of(module: nn.Module) -> str:
    """Return how the forward of a module begins at rest."""
    holders: dict[str, None] = {}
    for name, part in module.named_modules():
        package = type(part).__module__.partition(".")[0]
        if package == "spikingjelly":
            return "with spikingjelly.activation_based.functional.reset_net(self)"
        if package == "snntorch":  # its reset looks at direct children only
            holders[re.sub(r"\.(\d+)", r"[\1]", f"self.{name}".rpartition(".")[0])] = None
    return " and ".join(f"with snntorch.utils.reset({each})" for each in holders) or "at rest"


def check_trains(network: Network, module: nn.Module, given: InputConfig) -> None:
    """Raise ConfigError for weights without gradients, and for values that would not be saved.

    A trial forward pass in training mode; weights and buffers are restored.
    """
    name, trial = network.name, _Trial(network, module, given)
    if not any(each.requires_grad for each in module.parameters()):
        raise ConfigError(f"network {name!r} has no weights to learn")
    before, first = weights_of(module), trial.answer()
    answer = trial.answer(training=True, graph=True)
    module.load_state_dict(before)
    again = trial.answer()
    if not answer.requires_grad:
        raise ConfigError(
            f"network {name!r}: no gradient leads from its answer to its weights; compute it from "
            "them with functions of torch, without detach() and no_grad()"
        )
    if not _alike(first, again):
        raise ConfigError(
            f"network {name!r}: training changes values that are not in its state dict and would "
            "not be saved; register them: self.register_buffer(name, tensor)"
        )


def check_same_again(network: Network, module: nn.Module, given: InputConfig) -> None:
    """Raise ConfigError if the class of a network, with the module's weights, answers otherwise.

    A class that does not take the arguments or the weights is no error here, since `load_model`
    may get a function that makes the module.
    """
    with torch.random.fork_rng():
        torch.manual_seed(_OTHER_DRAWS)
        try:
            again = _made_again(network)
            again.load_state_dict(weights_of(module))
            theirs = _Trial(network, again.to(device_of(module)), given).answer()
        except Exception:  # the constructor is the caller's
            return
    if not _alike(_Trial(network, module, given).answer(), theirs):
        raise ConfigError(
            f"network {network.name!r} would answer otherwise after loading; describe all values "
            "of its constructor, ModuleNetwork(module=..., arguments={...}), and register its "
            "random constants as buffers"
        )


def _made_again(network: Network) -> Any:
    if not isinstance(network, ModuleNetwork) or not isinstance(network.module, nn.Module):
        return network.build()
    make: Any = NETWORKS.get(network.name, type(network.module))
    return make(**network.arguments)


def check_restorable(network: Network, module: nn.Module) -> None:
    """Raise ConfigError, with the fix, for a network that `load_model` could not load again."""
    name = network_values(network).get("name")
    if is_custom(network):
        _check_values(network)
    else:
        own, known = _shapes(module), _shapes(outline(network))
        wrong = [key for key in {**known, **own} if own.get(key) != known.get(key)]
        if wrong:
            raise ConfigError(
                f"network {name!r} does not make this module ({wrong[0]} differs); describe your "
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
    values = network_values(network)
    name = values.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"network {type(network).__name__} has no name to load it by; add a field: "
            "name: str = 'mine'"
        )
    if NETWORKS.is_own(name):
        raise ConfigError(
            f"network {type(network).__name__} has the name {name!r} of a dvskit network; rename it"
        )
    kind: Any = network.module if isinstance(network, ModuleNetwork) else type(network)
    why = "it would differ"
    try:
        again = tomllib.loads(to_toml({"network": values}))["network"]
        same = network_from(again, {name: kind}) == network
    except (ValueError, KeyError, AttributeError) as error:
        same, why = False, one_line(error)
    if not same:
        raise ConfigError(
            f"network {name!r} could not be loaded again: {why}; its fields must be numbers, "
            "texts, booleans and tuples of them"
        )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@dataclass(frozen=True, slots=True)
class _Trial:
    """Calls of a module with a batch of two, of random zeros and ones."""

    network: Network
    module: nn.Module
    given: InputConfig

    def input(self) -> Tensor:
        first, *rest = check_input(self.given, self.network)
        shape = (first, 2, *rest)
        numbers = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0))
        return numbers.float().to(device_of(self.module))

    def answer(
        self, x: Tensor | None = None, *, training: bool = False, graph: bool = False
    ) -> Tensor:
        """Return the module's answer. Raises ConfigError unless it is logits."""
        x, name, given = self.input() if x is None else x, self.network.name, self.given
        try:
            with torch.random.fork_rng(), _mode(self.module, training=training, graph=graph):
                torch.manual_seed(0)  # the same draws each time
                answer: Any = self.module(x)
        except Exception as error:  # the module is the caller's
            raise ConfigError(
                f"network {name!r} does not take an input of {tuple(x.shape)}, (T, B, ...): "
                f"{one_line(error)[:200]}"
            ) from error
        found = tuple(getattr(answer, "shape", ())) or type(answer).__name__
        classes = self.network.classes
        if found not in ((2, classes), (given.bins, 2, classes)):
            raise ConfigError(
                f"network {name!r} answers {tuple(x.shape)} with {found}; return logits "
                f"(B, classes), here (2, {classes}), or those of each step"
            )
        if not answer.is_floating_point():
            raise ConfigError(f"network {name!r} answers with {answer.dtype}; return floats")
        logits: Tensor = answer
        return logits

    def remembers(self) -> bool:
        """Return whether an answer depends on the input of the call before."""
        linked = False
        with torch.enable_grad():
            before = self.input().requires_grad_()
            first, second = self.answer(before.clone(), graph=True), self.answer(graph=True)
            if second.requires_grad:
                (gradient,) = torch.autograd.grad(second.sum(), before, allow_unused=True)
                linked = gradient is not None
        self.answer()  # a state kept by the module lets go of the graph
        return linked or not _alike(first, second)

    def check_chunks(self, module: Any, answer: Tensor) -> None:
        """Check that `run` in chunks of time gives the answer of the whole."""
        x, cut = self.input(), self.given.bins // 2
        try:
            with _mode(module):
                begun, state = module.run(x[:cut], None) if cut else (x[:0], None)
                rest, _ = module.run(x[cut:], state)
                whole = torch.cat((begun, rest)) if cut and answer.ndim == 3 else rest
                holds = _alike(whole, answer)
        except Exception:  # a method for something else
            holds = False
        if not holds:
            raise ConfigError(
                f"network {self.network.name!r}: run(x, state) does not continue forward; return "
                "the answer and the state after it (dvskit.layers.Stateful), or give the method "
                "another name"
            )


@contextmanager
def _mode(module: nn.Module, *, training: bool = False, graph: bool = False) -> Iterator[None]:
    """Evaluate or train, with or without gradients, within the context."""
    was = [(part, part.training) for part in module.modules()]
    try:
        with torch.set_grad_enabled(graph):
            module.train(training)
            yield
    finally:
        for part, before in was:
            part.training = before


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether two answers are the same, to the rounding of other sums."""
    return one.shape == other.shape and torch.allclose(one, other, 1e-4, 1e-5, equal_nan=True)
