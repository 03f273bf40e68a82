"""The training loop: batches in, the best weights by the validation part out."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit._progress import Bar, Display
from dvskit.datasets import Images, Split, read_images
from dvskit.errors import OutputError
from dvskit.training._device import pick_device, training_precision
from dvskit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dvskit.training.config import (
    Config,
    config_values,
    load_config,
    to_toml,
    write_config,
)
from dvskit.training.evaluation import Result, add_results, evaluate, judge
from dvskit.training.feed import Feed, image_parts, load_feed
from dvskit.training.memory import keep_memory
from dvskit.training.models import Model, save_model
from dvskit.training.split_file import used_samples

_DATA_KEYS = (
    "validation",
    "test",
    "images_skipped",
    "validation_images",
    "test_images",
    "emulated",
)
_EVERY_SECONDS = 1.0  # how often progress is told within an epoch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    `epoch` of `epochs` is going on or, at its end, done; `step` of `steps` counts over the whole
    run. `loss` is of the last batch, or the epoch's mean at its end, where `scores` holds the
    validation figures too.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """One line for people, such as "epoch 3 of 20, loss 0.412, validation 93.8 %"."""
        text = f"epoch {self.epoch + 1} of {self.epochs}, loss {self.loss:.3f}"
        if self.scores:
            text += f", validation {100 * self.scores['accuracy']:.1f} %"
        return text


@contextmanager
def progress_bar(
    title: str = "training", *, display: Display | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Give what `train` takes as `progress` and shows a bar: in a notebook, on a terminal.

    with progress_bar() as bar:
        train(config, progress=bar)
    """
    with ExitStack() as stack:
        bars: list[Bar] = []

        def show(now: Progress) -> None:
            if not bars:
                bars.append(stack.enter_context(Bar(title, now.steps, "steps", display=display)))
            bars[0](now.step, now.remark)

        yield show


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left: the best model, its folder, the log, and its scores on the test parts."""

    model: Model
    folder: Path
    history: tuple[Mapping[str, float], ...]
    results: Mapping[str, Result]


@check_arguments
def train(
    config: Config | str | PathLike[str], *, progress: Callable[[Progress], None] | None = None
) -> Trained:
    """Train a network as a configuration, or the file of one, says.

    `config.output` then holds the model, config.toml, log.csv and a checkpoint.

    The weights of the epoch with the best validation accuracy (the mean over recordings and
    encodings; of equals, the one with the least loss) are kept, and only they see the test parts.
    An interrupted run goes on behind its last whole epoch; the same configuration gives the same
    weights on the same machine, either way. The process keeps the memory that it frees from then
    on (`keep_memory`).

    Raises OutputError if `output` holds a run of another configuration, ModelError for a damaged
    checkpoint, ConfigError and FormatError for the data.
    """
    config = config if isinstance(config, Config) else load_config(config)
    folder = Path(config.output)
    state = folder / "checkpoint.safetensors"
    at = load_checkpoint(state, to_toml(config_values(config)))
    _check_place(folder)
    feed = load_feed(config)
    _make(folder)
    write_config(config, folder / "config.toml")
    keep_memory()
    with torch.random.fork_rng():  # the caller's generator stays as it was
        run = _Run(config, feed, at)
        while run.at.epoch < config.loop.epochs:
            run.epoch(progress)
            save_checkpoint(state, run.at)
            _write_log(folder / "log.csv", run.at.history)
            _tell(progress, run.last)
    run.module.load_state_dict(run.at.best)
    return _finish(config, feed, run, folder)


def _check_place(folder: Path) -> None:
    """Raise OutputError where no folder can be made, ahead of the work and of making one."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: cannot be made: {there} is no folder; name another output")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{folder}: cannot be written: no right to; name another output")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


class _Run:
    """A run between two epochs; everything that an epoch changes is in `at`."""

    def __init__(self, config: Config, feed: Feed, at: Checkpoint | None) -> None:
        self.config, self.feed = config, feed
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = config.network.build().to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.module.parameters(),
            lr=config.loop.learning_rate,
            weight_decay=config.loop.weight_decay,
        )
        if at is None:
            at = Checkpoint(to_toml(config_values(config)))
        else:
            self.module.load_state_dict(at.weights)
            at.restore(self.optimiser)
        self.at = at
        self.steps = config.loop.epochs * config.loop.steps
        self.last = Progress(0, config.loop.epochs, 0, self.steps, math.nan)

    def epoch(self, progress: Callable[[Progress], None] | None) -> None:
        """Learn for an epoch, judge the weights, and keep them if they are the best so far."""
        loop, number = self.config.loop, self.at.epoch
        torch.manual_seed(self.config.seed * 1_000_003 + number + 1)  # an epoch owns its dropout
        began = told = time.monotonic()
        total = 0.0
        self.module.train()
        for step, (counts, labels) in enumerate(self.feed.batches(number)):
            done = number * loop.steps + step
            rate = loop.learning_rate * 0.5 * (1 + math.cos(math.pi * done / self.steps))
            loss = _learn(self, counts.to(self.device), labels.to(self.device), rate)
            total += loss
            if time.monotonic() - told > _EVERY_SECONDS:
                told = time.monotonic()
                _tell(progress, Progress(number, loop.epochs, done + 1, self.steps, loss))
        scores = _scores({name: judge(self.module, d) for name, d in self.feed.validation.items()})
        row = {"epoch": number, "loss": total / loop.steps, "rate": rate, **scores}
        row["seconds"] = round(time.monotonic() - began, 1)
        self.at.record(row, self.module.state_dict(), self.optimiser)
        done = self.at.epoch * loop.steps
        self.last = Progress(number, loop.epochs, done, self.steps, row["loss"], scores)


def _learn(run: _Run, counts: torch.Tensor, labels: torch.Tensor, rate: float) -> float:
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    with training_precision(run.device):
        logits = run.module(counts.float())
    loss = _loss(logits.float(), labels, run.config.loop.label_smoothing)
    run.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    return float(loss.detach())


def _loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return the mean cross entropy of logits (B, classes), or of each step's (T, B, classes)."""
    if logits.ndim == 3:
        labels = labels.repeat(logits.shape[0])
        logits = logits.flatten(0, 1)  # (T, B, C) -> (T*B, C)
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def _scores(results: Mapping[str, Result]) -> dict[str, float]:
    scores = {}
    for name, result in results.items():
        scores[f"{name}_accuracy"] = result.accuracy
        scores[f"{name}_loss"] = result.loss
    scores["accuracy"] = sum(r.accuracy for r in results.values()) / len(results)
    scores["validation_loss"] = sum(r.loss for r in results.values()) / len(results)
    return scores


def _tell(progress: Callable[[Progress], None] | None, at: Progress) -> None:
    if progress is not None:
        progress(at)


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    _files.write_whole(path, text.getvalue(), overwrite=True)


def _finish(config: Config, feed: Feed, run: _Run, folder: Path) -> Trained:
    """Judge the best weights on the test parts, once, and save the model."""
    model = Model(config.name, config.network, run.module.eval(), config.input, feed.classes)
    split = feed.split
    test = _test(config, model, split)
    best = run.at.history[run.at.best_epoch]
    scores: dict[str, Any] = {"epoch": run.at.best_epoch, "epochs": config.loop.epochs}
    scores |= {f"validation_{k}": best[k] for k in best if k.endswith("_accuracy")}
    for name, result in test.items():
        scores[f"{name}_accuracy"] = result.accuracy
        scores[f"{name}_samples"] = result.samples
        scores[f"{name}_standard_error"] = result.standard_error
    # Names of folders are no business of the model's; what makes the split again is.
    data = {key: config_values(config)["data"][key] for key in _DATA_KEYS}
    about = {"data": {"seed": config.seed, **data}, "scores": scores}
    model = replace(model, about=about, used=() if split is None else used_samples(split))
    save_model(folder, model)
    return Trained(model, folder, tuple(run.at.history), test)


def _test(config: Config, model: Model, split: Split | None) -> dict[str, Result]:
    test: dict[str, Result] = {}
    if split is not None and split.test:
        test["recordings"] = evaluate(model, split.test, split="all")
    if config.data.images and config.loop.images and config.data.test_images:
        every = read_images(config.data.images, "t10k")
        count = config.data.test_images
        images = Images(every.pixels[:count], every.labels[:count])
        for kind in config.data.encoders:
            test[kind] = add_results(
                evaluate(model, part) for part in image_parts(images, config, kind)
            )
    return test
