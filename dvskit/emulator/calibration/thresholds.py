"""Thresholds and refractory period, from changes of a pixel's signal and its events.

There are two kinds of rows. Between events: the signal changes by one threshold from an event to
the next, which needs frames that show the signal at any time. Between frames: it changes by a
number of thresholds, with fractions, which needs several events between two frames, and only the
frames' own times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges
from dvskit.emulator.calibration import row_kernels as k
from dvskit.emulator.calibration.observed import FrameSamples, PixelRecord, PixelView
from dvskit.emulator.calibration.row_kernels import PixelEvents
from dvskit.emulator.calibration.table import Estimate, unknown
from dvskit.emulator.levels import log_map
from dvskit.emulator.params import EmulatorParams

_SHARES = 16  # of pixels, processed in turn by the threads
_LEAST_ROWS = 6  # rows of a pixel for thresholds of its own: two parameters overfit a few rows
_BIN, _SMOOTH = 0.02, 4  # of a logarithm, and bins of smoothing
KNEE = EmulatorParams().knee
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


@dataclass(frozen=True, slots=True)
class Pixel:
    """A candidate response of a pixel to light.

    log_offset  None for lin-log; cutoff_hz 0 for none; leak_hz is subtracted from the changes
    between_events  whether rows go from event to event, or from frame to frame
    later_us        shift of the frames on the events' clock
    """

    log_offset: float | None = None
    cutoff_hz: float = 0.0
    refractory_us: float = 0.0
    leak_hz: float = 0.0
    between_events: bool = True
    later_us: float = 0.0

    @property
    def pole_us(self) -> float:
        """Time constant at white."""
        return 1e6 / (2 * math.pi * self.cutoff_hz) if self.cutoff_hz else 0.0

    @property
    def response(self) -> k.Response:
        """The candidate as kernel arguments."""
        response = log_map(EmulatorParams(log_offset=self.log_offset))
        return k.Response(response, self.pole_us, self.refractory_us, self.leak_hz * 1e-6)


@dataclass(frozen=True, slots=True)
class ChangeRows:
    """Rows of pairs, pixel by pixel (starts as in PixelEvents)."""

    starts: NDArray[np.int64]
    pairs: k.Pairs


def make_rows(pixel: Pixel, events: PixelEvents, seen: FrameSamples) -> ChangeRows:
    """Return the rows of a candidate, from the events of the pixels that `seen` shows."""
    between = pixel.between_events
    room = len(events.t) if between else min(seen.numbers.size, len(events.t) + 1)
    columns = k.RowColumns.of(room, weighted=not between)
    shown, response = seen.shown(pixel.later_us), pixel.response
    if between:
        n = k.rows_between_events(events, shown, response, columns)
    else:
        n = k.rows_between_frames(events, shown, response, seen.interval_us, columns)
    number, on, off, change, weight = columns
    keep = np.ones(n, np.bool_)
    if between:
        # An event that the signal does not explain (noise, leak) does not inform about the
        # threshold.
        sign = off[:n] == 0
        keep = (np.where(sign, change[:n], -change[:n]) > 0.02) & (
            on[:n] > np.where(sign, 0.7, -0.3)
        )
    starts = np.searchsorted(number[:n][keep], np.arange(len(events.starts)))
    on, off, change = on[:n][keep], off[:n][keep], change[:n][keep]
    if between:
        return ChangeRows(starts, k.Pairs(on, off, change, on, off, np.ones(change.size)))
    # Frames show the change well, events their part of a threshold less so.
    sure = change.clip(0), change.clip(None, 0)
    return ChangeRows(starts, k.Pairs(on, off, change, *sure, weight[:n]))


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """Thresholds of each pixel, with their sampling errors, and the scale of residuals.

    scale  robust standard deviation of the residuals, in e-folds
    """

    on: NDArray[np.float64]
    off: NDArray[np.float64]
    error_on: NDArray[np.float64]
    error_off: NDArray[np.float64]
    pooled: tuple[float, float]
    scale: float
    rest: NDArray[np.float64]


def _peak(values: NDArray[np.float64]) -> float:
    """Return the mode of positive values, on a log scale: noise spreads widely."""
    logs = np.log(values)
    edges = np.arange(logs.min() - 0.5, logs.max() + 0.5, _BIN)
    counts = np.histogram(logs, edges)[0]
    width = np.arange(-3 * _SMOOTH, 3 * _SMOOTH + 1)
    kernel = np.exp(-0.5 * (width / _SMOOTH) ** 2)
    at = int(np.argmax(np.convolve(counts, kernel, "same")))
    return math.exp(edges[at] + 0.5 * _BIN)


def _start(rows: ChangeRows, between_events: bool) -> tuple[float, float]:
    if between_events:
        rising = rows.pairs.off == 0
        found = [rows.pairs.change[rising], -rows.pairs.change[~rising]]
        return tuple(_peak(v) if v.size else 0.2 for v in found)  # type: ignore[return-value]
    # Least absolute deviations, by reweighting.
    weight = np.ones(rows.pairs.change.size)
    value = np.array([0.2, 0.2])
    matrix = np.stack([rows.pairs.on, rows.pairs.off], 1)
    for _ in range(30):
        left = matrix * weight[:, None]
        value = np.linalg.lstsq(left.T @ matrix, left.T @ rows.pairs.change, rcond=None)[0]
        rest = np.abs(rows.pairs.change - matrix @ value)
        weight = 1.0 / np.maximum(rest, 1e-3 * np.median(rest) + 1e-9)
    return float(value[0]), float(value[1])


def fit(rows: ChangeRows, between_events: bool) -> ThresholdFit | None:
    """Fit thresholds to the rows, of all pixels and of each; None if that is impossible."""
    count = rows.starts.size - 1
    if rows.pairs.change.size < 50:
        return None
    start = _start(rows, between_events)
    if not min(start) > 0.005:
        return None
    rest = np.empty(rows.pairs.change.size)
    whole = np.array([0, rows.pairs.change.size])
    found = _begun(start, 1)
    scale = 0.3 * min(start)
    for _ in range(8):
        k.fit_rows(whole, rows.pairs, k.Robust(scale, 2, 2), found, rest)
        scale = _scale(rest, start)
    pooled = (float(found.on[0]), float(found.off[0]))
    if not min(pooled) > 0.005:
        return None
    found = _begun(pooled, count)
    scale = max(scale, 0.1 * min(pooled))
    for _ in range(4):
        _fit_groups(rows.starts, rows, k.Robust(scale, _LEAST_ROWS, 3), found, rest)
        scale = _scale(rest, pooled)
    errors = scale * found.error_on, scale * found.error_off
    return ThresholdFit(found.on, found.off, *errors, pooled, scale, rest)


def _begun(thresholds: tuple[float, float], groups: int) -> k.Thresholds:
    """Return the start values for a fit of this many groups."""
    on, off = (np.full(groups, each) for each in thresholds)
    return k.Thresholds(on, off, np.zeros(groups), np.zeros(groups))


def fit_halves(rows: ChangeRows, whole: ThresholdFit) -> NDArray[np.float64]:
    """Return ON and OFF thresholds of the first and second half of each pixel's rows: (2, P, 2)."""
    starts = rows.starts
    bounds = np.empty(2 * starts.size - 1, np.int64)
    bounds[::2], bounds[1::2] = starts, (starts[:-1] + starts[1:]) // 2
    found = _begun(whole.pooled, bounds.size - 1)
    rest = np.empty(rows.pairs.change.size)
    _fit_groups(bounds, rows, k.Robust(whole.scale, _LEAST_ROWS // 2, 6), found, rest)
    return np.stack([found.on.reshape(-1, 2), found.off.reshape(-1, 2)])


def _fit_groups(
    starts: NDArray[np.int64],
    rows: ChangeRows,
    how: k.Robust,
    found: k.Thresholds,
    rest: NDArray[np.float64],
) -> None:
    """Fit groups of rows separately, on all threads; see `fit_rows`."""

    def work(first: int, stop: int) -> None:
        own = k.Thresholds(*(each[first:stop] for each in found))
        k.fit_rows(starts[first : stop + 1], rows.pairs, how, own, rest)

    run_ranges(work, starts.size - 1, _SHARES)


def _scale(rest: NDArray[np.float64], around: tuple[float, float]) -> float:
    half = (rest.size - 1) // 2
    middle = np.partition(np.abs(rest), (half, rest.size // 2))[half : rest.size // 2 + 1]
    return max(1.4826 * float(middle.mean()), 0.002 * min(around))  # a median, in half the time


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

    Pixels with low thresholds give more events, so that more of these pixels have known thresholds.
    Where nearly all pixels around have known thresholds, there is no selection.
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
    observed: PixelRecord, view: PixelView, pixel: Pixel, missed: float
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


def _sigma(spreads: list[tuple[float, float]], found: ThresholdFit, share: float) -> Estimate:
    if not spreads:
        return unknown(NAMES[2], NO_MOTION)
    value = float(np.mean([s for s, _ in spreads]))
    error = math.hypot(*(e for _, e in spreads)) / len(spreads)
    how = "scatter of pixels' thresholds, less their errors"
    pixels = int(np.count_nonzero(found.error_on < np.inf))
    return Estimate(NAMES[2], value, math.hypot(error, share * found.scale), pixels, how)


@dataclass(frozen=True, slots=True)
class IntervalEdge:
    """The least interval of a pixel, +- `error_us`; `near` intervals lie within twice it.

    confirmed  whether intervals from ON to OFF begin where intervals of one polarity begin: only a
               refractory period causes that
    below      whether the refractory period is shorter: no pixel is fast enough to show it
    """

    at_us: float
    error_us: float
    near: int
    confirmed: bool
    below: bool = False

    def estimate(self) -> Estimate:
        """Return the edge as the estimate of the refractory period."""
        how = "least interval of a pixel; many lie just above it"
        if self.below:
            how = "least scatter of changes per event; no interval is that short"
        return Estimate(REFRACTORY, float(round(self.at_us)), self.error_us, self.near, how)

    @property
    def least_us(self) -> float:
        """The lower bound of the refractory period, from the density of the intervals above it."""
        return self.at_us * (1.0 - min(_FAR, 2.0 / math.sqrt(self.near)))

    def moved(self, at_us: float, error_us: float) -> IntervalEdge:
        """Return the edge at a better estimate of the refractory period."""
        error_us = error_us if self.below else self.at_us / math.sqrt(self.near)
        return IntervalEdge(at_us, max(1.0, error_us), self.near, True, self.below)


def _least(gaps: NDArray[np.int64]) -> float:
    rank = gaps.size // _OUTLIERS
    return float(np.partition(gaps, rank)[rank]) if gaps.size else np.inf


def find_edge(events: PixelEvents) -> IntervalEdge | None:
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
    return IntervalEdge(at, max(1.0, at / near**0.5), near, confirmed)


def no_edge(events: PixelEvents) -> Estimate:
    """Return the estimate for a sensor without an edge of the intervals."""
    return unknown(REFRACTORY, "the intervals of pixels have no lower edge", len(events.t))
