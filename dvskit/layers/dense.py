"""Dense layers and what stands between them: flattening, votes, dropout, delays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.batch import check_step, check_tensor, current_part
from dvskit.neurons.dynamics import Carried


class Linear(nn.Linear):
    """torch.nn.Linear of each time step: (T, B, N) -> (T, B, M); behind a readout (B, N) -> (B, M).

    Arguments, weights and their initial values are torch's. Raises ShapeError for another N.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sums of the last dimension of `x`."""
        self.check(x)
        if x.ndim > 2 and x.shape[0] > 1 and x.stride(0) == 0:  # alike at each step: computed once
            return super().forward(x[0]).expand(x.shape[0], *x.shape[1:-1], self.out_features)
        return super().forward(x)

    def check(self, x: Tensor) -> None:
        """Raise ShapeError if `x` is not what the layer takes."""
        check_tensor(self, x)
        if x.shape[-1:] == (self.in_features,) and x.is_floating_point():
            return
        fix = "convert with .float()"
        if x.shape[-1:] != (self.in_features,):
            fix = "put Flatten() in front if these are images, or change in_features"
        raise ShapeError(
            f"Linear takes floating-point (T, B, {self.in_features}), not {x.dtype} of shape "
            f"{tuple(x.shape)}; {fix}"
        )


class Flatten(nn.Module):
    """The numbers of each sample and time step in one row: (T, B, ...) -> (T, B, N).

    Raises ShapeError for an input without time and batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as (T, B, N)."""
        check_tensor(self, x)
        if x.ndim < 3:
            raise ShapeError(f"Flatten takes (T, B, ...), not {tuple(x.shape)}; put time first")
        return x.flatten(2)  # (T, B, C, H, W) -> (T, B, C*H*W)


@check_arguments
class Voting(nn.Module):
    """The mean of each `votes` neighbouring outputs: (T, B, K * votes) -> (T, B, K).

    A class whose answer is that of ten neurons is as graded in one time step as that of one neuron
    in ten (Wu et al. 2019, "Direct training for spiking neural networks"; ten of them in Fang et
    al. 2021, "Incorporating learnable membrane time constant"). Behind a readout (B, K * votes) is
    taken likewise.

    Raises ConfigError for votes below 1, ShapeError for outputs that they do not divide.
    """

    def __init__(self, votes: int = 10) -> None:
        super().__init__()
        if votes < 1:
            raise ConfigError(f"Voting: votes = {votes}: a number of at least 1 is meant")
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the last dimension of `x`."""
        check_tensor(self, x)
        if x.ndim < 2 or x.shape[-1] % self.votes or not x.is_floating_point():
            raise ShapeError(
                f"Voting takes floating-point (T, B, K * {self.votes}), not {x.dtype} of shape "
                f"{tuple(x.shape)}; put a dense layer of so many outputs in front of it"
            )
        return x.reshape(*x.shape[:-1], -1, self.votes).mean(-1)

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"votes={self.votes}"


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
        check_step(self, x, state.mask)
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
