"""Loops of the calibration over pixels at rest: times in microseconds, levels in e-folds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator.calibration.row_kernels import Numbers, PixelEvents, Response, passed
from dvskit.emulator.level_kernels import level_of, light_of

Array = NDArray[Any]

OFF, ON, CUT = 0, 1, 2  # the end of a gap: an event, or the end of the known time
# The start of a gap: an event, or a span, after rest or after motion; after motion the state is
# known from the frames since the pixel's last event (KNOWN), or since the recording began (FRESH).
RESET, STEADY, MOVED, KNOWN, FRESH = 0, 1, 2, 3, 4


class Spans(NamedTuple):
    """Times start to stop (n,) in which a pixel sees no change.

    pixel  its place; light: (I + 20) / 275; moved: whether it saw a change before them
    """

    pixel: Array
    start: Array
    stop: Array
    light: Array
    moved: Array

    def some(self, which: slice | Array) -> Spans:
        """Return some of the spans."""
        return Spans(*(column[which] for column in self))


class Gaps(NamedTuple):
    """Gaps (n,) from event to event: index of their span, length, and kinds of both ends."""

    span: Array
    length: Array
    end: Array
    begin: Array


class LeakGaps(NamedTuple):
    """Gaps (n,) for the likelihood: their ends, the initial states of their pixels, the shot noise.

    left, ahead, blur  of the gap's span, see `StillSpans`; shot: events per microsecond
    """

    length: Array
    end: Array
    begin: Array
    left: Array
    ahead: Array
    blur: Array
    shot: Array


@njit(cache=True, nogil=True)
def sort_by_pixel(pixel: Array, pixels: int, order: Array, starts: Array) -> None:
    """Fill order (indices of the events, pixel by pixel, stable) and starts (pixels + 1)."""
    starts[:] = 0
    for k in pixel:
        starts[k + 1] += 1
    for k in range(pixels):
        starts[k + 1] += starts[k]
    free = starts[:-1].copy()
    for i in range(pixel.size):
        k = pixel[i]
        order[free[k]] = i
        free[k] += 1


@njit(cache=True, nogil=True)
def still_spans(
    shown: Numbers,
    response: Response,
    tolerance: float,
    settle: float,
    shortest: float,
    spans: Spans,
) -> int:
    """Write the spans in which a pixel's level stays within `tolerance`.

    `settle` and six time constants before each are skipped. Spans of `shortest` or more are kept,
    with their mean light, (I + 20) / 275, and whether the pixel saw a change before. Returns their
    number.
    """
    span_pixel, span_start, span_stop, span_light, span_moved = spans
    frame_t, numbers, _ = shown
    log_map, pole = response.log_map, response.pole
    n = 0
    frames = frame_t.size
    for k in range(numbers.shape[0]):
        first = 0
        lowest = highest = level_of(numbers[k, 0], log_map)
        total = np.float64(numbers[k, 0])
        for f in range(1, frames + 1):
            level = level_of(numbers[k, f], log_map) if f < frames else math.inf
            if max(highest, level) - min(lowest, level) <= tolerance:
                lowest, highest = min(lowest, level), max(highest, level)
                total += numbers[k, f]
                continue
            light = light_of(total / (f - first))
            start = frame_t[first] + settle + 6.0 * pole / light
            if frame_t[f - 1] - start >= shortest:
                span_pixel[n], span_light[n], span_moved[n] = k, light, first > 0
                span_start[n], span_stop[n] = start, frame_t[f - 1]
                n += 1
            if f < frames:
                first, lowest, highest, total = f, level, level, np.float64(numbers[k, f])
    return n


@njit(cache=True, nogil=True)
def beside_spans(
    events: PixelEvents, width: int, spans: Spans, near: Array, pixels: Array, own: Array
) -> None:
    """Write the number of events that the neighbors of each span's pixel have in the span.

    near    (spans,) events of the neighbors      pixels  (spans,) numbers of neighbors
    own     (spans,) events of the pixel itself

    The neighbor with the most events is excluded, hot or not (`noise.hot_at_rest`). A pixel has 8
    neighbors on the sensor, `width` pixels in a row; fewer at the border.
    """
    t, _, starts = events
    span_pixel, span_start, span_stop, _, _ = spans
    rows = (starts.size - 1) // width
    for s in range(span_pixel.size):
        x, y = span_pixel[s] % width, span_pixel[s] // width
        near[s], pixels[s], own[s], most = 0, -1, 0, 0
        for v in range(max(0, y - 1), min(rows, y + 2)):
            for u in range(max(0, x - 1), min(width, x + 2)):
                low, high = starts[v * width + u], starts[v * width + u + 1]
                count = np.searchsorted(t[low:high], span_stop[s])
                count -= np.searchsorted(t[low:high], span_start[s])
                if u == x and v == y:
                    own[s] = count
                else:
                    pixels[s] += 1
                    near[s] += count
                    most = max(most, count)
        near[s] -= most


@njit(cache=True, nogil=True)
def gaps_in_spans(events: PixelEvents, spans: Spans, held: float, gaps: Gaps) -> int:
    """Write the gaps from event to event in each span, less the refractory period, and their ends.

    The first gap of a span begins at the span. Returns the number of gaps: one per span more than
    events.
    """
    t, p, starts = events
    span_pixel, span_start, span_stop, _, span_moved = spans
    gap_span, gap_length, gap_end, gap_begin = gaps
    n = 0
    for s in range(span_pixel.size):
        low, high = starts[span_pixel[s]], starts[span_pixel[s] + 1]
        i = low + np.searchsorted(t[low:high], span_start[s])
        begun = span_start[s]
        begin = MOVED if span_moved[s] else STEADY
        while True:
            inside = i < high and t[i] < span_stop[s]
            end = np.float64(t[i]) if inside else span_stop[s]
            gap_span[n], gap_length[n], gap_begin[n] = s, max(0.0, end - begun), begin
            gap_end[n] = (ON if p[i] else OFF) if inside else CUT
            n += 1
            if not inside:
                break
            begun = end + held
            begin = RESET
            i += 1
    return n


class Rests(NamedTuple):
    """Times at which pixels come to rest (n,), pixel by pixel, in time order.

    place   of the pixel among those in the frames; negative for none
    start   the start of its rest; light: the light it sees then
    since   output: `held` after its last event, or the first frame if `fresh`
    change  output: the change of its signal since; NaN if unknown
    fresh   output: whether it had no event yet
    """

    place: Array
    start: Array
    light: Array
    since: Array
    change: Array
    fresh: Array

    @classmethod
    def of(cls, place: Array, start: Array, light: Array) -> Rests:
        """Return rests with uninitialized outputs."""
        fresh = np.zeros(place.size, np.bool_)
        return cls(place, start, light, np.empty(place.size), np.empty(place.size), fresh)


@njit(cache=True, nogil=True)
def changes_to_rest(events: PixelEvents, shown: Numbers, response: Response, rests: Rests) -> None:
    """Write the changes of pixels' signals from their last events to their rest.

    The signal is as in rows_between_events.
    """
    place, span_start, span_light, since, change, fresh = rests
    t, _, starts = events
    frame_t, numbers, sure = shown
    log_map, pole, held, _ = response
    frames, before, f = frame_t.size, -1, 0
    level = following = tau = v = 0.0
    for s in range(place.size):
        since[s] = change[s] = math.nan
        k = place[s]
        if k < 0:
            continue
        if k != before:
            before, f = k, 0
            level = level_of(numbers[k, 0], log_map)
            following = level_of(numbers[k, 1], log_map)
            tau = pole / light_of(numbers[k, 1])
            v = level
        low, high = starts[k], starts[k + 1]
        i = low + np.searchsorted(t[low:high], span_start[s]) - 1
        fresh[s] = i < low
        at = frame_t[0] if fresh[s] else np.float64(t[i]) + held
        if at < frame_t[0] or at > min(span_start[s], frame_t[frames - 1]):
            continue
        while f < frames - 2 and at > frame_t[f + 1]:
            gap = frame_t[f + 1] - frame_t[f]
            v = passed(level, following, gap, tau, v, gap)
            f += 1
            level = following
            following = level_of(numbers[k, f + 1], log_map)
            tau = pole / light_of(numbers[k, f + 1])
        if sure.size > 0 and sure[k, f + 1] == 0:
            continue
        now = passed(level, following, frame_t[f + 1] - frame_t[f], tau, v, at - frame_t[f])
        rests_at = level_of(275.0 * span_light[s] - 20.0, log_map)
        since[s], change[s] = at, rests_at - now


@njit(cache=True, nogil=True)
def _farther(left: float, blur: float, slope: float, gone: float) -> tuple[float, float]:
    """Return the share of such pixels, times a constant, with more than `gone` to go.

    Also their density at just that, on a bell of height 1 around `left`.
    """
    z = (gone - left) / blur
    dense = 1.0 - slope + slope * left
    if z < -7.0:  # the remainder is below 1e-11
        return dense, 0.0
    bell = math.exp(-0.5 * z * z)
    more = dense * 0.5 * math.erfc(z / math.sqrt(2.0))
    return more + slope * blur * (bell / math.sqrt(2.0 * math.pi)), bell


class Leaks(NamedTuple):
    """Parameters of the likelihood of gaps, besides the leak period.

    slope     of the number of pixels by periods to go, see `known_start`
    reach     the most periods that a pixel has to go
    share_on  of shot events; jitter: of the leak, as a part of it
    """

    slope: float
    reach: float
    share_on: float
    jitter: float


@njit(cache=True, nogil=True)
def known_start(
    left: float, ahead: float, gap: float, period: float, blur: float, leaks: Leaks
) -> tuple[float, float]:
    """Return the probability of no leak event in a gap, and the density of one at its end.

    The pixel has `left` periods to go, plus or minus `blur`, `ahead` of the gap, without an event
    in between. Pixels with r to go are 1 + slope (r - 1) times as many as those with 1 (Bayes). One
    in twenty has anything from 0 to `reach` to go: its last event was not as it seemed.
    """
    slope, reach = leaks.slope, leaks.reach
    begun, ended = ahead / period, (ahead + gap) / period
    whole, _ = _farther(left, blur, slope, 0.0)
    before, more = 0.05 * max(0.0, 1.0 - begun / reach), whole
    if whole > 1e-9:
        if begun != 0.0:
            more, _ = _farther(left, blur, slope, begun)
        before += 0.95 * more / whole
    if whole <= 1e-9 or before < 1e-3:
        most = reach * period
        return max(0.0, 1.0 - gap / most), 1.0 / most if gap < most else 0.0
    more, bell = _farther(left, blur, slope, ended)
    stays = 0.95 * more / whole
    stays += 0.05 * max(0.0, 1.0 - ended / reach)
    density = 0.0
    if abs(ended - left) < 7.0 * blur:
        density = 0.95 * (1.0 - slope + slope * ended) * bell
        density /= math.sqrt(2.0 * math.pi) * blur * whole
    density += 0.05 / reach if ended < reach else 0.0
    return stays / before, density / before / period


@njit(cache=True, nogil=True)
def unknown_start(
    left: float, ahead: float, gap: float, period: float, rate: float
) -> tuple[float, float]:
    """Return both for a pixel that was anywhere between two events, and moved to `left` - 1.

    A shot event (`rate` per microsecond) or the leak of the pixel reset it last.
    """
    whole = -math.expm1(-rate * period)
    age = left * period - ahead - gap  # the age at that time, if the gap ends with a leak event
    before = -math.expm1(-rate * min(period, max(0.0, age + gap)))
    after = -math.expm1(-rate * min(period, max(0.0, age)))
    if before < 1e-3 * whole:
        return 1.0, 0.0
    density = rate * (1.0 - after) if 0.0 < age < period else 0.0
    return after / before, density / before


@njit(cache=True, nogil=True)
def _weighed(end: int, on: float, off: float, stays: float, density: float) -> float:
    """Return the log likelihood of a gap's end, for rates of shot events and of the leak."""
    stays = max(stays, 1e-3)
    if end == ON:
        return math.log(on * stays + density)
    return math.log(off * stays) if end == OFF else math.log(stays)


@njit(cache=True, nogil=True)
def leak_likelihood(
    starts: Array, gaps: LeakGaps, leaks: Leaks, periods: Array, table: Array
) -> None:
    """Fill the log likelihood of each pixel's gaps for each leak period: table (pixels, periods).

    A gap ends at the period, whose inverse is spread uniformly by 1 -+ sqrt(3) jitter, or at an
    earlier shot event (`shot` per microsecond, of either polarity). A gap at the start of a span
    begins anywhere between two events (unknown_start). After motion it begins at a known state
    (known_start), or anywhere between the two thresholds, with up to `reach` periods to go.
    """
    length, end, begin, left, ahead, blur, shot = gaps
    _, reach, share_on, jitter = leaks
    half = math.sqrt(3.0) * jitter
    for k in range(table.shape[0]):
        table[k] = 0.0
        for i in range(starts[k], starts[k + 1]):
            g, rate = length[i], max(shot[i], 1e-12)
            on, off = share_on * rate, (1.0 - share_on) * rate
            wide = math.hypot(blur[i], jitter * left[i])
            # Most gaps are shorter or longer than any period within the jitter.
            sooner = _weighed(end[i], on, off, 1.0, 0.0)
            later = _weighed(end[i], on, off, 0.0, 0.0)
            for j in range(periods.size):
                period = periods[j]
                if begin[i] == MOVED:
                    stays = max(0.0, 1.0 - g / (reach * period))
                    density = 1.0 / (reach * period) if g < reach * period else 0.0
                elif begin[i] == KNOWN:
                    stays, density = known_start(left[i], ahead[i], g, period, wide, leaks)
                elif begin[i] != RESET:
                    stays, density = unknown_start(left[i], ahead[i], g, period, rate)
                elif g <= period / (1.0 + half):
                    table[k, j] += sooner
                    continue
                elif g < period / (1.0 - half):
                    stays = (period / g - 1.0 + half) / (2.0 * half)
                    density = period / (g * g * 2.0 * half)
                else:
                    table[k, j] += later
                    continue
                table[k, j] += _weighed(end[i], on, off, stays, density)


@njit(cache=True, nogil=True)
def coincidences(
    events: PixelEvents, width: int, spans: Spans, step: int, window: float
) -> tuple[int, int]:
    """Return how many events in the spans coincide with an event of the pixel `step` to the right.

    Also returns how many events were checked: only pixels whose other pixel is on the sensor.
    """
    t, _, starts = events
    span_pixel, span_start, span_stop, _, _ = spans
    near = asked = 0
    for s in range(span_pixel.size):
        k = span_pixel[s]
        if k % width + step >= width:
            continue
        low, high = starts[k], starts[k + 1]
        other, end = starts[k + step], starts[k + step + 1]
        i = low + np.searchsorted(t[low:high], span_start[s])
        while i < high and t[i] < span_stop[s]:
            asked += 1
            j = other + np.searchsorted(t[other:end], t[i] - window)
            if j < end and t[j] <= t[i] + window:
                near += 1
            i += 1
    return near, asked
