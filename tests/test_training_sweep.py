"""Sweeps: all combinations for all seeds, each run once, and figures with their errors."""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from dvskit import training
from dvskit.errors import ConfigError, OutputError
from dvskit.formats import save_events
from dvskit.training import Config, Progress, SweepRun
from dvskit.training.sweeping import Combination, Score
from tests.bars import config_for, moving_bar
from tests.laws import refused, refused_command

KEYS = {"network.beta": [0.5, 0.8], "loop.optimizer": ["adam"]}


def quick(bars: Path, output: Path) -> Config:
    config = config_for(bars, output, epochs=1)
    return replace(config, loop=replace(config.loop, steps=1))


@pytest.mark.slow
def test_a_sweep_trains_each_combination_for_each_seed_once(bars: Path, tmp_path: Path) -> None:
    config = quick(bars, tmp_path / "sweep")
    seen: list[tuple[int, int]] = []

    def interrupt(run: SweepRun, now: Progress) -> None:
        seen.append((run.number, run.count))
        if run.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.sweep(config, KEYS, seeds=2, progress=interrupt)
    begun: list[int] = []
    found = training.sweep(
        config, KEYS, seeds=2, progress=lambda run, now: begun.append(run.number)
    )
    assert seen == [(0, 4), (1, 4)]
    assert begun == [2, 3]  # the others have ended: one is judged again
    assert [dict(each.values) for each in found.combinations] == [
        {"network.beta": "0.5", "loop.optimizer": "adam"},
        {"network.beta": "0.8", "loop.optimizer": "adam"},
    ]
    folder = tmp_path / "sweep" / "network.beta=0.8,loop.optimizer=adam" / "seed-4"
    resolved = training.load_config(folder / "config.toml")
    assert (resolved.seed, resolved.network.beta, resolved.loop.optimizer) == (4, 0.8, "adam")
    alone = training.train(replace(resolved, output=str(tmp_path / "alone")))
    score = found.combinations[1].scores[4]
    assert score.accuracy == alone.results["recordings"].accuracy
    assert score.validation == alone.history[0]["accuracy"]
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["network.beta"], second["network.beta"]) == ("0.5", "0.8")
    assert float(second["seed_4"]) == score.accuracy
    assert float(second["accuracy"]) == found.combinations[1].accuracy
    with refused(OutputError, "loop.steps = 1", 2):
        changed = replace(config, loop=replace(config.loop, steps=2))
        training.sweep(changed, KEYS, seeds=2)


@pytest.mark.slow
def test_a_score_is_the_mean_over_its_test_parts_and_each_run_has_its_folder(
    bars: Path, tmp_path: Path
) -> None:
    for seed in range(50, 60):
        for label in ("left", "right"):
            (tmp_path / "more" / label).mkdir(parents=True, exist_ok=True)
            save_events(
                moving_bar(label == "right", seed), tmp_path / "more" / label / f"{seed}.npz"
            )
    config = quick(bars, tmp_path / "sweep")
    more = replace(config.data[0], name="more", path=str(tmp_path / "more"), test=0.5)
    names = ["a/b", "a_b", "x" * 300]
    found = training.sweep(replace(config, data=(*config.data, more)), {"name": names})
    folders = [path.name for path in found.folder.iterdir() if path.is_dir()]
    assert len(set(folders)) == 3
    assert all(len(name) <= 100 and '"' not in name for name in folders)
    (score,) = found.combinations[0].scores.values()
    place = next(path for path in found.folder.iterdir() if path.name.startswith("name=a"))
    parts = training.train(training.load_config(place / "seed-3" / "config.toml")).results
    a, b = parts["recordings"], parts["more"]
    assert (a.samples, b.samples) == (6, 10)
    assert score.accuracy == pytest.approx((a.accuracy + b.accuracy) / 2)
    below = math.hypot(*(each.accuracy - each.interval_95[0] for each in (a, b))) / 2
    above = math.hypot(*(each.interval_95[1] - each.accuracy for each in (a, b))) / 2
    interval = (score.accuracy - below, score.accuracy + above)
    assert score.interval_95 == pytest.approx(interval)


def test_errors_are_those_of_their_definitions() -> None:
    scores = {k: Score(a, (a - 0.1, a + 0.05), 0.5) for k, a in enumerate((0.7, 0.9, 0.8))}
    found = Combination({}, scores)
    assert found.accuracy == pytest.approx(0.8)
    error = statistics.stdev([0.7, 0.9, 0.8]) / math.sqrt(3)
    assert found.standard_error_over_seeds == pytest.approx(error)
    assert found.interval_95 == pytest.approx((0.7, 0.85))
    assert math.isnan(Combination({}, {0: scores[0]}).standard_error_over_seeds)


@pytest.mark.parametrize(
    ("keys", "seeds", "named"),
    [
        ({"loop.epoch": [1]}, 1, ["loop.epoch", "'epochs'"]),
        ({"loop.epochs": [1, 0]}, 1, ["loop.epochs", 0]),
        ({"loop.epochs": [2, 2]}, 1, ["loop.epochs", "2, 2"]),
        ({"loop.epochs": []}, 1, ["loop.epochs", "[]"]),
        ({}, 0, ["seeds", 0]),
        ({}, [1, 1], ["seeds", "[1, 1]"]),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(
    bars: Path, tmp_path: Path, keys: dict, seeds: object, named: list[object]
) -> None:
    keys = {"network.beta": [0.5, 0.8], **keys}
    with refused(ConfigError, *named):
        training.sweep(config_for(bars, tmp_path / "sweep"), keys, seeds=seeds)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_the_command_prints_a_table(run, bars: Path, tmp_path: Path) -> None:
    training.write_config(quick(bars, tmp_path / "sweep"), tmp_path / "c.toml")
    sweeps = ["--sweep", "network.channels=[3,4],[4,4]", "--sweep", "loop.steps=1"]
    code, out, err = run("train", tmp_path / "c.toml", *sweeps, "--seeds", "2")
    assert code == 0
    _, first, second = out.splitlines()
    assert first.split()[:2] == ["[3,4]", "1"]
    assert second.split()[-1] == "2"
    assert "run 4 of 4" in err


@pytest.mark.parametrize(
    ("sweeps", "named"),
    [
        (["loop.epochs"], "'loop.epochs'"),
        (["loop.epochs=1", "loop.epochs=2"], "loop.epochs"),
    ],
)
def test_a_wrong_sweep_is_refused(run, bars: Path, tmp_path: Path, sweeps, named) -> None:
    training.write_config(config_for(bars, tmp_path / "sweep"), tmp_path / "c.toml")
    options = [word for text in sweeps for word in ("--sweep", text)]
    refused_command(run("train", tmp_path / "c.toml", *options), named)
