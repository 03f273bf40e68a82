"""e-prop: equal to BPTT but for what it leaves out; feedback, rates, and its twin by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dvskit.learning import (
    BPTT,
    EProp,
    FiringRate,
    RecurrentNetwork,
    cross_entropy,
    predict,
    squared_error,
    teach,
)
from dvskit.neurons import ATan, NeuronState, Triangle, lif_step
from tests.learned import assert_alike, gradients, normal, recurrent, spikes

T, B = 40, 3
KINDS = [(7, 0), (0, 7), (4, 3)]
SURROGATES = [Triangle(0.6, 0.5), ATan(1.5)]


def targets_for(loss):
    if loss is squared_error:
        return normal(T, B, 2, seed=9)
    return torch.randint(0, 2, (T, B), generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=["triangle", "atan"])
@pytest.mark.parametrize("loss", [squared_error, cross_entropy])
@pytest.mark.parametrize(("lif", "alif"), KINDS)
def test_gradients_are_those_of_bptt_where_recurrence_and_reset_pass_none(
    lif, alif, loss, surrogate
):
    x, targets = spikes(T, B, 6), targets_for(loss)
    network = recurrent(lif, alif, local=True, surrogate=surrogate)
    ours, outputs, state = gradients(EProp(network, loss), x, targets)
    theirs, expected, reference = gradients(BPTT(network, loss), x, targets)
    assert state.network.s.shape == (B, 7)
    assert torch.equal(outputs, expected)
    assert torch.allclose(state.loss, reference.loss, rtol=1e-12)
    assert_alike(ours, theirs)


def test_gradients_without_recurrent_weights_are_those_of_bptt():
    network = recurrent()
    with torch.no_grad():
        network.w_rec.zero_()
    network.w_rec.requires_grad_(False)
    x, targets = spikes(T, B, 6), normal(T, B, 2)
    ours, _, _ = gradients(EProp(network), x, targets)
    theirs, _, _ = gradients(BPTT(network), x, targets)
    assert_alike(ours, theirs)


def test_recurrent_gradients_differ_from_whole_bptt():
    x, targets = spikes(T, B, 6), normal(T, B, 2)
    ours, _, _ = gradients(EProp(recurrent()), x, targets)
    theirs, _, _ = gradients(BPTT(recurrent()), x, targets)
    assert not torch.allclose(ours["network.w_in"], theirs["network.w_in"], rtol=1e-3)
    assert torch.allclose(ours["network.w_out"], theirs["network.w_out"], rtol=1e-9)


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


def test_neurons_are_adaptive_ones_of_lif_step():
    network = recurrent(0, 5)
    c, x = network.neurons, spikes(T, B, 6)
    state, ours = NeuronState(*(torch.zeros(B, 5).double(),), a=torch.zeros(B, 5).double()), None
    before = torch.zeros(B, 5).double()
    total = 0
    for x_t in x:
        _, ours = network.step(x_t, ours)
        current = x_t @ network.w_in.T + before @ network.recurrent_weights().T
        before, state = lif_step(
            state, current, beta=c.beta, threshold=c.threshold, kappa=c.adaptation, rho=c.rho
        )
        assert torch.equal(ours.s, before)
        assert torch.allclose(ours.v, state.v, atol=1e-12)
        total += int(before.sum())
    assert total > 20


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


def test_adaptive_feedback_approaches_the_output_weights_under_weight_decay():
    rule = EProp(recurrent(), feedback="adaptive", generator=7)
    optimiser = torch.optim.SGD(rule.parameters(), 2e-3, weight_decay=50.0)
    apart = [(rule.broadcast - rule.network.w_out).abs().max().item()]
    x, targets = spikes(5, B, 6), normal(5, B, 2)
    for _ in range(10):
        teach(rule, x, targets)
        optimiser.step()
        optimiser.zero_grad()
    apart.append((rule.broadcast - rule.network.w_out).abs().max().item())
    assert apart[1] < 0.5 * apart[0]


def test_feedback_follows_its_seed():
    drawn = [EProp(recurrent(), feedback="random", generator=seed).broadcast for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_state_does_not_grow_with_time():
    rule = EProp(recurrent(), rate=FiringRate(1.0))

    def numbers(state):
        tensors = [getattr(state, name) for name in state.__slots__ if name != "network"]
        return sum(each.numel() for each in [*tensors, *state.network] if torch.is_tensor(each))

    state = rule.start(B)
    first = numbers(state)
    for x_t in spikes(T, B, 6):
        _, state = rule.step(state, x_t, torch.zeros(B, 2).double())
    assert numbers(state) == first
    assert not any(each.requires_grad for each in state.network)


def test_an_optimiser_may_step_after_each_time_step():
    def learned(online):
        network = RecurrentNetwork(5, 1, lif=30, generator=2)
        rule = EProp(network)
        optimiser = torch.optim.SGD(rule.parameters(), 2e-4)
        x, curve = spikes(40, 1, 5).float(), torch.sin(torch.arange(40.0) / 9)[:, None, None]
        for _ in range(8):
            state = rule.start(1)
            for x_t, target in zip(x, curve, strict=True):
                _, state = rule.step(state, x_t, target)
                if online:
                    optimiser.step()
                    optimiser.zero_grad()
            optimiser.step()
            optimiser.zero_grad()
        return functional.mse_loss(predict(network, x), curve)

    before = functional.mse_loss(
        predict(RecurrentNetwork(5, 1, lif=30, generator=2), spikes(40, 1, 5).float()),
        torch.sin(torch.arange(40.0) / 9)[:, None, None],
    )
    assert learned(online=True) < 0.8 * before
    assert learned(online=False) < 0.8 * before
