"""The fused kernels against plain torch: every part of the model, alone and with others.

A kernel is compiled for each set of parts, which takes seconds. The cases here have each part, each
surrogate and each reset in several neurons.
The laws with a `device` hold for the kernels of the processor, of a GPU, and, with
TRITON_INTERPRET=1, for those of a GPU in Triton's interpreter: see test_neuron_gpu.py.
"""

from __future__ import annotations

import math
import os

import pytest
import torch

from dvskit.errors import ConfigError
from dvskit.neurons import LI, LIF, PLIF, NeuronState, RecurrentLIF, SignedLIF, Triangle, gpu
from dvskit.neurons.dynamics import Dynamics, advance
from dvskit.neurons.operator import BACKENDS, run_fused
from tests.laws import refused, same_on_threads
from tests.neuron_cases import (
    PARTS,
    SURROGATES,
    assert_same,
    currents,
    layer_of,
    learned,
    passed,
    start_of,
)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ["cuda"] if torch.cuda.is_available() and not INTERPRETED else []
every_device = pytest.mark.parametrize("device", ["cpu", *DEVICES], ids=lambda d: f"kernels-on-{d}")
EACH = [  # neuron, reset, detached, surrogate, refractory, dtype
    ("IF", "none", True, 5, 0, "float32"),
    ("LIF", "hard", False, 2, 2, "bfloat16"),
    ("signed", "soft", False, 3, 1, "float32"),
    ("signed", "hard", True, 4, 0, "bfloat16"),
    ("burst", "soft", True, 0, 0, "float32"),
    ("signed burst", "soft", False, 3, 0, "bfloat16"),
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
# Of numpy, in the interpreter:
overflows = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide):RuntimeWarning")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    if INTERPRETED:
        monkeypatch.setitem(BACKENDS, "cpu", gpu)


@pytest.mark.slow
@every_device
@pytest.mark.parametrize("case", EACH, ids=str)
def test_the_kernels_equal_plain_torch_whole_and_in_chunks(case, device):
    # Values and gradients are compared in float32: in bfloat16 torch rounds gradients more often.
    dtype = getattr(torch, case[-1])
    x = currents(9, 2, 5, 7, device=device).bfloat16().to(dtype)
    gs = currents(9, 2, 5, 7, seed=1, device=device).bfloat16().to(dtype)
    layer = layer_of(case, "fused", device)
    ours = passed(layer, x, gs)
    theirs = passed(layer_of(case, "torch", device), x.float(), gs.float())
    assert_same(ours, theirs)
    assert ours[0].dtype == dtype
    assert theirs[0].any()
    for name, gradient in theirs[2].items():
        assert gradient.any(), name
    state, chunks = start_of(layer, x.shape[1:], device), []
    for part in (x[:4], x[4:5], x[5:]):
        spikes, state = layer.run(part, state)
        chunks.append(spikes)
    assert torch.equal(torch.cat(chunks), ours[0])
    assert all(torch.equal(getattr(state, name), part) for name, part in ours[1].items())


@pytest.mark.slow
@every_device
@overflows
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_the_gradient_of_a_spike_is_the_derivative_of_its_surrogate(surrogate, device):
    u = torch.cat([torch.linspace(-40, 40, 2001), torch.tensor([1e30, -1e30, math.inf])])
    x = u.to(device)[None].requires_grad_()
    LIF(0.0, 1e-30, surrogate=surrogate, backend="fused")(x).sum().backward()
    expected = surrogate.derivative(u.double()).float()
    # A GPU's exponential has an error that grows with its argument.
    rtol = 2e-5 if device == "cuda" else 2e-6
    torch.testing.assert_close(x.grad[0].cpu(), expected, rtol=rtol, atol=1e-12)


@every_device
@overflows
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_what_is_not_finite_goes_through_as_in_torch(reset, device):
    x = currents(6, 12, device=device)
    x[2, :4] = torch.tensor([math.nan, math.inf, -math.inf, 1e38], device=device)
    found = []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        spikes, state = SignedLIF(0.8, reset=reset, backend=backend).run(leaf)
        (spikes.sum() + state.v[4:].sum()).backward()
        found.append((spikes.detach(), state.v.detach(), leaf.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@every_device
def test_a_potential_at_a_threshold_spikes_and_is_reset_on_the_way_back_too(device):
    x, found = torch.tensor([[1.0, -0.5, 1 - 2**-24, -0.5 + 2**-25]] * 2, device=device), []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        spikes = SignedLIF(0.9, 1.0, 0.5, reset="hard", backend=backend)(leaf)
        spikes.sum().backward()
        found.append(leaf.grad)
        assert spikes[0].tolist() == [1, -1, 0, 0]
    torch.testing.assert_close(*found)


@pytest.mark.slow
@every_device
@pytest.mark.parametrize(
    "make",
    [
        lambda **k: LI(learned(0.5, 0.95, 7), gain=0.3, **k),  # returns its potential
        lambda **k: RecurrentLIF(learned(-0.5, 0.9, 7), 0.8, refractory=1, **k),
        lambda **k: LIF(learned(0.2, 0.95, 7), learned(0.5, 1.5, ()), **k).to(torch.bfloat16),
    ],
    ids=["LI", "RecurrentLIF", "values in bfloat16"],
)
def test_other_layers_are_the_same_in_both(make, device):
    found = []
    for backend in ("fused", "torch"):
        layer, x = make(backend=backend).to(device), currents(12, 3, 7, device=device)
        outs = layer(x.requires_grad_())
        outs.square().sum().backward()
        grads = [x.grad, *(value.grad for value in layer.parameters())]
        found.append((outs.detach(), [grad.dtype for grad in grads], grads))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    rough = 2e-2 if torch.bfloat16 in found[0][1] else 1e-5
    torch.testing.assert_close(found[0][2], found[1][2], rtol=rough, atol=rough)


def channels_last(*shape, **given):
    """(T, B, C, H, W) made by a channels_last network over time folded into the batch."""
    folded = currents(*shape, **given).flatten(0, 1)
    return folded.contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])


LAYOUTS = {
    "contiguous": lambda **k: currents(6, 2, 3, 4, 5, **k),
    "channels_last": lambda **k: channels_last(6, 2, 3, 4, 5, **k),
    "batch first": lambda **k: currents(2, 6, 3, 4, 5, **k).transpose(0, 1),
    "neurons transposed": lambda **k: currents(6, 2, 3, 5, 4, **k).transpose(3, 4),
    "every second neuron": lambda **k: currents(6, 2, 3, 4, 10, **k)[..., ::2],
    "constant current": lambda **k: currents(1, 2, 3, 4, 5, **k).expand(6, 2, 3, 4, 5),
    "one neuron": lambda **k: currents(1, 1, 3, 4, 5, **k)[..., :1, :1],
    "blocks and a few neurons": lambda **k: currents(3, 70, 3, 4, 5, **k),
}


@every_device
@pytest.mark.parametrize("layout", LAYOUTS)
def test_neurons_and_their_values_are_found_in_every_layout(layout, device):
    x, found = LAYOUTS[layout](device=device), []
    for backend in ("fused", "torch"):
        layer = LIF(learned(0.2, 0.95, 3, 1, 1), learned(0.5, 1.5, *x.shape[3:]), backend=backend)
        gs = currents(*x.shape, seed=1, device=device)
        found.append(passed(layer.to(device), x, gs))
    assert_same(*found)


@every_device
def test_gradients_of_any_strides_are_taken(device):
    x, layer = currents(5, 4, 6, device=device), LIF(backend="fused")
    for gs in (
        currents(1, 4, 6, seed=1, device=device).expand(5, 4, 6),
        torch.tensor(0.5, device=device).expand(5, 4, 6),
        currents(5, 6, 4, seed=1, device=device).transpose(1, 2),
    ):
        given, dense = (passed(layer, x, each)[2] for each in (gs, gs.contiguous()))
        assert torch.equal(given["x"], dense["x"])
    found = []
    for backend in ("fused", "torch"):  # no gradient of the spikes, and some of the state alone
        leaf = x.clone().requires_grad_()
        LIF(backend=backend, detach_reset=False).run(leaf)[1].v.sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("make", [SignedLIF, PLIF])
def test_the_number_of_threads_changes_nothing(make):
    x, layer = currents(10, 60_003), make(backend="fused")
    gs = currents(10, 60_003, seed=1)

    def all_numbers():
        spikes, parts, grads = passed(layer, x, gs)
        numbers = (spikes, *parts.values(), *grads.values())
        return torch.cat([each.flatten() for each in numbers])

    same_on_threads(all_numbers, 2, 5)


def test_bfloat16_passes_infinity_and_does_not_carry_a_not_a_number_into_zero():
    x = torch.tensor([[0.5, math.nan, 3e38, -1.0]]).bfloat16()
    gs = torch.tensor([[math.nan, 1.0, math.inf, 3.3e38]]).bfloat16()
    found = []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        LIF(backend=backend)(leaf).backward(gs)
        found.append(leaf.grad)
    torch.testing.assert_close(*found, equal_nan=True)
    leaf = torch.zeros(1, 3).bfloat16().requires_grad_()
    full = torch.tensor([0x7FFFFFFF, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)
    LIF(backend="fused").run(leaf)[1].v.backward(full)
    assert leaf.grad.isnan().all()


def test_spikes_and_gradients_keep_the_layout_of_the_input():
    x = channels_last(6, 2, 3, 8, 9).requires_grad_()
    spikes = LIF(backend="fused")(x)
    assert spikes.stride() == x.stride()
    (gradient,) = torch.autograd.grad(spikes, x, torch.ones_like(spikes))
    assert gradient.stride() == x.stride()


def test_an_input_changed_in_place_and_second_derivatives_are_refused():
    x = currents(4, 10).requires_grad_()
    current = x * 2
    spikes = LIF(backend="fused")(current)
    current.add_(1)
    with pytest.raises(RuntimeError, match="inplace"):
        spikes.sum().backward()
    (gradient,) = torch.autograd.grad(LIF(backend="fused")(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), x)


def test_nothing_is_kept_for_the_backward_pass_but_what_came_in():
    x = currents(5, 4).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        LIF(backend="fused")(x)
    assert sum(t.numel() for t in kept) == x.numel() + x[0].numel()


class Own:
    """A surrogate that the package does not know."""

    def derivative(self, u):
        return (u.abs() < 0.5).to(u.dtype)


@pytest.mark.parametrize(
    ("given", "surrogate", "why"),
    [
        ({"dtype": torch.float64}, Triangle(), "float64"),
        ({"dtype": torch.float16}, Triangle(), "float16"),
        ({"device": "meta"}, Triangle(), "meta"),
        ({}, Own(), "ATan"),
    ],
)
def test_what_the_kernels_cannot_take_is_refused_on_demand_and_else_runs_in_torch(
    given, surrogate, why
):
    x = torch.ones(3, 4, **given)
    with refused(ConfigError, why):
        LIF(surrogate=surrogate, backend="fused")(x)
    assert LIF(surrogate=surrogate)(x).shape == x.shape


@pytest.mark.slow(seconds=4)
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


@pytest.mark.slow
def test_the_model_with_every_part_at_once_is_that_of_torch():
    values = {
        "beta": 0.8, "threshold": 1.1, "threshold_off": 0.7, "alpha": 0.5, "gain": 0.8,
        "rest": 0.1, "kappa": 0.2, "rho": 0.9,
    }  # fmt: skip
    d = Dynamics(**values, refractory=1, surrogate=Triangle())
    x = currents(15, 4, 7)
    spikes, end = run_fused(d, x, d.initial_state(x[0]))
    state = d.initial_state(x[0])
    bare = NeuronState(state.v)  # lacks the parts that are at rest
    for t, current in enumerate(x):
        fired, state = advance(d, state, current)
        again, bare = advance(d, bare, current)
        assert torch.equal(spikes[t], fired)
        assert torch.equal(again, fired)
    for name in PARTS:
        assert torch.equal(getattr(end, name), getattr(state, name))
        assert torch.equal(getattr(end, name), getattr(bare, name))
    assert (spikes < 0).any()
