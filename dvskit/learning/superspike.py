"""SuperSpike: layers of spiking neurons learn the times of target spikes, online."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.encoders.seeds import generator_from
from dvskit.errors import ConfigError, did_you_mean
from dvskit.learning.rule import add_gradient, check_batch
from dvskit.learning.spike_response import SpikeResponseNetwork, SpikeResponseState
from dvskit.learning.van_rossum import Filtered, VanRossum

SpikeFeedback = Literal["symmetric", "random", "uniform"]


class Eligibility(NamedTuple):
    """The filtered eligibility traces of a layer, for its weights (B, N, J) and biases (B, N)."""

    weights: Filtered
    biases: Filtered


@dataclass(frozen=True, slots=True)
class SuperSpikeState:
    """What SuperSpike carries.

    network  the state of each layer        traces  the eligibility traces of each layer
    error    the filtered difference of output and target spikes
    loss     the van Rossum loss so far, a sum over time and the batch
    """

    network: SpikeResponseState | None
    traces: tuple[Eligibility, ...] | None
    error: Filtered | None
    loss: Tensor


@check_arguments
class SuperSpike(nn.Module):
    """SuperSpike (Zenke & Ganguli 2018): error signals times filtered eligibility traces.

        dL/dW_ij = sum_t e_i(t) (alpha * [sigma'(U_i) (epsilon * S_j)])(t)
        output layer: e = alpha * (S - S_target), of the van Rossum loss 1/2 sum_t e^2
        hidden layers: e = F e_output

    epsilon is the network's postsynaptic response, sigma' its surrogate derivative. For the output
    layer this is the exact gradient of the loss; the gradient passes the reset by. What reaches a
    hidden layer is the output's error at the same time, without the derivatives and responses of
    the layers between: with symmetric feedback the approximation of the paper.

    network   a SpikeResponseNetwork, whose weights are learned
    loss      its kernel is alpha
    feedback  "symmetric": F is the product of the transposed weights of the layers behind;
              "random": drawn once, normal numbers of variance 1 / outputs; "uniform": all ones
    seed      of the random feedback

    It is called as every `Rule`; outputs are spikes, and so are targets. A step without a target
    takes the two as equal. Gradients are in `.grad` after each `step`. Memory is that of the
    traces, two numbers for each sample and weight. Raises ConfigError for an unknown feedback.
    """

    def __init__(
        self,
        network: SpikeResponseNetwork,
        loss: VanRossum | None = None,
        *,
        feedback: SpikeFeedback = "symmetric",
        seed: int | torch.Generator = 0,
    ) -> None:
        super().__init__()
        if feedback not in get_args(SpikeFeedback):
            hint = did_you_mean(str(feedback), get_args(SpikeFeedback))
            raise ConfigError(f"SuperSpike: feedback = {feedback!r} is unknown; {hint}")
        self.network, self.loss = network, VanRossum() if loss is None else loss
        self.feedback: SpikeFeedback = feedback
        drawn = generator_from(seed, "SuperSpike", "seed")
        outputs = network.sizes[-1]
        for number, size in enumerate(network.sizes[1:-1]):
            if feedback != "symmetric":
                broadcast = torch.ones(size, outputs)
                if feedback == "random":
                    broadcast = torch.randn(size, outputs, generator=drawn) / math.sqrt(outputs)
                self.register_buffer(f"broadcast{number}", broadcast.to(network.rows()[0].weight))

    def start(self, batch: int) -> SuperSpikeState:
        """Return the state before the first time step; the batch is that of the first input."""
        check_batch(batch)
        zero = self.network.rows()[0].weight.detach().new_zeros(())
        return SuperSpikeState(None, None, None, zero)

    @torch.no_grad()
    def step(
        self, state: SuperSpikeState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, SuperSpikeState]:
        """Return the spikes (B, outputs) for input spikes (B, inputs), and the new state.

        Raises ShapeError for inputs and targets of another shape.
        """
        steps, after = self.network.advance(x, state.network)
        spikes = steps[-1].spikes
        error, filtered = self.loss.error(spikes, target, state.error)
        traces = []
        for number, (layer, own) in enumerate(zip(self.network.rows(), steps, strict=True)):
            slope = self.network.neurons.surrogate.derivative(own.u)
            eligible = slope[:, :, None] * own.response[:, None]  # (B, N, 1) (B, 1, J)
            before = (None, None) if state.traces is None else state.traces[number]
            kept, weights = self.loss.kernel.step(eligible, before[0])
            kept_bias, biases = self.loss.kernel.step(slope, before[1])
            traces.append(Eligibility(weights, biases))
            signal = self._signal(number, error)
            add_gradient(layer.weight, torch.einsum("bn,bnj->nj", signal, kept))
            if layer.bias is not None:
                add_gradient(layer.bias, (signal * kept_bias).sum(0))
        loss = state.loss + 0.5 * error.square().sum()
        return spikes, SuperSpikeState(after, tuple(traces), filtered, loss)

    def finish(self, state: SuperSpikeState) -> None:
        """Do nothing: all gradients are known after each step."""

    def _signal(self, number: int, error: Tensor) -> Tensor:
        """Return the error (B, N) that reaches a layer."""
        behind = self.network.rows()[number + 1 :]
        if not behind:
            return error
        if self.feedback != "symmetric":
            broadcast: Tensor = getattr(self, f"broadcast{number}")
            return error @ broadcast.T
        for layer in reversed(behind):
            error = error @ layer.weight  # (B, out) -> (B, in)
        return error
