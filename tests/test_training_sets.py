"""The kinds of sets that a run learns from: videos, depth clips and people that dvskit draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvskit import evaluation, training
from dvskit.datasets import GESTURES, Cache, open_public
from dvskit.errors import ConfigError, MissingFileError
from dvskit.models import InputConfig
from dvskit.networks import ConvLIF
from dvskit.training import (
    Config,
    DataConfig,
    DepthData,
    DrawnData,
    LoopConfig,
    RecordingData,
    VideoData,
)
from dvskit.training.config import config_from
from dvskit.training.sets import Feed, emulated, load_feed, load_sets
from tests.laws import refused, refused_command
from tests.sample_files import folder
from tests.test_depth import SWING, write_npz
from tests.test_public_sets import original_gestures
from tests.tree import SAMPLES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config_of(*entries: DataConfig, output: Path, classes: int = 2) -> Config:
    return Config(
        output=str(output),
        network=ConvLIF(width=16, height=16, classes=classes, channels=(4, 4), kernel=3),
        input=InputConfig(bins=4, bin_us=50_000),
        data=entries,
        loop=LoopConfig(epochs=1, steps=1),
    )


def videos(tmp_path: Path) -> DataConfig:
    names = [f"{label}/{k}.mp4" for label in ("bow", "wave") for k in range(3)]
    root = folder(tmp_path / "videos", *names)
    return VideoData(path=str(root), preset="noisy", fps=50, group="none")


def depth(tmp_path: Path) -> DataConfig:
    for label in ("bow", "wave"):
        (tmp_path / "depth" / label).mkdir(parents=True)
        for k in range(3):
            clip = replace(SWING, depth_m=SWING.depth_m + 0.01 * (k + 3 * (label == "bow")))
            write_npz(tmp_path / "depth" / label / f"{k}.npz", clip)
    return DepthData(path=str(tmp_path / "depth"), group="none")


def drawn(tmp_path: Path) -> DataConfig:
    gestures = ("hand_clap", "air_guitar")
    return DrawnData(each=3, gestures=gestures, duration_us=60_000, fps=100)


MADE = {"videos": videos, "depth": depth, "drawn": drawn}


def batches(feed: Feed, epoch: int) -> list[torch.Tensor]:
    return [counts for counts, _ in feed.train.epoch(epoch)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_what_is_emulated_is_learned_and_judged_like_recordings(
    tmp_path: Path, kind: str, cache: Path
) -> None:
    entry = replace(MADE[kind](tmp_path), count=2, validation=0.34, test=0.34, by="share")
    config = config_of(entry, output=tmp_path / "run")
    trained = training.train(config)
    assert trained.results[kind].samples == 2
    assert any(cache.rglob("*.zst"))
    parts = [row.part for row in trained.model.used]
    assert sorted(parts) == [] if kind == "drawn" else ["test"] * 2 + ["train"] * 2
    (counts,) = batches(load_feed(config), 0)
    assert counts.shape == (4, 2, 2, 16, 16)
    assert all(map(torch.equal, batches(load_feed(config), 0), [counts]))


@pytest.mark.slow
def test_clips_are_another_each_time_only_where_they_are_redrawn(tmp_path: Path) -> None:
    entry = replace(videos(tmp_path), count=4, validation=0.34, test=0.0)
    for redraw in (False, True):
        feed = load_feed(config_of(replace(entry, redraw=redraw), output=tmp_path / "run"))
        first, second = (
            sorted(torch.cat(batches(feed, epoch), 1).sum(0).flatten().tolist()) for epoch in (0, 1)
        )
        assert (first != second) == redraw
        judged = [next(feed.validation["videos"].epoch(0))[0] for _ in range(2)]
        assert torch.equal(*judged)


def test_a_set_may_call_its_classes_otherwise_and_lack_some(tmp_path: Path) -> None:
    people = replace(drawn(tmp_path), gestures=("hand_clap", "air_guitar", "other"))
    clips = replace(videos(tmp_path), classes={"wave": "hand_clap", "*": "other"})
    config = config_of(clips, people, output=tmp_path / "run", classes=3)
    found = {each.entry.title: each.parts.train for each in load_sets(config)}
    assert {part.classes for part in found.values()} == {("hand_clap", "air_guitar", "other")}
    assert {row.label for row in found["videos"].rows} == {"hand_clap", "other"}
    assert set(found["videos"].labels) == {0, 2}
    assert all("wave" in row.name for row in found["videos"].rows if row.label == "hand_clap")
    training.write_config(config, tmp_path / "config.toml")
    assert training.load_config(tmp_path / "config.toml") == config
    for names, named in (({"wave": "nod"}, "bow, nod"), ({"waves": "hand_clap"}, "'waves'")):
        wrong = replace(config, data=(replace(clips, classes=names), people))
        with refused(ConfigError, "data.videos", named):
            load_sets(wrong)


@pytest.mark.slow
def test_the_recipe_of_dvs128_gesture_runs_on_its_archive(tmp_path: Path) -> None:
    root = original_gestures(tmp_path / "DvsGesture")
    changes = {"data.dvs128-gesture.count": "3", "loop.epochs": "1", "loop.steps": "2"}
    places = {"output": str(tmp_path / "run"), "data.dvs128-gesture.path": str(root)}
    config = training.load_config(SAMPLES / "dvs128-gesture.toml", places | changes)
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


def test_a_public_set_that_is_missing_says_where_it_is_to_be_had(tmp_path: Path) -> None:
    entry = RecordingData(set="dvs128-gesture", path=str(tmp_path / "absent"))
    with refused(MissingFileError, tmp_path / "absent", "https://research.ibm.com"):
        load_sets(config_of(entry, output=tmp_path / "run"))
    with refused(ConfigError, "path"):
        load_sets(config_of(replace(entry, path=""), output=tmp_path / "run"))


def test_people_are_drawn_from_an_entrys_own_seed_and_those_of_one_seed_are_not_parted() -> None:
    network = {"name": "layers", "layers": ["S8", "2"], "width": 32, "height": 32, "classes": 2}
    entry = {"kind": "drawn", "each": 6, "gestures": ["hand_clap", "arm_roll"], "test": 0.0}
    first = {**entry, "validation": 0.34}
    near = {**first, "name": "near", "close": 1.0}
    apart = config_from({"network": network, "data": [first, {**near, "seed": 7}]})
    far, close = (each.parts.train for each in load_sets(apart))
    assert far.fingerprint(0) != close.fingerprint(0)
    for seed in (0, 1):  # the run's, or said to be the same
        data = [first, {**near, "validation": 0.17, "seed": seed}]
        with pytest.raises(ConfigError, match="leaks"):
            load_sets(config_from({"network": network, "seed": 1, "data": data}))
    one = {**entry, "name": "one", "seed": 2, "gestures": ["arm_roll"]}
    sets = load_sets(config_from({"network": network, "data": [entry, one]}))
    assert set(sets[1].parts.train.labels) == {1}  # one class of several
    network |= {"classes": 1, "layers": ["S8", "1"]}
    with refused(ConfigError, "arm_roll"):
        load_sets(config_from({"network": network, "data": [one]}))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*.zst")}


@pytest.mark.slow(seconds=5)
def test_workers_fill_the_cache_with_the_bytes_of_one_process(
    run, tmp_path: Path, cache: Path
) -> None:
    config = config_of(videos(tmp_path), output=tmp_path / "run")
    training.write_config(config, tmp_path / "config.toml")
    config = training.load_config(tmp_path / "config.toml")  # with its types: 50.0, not 50
    for samples, number in emulated(load_sets(config), Cache(tmp_path / "alone")):
        samples.events(number)
    code, _, err = run("train", "config.toml", "--jobs", "2", "--set", "output=config.toml/run")
    assert (code, "config.toml/run" in err) == (1, True)  # the clips are emulated before
    assert content(cache) == content(tmp_path / "alone")
    assert len(content(cache)) == 6
    refused_command(run("train", "videos", "--jobs", "2"), "--jobs")
