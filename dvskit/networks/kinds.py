"""The named networks, and tables of configurations that describe them.

Chains of layers are for small sensors, movements, and event clouds. The usual network of DVS128
Gesture and a residual one are made of layer lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit._tables import read_table, table_of
from dvskit.errors import REGISTER_FIRST, ConfigError, one_line
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
from dvskit.networks.layered import Layered, Word, check_neurons, module_of, neurons_of
from dvskit.networks.network import (
    Maker,
    ModuleNetwork,
    Network,
    NetworkModule,
    numbers_of,
    scaled,
)
from dvskit.registry import Registry


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

    width: int = checked(check_whole, 1, default=34)
    height: int = checked(check_whole, 1, default=34)
    classes: int = checked(check_whole, 1, default=10)
    channels: tuple[int, int] = (12, 64)
    kernel: int = checked(check_whole, 1, default=5)
    beta: float = checked(check_number, 0, 1, default=0.7)
    threshold: float = checked(check_number, above=0, default=1.0)
    gain: float = checked(check_number, above=0, default=3.0)
    dropout: float = checked(check_number, 0, below=1, default=0.2)
    neurons: str = checked(check_neurons, default="signed-lif")
    name: str = "conv-lif"

    def __post_init__(self) -> None:
        channels = numbers_of("channels", self.channels, check_whole, 1, count=2)
        object.__setattr__(self, "channels", channels)
        check_fields(self)
        if min(self.grid) < 1:
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

    width: int = checked(check_whole, 1, default=240)
    height: int = checked(check_whole, 1, default=180)
    classes: int = checked(check_whole, 1, default=5)
    pool: int = checked(check_whole, 1, default=6)
    channels: tuple[int, int] = (12, 24)
    kernel: int = checked(check_whole, 1, default=5)
    hidden: int = checked(check_whole, 1, default=64)
    betas: tuple[float, float, float] = (0.7, 0.9, 0.95)
    threshold: float = checked(check_number, above=0, default=1.0)
    gain: float = checked(check_number, above=0, default=3.0)
    readout_gain: float = checked(check_number, above=0, default=5.0)
    dropout: float = checked(check_number, 0, below=1, default=0.0)
    neurons: str = checked(check_neurons, default="signed-lif")
    name: str = "motion-lif"

    def __post_init__(self) -> None:
        channels = numbers_of("channels", self.channels, check_whole, 1, count=2)
        object.__setattr__(self, "channels", channels)
        betas = numbers_of("betas", self.betas, check_number, 0, 1, count=3)
        object.__setattr__(self, "betas", betas)
        check_fields(self)
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel = {self.kernel} is not odd")
        if self.width % self.pool or self.height % self.pool:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PointNet:
    """A PointNet over space-time event clouds: no bins, no pixels, no spikes.

    Shared dense layers process each event alone (x, y, t and polarity). The largest value of each
    feature over all events is kept, and two dense layers classify it (Qi et al. 2017, "PointNet";
    Wang et al. 2019, "Space-time event clouds for gesture recognition", which also looks at
    neighborhoods, as PointNet++ does). The order of events and repeated events have no effect.
    After each layer but the last comes batch normalization, over all events of a batch or all its
    samples: with layer normalization it hardly learns. It trains on whole batches of at least two
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

    width: int = checked(check_whole, 1, default=128)
    height: int = checked(check_whole, 1, default=128)
    classes: int = checked(check_whole, 1, default=11)
    widths: tuple[int, ...] = (64, 128, 256)
    hidden: int = checked(check_whole, 1, default=128)
    dropout: float = checked(check_number, 0, below=1, default=0.2)
    name: str = "point-net"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", numbers_of("widths", self.widths, check_whole, 1))
        check_fields(self)

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


_MOST_BLOCKS = 1000


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

    width: int = checked(check_whole, 1, default=128)
    height: int = checked(check_whole, 1, default=128)
    classes: int = checked(check_whole, 1, default=11)
    channels: int = checked(check_whole, 1, default=128)
    blocks: int = checked(check_whole, 1, _MOST_BLOCKS, default=5)
    hidden: int = checked(check_whole, 1, default=512)
    votes: int = checked(check_whole, 1, default=10)
    beta: float = checked(check_number, 0, below=1, default=0.5)
    threshold: float = checked(check_number, above=0, default=1.0)
    dropout: float = checked(check_number, 0, below=1, default=0.5)
    gain: float = checked(check_number, above=0, default=3.0)
    neurons: str = checked(check_neurons, default="plif")
    name: str = "gesture-net"

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.width, self.height) < 2**self.blocks:
            raise ConfigError(
                f"no pixel of {self.width}x{self.height} remains after {self.blocks} halvings; "
                "take fewer blocks or a larger input"
            )

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
        module = module_of(self)
        for layer in module:
            if isinstance(layer, Linear):
                scaled(layer, self.gain)
        return module


ADDED = ("spikes", "membranes")
_ALPHA = 0.7071  # 1 / sqrt(2): two branches are added


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

    width: int = checked(check_whole, 1, default=128)
    height: int = checked(check_whole, 1, default=128)
    classes: int = checked(check_whole, 1, default=11)
    pool: int = checked(check_whole, 1, default=4)
    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = checked(check_whole, 0, _MOST_BLOCKS, default=1)
    beta: float = checked(check_number, 0, 1, default=0.7)
    threshold: float = checked(check_number, above=0, default=1.0)
    added: str = checked(check_choice, ADDED, default="spikes")
    dropout: float = checked(check_number, 0, below=1, default=0.2)
    neurons: str = checked(check_neurons, default="lif")
    name: str = "residual-lif"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", numbers_of("channels", self.channels, check_whole, 1))
        check_fields(self)
        if min(self.width, self.height) < self.pool:
            raise ConfigError(
                f"blocks of {self.pool} do not fit into {self.width}x{self.height}; change the pool"
            )

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
        return module_of(self)


_DVSKIT: Mapping[str, Maker] = {
    "conv-lif": ConvLIF,
    "gesture-net": GestureNet,
    "layers": Layered,
    "motion-lif": MotionLIF,
    "point-net": PointNet,
    "residual-lif": ResidualLIF,
}
NETWORKS: Registry[Maker] = Registry(
    "network",
    _DVSKIT,
    hint="; for a network of your own pass load_model(folder, networks={name: ...}), or "
    f"{REGISTER_FIRST}: dvskit.networks.register_network",
)
"""The kinds of networks by name."""
_NEEDED = ("name", "width", "height", "classes")


def register_network(name: str, kind: Maker) -> None:
    """Add a network of your own under a name, for configurations and `load_model`.

    kind  a torch.nn.Module class, or a function that makes a module, from the values in
          [network.arguments]; or a description: a frozen dataclass with the fields width, height,
          classes and `name: str = "<name>"`, and a method build() that returns a module

    The module maps inputs (T, B, channels, height, width) to logits (B, classes), or to those of
    each step, (T, B, classes). Example, with a configuration for it:

        import torch
        from dvskit.networks import register_network

        class MyNet(torch.nn.Module):
            def __init__(self, pixels=1156):
                super().__init__()
                self.readout = torch.nn.Linear(2 * pixels, 10)

            def forward(self, counts):
                return self.readout(counts.flatten(2)).mean(0)

        register_network("my-net", MyNet)

        # [network]
        # name = "my-net"
        # width = 34
        # height = 34
        # classes = 10
        # [network.arguments]
        # pixels = 1156

    width, height, classes and inputs of [network] are not passed to the module: if it needs them,
    they go into [network.arguments], too.

    An installed package registers its networks for the command line: see `dvskit.registry`.
    Raises ConfigError for a name that is taken and for another kind.
    """
    _check_kind(name, kind)
    NETWORKS.register(name, kind)


def _check_kind(name: str, kind: Any) -> None:
    if isinstance(kind, nn.Module) or not callable(kind):
        raise ConfigError(
            f"register_network: {name!r} is {type(kind).__name__}; give a class, or a function "
            "that makes a torch.nn.Module"
        )
    if not isinstance(kind, type) or issubclass(kind, nn.Module):
        return
    known = {each.name: each.default for each in fields(kind)} if is_dataclass(kind) else {}
    lacking = [key for key in _NEEDED if key not in known]
    lacking += [] if hasattr(kind, "build") else ["build()"]
    if lacking:
        raise ConfigError(
            f"register_network: {kind.__name__} lacks {', '.join(lacking)}; give a subclass of "
            "torch.nn.Module, or a frozen dataclass with width, height, classes, name and build()"
        )
    if known["name"] != name:
        raise ConfigError(
            f"register_network: {kind.__name__} is registered as {name!r}, but its field name has "
            f"another default; write name: str = {name!r}"
        )


def network_from(values: Mapping[str, Any], networks: Mapping[str, Maker] | None = None) -> Network:
    """Return the network described by a table of a configuration or a model.

    networks  kinds of networks by name, before the registered ones: see `register_network`

    The default name is "layers" if the table has layers, else "conv-lif".
    Raises ConfigError for an unknown name, an unknown field and values out of range.

        network = dvskit.networks.network_from({"name": "conv-lif", "width": 64, "height": 64})
        network.classes  # 10, the default of ConvLIF
    """
    table = table_of(values, "network")
    name = table.get("name", "layers" if "layers" in table else "conv-lif")
    if not isinstance(name, str):
        raise ConfigError(f"network.name = {name!r} must be a text")
    kind: Any = networks[name] if networks and name in networks else NETWORKS.find(name)
    for key in table.keys() - _fields(kind):
        if others := [other for other in NETWORKS if key in _fields(NETWORKS[other])]:
            raise ConfigError(
                f"unknown network.{key}, as network.name is {name!r}; {' or '.join(others)} has it"
            )
    try:
        if not _describes(kind):
            return read_table(ModuleNetwork, {**table, "module": kind}, "network")
        network: Network = read_table(kind, table, "network")
    except (TypeError, ValueError) as error:  # of a class of the caller's
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"network {name!r}: {one_line(error)}") from error
    return network


def _describes(kind: Any) -> bool:
    """Return whether a kind is the class of descriptions, and not a maker of modules."""
    return isinstance(kind, type) and is_dataclass(kind) and not issubclass(kind, nn.Module)


def network_values(network: Network) -> dict[str, Any]:
    """Return the values from which `network_from` makes the same network, if it is a dataclass.

    They are those of the table [network] of a configuration, such as "name" and "width".

        network = dvskit.networks.ConvLIF(classes=3)
        values = dvskit.networks.network_values(network)
        values["name"], values["classes"]  # ("conv-lif", 3)
        dvskit.networks.network_from(values) == network  # True
    """
    if not is_dataclass(network):
        raise ConfigError(
            f"network {type(network).__name__} is not a dataclass, so its values cannot be "
            "saved; put @dataclass(frozen=True) above it"
        )
    return {each.name: getattr(network, each.name) for each in fields(network) if each.compare}


def is_custom(network: Network) -> bool:
    """Return whether a network is not one of dvskit's named networks."""
    return type(network) not in _DVSKIT.values()


def _fields(kind: Any) -> set[str]:
    """Return the keys of a network's table."""
    found = fields(kind if _describes(kind) else ModuleNetwork)
    return {each.name for each in found if each.name != "module"}
