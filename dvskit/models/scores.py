"""The device of a network and its answers there, their accuracy, its interval, and both as text.

The only place that picks a device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dvskit.errors import count_of
from dvskit.models.inputs import AnyBatches, Overlooked, overlooked_by

_CPUINFO = Path("/proc/cpuinfo")


def pick_device() -> torch.device:
    """Return the accelerator that torch finds, else the CPU.

    With several GPUs it is the current one: `joined` gives each process its own.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available() and started_together() == 1:  # gloo needs CPU tensors
        return torch.device("mps")
    return torch.device("cpu")


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's weights; the CPU without weights."""
    return next((each.device for each in module.parameters()), torch.device("cpu"))


def started_together() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32: whether the device has units for it.

    Without them torch emulates bfloat16, which is slower than float32. Products of Intel's
    processors are faster in AMX only: their AVX-512 units take twice the time that float32 takes.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        said = _CPUINFO.read_text("utf-8")
    except OSError:
        return False
    return "amx_bf16" in said or ("avx512_bf16" in said and "GenuineIntel" not in said)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wilson(correct: int, samples: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as fractions in [0, 1].

    The interval holds all p with (correct / samples - p)^2 <= z^2 p (1 - p) / samples (E. B.
    Wilson, Probable inference, the law of succession, and statistical inference, J. Am. Stat.
    Assoc. 22, 1927), for independent samples. With the default z it is the 95 % interval. It is (0,
    1) if `samples` is 0. Raises ValueError unless 0 <= correct <= samples.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} correct of {samples} samples; pass 0 <= correct <= samples")
    if samples == 0:
        return 0.0, 1.0
    share, more = correct / samples, z * z / samples
    middle = (share + more / 2) / (1 + more)
    half = z * math.sqrt((share * (1 - share) + more / 4) / samples) / (1 + more)
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == samples else min(1.0, middle + half)
    return low, high


def mean_interval(
    shares: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Return the interval of the mean of independent shares, from the interval of each.

    Distances from the shares to the ends of their intervals add up as standard errors do
    (G. Y. Zou and A. Donner, Construction of confidence limits about effect measures, Statistics
    in Medicine 27, 2008). For one share it is the interval itself.
    """
    mean = sum(shares) / len(shares)
    below = math.hypot(*(p - low for p, (low, _) in zip(shares, intervals, strict=True)))
    above = math.hypot(*(high - p for p, (_, high) in zip(shares, intervals, strict=True)))
    return mean - below / len(shares), mean + above / len(shares)


def accuracy_text(correct: int, samples: int) -> str:
    """Return an accuracy as text, such as "78 % of 9 (95 % interval 45 to 94 %)" for 7 of 9."""
    interval = wilson(correct, samples)
    share, low, high = percent_texts(correct / samples, *interval)
    return f"{share} % of {samples:,} (95 % interval {low} to {high} %)"


def percent_texts(share: float, low: float, high: float) -> tuple[str, str, str]:
    """Return a share and its interval in per cent, with as many decimals as the interval allows.

    10 points or more give no decimals, 1 point or more one, else two. 0 and 1 have no decimals.
    """
    decimals = 0 if high - low >= 0.1 else 1 if high - low >= 0.01 else 2
    first, *ends = (f"{100 * x:.{0 if x in (0, 1) else decimals}f}" for x in (share, low, high))
    return first, ends[0], ends[1]


@dataclass(frozen=True, slots=True)
class Result:
    """Accuracy of a model, and its confusion matrix.

    confusion  (classes, classes) int64: row the true class, column the answer
    loss       mean cross entropy, nats
    seen       judged samples that the model was trained on or chosen by
    left_out   such samples that were not judged
    notes      lines about both and about events that were not judged
    encoder    name of the encoder of images; "" for recordings
    overlooked events of recordings that were fitted, dropped or not judged; None for images

        samples = dvskit.datasets.open_samples("digits")[::5]
        result = dvskit.evaluation.evaluate("nmnist-signed-lif", samples, split="all")
        result.accuracy, result.interval_95  # from 0 to 1
        result.confusion.shape  # (10, 10): row the true class, column the answer
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float
    seen: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()
    encoder: str = ""
    overlooked: Overlooked | None = field(default=None, repr=False)

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


def judge_with_notes(module: nn.Module, batches: AnyBatches) -> Result:
    """Return the result of `judge`, with a note on events that were not judged.

    Gives a FittedWarning for each other size of recordings.
    """
    return with_notes(judge(module, batches))


def with_notes(result: Result) -> Result:
    """Return a result with a note on events that were not judged, and give FittedWarnings."""
    if result.overlooked is None:
        return result
    result.overlooked.warn()
    return replace(result, notes=(result.overlooked.note,) if result.overlooked.note else ())


def joined(results: Sequence[Result]) -> Result:
    """Return the result of all samples from those of parts; the loss is equal to rounding."""
    first, samples = results[0], sum(each.samples for each in results)
    loss = sum(each.loss * each.samples for each in results) / samples
    confusion = np.sum([each.confusion for each in results], axis=0)
    overlooked = [each.overlooked for each in results if each.overlooked is not None]
    whole = reduce(add, overlooked) if overlooked else None
    return replace(first, confusion=confusion, loss=loss, overlooked=whole)


def judge(module: nn.Module, batches: AnyBatches) -> Result:
    """Return the accuracy of a module on batches, in float32 and evaluation mode."""
    was_training = module.training
    module.eval()
    answers = [(logits_of(module, counts), labels) for counts, labels in batches.epoch(0)]
    module.train(was_training)
    logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    logits = logits.float()
    result = result_of(batches.classes, logits, labels)
    return replace(result, overlooked=overlooked_by(batches))


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
    device = device_of(module)
    with torch.inference_mode():
        answer: Tensor = module(counts.to(device).float())
    return (answer.mean(0) if answer.ndim == 3 else answer).cpu()


_MARGIN = 0.02  # above chance; an accuracy within it is near chance


def headlines(result: Result) -> list[str]:
    """Return lines for people: warnings, then the accuracy.

    They warn if all samples were trained on or chosen by, and if guessing may be as good.
    """
    lines, what = [], "accuracy"
    if result.seen >= result.samples:
        what = "accuracy on training samples"
        lines.append(
            "nothing was held out: the model was trained on or chosen by "
            f"{_all(result.samples)}, and its accuracy on others is not known "
            "(dvskit eval MODEL OTHERS)"
        )
    near = near_chance(result)
    return [*lines, *([near] if near else []), f"{what} {result}"]


def near_chance(result: Result) -> str:
    """Return a warning if guessing may be as good as the model, else "".

    Guessing is right once in as many times as there are classes; the warning is given if the 95 %
    interval (`wilson`) begins less than 2 points above that.
    """
    classes = len(result.classes)
    low, _ = wilson(int(np.trace(result.confusion)), result.samples)
    if low > 1 / classes + _MARGIN:
        return ""
    return (
        f"accuracy is near chance (1/{classes} = {100 / classes:.1f} %): guessing may be as good, "
        f"on {count_of(result.samples, 'sample')}"
    )


def _all(count: int) -> str:
    return f"all {count:,} samples" if count > 1 else "the only sample"
