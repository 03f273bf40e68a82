"""The refractory period: the edge below which no two events of a pixel follow each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import PixelEvents
from dvskit.emulator.calibration.table import Estimate, unknown

NAME = "refractory_us"
_LEAST_US = 5.0
_OUTLIERS = 200_000  # one interval in so many may lie below the edge
_LEAST_NEAR = 30  # intervals up to twice the edge, without which it is not confirmed
_ALIKE = 1.15
_FAR = 0.36  # of the edge, that the refractory period may lie below it


@dataclass(frozen=True, slots=True)
class Edge:
    """The least interval of a pixel, known to `error_us`; `near` intervals lie within twice it.

    confirmed  whether intervals from ON to OFF begin where those of one polarity do: only a
               refractory period makes them
    below      whether the refractory period is less: no pixel is fast enough to show it
    """

    at_us: float
    error_us: float
    near: int
    confirmed: bool
    below: bool = False

    def estimate(self) -> Estimate:
        """Return it as the refractory period."""
        how = "least interval of a pixel; many are just above it"
        if self.below:
            how = "least scatter of changes an event; no interval is that short"
        return Estimate(NAME, float(round(self.at_us)), self.error_us, self.near, how)

    @property
    def least_us(self) -> float:
        """What the refractory period is at least, by how dense the intervals are above it."""
        return self.at_us * (1.0 - min(_FAR, 2.0 / math.sqrt(self.near)))

    def moved(self, at_us: float, error_us: float) -> Edge:
        """Return it at a place known better from elsewhere."""
        error_us = error_us if self.below else self.at_us / math.sqrt(self.near)
        return Edge(at_us, max(1.0, error_us), self.near, True, self.below)


def _least(gaps: NDArray[np.int64]) -> float:
    rank = gaps.size // _OUTLIERS
    return float(np.partition(gaps, rank)[rank]) if gaps.size else np.inf


def find_edge(events: PixelEvents) -> Edge | None:
    """Return the edge of the intervals; None where they have none."""
    room = len(events.t)
    kinds, gaps = np.empty(room, np.int8), np.empty(room, np.int64)
    n = k.intervals(events.t, events.p, events.starts, kinds, gaps)
    kinds, gaps = kinds[:n], gaps[:n]
    at = _least(gaps)
    if not _LEAST_US <= at < np.inf:
        return None
    near = int(np.count_nonzero(gaps <= 2 * at))
    same, mixed = (_least(gaps[np.isin(kinds, those)]) for those in ((0, 3), (1, 2)))
    # Were short intervals only ever rarer, there would be few so near the least one.
    steep = near >= _LEAST_NEAR * (1 + n // _OUTLIERS)
    confirmed = steep and max(same, mixed) < _ALIKE * min(same, mixed)
    return Edge(at, max(1.0, at / near**0.5), near, confirmed)


def no_edge(events: PixelEvents) -> Estimate:
    """Return the estimate for a sensor whose intervals show no edge."""
    return unknown(NAME, "the intervals of pixels have no lower edge", len(events.t))
