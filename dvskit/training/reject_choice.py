"""Choose, on validation data, the limits below which a decision is withheld."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dvskit._arguments import check_arguments
from dvskit.datasets import ImageBatches, Samples
from dvskit.errors import ConfigError, FormatError
from dvskit.training.config import InputConfig
from dvskit.training.evaluation import logits_of
from dvskit.training.held_out import choose_samples
from dvskit.training.inputs import AnyBatches, is_weighed, judged_batches
from dvskit.training.judging import open_for
from dvskit.training.model_tables import HALF, Reject
from dvskit.training.models import Model, as_model

LOST = 0.05
"""The share of right validation decisions that may be withheld."""
_QUIETER = 0.5  # the floor of the rate, as a share of the rate of nearly all recordings


@check_arguments
def choose_reject(
    model: Model | str | PathLike[str],
    data: str | PathLike[str] | Samples,
    *,
    split: str = "validation",
    lost: float = LOST,
) -> Reject:
    """Return the Reject of a model that withholds at most a share `lost` of its right decisions.

    data   recordings or clips of the model's classes, opened as in `evaluate`
    split  the part that chooses: "validation" or another part of the model's run, or "all"

    The first window of each sample is judged. The confidence is the largest such that at most
    `lost` of the right decisions fall below it. The rate is half of the rate that 99 of 100
    recordings reach, so that only windows quieter than all training data are withheld. If no
    decision is right, the confidence is the default; if the input holds no counts, the rate is.

    The trainer calls this for each model, with its validation parts. Raises ConfigError unless
    0 <= lost < 1, and for a part without samples, FormatError for no recordings.
    """
    if not 0 <= lost < 1:
        raise ConfigError(f"choose_reject: lost = {lost}; give 0 <= lost < 1")
    model = as_model(model)
    samples = data if isinstance(data, Samples) else open_for(model, data)
    chosen = choose_samples(model, samples.rows, split)
    if not chosen.samples:
        raise FormatError("no recordings to choose by; give at least one")
    part = samples.only(chosen.samples).among(model.classes)
    batches = judged_batches(part, model.input, model.size)
    return reject_on(model.module, [batches], model.input, lost)


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
