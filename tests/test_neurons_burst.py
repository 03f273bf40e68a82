"""Neurons of several spikes a step do what their equations say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError
from dvskit.networks import Layered
from dvskit.neurons import LIF, BurstLIF, Triangle
from tests.neuron_cases import currents


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
            s = sum(h / threshold >= k for k in range(1, most + 1))
            assert spikes[t, n] == s
            v = h - s * threshold
    assert spikes.max() == most
    assert spikes.min() == 0


def test_one_spike_at_most_is_lif_with_its_gradients():
    made = []
    for layer in (LIF(0.8), BurstLIF(0.8, most=1)):
        x = currents(20, 3, 7).requires_grad_()
        spikes = layer(x)
        (spikes * currents(20, 3, 7, seed=1)).sum().backward()
        made.append((spikes, x.grad))
    assert torch.equal(made[0][0], made[1][0])
    torch.testing.assert_close(made[0][1], made[1][1])


def test_without_a_leak_a_burst_is_a_rectified_current_rounded_down():
    x = 3 * currents(9, 4, 6)
    expected = (x / 0.5).floor().clamp(0, 5)
    assert torch.equal(BurstLIF(0.0, 0.5, 5)(x), expected)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_give_the_counts_of_the_whole(chunk, dtype):
    layer, x = BurstLIF(0.7, 0.3), currents(20, 3, 7, dtype=dtype)
    whole, end = layer.run(x)
    state, parts = None, []
    for piece in x.split(chunk):
        spikes, state = layer.run(piece, state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.v, end.v)
    assert whole.dtype == dtype


def test_each_spike_of_a_burst_passes_its_surrogate_and_learned_values_a_gradient():
    layer = BurstLIF(0.0, nn.Parameter(torch.tensor(1.0)), 3, surrogate=Triangle(width=0.5))
    x = torch.tensor([[0.0, 0.75, 1.0, 1.75, 3.0, 5.0]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.5, 1.0, 0.5, 1.0, 0.0]]
    assert layer.threshold.grad == -(0.5 * 0.75 + 1 * 1 + 0.5 * 1.75 + 1 * 3)


def test_a_layer_list_names_them_and_their_number():
    module = Layered(layers=("4", "burst-lif most=6 beta=0.2", "3"), width=6, height=5, classes=3)
    assert "most=6, beta=0.2" in repr(module.build().burst1)
    with pytest.raises(ConfigError, match="most = 0 is below 1"):
        BurstLIF(most=0)
