"""Two convolutions with LIF neurons, for small sensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.layers import AvgPool2d, Conv2d, Dropout, Flatten, Linear, MeanMembrane
from dvskit.networks.network import NetworkModule, numbers_of, scaled
from dvskit.networks.neuron_pieces import check_neurons, neurons_of


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLIF:
    """Two convolutions with average pooling and LIF neurons, then a linear readout.

    2-12C5-P2-64C5-P2-10 by default. The readout does not spike: logits are the mean over time of
    its output. A signed neuron spikes with -1 as well as +1, so that a bright and a dark edge are
    told apart by sign and not by a second set of neurons.

    width, height  of the input, pixels        channels    of the two convolutions
    classes        number of logits            kernel      side of the convolutions, pixels
    beta           membrane kept a step        threshold   of ON and OFF spikes
    gain           factor on torch's initial convolution weights: without it few neurons would spike
    dropout        share of the last layer's inputs left out, the same at all times, in training
    neurons        "signed-lif"; "lif", whose spikes are all +1; "plif", with a time constant a
                   layer that is learned and is 1 / (1 - beta) at first; "relu": none, see below

    With "relu" it is the ANN of the same shape and the same weights. It has no memory: it sees each
    time step by itself, and its logits are the mean over the steps too, so that the order of the
    bins says nothing to it. `gain` 1 suits it.

    Raises ConfigError for values out of range.
    """

    width: int = 34
    height: int = 34
    classes: int = 10
    channels: tuple[int, int] = (12, 64)
    kernel: int = 5
    beta: float = 0.7
    threshold: float = 1.0
    gain: float = 3.0
    dropout: float = 0.2
    neurons: str = "signed-lif"
    name: str = "conv-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", numbers_of("channels", self.channels, int))
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise ConfigError(f"channels = {self.channels}: two numbers of at least 1 are meant")
        if not (0 <= self.beta <= 1 and 0 <= self.dropout < 1 and self.gain > 0):
            raise ConfigError(
                f"beta = {self.beta}, dropout = {self.dropout}, gain = {self.gain}: "
                "0 <= beta <= 1, 0 <= dropout < 1 and gain > 0 are meant"
            )
        if not 0 < self.threshold < math.inf:
            raise ConfigError(f"threshold = {self.threshold}: a finite number above 0 is meant")
        check_neurons(self.neurons)
        if self.classes < 1 or self.kernel < 1 or min(self.grid) < 1:
            raise ConfigError(
                f"nothing is left of {self.width}x{self.height} behind two convolutions of "
                f"{self.kernel} and two halvings; take a larger input or a smaller kernel"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns behind the second pooling."""
        rows, columns = (
            ((side - self.kernel + 1) // 2 - self.kernel + 1) // 2
            for side in (self.height, self.width)
        )
        return rows, columns

    def build(self) -> NetworkModule:
        """Return the module with fresh weights from torch's generator.

        It takes counts (T, B, 2, H, W) and returns logits (B, classes).
        """
        first, second = self.channels
        rows, columns = self.grid
        layers = {
            "conv1": scaled(Conv2d(2, first, self.kernel), self.gain),
            "pool1": AvgPool2d(2),
            "lif1": neurons_of(self.neurons, self.beta, self.threshold),
            "conv2": scaled(Conv2d(first, second, self.kernel), self.gain),
            "pool2": AvgPool2d(2),
            "lif2": neurons_of(self.neurons, self.beta, self.threshold),
            "flatten": Flatten(),
            "dropout": Dropout(self.dropout),
            "readout": Linear(second * rows * columns, self.classes),
            "mean": MeanMembrane(),
        }
        return NetworkModule(self, layers)
