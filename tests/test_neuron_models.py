"""The laws of all neurons, in plain torch and by a twin in numpy written from the equations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import Membrane
from dvskit.networks import Layered
from dvskit.neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    ATan,
    Boxcar,
    BurstLIF,
    FastSigmoid,
    Neurons,
    NeuronState,
    RecurrentLIF,
    Sigmoid,
    SignedLIF,
    StraightThrough,
    SynapticLIF,
    Triangle,
    lif_step,
)
from dvskit.neurons.dynamics import Dynamics, Potential, advance
from tests.laws import refused
from tests.neuron_cases import currents


def per_neuron(low, high, *shape, seed=5):
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


LAYERS = {
    "IF": lambda **k: IF(**k),
    "LIF": lambda **k: LIF(**k),
    "LIF with rest and gain": lambda **k: LIF(0.8, -50.0, gain=9.0, rest=-65.0, **k),
    "SignedLIF": lambda **k: SignedLIF(0.8, 1.0, 0.7, **k),
    "signed with rest": lambda **k: SignedLIF(0.8, 1.3, 0.5, rest=0.25, **k),
    "ALIF": lambda **k: ALIF(kappa=0.3, rho=0.9, **k),
    "signed ALIF": lambda **k: ALIF(0.8, 1.0, 0.9, kappa=0.3, rho=0.9, **k),
    "SynapticLIF": lambda **k: SynapticLIF(alpha=0.6, gain=0.5, **k),
    "PLIF": lambda **k: PLIF(3.0, 0.4, **k),
    "PLIF a neuron": lambda **k: PLIF(3.0, shape=(7,), decay_input=False, **k),
    "all per neuron": lambda **k: LIF(
        per_neuron(0.2, 1, 7), per_neuron(0.5, 1.5, 7, seed=6), per_neuron(1, 2, 7, seed=7),
        gain=per_neuron(0.5, 2, 7, seed=8), rest=per_neuron(-0.3, 0.3, 7, seed=9), **k),
    "ALIF per neuron": lambda **k: ALIF(
        per_neuron(0.2, 1, 7), kappa=per_neuron(0.1, 1, 7), rho=per_neuron(0.5, 1, 7), **k),
    "synaptic per neuron": lambda **k: SynapticLIF(
        0.8, alpha=per_neuron(0.2, 0.9, 7), gain=per_neuron(0.2, 0.6, 7), **k),
    "learned": lambda **k: LIF(nn.Parameter(per_neuron(0.2, 1, 7)), **k),
}  # fmt: skip
OTHERS = {
    "RecurrentLIF": lambda **k: RecurrentLIF(torch.full((7,), 0.4), **k),
    "LI": lambda **k: LI(0.8),
    "BurstLIF": lambda **k: BurstLIF(0.7, 0.3),
}
RESETS = ("soft", "hard", "none")
every_layer = pytest.mark.parametrize("name", LAYERS)
every_reset = pytest.mark.parametrize("reset", RESETS)
# Each neuron with each reset; refractory or not in turn.
every_case = pytest.mark.parametrize(
    ("name", "reset", "refractory"),
    [
        (name, reset, 2 * ((n + k) % 2))
        for n, name in enumerate(LAYERS)
        for k, reset in enumerate(RESETS)
    ],
)
TRACED = ("spikes", "h", "v", "threshold")
PARTS = ("v", "i", "a", "waiting", "s")


class Twin(NamedTuple):
    """What neurons do, (T, N) float64 each: h ahead of the reset, v behind it."""

    spikes: np.ndarray
    h: np.ndarray
    v: np.ndarray
    threshold: np.ndarray


def twin(d: Dynamics, x: np.ndarray, back: np.ndarray | None = None) -> Twin:
    """Do in float64 what the equations say, neuron after neuron, step after step.

    back (N, N): the weights of spikes that are fed back, of recurrent neurons.
    """

    def value(what: str, n: int) -> float | None:
        given = getattr(d, what)
        return given.expand(x.shape[1:])[n].item() if isinstance(given, torch.Tensor) else given

    out = Twin(*(np.zeros_like(x) for _ in Twin._fields))
    neurons = range(x.shape[1])
    states = [(value("rest", n) or 0.0, 0.0, 0.0, 0) for n in neurons]
    for t, n in np.ndindex(*x.shape):
        beta, threshold, off = (value(each, n) for each in ("beta", "threshold", "threshold_off"))
        alpha, gain, rest = value("alpha", n) or 0.0, value("gain", n), value("rest", n) or 0.0
        kappa, rho = value("kappa", n) or 0.0, value("rho", n) or 0.0
        v, i, a, waiting = states[n]
        fed = 0.0 if back is None or t == 0 else float(back[n] @ out.spikes[t - 1])
        i = alpha * i + x[t, n] + fed
        h = rest + beta * (v - rest) + (1.0 if gain is None else gain) * i
        th = threshold + kappa * a
        s = 0 if waiting else int(h >= th) - int(h <= -off)
        v = h
        if d.reset == "soft":
            v = h - (th - rest if s > 0 else -off - rest if s < 0 else 0.0)
        elif d.reset == "hard" and (s or waiting):
            v = rest
        states[n] = (v, i, rho * a + abs(s), d.refractory if s else max(0, waiting - 1))
        for part, number in zip(out, (s, h, v, th), strict=True):
            part[t, n] = number
    return out


def check(layer: Neurons, back: np.ndarray | None = None) -> None:
    """Compare a layer and its trace with the plain loop over numbers."""
    x = currents(40, 7, dtype=torch.float64)
    traced, expected = layer.trace(x), twin(layer.dynamics, x.numpy(), back)
    np.testing.assert_array_equal(layer(x).detach(), expected.spikes)
    for part in TRACED:
        ours = getattr(traced, part).detach()
        np.testing.assert_allclose(ours, getattr(expected, part), atol=1e-12, err_msg=part)
    assert expected.spikes.any()


@every_case
def test_every_neuron_does_at_each_step_what_its_equations_say(name, reset, refractory):
    check(LAYERS[name](reset=reset, refractory=refractory).double())


@every_reset
def test_recurrent_neurons_are_fed_their_own_spikes_of_a_step_ago(reset):
    torch.manual_seed(2)
    back = nn.Linear(7, 7, bias=False)
    nn.init.normal_(back.weight, std=0.5)
    layer = RecurrentLIF(back, per_neuron(0.2, 1, 7), gain=1.2, rest=-0.1, reset=reset).double()
    check(layer, back.weight.detach().numpy())
    x = currents(40, 7, dtype=torch.float64)
    layer(x).sum().backward()
    assert back.weight.grad.any()


def smooth(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The layer with its surrogate's primitive in place of the step, for autograd."""
    d = layer.dynamics
    state, out = d.initial_state(x[0]), []
    v, i, a = state.v, state.i, state.a
    zero = torch.zeros((), dtype=torch.float64)
    for current in x:
        i = current if d.alpha is None else d.alpha * i + current
        drive = i if d.gain is None else d.gain * i
        rest = zero if d.rest is None else d.rest
        h = rest + d.beta * (v - rest) + drive
        th = d.threshold if d.kappa is None else d.threshold + d.kappa * a
        on = d.surrogate.primitive(h - th)
        off = d.surrogate.primitive(-h - d.threshold_off) if d.signed else torch.zeros_like(on)
        if d.reset == "soft":
            v = h - (th - rest) * on + (d.threshold_off + rest if d.signed else 0) * off
        else:
            v = h if d.reset == "none" else rest + (h - rest) * (1 - on - off)
        a = None if d.kappa is None else d.rho * a + on + off
        out.append(on - off)
    return torch.stack(out)


class Smooth(torch.autograd.Function):
    """The primitive forward and the derivative back: gradcheck of what a layer does with it."""

    @staticmethod
    def forward(ctx, u, surrogate):
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return surrogate.primitive(u)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.surrogate.derivative(ctx.saved_tensors[0]), None


@every_layer
@every_reset
def test_gradients_are_those_of_the_equations_with_a_smooth_step(name, reset, monkeypatch):
    # Only so do gradients of spikes exist that autograd can be asked for.
    monkeypatch.setattr("dvskit.neurons.dynamics.spike", Smooth.apply)
    layer = LAYERS[name](reset=reset, surrogate=ATan(1.3), detach_reset=False).double()
    x = currents(6, 7, dtype=torch.float64).requires_grad_()
    leaves = [x, *layer.parameters()]
    out, expected = layer.run(x)[0], smooth(layer, x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    weights = currents(6, 7, seed=1, dtype=torch.float64)
    ours = torch.autograd.grad((out * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
@pytest.mark.parametrize(
    ("chunk", "refractory", "dtype"),
    [(1, 0, torch.float64), (5, 2, torch.bfloat16), (12, 2, torch.float32)],
)
def test_chunks_steps_and_traces_give_the_spikes_of_the_whole(name, chunk, refractory, dtype):
    layer = {**LAYERS, **OTHERS}[name](refractory=refractory)
    layer.backend = "torch"  # the kernels have a law of their own
    layer = layer.double() if dtype == torch.float64 else layer
    x = currents(24, 3, 7, dtype=dtype)
    whole, end = layer.run(x)
    assert whole.dtype == dtype
    assert whole.any()
    state, traced_state, parts, traces = None, None, [], []
    for part in x.split(chunk):
        if chunk == 1:
            spikes, state = layer.step(part[0], state)
            spikes = spikes[None]
        else:
            spikes, state = layer.run(part, state)
        parts.append(spikes)
        traces.append(layer.trace(part, traced_state))
        traced_state = traces[-1].state
    assert torch.equal(torch.cat(parts), whole)
    for found in (state, traced_state):
        for part in PARTS:
            ours, theirs = getattr(found, part, None), getattr(end, part, None)
            assert ours is theirs is None or torch.equal(ours, theirs)
    once = layer.trace(x)
    for part in TRACED:
        both = torch.cat([getattr(each, part) for each in traces])
        assert torch.equal(both, getattr(once, part)), part
    assert torch.equal(once.spikes, whole)


def test_the_steps_are_the_layers_one_step_at_a_time():
    x = currents(20, 7)
    common = {"beta": 0.8, "threshold": 0.9}
    for layer, others in (
        (LIF(**common, refractory=1), {"refractory": 1}),
        (SignedLIF(**common, threshold_off=0.7), {"threshold_off": 0.7}),
        (ALIF(**common, kappa=0.2, rho=0.8), {"kappa": 0.2, "rho": 0.8}),
        (SynapticLIF(**common, alpha=0.7), {"alpha": 0.7}),
    ):
        state, out = NeuronState.rest(x[0]), []
        for current in x:
            spikes, state = lif_step(state, current, **common, **others)
            out.append(spikes)
        layer.backend = "torch"
        assert torch.equal(torch.stack(out), layer(x))
    with refused(ConfigError, "reset", "'subtract'", "soft"):
        lif_step(state, x[0], **common, reset="subtract")


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_equal_thresholds_make_the_signed_neuron_odd(backend):
    layer, x = SignedLIF(backend=backend), currents(30, 50)
    assert torch.equal(layer(-x), -layer(x))


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("shape", [(1, 5), (5, 0), (0, 5), (4,), (3, 0, 7)])
def test_one_step_empty_batches_no_time_and_single_neurons_keep_their_shape(shape, backend):
    x = currents(*shape).requires_grad_()
    layer = LIF(backend=backend)
    spikes, state = layer.run(x)
    assert spikes.shape == x.shape
    assert state.v.shape == x.shape[1:]
    assert [getattr(layer.trace(x), part).shape for part in TRACED] == [x.shape] * 4
    spikes.sum().backward()
    assert x.grad.shape == x.shape


def test_the_layer_leaves_its_arguments_alone():
    x, state = currents(10, 50), NeuronState(currents(50))
    LIF().run(x, state)
    assert torch.equal(state.v, currents(50))
    assert torch.equal(x, currents(10, 50))


@every_layer
def test_layers_are_saved_and_loaded_with_their_tensors(name):
    layer, other = LAYERS[name](backend="torch"), LAYERS[name](backend="torch")
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.mul_(0.5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(currents(20, 7)), layer(currents(20, 7)))


def test_the_constants_of_a_membrane_give_its_exact_solution():
    layer = LIF.from_rc(tau_us=20_000, dt_us=1_000, resistance=10.0, rest=-65.0, threshold=1e3)
    x = torch.full((30, 1), 1.5, dtype=torch.float64)
    t_us = (torch.arange(30, dtype=torch.float64) + 1) * 1_000
    expected = -65 + 15 * (1 - torch.exp(-t_us / 20_000))
    torch.testing.assert_close(layer.trace(x).v.flatten(), expected)
    signed = SignedLIF.from_rc(tau_us=10.0, dt_us=1.0, threshold=2.0)
    assert (type(signed), signed.threshold_off) == (SignedLIF, 1.0)
    weight, given = nn.Linear(7, 7, bias=False), {"surrogate": Triangle(), "refractory": 2}
    layer = RecurrentLIF.from_rc(tau_us=5_000, dt_us=1_000, recurrent=weight, **given)
    assert layer.recurrent is weight
    assert (layer.beta, layer.refractory) == (pytest.approx(math.exp(-0.2)), 2)
    assert layer.surrogate == Triangle()


def test_the_learned_time_constant_begins_at_tau_and_gets_a_gradient():
    layer = PLIF(4.0, backend="torch")
    assert layer.tau.item() == pytest.approx(4.0)
    layer(currents(20, 9)).sum().backward()
    assert layer.w.grad.item() != 0
    assert PLIF(4.0, shape=(3, 1, 1))(currents(5, 2, 3, 4, 4)).shape == (5, 2, 3, 4, 4)


def test_a_learned_threshold_gets_a_gradient_through_spikes_and_reset():
    threshold = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    x = torch.tensor([[1.5], [0.0]], dtype=torch.float64)
    LIF(0.5, threshold, surrogate=Triangle()).run(x)[1].v.sum().backward()
    # v2 = beta (x - threshold [spike]) and no spike at the second step
    assert threshold.grad.item() == -0.5


def test_a_leaky_integrator_returns_its_potential():
    x = currents(20, 5, dtype=torch.float64).requires_grad_()
    kernel = torch.tensor([[0.8 ** (t - k) if t >= k else 0.0 for k in range(20)]
                           for t in range(20)], dtype=torch.float64)  # fmt: skip
    out = LI(0.8)(x)
    torch.testing.assert_close(out, kernel @ x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient, kernel.sum(0)[:, None].expand(20, 5))
    silent = LI(0.8).trace(x)
    assert torch.equal(silent.h, out)
    assert (silent.threshold == math.inf).all()


@pytest.mark.parametrize(
    "name", ["LIF", "LIF with rest and gain", "signed with rest", "SynapticLIF"]
)
def test_a_delayed_reset_takes_off_a_step_later_what_a_soft_one_takes_off(name):
    layer = LAYERS[name](reset="delayed")
    d = layer.dynamics
    generator = torch.Generator().manual_seed(3)
    x = 4 * torch.randn(60, 7, generator=generator, dtype=torch.float64)
    rest, gain = d.rest or 0.0, 1.0 if d.gain is None else d.gain
    v, i, before = np.full(7, rest), np.zeros(7), np.zeros(7)
    expected = []
    for current in x.numpy():
        i = (d.alpha or 0.0) * i + current
        drop = np.where(before > 0, d.threshold - rest, 0)
        drop = np.where(before < 0, -d.threshold_off - rest, drop)
        v = rest + d.beta * (v - rest) + gain * i - drop
        before = (v >= d.threshold).astype(float) - (v <= -d.threshold_off)
        expected.append(before)
    spikes = layer(x)
    np.testing.assert_array_equal(spikes.numpy(), expected)
    assert 0.05 < spikes.abs().mean() < 0.95
    first, state = layer.run(x[:9])
    assert torch.equal(torch.cat([first, layer.run(x[9:], state)[0]]), spikes)


# --- several spikes a step ---


@pytest.mark.parametrize(
    ("beta", "threshold", "most"), [(0.9, 0.4, 3), (0.0, 0.25, 8), (1, 1.3, 1)]
)
def test_a_burst_is_one_spike_for_each_threshold_that_the_potential_reaches(beta, threshold, most):
    x = 2 * currents(30, 5, dtype=torch.float64)
    spikes = BurstLIF(beta, threshold, most)(x)
    for n in range(5):
        v = 0.0
        for t in range(30):
            h = beta * v + float(x[t, n])
            s = sum(h >= k * threshold for k in range(1, most + 1))
            assert spikes[t, n] == s
            v = h - s * threshold
    assert (spikes.min(), spikes.max()) == (0, most)


@pytest.mark.parametrize("threshold", [1.0, 0.3, 0.1])
def test_a_burst_has_the_same_spikes_with_a_gradient_and_without(threshold):
    level = torch.tensor(threshold)
    near = torch.arange(1, 60) * level
    x = torch.cat([near, near.nextafter(level * 0), near.nextafter(level * 100), -near])[None]
    layer = BurstLIF(0.0, threshold, 40, threshold_off=threshold, backend="torch")
    assert torch.equal(layer(x), layer(x.clone().requires_grad_()).detach())
    assert (layer(x).min(), layer(x).max()) == (-40, 40)


def test_each_spike_of_a_burst_passes_its_surrogate_and_learned_values_a_gradient():
    layer = BurstLIF(0.0, nn.Parameter(torch.tensor(1.0)), 3, surrogate=Triangle(width=0.5))
    x = torch.tensor([[0.0, 0.75, 1.0, 1.75, 3.0, 5.0]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.5, 1.0, 0.5, 1.0, 0.0]]
    assert layer.threshold.grad == -(0.5 * 1 + 1 * 1 + 0.5 * 2 + 1 * 3)
    made = Layered(layers=("4", "burst-lif most=6 beta=0.2", "3"), width=6, height=5, classes=3)
    assert (made.build().burst1.most, made.build().burst1.beta) == (6, 0.2)


# --- surrogates ---

SURROGATES = {  # with the integral over all numbers
    ATan(1.7): 1.0,
    FastSigmoid(8.0): 2 / 8,
    Sigmoid(3.0): 1.0,
    Triangle(0.8, 0.3): 0.24,
    Boxcar(0.7, 1.2): 0.84,
    StraightThrough(): math.inf,
}


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_a_derivative_is_the_slope_of_its_primitive_even_and_largest_at_the_threshold(surrogate):
    u = torch.linspace(-4, 4, 1601, dtype=torch.float64) + 1e-4  # corners are left out
    step = 1e-6
    slope = (surrogate.primitive(u + step) - surrogate.primitive(u - step)) / (2 * step)
    torch.testing.assert_close(surrogate.derivative(u), slope, rtol=1e-6, atol=1e-6)
    low, high = surrogate.primitive(torch.tensor([-1e7, 1e7], dtype=torch.float64)).tolist()
    assert min(high - low, 1e7) == pytest.approx(min(SURROGATES[surrogate], 1e7), abs=1e-5)
    u = torch.tensor([0.0, 0.1, 0.3, 1.0, 1e3, 1e30, math.inf], dtype=torch.float32)
    slope = surrogate.derivative(u)
    assert torch.equal(slope, surrogate.derivative(-u))
    assert slope.isfinite().all()
    assert ((slope <= slope[0]) & (slope[0] > 0)).all()
    assert (slope.dtype, surrogate.derivative(u.double()).dtype) == (u.dtype, torch.float64)


# --- Membrane, whose output is h of a trace ---


def slow_membrane(neurons: Neurons, x: torch.Tensor) -> torch.Tensor:
    """Potentials (T, ...) ahead of the reset: at each step what neurons without spikes return."""
    dynamics, state = neurons.dynamics, neurons.initial_state(x[0])
    ahead = replace(dynamics, surrogate=Potential(), reset="none", threshold_off=math.inf,
                    kappa=None, refractory=0)  # fmt: skip
    potentials = []
    for current in x:
        potentials.append(advance(ahead, state, current)[0])
        state = advance(dynamics, state, current)[1]
    return torch.stack(potentials)


@every_layer
@every_reset
def test_membranes_and_their_gradients_are_those_of_neurons_asked_before_they_spike(name, reset):
    layer = LAYERS[name](reset=reset, detach_reset=False).double()
    x = currents(20, 7, dtype=torch.float64).requires_grad_()
    weights = currents(20, 7, seed=1, dtype=torch.float64)
    leaves = [x, *layer.parameters()]
    ours, theirs = Membrane(layer)(x), slow_membrane(layer, x)
    assert torch.equal(ours, theirs)
    for our, their in zip(
        torch.autograd.grad((ours * weights).sum(), leaves),
        torch.autograd.grad((theirs * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(our, their, rtol=1e-12, atol=1e-12)


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LIF(1.5), ["LIF", "beta = 1.5"]),
        (lambda: LIF(torch.tensor([0.5, 1.5])), ["LIF", "beta", "(2,)"]),
        (lambda: LIF(beta="0.9"), ["beta = '0.9'"]),
        (lambda: LIF(threshold=0), ["threshold = 0"]),
        (lambda: LIF(threshold=torch.zeros(3)), ["threshold"]),
        (lambda: LIF(threshold=-70.0, rest=-65.0), ["threshold = -70.0", "rest = -65.0"]),
        (lambda: LIF(threshold_off=-1.0), ["threshold_off = -1.0"]),
        (lambda: LIF(threshold_off=torch.tensor([1.0, math.inf])), ["threshold_off"]),
        (lambda: LIF(rest=math.nan), ["rest = nan"]),
        (lambda: LIF(refractory=-1), ["refractory = -1"]),
        (lambda: LIF(refractory=True), ["refractory = True"]),
        (lambda: LIF(reset="sotf"), ["'soft'"]),
        (lambda: LIF(backend="fusd"), ["'fused'"]),
        (lambda: LIF(surrogate=ATan), ["ATan"]),
        (lambda: LIF(reset="delayed", refractory=2), ["'delayed'"]),
        (lambda: ALIF(reset="delayed"), ["'delayed'"]),
        (lambda: LIF(reset="delayed", backend="fused")(torch.ones(3, 2)), ["LIF"]),
        (lambda: SignedLIF(threshold_off=math.inf), ["LIF"]),
        (lambda: SynapticLIF(alpha=1.1), ["SynapticLIF", "alpha = 1.1"]),
        (lambda: ALIF(rho=-0.1), ["ALIF", "rho = -0.1"]),
        (lambda: ALIF(kappa=math.inf), ["kappa = inf"]),
        (lambda: PLIF(1.0), ["tau = 1.0"]),
        (lambda: LI(2.0), ["LI", "beta = 2.0"]),
        (lambda: BurstLIF(most=0), ["most = 0"]),
        (lambda: LIF.from_rc(tau_us=0, dt_us=1), ["tau_us = 0"]),
        (lambda: IF.from_rc(tau_us=5_000, dt_us=1_000), ["LIF.from_rc"]),
        (lambda: RecurrentLIF(0.9), ["0.9"]),
        (lambda: ATan(0), ["ATan", "alpha = 0"]),
        (lambda: FastSigmoid(0.0), ["FastSigmoid", "slope = 0.0"]),
        (lambda: Sigmoid(math.nan), ["Sigmoid", "alpha = nan"]),
        (lambda: Triangle(height=-1.0), ["Triangle", "height = -1.0"]),
        (lambda: Boxcar(0.0), ["Boxcar", "width = 0.0"]),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, named):
    with refused(ConfigError, *named):
        make()


X = currents(4, 3, 7)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: LIF()(X.long()), ["torch.int64"]),
        (lambda: LIF().run(X, NeuronState(torch.zeros(5))), ["(5,)"]),
        (lambda: LIF().run(X, NeuronState(X[0].double())), ["float64"]),
        (lambda: ALIF().run(X, LIF().run(X)[1]), ["no a"]),
        (lambda: LIF().run(X, SynapticLIF().run(X)[1]), ["i"]),
        (lambda: LIF(refractory=2).run(X, LIF().run(X)[1]), ["waiting"]),
        (
            lambda: LIF(refractory=2).run(X, replace(LIF().run(X)[1], waiting=torch.zeros(3, 7))),
            ["waiting", "torch.float32"],
        ),
        (lambda: LIF(torch.full((5,), 0.5))(X), ["beta", "(5,)"]),
        (lambda: LIF(torch.full((4, 3, 7), 0.5))(X), ["beta", "(4, 3, 7)"]),
        (lambda: RecurrentLIF(nn.Linear(7, 5))(X), ["(3, 5)", "(3, 7)"]),
        *(
            (lambda recurrent=recurrent: RecurrentLIF(recurrent)(X), ["(3, 7)"])
            for recurrent in (nn.Linear(5, 7), torch.ones(5), torch.ones(1, 1, 7))
        ),
    ],
)
def test_states_and_tensors_that_do_not_fit_are_refused(call, named):
    with refused(ShapeError, *named):
        call()
