"""Representations, encoders, neurons and networks of one's own: one contract of registration."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dvskit import _tables, encoders, evaluation, models, training
from dvskit.datasets import Encode, open_samples
from dvskit.encoders import register_encoder
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, ModelError
from dvskit.models import load_model
from dvskit.networks import NETWORKS, Layered, ModuleNetwork, network_from, register_network
from dvskit.neurons import CustomNeurons, register_neuron
from dvskit.neurons.models import NEURONS
from dvskit.registry import Registry
from dvskit.tensors import Counts, register_representation, representation_from
from dvskit.tensors.names import REPRESENTATIONS
from dvskit.training import LoopConfig, load_config
from tests.laws import forgotten, refused
from tests.test_own_networks import Mine, MyNet, run

GARDEN = Path(__file__).parent / "extension_package" / "garden"


@dataclass(frozen=True)
class Kind:
    """What the contract needs of a kind of parts: the example in the package of the tests."""

    registry: Registry[Any]
    register: Callable[[str, Any], None]
    module: str  # of the package, which registers `name`
    name: str
    own: str  # a name of dvskit's
    look: Callable[[str], object]  # makes a part of a name


def layers_of(word: str) -> Layered:
    return Layered(layers=(word, "3"), width=6, height=5, classes=3)


KINDS = {
    "representation": Kind(
        REPRESENTATIONS, register_representation, "representations", "on_minus_off", "counts",
        representation_from,
    ),
    "encoder": Kind(
        ENCODERS, register_encoder, "encoders", "burst", "poisson", lambda n: Encode(n, 5, (8, 6))
    ),
    "neuron": Kind(NEURONS, register_neuron, "neurons", "quadratic", "lif", layers_of),
    "network": Kind(
        NETWORKS, register_network, "networks", "mean-of-pixels", "conv-lif",
        lambda n: network_from({"name": n, "width": 2, "height": 2, "classes": 3}),
    ),
}  # fmt: skip
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    with forgotten(*(kind.registry for kind in KINDS.values())):
        yield


@every_kind
def test_a_registered_name_is_found_taken_once_and_offered_for_those_near_it(kind: Kind) -> None:
    before = kind.registry.registered()
    runpy.run_path(str(GARDEN / f"{kind.module}.py"))
    assert kind.registry.registered() == [*before, kind.name]
    kind.look(kind.name)
    kind.register(kind.name, kind.registry[kind.name])  # as a cell of a notebook that runs again
    for taken in (kind.own, kind.name):
        with refused(ConfigError, f"'{taken}'"):
            kind.register(taken, taken_by(kind))
    with refused(ConfigError, kind.name):
        kind.look(kind.name[:-1])


def taken_by(kind: Kind) -> Any:
    """Another part of a kind."""
    return {
        "representation": lambda events: torch.zeros(1),
        "encoder": lambda images, steps, generator: images,
        "neuron": Leaky,
        "network": MyNet,
    }[kind.registry.kind]


class Leaky(nn.Module):
    def run(self, x: Any, state: Any = None) -> Any: ...


class Needs(CustomNeurons):
    def __init__(self, beta: float, gamma: float, *, threshold: float) -> None:
        super().__init__({}, {"beta": beta})

    def integrate(self, current: Any, v: Any) -> Any: ...


class NoShape:
    def __call__(self, events: Any) -> None: ...


class NoStart(NoShape):
    def shape(self, size: Any) -> tuple[int, ...]:
        return (1,)


class ManyNames(NoStart):
    def __init__(self, **parameters: Any) -> None: ...

    def __call__(self, events: Any, *, start_us: Any = None, out: Any = None) -> None: ...


@dataclass(frozen=True)
class Unbuilt:
    width: int = 1
    height: int = 1
    classes: int = 2
    name: str = "bad"


WRONG: dict[str, list[tuple[Any, str]]] = {
    "representation": [
        (lambda: None, "events"),
        (lambda *, bins=5: None, "bins=5"),
        (lambda *events: None, "*events"),
        (lambda events, *rest: None, "*rest"),
        (lambda events, **more: None, "**more"),
        (lambda events, start_us: None, "start_us"),
        (lambda events, *, out=None: None, "out"),
        (5, "5"),
        (Counts(bins=5), "start_us"),
        (NoShape, "NoShape"),
        (NoStart, "__call__"),
        (ManyNames, "**parameters"),
    ],
    "encoder": [
        (lambda image, steps, *, generator: image, "<lambda>"),
        (encoders.poisson, "poisson"),
        (Encode, "Encode"),
        (5, "5"),
    ],
    "neuron": [
        (lambda: Leaky(), "<lambda>"),
        (int, "int"),
        (nn.Linear, "Linear"),
        ("lif", "'lif'"),
        (Needs, "gamma"),
    ],
    "network": [
        (MyNet(), "MyNet"),
        ("my.module:Net", "str"),
        (Unbuilt, "build()"),
        (Mine, "'bad'"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "part", "named"),
    [(KINDS[name], *row) for name, rows in WRONG.items() for row in rows],
)
def test_what_is_no_part_is_refused_at_registration(kind: Kind, part: Any, named: str) -> None:
    with refused(ConfigError, named):
        kind.register("bad", part)
    assert "bad" not in kind.registry


LEARNS = {
    "representation": (
        'layers = ["4C3", "lif", "2"]\ninputs = 1\n',
        'representation = "on_minus_off"\nchannels = 1\n[input.parameters]\nscale = 0.5\n',
    ),
    "neuron": ('layers = ["4C3", "quadratic tau=5", "2"]\n', ""),
    "network": (
        'name = "mean-of-pixels"\n[network.arguments]\npixels = 256\nclasses = 2\n', "",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNS)
def test_a_configuration_trains_a_model_with_it_which_is_loaded_and_judges(
    bars: Path, tmp_path: Path, name: str
) -> None:
    kind, (network, given) = KINDS[name], LEARNS[name]
    runpy.run_path(str(GARDEN / f"{kind.module}.py"))
    size = "width = 16\nheight = 16\nclasses = 2\n"
    (tmp_path / "a.toml").write_text(
        f"seed = 3\noutput = '{tmp_path / 'run'}'\n[network]\n{size}{network}"
        f"[input]\nbins = 6\nbin_us = 1500\n{given}[loop]\nepochs = 1\nsteps = 2\n"
        f"[[data]]\npath = '{bars}'\ncount = 8\nvalidation = 0.2\ntest = 0.3\n"
    )
    config = load_config(tmp_path / "a.toml")
    trained = training.train(config)
    back = load_model(tmp_path / "run")
    assert (back.network, back.input) == (config.network, config.input)
    x = torch.rand(6, 2, config.input.channels, 16, 16)
    assert torch.equal(back.module.eval()(x), trained.model.module.cpu().eval()(x))
    result = evaluation.evaluate(back, bars, split="test")
    (held_out,) = trained.results.values()
    assert result.accuracy == held_out.accuracy
    if name != "network":
        recording = next(bars.glob("left/*.npz"))
        (*_, last) = (each for each in evaluation.decide(back, recording) if each.steps == 6)
        assert last.probabilities == pytest.approx(evaluation.classify(back, recording), abs=1e-5)
    with forgotten(kind.registry):
        del kind.registry._parts[kind.name]  # as in a process that registers nothing
        with refused(ModelError, f"'{kind.name}" if name != "neuron" else kind.name, "register"):
            load_model(tmp_path / "run")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a network that no one registered."""
    folder = tmp_path_factory.mktemp("saved")
    network = ModuleNetwork(module=MyNet(), width=16, height=16, classes=2, name="mine")
    model = models.Model("m", network, network.module, models.InputConfig(bins=6), ("a", "b"))
    return models.save_model(folder, model)


@pytest.mark.parametrize(
    "name",
    ["mine", "evil", "evil.Net", "evil:Net", "evil.py:Net", "./evil.py", "os.system", "", "a\nb"],
)
def test_the_name_in_a_model_s_file_imports_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (saved / "model.toml").read_text("utf-8")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes((saved / "weights.safetensors").read_bytes())
    changed = text.replace('name = "mine"', f"name = {_tables.toml_text(name)}")
    (model / "model.toml").write_text(changed)
    with refused(ModelError, "network", "register_network", "networks="):
        load_model(model)
    assert "evil" not in sys.modules


def test_networks_passed_to_load_model_win(saved: Path) -> None:
    register_network("mine", lambda: MyNet(9))
    made: list[nn.Module] = []

    def make() -> nn.Module:
        made.append(MyNet())
        return made[-1]

    assert load_model(saved, networks={"mine": make}).module is made[-1]


def test_a_table_of_a_class_names_its_size_and_takes_its_arguments() -> None:
    register_network("my-net", MyNet)
    with refused(ConfigError, "network.classes"):
        network_from({"name": "my-net", "width": 16, "height": 16})
    size = {"width": 16, "height": 16, "classes": 2}
    wrong = network_from({"name": "my-net", **size, "arguments": {"hiden": 4}})
    with refused(ConfigError, "'my-net'", "'hiden'"):
        wrong.build()
    made: Any = network_from({"name": "my-net", **size, "arguments": {"hidden": 4}}).build()
    assert made.layers[1].weight.shape[0] == 4


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hiden": 4}, ["network.hiden", "'hidden'"]),
        ({"gain": 4.0}, ["network.gain", "'mine'"]),
    ],
)
def test_the_fields_of_a_description_are_checked(wrong: dict[str, Any], named: list[str]) -> None:
    register_network("mine", Mine)
    assert network_from({"name": "mine", "hidden": 4}) == Mine(hidden=4)
    with refused(ConfigError, *named):
        network_from({"name": "mine", **wrong})


@pytest.mark.parametrize("described", [False, True])
def test_a_module_of_a_registered_class_is_saved_under_its_registered_name(
    described: bool, bars: Path, tmp_path: Path
) -> None:
    class Sub(MyNet):
        pass

    register_network("sub", Sub)
    size = {"width": 16, "height": 16, "classes": 2}
    given = ModuleNetwork(module=Sub, **size) if described else Sub()
    run(given, open_samples(bars), tmp_path / "run", loop=LoopConfig(epochs=1, steps=1))
    back = load_model(tmp_path / "run")
    assert isinstance(back.module, Sub)
    assert back.network.name == "sub"


@pytest.mark.parametrize(
    ("network", "given", "named"),
    [
        ("", 'representation = "mine"', "'mine'"),
        ('layers = ["mine", "2"]', "", "'mine'"),
        ('name = "conv-lif"\nneurons = "mine"', "", "'mine'"),
    ],
)
def test_an_unknown_part_of_a_model_names_the_way_out(
    tmp_path: Path, network: str, given: str, named: str
) -> None:
    (tmp_path / "model.toml").write_text(
        f'name = "m"\nclasses = ["a", "b"]\n[network]\nclasses = 2\n{network}\n[input]\n{given}\n'
    )
    with refused(ModelError, named, "register"):
        load_model(tmp_path)


def test_making_a_list_of_layers_draws_no_random_numbers() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    Layered(layers=("4", "recurrent-lif", "3"), width=6, height=5, classes=3)
    assert torch.equal(torch.random.get_rng_state(), before)
