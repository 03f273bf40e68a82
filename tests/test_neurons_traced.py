"""Traces: what goes on in neurons at each step is what the equations say, and what run does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dvskit import training
from dvskit.errors import ShapeError
from dvskit.layers import Membrane
from dvskit.neurons import ALIF, IF, LI, LIF, PLIF, Neurons, NeuronState, RecurrentLIF, SynapticLIF
from dvskit.neurons.dynamics import Potential, advance
from tests.test_neuron_models import (
    LAYERS,
    currents,
    every_layer,
    every_reset,
    per_neuron,
    refractory,
    twin,
)

PARTS = ("spikes", "h", "v", "threshold")


def check(layer: Neurons, x: Tensor, back: np.ndarray | None = None) -> None:
    """Compare a trace with the plain loop over numbers."""
    traced, expected = layer.trace(x), twin(layer.dynamics, x.numpy(), back)
    for part in PARTS:
        ours = getattr(traced, part).detach()
        np.testing.assert_allclose(ours, getattr(expected, part), atol=1e-12, err_msg=part)
    assert expected.spikes.any()


@every_layer
@every_reset
@refractory
def test_each_step_of_a_trace_is_what_the_equations_say(name, reset, refractory):
    check(LAYERS[name](reset=reset, refractory=refractory).double(),
          currents(40, 7, dtype=torch.float64))  # fmt: skip


@pytest.mark.parametrize(
    "layer",
    [
        LIF(per_neuron(0.2, 1, 7), per_neuron(0.5, 1.5, 7, seed=6), per_neuron(1, 2, 7, seed=7),
            gain=per_neuron(0.5, 2, 7, seed=8), rest=per_neuron(-0.3, 0.3, 7, seed=9)),
        IF(per_neuron(0.5, 1.5, 7), gain=per_neuron(0.5, 2, 7)),
        ALIF(per_neuron(0.2, 1, 7), kappa=per_neuron(0.1, 1, 7), rho=per_neuron(0.5, 1, 7)),
        SynapticLIF(0.8, alpha=per_neuron(0.2, 0.9, 7), gain=per_neuron(0.2, 0.6, 7)),
        PLIF(3.0, per_neuron(0.2, 0.6, 7), shape=(7,)),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_values_of_each_neuron_are_in_its_trace(layer):
    check(layer.double(), currents(40, 7, dtype=torch.float64))


@every_reset
def test_what_recurrent_neurons_feed_back_is_in_their_trace(reset):
    torch.manual_seed(2)
    back = nn.Linear(7, 7, bias=False)
    nn.init.normal_(back.weight, std=0.5)
    layer = RecurrentLIF(back, per_neuron(0.2, 1, 7), gain=1.2, rest=-0.1, reset=reset).double()
    x = currents(40, 7, dtype=torch.float64)
    check(layer, x, back.weight.detach().numpy())
    alone = LIF(layer.beta, gain=1.2, rest=-0.1, reset=reset)
    assert (layer.trace(x).h - alone.trace(x).h).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYERS, "RecurrentLIF", "LI"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trace_has_the_spikes_and_the_state_of_a_run_in_chunks_too(name, dtype):
    others = {"RecurrentLIF": lambda: RecurrentLIF(torch.full((7,), 0.4)), "LI": LI}
    layer = {**LAYERS, **others}[name]()
    x = currents(24, 3, 7, dtype=dtype)
    whole, (spikes, end) = layer.trace(x), layer.run(x)
    assert torch.equal(whole.spikes, spikes)
    first = layer.trace(x[:5])
    second = layer.trace(x[5:], first.state)
    for part in PARTS:
        both = torch.cat([getattr(first, part), getattr(second, part)])
        assert torch.equal(both, getattr(whole, part)), part
        assert both.dtype == (dtype if part == "spikes" else torch.float32)
    for part in ("v", "i", "a", "waiting", "s"):
        ours, theirs = getattr(second.state, part), getattr(end, part)
        assert ours is theirs is None or torch.equal(ours, theirs)


def test_neurons_spike_where_the_potential_reaches_the_threshold_which_li_has_not():
    x = currents(40, 7)
    adapted = ALIF(kappa=0.5).trace(x)
    assert torch.equal(adapted.spikes > 0, adapted.h >= adapted.threshold)
    assert adapted.threshold.max() > adapted.threshold.min() == 1
    silent = LI(0.8).trace(x)
    assert torch.equal(silent.h, silent.spikes)
    assert torch.equal(silent.v, silent.h)
    assert (silent.threshold == math.inf).all()


def test_traces_of_nothing_are_empty_and_what_does_not_fit_is_refused():
    traced = LIF().trace(torch.zeros(0, 3))
    assert [getattr(traced, part).shape for part in PARTS] == [(0, 3)] * 4
    with pytest.raises(ShapeError, match="floating-point"):
        LIF().trace(torch.zeros(4, 3, dtype=torch.int32))
    with pytest.raises(ShapeError, match="start a new batch"):
        LIF().trace(torch.zeros(4, 3), NeuronState.rest(torch.zeros(2)))


# --- Membrane, whose output is h of a trace ---


def slow_membrane(neurons: Neurons, x: Tensor) -> Tensor:
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


def test_membranes_of_recurrent_neurons_are_trained_through_what_they_feed_back():
    torch.manual_seed(3)
    layer = RecurrentLIF(nn.Linear(7, 7), 0.8)
    membrane, x = Membrane(layer), currents(20, 3, 7)
    whole, end = membrane.run(x)
    assert torch.equal(end.s, layer(x)[-1])
    first, middle = membrane.run(x[:8])
    assert torch.equal(torch.cat([first, membrane.run(x[8:], middle)[0]]), whole)
    whole.square().mean().backward()
    assert layer.recurrent.weight.grad.any()


def test_the_shipped_network_of_membranes_answers_as_neurons_asked_before_they_spike():
    module = training.load_model("article-mnist").module
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    x = images.expand(25, -1, -1, -1, -1)
    *before, last = module.children()
    assert isinstance(last, Membrane)
    with torch.no_grad():
        flow = x
        for layer in before:
            flow = layer(flow)
        expected = slow_membrane(last.neurons, flow)
        assert torch.equal(module(x), expected)
    assert (expected >= 1).any()
