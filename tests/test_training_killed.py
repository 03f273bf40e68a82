"""A run that is killed at any moment, as often as one likes, ends with the same weights."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from dvskit import training
from dvskit.__main__ import main
from dvskit.training import Config
from tests.bars import config_for, write_bars
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


# -- the command, interrupted at any moment

MOMENTS = 5  # of each signal


def command(place: Path, words: list[str]) -> int:
    """Run `dvskit` in a folder; return its exit code. The file `ready` appears just before."""
    os.chdir(place)
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["dvskit", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    (place / "ready").touch()
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return 130
    return 0


def run_until(place: Path, words: list[str], when: float | None, sent: int = 0) -> bool:
    """Run a command, and send it a signal `when` seconds later; return whether it finished."""
    (place / "ready").unlink(missing_ok=True)
    process, answer = start(command, place, words, DVSKIT_CACHE=str(place / "cache"))
    while not (place / "ready").exists() and process.is_alive():
        time.sleep(0.005)
    if when is not None:
        process.join(when)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, sent)
    process.join(300)
    try:
        code = answer.recv()
    except EOFError:
        code = process.exitcode
    log = (place / "log").read_text()
    assert code == 0 or (when is not None and code in (130, 143, -sent)), log[-2000:]
    assert "another configuration" not in log
    return bool(code == 0)


def words_for(kind: str, output: str) -> list[str]:
    if kind == "folder":
        return ["train", "set", "-o", output, "--set", "loop.steps=1"]
    return ["train", "bars.toml", "--set", f"output={output}"]


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["folder", "configuration"])
def test_a_command_interrupted_at_any_moment_ends_with_the_weights_of_one_left_alone(
    kind: str, tmp_path: Path
) -> None:
    write_bars(tmp_path / "set", 6)
    config = config_for(Path("set"), Path("alone"), epochs=8)
    config = replace(config, loop=replace(config.loop, steps=3))
    training.write_config(config, tmp_path / "bars.toml")
    assert run_until(tmp_path, words_for(kind, "alone"), None)
    began = time.monotonic()  # loops are compiled and clips emulated by now
    assert run_until(tmp_path, words_for(kind, "again"), None)
    took = time.monotonic() - began
    expected = load_file(tmp_path / "alone" / "weights.safetensors")
    rng = np.random.default_rng(1)
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        interrupted = finished = 0
        while interrupted < MOMENTS or not finished:
            words = words_for(kind, f"{sent}-{finished}")
            last = interrupted >= MOMENTS
            if not run_until(tmp_path, words, None if last else rng.uniform(0, took), sent):
                interrupted += 1
                continue
            found = load_file(tmp_path / f"{sent}-{finished}" / "weights.safetensors")
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                assert np.array_equal(found[key], value), key
            finished += 1
