"""Events -> counts in which each event fades with its age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from dvskit.events import Size
from dvskit.tensors.bins import Bins, Part, in_spans
from dvskit.tensors.fading import fading_tables
from dvskit.tensors.planes import Planes
from dvskit.tensors.representation import BinnedByPolarity, one_bin_unless_given
from dvskit.tensors.surface_kernels import add_faded, carry_faded
from dvskit.tensors.time_surface import check_tau


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayedCounts(BinnedByPolarity):
    """Exponential decay: the sum of exp(-age / tau) over a pixel's events, at the end of each bin.

    (bins, channels, H, W) float32: what a leaky integrator without threshold holds. Ages are
    counted as in `TimeSurface`; events of all bins before count. As tau grows it becomes the number
    of events so far.

    tau_us    the age at which 1/e is left, in microseconds
    bins      1 unless given: what is left after the last event
    channels  2: OFF, ON; 1: both together

    Values are added as float32 in the order of time.
    """

    tau_us: float
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        one_bin_unless_given(self)
        BinnedByPolarity.__post_init__(self)
        check_tau(self.tau_us)

    def _start(self, bins: Bins, planes: Planes, size: Size) -> _DecayedFill:
        return _DecayedFill(bins, planes, size, self.channels, float(self.tau_us))


class _DecayedFill:
    def __init__(
        self, bins: Bins, planes: Planes, size: Size, channels: int, tau_us: float
    ) -> None:
        self.bins, self.planes, self.width, self.tau_us = bins, planes, size.width, tau_us
        self.on = size.width * size.height if channels == 2 else 0
        self.edges = bins.edges(0, bins.count + 1)
        longest = int(np.diff(self.edges).max()) if bins.count else 0
        self.tables = fading_tables(longest, tau_us)

    def add(self, part: Part, first: int, stop: int) -> None:
        events, number = part.events, part.first
        add_faded(
            events.t,
            events.x,
            events.y,
            events.p,
            part.borders[first : stop + 1],
            *self.planes.span(number + first, number + stop),
            self.width,
            self.on,
            self.bins.start,
            self.edges[number + first : number + stop + 1],
            *self.tables,
        )

    def finish(self) -> None:
        planes = self.planes
        planes.clear_rest()
        factors = np.exp(-np.diff(self.edges) / self.tau_us).astype(np.float32)

        def carry(first: int, stop: int) -> None:
            carry_faded(planes.flat, planes.step, first, stop, factors)

        in_spans(carry, planes.length, self.bins.count * planes.length)
