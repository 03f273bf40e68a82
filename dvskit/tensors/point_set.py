"""Events -> point sets for point-cloud networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._checks import check_choice, check_fields, check_seed, check_whole, checked
from dvskit.errors import ShapeError
from dvskit.events import Events, Source, as_size, as_source, cut
from dvskit.tensors.counts_kernels import write_points
from dvskit.tensors.representation import check_out, columns_of, in_spans, zeros_for

Points = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSet:
    """Events as points x, y, t, p: (points, 4), in order of time.

    If there are more events than `points`, a random subset is drawn uniformly, without replacement;
    the same seed and number of events give the same subset (Wang et al. 2019, "Space-time event
    clouds for gesture recognition: from RGB cameras to event cameras").

    points  the number of points; None uses all events
    seed    the seed of the draw
    fewer   for fewer events than points: "repeat" uses each event equally often, give or take one;
            "zeros" appends rows of zeros. Without any event all rows are zeros
    scale   "unit": x / (width - 1), y / (height - 1), (t - first) / (last - first), all from 0 to
            1, and p of -1 or 1; float32. With `duration_us`, t is divided by it instead, so that
            speed changes the points
            "pixels": x, y, microseconds since `start_us`, and p of -1 or 1; float64, exact
    duration_us   drops events this long after the start, and later ones; None keeps all

    The call's `start_us` drops earlier events and is the origin of t.

        points = dvskit.tensors.PointSet(points=1_024, seed=1)
        cloud = points(dvskit.load_events("events.raw"))    # (1024, 4) float32: x, y, t and p
        cloud[:, :3].min(), cloud[:, :3].max()              # from 0 to 1
    """

    points: int | None = checked(check_whole, 1, default=None)
    seed: int = checked(check_seed, default=0)
    fewer: Literal["repeat", "zeros"] = checked(check_choice, ("repeat", "zeros"), default="repeat")
    scale: Literal["unit", "pixels"] = checked(check_choice, ("unit", "pixels"), default="unit")
    duration_us: int | None = checked(check_whole, 1, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor: float32 for "unit", float64 for "pixels"."""
        return torch.float32 if self.scale == "unit" else torch.float64

    def drawn(self, rng: np.random.Generator) -> PointSet:
        """Return the same with another seed, so that it draws other events."""
        return replace(self, seed=int(rng.integers(2**63 - 1)))

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (points, 4). Raises ShapeError without `points`."""
        if self.points is None:
            raise ShapeError("the number of points depends on the events; pass points too")
        return int(self.points), 4

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the points; see `Representation`. A Source is read twice."""
        source = as_source(events)
        total, first, last = self._span_and_number(source, start_us)
        count = total if self.points is None else int(self.points)
        if out is not None:
            check_out(out, (count, 4), self.dtype)
        start = first if start_us is None else start_us
        scales = (1.0, 1.0, 1.0)
        if self.scale == "unit":
            width, height = as_size(source.size)
            span = last - start if self.duration_us is None else self.duration_us
            scales = 1 / max(1, width - 1), 1 / max(1, height - 1), 1 / max(1, span)
        points = zeros_for((count, 4), self.dtype)
        rows = self._rows(total, count)
        written = 0
        for block in _chosen(source, rows, start, self._stop(start)):
            some = points[written : written + len(block)]
            written += len(block)

            def write(low: int, high: int, block: Events = block, some: Points = some) -> None:
                write_points(columns_of(block[low:high]), start, scales, some[low:high])

            in_spans(write, len(block), len(block))
        tensor = torch.from_numpy(points)
        return tensor if out is None else out.copy_(tensor)

    def _stop(self, start_us: int) -> int | None:
        return None if self.duration_us is None else start_us + self.duration_us

    def _span_and_number(self, source: Source, start_us: int | None) -> tuple[int, int, int]:
        """Return the number of events and the times of the first and the last; 0 without events."""
        total = first = last = 0
        for block in source:
            block = cut(block, start_us, None)
            if start_us is None and len(block):
                start_us = int(block.t[0])
            if start_us is not None:
                block = cut(block, None, self._stop(start_us))
            if len(block):
                first, last = first if total else int(block.t[0]), int(block.t[-1])
                total += len(block)
        return total, first, last

    def _rows(self, total: int, points: int) -> NDArray[np.int64] | None:
        """Return the event index of each point, in order; None for each event once."""
        if total > points:
            rng = np.random.default_rng(self.seed)
            return np.sort(rng.choice(total, points, replace=False, shuffle=False))
        if self.fewer == "zeros" or total in (0, points):
            return None
        return np.arange(points) * total // points


def _chosen(
    source: Source, rows: NDArray[np.int64] | None, start_us: int, stop_us: int | None
) -> Iterator[Events]:
    """Yield events by non-decreasing indices; an index may repeat."""
    seen = 0
    for block in source:
        block = cut(block, start_us, stop_us)
        if rows is None:
            yield block
            continue
        low, high = np.searchsorted(rows, (seen, seen + len(block)))
        which = rows[low:high] - seen
        columns = (block.t[which], block.x[which], block.y[which], block.p[which])
        yield Events.from_checked(*columns, block.sensor_size)
        seen += len(block)
