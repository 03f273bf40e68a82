"""Neurons by name: one's own are layers of lists and networks as those of dvskit are."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import dvskit
from dvskit import evaluation, networks, training
from dvskit.errors import ConfigError, ModelError
from dvskit.layers import Membrane, Sequence
from dvskit.networks import ConvLIF, GestureNet, Layered, MotionLIF, ResidualLIF, layered
from dvskit.neurons import LIF, CustomNeurons, register_neuron
from dvskit.neurons.names import NEURONS, options_of
from tests.bars import config_for
from tests.examples import example_of
from tests.test_neurons_custom import MyALIF, MyLIF
from tests.test_registry import install

PACKAGE = Path(__file__).parent / "extension_package" / "garden"


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(NEURONS, "_parts", dict(NEURONS._parts))


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


def test_the_example_of_the_docstring_runs():
    exec(example_of(register_neuron), {"dvskit": dvskit})
    assert NEURONS.registered() == ["quadratic"]
    assert small("4C3", "quadratic tau=20", "3").build().quadratic1.tau == 20


@pytest.mark.parametrize(
    "kind", [MyLIF(), lambda: MyLIF(), int, nn.Linear, "lif", type("Bare", (nn.Module,), {})]
)
def test_what_is_no_class_of_layers_with_a_state_is_refused(kind):
    with pytest.raises(ConfigError, match=r"^neuron 'mine': .* take a subclass of .*Custom\S*,.*$"):
        register_neuron("mine", kind)


class Needs(MyLIF):
    def __init__(self, beta, gamma, *, threshold):
        super().__init__(beta)


def test_parameters_without_a_default_are_refused_but_for_those_of_the_network():
    with pytest.raises(ConfigError, match="neuron 'mine': gamma of Needs has no default; give"):
        register_neuron("mine", Needs)
    register_neuron("mine", Leaky)


WORDS = (
    "P2", "M3s2", "S2", "F256", "T5", "T5s2", "D0.2", "D.5", "V10", *layered._EXAMPLES,
    *layered._WORDS, "lif", "signed-lif",
)  # fmt: skip


@pytest.mark.parametrize("name", dict.fromkeys(WORDS))
def test_the_words_of_other_layers_are_no_names(name):
    with pytest.raises(ConfigError, match=r"word of another layer|registered already|is letters"):
        register_neuron(name, MyLIF)


def test_words_of_layers_are_all_known_above():
    for pattern, _ in layered._WRITTEN:
        assert any(layered.re.fullmatch(pattern, word) for word in WORDS), pattern


@pytest.mark.parametrize("name", ["mine", "Mine2", "a-b.c_d", "iz2", "P", "first1"])
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


def test_options_are_the_parameters_that_a_list_can_set():
    of_all = {"threshold", "threshold_off", "reset", "detach_reset", "rest", "refractory"}
    assert set(options_of(MyALIF)) == {"beta", "kappa", "rho", *of_all}
    assert set(options_of(LIF)) == {"beta", "gain", "backend", *of_all}
    assert set(options_of(Leaky)) == {"beta", "scale", "clipped", "unit", "seed"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("leaky skale=2", "there is no parameter 'skale'; did you mean 'scale'"),
        ("leaky scale=x", "scale = 'x' is not a number"),
        ("leaky scale=true", "scale = True is not a number"),
        ("leaky clipped=1", "clipped = 1 is not true or false"),
        ("leaky unit=2", "unit = 2 is not a text"),
        ("leaki", "is not a layer; did you mean 'leaky'"),
        ("broken", r"after .*: Broken\(beta=0.7\) raises ZeroDivisionError: division by zero"),
        ("custom beta=nan", "beta is not finite"),
        ("custom threshold=-1", "threshold = -1.0 is not a finite number above 0"),
        ("lif detach_reset=False", "detach_reset = 'False' is not true or false"),
        ("lif surrogate=atan", "there is no parameter 'surrogate'"),
    ],
)
def test_wrong_options_are_refused_with_the_place_and_a_fix(word, message):
    class Broken(Leaky):
        def __init__(self, beta):
            super().__init__(1 / 0)

    for name, kind in {"leaky": Leaky, "broken": Broken, "custom": MyLIF}.items():
        register_neuron(name, kind)
    with pytest.raises(ConfigError, match=rf"layers\[1\] = '{word}'.*{message}") as caught:
        small("4C3", word, "3")
    assert "\n" not in str(caught.value)


def test_any_layer_with_a_state_serves_but_has_no_membrane():
    register_neuron("leaky", Leaky)
    network = small("4", "leaky clipped=true unit=V seed=3", ["leaky scale=0.5"], "3")
    module, x, states = network.build(), counts(), None
    assert (module.leaky1.clipped, module.leaky1.unit, module.leaky1.seed) == (True, "V", 3)
    for step in x:
        out, states = module.step(step, states)
    torch.testing.assert_close(out, module(x))
    with pytest.raises(ConfigError, match=r"'leaky' .*no membrane; make it a subclass of neurons"):
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
    with pytest.raises(ConfigError, match="neurons = 'mien'; did you mean 'mine'"):
        replace(network, neurons="mien")
    with pytest.raises(ConfigError, match="'recurrent-lif', which takes no images; take 'lif'"):
        replace(network, neurons="recurrent-lif")
    with pytest.raises(ConfigError, match=r"parameters go into .* layers = .*here write 'mine'"):
        replace(network, neurons="mine beta=0.6")
    with pytest.raises(ConfigError, match="choices") as caught:
        replace(network, neurons="unlike")
    assert "recurrent-lif" not in str(caught.value)


def test_an_installed_package_is_imported_for_an_unknown_word_and_for_choices(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(dvskit.registry, "_packages", None)
    install(tmp_path, monkeypatch, "nerve", (PACKAGE / "neurons.py").read_text())
    small("lif", "3")
    assert NEURONS.registered() == []
    with pytest.raises(ConfigError, match=r"neurons = 'quadratc'; did you mean 'quadratic'"):
        ConvLIF(neurons="quadratc")
    monkeypatch.undo()
    monkeypatch.setattr(NEURONS, "_parts", dict(NEURONS._parts))
    monkeypatch.setattr(dvskit.registry, "_packages", None)
    install(tmp_path, monkeypatch, "ruin", "import not_there")
    with pytest.raises(ConfigError, match=r"'x' is not a layer; .*ruin 0\.3 cannot be imported"):
        small("x", "3")


def test_making_a_list_draws_no_random_numbers():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    small("4", "recurrent-lif", "3")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("table", ['name = "conv-lif"\nkernel = 3\nneurons = "quadratic"',
                                   'layers = ["4C3", "quadratic tau=5", "2"]'])  # fmt: skip
def test_configurations_train_save_judge_and_watch_live(bars, tmp_path, table, monkeypatch):
    runpy.run_path(str(PACKAGE / "neurons.py"))
    config = replace(config_for(bars, tmp_path / "run", epochs=1), network=ConvLIF())
    config = replace(config, loop=replace(config.loop, steps=2))
    training.write_config(config, tmp_path / "a.toml")
    text = (tmp_path / "a.toml").read_text()
    start = text.index("[network]")
    end = text.find("\n[", start + 1)
    size = "\nwidth = 16\nheight = 16\nclasses = 2\n"
    (tmp_path / "a.toml").write_text(f"{text[:start]}[network]\n{table}{size}{text[end:]}")
    trained = training.train(training.load_config(tmp_path / "a.toml"))
    back = training.load_model(trained.folder)
    assert back.network == trained.model.network
    x = counts(width=16, height=16)
    assert torch.equal(back.module(x), trained.model.module.eval()(x))
    assert 0 <= evaluation.evaluate(back, bars, split="all").accuracy <= 1
    recording = next(bars.glob("left/*.npz"))
    whole = evaluation.classify(back, recording)
    live = list(evaluation.decide(back, dvskit.load_events(recording)))
    at = next(each for each in live if each.steps == back.input.bins)
    assert at.probabilities == pytest.approx(whole, abs=1e-5)
    assert all(isinstance(part, CustomNeurons) for part in evaluation.spiking_layers(back).values())
    monkeypatch.delitem(NEURONS._parts, "quadratic")
    with pytest.raises(ModelError, match="quadratic"):
        training.load_model(trained.folder)


def exported() -> Sequence:
    register_neuron("mine", MyALIF)
    torch.manual_seed(0)
    return small("4C3p1", "mine", ["4C3p1", "mine refractory=1"], "3").build().eval()


@pytest.mark.slow(seconds=15)
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_onnx_runs_them_step_by_step(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module, x = exported(), counts(steps=3, batch=1).float()
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
    with pytest.raises(ConfigError, match="to_nir: layer mine1 is MyLIF, which NIR lacks; take LI"):
        networks.to_nir(module, leave_out=["mean"])
    pytest.importorskip("snntorch")
    with pytest.raises(ConfigError, match="no neurons like layer mine1: MyLIF is not of its kinds"):
        networks.to_snntorch(module, leave_out=["mean"])
