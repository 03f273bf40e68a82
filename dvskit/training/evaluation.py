"""What a model says about events, and how often it is right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit.datasets import (
    Binned,
    Sample,
    bin_labelled,
    count_window,
    find_samples,
    load_labelled,
)
from dvskit.errors import ConfigError, FormatError, GeometryError, ShapeError
from dvskit.events import Events, Size, Source, read_all
from dvskit.streams import Labels
from dvskit.training.arguments import as_model, as_recording
from dvskit.training.models import Model

_BATCH = 50


@dataclass(frozen=True, slots=True)
class Result:
    """How often a model is right.

    confusion  (classes, classes) int64: row the true class, column the answer
    loss       mean cross entropy, nats
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float

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
        )


def evaluate(
    model: Model | str | PathLike[str],
    data: str | PathLike[str] | Sequence[Sample] | Binned,
) -> Result:
    """Return how often `model`, or the model of that name, is right about labelled data.

    data: a folder of <class>/<recording>, Samples, or Binned tensors of the model's bins. Computed
    in float32. Raises FormatError for classes that the model does not know and for no samples,
    GeometryError for recordings of another size, FormatError for bad files.
    """
    model = as_model(model)
    if isinstance(data, Binned):
        binned = data
    else:
        samples = find_samples(data) if isinstance(data, (str, PathLike)) else data
        labelled = load_labelled(samples, model.classes)
        for sample, events in zip(samples, labelled.events, strict=True):
            check_size(model, events.size, str(sample.path))
        binned = bin_labelled(labelled, bins=model.input.bins, bin_us=model.input.bin_us)
    if binned.classes != model.classes:
        raise FormatError(
            f"data of classes {', '.join(binned.classes)}; "
            f"the model knows {', '.join(model.classes)}"
        )
    if not len(binned):
        raise FormatError("no samples to evaluate; give at least one recording")
    return judge(model.module, binned)


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
        [_logits(module, data.counts[i : i + _BATCH]) for i in range(0, len(data), _BATCH)]
    )
    module.train(was_training)
    classes = len(data.classes)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    ones = torch.ones(len(data), dtype=torch.int64)
    confusion.index_put_((data.labels, logits.argmax(1)), ones, accumulate=True)
    loss = float(functional.cross_entropy(logits, data.labels))
    return Result(data.classes, confusion.numpy(), loss)


def _logits(module: nn.Module, counts: Tensor) -> Tensor:
    """Return logits (N, classes) of counts (N, T, 2, H, W), on the processor."""
    device = next(module.parameters()).device
    with torch.inference_mode():
        answer = module(counts.to(device).transpose(0, 1).float())  # (N, T, ...) -> (T, N, ...)
    return torch.as_tensor(answer).cpu()


def classify(
    model: Model | str | PathLike[str], events: Events | Source | str | PathLike[str]
) -> dict[str, float]:
    """Return the probability of each class (softmax of the logits) for one recording.

    The window begins at the first event and is the model's; later events are not looked at. Raises
    GeometryError for another sensor size, ShapeError for no events.

    `model` may be a name or a folder, as for load_model; `events` a Source or an event file's path.
    """
    model, events = as_model(model), read_all(as_recording(events))
    check_size(model, events.size, "the recording")
    if not len(events):
        raise ShapeError("no events to classify; the window begins at the first one")
    counts = count_window(events, bins=model.input.bins, bin_us=model.input.bin_us)
    model.module.eval()
    shares = torch.softmax(_logits(model.module, counts[None])[0], 0)
    return dict(zip(model.classes, shares.tolist(), strict=True))


def classify_spans(model: Model, events: Events, *, every_us: int | None = None) -> Labels:
    """Return what a model takes each span of a recording for, such as "wave (93 %)".

    A span of `every_us` (the model's window if not given) is named by the window that begins with
    it; spans without events have no name. The last one ends with the recording: what is left at the
    end, if less than half a span, belongs to the one ahead. Raises GeometryError for another sensor
    size, ConfigError for every_us < 1.
    """
    check_size(model, events.size, "the recording")
    window_us = model.input.bins * model.input.bin_us
    every_us = window_us if every_us is None else every_us
    if every_us < 1:
        raise ConfigError(f"every_us={every_us} must be at least 1")
    first, end = (int(events.t[0]), int(events.t[-1]) + 1) if len(events) else (0, 0)
    named = []
    starts = range(first, end, every_us)
    if len(starts) > 1 and end - starts[-1] < every_us / 2:
        starts = starts[:-1]
    for start in starts:
        until = end if start == starts[-1] else start + every_us
        seen = events.between(start, start + window_us)
        if len(events.between(start, until)):
            shares = classify(model, seen)
            best = max(shares, key=lambda name: shares[name])
            named.append((start, until, f"{best} ({100 * shares[best]:.0f} %)"))
    return Labels(
        np.array([start for start, _, _ in named], np.int64),
        np.array([stop for _, stop, _ in named], np.int64),
        tuple(name for _, _, name in named),
    )


def check_size(model: Model, size: Size, what: str) -> None:
    """Raise GeometryError unless the model takes events of that size."""
    if size != model.size:
        raise GeometryError(
            f"{what}: {size} where model {model.name} takes {model.size}; crop it first"
        )
