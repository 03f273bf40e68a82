"""Neurons of every kind as their kernels are tested: currents, layers, states and gradients."""

from __future__ import annotations

import torch
from torch import nn

from dvskit.neurons import (
    ALIF,
    IF,
    LIF,
    PLIF,
    ATan,
    Boxcar,
    BurstLIF,
    FastSigmoid,
    NeuronState,
    Sigmoid,
    SignedLIF,
    StraightThrough,
    SynapticLIF,
    Triangle,
)

SURROGATES = [ATan(1.7), FastSigmoid(4.0), Sigmoid(3.0), Triangle(0.9, 0.8), Boxcar(1.1, 0.7),
              StraightThrough()]  # fmt: skip
PARTS = ("v", "i", "a", "waiting")


def currents(*shape, seed=0, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * 0.8 + 0.15).to(device, dtype)


def learned(low, high, *shape, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(low + (high - low) * torch.rand(*shape, generator=generator))


NEURONS = {
    "IF": lambda **k: IF(**k),
    "LIF": lambda **k: LIF(0.8, **k),
    "signed": lambda **k: SignedLIF(0.8, 1.0, 0.7, **k),
    "burst": lambda *, reset, refractory, **k: BurstLIF(0.8, 0.4, 3, **k),
    "signed burst": lambda *, reset, refractory, **k: BurstLIF(
        learned(0.2, 0.95, 5, 1), learned(0.2, 0.4, 7, seed=1), 4,
        threshold_off=learned(0.2, 0.4, 5, 7, seed=2), **k),
    "rest": lambda **k: LIF(0.8, 1.3, 0.4, rest=0.25, gain=0.9, **k),
    "ALIF": lambda **k: ALIF(0.9, kappa=0.3, rho=0.9, **k),
    "signed ALIF": lambda **k: ALIF(0.8, 1.0, 0.9, kappa=0.3, rho=0.9, **k),
    "synaptic": lambda **k: SynapticLIF(0.8, alpha=0.6, gain=0.7, **k),
    "PLIF": lambda **k: PLIF(3.0, 0.4, **k),
    "PLIF a channel": lambda **k: PLIF(3.0, shape=(5, 1), decay_input=False, **k),
    "all learned, signed": lambda **k: LIF(
        learned(0.2, 0.95, 5, 1), learned(0.6, 1.4, 7, seed=1), learned(0.6, 1.4, 5, 7, seed=2),
        gain=learned(0.5, 1.5, ()), rest=learned(-0.3, 0.3, 7, seed=3), **k),
    "all learned, adaptive": lambda **k: ALIF(
        learned(0.2, 0.95, 7), threshold_off=learned(0.5, 1.0, 7, seed=2),
        kappa=learned(0.1, 0.4, 5, 1), rho=learned(0.7, 0.95, 7), **k),
    "all learned, synaptic": lambda **k: SynapticLIF(
        learned(0.2, 0.95, 7), alpha=learned(0.2, 0.8, 5, 1), gain=learned(0.5, 1.5, 7), **k),
}  # fmt: skip


def layer_of(case, backend, device="cpu"):
    name, reset, detached, surrogate, refractory, _ = case
    layer = NEURONS[name](
        reset=reset,
        detach_reset=detached,
        surrogate=SURROGATES[surrogate],
        refractory=refractory,
        backend=backend,
    )
    return layer.to(device)


def start_of(layer, shape, device="cpu"):
    """A state in the middle of things, with gradients."""
    d = layer.dynamics
    leaf = lambda seed: currents(*shape, seed=seed, device=device).requires_grad_()  # noqa: E731
    waiting = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(9)).int()
    return NeuronState(
        leaf(11),
        None if d.alpha is None else leaf(12),
        None if d.kappa is None else leaf(13).detach().abs().requires_grad_(),
        waiting.to(device) if d.refractory else None,
    )


def passed(layer, x, gs, start=None):
    """(spikes, parts of the end state, gradients by name) of one pass forward and back."""
    x = x.detach().requires_grad_()
    step = x.shape[1:]
    start = start_of(layer, step, x.device) if start is None else start
    spikes, end = layer.run(x, start)
    parts = {n: getattr(end, n) for n in PARTS if getattr(end, n) is not None}
    outputs = [spikes, *(parts[n] for n in "via" if n in parts)]
    weights = (currents(*step, seed=20 + n, device=x.device) for n in range(len(outputs) - 1))
    leaves = {"x": x, "v": start.v, "i": start.i, "a": start.a, **dict(layer.named_parameters())}
    leaves = {n: leaf for n, leaf in leaves.items() if leaf is not None and leaf.requires_grad}
    found = torch.autograd.grad(outputs, list(leaves.values()), [gs, *weights])
    return spikes.detach(), parts, dict(zip(leaves, found, strict=True))


def assert_same(ours, theirs):
    """Spikes and states of `passed` are equal bit for bit, gradients to roundings."""
    assert torch.equal(ours[0].to(theirs[0].dtype), theirs[0])
    for name, part in theirs[1].items():
        assert torch.equal(ours[1][name], part), name
    for name, gradient in theirs[2].items():
        scale = max(gradient.abs().max().item(), 1)
        rough = {torch.bfloat16: 2**-7, torch.float16: 2**-10}.get(ours[2][name].dtype, 2e-5)
        assert (ours[2][name].float() - gradient).abs().max().item() <= rough * scale, name
