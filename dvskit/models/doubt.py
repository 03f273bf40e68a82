"""When a model doubts its answer: limits below which it names no class, and unlike inputs.

How unlike an input is to those that a model learned from shows in the activity of its layers. The
activity of a channel is the mean size of its output over time and place. The logarithms of the
activities of a model's training samples are described by a Gaussian; an input is as far away as its
Mahalanobis distance (Lee et al. 2018) says. Convolutions count, and dense layers if there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dvskit import _files
from dvskit._checks import check_fields, check_number, checked
from dvskit.datasets import ImageBatches
from dvskit.errors import ModelError, one_line
from dvskit.models.inputs import AnyBatches, InputConfig, is_weighed
from dvskit.models.scores import logits_of
from dvskit.neurons import Neurons

HALF = "the default: above all other classes together"


@dataclass(frozen=True, slots=True)
class Reject:
    """Limits below which a live decision names no class.

    confidence         the least probability of the most likely class
    events_per_second  the least rate of events in the window, as the network sees them: on its
                       sensor, weighted if they were fitted to it; 0: any above 0
    how                how both were chosen, for people

    A model without limits has the defaults. Raises ConfigError for values out of range.

        model = dvskit.models.load_model("nmnist-signed-lif")
        reject = dvskit.evaluation.Reject(confidence=0.9, events_per_second=2000.0)
        reject.why(0.95, 500.0)  # "few events"
        decisions = dvskit.evaluation.decide(model, "digits/0/00001.bin", reject=reject)
    """

    confidence: float = checked(check_number, 0, 1, default=0.5)
    events_per_second: float = checked(check_number, 0, default=0.0)
    how: str = HALF

    def __post_init__(self) -> None:
        check_fields(self)

    def why(self, confidence: float, events_per_second: float) -> str:
        """Return why a decision is withheld, "few events" or "unsure"; "" if it is not."""
        if not events_per_second or events_per_second < self.events_per_second:
            return "few events"
        return "unsure" if confidence < self.confidence else ""


LOST = 0.05
"""The share of right validation decisions that may be withheld."""
_QUIETER = 0.5  # the floor of the rate, as a share of the rate of nearly all recordings


def reject_on(
    module: nn.Module, validation: Iterable[AnyBatches], given: InputConfig, lost: float = LOST
) -> Reject:
    """Return the Reject of `choose_reject`, from batches of validation samples.

    Still images count only if there are no recordings.
    """
    every = list(validation)
    recordings = [each for each in every if not isinstance(each, ImageBatches)]
    sure, right, rates = [], [], []
    module.eval()
    for batches in recordings or every:
        for counts, labels in batches.epoch(0):
            most, best = torch.softmax(logits_of(module, counts), 1).max(1)
            sure.append(most.numpy())
            right.append((best == labels).numpy())
            if recordings and is_weighed(given):
                events = counts.sum((0, 2, 3, 4), dtype=torch.float64)  # (T, B, C, H, W) -> (B,)
                rates.append(events.numpy() * 1e6 / given.window_us)
    return reject_by(_joined(sure), _joined(right).astype(bool), _joined(rates), lost)


def reject_by(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    rates: NDArray[np.float64],
    lost: float,
) -> Reject:
    """Return the Reject of `choose_reject`, from decisions and rates.

    confidence (n,), right (n,)  of decisions        rates (m,)  events per second of recordings
    """
    default, good = Reject(), np.sort(confidence[right])
    least = _rounded_down(good[int(lost * len(good))]) if len(good) else default.confidence
    how = HALF if not len(confidence) else "the confidence is the default: no decision was right"
    if len(good):
        few, wrong = np.count_nonzero(good < least), confidence[~right]
        how = (
            f"withholds {few:,} of {len(good):,} right and {np.count_nonzero(wrong < least):,} of "
            f"{len(wrong):,} wrong validation decisions"
        )
    floor = default.events_per_second
    if len(rates):
        floor = _rounded_down(_QUIETER * np.quantile(rates, 0.01))
        how += f"; 99 of 100 of {len(rates):,} validation recordings reach twice the rate"
    return Reject(least, floor, how)


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _rounded_down(value: float) -> float:
    """Return a number of at least 0, rounded down to three digits."""
    if not value:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / step + 1e-9) * step:.6g}")


_FILE = "likeness.safetensors"
_MOST_BYTES = 1 << 26
MOST_MEASURED = 180
"""The most training samples by which a likeness is fitted."""
_LEAST = 24  # training samples
_SHRINK = 0.3  # of the covariance towards independent channels: there are few samples
_BEYOND = 1.5  # times the distance of nearly all training samples: other people differ by as much
_NEARLY_ALL = 0.99
_SILENT = 1e-3  # added to an activity: silent channels have finite logarithms
_ACTIVE = (Neurons, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """A Gaussian of activities, scaled such that inputs beyond a distance of 1 are unlike.

    mean    (channels,) float32 of the logarithms
    scale   (channels, channels) float32: scale @ (activity - mean) has the distance as its norm
    """

    mean: Tensor
    scale: Tensor

    def distance(self, activity: Tensor) -> float:
        """Return the distance of an activity (channels,); 1 is the limit. Raises ModelError."""
        if activity.shape != self.mean.shape:
            raise ModelError(
                f"{_FILE}: describes {len(self.mean):,} channels, and the network has "
                f"{len(activity):,}; remove it, or train again"
            )
        return float(torch.linalg.vector_norm(self.scale @ (activity - self.mean)))

    def unlike(self, activity: Tensor) -> str:
        """Return how an activity (channels,) differs from all samples; "" if it does not."""
        far = self.distance(activity)
        return f"it excites the network in other ways, {far:.2g} times the limit" * (far > 1)


@contextmanager
def activity_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the activity of a module's channels in each pass with one sample.

    Yields a list to which each pass appends (channels,) float32 logarithms; nothing if no layer of
    neurons or activations is a module of its own.
    """
    outputs: list[Tensor] = []
    passes: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append(output.detach().abs().float().cpu())

    def close(_: nn.Module, __: object, ___: object) -> None:
        planes = [each.mean((*range(each.ndim - 3), -2, -1)) for each in outputs if each.ndim > 3]
        rows = [each.mean(tuple(range(each.ndim - 1))) for each in outputs if each.ndim <= 3]
        outputs.clear()
        if planes or rows:
            passes.append(torch.log(torch.cat(planes or rows) + _SILENT))

    hooks = [
        each.register_forward_hook(keep) for each in module.modules() if isinstance(each, _ACTIVE)
    ]
    hooks.append(module.register_forward_hook(close))
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def likeness_of(module: nn.Module, batches: AnyBatches, given: InputConfig) -> Likeness | None:
    """Return the likeness of a model to the batches of its training.

    Samples that change at random may come repeatedly. None for images, for inputs other than
    counts, and where `fit_likeness` has none.
    """
    if isinstance(batches, ImageBatches) or not is_weighed(given):
        return None
    varied = any(share.vary is not None for share in batches.shares)
    known = sum(len(share.samples) for share in batches.shares)
    return fit_likeness(
        module.eval(), batches, MOST_MEASURED if varied else min(known, MOST_MEASURED)
    )


def fit_likeness(
    module: nn.Module, batches: AnyBatches, most: int = MOST_MEASURED
) -> Likeness | None:
    """Return the likeness of a model in evaluation mode to batches that it learned from.

    Of the first 180 samples, or `most`, with their random changes, two thirds fit the Gaussian; the
    farthest but a hundredth of the others, times 1.5, are at the limit. None for a network without
    layers to measure, and for fewer than 24 samples.
    """
    with activity_of(module) as passes:
        for sample in islice(_samples(batches), most):
            logits_of(module, sample)
    if len(passes) < _LEAST:
        return None
    known = torch.stack(passes).double()
    fitted, others = known[: 2 * len(known) // 3], known[2 * len(known) // 3 :]
    mean, spread = fitted.mean(0), fitted.std(0).clamp(min=1e-3)
    scaled = (fitted - mean) / spread
    covariance = (1 - _SHRINK) * (scaled.T @ scaled) / len(scaled)
    covariance += _SHRINK * torch.eye(len(mean))
    # The rows of the inverse factor give independent numbers of deviation 1.
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)) / spread
    far = torch.linalg.vector_norm((others - mean) @ whiten.T, dim=1).quantile(_NEARLY_ALL)
    limit = _BEYOND * max(float(far), math.sqrt(len(mean)) * 1e-3)
    return Likeness(mean.float(), (whiten / limit).float().contiguous())


def _samples(batches: AnyBatches) -> Iterator[Tensor]:
    """Yield inputs (T, 1, C, H, W), one by one: the layout of a network's batches is its own."""
    for number in count():
        for counts, _ in batches.epoch(number):
            yield from torch.split(counts, 1, dim=1)


def write_likeness(folder: Path, known: Likeness | None) -> None:
    """Write a likeness to a model's folder, or remove that of an earlier model. OutputError."""
    file = folder / _FILE
    if known is None:
        file.unlink(missing_ok=True)
        return
    _files.write_whole(file, save({"mean": known.mean, "scale": known.scale}), overwrite=True)


def read_likeness(folder: Path) -> Likeness | None:
    """Return the likeness in a model's folder; None without one. Raises ModelError."""
    file = folder / _FILE
    if not file.exists():
        return None
    try:
        found = load(_files.read_regular(file, _MOST_BYTES))
        mean, scale = found["mean"], found["scale"]
        if mean.ndim != 1 or scale.shape != 2 * mean.shape:
            raise ValueError(f"mean {tuple(mean.shape)} and scale {tuple(scale.shape)} differ")
        if not (mean.isfinite().all() and scale.isfinite().all()):
            raise ValueError("it holds numbers that are not finite")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"{file}: is no likeness of a model: {one_line(error)[:200]}; remove it, or train again"
        ) from error
    return Likeness(mean.float(), scale.float())
