"""Accuracy of a model on labelled recordings and still images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.datasets import ImageBatches
from dvskit.datasets.encode import Encoder
from dvskit.errors import ConfigError
from dvskit.training.accuracy_interval import accuracy_text, mean_interval, wilson
from dvskit.training.config import InputConfig
from dvskit.training.inputs import AnyBatches, Watched, say_fitted
from dvskit.training.judging import Data, Judging, open_judging
from dvskit.training.models import Model
from dvskit.training.own import model_of
from dvskit.training.world import ALONE, World


@dataclass(frozen=True, slots=True)
class Result:
    """Accuracy of a model, and its confusion matrix.

    confusion  (classes, classes) int64: row the true class, column the answer
    loss       mean cross entropy, nats
    seen       judged samples that the model was trained on or chosen by
    left_out   such samples that were not judged
    notes      lines about both and about events that were not judged
    encoder    name of the encoder of images; "" for recordings
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float
    seen: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()
    encoder: str = ""

    @property
    def samples(self) -> int:
        """The number of judged samples."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """The number of correct answers."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of correct answers."""
        return self.correct / self.samples

    @property
    def interval_95(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy: see `accuracy_interval.wilson`.

        It assumes independent samples. Clips of one person are not: the true interval is wider.
        """
        return wilson(self.correct, self.samples)

    @property
    def per_class(self) -> dict[str, float]:
        """The share of correct answers of each class that has samples."""
        totals = self.confusion.sum(1)
        return {
            name: float(self.confusion[i, i] / totals[i])
            for i, name in enumerate(self.classes)
            if totals[i]
        }

    def __str__(self) -> str:
        seen = f", {self.seen:,} of which it was trained on or chosen by" if self.seen else ""
        return accuracy_text(self.correct, self.samples) + seen


@check_arguments
def evaluate(
    model: Model | str | PathLike[str] | nn.Module,
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
    input: InputConfig | None = None,
) -> Result:
    """Return the accuracy of a model on labelled data.

    The first window of each recording is judged. Samples are read while they are judged, so they
    need not fit into memory.

    model    a Model, a model's folder, the name of a shipped one, or a torch.nn.Module with
             Samples, whose classes are the logits in order
    data     a folder or a list, as in `dvskit.datasets.open_samples`; any Samples; or rows of
             some. Clips are emulated at the model's size. Or still images: a folder of MNIST-style
             IDX files or of `<class>/<image>`, as in `dvskit.datasets.open_images`, or ImageSamples
    split    the part to judge: see `dvskit.training.held_out.choose_samples`; for still images,
             whose "held-out" is the set's own test part, `choose_images` there
    encoder  of still images: see `dvskit.datasets.Encode`; default: the encoder of the training,
             if there was only one
    seed     of the encoder's draws; default: that of the model's run, which reproduces the scores
             of its test parts
    input    for a module: how events become its input; default InputConfig()

    Computed in float32. Recordings of another size are fitted, with a FittedWarning; smaller images
    are centred. Raises ConfigError for an unknown or absent split, for an unknown or missing
    encoder and for an encoder with recordings; FormatError for classes that the model does not
    know, for no samples, for bad files and for a folder with both recordings and still images;
    GeometryError for images larger than the model's input.
    """
    if isinstance(model, nn.Module):
        model = model_of(model, data, input)  # type: ignore[arg-type]  # it checks them
    elif input is not None:
        raise ConfigError("evaluate: input is only for a module; leave it out for a model")
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return judge_opened(judging)


def judge_opened(judging: Judging) -> Result:
    """Return the result of an opened judging."""
    result = judge_and_say(judging.model.module, judging.batches())
    return replace(
        result,
        seen=judging.chosen.seen,
        left_out=judging.chosen.left_out,
        notes=(*judging.notes, *result.notes),
        encoder=judging.encoder,
    )


def judge_and_say(module: nn.Module, batches: AnyBatches) -> Result:
    """Return the result of `judge`, with a note on events that were not judged.

    Gives a FittedWarning for each other size of recordings.
    """
    result = judge(module, batches)
    if isinstance(batches, ImageBatches):
        return result
    say_fitted(batches)
    unlooked = (share.samples.unlooked() for share in batches.shares
                if isinstance(share.samples, Watched))  # fmt: skip
    return replace(result, notes=tuple(note for note in unlooked if note))


def judge(module: nn.Module, batches: AnyBatches) -> Result:
    """Return the accuracy of a module on batches, in float32 and evaluation mode."""
    return result_of(batches.classes, *answers_of(module, batches))


def answers_of(
    module: nn.Module, batches: AnyBatches, world: World = ALONE
) -> tuple[Tensor, Tensor]:
    """Return a module's logits (N, classes) float32 and the labels (N,) of epoch 0 of batches.

    In evaluation mode. Each of several processes computes its part, and all get all results.
    """
    was_training = module.training
    module.eval()
    sizes = batches.sizes()
    logits = torch.zeros(sum(sizes), len(batches.classes))
    labels = torch.zeros(sum(sizes), dtype=torch.int64)
    start = 0
    for size, (counts, numbers) in zip(sizes, batches.epoch(0, part=world.part), strict=True):
        if world.leads or size >= world.size:  # the first process computes undivided batches
            rows = world.rows(size)
            logits[start : start + size][rows] = logits_of(module, counts)
            labels[start : start + size][rows] = numbers
        start += size
    module.train(was_training)
    world.add(logits)
    world.add(labels)
    return logits, labels


def result_of(classes: tuple[str, ...], logits: Tensor, labels: Tensor) -> Result:
    """Return the result of logits (N, classes) and labels (N,)."""
    loss = float(functional.cross_entropy(logits, labels))
    return Result(classes, confusion_of(logits, labels), loss)


def confusion_of(logits: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Count the answers (columns) of each true class (rows): logits (N, classes), labels (N,)."""
    confusion = torch.zeros(logits.shape[1], logits.shape[1], dtype=torch.int64)
    ones = torch.ones(len(labels), dtype=torch.int64)
    confusion.index_put_((labels, logits.argmax(1)), ones, accumulate=True)
    return confusion.numpy()


def logits_of(module: nn.Module, counts: Tensor) -> Tensor:
    """Return logits (B, classes) of inputs (T, B, C, H, W), on the CPU.

    The output of a network that answers at each step, (T, B, classes), is averaged over the steps.
    """
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        answer: Tensor = module(counts.to(device).float())
    return (answer.mean(0) if answer.ndim == 3 else answer).cpu()


Metric = Callable[[Tensor, Tensor], float]
"""metric(logits (N, classes) float32, labels (N,) int64) -> one number of a validation part.

Both are copies on the CPU, and torch's generator is restored afterwards, so a metric cannot change
a run.
"""
_TAKEN = ("epoch", "loss", "rate", "seconds", "accuracy", "accuracy_low", "accuracy_high",
          "validation_loss")  # fmt: skip


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Raise ConfigError for a metric that is not callable or has the name of a log column."""
    for name, metric in metrics.items():
        if not callable(metric):
            raise ConfigError(
                f"metric {name!r} is {type(metric).__name__}; give a function of logits and labels"
            )
        if name in _TAKEN or not name:
            raise ConfigError(
                f"metric {name!r}: log.csv has {', '.join(_TAKEN)} already; give it another name"
            )


def scores_of(
    module: nn.Module,
    parts: Mapping[str, AnyBatches],
    metrics: Mapping[str, Metric],
    world: World = ALONE,
) -> dict[str, float]:
    """Return the scores of a module on validation parts, by name, and their means.

    Each part has `<part>_accuracy`, `<part>_loss` and `<part>_<metric>`; the means over the parts
    are `accuracy`, `validation_loss` and `<metric>`. `accuracy_low` and `accuracy_high` are the
    ends of the 95 % interval of `accuracy`. Each of several processes judges its share.
    """
    scores: dict[str, float] = {}
    means: dict[str, list[float]] = {}
    intervals: list[tuple[float, float]] = []
    for part, batches in parts.items():
        logits, labels = answers_of(module, batches, world)
        result = result_of(batches.classes, logits, labels)
        intervals.append(result.interval_95)
        found = {"accuracy": result.accuracy, "loss": result.loss}
        found |= {
            name: _number_of(name, part, metric, logits, labels) for name, metric in metrics.items()
        }
        for name, value in found.items():
            scores[f"{part}_{name}"] = value
            means.setdefault("validation_loss" if name == "loss" else name, []).append(value)
    scores |= {name: sum(values) / len(values) for name, values in means.items()}
    if intervals:
        low, high = mean_interval(means["accuracy"], intervals)
        scores |= {"accuracy_low": low, "accuracy_high": high}
    return scores


def _number_of(name: str, part: str, metric: Metric, logits: Tensor, labels: Tensor) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        value = metric(logits.clone(), labels.clone())
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"metric {name!r} gave {type(value).__name__} for {part}; return one number"
        ) from None
