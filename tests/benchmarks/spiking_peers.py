"""Spiking neurons and networks of peers, as several benchmarks run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Run = Callable[[Tensor], Tensor]


def snntorch_layer(layer: nn.Module, states: int) -> Run:
    """Return snntorch's neurons with so many states, stepped from rest."""

    def run(x: Tensor) -> Tensor:
        state: tuple[Any, ...] = tuple(torch.zeros_like(x[0]) for _ in range(states))
        spikes = []
        for current in x:
            fired, *rest = layer.to(x.device)(current, *state)
            state = tuple(rest)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def spikingjelly_neurons(name: str, *, step_mode: str = "m", **tau: float) -> nn.Module:
    """Return spikingjelly's neurons with a soft reset and an arctan surrogate of width 2."""
    from spikingjelly.activation_based import neuron, surrogate

    layer: nn.Module = getattr(neuron, name)(
        v_reset=None, detach_reset=True, surrogate_function=surrogate.ATan(2.0),
        step_mode=step_mode, **tau,
    )  # fmt: skip
    return layer


def from_rest(layer: nn.Module) -> Run:
    """Return spikingjelly's neurons as a function of currents, reset before each call."""
    from spikingjelly.activation_based import functional as sj

    def run(x: Tensor) -> Tensor:
        sj.reset_net(layer)
        return layer(x)

    return run


def folded(layers: nn.ModuleList, neurons: list[Run]) -> Run:
    """2-12C5-P2-64C5-P2-10 with time folded into the batch; logits are the mean of the readout."""

    def run(x: Tensor) -> Tensor:
        shape = x.shape[:2]
        for layer, spiking in zip(layers[:2], neurons, strict=True):
            z = functional.avg_pool2d(layer(x.flatten(0, 1)), 2)
            x = spiking(z.unflatten(0, shape))
        return layers[2](x.flatten(2)).mean(0)

    return run


def stepped(layers: nn.ModuleList, neurons: list[Any]) -> Run:
    """The same, one step after another, as snntorch's guides have it."""

    def run(x: Tensor) -> Tensor:
        potentials = [layer.init_leaky() for layer in neurons]
        out = []
        for z in x:
            for number, layer in enumerate(layers[:2]):
                z = functional.avg_pool2d(layer(z), 2)
                z, potentials[number] = neurons[number](z, potentials[number])
            out.append(layers[2](z.flatten(1)))
        return torch.stack(out).mean(0)

    return run
