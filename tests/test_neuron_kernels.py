"""The fused kernels against plain torch: every part of the model, alone and with others.

A kernel is compiled for each set of parts, which takes seconds. The cases here have each part, each
surrogate and each reset in several neurons; DVSKIT_ALL_KERNELS=1 has all of them with all others.
"""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError
from dvskit.neurons import (
    LI,
    LIF,
    PLIF,
    RecurrentLIF,
    Triangle,
    parts_kernels,
)
from dvskit.neurons.cpu import _surrogate
from dvskit.neurons.dynamics import Dynamics, Potential
from dvskit.neurons.operator import model_arguments, neurons, run_fused
from tests.neuron_cases import NEURONS, SURROGATES, currents, layer_of, learned, passed

EACH = [  # neuron, reset, detached, surrogate, refractory, dtype
    ("IF", "none", True, 5, 0, "float32"),
    ("LIF", "hard", False, 2, 2, "bfloat16"),
    ("signed", "soft", False, 3, 1, "float32"),
    ("signed", "hard", True, 4, 0, "bfloat16"),
    ("rest", "soft", False, 0, 2, "float32"),
    ("signed ALIF", "hard", False, 1, 1, "float32"),
    ("synaptic", "none", True, 2, 1, "bfloat16"),
    ("PLIF", "soft", True, 0, 0, "float32"),
    ("PLIF a channel", "hard", True, 3, 0, "bfloat16"),
    ("all learned, signed", "soft", False, 0, 0, "float32"),
    ("all learned, signed", "hard", True, 1, 2, "float32"),
    ("all learned, adaptive", "soft", False, 2, 1, "float32"),
    ("all learned, synaptic", "soft", True, 4, 0, "float32"),
]
if os.environ.get("DVSKIT_ALL_KERNELS"):
    EACH = list(
        itertools.product(
            NEURONS, ["soft", "hard", "none"], [True, False], range(6), [0, 2],
            ["float32", "bfloat16"],
        )
    )  # fmt: skip
every_case = pytest.mark.parametrize("case", EACH, ids=str)


@pytest.mark.slow
@every_case
def test_the_kernels_equal_plain_torch(case):
    # Values and gradients are compared in float32: in bfloat16 torch rounds gradients more often.
    x = currents(17, 3, 5, 7).bfloat16().to(getattr(torch, case[-1]))
    gs = currents(17, 3, 5, 7, seed=1).bfloat16().to(x.dtype)
    spikes, end, ours = passed(layer_of(case, "fused"), x, gs)
    expected, plain_end, theirs = passed(layer_of(case, "torch"), x.float(), gs.float())
    assert torch.equal(spikes.float(), expected)
    assert spikes.dtype == x.dtype
    assert expected.any()
    for name in plain_end:
        assert torch.equal(end[name], plain_end[name]), name
    for name, gradient in theirs.items():
        tolerance = 1e-2 if name == "x" and x.dtype == torch.bfloat16 else 2e-5
        scale = gradient.abs().max().item()
        assert (ours[name].float() - gradient).abs().max().item() <= tolerance * max(scale, 1), name
        assert gradient.any(), name


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", [*SURROGATES, Potential()], ids=repr)
def test_the_kernels_surrogates_are_those_of_torch(surrogate):
    from numba import njit

    @njit(error_model="numpy")
    def slopes(kind, u, out):
        for n in range(u.size):
            out[n] = parts_kernels.slope(kind, u[n])

    u = torch.cat([torch.linspace(-40, 40, 4001), torch.tensor([1e30, -1e30, math.inf])])
    out = np.empty(len(u), np.float32)
    slopes(_surrogate(surrogate), u.numpy(), out)
    expected = surrogate.derivative(u.double()).float()
    torch.testing.assert_close(torch.from_numpy(out), expected, rtol=2e-6, atol=1e-12)


@pytest.mark.slow
def test_spikes_of_layers_that_do_not_spike_are_their_potential():
    x = currents(20, 3, 7)
    results = []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        layer = LI(learned(0.5, 0.95, 7), backend=backend, gain=0.3)
        layer(leaf).square().sum().backward()
        results.append((layer(x), leaf.grad, layer.beta.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1:], results[1][1:])


@pytest.mark.slow
def test_a_recurrent_layer_is_the_same_in_both():
    x = currents(12, 3, 7)
    results = []
    for backend in ("fused", "torch"):
        weight = learned(-0.5, 0.9, 7)
        layer = RecurrentLIF(weight, 0.8, backend=backend, refractory=1)
        spikes = layer(x)
        spikes.sum().backward()
        results.append((spikes, weight.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def channels_last(*shape):
    folded = currents(*shape).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return folded.unflatten(0, shape[:2])


@pytest.mark.slow
@pytest.mark.parametrize("of", ["whole", "channels_last", "transposed", "every second"])
def test_values_of_neurons_find_them_in_every_layout(of):
    shape = (6, 2, 3, 4, 5)
    x = {
        "whole": lambda: currents(*shape),
        "channels_last": lambda: channels_last(*shape),
        "transposed": lambda: currents(6, 2, 3, 5, 4).transpose(3, 4),
        "every second": lambda: currents(12, 2, 3, 4, 5)[::2],
    }[of]()
    results = []
    for backend in ("fused", "torch"):
        layer = LIF(learned(0.2, 0.95, 3, 1, 1), learned(0.5, 1.5, 4, 5), backend=backend)
        leaf = x.detach().requires_grad_()
        spikes = layer(leaf)
        (spikes * currents(*shape, seed=1)).sum().backward()
        results.append((spikes, leaf.grad, layer.beta.grad, layer.threshold.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1:], results[1][1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gradient", ["over time", "of all", "transposed"])
def test_gradients_of_any_strides_are_taken(gradient):
    x = currents(9, 4, 6)
    gs = {
        "over time": currents(1, 4, 6, seed=1).expand(9, 4, 6),
        "of all": torch.tensor(0.5).expand(9, 4, 6),
        "transposed": currents(9, 6, 4, seed=1).transpose(1, 2),
    }[gradient]
    found = []
    for given in (gs, gs.contiguous()):
        leaf = x.clone().requires_grad_()
        LIF(backend="fused")(leaf).backward(given)
        found.append(leaf.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_gradient_of_a_shared_value_is_the_same_with_any_number_of_threads(
    threads, monkeypatch
):
    x, found = currents(10, 60_003), []
    for count in ("1", threads):
        monkeypatch.setenv("DVSKIT_THREADS", count)
        layer = PLIF(backend="fused")
        layer(x).sum().backward()
        found.append(layer.w.grad)
    assert torch.equal(*found)


def arguments(layer, x, state):
    inputs = model_arguments(layer.dynamics, x.shape[1:])
    return (x, state.v, state.i, state.a, state.waiting, *inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LIF", "all learned, signed"])
def test_torch_finds_the_operator_well_formed(name):
    layer = NEURONS[name]()
    x = currents(4, 2, 5, 7).requires_grad_()
    given = arguments(layer, x, layer.initial_state(x[0]))
    leaf = [
        part.detach().clone().requires_grad_(part.requires_grad)
        if isinstance(part, torch.Tensor)
        else part
        for part in given
    ]
    torch.library.opcheck(
        neurons, tuple(leaf),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )  # fmt: skip


@pytest.mark.slow
def test_a_compiled_layer_gives_the_same():
    layer = LIF(0.8, learned(0.5, 1.5, 7))
    x, found = currents(6, 3, 7), []
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for run in (layer, compiled):
        leaf = x.clone().requires_grad_()
        spikes = run(leaf)
        spikes.sum().backward()
        found.append((spikes.detach(), leaf.grad, layer.threshold.grad.clone()))
        layer.threshold.grad = None
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_autocast_reaches_the_neurons_as_bfloat16():
    dense, layer = nn.Linear(7, 7), LIF()
    with torch.autocast("cpu", torch.bfloat16):
        spikes, state = layer.run(dense(currents(6, 3, 7)))
    assert spikes.dtype == torch.bfloat16
    assert state.v.dtype == torch.float32
    spikes.float().sum().backward()
    assert dense.weight.grad.any()


def test_second_derivatives_are_refused():
    x = currents(4, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(LIF(backend="fused")(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), x)


def test_a_surrogate_of_ones_own_is_not_for_the_kernels():
    class Own:
        def derivative(self, u):
            return torch.ones_like(u)

    with pytest.raises(ConfigError, match="they know ATan, FastSigmoid"):
        LIF(surrogate=Own(), backend="fused")(currents(3, 4))
    assert LIF(surrogate=Own())(currents(3, 4)).shape == (3, 4)


def test_nothing_is_kept_for_the_backward_pass_but_what_came_in():
    x = currents(5, 4).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        LIF(backend="fused")(x)
    assert sum(t.numel() for t in kept) == x.numel() + x[0].numel()


@pytest.mark.slow
def test_the_model_with_every_part_at_once_is_that_of_torch():
    values = {
        "beta": 0.8, "threshold": 1.1, "threshold_off": 0.7, "alpha": 0.5, "gain": 0.8,
        "rest": 0.1, "kappa": 0.2, "rho": 0.9,
    }  # fmt: skip
    d = Dynamics(**values, refractory=1, surrogate=Triangle())
    x = currents(15, 4, 7)
    from dvskit.neurons.dynamics import advance

    spikes, end = run_fused(d, x, d.initial_state(x[0]))
    state = d.initial_state(x[0])
    for t, current in enumerate(x):
        fired, state = advance(d, state, current)
        assert torch.equal(spikes[t], fired)
    for name in ("v", "i", "a", "waiting"):
        assert torch.equal(getattr(end, name), getattr(state, name))
    assert (spikes < 0).any()
