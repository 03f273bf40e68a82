"""The pieces of layer lists: for each word, the shape after it and its modules."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from dvskit import layers
from dvskit.errors import REGISTER_FIRST, ConfigError, did_you_mean, one_line
from dvskit.neurons import PLIF, Neurons, RecurrentLIF, SignedLIF
from dvskit.neurons.models import NEURONS, options_of
from dvskit.registry import load_packages

Shape = tuple[int, ...]
"""(channels, rows, columns) of images, or (numbers,)."""

Named = tuple[str, nn.Module]


@dataclass(frozen=True, slots=True)
class Defaults:
    """Values for layers without a parameter of their own: see `Layered`."""

    beta: float
    threshold: float


class NetworkPiece(Protocol):
    """The piece of a word in a layer list."""

    def after(self, shape: Shape) -> Shape:
        """Return the shape after it. Raises ConfigError with the reason if `shape` does not fit."""
        ...

    def modules(self, shape: Shape) -> list[Named]:
        """Return its modules for inputs of `shape`, each with the kind used for its name."""
        ...


def said(shape: Shape) -> str:
    """Return a shape as text: "12x15x15 (channels x rows x columns)"."""
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    return f"{'x'.join(map(str, shape))} (channels x rows x columns)"


def _check_images(shape: Shape) -> None:
    if len(shape) != 3:
        raise ConfigError("it takes images; put it in front of the first dense layer")


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ConfigError("sizes and strides must be at least 1")


def _behind(shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    _check_sizes(kernel, stride)
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(rows, columns) < 1:
        raise ConfigError(
            f"no pixel would remain, {rows}x{columns}; take a smaller window, more padding, or "
            "less pooling in front of it"
        )
    return rows, columns


@dataclass(frozen=True, slots=True)
class _Layer:
    """A piece of one layer, named after its kind."""

    kind: str
    after: Callable[[Shape], Shape]
    make: Callable[[Shape], nn.Module]

    def modules(self, shape: Shape) -> list[Named]:
        return [(self.kind, self.make(shape))]


def _same(shape: Shape) -> Shape:
    return shape


def convolution(channels: int, kernel: int, stride: int = 1, padding: int = 0) -> NetworkPiece:
    """Return `channels` C `kernel`, with stride and padding: 64C3, 64C3s2p1."""

    def after(shape: Shape) -> Shape:
        _check_images(shape)
        _check_sizes(channels)
        return channels, *_behind(shape, kernel, stride, padding)

    return _Layer(
        "conv", after, lambda shape: layers.Conv2d(shape[0], channels, kernel, stride, padding)
    )


def pooling(letter: str, size: int, stride: int) -> NetworkPiece:
    """Return P (mean), S (sum) or M (largest magnitude) and the side: P2, M3s2."""

    def after(shape: Shape) -> Shape:
        _check_images(shape)
        return shape[0], *_behind(shape, size, stride, 0)

    kind = {"P": layers.AvgPool2d, "S": layers.SumPool2d, "M": layers.MaxPool2d}[letter]
    return _Layer("pool", after, lambda shape: kind(size, stride))


@dataclass(frozen=True, slots=True)
class DensePiece:
    """A dense layer with this many outputs: 256, or F256. Images are flattened before it."""

    outputs: int

    def after(self, shape: Shape) -> Shape:
        """Return (outputs,)."""
        _check_sizes(self.outputs)
        return (self.outputs,)

    def modules(self, shape: Shape) -> list[Named]:
        """Return the layer, after a Flatten if its inputs are images."""
        flatten: list[Named] = [("flatten", layers.Flatten())] if len(shape) > 1 else []
        return [*flatten, ("dense", layers.Linear(math.prod(shape), self.outputs))]


def delays(taps: int, spacing: int) -> NetworkPiece:
    """Return the inputs of `taps` time steps side by side, `spacing` steps apart: T5s2."""

    def after(shape: Shape) -> Shape:
        _check_sizes(taps, spacing)
        return taps * shape[0], *shape[1:]

    return _Layer("delays", after, lambda shape: layers.Delays(taps, spacing))


def layer_norm() -> NetworkPiece:
    """Return ln: layer normalisation of each sample and time step alone."""

    def after(shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ConfigError("it takes the outputs of a dense layer; for images take bn or tdbn")
        return shape

    return _Layer("norm", after, lambda shape: nn.LayerNorm(shape[0]))


def dropout(share: float) -> NetworkPiece:
    """Return dropout of a share, constant in time: D0.2."""

    def after(shape: Shape) -> Shape:
        layers.Dropout(share)  # checks the share
        return shape

    return _Layer("dropout", after, lambda shape: layers.Dropout(share))


def voting(votes: int) -> NetworkPiece:
    """Return voting of this many outputs per class: V10."""

    def after(shape: Shape) -> Shape:
        _check_sizes(votes)
        if len(shape) != 1 or shape[0] % votes:
            raise ConfigError(f"it takes a multiple of {votes} outputs of a dense layer")
        return (shape[0] // votes,)

    return _Layer("vote", after, lambda shape: layers.Voting(votes))


def rectified() -> NetworkPiece:
    """Return relu: max(x, 0) at each time step, in place of neurons."""
    return _Layer("relu", _same, lambda shape: nn.ReLU())


def logarithm() -> NetworkPiece:
    """Return log: counts on a logarithmic scale."""
    return _Layer("log", _same, lambda shape: layers.LogCounts())


def batch_norm(word: str, options: Mapping[str, Any], defaults: Defaults) -> NetworkPiece:
    """Return bn, or tdbn with the threshold of the network and its alpha."""

    def make(shape: Shape) -> nn.Module:
        if word == "bn":
            return layers.BatchNorm2d(shape[0])
        return layers.ThresholdBatchNorm2d(shape[0], defaults.threshold, **options)

    def after(shape: Shape) -> Shape:
        _check_images(shape)
        check_options(options, {"bn": (), "tdbn": ("alpha",)}[word])
        with torch.device("meta"):
            make(shape)  # checks the parameters
        return shape

    return _Layer("norm", after, make)


def check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigError for parameters that a word does not take."""
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) if known else "it has none"
            raise ConfigError(f"there is no parameter {name!r}; {hint}")


def unknown_word(word: str, others: Iterable[str], left_out: str = "") -> str:
    """Return the end of a message about a word that is neither neurons nor one of `others`.

    left_out  neurons that do not suit
    """
    failed = [f"; {each.failure}" for each in load_packages() if each.problem]
    own = f"; for neurons of your own, {REGISTER_FIRST}"
    words = [each for each in NEURONS if each != left_out]
    return did_you_mean(word, (*others, *words)) + own + "".join(failed)


def is_neuron(word: str) -> bool:
    """Return whether a word names neurons, after importing installed packages if needed."""
    return word in NEURONS or word in NEURONS.complete()


@dataclass(frozen=True, slots=True)
class NeuronPiece:
    """Neurons by their word, with parameters: lif, alif kappa=0.2."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults
    membrane: bool = False

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        kind = NEURONS.find(self.word)
        known = options_of(kind)
        check_options(self.options, tuple(known))
        for name, value in self.options.items():
            _check_kind(name, value, known[name])
        if kind is RecurrentLIF and len(shape) != 1:
            raise ConfigError("its neurons are all connected; put a dense layer in front of it")
        if self.membrane and not issubclass(kind, Neurons):
            raise ConfigError("it has no membrane; make it a subclass of neurons.CustomNeurons")
        with torch.device("meta"):
            self._neurons(shape)  # checks the parameters
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the neurons; for recurrent-lif with a dense layer as feedback."""
        neurons = self._neurons(shape)
        if self.membrane:
            neurons = layers.Membrane(neurons)  # type: ignore[arg-type]
        return [(self._kind, neurons)]

    @property
    def _kind(self) -> str:
        """The name of the layer without its number."""
        if not NEURONS.is_own(self.word):
            name = re.sub(r"\W", "_", self.word)
            return f"{name}_" if name[-1].isdigit() else name
        return "lif" if self.word == "signed-lif" else self.word.partition("-")[0]

    def _neurons(self, shape: Shape) -> nn.Module:
        kind, beta = NEURONS.find(self.word), self.defaults.beta
        given: dict[str, Any] = {"beta": beta, "threshold": self.defaults.threshold}
        named = inspect.signature(kind).parameters
        given = {name: value for name, value in given.items() if name in named}
        given |= self.options
        if kind is PLIF:
            given = {"tau": 1 / (1 - beta) if beta < 1 else math.inf} | given
        if kind is SignedLIF:
            given = {"threshold_off": given["threshold"]} | given
        if kind is RecurrentLIF:
            given["recurrent"] = nn.Linear(shape[0], shape[0], bias=False)
        try:
            return kind(**given)
        except ConfigError:
            raise
        except Exception as error:  # of the user's own code
            values = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise ConfigError(
                f"{kind.__name__}({values}) raises {type(error).__name__}: {one_line(error)}"
            ) from error


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Raise ConfigError for a text in place of a number, and the like."""
    if default is None:
        return
    kind, wanted = (
        (bool, "true or false") if isinstance(default, bool)
        else (str, "a text") if isinstance(default, str)
        else (int | float, "a number")
    )  # fmt: skip
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise ConfigError(f"{name} = {value!r} is not {wanted}")


def check_neurons(word: str) -> None:
    """Raise ConfigError unless `word` names neurons that suit images, or is "relu"."""
    if word != "relu" and not is_neuron(word):
        name, _, options = word.partition(" ")
        if options and is_neuron(name):
            raise ConfigError(
                f"neurons = {word!r}: parameters go into a list of layers, "
                f"layers = [..., {word!r}, ...]; here write {name!r}"
            )
        raise ConfigError(f"neurons = {word!r}; {unknown_word(word, ('relu',), 'recurrent-lif')}")
    if word == "recurrent-lif":
        raise ConfigError(f"neurons = {word!r}, which takes no images; take 'lif'")


def neurons_of(word: str, beta: float, threshold: float) -> nn.Module:
    """Return a layer of neurons by a word that `check_neurons` accepts."""
    if word == "relu":
        return nn.ReLU()
    piece = NeuronPiece(word, {}, Defaults(beta, threshold))
    ((_, layer),) = piece.modules(())
    return layer


_READOUTS: dict[str, tuple[type[nn.Module] | None, tuple[str, ...]]] = {
    "mean": (layers.MeanMembrane, ()),
    "last": (layers.LastMembrane, ()),
    "max": (layers.MaxMembrane, ()),
    "count": (layers.SpikeCount, ()),
    "first": (layers.FirstSpike, ("tau",)),
    "each": (None, ()),
}
READOUT_WORDS = tuple(_READOUTS)


@dataclass(frozen=True, slots=True)
class ReadoutPiece:
    """A readout by its word: mean, last, max, count, first tau=5; each: none, for all steps."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        check_options(self.options, _READOUTS[self.word][1])
        self.modules(shape)  # checks the parameters
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the readout."""
        kind = _READOUTS[self.word][0]
        return [] if kind is None else [(self.word, kind(**self.options))]
