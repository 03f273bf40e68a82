"""SpikeProp: where spikes are, their gradients against the written formula, and waking."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dvskit.learning import (
    SpikeProp,
    Synapses,
    first_spikes,
    spikeprop_gradients,
    time_error,
)

SYNAPSES = Synapses(delays=(1.0, 2.0, 3.0, 4.0), tau=7.0)


def random(*shape, low=0.0, high=1.0, seed=0):
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * drawn


def potential(t, times, weight, synapses):
    """The potential of one neuron at t, kernel by kernel."""
    total = 0.0
    for time, row in zip(times, weight, strict=True):
        for delay, w in zip(synapses.delays, row, strict=True):
            s = t - time - delay
            if s > 0:
                total += w * s / synapses.tau * math.exp(1 - s / synapses.tau)
    return total


def first_spike_by_search(times, weight, synapses, step=1e-3):
    """The first crossing of one neuron on a fine grid, refined by bisection."""
    last = max((t for t in times if t < math.inf), default=0.0) + max(synapses.delays)
    grid = np.arange(0, last + 5 * synapses.tau, step)
    u = np.zeros_like(grid)
    for time, row in zip(times, weight, strict=True):
        for delay, w in zip(synapses.delays, row, strict=True):
            x = np.maximum(grid - time - delay, 0) / synapses.tau
            u += w * x * np.exp(1 - x)
    above = np.nonzero(u >= synapses.threshold)[0]
    if not len(above):
        return math.inf
    low, high = grid[max(above[0] - 1, 0)], grid[above[0]]
    for _ in range(60):
        middle = (low + high) / 2
        if potential(middle, times, weight, synapses) >= synapses.threshold:
            high = middle
        else:
            low = middle
    return high


def test_spikes_are_where_a_fine_search_finds_them():
    times = random(6, 5, high=20.0)
    times[0, 2] = times[3, 0] = math.inf
    times[1, 1] = times[1, 0]
    weight = random(7, 5, 4, low=-0.5, high=0.6, seed=1)
    found = first_spikes(times, weight, SYNAPSES)
    wanted = [
        [first_spike_by_search(row.tolist(), w.tolist(), SYNAPSES) for w in weight] for row in times
    ]
    wanted = torch.tensor(wanted, dtype=torch.float64)
    silent = wanted == math.inf
    assert 0 < silent.sum() < silent.numel()
    assert (silent == (found == math.inf)).all()
    assert (found[~silent] - wanted[~silent]).abs().max() < 1e-10


def test_a_peak_between_two_arrivals_that_barely_reaches_the_threshold_is_found():
    one = Synapses(delays=(0.0,), tau=5.0)
    times = torch.tensor([[0.0, 1e6]], dtype=torch.float64)
    weight = torch.tensor([[[1 + 1e-12], [1.0]], [[1 - 1e-12], [0.0]]], dtype=torch.float64)
    found = first_spikes(times, weight, one)[0]
    assert abs(found[0].item() - 5) < 1e-4
    assert found[1] == math.inf


def two_layers():
    times = random(3, 4, high=4.0)
    weights = [
        random(5, 4, 4, low=0.05, high=0.35, seed=1),
        random(2, 5, 4, low=0.1, high=0.45, seed=2),
    ]
    return times, weights, torch.tensor([[14.0, 17.0]], dtype=torch.float64).expand(3, 2)


def error_of(times, weights, desired):
    for weight in weights:
        times = first_spikes(times, weight, SYNAPSES)
    return time_error(times, desired, silent_at=40.0)


def formula_by_loops(times, weights, desired):
    """delta and gradients of two layers, summed one synapse at a time, on plain floats."""
    tau, delays = SYNAPSES.tau, SYNAPSES.delays

    def alpha(s):
        return s / tau * math.exp(1 - s / tau) if s > 0 else 0.0

    def slope(s):
        return (1 / tau - s / tau**2) * math.exp(1 - s / tau) if s > 0 else 0.0

    first, second = (weight.tolist() for weight in weights)
    grads = [torch.zeros_like(weight) for weight in weights]
    for t_in, wanted in zip(times.tolist(), desired.tolist(), strict=True):
        t_hidden = [first_spike_by_search(t_in, w, SYNAPSES) for w in first]
        t_out = [first_spike_by_search(t_hidden, w, SYNAPSES) for w in second]

        def steepness(t, t_before, w):
            pairs = [
                (t - s - d, x)
                for s, row in zip(t_before, w, strict=True)
                for d, x in zip(delays, row, strict=True)
            ]
            return sum(x * slope(s) for s, x in pairs)

        delta_out = [
            (wanted[j] - t_out[j]) / steepness(t_out[j], t_hidden, second[j]) for j in range(2)
        ]
        for i in range(5):
            pull = 0.0
            for j in range(2):
                for k, d in enumerate(delays):
                    s = t_out[j] - t_hidden[i] - d
                    grads[1][j, i, k] += delta_out[j] * alpha(s)
                    pull += delta_out[j] * second[j][i][k] * slope(s)
            delta = pull / steepness(t_hidden[i], t_in, first[i])
            for h in range(4):
                for k, d in enumerate(delays):
                    grads[0][i, h, k] += delta * alpha(t_hidden[i] - t_in[h] - d)
    return grads


def test_backward_is_the_written_formula():
    times, weights, desired = two_layers()
    leaves = [weight.clone().requires_grad_() for weight in weights]
    error_of(times, leaves, desired).backward()
    written = spikeprop_gradients(times, weights, desired, SYNAPSES)
    looped = formula_by_loops(times, weights, desired)
    for leaf, formula, loops in zip(leaves, written, looped, strict=True):
        scale = formula.abs().max()
        assert (leaf.grad - formula).abs().max() < 1e-13 * scale
        assert (leaf.grad - loops).abs().max() < 1e-12 * scale


def test_a_silent_neuron_has_no_gradient_and_stands_in_nobodys_way():
    times, (first, second), desired = two_layers()
    first[0] = -first[0]
    leaves = [first.requires_grad_(), second.requires_grad_()]
    hidden = first_spikes(times, leaves[0], SYNAPSES)
    assert (hidden[:, 0] == math.inf).all()
    error_of(times, leaves, desired).backward()
    assert (first.grad[0] == 0).all()
    assert (second.grad[:, 0] == 0).all()
    alone = [first.detach()[1:].requires_grad_(), second.detach()[:, 1:].requires_grad_()]
    error_of(times, alone, desired).backward()
    assert torch.allclose(first.grad[1:], alone[0].grad, rtol=0, atol=1e-12)


def test_nothing_in_means_nothing_out():
    weight = torch.ones(2, 3, 4, dtype=torch.float64, requires_grad=True)
    times = torch.full((2, 3), math.inf, dtype=torch.float64)
    found = first_spikes(times, weight, SYNAPSES)
    assert (found == math.inf).all()
    time_error(found, torch.zeros_like(found), silent_at=9.0).backward()
    assert (weight.grad == 0).all()
    assert first_spikes(times[:0], weight, SYNAPSES).shape == (0, 2)
    assert (first_spikes(times[:, :0], weight[:, :0], SYNAPSES) == math.inf).all()


def test_waking_raises_the_weights_of_silent_neurons_until_they_spike():
    network = SpikeProp([3, 4, 2], SYNAPSES, generator=0)
    with torch.no_grad():
        network.layers[0].weight[1] = 0
        network.layers[1].weight[0] = 0
    times, before = random(5, 3).float(), [p.clone() for p in network.parameters()]
    assert network.wake(network.run(times), by=0.05) == 2
    raised = [after - was for after, was in zip(network.parameters(), before, strict=True)]
    assert (raised[0][1] - 0.05).abs().max() < 1e-7
    assert (raised[1][0] - 0.05).abs().max() < 1e-7
    assert (raised[0][[0, 2, 3]] == 0).all()
    assert (raised[1][1] == 0).all()
    for _ in range(100):
        if network.wake(network.run(times), by=0.05) == 0:
            break
    assert all((spikes < math.inf).all() for spikes in network.run(times))


def test_a_hidden_neuron_may_miss_some_inputs_and_an_output_neuron_none():
    network = SpikeProp([2, 2, 2], SYNAPSES, generator=0)
    both = torch.zeros(3, 2)
    one_missed, all_missed = both.clone(), both.clone()
    one_missed[1, 0] = math.inf
    all_missed[:, 0] = math.inf
    assert network.wake([one_missed, both], by=0.1) == 0
    assert network.wake([all_missed, both], by=0.1) == 1
    assert network.wake([both, one_missed], by=0.1) == 1
    assert network.wake([both, both], by=0.1) == 0


def test_the_least_slope_bounds_the_gradient_where_the_potential_only_touches():
    times = torch.zeros(1, 1, dtype=torch.float64)
    sizes = []
    for least in (0.0, 0.1):
        weight = torch.full((1, 1, 1), 1 + 1e-10, dtype=torch.float64, requires_grad=True)
        first_spikes(times, weight, Synapses((0.0,), 7.0, least_slope=least)).sum().backward()
        sizes.append(weight.grad.abs().item())
    assert sizes[0] > 1e4
    assert sizes[1] == pytest.approx(10, rel=1e-4)


def test_single_precision_is_close_and_any_layout_will_do():
    times, weights, _ = two_layers()
    exact = first_spikes(times, weights[0], SYNAPSES)
    rough = first_spikes(times.float(), weights[0].float(), SYNAPSES)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 1e-4
    turned = weights[0].transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(first_spikes(times.T.contiguous().T, turned, SYNAPSES), exact)
