"""Hostile model files: each is refused in one line, or gives a model whose answers are finite."""

from __future__ import annotations

import json
import random
import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from dvskit import training
from dvskit.errors import ConfigError, ModelError, OutputError
from dvskit.networks import ConvLIF, Layered, MotionLIF
from dvskit.networks.model_folder import DIGEST
from dvskit.training import InputConfig, Model, load_model
from dvskit.training.toml_config import toml_text

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
    return training.save_model(tmp_path / "small", model)


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


def write_header(file: Path, header: object, body: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as found:
        load_model(folder)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_with_the_tensor_and_the_count(folder, number):
    change_weights(folder, lambda weights: weights["dense1.weight"][1, :3].fill_(number))
    said = refusal(folder)
    assert f"{folder / 'weights.safetensors'}: dense1.weight holds 3 impossible numbers" in said


def test_variances_below_0_are_refused(folder):
    change_weights(folder, lambda weights: weights["norm1.running_var"].fill_(-1.0))
    assert "norm1.running_var holds 2 impossible numbers among 2" in refusal(folder)


def test_weights_that_are_not_finite_are_not_saved(folder, tmp_path):
    model = load_model(folder)
    with torch.no_grad():
        model.module.dense1.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"small: dense1.weight holds 1 impossible number among"):
        training.save_model(tmp_path / "again", model)
    assert not (tmp_path / "again").exists()


def test_a_saved_model_is_replaced_only_with_overwrite(folder):
    first = (folder / "weights.safetensors").read_bytes()
    model = load_model(folder)
    with torch.no_grad():
        model.module.dense1.weight += 1
    with pytest.raises(OutputError) as found:
        training.save_model(folder, model)
    assert str(found.value) == (
        f"{folder}: holds a model already; pass overwrite=True to replace it"
    )
    assert (folder / "weights.safetensors").read_bytes() == first
    training.save_model(folder, model, overwrite=True)
    assert (folder / "weights.safetensors").read_bytes() != first
    assert torch.equal(
        load_model(folder).module.dense1.weight.cpu(), model.module.dense1.weight.cpu()
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"4"', '"2000000000"', "dense1.weight is (4, 36), but the network has (2000000000, 36)"),
        ("width = 8", "width = 340000", "size 340000x8 is outside 1..32767"),
        ("height = 8", "height = 1000000000", "the input of one sample, 3 bins of 8x1,000,000,000"),
        ("bins = 3", "bins = 1000000000", "the input of one sample, 1,000,000,000 bins of 8x8"),
        ("bins = 3", "bins = 0", "input.bins = 0 is not above 0"),
        ("bins = 3", "bins = -3", "input.bins = -3 is not above 0"),
        ("bins = 3", "bins = 3.0", "input.bins = 3.0 is float; give int"),
        ("bins = 3", "bins = nan", "input.bins = nan is float; give int"),
        ("bins = 3", "beans = 3", "unknown key input.beans; did you mean 'bins'"),
        ("bins = 3\n", "bins = 3\nbin = 3\n", "unknown key input.bin; did you mean 'bin"),
        ('representation = "counts"', 'representation = "cuonts"', "did you mean 'counts'"),
        ("width = 8", "width = -8", "width = -8"),
        ("width = 8", "width = 0", "width = 0"),
        ("width = 8", "width = 8.0", "network.width = 8.0 is float; it must be int"),
        ("beta = 0.7", "beta = nan", "network.beta = nan is not finite"),
        ("gain = 3.0", "gain = inf", "network.gain = inf is not finite"),
        ('"bn"', '"bnn"', "layers[1] = 'bnn' is not a layer; did you mean 'bn'"),
        ("[network]", "[netwrok]", "network is missing"),
        ("[scores]", "[scorse]", "unknown key 'scorse'; did you mean 'scores'"),
        ('name = "small"', 'nmae = "small"', "name is missing"),
        ('classes = ["a", "b"]', 'classes = ["a"]', "1 class names for 2 logits"),
        ('classes = ["a", "b"]', 'classes = ["a", "a"]', "classes: 'a' occurs twice"),
        ('classes = ["a", "b"]', 'classes = "ab"', "must be a list of texts"),
        ('classes = ["a", "b"]', "classes = [1, 2]", "must be a list of texts"),
        ("classes = 2", "classes = 3", "the last of layers, leaves 2 numbers for classes = 3"),
        ("confidence = 0.6", "confidence = nan", "confidence = nan is outside"),
        ("confidence = 0.6", "confidnece = 0.6", "did you mean 'confidence'"),
        ("[0.1, 0.2]", "[0.1, nan]", "likeness.spread = [0.1, nan]: must be two finite numbers"),
        ("[0.1, 0.2]", "[0.1]", "likeness.spread = [0.1]: must be two finite numbers"),
        ("fps = 0.0", "fsp = 0.0", "unknown key 'fsp'; did you mean 'fps'"),
        ("count = 4", "cuont = 4", "unknown key data.recordings.cuont; did you mean 'count'"),
        ("seed = 1\n\n[network]", 'seed = "x"\n\n[network]', "seed = x; it must be a whole number"),
    ],
)
def test_a_model_toml_that_cannot_be_says_which_key_and_why(folder, old, new, words):
    change(folder, old, new)
    said = refusal(folder)
    assert words in said
    assert str(folder) in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'name = "\xff"', "is not UTF-8 at byte 8"),
        (b"a = " + b"[" * 5_000, "it is nested too deep"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"#" * (17 << 20), "is larger than 16,777,216 bytes"),
        (b"", "name, classes, network, input is missing"),
    ],
)
def test_a_model_toml_that_is_no_text_of_a_model_is_refused(folder, data, words):
    (folder / "model.toml").write_bytes(data)
    assert words in refusal(folder)


def test_a_model_loads_without_the_package_of_the_data_that_it_learned_from(folder):
    text = (folder / "model.toml").read_text()
    entry = '[[data]]\nkind = "{}"\n{} = "of-a-package"\n'
    data = entry.format("recordings", "set") + entry.format("images", "encoder")
    (folder / "model.toml").write_text(f"{text}\n{data}")
    assert training.load_model(folder).classes == ("a", "b")


def test_folders_in_place_of_files_are_refused(folder):
    file = folder / "weights.safetensors"
    file.unlink()
    file.mkdir()
    assert "weights.safetensors: does not fit model.toml: it cannot be read" in refusal(folder)
    (folder / "model.toml").unlink()
    (folder / "model.toml").mkdir()
    assert "holds no model.toml" in refusal(folder)


def huge(header: dict) -> None:
    header["dense1.weight"]["shape"] = [10**9, 10**9]


def lost(header: dict) -> None:
    del header["dense1.bias"]


def whole(header: dict) -> None:
    header["dense1.weight"]["dtype"] = "I32"


def swapped(header: dict) -> None:
    header["other"] = header.pop("dense1.weight")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (huge, "cannot be read"),
        (lost, "cannot be read"),
        (whole, "dense1.weight is I32, but must be floats"),
        (swapped, "it has no dense1.weight; 1 more tensors are wrong"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, work, words):
    file = folder / "weights.safetensors"
    header, body = header_of(file)
    work(header)
    write_header(file, header, body)
    assert words in refusal(folder)


@pytest.mark.parametrize("length", [0, 7, 8, 9, 100, -1])
def test_weights_that_were_cut_off_are_refused(folder, length):
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    assert "weights.safetensors" in refusal(folder)


def test_a_header_of_a_length_that_no_file_has_is_refused(folder):
    file = folder / "weights.safetensors"
    header, body = header_of(file)
    for length in (2**63, 2**40, 0):
        write_header(file, header, body, length)
        assert "weights.safetensors" in refusal(folder)


NUMBERS = (
    "0", "-1", "1", "2", "3", "1.5", "nan", "inf", "-inf", "true", "1e308", "10000000000",
    "2147483647", "9" * 40, '""', '"\\u0000"', "[]", "[[]]", "{}", "[1, 2]", "1979-05-27",
)  # fmt: skip
WORDS = (
    "0", "-1", "2000000000", "99999999999", "0C3", "9999999C9999", "3C0", "P0", "P9", "D1", "D1.5",
    "T0", "T999999999", "V0", "V3", "bn", "tdbn alpha=nan", "lif beta=2", "lif beta=nan", "relu",
    "lif threshold=0", "membrane", "each", "last", "first tau=0", "first tau=1e999", "ln", "log",
    "alif kappa=1e308", "plif tau=0", "", " ", "\x00", "8" * 5_000, "count", "recurrent-lif",
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
        elif key == "layers":
            words = json.loads(value)
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            lines[place] = f"{key} = {toml_text(words)}"
        elif equals:
            lines[place] = f"{key} = {rng.choice(NUMBERS)}"
        else:
            at = rng.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + rng.choice("[]=\"'\x01é9.") + lines[place][at:]
    return "\n".join(lines)


def mutated_header(file: Path, rng: random.Random) -> None:
    header, body = header_of(file)
    names = [name for name in header if name != "__metadata__"]
    entry, other = header[rng.choice(names)], rng.choice(names)
    way = rng.randrange(7)
    if way == 0:
        entry["shape"] = rng.choice([[], [0], [10**12, 10**12], [-1], entry["shape"][::-1], ["a"]])
    elif way == 1:
        entry["dtype"] = rng.choice(["F16", "BF16", "F64", "I32", "U32", "BOOL", "X", "F8_E4M3"])
    elif way == 2:
        entry["data_offsets"] = rng.choice(
            [[0, 0], [2**63, 2**64 - 1], [5, 1], header[other]["data_offsets"]]
        )
    elif way == 3:
        first = rng.choice(names)
        header[first], header[other] = header[other], header[first]
    elif way == 4:
        header.pop(other)
    elif way == 5:
        header[rng.choice(["__metadata__", "x" * 1000])] = rng.choice([{}, {"a": 1}, entry, []])
    text = bytearray(json.dumps(header).encode())
    if way == 6:
        text[rng.randrange(len(text))] = rng.randrange(256)
    write_header(file, bytes(text), body[: rng.choice([len(body)] * 4 + [len(body) // 2])])


def answers(model: Model) -> torch.Tensor:
    shape = (model.input.bins, 2, model.input.channels, model.network.height, model.network.width)
    counts = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.module.cpu()(counts.float())


@pytest.mark.slow(seconds=20)
def test_changed_files_are_refused_in_one_line_or_answer_with_finite_numbers(folder):
    rng = random.Random(20)
    file, text = folder / "weights.safetensors", (folder / "model.toml").read_text()
    # Without the digest, by which every other file of weights would be refused.
    text = "".join(line for line in text.splitlines(keepends=True) if DIGEST not in line)
    weights, loaded, refused = file.read_bytes(), 0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(1_500):
        (folder / "model.toml").write_text(mutated_toml(text, rng) if case % 2 else text)
        file.write_bytes(weights)
        if not case % 2:
            mutated_header(file, rng)
        try:
            model = load_model(folder)
            numbers = model.network.width * model.network.height * model.input.bins
            if numbers < 1 << 22:  # more is no fault of the files, but takes long
                assert answers(model).isfinite().all()
            loaded += 1
        except (ModelError, ConfigError) as error:
            refused += "\n" not in str(error)
    assert loaded + refused == 1_500
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST_BYTES
    assert loaded > 100
    assert refused > 800


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Layered(layers=("2000000000", "lif", "10")), "4,646,000,000,010 weights"),
        (ConvLIF(width=340_000, height=340), "the input of one sample, 20 bins of 340,000x340"),
        (MotionLIF(kernel=2**31 - 1), "is too large: Storage size"),
    ],
)
def test_a_network_that_no_memory_holds_is_refused_before_training(network, words):
    from dvskit.training.distributed import ALONE
    from dvskit.training.own import built

    with pytest.raises(ConfigError) as found:
        built(training.Config(network=network), torch.device("cpu"), ALONE)
    assert words in str(found.value)
