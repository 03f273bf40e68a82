"""Networks from lists of layers, written as in papers: see `Layered`.

Each word of a list is a piece: the shape after it, and its modules.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import nn

from dvskit import layers
from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import REGISTER_FIRST, ConfigError, did_you_mean, one_line
from dvskit.networks.network import Network, NetworkModule, scaled
from dvskit.neurons import IF, PLIF, Neurons, RecurrentLIF, SignedLIF
from dvskit.neurons.models import NEURONS, options_of
from dvskit.registry import load_packages, named_errors

Shape = tuple[int, ...]
"""(channels, rows, columns) of images, or (numbers,)."""

NamedModule = tuple[str, nn.Module]

Word = str | tuple["Word", ...]
"""A layer, or the layers of a residual block."""

_DIGITS = 10  # at most, for a number in a word
_EXAMPLES = ("12C5", "P2", "M2", "S2", "F256", "D0.2", "V10", "relu", "ln", "T5", "log")


@dataclass(frozen=True, slots=True)
class Defaults:
    """Values for layers without a parameter of their own: see `Layered`."""

    beta: float
    threshold: float


class NetworkPiece(Protocol):
    """The piece of a word in a layer list."""

    def after(self, shape: Shape) -> Shape:
        """Return the shape after it. Raises ConfigError with the reason if `shape` does not fit."""

    def modules(self, shape: Shape) -> list[NamedModule]:
        """Return its modules for inputs of `shape`, each with the kind used for its name."""


def shape_text(shape: Shape) -> str:
    """Return a shape as text: "12x15x15 (channels x rows x columns)"."""
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    return f"{'x'.join(map(str, shape))} (channels x rows x columns)"


def _check_images(shape: Shape) -> None:
    if len(shape) != 3:
        raise ConfigError("it takes images; put it in front of the first dense layer")


def _behind(shape: Shape, kernel: int, stride: int, padding: int = 0) -> tuple[int, int]:
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(rows, columns) < 1:
        raise ConfigError(
            f"no pixel would remain, {rows}x{columns}; take a smaller window, more padding, or "
            "less pooling in front of it"
        )
    return rows, columns


Made = tuple[Shape, list[NamedModule]]
"""The shape after the layers of a word, and the layers."""


@dataclass(frozen=True, slots=True)
class _LayerPiece:
    """The layers of a word, which follow from the shape in front of it."""

    make: Callable[[Shape], Made]

    def after(self, shape: Shape) -> Shape:
        with torch.device("meta"):
            return self.make(shape)[0]

    def modules(self, shape: Shape) -> list[NamedModule]:
        return self.make(shape)[1]


def _convolution(
    channels: str, kernel: str, stride: str | None, padding: str | None, shape: Shape
) -> Made:
    """Return the layer of 64C3 or 64C3s2p1: channels, kernel, stride and padding."""
    _check_images(shape)
    window = int(kernel), int(stride or 1), int(padding or 0)
    after = (int(channels), *_behind(shape, *window))
    return after, [("conv", layers.Conv2d(shape[0], int(channels), *window))]


def _pooling(letter: str, size: str, stride: str | None, shape: Shape) -> Made:
    """Return the layer of P2 (mean), S2 (sum), M2 (largest magnitude) or M3s2."""
    _check_images(shape)
    window = int(size), int(stride or size)
    kind = {"P": layers.AvgPool2d, "S": layers.SumPool2d, "M": layers.MaxPool2d}[letter]
    return (shape[0], *_behind(shape, *window)), [("pool", kind(*window))]


def _dense(outputs: str, shape: Shape) -> Made:
    """Return the layer of 256 or F256; images are flattened in front of it."""
    flatten: list[NamedModule] = [("flatten", layers.Flatten())] if len(shape) > 1 else []
    dense = layers.Linear(math.prod(shape), int(outputs))
    return (int(outputs),), [*flatten, ("dense", dense)]


def _delays(taps: str, spacing: str | None, shape: Shape) -> Made:
    """Return the layer of T5s2: 5 time steps side by side, 2 steps apart."""
    layer = layers.Delays(int(taps), int(spacing or 1))
    return (int(taps) * shape[0], *shape[1:]), [("delays", layer)]


def _repeat(times: str, shape: Shape) -> Made:
    """Return the layer of R32: each time step 32 times."""
    return shape, [("repeat", layers.Repeat(int(times)))]


def _step_mean(times: str, shape: Shape) -> Made:
    """Return the layer of A32: the mean of each 32 time steps."""
    return shape, [("average", layers.StepMean(int(times)))]


def _dropout(share: str, shape: Shape) -> Made:
    """Return the layer of D0.2: dropout of a share, constant in time."""
    return shape, [("dropout", layers.Dropout(float(share)))]


def _logarithm(shape: Shape) -> Made:
    """Return the layer of log: counts on a logarithmic scale."""
    return shape, [("log", layers.LogCounts())]


def _voting(votes: str, shape: Shape) -> Made:
    """Return the layer of V10: voting of 10 outputs of a dense layer per class."""
    if len(shape) != 1 or shape[0] % int(votes):
        raise ConfigError(f"it takes a multiple of {votes} outputs of a dense layer")
    return (shape[0] // int(votes),), [("vote", layers.Voting(int(votes)))]


def _rectified(shape: Shape) -> Made:
    """Return the layer of relu: max(x, 0) at each time step, in place of neurons."""
    return shape, [("relu", nn.ReLU())]


def _layer_norm(shape: Shape) -> Made:
    """Return the layer of ln: layer normalization of each sample and time step alone."""
    if len(shape) != 1:
        raise ConfigError("it takes the outputs of a dense layer; for images take bn or tdbn")
    return shape, [("norm", nn.LayerNorm(shape[0]))]


_N = r"([1-9]\d*)"
_WRITTEN: tuple[tuple[str, Callable[..., Made]], ...] = (
    (rf"{_N}C{_N}(?:s{_N})?(?:p(\d+))?", _convolution),
    (rf"([PMS]){_N}(?:s{_N})?", _pooling),
    (rf"F?{_N}", _dense),
    (rf"T{_N}(?:s{_N})?", _delays),
    (rf"R{_N}", _repeat),
    (rf"A{_N}", _step_mean),
    (r"D(\d*\.?\d+)", _dropout),
    (r"log", _logarithm),
    (rf"V{_N}", _voting),
    (r"relu", _rectified),
    (r"ln", _layer_norm),
)


def _batch_norm(word: str, options: Mapping[str, Any], defaults: Defaults, shape: Shape) -> Made:
    """Return the layer of bn, or of tdbn with the threshold of the network and its alpha."""
    _check_images(shape)
    _check_options(options, ("alpha",) if word == "tdbn" else ())
    if word == "bn":
        return shape, [("norm", layers.BatchNorm2d(shape[0]))]
    return shape, [("norm", layers.ThresholdBatchNorm2d(shape[0], defaults.threshold, **options))]


def _check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigError for parameters that a word does not take."""
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) if known else "it has none"
            raise ConfigError(f"there is no parameter {name!r}; {hint}")


def _unknown_word(word: str, others: Iterable[str], left_out: str = "") -> str:
    """Return the end of a message about a word that is neither neurons nor one of `others`.

    left_out  neurons that do not suit
    """
    failed = [f"; {each.failure}" for each in load_packages() if each.problem]
    own = f"; for neurons of your own, {REGISTER_FIRST}"
    words = [each for each in NEURONS if each != left_out]
    return did_you_mean(word, (*others, *words)) + own + "".join(failed)


def _is_neuron(word: str) -> bool:
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
        _check_options(self.options, tuple(known))
        for name, value in self.options.items():
            _check_kind(name, value, known[name])
        if kind is RecurrentLIF and len(shape) != 1:
            raise ConfigError("its neurons are all connected; put a dense layer in front of it")
        if self.membrane and not issubclass(kind, Neurons):
            raise ConfigError("it has no membrane; make it a subclass of neurons.CustomNeurons")
        with torch.device("meta"):
            self._neurons(shape)  # checks the parameters
        return shape

    def modules(self, shape: Shape) -> list[NamedModule]:
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
        with named_errors(kind.__name__):
            return kind(**given)


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


def check_neurons(name: str, word: str, *, owner: str = "") -> None:
    """Raise ConfigError unless `word` names neurons that suit images, or is "relu"."""
    if word != "relu" and not _is_neuron(word):
        first, _, options = str(word).partition(" ")
        if options and _is_neuron(first):
            raise ConfigError(
                f"{owner}: {name} = {word!r}: parameters go into a list of layers, "
                f"layers = [..., {word!r}, ...]; here write {first!r}"
            )
        hint = _unknown_word(str(word), ("relu",), "recurrent-lif")
        raise ConfigError(f"{owner}: {name} = {word!r}; {hint}")
    if word == "recurrent-lif":
        raise ConfigError(f"{owner}: {name} = {word!r}, which takes no images; take 'lif'")


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
_READOUT_WORDS = tuple(_READOUTS)
_WORDS = ("bn", "tdbn", "membrane", *_READOUT_WORDS)


@dataclass(frozen=True, slots=True)
class ReadoutPiece:
    """A readout by its word: mean, last, max, count, first tau=5; each: none, for all steps."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        _check_options(self.options, _READOUTS[self.word][1])
        self.modules(shape)  # checks the parameters
        return shape

    def modules(self, shape: Shape) -> list[NamedModule]:
        """Return the readout."""
        kind = _READOUTS[self.word][0]
        return [] if kind is None else [(self.word, kind(**self.options))]


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
                raise ConfigError(f"{place.text} ends time in a block; put it at the end")
            end = place.after
        if end != shape:
            raise ConfigError(
                f"the block returns {shape_text(end)}, which cannot be added to its input; pad its "
                "convolutions, and put layers that change the shape in front of the block"
            )
        return shape

    def modules(self, shape: Shape) -> list[NamedModule]:
        """Return the block."""
        parts = build(walk(self.words, shape, self.defaults, self.where))
        return [("block", layers.ResidualBlock(layers.Sequence(parts)))]


@dataclass(frozen=True, slots=True)
class PlacedPiece:
    """A piece with its place in the list and the shapes before and after it."""

    text: str
    piece: NetworkPiece
    before: Shape
    after: Shape


def words_of(row: Iterable[NamedModule]) -> tuple[Word, ...]:
    """Return the words of layers in a row. Raises ConfigError, naming a layer that has none."""
    words: list[str] = []
    for name, layer in row:
        if isinstance(layer, layers.Membrane):
            words += [_neuron_word(name, layer.neurons), "membrane"]
        elif isinstance(layer, Neurons):
            words.append(_neuron_word(name, layer))
        elif not isinstance(layer, layers.Flatten):
            words.append(_word_of(name, layer))
    if words[-1] not in _READOUTS:
        words.append("each")
    return tuple(words)


def _word_of(name: str, layer: nn.Module) -> str:
    """Return the word of a layer without neurons."""
    for word, (kind, options) in _READOUTS.items():
        if kind is type(layer):
            return " ".join([word, *(f"{each}={getattr(layer, each)!r}" for each in options)])
    match layer:
        case layers.Conv2d(kernel_size=(k, other), stride=(s, _), padding=(p, _), groups=1) if (
            k == other and layer.bias is not None
        ):
            return f"{layer.out_channels}C{k}" + f"s{s}" * (s > 1) + f"p{p}" * (p > 0)
        case layers.Linear():
            return str(layer.out_features)
        case layers.AvgPool2d() | layers.SumPool2d() | layers.MaxPool2d():
            size, stride = layer.kernel_size, layer.stride
            letter = type(layer).__name__[0].replace("A", "P")
            return f"{letter}{size}" + f"s{stride}" * (stride != size)
        case layers.Delays():
            return f"T{layer.taps}" + f"s{layer.spacing}" * (layer.spacing > 1)
        case layers.Repeat():
            return f"R{layer.times}"
        case layers.StepMean():
            return f"A{layer.times}"
        case layers.LogCounts():
            return "log"
        case nn.ReLU():
            return "relu"
        case nn.LayerNorm():
            return "ln"
    raise ConfigError(f"layer {name}, {type(layer).__name__}, has no word in a list of layers")


def _neuron_word(name: str, layer: nn.Module) -> str:
    """Return the word of neurons, with those parameters that are not the defaults of the word."""
    words = [word for word in NEURONS if NEURONS.find(word) is type(layer)]
    if not words:
        raise ConfigError(f"layer {name}, {type(layer).__name__}, has no word in a list of layers")
    texts = [words[0]]
    for option, default in options_of(type(layer)).items():
        value = getattr(layer, option)
        if not isinstance(value, bool | int | float | str | None):
            raise ConfigError(f"layer {name} has a {option} per neuron, for which there is no word")
        same = 1.0 if option == "threshold" else None if option == "beta" else default
        fixed = option == "backend" or (option == "beta" and isinstance(layer, IF))
        if value != same and not fixed:
            texts.append(f"{option}={str(value).lower() if isinstance(value, bool) else value!r}")
    return " ".join(text.replace("'", "") for text in texts)


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
        except (ConfigError, RuntimeError) as error:  # torch: too large
            if str(error).startswith(at):  # a block has already named the place inside
                raise
            raise ConfigError(
                f"{_label(word, at)} after {shape_text(shape)}: {one_line(error)}"
            ) from None
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
            named[kind if kind in _READOUT_WORDS else f"{kind}{kinds[kind]}"] = module
    return named


def places_of(network: Any, inputs: int = 2) -> list[PlacedPiece]:
    """Return the pieces of a description with layers, beta and threshold. Raises ConfigError."""
    shape = (inputs, network.height, network.width)
    return list(walk(network.layers, shape, Defaults(network.beta, network.threshold)))


def module_of(network: Network, inputs: int = 2) -> NetworkModule:
    """Return the module of such a description, for counts of `inputs` channels.

    A mean reads out by default.
    """
    places = places_of(network, inputs)
    modules = build(places)
    if not isinstance(places[-1].piece, ReadoutPiece):
        modules["mean"] = layers.MeanMembrane()
    return NetworkModule(network, modules, inputs)


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
            return _LayerPiece(partial(make, *found.groups()))
    if name == "membrane":
        raise ConfigError(f"{at} = {word!r} must follow neurons; put it after lif or li")
    if name not in _WORDS and not _is_neuron(name):
        hint = _unknown_word(name, _EXAMPLES + _WORDS)
        raise ConfigError(f"{at} = {word!r} is not a layer; {hint}")
    given = dict(_option(text, f"{at} = {word!r}") for text in options)
    if name in _READOUT_WORDS:
        return ReadoutPiece(name, given, defaults)
    if name in _WORDS:
        return _LayerPiece(partial(_batch_norm, name, given, defaults))
    return NeuronPiece(name, given, defaults)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A chain of layers, written as in papers: 2-12C5-P2-LIF-64C5-P2-LIF-10.

    Words of a layer:

    12C5        convolution, 12 channels, kernel of 5x5; 12C5s2p2 has stride 2 and padding 2
    P2, M2, S2  pooling of 2x2: mean, largest magnitude, sum; M3s2 has stride 2
    256, F256   dense layer of 256 outputs, which flattens images
    T5, T5s2    the inputs of this step and the four before, side by side: the next layer has
                synapses of 5 delays; T5s2 takes every second step
    R8, A8      each time step 8 times, and the mean of each 8 steps, the way back
    D0.2        dropout, constant in time
    log         counts on a logarithmic scale, log(1 + x)
    V10         the mean of each 10 neighboring outputs of a dense layer: ten vote for a class
    bn, tdbn    batch normalization of images, plain and to the threshold; tdbn alpha=0.7
    ln          layer normalization of the outputs of a dense layer
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
    width: int = checked(check_whole, 1, default=34)
    height: int = checked(check_whole, 1, default=34)
    inputs: int = checked(check_whole, 1, default=2)
    classes: int = checked(check_whole, 1, default=10)
    beta: float = checked(check_number, 0, 1, default=0.7)
    threshold: float = checked(check_number, above=0, default=1.0)
    gain: float = checked(check_number, above=0, default=3.0)
    name: str = "layers"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", as_words(self.layers))
        check_fields(self)
        places = places_of(self, self.inputs)
        for place, behind in pairwise(places):
            if isinstance(place.piece, ReadoutPiece):
                raise ConfigError(
                    f"{place.text} ends time, but {behind.text} comes after it; put it last"
                )
        if places[-1].after != (self.classes,):
            raise ConfigError(
                f"{places[-1].text}, the last of layers, leaves {shape_text(places[-1].after)} for "
                f"classes = {self.classes}; end with a dense layer: '{self.classes}'"
            )

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
        module = module_of(self, self.inputs)
        kinds = layers.Conv2d | layers.Linear
        weighted = [part for part in module.modules() if isinstance(part, kinds)]
        for part in weighted[:-1]:
            scaled(part, self.gain)
        return module
