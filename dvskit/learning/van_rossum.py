"""Distances between spike trains: filtered by a double exponential, then squared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError, check_positive


class FilterState(NamedTuple):
    """The state of a DoubleExponential, in the shape of its input."""

    rising: Tensor
    falling: Tensor


@check_arguments
@dataclass(frozen=True, slots=True)
class DoubleExponential:
    """A causal filter that rises and falls exponentially, with a peak of 1.

        kernel = dvskit.learning.DoubleExponential(rise=5.0, decay=10.0)
        spikes = torch.zeros(100, 1)
        spikes[10] = 1
        response = kernel.run(spikes)  # (100, 1)
        response.max(), response.argmax()  # (1, 16): the peak is 6 steps after the spike

    At each time step:

        r_t = p r_{t-1} + y_t;   f_t = q f_{t-1} + r_t;   output g f_t
        p = exp(-1 / rise), q = exp(-1 / decay), g such that one spike's response peaks at 1

    rise, decay  time constants, in time steps; they may be equal (the alpha function)
    """

    rise: float = 5.0
    decay: float = 10.0
    p: float = field(init=False, repr=False, compare=False, default=0.0)
    q: float = field(init=False, repr=False, compare=False, default=0.0)
    gain: float = field(init=False, repr=False, compare=False, default=1.0)

    def __post_init__(self) -> None:
        check_positive("DoubleExponential", rise=self.rise, decay=self.decay)
        p, q = math.exp(-1 / self.rise), math.exp(-1 / self.decay)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "gain", 1 / _peak(self.rise, self.decay))

    def step(self, y: Tensor, state: FilterState | None = None) -> tuple[Tensor, FilterState]:
        """Return the filtered value of one time step, in the shape of `y`, and the new state."""
        if state is None:
            rising = falling = y
        else:
            rising = self.p * state.rising + y
            falling = self.q * state.falling + rising
        return self.gain * falling, FilterState(rising, falling)

    def run(self, y: Tensor) -> Tensor:
        """Return y (T, ...) filtered over time, from rest."""
        state, filtered = None, []
        for y_t in y:
            out, state = self.step(y_t, state)
            filtered.append(out)
        return torch.stack(filtered) if filtered else y.clone()


def _peak(rise: float, decay: float) -> float:
    """Return the largest value of the response to one spike.

    The response m - 1 steps after the spike is (q^m - p^m) / (q - p), or m q^(m - 1) where p = q.
    """
    apart = 1 / rise - 1 / decay
    highest = rise if apart == 0 else math.log(decay / rise) / apart  # for a real m

    def response(m: int) -> float:
        ratio = m if apart == 0 else math.expm1(-apart * m) / math.expm1(-apart)
        return math.exp(-(m - 1) / decay) * ratio

    return max(response(max(1, math.floor(highest))), response(max(1, math.ceil(highest))))


@check_arguments
@dataclass(frozen=True, slots=True)
class VanRossum:
    """The van Rossum distance: 1/2 sum over time of (alpha * (S - S_target))^2.

    `kernel` is alpha, a DoubleExponential (Zenke & Ganguli 2018). It has memory, so this loss has a
    state; other losses are plain functions.

        distance = dvskit.learning.VanRossum(dvskit.learning.DoubleExponential(5.0, 10.0))
        spikes, target = torch.zeros(100, 1, 1), torch.zeros(100, 1, 1)
        spikes[20], target[23] = 1, 1  # 3 steps late
        distance.distance(spikes, target)  # (1, 1): [[0.92]]
    """

    kernel: DoubleExponential = field(default_factory=lambda: DoubleExponential(5.0, 10.0))

    def error(
        self, spikes: Tensor, target: Tensor | None, state: FilterState | None = None
    ) -> tuple[Tensor, FilterState]:
        """Return alpha * (S - S_target) of one step, 0 without a target; and the new state."""
        if target is None:
            return self.kernel.step(torch.zeros_like(spikes), state)
        _check_same_shape(spikes, target)
        return self.kernel.step(spikes - target.to(spikes.dtype), state)

    def step(
        self, spikes: Tensor, target: Tensor | None, state: FilterState | None = None
    ) -> tuple[Tensor, FilterState]:
        """Return the loss of one time step, summed over the batch, and the state after it."""
        error, state = self.error(spikes, target, state)
        return 0.5 * error.square().sum(), state

    def distance(self, spikes: Tensor, target: Tensor) -> Tensor:
        """Return the distance (B, N) of whole spike trains (T, B, N), from rest."""
        _check_same_shape(spikes, target)
        return 0.5 * self.kernel.run(spikes - target).square().sum(0)


def _check_same_shape(spikes: Tensor, target: Tensor) -> None:
    if spikes.shape != target.shape:
        raise ShapeError(
            f"the target spikes are {tuple(target.shape)}, the output's "
            f"{tuple(spikes.shape)}; both must have the same shape"
        )
