"""Layers of single steps: dense, voting, dropout, delays; and batches split over processes.

When several processes train one network, each has a part of each batch. Within `part_of_batch`,
batch normalization takes its statistics over all parts, and each part takes its rows of the dropout
mask of the whole batch. The parts together then equal the whole batch in one process, up to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._checks import check_number, check_whole
from dvskit.errors import ShapeError
from dvskit.neurons.driver import check_input, check_shape
from dvskit.neurons.dynamics import TensorState


def check_step(layer: nn.Module, x: Tensor, state: Tensor | None) -> None:
    """Raise ShapeError unless the shape of `state` is that of one step of `x` (T, ...)."""
    if state is not None and state.shape != x.shape[1:]:
        raise ShapeError(
            f"{type(layer).__name__}: the state has shape {tuple(state.shape)}, one step of the "
            f"input {tuple(x.shape[1:])}; start a new batch from state=None"
        )


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The rows first, first + every, ... of a batch of `whole`.

    add  replaces a tensor by its sum over all parts; all processes call it in the same order
    """

    first: int
    every: int
    whole: int
    add: Callable[[Tensor], None]

    @property
    def rows(self) -> slice:
        """The rows of this part in the whole batch."""
        return slice(self.first, None, self.every)

    @property
    def count(self) -> int:
        """The number of rows of this part."""
        return len(range(self.first, self.whole, self.every))

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over all parts; gradients flow to all of them."""
        total: Tensor = _Sum.apply(x, self.add)  # type: ignore[no-untyped-call]
        return total


# Not per context or thread: the backward pass, which may compute layers again, has its own thread.
_current: BatchPart | None = None


@contextmanager
def part_of_batch(part: BatchPart | None) -> Iterator[None]:
    """Make layers treat their inputs as this part of a batch; None for a whole batch.

    Run the backward pass within the context too.
    """
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before


def current_part() -> BatchPart | None:
    """Return the part of a batch that layers work on now; None for a whole batch."""
    return _current


class _Sum(torch.autograd.Function):
    """The sum over all parts, whose gradient is the sum of the parts' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        ctx.add = add
        total = x.clone()
        add(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.add(total)
        return total, None


class Linear(nn.Linear):
    """torch.nn.Linear at each time step: (T, B, N) -> (T, B, M); after a readout (B, N) -> (B, M).

    Arguments, weights and initial values are those of torch.

        linear = dvskit.layers.Linear(100, 10)
        linear(torch.rand(20, 8, 100)).shape  # (20, 8, 10)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sums of the last dimension of `x`."""
        self.check(x)
        if x.ndim > 2 and x.shape[0] > 1 and x.stride(0) == 0:  # all steps are equal: computed once
            return super().forward(x[0]).expand(x.shape[0], *x.shape[1:-1], self.out_features)
        return super().forward(x)

    def check(self, x: Tensor) -> None:
        """Raise ShapeError if `x` does not fit the layer."""
        fits = x.shape[-1:] == (self.in_features,)
        fix = "" if fits else "put Flatten() in front of it if these are images"
        check_input(self, x, f"(T, B, {self.in_features})", fits, fix)


class Flatten(nn.Module):
    """All entries of each sample and time step in one row: (T, B, ...) -> (T, B, N).

    Put it between images and a `Linear` layer.
        flatten = dvskit.layers.Flatten()
        flatten(torch.rand(20, 8, 16, 5, 5)).shape  # (20, 8, 400)
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as (T, B, N)."""
        check_shape(self, x, "(T, B, ...)", x.ndim > 2)
        return x.flatten(2)  # (T, B, C, H, W) -> (T, B, C*H*W)


class Voting(nn.Module):
    """The mean of each group of `votes` neighboring outputs: (T, B, K * votes) -> (T, B, K).

    Ten neurons per class give graded answers in one time step, as one neuron does in ten steps (Wu
    et al. 2019, "Direct training for spiking neural networks"; ten neurons in Fang et al. 2021,
    "Incorporating learnable membrane time constant"). Inputs (B, K * votes) after a readout work
    too.

        voting = dvskit.layers.Voting(10)
        voting(torch.rand(20, 8, 30)).shape  # (20, 8, 3): 10 neurons for each of 3 classes
    """

    def __init__(self, votes: int = 10) -> None:
        super().__init__()
        check_whole("votes", votes, 1, owner="Voting")
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the last dimension of `x`."""
        fits = x.ndim > 1 and x.shape[-1] % self.votes == 0
        check_input(self, x, f"(T, B, K * {self.votes})", fits)
        return x.reshape(*x.shape[:-1], -1, self.votes).mean(-1)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"votes={self.votes}"


class Repeat(nn.Module):
    """Each time step several times: (T, ...) -> (T times, ...).

    Neurons behind it have more steps for the same input. `StepMean` is the way back.

        repeat = dvskit.layers.Repeat(8)
        repeat(torch.rand(20, 8, 10)).shape  # (160, 8, 10)
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        check_whole("times", times, 1, owner="Repeat")
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with each step repeated."""
        check_shape(self, x, "(T, ...)", x.ndim > 0)
        if len(x) == 1:  # all steps are equal: the layers behind compute them once
            return x.expand(self.times, *x.shape[1:])
        return x.repeat_interleave(self.times, 0)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"{self.times}"


class StepMean(nn.Module):
    """The mean of each `times` steps: (T times, ...) -> (T, ...).

    It is the way back from `Repeat`.

        mean = dvskit.layers.StepMean(8)
        mean(torch.rand(160, 8, 10)).shape  # (20, 8, 10)
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        check_whole("times", times, 1, owner="StepMean")
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Return the means. Raises ShapeError unless T is a multiple of `times`."""
        fits = x.ndim > 0 and len(x) % self.times == 0
        check_input(self, x, f"({self.times} T, ...)", fits, "put Repeat in front of it")
        return x.reshape(-1, self.times, *x.shape[1:]).mean(1)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"{self.times}"


@dataclass(frozen=True, slots=True)
class DropoutState(TensorState):
    """The mask of a Dropout layer: 0 or 1 / (1 - p), with the shape of one time step."""

    mask: Tensor


class Dropout(nn.Module):
    """Dropout with the same mask at all time steps: (T, ...) -> (T, ...).

    In training, a share `p` of the entries of a time step is set to 0 at all times, and the others
    are divided by 1 - p. A mask that changed over time would be noise to the neurons. In evaluation
    the input is returned unchanged. The mask is drawn from torch's generator. It is the state of
    the layer: `run` keeps it over chunks of time.

        dropout = dvskit.layers.Dropout(0.5)
        x = dropout(torch.ones(20, 8, 10))  # (20, 8, 10), 0 or 2
        torch.equal(x[0], x[19])  # True: one mask for all steps
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_number("p", p, 0, below=1, owner="Dropout")
        self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (T, ...) with dropout in training, unchanged in evaluation."""
        return self.run(x)[0]

    def run(
        self, x: Tensor, state: DropoutState | None = None
    ) -> tuple[Tensor, DropoutState | None]:
        """Return `x` (T, ...) with dropout, and the mask; the mask is None in evaluation."""
        if not (self.training and self.p):
            return x, None
        check_input(self, x, "(T, ...) with T >= 1", len(x.shape) > 0 and len(x) > 0)
        if state is None:
            state = DropoutState(_mask(x[0], self.p))
        check_step(self, x, state.mask)
        return x * state.mask, state

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"p={self.p}"


def _mask(step: Tensor, p: float) -> Tensor:
    """Return the mask of a time step (B, ...); for a part of a batch, its rows of the mask."""
    part = current_part()
    if part is None:
        return functional.dropout(torch.ones_like(step), p)
    # Random numbers follow memory order: the whole mask is laid out as the part, sample by sample.
    order = sorted(range(1, step.ndim), key=step.stride, reverse=True)
    laid_out = step.new_ones(part.whole, *(step.shape[dim] for dim in order))
    back = [0, *(1 + order.index(dim) for dim in range(1, step.ndim))]
    return functional.dropout(laid_out.permute(back), p)[part.rows]


@dataclass(frozen=True, slots=True)
class DelayState(TensorState):
    """The delayed inputs, (steps, B, ...), oldest first."""

    past: Tensor


class Delays(nn.Module):
    """Present and past inputs side by side: (T, B, C, ...) -> (T, B, taps C, ...).

    Step t holds x_t, x_{t - spacing}, ..., x_{t - (taps - 1) spacing} along the channels; x is 0
    before the first step. A convolution or dense layer on this output has one synapse per delay
    between two neurons. It can detect motion directions and order over longer times than membranes
    remember (Hammouamri, Khalfaoui-Hassani and Masquelier 2023 learn the delays; here they stand in
    a grid). There are no weights; the state is the inputs still delayed.

        delays = dvskit.layers.Delays(taps=3, spacing=2)
        x = torch.arange(6.0).view(6, 1, 1)  # 6 steps, a batch of 1, 1 channel
        delays(x)[4, 0]  # [4, 2, 0]: the inputs of steps 4, 2 and 0
    """

    def __init__(self, taps: int, spacing: int = 1) -> None:
        super().__init__()
        check_whole("taps", taps, 1, owner="Delays")
        check_whole("spacing", spacing, 1, owner="Delays")
        self.taps, self.spacing = taps, spacing

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (T, B, C, ...) with its delayed copies, from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Return `x` (T, B, C, ...) with its delayed copies, and the state after it."""
        check_shape(self, x, "(T, B, C, ...)", x.ndim > 2)
        longest = (self.taps - 1) * self.spacing
        if state is None:
            state = DelayState(x.new_zeros(longest, *x.shape[1:]))
        if state.past.shape != (longest, *x.shape[1:]):
            raise ShapeError(
                f"Delays: the state has shape {tuple(state.past.shape)}, the input "
                f"{tuple(x.shape)}; start a new batch from state=None"
            )
        whole = torch.cat([state.past.to(x.dtype), x])
        delays = range(0, longest + 1, self.spacing)
        out = torch.cat([whole[longest - delay :][: len(x)] for delay in delays], 2)
        return out, DelayState(whole[len(x) :])

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"{self.taps}, spacing={self.spacing}"
