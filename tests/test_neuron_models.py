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
from dvskit.neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    ATan,
    NeuronState,
    RecurrentLIF,
    SignedLIF,
    SynapticLIF,
    Triangle,
    lif_step,
)
from dvskit.neurons.dynamics import Dynamics, advance
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
    "per neuron": lambda **k: LIF(per_neuron(0.2, 1, 7), per_neuron(0.5, 1.5, 7), **k),
    "learned": lambda **k: LIF(nn.Parameter(per_neuron(0.2, 1, 7)), **k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_reset = pytest.mark.parametrize("reset", ["soft", "hard", "none"])
refractory = pytest.mark.parametrize("refractory", [0, 2])


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


@every_layer
@every_reset
@refractory
def test_every_neuron_does_what_its_equations_say(name, reset, refractory):
    layer = LAYERS[name](reset=reset, refractory=refractory).double()
    x = currents(40, 7, dtype=torch.float64)
    expected = twin(layer.dynamics, x.numpy())
    np.testing.assert_array_equal(layer(x).detach(), expected.spikes)
    np.testing.assert_allclose(layer.trace(x).v.detach(), expected.v, atol=1e-12)
    assert expected.spikes.any()


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


@pytest.mark.slow
@every_layer
@every_reset
def test_gradients_are_those_of_the_equations_with_a_smooth_step(name, reset, monkeypatch):
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


@pytest.mark.slow
@every_layer
@pytest.mark.parametrize("chunk", [1, 5, 12])
@pytest.mark.parametrize(
    ("refractory", "dtype"), [(0, torch.float32), (2, torch.float32), (2, torch.bfloat16)]
)
def test_chunks_and_single_steps_give_the_spikes_of_the_whole(name, refractory, chunk, dtype):
    layer = LAYERS[name](refractory=refractory)
    x = currents(24, 3, 7, dtype=dtype)
    whole, end = layer.run(x)
    state, parts = None, []
    for start in range(0, 24, chunk):
        if chunk == 1:
            spikes, state = layer.step(x[start], state)
            spikes = spikes[None]
        else:
            spikes, state = layer.run(x[start : start + chunk], state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    assert whole.any()
    for part in ("v", "i", "a", "waiting"):
        ours, theirs = getattr(state, part), getattr(end, part)
        assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.mark.slow
def test_the_steps_are_the_layers_one_step_at_a_time():
    x = currents(20, 7)
    common = {"beta": 0.8, "threshold": 0.9}
    for layer, step, others in (
        (LIF(**common, refractory=1), lif_step, {"refractory": 1}),
        (ALIF(**common, kappa=0.2, rho=0.8), lif_step, {"kappa": 0.2, "rho": 0.8}),
        (SynapticLIF(**common, alpha=0.7), lif_step, {"alpha": 0.7}),
    ):
        state, out = NeuronState.rest(x[0]), []
        for current in x:
            spikes, state = step(state, current, **common, **others)
            out.append(spikes)
        assert torch.equal(torch.stack(out), layer(x))


@pytest.mark.slow
def test_a_refractory_neuron_spikes_every_n_plus_1_steps_at_most():
    x = torch.full((12, 1), 5.0)
    for steps in (0, 1, 3):
        for reset in ("soft", "hard"):
            spikes = LIF(0.0, refractory=steps, reset=reset)(x).flatten().tolist()
            assert spikes == [1.0 if t % (steps + 1) == 0 else 0.0 for t in range(12)]


def test_a_waiting_membrane_integrates_unless_the_reset_is_hard():
    x = torch.tensor([[2.0], [0.25], [0.25], [0.25]])
    soft = LIF(1.0, refractory=2).trace(x).v.flatten().tolist()
    hard = LIF(1.0, refractory=2, reset="hard").trace(x).v.flatten().tolist()
    assert soft == [1.0, 1.25, 1.5, 0.75]
    assert hard == [0.0, 0.0, 0.0, 0.25]


def test_adaptation_makes_spikes_rarer_under_a_constant_current():
    spikes = ALIF(0.9, kappa=0.5, rho=0.98)(torch.full((200, 1), 0.5)).flatten()
    assert spikes[:50].sum() > 1.5 * spikes[150:].sum() > 0
    plain = ALIF(0.9, kappa=0.0)(currents(50, 9))
    assert torch.equal(plain, LIF(0.9)(currents(50, 9)))


def test_parts_at_their_neutral_values_are_the_plain_neuron():
    x = currents(40, 9)
    expected = LIF(0.85)(x)
    assert torch.equal(SynapticLIF(0.85, alpha=0.0)(x), expected)
    assert torch.equal(LIF(0.85, gain=1.0, rest=0.0)(x), expected)
    assert torch.equal(LIF(torch.full((9,), 0.85))(x), expected)
    assert torch.equal(IF()(x), LIF(1.0)(x))


def test_the_constants_of_a_membrane_give_its_exact_solution():
    layer = LIF.from_rc(tau_us=20_000, dt_us=1_000, resistance=10.0, rest=-65.0, threshold=1e3)
    x = torch.full((30, 1), 1.5, dtype=torch.float64)
    t_us = (torch.arange(30, dtype=torch.float64) + 1) * 1_000
    expected = -65 + 15 * (1 - torch.exp(-t_us / 20_000))
    torch.testing.assert_close(layer.trace(x).v.flatten(), expected)
    signed = SignedLIF.from_rc(tau_us=10.0, dt_us=1.0, threshold=2.0)
    assert signed.threshold_off == 1.0
    assert isinstance(signed, SignedLIF)
    with pytest.raises(ConfigError, match="tau_us = 0"):
        LIF.from_rc(tau_us=0, dt_us=1)


def test_the_constants_of_a_membrane_make_every_layer_that_has_a_leak():
    weight = nn.Linear(7, 7, bias=False)
    given = {"surrogate": Triangle(), "refractory": 2}
    layer = RecurrentLIF.from_rc(tau_us=5_000, dt_us=1_000, recurrent=weight, **given)
    assert layer.recurrent is weight
    assert (layer.beta, layer.refractory) == (pytest.approx(math.exp(-0.2)), 2)
    assert layer.surrogate == Triangle()
    with pytest.raises(ConfigError, match="RecurrentLIF: recurrent is missing"):
        RecurrentLIF.from_rc(tau_us=5_000, dt_us=1_000)
    with pytest.raises(ConfigError, match=r"it has no leak.*use LIF\.from_rc"):
        IF.from_rc(tau_us=5_000, dt_us=1_000)
    with pytest.raises(ConfigError, match="LIF: there is no 'refractry'; did you mean 'refractory"):
        LIF.from_rc(tau_us=5_000, dt_us=1_000, refractry=2)
    with pytest.raises(ConfigError, match=r"LIF\.from_rc: dt_us is missing; .*\(tau_us=, dt_us=, "):
        LIF.from_rc(tau_us=5_000)
    with pytest.raises(ConfigError, match="tau_us is '5'; a time in microseconds is expected"):
        LIF.from_rc(tau_us="5", dt_us=1_000)


@pytest.mark.slow
def test_the_learned_time_constant_begins_at_tau_and_learns():
    layer = PLIF(4.0)
    assert layer.tau.item() == pytest.approx(4.0)
    before = layer.w.item()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(currents(20, 9)).sum().backward()
    optimizer.step()
    assert layer.w.item() != before
    assert PLIF(4.0, shape=(3, 1, 1))(currents(5, 2, 3, 4, 4)).shape == (5, 2, 3, 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (7,)])
def test_learned_values_in_half_precision_are_those_of_plain_torch(shape, dtype):
    x = currents(9, 3, 7).to(dtype)
    outs, slopes = [], []
    for backend in ("auto", "torch"):
        learned = nn.Parameter(torch.full(shape, 0.8))
        for layer, value in ((LIF(learned, backend=backend), "beta"),
                             (PLIF(3.0, shape=shape, backend=backend), "w")):  # fmt: skip
            layer.to(dtype)
            spikes = layer(x)
            assert spikes.dtype == dtype
            spikes.float().square().sum().backward()
            outs.append(spikes)
            slopes.append(getattr(layer, value).grad)
            assert slopes[-1].dtype == dtype
    for first, second in ((0, 2), (1, 3)):
        assert torch.equal(outs[first], outs[second])
        torch.testing.assert_close(slopes[first], slopes[second], rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [nn.Linear(7, 7), torch.full((7,), 0.4)])
def test_a_recurrent_layer_is_fed_its_own_spikes_of_a_step_ago(weight):
    x = currents(15, 3, 7)
    layer = RecurrentLIF(weight, 0.8)
    spikes, end = layer.run(x)
    fed, state, s = [], NeuronState.rest(x[0]), torch.zeros(3, 7)
    for current in x:
        back = weight(s) if isinstance(weight, nn.Module) else weight * s
        s, state = lif_step(state, current + back, beta=0.8, threshold=1.0)
        fed.append(s)
    torch.testing.assert_close(spikes, torch.stack(fed), rtol=0, atol=0)
    assert torch.equal(end.s, spikes[-1])
    spikes.sum().backward() if spikes.requires_grad else None
    assert not isinstance(weight, nn.Module) or weight.weight.grad.any()
    first, middle = layer.run(x[:6])
    assert torch.equal(torch.cat([first, layer.run(x[6:], middle)[0]]), spikes)


def test_a_recurrent_part_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"\(3, 5\) for spikes \(3, 7\)"):
        RecurrentLIF(nn.Linear(7, 5))(currents(4, 3, 7))
    for recurrent in (nn.Linear(5, 7), torch.ones(5), torch.ones(7, 7), torch.ones(1, 1, 7)):
        with pytest.raises(ShapeError, match=r"does not take the spikes of one step, \(3, 7\)"):
            RecurrentLIF(recurrent)(currents(4, 3, 7))
    for recurrent in (0.9, 7, None, nn.Linear):
        with pytest.raises(ConfigError, match="Module or Tensor is expected"):
            RecurrentLIF(recurrent)
    assert RecurrentLIF(torch.ones(3, 1))(currents(4, 3, 7)).shape == (4, 3, 7)


def test_a_leaky_integrator_returns_its_potential():
    x = currents(20, 5, dtype=torch.float64).requires_grad_()
    kernel = torch.tensor([[0.8 ** (t - k) if t >= k else 0.0 for k in range(20)]
                           for t in range(20)], dtype=torch.float64)  # fmt: skip
    out = LI(0.8)(x)
    torch.testing.assert_close(out, kernel @ x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient, kernel.sum(0)[:, None].expand(20, 5))
    first, state = LI(0.8).run(x[:9])
    assert torch.equal(torch.cat([first, LI(0.8).run(x[9:], state)[0]]), out)


@every_layer
def test_layers_are_saved_and_loaded_with_their_tensors(name):
    layer, other = LAYERS[name](), LAYERS[name]()
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.mul_(0.5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(currents(20, 7)), layer(currents(20, 7)))
    assert repr(layer)


def test_a_learned_threshold_gets_a_gradient_through_spikes_and_reset():
    threshold = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    x = torch.tensor([[1.5], [0.0]], dtype=torch.float64)
    LIF(0.5, threshold, surrogate=Triangle()).run(x)[1].v.sum().backward()
    # v2 = beta (x - threshold [spike]) and no spike at the second step
    assert threshold.grad.item() == -0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(torch.tensor([0.5, 1.5])), r"LIF: beta = Tensor\(2,\) is outside"),
        (lambda: LIF(beta="0.9"), "beta = '0.9' is not a number or a tensor"),
        (lambda: LIF(threshold=torch.zeros(3)), "threshold = .* is not a finite number above 0"),
        (lambda: LIF(threshold=-70.0, rest=-65.0), "threshold = -70.0 .* above rest = -65.0"),
        (lambda: LIF(rest=math.nan), "rest = nan is not finite"),
        (lambda: LIF(threshold_off=torch.tensor([1.0, math.inf])), "threshold_off = .* not finite"),
        (lambda: LIF(refractory=-1), "refractory = -1"),
        (lambda: LIF(refractory=True), "refractory = True"),
        (lambda: SynapticLIF(alpha=1.1), "SynapticLIF: alpha = 1.1 is outside"),
        (lambda: ALIF(rho=-0.1), "ALIF: rho = -0.1 is outside"),
        (lambda: ALIF(kappa=math.inf), "kappa = inf is not finite"),
        (lambda: PLIF(1.0), "tau = 1.0"),
        (lambda: LI(2.0), "LI: beta = 2.0"),
        (lambda: LI(backend="fast"), "LI: backend = 'fast' is unknown"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_states_and_tensors_that_do_not_fit_are_refused():
    x = currents(4, 3, 7)
    state = LIF().run(x)[1]
    with pytest.raises(ShapeError, match="the state has no a"):
        ALIF().run(x, state)
    with pytest.raises(ShapeError, match="has a part i that these neurons lack"):
        LIF().run(x, SynapticLIF().run(x)[1])
    with pytest.raises(ShapeError, match="the state has no waiting"):
        LIF(refractory=2).run(x, state)
    with pytest.raises(ShapeError, match="waiting is torch"):
        LIF(refractory=2).run(x, replace(state, waiting=torch.zeros(3, 7)))
    with pytest.raises(ShapeError, match=r"beta of shape \(5,\) does not broadcast"):
        LIF(torch.full((5,), 0.5))(x)
    with pytest.raises(ShapeError, match="does not broadcast"):
        LIF(torch.full((4, 3, 7), 0.5))(x)


def test_a_state_without_a_past_stops_gradients():
    x = currents(6, 5).requires_grad_()
    layer = ALIF(refractory=1)
    state = layer.run(x)[1]
    assert state.v.requires_grad
    cut = state.detach()
    assert not cut.v.requires_grad
    assert torch.equal(cut.waiting, state.waiting)


@pytest.mark.parametrize("reset", ["subtract", "zero", "Soft", None])
def test_a_step_with_an_unknown_reset_is_refused(reset):
    state = NeuronState.rest(currents(7))
    with pytest.raises(ConfigError, match=r"reset = .* is unknown; .*delayed, hard, none, soft"):
        lif_step(state, currents(7), beta=0.9, threshold=1.0, reset=reset)


def test_one_step_of_the_model_needs_no_state_parts_that_are_at_rest():
    d = Dynamics(beta=0.9, threshold=1.0, alpha=0.5, kappa=0.1, rho=0.9, refractory=2)
    x = currents(7)
    given = advance(d, d.initial_state(x), x)
    bare = advance(d, NeuronState.rest(x), x)
    assert torch.equal(given[0], bare[0])
    assert torch.equal(given[1].waiting, bare[1].waiting)


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
    state, parts = None, []
    for part in x.split(7):
        out, state = layer.run(part, state)
        parts.append(out)
    assert torch.equal(torch.cat(parts), spikes)


def test_delayed_resets_of_neurons_that_wait_or_adapt_are_refused():
    for make in (lambda: LIF(reset="delayed", refractory=2), lambda: ALIF(reset="delayed")):
        with pytest.raises(ConfigError, match=r"'delayed' needs neurons without refractory steps"):
            make()
    with pytest.raises(ConfigError, match="they reset at once, not a step later"):
        LIF(reset="delayed", backend="fused")(torch.ones(3, 2))
