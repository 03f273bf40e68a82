"""Networks with a name of one's own: in configurations, on the command line and in models."""

from __future__ import annotations

import inspect
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from dvskit import networks, registry, training
from dvskit.cli import app
from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, ModelError
from dvskit.networks import NETWORKS, ModuleNetwork, network_from, register_network
from dvskit.training import LoopConfig, load_config, load_model
from tests.test_own_networks import DATA, INPUT, Mine, MyNet, logits
from tests.test_registry import install

MODULE = '[network]\nname = "my-net"\nwidth = 16\nheight = 16\nclasses = 2\n'
PACKAGE = (Path(__file__).parent / "extension_package" / "garden" / "networks.py").read_text(
    "utf-8"
)


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Undo what a test registers."""
    monkeypatch.setattr(NETWORKS, "_parts", dict(NETWORKS))
    monkeypatch.setattr(registry, "_packages", None)


def write_config(folder: Path, bars: Path, network: str) -> Path:
    path = folder / "config.toml"
    path.write_text(
        f"seed = 3\noutput = '{folder / 'run'}'\n"
        "[input]\nbins = 6\nbin_us = 1500\n[loop]\nepochs = 1\nsteps = 2\n"
        f"[[data]]\npath = '{bars}'\ncount = 8\nvalidation = 0.2\ntest = 0.3\n{network}"
    )
    return path


@pytest.mark.slow
def test_a_registered_class_is_trained_by_a_file_and_drawn_by_its_seed(bars: Path, tmp_path: Path):
    register_network("my-net", MyNet)
    path = write_config(tmp_path, bars, f"{MODULE}[network.arguments]\nhidden = 5\n")
    config = load_config(path)
    first = training.train(config).model
    assert first.module.layers[1].weight.shape[0] == 5
    back = load_model(tmp_path / "run")
    assert back.network == config.network
    assert torch.equal(logits(back.module), logits(first.module))
    torch.manual_seed(99)
    again = training.train(config, output=str(tmp_path / "again")).model
    assert again.module is not first.module
    assert torch.equal(logits(again.module), logits(first.module))
    other = load_config(path, {"network.arguments.hidden": "4"})
    assert other.network.build().layers[1].weight.shape[0] == 4


def test_a_registered_description_is_trained_by_a_file(bars: Path, tmp_path: Path):
    register_network("mine", Mine)
    path = write_config(tmp_path, bars, '[network]\nname = "mine"\nhidden = 4\n')
    trained = training.train(path)
    back = load_model(tmp_path / "run")
    assert back.network == trained.model.network == Mine(hidden=4)
    assert torch.equal(logits(back.module), logits(trained.model.module))
    for wrong, words in (
        ("hiden = 4", "unknown network.hiden; did you mean 'hidden'"),
        ("hidden = 4.0", "network.hidden = 4.0 is float; it must be int"),
        ("gain = 4.0", "unknown network.gain, as network.name is 'mine'; conv-lif or"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(write_config(tmp_path, bars, f'[network]\nname = "mine"\n{wrong}\n'))


def test_networks_passed_to_load_model_win(bars: Path, tmp_path: Path):
    register_network("my-net", MyNet)
    training.train(write_config(tmp_path, bars, MODULE))
    made = []

    def make() -> nn.Module:
        made.append(MyNet())
        return made[-1]

    assert load_model(tmp_path / "run", networks={"my-net": make}).module is made[-1]


def test_a_table_of_a_class_names_its_size(bars: Path):
    register_network("my-net", MyNet)
    with pytest.raises(ConfigError, match=r"network 'my-net' needs network\.classes"):
        network_from({"name": "my-net", "width": 16, "height": 16})
    size = {"width": 16, "height": 16, "classes": 2}
    wrong = network_from({"name": "my-net", **size, "arguments": {"hiden": 4}})
    with pytest.raises(ConfigError, match=r"network 'my-net' does not take \{'hiden': 4\}"):
        wrong.build()


@dataclass(frozen=True)
class Unbuilt:
    width: int = 1
    height: int = 1
    classes: int = 2
    name: str = "it"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MyNet(), "'it' is MyNet; give a class, or a function"),
        ("my.module:Net", "'it' is str; give a class, or a function"),
        (dict, "dict lacks the fields name, width, height, classes; give a subclass"),
        (Unbuilt, r"Unbuilt lacks a method build\(\); give a subclass"),
        (Mine, r"Mine is registered as 'it', .*; write name: str = 'it'"),
    ],
)
def test_what_makes_no_network_is_refused_at_once(kind, words):
    with pytest.raises(ConfigError, match=words) as caught:
        register_network("it", kind)
    assert "\n" not in str(caught.value)
    assert "it" not in NETWORKS


def test_the_example_of_register_network_runs():
    text = textwrap.dedent(inspect.getdoc(register_network).split("configuration for it:\n")[1])
    text = text.split("\nwidth, height, classes")[0]
    exec(textwrap.dedent(text), {})
    comments = [line.strip()[2:] for line in text.splitlines() if line.strip().startswith("# ")]
    network = network_from(tomllib.loads("\n".join(comments))["network"])
    assert network.build()(torch.zeros(3, 2, 2, 34, 34)).shape == (2, 10)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of a network that no one registered."""
    folder = tmp_path_factory.mktemp("saved")
    network = ModuleNetwork(module=MyNet(), width=16, height=16, classes=2, name="mine")
    model = training.Model("m", network, network.module, training.InputConfig(bins=6), ("a", "b"))
    return training.save_model(folder, model)


def test_an_unknown_network_names_all_ways_out_in_one_line(saved):
    with pytest.raises(ModelError) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    for words in (
        "unknown network 'mine'; choices: conv-lif", "load_model(folder, networks={'mine': ...})",
        "dvskit.networks.register_network", "register it first, or install the package that does",
    ):  # fmt: skip
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('representation = "mine"', "unknown representation 'mine'"),
        ('layers = ["mine", "2"]', "is not a layer"),
        ('neurons = "mine"', "neurons = 'mine'"),
    ],
)
def test_an_unknown_part_of_a_model_names_the_way_out(line: str, words: str, tmp_path: Path):
    network = 'name = "conv-lif"\n' if "neurons" in line else ""
    tables = ("", line) if "representation" in line else (line, "")
    (tmp_path / "model.toml").write_text(
        f'name = "m"\nclasses = ["a", "b"]\n[network]\n{network}classes = 2\n{tables[0]}\n'
        f"[input]\n{tables[1]}\n"
    )
    with pytest.raises(ModelError, match=f"{words}.*register it first, or install the package"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "name", ["evil", "evil.Net", "evil:Net", "evil.py:Net", "./evil.py", "os.system", "", "a\nb"]
)
def test_the_name_in_a_model_s_file_imports_nothing(saved, tmp_path, monkeypatch, name):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (saved / "model.toml").read_text("utf-8")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes((saved / "weights.safetensors").read_bytes())
    changed = text.replace('name = "mine"', f"name = {training.toml_config.toml_text(name)}")
    (model / "model.toml").write_text(changed)
    with pytest.raises(ModelError, match="unknown network") as caught:
        load_model(model)
    assert "\n" not in str(caught.value)
    assert "evil" not in sys.modules


def test_a_network_of_an_installed_package_works_on_the_command_line(bars, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "pixels", PACKAGE)
    network = MODULE.replace("my-net", "mean-of-pixels")
    path = write_config(
        tmp_path, bars, f"{network}[network.arguments]\npixels = 256\nclasses = 2\n"
    )
    done = CliRunner().invoke(app, ["train", str(path)])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(NETWORKS, "_parts", dict(networks._DVSKIT))
    monkeypatch.delitem(sys.modules, "pixels_parts")
    monkeypatch.setattr(registry, "_packages", None)
    recording = str(bars / "left" / "0.npz")
    model = ["--model", str(tmp_path / "run")]
    for words in (
        ["classify", recording, *model],
        ["classify", "--live", recording, *model, "--json"],
        ["eval", str(tmp_path / "run"), str(bars)],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    assert NETWORKS.registered() == ["mean-of-pixels"]


@pytest.mark.parametrize("described", [False, True])
def test_a_module_of_a_registered_class_is_saved_under_its_registered_name(
    described: bool, bars: Path, tmp_path: Path
):
    class Sub(MyNet):
        pass

    register_network("sub", Sub)
    size = {"width": 16, "height": 16, "classes": 2}
    given = ModuleNetwork(module=Sub, **size) if described else Sub()
    brief = {"loop": LoopConfig(epochs=1, steps=1), "input": INPUT, "data": DATA}
    training.train(given, open_samples(bars), output=str(tmp_path / "run"), **brief)
    back = load_model(tmp_path / "run")
    assert back.network.name == "sub"
    assert isinstance(back.module, Sub)
