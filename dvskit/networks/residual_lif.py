"""A small residual network of spiking neurons."""

from __future__ import annotations

from dataclasses import dataclass

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, did_you_mean
from dvskit.networks.layered import Word, module_of, walk
from dvskit.networks.network import NetworkModule, numbers_of
from dvskit.networks.neuron_pieces import check_neurons
from dvskit.networks.pieces import Defaults

ADDED = ("spikes", "membranes")
_ALPHA = 0.7071  # 1 / sqrt(2): two branches are added


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualLIF:
    """A residual network of spiking neurons, each convolution with tdBN (Zheng et al. 2021).

    Counts are summed over blocks, then stages follow each other: a convolution of stride 2, and
    `blocks` residual blocks of two convolutions of 3x3 each. A linear readout that does not spike
    ends it: logits are the mean over time of its output.

    width, height  of the input, pixels        pool       side of the summed blocks, pixels
    classes        number of logits            channels   of the stages
    blocks         of each stage               dropout    share of the readout's inputs left out in
    beta           membrane kept a step                   training, the same at all times
    threshold      of spikes, which tdBN brings the currents to
    added          "spikes": the spikes of a block and its input are added, small whole numbers go
                   on (SEW, Fang et al. 2021); "membranes": neurons stand in front of convolutions,
                   and their currents are added (MS-ResNet, Hu et al. 2021)
    neurons        "lif", "signed-lif", "plif" or "relu": see `ConvLIF`

    Raises ConfigError for values out of range.
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
        if not self.channels or min(*self.channels, self.classes, self.pool) < 1 or self.blocks < 0:
            raise ConfigError(
                f"channels = {self.channels}, classes = {self.classes}, pool = {self.pool}, blocks "
                f"= {self.blocks}: a stage at least, and numbers of at least 1 are meant"
            )
        if not (0 <= self.beta <= 1 and self.threshold > 0 and 0 <= self.dropout < 1):
            raise ConfigError(
                f"beta = {self.beta}, threshold = {self.threshold}, dropout = {self.dropout}: "
                "0 <= beta <= 1, threshold > 0 and 0 <= dropout < 1 are meant"
            )
        if self.added not in ADDED:
            raise ConfigError(f"added = {self.added!r}; {did_you_mean(self.added, ADDED)}")
        if min(self.width, self.height) < self.pool:
            raise ConfigError(
                f"blocks of {self.pool} do not fit into {self.width}x{self.height}; change the pool"
            )
        check_neurons(self.neurons)

    @property
    def layers(self) -> tuple[Word, ...]:
        """The layers, written as those of `Layered` are."""
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
        """Return the module with fresh weights from torch's generator.

        It takes counts (T, B, 2, H, W) and returns logits (B, classes).
        """
        defaults = Defaults(self.beta, self.threshold)
        places = list(walk(self.layers, (2, self.height, self.width), defaults))
        return module_of(self, places)
