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
from dvskit.training import Progress, SweepRun, sweeping
from dvskit.training.scores import wilson
from dvskit.training.sweeping import Combination, Score
from tests.bars import config_for, write_bars

KEYS = {"network.beta": [0.5, 0.8], "loop.optimiser": ["adam"]}


@pytest.mark.slow
def test_a_sweep_trains_each_combination_for_each_seed(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "sweep", epochs=1)
    told: list[tuple[int, int, bool]] = []

    def tell(run: SweepRun, now: Progress) -> None:
        told.append((run.number, run.count, bool(now.scores)))

    found = training.sweep(config, KEYS, seeds=2, progress=tell)
    assert [at for at in told if at[2]] == [(k, 4, True) for k in range(4)]
    assert [dict(each.values) for each in found.combinations] == [
        {"network.beta": "0.5", "loop.optimiser": "adam"},
        {"network.beta": "0.8", "loop.optimiser": "adam"},
    ]
    folder = tmp_path / "sweep" / "network.beta=0.8,loop.optimiser=adam" / "seed-4"
    resolved = training.load_config(folder / "config.toml")
    assert (resolved.seed, resolved.network.beta, resolved.loop.optimiser) == (4, 0.8, "adam")
    alone = training.train(replace(resolved, output=str(tmp_path / "alone")))
    score = found.combinations[1].scores[4]
    assert score.accuracy == alone.results["recordings"].accuracy
    assert score.interval_95 == alone.results["recordings"].interval_95
    assert score.validation == alone.history[0]["accuracy"]
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["network.beta"], second["network.beta"]) == ("0.5", "0.8")
    assert float(second["seed_4"]) == score.accuracy
    assert float(second["accuracy"]) == found.combinations[1].accuracy


def test_runs_that_have_ended_are_passed_over_and_others_go_on(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(bars, tmp_path / "sweep", epochs=1)

    def interrupt(run: SweepRun, now: Progress) -> None:
        if run.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.sweep(config, seeds=[5, 7], progress=interrupt)
    begun: list[int] = []

    def train(config: training.Config, **given: object) -> training.Trained:
        begun.append(config.seed)
        return training.train(config, **given)

    monkeypatch.setattr(sweeping, "train", train)
    found = training.sweep(config, seeds=[5, 7])
    assert begun == [7]
    assert training.sweep(config, seeds=[5, 7]) == found
    assert begun == [7]
    with pytest.raises(OutputError, match=r"loop\.steps = 6, now 2; name"):
        training.sweep(replace(config, loop=replace(config.loop, steps=2)), seeds=[5, 7])


@pytest.mark.slow
def test_a_sweep_whose_samples_have_changed_is_refused(tmp_path: Path) -> None:
    root = write_bars(tmp_path / "bars", 10)
    config = config_for(root, tmp_path / "sweep", epochs=1)
    training.sweep(config, seeds=[5])
    (root / "left" / "3.npz").unlink()
    with pytest.raises(OutputError, match=r"on other samples: left/3\.npz is missing; name"):
        training.sweep(config, seeds=[5, 6])


def test_errors_are_those_of_their_definitions() -> None:
    scores = {k: Score(a, (a - 0.1, a + 0.05), 0.5) for k, a in enumerate((0.7, 0.9, 0.8))}
    found = Combination({}, scores)
    assert found.accuracy == pytest.approx(0.8)
    error = statistics.stdev([0.7, 0.9, 0.8]) / math.sqrt(3)
    assert found.standard_error_over_seeds == pytest.approx(error)
    assert found.interval_95 == pytest.approx((0.7, 0.85))
    assert math.isnan(Combination({}, {0: scores[0]}).standard_error_over_seeds)


def test_a_score_is_the_mean_over_its_test_parts() -> None:
    # Models of before hold standard errors; the interval comes from accuracies and counts.
    parts = {"a_accuracy": 0.6, "a_samples": 10, "a_standard_error": 0.15}
    alone = sweeping._score_of({"validation_a_accuracy": 0.5, **parts})
    assert alone == Score(0.6, wilson(6, 10), 0.5)
    parts |= {"b_accuracy": 0.8, "b_samples": 40}
    both = sweeping._score_of({"validation_a_accuracy": 0.5, **parts})
    assert both.accuracy == pytest.approx(0.7)
    below = math.hypot(0.6 - wilson(6, 10)[0], 0.8 - wilson(32, 40)[0])
    above = math.hypot(wilson(6, 10)[1] - 0.6, wilson(32, 40)[1] - 0.8)
    assert both.interval_95 == pytest.approx((0.7 - below / 2, 0.7 + above / 2))


@pytest.mark.parametrize(
    ("keys", "seeds", "message"),
    [
        ({"loop.epoch": [1]}, 1, "unknown key loop.epoch; did you mean 'epochs'"),
        ({"loop.epochs": [1, 0]}, 1, "loop.epochs = 0 is not above 0"),
        ({"loop.epochs": ["many"]}, 1, "loop.epochs = 'many' is str; give int"),
        ({"loop.loss": ["count"]}, 1, "end its layers with neurons and 'count'"),
        ({"loop.epochs": [2, 2]}, 1, "loop.epochs = 2, 2: name each value once"),
        ({"loop.epochs": []}, 1, r"loop.epochs = \[\]: give a list of values"),
        ({"seed": [1, 2]}, 1, "seed: cannot be swept: set seeds instead"),
        ({"output": ["a"]}, 1, "output: cannot be swept"),
        ({}, 0, r"seeds = 0: give a number of at least 1"),
        ({}, [1, 1], r"seeds = \[1, 1\]"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(
    bars: Path, tmp_path: Path, keys: dict, seeds: object, message: str
) -> None:
    keys = {"network.beta": [0.5, 0.8], **keys}
    with pytest.raises(ConfigError, match=message):
        training.sweep(config_for(bars, tmp_path / "sweep"), keys, seeds=seeds)
    assert not (tmp_path / "sweep").exists()


def test_folders_are_told_apart_whatever_the_values_are() -> None:
    values = [{"data.0.path": '"a/b"'}, {"data.0.path": '"a_b"'}, {"data.0.path": "x" * 300}]
    names = sweeping._folders(values)
    assert len(set(names)) == 3
    assert all(len(name) <= 100 and "/" not in name and '"' not in name for name in names)


def test_the_command_prints_a_table(run, bars: Path, tmp_path: Path) -> None:
    training.write_config(config_for(bars, tmp_path / "sweep", epochs=1), tmp_path / "c.toml")
    sweeps = ["--sweep", "network.channels=[3,4],[4,4]", "--sweep", "loop.steps=2"]
    code, out, err = run("train", tmp_path / "c.toml", *sweeps, "--seeds", "2")
    assert code == 0
    head, first, second = out.splitlines()
    assert head.split()[:3] == ["network.channels", "loop.steps", "accuracy"]
    assert first.split()[:2] == ["[3,4]", "2"]
    assert second.split()[-1] == "2"
    assert (tmp_path / "sweep" / "network.channels=_3,4_,loop.steps=2" / "seed-3").is_dir()
    assert "run 4 of 4: network.channels=[4,4], loop.steps=2, seed 4: epoch 1 of 1" in err


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["loop.epochs"], "--sweep 'loop.epochs' is not key=value,value"),
        (["loop.epochs=1", "loop.epochs=2"], "--sweep loop.epochs: occurs twice"),
        (["loop.epoch=1,2"], "unknown key loop.epoch; did you mean 'epochs'"),
    ],
)
def test_a_wrong_sweep_is_one_line(
    run, bars: Path, tmp_path: Path, sweeps: list[str], message: str
) -> None:
    training.write_config(config_for(bars, tmp_path / "sweep"), tmp_path / "c.toml")
    options = [word for text in sweeps for word in ("--sweep", text)]
    code, out, err = run("train", tmp_path / "c.toml", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
