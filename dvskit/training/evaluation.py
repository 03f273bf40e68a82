"""How often a model is right about labelled recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.datasets import (
    Binned,
    Labelled,
    Sample,
    bin_labelled,
    class_names,
    find_samples,
    load_labelled,
)
from dvskit.errors import ConfigError, FormatError
from dvskit.formats import Recording, open_events
from dvskit.training.arguments import as_model
from dvskit.training.fitting import fit_labelled
from dvskit.training.held_out import choose_samples
from dvskit.training.models import Model

_BATCH = 50


@dataclass(frozen=True, slots=True)
class Result:
    """How often a model is right.

    confusion  (classes, classes) int64: row the true class, column the answer
    loss       mean cross entropy, nats
    seen       how many of the samples the model was trained on or chosen by
    left_out   how many others there were, which were not judged for that reason
    notes      lines on both and on events that were not looked at, for people
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float
    seen: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """How many samples were judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.trace(self.confusion) / self.samples)

    @property
    def standard_error(self) -> float:
        """The standard error of the accuracy: sqrt(a (1 - a) / n)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.samples)

    @property
    def per_class(self) -> dict[str, float]:
        """The share of right answers of each class that has samples."""
        totals = self.confusion.sum(1)
        return {
            name: float(self.confusion[i, i] / totals[i])
            for i, name in enumerate(self.classes)
            if totals[i]
        }

    def __str__(self) -> str:
        return (
            f"{100 * self.accuracy:.2f} % of {self.samples:,} "
            f"(standard error {100 * self.standard_error:.2f})"
            + (f", {self.seen:,} of which it was trained on or chosen by" if self.seen else "")
        )


@check_arguments
def evaluate(
    model: Model | str | PathLike[str],
    data: str | PathLike[str] | Sequence[Sample] | Binned,
    *,
    split: str = "held-out",
    read: Callable[[Path], Recording] = open_events,
) -> Result:
    """Return how often `model`, or the model of that name, is right about labelled data.

    The first window of each recording is judged.

    data   a folder of <class>/<recording>, Samples, or Binned tensors of the model's bins
    split  what of it to judge, if it is not tensors: see `dvskit.training.held_out.choose_samples`
    read   opens a recording

    Computed in float32. Recordings of another size are fitted, with a FittedWarning. Raises
    ConfigError for another split and one that is not there, FormatError for classes that the model
    does not know, for no samples and for bad files.
    """
    model = as_model(model)
    if isinstance(data, Binned):
        return _judge_binned(model, data)
    if not isinstance(data, str | PathLike | Sequence):
        raise ConfigError(
            f"evaluate: {type(data).__name__} is no folder of <class>/<recording>, no Samples and "
            "no Binned tensors; classify judges one recording"
        )
    samples = find_samples(data) if isinstance(data, (str, PathLike)) else data
    _check_classes(model, samples)
    chosen = choose_samples(model, samples, split)
    labelled = load_labelled(chosen.samples, model.classes, size=model.size, read=read)
    labelled = fit_labelled(labelled, model.size)
    result = _judge_binned(
        model, bin_labelled(labelled, bins=model.input.bins, bin_us=model.input.bin_us)
    )
    notes = [chosen.note, _unlooked(model, labelled)]
    return replace(
        result,
        seen=chosen.seen,
        left_out=chosen.left_out,
        notes=tuple(note for note in notes if note),
    )


def _check_classes(model: Model, samples: Sequence[Sample]) -> None:
    unknown = [name for name in class_names(samples) if name not in model.classes]
    if unknown:
        raise FormatError(
            f"no class of {model.name}: {', '.join(unknown)}; it knows {', '.join(model.classes)}: "
            "judge it by a folder of these, or train a model on yours"
        )


def _judge_binned(model: Model, binned: Binned) -> Result:
    if binned.classes != model.classes:
        raise FormatError(
            f"data of classes {', '.join(binned.classes)}; "
            f"the model knows {', '.join(model.classes)}"
        )
    if not len(binned):
        raise FormatError("no samples to evaluate; give at least one recording")
    return judge(model.module, binned)


def _unlooked(model: Model, data: Labelled) -> str:
    """Return a line on the events behind the first window of each recording; "" if none are."""
    window_us = model.input.bins * model.input.bin_us
    behind = [
        len(events.between(int(events.t[0]) + window_us, None))
        for events in data.events
        if len(events)
    ]
    if not any(behind):
        return ""
    total = sum(map(len, data.events))
    return (
        f"{sum(count > 0 for count in behind):,} recordings are longer than the model's window of "
        f"{window_us / 1000:g} ms: their first is judged, and {sum(behind):,} of {total:,} events "
        "are not looked at"
    )


def add_results(parts: Iterable[Result]) -> Result:
    """Return the result over all samples of results on parts of them; there is at least one."""
    results = list(parts)
    confusion = np.sum([part.confusion for part in results], axis=0)
    loss = sum(part.loss * part.samples for part in results) / int(confusion.sum())
    return Result(results[0].classes, confusion, loss)


def judge(module: nn.Module, data: Binned) -> Result:
    """Return how often a module is right about tensors, in float32 and evaluation mode."""
    was_training = module.training
    module.eval()
    logits = torch.cat(
        [logits_of(module, data.counts[i : i + _BATCH]) for i in range(0, len(data), _BATCH)]
    )
    module.train(was_training)
    classes = len(data.classes)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    ones = torch.ones(len(data), dtype=torch.int64)
    confusion.index_put_((data.labels, logits.argmax(1)), ones, accumulate=True)
    loss = float(functional.cross_entropy(logits, data.labels))
    return Result(data.classes, confusion.numpy(), loss)


def logits_of(module: nn.Module, counts: Tensor) -> Tensor:
    """Return logits (N, classes) of counts (N, T, 2, H, W), on the processor.

    Of a network that answers at each step, (T, N, classes), they are the mean over the steps.
    """
    device = next(module.parameters()).device
    with torch.inference_mode():
        answer: Tensor = module(counts.to(device).transpose(0, 1).float())  # (N, T) -> (T, N)
    return (answer.mean(0) if answer.ndim == 3 else answer).cpu()
