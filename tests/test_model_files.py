"""Hostile model files: each is refused in one line, or gives a model whose answers are finite."""

from __future__ import annotations

import json
import random
import resource
import struct
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from dvskit import models, training
from dvskit._tables import to_toml
from dvskit.errors import ConfigError, ModelError, OutputError
from dvskit.models import InputConfig, Model, load_model
from dvskit.networks import ConvLIF, Layered, MotionLIF
from dvskit.networks.model_folder import DIGEST
from tests.laws import refused

LAYERS = ("2C3s2", "bn", "lif", "T2", "4", "plif", "2")
GIVEN = InputConfig(bins=3, bin_us=1_000)
MOST_BYTES = 2 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = Layered(width=8, height=8, classes=2, layers=LAYERS)
    torch.manual_seed(1)
    about = {
        "seed": 1,
        "reject": {"confidence": 0.6, "events_per_second": 5.0, "how": "by hand"},
        "emulation": {"size": [8, 8], "fps": 0.0, "seed": 1, "sensor": {"threshold_on": 0.3}},
        "data": [{"kind": "recordings", "count": 4}],
        "scores": {"recordings_accuracy": 0.5},
        "likeness": {"spread": [0.1, 0.2], "density": [1.0, 2.0]},
    }
    model = Model("small", network, network.build().eval(), GIVEN, ("a", "b"), about)
    return models.save_model(tmp_path / "small", model)


def change(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.toml").read_text()
    assert old in text
    (folder / "model.toml").write_text(text.replace(old, new))


def change_weights(folder: Path, work) -> None:
    file = folder / "weights.safetensors"
    weights = load(file.read_bytes())
    work(weights)
    file.write_bytes(save(weights))


def header_of(file: Path) -> tuple[dict, bytes]:
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(file: Path, header: object, body: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_and_not_saved(folder, tmp_path, number):
    model = load_model(folder)
    change_weights(folder, lambda weights: weights["dense1.weight"][1, :3].fill_(number))
    with refused(ModelError, folder / "weights.safetensors", "dense1.weight", 3):
        load_model(folder)
    with torch.no_grad():
        model.module.dense1.weight[0, 0] = number
    with refused(ModelError, "dense1.weight", 1):
        models.save_model(tmp_path / "again", model)
    assert not (tmp_path / "again").exists()


def test_variances_below_0_are_refused(folder):
    change_weights(folder, lambda weights: weights["norm1.running_var"].fill_(-1.0))
    with refused(ModelError, "norm1.running_var", 2):
        load_model(folder)


def test_a_saved_model_is_replaced_only_with_overwrite(folder):
    first = (folder / "weights.safetensors").read_bytes()
    model = load_model(folder)
    with torch.no_grad():
        model.module.dense1.weight += 1
    with refused(OutputError, folder, "overwrite=True"):
        models.save_model(folder, model)
    assert (folder / "weights.safetensors").read_bytes() == first
    models.save_model(folder, model, overwrite=True)
    assert (folder / "weights.safetensors").read_bytes() != first


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"4"', '"2000000000"', "(2000000000, 36)"),
        ("bins = 3", "bins = 1000000000", "1,000,000,000"),
        ("bins = 3", "bins = 0", "input.bins = 0"),
        ("bins = 3", "bins = 3.0", "input.bins = 3.0"),
        ("bins = 3", "beans = 3", "input.beans"),
        ('representation = "counts"', 'representation = "cuonts"', "'counts'"),
        ("width = 8", "width = 0", "width"),
        ("beta = 0.7", "beta = nan", "network.beta = nan"),
        ('"bn"', '"bnn"', "layers[1] = 'bnn'"),
        ("[network]", "[netwrok]", "network"),
        ('name = "small"', 'nmae = "small"', "name"),
        ('    "b",\n]\nweights', "]\nweights", "1 class"),
        ('    "b",\n]\nweights', '    "a",\n]\nweights', "'a'"),
        ('    "b",\n]\nweights', "    2,\n]\nweights", "classes[1] = 2"),
        ("classes = 2", "classes = 3", "classes = 3"),
        ("confidence = 0.6", "confidence = nan", "confidence = nan"),
        ("confidence = 0.6", "confidence = 2", "reject.confidence"),
        ("events_per_second = 5.0", "events_per_second = -1", "reject.events"),
        ("confidence = 0.6", "confidnece = 0.6", "'confidence'"),
        ("fps = 0.0", "fsp = 0.0", "emulation.fsp"),
        ("    8,\n    8,\n]", "    8,\n]", "emulation: size is [8]; write size = [width, height]"),
        ("count = 4", "cuont = 4", "data.recordings.cuont"),
        ("seed = 1\n", 'seed = "x"\n', "seed = 'x'"),
    ],
)
def test_a_model_toml_that_cannot_be_names_its_key(folder, old, new, named):
    change(folder, old, new)
    with refused(ModelError, folder, named):
        load_model(folder)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'name = "\xff"', "byte 8"),
        (b"a = " + b"[" * 5_000, "model.toml"),
        (b"", "name"),
    ],
)
def test_a_model_toml_that_is_no_text_of_a_model_is_refused(folder, data, named):
    (folder / "model.toml").write_bytes(data)
    with refused(ModelError, named):
        load_model(folder)


def test_a_model_loads_without_the_package_of_the_data_that_it_learned_from(folder):
    values = tomllib.loads((folder / "model.toml").read_text())
    values["data"] += [{"set": "of-a-package"}, {"kind": "images", "encoder": "of-a-package"}]
    (folder / "model.toml").write_text(to_toml(values))
    assert models.load_model(folder).classes == ("a", "b")


def test_folders_in_place_of_files_are_refused(folder, tmp_path):
    file = folder / "weights.safetensors"
    file.unlink()
    file.mkdir()
    with refused(ModelError, file):
        load_model(folder)
    (folder / "model.toml").unlink()
    (folder / "model.toml").mkdir()
    for none in (folder, tmp_path, tmp_path / "none"):
        with refused(ModelError, none):
            load_model(none)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dtype": "I32"}, "dense1.weight is I32"),
        (None, "dense1.weight"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, change, named):
    file = folder / "weights.safetensors"
    header, body = header_of(file)
    entry = header.pop("dense1.weight")
    header |= {"other": entry} if change is None else {"dense1.weight": entry | change}
    write_header(file, header, body)
    with refused(ModelError, named):
        load_model(folder)


def test_weights_that_were_cut_off_are_refused(folder):
    file = folder / "weights.safetensors"
    data = file.read_bytes()
    for length in (0, 7, 9, 100, -1):
        file.write_bytes(data[:length])
        with refused(ModelError, file):
            load_model(folder)


NUMBERS = (
    "0", "-1", "1", "2", "3", "1.5", "nan", "inf", "-inf", "true", "1e308", "10000000000",
    "2147483647", "9" * 40, '""', '"\\u0000"', "[]", "[[]]", "{}", "[1, 2]", "1979-05-27",
)  # fmt: skip


def mutated_toml(text: str, rng: random.Random) -> str:
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(lines))
        key, equals, value = lines[place].partition(" = ")
        way = rng.randrange(6)
        if way == 0:
            lines[place] = ""
        elif way == 1:
            lines.insert(rng.randrange(len(lines)), lines[place])
        elif way == 2 and equals:
            lines[place] = f"{key}x = {value}"
        elif equals:
            lines[place] = f"{key} = {rng.choice(NUMBERS)}"
        else:
            at = rng.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + rng.choice("[]=\"'\x01é9.") + lines[place][at:]
    return "\n".join(lines)


def answers(model: Model) -> torch.Tensor:
    shape = (model.input.bins, 2, model.input.channels, model.network.height, model.network.width)
    counts = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.module.cpu()(counts.float())


@pytest.mark.slow
@pytest.mark.parametrize("cases", [60, pytest.param(3_000, marks=pytest.mark.campaign)])
def test_changed_files_are_refused_in_one_line_or_answer_with_finite_numbers(folder, cases):
    rng = random.Random(20)
    file, text = folder / "weights.safetensors", (folder / "model.toml").read_text()
    # Without the digest, by which every other file of weights would be refused.
    text = "".join(line for line in text.splitlines(keepends=True) if DIGEST not in line)
    weights, loaded, wrong = file.read_bytes(), 0, 0
    header, body = header_of(file)
    header_text = json.dumps(header).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(cases):
        (folder / "model.toml").write_text(mutated_toml(text, rng) if case % 2 else text)
        file.write_bytes(weights)
        if not case % 2:
            header = bytearray(header_text)
            header[rng.randrange(len(header))] = rng.randrange(256)
            write_header(file, bytes(header), body)
        try:
            model = load_model(folder)
            numbers = model.network.width * model.network.height * model.input.bins
            if numbers < 1 << 22:  # more is no fault of the files, but takes long
                assert answers(model).isfinite().all()
            loaded += 1
        except (ModelError, ConfigError) as error:
            wrong += "\n" not in str(error)
    assert loaded + wrong == cases
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST_BYTES
    assert loaded > cases / 30
    assert wrong > cases / 3


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Layered(layers=("2000000000", "lif", "10")), "4,646,000,000,010"),
        (ConvLIF(width=340_000, height=340), "340,000x340"),
        (MotionLIF(kernel=2**31 - 1), "large"),
    ],
)
def test_a_network_that_no_memory_holds_is_refused_before_training(network, named):
    from dvskit.training.distributed import ALONE
    from dvskit.training.labels import build_module

    with refused(ConfigError, named):
        build_module(training.Config(network=network), torch.device("cpu"), ALONE)
