"""Accuracy of a model after the first steps of each sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.datasets import LazySample, Samples
from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError
from dvskit.evaluation.judging import Data, Judging, open_judging
from dvskit.events import Events
from dvskit.layers import Stateful
from dvskit.models.inputs import AnyBatches, representation_of
from dvskit.models.model import Model
from dvskit.models.scores import Result, confusion_of, judge


@dataclass(frozen=True, slots=True)
class OverTime:
    """Accuracy of a model against the time it has seen.

    results  of each step: `results[k]` is that of the answers after the first k + 1 steps
    bin_us   the length of a step; None for encoded images, whose steps have no duration

        samples = dvskit.datasets.open_samples("digits")[::20]
        found = dvskit.evaluation.evaluate_over_time("nmnist-signed-lif", samples, split="all")
        found.accuracy.shape, found.bin_us  # (steps,), microseconds
        found.settled_us  # the time after which the accuracy has settled
    """

    results: tuple[Result, ...]
    bin_us: int | None

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share of right answers after each step, (steps,)."""
        return np.array([result.accuracy for result in self.results])

    @property
    def interval_95(self) -> NDArray[np.float64]:
        """The 95 % interval of each accuracy, (steps, 2): its low and its high end."""
        return np.array([result.interval_95 for result in self.results])

    @property
    def settled(self) -> int:
        """The number of steps after which the accuracy has settled.

        The least k such that after k and all further steps the accuracy is not below the 95 %
        interval of the last accuracy.
        """
        below = self.accuracy < self.results[-1].interval_95[0]
        return 1 + int(np.flatnonzero(below).max(initial=-1)) + 1

    @property
    def settled_us(self) -> int | None:
        """The time of these steps in microseconds; None for encoded images."""
        return None if self.bin_us is None else self.settled * self.bin_us


@check_arguments
def evaluate_over_time(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> OverTime:
    """Return the accuracy of a model after each step of time, from one pass over the data.

    The network runs step by step and keeps its state. After each step its readout answers for the
    steps so far. The answers equal those on the first steps alone, if the input of a step depends
    on no later event: the bins of a voxel grid see half a bin ahead. A network of points runs again
    for each step, on the events so far.

    Arguments and errors are those of `evaluate`; also raises ConfigError for a network that cannot
    run step by step.

        samples = dvskit.datasets.open_samples("digits")[::20]
        found = dvskit.evaluation.evaluate_over_time("nmnist-signed-lif", samples, split="all")
        found.accuracy[-1]  # after the whole window
    """
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return judge_over_time(judging)


def judge_over_time(judging: Judging) -> OverTime:
    """Return the accuracy after each step, of an opened judging."""
    model = judging.model
    if isinstance(judging.samples, Samples) and not _is_binned(model):
        each = [
            judge(
                model.module,
                judging.by(_begun(judging.samples, steps * model.input.bin_us)).batches(),
            )
            for steps in range(1, model.input.bins + 1)
        ]
        return OverTime(tuple(each), model.input.bin_us)
    if not isinstance(model.module, Stateful):
        raise ConfigError(
            f"{model.name}: its network, {type(model.module).__name__}, cannot run step by step, "
            "so its accuracy over time is not defined; evaluate it as a whole, or give it "
            "run(x, state), as dvskit.layers.Stateful"
        )
    results = _judge_step_by_step(model.module, judging.batches())
    return OverTime(results, None if judging.encode is not None else model.input.bin_us)


def _is_binned(model: Model) -> bool:
    return len(representation_of(model.input).shape(model.size)) == 4


def _begun(samples: Samples, us: int) -> Samples:
    """Return the samples without random changes, with only the events of their first `us`."""

    def begun(sample: LazySample) -> Events:
        events = sample.events()
        return events.between(None, int(events.t[0]) + us) if len(events) else events

    return samples.without_draws().adapted(begun, mark=f" {us}")


def _judge_step_by_step(module: Any, batches: AnyBatches) -> tuple[Result, ...]:
    was_training = module.training
    module.eval()
    confusions: list[NDArray[np.int64]] = []
    losses: list[float] = []
    for counts, labels in batches.epoch(0):
        for step, logits in enumerate(answers_over_time(module, counts)):
            if step == len(losses):
                confusions.append(np.zeros((len(batches.classes),) * 2, np.int64))
                losses.append(0.0)
            confusions[step] += confusion_of(logits, labels)
            losses[step] += float(functional.cross_entropy(logits, labels, reduction="sum"))
    module.train(was_training)
    return tuple(
        Result(batches.classes, confusion, loss / int(confusion.sum()))
        for confusion, loss in zip(confusions, losses, strict=True)
    )


def answers_over_time(module: Any, counts: Tensor) -> Iterator[Tensor]:
    """Yield the logits (B, classes) for the first 1, 2, ... T steps of counts (T, B, C, H, W).

    Answers at each step are averaged over the steps so far. In inference mode, on the CPU.
    """
    device = next(module.parameters()).device
    states, total = None, None
    for step in range(len(counts)):
        with torch.inference_mode():
            given = counts[step : step + 1].to(device).float()
            answer, states = module.run(given, states)
            if answer.ndim == 3:
                total = answer[0] if total is None else total + answer[0]
                answer = total / (step + 1)
            found: Tensor = answer.cpu()
        yield found
