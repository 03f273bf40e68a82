"""Dropout that leaves out the same inputs at all times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.batch import current_part
from dvskit.neurons.dynamics import Carried


@dataclass(frozen=True, slots=True)
class DropoutState(Carried):
    """What a Dropout layer leaves out: 0 there, 1 / (1 - p) elsewhere; of one time step's shape."""

    mask: Tensor


@check_arguments
class Dropout(nn.Module):
    """Dropout, constant in time: (T, ...) -> (T, ...).

    In training, a share `p` of the entries of a time step is set to 0 at all times, and the others
    are divided by 1 - p; a neuron that is left out at one time and not at the next would see noise
    instead. In evaluation nothing is changed. The mask comes from torch's generator and is the
    state: `run` keeps it over chunks of time.

    Raises ConfigError for p outside [0, 1), ShapeError for an input without time or another shape
    than the state's.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ConfigError(f"Dropout: p = {p} is outside [0, 1); it is the share left out")
        self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (T, ...) without what is left out."""
        return self.run(x)[0]

    def run(
        self, x: Tensor, state: DropoutState | None = None
    ) -> tuple[Tensor, DropoutState | None]:
        """Return `x` (T, ...) without what is left out, and the mask; None in evaluation."""
        if not (self.training and self.p):
            return x, None
        if x.ndim == 0 or x.shape[0] < 1:
            raise ShapeError(f"Dropout takes (T, ...) with T >= 1, not {tuple(x.shape)}")
        if state is None:
            state = DropoutState(_mask(x[0], self.p))
        if state.mask.shape != x.shape[1:]:
            raise ShapeError(
                f"Dropout: the state is of {tuple(state.mask.shape)}, a step of the input of "
                f"{tuple(x.shape[1:])}; start a new batch from state=None"
            )
        return x * state.mask, state

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"p={self.p}"


def _mask(step: Tensor, p: float) -> Tensor:
    """Return what is left of a time step (B, ...); of a part of a batch its rows of the whole's."""
    part = current_part()
    if part is None:
        return functional.dropout(torch.ones_like(step), p)
    # Chance goes along memory: the whole is laid out as the part is, one sample behind the other.
    order = sorted(range(1, step.ndim), key=step.stride, reverse=True)
    laid_out = step.new_ones(part.whole, *(step.shape[dim] for dim in order))
    back = [0, *(1 + order.index(dim) for dim in range(1, step.ndim))]
    return functional.dropout(laid_out.permute(back), p)[part.rows]
