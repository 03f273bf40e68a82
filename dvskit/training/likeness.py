"""Compare the motion in a window with that of the training samples.

Two measures of counts. The spread is the share of grid cells with events, averaged over the bins
with events. The density is the number of events per second in a cell with events. A model keeps
the range of both over its training samples, in the table [likeness].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dvskit.training.config import InputConfig
from dvskit.training.inputs import AnyBatches, is_weighed

_CELLS = 16  # of the grid, along the longer side
_BEYOND = 1.35  # times the range of training: other people differ by about that much
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
        if spread > self.spread[1] * _BEYOND:
            return "more of the picture moves"
        if density > self.density[1] * _BEYOND:
            return "there are more events where it moves"
        if density < self.density[0] / _BEYOND:
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
