"""A run, step by step, with all its state, so that it can be resumed.

Checkpoints hold the state as tensors and text: safetensors, never pickle.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dvskit import _files
from dvskit.errors import ModelError
from dvskit.layers.batch import part_of_batch
from dvskit.training.config import Config
from dvskit.training.evaluation import Metric, scores_of
from dvskit.training.feed import Feed
from dvskit.training.losses import LOSSES, answer_of, check_loss, make_optimiser, rate_at, take_step
from dvskit.training.models import begin_with, let_learn, start_of
from dvskit.training.own import built
from dvskit.training.progress import Board, Progress
from dvskit.training.resuming import check_same_config
from dvskit.training.toml_config import config_values, to_toml
from dvskit.training.world import ALONE, World, check_together, pick_device, training_precision


@dataclass(slots=True)
class Checkpoint:
    """The state of a run, to resume it.

    config   the resolved configuration, TOML; another configuration is refused
    epoch    number of completed epochs      history  a row of scores for each
    step     completed steps of the current epoch; `total` is the sum of their losses
    weights  after the last kept step        best     of the best epoch so far
    moments  of the optimiser, by parameter number and name
    """

    config: str
    epoch: int = 0
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    def record(
        self,
        row: dict[str, float],
        weights: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        keep: str = "best",
    ) -> None:
        """Record the end of an epoch; keep its weights if they are the best, or the last kept."""
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        self.hold(weights, optimiser)
        if keep == "last" or not self.history or _merit(row) > max(map(_merit, self.history)):
            self.best = _copied(weights)
        self.history.append(row)

    def hold(self, weights: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        """Copy the present weights and the optimiser's moments."""
        self.weights = _copied(weights)
        self.moments = {
            f"{number}.{name}": value.detach().cpu().clone()
            for number, state in optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }

    def restore(self, optimiser: torch.optim.Optimizer) -> None:
        """Restore the optimiser's moments."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.moments.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        whole = optimiser.state_dict()
        whole["state"] = state
        optimiser.load_state_dict(whole)

    def kept_epoch(self, keep: str = "best") -> int:
        """Return the number of the epoch whose weights are kept, from 0."""
        if keep == "last":
            return len(self.history) - 1
        merits = list(map(_merit, self.history))
        return merits.index(max(merits))


def _merit(row: dict[str, float]) -> tuple[float, float]:
    return row.get("accuracy", 0.0), -row.get("validation_loss", 0.0)


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}


def save_checkpoint(path: Path, at: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all. Raises OutputError."""
    tensors = {
        f"{group}/{key}": value
        for group in ("weights", "best", "moments")
        for key, value in getattr(at, group).items()
    }
    numbers = {"epoch": at.epoch, "step": at.step, "total": at.total, "history": at.history}
    text = {"config": at.config, "numbers": json.dumps(numbers)}
    # save_file uses a temporary name of its own, which would stay if the run is killed.
    _files.write_whole(path, save(tensors, text), overwrite=True)


def load_checkpoint(path: Path, config: Config) -> Checkpoint | None:
    """Return the checkpoint at `path`; None if there is none.

    Raises ModelError if it is damaged, OutputError if it has another configuration.
    """
    if not path.exists():
        return None
    groups: dict[str, Any] = {"weights": {}, "best": {}, "moments": {}}
    try:
        # safe_open calls Python from compiled code, which turns Ctrl-C into an error of the file.
        data = path.read_bytes()
        stop = 8 + int.from_bytes(data[:8], "little")  # of the header
        text = json.loads(data[8:stop])["__metadata__"]
        for key, value in load(data).items():
            group, _, name = key.partition("/")
            groups[group][name] = value
        at = Checkpoint(text["config"], **json.loads(text["numbers"]), **groups)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is no checkpoint of dvskit: {error}; remove it") from error
    check_same_config(path.parent, at.config, config)
    return at


Tell = Callable[[Progress], None] | None
_EVERY_SECONDS = 1.0  # between reports of progress within an epoch
_WARMING, _TIMED = 4, 8  # warm-up steps, then measured steps
_KEPT_SECONDS = 300.0  # between checkpoints within an epoch
_EPOCHS_APART = 1_000_003  # gives each step its own torch seed


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks and writers during a run; none of them changes it.

    keep     writes a checkpoint         tell   receives the progress
    metrics  the caller's scores         board  takes points for TensorBoard
    """

    keep: Callable[[Checkpoint], None]
    tell: Tell = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    board: Board | None = None


class Run:
    """A run; its changing state is in the module, the optimiser and `at`."""

    def __init__(
        self, config: Config, feed: Feed, at: Checkpoint | None, watch: Watch, world: World = ALONE
    ) -> None:
        self.config, self.feed, self.watch, self.world = config, feed, watch, world
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = built(config, self.device, world)
        check_loss(self.module, config.loop.loss)
        check_together(self.module, world)
        self.start = start_of(config, feed.split)
        if self.start is not None:
            begin_with(self.module, self.start, feed.train.classes)
        self.optimiser = make_optimiser(self.module, config.loop)
        if at is None:
            at = Checkpoint(to_toml(config_values(config)))
        else:
            self.module.load_state_dict(at.weights)
            at.restore(self.optimiser)
        self.at = at
        self.steps = config.loop.epochs * len(feed.train)
        self.last = Progress(0, config.loop.epochs, 0, self.steps, math.nan)

    @property
    def done(self) -> int:
        """The number of completed steps."""
        return self.at.epoch * len(self.feed.train) + self.at.step

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or `patience` epochs passed without improvement."""
        loop, done = self.config.loop, self.at.epoch
        last = min(loop.stop or loop.epochs, loop.epochs)
        if not done or done >= last:
            return done >= last
        return bool(loop.patience) and done - 1 - self.at.kept_epoch() >= loop.patience

    def seconds_a_step(self) -> float:
        """Return the mean seconds per step over some steps, while batches are made.

        The steps train the network, so use this only on a run that is thrown away.
        """
        began, done = 0.0, -_WARMING
        self.module.train()
        while done < _TIMED:
            for counts, labels in self.feed.train.epoch(0):
                self._learn(counts, labels, self.config.loop.learning_rate, len(labels))
                done += 1
                if done == 0:  # loops are compiled and prefetched batches used up
                    began = time.monotonic()
                if done == _TIMED:
                    break
        return (time.monotonic() - began) / _TIMED

    def epoch(self) -> None:
        """Train the rest of an epoch, judge the weights, and keep them if they are the best."""
        loop, number, watch = self.config.loop, self.at.epoch, self.watch
        began = told = kept = time.monotonic()
        self.module.train()
        sizes = self.feed.train.sizes()
        batches = self.feed.train.epoch(number, first=self.at.step, part=self.world.part)
        for counts, labels in batches:
            step = number * len(self.feed.train) + self.at.step
            torch.manual_seed(self.config.seed * _EPOCHS_APART + step + 1)  # of the step's dropout
            if loop.freeze:
                let_learn(self.module, all_layers=step >= loop.freeze)
            rate = rate_at(loop, step, self.steps)
            loss = self._learn(counts, labels, rate, sizes[self.at.step])
            self.at.step += 1
            self.at.total += loss
            now = time.monotonic()
            if watch.board is not None:
                watch.board.step(step + 1, loss, rate)
            within = self.at.step < len(self.feed.train)  # the epoch's end is handled below
            if now - told > _EVERY_SECONDS and watch.tell is not None and within:
                told = now
                watch.tell(Progress(number, loop.epochs, step + 1, self.steps, loss))
            if now - kept > _KEPT_SECONDS and within:
                kept = now
                self.at.hold(self.module.state_dict(), self.optimiser)
                self._keep()
        scores = scores_of(self.module, self.feed.validation, watch.metrics, self.world)
        row = {
            "epoch": number,
            "loss": self.at.total / len(self.feed.train),
            "rate": rate,
            **scores,
        }
        row["seconds"] = round(time.monotonic() - began, 1)
        self.at.record(row, self.module.state_dict(), self.optimiser, loop.keep)
        done = self.at.epoch * len(self.feed.train)
        if watch.board is not None:
            watch.board.epoch(done, row)
        self._keep()
        self.last = Progress(number, loop.epochs, done, self.steps, row["loss"], scores)

    def _keep(self) -> None:
        # Points first: a resumed run writes those after the checkpoint again, but not those before.
        if self.watch.board is not None:
            self.watch.board.writer.flush()
        if self.world.leads:
            self.watch.keep(self.at)

    def _learn(self, counts: torch.Tensor, labels: torch.Tensor, rate: float, whole: int) -> float:
        """Take a step with this process's part of a batch of `whole`; return the batch's loss."""
        loop, part = self.config.loop, self.world.part_of(whole)
        inputs, labels = counts.to(self.device).float(), labels.to(self.device)
        with part_of_batch(part):
            with training_precision(self.device, loop.precision):
                answer = answer_of(self.module, inputs, loop)
            loss = LOSSES[loop.loss](answer, labels, loop.label_smoothing)
            if self.world.size > 1:  # the sum of these is the mean over the batch
                loss = loss * (1 / self.world.size if part is None else part.count / whole)
            return take_step(self.optimiser, loss, loop, rate, self.world)
