"""Residual blocks: what layers make of their input, and the input, added."""

from __future__ import annotations

from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.sequence import Sequence, check_states, ends_time
from dvskit.layers.states import States


@check_arguments
class ResidualBlock(nn.Module):
    """body(x) + shortcut(x): (T, B, ...) -> (T, B, ...); the shortcut is x itself if not given.

    Where the neurons stand says which of the known blocks it is:

        spikes added (SEW, Fang et al. 2021)            body: conv, norm, neuron, conv, norm, neuron
        membranes added (Hu et al. 2021, MS-ResNet)     body: neuron, conv, norm, neuron, conv, norm
        spikes of the sum (Zheng et al. 2021)           body: conv, norm, neuron, conv, norm; and a
                                                        neuron behind the block

    With spikes added the output is no spike but a small whole number. A shortcut is needed where
    the body changes the shape, such as Sequence(Conv2d(64, 128, 1, stride=2), BatchNorm2d(128)).

    State is passed as in Sequence, which `body` and `shortcut` are. Raises ConfigError for a body
    that ends with a readout, ShapeError if what is to be added has different shapes.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = _sequence(body)
        self.shortcut = Sequence() if shortcut is None else _sequence(shortcut)
        if ends_time(self.body) or ends_time(self.shortcut):
            raise ConfigError("ResidualBlock: a readout ends time; put it behind the block")

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + shortcut(x) of `x` (T, B, ...), from rest."""
        return _add(x, self.body(x), self.shortcut(x))

    def run(self, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Return the sum for `x` (T, B, ...) and the states behind it, of body and shortcut."""
        check_states(self, state)
        body, shortcut = (None, None) if state is None else state.parts
        out, body = self.body.run(x, body)
        past, shortcut = self.shortcut.run(x, shortcut)
        return _add(x, out, past), States((body, shortcut))


def _add(x: Tensor, out: Tensor, past: Tensor) -> Tensor:
    if out.shape != past.shape:
        raise ShapeError(
            f"ResidualBlock: the body makes {tuple(out.shape)} of {tuple(x.shape)}, the "
            f"shortcut {tuple(past.shape)}; give a shortcut of the body's shape"
        )
    return out + past


def _sequence(layer: nn.Module) -> Sequence:
    return layer if isinstance(layer, Sequence) else Sequence(layer)
