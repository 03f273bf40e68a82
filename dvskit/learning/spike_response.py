"""Layers of spiking neurons with double-exponential postsynaptic responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.encoders.seeds import generator_from
from dvskit.errors import ConfigError
from dvskit.learning.rule import check_input, checked_sizes
from dvskit.learning.van_rossum import DoubleExponential, Filtered
from dvskit.neurons import FastSigmoid, Surrogate, spike
from dvskit.neurons.surrogates import check_surrogate


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeResponse:
    """What the neurons of a SpikeResponseNetwork are like.

    response   epsilon: how a spike at a synapse is felt over time
    threshold  of spikes            recovery  what is kept a step of the reset that a spike leaves
    surrogate  the derivative of a spike with respect to potential - threshold

    Raises ConfigError for values out of range.
    """

    response: DoubleExponential = field(default_factory=lambda: DoubleExponential(5.0, 10.0))
    threshold: float = 1.0
    recovery: float = 0.9
    surrogate: Surrogate = field(default_factory=FastSigmoid)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            raise ConfigError(
                f"SpikeResponse: threshold = {self.threshold} is no finite number above 0"
            )
        if not 0 <= self.recovery <= 1:
            raise ConfigError(
                f"SpikeResponse: recovery = {self.recovery} is outside [0, 1]; it is what is kept "
                "a step, exp(-dt / tau)"
            )
        check_surrogate("SpikeResponse", self.surrogate, "FastSigmoid()")


class ResponseLayerState(NamedTuple):
    """What a layer carries: its inputs' filter, the reset (B, N) and the last spikes (B, N)."""

    inputs: Filtered
    reset: Tensor
    spikes: Tensor


SpikeResponseState = tuple[ResponseLayerState, ...]


class LayerStep(NamedTuple):
    """One time step of a layer: responses of synapses (B, J), potential - threshold, spikes."""

    response: Tensor
    u: Tensor
    spikes: Tensor


@check_arguments
class SpikeResponseNetwork(nn.Module):
    """Dense layers of spiking neurons for patterns of spikes (Zenke & Ganguli 2018).

        U_t = W (epsilon * S_in)_t + b - r_t;   S_t = [U_t >= threshold]
        r_t = recovery r_{t-1} + threshold S_{t-1}

    The gradient passes the reset r by.

    sizes    numbers of inputs, of neurons of each layer, the last of outputs: (100, 4, 1)
    neurons  their constants
    bias     whether there is a b, 0 at first
    seed     of the weights, uniform within gain / sqrt(number of inputs)
    gain     1 and more, for inputs that spike rarely

    Raises ConfigError for fewer than two sizes, sizes below 1, and a gain not above 0.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        neurons: SpikeResponse | None = None,
        bias: bool = False,
        gain: float = 1.0,
        seed: int | torch.Generator = 0,
    ) -> None:
        super().__init__()
        self.sizes = checked_sizes("SpikeResponseNetwork", "sizes", sizes)
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ConfigError(
                f"SpikeResponseNetwork: sizes = {self.sizes}; at least inputs and outputs, of at "
                "least 1, are meant"
            )
        if not (math.isfinite(gain) and gain > 0):
            raise ConfigError(f"SpikeResponseNetwork: gain = {gain} is no finite number above 0")
        self.neurons = SpikeResponse() if neurons is None else neurons
        drawn = generator_from(seed, "SpikeResponseNetwork", "seed")
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
        """Return the layers' weights, from the inputs on."""
        return [cast(nn.Linear, layer) for layer in self.layers]

    def step(
        self, x: Tensor, state: SpikeResponseState | None = None
    ) -> tuple[Tensor, SpikeResponseState]:
        """Return the output spikes (B, outputs) for input spikes (B, inputs), and the new state.

        Gradients flow through all layers and time: it is what BPTT differentiates. Raises
        ShapeError for inputs of another shape.
        """
        steps, after = self.advance(x, state)
        return steps[-1].spikes, after

    def advance(
        self, x: Tensor, state: SpikeResponseState | None = None
    ) -> tuple[list[LayerStep], SpikeResponseState]:
        """Do `step`, and return what happened in each layer."""
        batch = None if state is None else len(state[0].reset)
        check_input("SpikeResponseNetwork", x, self.sizes[:1], batch)
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
