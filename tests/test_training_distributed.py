"""Several processes train one network as one process does with the same batches."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import training
from dvskit.errors import ConfigError, FormatError
from dvskit.networks import Layered
from dvskit.training import Config
from dvskit.training.distributed import World, check_together
from tests.bars import config_for
from tests.laws import refused
from tests.processes import children_of, together

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
LAYERS = ("4C3s2", "lif", "D0.2", "4C3", "lif", "D0.3", "2")
NORMED = ("4C3s2", "tdbn", "lif", "4C3", "bn", "lif", "D0.3", "2")


def config_together(bars: Path, output: Path, layers: tuple[str, ...] = LAYERS) -> Config:
    config = config_for(bars, output)
    network = Layered(width=16, height=16, classes=2, layers=layers)
    # Ten samples in batches of 3, 3, 3 and 1: of the last there is none for a second process.
    entry = replace(config.data[0], count=3)
    loop = replace(config.loop, steps=0, clip_norm=0.5, precision="float32")
    return replace(config, network=network, data=(entry,), loop=loop)


def train_rank(config: Config, stop_at: int = -1, fail_rank: int = -1) -> Any:
    """Train with a checkpoint behind each step.

    The leader breaks off behind a step, or a rank fails at its second.
    """
    ticks = itertools.count(0.0, 600.0)
    time.monotonic = lambda: next(ticks)  # in this process alone
    take, taken = torch.optim.AdamW.step, itertools.count(1)

    def step(*given: Any) -> Any:
        if next(taken) == 2 and int(os.environ["RANK"]) == fail_rank:
            raise FormatError("digit.bin: is damaged")
        return take(*given)

    torch.optim.AdamW.step = step  # type: ignore[method-assign]

    def interrupt(at: training.Progress) -> None:
        if at.step == stop_at:
            raise KeyboardInterrupt

    trained = training.train(config, progress=interrupt)
    results = {name: str(result) for name, result in trained.results.items()}
    state = {key: value.numpy() for key, value in trained.model.module.state_dict().items()}
    return trained.history, results, state


def check_alike(found: Any, alone: training.Trained, rtol: float = 1e-4) -> None:
    """Check that losses, and weights, are those of one process but for rounding.

    The gradient of a bias ahead of a normalization is rounding alone, which Adam makes steps of:
    it differs from run to run, and so do the running means that follow it.
    """
    history, _, state = found
    for row, expected in zip(history, alone.history, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert row["rate"] == expected["rate"]
    for name, weight in alone.model.module.state_dict().items():
        if "weight" in name or not name.startswith(("conv", "norm")):
            found_weight = torch.from_numpy(state[name])
            torch.testing.assert_close(found_weight, weight, rtol=rtol, atol=rtol / 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "layers"),
    [
        (2, NORMED),
        pytest.param(2, LAYERS, marks=pytest.mark.campaign),
        pytest.param(3, LAYERS, marks=pytest.mark.campaign),
    ],
)
def test_processes_together_give_the_losses_and_the_weights_of_one(
    bars: Path, tmp_path: Path, count: int, layers: tuple[str, ...]
) -> None:
    alone = training.train(config_together(bars, tmp_path / "alone", layers))
    first, *others = together(count, train_rank, config_together(bars, tmp_path / "run", layers))
    check_alike(first, alone, 1e-3)
    for other in others:
        assert [row["loss"] for row in other[0]] == [row["loss"] for row in first[0]]
        assert all(np.array_equal(other[2][name], first[2][name]) for name in first[2])
    if layers == LAYERS:
        assert first[1] == {name: str(result) for name, result in alone.results.items()}
    saved = training.load_model(tmp_path / "run").module.state_dict()
    assert all(np.array_equal(first[2][name], value.numpy()) for name, value in saved.items())
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {path.name for path in alone.folder.iterdir()}


@pytest.mark.campaign
def test_an_interrupted_run_of_processes_goes_on_to_the_same_losses(
    bars: Path, tmp_path: Path
) -> None:
    alone = training.train(config_together(bars, tmp_path / "alone"))
    config = config_together(bars, tmp_path / "run")
    first, second = together(2, train_rank, config, 6)
    assert first.startswith("KeyboardInterrupt")
    assert second.startswith("ProcessError")
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    check_alike(together(2, train_rank, config)[0], alone)


@pytest.mark.campaign
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_process_ends_the_others(bars: Path, tmp_path: Path, rank: int) -> None:
    answers = together(2, train_rank, config_together(bars, tmp_path / "run"), -1, rank)
    assert answers[rank] == "FormatError: digit.bin: is damaged"
    assert answers[1 - rank].startswith("ProcessError")


def test_normalization_of_torchs_own_is_refused_in_several_processes() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    check_together(module, World())
    with refused(ConfigError, "layer 1", "BatchNorm1d"):
        check_together(module, World(0, 2))


# -- torchrun


def launched(config: Config, folder: Path, nodes: int, *options: str) -> list[subprocess.Popen]:
    """Start torchrun for two processes in all, on some nodes, which are all this machine.

    Each node writes what it says to a file of its number.
    """
    training.write_config(config, folder / "config.toml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", place, "--nnodes", str(nodes), *options]
    command += ["--nproc-per-node", str(2 // nodes)]
    command += ["-m", "dvskit", "train", str(folder / "config.toml")]
    environment = os.environ | {"DVSKIT_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as `together`
    started = []
    for number in range(nodes):
        with (folder / str(number)).open("w") as said:
            started.append(
                subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
            )
    return started


def check_ended(started: list[subprocess.Popen], folder: Path, output: str, weights: Any) -> None:
    """Wait for torchrun to end well, and compare the weights; one process has printed."""
    codes = [each.wait(120) for each in started]
    said = "".join((folder / str(number)).read_text() for number in range(len(started)))
    assert codes == [0] * len(started), said
    assert said.count(" (95 % interval ") == 1
    for name, weight in training.load_model(output).module.state_dict().items():
        np.testing.assert_array_equal(weight, weights[name], err_msg=name)


@pytest.mark.campaign
@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_starts_the_command_on_nodes_that_meet_at_a_port(
    bars: Path, tmp_path: Path, nodes: int
) -> None:
    config = config_for(bars, tmp_path / "one", epochs=3)
    _, _, weights = together(2, train_rank, config)[0]
    config = replace(config, output=str(tmp_path / "two"))
    check_ended(launched(config, tmp_path, nodes), tmp_path, config.output, weights)


@pytest.mark.campaign
def test_a_killed_process_is_started_again_and_the_weights_are_those_of_an_undisturbed_run(
    bars: Path, tmp_path: Path
) -> None:
    config = config_for(bars, tmp_path / "undisturbed", epochs=30)
    _, _, undisturbed = together(2, train_rank, config)[0]
    config = replace(config, output=str(tmp_path / "disturbed"))
    started = launched(config, tmp_path, 1, "--max-restarts", "1")
    log, said = tmp_path / "disturbed" / "log.csv", tmp_path / "0"
    while not (log.is_file() and len(log.read_text().splitlines()) > 5):
        assert started[0].poll() is None, said.read_text()
        time.sleep(0.01)
    other, killed = children_of(started[0].pid)
    os.kill(other, signal.SIGSTOP)  # else it may fail before torchrun sees the killed one
    os.kill(killed, signal.SIGKILL)
    while "closing signal SIGTERM" not in said.read_text():
        time.sleep(0.01)
    os.kill(other, signal.SIGCONT)
    check_ended(started, tmp_path, config.output, undisturbed)
    assert "exitcode: -9" in said.read_text()
