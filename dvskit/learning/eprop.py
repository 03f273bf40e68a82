"""e-prop: online gradients of a recurrent network, in memory that does not grow with time.

The network has LIF and ALIF neurons with a leaky readout, and runs step by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from dvskit._checks import (
    check_choice,
    check_fields,
    check_number,
    check_whole,
    checked,
    checked_dataclass,
)
from dvskit.encoders.values import generator_from
from dvskit.learning import rule
from dvskit.learning.rule import Loss
from dvskit.neurons import Surrogate, Triangle, spike
from dvskit.neurons.dynamics import check_surrogate


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentNeurons:
    """Constants of the neurons of a RecurrentNetwork.

    beta           membrane kept per step, exp(-dt / tau)    threshold   of spikes
    adaptation     of ALIF neurons: rise of the threshold at a spike
    rho            of ALIF neurons: adaptation kept per step
    readout        readout kept per step
    surrogate      the derivative of a spike with respect to potential - threshold

        neurons = dvskit.learning.RecurrentNeurons(beta=0.95, rho=0.99)
        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50, alif=50, neurons=neurons)
    """

    beta: float = checked(check_number, 0, 1, default=0.9)
    threshold: float = checked(check_number, above=0, default=1.0)
    adaptation: float = checked(check_number, 0, default=0.2)
    rho: float = checked(check_number, 0, 1, default=0.97)
    readout: float = checked(check_number, 0, 1, default=0.9)
    surrogate: Surrogate = checked(check_surrogate, default=Triangle(1.0, 0.3))

    def __post_init__(self) -> None:
        check_fields(self)


class RecurrentState(NamedTuple):
    """The state of a RecurrentNetwork of N = lif + alif neurons, LIF first.

    v  potentials after reset (B, N)       s  spikes (B, N)
    a  adaptation (B, alif)                y  readout before its bias (B, outputs)

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50, alif=30)
        output, state = network.step(torch.rand(4, 20), network.rest(4))
        state.v.shape, state.a.shape, state.y.shape  # (4, 80), (4, 30), (4, 3)
    """

    v: Tensor
    s: Tensor
    a: Tensor
    y: Tensor


class RecurrentNetwork(nn.Module):
    """Recurrently connected LIF and ALIF neurons with a leaky readout (Bellec et al. 2020).

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50, alif=50)
        outputs = dvskit.learning.predict(network, torch.rand(30, 4, 20))  # (30, 4, 3)
        output, state = network.step(torch.rand(4, 20))  # one step: (4, 3)
        state.s.shape  # (4, 100)

    At each time step:

        h_t = beta v_{t-1} + W_in x_t + W_rec s_{t-1}
        th_t = threshold + adaptation a_{t-1};   s_t = [h_t >= th_t];   v_t = h_t - th_t s_t
        a_t = rho a_{t-1} + s_t                                      (LIF neurons: a = 0)
        y_t = readout y_{t-1} + W_out s_t;   output_t = y_t + b_out

    The reset passes no gradient. No neuron is connected to itself: the diagonal of W_rec is
    ignored.

    inputs, outputs  numbers of inputs and of readouts
    lif, alif        numbers of neurons of each kind; LIF neurons come first
    neurons          their constants
    generator        of the weights, normal numbers of variance 1 / (number of their inputs): a
                     torch.Generator or a seed; the default is torch's generator
    local            cut the gradient as e-prop does: `W_rec s_{t-1}` passes no gradient to s_{t-1}.
                     BPTT then computes the gradients of EProp, with the memory of BPTT

    Weights: w_in (N, inputs), w_rec (N, N), w_out (outputs, N), b_out (outputs,).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        lif: int = 100,
        alif: int = 0,
        neurons: RecurrentNeurons | None = None,
        generator: torch.Generator | int | None = None,
        local: bool = False,
    ) -> None:
        super().__init__()
        check_whole("inputs", inputs, 1, owner="RecurrentNetwork")
        check_whole("outputs", outputs, 1, owner="RecurrentNetwork")
        check_whole("alif", alif, owner="RecurrentNetwork")
        check_whole("lif", lif, 0 if alif else 1, owner="RecurrentNetwork")
        self.inputs, self.outputs, self.lif, self.alif = inputs, outputs, lif, alif
        self.neurons = RecurrentNeurons() if neurons is None else neurons
        self.local = local
        drawn = generator_from(generator, "RecurrentNetwork")
        count = lif + alif

        def weights(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=drawn) / math.sqrt(columns))

        self.w_in, self.w_rec = weights(count, inputs), weights(count, count)
        self.w_out = weights(outputs, count)
        self.b_out = nn.Parameter(torch.zeros(outputs))

    def rest(self, batch: int) -> RecurrentState:
        """Return the state at rest, in the dtype and on the device of the weights."""
        count, zeros = self.lif + self.alif, self.w_in.detach().new_zeros
        sizes = count, count, self.alif, self.outputs
        return RecurrentState(*(zeros(batch, size) for size in sizes))

    def step(self, x: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        """Return the outputs (B, outputs) for inputs (B, inputs), and the new state."""
        output, _, after = self.advance(x, state)
        return output, after

    def advance(
        self, x: Tensor, state: RecurrentState | None = None
    ) -> tuple[Tensor, Tensor, RecurrentState]:
        """Do `step`, and also return h_t - th_t (B, N) as the second value."""
        rule.check_input(self, x, (self.inputs,), None if state is None else len(state.v))
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


Feedback = Literal["symmetric", "random", "adaptive"]


@checked_dataclass(frozen=True, slots=True)
class FiringRate:
    """A cost that keeps mean firing rates near a target: cost / 2 sum_j (f_j - target)^2.

    f_j is the mean of neuron j's spikes over all time steps and samples of a run, in spikes per
    step (Bellec et al. 2020, where rates are in Hz).

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50)
        rate = dvskit.learning.FiringRate(cost=0.1, target=0.02)  # one spike in 50 steps
        rule = dvskit.learning.EProp(network, rate=rate)
        x, targets = torch.ones(30, 4, 20), torch.zeros(30, 4, 3)
        outputs, state = dvskit.learning.teach(rule, x, targets)
        state.counts / 30 / 4  # (50,): spikes of each neuron, per step and sample
    """

    cost: float = checked(check_number, 0)
    target: float = checked(check_number, 0, 1, default=0.02)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class EPropState:
    """The state of e-prop: B samples, N neurons (LIF first) with J = inputs + N synapses each.

    network     the network's state          loss    the sum of the losses so far
    presynaptic eps_v (B, J): inputs and spikes of the step before, filtered by the membrane
    adaptation  eps_a (B, alif, J)           filtered  e-bar (B, N, J), filtered by the readout
    spikes      z-bar (B, N), spikes filtered by the readout
    counts      (N,) spikes so far           traces  (N, J) sum of e over batch and time; both for
                FiringRate, else None        steps   number of time steps so far

        rule = dvskit.learning.EProp(dvskit.learning.RecurrentNetwork(20, 3, lif=50))
        output, state = rule.step(rule.start(4), torch.ones(4, 20), torch.zeros(4, 3))
        state.steps, state.filtered.shape  # 1, (4, 50, 70)
    """

    network: RecurrentState
    loss: Tensor
    presynaptic: Tensor
    adaptation: Tensor
    filtered: Tensor
    spikes: Tensor
    counts: Tensor | None = None
    traces: Tensor | None = None
    steps: int = 0


class EProp(nn.Module):
    """e-prop (Bellec et al. 2020): learning signals times eligibility traces, at each time step.

        network = dvskit.learning.RecurrentNetwork(20, 3, lif=50, alif=50)
        rule = dvskit.learning.EProp(network, dvskit.learning.cross_entropy)
        x = (torch.rand(30, 4, 20) < 0.2).float()  # 30 steps, a batch of 4
        labels = torch.tensor([0, 1, 2, 0])
        outputs, state = dvskit.learning.teach(rule, x, labels.expand(30, 4))  # (30, 4, 3)
        network.w_rec.grad.shape  # (100, 100)

    At each time step:

        eps_v_t = beta eps_v_{t-1} + pre_t          pre: x_t, and s_{t-1} of the other neurons
        e_t = psi_t (eps_v_t - adaptation eps_a_{t-1});   eps_a_t = rho eps_a_{t-1} + e_t
        ebar_t = readout ebar_{t-1} + e_t
        dE/dW = sum_t L_t ebar_t,    L_t = B^T dE_t/dy_t

    psi is the surrogate derivative at h_t - th_t, the potential minus the adapted threshold. The
    output weights get their exact gradient.

    Compared with BPTT it neglects the effect of a spike on other neurons (and through them on the
    loss) by the recurrent weights. With symmetric feedback the gradient is that of BPTT on a
    RecurrentNetwork with local=True, which cuts just that path; without recurrent weights it is
    that of BPTT.

    network    its weights are learned, in place; `local` has no effect here
    loss       of one time step, (output, target) -> a scalar: `squared_error`, `cross_entropy`
    feedback   the matrix B: "symmetric": W_out; "random": drawn once like W_out, and fixed;
               "adaptive": drawn likewise, then learned with the gradient of W_out, so that both
               approach each other if the optimizer has a weight decay
    rate       keeps firing rates near a target; `finish` adds its gradient
    generator  of the random feedback: a torch.Generator or a seed; the default is torch's generator

    It is called like every `Rule`. Gradients are in `.grad` after each `step`: an optimizer may
    step then (online), or after `finish`. Memory is that of the traces, B N (inputs + N) numbers,
    for any number of time steps.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        loss: Loss = rule.squared_error,
        *,
        feedback: Feedback = "symmetric",
        rate: FiringRate | None = None,
        generator: torch.Generator | int | None = None,
    ) -> None:
        super().__init__()
        check_choice("feedback", feedback, get_args(Feedback), owner="EProp")
        self.network, self.loss, self.rate = network, loss, rate
        self.feedback: Feedback = feedback
        self.broadcast: Tensor | None = None
        if feedback != "symmetric":
            outputs, count = network.w_out.shape
            drawn = torch.randn(outputs, count, generator=generator_from(generator, "EProp"))
            drawn = (drawn / math.sqrt(count)).to(network.w_out)
            self.broadcast = nn.Parameter(drawn, requires_grad=feedback == "adaptive")

    def start(self, batch: int) -> EPropState:
        """Return the state before the first time step of `batch` samples."""
        check_whole("batch", batch, 1)
        n = self.network
        count, zeros = n.lif + n.alif, n.w_in.detach().new_zeros
        synapses = n.inputs + count
        kept = self.rate is not None
        return EPropState(
            n.rest(batch),
            zeros(()),
            zeros(batch, synapses),
            zeros(batch, n.alif, synapses),
            zeros(batch, count, synapses),
            zeros(batch, count),
            zeros(count) if kept else None,
            zeros(count, synapses) if kept else None,
        )

    @torch.no_grad()
    def step(
        self, state: EPropState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, EPropState]:
        """Return the output (B, outputs) and the new state; a target adds to the gradients."""
        output, u, network = self.network.advance(x, state.network)
        after = self._trace(state, x, u, network)
        if target is not None:
            value, slope = rule.loss_and_slope(self.loss, output, target)
            self._learn(after, slope)
            after = replace(after, loss=after.loss + value)
        return output, after

    @torch.no_grad()
    def finish(self, state: EPropState) -> None:
        """Add the gradient of the firing rates."""
        if self.rate is None or state.traces is None or state.counts is None or not state.steps:
            return
        seen = state.steps * len(state.spikes)
        away = self.rate.cost / seen * (state.counts / seen - self.rate.target)
        self._add(away[:, None] * state.traces)

    def _trace(
        self, state: EPropState, x: Tensor, u: Tensor, network: RecurrentState
    ) -> EPropState:
        n, c = self.network, self.network.neurons
        psi = c.surrogate.derivative(u)
        presynaptic = c.beta * state.presynaptic + torch.cat((x, state.network.s), 1)
        here, across = psi[:, :, None], presynaptic[:, None]
        filtered = torch.baddbmm(state.filtered, here, across, beta=c.readout)
        adaptation, correction = state.adaptation, None
        if n.alif:
            correction = c.adaptation * here[:, n.lif :] * state.adaptation
            e = here[:, n.lif :] * across - correction
            adaptation = c.rho * state.adaptation + e
            filtered[:, n.lif :] -= correction
        counts, traces = state.counts, state.traces
        if counts is not None and traces is not None:
            counts = counts + network.s.sum(0)
            traces = traces + psi.T @ presynaptic
            if correction is not None:
                traces[n.lif :] -= correction.sum(0)
        spikes = c.readout * state.spikes + network.s
        return EPropState(
            network,
            state.loss,
            presynaptic,
            adaptation,
            filtered,
            spikes,
            counts,
            traces,
            state.steps + 1,
        )

    def _learn(self, state: EPropState, slope: Tensor) -> None:
        n = self.network
        broadcast = n.w_out if self.broadcast is None else self.broadcast
        signal = slope @ broadcast  # (B, outputs) -> (B, N)
        of_readout = slope.T @ state.spikes
        self._add(torch.einsum("bn,bnj->nj", signal, state.filtered))
        rule.add_gradient(n.w_out, of_readout)
        rule.add_gradient(n.b_out, slope.sum(0))
        if self.broadcast is not None:
            rule.add_gradient(self.broadcast, of_readout)

    def _add(self, gradient: Tensor) -> None:
        """Add a gradient (N, J) to those of the input and the recurrent weights."""
        n = self.network
        recurrent = gradient[:, n.inputs :]
        rule.add_gradient(n.w_in, gradient[:, : n.inputs])
        rule.add_gradient(n.w_rec, recurrent - torch.diag_embed(recurrent.diagonal()))
