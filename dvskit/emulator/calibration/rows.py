"""Rows of changes of a pixel's signal and its events, to which thresholds are fitted.

There are two kinds. Between events: the signal changes by one threshold from an event to the next.
That needs frames that show the signal at any time. Between frames: the signal changes by a number
of thresholds, with fractions. That needs several events between two frames, and only the frames'
own times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges
from dvskit.emulator.calibration import row_kernels as k
from dvskit.emulator.calibration.observed import Seen
from dvskit.emulator.calibration.row_kernels import PixelEvents

_SHARES = 16  # of pixels, processed in turn by the threads
_LEAST_ROWS = 6  # rows of a pixel for thresholds of its own: two parameters overfit a few rows
_BIN, _SMOOTH = 0.02, 4  # of a logarithm, and bins of smoothing
KNEE = 20.0  # digital numbers: the default of EmulatorParams.linear_below


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
        """The same as kernel arguments."""
        offset = -1.0 if self.log_offset is None else self.log_offset
        leak = self.leak_hz * 1e-6
        return k.Response(offset, KNEE, self.pole_us, self.refractory_us, leak)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of pairs, pixel by pixel (starts as in PixelEvents)."""

    starts: NDArray[np.int64]
    pairs: k.Pairs


def make_rows(pixel: Pixel, events: PixelEvents, seen: Seen) -> Rows:
    """Return the rows of a candidate; `events` are those of the pixels that `seen` shows."""
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
        return Rows(starts, k.Pairs(on, off, change, on, off, np.ones(change.size)))
    # Frames show the change well, events their part of a threshold less so.
    sure = change.clip(0), change.clip(None, 0)
    return Rows(starts, k.Pairs(on, off, change, *sure, weight[:n]))


@dataclass(frozen=True, slots=True)
class Fit:
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


def _start(rows: Rows, between_events: bool) -> tuple[float, float]:
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


def fit(rows: Rows, between_events: bool) -> Fit | None:
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
    return Fit(found.on, found.off, *errors, pooled, scale, rest)


def _begun(thresholds: tuple[float, float], groups: int) -> k.Thresholds:
    """Return the start values for a fit of this many groups."""
    on, off = (np.full(groups, each) for each in thresholds)
    return k.Thresholds(on, off, np.zeros(groups), np.zeros(groups))


def fit_halves(rows: Rows, whole: Fit) -> NDArray[np.float64]:
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
    rows: Rows,
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
