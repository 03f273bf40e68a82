"""Readouts: what a network says of each class, (T, B, C) -> (B, C); and membranes to read out.

States of readouts run along: after each chunk, or each step, `run` returns the answer so far, which
is what `forward` returns of all steps up to there. So a live decision costs one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.batch import check_step, check_tensor
from dvskit.neurons import Neurons, NeuronState
from dvskit.neurons.dynamics import Carried


@check_arguments
class Membrane(nn.Module):
    """Neurons whose output is their membrane: (T, ...) currents in, (T, ...) potentials out.

    The potential of a step is that ahead of the reset, h in `dvskit.neurons.dynamics`: the neurons
    spike and are reset as ever, and the step at which one spikes shows the highest potential. As
    the last layer it gives membranes (T, B, classes) for a loss at each step, and in front of a
    MeanMembrane or LastMembrane one answer. Computed in plain torch (`Neurons.trace`), in float32
    (float64 for float64): in half precision they would make poor logits. Gradients flow through
    potentials and states.

    Raises ShapeError as the neurons do, and for currents without time steps.
    """

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials (T, ...) at each step of `x` (T, ...), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the potentials (T, ...) at each step of `x`, and the state behind it."""
        if x.ndim == 0 or x.shape[0] < 1 or not x.is_floating_point():
            raise ShapeError(
                f"Membrane takes floating-point currents (T, ...) with T >= 1, not {x.dtype} of "
                f"shape {tuple(x.shape)}"
            )
        traced = self.neurons.trace(x, state)
        return traced.h, traced.state


class Readout(nn.Module):
    """What takes (T, B, ...) and returns (B, ...): time ends here."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer (B, ...) to all steps of `x` (T, B, ...). Raises ShapeError for T 0."""
        out: Tensor = self.run(x)[0]
        return out

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the answer to all steps so far, and the state behind `x` (T, B, ...)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SumState(Carried):
    """The sum (B, ...) over the steps so far, and their number."""

    total: Tensor
    steps: int


class SpikeCount(Readout):
    """The sum over time: how often each neuron spiked, an OFF spike counting -1.

    Summed in float32 (float64 for float64), in which counts are exact.
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the counts (B, ...) so far, and the state behind `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total, state


class MeanMembrane(Readout):
    """The mean over time, as of the membranes of readout neurons or of weighted sums.

    Summed in float32 (float64 for float64). In chunks of time the sum is of the chunks' sums, the
    same but for rounding.
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the mean (B, ...) over the steps so far, and the state behind `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total / state.steps, state


class LastMembrane(Readout):
    """The last step: of a leaky integrator, which remembers the ones before, or of any layer."""

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Return the last step (B, ...) of `x` (T, B, ...); there is no state."""
        _check(self, x, None)
        return x[-1], None


@dataclass(frozen=True, slots=True)
class MaxState(Carried):
    """The largest entries (B, ...) of the steps so far."""

    largest: Tensor


class MaxMembrane(Readout):
    """The largest over time, each output for itself: of membranes, a class shown at its best.

    It is the readout of Cramer et al. 2020 ("The Heidelberg spiking data sets"), and what makes a
    network over points, (points, B, ...), know no order of them (Qi et al. 2017, "PointNet"). The
    gradient goes to the largest, and of equals to each alike.
    """

    def run(self, x: Tensor, state: MaxState | None = None) -> tuple[Tensor, MaxState]:
        """Return the largest (B, ...) of the steps so far, and the state behind `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.largest)
        largest = x.amax(0)
        if state is not None:
            largest = torch.maximum(state.largest, largest)
        return largest, MaxState(largest)


@dataclass(frozen=True, slots=True)
class FirstSpikeState(Carried):
    """Which neurons have been silent so far (1, else 0), and for how long they were, in steps."""

    silent: Tensor
    waited: Tensor


@check_arguments
class FirstSpike(Readout):
    """How soon each neuron spikes first: minus the steps ahead of its first spike, over `tau`.

    With q_t = prod_{u <= t} (1 - s_u), which is 1 while a neuron has been silent and 0 from its
    first spike on, the steps ahead of the first spike are sum_t q_t (all T of a neuron that never
    spikes), and logits = -sum_t q_t / tau: the sooner, the larger. Only ON spikes count.

    q_t is the survival function of discrete time. Its derivative by s_u is what adding or removing
    that one spike would change: -(t1 - u) ahead of the first spike at t1, -(t2 - t1) at it, where
    t2 is the next one or T, and 0 behind it. From there the surrogate gradient of the neurons goes
    on, as of any other loss of spikes (Neftci, Mostafa and Zenke 2019).

    `tau` is in steps: the softmax of two classes whose first spikes are `tau` steps apart has odds
    of e. Raises ConfigError unless tau is above 0.
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        if not 0 < tau < float("inf"):
            raise ConfigError(f"FirstSpike: tau = {tau} is not a finite number of steps above 0")
        self.tau = float(tau)

    def run(
        self, x: Tensor, state: FirstSpikeState | None = None
    ) -> tuple[Tensor, FirstSpikeState]:
        """Return the logits (B, ...) so far, and the state behind the spikes `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.silent)
        on = x.clamp(0, 1).to(_sum_dtype(x))  # at 0 and 1 the gradient passes the clamp
        silent = _running_product(1 - on)
        if state is None:
            state = FirstSpikeState(torch.ones_like(on[0]), torch.zeros_like(on[0]))
        silent = silent * state.silent
        waited = state.waited + silent.sum(0)
        return -waited / self.tau, FirstSpikeState(silent[-1], waited)

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"tau={self.tau}"


def _running_product(x: Tensor) -> Tensor:
    """Return the product of the steps so far, at each step of `x` (T, ...)."""
    if torch.compiler.is_compiling():  # a graph for export: ONNX has no cumulative product
        return torch.stack(list(accumulate(x.unbind(0), torch.mul)))
    return torch.cumprod(x, 0)


def _add(readout: Readout, x: Tensor, state: SumState | None) -> SumState:
    _check(readout, x, None if state is None else state.total)
    total = x.sum(0, dtype=_sum_dtype(x))
    if state is None:
        return SumState(total, x.shape[0])
    return SumState(state.total + total, state.steps + x.shape[0])


def _check(readout: Readout, x: Tensor, state: Tensor | None) -> None:
    check_tensor(readout, x)
    if x.ndim < 2 or x.shape[0] < 1 or not x.is_floating_point():
        raise ShapeError(
            f"{type(readout).__name__} takes floating-point (T, B, ...) with T >= 1, not {x.dtype} "
            f"of shape {tuple(x.shape)}"
        )
    check_step(readout, x, state)


def _sum_dtype(x: Tensor) -> torch.dtype:
    # Sums in half precision would stand still at 256.
    return torch.float64 if x.dtype == torch.float64 else torch.float32
