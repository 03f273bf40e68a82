"""The kinds of sets that a run learns from: videos, depth clips and people that dvskit draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit import evaluation, training
from dvskit.datasets import GESTURES, Cache, open_public
from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.networks import ConvLIF
from dvskit.training import Config, DataConfig, InputConfig, LoopConfig
from dvskit.training.feed import Feed, emulated, load_feed
from dvskit.training.sets import KINDS, load_sets
from dvskit.training.toml_config import config_from, load_config, write_config
from tests.sample_files import folder, recording
from tests.test_depth import SWING, write_npz
from tests.test_public_sets import made, original_gestures
from tests.tree import SAMPLES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config_of(entry: DataConfig, output: Path) -> Config:
    return Config(
        output=str(output),
        network=ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3),
        input=InputConfig(bins=4, bin_us=50_000),
        data=(entry,),
        loop=LoopConfig(epochs=1, steps=1),
    )


def videos(tmp_path: Path) -> DataConfig:
    names = [f"{label}/{k}.mp4" for label in ("bow", "wave") for k in range(3)]
    root = folder(tmp_path / "videos", *names)
    return DataConfig(kind="videos", path=str(root), preset="noisy", fps=50)


def depth(tmp_path: Path) -> DataConfig:
    for label in ("bow", "wave"):
        (tmp_path / "depth" / label).mkdir(parents=True)
        for k in range(3):
            clip = replace(SWING, depth_m=SWING.depth_m + 0.01 * (k + 3 * (label == "bow")))
            write_npz(tmp_path / "depth" / label / f"{k}.npz", clip)
    return DataConfig(kind="depth", path=str(tmp_path / "depth"))


def drawn(tmp_path: Path) -> DataConfig:
    gestures = ("hand_clap", "air_guitar")
    return DataConfig(kind="drawn", each=3, gestures=gestures, duration_us=60_000, fps=100)


MADE = {"videos": videos, "depth": depth, "drawn": drawn}


def batches(feed: Feed, epoch: int) -> list[torch.Tensor]:
    return [counts for counts, _ in feed.train.epoch(epoch)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_what_is_emulated_is_learned_and_judged_like_recordings(
    tmp_path: Path, kind: str, cache: Path
) -> None:
    made: Callable[[Path], DataConfig] = MADE[kind]
    entry = replace(made(tmp_path), count=2, validation=0.34, test=0.34, by="share", group="auto")
    if kind != "drawn":
        entry = replace(entry, group="none")
    config = config_of(entry, tmp_path / "run")
    feed = load_feed(config)
    (one,) = load_sets(config)
    assert [len(part) for part in one.parts] == [2, 2, 2]
    (counts,) = batches(feed, 0)
    assert counts.shape == (4, 2, 2, 16, 16)
    assert counts.sum() > 0
    assert all(map(torch.equal, batches(load_feed(config), 0), [counts]))
    trained = training.train(config)
    assert trained.results[kind].samples == 2
    assert any(cache.rglob("*.zst"))
    assert len(trained.model.used) == (0 if kind == "drawn" else 6)
    again = training.load_config(trained.folder / "config.toml")
    assert again == config


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["videos", "depth"])
def test_clips_are_another_each_time_only_where_they_are_redrawn(tmp_path: Path, kind: str) -> None:
    entry = replace(MADE[kind](tmp_path), count=4, validation=0.34, test=0.0, group="none")
    for redraw in (False, True):
        feed = load_feed(config_of(replace(entry, redraw=redraw), tmp_path / "run"))
        first, second = (sorted(x.sum(0).flatten().tolist()) for x in (
            torch.cat(batches(feed, epoch), 1) for epoch in (0, 1)
        ))  # fmt: skip
        assert (first != second) == redraw
        judged = [next(feed.validation[kind].epoch(0))[0] for _ in range(2)]
        assert torch.equal(*judged)


def test_each_kind_is_opened_by_a_function_and_takes_its_own_files(tmp_path: Path) -> None:
    assert list(KINDS) == [
        "recordings",
        "videos",
        "mixed",
        "depth",
        "drawn",
        "skeletons",
        "images",
        "saccades",
    ]
    entry = videos(tmp_path)
    recording(Path(entry.path) / "bow" / "9.npz")
    with pytest.raises(FormatError, match=r"9.npz: is a recording, in an entry of kind 'videos'"):
        load_sets(config_of(entry, tmp_path / "run"))
    for other in ("recordings", "depth"):
        wrong = DataConfig(kind=other, path=entry.path)
        with pytest.raises(FormatError, match=r"is a (video|recording), in an entry of"):
            load_sets(config_of(wrong, tmp_path / "run"))
    with pytest.raises(ConfigError, match="unknown gesture"):
        load_sets(config_of(DataConfig(kind="drawn", gestures=("bow",)), tmp_path / "run"))


def test_a_set_may_call_its_classes_otherwise_and_lack_some(tmp_path: Path) -> None:
    people = replace(drawn(tmp_path), gestures=("hand_clap", "air_guitar", "other"))
    clips = replace(videos(tmp_path), group="none", classes={"wave": "hand_clap", "*": "other"})
    config = config_of(people, tmp_path / "run")
    config = replace(config, data=(clips, people), network=replace(config.network, classes=3))
    found = {each.entry.title: each.parts.train for each in load_sets(config)}
    assert {part.classes for part in found.values()} == {("hand_clap", "air_guitar", "other")}
    assert {row.label for row in found["videos"].rows} == {"hand_clap", "other"}
    assert set(found["videos"].labels) == {0, 2}
    assert all("wave" in row.name for row in found["videos"].rows if row.label == "hand_clap")
    training.write_config(config, tmp_path / "config.toml")
    assert training.load_config(tmp_path / "config.toml") == config
    assert 'wave = "hand_clap"\n"*" = "other"' in (tmp_path / "config.toml").read_text()
    for names, message in (
        ({"wave": "nod"}, "has the classes hand_clap, air_guitar, other, data.videos bow, nod"),
        ({"waves": "hand_clap"}, "data.videos.classes: no class 'waves' .* did you mean 'wave'"),
    ):
        wrong = replace(config, data=(replace(clips, classes=names), people))
        with pytest.raises(ConfigError, match=message):
            load_sets(wrong)
    with pytest.raises(ConfigError, match=r"data.videos.classes.wave = 3 is int; give str"):
        training.load_config(tmp_path / "config.toml", {"data.videos.classes.wave": "3"})


def gestures_config(root: Path, output: Path) -> Config:
    return training.load_config(
        SAMPLES / "dvs128-gesture.toml",
        {
            "output": str(output),
            "data.dvs128-gesture.path": str(root),
            "data.dvs128-gesture.count": "3",
            "loop.epochs": "1",
            "loop.steps": "2",
        },
    )


@pytest.mark.slow
def test_the_recipe_of_dvs128_gesture_runs_on_its_archive(tmp_path: Path) -> None:
    root = original_gestures(tmp_path / "DvsGesture")
    config = gestures_config(root, tmp_path / "run")
    (one,) = load_sets(config)
    people = [sorted({row.group for row in part.rows}) for part in one.parts]
    assert [len(part) for part in one.parts] == [11, 11, 11]
    assert sorted(people[:2]) == [["1"], ["2"]]  # one of them is chosen by, whole
    assert people[2] == ["24"]
    trained = training.train(config)
    assert trained.model.classes == GESTURES
    result = evaluation.evaluate(trained.folder, open_public("dvs128-gesture", root))
    assert result.samples == 11
    assert result.accuracy == trained.results["dvs128-gesture"].accuracy
    assert training.load_config(trained.folder / "config.toml") == config


@pytest.mark.slow
def test_the_recipe_of_dvs128_gesture_runs_on_spikingjellys_folders(tmp_path: Path) -> None:
    for part, users in (("train", (1, 2)), ("test", (24,))):
        for user in users:
            for number in range(11):
                folder = tmp_path / "events_np" / part / str(number)
                folder.mkdir(parents=True, exist_ok=True)
                e = made(40, seed=20 * user + number)
                name = folder / f"user{user:02}_natural_0.npz"
                np.savez(name, t=e.t, x=e.x, y=e.y, p=e.p.astype(np.int64))
    trained = training.train(gestures_config(tmp_path, tmp_path / "run"))
    assert trained.results["dvs128-gesture"].samples == 11


def test_a_public_set_is_named_rightly_and_says_where_it_is_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data.recordings.set: unknown public set 'dvs-gesture'; did you mean"
    ):
        DataConfig(set="dvs-gesture").check_names()
    with pytest.raises(ConfigError, match="has its own groups and size"):
        DataConfig(set="n-mnist", size=(34, 34))
    with pytest.raises(ConfigError, match="kind 'videos' has no such key"):
        DataConfig(kind="videos", set="n-mnist")
    entry = DataConfig(set="dvs128-gesture", path=str(tmp_path / "absent"))
    with pytest.raises(MissingFileError, match=r"can be downloaded from https://research.ibm.com"):
        load_sets(config_of(entry, tmp_path / "run"))
    with pytest.raises(ConfigError, match="no path"):
        load_sets(config_of(replace(entry, path=""), tmp_path / "run"))


def test_people_are_drawn_from_an_entrys_own_seed_and_those_of_one_seed_are_not_parted() -> None:
    network = {"name": "layers", "layers": ["S8", "2"], "width": 32, "height": 32, "classes": 2}
    entry = {"kind": "drawn", "each": 6, "gestures": ["hand_clap", "arm_roll"], "test": 0.0,
             "validation": 0.34}  # fmt: skip
    near = {**entry, "name": "near", "close": 1.0}
    apart = config_from({"network": network, "data": [entry, {**near, "seed": 7}]})
    far, close = (each.parts.train for each in load_sets(apart))
    assert far.fingerprint(0) != close.fingerprint(0)
    wider = {**near, "validation": 0.17}
    for seed in (0, 1):  # the run's, or said to be the same
        values = {"network": network, "seed": 1, "data": [entry, {**wider, "seed": seed}]}
        with pytest.raises(ConfigError, match="a split that leaks"):
            load_sets(config_from(values))


def test_an_entry_may_have_one_class_of_several() -> None:
    network = {"name": "layers", "layers": ["S8", "2"], "width": 32, "height": 32, "classes": 2}
    entry = {"kind": "drawn", "each": 6, "gestures": ["hand_clap", "arm_roll"], "test": 0.0}
    one = {**entry, "name": "one", "seed": 2, "gestures": ["arm_roll"]}
    sets = load_sets(config_from({"network": network, "data": [entry, one]}))
    assert set(sets[1].parts.train.labels) == {1}
    network |= {"classes": 1, "layers": ["S8", "1"]}
    with pytest.raises(ConfigError, match="one class, arm_roll: give two or more"):
        load_sets(config_from({"network": network, "data": [one]}))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*.zst")}


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("kind", ["videos", "depth"])
def test_workers_fill_the_cache_with_the_bytes_of_one_process(
    kind: str, run, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(config_of(MADE[kind](tmp_path), tmp_path / "run"), tmp_path / "config.toml")
    config = load_config(tmp_path / "config.toml")

    def stop(*given: object, **named: object) -> None:
        raise ConfigError("the sets are ready")

    monkeypatch.setattr(training, "train", stop)
    code, _, err = run("train", "config.toml", "--jobs", "2")
    assert (code, err) == (2, "dvskit: error: the sets are ready\n")
    made = content(cache)
    for samples, number in emulated(load_sets(config), Cache(tmp_path / "alone")):
        samples.events(number)
    assert made == content(tmp_path / "alone")
    assert len(made) == 6
    (tmp_path / "videos").mkdir(exist_ok=True)
    code, _, err = run("train", "videos", "--jobs", "2")
    assert (code, "--jobs and --cluster need a configuration" in err) == (2, True)
