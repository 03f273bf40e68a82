"""How unlike an input is to those that a model learned from.

Two measures: the spread and the density of the events, and the activity of the network's layers.

The activity of a channel is the mean size of its output over time and place. The logarithms of the
activities of a model's training samples are described by a Gaussian; an input is as far away as its
Mahalanobis distance (Lee et al. 2018) says. Convolutions count, and dense layers if there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from dvskit import _files
from dvskit.errors import ModelError, one_line
from dvskit.models.inputs import AnyBatches, InputConfig, is_weighed
from dvskit.models.scores import logits_of
from dvskit.neurons import Neurons

_CELLS = 16  # of the grid, along the longer side
_WIDER = 1.35  # times the range of training: other people differ by about that much
_TABLE = "likeness"


@dataclass(frozen=True, slots=True)
class Likeness:
    """The ranges (low, high) of spread and density of the training samples."""

    spread: tuple[float, float]
    density: tuple[float, float]

    def unlike(self, counts: Tensor, given: InputConfig) -> str:
        """Return how counts (bins, channels, H, W) differ from all samples; "" if they do not.

        A smaller spread is no difference: other people's gestures may be small.
        """
        spread, density = (float(each) for each in measures_of(counts[:, None], given))
        if spread > self.spread[1] * _WIDER:
            return "more of the picture moves"
        if density > self.density[1] * _WIDER:
            return "there are more events where it moves"
        if density < self.density[0] / _WIDER:
            return "there are fewer events where it moves"
        return ""


def measures_of(counts: Tensor, given: InputConfig) -> tuple[Tensor, Tensor]:
    """Return the spread (B,) and the density (B,) of counts (bins, B, channels, H, W)."""
    frames = counts.sum(2)  # (T, B, C, H, W) -> (T, B, H, W)
    side = max(1, max(frames.shape[-2:]) // _CELLS)
    cells = functional.max_pool2d(frames.abs(), side, ceil_mode=True) > 0
    filled = cells.flatten(2).sum(2).float()  # (T, B)
    bins = (filled > 0).sum(0).clamp(min=1)
    events = frames.abs().sum((0, 2, 3))
    spread = filled.sum(0) / bins / cells[0, 0].numel()
    return spread, events / (filled.sum(0).clamp(min=1) * given.bin_us / 1e6)


def likeness_of(batches: Iterable[AnyBatches], given: InputConfig) -> dict[str, Any]:
    """Return the table [likeness] from training batches; {} for inputs other than counts."""
    if not is_weighed(given):
        return {}
    found = [
        torch.stack(measures_of(counts.float(), given), 1)
        for each in batches
        for counts, _ in each.epoch(0)
    ]
    if not found:
        return {}
    every = torch.cat(found)
    ends = torch.stack((every.min(0).values, every.max(0).values), 1).tolist()
    spread, density = ([float(f"{x:.4g}") for x in each] for each in ends)
    return {_TABLE: {"spread": spread, "density": density}}


def likeness_from(about: Mapping[str, Any]) -> Likeness | None:
    """Return the likeness in a model's tables; None if there is none."""
    table = about.get(_TABLE)
    if not isinstance(table, Mapping):
        return None
    low_high = [tuple(map(float, table[key])) for key in ("spread", "density")]
    return Likeness(*low_high)  # type: ignore[arg-type]


_FILE = "likeness.safetensors"
_MOST_BYTES = 1 << 26
_FITTED, _MEASURED = 120, 60  # training samples that fit the Gaussian, and that set its limit
_SHRINK = 0.3  # of the covariance towards independent channels: there are few samples
_BEYOND = 1.5  # times the distance of nearly all training samples: other people differ by as much
_NEARLY_ALL = 0.99
_LEAST = 1e-3  # added to an activity: silent channels have finite logarithms
_ACTIVE = (Neurons, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


@dataclass(frozen=True, slots=True, eq=False)
class ActivityLikeness:
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
            passes.append(torch.log(torch.cat(planes or rows) + _LEAST))

    hooks = [
        each.register_forward_hook(keep) for each in module.modules() if isinstance(each, _ACTIVE)
    ]
    hooks.append(module.register_forward_hook(close))
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def fit_likeness(module: nn.Module, batches: AnyBatches) -> ActivityLikeness | None:
    """Return the likeness of a model in evaluation mode to batches that it learned from.

    Of the first 180 samples of epoch 0, with their random changes, 120 fit the Gaussian; the
    farthest but a hundredth of the others, times 1.5, are at the limit. None for a network without
    layers to measure, and for fewer than 24 samples.
    """
    with activity_of(module) as passes:
        for sample in islice(_samples(batches), _FITTED + _MEASURED):
            logits_of(module, sample)
    if len(passes) < 24:
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
    return ActivityLikeness(mean.float(), (whiten / limit).float().contiguous())


def _samples(batches: AnyBatches) -> Iterator[Tensor]:
    """Yield inputs (T, 1, C, H, W), one by one: the layout of a network's batches is its own."""
    for counts, _ in batches.epoch(0):
        yield from torch.split(counts, 1, dim=1)


def write_likeness(folder: Path, known: ActivityLikeness | None) -> None:
    """Write a likeness to a model's folder, or remove that of an earlier model. OutputError."""
    file = folder / _FILE
    if known is None:
        file.unlink(missing_ok=True)
        return
    _files.write_whole(file, save({"mean": known.mean, "scale": known.scale}), overwrite=True)


def read_likeness(folder: Path) -> ActivityLikeness | None:
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
    return ActivityLikeness(mean.float(), scale.float())
