"""The laws of spiking neurons, the hand-written twin, and the peers."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dvskit.errors import ConfigError, ShapeError
from dvskit.neurons import LIF, ATan, NeuronState, SignedLIF, lif_step
from tests.neuron_cases import currents

FLAGS = list(itertools.product(["soft", "hard"], [True, False], [math.inf, 0.8]))
every_flag = pytest.mark.parametrize(("reset", "detach", "threshold_off"), FLAGS)


def twin(x, gs, *, beta, th, th_off, reset, detach, alpha, v=0.0, gv=0.0):
    """One neuron in Python floats: spikes, end potential, and the two gradients by BPTT."""
    g = lambda u: (alpha / 2) / (1 + (math.pi * alpha * u / 2) ** 2)  # noqa: E731
    hs, ss = [], []
    for current in x:
        h = beta * v + current
        s = 1 if h >= th else -1 if h <= -th_off else 0
        v = h * (1 - abs(s)) if reset == "hard" else h - th * (s == 1)
        if reset == "soft" and s == -1:
            v += th_off
        hs.append(h)
        ss.append(s)
    gx = [0.0] * len(x)
    for t in reversed(range(len(x))):
        h, s = hs[t], ss[t]
        up, down = g(h - th), 0.0 if math.isinf(th_off) else g(-h - th_off)
        d = 1.0 if reset == "soft" else 1.0 - abs(s)
        if not detach and reset == "soft":
            d -= th * up + (0.0 if math.isinf(th_off) else th_off * down)
        if not detach and reset == "hard":
            d -= h * (up - down)
        gx[t] = gs[t] * (up + down) + gv * d
        gv = beta * gx[t]
    return ss, v, gx, gv


@every_flag
def test_double_precision_equals_backpropagation_through_time_written_by_hand(
    reset, detach, threshold_off
):
    x = currents(30, 40, dtype=torch.float64).requires_grad_()
    v0 = currents(40, seed=1, dtype=torch.float64).requires_grad_()
    gs, gv = currents(30, 40, seed=2, dtype=torch.float64), currents(40, seed=3).double()
    layer = LIF(0.85, 1.1, threshold_off, reset, ATan(1.5), detach)
    s, state = layer.run(x, NeuronState(v0))
    torch.autograd.backward([s, state.v], [gs, gv])
    for n in range(40):
        ss, v, gx, g0 = twin(
            x[:, n].tolist(),
            gs[:, n].tolist(),
            beta=0.85,
            th=1.1,
            th_off=threshold_off,
            reset=reset,
            detach=detach,
            alpha=1.5,
            v=v0[n].item(),
            gv=gv[n].item(),
        )
        assert s[:, n].tolist() == ss
        assert state.v[n].item() == pytest.approx(v, abs=1e-12)
        np.testing.assert_allclose(x.grad[:, n], gx, atol=1e-12)
        assert v0.grad[n].item() == pytest.approx(g0, abs=1e-12)


def channels_last_in_time(*shape, **given):
    """(T, B, C, H, W) made by a channels_last network over time folded into the batch."""
    folded = currents(*shape, **given).flatten(0, 1)
    return folded.contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])


LAYOUTS = {
    "contiguous": lambda: currents(12, 3, 4, 5, 7),
    "channels_last": lambda: channels_last_in_time(12, 3, 4, 5, 7),
    "channels_last, one step": lambda: channels_last_in_time(1, 3, 4, 5, 7),
    "batch first": lambda: currents(3, 12, 5, 7).transpose(0, 1),
    "neurons transposed": lambda: currents(12, 6, 50).transpose(1, 2),
    "every second neuron": lambda: currents(12, 3, 80)[..., ::2],
    "every second step": lambda: currents(24, 3, 40)[::2],
    "from the middle": lambda: currents(24, 3, 40)[5:17],
    "constant current": lambda: currents(1, 3, 40).expand(12, 3, 40),
    "more than a block": lambda: currents(9, 50_021),
    "blocks and one neuron": lambda: currents(9, 2 * 2048 + 1),
}


def run_both(x, layer, *, gs=None, gv=None, v=None):
    """(spikes, end, gradient of x, gradient of v) of the fused kernel and of plain torch."""
    results = []
    for backend in ("fused", "torch"):
        layer = copy.copy(layer)
        layer.backend = backend
        leaf = x.detach().requires_grad_()
        state = None if v is None else NeuronState(v.detach().clone().requires_grad_())
        s, end = layer.run(leaf, state)
        outputs, gradients = [s], [torch.ones_like(s) if gs is None else gs]
        if gv is not None:
            outputs.append(end.v)
            gradients.append(gv)
        torch.autograd.backward(outputs, gradients)
        results.append((s, end.v, leaf.grad, None if state is None else state.v.grad))
    return results


@pytest.mark.slow
@every_flag
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_fused_kernel_equals_autograd_of_the_reference(layout, reset, detach, threshold_off):
    x = LAYOUTS[layout]()
    layer = LIF(0.9, 1.0, threshold_off, reset, ATan(1.7), detach)
    step = x.shape[1:]
    fused, plain = run_both(
        x,
        layer,
        gs=currents(*x.shape, seed=1),
        gv=currents(*step, seed=2),
        v=currents(*step, seed=3),
    )
    assert torch.equal(fused[0], plain[0])
    assert torch.equal(fused[1], plain[1])
    torch.testing.assert_close(fused[2], plain[2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused[3], plain[3], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@every_flag
def test_the_fused_kernel_in_bfloat16_keeps_spikes_and_rounds_gradients_once(
    reset, detach, threshold_off
):
    x, gs = currents(20, 999, dtype=torch.bfloat16), currents(20, 999, seed=1).bfloat16()
    layer = LIF(0.9, 1.0, threshold_off, reset, detach_reset=detach)
    fused, _ = run_both(x, layer, gs=gs)
    exact, _ = run_both(x.float(), layer, gs=gs.float())
    assert torch.equal(fused[0].float(), exact[0])
    assert torch.equal(fused[1], exact[1])
    assert torch.equal(fused[2], exact[2].bfloat16())


@pytest.mark.slow
def test_not_a_number_and_infinity_pass_the_bfloat16_kernel_as_they_are():
    x = torch.tensor([[0.5, math.nan, 3e38, -1.0]]).bfloat16()
    gs = torch.tensor([[math.nan, 1.0, math.inf, 3.3e38]]).bfloat16()
    fused, plain = run_both(x, LIF(), gs=gs)
    torch.testing.assert_close(fused[2], plain[2], equal_nan=True)
    torch.testing.assert_close(fused[0], plain[0])


def test_rounding_to_bfloat16_does_not_carry_a_not_a_number_into_zero():
    leaf = torch.zeros(1, 3).bfloat16().requires_grad_()
    full = torch.tensor([0x7FFFFFFF, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)
    LIF(backend="fused").run(leaf)[1].v.backward(full)
    assert leaf.grad.isnan().all()


def test_the_state_alone_may_be_differentiated():
    x = currents(6, 40)
    gradients = []
    for backend in ("fused", "torch"):
        leaf = x.clone().requires_grad_()
        LIF(backend=backend, detach_reset=False).run(leaf)[1].v.sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    x, gs = currents(20, 60_003), currents(20, 60_003, seed=1)
    results = []
    for count in ("1", threads):
        monkeypatch.setenv("DVSKIT_THREADS", count)
        results.append(run_both(x, SignedLIF(), gs=gs)[0])
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][2], results[1][2])


def test_spikes_and_gradients_keep_the_layout_of_the_input():
    x = channels_last_in_time(6, 2, 3, 8, 9).requires_grad_()
    spikes = LIF(backend="fused")(x)
    assert spikes.stride() == x.stride()
    (gradient,) = torch.autograd.grad(spikes, x, torch.ones_like(spikes))
    assert gradient.stride() == x.stride()
    assert spikes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_an_input_changed_in_place_before_the_backward_pass_is_noticed():
    x = currents(4, 10).requires_grad_()
    current = x * 2
    spikes = LIF(backend="fused")(current)
    current.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


@pytest.mark.parametrize(
    ("x", "surrogate", "why"),
    [
        (torch.ones(3, 4).double(), ATan(), "float64"),
        (torch.ones(3, 4).half(), ATan(), "float16"),
        (torch.ones(3, 4, device="meta"), ATan(), "meta"),
    ],
)
def test_what_the_fused_kernel_cannot_take_is_refused_on_demand_and_else_runs_in_torch(
    x, surrogate, why
):
    with pytest.raises(ConfigError, match=why):
        LIF(surrogate=surrogate, backend="fused")(x)
    assert LIF(surrogate=surrogate)(x).shape == x.shape


@every_flag
def test_the_fused_kernel_equals_the_twin_in_python(reset, detach, threshold_off):
    # Powers of two keep every potential exact, so that float32 and Python decide alike.
    x = torch.randint(-8, 9, (10, 25), generator=torch.Generator().manual_seed(4)) / 4
    gs = currents(10, 25, seed=1)
    off = math.inf if math.isinf(threshold_off) else 0.75
    layer = LIF(0.5, 1.0, off, reset, ATan(2.0), detach)
    fused, _ = run_both(x, layer, gs=gs)
    for n in range(25):
        ss, v, gx, _ = twin(
            x[:, n].tolist(),
            gs[:, n].tolist(),
            beta=0.5,
            th=1.0,
            th_off=off,
            reset=reset,
            detach=detach,
            alpha=2.0,
        )
        assert fused[0][:, n].tolist() == ss
        assert fused[1][n].item() == v
        np.testing.assert_allclose(fused[2][:, n], gx, rtol=1e-5, atol=1e-5)


def test_spikes_equal_those_of_snntorch_where_the_reset_is_not_delayed():
    # Its default resets one step late and leaks the reset too, and it does not reset a potential of
    # twice the threshold; below that, and without ties, the two agree.
    snntorch = pytest.importorskip("snntorch")
    x = torch.rand(50, 300, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.8
    peer = snntorch.Leaky(beta=0.9, threshold=1.0, reset_mechanism="subtract", reset_delay=False)
    potential, spikes = peer.init_leaky(), []
    for current in x:
        fired, potential = peer(current, potential)
        spikes.append(fired)
    ours = LIF()(x)
    assert torch.equal(ours, torch.stack(spikes))
    assert ours.sum() > 100


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("chunk", [1, 7, 19, 40])
@pytest.mark.parametrize("threshold_off", [math.inf, 0.8])
def test_chunks_of_time_give_the_spikes_of_the_whole_bit_for_bit(
    chunk, dtype, backend, threshold_off
):
    x = currents(40, 3, 101, dtype=dtype)
    layer = LIF(threshold_off=threshold_off, backend=backend)
    whole, end = layer.run(x)
    state, parts = None, []
    for start in range(0, 40, chunk):
        spikes, state = layer.run(x[start : start + chunk], state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.v, end.v)
    assert torch.equal(layer(x), whole)


@every_flag
def test_gradients_flow_through_the_state_as_if_the_sequence_were_whole(
    reset, detach, threshold_off
):
    x = currents(24, 57)
    gs = currents(24, 57, seed=1)
    layer = LIF(0.9, 1.0, threshold_off, reset, detach_reset=detach)
    whole = x.clone().requires_grad_()
    layer(whole).backward(gs)
    cut = x.clone().requires_grad_()
    first, state = layer.run(cut[:10])
    second, _ = layer.run(cut[10:], state)
    torch.cat([first, second]).backward(gs)
    assert torch.equal(whole.grad, cut.grad)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_equal_thresholds_make_the_signed_neuron_odd(reset, backend):
    x = currents(30, 500)
    layer = SignedLIF(reset=reset, backend=backend)
    spikes = layer(x)
    assert torch.equal(layer(-x), -spikes)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_an_infinite_threshold_off_is_the_binary_neuron_exactly(backend):
    x = currents(30, 500)
    binary = x.clone().requires_grad_()
    LIF(backend=backend)(binary).sum().backward()
    far = x.clone().requires_grad_()
    far_spikes = LIF(threshold_off=1e30, backend=backend)(far)
    far_spikes.sum().backward()
    assert torch.equal(far_spikes, LIF(backend=backend)(x))
    assert torch.equal(far.grad, binary.grad)
    assert (LIF(backend=backend)(-10 * x.abs()) == 0).all()


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_the_thresholds_themselves_spike(backend):
    x = torch.tensor([[1.0, -1.0, math.nextafter(1.0, 0.0), 0.99999994, -0.99999994]])
    assert SignedLIF(backend=backend)(x.float()).tolist() == [[1, -1, 1, 0, 0]]


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_soft_reset_keeps_the_excess_and_a_hard_one_does_not(backend):
    x = torch.tensor([[2.5], [0.0], [0.0]])
    soft, hard = LIF(1.0, backend=backend), LIF(1.0, reset="hard", backend=backend)
    assert soft(x).flatten().tolist() == [1, 1, 0]
    assert hard(x).flatten().tolist() == [1, 0, 0]
    assert soft.run(x)[1].v.item() == 0.5
    assert hard.run(x)[1].v.item() == 0.0


def test_beta_bounds_are_no_memory_and_no_leak():
    x = torch.full((8, 1), 0.25)
    assert LIF(0.0)(x).sum() == 0
    assert LIF(1.0)(x).flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("shape", [(1, 5), (5, 0), (0, 5), (4,), (3, 0, 7)])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_one_step_empty_batches_no_time_and_single_neurons_keep_their_shape(shape, backend):
    x = currents(*shape).requires_grad_()
    spikes, state = LIF(backend=backend).run(x)
    assert spikes.shape == x.shape
    assert state.v.shape == x.shape[1:]
    spikes.sum().backward()
    assert x.grad.shape == x.shape


def test_the_layer_keeps_no_state_and_leaves_its_arguments_alone():
    x, state = currents(10, 50), NeuronState(currents(50))
    kept, before = state.v.clone(), x.clone()
    layer = LIF()
    first, _ = layer.run(x, state)
    second, _ = copy.deepcopy(layer).run(x, state)
    assert torch.equal(first, second)
    assert torch.equal(state.v, kept)
    assert torch.equal(x, before)
    assert not list(layer.state_dict())


def test_a_step_is_the_layer_one_step_at_a_time():
    x = currents(12, 33)
    state, out = NeuronState.rest(x[0]), []
    for current in x:
        fired, state = lif_step(state, current, beta=0.9, threshold=1.0, threshold_off=1.0)
        out.append(fired)
    assert torch.equal(torch.stack(out), SignedLIF()(x))


@dataclass(frozen=True)
class Box:
    """A surrogate that the package does not know."""

    def derivative(self, u):
        return (u.abs() < 0.5).to(u.dtype)


def test_any_surrogate_serves():
    x = torch.tensor([[0.7], [0.1]], requires_grad=True)
    LIF(0.5, surrogate=Box()).forward(x).sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 2.0, 10.0])
def test_the_surrogate_integrates_to_one(alpha):
    u = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    assert torch.trapezoid(ATan(alpha).derivative(u), u).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 1.5}, "beta = 1.5"),
        ({"beta": math.nan}, "beta = nan"),
        ({"threshold": 0}, "threshold = 0"),
        ({"threshold": math.inf}, "threshold = inf"),
        ({"threshold_off": -1.0}, "threshold_off = -1.0"),
        ({"reset": "sotf"}, "did you mean 'soft'"),
        ({"backend": "fusd"}, "did you mean 'fused'"),
        ({"surrogate": ATan}, "such as ATan"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(ConfigError, match=message):
        LIF(**arguments)


def test_other_refusals_say_what_would_do():
    with pytest.raises(ConfigError, match="use LIF"):
        SignedLIF(threshold_off=math.inf)
    with pytest.raises(ConfigError, match="alpha = 0"):
        ATan(0)
    with pytest.raises(ShapeError, match="floating-point"):
        LIF()(torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"\(5,\) does not fit"):
        LIF().run(torch.ones(3, 4), NeuronState(torch.zeros(5)))
    with pytest.raises(ShapeError, match="float64"):
        LIF().run(torch.ones(3, 4), NeuronState(torch.zeros(4, dtype=torch.float64)))
