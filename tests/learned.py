"""Small networks and rules in float64 that the tests of learning share."""

from __future__ import annotations

import torch
from torch import nn

from dvskit.learning import (
    BPTT,
    DECOLLE,
    DecolleLayer,
    DecolleNetwork,
    DoubleExponential,
    EProp,
    FiringRate,
    RecurrentNetwork,
    RecurrentNeurons,
    SpikeResponseNetwork,
    SuperSpike,
    VanRossum,
    teach,
)


def spikes(*shape, share=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < share).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def recurrent(lif=4, alif=3, *, local=False, inputs=6, outputs=2, **constants):
    neurons = RecurrentNeurons(**{"threshold": 0.6, "adaptation": 0.3, "rho": 0.95, **constants})
    network = RecurrentNetwork(
        inputs, outputs, lif=lif, alif=alif, neurons=neurons, generator=3, local=local
    ).double()
    with torch.no_grad():
        network.w_in *= 2
    return network


def decolle():
    torch.manual_seed(5)
    layers = [
        DecolleLayer(nn.Conv2d(2, 4, 3, padding=1), pool=2),
        DecolleLayer(nn.Conv2d(4, 5, 3)),
        DecolleLayer(nn.Linear(5 * 4, 7)),
    ]
    return DecolleNetwork(layers, 3, (2, 8, 8), generator=6).double()


def responding(*sizes, bias=True, gain=5.0):
    return SpikeResponseNetwork(sizes, bias=bias, gain=gain, generator=4).double()


VAN_ROSSUM = VanRossum(DoubleExponential(2.0, 4.0))


def every_rule():
    """Name, rule, inputs (T, B, ...) and targets (T, B, ...) of each rule on a small network."""
    x, y = spikes(20, 3, 6, seed=1), normal(20, 3, 2, seed=2)
    trains = spikes(20, 3, 3, share=0.1, seed=8)
    return {
        "bptt": (BPTT(recurrent()), x, y),
        "e-prop": (EProp(recurrent()), x, y),
        "e-prop, adaptive, rates": (
            EProp(recurrent(), generator=0, feedback="adaptive", rate=FiringRate(0.7, 0.1)), x, y),
        "decolle": (DECOLLE(decolle()), spikes(20, 3, 2, 8, 8, seed=1), normal(20, 3, 3, seed=2)),
        "superspike": (SuperSpike(responding(10, 4, 3), VAN_ROSSUM), spikes(20, 3, 10), trains),
        "bptt of spikes": (BPTT(responding(10, 4, 3), VAN_ROSSUM), spikes(20, 3, 10), trains),
    }  # fmt: skip


def gradients(rule, x, targets):
    """The gradients of a rule, by parameter name, and what `teach` returned."""
    rule.zero_grad()
    outputs, state = teach(rule, x, targets)
    found = {
        name: parameter.grad.clone()
        for name, parameter in rule.named_parameters()
        if parameter.grad is not None
    }
    rule.zero_grad()
    return found, outputs, state


def assert_alike(ours, theirs, tolerance=1e-9):
    """Gradients agree to `tolerance` of the largest of each, and are not all zero."""
    assert ours.keys() == theirs.keys()
    assert ours
    for name, gradient in ours.items():
        scale = theirs[name].abs().max()
        assert scale > 0, f"{name} has no gradient to compare"
        assert (gradient - theirs[name]).abs().max() <= tolerance * max(1, scale), name
