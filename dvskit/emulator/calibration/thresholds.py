"""Thresholds, their spread from pixel to pixel, and the refractory period.

The refractory period is the edge of the intervals: the least time between two events of a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.observed import Observed
from dvskit.emulator.calibration.row_kernels import PixelEvents
from dvskit.emulator.calibration.rows import Fit, Pixel, fit, fit_halves, make_rows
from dvskit.emulator.calibration.search import View
from dvskit.emulator.calibration.table import Estimate, unknown

_LEAST_PIXELS = 20
_BAD = 0.15  # scatter, as a part of the threshold, above which noise may mislead the fit
# Share of the unexplained scatter between events that is added to the error of thresholds from
# frame to frame: then 19 of 20 truths of the benchmark lie within two standard errors.
_UNSEEN = 0.4
_MOST_MISSED = 0.3
_NEARLY_ALL, _FAIR_PIXELS = (0.98, 0.95, 0.9, 0.8, 0.7, 0.5), 300
_DENSEST = 0.4  # of a normal distribution
NAMES = ("threshold_on", "threshold_off", "threshold_sigma")
REFRACTORY = "refractory_us"
_LEAST_US = 5.0
_OUTLIERS = 200_000  # share of the intervals that may lie below the edge
_LEAST_NEAR = 30  # intervals up to twice the edge, needed to confirm it
_ALIKE = 1.15
_FAR = 0.36  # of the edge: the margin for a lower refractory period


def resampled_error(
    values: NDArray[np.float64], tiles: NDArray[np.int64], statistic: object, times: int = 40
) -> float:
    """Return the standard error of a statistic of pixels by a bootstrap of whole tiles."""
    _, tile = np.unique(tiles, return_inverse=True)
    order = np.argsort(tile, kind="stable")
    bounds = np.searchsorted(tile[order], np.arange(tile.max() + 2))
    members = [order[a:b] for a, b in pairwise(bounds)]
    rng = np.random.default_rng(2)
    found = []
    for _ in range(times):
        drawn = rng.integers(0, len(members), len(members))
        found.append(statistic(values[np.concatenate([members[i] for i in drawn])]))  # type: ignore[operator]
    return float(np.std(found, ddof=1))


def _fair(good: NDArray[np.bool_], tiles: NDArray[np.int64]) -> tuple[NDArray[np.bool_], float]:
    """Return the pixels with representative thresholds, and the missing share around them.

    Pixels with low thresholds give more events, so that more of them are known. Where nearly all
    around are known, there is no selection.
    """
    known = np.bincount(tiles, good) / np.maximum(1, np.bincount(tiles))
    for least in _NEARLY_ALL:
        fair = good & (known[tiles] >= least)
        if np.count_nonzero(fair) >= max(_FAIR_PIXELS, 0.1 * np.count_nonzero(good)):
            return fair, 1.0 - float(known[tiles[fair]].mean())
    return good, 0.0


def _spread(pairs: NDArray[np.float64]) -> float:
    """Return the scatter of pixels' values, less their errors.

    Columns: the value, and the difference of the values of both halves of the pixel's rows, half of
    which is the error of the value.
    """
    total, apart = (1.4826 * np.median(np.abs(c - np.median(c))) for c in pairs.T)
    return float(np.sqrt(max(0.0, total**2 - 0.25 * apart**2)))


def threshold_estimates(
    observed: Observed, view: View, pixel: Pixel, missed: float
) -> tuple[Estimate, ...]:
    """Return the estimates of both thresholds and of their spread.

    missed  scatter that the candidate leaves from event to event, as a part of the threshold
    """
    rows = make_rows(pixel, view.events, view.seen)
    found = fit(rows, pixel.between_events)
    if found is None:
        return tuple(unknown(name, NO_MOTION) for name in NAMES)
    tiles = observed.tiles(view.seen.pixels)
    way = "event to event" if pixel.between_events else "frame to frame"
    # Changes of the signal that frames do not show shift all pixels alike.
    share = 0.18 if pixel.between_events else 0.25
    scale = found.scale / min(found.pooled)
    doubt = math.hypot(0.006, share * scale * (1.0 + 1.25 * (scale / _BAD) ** 2))
    if not pixel.between_events:
        # Few frames see a few events each: those also fit a wrong map, low-pass or refractory
        # period. The misfit of all other events gives the possible error.
        doubt = math.hypot(doubt, _UNSEEN * min(missed, _MOST_MISSED))
    estimates, spreads = [], []
    on, off = rows.pairs.on, rows.pairs.off
    sides = ((found.on, found.error_on, on), (found.off, found.error_off, off))
    for name, (value, error, column), half, typical in zip(
        NAMES, sides, fit_halves(rows, found), found.pooled, strict=False
    ):
        good = error < 0.1 * typical
        good, missing = _fair(good, tiles)
        count = int(np.count_nonzero(column))
        if np.count_nonzero(good) < _LEAST_PIXELS:
            estimates.append(unknown(name, NO_MOTION, count))
            continue
        middle = float(np.median(value[good]))
        wrong = resampled_error(value[good], tiles[good], np.median)
        how = f"changes of log intensity {way} at {np.count_nonzero(good):,} pixels"
        total = 1.4826 * float(np.median(np.abs(value[good] - middle)))
        unfair = total * missing / 2.0 / _DENSEST
        error_of = math.hypot(wrong, middle * doubt, unfair)
        estimates.append(Estimate(name, middle, error_of, count, how))
        # Pixels with low thresholds give more events: only blurred ones are excluded.
        sharp = good & (error <= max(0.5 * total, float(np.median(error[good]))))
        pairs = np.stack([value, half[:, 1] - half[:, 0]], 1)[sharp]
        spreads.append((_spread(pairs), resampled_error(pairs, tiles[sharp], _spread)))
    return (*estimates, _sigma(spreads, found, 2 * share))


NO_MOTION = "too few changes at the pixels with events: record a moving, textured scene"


def _sigma(spreads: list[tuple[float, float]], found: Fit, share: float) -> Estimate:
    if not spreads:
        return unknown(NAMES[2], NO_MOTION)
    value = float(np.mean([s for s, _ in spreads]))
    error = math.hypot(*(e for _, e in spreads)) / len(spreads)
    how = "scatter of pixels' thresholds, less their errors"
    pixels = int(np.count_nonzero(found.error_on < np.inf))
    return Estimate(NAMES[2], value, math.hypot(error, share * found.scale), pixels, how)


@dataclass(frozen=True, slots=True)
class Edge:
    """The least interval of a pixel, +- `error_us`; `near` intervals lie within twice it.

    confirmed  whether intervals from ON to OFF begin where those of one polarity do: only a
               refractory period causes that
    below      whether the refractory period is shorter: no pixel is fast enough to show it
    """

    at_us: float
    error_us: float
    near: int
    confirmed: bool
    below: bool = False

    def estimate(self) -> Estimate:
        """Return it as the estimate of the refractory period."""
        how = "least interval of a pixel; many lie just above it"
        if self.below:
            how = "least scatter of changes per event; no interval is that short"
        return Estimate(REFRACTORY, float(round(self.at_us)), self.error_us, self.near, how)

    @property
    def least_us(self) -> float:
        """The lower bound of the refractory period, from the density of the intervals above it."""
        return self.at_us * (1.0 - min(_FAR, 2.0 / math.sqrt(self.near)))

    def moved(self, at_us: float, error_us: float) -> Edge:
        """Return it moved to a better estimate from elsewhere."""
        error_us = error_us if self.below else self.at_us / math.sqrt(self.near)
        return Edge(at_us, max(1.0, error_us), self.near, True, self.below)


def _least(gaps: NDArray[np.int64]) -> float:
    rank = gaps.size // _OUTLIERS
    return float(np.partition(gaps, rank)[rank]) if gaps.size else np.inf


def find_edge(events: PixelEvents) -> Edge | None:
    """Return the edge of the intervals; None without one."""
    follows = np.ones(len(events.t), np.bool_)  # another event of its pixel
    follows[events.starts[:-1][np.diff(events.starts) > 0]] = False
    gaps = np.diff(events.t)[follows[1:]]
    alike = (events.p[1:] == events.p[:-1])[follows[1:]]
    at = _least(gaps)
    if not _LEAST_US <= at < np.inf:
        return None
    near = int(np.count_nonzero(gaps <= 2 * at))
    same, mixed = _least(gaps[alike]), _least(gaps[~alike])
    # If short intervals just became rarer, there would be few this near the least one.
    steep = near >= _LEAST_NEAR * (1 + gaps.size // _OUTLIERS)
    confirmed = steep and max(same, mixed) < _ALIKE * min(same, mixed)
    return Edge(at, max(1.0, at / near**0.5), near, confirmed)


def no_edge(events: PixelEvents) -> Estimate:
    """Return the estimate for a sensor without an edge of the intervals."""
    return unknown(REFRACTORY, "the intervals of pixels have no lower edge", len(events.t))
