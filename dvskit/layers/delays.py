"""What came in a while ago beside what comes in now: synapses of several delays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.batch import check_tensor
from dvskit.neurons.dynamics import Carried


@dataclass(frozen=True, slots=True)
class DelayState(Carried):
    """The inputs that are still on their way, (steps, B, ...), the oldest first."""

    past: Tensor


@check_arguments
class Delays(nn.Module):
    """Inputs of now and of before side by side: (T, B, C, ...) -> (T, B, taps C, ...).

    Step t holds x_t, x_{t - spacing}, ..., x_{t - (taps - 1) spacing}, one behind another along the
    channels; x is 0 ahead of the first step. A convolution or a dense layer behind it has a synapse
    of each delay between its neurons, and so is one over space and time, which knows where
    something moves, and orders over longer times than membranes remember (Hammouamri,
    Khalfaoui-Hassani and Masquelier 2023 learn the delays, which stand in a grid here).

    There are no weights; the state is what is still on its way. Raises ConfigError for numbers
    below 1, ShapeError for an input without channels or another than the state's.
    """

    def __init__(self, taps: int, spacing: int = 1) -> None:
        super().__init__()
        if min(taps, spacing) < 1:
            raise ConfigError(
                f"Delays: taps = {taps}, spacing = {spacing}: numbers of at least 1 are meant"
            )
        self.taps, self.spacing = taps, spacing

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (T, B, C, ...) and what came before, from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Return `x` (T, B, C, ...) and what came before, and the state behind it."""
        check_tensor(self, x)
        if x.ndim < 3:
            raise ShapeError(f"Delays takes (T, B, C, ...), not {tuple(x.shape)}; put time first")
        longest = (self.taps - 1) * self.spacing
        if state is None:
            state = DelayState(x.new_zeros(longest, *x.shape[1:]))
        if state.past.shape != (longest, *x.shape[1:]):
            raise ShapeError(
                f"Delays: the state is of {tuple(state.past.shape)}, the input of "
                f"{tuple(x.shape)}; start a new batch from state=None"
            )
        whole = torch.cat([state.past.to(x.dtype), x])
        delays = range(0, longest + 1, self.spacing)
        out = torch.cat([whole[longest - delay :][: len(x)] for delay in delays], 2)
        return out, DelayState(whole[len(x) :])

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"{self.taps}, spacing={self.spacing}"
