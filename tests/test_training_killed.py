"""A run that is killed at any moment, as often as one likes, ends with the same weights."""

from __future__ import annotations

import csv
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from dvskit import _files, training
from dvskit.training import Config, running
from tests.bars import config_for
from tests.processes import start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
WRITES = 33  # of a run: a split, a configuration, 24 checkpoints, 4 logs, 3 files of a model


def train(config: Config, moment: str, when: float) -> list[float]:
    """Train with a checkpoint behind each step; die at the `when`-th write, or so many seconds on.

    moment  "half": with half of a file written; "ahead": all of it, under another name yet;
            "behind": under its own; "later": whatever is being done
    """
    running._EVERY_SECONDS, running._KEPT_SECONDS = -1.0, -1.0
    finish, written = _files.finish, 0

    def finish_or_die(partial: Path, target: Path) -> None:
        nonlocal written
        written += 1
        if written == when and moment == "half":
            os.truncate(partial, partial.stat().st_size // 2)
        if written == when and moment in ("half", "ahead"):
            os.kill(os.getpid(), signal.SIGKILL)
        finish(partial, target)
        if written == when and moment == "behind":
            os.kill(os.getpid(), signal.SIGKILL)

    def die(at: object) -> None:
        if moment == "later":
            threading.Thread(target=die_later, daemon=True).start()

    def die_later() -> None:
        time.sleep(when)
        os.kill(os.getpid(), signal.SIGKILL)

    _files.finish = finish_or_die
    trained = training.train(config, progress=die)
    return [row["loss"] for row in trained.history]


def config_of(bars: Path, output: Path) -> Config:
    return config_for(bars, output, epochs=4)


@pytest.fixture(scope="module")
def whole(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    process, answer = start(train, config_of(bars, folder), "never", 0)
    losses = answer.recv()
    process.join()
    assert process.exitcode == 0
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
@pytest.mark.parametrize("moment", ["half", "ahead", "behind", "later"])
def test_a_run_killed_again_and_again_gives_the_same_weights_bit_for_bit(
    bars: Path, tmp_path: Path, whole: tuple[Path, list[float]], moment: str
) -> None:
    rng = np.random.default_rng(sum(moment.encode()))
    config, kills = config_of(bars, tmp_path / "run"), 0
    while True:
        spared = kills >= 5
        when = rng.uniform(0, 0.3) if moment == "later" else int(rng.integers(2, 12))
        process, answer = start(train, config, "never" if spared else moment, when)
        process.join(120)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    check_same(tmp_path / "run", answer.recv(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("before_the_end", range(4))
def test_a_run_killed_while_its_log_or_model_is_written_writes_it_again(
    bars: Path, tmp_path: Path, whole: tuple[Path, list[float]], before_the_end: int
) -> None:
    config = config_of(bars, tmp_path / "run")
    process, _ = start(train, config, "half", WRITES - before_the_end)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    process, answer = start(train, config, "never", 0)
    check_same(tmp_path / "run", answer.recv(), whole)
    process.join()


@pytest.mark.slow
def test_half_a_checkpoint_is_never_found(bars: Path, tmp_path: Path) -> None:
    config = replace(config_of(bars, tmp_path / "run"), seed=9)
    process, _ = start(train, config, "half", 4)  # the second checkpoint
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert any(_files.unfinished(tmp_path / "run"))
    assert load_file(tmp_path / "run" / "checkpoint.safetensors")


@pytest.mark.slow
def test_what_a_run_leaves_where_it_is_killed_is_known_by_its_name(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, replace_file = [], Path.replace

    def note(partial: Path, target: Path) -> Path:
        known = {path for path, _ in _files.unfinished(partial.parent)}
        seen.append({path for path in partial.parent.iterdir() if path.name[0] == "."} == known)
        return replace_file(partial, target)

    written, write = [], Path.write_bytes
    monkeypatch.setattr(Path, "replace", note)
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: written.append(path.suffix) or
                        write(path, data))  # fmt: skip
    training.train(replace(config_of(bars, tmp_path / "run"), seed=9))
    assert seen
    assert all(seen)
    assert written.count(".safetensors") >= 2  # checkpoints and the model, by no library's own way
