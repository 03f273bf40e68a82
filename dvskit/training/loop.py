"""Training: from a configuration to a folder with the best weights by validation.

A run can be interrupted at any moment, by Ctrl-C, SIGTERM, kill -9 or a power cut. The same
command continues from the last checkpoint, to the weights of a run that was never interrupted, on
the same machine with the same number of threads. A finished run is judged again, not trained again.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit.datasets import ImageBatches
from dvskit.errors import FittedWarning, OutputError
from dvskit.models.entries import data_values
from dvskit.models.inputs import InputConfig, is_weighed
from dvskit.models.likeness import ActivityLikeness, fit_likeness, likeness_of
from dvskit.models.model import Model, emulation_values, make_folder, write_model
from dvskit.models.own_networks import GivenSamples
from dvskit.models.rejection import reject_on
from dvskit.models.run_samples import Used, split_text, used_samples
from dvskit.models.scores import Result, judge_with_notes
from dvskit.networks import Network
from dvskit.training.checkpoint import (
    SPLIT,
    check_same_run,
    check_same_samples,
    load_checkpoint,
    save_checkpoint,
)
from dvskit.training.config import Config, config_values, write_config
from dvskit.training.device import keep_memory
from dvskit.training.distributed import World, joined
from dvskit.training.feed import Feed, load_feed
from dvskit.training.own import task_of
from dvskit.training.running import (
    Board,
    Progress,
    TrainingRun,
    Watch,
    check_tensorboard,
)
from dvskit.training.sets import TrainingSet, emulation_of
from dvskit.training.start import with_earlier_samples
from dvskit.training.validation import Metric, check_metrics

_MANY_SAMPLES = 1000  # from so many, the activity of layers shows which inputs are alike


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run: the best model, its folder, the log, and scores on the test parts.

    `history` has a row of numbers for each epoch; `results` are by the name of the data:
    "samples" for those that are passed, else the names of the entries [[data]].

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        trained = dvskit.training.train(network, samples, output="runs/trained", loop=loop)
        trained.results["samples"].accuracy  # of the test part
        trained.history[0]["loss"]  # of the first epoch
    """

    model: Model
    folder: Path
    history: tuple[Mapping[str, float], ...]
    results: Mapping[str, Result]

    def __repr__(self) -> str:
        scores = [f"{name} {100 * each.accuracy:.1f} %" for name, each in self.results.items()]
        tested = f"; test: {', '.join(scores)}" if scores else ""
        return f"<Trained {self.model!r} in {self.folder}{tested}>"


@check_arguments
def train(
    config: Config | str | PathLike[str] | Network | nn.Module,
    samples: GivenSamples | None = None,
    *,
    input: InputConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    tensorboard: bool = False,
    **fields: Any,
) -> Trained:
    """Train a network by a configuration, or any torch.nn.Module.

    config       a configuration, or its file; or a network: a module that maps (T, B, ...) to
                 logits (B, classes), or a description of one
    samples      the samples to learn from, in place of the configuration's sets; or their
                 parts (`dvskit.datasets.SplitSamples`)
    input        how events become the input, in place of the configuration's or InputConfig()
    fields       of the configuration, in place of its own or of the default: `output` (of a module
                 runs/<its class>), `loop`, `seed`, `name`; and `data`, a tuple of one DataConfig
                 without a path, for the split and random changes of the samples:
                 train(module, samples, output="runs/mine", loop=LoopConfig(epochs=3))
    progress     called about once a second and at the end of each epoch
    note         called with each line about an assumption made when opening the samples
    metrics      your own scores, {name: function(logits (N, classes), labels (N,)) -> number},
                 computed on each validation part at the end of each epoch: columns `<part>_<name>`
                 of log.csv, and `<name>`, their mean. They do not choose the epoch
    tensorboard  whether the loss and rate of each step and the scores of each epoch are written to
                 `output`/tensorboard; needs the package tensorboard

    `config.output` then holds the model, config.toml, log.csv and a checkpoint, written after each
    epoch and every five minutes within one. The run keeps the weights of the epoch with the best
    validation accuracy: the mean over the entries [[data]] with a validation part; of equals, the
    epoch with the least loss. Only these weights are judged on the test parts. The same call
    continues an interrupted run. On Linux the process keeps its used memory (`keep_memory`).

    A module is trained in place. Its input has the size of the first sample, unless a
    `dvskit.networks.ModuleNetwork` describes it. Each call begins at rest: networks of snntorch and
    spikingjelly reset their states at the start of forward. `load_model(folder, networks={"MyNet":
    MyNet})` loads your own networks. A class that needs arguments gives a UserWarning: train
    `ModuleNetwork(module=MyNet, width=, height=, classes=, arguments={"hidden": 16})`, or load with
    networks={"MyNet": lambda: MyNet(16)}. A network that could not be saved is an error.

    Processes that torchrun started train one network on a part of each batch each, and all return
    the same result. Batches, random draws, dropout, batch normalisation and losses are those of one
    process, except for rounding. Only the first process writes, and calls `progress` and `note`. On
    several machines each reads the data from the configuration's paths; the output is on the first.

    Raises OutputError, with the difference, if `output` holds a run with another configuration or
    other samples; ModelError for a damaged checkpoint; ConfigError and FormatError for the data;
    ProcessError if another process of the run has ended.

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        trained = dvskit.training.train(network, samples, output="runs/mine", loop=loop)
        trained.results["samples"].accuracy  # from 0 to 1
    """
    given = fields if input is None else {**fields, "input": input}
    config, sets = task_of(config, samples, given)
    return train_sets(
        config, sets, progress=progress, note=note, metrics=metrics, tensorboard=tensorboard
    )


def train_sets(
    config: Config,
    sets: Sequence[TrainingSet] | None,
    *,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    tensorboard: bool = False,
) -> Trained:
    """Train by a configuration on its sets, opened and split, as `train` does; None opens them."""
    given = dict(metrics or {})
    check_metrics(given)
    if tensorboard:
        check_tensorboard()
    with joined() as world, ExitStack() as stack:
        if not world.is_main:
            progress, note, tensorboard = None, None, False
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", FittedWarning)  # the first process gives them
        watch = Watch(partial(save_checkpoint, checkpoint_of(Path(config.output))), progress, given)
        return _train(config, watch, world, sets, note=note, tensorboard=tensorboard)


def checkpoint_of(folder: Path) -> Path:
    """Return the path of the checkpoint in a run's folder, which need not exist."""
    return folder / "checkpoint.safetensors"


def _train(
    config: Config,
    watch: Watch,
    world: World,
    sets: Sequence[TrainingSet] | None,
    *,
    note: Callable[[str], None] | None,
    tensorboard: bool,
) -> Trained:
    folder = Path(config.output)
    at = None
    if world.is_main:
        at = load_checkpoint(checkpoint_of(folder), config_values(config))
        check_same_run(folder, config_values(config))
        check_place(folder)
    at = world.from_main(at)
    feed = load_feed(config, sets)
    if note is not None:
        for line in feed.notes:
            note(line)
    keep_memory()
    with torch.random.fork_rng():  # the caller's generator stays as it was
        run = TrainingRun(config, feed, at, watch, world)
        used = with_earlier_samples(run.start, used_samples(feed.split))
        if world.is_main:
            _begin(config, folder, used, resumed=at is not None)
        if tensorboard:
            run.watch = replace(watch, board=Board(folder, run.done))
        try:
            if world.is_main and run.at.history:  # a kill may have come before its last row
                write_log(folder / "log.csv", run.at.history)
            while not run.ended:
                run.epoch()
                if world.is_main:
                    write_log(folder / "log.csv", run.at.history)
                if watch.progress is not None:
                    watch.progress(run.last)
        finally:
            if run.watch.board is not None:
                run.watch.board.writer.close()
    run.module.load_state_dict(run.at.best)
    return _finish(config, feed, run, used)


def _begin(config: Config, folder: Path, used: tuple[Used, ...], *, resumed: bool) -> None:
    """Write the files that identify a run when it is resumed, before its first step.

    Raises OutputError if a run is resumed with other samples.
    """
    if resumed:
        check_same_samples(folder, used)
    make_folder(folder)
    for unfinished in _files.unfinished(folder):  # by a run that was killed
        _files.discard(*unfinished)
    if used:
        _files.write_whole(folder / SPLIT, split_text(used), overwrite=True)
    write_config(config, folder / "config.toml")


def check_place(folder: Path) -> None:
    """Raise OutputError, before the work, if a folder cannot be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: cannot be made: {there} is no folder; name another output")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{folder}: no permission to write; name another output")


def write_log(path: Path, history: list[dict[str, float]]) -> None:
    """Write the scores of the epochs as a table of comma-separated values."""
    text = io.StringIO()
    columns = dict.fromkeys(name for row in history for name in row)  # metrics may come and go
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows(history)
    _files.write_whole(path, text.getvalue(), overwrite=True)


def _finish(config: Config, feed: Feed, run: TrainingRun, used: tuple[Used, ...]) -> Trained:
    """Judge the best weights on the test parts, once, and save the model."""
    model = Model(config.name, config.network, run.module.eval(), config.input, feed.train.classes)
    test = {}
    if run.world.is_main:
        test = {name: judge_with_notes(model.module, each) for name, each in feed.test.items()}
    test = run.world.from_main(test)
    epoch = run.at.kept_epoch(config.loop.keep)
    best = run.at.history[epoch]
    scores: dict[str, Any] = {"epoch": epoch, "epochs": config.loop.epochs}
    scores |= {f"validation_{k}": best[k] for k in best if k.endswith("_accuracy")}
    for name, result in test.items():
        scores[f"{name}_accuracy"] = result.accuracy
        scores[f"{name}_samples"] = result.samples
        scores[f"{name}_interval_95"] = list(result.interval_95)
    # Paths are private; the values that make the split again are recorded.
    data = [
        {key: value for key, value in data_values(entry).items() if key not in ("path", "augment")}
        for entry in config.data
    ]
    reject = reject_on(model.module, feed.validation.values(), config.input)
    clips = [entry for entry in config.data if entry.kind in ("videos", "mixed", "depth")]
    clips.sort(key=lambda entry: entry.kind == "depth")
    likeness = _likeness(config, feed, run)
    measured = likeness is None and run.world.is_main
    about: dict[str, Any] = {
        "seed": config.seed,
        "reject": asdict(reject),
        **(likeness_of(feed.known, config.input) if measured else {}),
        **({"emulation": emulation_values(emulation_of(clips[0], config))} if clips else {}),
        "data": data,
        "scores": scores,
    }
    if run.start is not None:
        about = {"start": run.start.name, **about}
    folder = Path(config.output)
    model = replace(model, about=about, used=used, likeness=likeness)
    if run.world.is_main:
        write_model(folder, model)
    return Trained(model, folder, tuple(run.at.history), test)


def _likeness(config: Config, feed: Feed, run: TrainingRun) -> ActivityLikeness | None:
    """Return the measure of how unlike inputs are to those of the run, if it is known.

    Layers that stay those of the start keep its likeness. Other layers need many samples.
    """
    if config.loop.trained_layers == "dense" and run.start is not None:
        return run.start.likeness
    batches = feed.train
    if isinstance(batches, ImageBatches) or not (run.world.is_main and is_weighed(config.input)):
        return None
    if sum(len(share.samples) for share in batches.shares) < _MANY_SAMPLES:
        return None
    return fit_likeness(run.module.eval(), batches)
