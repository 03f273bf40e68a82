"""How often a model is right about labelled recordings and still images."""

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
from dvskit.datasets import StillBatches
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
    """How often a model is right.

    confusion  (classes, classes) int64: row the true class, column the answer
    loss       mean cross entropy, nats
    seen       how many of the samples the model was trained on or chosen by
    left_out   how many others there were, which were not judged for that reason
    notes      lines on both and on events that were not looked at, for people
    encoder    what made spikes of images, by name; "" for recordings
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
        """How many samples were judged."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """How many samples were answered correctly."""
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
        """The share of right answers of each class that has samples."""
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
    """Return how often `model`, or the model of that name, is right about labelled data.

    It may be a torch.nn.Module, of Samples, whose classes are its logits in order.

    The first window of each recording is judged. Samples are read as they are judged, so that they
    need not fit into memory.

    data     a folder or a list, which `dvskit.datasets.open_samples` opens; any Samples; or rows of
             some. Clips are emulated at the model's size. Or still images: a folder of MNIST-style
             IDX files or of `<class>/<image>`, which `dvskit.datasets.open_stills` opens, or Stills
    split    what of it to judge: see `dvskit.training.held_out.choose_samples`; of still images,
             where "held-out" is the set's own test part, `choose_stills` there
    encoder  of still images: see `dvskit.datasets.Encode`; the one that the model learned from,
             unless there are several
    seed     of what the encoder draws; that of the model's run unless given, so that the scores of
             its test parts come out again
    input    of a module: how events become what it takes; InputConfig() unless given

    Computed in float32. Recordings of another size are fitted, with a FittedWarning; smaller images
    are put in the middle. Raises ConfigError for another split and one that is not there, for an
    encoder that there is not, that is missing, or that is given for recordings, FormatError for
    classes that the model does not know, for no samples, for bad files and for a folder that may be
    of recordings and of still images, GeometryError for images larger than the model's input.
    """
    if isinstance(model, nn.Module):
        model = model_of(model, data, input)  # type: ignore[arg-type]  # it checks them
    elif input is not None:
        raise ConfigError("evaluate: input is of a module; a model has its own, so leave it out")
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return judge_opened(judging)


def judge_opened(judging: Judging) -> Result:
    """Return how often a model is right about what was opened for it."""
    result = judge_and_say(judging.model.module, judging.batches())
    return replace(
        result,
        seen=judging.chosen.seen,
        left_out=judging.chosen.left_out,
        notes=(*judging.notes, *result.notes),
        encoder=judging.encoder,
    )


def judge_and_say(module: nn.Module, batches: AnyBatches) -> Result:
    """Return what `judge` returns, with a note on events that were not looked at.

    Gives a FittedWarning of each other size that recordings had.
    """
    result = judge(module, batches)
    if isinstance(batches, StillBatches):
        return result
    say_fitted(batches)
    unlooked = (share.samples.unlooked() for share in batches.shares
                if isinstance(share.samples, Watched))  # fmt: skip
    return replace(result, notes=tuple(note for note in unlooked if note))


def judge(module: nn.Module, batches: AnyBatches) -> Result:
    """Return how often a module is right about batches, in float32 and evaluation mode."""
    return result_of(batches.classes, *answers_of(module, batches))


def answers_of(
    module: nn.Module, batches: AnyBatches, world: World = ALONE
) -> tuple[Tensor, Tensor]:
    """Return a module's logits (N, classes) float32 of epoch 0 of batches, and the labels (N,).

    In evaluation mode. Of several processes each computes its part, and all have all.
    """
    was_training = module.training
    module.eval()
    sizes = batches.sizes()
    logits = torch.zeros(sum(sizes), len(batches.classes))
    labels = torch.zeros(sum(sizes), dtype=torch.int64)
    start = 0
    for size, (counts, numbers) in zip(sizes, batches.epoch(0, part=world.part), strict=True):
        if world.leads or size >= world.size:  # what is not parted, the first computes
            rows = world.rows(size)
            logits[start : start + size][rows] = logits_of(module, counts)
            labels[start : start + size][rows] = numbers
        start += size
    module.train(was_training)
    world.add(logits)
    world.add(labels)
    return logits, labels


def result_of(classes: tuple[str, ...], logits: Tensor, labels: Tensor) -> Result:
    """Return how often logits (N, classes) are right about labels (N,)."""
    loss = float(functional.cross_entropy(logits, labels))
    return Result(classes, confusion_of(logits, labels), loss)


def confusion_of(logits: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Return how often each class (row) is taken for which: logits (N, classes), labels (N,)."""
    confusion = torch.zeros(logits.shape[1], logits.shape[1], dtype=torch.int64)
    ones = torch.ones(len(labels), dtype=torch.int64)
    confusion.index_put_((labels, logits.argmax(1)), ones, accumulate=True)
    return confusion.numpy()


def logits_of(module: nn.Module, counts: Tensor) -> Tensor:
    """Return logits (B, classes) of inputs (T, B, C, H, W), on the processor.

    Of a network that answers at each step, (T, B, classes), they are the mean over the steps.
    """
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        answer: Tensor = module(counts.to(device).float())
    return (answer.mean(0) if answer.ndim == 3 else answer).cpu()


Metric = Callable[[Tensor, Tensor], float]
"""metric(logits (N, classes) float32, labels (N,) int64) -> a number, of one validation part.

Both are copies on the processor, and torch's generator is put back behind it: nothing that a metric
does changes a run.
"""
_TAKEN = ("epoch", "loss", "rate", "seconds", "accuracy", "accuracy_low", "accuracy_high",
          "validation_loss")  # fmt: skip


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Raise ConfigError for a metric that cannot be called, or is named as a column of the log."""
    for name, metric in metrics.items():
        if not callable(metric):
            raise ConfigError(
                f"metric {name!r} is {type(metric).__name__}; a function of logits and labels is "
                "meant"
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

    Of each part `<part>_accuracy`, `<part>_loss` and `<part>_<metric>`; the means over the parts
    are `accuracy`, `validation_loss` and `<metric>`. `accuracy_low` and `accuracy_high` are the
    ends of the 95 % interval of `accuracy`. Of several processes each judges its share.
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
            f"metric {name!r} gave {type(value).__name__} for {part}; one number is meant"
        ) from None
