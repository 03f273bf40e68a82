"""Training: it learns, it repeats itself, it resumes; models come back as they were saved."""

from __future__ import annotations

import csv
import json
import struct
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit import datasets, training
from dvskit.errors import ConfigError, GeometryError, ModelError, OutputError, ShapeError
from dvskit.events import Events, Size
from dvskit.networks import ConvLIF
from dvskit.training import (
    Config,
    DataConfig,
    InputConfig,
    LoopConfig,
    Model,
    Progress,
    Result,
)
from dvskit.training.feed import _draws, encode, load_feed
from tests.bars import SIZE, config_for, moving_bar

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "models" / "nmnist-signed-lif"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return training.load_model(folder).module.cpu().state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first | second)


def test_training_lowers_the_loss_and_leaves_everything_beside_the_model(
    trained: training.Trained, bars: Path
) -> None:
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    names = {path.name for path in trained.folder.iterdir()}
    expected = {"config.toml", "log.csv", "model.toml", "split.csv", "weights.safetensors"}
    assert names == expected | {"checkpoint.safetensors"}
    with (trained.folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in trained.history]
    resolved = training.load_config(trained.folder / "config.toml")
    assert resolved == config_for(bars, trained.folder)
    assert trained.results["recordings"].samples == 6


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained: training.Trained, bars: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what the caller's generator holds must not matter
    before = torch.get_rng_state()
    training.train(config_for(bars, tmp_path / "again"))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights(tmp_path / "again"), weights(trained.folder))
    training.train(replace(config_for(bars, tmp_path / "other"), seed=4))
    assert not same(weights(tmp_path / "other"), weights(trained.folder))


def test_a_run_resumed_behind_an_interruption_gives_the_same_weights(
    trained: training.Trained, bars: Path, tmp_path: Path
) -> None:
    config = config_for(bars, tmp_path / "run")

    def interrupt(at: Progress) -> None:
        if at.scores:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, progress=interrupt)
    assert not (tmp_path / "run" / "model.toml").exists()
    with pytest.raises(OutputError, match="holds a run of another configuration"):
        training.train(replace(config, seed=8))
    resumed = training.train(config)
    assert len(resumed.history) == 2
    assert same(weights(resumed.folder), weights(trained.folder))


def test_a_damaged_checkpoint_is_refused(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="is no checkpoint of dvskit"):
        training.train(config_for(bars, tmp_path))


def test_progress_is_told_at_the_end_of_each_epoch(bars: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    training.train(config_for(bars, tmp_path / "run"), progress=told.append)
    ends = [at for at in told if at.scores]
    assert [at.epoch for at in ends] == [0, 1]
    assert all(0 <= at.scores["recordings_accuracy"] <= 1 for at in ends)
    assert [at.step for at in ends] == [6, 12]
    assert all(at.step <= at.steps == 12 for at in told)
    assert ends[0].remark.startswith("epoch 1 of 2, loss ")


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    torch.manual_seed(0)
    about = {"scores": {"recordings_accuracy": 0.5}}
    given = InputConfig(bins=6, bin_us=1_500)
    model = Model("m", network, network.build().eval(), given, ("left", "right"), about)
    training.save_model(tmp_path / "m", model)
    back = training.load_model(tmp_path / "m")
    x = torch.randint(0, 3, (6, 2, 2, 16, 16), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(back.module.cpu()(x), model.module(x))
    assert (back.network, back.input, back.classes) == (network, model.input, model.classes)
    assert back.about == about


def test_a_model_folder_that_cannot_be_used_says_why(
    trained: training.Trained, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="neither a model folder nor a shipped model"):
        training.load_model("no-such-model")
    with pytest.raises(ModelError, match=r"holds no model.toml"):
        training.load_model(tmp_path)
    text = (trained.folder / "model.toml").read_text()
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(ModelError, match=r"weights.safetensors"):
        training.load_model(tmp_path)
    data = (trained.folder / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(data[:-9])
    with pytest.raises(ModelError, match=r"weights.safetensors: does not fit"):
        training.load_model(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(data)
    for old, new, message in [
        ("channels = [4, 4]", "channels = [4, 5]", "does not fit model.toml"),
        ('"left", "right"', '"left"', "1 class names for 2 logits"),
        ("bins = 6", "beans = 6", "missing or wrong"),
    ]:
        assert old in text
        (tmp_path / "model.toml").write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=message):
            training.load_model(tmp_path)


def test_evaluation_counts_each_sample_once(trained: training.Trained, bars: Path) -> None:
    model = trained.model
    result = training.evaluate(model, bars, split="all")
    assert (result.samples, result.confusion.sum(1).tolist()) == (20, [10, 10])
    right = sum(
        max(shares := training.classify(model, moving_bar(k >= 10, seed=k % 10)), key=shares.get)
        == ("right" if k >= 10 else "left")
        for k in range(20)
    )
    assert result.accuracy == right / 20
    assert result.per_class["left"] == result.confusion[0, 0] / 10


def test_a_result_computes_its_shares_from_the_confusion() -> None:
    result = Result(("a", "b"), np.array([[8, 2], [1, 9]]), loss=0.1)
    assert result.accuracy == 0.85
    assert result.standard_error == pytest.approx((0.85 * 0.15 / 20) ** 0.5)
    assert result.per_class == {"a": 0.8, "b": 0.9}
    assert str(result) == "85.00 % of 20 (standard error 7.98)"


def test_classification_gives_probabilities_and_refuses_no_events(
    trained: training.Trained,
) -> None:
    shares = training.classify(trained.model, moving_bar(True, seed=50))
    assert list(shares) == ["left", "right"]
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ShapeError, match="no events to classify"):
        training.classify(trained.model, Events.empty(SIZE))


def test_spans_are_named_one_by_one_and_empty_ones_are_not(trained) -> None:
    window_us = trained.model.input.bins * trained.model.input.bin_us
    first, second = moving_bar(True, seed=50), moving_bar(False, seed=51)
    assert first.duration_us < window_us
    later = Events(t=second.t + 3 * window_us, x=second.x, y=second.y, p=second.p, size=SIZE)
    whole = Events.concatenate([first, later])
    labels = training.classify_spans(trained.model, whole)
    start, end = int(whole.t[0]), int(whole.t[-1])
    assert [name.partition(" (")[0] for name in labels.name] == [
        max(shares := training.classify(trained.model, each), key=shares.get)
        for each in (first, whole.between(start + 3 * window_us, None))
    ]
    assert labels.start_us.tolist() == [start, start + 3 * window_us]
    assert labels.stop_us.tolist() == [start + window_us, end + 1]
    assert len(training.classify_spans(trained.model, whole, every_us=window_us // 2)) >= 3
    assert len(training.classify_spans(trained.model, Events.empty(SIZE))) == 0
    with pytest.raises(ConfigError, match="every_us=0"):
        training.classify_spans(trained.model, whole, every_us=0)


def test_a_configuration_is_read_with_overrides_and_written_resolved(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('name = "x"\n[network]\nbeta = 0.5\n[loop]\nlearning_rate = 1\n')
    overrides = {"loop.epochs": "3", "data.recordings": "some/where", "network.channels": "[2, 3]"}
    overrides["data.encoders"] = '["rank_order", "poisson"]'
    config = training.load_config(path, overrides)
    assert (config.loop.epochs, config.data.recordings) == (3, "some/where")
    assert config.network == ConvLIF(beta=0.5, channels=(2, 3))
    assert config.data.encoders == ("rank_order", "poisson")
    assert config.loop.learning_rate == 1.0
    training.write_config(config, tmp_path / "resolved.toml")
    assert training.load_config(tmp_path / "resolved.toml") == config


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("sed = 1", {}, "unknown key sed; did you mean 'seed'"),
        ("", {"loop.epoch": "2"}, "unknown key loop.epoch; did you mean 'epochs'"),
        ("", {"network.bta": "2"}, "unknown network.bta; did you mean 'beta'"),
        ("", {"loop.epochs": "many"}, "loop.epochs = 'many' is str; int is meant"),
        ("", {"seed.x": "1"}, "unknown key|is dict"),
        ("loop = 3", {}, "is not a table"),
        ("seed = ", {}, "is not TOML"),
        ("", {"loop.epochs": "0"}, "not above 0"),
        ("", {"loop.recordings": "0"}, "none below 0"),
        ("", {"loop.emulated": "4"}, "set data.emulated"),
        ("", {"data.encoders": '["rank_ordr"]'}, "no encoder 'rank_ordr'; did you mean"),
        ("", {"data.encoders": "poisson"}, 'a list of texts is meant: data.encoders = \\["..."\\]'),
        ("", {"data.encoders": '["latency", "latency"]'}, "names, each once"),
        ("", {"data.encoders": "[]"}, "names, each once"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tmp_path: Path, text: str, overrides: dict[str, str], message: str
) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        training.load_config(tmp_path / "c.toml", overrides)


def test_batches_follow_the_epoch_and_each_recording_comes_before_any_comes_again(
    bars: Path,
) -> None:
    feed = load_feed(config_for(bars, Path("unused")))
    first, again, next_epoch = (list(feed.batches(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, next_epoch, strict=True))
    assert first[0][0].shape == (6, 8, 2, 16, 16)
    drawn = _draws(10, 4, np.random.default_rng(0))
    order = np.concatenate([next(drawn) for _ in range(5)])
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """60 images of two classes, 10x10, each of its own brightness, as IDX files."""
    for part in ("train", "t10k"):
        pixels = np.zeros((60, 10, 10), np.uint8)
        labels = np.arange(60, dtype=np.uint8) % 2
        for k in range(60):
            lit = (slice(2, 8), slice(4, 6)) if k % 2 else (slice(4, 6), slice(2, 8))
            pixels[k][lit] = 100 + k
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    return tmp_path


def test_recordings_of_images_and_encoded_images_are_learned_without_those_left_out(
    images: Path,
) -> None:
    config = Config(
        output=str(images / "run"),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=50_000),
        data=DataConfig(
            images=str(images), images_skipped=20, validation_images=10, test_images=6, emulated=5
        ),
        loop=LoopConfig(epochs=1, steps=2, recordings=0, emulated=2, images=3),
    )
    feed = load_feed(config)
    used = feed.images.pixels.max(axis=(1, 2))
    assert len(used) == 30
    assert used.min() >= 120
    counts, labels = next(feed.batches(0))
    assert counts.shape == (6, 5, 2, 16, 16)
    assert len(labels) == 5
    trained = training.train(config)
    assert set(trained.results) == {"poisson", "latency"}
    assert [result.samples for result in trained.results.values()] == [6, 6]


def test_images_are_encoded_by_the_names_that_the_configuration_has(images: Path) -> None:
    names = ("population", "rank_order", "latency", "signed_poisson", "log_latency")
    config = Config(
        output=str(images / "run"),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=50_000),
        data=DataConfig(images=str(images), encoders=names, validation_images=6, test_images=4),
        loop=LoopConfig(epochs=1, steps=1, recordings=0, images=4),
    )
    feed = load_feed(config)
    assert tuple(feed.validation) == names
    counts, _ = next(feed.batches(0))
    assert counts.shape == (6, 4, 2, 16, 16)
    assert counts[:, 0, 0].any()  # of the first encoder, which alone of these has one OFF spike
    assert not counts[:, 1:3, 0].any()
    assert set(training.train(config).results) == set(names)


@pytest.mark.parametrize("file", sorted((ROOT / "samples").glob("*.toml")), ids=lambda f: f.name)
def test_sample_configurations_are_read(file: Path) -> None:
    config = training.load_config(file)
    assert config.output.startswith("runs/")
    assert not config.loop.emulated or config.data.images_skipped == 1000


def test_images_alone_train_a_network_for_recordings_which_emulated_ones_choose(
    images: Path,
) -> None:
    config = Config(
        output=str(images / "run"),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=50_000),
        data=DataConfig(images=str(images), validation_images=7, emulated=9),
        loop=LoopConfig(epochs=1, steps=2, recordings=0, emulated=4),
    )
    feed = load_feed(config)
    assert list(feed.validation) == ["emulated"]
    assert feed.validation["emulated"].counts.shape == (7, 6, 2, 16, 16)
    assert len(feed.emulated) == 9
    trained = training.train(config)
    assert trained.results == {}
    assert "validation_emulated_accuracy" in trained.model.about["scores"]


def test_latency_spikes_come_once_and_sooner_where_it_is_brighter() -> None:
    pixels = np.array([[[255, 128, 40, 0]]], np.uint8)
    spikes = encode(pixels, "latency", bins=9, size=Size(4, 1), seed=0)
    assert spikes.shape == (1, 9, 2, 1, 4)
    on = spikes[0, :, 1, 0]
    assert on.sum(0).tolist() == [1, 1, 1, 0]
    assert on.argmax(0)[:3].tolist() == [0, 4, 7]
    with pytest.raises(GeometryError, match="images of 4x1 do not fit the input, 3x1"):
        encode(pixels, "latency", bins=9, size=Size(3, 1), seed=0)


@pytest.mark.parametrize(
    ("data", "loop", "message"),
    [
        ({"recordings": ""}, {}, "set data.recordings, or loop.recordings = 0"),
        ({"validation": 0.0}, {}, "set data.validation above 0"),
        ({}, {"images": 2}, "set data.images, or loop.images = 0"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(
    bars: Path, data: dict[str, object], loop: dict[str, object], message: str
) -> None:
    config = config_for(bars, Path("unused"))
    changed = replace(config, data=replace(config.data, **data), loop=replace(config.loop, **loop))
    with pytest.raises(ConfigError, match=message):
        load_feed(changed)


def shipped_split(data: Path) -> tuple[Model, datasets.Split]:
    model = training.load_model("nmnist-signed-lif")
    about = model.about["data"]
    samples = datasets.find_samples(data / "nmnist-700")
    shares = {key: about[key] for key in ("validation", "test", "seed")}
    return model, datasets.split_samples(samples, **shares)


def test_the_shipped_model_reads_held_out_recordings_as_its_card_says(data: Path) -> None:
    model, parts = shipped_split(data)
    result = training.evaluate(model, parts.test)
    assert result.samples == model.about["scores"]["recordings_samples"] == 200
    assert (result.seen, result.left_out) == (0, 0)
    listed = {(row.part, row.label, row.name) for row in model.used}
    assert listed == {
        (part, sample.label, sample.path.name)
        for part, samples in parts._asdict().items()
        for sample in samples
    }
    assert result.accuracy >= 0.94
    assert result.accuracy == pytest.approx(model.about["scores"]["recordings_accuracy"])
    card = (SHIPPED / "README.md").read_text("utf-8")
    assert f"{100 * result.accuracy:.1f} %" in card


def test_the_shipped_model_is_plain_data() -> None:
    values = tomllib.loads((SHIPPED / "model.toml").read_text("utf-8"))
    assert values["classes"] == [str(k) for k in range(10)]
    assert {path.name for path in SHIPPED.iterdir()} == {
        "README.md",
        "config.toml",
        "model.toml",
        "split.csv",
        "weights.safetensors",
    }
    head = (SHIPPED / "weights.safetensors").read_bytes()
    length = int.from_bytes(head[:8], "little")
    assert "readout.weight" in json.loads(head[8 : 8 + length])
