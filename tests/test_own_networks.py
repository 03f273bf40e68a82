"""Networks of your own: any module is trained, judged, saved, and loaded by a class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import evaluation, models, training
from dvskit.datasets import Samples, open_samples, split_by_share
from dvskit.errors import ArgumentError, ConfigError, ModelError, OutputError
from dvskit.models import InputConfig, Model, load_model
from dvskit.networks import ConvLIF, ModuleNetwork
from dvskit.training import LoopConfig, RecordingData
from tests.bars import config_for
from tests.laws import refused

INPUT = InputConfig(bins=6, bin_us=1_500)
LOOP = LoopConfig(epochs=2, steps=4, learning_rate=0.02)
BRIEF = replace(LOOP, epochs=1, steps=1)
DATA = (RecordingData(name="bars", count=8, validation=0.2, test=0.3),)
SIZE = {"width": 16, "height": 16, "classes": 2}


class MyNet(nn.Module):
    """Dense layers over all bins; knows nothing of dvskit."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(6 * 2 * 16 * 16, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        return self.layers(counts.transpose(0, 1))


@dataclass(frozen=True)
class Mine:
    """A description of a network, as dvskit's own are."""

    hidden: int = 8
    width: int = 16
    height: int = 16
    classes: int = 2
    name: str = "mine"

    def build(self) -> nn.Module:
        return MyNet(self.hidden)


def seeded(make=MyNet, **given):
    torch.manual_seed(7)
    return make(**given)


@pytest.fixture
def samples(bars: Path) -> Samples:
    return open_samples(bars)


def run(module, samples, output, **given):
    fields = {"input": INPUT, "loop": LOOP, "data": DATA, "seed": 3, **given}
    return training.train(module, samples, output=str(output), **fields)


def logits(module: nn.Module) -> torch.Tensor:
    counts = torch.rand(6, 3, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    return module.cpu().eval()(counts)


def saved(folder: Path, samples: Samples, module: Any) -> Path:
    """Save the model of a module that was not trained."""
    models.save_model(folder, models.model_of(module, samples, INPUT))
    return folder


def test_a_module_is_trained_saved_and_loaded_by_its_class(samples: Samples, tmp_path: Path):
    module = seeded()
    before = logits(module)
    trained = run(module, samples, tmp_path / "run")
    assert trained.model.module is module
    assert not torch.equal(logits(module), before)
    assert trained.results["bars"].samples == 6
    assert trained.model.classes == ("left", "right")
    back = load_model(tmp_path / "run", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(module))
    assert (back.input, back.network) == (INPUT, trained.model.network)
    again = evaluation.evaluate(back, samples, split="test")
    assert again.accuracy == trained.results["bars"].accuracy


def test_a_model_of_a_built_network_keeps_its_weights_and_loads(samples: Samples, tmp_path: Path):
    built = ConvLIF(**SIZE, channels=(2, 2), kernel=3).build()
    models.save_model(tmp_path / "m", models.model_of(built, samples))
    loaded = models.load_model(tmp_path / "m").module.cpu()
    for name, weight in built.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)


class Extra(MyNet):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    ("networks", "named"),
    [
        ({}, ["'MyNet'", "networks="]),
        ({"MyNet": int}, ["MyNet", "int"]),
        ({"MyNet": lambda: MyNet(9)}, ["layers.1.weight", "(8, 3072)", "(9, 3072)"]),
        ({"MyNet": Extra}, ["_extra_state"]),
    ],
)
def test_a_class_that_does_not_fit_the_weights_is_refused(
    samples: Samples, tmp_path: Path, networks: Any, named: list[str]
):
    with refused(ModelError, *named):
        load_model(saved(tmp_path / "m", samples, seeded()), networks=networks)


def test_arguments_beyond_all_memory_are_refused(samples: Samples, tmp_path: Path):
    file = saved(tmp_path / "m", samples, seeded()) / "model.toml"
    text = file.read_text()
    change = text.replace("[network.arguments]", "[network.arguments]\nhidden = 2000000000")
    assert change != text
    file.write_text(change)
    with pytest.raises(ModelError, match="allocate"):
        load_model(tmp_path / "m", networks={"MyNet": MyNet})


def test_values_of_a_constructor_are_saved_and_given_back(samples: Samples, tmp_path: Path):
    network = ModuleNetwork(module=seeded(hidden=5), **SIZE, arguments={"hidden": 5})
    trained = run(network, samples, tmp_path / "run", loop=BRIEF)
    back = load_model(tmp_path / "run", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(trained.model.module))
    with refused(ModelError, "'MyNet'", "{'hidden': 5}"):
        load_model(tmp_path / "run", networks={"MyNet": lambda: MyNet(5)})
    with refused(ModelError, "(6, 3072)"):
        load_model(tmp_path / "run", networks={"MyNet": lambda hidden: MyNet(hidden=6)})


def test_a_description_of_your_own_is_loaded_by_its_class(bars: Path, tmp_path: Path):
    config = replace(
        config_for(bars, tmp_path / "run", epochs=1), network=Mine(hidden=4), loop=BRIEF
    )
    trained = training.train(config)
    back = load_model(tmp_path / "run", networks={"mine": Mine})
    assert back.network == Mine(hidden=4)
    assert torch.equal(logits(back.module), logits(trained.model.module))
    models.save_model(tmp_path / "copy", back)
    assert load_model(tmp_path / "copy", networks={"mine": Mine}).network == back.network
    with refused(ModelError, "'mine'"):
        load_model(tmp_path / "run")
    later = replace(config, output=str(tmp_path / "later"), start=str(tmp_path / "run"))
    assert training.train(later).model.about["start"] == "bars"


def test_parts_split_beforehand_are_taken_as_they_are(samples: Samples, tmp_path: Path):
    parts = split_by_share(samples, validation=0.2, test=0.4, seed=1)
    trained = run(seeded(), parts, tmp_path / "run", data=(), loop=BRIEF)
    assert trained.results["samples"].samples == len(parts.test) == 8


def test_a_module_of_a_loop_of_your_own_is_judged_as_by_it_and_saved(samples: Samples, tmp_path):
    module = seeded()
    result = evaluation.evaluate(module, samples, input=INPUT)
    counts = [models.inputs.input_of(INPUT, samples.events(k), None) for k in range(len(samples))]
    answers = module.eval()(torch.stack(counts, 1)).argmax(1)
    assert result.samples == len(samples)
    assert result.accuracy == float(np.mean(answers.numpy() == samples.labels))
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            again = evaluation.evaluate(module, samples, input=INPUT)
        assert np.array_equal(again.confusion, result.confusion)
    back = load_model(saved(tmp_path / "m", samples, module), networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(module))
    assert np.array_equal(evaluation.evaluate(back, samples).confusion, result.confusion)


class Odd(MyNet):
    def forward(self, counts):
        return super().forward(counts)[:, :1]


@dataclass(frozen=True)
class WithFunction(Mine):
    activation: object = field(default=torch.relu)


class Plain:
    name, width, height, classes = "plain", 16, 16, 2

    def build(self) -> nn.Module:
        return MyNet()


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Extra(), ["_extra_state"]),
        (Odd(), ["(2, 1)", "(2, 2)"]),
        (nn.Linear(3, 2), ["(6, 2, 2, 16, 16)"]),
        (nn.Sequential(nn.Flatten(2), nn.AvgPool1d(256)), ["weights"]),
        (WithFunction(), ["loaded again"]),
        (Mine(name="conv-lif"), ["'conv-lif'"]),
        (Mine(name=""), ["no name"]),
        (Plain(), ["Plain", "dataclass"]),
        (MyNet, ["MyNet(...)"]),
    ],
)
def test_what_could_not_be_loaded_again_is_refused_before_training(
    samples: Samples, tmp_path: Path, network: object, named: list[str]
):
    told: list[object] = []
    with refused(ConfigError, *named):
        run(network, samples, tmp_path / "run", progress=told.append)
    assert not told
    assert not (tmp_path / "run").exists()


def test_a_model_whose_module_is_not_its_networks_is_not_saved(tmp_path: Path):
    network = ConvLIF(**SIZE, channels=(4, 4), kernel=3)
    with refused(ConfigError, "'conv-lif'"):
        models.save_model(tmp_path / "m", Model("m", network, MyNet(), INPUT, ("a", "b")))


class Needy(MyNet):
    """A network with a constructor that needs a value."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)


def test_a_class_that_needs_arguments_names_both_ways_to_load_it(samples: Samples, tmp_path: Path):
    both = 'arguments={"hidden": ...}', '{"Needy": lambda: Needy('
    with pytest.warns(UserWarning, match="Needy needs hidden") as caught:
        trained = run(Needy(4), samples, tmp_path / "run", loop=BRIEF)
    assert all(way in str(caught[0].message) for way in both)
    with refused(ModelError, "hidden", *both):
        load_model(tmp_path / "run", networks={"Needy": Needy})
    back = load_model(tmp_path / "run", networks={"Needy": lambda: Needy(4)})
    assert torch.equal(logits(back.module), logits(trained.model.module))


@pytest.mark.parametrize(
    ("kind", "call", "named"),
    [
        (ConfigError, lambda samples: training.train(MyNet()), ["MyNet", "samples"]),
        (ConfigError, lambda samples: models.model_of(MyNet(), "folder"), ["'folder'"]),
        (TypeError, lambda samples: training.train(Mine(), ouput="x"), ["'ouput'"]),
        (ConfigError, lambda samples: training.Config(network=MyNet()), ["ModuleNetwork"]),
        (ArgumentError, lambda samples: training.train(MyNet(), "data"), ["open_samples('data')"]),
        (TypeError, lambda samples: training.train(MyNet(), samples, INPUT), ["positional"]),
        (ArgumentError, lambda samples: evaluation.evaluate(MyNet(), "data"), ["open_samples"]),
    ],
)
def test_other_things_than_samples_and_inputs_name_the_fix(kind, call, named, samples):
    with refused(kind, *named):
        call(samples)


def test_each_class_has_an_output_of_its_own(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    brief: Any = {"input": INPUT, "data": DATA, "loop": BRIEF}
    assert training.train(MyNet(), samples, **brief).folder == Path("runs/MyNet")
    with refused(OutputError, "output"):
        training.train(MyNet(), samples, **brief, seed=4)
