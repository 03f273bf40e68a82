"""A run from one step to the next; everything that a step changes is kept, so that it can go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch

from dvskit.training._device import pick_device, training_precision
from dvskit.training.checkpoint import Checkpoint
from dvskit.training.config import Config
from dvskit.training.evaluation import Result, judge
from dvskit.training.feed import Feed
from dvskit.training.losses import LOSSES, answer_of
from dvskit.training.optimising import make_optimiser, rate_at, take_step
from dvskit.training.progress import Progress
from dvskit.training.toml_config import config_values, to_toml

Tell = Callable[[Progress], None] | None
_EVERY_SECONDS = 1.0  # how often progress is told within an epoch
_KEPT_SECONDS = 300.0  # how often a checkpoint is written within an epoch
_EPOCHS_APART = 1_000_003  # a seed of torch's for each step, none twice


class Run:
    """A run; everything that a step changes is in the module, the optimiser and `at`.

    keep  writes a checkpoint
    """

    def __init__(
        self,
        config: Config,
        feed: Feed,
        at: Checkpoint | None,
        keep: Callable[[Checkpoint], None],
    ) -> None:
        self.config, self.feed, self._keep = config, feed, keep
        self.device = pick_device()
        torch.manual_seed(config.seed)
        self.module = config.network.build().to(self.device)
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
    def ended(self) -> bool:
        """Whether all epochs are done, or as many without a better one as patience allows."""
        loop, done = self.config.loop, self.at.epoch
        if not done or done >= loop.epochs:
            return done >= loop.epochs
        return bool(loop.patience) and done - 1 - self.at.best_epoch >= loop.patience

    def epoch(self, tell: Tell) -> None:
        """Learn for what is left of an epoch, judge the weights, keep them if they are the best."""
        loop, number = self.config.loop, self.at.epoch
        began = told = kept = time.monotonic()
        self.module.train()
        for counts, labels in self.feed.batches(number, self.at.step):
            step = number * self.feed.steps + self.at.step
            torch.manual_seed(self.config.seed * _EPOCHS_APART + step + 1)  # it owns its dropout
            rate = rate_at(loop, step, self.steps)
            loss = self._learn(counts, labels, rate)
            self.at.step += 1
            self.at.total += loss
            now = time.monotonic()
            if now - told > _EVERY_SECONDS and tell is not None:
                told = now
                tell(Progress(number, loop.epochs, step + 1, self.steps, loss))
            if now - kept > _KEPT_SECONDS and self.at.step < self.feed.steps:
                kept = now
                self.at.hold(self.module.state_dict(), self.optimiser)
                self._keep(self.at)
        scores = _scores({name: judge(self.module, d) for name, d in self.feed.validation.items()})
        row = {"epoch": number, "loss": self.at.total / self.feed.steps, "rate": rate, **scores}
        row["seconds"] = round(time.monotonic() - began, 1)
        self.at.record(row, self.module.state_dict(), self.optimiser)
        self._keep(self.at)
        done = self.at.epoch * self.feed.steps
        self.last = Progress(number, loop.epochs, done, self.steps, row["loss"], scores)

    def _learn(self, counts: torch.Tensor, labels: torch.Tensor, rate: float) -> float:
        loop = self.config.loop
        inputs, labels = counts.to(self.device).float(), labels.to(self.device)
        with training_precision(self.device, loop.precision):
            answer = answer_of(self.module, inputs, loop)
        loss = LOSSES[loop.loss](answer, labels, loop.label_smoothing)
        take_step(self.optimiser, loss, loop, rate)
        return float(loss.detach())


def _scores(results: Mapping[str, Result]) -> dict[str, float]:
    scores = {}
    for name, result in results.items():
        scores[f"{name}_accuracy"] = result.accuracy
        scores[f"{name}_loss"] = result.loss
    scores["accuracy"] = sum(r.accuracy for r in results.values()) / len(results)
    scores["validation_loss"] = sum(r.loss for r in results.values()) / len(results)
    return scores
