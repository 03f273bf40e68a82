"""Loops that pair frames with events, and fit thresholds to the pairs.

Times are in microseconds, levels in e-folds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator.level_kernels import LogMap, level_of, light_of

Array = NDArray[Any]


class PixelEvents(NamedTuple):
    """The events of some pixels, pixel by pixel.

    t int64 (n,) microseconds, p bool (n,); pixel k has starts[k] to starts[k + 1]
    """

    t: NDArray[np.int64]
    p: NDArray[np.bool_]
    starts: NDArray[np.int64]

    def of(self, pixels: NDArray[np.int64]) -> PixelEvents:
        """Return the events of some pixels only, in that order."""
        counts = self.starts[pixels + 1] - self.starts[pixels]
        starts = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        index = np.repeat(self.starts[pixels], counts) + within
        return PixelEvents(self.t[index], self.p[index], starts)


class Numbers(NamedTuple):
    """Digital numbers of the frames.

    t        float64 (F,)
    numbers  (pixels, F), digital numbers from 0 to 255
    sure     (pixels, F), 0 if the light between a frame and the previous one is unknown; of
             length 0 if it is known everywhere
    """

    t: Array
    numbers: Array
    sure: Array


class Response(NamedTuple):
    """The response of a pixel to light: log map, low-pass, refractory period, leak.

    log_map  see `level_of`; pole: the time constant at white
    held     microseconds; leak: events per microsecond
    """

    log_map: LogMap
    pole: float
    held: float
    leak: float


class RowColumns(NamedTuple):
    """Arrays of rows (n,): the pixel, the coefficients of C_on and C_off, the change, the weight.

    weight  of length 0 for equal weights
    """

    pixel: Array
    on: Array
    off: Array
    change: Array
    weight: Array

    @classmethod
    def of(cls, room: int, *, weighted: bool) -> RowColumns:
        """Return uninitialized arrays for this many rows."""
        on, off, change = (np.empty(room) for _ in range(3))
        return cls(np.empty(room, np.int64), on, off, change, np.empty(room if weighted else 0))


class Pairs(NamedTuple):
    """Rows (n,) of changes of the signal: change = C_on on + C_off off.

    sure_on, sure_off  instruments: related to on and off, but not to their errors
    """

    on: Array
    off: Array
    change: Array
    sure_on: Array
    sure_off: Array
    weight: Array


class Robust(NamedTuple):
    """Parameters of the robust fit: Tukey's biweight at 4.685 scales, with this many iterations.

    least  rows of a group; smaller groups keep their thresholds
    """

    scale: float
    least: int
    turns: int


class Thresholds(NamedTuple):
    """Thresholds C_on and C_off of groups of rows (n,), and their standard errors, in scales."""

    on: Array
    off: Array
    error_on: Array
    error_off: Array


@njit(cache=True, nogil=True)
def passed(
    level: float, following: float, interval: float, tau: float, v: float, gone: float
) -> float:
    """Return the low-passed signal `gone` after a frame: tau v' = L - v, L linear in time."""
    slope = (following - level) / interval
    if tau <= 0.0:
        return level + slope * gone
    ahead = level - slope * tau
    return ahead + slope * gone + (v - ahead) * math.exp(-gone / tau)


@njit(cache=True, nogil=True)
def rows_between_events(
    events: PixelEvents, shown: Numbers, response: Response, rows: RowColumns
) -> int:
    """Write the change of the signal between consecutive events of a pixel.

    The signal is the log intensity of the frames, linear in time between frames, after a low-pass
    of time constant pole / light. The signal is read at the event and at the end of the refractory
    period `held` after the previous event: change = C_on row_on + C_off row_off, less the leak
    (events per microsecond). Rows are skipped where `sure` (pixels, frames; of length 0 for all) is
    0, because the light between a frame and the previous frame is unknown. Returns the number of
    rows.
    """
    t, p, starts = events
    frame_t, numbers, sure = shown
    log_map, pole, held, leak = response
    row_pixel, row_on, row_off, row_change, _ = rows
    n = 0
    frames = frame_t.size
    for k in range(numbers.shape[0]):
        f = 0
        level = level_of(numbers[k, 0], log_map)
        following = level_of(numbers[k, 1], log_map)
        tau = pole / light_of(numbers[k, 1])
        v = level
        released, base = -1.0, 0.0
        for i in range(starts[k], starts[k + 1]):
            at = np.float64(t[i])
            for turn in range(2):
                if turn == 1:
                    at += held
                    if i + 1 < starts[k + 1]:
                        at = min(at, np.float64(t[i + 1]))
                if at < frame_t[0]:
                    continue
                while f < frames - 2 and at > frame_t[f + 1]:
                    gap = frame_t[f + 1] - frame_t[f]
                    v = passed(level, following, gap, tau, v, gap)
                    f += 1
                    if sure.size > 0 and sure[k, f] == 0:
                        released = -1.0
                    level = following
                    following = level_of(numbers[k, f + 1], log_map)
                    tau = pole / light_of(numbers[k, f + 1])
                if at > frame_t[frames - 1]:
                    released = -1.0
                    break
                if sure.size > 0 and sure[k, f + 1] == 0:
                    released = -1.0
                    continue
                gap = frame_t[f + 1] - frame_t[f]
                now = passed(level, following, gap, tau, v, at - frame_t[f])
                if turn == 1:
                    released, base = at, now
                elif released >= 0.0:
                    leaked = leak * (at - released)
                    row_pixel[n], row_change[n] = k, now - base
                    row_on[n] = (1.0 if p[i] else 0.0) - leaked
                    row_off[n] = 0.0 if p[i] else -1.0
                    n += 1
    return n


@njit(cache=True, nogil=True)
def steps_of(t: Array, p: Array, held: float, leak: float, step_on: Array, step_off: Array) -> None:
    """Write the steps of the signal from each event of a pixel, of times t, to the next.

    Step j, from event j to the next, is C_on step_on[j] + C_off step_off[j]: one threshold, less
    the leak (events per microsecond), and the change during the refractory period `held`, by the
    parabola through both events and the previous one.
    """
    before, on_before, off_before = 0.0, 0.0, 0.0
    for j in range(t.size - 1):
        i = j + 1
        gap = max(1.0, np.float64(t[i] - t[i - 1]))
        free = max(gap - held, 0.1 * gap)
        on = (1.0 if p[i] else 0.0) - leak * free
        off = 0.0 if p[i] else -1.0
        alike = p[i] == p[i - 1]
        if held > 0.0 and 0.0 < before < 3.0 * gap:
            both = before + gap
            missed = (held * gap - held * held) / both / before
            share = max(0.1, 1.0 - held * (before + held) / (both * gap))
            on = (on + missed * on_before) / share
            off = (off + missed * off_before) / share
        elif held > 0.0 and alike:
            on, off = on * gap / free, off * gap / free
        step_on[j], step_off[j] = on, off
        before, on_before, off_before = gap, on, off


@njit(cache=True, nogil=True)
def _slopes(
    t: Array, p: Array, i: int, step: Array, same: float
) -> tuple[float, float, bool, bool]:
    """Return the slopes of a level at events i and i + 1, and whether a third event gave each.

    A parabola through three events gives the slopes. If the outer event has the other polarity, the
    slope is `same`, the slope of the gap between events i and i + 1.
    """
    gap = np.float64(t[i + 1] - t[i])
    begin, end = same, same
    before = i > 0 and p[i - 1] == p[i]
    behind = i + 2 < t.size and p[i + 2] == p[i + 1]
    if before:
        other = max(1.0, np.float64(t[i] - t[i - 1]))
        begin = (step[i - 1] / other * gap + same * other) / (gap + other)
    if behind:
        other = max(1.0, np.float64(t[i + 2] - t[i + 1]))
        end = (step[i + 1] / other * gap + same * other) / (gap + other)
    return begin, end, before, behind


@njit(cache=True, nogil=True)
def _between(gap: float, u: float, step: float, begin: float, end: float) -> tuple[float, float]:
    """Return value and slope at share u of a gap, by the cubic with its step and end slopes."""
    b, e = gap * begin - step, gap * end - step
    v = 1.0 - u
    value = u * step + u * v * (v * b - u * e)
    return value, (step + v * (v - 2.0 * u) * b + u * (u - 2.0 * v) * e) / gap


@njit(cache=True, nogil=True)
def _light_within(
    t: Array, p: Array, i: int, at: float, tau: float, steps: tuple[Array, Array]
) -> tuple[float, float, float]:
    """Return the light between events i and i + 1, above the signal at i: ON, OFF, and its doubt.

    It is v + tau v' of the cubic through both, in thresholds. The doubt is the squared distance
    from a line, plus a constant for each end slope without a third event.
    """
    (step_on, step_off), gap = steps, np.float64(t[i + 1] - t[i])
    u = (at - t[i]) / gap
    begin, end, before, behind = _slopes(t, p, i, step_on, step_on[i] / gap)
    v_on, s_on = _between(gap, u, step_on[i], begin, end)
    begin, end, before, behind = _slopes(t, p, i, step_off, step_off[i] / gap)
    v_off, s_off = _between(gap, u, step_off[i], begin, end)
    bent = abs(v_on + v_off - u * (step_on[i] + step_off[i]))
    doubt = bent * bent + (0.0 if before else 0.01) + (0.0 if behind else 0.01)
    return v_on + tau * s_on, v_off + tau * s_off, doubt


@njit(cache=True, nogil=True)
def rows_between_frames(
    events: PixelEvents, shown: Numbers, response: Response, longest: float, rows: RowColumns
) -> int:
    """Write the change of light, in thresholds, between frames of a pixel.

    Events give the low-passed signal v at their times; a cubic interpolates between two of one
    polarity, `longest` apart at most. The light is L = v + tau v', with tau = pole / light, which a
    frame there shows: change = C_on row_on + C_off row_off. Weights are 1 if the cubic is a line,
    and fall with its distance from one.
    """
    frame_t, numbers, _ = shown
    log_map, pole, held, leak = response
    row_pixel, row_on, row_off, row_change, row_weight = rows
    starts = events.starts
    n = 0
    room = 1 + np.diff(starts).max() if starts.size > 1 else 1
    step_on, step_off = np.zeros(room), np.zeros(room)
    for k in range(numbers.shape[0]):
        own = slice(starts[k], starts[k + 1])
        t, p = events.t[own], events.p[own]
        last = t.size
        steps_of(t, p, held, leak, step_on, step_off)
        i = 0  # the event before the frame
        level_on = level_off = 0.0  # of event i
        known = False
        on, off, seen, seen_i, seen_doubt = 0.0, 0.0, 0.0, 0, 0.0
        for f in range(frame_t.size):
            at = frame_t[f]
            while i + 1 < last and t[i + 1] <= at:
                if t[i + 1] - t[i] <= 1.2 * held:
                    known = False
                level_on += step_on[i]
                level_off += step_off[i]
                i += 1
            if i + 1 >= last or t[i] > at or p[i + 1] != p[i]:
                continue
            if t[i + 1] - t[i] > longest or t[i + 1] - t[i] <= 1.2 * held:
                continue
            tau = pole / light_of(numbers[k, f])
            now_on, now_off, doubt = _light_within(t, p, i, at, tau, (step_on, step_off))
            now_on += level_on
            now_off += level_off
            level = level_of(numbers[k, f], log_map)
            if known and i > seen_i:
                row_pixel[n], row_change[n] = k, level - seen
                row_on[n], row_off[n] = now_on - on, now_off - off
                row_weight[n] = 1.0 / (1.0 + (doubt + seen_doubt) / 0.0025)
                n += 1
            if not known or i > seen_i:
                known, seen, seen_i, seen_doubt = True, level, i, doubt
                on, off = now_on, now_off
    return n


Sums = tuple[float, float, float, float, float, float, float, float]
"""Weighted sums over rows: sure on, sure off, times row on, row off; times the change; squared."""


@njit(
    cache=True, nogil=True, fastmath={"reassoc"}
)  # otherwise the sums take one row after the other
def _sums(rows: Pairs, low: int, high: int, a: float, b: float, bound: float) -> Sums:
    """Return the sums over rows low to high - 1, weighted by residuals of thresholds a and b."""
    row_on, row_off, row_change = rows.on[low:high], rows.off[low:high], rows.change[low:high]
    sure_on, sure_off = rows.sure_on[low:high], rows.sure_off[low:high]
    row_weight, steep = rows.weight[low:high], 1.0 / (bound * bound)
    aa = ab = ba = bb = ay = by = za = zb = 0.0
    for i in range(row_on.size):
        left = row_change[i] - a * row_on[i] - b * row_off[i]
        near = max(0.0, 1.0 - left * left * row_weight[i] * steep)
        w = near * near * row_weight[i]
        on, off = w * sure_on[i], w * sure_off[i]
        aa += on * row_on[i]
        ab += on * row_off[i]
        ba += off * row_on[i]
        bb += off * row_off[i]
        ay += on * row_change[i]
        by += off * row_change[i]
        za += near * near * on * sure_on[i]
        zb += near * near * off * sure_off[i]
    return aa, ab, ba, bb, ay, by, za, zb


@njit(cache=True, nogil=True)
def fit_rows(starts: Array, rows: Pairs, how: Robust, found: Thresholds, rest: Array) -> None:
    """Fit change = C_on row_on + C_off row_off to the rows of each group, robustly.

    The residuals are uncorrelated with sure_on and sure_off. With row_on and row_off that is the
    method of least squares; for inexact rows, instruments that are independent of their errors keep
    the fit unbiased (instrumental variables; Wald 1940). `found` holds the start values. rest:
    the residual of each row, times the square root of its weight.
    """
    row_on, row_off, row_change, _, _, row_weight = rows
    scale, least, turns = how
    on, off, error_on, error_off = found
    bound = 4.685 * scale
    for g in range(on.size):
        a, b = on[g], off[g]
        low, high = starts[g], starts[g + 1]
        miss_on = miss_off = math.inf
        for _ in range(turns if high - low >= least else 0):
            aa, ab, ba, bb, ay, by, za, zb = _sums(rows, low, high, a, b, bound)
            aa, bb, ay, by = 1e-9 + aa, 1e-9 + bb, 1e-9 * a + ay, 1e-9 * b + by
            det = aa * bb - ab * ba
            if det <= 1e-6 * aa * bb:
                miss_on = miss_off = math.inf
                break
            a, b = (ay * bb - by * ab) / det, (by * aa - ay * ba) / det
            miss_on = math.sqrt(bb * bb * za + ab * ab * zb) / det
            miss_off = math.sqrt(ba * ba * za + aa * aa * zb) / det
            if za == 0.0:
                miss_on = math.inf
            if zb == 0.0:
                miss_off = math.inf
        on[g], off[g], error_on[g], error_off[g] = a, b, miss_on, miss_off
        for i in range(low, high):
            left = row_change[i] - a * row_on[i] - b * row_off[i]
            rest[i] = left * math.sqrt(row_weight[i])
