"""Events -> sets of points for networks that take clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.errors import ShapeError, did_you_mean
from dvskit.events import Events, Source, as_size, as_source, cut
from dvskit.tensors.bins import check_whole
from dvskit.tensors.planes import check_out, zeros_for


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSet:
    """Events as points x, y, t, p: (points, 4), in the order of time.

    Of more events than `points`, that many are drawn, each as likely, none twice; the same seed
    draws the same of as many events. Without `points` all events are taken. (Wang et al. 2019,
    "Space-time event clouds for gesture recognition: from RGB cameras to event cameras".)

    points  how many there are
    seed    what the draw depends on
    fewer   where there are fewer events: "repeat" takes each of them as often as any other, or
            once more; "zeros" puts rows of zeros behind them. Without any event all rows are zeros
    scale   "unit": x / (width - 1), y / (height - 1), (t - first) / (last - first), all from 0 to
            1, and p of -1 or 1; float32
            "pixels": x, y, microseconds since `start_us`, and p of -1 or 1; float64, which is exact

    `start_us`, when called, leaves out the events before it, and is where t begins.
    """

    points: int | None = None
    seed: int = 0
    fewer: Literal["repeat", "zeros"] = "repeat"
    scale: Literal["unit", "pixels"] = "unit"

    def __post_init__(self) -> None:
        check_whole("points", self.points)
        for name, choices in (("fewer", ("repeat", "zeros")), ("scale", ("unit", "pixels"))):
            value = getattr(self, name)
            if value not in choices:
                raise ShapeError(f"unknown {name}={value!r}; {did_you_mean(str(value), choices)}")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor: float32 for "unit", float64 for "pixels"."""
        return torch.float32 if self.scale == "unit" else torch.float64

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (points, 4). Raises ShapeError without `points`."""
        if self.points is None:
            raise ShapeError("how many points there are depends on the events; give points too")
        return int(self.points), 4

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the points, as `Representation` says. A Source is read twice."""
        source = as_source(events)
        total, first, last = _span_and_number(source, start_us)
        points = total if self.points is None else int(self.points)
        if out is not None:
            check_out(out, (points, 4), self.dtype)
        rows = self._rows(total, points)
        chosen = _take(source, rows, start_us)
        found = zeros_for((points, 4), self.dtype)
        start = first if start_us is None else start_us
        found[: len(chosen)] = self._scaled(chosen, start, last)
        tensor = torch.from_numpy(found)
        return tensor if out is None else out.copy_(tensor)

    def _rows(self, total: int, points: int) -> NDArray[np.int64]:
        """Return the numbers of the events of each point, in order."""
        if total > points:
            rng = np.random.default_rng(self.seed)
            return np.sort(rng.choice(total, points, replace=False, shuffle=False))
        if self.fewer == "zeros" or not total:
            return np.arange(total)
        return np.arange(points) * total // points

    def _scaled(self, events: Events, start_us: int, last_us: int) -> NDArray[Any]:
        width, height = as_size(events.size)
        columns = np.empty((len(events), 4), np.float64)
        columns[:, 0], columns[:, 1] = events.x, events.y
        columns[:, 2] = events.t - start_us
        columns[:, 3] = np.where(events.p, 1, -1)
        if self.scale == "unit":
            columns[:, :3] /= max(1, width - 1), max(1, height - 1), max(1, last_us - start_us)
        return columns


def _span_and_number(source: Source, start_us: int | None) -> tuple[int, int, int]:
    """Return how many events there are, and the times of the first and the last, 0 without."""
    total = first = last = 0
    for block in source:
        block = cut(block, start_us, None)
        if len(block):
            first, last = first if total else int(block.t[0]), int(block.t[-1])
            total += len(block)
    return total, first, last


def _take(source: Source, rows: NDArray[np.int64], start_us: int | None) -> Events:
    """Return events by their numbers, which do not fall; a number may come again."""
    taken, seen = [], 0
    for block in source:
        block = cut(block, start_us, None)
        low, high = np.searchsorted(rows, (seen, seen + len(block)))
        which = rows[low:high] - seen
        columns = (block.t[which], block.x[which], block.y[which], block.p[which])
        taken.append(Events.from_checked(*columns, block.size))
        seen += len(block)
    return Events.concatenate(taken, size=source.size)
