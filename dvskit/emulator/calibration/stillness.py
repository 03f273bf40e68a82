"""Pixels and times without motion: their events are noise.

A pixel that comes to rest has gone part of its way to the next event, and leaks the rest. The time
of its first event gives the leak if the rest is known: the frames show the change of the signal
since the pixel's last event.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import FrameSamples, PixelRecord, PixelView
from dvskit.emulator.calibration.rest_kernels import Spans
from dvskit.emulator.calibration.row_kernels import PixelEvents
from dvskit.emulator.calibration.thresholds import (
    KNEE,
    ChangeRows,
    Pixel,
    ThresholdFit,
    fit,
    make_rows,
)
from dvskit.video.light import MIDDLE_GRAY

_SHORTEST_US = 50_000.0
_SETTLE_US = 10_000.0
_ENOUGH_S = 20.0  # pixels times seconds
_LIVELY = 2.5  # times the usual noise: the most for other pixels
_QUIETEST = 0.3
_TOGETHER = 2.0  # times as many events: the effect of light that neighbors share
_WINDOWS = 40  # windows of a recording without frames
_MORE = 8  # rows
_USUAL_LIGHT = (255.0 * MIDDLE_GRAY + 20.0) / 275.0


@dataclass(frozen=True, slots=True)
class StillSpans:
    """Spans of time in which a pixel sees no change, and the gaps from event to event in them.

    pixel, start, light  of each span: place of the pixel in `pixels`, us, (I + 20) / 275
    pixels               y * width + x
    left, ahead, blur    of each span: leak periods that the pixel had to go at its last reset,
                         `ahead` us before the span, +- `blur`; 1 and 0 if unknown
    gap_span, gap_length, gap_end, gap_begin  of each gap, see the kernel
    """

    pixels: NDArray[np.int64]
    pixel: NDArray[np.int64]
    start: NDArray[np.float64]
    light: NDArray[np.float64]
    left: NDArray[np.float64]
    ahead: NDArray[np.float64]
    blur: NDArray[np.float64]
    gap_span: NDArray[np.int64]
    gap_length: NDArray[np.float64]
    gap_end: NDArray[np.int8]
    gap_begin: NDArray[np.int8]

    @property
    def seconds(self) -> float:
        """Pixels times seconds."""
        return float(self.gap_length.sum()) * 1e-6

    @property
    def rest_s(self) -> float:
        """The usual duration of rest: half of all rest is in longer spans."""
        length = np.sort(np.bincount(self.gap_span, self.gap_length, self.pixel.size)) * 1e-6
        summed = np.cumsum(length)
        return float(length[np.searchsorted(summed, 0.5 * summed[-1])]) if length.size else 0.0

    def without(self, hot: NDArray[np.bool_]) -> StillSpans:
        """Return the spans without those of the pixels that `hot` marks, (pixels,)."""
        return self.gaps(~hot[self.pixel[self.gap_span]])

    def gaps(self, keep: NDArray[np.bool_]) -> StillSpans:
        """Return the spans with only the gaps that `keep` marks."""
        names = ("gap_span", "gap_length", "gap_end", "gap_begin")
        return dataclasses.replace(self, **{name: getattr(self, name)[keep] for name in names})

    def per_pixel(self, weight: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the sum of a value per gap over the gaps of each pixel."""
        return np.bincount(self.pixel[self.gap_span], weight, self.pixels.size).astype(np.float64)


def _with_gaps(
    pixels: NDArray[np.int64], events: PixelEvents, spans: Spans, held: float
) -> StillSpans:
    count = spans.pixel.size
    room = count + len(events.t)
    ends = np.empty((2, room), np.int8)
    gaps = k.Gaps(np.empty(room, np.int64), np.empty(room), *ends)
    n = k.gaps_in_spans(events, spans, held, gaps)
    whole, nothing = np.ones(count), np.zeros(count)
    return StillSpans(
        pixels, spans.pixel, spans.start, spans.light, whole, nothing, nothing,
        *(column[:n] for column in gaps),
    )  # fmt: skip


def still_in_frames(
    observed: PixelRecord, view: PixelView, pixel: Pixel, threshold: float
) -> StillSpans | None:
    """Return the spans without change in the frames: none at all, or, if rare, none beyond noise.

    `threshold` is the sensor's lowest. None without such spans, or if the pixels around them give
    more events than noise does: frames miss some motion.
    """
    events, seen = view.events, view.seen
    room = seen.numbers.size // 2 + 1
    start, stop, light = np.empty((3, room))
    spans = Spans(np.empty(room, np.int64), start, stop, light, np.empty(room, np.bool_))
    shortest = max(_SHORTEST_US, 2.5 * seen.interval_us)
    for tolerance in (1e-9, 0.1 * threshold, 0.3 * threshold):
        n = k.still_spans(seen.shown(), pixel.response, tolerance, _SETTLE_US, shortest, spans)
        found = spans.some(slice(n))
        found = found.some(_calm_around(observed, found._replace(pixel=seen.pixels[found.pixel])))
        if (found.stop - found.start).sum() * 1e-6 >= _ENOUGH_S:
            return _with_gaps(seen.pixels, events, found, pixel.refractory_us)
    return None


def _calm_around(observed: PixelRecord, spans: Spans) -> NDArray[np.bool_]:
    """Return the spans whose neighbors give no more events than in their quietest time.

    The pixel of the span is excluded, because its events are to be counted. Noise of a pixel does
    not correlate with events of its neighbors. If the events do, only spans whose neighbors have no
    events are selected.
    """
    near, around, own = np.empty((3, spans.pixel.size), np.int64)
    k.beside_spans(observed.events, observed.size.width, spans, near, around, own)
    seconds = np.maximum(around * (spans.stop - spans.start) * 1e-6, 1e-9)
    order = np.argsort(near / seconds, kind="stable")
    gone = np.cumsum(seconds[order])
    quietest = order[: 1 + int(np.searchsorted(gone, _QUIETEST * gone[-1]))] if gone.size else order
    expected = near[quietest].sum() / max(float(seconds[quietest].sum()), 1e-9) * seconds
    calm = near <= _LIVELY * expected + 3.0 * np.sqrt(expected) + 1.0
    more, less = calm & (near > expected), calm & (near <= expected)
    likely = own[less].sum() / max(float(seconds[less].sum()), 1e-9) * seconds[more].sum()
    if own[more].sum() > _TOGETHER * likely + 3.0 * np.sqrt(likely) + 1.0:
        return np.asarray(near == 0)
    return np.asarray(calm)


def _counts(
    observed: PixelRecord, hot: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Count events per tile and window.

    Returns the counts (tiles, windows), the tile of each pixel (an excluded one if `hot` marks it),
    and the length of a window in us.
    """
    events, tiles = observed.events, observed.tiles(np.arange(hot.size))
    count = int(tiles.max()) + 1
    cold = np.where(hot, count, tiles)
    window_us = (observed.stop_us - observed.start_us) / _WINDOWS
    pixel = np.repeat(np.arange(hot.size), np.diff(events.starts))
    window = ((events.t - observed.start_us) // window_us).astype(np.int64)
    inside = window < _WINDOWS
    place = cold[pixel[inside]] * _WINDOWS + window[inside]
    counts = np.bincount(place, minlength=(count + 1) * _WINDOWS)[: count * _WINDOWS]
    return counts.reshape(count, _WINDOWS).astype(float), cold, window_us


def _calm(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark windows of each tile that look like a Poisson process: the quietest and its like."""
    rate = np.sort(counts, 1)[:, : _WINDOWS // 5].mean(1, keepdims=True)
    calm = np.zeros(counts.shape, np.bool_)
    for _ in range(20):
        calm = counts <= rate + 4 * np.sqrt(rate) + 2
        new = np.where(calm, counts, 0).sum(1, keepdims=True) / np.maximum(
            1, calm.sum(1, keepdims=True)
        )
        if np.allclose(new, rate):
            break
        rate = new
    # A window next to motion may contain its end.
    apart = calm.copy()
    apart[:, 1:] &= calm[:, :-1]
    apart[:, :-1] &= calm[:, 1:]
    return apart


def quiet_half(
    observed: PixelRecord, hot: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ON events of each pixel in the quietest half of its tile's windows, and the seconds.

    Events of pixels that `hot` marks do not count for the quietness of a window.
    """
    counts, _, window_us = _counts(observed, hot)
    quiet = np.argsort(np.argsort(counts, 1), 1) < _WINDOWS // 2
    events, pixels = observed.events, np.arange(hot.size)
    tiles, pixel = observed.tiles(pixels), np.repeat(pixels, np.diff(events.starts))
    window = np.minimum((events.t - observed.start_us) // window_us, _WINDOWS - 1).astype(int)
    taken = quiet[tiles[pixel], window] & events.p
    seconds = np.full(pixels.size, _WINDOWS // 2 * window_us * 1e-6)
    return np.bincount(pixel[taken], minlength=pixels.size).astype(float), seconds


def still_in_events(
    observed: PixelRecord, held: float, hot: NDArray[np.bool_]
) -> StillSpans | None:
    """Return spans in which events alone look like noise, at middle gray; None without any.

    Tiles of pixels and windows of time with Poisson counts, without the pixels that `hot` marks.
    Events there must not coincide with events of neighbors, as events of a moving edge do.
    """
    counts, cold, window_us = _counts(observed, hot)
    calm = _calm(counts)
    calm[calm.sum(1) < _WINDOWS // 10] = False
    edges = np.diff(np.pad(calm, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    tile, first = np.nonzero(edges == 1)
    _, last = np.nonzero(edges == -1)
    members = np.argsort(cold, kind="stable")
    bounds = np.searchsorted(cold[members], np.arange(len(counts) + 1))
    inside = np.diff(bounds)[tile]
    which = np.repeat(np.arange(tile.size), inside)
    within = np.arange(which.size) - np.repeat(np.cumsum(inside) - inside, inside)
    pixel = members[bounds[tile[which]] + within]
    start = np.asarray(observed.start_us + first[which] * window_us, np.float64)
    stop = np.asarray(observed.start_us + last[which] * window_us, np.float64)
    spans = Spans(pixel, start, stop, np.full(pixel.size, _USUAL_LIGHT), first[which] > 0)
    if (stop - start).sum() * 1e-6 < _ENOUGH_S or not _independent(observed, spans):
        return None
    return _with_gaps(np.arange(hot.size), observed.events, spans, held)


def _independent(observed: PixelRecord, spans: Spans) -> bool:
    """Return whether events coincide with the next pixel's no more than with a farther one's."""
    near, far = (
        k.coincidences(observed.events, observed.size.width, spans, step, 2000.0) for step in (1, 5)
    )
    expected = far[0] / max(1, far[1]) * near[1]
    return bool(near[0] < 1.5 * expected + 3 * np.sqrt(expected) + 0.02 * near[1] + 10)


def with_remainder(
    still: StillSpans, shown: FrameSamples, view: PixelView, pixel: Pixel
) -> StillSpans:
    """Return the spans with `left` and `ahead`, where the candidate and its light give them.

    shown   the frames, at all pixels of the spans
    view    all or some of these pixels, in the same order, with the light at any time
    """
    rows = make_rows(pixel, view.events, view.seen)
    found = fit(rows, True)
    if found is None:
        return still
    seen, asked = view.seen, shown.pixels[still.pixel]
    place = np.searchsorted(seen.pixels, asked).clip(max=seen.pixels.size - 1)
    there = seen.pixels[place] == asked
    rests = k.Rests.of(np.where(there, place, -1), still.start, still.light)
    k.changes_to_rest(view.events, seen.shown(), pixel.response, rests)
    on, doubt = _thresholds(found)
    left = 1.0 - rests.change / on[place]
    coarse = _coarse(still.light, shown.scale, pixel)
    blur = np.hypot(_blur(rows, found)[place], coarse) / on[place]
    blur = np.hypot(blur, np.nan_to_num(1.0 - left) * doubt[place] / on[place])
    begin = still.gap_begin.copy()
    moved = begin > k.STEADY
    begin[moved] = k.MOVED
    known = moved & np.isfinite(left[still.gap_span])
    begin[known] = np.where(rests.fresh[still.gap_span[known]], k.FRESH, k.KNOWN)
    ahead = still.start - rests.since
    return dataclasses.replace(still, left=left, ahead=ahead, blur=blur, gap_begin=begin)


def _coarse(light: NDArray[np.float64], scale: float, pixel: Pixel) -> NDArray[np.float64]:
    """Return the error of the level at rest due to integer frames, in e-folds.

    At rest one number of a frame gives the level, so the error is larger in the dark.
    """
    step = scale if scale <= 1.0 else 0.0  # more distinct values: frames of floats
    number = 275.0 * light - 20.0
    if pixel.log_offset is not None:
        slope = 1.0 / (number + pixel.log_offset)
    else:
        slope = 1.0 / np.maximum(number, KNEE)
    return np.asarray(step / math.sqrt(12.0) * slope)


def _blur(rows: ChangeRows, found: ThresholdFit) -> NDArray[np.float64]:
    """Return the robust standard deviation of the residuals of each pixel's rows, in e-folds.

    A few rows with the usual residual are added to the rows of each pixel.
    """
    count, rest = np.diff(rows.starts), np.abs(found.rest)
    usual = np.median(rest)
    rest = rest[np.lexsort((rest, np.repeat(np.arange(count.size), count)))]
    own, some = np.full(count.size, usual), count > 0
    first, last = rows.starts[:-1][some], rows.starts[1:][some] - 1  # the median lies between both
    own[some] = 0.5 * (rest[(first + last) // 2] + rest[(first + last + 1) // 2])
    mean = (count * own**2 + _MORE * usual**2) / (count + _MORE)
    return np.asarray(1.4826 * np.sqrt(mean))


def _thresholds(found: ThresholdFit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's ON threshold, shrunk to the usual one, and its standard error."""
    error, usual = found.error_on, found.pooled[0]
    known = np.isfinite(error)
    if not known.any():
        return np.full(error.size, usual), np.zeros(error.size)
    own = np.median(np.abs(found.on[known] - usual)) * 1.4826
    share = np.where(known, own**2 / (own**2 + error**2 + 1e-12), 0.0)
    return usual + share * (found.on - usual), own * np.sqrt(1.0 - share)
