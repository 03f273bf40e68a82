"""From a configuration to a folder with a model that makes images from events.

A run can be interrupted at any moment. The same command continues from the last checkpoint, to the
weights of a run that was never interrupted, on the same machine with the same number of threads. A
finished run is judged again, not trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit._toml import to_toml
from dvskit.errors import ConfigError
from dvskit.models.model import make_folder
from dvskit.networks.model_folder import DIGEST, MODEL_TOML, WEIGHTS, check_finite, packed
from dvskit.reconstruction.model import TASK, ReconstructionModel, load_reconstruction_model
from dvskit.training.checkpoint import check_same_run, load_checkpoint, save_checkpoint
from dvskit.training.device import keep_memory
from dvskit.training.loop import check_place, checkpoint_of, write_log
from dvskit.training.reconstruction.card import card_text
from dvskit.training.reconstruction.config import (
    ReconstructionConfig,
    load_reconstruction_config,
)
from dvskit.training.reconstruction.feed import SequenceFeed
from dvskit.training.reconstruction.loop import ReconstructionRun
from dvskit.training.running import Progress


@dataclass(frozen=True, slots=True)
class TrainedReconstruction:
    """The result of a run: the best model, its folder, the log, and scores on judged sequences."""

    model: ReconstructionModel
    folder: Path
    history: tuple[Mapping[str, float], ...]
    scores: Mapping[str, float]


@check_arguments
def train_reconstruction(
    config: ReconstructionConfig | str | PathLike[str],
    *,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> TrainedReconstruction:
    """Train a network from events to images by a configuration, or its file.

    progress  called about once a second and at the end of each epoch
    note      called with a line about each part of the material

    `config.output` then holds the model, its card, config.toml, log.csv and a checkpoint, written
    after each epoch and every five minutes within one. The run keeps the averaged weights of the
    epoch with the least 1 - SSIM + sqrt(MSE) on the validation sequences. Only these are scored on
    the judged sequences, once. The same call continues an interrupted run. A script needs no
    `if __name__ == "__main__"`: the processes that emulate do not import it.

    Raises OutputError, with the difference, if `output` holds a run with another configuration;
    ModelError for a damaged checkpoint or `start`; ConfigError for the material, for a `start` of
    another network, and if training diverges.
    """
    if not isinstance(config, ReconstructionConfig):
        config = load_reconstruction_config(config)
    folder = Path(config.output)
    at = load_checkpoint(checkpoint_of(folder), config.values)
    check_same_run(folder, config.values)
    check_place(folder)
    start = _start_of(config) if at is None and config.start else None
    feed = SequenceFeed(config)
    if note is not None:
        for part, has in feed.maker.materials.items():
            named = ", ".join((*has.photographs, *has.clips))
            note(f"{part}: {getattr(config.sequences, part):,} sequences; {named or 'drawn'}")
    keep_memory()
    make_folder(folder)
    for unfinished in _files.unfinished(folder):  # by a run that was killed
        _files.discard(*unfinished)
    _files.write_whole(folder / "config.toml", to_toml(config.values), overwrite=True)
    keep = partial(save_checkpoint, checkpoint_of(folder))
    with torch.random.fork_rng(), feed:
        run = ReconstructionRun(config, feed, at, keep, progress, start)
        if run.at.history:  # a kill may have come before the last row of the log
            write_log(folder / "log.csv", run.at.history)
        while not run.ended:
            run.epoch()
            write_log(folder / "log.csv", run.at.history)
            if progress is not None:
                progress(run.last)
        return _finish(run, folder)


def _start_of(config: ReconstructionConfig) -> ReconstructionModel:
    """Return the model that a run begins with. Raises ModelError, ConfigError."""
    start = load_reconstruction_model(config.start)
    if start.network != config.network:
        raise ConfigError(
            f"start = {config.start!r}: its network is another one; copy the [network] of its "
            "model.toml"
        )
    return start


def _finish(run: ReconstructionRun, folder: Path) -> TrainedReconstruction:
    """Score the best weights on the judged sequences, and save the model."""
    config, at = run.config, run.at
    scores = {f"judged_{k}": v for k, v in run.scores("judged", at.best).items()}
    run.module.load_state_dict(at.best)
    epoch = at.kept_epoch()
    best = {f"validation_{k}": at.history[epoch][k] for k in ("mse", "ssim", "temporal")}
    used = {part: [*has.photographs, *has.clips] for part, has in run.feed.maker.materials.items()}
    about: dict[str, Any] = {
        **({"start": config.start} if config.start else {}),
        "seed": config.seed,
        "steps": run.steps,
        "sequences": used,
        "scores": {"epoch": epoch, "epochs": config.loop.epochs, **best, **scores},
    }
    model = ReconstructionModel(config.name, config.network, run.module.eval().cpu(), about)
    save_reconstruction_model(folder, model)
    _files.write_whole(folder / "README.md", card_text(model, config, scores), overwrite=True)
    return TrainedReconstruction(model, folder, tuple(at.history), scores)


@check_arguments
def save_reconstruction_model(folder: str | PathLike[str], model: ReconstructionModel) -> Path:
    """Write model.toml and weights.safetensors to a folder, and return it.

    Raises ModelError for weights that are not finite, OutputError.
    """
    target = Path(folder)
    check_finite(model.module.state_dict(), model.name)
    make_folder(target)
    weights, digest = packed(model.module)
    values = {
        "task": TASK, "name": model.name, DIGEST: digest, "network": model.network.values,
        **model.about,
    }  # fmt: skip
    _files.write_whole(target / WEIGHTS, weights, overwrite=True)
    _files.write_whole(target / MODEL_TOML, to_toml(values), overwrite=True)
    return target
