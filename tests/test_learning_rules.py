"""What holds for every learning rule: one call, states that are passed, sums over samples."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.learning import (
    BPTT,
    DecolleLayer,
    DecolleNetwork,
    EProp,
    RecurrentNetwork,
    Rule,
    SpikeProp,
    SpikeResponseNetwork,
    SuperSpike,
    Synapses,
    predict,
    squared_error,
    teach,
)
from tests.laws import refused
from tests.learned import (
    assert_alike,
    every_rule,
    gradients,
    recurrent,
    responding,
    spikes,
)

NAMES = list(every_rule())
each_rule = pytest.mark.parametrize("name", NAMES)


@each_rule
def test_every_rule_is_called_alike(name):
    rule, x, targets = every_rule()[name]
    assert isinstance(rule, Rule)
    found, outputs, state = gradients(rule, x, targets)
    assert outputs.shape[:2] == x.shape[:2]
    assert not outputs.requires_grad
    assert torch.isfinite(torch.as_tensor(state.loss)).all()
    assert torch.equal(outputs, predict(rule.network, x))
    for _ in range(2):  # gradients add up over calls
        teach(rule, x, targets)
    assert_alike(
        {key: each.grad for key, each in rule.named_parameters() if each.grad is not None},
        {key: 2 * gradient for key, gradient in found.items()},
    )


@pytest.mark.slow
@each_rule
def test_a_batch_is_the_sum_of_its_samples(name):
    rule, x, targets = every_rule()[name]
    if getattr(rule, "rate", None):
        rule.rate = None  # rates are means over the batch: the square of a mean does not add up
    whole, outputs, _ = gradients(rule, x, targets)
    summed = {}
    for row in range(x.shape[1]):
        here = slice(row, row + 1)
        found, alone, _ = gradients(rule, x[:, here], targets[:, here])
        assert torch.allclose(alone, outputs[:, here], atol=1e-12)
        for key, gradient in found.items():
            summed[key] = summed.get(key, 0) + gradient
    assert_alike(summed, whole)


@each_rule
def test_a_state_is_not_changed_by_a_step(name):
    rule, x, targets = every_rule()[name]
    state = rule.start(x.shape[1])
    for x_t, target in zip(x[:5], targets[:5], strict=True):
        _, state = rule.step(state, x_t, target)
    first, _ = rule.step(state, x[5], targets[5])
    again, _ = rule.step(state, x[5], targets[5])
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", [name for name in NAMES if "bptt" not in name])
def test_online_rules_give_in_two_halves_what_they_give_at_once(name):
    rule, x, targets = every_rule()[name]
    whole, outputs, last = gradients(rule, x, targets)
    state, collected, parts = rule.start(x.shape[1]), [], {}
    for half in (slice(0, 7), slice(7, None)):
        for x_t, target in zip(x[half], targets[half], strict=True):
            output, state = rule.step(state, x_t, target)
            collected.append(output)
        if half.stop is None:
            rule.finish(state)
        for key, parameter in rule.named_parameters():
            if parameter.grad is not None:
                parts[key] = parts.get(key, 0) + parameter.grad
        rule.zero_grad()
    assert torch.equal(torch.stack(collected), outputs)
    assert torch.equal(torch.as_tensor(state.loss), torch.as_tensor(last.loss))
    assert_alike(parts, whole)


def test_truncated_bptt_is_the_sum_over_its_windows():
    network, x = recurrent(), spikes(20, 3, 6)
    targets = torch.zeros(20, 3, 2).double()
    ours, outputs, state = gradients(BPTT(network, every=8), x, targets)
    whole, expected, reference = gradients(BPTT(network), x, targets)
    assert torch.equal(outputs, expected)
    assert torch.allclose(state.loss, reference.loss)
    assert not torch.allclose(ours["network.w_in"], whole["network.w_in"], rtol=1e-3)
    network.zero_grad()
    held = None
    for first in (0, 8, 16):
        total = 0
        held = None if held is None else type(held)(*(each.detach() for each in held))
        for t in range(first, min(first + 8, 20)):
            output, held = network.step(x[t], held)
            total = total + squared_error(output, targets[t])
        total.backward()
    assert_alike(ours, {f"network.{key}": each.grad for key, each in network.named_parameters()})


@each_rule
def test_single_precision_agrees_with_double_and_any_layout_will_do(name):
    rule, x, targets = every_rule()[name]
    single = copy.deepcopy(rule).float()
    exact, _, _ = gradients(rule, x, targets)
    rough, outputs, _ = gradients(single, x.float(), targets.float())
    assert outputs.dtype == torch.float32
    for key, gradient in exact.items():
        scale = gradient.abs().max()
        assert (rough[key].double() - gradient).abs().max() < 1e-3 * scale
    strided = torch.stack([x, -x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert_alike(gradients(rule, strided, targets)[0], exact, tolerance=1e-12)


@each_rule
def test_inputs_that_do_not_fit_are_errors(name):
    rule, x, targets = every_rule()[name]
    _, state = rule.step(rule.start(x.shape[1]), x[0], targets[0])
    for wrong in (x[0][:, :-1], x[0].long(), x[0][:-1]):
        with refused(ShapeError, tuple(wrong.shape)):
            rule.step(state, wrong, targets[0])
    with refused(ConfigError, "batch = 0"):
        rule.start(0)
    with refused(ShapeError, "T >= 1"):
        teach(rule, x[:0], targets[:0])
    with refused(ShapeError, "7 targets", "20 time steps"):
        teach(rule, x, targets[:7])


def test_steps_without_targets_add_no_loss():
    x = spikes(20, 3, 6)
    for rule in (EProp(recurrent()), BPTT(recurrent())):
        found, _, state = gradients(rule, x, [None] * 20)
        assert not found
        assert state.loss == 0


@pytest.mark.parametrize(
    "drawn",
    [
        lambda **given: RecurrentNetwork(4, 2, lif=3, **given).w_rec,
        lambda **given: EProp(recurrent(), feedback="random", **given).broadcast,
        lambda **given: DecolleNetwork([DecolleLayer(nn.Linear(8, 5))], 3, (8,), **given).readout0,
        lambda **given: SpikeResponseNetwork((4, 3), **given).rows()[0].weight,
        lambda **given: SuperSpike(responding(4, 3, 2), feedback="random", **given).broadcast0,
        lambda **given: SpikeProp([3, 2], Synapses(), **given).layers[0].weight,
    ],
)
def test_without_a_generator_numbers_are_torch_s(drawn):
    first, again = (torch.manual_seed(4) and drawn() for _ in range(2))
    with torch.random.fork_rng():
        given = drawn(generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        assert torch.equal(given, drawn(generator=1))
    assert torch.equal(first, again)
    assert not torch.equal(first, drawn())
