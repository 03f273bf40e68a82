"""The limits below which a model names no class, and their choice by validation samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dvskit._checks import check_fields, check_number, checked
from dvskit.datasets import ImageBatches
from dvskit.models.inputs import AnyBatches, InputConfig, is_weighed
from dvskit.models.scores import logits_of

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
