"""The training loop, for any task: epochs, steps, checkpoints, the log, progress and a deadline.

A run can be interrupted at any moment, by Ctrl-C, SIGTERM, kill -9 or a power cut. The same call
continues it from its last checkpoint, to the weights of a run that was never interrupted, on the
same machine with the same number of threads.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn

from dvskit._progress import Bar, Display
from dvskit.errors import ConfigError
from dvskit.training.checkpoint import Checkpoint, RunFolder
from dvskit.training.distributed import ALONE, World
from dvskit.training.losses import take_step

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Batch = TypeVar("Batch")
_EVERY_SECONDS = 1.0  # between reports of progress within an epoch
_SAVED_SECONDS = 300.0  # between checkpoints within an epoch
_EPOCHS_APART = 1_000_003  # gives each batch its own torch seed
_YOUNG = 10  # steps over which the average follows the weights closely


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """The length of a run, and the weights that it keeps.

    epochs, stop, patience, keep  as in `LoopConfig`
    batches        of an epoch                  steps_a_batch  steps that each batch takes
    average        decay of the mean of the weights over the steps, which is judged and kept in
                   their place; None: the weights themselves are
    """

    epochs: int
    batches: int
    steps_a_batch: int = 1
    stop: int = 0
    patience: int = 0
    keep: str = "best"
    average: float | None = None

    @property
    def steps(self) -> int:
        """The number of steps of all epochs."""
        return self.epochs * self.batches * self.steps_a_batch

    def done(self, at: Checkpoint) -> int:
        """Return the number of completed steps."""
        return (at.epoch * self.batches + at.step) * self.steps_a_batch

    def has_ended(self, at: Checkpoint) -> bool:
        """Return whether all epochs are done, or `patience` epochs passed without improvement."""
        last = min(self.stop or self.epochs, self.epochs)
        if not at.epoch or at.epoch >= last:
            return at.epoch >= last
        return bool(self.patience) and at.epoch - 1 - at.best_epoch >= self.patience


class Task(ABC, Generic[Batch]):
    """What a run trains, and by what.

    seed       of the random draws of the steps    plan       see `LoopPlan`
    module     its weights change                  optimizer  of these weights
    clip_norm  the largest norm of the gradient; 0: no limit
    """

    seed: int
    plan: LoopPlan
    module: nn.Module
    optimizer: torch.optim.Optimizer
    clip_norm: float

    def set_training(self) -> None:
        """Set the module to training, before each epoch."""
        self.module.train()

    @abstractmethod
    def batches(self, epoch: int, first: int) -> Iterable[Batch]:
        """Return the batches of an epoch from batch `first` on. They depend on the seed alone."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """Yield the loss of each step of a batch; the step is taken before the next one."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""

    @abstractmethod
    def scores(self, average: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the validation scores of the module, or of the average of its weights.

        `accuracy`, and the least `validation_loss` of equals, choose the best epoch.
        """

    def fault(self, batch: Batch) -> str:
        """Return where values are not finite, "; at ...", after a step that is not; or ""."""
        return ""


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


ProgressCallback = Callable[[Progress], None]


@contextmanager
def progress_bar(
    title: str = "training", *, display: Display | None = None
) -> Iterator[ProgressCallback]:
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


def check_tensorboard() -> None:
    """Raise ConfigError unless the package tensorboard can be imported."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ConfigError(
            "TensorBoard's points need the package tensorboard, which is not installed; "
            "pip install tensorboard, or train without it: log.csv has the scores too"
        ) from None


def points_writer(output: Path, done: int) -> SummaryWriter:
    """Return the writer of a run's points for TensorBoard, to the folder tensorboard in its output.

    done  completed steps in the run's checkpoint; later points of an interrupted run are removed
          and written again
    """
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(output / "tensorboard"), purge_step=done + 1)


@dataclass
class TrainingRun(Generic[Batch]):
    """A run of a task; its changing state is in the module, the optimizer, the average and `at`.

    at        the state of the run, which goes on from it; the best weights are in `at.best`
    folder    takes checkpoints and the log; None in all but the first of several processes
    progress  called about once a second and at the end of each epoch
    points    for TensorBoard, by the number of completed steps: `loss/step` and `rate` of each
              step; of each epoch `loss/epoch`, and each score as `validation/<score>`
    """

    task: Task[Batch]
    at: Checkpoint
    folder: RunFolder | None
    progress: ProgressCallback | None = None
    points: SummaryWriter | None = None
    world: World = ALONE

    def __post_init__(self) -> None:
        task, at = self.task, self.at
        if at.has_begun:
            task.module.load_state_dict(at.weights)
            at.restore(task.optimizer)
        weights = task.module.state_dict()
        self.average: dict[str, Tensor] = {}
        if task.plan.average is not None:
            before = at.average or weights
            self.average = {key: before[key].to(value, copy=True) for key, value in weights.items()}
        self.rate = math.nan

    def train(self, deadline: float = math.inf) -> None:
        """Train to the end of the plan, or to a deadline.

        deadline  a value of time.monotonic(): no further epoch begins that would end later, if it
                  takes as long as the one before. `task.plan.has_ended(at)` is then false

        Raises ConfigError if the loss or the gradient is not finite.
        """
        self._write_log()  # a kill may have come before its last row
        while not self.task.plan.has_ended(self.at):
            began = time.monotonic()
            self._epoch()
            now = time.monotonic()
            if now + (now - began) > deadline:
                break

    def _epoch(self) -> None:
        """Train the rest of an epoch, judge the weights, and keep them if they are the best."""
        task, at, plan = self.task, self.at, self.task.plan
        number = at.epoch
        began = reported = saved = time.monotonic()
        task.set_training()
        for batch in task.batches(number, at.step):
            loss = self._learn(batch)
            at.step += 1
            at.total += loss
            now = time.monotonic()
            if at.step == plan.batches:  # the epoch's end is handled below
                continue
            if now - reported > _EVERY_SECONDS:
                reported = now
                self._report(number, loss)
            if now - saved > _SAVED_SECONDS:
                saved = now
                self._save()
        scores = task.scores(self.average)
        loss = at.total / plan.batches
        row = {"epoch": number, "loss": loss, "rate": self.rate, **scores}
        row["seconds"] = round(time.monotonic() - began, 1)
        at.record(row, self.average or task.module.state_dict(), plan.keep)
        if self.points is not None:
            self.points.add_scalar("loss/epoch", loss, plan.done(at))
            for name, value in scores.items():
                self.points.add_scalar(f"validation/{name}", value, plan.done(at))
        self._save()
        self._write_log()
        self._report(number, loss, scores)

    def _learn(self, batch: Batch) -> float:
        """Take the steps of a batch; return the mean of their losses."""
        task, total = self.task, 0.0
        done = task.plan.done(self.at)
        torch.manual_seed(task.seed * _EPOCHS_APART + done + 1)  # of the batch's dropout
        for step, loss in enumerate(task.losses(batch), done):
            self.rate = task.rate(step)
            value = take_step(
                task.optimizer, loss, rate=self.rate, clip_norm=task.clip_norm, world=self.world
            )
            if not math.isfinite(value):
                raise ConfigError(
                    f"training diverged at step {step + 1}: its loss or gradient is not finite"
                    f"{task.fault(batch)}; lower loop.learning_rate, or keep the values of your "
                    "own layers in range"
                )
            total += value
            if self.average:
                self._follow(step)
            if self.points is not None:
                self.points.add_scalar("loss/step", value, step + 1)
                self.points.add_scalar("rate", self.rate, step + 1)
        return total / task.plan.steps_a_batch

    def _follow(self, step: int) -> None:
        """Let the average of the weights follow them."""
        decay = min(self.task.plan.average or 0.0, (1 + step) / (_YOUNG + step))
        with torch.no_grad():
            for key, value in self.task.module.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)

    def _save(self) -> None:
        """Write a checkpoint."""
        self.at.hold(self.task.module.state_dict(), self.task.optimizer, self.average)
        # Points first: a resumed run writes those after the checkpoint again, but not those before.
        if self.points is not None:
            self.points.flush()
        if self.folder is not None:
            self.folder.save(self.at)

    def _write_log(self) -> None:
        if self.folder is not None and self.at.history:
            self.folder.write_log(self.at.history)

    def _report(self, epoch: int, loss: float, scores: Mapping[str, float] | None = None) -> None:
        if self.progress is not None:
            plan = self.task.plan
            done = plan.done(self.at)
            self.progress(Progress(epoch, plan.epochs, done, plan.steps, loss, scores or {}))
