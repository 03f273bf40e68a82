"""Neurons with equations of one's own: those of LIF and ALIF give what LIF and ALIF give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import dvskit
from dvskit import neurons
from dvskit.errors import ArgumentError, ConfigError, ShapeError
from dvskit.layers import (
    FirstSpike,
    Linear,
    MeanMembrane,
    Membrane,
    ResidualBlock,
    Sequence,
    SpikeCount,
    checkpointed,
)
from dvskit.neurons import ALIF, LI, LIF, ATan, CustomNeurons, NeuronState, Triangle
from tests.examples import example_of
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


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize(
    ("name", "reset"),
    [
        (name, reset) for name in PAIRS for reset in ("soft", "hard", "none", "delayed")
        if (name, reset) != ("ALIF", "delayed")  # a delayed reset takes no adaptation
    ],
)  # fmt: skip
def test_the_equations_of_lif_give_its_spikes_potentials_and_gradients_bit_for_bit(name, reset):
    x, fired = currents(7, 2, 5, 7), set()
    refractory = (0, 2) if reset != "delayed" else (0,)
    for surrogate, off, wait in itertools.product(SURROGATES, (math.inf, 0.7), refractory):
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_other_precisions_are_those_of_all_neurons(name, dtype):
    theirs, ours = (layer.to(dtype) for layer in pair(name, refractory=1))
    x = currents(7, 2, 5, 7, dtype=dtype)
    for one, other in zip(passed(theirs, x, None), passed(ours, x, "a"), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def networks_of(name, readout):
    made = []
    for layer in pair(name):
        torch.manual_seed(3)
        inner = Sequence(Linear(7, 7), layer)
        made.append(
            Sequence(Linear(4, 7), layer, ResidualBlock(inner), Linear(7, 3), readout(layer))
        )
    return made


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize(
    "readout",
    [
        lambda layer: MeanMembrane(),
        lambda layer: Sequence(type(layer)(0.9, threshold=0.1), SpikeCount()),
        lambda layer: Sequence(type(layer)(0.9, threshold=0.1), FirstSpike()),
        lambda layer: Sequence(Membrane(type(layer)(0.9, threshold=0.1)), MeanMembrane()),
    ],
    ids=["mean", "count", "first", "membrane"],
)
def test_networks_run_them_whole_in_chunks_checkpointed_and_step_by_step(readout):
    x, results = 5 * currents(9, 2, 4), []
    for network in networks_of("LIF", readout):
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


@pytest.mark.slow(seconds=4)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_torch_compiles_them_and_calls_them_with_other_weights():
    torch.compiler.reset()  # shapes of other tests would make sizes symbolic
    layer, x = pair("ALIF")[1], currents(6, 5, 7)
    run = torch.compile(layer.run, fullgraph=True, backend="eager")
    _, state = run(x[:3])
    assert torch.equal(run(x[3:], state.detach())[0], layer(x)[3:])
    half = torch.compile(layer.bfloat16(), fullgraph=True, backend="eager")
    assert torch.equal(half(x.bfloat16()), layer(x.bfloat16()))
    torch.compiler.reset()
    weights = {"kappa": torch.tensor(0.9)}
    called = torch.func.functional_call(layer.float(), weights, (x,))
    other = pair("ALIF")[1].bfloat16().float()
    other.kappa.data.fill_(0.9)
    assert torch.equal(called, other(x))


class MyLI(CustomNeurons):
    def __init__(self, beta=0.8):
        super().__init__({"i": 0.0}, {"beta": beta}, threshold=None)

    def integrate(self, current, v, i):
        return {"v": self.beta * v + current, "i": i + current}

    def adapt(self, fired, v, i):
        raise AssertionError("there are no spikes")


def test_without_a_threshold_they_return_their_potential_as_li_does():
    x, layer = currents(9, 4), MyLI()
    out, state = layer.run(x)
    assert torch.equal(out, LI(0.8, backend="torch")(x))
    torch.testing.assert_close(state.own["i"], x.sum(0))
    assert not layer.spiking
    assert layer.trace(x).threshold.isinf().all()


def example() -> type[CustomNeurons]:
    """Return the class in the docstring of CustomNeurons."""
    names: dict = {"dvskit": dvskit, "torch": torch}
    exec(example_of(CustomNeurons), names)
    return names["Izhikevich"]


def test_the_example_of_the_docstring_is_izhikevichs_neuron():
    layer = example()(d=6.0).double()
    x = torch.full((400, 1), 10.0, dtype=torch.float64)
    v, u, spikes = -65.0, -13.0, []
    for _ in range(400):
        h, u = v + 0.04 * v**2 + 5 * v + 140 - u + 10, u + 0.02 * (0.2 * v - u)
        spikes.append(float(h >= 30))
        v, u = (-65.0, u + 6) if h >= 30 else (h, u)
    found, state = layer.run(x)
    assert found.flatten().tolist() == spikes
    assert sum(spikes) > 5
    np.testing.assert_allclose([state.v.item(), state.own["u"].item()], [v, u], atol=1e-9)


def test_values_move_with_the_layer_and_are_learned():
    fixed, given = torch.rand(7), nn.Parameter(torch.tensor(0.9))
    layer = MyALIF(given, kappa=fixed)
    assert [name for name, _ in layer.named_parameters()] == ["beta"]
    assert dict(layer.named_buffers())["kappa"] is fixed
    assert layer.to("meta")(torch.ones(3, 7, device="meta")).is_meta
    assert "beta=Parameter(), kappa=Tensor(7,), rho=0.97" in repr(layer)
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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CustomNeurons(), r"write def integrate\(self, current, v\)"),
        (lambda: made(lambda self, current, v: {}), r"are v, u; write def integrate\(self, cu"),
        (
            lambda: made(lambda self, current, v, u: {"v": v}, lambda self, fired, v: {}),
            r"Own: the state variables are v, u; write def adapt\(self, fired, v, u\)",
        ),
        (lambda: MyLIF("x"), "MyLIF: beta = 'x' is not a number or a tensor"),
        (lambda: MyLIF(math.nan), "MyLIF: beta = nan is not finite"),
        (lambda: MyLIF(threshold=0), "threshold = 0 is not a finite number above 0"),
        (lambda: MyLIF(reset="sotf"), "did you mean 'soft'"),
        (lambda: MyLIF(surrogate=ATan), "such as ATan"),
        (lambda: MyLIF(refractory=1.5), "refractory"),
        (lambda: MyLIF(threshold=None, refractory=2), "do not spike; leave out"),
        (lambda: MyLIF(reset="delayed", refractory=2), "needs neurons without refractory"),
        (lambda: MyLIF(gamma=2), "there is no 'gamma'"),
        (lambda: Starts({"threshold": 0.0}), "a state variable cannot be named 'threshold'"),
        (lambda: Starts({"a": "x"}), "Starts: a_start = 'x' is not a number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_when_it_is_made(build, message):
    with pytest.raises((ConfigError, ArgumentError), match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_values_may_not_hide_what_a_layer_is_made_of():
    class Hides(CustomNeurons):
        def integrate(self, current, v):
            return {"v": v}

    with pytest.raises(ConfigError, match="Hides: step is an attribute of all neurons"):
        Hides({}, {"step": 0.1})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda v, u: v, r'Own.integrate returned Tensor; return a dict, such as \{"v": v\}'),
        (lambda v, u: {"u": u}, "Own.integrate returned no 'v'"),
        (lambda v, u: {"v": v, "w": u}, "Own.integrate returned 'w'; .*choices: threshold, u, v"),
        (lambda v, u: {"v": v, "u": 0.5}, "returned u float; it must be a tensor of the shape"),
        (lambda v, u: {"v": v.sum(0)}, r"returned v of shape \(3,\); .* one step, \(2, 3\)"),
        (lambda v, u: {"v": v, "threshold": v[:, :2]}, r"threshold of shape \(2, 2\)"),
    ],
)
def test_what_the_equations_return_is_checked(found, message):
    layer = made(lambda self, current, v, u: found(v, u))
    with pytest.raises((ConfigError, ShapeError), match=message):
        layer(torch.ones(4, 2, 3))


def test_inputs_and_states_are_checked_as_those_of_all_neurons():
    layer, x = MyALIF(), torch.ones(3, 4)
    with pytest.raises(ShapeError, match="MyALIF takes floating-point"):
        layer(x.long())
    with pytest.raises(ShapeError, match=r"beta of shape \(5,\) does not broadcast"):
        MyALIF(torch.ones(5))(x)
    with pytest.raises(ShapeError, match="the state has no a; start from"):
        layer.run(x, NeuronState.rest(x[0]))
    with pytest.raises(ShapeError, match=r"state of shape \(5,\) does not fit"):
        layer.run(x, layer.run(torch.ones(3, 5))[1])
    with pytest.raises(ShapeError, match="the state has a part a that these neurons lack"):
        LIF().run(x, layer.run(x)[1])
    delayed = made(lambda self, current, v, u: {"v": v, "threshold": v}, reset="delayed")
    with pytest.raises(ConfigError, match="without refractory steps and adaptation"):
        delayed(x)


def test_adaptation_may_move_the_potential_too():
    layer = made(
        lambda self, current, v, u: {"v": v + current},
        lambda self, fired, v, u: {"v": torch.where(fired > 0, -0.5, v), "u": u + fired},
        reset="none", surrogate=Triangle(),
    )  # fmt: skip
    spikes, state = layer.run(torch.full((4, 1), 0.75))
    assert spikes.flatten().tolist() == [0, 1, 0, 1]
    assert (state.v.item(), state.own["u"].item()) == (-0.5, 2)


def test_an_error_of_the_equations_names_the_neurons_the_file_and_the_line():
    class Faulty(neurons.CustomNeurons):
        def integrate(self, current, v):
            return {"v": current.nothing}

    line = Faulty.integrate.__code__.co_firstlineno + 1
    words = rf"Faulty\.integrate raises AttributeError: .*test_neurons_custom\.py, line {line}\)$"
    with pytest.raises(ConfigError, match=words):
        Faulty().run(torch.ones(2, 3))
