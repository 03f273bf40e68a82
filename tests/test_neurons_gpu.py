"""The kernels for GPUs against plain torch, on a GPU or, without one, in Triton's interpreter.

The interpreter has to be asked for before Triton is imported, so that without a GPU the tests run
in a child process. It rounds float32 to bfloat16 by cutting bits off, which a GPU does not, so that
bfloat16 gradients are compared to one unit in the last place. DVSKIT_ALL_KERNELS=1 has every part
with every other.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import random
import subprocess
import sys
from functools import partial

import pytest
import torch

from dvskit.neurons import (
    ALIF,
    LI,
    LIF,
    NeuronState,
    SignedLIF,
    gpu,
    operator,
)
from tests import neuron_cases
from tests.neuron_cases import SURROGATES, passed

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
HERE = INTERPRETED or DEVICE == "cuda"
triton_only = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
on_gpu = pytest.mark.skipif(not HERE, reason="in a child process, in Triton's interpreter")
off_gpu = pytest.mark.skipif(HERE, reason="where there is neither a GPU nor the interpreter")
# Of numpy, in the interpreter:
overflows = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide):RuntimeWarning")


@pytest.fixture(autouse=True)
def the_kernels_are_those_for_gpus(monkeypatch):
    if INTERPRETED:
        monkeypatch.setitem(operator.BACKENDS, "cpu", gpu)


currents = partial(neuron_cases.currents, device=DEVICE)
learned = partial(neuron_cases.learned, device=DEVICE)
start_of = partial(neuron_cases.start_of, device=DEVICE)
NEURONS = neuron_cases.NEURONS | {
    "all learned, adaptive": lambda **k: ALIF(
        learned(0.2, 0.95, 7), threshold_off=learned(0.5, 1.0, 7, seed=2),
        kappa=learned(0.1, 0.4, 5, 1), rho=learned(0.7, 0.95, 7), **k),
}  # fmt: skip


def cases():
    """(neuron, reset, detached, surrogate, refractory steps, dtype): every neuron and reset."""
    choices = ([True, False], range(6), [0, 2], ["float32", "bfloat16", "float16"])
    if os.environ.get("DVSKIT_ALL_KERNELS"):
        return list(itertools.product(NEURONS, ["soft", "hard", "none"], *choices))
    drawn = random.Random(3)
    return [
        (name, reset, *(drawn.choice(each) for each in choices))
        for name, reset in itertools.product(NEURONS, ["soft", "hard", "none"])
    ]


def layer_of(case, backend):
    return neuron_cases.layer_of(case, backend, NEURONS).to(DEVICE)


def check(ours, theirs, tolerance=2e-5):
    """Spikes and states are equal bit for bit, gradients to roundings."""
    assert torch.equal(ours[0].to(theirs[0].dtype), theirs[0])
    for name, part in theirs[1].items():
        assert torch.equal(ours[1][name], part), name
    for name, gradient in theirs[2].items():
        scale = max(gradient.abs().max().item(), 1)
        rough = {torch.bfloat16: 2**-7, torch.float16: 2**-10}.get(ours[2][name].dtype, tolerance)
        assert (ours[2][name].float() - gradient).abs().max().item() <= rough * scale, name


@triton_only
@on_gpu
@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_kernels_equal_plain_torch(case):
    # Values and gradients are compared in float32: in bfloat16 torch rounds gradients more often.
    x = currents(6, 2, 5, 7).bfloat16().to(getattr(torch, case[-1]))
    gs = currents(6, 2, 5, 7, seed=1).bfloat16().to(x.dtype)
    ours = passed(layer_of(case, "fused"), x, gs)
    theirs = passed(layer_of(case, "torch"), x.float(), gs.float())
    check(ours, theirs)
    assert ours[0].dtype == x.dtype
    assert theirs[0].any()
    assert all(gradient.any() for gradient in theirs[2].values())


@triton_only
@on_gpu
@overflows
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_every_surrogate_has_the_derivative_that_it_says(surrogate):
    u = torch.cat([torch.linspace(-40, 40, 2001), torch.tensor([1e30, -1e30, math.inf, math.nan])])
    x = u.to(DEVICE)[None].requires_grad_()
    LIF(0.0, 1e-30, reset="none", surrogate=surrogate, backend="fused")(x).sum().backward()
    expected = surrogate.derivative(u.double()).float()
    # A GPU's exponential has an error that grows with its argument.
    rtol = 2e-5 if DEVICE == "cuda" else 2e-6
    torch.testing.assert_close(x.grad[0].cpu(), expected, rtol=rtol, atol=1e-12, equal_nan=True)


@triton_only
@on_gpu
@overflows
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_what_is_not_finite_goes_through_as_in_torch(reset):
    x = currents(6, 12)
    x[2, :4] = torch.tensor([math.nan, math.inf, -math.inf, 1e38], device=DEVICE)
    found = []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        spikes, state = SignedLIF(0.8, reset=reset, backend=backend).run(leaf)
        (spikes.sum() + state.v[4:].sum()).backward()
        found.append((spikes.detach(), state.v.detach(), leaf.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@triton_only
@on_gpu
def test_a_potential_at_a_threshold_spikes_and_is_reset_on_the_way_back_too():
    x, found = torch.tensor([[1.0, -0.5, 1 - 2**-24, -0.5 + 2**-25]] * 2, device=DEVICE), []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        spikes = SignedLIF(0.9, 1.0, 0.5, reset="hard", backend=backend)(leaf)
        spikes.sum().backward()
        found.append(leaf.grad)
        assert spikes[0].tolist() == [1, -1, 0, 0]
    torch.testing.assert_close(*found)


@triton_only
@on_gpu
def test_a_layer_that_does_not_spike_returns_its_potential():
    found = []
    for backend in ("fused", "torch"):
        x = currents(12, 3, 7).requires_grad_()
        layer = LI(learned(0.5, 0.95, 7), backend=backend, gain=0.3)
        potentials = layer(x)
        potentials.square().sum().backward()
        found.append((potentials.detach(), x.grad, layer.beta.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1:], found[1][1:])


@triton_only
@on_gpu
@pytest.mark.parametrize("name", ["signed ALIF", "all learned, synaptic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_programs_that_take_turns_give_the_numbers_of_one(name, dtype, monkeypatch):
    x = currents(5, 2, 5, 7, dtype=dtype)
    layer = NEURONS[name](refractory=1, backend="fused").to(DEVICE)
    whole = passed(layer, x, torch.ones_like(x))
    scratch, kept = gpu._scratch, []

    def two_programs(dynamics, x, wanted, block):
        rows = [row for row in scratch(dynamics, x, wanted, 16)[0] if row is not None]
        monkeypatch.setattr(gpu, "SCRATCH", len(rows) * rows[0][:2].numel() * 4)
        found, programs = scratch(dynamics, x, wanted, 16)
        kept.extend(row.fill_(math.nan) for row in found if row is not None)
        assert programs == 2  # of 70 neurons 32 at a time
        return found, programs

    monkeypatch.setattr(gpu, "block_of", lambda neurons: 16)
    monkeypatch.setattr(gpu, "_scratch", two_programs)
    turned = passed(layer, x, torch.ones_like(x))
    assert torch.equal(turned[0], whole[0])
    for index in (1, 2):
        assert all(torch.equal(turned[index][key], whole[index][key]) for key in whole[index])
    assert not any(row.isnan().any() for row in kept)  # each in a part of its own, without gaps


@triton_only
@on_gpu
@pytest.mark.parametrize("of", ["channels_last", "transposed", "every second", "one neuron"])
def test_values_of_neurons_find_them_in_every_layout(of):
    x = {
        "channels_last": lambda: (
            currents(4 * 2, 3, 4, 5)
            .contiguous(memory_format=torch.channels_last)
            .unflatten(0, (4, 2))
        ),
        "transposed": lambda: currents(4, 2, 3, 5, 4).transpose(3, 4),
        "every second": lambda: currents(8, 2, 3, 4, 5)[::2],
        "one neuron": lambda: currents(1, 1, 3, 4, 5)[..., :1, :1],
    }[of]()
    shape, found = x.shape, []
    for backend in ("fused", "torch"):
        layer = LIF(learned(0.2, 0.95, 3, 1, 1), learned(0.5, 1.5, *shape[3:]), backend=backend)
        leaf = x.detach().requires_grad_()
        spikes, state = layer.run(leaf)
        ((spikes * currents(*shape, seed=1)).sum() + state.v.sum()).backward()
        found.append((spikes.detach(), leaf.grad, layer.beta.grad, layer.threshold.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1:], found[1][1:], rtol=1e-5, atol=1e-5)


@triton_only
@on_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_values_of_another_dtype_are_taken_and_learned_in_it(dtype):
    x, found = currents(5, 3, 7), []
    for backend in ("fused", "torch"):
        layer = LIF(learned(0.2, 0.95, 7), learned(0.5, 1.5, ()), backend=backend).to(dtype)
        spikes = layer(x)
        spikes.sum().backward()
        assert layer.beta.grad.dtype == dtype
        found.append((spikes.detach(), layer.beta.grad, layer.threshold.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1:], found[1][1:], rtol=1e-2, atol=1e-2)


@triton_only
@on_gpu
def test_gradients_of_any_strides_are_taken():
    x, layer, found = currents(5, 4, 6), LIF(backend="fused"), []
    for gs in (
        currents(1, 4, 6, seed=1).expand(5, 4, 6),
        torch.tensor(0.5, device=DEVICE).expand(5, 4, 6),
        currents(5, 6, 4, seed=1).transpose(1, 2),
    ):
        given, dense = (passed(layer, x, each)[2] for each in (gs, gs.contiguous()))
        assert torch.equal(given["x"], dense["x"])
        found.append(given["x"])
    leaf = x.clone().requires_grad_()
    layer.run(leaf)[1].v.sum().backward()  # none for the spikes
    zero = passed(layer, x, torch.zeros_like(x), NeuronState.rest(x[0]))[2]["x"]
    assert leaf.grad.any()
    assert not torch.equal(leaf.grad, zero)
    assert not torch.equal(found[0], found[2])


@triton_only
@on_gpu
@pytest.mark.parametrize("name", ["signed", "all learned, synaptic"])
def test_chunks_give_the_spikes_of_the_whole(name):
    layer, x = NEURONS[name](refractory=1, backend="fused").to(DEVICE), currents(8, 2, 5, 7)
    whole, end = layer.run(x)
    first, state = layer.run(x[:3])
    second, state = layer.run(x[3:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(getattr(state, n), getattr(end, n)) for n in ("v", "waiting"))


@pytest.mark.slow
@triton_only
@off_gpu
def test_all_of_this_holds_in_tritons_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
