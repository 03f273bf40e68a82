"""Networks that are a single chain of layers: for small sensors, movements, and event clouds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, check_least, check_positive, check_share
from dvskit.layers import (
    AvgPool2d,
    BatchNorm1d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxMembrane,
    MeanMembrane,
)
from dvskit.networks.network import NetworkModule, numbers_of, scaled
from dvskit.networks.pieces import check_neurons, neurons_of


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLIF:
    """Two convolutions with average pooling and LIF neurons, then a linear readout.

    2-12C5-P2-64C5-P2-10 by default. The readout does not spike: logits are the mean over time of
    its output. A signed neuron spikes with -1 as well as +1, so bright and dark edges differ in
    sign and need no second set of neurons.

    width, height  of the input, pixels        channels    of the two convolutions
    classes        number of logits            kernel      side of the convolutions, pixels
    beta           membrane kept per step      threshold   of ON and OFF spikes
    gain           factor on torch's initial convolution weights: without it few neurons would spike
    dropout        share of the last layer's inputs set to 0 in training, the same at all times
    neurons        "signed-lif"; "lif", with spikes of +1 only; "plif", with a learned time constant
                   per layer, initially 1 / (1 - beta); "relu": no neurons, see below; or another
                   word for neurons of `Layered`, but for "recurrent-lif"

    With "relu" it is the ANN of the same shape and weights. It has no memory: it sees each time
    step alone, so the order of the bins has no effect. `gain` 1 suits it.

        network = dvskit.networks.ConvLIF(width=34, height=34, classes=3)
        module = network.build()
        counts = torch.rand(20, 8, 2, 34, 34).round()  # 20 steps, a batch of 8, OFF and ON
        logits = module(counts)  # (8, 3)
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
            raise ConfigError(f"channels = {self.channels} must be two numbers of at least 1")
        check_share(self.name, beta=self.beta)
        check_share(self.name, end=")", dropout=self.dropout)
        check_positive(self.name, gain=self.gain, threshold=self.threshold)
        check_neurons(self.neurons)
        if self.classes < 1 or self.kernel < 1 or min(self.grid) < 1:
            raise ConfigError(
                f"no pixel of {self.width}x{self.height} remains after two convolutions of "
                f"{self.kernel} and two halvings; take a larger input or a smaller kernel"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns after the second pooling."""
        rows, columns = (
            ((side - self.kernel + 1) // 2 - self.kernel + 1) // 2
            for side in (self.height, self.width)
        )
        return rows, columns

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
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


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLIF:
    """For movements: two strided convolutions and a hidden layer, with growing time constants.

    Sum pooling - convolution - convolution - dense, each but the first with LIF neurons, then a
    linear readout that does not spike. A movement and its reverse pass the same places with the
    same edges; only neurons with memory can distinguish them.

    width, height  of the input, pixels        pool        side of the summed blocks, pixels
    classes        number of logits            channels    of the two convolutions, of stride 2
    kernel         side of the convolutions    hidden      neurons of the dense layer
    betas          membrane kept per step, of the three spiking layers
    threshold      of ON and OFF spikes
    gain           factor on torch's initial convolution weights: without it few neurons would spike
    readout_gain   factor on those of the readout, as its inputs, mean spikes, are far below 1
    dropout        share of the readout's inputs set to 0 in training
    neurons        "signed-lif", "lif", "plif", "relu" and others: see `ConvLIF`

        network = dvskit.networks.MotionLIF(width=120, height=90, classes=3, hidden=32)
        module = network.build()
        logits, states = module.run(torch.rand(10, 2, 2, 90, 120).round())  # (2, 3)
        logits, states = module.step(torch.zeros(2, 2, 90, 120), states)  # after one more step
    """

    width: int = 240
    height: int = 180
    classes: int = 5
    pool: int = 6
    channels: tuple[int, int] = (12, 24)
    kernel: int = 5
    hidden: int = 64
    betas: tuple[float, float, float] = (0.7, 0.9, 0.95)
    threshold: float = 1.0
    gain: float = 3.0
    readout_gain: float = 5.0
    dropout: float = 0.0
    neurons: str = "signed-lif"
    name: str = "motion-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", numbers_of("channels", self.channels, int))
        object.__setattr__(self, "betas", numbers_of("betas", self.betas, float))
        if len(self.channels) != 2 or min(*self.channels, self.hidden, self.classes) < 1:
            raise ConfigError(
                f"channels = {self.channels}, hidden = {self.hidden}, classes = {self.classes}: "
                "two channels, and numbers of at least 1 are required"
            )
        if len(self.betas) != 3 or not all(0 <= beta <= 1 for beta in self.betas):
            raise ConfigError(f"betas = {self.betas} must be three numbers from 0 to 1")
        check_share(self.name, end=")", dropout=self.dropout)
        check_positive(self.name, gain=self.gain, threshold=self.threshold)
        check_neurons(self.neurons)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel = {self.kernel} is not odd")
        if self.pool < 1 or self.width % self.pool or self.height % self.pool:
            raise ConfigError(
                f"blocks of {self.pool} do not divide {self.width}x{self.height}; change the pool"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns after the second convolution."""
        return (self.height // self.pool + 3) // 4, (self.width // self.pool + 3) // 4

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
        first, second = self.channels
        rows, columns = self.grid
        window = (self.kernel, 2, self.kernel // 2)  # stride 2, padded
        lif1, lif2, lif3 = (neurons_of(self.neurons, beta, self.threshold) for beta in self.betas)
        layers = {
            "blocks": _Blocks(self.pool),
            "conv1": scaled(Conv2d(2, first, *window), self.gain),
            "lif1": lif1,
            "conv2": scaled(Conv2d(first, second, *window), self.gain),
            "lif2": lif2,
            "flatten": Flatten(),
            "hidden": Linear(second * rows * columns, self.hidden),
            "lif3": lif3,
            "dropout": Dropout(self.dropout),
            "readout": scaled(Linear(self.hidden, self.classes), self.readout_gain),
            "mean": MeanMembrane(),
        }
        return NetworkModule(self, layers)


class _Blocks(AvgPool2d):
    """Sums of counts over blocks, divided by the side: edges cross a block in proportion to it."""

    def pool(self, images: Tensor) -> Tensor:
        return super().pool(images) * self.kernel_size


_POINT = 4  # x, y, t, polarity


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class PointNet:
    """A PointNet over space-time event clouds: no bins, no pixels, no spikes.

    Shared dense layers process each event alone (x, y, t and polarity). The largest value of each
    feature over all events is kept, and two dense layers classify it (Qi et al. 2017, "PointNet";
    Wang et al. 2019, "Space-time event clouds for gesture recognition", which also looks at
    neighbourhoods, as PointNet++ does). The order of events and repeated events have no effect.
    After each layer but the last comes batch normalisation, over all events of a batch or all its
    samples: with layer normalisation it hardly learns. It trains on whole batches of at least two
    samples.

    The input is a `dvskit.tensors.PointSet`: input.representation = "point_set"; input.points is
    the number of events drawn from the window.

    width, height  of the sensor, pixels       widths    outputs of the layers over single events
    classes        number of logits            hidden    outputs of the layer after them
    dropout        share of the hidden layer's outputs set to 0 in training

    Its state is the largest values so far, so it runs in chunks of events, and event by event.

        network = dvskit.networks.PointNet(width=128, height=128, classes=3)
        points = torch.rand(1024, 8, 4)  # 1024 events of 8 samples: x, y, t and polarity
        logits = network.build()(points)  # (8, 3)
    """

    width: int = 128
    height: int = 128
    classes: int = 11
    widths: tuple[int, ...] = (64, 128, 256)
    hidden: int = 128
    dropout: float = 0.2
    name: str = "point-net"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", numbers_of("widths", self.widths, int))
        if not self.widths or min(*self.widths, self.hidden, self.classes) < 1:
            raise ConfigError(
                f"widths = {self.widths}, hidden = {self.hidden}, classes = {self.classes}: at "
                "least one layer, and numbers of at least 1 are required"
            )
        check_least(self.name, 1, width=self.width, height=self.height)
        check_share(self.name, end=")", dropout=self.dropout)

    def build(self) -> PointModule:
        """Return the module with new weights: points (N, B, 4) -> logits (B, classes)."""
        layers: dict[str, nn.Module] = {}
        for number, (before, after) in enumerate(pairwise((_POINT, *self.widths)), 1):
            layers[f"point{number}"] = Linear(before, after, bias=False)
            layers[f"norm{number}"] = BatchNorm1d(after)
            layers[f"relu{number}"] = nn.ReLU()
        layers |= {
            "max": MaxMembrane(),
            "hidden": Linear(self.widths[-1], self.hidden, bias=False),
            "norm": BatchNorm1d(self.hidden),
            "relu": nn.ReLU(),
            "dropout": _Dropout(self.dropout),
            "readout": Linear(self.hidden, self.classes),
        }
        return PointModule(self, layers)


class _Dropout(nn.Dropout):
    """torch's dropout: after the readout there is no time over which to keep the mask."""


class PointModule(NetworkModule):
    """The module of a PointNet: points (N, B, 4), that is x, y, t and polarity, to logits."""

    takes = "points (N, B, {})"

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one point: (4,)."""
        return (_POINT,)
