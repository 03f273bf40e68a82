"""Estimate log map, low-pass and offset of the frames by the least scatter of changes per event.

A wrong log map makes thresholds depend on the intensity, and a wrong low-pass makes thresholds
depend on its speed. Both increase the scatter around the fitted thresholds. Candidates are
evaluated on some of the pixels.

The offset is the one with the least scatter. It is added to the time of each frame: to the middle
of its exposure if known, else to its only stamp. A low-pass delays events too; only the dependence
of that delay on the light separates offset and low-pass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.observed import FrameSamples, PixelRecord, PixelView, fill_light
from dvskit.emulator.calibration.table import Estimate, unknown
from dvskit.emulator.calibration.thresholds import Pixel, fit, make_rows

GROUPS = 12  # of pixels; the scatter of their minima gives the uncertainty
_KEPT = 0.7  # of the rows
OFFSET = "offset_us"
MOST_US = 20_000.0
_STEP_US = 2000.0
_FLOOR_US = 100.0
_DELAY = 0.3  # of a low-pass: this part of its delay may be a difference of clocks
_SLOWER_HZ = (1600.0, 800.0, 400.0, 200.0, 100.0, 50.0)
_AS_WELL = 1.03  # times the scatter: the limit for plausible candidates
_NO_MOTION = "too few changes to estimate it; assumed to be 0"

Vary = Callable[[Pixel, float | None], Pixel]


@dataclass(slots=True)
class Search:
    """The scatter of candidates on a view of some of the pixels.

    near  for rows from event to event, which need the light at any time
    far   for rows from frame to frame
    free  whether the offset of the frames is searched too
    """

    observed: PixelRecord
    near: PixelView
    far: PixelView
    free: bool = False
    tried: dict[Pixel, tuple[NDArray[np.float64], int]] = field(default_factory=dict)
    usual_light: float | None = None

    def scatter(self, pixel: Pixel) -> NDArray[np.float64]:
        """Return the scatter as a part of the threshold: of all pixels, then of each group.

        Infinite for a candidate that loses many of the rows of a plain one: it must not win by the
        easy ones alone.
        """
        if pixel not in self.tried:
            view = self.near if pixel.between_events else self.far
            rows = make_rows(pixel, view.events, view.seen)
            found = fit(rows, pixel.between_events)
            plain = Pixel(between_events=pixel.between_events)
            usual = rows.pairs.change.size if pixel == plain else _KEPT * self.rows(plain)
            if found is None or rows.pairs.change.size < usual:
                scatter = np.full(1 + GROUPS, math.inf)
            else:
                rest = np.abs(found.rest) / (0.5 * sum(found.pooled))
                # A group consists of whole tiles: neighbors see the same.
                groups = self.observed.tiles(view.seen.pixels) % GROUPS
                group = np.repeat(groups, np.diff(rows.starts))
                parts = [rest[group == g] for g in range(GROUPS)]
                scatter = np.array(
                    [np.median(rest)]
                    + [np.median(part) if part.size > 20 else math.inf for part in parts]
                )
            self.tried[pixel] = (scatter, rows.pairs.change.size)
        return self.tried[pixel][0]

    def least(self, *candidates: Pixel) -> Pixel:
        """Return the candidate with the least scatter, the first of several."""
        return min(candidates, key=lambda each: float(self.scatter(each)[0]))

    @property
    def light(self) -> float:
        """The usual light of an event, (I + 20) / 275."""
        if self.usual_light is None:
            seen = self.far.seen
            counts = np.diff(self.far.events.starts)
            mean = np.average(seen.numbers.mean(1), weights=counts + 1e-9)
            self.usual_light = (float(mean) + 20.0) / 275.0
        return self.usual_light

    def later(self, later_us: float) -> Search:
        """Return the search with shifted frames and a fixed offset."""
        near = self.near.later(later_us)
        far = near if self.far is self.near else self.far.later(later_us)
        return Search(self.observed, near, far)

    def missed(self, pixel: Pixel) -> float:
        """Return the scatter of the candidate's rows from event to event, 1 at most."""
        return min(1.0, float(self.scatter(dataclasses.replace(pixel, between_events=True))[0]))

    def rows(self, pixel: Pixel) -> int:
        """Return the number of rows of a candidate."""
        self.scatter(pixel)
        return self.tried[pixel][1]


def golden(scatter: Callable[[float], float], low: float, high: float, turns: int) -> float:
    """Return the minimum of a function of one number between two, by golden-section search."""
    share = (math.sqrt(5.0) - 1.0) / 2.0
    a, b = high - share * (high - low), low + share * (high - low)
    at_a, at_b = scatter(a), scatter(b)
    for _ in range(turns):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - share * (high - low)
            at_a = scatter(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + share * (high - low)
            at_b = scatter(b)
    return 0.5 * (low + high)


def least_of_groups(
    steps: NDArray[np.floating[Any]], scatters: NDArray[np.floating[Any]]
) -> list[float]:
    """Return the minimum of the scatter of each group, between evenly spaced steps.

    scatters (steps, groups); a parabola through three scatters has the minimum (Press et
    al. 1992, Numerical Recipes, 10.2). Groups without a scatter at some step are skipped.
    """
    own = []
    for column in scatters.T[np.isfinite(scatters).all(0)]:
        at = int(np.clip(np.argmin(column), 1, steps.size - 2))
        left, here, right = column[at - 1 : at + 2]
        bend = left - 2 * here + right
        shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
        own.append(float(steps[at] + np.clip(shift, -1, 1) * (steps[1] - steps[0])))
    return own


def varied(name: str) -> Vary:
    """Return a function that sets a field of a candidate; `default` stands for None."""
    default = getattr(Pixel(), name)

    def vary(pixel: Pixel, value: float | None) -> Pixel:
        changed: dict[str, Any] = {name: default if value is None else value}
        return dataclasses.replace(pixel, **changed)

    return vary


with_cutoff = varied("cutoff_hz")


def low_pass(search: Search) -> Vary:
    """Return a function that sets the low-pass; a free offset keeps the delay constant."""
    if not search.free:
        return with_cutoff

    def vary(pixel: Pixel, value: float | None) -> Pixel:
        found = with_cutoff(pixel, value)
        sooner = _delay_us(search, found) - _delay_us(search, pixel)
        return _later(found, pixel.later_us - sooner)

    return vary


def scanned(search: Search, pixel: Pixel) -> Pixel:
    """Return the candidate with the offset of least scatter, from -20 to 20 ms in steps of 2."""
    values = np.arange(-MOST_US, MOST_US + 1, _STEP_US)
    return search.least(pixel, *(_later(pixel, float(value)) for value in values))


def sharpened(search: Search, pixel: Pixel) -> Pixel:
    """Return the candidate with the best offset near its own."""
    at = pixel.later_us

    def scatter(value: float) -> float:
        return float(search.scatter(_later(pixel, value))[0])

    value = golden(scatter, at - 1.5 * _STEP_US, at + 1.5 * _STEP_US, 7)
    return search.least(pixel, _later(pixel, value))


def _later(pixel: Pixel, value: float) -> Pixel:
    return dataclasses.replace(pixel, later_us=float(np.clip(value, -MOST_US, MOST_US)))


def _delay_us(search: Search, pixel: Pixel) -> float:
    """Return the delay of the low-pass at the light of a usual event."""
    return pixel.pole_us / search.light


def given_offset(offset_us: float) -> Estimate:
    """Return the estimate of an offset that is known."""
    return Estimate(OFFSET, float(offset_us), 0.0, 0, "given")


def offset_estimate(search: Search, pixel: Pixel) -> Estimate:
    """Return the estimate of the offset of the selected candidate."""
    rows = search.rows(pixel)
    scatter = search.scatter(pixel)[0]
    if not math.isfinite(scatter):
        return unknown(OFFSET, _NO_MOTION, rows)
    error = math.hypot(_by_chance(search, pixel), _delay_error(search, pixel), _FLOOR_US)
    how = f"least scatter of changes per event, {scatter:.1%} of the threshold"
    return Estimate(OFFSET, pixel.later_us, error, rows, how)


def too_vague(offset: Estimate) -> Estimate:
    """Return an offset of 0 for events that no offset explains, with the full range as error."""
    error = math.hypot(offset.uncertainty or 0.0, 0.5 * (offset.value or 0.0))
    how = "none explains the events better than others"
    return dataclasses.replace(offset, value=0.0, uncertainty=error, how=how)


def _delay_error(search: Search, pixel: Pixel) -> float:
    """Return the error of the delay of a low-pass.

    It is half the delay of the slowest low-pass that fits nearly as well with another offset.
    """
    least, vary = search.scatter(pixel)[0], low_pass(search)
    most = 0.0
    for value in _SLOWER_HZ:
        if not pixel.cutoff_hz or value < pixel.cutoff_hz:
            tried = sharpened(search, vary(pixel, value))
            if search.scatter(tried)[0] > _AS_WELL * least:
                break
            most = max(most, abs(tried.later_us - pixel.later_us))
    return max(0.5 * most, _DELAY * _delay_us(search, pixel))


def _by_chance(search: Search, pixel: Pixel) -> float:
    """Return the standard error, from the minimum of each group."""
    steps = np.arange(-4, 5) * 0.5 * _STEP_US
    tried = [dataclasses.replace(pixel, later_us=pixel.later_us + float(s)) for s in steps]
    scatters = np.array([search.scatter(each)[1:] for each in tried])
    own = least_of_groups(steps, scatters)
    if len(own) < 3:
        return _STEP_US
    return float(np.std(own, ddof=1)) / math.sqrt(len(own))


NAMES = ("log_offset", "cutoff_hz")
_OFFSETS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_CUTOFFS = (3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
MATERIAL = 0.97  # of the scatter: smaller improvements are not significant
LEAST = 0.001  # of the threshold: smaller improvements are not significant
_TIMING = 0.002  # of the frame interval: the accuracy of the time of a change
_SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # of the least interval, as a refractory period
_FEW_SHARES = (0.0, 0.35, 0.7, 1.0)  # of the least interval, where refinements start
DRIFT = "drift of the signal between events; shot noise hides the leak itself"
_MUCH = 0.2  # of the period of a leak
_LEAKS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
# Scatter, as a part of the threshold, up to which the light between frames counts as known: with
# certainty, or as well as interpolation along the motion can.
_FINE, _MOVED = 0.03, 0.1
_COARSE = 0.015  # above which frames are too far apart for linear interpolation

_held, _leak, _offset = varied("refractory_us"), varied("leak_hz"), varied("log_offset")


def search_in(
    observed: PixelRecord, seen: FrameSamples, held_us: float, free: bool
) -> tuple[Search, PixelView, PixelView, Estimate | None]:
    """Return a search, the whole views (near and far) that it samples, and the offset.

    If frames are too far apart for linear interpolation, the light between them is interpolated
    along the motion, provided that it explains the events better. A `free` offset is searched; then
    the frames of the views are shifted by it.
    """
    far = PixelView.of(observed, seen)
    part = far.some()
    search, near = Search(observed, part, part, free), far
    found = _found(search, held_us, True)
    scatter = search.scatter(found)[0]
    filled = fill_light(seen, observed) if scatter >= _COARSE else None
    if filled is not None:
        closer_view = PixelView.of(observed, filled)
        closer = Search(observed, closer_view.some(), part, free)
        better = _found(closer, held_us, True)
        if closer.scatter(better)[0] < scatter:
            search, near, found = closer, closer_view, better
    if not free:
        return search, near, far, None
    by_frames = scanned(search, dataclasses.replace(found, between_events=False))
    if search.scatter(by_frames)[0] <= 0.5 * search.scatter(found)[0]:
        found = _found(search, held_us, False)
    offset = offset_estimate(search, found)
    if offset.value and not _surely_later(search, found):
        offset = too_vague(offset)
    later_us = offset.value or 0.0
    moved = far.later(later_us)
    return search.later(later_us), moved if near is far else near.later(later_us), moved, offset


def _surely_later(search: Search, found: Pixel) -> bool:
    """Return whether an offset explains the events better than any low-pass without one."""
    plain = dataclasses.replace(found, later_us=0.0)
    best = search.least(*(with_cutoff(plain, value) for value in (found.cutoff_hz, 0.0, *_CUTOFFS)))
    return _surely_less(search.scatter(found), search.scatter(best))


def _found(search: Search, refractory_us: float, between_events: bool) -> Pixel:
    pixel = Pixel(refractory_us=refractory_us, between_events=between_events)
    if search.free:
        pixel = scanned(search, pixel)
    for _ in range(2):
        pixel = _best(search, pixel, _offset, (None, *_OFFSETS))
        pixel = _best(search, pixel, low_pass(search), (0.0, *_CUTOFFS))
        if search.free:
            pixel = sharpened(search, pixel)
        pixel = _best(search, pixel, _leak, _LEAKS)
    if not math.isfinite(search.scatter(pixel)[0]):
        return pixel
    pixel = _refined(search, pixel)
    if pixel.leak_hz:
        pixel = _leak(pixel, _golden(search, pixel, _leak, pixel.leak_hz, 3.0))
        pixel = _refined(search, pixel)
    return pixel


def find_pixel(search: Search, refractory_us: float) -> Pixel | None:
    """Return the candidate with the least scatter; None if no thresholds can be fitted."""
    near = _found(search, refractory_us, True)
    scatter = search.scatter(near)[0]
    if scatter < (_FINE if search.near is search.far else _MOVED):
        return near
    far = _found(search, refractory_us, False)
    if not math.isfinite(search.scatter(far)[0]):
        return near if math.isfinite(scatter) else None
    # A row from frame to frame spans many events, and has the noise of one.
    return near if search.scatter(far)[0] > 0.5 * scatter else far


def find_drift(search: Search, pixel: Pixel) -> Pixel:
    """Return the candidate with the leak of least scatter: no leak, unless significantly better."""
    found = _best(search, pixel, _leak, _LEAKS)
    if found.leak_hz:
        found = _leak(found, _golden(search, found, _leak, found.leak_hz, 3.0))
    return found


def drift_explains(search: Search, pixel: Pixel, leak_hz: float | None) -> bool:
    """Return whether the signal's own drift explains the events better than a leak does."""
    if leak_hz is None:
        return True
    own = search.scatter(find_drift(search, pixel))
    return _surely_less(own, search.scatter(_leak(pixel, leak_hz)))


def with_drift(search: Search, pixel: Pixel, leak: Estimate, rest_s: float) -> Estimate:
    """Return the leak estimate of still pixels, combined with the drift if that is clear.

    The drift is not used if pixels rest for much of a leak period, which gives a better estimate.
    If both differ by more than their errors, the difference is the error of each.
    """
    if not leak.value or rest_s * leak.value > _MUCH:
        return leak
    found = find_drift(search, pixel)
    if not found.leak_hz or search.scatter(found)[0] > _FINE:
        return leak
    drift = drift_estimate(search, found)
    still, drifts = leak.uncertainty or 0.0, drift.uncertainty or 0.0
    apart = abs(leak.value - found.leak_hz)
    if apart < math.hypot(still, drifts):
        apart = 0.0
    errors = np.hypot([still, drifts], apart)
    weights = errors**-2.0 / np.sum(errors**-2.0)
    value = float(weights @ [leak.value, found.leak_hz])
    error = max(float(np.sum(errors**-2.0)) ** -0.5, 0.5 * apart)
    return dataclasses.replace(leak, value=value, uncertainty=error)


def find_again(search: Search, pixel: Pixel) -> Pixel:
    """Return the best low-pass for a candidate whose leak is known."""
    found = _refined(search, _best(search, pixel, with_cutoff, (0.0, *_CUTOFFS)))
    same = _refined(search, pixel)  # an earlier result must not be lost to a significance test
    return same if search.scatter(same)[0] < MATERIAL * search.scatter(found)[0] else found


def find_refractory(search: Search, pixel: Pixel, most_us: float) -> Pixel:
    """Return the candidate with a refractory period up to most_us, if significantly better."""
    values = (pixel.refractory_us, *(most_us * share for share in _SHARES))
    found = _best(search, pixel, _held, values)
    if found == pixel or not found.refractory_us:
        return found
    for factor in (1.5, 1.2):
        found = _held(found, _golden(search, found, _held, found.refractory_us, factor))
        found = _refined(search, found)
    return found


def find_refractory_anew(search: Search, pixel: Pixel, most_us: float) -> Pixel:
    """Return the best of candidates with refractory periods up to most_us, each refined.

    From frame to frame, errors of refractory period, low-pass and threshold compensate each other.
    """
    best = pixel
    for share in _FEW_SHARES:
        tried = _refined(search, _held(pixel, most_us * share))
        if search.scatter(tried)[0] < MATERIAL * search.scatter(best)[0]:
            best = tried
    return best


def sharpen_refractory(search: Search, pixel: Pixel, least_us: float) -> Pixel:
    """Return the candidate with the best refractory period from least_us to its own."""
    middle = math.sqrt(least_us * pixel.refractory_us)
    factor = pixel.refractory_us / middle
    for _ in range(2):
        value = _golden(search, pixel, _held, middle, factor)
        pixel = search.least(pixel, _held(pixel, value))
        pixel = _refined(search, pixel)
    return pixel


def refractory_error(search: Search, pixel: Pixel) -> float:
    """Return the standard error of the refractory period of a candidate."""
    return math.hypot(_uncertainty(search, pixel, _held, pixel.refractory_us), _timing_us(search))


def _best(search: Search, pixel: Pixel, vary: Vary, values: tuple[float | None, ...]) -> Pixel:
    """Return the best value; the first, the default, unless another is significantly better."""
    tried = [vary(pixel, value) for value in values]
    scatters = [search.scatter(each) for each in tried]
    least = int(np.argmin([each[0] for each in scatters]))
    return tried[least] if _surely_less(scatters[least], scatters[0]) else tried[0]


def _surely_less(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether scatter a is below b in nearly all groups, and significantly."""
    both = np.isfinite(a[1:]) & np.isfinite(b[1:])
    if not np.isfinite(b[0]):
        return bool(np.isfinite(a[0]))
    less = b[1:][both] - a[1:][both]
    if less.size < 3:
        return bool(a[0] < 0.9 * b[0])
    error = float(np.std(less, ddof=1)) / math.sqrt(less.size)
    return bool(a[0] < MATERIAL * b[0] and np.mean(less) > 3 * error)


def _refined(search: Search, pixel: Pixel) -> Pixel:
    """Minimize the scatter over cutoff and offset in turn, by golden-section search."""
    for factor in (2.0, 1.3):
        if pixel.cutoff_hz:
            vary = low_pass(search)
            pixel = vary(pixel, _golden(search, pixel, vary, pixel.cutoff_hz, factor))
        if search.free:
            pixel = sharpened(search, pixel)
        if pixel.log_offset:
            pixel = _offset(pixel, _golden(search, pixel, _offset, pixel.log_offset, factor))
    return pixel


def _golden(search: Search, pixel: Pixel, vary: Vary, middle: float, factor: float) -> float:
    def scatter(value: float) -> float:
        return float(search.scatter(vary(pixel, math.exp(value)))[0])

    low, high = math.log(middle / factor), math.log(middle * factor)
    return math.exp(golden(scatter, low, high, 5 if factor > 1.5 else 7))


def _uncertainty(
    search: Search, pixel: Pixel, vary: Vary, value: float, share: float = 2.0
) -> float:
    """Return the standard error of a value at its least scatter, from the minima of the groups.

    share  of the scatter: an error of the value common to all groups
    """
    steps = np.linspace(-1.0, 1.0, 7) * math.log(1.5)
    scatters = np.array([search.scatter(vary(pixel, value * math.exp(s)))[1:] for s in steps])
    own = least_of_groups(steps, scatters)
    if len(own) < 3:
        return 0.3 * value
    by_chance = value * np.std(own, ddof=1) / math.sqrt(len(own))
    # Changes of the signal that frames do not show shift all groups alike.
    return float(max(by_chance, value * (0.005 + share * search.scatter(pixel)[0])))


def _timing_us(search: Search) -> float:
    """Return the standard error of the time of a change between two frames."""
    return _TIMING * search.far.seen.interval_us


def drift_estimate(search: Search, pixel: Pixel) -> Estimate:
    """Return the estimate of leak_hz of a candidate that has one."""
    # Leak rates differ from pixel to pixel; the scatter shows only one.
    by_chance = _uncertainty(search, pixel, _leak, pixel.leak_hz)
    error = math.hypot(by_chance, 0.15 * pixel.leak_hz)
    rows = search.rows(pixel)
    return Estimate("leak_hz", pixel.leak_hz, error, rows, DRIFT)


def response_estimates(search: Search, pixel: Pixel) -> tuple[Estimate, Estimate]:
    """Return the estimates of log_offset and cutoff_hz of the selected candidate."""
    rows = search.rows(pixel)
    scatter = f"least scatter of changes per event, {search.scatter(pixel)[0]:.1%} of the threshold"
    if pixel.log_offset is None:
        offset = unknown("log_offset", "lin-log fits as well as any offset: kept", rows)
    else:
        # It depends on dark pixels alone, whose digital numbers are coarse.
        error = _uncertainty(search, pixel, _offset, pixel.log_offset, 5.0)
        offset = Estimate("log_offset", pixel.log_offset, error, rows, scatter)
    if not pixel.cutoff_hz:
        why = "no low-pass explains the events better than none"
        cutoff = unknown("cutoff_hz", why, rows)
    else:
        error = _uncertainty(search, pixel, with_cutoff, pixel.cutoff_hz)
        error = math.hypot(error, _timing_us(search) / pixel.pole_us * pixel.cutoff_hz)
        cutoff = Estimate("cutoff_hz", pixel.cutoff_hz, error, rows, scatter)
    return offset, cutoff
