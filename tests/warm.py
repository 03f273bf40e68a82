"""Loads what training uses, in the process that tests fork others from; it starts no thread."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot  # noqa: F401
import torch

import dvskit.cli.train
import dvskit.render.plots
import dvskit.training.folder  # noqa: F401
from dvskit.training.sets import load_feed
from tests.bars import config_for, write_bars

os.environ["DVSKIT_THREADS"] = "1"
torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    config = config_for(write_bars(Path(folder) / "bars", 10), Path(folder) / "run")
    counts, _ = next(load_feed(config).train.epoch(0))
    network = config.network.build()
    network(counts)
    torch.optim.AdamW(network.parameters())  # loads torch's compiler, which takes a second
