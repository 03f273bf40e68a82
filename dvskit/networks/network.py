"""The interface of all networks, a frozen dataclass that describes one completely; their modules.

Exports and imports read modules as layers in a row.
"""

from __future__ import annotations

import importlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from dataclasses import field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dvskit._checks import check_fields, check_known, check_whole, checked, checked_dataclass
from dvskit._threads import memory_bytes
from dvskit.errors import ConfigError, one_line
from dvskit.layers import Conv2d, Dropout, Linear, Sequence, States
from dvskit.neurons import ALIF, BurstLIF, CustomNeurons, Neurons, RecurrentLIF
from dvskit.neurons.driver import check_shape

Weighted = TypeVar("Weighted", bound=Conv2d | Linear)

_LARGEST = 2**31 - 1  # for numbers of networks: torch counts elements in 64 bits


class Network(Protocol):
    """A description of a network: plain numbers, no weights.

    `register_network` gives one of your own a name for configurations.

        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Dense:
            width: int = 34
            height: int = 34
            classes: int = 3
            name: str = "dense"

            def build(self):
                pixels = 2 * self.width * self.height
                layers = {
                    "flatten": dvskit.layers.Flatten(),
                    "dense": dvskit.layers.Linear(pixels, self.classes),
                    "mean": dvskit.layers.MeanMembrane(),
                }
                return dvskit.networks.NetworkModule(self, layers)

        logits = Dense().build()(torch.rand(20, 8, 2, 34, 34))  # (8, 3)
    """

    @property
    def name(self) -> str:
        """The value of `network.name` in a configuration."""

    @property
    def width(self) -> int:
        """The width of the input in pixels."""

    @property
    def height(self) -> int:
        """The height of the input in pixels."""

    @property
    def classes(self) -> int:
        """The number of logits."""

    def build(self) -> nn.Module:
        """Return the module with new weights from torch's generator.

        It takes counts (T, B, 2, H, W), or points (N, B, 4) for a network of points. It returns
        logits (B, classes), or those of each step, (T, B, classes). The loss is then the mean over
        the steps, and the answer is the mean logits.
        """


_COPIES = 4  # of the weights in training: weights, gradients and two moments


def outline(network: Network) -> nn.Module:
    """Return the module of a network on torch's meta device: shapes without weight memory."""
    try:
        with torch.device("meta"):
            return network.build()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise ConfigError(
            f"network {network.name!r} is too large: {one_line(error)[:200]}"
        ) from error


def check_memory(network: Network) -> None:
    """Raise ConfigError if training the weights of a network exceeds this machine's memory."""
    state = outline(network).state_dict().values()
    count = sum(each.numel() for each in state)
    size = _COPIES * sum(each.numel() * each.element_size() for each in state)
    memory = memory_bytes()
    if size > memory:
        raise ConfigError(
            f"network {network.name!r} has {count:,} weights: training takes {size / 1e9:,.0f} GB "
            f"of {memory / 1e9:,.0f} GB; take smaller layers"
        )


class NetworkModule(Sequence):
    """The module of a network: counts (T, B, C, H, W), of any dtype, through its layers.

    network   its description        channels  of the counts
    layers    by name, as in the weights of saved models

    Runs in chunks of time and step by step, like a Sequence. Raises ShapeError for another size.

        module = dvskit.networks.ConvLIF(classes=3).build()  # a NetworkModule
        module.step_shape  # (2, 34, 34)
        logits, states = module.run(torch.rand(20, 8, 2, 34, 34).round())  # (8, 3)
        list(module.state_dict())[:2]  # ["conv1.weight", "conv1.bias"]
    """

    takes = "counts (T, B, {})"

    def __init__(
        self, network: Network, layers: Mapping[str, nn.Module], channels: int = 2
    ) -> None:
        super().__init__(OrderedDict(layers))
        self.network, self.channels = network, channels

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one time step of one sample: (channels, height, width)."""
        return self.channels, self.network.height, self.network.width

    def forward(self, counts: Tensor) -> Tensor:
        """Return the output for counts (T, B, C, H, W), from rest: logits (B, classes)."""
        return super().forward(self._numbers(counts))

    def run(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the logits of counts (T, B, C, H, W) so far, and the states after them."""
        return super().run(self._numbers(x), states)

    def _numbers(self, counts: Tensor) -> Tensor:
        expected = self.step_shape
        fits = counts.ndim > 1 and len(counts) > 0 and tuple(counts.shape[2:]) == expected
        check_shape(self, counts, self.takes.format(", ".join(map(str, expected))), fits)
        return counts.to(next(self.parameters()).dtype)


def scaled(layer: Weighted, gain: float) -> Weighted:
    """Return the layer with its weights multiplied by `gain`."""
    with torch.no_grad():
        layer.weight *= gain
    return layer


def numbers_of(
    name: str, given: Any, check: Callable[..., None], *limits: float, count: int | None = None
) -> tuple[Any, ...]:
    """Return a list of numbers, as TOML gives it, as a tuple, after check(name, number, *limits).

    count  of the numbers; None is 1 or more. Raises ConfigError.
    """
    if not isinstance(given, list | tuple) or not given or (count and len(given) != count):
        raise ConfigError(f"{name} = {given!r} must be a list of {count or '1 or more'} numbers")
    for number in given:
        check(name, number, *limits)
    return tuple(given)


Maker = Callable[..., Network | nn.Module]
"""The class of a description, or a class or function that makes a module."""


@checked_dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNetwork:
    """Any torch.nn.Module as a network.

    module     takes (T, B, inputs, H, W), for a point set (N, B, 4), and returns logits
               (B, classes) or those of each step (T, B, classes). It is trained in place. Or a
               class or function: each run trains its own module(**arguments), drawn by its seed
    width      of the input, pixels                height     of the input, pixels
    classes    number of logits                    inputs     channels of the input
    arguments  values that make the module again: `load_model(folder, networks={name: make})` calls
               make(**arguments). Numbers, texts, booleans and lists of them
    name       of the network in the model's file; default: the class of the module

    A module with run(x, state) also works step by step, live and over time:

        class Recurrent(torch.nn.Module):
            def __init__(self, pixels=1156, hidden=64, classes=10):
                super().__init__()
                self.gru = torch.nn.GRU(2 * pixels, hidden)
                self.readout = torch.nn.Linear(hidden, classes)

            def run(self, x, state=None):
                hidden, state = self.gru(x.flatten(2), state)
                return self.readout(hidden), state

            def forward(self, x):
                return self.run(x)[0]

    `run` returns the answer to the steps of `x` and the state after them; None is the state at
    rest. Parts of an input, each from the state of the part before, give the answer of the whole.
    """

    module: nn.Module | Maker = field(compare=False, repr=False)
    width: int = checked(check_whole, 1)
    height: int = checked(check_whole, 1)
    classes: int = checked(check_whole, 1)
    inputs: int = checked(check_whole, 1, default=2)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        kind = getattr(self.module, "__name__", type(self.module).__name__)
        object.__setattr__(self, "arguments", _listed(self.arguments, "arguments"))
        object.__setattr__(self, "name", self.name or kind)
        check_fields(self)

    def build(self) -> nn.Module:
        """Return the module itself, with its current weights, or a new one of a class.

        Raises ConfigError if the class or function does not take the arguments.
        """
        if isinstance(self.module, nn.Module):
            return self.module
        try:
            made = self.module(**self.arguments)
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            lacks = lacking_arguments(self.name, self.module, self.arguments)
            raise ConfigError(
                f"network {self.name!r} does not take {self.arguments}: "
                f"{lacks or one_line(error)[:200]}"
            ) from error
        if not isinstance(made, nn.Module):
            raise ConfigError(
                f"network {self.name!r} made {type(made).__name__}; it must make a torch.nn.Module"
            )
        return made


def lacking_arguments(name: str, kind: Maker, arguments: Mapping[str, Any]) -> str:
    """Return which arguments a class still needs, with the fix; "" if it needs no others."""
    needed = [each.name for each in _others(kind, arguments) if each.default is each.empty]
    if not needed:
        return ""
    return f"{kind.__name__} needs {', '.join(needed)}; {_fix(name, kind.__name__, {}, needed)}"


def default_arguments(network: Network) -> str:
    """Return which arguments a class takes by default, with the fix; "" if there are none."""
    if not isinstance(network, ModuleNetwork) or not inspect.isclass(network.module):
        return ""
    others = [each.name for each in _others(network.module, network.arguments)]
    if not others:
        return ""
    made = network.module.__name__
    return (
        f"model.toml stores no {', '.join(others)} of {made}, so the default is used; if this is "
        f"wrong, {_fix(network.name, made, network.arguments, others)}"
    )


def _fix(name: str, made: str, stored: Mapping[str, Any], others: SequenceOf[str]) -> str:
    """Return how to give a class its other arguments."""
    given = ", ".join(f'"{each}": ...' for each in (*stored, *others))
    first, rest = (" **stored", ", **stored") if stored else ("", "")
    return (
        f"train ModuleNetwork(module={made}, width=, height=, classes=, arguments={{{given}}}), in "
        f'a configuration [network.arguments], or load with networks={{"{name}": lambda{first}: '
        f"{made}({others[0]}=...{rest})}}"
    )


def _others(kind: Callable[..., Any], arguments: Mapping[str, Any]) -> list[inspect.Parameter]:
    """Return the named parameters that are not among the arguments; [] if they are unknown."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and each.name not in arguments
    ]


def _listed(value: Any, key: str) -> Any:
    """Return plain values as TOML gives them, tuples as lists.

    Raises ConfigError for numbers that are not finite or too large for a size.
    """
    if isinstance(value, Mapping):
        return {name: _listed(each, f"{key}.{name}") for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(each, f"{key}[{place}]") for place, each in enumerate(value)]
    if isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise ConfigError(f"ModuleNetwork: {key} = {value} is not a number up to {_LARGEST:,}")
    return value


Shape = tuple[int, ...]
"""The shape of one time step of one sample: (channels, rows, columns), or (numbers,)."""


def optional_package(name: str, caller: str) -> Any:
    """Return an optional package. Raises ConfigError if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(
            f"{caller} needs the package {package}, which cannot be imported ({error}); "
            f"pip install {package}"
        ) from error


def layers_in_a_row(
    module: nn.Sequential, leave_out: Collection[str]
) -> list[tuple[str, nn.Module]]:
    """Return the layers of a Sequence by name, but for Dropout and `leave_out`."""
    every = list(_flat(module, ""))
    known = [name for name, _ in every]
    for name in leave_out:
        check_known("layer of leave_out", name, known)
    return [
        (name, layer)
        for name, layer in every
        if name not in leave_out and not isinstance(layer, Dropout)
    ]


def _flat(module: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in module.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


def input_shape(module: nn.Module, shape: Shape | None, caller: str) -> Shape:
    """Return the shape of one time step: `shape`, or that of a network's description."""
    if shape is not None:
        for number in shape:
            check_whole("shape", number, 1, owner=caller)
        return tuple(shape)
    if isinstance(module, NetworkModule):
        return module.step_shape
    raise ConfigError(
        f"{caller}: the input shape of {type(module).__name__} is unknown; pass shape=, that of "
        "one time step of one sample, (channels, rows, columns) or (numbers,)"
    )


def silence(module: nn.Module, *shape: int) -> Tensor:
    """Return zeros of a shape, with the dtype and device of the module's weights."""
    weights = next(module.parameters(), torch.zeros(0))
    return torch.zeros(shape, dtype=weights.dtype, device=weights.device)


@contextmanager
def plain_evaluation(module: nn.Module) -> Iterator[None]:
    """Use evaluation mode and plain torch for the neurons within the context."""
    training = [(part, part.training) for part in module.modules()]
    backends = [(part, part.backend) for part in module.modules() if isinstance(part, Neurons)]
    try:
        module.eval()
        for part, _ in backends:
            part.backend = "torch"
        yield
    finally:
        for each, was in training:
            each.training = was
        for part, backend in backends:
            part.backend = backend


def check_plain_neurons(caller: str, name: str, layer: Neurons, others: Mapping[str, bool]) -> None:
    """Raise ConfigError for neurons that another library lacks.

    others  more reasons, a fix after each, and whether they hold
    """
    dynamics, kinds = layer.dynamics, ALIF | BurstLIF | CustomNeurons | RecurrentLIF
    refused = {
        "is not of its kinds; take LIF or SynapticLIF": isinstance(layer, kinds),
        "also spikes downwards; take LIF, with threshold_off = inf, or beta = 0": dynamics.signed,
        "has a refractory time; take refractory=0": dynamics.refractory > 0,
        **others,
    }
    for reason, holds in refused.items():
        if holds:
            raise ConfigError(f"{caller}: layer {name}, {type(layer).__name__}, {reason}")


def named_row(layers: list[tuple[str, nn.Module]]) -> Sequence:
    """Return a Sequence of layers under their names, adapted if torch forbids a name."""
    row = Sequence()
    for name, layer in layers:
        name = name.replace(".", "_") or "layer"
        while name in dict(row.named_children()) or hasattr(row, name):
            name += "_"
        row.add_module(name, layer)
    return Sequence(OrderedDict(row.named_children()))
