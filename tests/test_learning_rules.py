"""What holds for every learning rule: one call, states that are passed, sums over samples."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from dvskit.errors import ArgumentError, ConfigError, ShapeError
from dvskit.learning import (
    BPTT,
    STDP,
    DecolleLayer,
    DecolleNetwork,
    EProp,
    FiringRate,
    RecurrentNetwork,
    RecurrentNeurons,
    Rule,
    SpikeProp,
    SpikeResponseNetwork,
    SuperSpike,
    Synapses,
    VanRossum,
    cross_entropy,
    predict,
    squared_error,
    teach,
)
from dvskit.neurons import LIF, ATan
from tests.learned import (
    VAN_ROSSUM,
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
    assert found
    assert torch.isfinite(torch.as_tensor(state.loss)).all()
    assert torch.equal(outputs, predict(rule.network, x))


@pytest.mark.slow
@each_rule
def test_gradients_add_up_over_calls(name):
    rule, x, targets = every_rule()[name]
    once, _, _ = gradients(rule, x, targets)
    for _ in range(2):
        teach(rule, x, targets)
    assert_alike(
        {key: each.grad for key, each in rule.named_parameters() if each.grad is not None},
        {key: 2 * gradient for key, gradient in once.items()},
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


def test_bptt_takes_any_module_that_steps():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.neurons = nn.Linear(4, 3), LIF(0.9, backend="torch")

        def step(self, x, state=None):
            return self.neurons.step(self.inner(x), state)

    torch.manual_seed(1)
    network, x = Own(), 3 * spikes(15, 2, 4).float()
    _, state = teach(BPTT(network, every=6), x, torch.zeros(15, 2, 3))
    assert state.loss > 0
    assert network.inner.weight.grad.abs().sum() > 0


@each_rule
def test_rules_in_single_precision_agree_with_double(name):
    rule, x, targets = every_rule()[name]
    single = copy.deepcopy(rule).float()
    exact, _, _ = gradients(rule, x, targets)
    rough, outputs, _ = gradients(single, x.float(), targets.float())
    assert outputs.dtype == torch.float32
    for key, gradient in exact.items():
        scale = gradient.abs().max()
        assert (rough[key].double() - gradient).abs().max() < 1e-3 * scale


@each_rule
def test_a_nan_is_seen_in_the_gradients(name):
    rule, x, targets = every_rule()[name]
    x = x.clone()
    x[3, 1] = float("nan")
    teach(rule, x, targets)
    grads = [each.grad for each in rule.parameters() if each.grad is not None]
    assert any(torch.isnan(each).any() for each in grads)


@each_rule
@pytest.mark.parametrize("kind", ["shape", "integers", "batch"])
def test_inputs_that_do_not_fit_are_errors(name, kind):
    rule, x, targets = every_rule()[name]
    _, state = rule.step(rule.start(x.shape[1]), x[0], targets[0])
    wrong = {"shape": x[0][:, :-1], "integers": x[0].long(), "batch": x[0][:-1]}[kind]
    with pytest.raises(ShapeError, match="inputs"):
        rule.step(state, wrong, targets[0])


@each_rule
def test_non_contiguous_inputs_are_as_good(name):
    rule, x, targets = every_rule()[name]
    expected, _, _ = gradients(rule, x, targets)
    strided = torch.stack([x, -x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert_alike(gradients(rule, strided, targets)[0], expected, tolerance=1e-12)


@each_rule
def test_a_batch_of_nothing_and_no_time_steps_are_errors(name):
    rule, x, targets = every_rule()[name]
    with pytest.raises(ConfigError, match="batch = 0"):
        rule.start(0)
    with pytest.raises(ShapeError, match="at least one time step"):
        teach(rule, x[:0], targets[:0])
    with pytest.raises(ShapeError, match="7 targets for 20 time steps"):
        teach(rule, x, targets[:7])


def test_steps_without_targets_add_no_loss():
    x = spikes(20, 3, 6)
    for rule in (EProp(recurrent()), BPTT(recurrent())):
        found, _, state = gradients(rule, x, [None] * 20)
        assert not found
        assert state.loss == 0


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (torch.zeros(3, 2), torch.tensor([0, 1, 2])),
        (torch.zeros(3, 2), torch.tensor([0, 1])),
        (torch.zeros(3, 2), torch.tensor([0.0, 1.0, 1.0])),
        (torch.zeros(3), torch.tensor(0)),
    ],
)
def test_targets_that_are_no_classes_are_errors(output, target):
    with pytest.raises(ShapeError):
        cross_entropy(output, target)


def test_targets_of_a_regression_are_not_broadcast():
    with pytest.raises(ShapeError, match="same shape"):
        squared_error(torch.zeros(3, 2), torch.zeros(2))


def test_a_loss_that_is_no_number_is_an_error():
    for rule in (EProp, BPTT):
        made = rule(recurrent(), lambda output, target: (output - target).square())
        with pytest.raises(ShapeError, match="must be a scalar"):
            made.step(made.start(3), spikes(3, 6), torch.zeros(3, 2).double())


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


def test_networks_follow_their_seed():
    weights = [RecurrentNetwork(4, 2, lif=3, alif=2, generator=seed).w_rec for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RecurrentNetwork(0, 1), "inputs = 0"),
        (lambda: RecurrentNetwork(3, 1, lif=0), "lif = 0"),
        (lambda: RecurrentNetwork(3, 1, lif=3, alif=-1), "alif = -1"),
        (lambda: RecurrentNeurons(beta=1.1), "beta = 1.1"),
        (lambda: RecurrentNeurons(rho=float("nan")), "rho = nan"),
        (lambda: RecurrentNeurons(threshold=0.0), "threshold = 0.0"),
        (lambda: RecurrentNeurons(adaptation=-0.1), "adaptation = -0.1"),
        (lambda: RecurrentNeurons(surrogate=ATan), "surrogate"),
        (lambda: FiringRate(-1.0), "cost = -1.0"),
        (lambda: FiringRate(1.0, 2.0), "target = 2.0"),
        (lambda: EProp(recurrent(), feedback="randon"), "did you mean 'random'"),
        (lambda: EProp(nn.Linear(3, 3)), "network is"),
        (lambda: BPTT(nn.Linear(3, 3)), "no step"),
        (lambda: BPTT(recurrent(), every=0), "every = 0"),
    ],
)
def test_parameters_that_cannot_be_meant_are_errors(make, said):
    with pytest.raises((ConfigError, ArgumentError), match=said):
        make()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda n, x: BPTT(n, "mse"), "BPTT: loss is 'mse'; it must be a function of output"),
        (lambda n, x: EProp(n, nn.MSELoss), r"EProp: loss is the class MSELoss; make one"),
        (
            lambda n, x: EProp(n, feedback="random", generator="a"),
            "EProp: generator is 'a'; a torch",
        ),
        (lambda n, x: EProp(n).start(x), r"batch is a Tensor; .* as x\.shape\[1\]"),
        (lambda n, x: teach(EProp(n), x, None), "targets is None"),
        (lambda n, x: teach(EProp(n), x, x[0]), r"2 targets for 5 .* labels\.expand\(T, B\)"),
        (lambda n, x: teach(n, x, x), "rule is a RecurrentNetwork, without start, step and"),
        (lambda n, x: predict(nn.Linear(6, 3), x), "network is a Linear, without step"),
        (lambda n, x: RecurrentNetwork(6, 3, neurons=LIF()), "neurons is .*; RecurrentNeurons is"),
        (lambda n, x: RecurrentNetwork(6.5, 3), "inputs is 6.5; a whole number is expected"),
        (lambda n, x: SpikeResponseNetwork(6), "sizes is 6; it must be a list"),
        (lambda n, x: SpikeResponseNetwork((6.5, 3)), "sizes is .* list of whole numbers"),
        (lambda n, x: SpikeProp(3, Synapses(), generator=1), "SpikeProp: sizes is 3; it must"),
        (lambda n, x: SpikeProp([3, 1], Synapses(), generator="1"), "generator is '1'; a torch"),
        (lambda n, x: VanRossum().distance(x, x[:, :1]), "must have the same shape"),
        (lambda n, x: STDP().run(x.numpy(), x.numpy(), x[0]), "take torch.from_numpy"),
        (lambda n, x: STDP().step(None, x[0], x[0], x[0]), "state is a NoneType; start with start"),
    ],
)
def test_calls_that_cannot_be_meant_are_told_in_one_line(call, said):
    with pytest.raises((ConfigError, ShapeError), match=said) as raised:
        call(RecurrentNetwork(6, 3, lif=4), torch.rand(5, 2, 6))
    assert "\n" not in str(raised.value)


def test_constants_are_values():
    assert RecurrentNeurons() == RecurrentNeurons()
    with pytest.raises(dataclasses.FrozenInstanceError):
        RecurrentNeurons().beta = 0.5
    assert dataclasses.replace(VAN_ROSSUM) == VAN_ROSSUM
