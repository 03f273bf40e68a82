"""Networks: a frozen dataclass each; its fields say everything, its `build` makes the module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit.errors import ConfigError, ShapeError, did_you_mean
from dvskit.neurons import SignedLIF


class Network(Protocol):
    """A description of a network: plain numbers, no weights."""

    @property
    def name(self) -> str:
        """What `network.name` says in a configuration."""

    @property
    def width(self) -> int:
        """The input's width, pixels."""

    @property
    def height(self) -> int:
        """The input's height, pixels."""

    @property
    def classes(self) -> int:
        """The number of logits."""

    def build(self) -> nn.Module:
        """Return the module with fresh weights from torch's generator.

        It takes counts (T, B, 2, H, W) and returns logits (B, classes).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLIF:
    """Two convolutions with average pooling and signed LIF neurons, then a linear readout.

    2-12C5-P2-64C5-P2-10 by default. The readout does not spike: logits are the mean over time of
    its output. A signed neuron spikes with -1 as well as +1, so that a bright and a dark edge are
    told apart by sign and not by a second set of neurons.

    width, height  of the input, pixels        channels    of the two convolutions
    classes        number of logits            kernel      side of the convolutions, pixels
    beta           membrane kept a step        threshold   of ON and OFF spikes
    gain           factor on torch's initial convolution weights: without it few neurons would spike
    dropout        share of the last layer's inputs left out, the same at all times, in training

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
    name: str = "conv-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # a list, as TOML gives it
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise ConfigError(f"channels = {self.channels}: two numbers of at least 1 are meant")
        if not (0 <= self.beta <= 1 and 0 <= self.dropout < 1 and self.gain > 0):
            raise ConfigError(
                f"beta = {self.beta}, dropout = {self.dropout}, gain = {self.gain}: "
                "0 <= beta <= 1, 0 <= dropout < 1 and gain > 0 are meant"
            )
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

    def build(self) -> ConvLIFNet:
        """Return the module with fresh weights from torch's generator."""
        return ConvLIFNet(self)


class ConvLIFNet(nn.Module):
    """The module of a ConvLIF: counts (T, B, 2, H, W) -> logits (B, classes)."""

    def __init__(self, network: ConvLIF) -> None:
        super().__init__()
        first, second = network.channels
        rows, columns = network.grid
        self.network = network
        self.conv1 = nn.Conv2d(2, first, network.kernel)
        self.lif1 = SignedLIF(network.beta, network.threshold, network.threshold)
        self.conv2 = nn.Conv2d(first, second, network.kernel)
        self.lif2 = SignedLIF(network.beta, network.threshold, network.threshold)
        self.readout = nn.Linear(second * rows * columns, network.classes)
        self.dropout = nn.Dropout(network.dropout)
        with torch.no_grad():
            self.conv1.weight *= network.gain
            self.conv2.weight *= network.gain

    def forward(self, counts: Tensor) -> Tensor:
        """Return the logits (B, classes) of counts (T, B, 2, H, W). Raises ShapeError."""
        _check_counts(self.network, counts)
        steps = counts.shape[0]
        x = counts.to(self.conv1.weight.dtype)
        x = self.lif1(_over_time(self.conv1, x))
        x = self.lif2(_over_time(self.conv2, x))
        x = x.flatten(2)  # (T, B, C, H, W) -> (T, B, C*H*W)
        if self.training and self.network.dropout:
            x = x * self.dropout(torch.ones_like(x[0]))  # one mask for all times
        # Mean and readout are linear and commute: the mean first costs T times less.
        return self.readout(x.sum(0, dtype=torch.float32) / steps)  # type: ignore[no-any-return]


def _check_counts(network: Network, counts: Tensor) -> None:
    expected = (2, network.height, network.width)
    if counts.ndim != 5 or counts.shape[2:] != expected or counts.shape[0] < 1:
        raise ShapeError(
            f"counts are {tuple(counts.shape)}; (T, B, {', '.join(map(str, expected))}) is meant"
        )


def _over_time(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution and 2x2 average pooling to each time step: (T, B, ...) -> (T, B, ...).

    Both are linear, so that they are one convolution of stride 2 with the averaged kernel: a
    quarter of the outputs, and no pooling to differentiate.
    """
    weight = functional.avg_pool2d(
        functional.pad(conv.weight, (1, 1, 1, 1)), 2, stride=1
    )  # K x K -> K+1 x K+1
    folded = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # -> (T*B, C, H, W)
    out = functional.conv2d(folded, weight, conv.bias, stride=2)
    return out.reshape(*x.shape[:2], *out.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLIF:
    """For movements: two strided convolutions and a hidden layer of slower and slower neurons.

    Sum pooling - convolution - convolution - dense, each but the first with signed LIF neurons,
    then a linear readout that does not spike. A movement and its reverse pass the same places with
    the same edges; only neurons that remember where it was a moment ago tell them apart.

    width, height  of the input, pixels        pool        side of the summed blocks, pixels
    classes        number of logits            channels    of the two convolutions, of stride 2
    kernel         side of the convolutions    hidden      neurons of the dense layer
    betas          membrane kept a step, of the three spiking layers
    threshold      of ON and OFF spikes
    gain           factor on torch's initial convolution weights: without it few neurons would spike
    readout_gain   factor on those of the readout, whose inputs, mean spikes, are far below 1
    dropout        share of the readout's inputs left out in training

    Raises ConfigError for values out of range.
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
    name: str = "motion-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # a list, as TOML gives it
        object.__setattr__(self, "betas", tuple(self.betas))
        if len(self.channels) != 2 or min(*self.channels, self.hidden, self.classes) < 1:
            raise ConfigError(
                f"channels = {self.channels}, hidden = {self.hidden}, classes = {self.classes}: "
                "two channels, and numbers of at least 1 are meant"
            )
        if len(self.betas) != 3 or not all(0 <= beta <= 1 for beta in self.betas):
            raise ConfigError(f"betas = {self.betas}: three numbers from 0 to 1 are meant")
        if not (0 <= self.dropout < 1 and self.gain > 0 and self.threshold > 0):
            raise ConfigError(
                f"dropout = {self.dropout}, gain = {self.gain}, threshold = {self.threshold}: "
                "0 <= dropout < 1, gain > 0 and threshold > 0 are meant"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel = {self.kernel} is not odd")
        if self.pool < 1 or self.width % self.pool or self.height % self.pool:
            raise ConfigError(
                f"blocks of {self.pool} do not divide {self.width}x{self.height}; change the pool"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns behind the second convolution."""
        return (self.height // self.pool + 3) // 4, (self.width // self.pool + 3) // 4

    def build(self) -> MotionLIFNet:
        """Return the module with fresh weights from torch's generator."""
        return MotionLIFNet(self)


class MotionLIFNet(nn.Module):
    """The module of a MotionLIF: counts (T, B, 2, H, W) -> logits (B, classes)."""

    def __init__(self, network: MotionLIF) -> None:
        super().__init__()
        first, second = network.channels
        rows, columns = network.grid
        padding = network.kernel // 2
        self.network = network
        self.conv1 = nn.Conv2d(2, first, network.kernel, stride=2, padding=padding)
        self.conv2 = nn.Conv2d(first, second, network.kernel, stride=2, padding=padding)
        self.hidden = nn.Linear(second * rows * columns, network.hidden)
        self.readout = nn.Linear(network.hidden, network.classes)
        self.lif1, self.lif2, self.lif3 = (
            SignedLIF(beta, network.threshold, network.threshold) for beta in network.betas
        )
        self.dropout = nn.Dropout(network.dropout)
        with torch.no_grad():
            self.conv1.weight *= network.gain
            self.conv2.weight *= network.gain
            self.readout.weight *= network.readout_gain

    def forward(self, counts: Tensor) -> Tensor:
        """Return the logits (B, classes) of counts (T, B, 2, H, W). Raises ShapeError."""
        _check_counts(self.network, counts)
        x = counts.flatten(0, 1).to(self.conv1.weight.dtype)  # (T, B, ...) -> (T*B, ...)
        # Divided by the side: an edge crosses a block's pixels in proportion to its side.
        x = functional.avg_pool2d(x, self.network.pool) * self.network.pool
        x = self.lif1(_unfold(self.conv1(x), counts))
        x = self.lif2(_unfold(self.conv2(x.flatten(0, 1)), counts))
        x = self.lif3(self.hidden(x.flatten(2)))  # (T, B, C, H, W) -> (T, B, C*H*W)
        return self.readout(self.dropout(x.mean(0, dtype=torch.float32)))  # type: ignore[no-any-return]


def _unfold(x: Tensor, like: Tensor) -> Tensor:
    return x.reshape(*like.shape[:2], *x.shape[1:])  # (T*B, ...) -> (T, B, ...)


NETWORKS: Mapping[str, type[ConvLIF] | type[MotionLIF]] = {
    "conv-lif": ConvLIF,
    "motion-lif": MotionLIF,
}


def network_from(values: Mapping[str, Any]) -> Network:
    """Return the network that a table of a configuration or of a model names.

    Raises ConfigError for an unknown name, an unknown field and values out of range.
    """
    name = str(values.get("name", "conv-lif"))
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; {did_you_mean(name, NETWORKS)}")
    known = [field.name for field in fields(NETWORKS[name])]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown network.{key}; {did_you_mean(key, known)}")
    try:
        return NETWORKS[name](**values)
    except TypeError as error:
        raise ConfigError(f"a field of network {name} has the wrong type: {error}") from error


def network_values(network: Network) -> dict[str, Any]:
    """Return what `network_from` makes the same network of."""
    return asdict(network)  # type: ignore[call-overload, no-any-return]
