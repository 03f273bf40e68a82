"""Candidates evaluated on some of the pixels, and the offset of the frames.

The offset is the one with the least scatter. It is added to the time of each frame: to the middle
of its exposure if known, else to its only stamp. A low-pass delays events too; only the dependence
of that delay on the light separates both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.observed import PixelRecord, PixelView
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
                # A group consists of whole tiles: neighbours see the same.
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
        """Return the same with shifted frames and a fixed offset."""
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

    scatters (steps, groups); the minimum is that of the parabola through three of them (Press et
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
    """Return the estimate if no offset explains the events: 0, with the full range as error."""
    error = math.hypot(offset.uncertainty or 0.0, 0.5 * (offset.value or 0.0))
    how = "none explains the events better than others"
    return dataclasses.replace(offset, value=0.0, uncertainty=error, how=how)


def _delay_error(search: Search, pixel: Pixel) -> float:
    """Return the error of the delay of a low-pass.

    Half the delay of the slowest low-pass that fits nearly as well, with an offset of its own.
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
