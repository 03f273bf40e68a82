"""Networks made of layer lists: the usual one of DVS128 Gesture, and a small residual one."""

from __future__ import annotations

from dataclasses import dataclass

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, check_least, check_positive, check_share, did_you_mean
from dvskit.layers import Linear
from dvskit.networks.layered import Word, module_of, walk
from dvskit.networks.network import NetworkModule, numbers_of, scaled
from dvskit.networks.pieces import Defaults, check_neurons

_MOST_BLOCKS = 1000


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class GestureNet:
    """Five convolutions with batch norm and max pooling, two dense layers, ten votes per class.

    The network of Fang et al. 2021 ("Incorporating learnable membrane time constant to enhance
    learning of spiking neural networks") for DVS128 Gesture, called DVSGestureNet in spikingjelly:
    {128C3-BN-PLIF-M2} x 5 - dropout - 512-PLIF - dropout - 110-PLIF - voting; the answer is the
    mean of the votes over time. 128 channels at 128x128 need a GPU; 16 train on a CPU.

    width, height  of the input, pixels        classes    number of logits
    channels       of each convolution         blocks     number of convolutions
    hidden         neurons of the dense layer  votes      voting neurons per class
    beta           initial membrane kept per step: 1 / (1 - beta) is tau
    threshold      of spikes                   dropout    share of the inputs of both dense layers
                                                          set to 0 in training
    gain           factor on torch's initial weights of both: without it few of their neurons would
                   spike at first; 1 is as published
    neurons        "plif", "lif", "signed-lif", "relu" and others: see `ConvLIF`

        network = dvskit.networks.GestureNet(width=64, height=64, channels=8, blocks=4, hidden=64)
        logits = network.build()(torch.rand(10, 2, 2, 64, 64).round())  # (2, 11)
    """

    width: int = 128
    height: int = 128
    classes: int = 11
    channels: int = 128
    blocks: int = 5
    hidden: int = 512
    votes: int = 10
    beta: float = 0.5
    threshold: float = 1.0
    dropout: float = 0.5
    gain: float = 3.0
    neurons: str = "plif"
    name: str = "gesture-net"

    def __post_init__(self) -> None:
        check_least(self.name, 1, classes=self.classes, channels=self.channels)
        check_least(self.name, 1, blocks=self.blocks, hidden=self.hidden, votes=self.votes)
        check_share(self.name, end=")", beta=self.beta, dropout=self.dropout)
        check_positive(self.name, threshold=self.threshold, gain=self.gain)
        if self.blocks > _MOST_BLOCKS or min(self.width, self.height) < 2**self.blocks:
            raise ConfigError(
                f"no pixel of {self.width}x{self.height} remains after {self.blocks} halvings; "
                "take fewer blocks or a larger input"
            )
        check_neurons(self.neurons)

    @property
    def layers(self) -> tuple[Word, ...]:
        """The layers, written like those of `Layered`."""
        fire, leave = self.neurons, f"D{self.dropout:f}"
        return (
            *(f"{self.channels}C3p1", "bn", fire, "M2") * self.blocks,
            *(leave, str(self.hidden), fire),
            *(leave, str(self.classes * self.votes), fire, f"V{self.votes}"),
        )

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
        defaults = Defaults(self.beta, self.threshold)
        places = list(walk(self.layers, (2, self.height, self.width), defaults))
        module = module_of(self, places)
        for layer in module:
            if isinstance(layer, Linear):
                scaled(layer, self.gain)
        return module


ADDED = ("spikes", "membranes")
_ALPHA = 0.7071  # 1 / sqrt(2): two branches are added


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualLIF:
    """A residual network of spiking neurons, each convolution with tdBN (Zheng et al. 2021).

    Counts are summed over blocks. Stages follow: a convolution of stride 2, and `blocks` residual
    blocks of two convolutions of 3x3 each. It ends with a linear readout that does not spike:
    logits are the mean over time of its output.

    width, height  of the input, pixels        pool       side of the summed blocks, pixels
    classes        number of logits            channels   of the stages
    blocks         of each stage               dropout    share of the readout's inputs set to 0 in
    beta           membrane kept per step                 training, the same at all times
    threshold      of spikes; tdBN scales the currents to it
    added          "spikes": the spikes of a block are added to its input and the sum, small whole
                   numbers, is passed on (SEW, Fang et al. 2021); "membranes": neurons come before
                   convolutions, and their currents are added (MS-ResNet, Hu et al. 2021)
    neurons        "lif", "signed-lif", "plif", "relu" and others: see `ConvLIF`

        network = dvskit.networks.ResidualLIF(width=64, height=64, classes=3, channels=(8, 16))
        logits = network.build()(torch.rand(10, 2, 2, 64, 64).round())  # (2, 3)
    """

    width: int = 128
    height: int = 128
    classes: int = 11
    pool: int = 4
    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1
    beta: float = 0.7
    threshold: float = 1.0
    added: str = "spikes"
    dropout: float = 0.2
    neurons: str = "lif"
    name: str = "residual-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", numbers_of("channels", self.channels, int))
        if not self.channels or min(*self.channels, self.classes, self.pool) < 1:
            raise ConfigError(
                f"channels = {self.channels}, classes = {self.classes}, pool = {self.pool}: at "
                "least one stage, and numbers of at least 1 are required"
            )
        if not 0 <= self.blocks <= _MOST_BLOCKS:
            raise ConfigError(f"blocks = {self.blocks} must be 0 to {_MOST_BLOCKS}")
        check_share(self.name, beta=self.beta)
        check_share(self.name, end=")", dropout=self.dropout)
        check_positive(self.name, threshold=self.threshold)
        if self.added not in ADDED:
            raise ConfigError(f"added = {self.added!r}; {did_you_mean(self.added, ADDED)}")
        if min(self.width, self.height) < self.pool:
            raise ConfigError(
                f"blocks of {self.pool} do not fit into {self.width}x{self.height}; change the pool"
            )
        check_neurons(self.neurons)

    @property
    def layers(self) -> tuple[Word, ...]:
        """The layers, written like those of `Layered`."""
        fire, norm = self.neurons, f"tdbn alpha={_ALPHA}"
        words: list[Word] = [f"S{self.pool}"]
        for number, wide in enumerate(self.channels):
            current = (f"{wide}C3p1", norm)
            down = (f"{wide}C3s2p1", "tdbn")
            if self.added == "spikes":
                words += [*down, fire, *[(*current, fire, *current, fire)] * self.blocks]
            else:
                words += [fire] * (number > 0)
                words += [*down, *[(fire, *current, fire, *current)] * self.blocks]
        words += [fire] * (self.added == "membranes")
        return (*words, f"D{self.dropout:f}", str(self.classes))

    def build(self) -> NetworkModule:
        """Return the module with new weights from torch's generator."""
        defaults = Defaults(self.beta, self.threshold)
        places = list(walk(self.layers, (2, self.height, self.width), defaults))
        return module_of(self, places)
