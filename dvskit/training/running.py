"""A run, step by step, with all its state, and its progress: a bar, points for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, count, islice, repeat
from pathlib import Path

import torch
from torch import nn

from dvskit._progress import Bar, Display
from dvskit._toml import to_toml
from dvskit.errors import ConfigError
from dvskit.layers.dense import part_of_batch
from dvskit.models.device import pick_device
from dvskit.training.checkpoint import Checkpoint
from dvskit.training.config import Config, config_values
from dvskit.training.device import training_precision
from dvskit.training.distributed import ALONE, World, check_together
from dvskit.training.feed import Feed
from dvskit.training.losses import (
    LOSSES,
    answer_of,
    check_loss,
    diverged,
    make_optimiser,
    rate_at,
    take_step,
)
from dvskit.training.own import built
from dvskit.training.repeated import FixedLayers, RepeatedEpochs
from dvskit.training.start import load_start, start_of
from dvskit.training.validation import Metric, scores_of


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    `epoch` of `epochs` is running, or complete at its end; `step` of `steps` counts over the whole
    run. `loss` is that of the last batch. At the end of an epoch it is the epoch's mean, and
    `scores` holds the validation scores.

        def show(now):
            if now.scores:
                print(now.remark)  # epoch 1 of 1, loss 1.12, ...

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        dvskit.training.train(network, samples, output="runs/shown", loop=loop, progress=show)
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
            text += ", validation "
            if "accuracy" in self.scores:
                text += f"{100 * self.scores['accuracy']:.1f} %"
            else:
                text += f"SSIM {self.scores['ssim']:.3f}, MSE {self.scores['mse']:.4f}"
        return text


@contextmanager
def progress_bar(
    title: str = "training", *, display: Display | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Yield a `progress` callback for `train` that shows a bar, in a notebook or a terminal.

    title    at the left of the bar

        samples = dvskit.datasets.open_samples("digits")
        network = dvskit.networks.ConvLIF(classes=3)
        loop = dvskit.training.LoopConfig(epochs=1, steps=1)
        with dvskit.training.progress_bar("digits") as bar:
            dvskit.training.train(network, samples, output="runs/bar", loop=loop, progress=bar)
    """
    with ExitStack() as stack:
        bars: list[Bar] = []

        def show(now: Progress) -> None:
            if not bars:
                bars.append(stack.enter_context(Bar(title, now.steps, "steps", display=display)))
            bars[0](now.step, now.remark)

        yield show


FOLDER = "tensorboard"
"""The folder of these points in a run's output."""
_OF_EPOCHS = ("epoch", "seconds", "rate", "loss")  # columns of the log that are no scores


class Board:
    """Writes a run's points; their x value is the number of completed steps.

    done  completed steps in the run's checkpoint; later points of an interrupted run are removed
          and written again

    `loss/step` and `rate` are of each step; of each epoch `loss/epoch`, and each score as
    `validation/<score>`.
    """

    def __init__(self, output: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(output / FOLDER), purge_step=done + 1)

    def step(self, done: int, loss: float, rate: float) -> None:
        """Write the loss and the rate of a step."""
        self.writer.add_scalar("loss/step", loss, done)
        self.writer.add_scalar("rate", rate, done)

    def epoch(self, done: int, row: Mapping[str, float]) -> None:
        """Write the row of an epoch in the log."""
        self.writer.add_scalar("loss/epoch", row["loss"], done)
        for name, value in row.items():
            if name not in _OF_EPOCHS:
                self.writer.add_scalar(f"validation/{name}", value, done)


def check_tensorboard() -> None:
    """Raise ConfigError unless the package tensorboard can be imported."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ConfigError(
            "TensorBoard's points need the package tensorboard, which is not installed; "
            "pip install tensorboard, or train without it: log.csv has the scores too"
        ) from None


ProgressCallback = Callable[[Progress], None] | None
_EVERY_SECONDS = 1.0  # between reports of progress within an epoch
_WARMING, _TIMED = 4, 8  # warm-up steps, then measured steps
_KEPT_SECONDS = 300.0  # between checkpoints within an epoch
_EPOCHS_APART = 1_000_003  # gives each step its own torch seed


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks and writers during a run; none of them changes it.

    save     writes a checkpoint         progress  receives the progress
    metrics  the caller's scores         board  takes points for TensorBoard
    """

    save: Callable[[Checkpoint], None]
    progress: ProgressCallback = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    board: Board | None = None


class TrainingRun:
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
            load_start(self.module, self.start, feed.train.classes)
        dense = config.loop.trained_layers == "dense"
        self._fixed = FixedLayers(self.module) if dense else None
        first = None if self._fixed is None else self._fixed.first
        self._batches = RepeatedEpochs(feed.train, config.loop.drawn_epochs, first, self.device)
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
        """Return the mean seconds per step of the run, from some steps.

        The steps train the network, so use this only on a run that is thrown away.
        """
        loop = self.config.loop
        self._set_training()
        first = None if self._fixed is None else self._fixed.first
        different = RepeatedEpochs(self.feed.train, 0, first, self.device)
        new = self._seconds(chain.from_iterable(map(different.epoch, count())))
        if not loop.drawn_epochs or first is None:
            return new
        again = self._seconds(repeat(next(self._batches.epoch(0))))
        return again + (new - again) * min(loop.drawn_epochs / loop.epochs, 1.0)

    def _seconds(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
        """Return the mean seconds per step of the first batches, while they are made."""
        began = 0.0
        for done, (inputs, labels) in enumerate(islice(batches, _WARMING + _TIMED)):
            if done == _WARMING:  # loops are compiled and prefetched batches used up
                began = time.monotonic()
            self._learn(inputs, labels, self.config.loop.learning_rate, len(labels))
        return (time.monotonic() - began) / _TIMED

    def epoch(self) -> None:
        """Train the rest of an epoch, judge the weights, and keep them if they are the best."""
        loop, number, watch = self.config.loop, self.at.epoch, self.watch
        began = told = kept = time.monotonic()
        self._set_training()
        sizes = self.feed.train.sizes()
        batches = self._batches.epoch(number, first=self.at.step, part=self.world.part)
        for counts, labels in batches:
            step = number * len(self.feed.train) + self.at.step
            torch.manual_seed(self.config.seed * _EPOCHS_APART + step + 1)  # of the step's dropout
            rate = rate_at(loop, step, self.steps)
            loss = self._learn(counts, labels, rate, sizes[self.at.step])
            if not math.isfinite(loss):
                raise diverged(self._learner, counts.to(self.device).float(), step + 1)
            self.at.step += 1
            self.at.total += loss
            now = time.monotonic()
            if watch.board is not None:
                watch.board.step(step + 1, loss, rate)
            within = self.at.step < len(self.feed.train)  # the epoch's end is handled below
            if now - told > _EVERY_SECONDS and watch.progress is not None and within:
                told = now
                watch.progress(Progress(number, loop.epochs, step + 1, self.steps, loss))
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

    @property
    def _learner(self) -> nn.Module:
        """The part of the module that the run changes."""
        return self.module if self._fixed is None else self._fixed.rest

    def _set_training(self) -> None:
        self.module.train()
        if self._fixed is not None:
            self._fixed.set_evaluation()

    def _keep(self) -> None:
        # Points first: a resumed run writes those after the checkpoint again, but not those before.
        if self.watch.board is not None:
            self.watch.board.writer.flush()
        if self.world.is_main:
            self.watch.save(self.at)

    def _learn(self, counts: torch.Tensor, labels: torch.Tensor, rate: float, whole: int) -> float:
        """Take a step with this process's part of a batch of `whole`; return the batch's loss."""
        loop, part = self.config.loop, self.world.part_of(whole)
        inputs, labels = counts.to(self.device).float(), labels.to(self.device)
        with part_of_batch(part):
            with training_precision(self.device, loop.precision):
                answer = answer_of(self._learner, inputs, loop)
            loss = LOSSES[loop.loss](answer, labels, loop.label_smoothing)
            if self.world.size > 1:  # the sum of these is the mean over the batch
                loss = loss * (1 / self.world.size if part is None else part.count / whole)
            return take_step(self.optimiser, loss, loop, rate, self.world)
