"""Outputs that are whole or not at all: who may read them, and what is left beside them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dvskit
from dvskit import _files
from dvskit.networks import ConvLIF
from dvskit.training import InputConfig, Model, save_model
from dvskit.training.checkpoint import Checkpoint, save_checkpoint
from tests.test_events import make


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def new_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of a new file while a umask is set."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_all_outputs_follow_the_umask(tmp_path: Path, new_mode: int) -> None:
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    model = Model("m", network, network.build(), InputConfig(), ("a", "b"))
    save_model(tmp_path / "model", model)
    save_checkpoint(tmp_path / "model" / "checkpoint.safetensors", Checkpoint("", weights={
        "w": torch.zeros(3)}))  # fmt: skip
    for suffix in ("npz", "raw", "aedat4", "hdf5", "bag", "db3", "mcap", "csv"):
        dvskit.save_events(make(50), tmp_path / f"events.{suffix}")
    dvskit.render.page(make(50), tmp_path / "page.html")
    dvskit.render.cloud(make(50), tmp_path / "cloud.png", width_px=100, height_px=100)
    dvskit.render.video(make(50), tmp_path / "video.mp4")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 14
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert modes == dict.fromkeys(modes, new_mode)


def test_a_file_that_a_library_made_private_is_opened_and_nothing_stays_beside_it(
    tmp_path: Path, new_mode: int
) -> None:
    with _files.whole_file(tmp_path / "out.bin") as partial:
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == new_mode
