"""e-prop: equal to BPTT but for what it leaves out; feedback, rates, and its twin by hand."""

from __future__ import annotations

import pytest
import torch

from dvskit.learning import (
    BPTT,
    EProp,
    FiringRate,
    cross_entropy,
    squared_error,
)
from dvskit.neurons import ATan, Triangle
from tests.learned import assert_alike, gradients, normal, recurrent, spikes

T, B = 40, 3


def targets_for(loss):
    if loss is squared_error:
        return normal(T, B, 2, seed=9)
    return torch.randint(0, 2, (T, B), generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(
    ("lif", "alif", "loss", "surrogate"),
    [
        (7, 0, squared_error, ATan(1.5)),
        (0, 7, cross_entropy, Triangle(0.6, 0.5)),
        (4, 3, squared_error, Triangle(0.6, 0.5)),
    ],
)
def test_gradients_are_those_of_bptt_where_recurrence_and_reset_pass_none(
    lif, alif, loss, surrogate
):
    x, targets = spikes(T, B, 6), targets_for(loss)
    network = recurrent(lif, alif, local=True, surrogate=surrogate)
    ours, outputs, state = gradients(EProp(network, loss), x, targets)
    assert all(each.grad_fn is None for each in state.network)
    theirs, expected, reference = gradients(BPTT(network, loss), x, targets)
    assert state.network.s.shape == (B, 7)
    assert torch.equal(outputs, expected)
    assert torch.allclose(state.loss, reference.loss, rtol=1e-12)
    assert_alike(ours, theirs)


def test_firing_rates_have_the_gradient_of_their_mean_square():
    network = recurrent(local=True)
    x, rate = spikes(T, B, 6), FiringRate(3.0, 0.1)
    ours, _, _ = gradients(EProp(network, rate=rate), x, [None] * T)
    state, counts = None, 0
    for x_t in x:
        _, state = network.step(x_t, state)
        counts = counts + state.s.sum(0)
    (rate.cost / 2 * (counts / (T * B) - rate.target).square().sum()).backward()
    theirs = {f"network.{n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert_alike(ours, theirs)


def twin(network, x, targets):
    """e-prop of one sample in loops over neurons and synapses, written from the paper's sums."""
    c, lif, count = network.neurons, network.lif, network.lif + network.alif
    w_in, w_rec, w_out = (w.detach() for w in (network.w_in, network.w_rec, network.w_out))
    synapses = network.inputs + count
    v, s, a = torch.zeros(count), torch.zeros(count), torch.zeros(count)
    y, eps, grad = torch.zeros(network.outputs), torch.zeros(synapses), {}
    eps_a = [[0.0] * synapses for _ in range(count)]
    e_bar = [[0.0] * synapses for _ in range(count)]
    for x_t, target in zip(x, targets, strict=True):
        pre = torch.cat([x_t, s])
        eps = [c.beta * float(old) + float(new) for old, new in zip(eps, pre, strict=True)]
        h, s_before = torch.zeros(count), s.clone()
        for j in range(count):
            others = sum(w_rec[j, i] * s_before[i] for i in range(count) if i != j)
            h[j] = c.beta * v[j] + w_in[j] @ x_t + others
        s = torch.zeros(count)
        for j in range(count):
            kappa = c.adaptation if j >= lif else 0.0
            threshold = c.threshold + kappa * a[j]
            psi = float(c.surrogate.derivative(h[j] - threshold))
            s[j] = float(h[j] >= threshold)
            v[j] = h[j] - threshold * s[j]
            a[j] = c.rho * a[j] + s[j]
            for i in range(synapses):
                e = psi * (eps[i] - kappa * eps_a[j][i])
                eps_a[j][i] = c.rho * eps_a[j][i] + e
                e_bar[j][i] = c.readout * e_bar[j][i] + e
        y = c.readout * y + w_out @ s
        error = y + network.b_out.detach() - target
        for j in range(count):
            signal = float(w_out[:, j] @ error)
            for i in range(synapses):
                grad[j, i] = grad.get((j, i), 0.0) + signal * e_bar[j][i]
    table = torch.tensor([[grad[j, i] for i in range(synapses)] for j in range(count)])
    recurrent_part = table[:, network.inputs :]
    return table[:, : network.inputs], recurrent_part.fill_diagonal_(0)


def test_the_twin_in_plain_loops_has_the_same_gradients():
    torch.set_default_dtype(torch.float64)
    try:
        network = recurrent(2, 2)
        x, targets = spikes(15, 1, 6), normal(15, 1, 2)
        ours, _, _ = gradients(EProp(network), x, targets)
        w_in, w_rec = twin(network, x[:, 0], targets[:, 0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert_alike(
        {name: ours[f"network.{name}"] for name in ("w_in", "w_rec")},
        {"w_in": w_in, "w_rec": w_rec},
        tolerance=1e-12,
    )


def test_random_feedback_takes_the_place_of_the_output_weights():
    x, targets = spikes(T, B, 6), normal(T, B, 2)
    rule = EProp(recurrent(), feedback="random", generator=7)
    ours, outputs, _ = gradients(rule, x, targets)
    assert "broadcast" not in ours
    twin = EProp(recurrent(), feedback="symmetric")
    exact, expected, _ = gradients(twin, x, targets)
    assert torch.equal(outputs, expected)
    assert torch.equal(ours["network.w_out"], exact["network.w_out"])
    with torch.no_grad():
        rule.broadcast.copy_(rule.network.w_out)
    assert_alike(gradients(rule, x, targets)[0], exact)


def test_adaptive_feedback_gets_the_gradient_of_the_output_weights():
    rule = EProp(recurrent(), feedback="adaptive", generator=7)
    found, _, _ = gradients(rule, spikes(T, B, 6), normal(T, B, 2))
    assert torch.equal(found["broadcast"], found["network.w_out"])
