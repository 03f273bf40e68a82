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

from dvskit import datasets, evaluation, training
from dvskit.errors import ConfigError, FormatError, ModelError, OutputError, ShapeError
from dvskit.evaluation import Result
from dvskit.events import Events
from dvskit.networks import ConvLIF
from dvskit.training import Config, DataConfig, InputConfig, LoopConfig, Model, Progress
from dvskit.training.feed import load_feed
from dvskit.training.sets import load_sets
from tests.bars import SIZE, config_for, moving_bar
from tests.tree import MODELS, SAMPLES

SHIPPED = MODELS["nmnist-signed-lif"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return training.load_model(folder).module.cpu().state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first | second)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(OutputError, match="of another configuration: seed = 3, now 8; name"):
        training.train(replace(config, seed=8))
    resumed = training.train(config)
    assert len(resumed.history) == 2
    assert same(weights(resumed.folder), weights(trained.folder))


def test_a_damaged_checkpoint_is_refused(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="is no checkpoint of dvskit"):
        training.train(config_for(bars, tmp_path))


@pytest.mark.slow
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
        ("bins = 6", "beans = 6", "unknown key input.beans; did you mean 'bins'"),
    ]:
        assert old in text
        (tmp_path / "model.toml").write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=message):
            training.load_model(tmp_path)


@pytest.mark.slow
def test_evaluation_counts_each_sample_once(trained: training.Trained, bars: Path) -> None:
    model = trained.model
    result = evaluation.evaluate(model, bars, split="all")
    assert (result.samples, result.confusion.sum(1).tolist()) == (20, [10, 10])
    right = sum(
        max(shares := evaluation.classify(model, moving_bar(k >= 10, seed=k % 10)), key=shares.get)
        == ("right" if k >= 10 else "left")
        for k in range(20)
    )
    assert result.accuracy == right / 20
    assert result.per_class["left"] == result.confusion[0, 0] / 10


def test_a_result_computes_its_shares_from_the_confusion() -> None:
    result = Result(("a", "b"), np.array([[8, 2], [1, 9]]), loss=0.1)
    assert result.accuracy == 0.85
    assert result.correct == 17
    assert result.interval_95 == pytest.approx((0.6396, 0.9476), abs=1e-4)  # Wilson, 17 of 20
    assert result.per_class == {"a": 0.8, "b": 0.9}
    assert str(result) == "85 % of 20 (95 % interval 64 to 95 %)"


def test_classification_gives_probabilities_and_refuses_no_events(
    trained: training.Trained,
) -> None:
    shares = evaluation.classify(trained.model, moving_bar(True, seed=50))
    assert list(shares) == ["left", "right"]
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ShapeError, match="no events to classify"):
        evaluation.classify(trained.model, Events.empty(SIZE))


def test_spans_are_named_one_by_one_and_empty_ones_are_not(trained) -> None:
    window_us = trained.model.input.bins * trained.model.input.bin_us
    first, second = moving_bar(True, seed=50), moving_bar(False, seed=51)
    assert first.duration_us < window_us
    later = Events(t=second.t + 3 * window_us, x=second.x, y=second.y, p=second.p, size=SIZE)
    whole = Events.concatenate([first, later])
    labels = evaluation.classify_spans(trained.model, whole)
    start, end = int(whole.t[0]), int(whole.t[-1])
    assert [name.partition(" (")[0] for name in labels.name] == [
        max(shares := evaluation.classify(trained.model, each), key=shares.get)
        for each in (first, whole.between(start + 3 * window_us, None))
    ]
    assert labels.start_us.tolist() == [start, start + 3 * window_us]
    assert labels.stop_us.tolist() == [start + window_us, end + 1]
    assert len(evaluation.classify_spans(trained.model, whole, every_us=window_us // 2)) >= 3
    assert len(evaluation.classify_spans(trained.model, Events.empty(SIZE))) == 0
    with pytest.raises(ConfigError, match="every_us=0"):
        evaluation.classify_spans(trained.model, whole, every_us=0)


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


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("sed = 1", {}, "unknown key sed; did you mean 'seed'"),
        ("", {"loop.epoch": "2"}, "unknown key loop.epoch; did you mean 'epochs'"),
        ("", {"network.bta": "2"}, "unknown network.bta; did you mean 'beta'"),
        ("", {"loop.epochs": "many"}, "loop.epochs = 'many' is str; give int"),
        ("", {"seed.x": "1"}, "unknown key|is dict"),
        ("loop = 3", {}, "is not a table"),
        ("seed = ", {}, "is not TOML"),
        ("", {"loop.epochs": "0"}, "not above 0"),
        ("", {"loop.steps": "-1"}, "loop.steps = -1 is below 0"),
        ("", {"loop.loss": "each_step"}, "loop.loss: no 'each_step'; did you mean 'each-step'"),
        ("", {"loop.betas": "[0.9]"}, r"loop.betas = \(0.9,\); give two numbers"),
        ("[data]\npath = 'x'", {}, r"is not a list of tables; write \[\[data\]\]"),
        ("data = 3", {}, "is not a list of tables"),
        ("[[data]]\nkind = 'video'", {}, "data.kind: no 'video'; did you mean 'videos'"),
        ("[[data]]\ncount = 0", {}, "data.recordings.count = 0 is below 1"),
        ("[[data]]\nfps = 30", {}, "data.recordings.fps: kind 'recordings' has no such"),
        ("[[data]]\nlimits = 3", {}, "unknown key data.recordings.limits; did you mean 'limit'"),
        ("[[data]]\nvalidation = 0.6\ntest = 0.4", {}, "with a sum below 1"),
        ("[[data]]\nby = 'groups'", {}, "data.recordings.by: no 'groups'; did you mean 'group'"),
        ("[[data]]\nsize = 3", {}, "data.recordings.size = 3 is int; give a list"),
        ("[[data]]\nsize = [3]", {}, "width, height"),
        ("[[data]]\n[[data]]", {}, "2 entries .* called 'recordings'; give each its own name"),
        (
            "[[data]]\nkind='images'\nencoder='rate'",
            {},
            "data.rate.encoder: unknown encoder 'rate'",
        ),
        ("[[data]]", {"data.2.path": "x"}, r"no entry \[\[data\]\] called '2'"),
        ("[[data]]\naugment = 1", {}, "data.recordings.augment = 1 is not a table"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tmp_path: Path, text: str, overrides: dict[str, str], message: str
) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        training.load_config(tmp_path / "c.toml", overrides)


def test_an_entry_is_told_by_its_name_its_kind_or_its_number(tmp_path: Path) -> None:
    text = "[[data]]\npath = 'a'\n[[data]]\nkind = 'images'\npath = 'b'\nencoder = 'latency'\n"
    (tmp_path / "c.toml").write_text(text + "[data.augment]\n")
    for key in ("data.latency.count", "data.images.count", "data.1.count"):
        config = training.load_config(tmp_path / "c.toml", {key: "7"})
        assert [entry.count for entry in config.data] == [16, 7], key
    added = training.load_config(tmp_path / "c.toml", {"data.2.kind": "drawn"})
    assert [entry.title for entry in added.data] == ["recordings", "latency", "drawn"]
    training.write_config(added, tmp_path / "resolved.toml")
    assert training.load_config(tmp_path / "resolved.toml") == added


def test_batches_follow_the_epoch_alone(bars: Path) -> None:
    feed = load_feed(config_for(bars, Path("unused")))
    first, again, next_epoch = (list(feed.train.epoch(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, next_epoch, strict=True))
    assert first[0][0].shape == (6, 8, 2, 16, 16)
    rest = list(feed.train.epoch(0, first=4))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[4:], rest, strict=True))


def test_an_epoch_of_no_steps_has_each_sample_once(bars: Path) -> None:
    config = config_for(bars, Path("unused"))
    feed = load_feed(replace(config, loop=replace(config.loop, steps=0)))
    assert len(feed.train) == 2
    assert [len(labels) for _, labels in feed.train.epoch(0)] == [8, 2]  # 10 recordings


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


def config_of(images: Path, *data: DataConfig, steps: int = 2) -> Config:
    return Config(
        output=str(images.parent / "run"),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=6, bin_us=50_000),
        data=data,
        loop=LoopConfig(epochs=1, steps=steps),
    )


def of_images(images: Path, kind: str = "images", **keys: object) -> DataConfig:
    return DataConfig(kind=kind, path=str(images), **{"validation": 0.25, "skip": 20} | keys)


@pytest.mark.slow
def test_images_encoded_and_moved_are_learned_together_without_those_left_out(
    images: Path,
) -> None:
    config = config_of(
        images,
        of_images(images, count=3),
        of_images(images, encoder="latency", count=2),
        of_images(images, "saccades", count=2, limit=5),
    )
    sets = load_sets(config)
    assert [len(each.parts.train) for each in sets] == [30, 30, 5]
    for each in sets:
        assert {row.name for row in each.parts.validation.rows} == {
            row.name for row in sets[0].parts.validation.rows
        }
        names = [row.name for part in each.parts[:2] for row in part.rows]
        assert all(name.startswith("train/") and int(name[6:]) >= 20 for name in names)
    feed = load_feed(config)
    counts, labels = next(feed.train.epoch(0))
    assert (counts.shape, len(labels)) == ((6, 7, 2, 16, 16), 7)
    assert set(counts[:, :5].unique().tolist()) == {0, 1}
    trained = training.train(config)
    assert list(trained.results) == ["poisson", "latency", "saccades"]
    assert [result.samples for result in trained.results.values()] == [60, 60, 60]
    assert trained.model.used == ()  # images are told by the seed and the shares
    assert "validation_saccades_accuracy" in trained.model.about["scores"]


def test_an_entry_that_trains_on_what_another_is_judged_by_is_refused(images: Path) -> None:
    moved = of_images(images, "saccades", validation=0.5)
    with pytest.raises(ConfigError, match=r"a split that leaks: .*train/\d+ \(validation\)"):
        load_sets(config_of(images, of_images(images), moved))


def test_classes_that_differ_and_kinds_in_the_wrong_entry_are_refused(
    images: Path, bars: Path
) -> None:
    with pytest.raises(ConfigError, match=r"data.recordings has the classes left, right, data.poi"):
        load_sets(config_of(images, DataConfig(path=str(bars)), of_images(images)))
    with pytest.raises(FormatError, match=r"0.npz: is a recording, in an entry of kind 'videos'"):
        load_sets(config_of(images, DataConfig(kind="videos", path=str(bars))))
    with pytest.raises(ConfigError, match=r"no set to learn from; add an entry \[\[data\]\]"):
        load_sets(config_of(images))
    with pytest.raises(ConfigError, match=r"skip = 60 of 60 samples; give fewer"):
        load_sets(config_of(images, of_images(images, skip=60)))


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in (
            *sorted(SAMPLES.glob("*.toml")),
            *(folder / "config.toml" for folder in MODELS.values()),
        )
        if file.is_file()
        and 'task = "' not in file.read_text("utf-8")  # see test_reconstruction_training.py
    ],
    ids=lambda file: f"{file.parent.name}-{file.name}",
)
def test_sample_configurations_are_read(file: Path) -> None:
    config = training.load_config(file)
    assert config.output.startswith("runs/")
    assert config.data
    assert all(entry.skip == 1000 for entry in config.data if entry.kind == "saccades")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": ""}, "data.recordings: no path; name a folder of recordings"),
        ({"validation": 0.0}, "set the validation of an entry"),
        ({"group": r"(\d)\.npz", "by": "listed"}, "belongs to no part of the set"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(
    bars: Path, data: dict[str, object], message: str
) -> None:
    config = config_for(bars, Path("unused"))
    with pytest.raises(ConfigError, match=message):
        load_feed(replace(config, data=(replace(config.data[0], **data),)))


def test_people_stay_whole_where_they_are_known(bars: Path) -> None:
    config = config_for(bars, Path("unused"))
    entry = replace(config.data[0], group=r"(\d)\.npz")
    (one,) = load_sets(replace(config, data=(entry,)))
    groups = [{row.group for row in part.rows} for part in one.parts]
    assert [len(each) for each in groups] == [5, 2, 3]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def shipped_split(data: Path) -> tuple[Model, datasets.Split]:
    model = training.load_model("nmnist-signed-lif")
    (about,) = (entry for entry in model.about["data"] if entry["kind"] == "recordings")
    samples = datasets.open_samples(data / "nmnist-700").rows
    shares = {key: about[key] for key in ("validation", "test")}
    return model, datasets.split_samples(samples, **shares, seed=model.about["seed"])


@pytest.mark.slow
def test_the_shipped_model_reads_held_out_recordings_as_its_card_says(data: Path) -> None:
    model, parts = shipped_split(data)
    result = evaluation.evaluate(model, parts.test)
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
    assert "dense1.weight" in json.loads(head[8 : 8 + length])
