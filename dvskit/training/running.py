"""A run from one step to the next; everything that a step changes is kept, so that it can go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from dvskit.layers.parts import part_of_batch
from dvskit.training._device import pick_device, training_precision
from dvskit.training.board import Board
from dvskit.training.checkpoint import Checkpoint
from dvskit.training.config import Config
from dvskit.training.feed import Feed
from dvskit.training.losses import LOSSES, answer_of, check_loss
from dvskit.training.optimising import make_optimiser, rate_at, take_step
from dvskit.training.progress import Progress
from dvskit.training.scoring import Metric, scores_of
from dvskit.training.starting import begin_with, let_learn, start_of
from dvskit.training.toml_config import config_values, to_toml
from dvskit.training.world import ALONE, World, check_together

Tell = Callable[[Progress], None] | None
_EVERY_SECONDS = 1.0  # how often progress is told within an epoch
_WARMING = 4  # steps ahead of those that are timed
_KEPT_SECONDS = 300.0  # how often a checkpoint is written within an epoch
_EPOCHS_APART = 1_000_003  # a seed of torch's for each step, none twice


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while a run goes on, and what they are told; none of it changes the run.

    keep     writes a checkpoint         tell   is told how far it is
    metrics  scores of one's own         board  takes points for TensorBoard
    """

    keep: Callable[[Checkpoint], None]
    tell: Tell = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    board: Board | None = None


class Run:
    """A run; everything that a step changes is in the module, the optimiser and `at`."""

    def __init__(
        self,
        config: Config,
        feed: Feed,
        at: Checkpoint | None,
        watch: Watch,
        world: World = ALONE,
    ) -> None:
        self.config, self.feed, self.watch, self.world = config, feed, watch, world
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = config.network.build().to(self.device)
        check_loss(self.module, config.loop.loss)
        check_together(self.module, world)
        self.start = start_of(config, feed)
        if self.start is not None:
            begin_with(self.module, self.start, feed.classes)
        self.optimiser = make_optimiser(self.module, config.loop)
        if at is None:
            at = Checkpoint(to_toml(config_values(config)))
        else:
            self.module.load_state_dict(at.weights)
            at.restore(self.optimiser)
        self.at = at
        self.steps = config.loop.epochs * feed.steps
        self.last = Progress(0, config.loop.epochs, 0, self.steps, math.nan)

    @property
    def done(self) -> int:
        """How many steps are done."""
        return self.at.epoch * self.feed.steps + self.at.step

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or as many without a better one as patience allows."""
        loop, done = self.config.loop, self.at.epoch
        if not done or done >= loop.epochs:
            return done >= loop.epochs
        return bool(loop.patience) and done - 1 - self.at.kept_epoch() >= loop.patience

    def seconds_a_step(self, steps: int = 8) -> float:
        """Return how long a step takes, the mean of so many, batches made meanwhile.

        It learns from them: this is for a run that is not gone on with.
        """
        began, done = 0.0, -_WARMING
        self.module.train()
        while done < steps:
            for counts, labels in self.feed.batches(0):
                self._learn(counts, labels, self.config.loop.learning_rate, len(labels))
                done += 1
                if done == 0:  # what is compiled is, and what was made ahead is used up
                    began = time.monotonic()
                if done == steps:
                    break
        return (time.monotonic() - began) / steps

    def epoch(self) -> None:
        """Learn for what is left of an epoch, judge the weights, keep them if they are the best."""
        loop, number, watch = self.config.loop, self.at.epoch, self.watch
        began = told = kept = time.monotonic()
        self.module.train()
        sizes = self.feed.train.sizes()
        for counts, labels in self.feed.batches(number, self.at.step, self.world.part):
            step = number * self.feed.steps + self.at.step
            torch.manual_seed(self.config.seed * _EPOCHS_APART + step + 1)  # it owns its dropout
            if loop.freeze:
                let_learn(self.module, all_layers=step >= loop.freeze)
            rate = rate_at(loop, step, self.steps)
            loss = self._learn(counts, labels, rate, sizes[self.at.step])
            self.at.step += 1
            self.at.total += loss
            now = time.monotonic()
            if watch.board is not None:
                watch.board.step(step + 1, loss, rate)
            if now - told > _EVERY_SECONDS and watch.tell is not None:
                told = now
                watch.tell(Progress(number, loop.epochs, step + 1, self.steps, loss))
            if now - kept > _KEPT_SECONDS and self.at.step < self.feed.steps:
                kept = now
                self.at.hold(self.module.state_dict(), self.optimiser)
                self._keep()
        scores = scores_of(self.module, self.feed.validation, watch.metrics, self.world)
        row = {"epoch": number, "loss": self.at.total / self.feed.steps, "rate": rate, **scores}
        row["seconds"] = round(time.monotonic() - began, 1)
        self.at.record(row, self.module.state_dict(), self.optimiser, loop.keep)
        done = self.at.epoch * self.feed.steps
        if watch.board is not None:
            watch.board.epoch(done, row)
        self._keep()
        self.last = Progress(number, loop.epochs, done, self.steps, row["loss"], scores)

    def _keep(self) -> None:
        # The points first: those behind a checkpoint come again, those ahead of it do not.
        if self.watch.board is not None:
            self.watch.board.flush()
        if self.world.leads:
            self.watch.keep(self.at)

    def _learn(self, counts: torch.Tensor, labels: torch.Tensor, rate: float, whole: int) -> float:
        """Take a step by this process's part of a batch of `whole`; return the batch's loss."""
        loop, part = self.config.loop, self.world.part_of(whole)
        inputs, labels = counts.to(self.device).float(), labels.to(self.device)
        with part_of_batch(part):
            with training_precision(self.device, loop.precision):
                answer = answer_of(self.module, inputs, loop)
            loss = LOSSES[loop.loss](answer, labels, loop.label_smoothing)
            if self.world.size > 1:  # the mean over the batch is the sum of these
                loss = loss * (1 / self.world.size if part is None else part.count / whole)
            return take_step(self.optimiser, loss, loop, rate, self.world)
