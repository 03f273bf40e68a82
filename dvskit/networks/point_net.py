"""A network over the points of an event cloud."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.layers import BatchNorm1d, Linear, MaxMembrane
from dvskit.networks.network import NetworkModule, numbers_of

_POINT = 4  # x, y, t, polarity


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class PointNet:
    """A PointNet over space-time event clouds: no bins, no pixels, no spikes.

    The same dense layers see each event by itself, x, y, t and polarity; of what they make of all
    events the largest is kept, feature by feature, and two dense layers name the class (Qi et al.
    2017, "PointNet"; Wang et al. 2019, "Space-time event clouds for gesture recognition", which
    also looks at neighbourhoods, as PointNet++ does). The order of the events changes nothing, an
    event that comes twice neither. Behind each layer but the last stands batch normalisation, over
    all events of a batch or all its samples: with layer normalisation it hardly learns, since what
    all clouds have in common is much more than what tells them apart. It trains on a batch of at
    least two as a whole, and in evaluation sees each event by itself.

    The input is a `dvskit.tensors.PointSet`: input.representation = "point_set", and input.points
    says how many events are drawn from the window.

    width, height  of the sensor, pixels       widths    outputs of the layers that see each event
    classes        number of logits            hidden    outputs of the layer behind them
    dropout        share of the hidden layer's outputs left out in training

    It has a state, the largest so far, and so runs in chunks of events, and event by event. Raises
    ConfigError for values out of range.
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
                f"widths = {self.widths}, hidden = {self.hidden}, classes = {self.classes}: a "
                "layer at least, and numbers of at least 1 are meant"
            )
        if min(self.width, self.height) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"width = {self.width}, height = {self.height}, dropout = {self.dropout}: sizes of "
                "at least 1 and 0 <= dropout < 1 are meant"
            )

    def build(self) -> PointModule:
        """Return the module with fresh weights from torch's generator.

        It takes points (N, B, 4) and returns logits (B, classes).
        """
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
    """torch's own: behind the readout there is no time through which the same would be left out."""


class PointModule(NetworkModule):
    """The module of a PointNet: points (N, B, 4), x, y, t and polarity, through its layers.

    Raises ShapeError for other shapes.
    """

    takes = "points (N, B, {})"

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one point: (4,)."""
        return (_POINT,)
