"""A run that is killed at any moment, as often as one likes, ends with the same weights."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from dvskit import training
from dvskit.training import Config
from tests.bars import config_for
from tests.processes import start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
WRITES = 19  # of a run: a split, a configuration, 12 checkpoints, 2 logs, 3 files of a model


def train(config: Config, moment: str, when: int) -> list[float]:
    """Train with a checkpoint behind each step; die at the `when`-th file that is renamed.

    moment  "half": with half of a file written; "ahead": all of it, under another name yet;
            "behind": under its own
    """
    ticks, rename, renamed = itertools.count(0.0, 600.0), Path.replace, itertools.count(1)
    time.monotonic = lambda: next(ticks)  # in this process alone

    def rename_or_die(partial: Path, target: Path) -> Path:
        dying = next(renamed) == when
        if dying and moment == "half":
            os.truncate(partial, partial.stat().st_size // 2)
        if dying and moment != "behind":
            os.kill(os.getpid(), signal.SIGKILL)
        done = rename(partial, target)
        if dying:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = rename_or_die  # type: ignore[method-assign]
    return [row["loss"] for row in training.train(config).history]


def trained_or_killed(config: Config, moment: str = "never", when: int = 0) -> list[float] | None:
    """Train in a process of its own; return the losses, None if it was killed."""
    process, answer = start(train, config, moment, when)
    process.join(120)
    if process.exitcode == 0:
        return list(answer.recv())
    assert process.exitcode == -signal.SIGKILL
    return None


@pytest.fixture(scope="module")
def whole(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    losses = trained_or_killed(config_for(bars, folder))
    assert losses is not None
    return folder, losses


def arrays(folder: Path) -> dict[str, Any]:
    return {
        f"{name}/{key}": value
        for name in ("checkpoint", "weights")
        for key, value in load_file(folder / f"{name}.safetensors").items()
    }


def log_of(folder: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((folder / "log.csv").read_text("utf-8").splitlines())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def check_same(folder: Path, losses: list[float], whole: tuple[Path, list[float]]) -> None:
    assert losses == whole[1]
    assert log_of(folder) == log_of(whole[0])
    found, expected = arrays(folder), arrays(whole[0])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.array_equal(found[key], value), key
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole[0].iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "kills"),
    [
        ("half", (4, 8, 99)),
        *(
            pytest.param(moment, (*range(1, WRITES + 1, 2), 99), marks=pytest.mark.campaign)
            for moment in ("half", "ahead", "behind")
        ),
    ],
)
def test_a_run_killed_again_and_again_gives_the_same_weights_bit_for_bit(
    bars: Path, tmp_path: Path, whole: tuple[Path, list[float]], moment: str, kills: tuple[int, ...]
) -> None:
    folder = tmp_path / "run"
    config = config_for(bars, folder)
    killed = 0
    for when in kills:
        losses = trained_or_killed(config, moment, when)
        if losses is not None:
            break
        killed += 1
        checkpoint = folder / "checkpoint.safetensors"
        assert not checkpoint.exists() or load_file(checkpoint)
    assert killed >= 2
    assert losses is not None
    check_same(folder, losses, whole)


@pytest.mark.campaign
@pytest.mark.parametrize("before_the_end", range(4))
def test_a_run_killed_while_its_log_or_model_is_written_writes_it_again(
    bars: Path, tmp_path: Path, whole: tuple[Path, list[float]], before_the_end: int
) -> None:
    config = config_for(bars, tmp_path / "run")
    assert trained_or_killed(config, "half", WRITES - before_the_end) is None
    losses = trained_or_killed(config)
    assert losses is not None
    check_same(tmp_path / "run", losses, whole)
