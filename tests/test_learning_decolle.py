"""DECOLLE: the gradients of local losses, layer by layer, and what reaches no other layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dvskit.learning import (
    DECOLLE,
    Activity,
    DecolleLayer,
    DecolleNetwork,
    DecolleNeurons,
    cross_entropy,
    squared_error,
)
from dvskit.neurons import Boxcar
from tests.learned import assert_alike, decolle, gradients, normal, spikes

T, B = 25, 3


def local_losses(network, x, targets, loss, activity=None):
    """The sum of the local losses as one graph over all of time, layers cut from each other."""
    states, total = [None] * len(network.layers), 0
    for x_t, target in zip(x, targets, strict=True):
        for number, layer in enumerate(network.layers):
            u, x_t, states[number] = layer.advance(x_t.detach(), states[number])
            total = total + loss(network.readout(number, x_t), target)
            if activity is not None:
                total = total + activity.cost(u)
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "activity"), [(squared_error, Activity(0.3, 2.0)), (cross_entropy, None)]
)
def test_gradients_are_those_of_the_local_losses_over_all_of_time(loss, activity):
    network, x = decolle(), spikes(T, B, 2, 8, 8)
    targets = normal(T, B, 3) if loss is squared_error else torch.ones(T, B, dtype=torch.long)
    ours, _, state = gradients(DECOLLE(network, loss, activity=activity), x, targets)
    total = local_losses(network, x, targets, loss, activity)
    total.backward()
    theirs = {f"network.{name}": each.grad for name, each in network.named_parameters()}
    assert state.loss.shape == (3,)
    if activity is None:
        assert torch.allclose(state.loss.sum(), total.detach(), rtol=1e-12)
    assert_alike(ours, theirs)


def test_the_dense_rule_written_out_has_the_same_gradients():
    neurons = DecolleNeurons(alpha=0.95, beta=0.9, gamma=0.65, surrogate=Boxcar())
    torch.manual_seed(2)
    layer = DecolleLayer(nn.Linear(8, 5, bias=False), neurons=neurons)
    network = DecolleNetwork([layer], 3, (8,), generator=1).double()
    x, targets = spikes(T, B, 8), normal(T, B, 3)
    ours, _, _ = gradients(DECOLLE(network), x, targets)
    weight, readout = layer.weights.weight.detach(), network.readout0
    p, q, r = torch.zeros(B, 8).double(), torch.zeros(B, 8).double(), torch.zeros(B, 5).double()
    expected = torch.zeros(5, 8).double()
    for x_t, target in zip(x, targets, strict=True):
        p, q = 0.95 * p + 0.05 * q, 0.9 * q + 0.1 * 10 * x_t
        u = p @ weight.T - r
        s = (u >= 0).double()
        r = 0.65 * r + 0.35 * s
        error = (s @ readout.T - target) @ readout
        expected += (error * (u.abs() <= 0.5)).T @ p
    assert_alike(ours, {"network.layers.0.weights.weight": expected}, tolerance=1e-12)


def test_pooled_spikes_are_the_maxima_of_unpooled_ones():
    torch.manual_seed(1)
    weights = nn.Conv2d(2, 3, 3, padding=1).double()
    pooled, whole = DecolleLayer(weights, pool=2), DecolleLayer(weights)
    one = other = None
    for x_t in spikes(T, B, 2, 8, 8):
        ours, one = pooled.step(x_t, one)
        all_spikes, other = whole.step(x_t, other)
        assert torch.equal(ours, nn.functional.max_pool2d(all_spikes, 2))
        assert torch.equal(one.r, other.r)


def test_a_frozen_layer_stays_while_the_others_learn():
    network = decolle()
    network.layers[1].weights.requires_grad_(False)
    found, _, _ = gradients(DECOLLE(network), spikes(T, B, 2, 8, 8), normal(T, B, 3))
    assert {name.split(".")[2] for name in found} == {"0", "2"}


def test_no_graph_is_kept_from_step_to_step():
    rule = DECOLLE(decolle())
    state = rule.start(B)
    for x_t in spikes(4, B, 2, 8, 8):
        output, state = rule.step(state, x_t, torch.zeros(B, 3).double())
    tensors = [output, state.loss, state.readouts, *(each for own in state.network for each in own)]
    assert all(each.grad_fn is None for each in tensors)
