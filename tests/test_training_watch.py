"""Who looks on while a network is trained: metrics of one's own, and TensorBoard's points."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from dvskit import training
from dvskit.errors import ConfigError
from dvskit.training import Progress, running
from tests.bars import config_for
from tests.test_training import same, weights


def right(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean()


def meddling(logits: Tensor, labels: Tensor) -> float:
    logits.zero_()
    labels.fill_(1)
    torch.manual_seed(5)
    return float(torch.rand(1))


@pytest.mark.slow
def test_metrics_are_columns_of_the_log_and_change_no_weight(
    trained: training.Trained, bars: Path, tmp_path: Path
) -> None:
    config = config_for(bars, tmp_path / "run")
    watched = training.train(config, metrics={"meddling": meddling, "right": right})
    assert same(weights(watched.folder), weights(trained.folder))
    for row, plain in zip(watched.history, trained.history, strict=True):
        assert row["right"] == row["recordings_right"] == pytest.approx(row["accuracy"])
        assert {key: row[key] for key in plain if key != "seconds"} == {
            key: plain[key] for key in plain if key != "seconds"
        }
    with (watched.folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["meddling"]) for row in rows] == [row["meddling"] for row in watched.history]


@pytest.mark.slow
def test_a_run_goes_on_with_other_metrics_than_it_began_with(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run")

    def interrupt(at: Progress) -> None:
        if at.scores:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, progress=interrupt)
    training.train(config, metrics={"right": right})
    with (tmp_path / "run" / "log.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["right"] == ""
    assert second["right"] == second["recordings_right"] != ""


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"loss": right}, r"metric 'loss': log.csv has .*loss.* already"),
        ({"right": 3}, "metric 'right' is int; give a function of logits and labels"),
        (
            {"all": lambda logits, labels: logits},
            "metric 'all' gave Tensor for recordings; return one",
        ),
        (
            {"none": lambda logits, labels: None},
            "metric 'none' gave NoneType for recordings; return one",
        ),
    ],
)
def test_what_is_no_metric_is_refused(
    bars: Path, tmp_path: Path, metrics: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        training.train(config_for(bars, tmp_path / "run", epochs=1), metrics=metrics)


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(at.step, at.value) for at in found.Scalars(name)] for name in names}


def test_tensorboard_has_the_points_of_the_log_and_changes_no_weight(
    trained: training.Trained, bars: Path, tmp_path: Path
) -> None:
    watched = training.train(config_for(bars, tmp_path / "run"), tensorboard=True)
    assert same(weights(watched.folder), weights(trained.folder))
    found = points(watched.folder / "tensorboard")
    assert [step for step, _ in found["loss/step"]] == list(range(1, 13))
    assert found["rate"][0] == (1, pytest.approx(0.02))
    for name in ("accuracy", "validation_loss", "recordings_accuracy", "recordings_loss"):
        logged = [(6 * k + 6, pytest.approx(row[name])) for k, row in enumerate(trained.history)]
        assert found[f"validation/{name}"] == logged
    mean = sum(loss for _, loss in found["loss/step"][:6]) / 6
    assert found["loss/epoch"][0] == (6, pytest.approx(mean))
    assert not (trained.folder / "tensorboard").exists()


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [3, 6, 8])
def test_a_resumed_run_doubles_no_point(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    monkeypatch.setattr(running, "_EVERY_SECONDS", -1.0)
    config = config_for(bars, tmp_path / "run")

    def interrupt(at: Progress) -> None:
        if at.step == at_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, progress=interrupt, tensorboard=True)
    trained = training.train(config, tensorboard=True)
    found = points(trained.folder / "tensorboard")
    assert [step for step, _ in found["loss/step"]] == list(range(1, 13))
    assert [step for step, _ in found["validation/accuracy"]] == [6, 12]
    whole = sum(loss for _, loss in found["loss/step"]) / 12
    assert whole == pytest.approx(sum(row["loss"] for row in trained.history) / 2)


def test_without_tensorboard_the_fix_is_named_and_nothing_is_begun(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'dvskit\[tensorboard\]'"):
        training.train(config_for(bars, tmp_path / "run"), tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_the_command_writes_points_where_it_is_asked_to(run, bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run", epochs=1)
    training.write_config(config, tmp_path / "config.toml")
    assert run("train", tmp_path / "config.toml", "--tensorboard")[0] == 0
    assert len(points(tmp_path / "run" / "tensorboard")["loss/step"]) == 6


@pytest.mark.slow
def test_tensorboard_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, dvskit.training; print('tensorboard' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
