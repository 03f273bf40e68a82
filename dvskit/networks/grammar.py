"""Lists of layers, written as in papers, to modules: see `Layered`.

12C5        convolution, 12 channels, kernel of 5x5; 12C5s2p2 of stride 2, padded by 2
P2 M2 S2    pooling of 2x2: mean, largest magnitude, sum; M3s2 of stride 2
256 F256    dense layer of 256 outputs; images are flattened in front of it
T5 T5s2     the inputs of 5 time steps side by side, this and those before, or each second one: the
            layer behind it has synapses of 5 delays
D0.2        dropout, constant in time
log         counts on a logarithmic scale, log(1 + x)
V10         the mean of each 10 neighbouring outputs of a dense layer: ten vote for a class
bn tdbn     batch normalisation of images, plain and to the threshold; tdbn alpha=0.7
ln          layer normalisation of the outputs of a dense layer
if lif signed-lif alif plif synaptic-lif recurrent-lif, and li, which does not spike
            neurons; parameters follow: lif beta=0.95 reset=hard
relu        max(x, 0) in place of neurons: an ANN, which sees each time step by itself
membrane    behind neurons: their membranes instead of their spikes
mean last max count first, and each, for the outputs of all steps
            the readout, at the end; first tau=5. Without one it is mean
[ ... ]     a residual block: what the list makes of its input, and the input, added
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from dvskit.errors import ConfigError, did_you_mean
from dvskit.layers import MeanMembrane, ResidualBlock, Sequence
from dvskit.networks.network import Network, NetworkModule
from dvskit.networks.neuron_pieces import NEURON_WORDS, READOUT_WORDS, Reading, Spiking
from dvskit.networks.pieces import (
    Convolution,
    Defaults,
    Delayed,
    Dense,
    LayerNormed,
    Leaving,
    Logarithm,
    Named,
    Norm,
    Piece,
    Pooling,
    Rectified,
    Shape,
    Voted,
    said,
)

Word = str | tuple["Word", ...]
"""A layer, or those of a residual block."""

_WRITTEN: tuple[tuple[str, Callable[..., Piece]], ...] = (
    (
        r"(\d+)C(\d+)(?:s(\d+))?(?:p(\d+))?",
        lambda c, k, s, p: Convolution(int(c), int(k), int(s or 1), int(p or 0)),
    ),
    (r"([PMS])(\d+)(?:s(\d+))?", lambda kind, k, s: Pooling(kind, int(k), int(s or k))),
    (r"F?(\d+)", lambda n: Dense(int(n))),
    (r"T(\d+)(?:s(\d+))?", lambda taps, s: Delayed(int(taps), int(s or 1))),
    (r"D(\d*\.?\d+)", lambda share: Leaving(float(share))),
    (r"log", Logarithm),
    (r"V(\d+)", lambda votes: Voted(int(votes))),
    (r"relu", Rectified),
    (r"ln", LayerNormed),
)
_EXAMPLES = ("12C5", "P2", "M2", "S2", "F256", "D0.2", "V10", "relu", "ln", "T5", "log")
_WORDS = ("bn", "tdbn", *NEURON_WORDS, "membrane", *READOUT_WORDS)


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block: what a list makes of its input, and the input, added."""

    words: tuple[Word, ...]
    where: str
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape; raises ConfigError for a list that changes it."""
        end = shape
        for place in walk(self.words, shape, self.defaults, self.where):
            if isinstance(place.piece, Reading):
                raise ConfigError(f"{place.said} ends time in a block; put it last of all")
            end = place.after
        if end != shape:
            raise ConfigError(
                f"the block makes {said(end)} of it, which cannot be added; pad its convolutions, "
                "and put what changes the shape in front of the block"
            )
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the block."""
        layers = build(walk(self.words, shape, self.defaults, self.where))
        return [("block", ResidualBlock(Sequence(layers)))]


@dataclass(frozen=True, slots=True)
class Place:
    """A piece in its list, with the shapes around it."""

    said: str
    piece: Piece
    before: Shape
    after: Shape


def walk(
    words: SequenceOf[Word], shape: Shape, defaults: Defaults, where: str = "layers"
) -> Iterator[Place]:
    """Yield the pieces of a list one after another, for inputs of `shape`.

    Raises ConfigError for words that mean nothing or do not fit, naming the place and the shapes.
    """
    index = 0
    while index < len(words):
        word, at = words[index], f"{where}[{index}]"
        piece = _piece(word, at, defaults)
        if words[index + 1 : index + 2] == ("membrane",) and isinstance(piece, Spiking):
            piece = replace(piece, membrane=True)
            index += 1
        try:
            after = piece.after(shape)
        except ConfigError as error:
            if str(error).startswith(at):  # a block has named the place in it
                raise
            raise ConfigError(f"{_label(word, at)} behind {said(shape)}: {error}") from None
        yield Place(_label(word, at), piece, shape, after)
        shape = after
        index += 1


def build(places: Iterable[Place]) -> OrderedDict[str, nn.Module]:
    """Return the modules of pieces by name, with fresh weights: conv1, pool1, lif1, conv2, ..."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    kinds: Counter[str] = Counter()
    for place in places:
        for kind, module in place.piece.modules(place.before):
            kinds[kind] += 1
            named[kind if kind in READOUT_WORDS else f"{kind}{kinds[kind]}"] = module
    return named


def module_of(network: Network, places: SequenceOf[Place], inputs: int = 2) -> NetworkModule:
    """Return the module of a network's pieces; where none of them ends time, a mean does.

    inputs  channels of the counts that it takes
    """
    layers = build(places)
    if not isinstance(places[-1].piece, Reading):
        layers["mean"] = MeanMembrane()
    return NetworkModule(network, layers, inputs)


def as_words(given: Any, where: str = "layers") -> tuple[Word, ...]:
    """Return lists, as TOML gives them, as tuples; numbers, of dense layers, as text.

    Raises ConfigError for what is no list.
    """
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f'{where} = {given!r}: a list of layers is meant: ["12C5", "P2", "lif"]')
    return tuple(
        as_words(each, f"{where}[{k}]") if isinstance(each, list | tuple)
        else str(each) if type(each) is int
        else each
        for k, each in enumerate(given)
    )  # fmt: skip


def _piece(word: Any, at: str, defaults: Defaults) -> Piece:
    if isinstance(word, tuple):
        return Block(word, at, defaults)
    if not isinstance(word, str) or not word.split():
        raise ConfigError(f"{at} = {word!r}: a word is meant, such as {', '.join(_EXAMPLES)}")
    name, *options = word.split()
    for pattern, make in _WRITTEN:
        found = re.fullmatch(pattern, name)
        if found:
            if options:
                raise ConfigError(f"{at} = {word!r}: {name} takes no {options[0]!r}; leave it out")
            return make(*found.groups())
    if name == "membrane":
        raise ConfigError(f"{at} = {word!r}: it stands behind neurons; put it behind lif or li")
    if name not in _WORDS:
        raise ConfigError(f"{at} = {word!r} is no layer; {did_you_mean(name, _EXAMPLES + _WORDS)}")
    kind = Spiking if name in NEURON_WORDS else Reading if name in READOUT_WORDS else Norm
    given = dict(_option(text, f"{at} = {word!r}") for text in options)
    return cast(Piece, kind(name, given, defaults))


def _option(text: str, label: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{label}: {text!r} is no parameter; write name=value, such as beta=0.9")
    try:
        number = float(value)
    except ValueError:
        return name, value
    return name, int(number) if re.fullmatch(r"\d+", value) else number


def _label(word: Any, at: str) -> str:
    return f"{at} = [{len(word)} layers]" if isinstance(word, tuple) else f"{at} = {word!r}"
