"""A recurrent network of LIF and ALIF neurons with a leaky readout, run step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import generator_from
from dvskit.errors import ConfigError
from dvskit.learning.rule import check_input, check_kept, check_positive
from dvskit.neurons import Surrogate, Triangle, spike
from dvskit.neurons.surrogates import check_surrogate


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentNeurons:
    """Constants of the neurons of a RecurrentNetwork.

    beta           membrane kept per step, exp(-dt / tau)    threshold   of spikes
    adaptation     of ALIF neurons: rise of the threshold at a spike
    rho            of ALIF neurons: adaptation kept per step
    readout        readout kept per step
    surrogate      the derivative of a spike with respect to potential - threshold

    Raises ConfigError for values out of range.
    """

    beta: float = 0.9
    threshold: float = 1.0
    adaptation: float = 0.2
    rho: float = 0.97
    readout: float = 0.9
    surrogate: Surrogate = field(default_factory=lambda: Triangle(1.0, 0.3))

    def __post_init__(self) -> None:
        check_kept(self, "beta", "rho", "readout")
        check_positive("RecurrentNeurons", "threshold", self.threshold)
        if not (math.isfinite(self.adaptation) and self.adaptation >= 0):
            raise ConfigError(
                f"RecurrentNeurons: adaptation = {self.adaptation} must be finite and at least 0"
            )
        check_surrogate("RecurrentNeurons", self.surrogate, "Triangle(1.0, 0.3)")


class RecurrentState(NamedTuple):
    """The state of a RecurrentNetwork of N = lif + alif neurons, LIF first.

    v  potentials after reset (B, N)       s  spikes (B, N)
    a  adaptation (B, alif)                y  readout before its bias (B, outputs)
    """

    v: Tensor
    s: Tensor
    a: Tensor
    y: Tensor


@check_arguments
class RecurrentNetwork(nn.Module):
    """Recurrently connected LIF and ALIF neurons with a leaky readout (Bellec et al. 2020).

        h_t = beta v_{t-1} + W_in x_t + W_rec s_{t-1}
        th_t = threshold + adaptation a_{t-1};   s_t = [h_t >= th_t];   v_t = h_t - th_t s_t
        a_t = rho a_{t-1} + s_t                                      (LIF neurons: a = 0)
        y_t = readout y_{t-1} + W_out s_t;   output_t = y_t + b_out

    The reset passes no gradient. No neuron is connected to itself: the diagonal of W_rec is
    ignored.

    inputs, outputs  numbers of inputs and of readouts
    lif, alif        numbers of neurons of each kind; LIF neurons come first
    neurons          their constants
    seed             of the weights: normal numbers of variance 1 / (number of inputs of the weight)
    local            cut the gradient as e-prop does: `W_rec s_{t-1}` passes no gradient to s_{t-1}.
                     BPTT then computes the gradients of EProp, with the memory of BPTT

    Weights: w_in (N, inputs), w_rec (N, N), w_out (outputs, N), b_out (outputs,).
    Raises ConfigError for numbers below 1 (lif and alif: both 0, or one below 0).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        lif: int = 100,
        alif: int = 0,
        neurons: RecurrentNeurons | None = None,
        seed: int | torch.Generator = 0,
        local: bool = False,
    ) -> None:
        super().__init__()
        if min(inputs, outputs, lif + alif) < 1 or min(lif, alif) < 0:
            raise ConfigError(
                f"RecurrentNetwork: inputs = {inputs}, outputs = {outputs}, lif = {lif}, alif = "
                f"{alif}: at least 1 input, output and neuron are needed"
            )
        self.inputs, self.outputs, self.lif, self.alif = inputs, outputs, lif, alif
        self.neurons = RecurrentNeurons() if neurons is None else neurons
        self.local = local
        drawn = generator_from(seed, "RecurrentNetwork", "seed")
        count = lif + alif

        def weights(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=drawn) / math.sqrt(columns))

        self.w_in, self.w_rec = weights(count, inputs), weights(count, count)
        self.w_out = weights(outputs, count)
        self.b_out = nn.Parameter(torch.zeros(outputs))

    def rest(self, batch: int) -> RecurrentState:
        """Return the state at rest, in the dtype and on the device of the weights."""
        zeros, count = self.w_in.detach().new_zeros, self.lif + self.alif
        return RecurrentState(
            zeros(batch, count),
            zeros(batch, count),
            zeros(batch, self.alif),
            zeros(batch, self.outputs),
        )

    def step(self, x: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        """Return the outputs (B, outputs) for inputs (B, inputs), and the new state.

        Raises ShapeError for inputs of another shape, or that do not fit the state.
        """
        output, _, after = self.advance(x, state)
        return output, after

    def advance(
        self, x: Tensor, state: RecurrentState | None = None
    ) -> tuple[Tensor, Tensor, RecurrentState]:
        """Do `step`, and also return h_t - th_t (B, N) as the second value."""
        check_input("RecurrentNetwork", x, (self.inputs,), None if state is None else len(state.v))
        state = self.rest(len(x)) if state is None else state
        c = self.neurons
        before = state.s.detach() if self.local else state.s
        h = c.beta * state.v + x @ self.w_in.T + before @ self.recurrent_weights().T
        threshold = c.threshold + c.adaptation * nn.functional.pad(state.a, (self.lif, 0))
        u = h - threshold
        s = spike(u, c.surrogate)
        v = h - (threshold * s).detach()
        a = c.rho * state.a + s[:, self.lif :]
        y = c.readout * state.y + s @ self.w_out.T
        return y + self.b_out, u, RecurrentState(v, s, a, y)

    def recurrent_weights(self) -> Tensor:
        """Return W_rec (N, N) with zeros on the diagonal."""
        return self.w_rec - torch.diag_embed(self.w_rec.diagonal())
