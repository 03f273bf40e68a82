"""Neurons with equations of one's own: those of LIF and ALIF give what LIF and ALIF give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers import (
    Linear,
    MeanMembrane,
    Membrane,
    ResidualBlock,
    Sequence,
    checkpointed,
)
from dvskit.neurons import ALIF, LI, LIF, CustomNeurons, NeuronState, Triangle
from tests.laws import refused
from tests.neuron_cases import SURROGATES, currents, learned


class MyLIF(CustomNeurons):
    def __init__(self, beta=0.9, **others):
        super().__init__({}, {"beta": beta}, **others)

    def integrate(self, current, v):
        if self.rest is None:
            return {"v": self.beta * v + current}
        return {"v": self.rest + self.beta * (v - self.rest) + current}


class MyALIF(CustomNeurons):
    def __init__(self, beta=0.9, kappa=0.1, rho=0.97, **others):
        super().__init__({"a": 0.0}, {"beta": beta, "kappa": kappa, "rho": rho}, **others)

    def integrate(self, current, v, a):
        return {"v": self.beta * v + current, "threshold": self.threshold + self.kappa * a}

    def adapt(self, fired, v, a):
        return {"a": self.rho * a + fired}


PAIRS = {
    "LIF": (LIF, MyLIF, lambda: {"beta": learned(0.2, 0.95, 7)}),
    "LIF with rest": (LIF, MyLIF, lambda: {"beta": 0.8, "rest": learned(-0.3, 0.3, 7)}),
    "ALIF": (ALIF, MyALIF, lambda: {
        "beta": 0.8, "threshold": learned(0.6, 1.4, 7), "kappa": learned(0.1, 0.4, 5, 1),
        "rho": learned(0.7, 0.95, 7)}),
}  # fmt: skip


def pair(name, **flags):
    """Our neurons in plain torch and the same written as custom ones, with equal parameters."""
    theirs, ours, values = PAIRS[name]
    return theirs(**values(), backend="torch", **flags), ours(**values(), **flags)


def passed(layer, x, variable):
    """All that a trace in two chunks gives, its gradients by everything, and the spikes of run."""
    x = x.detach().requires_grad_()
    start = layer.initial_state(x[0])
    first = layer.trace(x[:3], start)
    second = layer.trace(x[3:], first.state)
    state = second.state
    a = state.a if variable is None else state.own.get(variable)
    found = [torch.cat([getattr(part, name) for part in (first, second)])
             for name in ("spikes", "h", "v", "threshold")]  # fmt: skip
    found += [part for part in (state.v, a) if part is not None]
    outs = [part for part in found if part.requires_grad]
    weights = [currents(*out.shape, seed=n, dtype=out.dtype) for n, out in enumerate(outs)]
    leaves = [x, *(value for _, value in sorted(layer.named_parameters()))]
    found += torch.autograd.grad(outs, leaves, weights)
    whole, end = layer.run(x)
    steps, at = [], None
    for current in x:
        spikes, at = layer.step(current, at)
        steps.append(spikes)
    assert torch.equal(torch.stack(steps), whole)
    assert torch.equal(at.v, end.v)
    return [*found, whole, end.v, *([] if state.waiting is None else [state.waiting])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reset"),
    [
        (name, reset) for name in PAIRS for reset in ("soft", "hard", "none", "delayed")
        if (name, reset) != ("ALIF", "delayed")  # a delayed reset takes no adaptation
    ],
)  # fmt: skip
def test_the_equations_of_lif_give_its_spikes_potentials_and_gradients_bit_for_bit(name, reset):
    x, fired = currents(7, 2, 5, 7), set()
    for surrogate, off, wait in zip(
        SURROGATES, (math.inf, 0.7) * 3, (0, 2, 2, 0, 0, 2), strict=True
    ):
        wait = 0 if reset == "delayed" else wait
        flags = {"reset": reset, "surrogate": surrogate, "threshold_off": off, "refractory": wait,
                 "detach_reset": (off == math.inf) == bool(wait)}  # fmt: skip
        theirs, ours = pair(name, **flags)
        expected, found = passed(theirs, x, None), passed(ours, x, "a")
        assert len(expected) == len(found)
        for one, other in zip(expected, found, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other), flags
        fired |= set(found[0].unique().tolist())
    assert fired == {-1.0, 0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    list(zip(PAIRS, [torch.bfloat16, torch.float16, torch.float64], strict=True)),
)
def test_other_precisions_are_those_of_all_neurons(name, dtype):
    theirs, ours = (layer.to(dtype) for layer in pair(name, refractory=1))
    x = currents(7, 2, 5, 7, dtype=dtype)
    for one, other in zip(passed(theirs, x, None), passed(ours, x, "a"), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.slow
def test_networks_run_them_whole_in_chunks_checkpointed_and_step_by_step():
    x, results = 5 * currents(9, 2, 4), []
    for layer in pair("LIF"):
        torch.manual_seed(3)
        block = ResidualBlock(Sequence(Linear(7, 7), layer))
        membrane = Membrane(type(layer)(0.9, threshold=0.1))
        network = Sequence(Linear(4, 7), layer, block, Linear(7, 3), membrane, MeanMembrane())
        whole = network(x)
        _, states = network.run(x[:4])
        chunked, _ = network.run(x[4:], states)
        states = None
        for current in x:
            stepped, states = network.step(current, states)
        kept, _ = checkpointed(network, x, chunk=4)
        gradients = [torch.autograd.grad(out.square().sum(), list(network.parameters()))
                     for out in (whole, kept)]  # fmt: skip
        results.append([whole, chunked, stepped, kept, *gradients[0], *gradients[1]])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    assert results[0][0].abs().sum() > 0


class MyLI(CustomNeurons):
    def __init__(self, beta=0.8):
        super().__init__({"i": 0.0}, {"beta": beta}, threshold=None)

    def integrate(self, current, v, i):
        return {"v": self.beta * v + current, "i": i + current}

    def adapt(self, fired, v, i):
        raise AssertionError("there are no spikes")


@pytest.mark.slow
def test_without_a_threshold_they_return_their_potential_as_li_does():
    x, layer = currents(9, 4), MyLI()
    out, state = layer.run(x)
    assert torch.equal(out, LI(0.8, backend="torch")(x))
    torch.testing.assert_close(state.own["i"], x.sum(0))
    assert not layer.spiking
    assert layer.trace(x).threshold.isinf().all()


@pytest.mark.slow
def test_values_move_with_the_layer_and_are_learned():
    fixed, given = torch.rand(7), nn.Parameter(torch.tensor(0.9))
    layer = MyALIF(given, kappa=fixed)
    assert [name for name, _ in layer.named_parameters()] == ["beta"]
    assert dict(layer.named_buffers())["kappa"] is fixed
    assert layer.to("meta")(torch.ones(3, 7, device="meta")).is_meta
    state = MyALIF(nn.Parameter(torch.tensor(0.9))).run(currents(4, 7))[1]
    assert state.own["a"].requires_grad
    assert not state.detach().own["a"].requires_grad


class Starts(MyALIF):
    def __init__(self, state):
        CustomNeurons.__init__(self, state, {"beta": 0.5, "kappa": 0.1, "rho": 0.9}, rest=-1.0)


def test_state_variables_start_at_rest_and_v_where_it_is_told():
    state = Starts({"a": torch.tensor([1.0, 2.0])}).initial_state(torch.ones(3, 2))
    assert state.v.tolist() == [[-1, -1]] * 3
    assert state.own["a"].tolist() == [[1, 2]] * 3
    assert Starts({"a": 0.0, "v": 4}).initial_state(torch.ones(1)).v.item() == 4


def made(integrate, adapt=None, state=None, **others):
    members = {"integrate": integrate, "adapt": adapt}
    kind = type("Own", (CustomNeurons,), {key: each for key, each in members.items() if each})
    return kind({"u": 0.0} if state is None else state, **others)


class Hides(MyLIF):
    def __init__(self):
        CustomNeurons.__init__(self, {}, {"step": 0.1})


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: CustomNeurons(), ["integrate(self, current, v)"]),
        (lambda: made(lambda self, current, v: {}), ["integrate(self, current, v, u)"]),
        (
            lambda: made(lambda self, current, v, u: {"v": v}, lambda self, fired, v: {}),
            ["Own", "adapt(self, fired, v, u)"],
        ),
        (lambda: MyLIF("x"), ["MyLIF", "beta = 'x'"]),
        (lambda: MyLIF(threshold=0), ["threshold = 0"]),
        (lambda: MyLIF(reset="sotf"), ["'soft'"]),
        (lambda: MyLIF(threshold=None, refractory=2), ["refractory"]),
        (lambda: MyLIF(reset="delayed", refractory=2), ["'delayed'"]),
        (lambda: Hides(), ["Hides", "step"]),
        (lambda: Starts({"threshold": 0.0}), ["'threshold'"]),
        (lambda: Starts({"a": "x"}), ["Starts", "a_start = 'x'"]),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_made(build, named):
    with refused(ConfigError, *named):
        build()


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (lambda v, u: v, ["Own.integrate", "Tensor"]),
        (lambda v, u: {"u": u}, ["Own.integrate", "'v'"]),
        (lambda v, u: {"v": v, "w": u}, ["Own.integrate", "'w'"]),
        (lambda v, u: {"v": v, "u": 0.5}, ["u float"]),
        (lambda v, u: {"v": v.sum(0)}, ["(3,)", "(2, 3)"]),
        (lambda v, u: {"v": v, "threshold": v[:, :2]}, ["threshold", "(2, 2)"]),
        (lambda v, u: {"v": v.nothing}, ["AttributeError", "test_neurons_custom.py, line"]),
    ],
)
def test_what_the_equations_return_is_checked(found, named):
    layer = made(lambda self, current, v, u: found(v, u))
    with refused((ConfigError, ShapeError), *named):
        layer(torch.ones(4, 2, 3))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda layer, x: layer(x.long()), ["MyALIF", "torch.int64"]),
        (lambda layer, x: MyALIF(torch.ones(5))(x), ["beta", "(5,)"]),
        (lambda layer, x: layer.run(x, NeuronState.rest(x[0])), ["no a"]),
        (lambda layer, x: layer.run(x, layer.run(torch.ones(3, 5))[1]), ["(5,)"]),
        (lambda layer, x: LIF().run(x, layer.run(x)[1]), ["a"]),
        (
            lambda layer, x: made(
                lambda self, current, v, u: {"v": v, "threshold": v}, reset="delayed"
            )(x),
            ["adaptation"],
        ),
    ],
)
def test_inputs_and_states_are_checked_as_those_of_all_neurons(call, named):
    with refused((ConfigError, ShapeError), *named):
        call(MyALIF(), torch.ones(3, 4))


def test_adaptation_may_move_the_potential_too():
    layer = made(
        lambda self, current, v, u: {"v": v + current},
        lambda self, fired, v, u: {"v": torch.where(fired > 0, -0.5, v), "u": u + fired},
        reset="none", surrogate=Triangle(),
    )  # fmt: skip
    spikes, state = layer.run(torch.full((4, 1), 0.75))
    assert spikes.flatten().tolist() == [0, 1, 0, 1]
    assert (state.v.item(), state.own["u"].item()) == (-0.5, 2)
