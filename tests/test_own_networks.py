"""Networks of your own: any module is trained, judged, saved, and loaded by a class."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import evaluation, training
from dvskit.datasets import Samples, open_samples, split_by_share
from dvskit.errors import ArgumentError, ConfigError, ModelError, OutputError
from dvskit.networks import ConvLIF, ModuleNetwork
from dvskit.training import DataConfig, InputConfig, LoopConfig, Model, load_model, own_checks
from tests.bars import config_for
from tests.tree import text_of

INPUT = InputConfig(bins=6, bin_us=1_500)
LOOP = LoopConfig(epochs=2, steps=4, learning_rate=0.02)
DATA = (DataConfig(name="bars", count=8, validation=0.2, test=0.3),)


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


def test_a_module_is_trained_saved_and_loaded_by_its_class(samples: Samples, tmp_path: Path):
    module = seeded()
    before = logits(module)
    trained = run(module, samples, tmp_path / "run")
    assert trained.model.module is module
    assert not torch.equal(logits(module), before)
    assert trained.results["bars"].samples == 6
    assert trained.model.classes == ("left", "right")
    said = f"<Model MyNet: MyNet, 16x16; classes: left, right> in {tmp_path / 'run'}; test: bars "
    assert repr(trained).startswith(f"<Trained {said}")
    back = load_model(tmp_path / "run", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(module))
    assert (back.input, back.network) == (INPUT, trained.model.network)
    again = evaluation.evaluate(back, samples, split="test")
    assert again.accuracy == trained.results["bars"].accuracy


def test_a_model_of_a_built_network_keeps_its_weights_and_loads(samples: Samples, tmp_path: Path):
    built = ConvLIF(width=16, height=16, classes=2, channels=(2, 2), kernel=3).build()
    training.save_model(tmp_path / "m", training.model_of(built, samples))
    loaded = training.load_model(tmp_path / "m").module.cpu()
    for name, weight in built.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)


def test_a_model_of_a_module_is_refused_without_its_class(samples: Samples, tmp_path: Path):
    run(seeded(), samples, tmp_path / "run", loop=replace(LOOP, epochs=1, steps=1))
    with pytest.raises(
        ModelError, match=r"unknown network 'MyNet'; .*networks=\{'MyNet': \.\.\.\}"
    ):
        load_model(tmp_path / "run")
    with pytest.raises(ModelError, match=r"MyNet.*made int; it must make a torch.nn.Module"):
        load_model(tmp_path / "run", networks={"MyNet": int})
    with pytest.raises(ModelError, match=r"layers.1.weight is \(8, 3072\), but the net"):
        load_model(tmp_path / "run", networks={"MyNet": lambda: MyNet(9)})


def test_a_class_that_cannot_hold_the_weights_is_refused(samples: Samples, tmp_path: Path):
    training.save_model(tmp_path / "m", training.model_of(seeded(), samples, INPUT))
    with pytest.raises(ModelError, match="_extra_state is no tensor"):
        load_model(tmp_path / "m", networks={"MyNet": Extra})
    text = (tmp_path / "m" / "model.toml").read_text()
    assert "[network.arguments]" in text
    change = text.replace("[network.arguments]", "[network.arguments]\nhidden = 2000000000")
    (tmp_path / "m" / "model.toml").write_text(change)
    with pytest.raises(ModelError, match=r"network 'MyNet' does not take .*allocate"):
        load_model(tmp_path / "m", networks={"MyNet": MyNet})


def test_values_of_a_constructor_are_saved_and_given_back(samples: Samples, tmp_path: Path):
    network = ModuleNetwork(
        module=seeded(hidden=5), width=16, height=16, classes=2, arguments={"hidden": 5}
    )
    trained = run(network, samples, tmp_path / "run")
    back = load_model(tmp_path / "run", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(trained.model.module))
    with pytest.raises(ModelError, match=r"network 'MyNet' does not take \{'hidden': 5\}"):
        load_model(tmp_path / "run", networks={"MyNet": lambda: MyNet(5)})


def test_a_description_of_your_own_is_loaded_by_its_class(bars: Path, tmp_path: Path):
    config = replace(config_for(bars, tmp_path / "run", epochs=1), network=Mine(hidden=4))
    trained = training.train(config)
    back = load_model(tmp_path / "run", networks={"mine": Mine})
    assert back.network == Mine(hidden=4)
    assert torch.equal(logits(back.module), logits(trained.model.module))
    training.save_model(tmp_path / "copy", back)
    assert load_model(tmp_path / "copy", networks={"mine": Mine}).network == back.network
    with pytest.raises(ModelError, match="unknown network 'mine'"):
        load_model(tmp_path / "run")
    later = replace(config, output=str(tmp_path / "later"), start=str(tmp_path / "run"))
    assert training.train(later).model.about["start"] == "bars"


class StoppedError(Exception):
    pass


def test_an_interrupted_run_of_a_module_gives_the_same_weights(samples: Samples, tmp_path: Path):
    whole = run(seeded(), samples, tmp_path / "whole", loop=replace(LOOP, epochs=3))

    def stop(at: training.Progress) -> None:
        if at.scores and at.epoch == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(seeded(), samples, tmp_path / "cut", loop=replace(LOOP, epochs=3), progress=stop)
    rest = run(MyNet(), samples, tmp_path / "cut", loop=replace(LOOP, epochs=3))
    assert torch.equal(logits(rest.model.module), logits(whole.model.module))


def test_parts_split_beforehand_are_taken_as_they_are(samples: Samples, tmp_path: Path):
    parts = split_by_share(samples, validation=0.2, test=0.4, seed=1)
    trained = run(seeded(), parts, tmp_path / "run", data=())
    assert trained.results["samples"].samples == len(parts.test) == 8


def test_a_module_is_judged_as_a_loop_of_your_own_would(samples: Samples):
    module = seeded()
    result = evaluation.evaluate(module, samples, input=INPUT)
    counts = [training.inputs.input_of(INPUT, samples.events(k), None) for k in range(len(samples))]
    answers = module.eval()(torch.stack(counts, 1)).argmax(1)
    assert result.samples == len(samples)
    assert result.accuracy == float(np.mean(answers.numpy() == samples.labels))
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            again = evaluation.evaluate(module, samples, input=INPUT)
        assert np.array_equal(again.confusion, result.confusion)


def test_a_module_trained_by_a_loop_of_your_own_is_saved_and_loaded(samples: Samples, tmp_path):
    module = seeded()
    training.save_model(tmp_path / "mine", training.model_of(module, samples, INPUT))
    back = load_model(tmp_path / "mine", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(module))
    before = evaluation.evaluate(module, samples, input=INPUT)
    assert np.array_equal(before.confusion, evaluation.evaluate(back, samples).confusion)


class Extra(MyNet):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


class Odd(MyNet):
    def forward(self, counts):
        return super().forward(counts)[:, :1]


@dataclass(frozen=True)
class WithFunction(Mine):
    activation: object = field(default=torch.relu)


@dataclass(frozen=True)
class WithList(Mine):
    sizes: tuple[int, ...] = (1, 2)


class Plain:
    name, width, height, classes = "plain", 16, 16, 2

    def build(self) -> nn.Module:
        return MyNet()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Extra(), "_extra_state of its state dict is dict; only tensors"),
        (Odd(), r"answers .* with \(2, 1\); return logits \(B, classes\), here \(2, 2\)"),
        (nn.Linear(3, 2), r"does not take an input of \(6, 2, 2, 16, 16\)"),
        (nn.Sequential(nn.Flatten(2), nn.AvgPool1d(256)), "has no weights to learn"),
        (WithFunction(), "could not be loaded again"),
        (WithList(), "would differ after loading"),
        (Mine(name="conv-lif"), "has the name 'conv-lif' of a dvskit network"),
        (Mine(name=""), "has no name to load it by"),
        (Plain(), "Plain is not a dataclass"),
        (MyNet, r"MyNet is a class; pass an instance, MyNet\(\.\.\.\)"),
    ],
)
def test_what_could_not_be_loaded_again_is_refused_before_training(
    samples: Samples, tmp_path: Path, network: object, words: str
):
    told = []
    with pytest.raises(ConfigError, match=words):
        run(network, samples, tmp_path / "run", progress=told.append)
    assert not told
    assert not (tmp_path / "run").exists()


def test_a_model_whose_module_is_not_its_networks_is_not_saved(tmp_path: Path):
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    model = Model("m", network, MyNet(), INPUT, ("a", "b"))
    with pytest.raises(ConfigError, match="network 'conv-lif' does not make this module"):
        training.save_model(tmp_path / "m", model)
    own = ModuleNetwork(module=model.module, width=16, height=16, classes=2)
    training.save_model(tmp_path / "m", replace(model, network=own))
    back = load_model(tmp_path / "m", networks={"MyNet": MyNet})
    assert torch.equal(logits(back.module), logits(model.module))


def test_a_module_without_samples_says_what_to_pass():
    with pytest.raises(ConfigError, match=r"MyNet has no samples .* train\(module, samples\)"):
        training.train(MyNet())
    with pytest.raises(ConfigError, match="model_of: samples is 'folder'; ImageSamples or Samples"):
        training.model_of(MyNet(), "folder")
    with pytest.raises(ConfigError, match="there is no 'ouput'; did you mean 'output'"):
        training.train(Mine(), ouput="x")
    with pytest.raises(ConfigError, match=r"describe a module with dvskit.networks.ModuleNetwork"):
        training.Config(network=MyNet())


def test_the_loop_of_the_guide_takes_at_most_ten_lines():
    text = text_of("samples/guide/training-a-classifier.md")
    (block,) = (each.split("```")[0] for each in text.split("```python\n") if "Batches(" in each)
    _, loop = block.strip().split("\n\n")
    assert len(loop.splitlines()) <= 10


class Needy(MyNet):
    """A network with a constructor that needs a value."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)


def test_a_class_that_needs_arguments_names_both_ways_to_load_it(samples: Samples, tmp_path: Path):
    both = r'Needy needs hidden; .*arguments=\{"hidden": \.\.\.\}.*\{"Needy": lambda: Needy\('
    brief = replace(LOOP, epochs=1, steps=1)
    with pytest.warns(UserWarning, match=both):
        trained = run(Needy(4), samples, tmp_path / "run", loop=brief)
    with pytest.raises(ModelError, match=both):
        load_model(tmp_path / "run", networks={"Needy": Needy})
    back = load_model(tmp_path / "run", networks={"Needy": lambda: Needy(4)})
    assert torch.equal(logits(back.module), logits(trained.model.module))
    size = {"width": 16, "height": 16, "classes": 2}
    described = ModuleNetwork(module=Needy, **size, arguments={"hidden": 4})
    run(described, samples, tmp_path / "described", loop=brief)
    assert load_model(tmp_path / "described", networks={"Needy": Needy}).network == described


def test_weights_of_other_arguments_than_the_defaults_name_both_ways_to_load_them(
    samples: Samples, tmp_path: Path
):
    training.save_model(tmp_path / "m", training.model_of(MyNet(hidden=5), samples, INPUT))
    both = (
        r"weight is \(5, 3072\), but .*model.toml stores no hidden of MyNet, so the default is .*"
        r'\{"MyNet": lambda: MyNet\(hidden=\.\.\.\)\}.*arguments=\{"hidden": \.\.\.\}'
    )
    with pytest.raises(ModelError, match=both):
        load_model(tmp_path / "m", networks={"MyNet": MyNet})
    load_model(tmp_path / "m", networks={"MyNet": lambda: MyNet(hidden=5)})
    size = {"width": 16, "height": 16, "classes": 2}
    described = ModuleNetwork(module=MyNet(hidden=5), **size, arguments={"hidden": 5})
    training.save_model(tmp_path / "d", training.model_of(described, samples, INPUT))
    load_model(tmp_path / "d", networks={"MyNet": MyNet})
    with pytest.raises(ModelError, match=r"has \(6, 3072\)[^;]*(; \d more tensors.*)?$"):
        load_model(tmp_path / "d", networks={"MyNet": lambda hidden: MyNet(hidden=6)})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda samples: training.train(MyNet(), "data"), r"^train: .*pass open_samples\('data'\)"),
        (
            lambda samples: training.train(MyNet(), samples.dataset()),
            r"^train: .* not of type \w+; pass the samples themselves, as of open_samples",
        ),
        (lambda samples: training.train(MyNet(), samples, input={"bins": 1}), r"InputConfig\(\.\."),
        (
            lambda samples: training.train(MyNet(), samples, INPUT),
            r"InputConfig needs a name: input=InputConfig\(\.\.\.\)",
        ),
        (lambda samples: evaluation.evaluate(MyNet(), "data"), r"^evaluate: .*open_samples\('dat"),
    ],
)
def test_other_things_than_samples_and_inputs_name_the_call_and_the_fix(call, words, samples):
    with pytest.raises(ArgumentError, match=words):
        call(samples)


def test_each_class_has_an_output_of_its_own(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    brief = {"input": INPUT, "data": DATA, "loop": replace(LOOP, epochs=1, steps=1)}
    assert training.train(MyNet(), samples, **brief).folder == Path("runs/MyNet")
    with pytest.raises(OutputError, match=r"name another output \(output=, -o of"):
        training.train(MyNet(), samples, **brief, seed=4)


def test_the_example_of_a_module_with_run_continues_its_forward():
    example = inspect.getdoc(ModuleNetwork).partition("over time:\n")[2]
    names = {"torch": torch}
    exec(textwrap.dedent(example.partition("\n`run`")[0]), names)
    described = ModuleNetwork(
        module=names["Recurrent"], width=16, height=16, classes=2,
        arguments={"pixels": 256, "hidden": 4, "classes": 2},
    )  # fmt: skip
    module = described.build()
    own_checks.check_answer(described, module, INPUT)
    x = torch.rand(6, 3, 2, 16, 16)
    first, state = module.run(x[:2])
    rest, _ = module.run(x[2:], state)
    torch.testing.assert_close(torch.cat((first, rest)), module(x))
