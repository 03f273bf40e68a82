"""Several processes train one network as one process does with the same batches."""

from __future__ import annotations

import itertools
import os
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

from dvskit import models, training
from dvskit.errors import ConfigError
from dvskit.networks import Layered
from dvskit.training import Config
from dvskit.training.distributed import World, check_together
from tests.bars import config_for
from tests.laws import refused
from tests.processes import together

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


def train_rank(config: Config, stop_at: int = -1) -> Any:
    """Train with a checkpoint behind each step; the leader breaks off behind a step."""
    ticks = itertools.count(0.0, 600.0)
    time.monotonic = lambda: next(ticks)  # in this process alone

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
    saved = models.load_model(tmp_path / "run").module.state_dict()
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


def test_normalization_of_torchs_own_is_refused_in_several_processes() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    check_together(module, World())
    with refused(ConfigError, "layer 1", "BatchNorm1d"):
        check_together(module, World(0, 2))


# -- torchrun


@pytest.mark.campaign
@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_starts_the_command_on_nodes_that_meet_at_a_port(
    bars: Path, tmp_path: Path, nodes: int
) -> None:
    config = config_for(bars, tmp_path / "one")
    _, _, weights = together(2, train_rank, config)[0]
    training.write_config(replace(config, output=str(tmp_path / "two")), tmp_path / "config.toml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", place, "--nnodes", str(nodes)]
    command += ["--nproc-per-node", str(2 // nodes)]
    command += ["-m", "dvskit", "train", str(tmp_path / "config.toml")]
    environment = os.environ | {"DVSKIT_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as `together`
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [subprocess.Popen(command, env=environment, **options) for _ in range(nodes)]
    said = "".join(each.communicate(timeout=120)[0] for each in started)
    assert [each.returncode for each in started] == [0] * nodes, said
    assert said.count(" (95 % interval ") == 1
    for name, weight in models.load_model(tmp_path / "two").module.state_dict().items():
        np.testing.assert_array_equal(weight, weights[name], err_msg=name)
