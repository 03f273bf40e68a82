"""SuperSpike: the gradient of the van Rossum distance, feedback, its filters, its optimizer."""

from __future__ import annotations

import math

import pytest
import torch

from dvskit.learning import (
    BPTT,
    DoubleExponential,
    RMSMax,
    SuperSpike,
    predict,
)
from tests.learned import VAN_ROSSUM, assert_alike, gradients, responding, spikes

T, B = 60, 3


def hidden_reference(rule, x, target):
    """Autograd of sum_t e_l(t) (alpha * S_l)(t) in each layer, errors and inputs held constant."""
    network, kernel, states, error = rule.network, rule.loss.kernel, None, None
    filters, total = [None] * len(network.layers), 0
    for x_t, target_t in zip(x, target, strict=True):
        steps, states = network.advance(x_t, states)
        out, error = kernel.step((steps[-1].spikes - target_t).detach(), error)
        before = x_t
        for number, step in enumerate(steps):
            layer = network.layers[number]
            # The response is constant: only the layer's own weights are differentiated.
            u = layer(step.response.detach()) + (step.u - layer(step.response)).detach()
            s = u + (step.spikes - u).detach()  # the value of the spikes ...
            s = Surrogate.apply(s, u, network.neurons.surrogate)  # ... and the surrogate's slope
            filtered, filters[number] = kernel.step(s, filters[number])
            signal = out
            if number < len(steps) - 1:
                if rule.feedback == "symmetric":
                    for behind in reversed(network.layers[number + 1 :]):
                        signal = signal @ behind.weight
                else:
                    signal = signal @ getattr(rule, f"broadcast{number}").T
            total = total + (signal.detach() * filtered).sum()
            before = step.spikes
        assert before is steps[-1].spikes
    return total


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, u, surrogate):
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return s

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return None, gradient * ctx.surrogate.derivative(u), None


@pytest.mark.parametrize("feedback", ["symmetric", "random", "uniform"])
def test_hidden_layers_have_the_gradient_of_their_filtered_spikes_along_the_error(feedback):
    rule = SuperSpike(responding(10, 6, 5, 4), VAN_ROSSUM, feedback=feedback, generator=2)
    x, target = spikes(T, B, 10), spikes(T, B, 4, share=0.1, seed=1)
    ours, outputs, state = gradients(rule, x, target)
    _, expected, reference = gradients(BPTT(rule.network, VAN_ROSSUM), x, target)
    assert torch.equal(outputs, expected)
    assert torch.allclose(state.loss, reference.loss, rtol=1e-12)
    hidden_reference(rule, x, target).backward()
    theirs = {name: each.grad for name, each in rule.named_parameters()}
    assert len(ours) == 6
    assert_alike(ours, theirs)


def test_equal_spikes_have_no_distance_and_no_gradient():
    network, x = responding(10, 4), spikes(T, B, 10)
    found, _, state = gradients(SuperSpike(network), x, predict(network, x))
    assert state.loss == 0
    assert all((gradient == 0).all() for gradient in found.values())


@pytest.mark.parametrize(("rise", "decay"), [(5.0, 10.0), (10.0, 5.0), (4.0, 4.0), (0.3, 90.0)])
def test_a_filter_is_the_convolution_with_its_kernel_and_peaks_at_one(rise, decay):
    kernel = DoubleExponential(rise, decay)
    p, q = math.exp(-1 / rise), math.exp(-1 / decay)
    response = [sum(p**i * q ** (k - i) for i in range(k + 1)) for k in range(400)]
    response = torch.tensor(response, dtype=torch.float64) / max(response)
    impulse = torch.zeros(400, 1).double()
    impulse[0] = 1
    assert torch.allclose(kernel.run(impulse)[:, 0], response, rtol=1e-9)
    assert float(kernel.run(impulse).max()) == pytest.approx(1, rel=1e-12)
    signal = spikes(400, 1)
    expected = [
        sum(signal[j, 0] * response[k - j] for j in range(k + 1)) for k in range(0, 400, 37)
    ]
    assert torch.allclose(kernel.run(signal)[::37, 0], torch.stack(expected), rtol=1e-9)


def test_the_distance_is_the_sum_of_the_losses_of_each_step():
    ours, target = spikes(T, B, 4), spikes(T, B, 4, seed=1)
    state, total = None, 0
    for one, other in zip(ours, target, strict=True):
        value, state = VAN_ROSSUM.step(one, other, state)
        total += value
    assert torch.allclose(VAN_ROSSUM.distance(ours, target).sum(), total)


def test_the_optimizer_moves_each_weight_by_its_largest_recent_gradient():
    weight = torch.nn.Parameter(torch.zeros(3).double())
    optimizer = RMSMax([weight], lr=0.1, decay=0.5)
    expected, largest = torch.zeros(3).double(), torch.zeros(3).double()
    for gradient in ([1.0, -2.0, 0.0], [0.1, -4.0, 0.0], [-0.1, 1.0, 0.0]):
        weight.grad = torch.tensor(gradient).double()
        optimizer.step()
        largest = torch.maximum(0.5 * largest, weight.grad**2)
        expected -= 0.1 * weight.grad / largest.sqrt().clamp(min=1e-30)
    assert torch.allclose(weight.detach(), expected, rtol=1e-12)
