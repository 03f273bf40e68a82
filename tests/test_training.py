"""Training: it learns, it repeats itself, it resumes; models come back as they were saved."""

from __future__ import annotations

import csv
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from dvskit import datasets, evaluation, models, training
from dvskit.errors import ConfigError, FormatError, ModelError, OutputError
from dvskit.formats import save_events
from dvskit.models import InputConfig, Model
from dvskit.networks import ConvLIF
from dvskit.training import (
    Config,
    DataConfig,
    DrawnData,
    ImageData,
    LoopConfig,
    Progress,
    RecordingData,
    SaccadeData,
    Trained,
    VideoData,
)
from dvskit.training.sets import load_feed, load_sets
from tests.bars import config_for, moving_bar, write_bars
from tests.laws import refused
from tests.test_datasets import idx
from tests.tree import MODELS, SAMPLES

SHIPPED = MODELS["nmnist-signed-lif"]


def weights(folder: Path) -> dict[str, Tensor]:
    return models.load_model(folder).module.cpu().state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first | second)


def rows_of_log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def without_seconds(rows) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def interrupted_at(step: int, config: Config, **options: object) -> None:
    """Train, and break off as Ctrl-C does behind a step."""

    def interrupt(at: Progress) -> None:
        if at.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, progress=interrupt, **options)


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten minutes pass at each look at the clock: each step is reported and kept."""
    ticks = itertools.count(0.0, 600.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))


# -- runs


@pytest.mark.slow
def test_training_lowers_the_loss_and_leaves_everything_beside_the_model(
    trained: Trained, bars: Path
) -> None:
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    names = {path.name for path in trained.folder.iterdir()}
    expected = {"config.toml", "log.csv", "model.toml", "split.csv", "weights.safetensors"}
    assert names == expected | {"checkpoint.safetensors", "likeness.safetensors"}
    losses = [float(row["loss"]) for row in rows_of_log(trained.folder)]
    assert losses == [row["loss"] for row in trained.history]
    resolved = training.load_config(trained.folder / "config.toml")
    assert resolved == config_for(bars, trained.folder)
    assert trained.results["recordings"].samples == 6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained: Trained, bars: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what the caller's generator holds must not matter
    before = torch.get_rng_state()
    training.train(config_for(bars, tmp_path / "again"))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights(tmp_path / "again"), weights(trained.folder))
    training.train(replace(config_for(bars, tmp_path / "other", epochs=1), seed=4))
    assert not same(weights(tmp_path / "other"), weights(trained.folder))


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points for TensorBoard, (step, value), by name."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(at.step, at.value) for at in found.Scalars(name)] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [1, 6, 8])
def test_an_interrupted_run_goes_on_to_the_same_weights_and_doubles_no_point(
    trained: Trained, bars: Path, tmp_path: Path, each_step: None, at_step: int
) -> None:
    config = config_for(bars, tmp_path / "run")
    interrupted_at(at_step, config, tensorboard=True)
    assert not (tmp_path / "run" / "model.toml").exists()
    steps: list[int] = []
    resumed = training.train(
        config, progress=lambda at: steps.append(at.step), tensorboard=True, metrics={"own": right}
    )
    kept = at_step - at_step % 6 if at_step == 6 else at_step - 1  # reported before it is kept
    assert steps[0] == kept + 1
    assert same(weights(resumed.folder), weights(trained.folder))
    for name in ("loss", "accuracy", "validation_loss"):
        assert [row[name] for row in resumed.history] == [row[name] for row in trained.history]
    assert ("own" in resumed.history[0]) == (at_step < 6)
    found = points(resumed.folder / "tensorboard")
    assert [step for step, _ in found["loss/step"]] == list(range(1, 13))
    assert found["rate"][0] == (1, pytest.approx(0.02))
    for name in ("accuracy", "validation_loss", "recordings_accuracy", "recordings_loss"):
        logged = [(6 * k + 6, pytest.approx(row[name])) for k, row in enumerate(resumed.history)]
        assert found[f"validation/{name}"] == logged


def test_a_run_of_another_configuration_or_other_samples_is_refused(tmp_path: Path) -> None:
    root = write_bars(tmp_path / "bars", 10)
    config = config_for(root, tmp_path / "run", epochs=1)
    config = replace(config, loop=replace(config.loop, steps=1))
    training.train(config)
    with refused(OutputError, tmp_path / "run", "seed = 3", 8):
        training.train(replace(config, seed=8))
    (root / "left" / "3.npz").unlink()
    with refused(OutputError, "left/3.npz"):
        training.train(config)
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"\x80\x04pickle")
    with refused(ModelError, tmp_path / "run" / "checkpoint.safetensors"):
        training.train(config)


def test_progress_is_reported_within_and_at_the_end_of_each_epoch(
    bars: Path, tmp_path: Path, each_step: None
) -> None:
    config = config_for(bars, tmp_path / "run")
    config = replace(config, loop=replace(config.loop, steps=0))  # 10 recordings: 8 and 2
    seen: list[Progress] = []
    trained = training.train(config, progress=seen.append)
    assert [(at.epoch, at.step) for at in seen] == [(0, 1), (0, 2), (1, 3), (1, 4)]
    ends = [at for at in seen if at.scores]
    assert [at.step for at in ends] == [2, 4]
    assert [at.loss for at in ends] == [row["loss"] for row in trained.history]


# -- metrics and TensorBoard


def right(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean()


def meddling(logits: Tensor, labels: Tensor) -> float:
    logits.zero_()
    labels.fill_(1)
    torch.manual_seed(5)
    return float(torch.rand(1))


@pytest.mark.slow
def test_metrics_are_columns_of_the_log_and_change_no_weight(
    trained: Trained, bars: Path, tmp_path: Path
) -> None:
    config = config_for(bars, tmp_path / "run")
    watched = training.train(config, metrics={"meddling": meddling, "right": right})
    assert same(weights(watched.folder), weights(trained.folder))
    for row, plain in zip(watched.history, without_seconds(trained.history), strict=True):
        assert row["right"] == row["recordings_right"] == pytest.approx(row["accuracy"])
        assert {key: row[key] for key in plain} == plain


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({"loss": right}, ["'loss'", "log.csv"]),
        ({"right": 3}, ["'right'", "int"]),
        ({"all": lambda logits, labels: logits}, ["'all'", "Tensor", "recordings"]),
    ],
)
def test_what_is_no_metric_is_refused(bars: Path, tmp_path: Path, metrics, named) -> None:
    config = config_for(bars, tmp_path / "run", epochs=1)
    with refused(ConfigError, *named):
        training.train(replace(config, loop=replace(config.loop, steps=1)), metrics=metrics)


def test_without_tensorboard_the_package_is_named_and_nothing_is_begun(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with refused(ConfigError, "pip install tensorboard"):
        training.train(config_for(bars, tmp_path / "run"), tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_the_command_writes_points_where_it_is_asked_to(run, bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run", epochs=1)
    training.write_config(config, tmp_path / "config.toml")
    assert run("train", tmp_path / "config.toml", "--tensorboard")[0] == 0
    assert len(points(tmp_path / "run" / "tensorboard")["loss/step"]) == 6


# -- runs that begin with the weights of another model


def started(bars: Path, output: Path, start: object, rate: float) -> Config:
    config = config_for(bars, output, epochs=1)
    loop = replace(config.loop, learning_rate=rate, weight_decay=0.0, steps=1)
    return replace(config, start=str(start), loop=loop)


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_its_start_and_goes_on_from_its_checkpoint(
    bars: Path, trained: Trained, tmp_path: Path
) -> None:
    first = started(bars, tmp_path / "a", trained.folder, 1e-30)
    training.write_config(first, tmp_path / "config.toml")
    assert training.load_config(tmp_path / "config.toml") == first
    again = training.train(first)
    assert same(weights(again.folder), weights(trained.folder))
    assert again.model.about["start"] == "bars"
    assert len(again.model.used) == len(trained.model.used)
    fresh = training.train(started(bars, tmp_path / "b", "", 1e-30))
    assert not same(weights(fresh.folder), weights(trained.folder))
    assert "start" not in fresh.model.about
    faster = started(bars, tmp_path / "c", trained.folder, 0.02)
    once = weights(training.train(faster).folder)
    assert not same(once, weights(trained.folder))
    assert same(weights(training.train(faster).folder), once)


@pytest.mark.slow
def test_a_start_that_does_not_fit_is_refused(bars: Path, trained: Trained, tmp_path: Path) -> None:
    config = started(bars, tmp_path / "run", trained.folder, 0.02)
    wider = replace(config, network=replace(config.network, channels=(4, 6)))
    for wrong, kind, named in [
        (replace(config, seed=4), ConfigError, "bars"),  # it learned from what judges this run
        (wider, ConfigError, "bars"),
        (replace(config, start="nmnist-signed-lif"), ConfigError, "nmnist-signed-lif"),
        (replace(config, start="nothing"), ModelError, "nothing"),
    ]:
        with refused(kind, named):
            training.train(wrong)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_recordings_that_the_start_alone_was_trained_on_stay_trained_on(
    bars: Path, trained: Trained, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    for label in ("left", "right"):
        (few / label).mkdir(parents=True)
        for seed in range(90, 100):  # others than those of the start
            save_events(moving_bar(label == "right", seed), few / label / f"{seed}.npz")
    again = training.train(started(few, tmp_path / "run", trained.folder, 0.02))
    earlier = {row.fingerprint for row in trained.model.used if row.part != "test"}
    kept = [row for row in again.model.used if row.fingerprint in earlier]
    assert {row.fingerprint for row in kept} == earlier
    assert {row.part for row in kept} == {"train"}


# -- configurations


def test_a_configuration_is_read_with_overrides_and_written_resolved(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('name = "x"\n[network]\nbeta = 0.5\n[loop]\nlearning_rate = 1\n')
    overrides = {"loop.epochs": "3", "data.0.path": "some/where", "network.channels": "[2, 3]"}
    config = training.load_config(path, overrides)
    assert (config.loop.epochs, config.data[0].path) == (3, "some/where")
    assert config.network == ConvLIF(beta=0.5, channels=(2, 3))
    assert config.loop.learning_rate == 1.0
    training.write_config(config, tmp_path / "resolved.toml")
    assert training.load_config(tmp_path / "resolved.toml") == config


def test_an_entry_is_known_by_its_name_its_kind_or_its_number(tmp_path: Path) -> None:
    text = "[[data]]\npath = 'a'\n[[data]]\nkind = 'images'\npath = 'b'\nencoder = 'latency'\n"
    (tmp_path / "c.toml").write_text(text + "[data.augment]\n")
    for key in ("data.latency.count", "data.images.count", "data.1.count"):
        config = training.load_config(tmp_path / "c.toml", {key: "7"})
        assert [entry.count for entry in config.data] == [16, 7], key


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("sed = 1", {}, ["sed", "'seed'"]),
        ("", {"loop.epoch": "2"}, ["loop.epoch", "'epochs'"]),
        ("", {"loop.epochs": "many"}, ["loop.epochs", "'many'"]),
        ("seed = ", {}, ["c.toml"]),
        ("", {"loop.epochs": "0"}, ["loop.epochs", 0]),
        ("", {"loop.loss": "each_step"}, ["loop.loss", "'each-step'"]),
        ("[data]\npath = 'x'", {}, ["[[data]]"]),
        ("[[data]]\nkind = 'video'", {}, ["data.kind", "'videos'"]),
        ("[[data]]\ncount = 0", {}, ["data.recordings.count", 0]),
        ("[[data]]\nfps = 30", {}, ["data.recordings.fps"]),
        ("[[data]]\nvalidation = 0.6\ntest = 0.4", {}, ["0.6", "0.4"]),
        ("[[data]]\nsize = [3]", {}, ["width, height"]),
        ("[[data]]\n[[data]]", {}, ["'recordings'"]),
        ("[[data]]\nkind='images'\nencoder='rate'", {}, ["data.rate.encoder", "'rate'"]),
        ("[[data]]\nset = 'dvs-gesture'", {}, ["set", "'dvs-gesture'", "'dvs128-gesture'"]),
        ("[[data]]\nkind = 'videos'\nset = 'n-mnist'", {}, ["data.videos.set"]),
        ("[[data]]\nkind = 'videos'\nfps = -1", {}, ["data.videos.fps = -1"]),
        ("[[data]]\n[data.classes]\na = 1", {}, ["data.recordings.classes"]),
        ("[[data]]\n[data.augment]\ndrop = 'a'", {}, ["data.recordings.augment.drop = 'a'"]),
        ("[loop]\nbetas = [0.9, 1.0]", {}, ["loop.betas = 1.0"]),
        ("network = 3", {}, ["[network]"]),
        ("[network]\nname = 'point-net'", {}, ["'point-net'", "point_set"]),
        ("[input]\nrepresentation = 'point_set'\npoints = 9", {}, ["'conv-lif'"]),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tmp_path: Path, text: str, overrides: dict[str, str], named: list[object]
) -> None:
    (tmp_path / "c.toml").write_text(text)
    with refused(ConfigError, *named):
        training.load_config(tmp_path / "c.toml", overrides)


def test_sample_configurations_are_read() -> None:
    for file in (*SAMPLES.glob("*.toml"), *SAMPLES.parent.glob("models/*/config.toml")):
        # Others: see test_reconstruction_training.py.
        if 'task = "' not in file.read_text("utf-8"):
            config = training.load_config(file)
            assert config.output.startswith("runs/"), file
            assert all(entry.skip == 1000 for entry in config.data if entry.kind == "saccades")


# -- images and other sets of one run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """60 images of two classes, 10x10, each of its own brightness, as IDX files."""
    pixels = np.zeros((60, 10, 10), np.uint8)
    for k in range(60):
        lit = (slice(2, 8), slice(4, 6)) if k % 2 else (slice(4, 6), slice(2, 8))
        pixels[k][lit] = 100 + k
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(60, dtype=np.uint8) % 2))
    return tmp_path


def config_of(images: Path, *data: DataConfig, steps: int = 2) -> Config:
    return Config(
        output=str(images.parent / "run"),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=50_000),
        data=data,
        loop=LoopConfig(epochs=1, steps=steps),
    )


def of_images(images: Path, kind: Any = ImageData, **keys: object) -> DataConfig:
    return kind(path=str(images), **{"validation": 0.25, "skip": 20} | keys)


@pytest.mark.slow
def test_images_encoded_and_moved_are_learned_together_without_those_left_out(
    images: Path,
) -> None:
    config = config_of(
        images,
        of_images(images, count=3),
        of_images(images, encoder="latency", count=2),
        of_images(images, SaccadeData, count=2, limit=5),
    )
    trained = training.train(config, output=str(images / "run"))
    assert list(trained.results) == ["poisson", "latency", "saccades"]
    assert [result.samples for result in trained.results.values()] == [60, 60, 60]
    assert trained.model.used == ()  # images are known by the seed and the shares
    assert "validation_saccades_accuracy" in trained.model.about["scores"]
    sets = load_sets(config)
    assert [len(each.parts.train) for each in sets] == [30, 30, 5]
    for each in sets:
        held, first = ({row.name for row in s.parts.validation.rows} for s in (each, sets[0]))
        assert held == first
        names = [row.name for part in each.parts[:2] for row in part.rows]
        assert all(name.startswith("train/") and int(name[6:]) >= 20 for name in names)
    counts, labels = next(load_feed(config).train.epoch(0))
    assert (counts.shape, len(labels)) == ((6, 7, 2, 16, 16), 7)
    assert set(counts[:, :5].unique().tolist()) == {0, 1}


def test_sets_that_do_not_fit_together_are_refused(images: Path, bars: Path) -> None:
    one = config_for(bars, Path("unused")).data[0]
    for entries, kind, named in [
        (
            (of_images(images), of_images(images, SaccadeData, validation=0.5)),
            ConfigError,
            "train/",
        ),
        ((RecordingData(path=str(bars)), of_images(images)), ConfigError, "left, right"),
        ((VideoData(path=str(bars)),), FormatError, "0.npz"),
        ((), ConfigError, "[[data]]"),
        ((of_images(images, skip=60),), ConfigError, "skip = 60"),
        ((DrawnData(gestures=("bow",)),), ConfigError, "bow"),
        ((replace(one, path=""),), ConfigError, "data.recordings"),
        ((replace(one, validation=0.0),), ConfigError, "validation"),
    ]:
        with refused(kind, named):
            training.train(config_of(images, *entries), output=str(images / "run"))
        assert not (images / "run").exists()


# -- models


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    torch.manual_seed(0)
    about = {"scores": {"recordings_accuracy": 0.5}}
    given = InputConfig(bins=6, bin_us=1_500)
    model = Model("m", network, network.build().eval(), given, ("left", "right"), about)
    models.save_model(tmp_path / "m", model)
    back = models.load_model(tmp_path / "m")
    x = torch.randint(0, 3, (6, 2, 2, 16, 16), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(back.module.cpu()(x), model.module(x))
    assert (back.network, back.input, back.classes) == (network, model.input, model.classes)
    assert back.about == about


@pytest.mark.slow
def test_the_shipped_model_reads_held_out_recordings_as_its_card_says(data: Path) -> None:
    model = models.load_model("nmnist-signed-lif")
    (about,) = (entry for entry in model.about["data"] if entry["kind"] == "recordings")
    samples = datasets.open_samples(data / "nmnist-700").rows
    shares = {key: about[key] for key in ("validation", "test")}
    parts = datasets.split_samples(samples, **shares, seed=model.about["seed"])
    result = evaluation.evaluate(model, parts.test)
    assert result.samples == model.about["scores"]["recordings_samples"] == 200
    assert result.accuracy == pytest.approx(model.about["scores"]["recordings_accuracy"])
    card = (SHIPPED / "README.md").read_text("utf-8")
    assert f"{100 * result.accuracy:.1f} %" in card
