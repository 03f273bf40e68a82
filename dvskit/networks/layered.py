"""Networks from lists of layers, written as in papers: see `Layered`."""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, check_least, check_positive, check_share
from dvskit.layers import Conv2d, Linear, MeanMembrane, ResidualBlock, Sequence
from dvskit.networks import pieces
from dvskit.networks.network import Network, NetworkModule, scaled
from dvskit.networks.pieces import (
    Defaults,
    DensePiece,
    Named,
    NetworkPiece,
    NeuronPiece,
    ReadoutPiece,
    Shape,
    said,
)

Word = str | tuple["Word", ...]
"""A layer, or the layers of a residual block."""

_WRITTEN: tuple[tuple[str, Callable[..., NetworkPiece]], ...] = (
    (
        r"(\d+)C(\d+)(?:s(\d+))?(?:p(\d+))?",
        lambda c, k, s, p: pieces.convolution(int(c), int(k), int(s or 1), int(p or 0)),
    ),
    (r"([PMS])(\d+)(?:s(\d+))?", lambda kind, k, s: pieces.pooling(kind, int(k), int(s or k))),
    (r"F?(\d+)", lambda n: DensePiece(int(n))),
    (r"T(\d+)(?:s(\d+))?", lambda taps, s: pieces.delays(int(taps), int(s or 1))),
    (r"D(\d*\.?\d+)", lambda share: pieces.dropout(float(share))),
    (r"log", pieces.logarithm),
    (r"V(\d+)", lambda votes: pieces.voting(int(votes))),
    (r"relu", pieces.rectified),
    (r"ln", pieces.layer_norm),
)
_DIGITS = 10  # at most, for a number in a word
_EXAMPLES = ("12C5", "P2", "M2", "S2", "F256", "D0.2", "V10", "relu", "ln", "T5", "log")
_WORDS = ("bn", "tdbn", "membrane", *pieces.READOUT_WORDS)


@dataclass(frozen=True, slots=True)
class BlockPiece:
    """A residual block: the output of a list is added to its input."""

    words: tuple[Word, ...]
    where: str
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape; raises ConfigError for a list that changes it."""
        end = shape
        for place in walk(self.words, shape, self.defaults, self.where):
            if isinstance(place.piece, ReadoutPiece):
                raise ConfigError(f"{place.said} ends time in a block; put it at the end")
            end = place.after
        if end != shape:
            raise ConfigError(
                f"the block returns {said(end)}, which cannot be added to its input; pad its "
                "convolutions, and put layers that change the shape in front of the block"
            )
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the block."""
        layers = build(walk(self.words, shape, self.defaults, self.where))
        return [("block", ResidualBlock(Sequence(layers)))]


@dataclass(frozen=True, slots=True)
class PlacedPiece:
    """A piece with its place in the list and the shapes before and after it."""

    said: str
    piece: NetworkPiece
    before: Shape
    after: Shape


def walk(
    words: SequenceOf[Word], shape: Shape, defaults: Defaults, where: str = "layers"
) -> Iterator[PlacedPiece]:
    """Yield the pieces of a list in order. ConfigError names the place of a wrong word."""
    index = 0
    while index < len(words):
        word, at = words[index], f"{where}[{index}]"
        piece = _piece(word, at, defaults)
        if words[index + 1 : index + 2] == ("membrane",) and isinstance(piece, NeuronPiece):
            piece = replace(piece, membrane=True)
            index += 1
        try:
            after = piece.after(shape)
        except ConfigError as error:
            if str(error).startswith(at):  # a block has already named the place inside
                raise
            raise ConfigError(f"{_label(word, at)} after {said(shape)}: {error}") from None
        yield PlacedPiece(_label(word, at), piece, shape, after)
        shape = after
        index += 1


def build(places: Iterable[PlacedPiece]) -> OrderedDict[str, nn.Module]:
    """Return the modules of pieces by name, with new weights: conv1, pool1, lif1, conv2, ..."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    kinds: Counter[str] = Counter()
    for place in places:
        for kind, module in place.piece.modules(place.before):
            kinds[kind] += 1
            named[kind if kind in pieces.READOUT_WORDS else f"{kind}{kinds[kind]}"] = module
    return named


def module_of(network: Network, places: SequenceOf[PlacedPiece], inputs: int = 2) -> NetworkModule:
    """Return the module of pieces for counts of `inputs` channels; a mean reads out by default."""
    layers = build(places)
    if not isinstance(places[-1].piece, ReadoutPiece):
        layers["mean"] = MeanMembrane()
    return NetworkModule(network, layers, inputs)


def as_words(given: Any, where: str = "layers") -> tuple[Word, ...]:
    """Return lists from TOML as tuples; numbers of dense layers become text."""
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f'{where} = {given!r} must be a list of layers: ["12C5", "P2", "lif"]')
    return tuple(
        as_words(each, f"{where}[{k}]") if isinstance(each, list | tuple)
        else str(each) if type(each) is int
        else each
        for k, each in enumerate(given)
    )  # fmt: skip


def _piece(word: Any, at: str, defaults: Defaults) -> NetworkPiece:
    if isinstance(word, tuple):
        return BlockPiece(word, at, defaults)
    if not isinstance(word, str) or not word.split():
        raise ConfigError(f"{at} = {word!r} must be a word, such as {', '.join(_EXAMPLES)}")
    name, *options = word.split()
    for pattern, make in _WRITTEN:
        found = re.fullmatch(pattern, name)
        if found:
            if options:
                raise ConfigError(f"{at} = {word!r}: {name} takes no {options[0]!r}; remove it")
            if any(len(number or "") > _DIGITS for number in found.groups()):
                raise ConfigError(
                    f"{at}: a number of more than {_DIGITS} digits; take a smaller one"
                )
            return make(*found.groups())
    if name == "membrane":
        raise ConfigError(f"{at} = {word!r} must follow neurons; put it after lif or li")
    if name not in _WORDS and not pieces.is_neuron(name):
        hint = pieces.unknown_word(name, _EXAMPLES + _WORDS)
        raise ConfigError(f"{at} = {word!r} is not a layer; {hint}")
    given = dict(_option(text, f"{at} = {word!r}") for text in options)
    if name in pieces.READOUT_WORDS:
        return ReadoutPiece(name, given, defaults)
    return (pieces.batch_norm if name in _WORDS else NeuronPiece)(name, given, defaults)


def _option(text: str, label: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(
            f"{label}: {text!r} is not a parameter; write name=value, such as beta=0.9"
        )
    if value in ("true", "false"):
        return name, value == "true"
    try:
        number = float(value)
    except ValueError:
        return name, value
    if not math.isfinite(number):
        raise ConfigError(f"{label}: {name} is not finite")
    return name, int(number) if re.fullmatch(r"\d+", value) else number


def _label(word: Any, at: str) -> str:
    return f"{at} = [{len(word)} layers]" if isinstance(word, tuple) else f"{at} = {word!r}"


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A chain of layers, written as in papers: 2-12C5-P2-LIF-64C5-P2-LIF-10.

    Words of a layer:

    12C5        convolution, 12 channels, kernel of 5x5; 12C5s2p2 has stride 2 and padding 2
    P2, M2, S2  pooling of 2x2: mean, largest magnitude, sum; M3s2 has stride 2
    256, F256   dense layer of 256 outputs, which flattens images
    T5, T5s2    the inputs of this step and the four before, side by side: the next layer has
                synapses of 5 delays; T5s2 takes every second step
    D0.2        dropout, constant in time
    log         counts on a logarithmic scale, log(1 + x)
    V10         the mean of each 10 neighbouring outputs of a dense layer: ten vote for a class
    bn, tdbn    batch normalisation of images, plain and to the threshold; tdbn alpha=0.7
    ln          layer normalisation of the outputs of a dense layer
    lif         neurons: if, lif, signed-lif, burst-lif, alif, plif, synaptic-lif, recurrent-lif,
                li (does not spike), or those of `dvskit.neurons.register_neuron`; parameters
                follow: lif beta=0.95 reset=hard
    relu        max(x, 0) in place of neurons: an ANN, which sees each time step alone
    membrane    after neurons: their membranes instead of their spikes
    mean        the readout, at the end: mean (the default), last, max, count, first tau=5, or each
                for the outputs of all steps
    [...]       a list in the list is a residual block: the output of its layers is added to its
                input; its kind depends on the place of its neurons (`dvskit.layers.ResidualBlock`)

    Arguments:

    width, height  of the input, pixels
    inputs         channels of the input: 2, OFF and ON
    classes        number of logits, the outputs of the last dense layer
    beta           default membrane kept per step for neurons; 1 / (1 - beta) is tau
    threshold      default threshold of spikes
    gain           factor on torch's initial weights of all layers but the last: without it few
                   neurons would spike

    The module takes counts (T, B, inputs, H, W) and returns logits (B, classes); with the readout
    "each" those of each step, (T, B, classes). Errors in layers name the layer, its index in the
    list, the shape of its input, and a fix.

        network = dvskit.networks.Layered(layers=("8C5s2", "lif", "16C3s2", "lif", "3"), classes=3)
        logits = network.build()(torch.rand(20, 8, 2, 34, 34).round())  # (8, 3)

    A network of dense layers on still images of 28x28 pixels, with a loss of the membranes at each
    step:

        Layered(width=28, height=28, inputs=1, beta=0.95, gain=1,
                layers=("1000", "lif", "10", "lif", "membrane", "each"))

    In a configuration, the second one with a residual block:

        [network]
        layers = ["12C5", "P2", "signed-lif", "64C5", "P2", "signed-lif", "D0.2", "10"]

        [network]
        layers = ["32C3p1", "bn", "plif", ["32C3p1", "bn", "plif"], "M2", "10"]
    """

    layers: tuple[Word, ...] = ("12C5", "P2", "signed-lif", "64C5", "P2", "signed-lif", "10")
    width: int = 34
    height: int = 34
    inputs: int = 2
    classes: int = 10
    beta: float = 0.7
    threshold: float = 1.0
    gain: float = 3.0
    name: str = "layers"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", as_words(self.layers))
        check_least(self.name, 1, width=self.width, height=self.height)
        check_least(self.name, 1, inputs=self.inputs, classes=self.classes)
        check_share(self.name, beta=self.beta)
        check_positive(self.name, threshold=self.threshold, gain=self.gain)
        self._check_layers()

    def _check_layers(self) -> None:
        places = self._places()
        for place, behind in pairwise(places):
            if isinstance(place.piece, ReadoutPiece):
                raise ConfigError(
                    f"{place.said} ends time, but {behind.said} comes after it; put it last"
                )
        if places[-1].after != (self.classes,):
            raise ConfigError(
                f"{places[-1].said}, the last of layers, leaves {said(places[-1].after)} for "
                f"classes = {self.classes}; end with a dense layer: '{self.classes}'"
            )

    def _places(self) -> list[PlacedPiece]:
        shape = (self.inputs, self.height, self.width)
        return list(walk(self.layers, shape, Defaults(self.beta, self.threshold)))

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
        module = module_of(self, self._places(), self.inputs)
        weighted = [part for part in module.modules() if isinstance(part, Conv2d | Linear)]
        for part in weighted[:-1]:
            scaled(part, self.gain)
        return module
