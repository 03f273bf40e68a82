"""Any chain of layers, written as in papers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.layers import Conv2d, Linear
from dvskit.networks.grammar import Place, Word, as_words, module_of, walk
from dvskit.networks.network import NetworkModule, scaled
from dvskit.networks.neuron_pieces import Reading
from dvskit.networks.pieces import Defaults, said


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A chain of layers, written as in papers: 2-12C5-P2-LIF-64C5-P2-LIF-10.

    [network]
    name = "layers"  # may be left out
    layers = ["12C5", "P2", "signed-lif", "64C5", "P2", "signed-lif", "D0.2", "10"]

    The words are those of `dvskit.networks.grammar`: convolutions (12C5), pooling (P2, M2, S2),
    dense layers (256), dropout (D0.2), bn and tdbn, neurons with parameters ("lif beta=0.9"), and a
    readout at the end (mean, if none is named). A list in the list is a residual block:

    layers = ["32C3p1", "bn", "plif", ["32C3p1", "bn", "plif"], "M2", "10"]

    Where its neurons stand says of which kind it is: see `dvskit.layers.ResidualBlock`.

    width, height  of the input, pixels       inputs     channels of the input: 2, OFF and ON
    classes        number of logits, the outputs of the last dense layer
    beta           membrane kept a step, where a neuron's word does not say; 1 / (1 - beta) is tau
    threshold      of spikes, likewise
    gain           factor on torch's initial weights of all layers with weights but the last:
                   without it few neurons would spike

    The module takes counts (T, B, inputs, H, W) and returns logits (B, classes); with the readout
    "each" those of each step, (T, B, classes). A network of dense layers on still images of 28x28
    pixels, whose loss is of the membranes at each step:

    Layered(width=28, height=28, inputs=1, beta=0.95, gain=1,
            layers=("1000", "lif", "10", "lif", "membrane", "each"))

    Raises ConfigError for values out of range; for layers it names the layer, its index in the
    list, the shape that reaches it, and what to change.
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
        if min(self.width, self.height, self.inputs, self.classes) < 1:
            raise ConfigError(
                f"width = {self.width}, height = {self.height}, inputs = {self.inputs}, classes = "
                f"{self.classes}: numbers of at least 1 are meant"
            )
        if not (0 <= self.beta <= 1 and self.threshold > 0 and self.gain > 0):
            raise ConfigError(
                f"beta = {self.beta}, threshold = {self.threshold}, gain = {self.gain}: "
                "0 <= beta <= 1, threshold > 0 and gain > 0 are meant"
            )
        self._check_layers()

    def _check_layers(self) -> None:
        places = self._places()
        for place, behind in pairwise(places):
            if isinstance(place.piece, Reading):
                raise ConfigError(
                    f"{place.said} ends time, but {behind.said} comes behind it; put it last"
                )
        if places[-1].after != (self.classes,):
            raise ConfigError(
                f"{places[-1].said}, the last of layers, leaves {said(places[-1].after)} for "
                f"classes = {self.classes}; end with a dense layer: '{self.classes}'"
            )

    def _places(self) -> list[Place]:
        shape = (self.inputs, self.height, self.width)
        return list(walk(self.layers, shape, Defaults(self.beta, self.threshold)))

    def build(self) -> NetworkModule:
        """Return the module with fresh weights from torch's generator."""
        module = module_of(self, self._places(), self.inputs)
        weighted = [part for part in module.modules() if isinstance(part, Conv2d | Linear)]
        for part in weighted[:-1]:
            scaled(part, self.gain)
        return module
