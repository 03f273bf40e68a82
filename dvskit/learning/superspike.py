"""SuperSpike: layers of spiking neurons learn the times of target spikes, online.

The neurons have double-exponential postsynaptic responses. RMSMax is the optimizer of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit.encoders.values import generator_from
from dvskit.errors import ConfigError
from dvskit.learning import rule
from dvskit.learning.rule import DoubleExponential, FilterState, VanRossum
from dvskit.neurons import FastSigmoid, Surrogate, spike
from dvskit.neurons.dynamics import check_surrogate


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeResponse:
    """Constants of the neurons of a SpikeResponseNetwork.

    response   epsilon: the response to a spike at a synapse over time
    threshold  of spikes            recovery  share of the reset after a spike that is kept per step
    surrogate  the derivative of a spike with respect to potential - threshold

        neurons = dvskit.learning.SpikeResponse(
            response=dvskit.learning.DoubleExponential(2.0, 8.0), recovery=0.8
        )
        network = dvskit.learning.SpikeResponseNetwork((100, 4, 1), neurons=neurons)
    """

    response: DoubleExponential = field(default_factory=DoubleExponential)
    threshold: float = checked(check_number, above=0, default=1.0)
    recovery: float = checked(check_number, 0, 1, default=0.9)
    surrogate: Surrogate = checked(check_surrogate, default=FastSigmoid())

    def __post_init__(self) -> None:
        check_fields(self)


class ResponseLayerState(NamedTuple):
    """The state of a layer: filter of its inputs, reset (B, N) and last spikes (B, N)."""

    inputs: FilterState
    reset: Tensor
    spikes: Tensor


SpikeResponseState = tuple[ResponseLayerState, ...]


class LayerStep(NamedTuple):
    """One time step of a layer: synaptic responses (B, J), potential - threshold, spikes."""

    response: Tensor
    u: Tensor
    spikes: Tensor


class SpikeResponseNetwork(nn.Module):
    """Dense layers of spiking neurons for patterns of spikes (Zenke & Ganguli 2018).

        network = dvskit.learning.SpikeResponseNetwork((100, 4, 1), gain=5.0, generator=0)
        x = (torch.rand(50, 8, 100) < 0.05).float()  # 50 steps, a batch of 8
        spikes = dvskit.learning.predict(network, x)  # (50, 8, 1), 0 or 1

    At each time step:

        U_t = W (epsilon * S_in)_t + b - r_t;   S_t = [U_t >= threshold]
        r_t = recovery r_{t-1} + threshold S_{t-1}

    The reset r passes no gradient.

    sizes      numbers of inputs, of neurons of each layer, and last of outputs: (100, 4, 1)
    neurons    their constants
    bias       whether there is a b, initially 0
    generator  of the weights, uniform within gain / sqrt(number of inputs): a torch.Generator or a
               seed; the default is torch's generator
    gain       1 or more, for inputs that spike rarely
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        neurons: SpikeResponse | None = None,
        bias: bool = False,
        gain: float = 1.0,
        generator: torch.Generator | int | None = None,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        for size in self.sizes:
            check_whole("sizes", size, 1, owner="SpikeResponseNetwork")
        if len(self.sizes) < 2:
            raise ConfigError(f"SpikeResponseNetwork: sizes = {self.sizes} lacks inputs or outputs")
        check_number("gain", gain, above=0, owner="SpikeResponseNetwork")
        self.neurons = SpikeResponse() if neurons is None else neurons
        drawn = generator_from(generator, "SpikeResponseNetwork")
        self.layers = nn.ModuleList()
        for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False):
            layer = nn.Linear(inputs, outputs, bias=bias)
            with torch.no_grad():
                bound = gain / math.sqrt(inputs)
                layer.weight.copy_((2 * torch.rand(outputs, inputs, generator=drawn) - 1) * bound)
                if bias:
                    layer.bias.zero_()
            self.layers.append(layer)

    def rows(self) -> list[nn.Linear]:
        """Return the weights of the layers in order, starting at the inputs."""
        return [cast(nn.Linear, layer) for layer in self.layers]

    def step(
        self, x: Tensor, state: SpikeResponseState | None = None
    ) -> tuple[Tensor, SpikeResponseState]:
        """Return the output spikes (B, outputs) for input spikes, and the new state."""
        steps, after = self.advance(x, state)
        return steps[-1].spikes, after

    def advance(
        self, x: Tensor, state: SpikeResponseState | None = None
    ) -> tuple[list[LayerStep], SpikeResponseState]:
        """Do `step`, and return the `LayerStep` of each layer in place of the outputs."""
        batch = None if state is None else len(state[0].reset)
        rule.check_input(self, x, self.sizes[:1], batch)
        c, steps, after = self.neurons, [], []
        for number, layer in enumerate(self.rows()):
            before = None if state is None else state[number]
            response, inputs = c.response.step(x, None if before is None else before.inputs)
            current = layer(response)
            if before is None:
                reset = torch.zeros_like(current)
            else:
                reset = c.recovery * before.reset + c.threshold * before.spikes.detach()
            u = current - c.threshold - reset
            x = spike(u, c.surrogate)
            steps.append(LayerStep(response, u, x))
            after.append(ResponseLayerState(inputs, reset.detach(), x))
        return steps, tuple(after)


_TINY = 1e-30  # avoids division by zero for weights that never had a gradient


class RMSMax(torch.optim.Optimizer):
    """A learning rate per weight from its largest recent gradient (Zenke & Ganguli 2018).

        network = dvskit.learning.SpikeResponseNetwork((20, 4, 1))
        optimizer = dvskit.learning.RMSMax(network.parameters(), lr=1e-3, decay=0.999)
        network.rows()[0].weight.sum().backward()
        optimizer.step()  # changes the first weights by lr

    The update of a weight w with the gradient g:

        n <- max(decay n, g^2);   w <- w - lr g / (sqrt(n) + tiny)

    decay  share of n kept per step, near 1
    """

    def __init__(self, params: Any, lr: float = 1e-3, decay: float = 0.999) -> None:
        check_number("lr", lr, above=0, owner="RMSMax")
        check_number("decay", decay, 0, 1, owner="RMSMax")
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters by their gradients; those without one stay the same."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                kept = self.state[parameter]
                squared = parameter.grad.square()
                if "largest" in kept:
                    squared = torch.maximum(group["decay"] * kept["largest"], squared)
                kept["largest"] = squared
                parameter -= group["lr"] * parameter.grad / (squared.sqrt() + _TINY)
        return loss


SpikeFeedback = Literal["symmetric", "random", "uniform"]


class Eligibility(NamedTuple):
    """The filtered eligibility traces of a layer, for its weights (B, N, J) and biases (B, N)."""

    weights: FilterState
    biases: FilterState


@dataclass(frozen=True, slots=True)
class SuperSpikeState:
    """The state of SuperSpike.

    network  the state of each layer        traces  the eligibility traces of each layer
    error    the filtered difference of output and target spikes
    loss     the van Rossum loss so far, a sum over time and the batch

        network = dvskit.learning.SpikeResponseNetwork((100, 4, 1), gain=5.0)
        rule = dvskit.learning.SuperSpike(network)
        x, target = (torch.rand(50, 1, 100) < 0.05).float(), torch.ones(50, 1, 1)
        outputs, state = dvskit.learning.teach(rule, x, target)
        state.loss  # a scalar
        len(state.traces)  # 2, one for each layer
    """

    network: SpikeResponseState | None
    traces: tuple[Eligibility, ...] | None
    error: FilterState | None
    loss: Tensor


class SuperSpike(nn.Module):
    """SuperSpike (Zenke & Ganguli 2018): error signals times filtered eligibility traces.

        network = dvskit.learning.SpikeResponseNetwork((100, 4, 1), gain=5.0)
        rule = dvskit.learning.SuperSpike(network)
        x = (torch.rand(50, 1, 100) < 0.05).float()
        target = torch.zeros(50, 1, 1)
        target[[10, 30]] = 1  # spikes that the network shall emit
        outputs, state = dvskit.learning.teach(rule, x, target)  # (50, 1, 1), 0 or 1

    The gradient of the weights:

        dL/dW_ij = sum_t e_i(t) (alpha * [sigma'(U_i) (epsilon * S_j)])(t)
        output layer: e = alpha * (S - S_target), of the van Rossum loss 1/2 sum_t e^2
        hidden layers: e = F e_output

    epsilon is the network's postsynaptic response, sigma' its surrogate derivative. For the output
    layer this is the exact gradient of the loss; the reset passes no gradient. A hidden layer gets
    the output error of the same time, without the derivatives and responses of the layers between.

    network    a SpikeResponseNetwork; its weights are learned
    loss       its kernel is alpha
    feedback   "symmetric": F is the product of the transposed weights of the later layers, the
               approximation of the paper; "random": drawn once, normal numbers of variance
               1 / outputs; "uniform": all ones
    generator  of the random feedback: a torch.Generator or a seed; the default is torch's generator

    It is called like every `Rule`; outputs and targets are spikes. A step without a target counts
    as equal to it. Gradients are in `.grad` after each `step`. Memory is that of the traces, two
    numbers for each sample and weight.
    """

    def __init__(
        self,
        network: SpikeResponseNetwork,
        loss: VanRossum | None = None,
        *,
        feedback: SpikeFeedback = "symmetric",
        generator: torch.Generator | int | None = None,
    ) -> None:
        super().__init__()
        check_choice("feedback", feedback, get_args(SpikeFeedback), owner="SuperSpike")
        self.network, self.loss = network, VanRossum() if loss is None else loss
        self.feedback: SpikeFeedback = feedback
        drawn = generator_from(generator, "SuperSpike")
        outputs = network.sizes[-1]
        for number, size in enumerate(network.sizes[1:-1]):
            if feedback != "symmetric":
                broadcast = torch.ones(size, outputs)
                if feedback == "random":
                    broadcast = torch.randn(size, outputs, generator=drawn) / math.sqrt(outputs)
                self.register_buffer(f"broadcast{number}", broadcast.to(network.rows()[0].weight))

    def start(self, batch: int) -> SuperSpikeState:
        """Return the state before the first time step; the first input sets the batch."""
        check_whole("batch", batch, 1)
        zero = self.network.rows()[0].weight.detach().new_zeros(())
        return SuperSpikeState(None, None, None, zero)

    @torch.no_grad()
    def step(
        self, state: SuperSpikeState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, SuperSpikeState]:
        """Return the spikes (B, outputs) for input spikes (B, inputs), and the new state."""
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
            rule.add_gradient(layer.weight, torch.einsum("bn,bnj->nj", signal, kept))
            if layer.bias is not None:
                rule.add_gradient(layer.bias, (signal * kept_bias).sum(0))
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
