"""Neurons by name: one's own are layers of lists and networks as those of dvskit are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dvskit import networks
from dvskit.errors import ConfigError
from dvskit.layers import Membrane
from dvskit.networks import ConvLIF, GestureNet, Layered, MotionLIF, ResidualLIF
from dvskit.neurons import register_neuron
from dvskit.neurons.models import NEURONS
from tests.laws import forgotten, refused
from tests.test_neurons_custom import MyALIF, MyLIF


@pytest.fixture(autouse=True)
def forget():
    with forgotten(NEURONS):
        yield


class Leaky(nn.Module):
    """Any layer with a state: neurons that know nothing of dvskit."""

    def __init__(self, beta, scale=1.0, *, clipped=False, unit="mV", seed=None):
        super().__init__()
        self.beta, self.scale, self.clipped, self.unit, self.seed = beta, scale, clipped, unit, seed

    def forward(self, x):
        return self.run(x)[0]

    def run(self, x, state=None):
        v, out = torch.zeros_like(x[0]) if state is None else state, []
        for current in x:
            v = self.beta * v + self.scale * current
            out.append(v)
        return torch.stack(out), v


def small(*words, **fields):
    return Layered(**{"layers": words, "width": 12, "height": 10, "classes": 3, **fields})


def counts(steps=5, batch=2, width=12, height=10):
    shape = (steps, batch, 2, height, width)
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))


WORDS = (  # every kind of layer in a list
    "4C3", "P2", "M3s2", "S2", "F256", "T5", "T5s2", "D0.2", "V10", "relu", "log", "bn", "tdbn",
    "ln", "membrane", "mean", "last", "max", "count", "first", "each", "lif", "signed-lif",
)  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_the_words_of_other_layers_are_no_names(name):
    with refused(ConfigError, f"'{name}'"):
        register_neuron(name, MyLIF)


@pytest.mark.parametrize("name", ["mine", "a-b.c_d", "iz2", "P", "first1"])
def test_a_name_makes_the_same_layer_as_the_class_named_after_it(name):
    register_neuron(name, MyALIF)
    network = small("4C3", f"{name} kappa=0.2 threshold=0.5 reset=hard", name, "4", f"{name}", "3")
    module = network.build()
    first, second, _ = (part for part in module if isinstance(part, MyALIF))
    assert (first.beta, first.kappa, first.threshold, first.reset) == (0.7, 0.2, 0.5, "hard")
    assert (second.beta, second.kappa, second.threshold) == (0.7, 0.1, 1.0)
    names = [each for each, part in module.named_children() if isinstance(part, MyALIF)]
    stem = name.replace("-", "_").replace(".", "_") + "_" * name[-1].isdigit()
    assert names == [f"{stem}{number}" for number in (1, 2, 3)]
    assert module(counts()).shape == (2, 3)


def test_names_that_differ_little_give_different_layers():
    for name in ("iz", "iz1", "iz-1", "iz_1"):
        register_neuron(name, MyLIF)
    module = small(*["iz"] * 11, "iz1", "iz-1", "iz_1", "3").build()
    assert len([part for part in module if isinstance(part, MyLIF)]) == 14


def test_defaults_of_the_network_go_to_parameters_that_the_class_names():
    class Names(MyLIF):
        def __init__(self, beta=0.1, threshold=0.1):
            super().__init__(beta, threshold=threshold)

    register_neuron("names", Names)
    register_neuron("passes", MyLIF)
    module = small("names", "names beta=0.2", "passes", "3", beta=0.75, threshold=2.0).build()
    found = [(part.beta, part.threshold) for part in module if isinstance(part, MyLIF)]
    assert found == [(0.75, 2), (0.2, 2), (0.75, 1)]


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("leaky skale=2", ["'skale'", "'scale'"]),
        ("leaky scale=x", ["scale = 'x'"]),
        ("leaky scale=true", ["scale = True"]),
        ("leaky clipped=1", ["clipped = 1"]),
        ("leaki", ["'leaky'"]),
        ("broken", ["Broken", "ZeroDivisionError"]),
        ("custom beta=nan", ["beta"]),
        ("lif detach_reset=False", ["detach_reset = 'False'"]),
        ("lif surrogate=atan", ["'surrogate'"]),
    ],
)
def test_wrong_options_are_refused_with_their_place(word, named):
    class Broken(Leaky):
        def __init__(self, beta):
            super().__init__(1 / 0)

    for name, kind in {"leaky": Leaky, "broken": Broken, "custom": MyLIF}.items():
        register_neuron(name, kind)
    with refused(ConfigError, "layers[1]", f"'{word}'", *named):
        small("4C3", word, "3")


def test_any_layer_with_a_state_serves_but_has_no_membrane():
    register_neuron("leaky", Leaky)
    network = small("4", "leaky clipped=true unit=V seed=3", ["leaky scale=0.5"], "3")
    module, x, states = network.build(), counts(), None
    assert (module.leaky1.clipped, module.leaky1.unit, module.leaky1.seed) == (True, "V", 3)
    for step in x:
        out, states = module.step(step, states)
    torch.testing.assert_close(out, module(x))
    with refused(ConfigError, "'leaky'", "membrane"):
        small("3", "leaky", "membrane")
    register_neuron("custom", MyLIF)
    assert isinstance(small("3", "custom", "membrane").build().custom1, Membrane)


NETWORKS = [
    ConvLIF(width=21, height=18, classes=3, channels=(4, 6), kernel=3),
    MotionLIF(width=24, height=20, pool=2, channels=(3, 4), kernel=3, hidden=5, classes=3),
    ResidualLIF(width=16, height=12, pool=2, channels=(3, 4), classes=3),
    GestureNet(width=16, height=12, channels=4, blocks=2, hidden=6, votes=2, classes=3),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_networks_take_them_in_place_of_lif(network):
    register_neuron("mine", MyLIF)
    outs = []
    for word in ("lif", "mine"):
        torch.manual_seed(4)
        module = replace(network, neurons=word).build().eval()
        outs.append(module(counts(width=network.width, height=network.height)))
    torch.testing.assert_close(*outs)
    assert any(isinstance(part, MyLIF) for part in module.modules())
    for wrong, named in (
        ("mien", "'mine'"),
        ("recurrent-lif", "'recurrent-lif'"),
        ("mine beta=0.6", "'mine'"),
    ):
        with refused(ConfigError, "neurons", named):
            replace(network, neurons=wrong)


@pytest.mark.slow(seconds=4)
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_onnx_runs_them_step_by_step(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    register_neuron("mine", MyALIF)
    torch.manual_seed(0)
    module = small("4C3p1", "mine", ["4C3p1", "mine refractory=1"], "3").build().eval()
    x = counts(steps=3, batch=1).float()
    networks.write_onnx_step(module, tmp_path / "step.onnx")
    session = runtime.InferenceSession(tmp_path / "step.onnx")
    states = networks.onnx_start(module)
    assert {"mine1.v", "mine1.a", "block1.body.mine1.waiting"} <= set(states)
    for step in x.numpy():
        out, *after = session.run(None, {"x": step, **states})
        states = dict(zip(states, after, strict=True))
    torch.testing.assert_close(torch.from_numpy(out), module(x), rtol=1e-4, atol=1e-5)


def test_other_exports_refuse_them_and_name_the_layer():
    register_neuron("mine", MyLIF)
    module = small("4", "mine", "3").build()
    pytest.importorskip("nir")
    with refused(ConfigError, "mine1", "MyLIF"):
        networks.to_nir(module, leave_out=["mean"])
    pytest.importorskip("snntorch")
    with refused(ConfigError, "mine1", "MyLIF"):
        networks.to_snntorch(module, leave_out=["mean"])
