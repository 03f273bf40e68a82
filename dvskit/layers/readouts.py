"""Readouts, (T, B, C) -> (B, C), and membrane potentials as outputs.

After each chunk or step, `run` returns the answer so far: what `forward` returns for all steps up
to there. A live decision thus costs one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError, check_positive
from dvskit.layers.batch import check_step
from dvskit.neurons import Neurons, NeuronState
from dvskit.neurons.driver import check_tensor
from dvskit.neurons.dynamics import Carried


@check_arguments
class Membrane(nn.Module):
    """Neurons that return their membrane: (T, ...) currents in, (T, ...) potentials out.

    The potential of a step is h of `dvskit.neurons.dynamics`, before the reset. The neurons still
    spike and reset; a step with a spike shows the potential that caused it. As the last layer it
    gives membranes (T, B, classes) for a loss at each step; before a MeanMembrane or LastMembrane,
    one answer. Computed in plain torch (`Neurons.trace`), in float32 (float64 for float64), since
    half precision gives poor logits. Gradients flow through potentials and states.

        last = dvskit.layers.Membrane(dvskit.neurons.LIF(beta=0.9))
        potentials = last(torch.rand(20, 8, 10))  # (20, 8, 10), for a loss at each step
        potentials.max() > 1  # True: above the threshold, where a neuron spiked
    """

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials (T, ...) at each step of `x` (T, ...), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the potentials (T, ...) at each step of `x`, and the state after it."""
        if x.ndim == 0 or x.shape[0] < 1 or not x.is_floating_point():
            raise ShapeError(
                f"Membrane takes floating-point currents (T, ...) with T >= 1, not {x.dtype} of "
                f"shape {tuple(x.shape)}"
            )
        traced = self.neurons.trace(x, state)
        return traced.h, traced.state


class Readout(nn.Module):
    """A layer that reduces time: (T, B, ...) -> (B, ...).

    A subclass writes `run`, which returns the answer so far and the state:

        class Median(dvskit.layers.Readout):
            def run(self, x, state=None):
                seen = x if state is None else torch.cat((state, x))
                return seen.median(0).values, seen

        Median()(torch.rand(20, 8, 10)).shape  # (8, 10)
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer (B, ...) for all steps of `x` (T, B, ...). ShapeError for T = 0."""
        out: Tensor = self.run(x)[0]
        return out

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the answer for all steps so far, and the state after `x` (T, B, ...)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SumState(Carried):
    """The sum (B, ...) over the steps so far, and their number."""

    total: Tensor
    steps: int


class SpikeCount(Readout):
    """The sum over time, in float32 or float64: the number of spikes; an OFF spike counts -1.

    (T, B, ...) -> (B, ...).

        spikes = (torch.rand(20, 8, 10) < 0.3).float()
        counts = dvskit.layers.SpikeCount()(spikes)  # (8, 10), about 6 each
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the counts (B, ...) so far, and the state after `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total, state


class MeanMembrane(Readout):
    """The mean over time in float32 (float64 for float64), for example of membranes.

    (T, B, ...) -> (B, ...).

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.MeanMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: SumState | None = None) -> tuple[Tensor, SumState]:
        """Return the mean (B, ...) over the steps so far, and the state after `x` (T, B, ...)."""
        state = _add(self, x, state)
        return state.total / state.steps, state


class LastMembrane(Readout):
    """The last step, for example of a leaky integrator, which remembers earlier steps.

    (T, B, ...) -> (B, ...), in the dtype of the input.

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.LastMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Return the last step (B, ...) of `x` (T, B, ...); there is no state."""
        _check(self, x, None)
        return x[-1], None


@dataclass(frozen=True, slots=True)
class MaxState(Carried):
    """The largest entries (B, ...) of the steps so far."""

    largest: Tensor


class MaxMembrane(Readout):
    """The largest value over time of each output: for membranes, the best moment of each class.

    It is the readout of Cramer et al. 2020 ("The Heidelberg spiking data sets"). For networks over
    points, (points, B, ...), it makes the result independent of their order (Qi et al. 2017,
    "PointNet"). The gradient goes to the largest entry; equal ones share it.

        network = dvskit.layers.Sequence(dvskit.neurons.LI(0.95), dvskit.layers.MaxMembrane())
        logits = network(torch.rand(20, 8, 10))  # (8, 10)
    """

    def run(self, x: Tensor, state: MaxState | None = None) -> tuple[Tensor, MaxState]:
        """Return the largest (B, ...) of the steps so far, and the state after `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.largest)
        largest = x.amax(0)
        if state is not None:
            largest = torch.maximum(state.largest, largest)
        return largest, MaxState(largest)


@dataclass(frozen=True, slots=True)
class FirstSpikeState(Carried):
    """Which neurons have been silent so far (1, else 0), and for how many steps."""

    silent: Tensor
    waited: Tensor


@check_arguments
class FirstSpike(Readout):
    """Time of the first spike as logits: minus the steps before it, divided by `tau`.

    With q_t = prod_{u <= t} (1 - s_u), which is 1 while a neuron has been silent and 0 from its
    first spike on, the steps before the first spike are sum_t q_t (all T if a neuron never spikes),
    and logits = -sum_t q_t / tau. Earlier spikes give larger logits. Only ON spikes count.

    q_t is the survival function in discrete time. Its derivative by s_u is the change from adding
    or removing that one spike: -(t1 - u) before the first spike at t1, -(t2 - t1) at it, where t2
    is the next spike or T, and 0 after it. From there the surrogate gradient of the neurons goes on
    (Neftci, Mostafa and Zenke 2019). `tau` is in steps: the softmax of two classes whose first
    spikes are `tau` steps apart has odds of e.

        spikes = torch.zeros(10, 1, 2)
        spikes[3, 0, 0] = 1  # the first neuron spikes in step 3, the second never
        dvskit.layers.FirstSpike(tau=2.0)(spikes)  # [[-1.5, -5]]
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        check_positive("FirstSpike", tau=tau)
        self.tau = float(tau)

    def run(
        self, x: Tensor, state: FirstSpikeState | None = None
    ) -> tuple[Tensor, FirstSpikeState]:
        """Return the logits (B, ...) so far, and the state after the spikes `x` (T, B, ...)."""
        _check(self, x, None if state is None else state.silent)
        # clamp passes the gradient at 0 and 1 in some releases of torch only.
        on = torch.where((x >= 0) & (x <= 1), x, x.detach().clamp(0, 1)).to(_sum_dtype(x))
        silent = _running_product(1 - on)
        if state is None:
            state = FirstSpikeState(torch.ones_like(on[0]), torch.zeros_like(on[0]))
        silent = silent * state.silent
        waited = state.waited + silent.sum(0)
        return -waited / self.tau, FirstSpikeState(silent[-1], waited)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"tau={self.tau}"


def _running_product(x: Tensor) -> Tensor:
    """Return the cumulative product over the steps of `x` (T, ...)."""
    if torch.compiler.is_compiling():  # for export: ONNX has no cumulative product
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
    # Sums in half precision would stop at 256.
    return torch.float64 if x.dtype == torch.float64 else torch.float32
