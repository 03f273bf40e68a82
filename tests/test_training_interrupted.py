"""The same command continues an interrupted run, and its weights are those of one left alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dvskit.__main__ import main
from dvskit.training.toml_config import write_config
from tests.bars import config_for, write_bars
from tests.processes import start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
MOMENTS = 5  # of each kind of run: ten for each signal


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


def words_for(kind: str, place: Path, output: str) -> list[str]:
    if kind == "folder":
        return ["train", "set", "-o", output, "--set", "loop.steps=1"]
    return ["train", "bars.toml", "--set", f"output={output}"]


@pytest.fixture(scope="module", params=["folder", "configuration"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def alone(kind: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with samples and a run that was left alone, and how long the run took."""
    place = tmp_path_factory.mktemp(kind)
    write_bars(place / "set", 6)
    if kind == "configuration":
        config = config_for(Path("set"), Path("alone"), epochs=8)
        write_config(replace(config, loop=replace(config.loop, steps=3)), place / "bars.toml")
    assert run_until(place, words_for(kind, place, "alone"), None)
    began = time.monotonic()  # loops are compiled and clips emulated by now
    assert run_until(place, words_for(kind, place, "again"), None)
    return place, time.monotonic() - began


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_run_interrupted_at_any_moment_ends_with_the_weights_of_one_left_alone(
    kind: str, alone: tuple[Path, float], name: str
) -> None:
    (place, took), sent = alone, getattr(signal, name)
    expected = load_file(place / "alone" / "weights.safetensors")
    rng = np.random.default_rng(sent)
    interrupted = finished = turn = 0
    while interrupted < MOMENTS or not finished:
        words = words_for(kind, place, f"{name}-{finished}")
        last = interrupted >= MOMENTS
        turn += 1
        assert turn < 10 * MOMENTS
        if not run_until(place, words, None if last else rng.uniform(0, took), sent):
            interrupted += 1
            continue
        found = load_file(place / f"{name}-{finished}" / "weights.safetensors")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert np.array_equal(found[key], value), key
        finished += 1
