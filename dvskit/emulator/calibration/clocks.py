"""By how much later the frames are on the events' clock: the offset that scatters least.

It is added to each frame's stamp: to the middle of its exposure where the frame tells that, or
else to its only stamp. A low-pass delays events too; only how that depends on the light tells both
apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from dvskit.emulator.calibration.rows import Pixel
from dvskit.emulator.calibration.search import Search, golden, least_of_groups
from dvskit.emulator.calibration.table import Estimate, unknown

NAME = "offset_us"
MOST_US = 20_000.0
_STEP_US = 2000.0
_FLOOR_US = 100.0
_DELAY = 0.3  # of a low-pass: so much of it may be a difference of the clocks
_SLOWER_HZ = (1600.0, 800.0, 400.0, 200.0, 100.0, 50.0)
_AS_WELL = 1.03  # times the scatter: so well fits what may be true
NO_MOTION = "too few changes to tell it; taken as 0"

Vary = Callable[[Pixel, float | None], Pixel]


def cutoff(pixel: Pixel, value: float | None) -> Pixel:
    """Return the candidate with another low-pass."""
    return dataclasses.replace(pixel, cutoff_hz=value or 0.0)


def low_pass(search: Search) -> Vary:
    """Return what varies the low-pass: with the offset free, so that the delay stays the same."""
    if not search.free:
        return cutoff

    def vary(pixel: Pixel, value: float | None) -> Pixel:
        found = cutoff(pixel, value)
        sooner = _delay_us(search, found) - _delay_us(search, pixel)
        return _later(found, pixel.later_us - sooner)

    return vary


def scanned(search: Search, pixel: Pixel) -> Pixel:
    """Return the candidate with the offset of least scatter, of -20 to 20 ms in steps of 2."""
    values = np.arange(-MOST_US, MOST_US + 1, _STEP_US)
    return _least(search, [_later(pixel, float(value)) for value in values], pixel)


def sharpened(search: Search, pixel: Pixel) -> Pixel:
    """Return the candidate with the best offset near its own."""
    at = pixel.later_us

    def scatter(value: float) -> float:
        return float(search.scatter(_later(pixel, value))[0])

    value = golden(scatter, at - 1.5 * _STEP_US, at + 1.5 * _STEP_US, 7)
    return _least(search, [_later(pixel, value)], pixel)


def _least(search: Search, tried: list[Pixel], pixel: Pixel) -> Pixel:
    return min([pixel, *tried], key=lambda each: float(search.scatter(each)[0]))


def _later(pixel: Pixel, value: float) -> Pixel:
    return dataclasses.replace(pixel, later_us=float(np.clip(value, -MOST_US, MOST_US)))


def _delay_us(search: Search, pixel: Pixel) -> float:
    """Return the delay of the low-pass where the usual event is."""
    return pixel.pole_us / search.light


def given(offset_us: float) -> Estimate:
    """Return the estimate of an offset that is known."""
    return Estimate(NAME, float(offset_us), 0.0, 0, "given")


def offset_estimate(search: Search, pixel: Pixel) -> Estimate:
    """Return the estimate of the offset of the candidate that was found."""
    rows = search.rows(pixel)
    scatter = search.scatter(pixel)[0]
    if not math.isfinite(scatter):
        return unknown(NAME, NO_MOTION, rows)
    error = math.hypot(_by_chance(search, pixel), _delay_error(search, pixel), _FLOOR_US)
    how = f"least scatter of changes an event, {scatter:.1%} of the threshold"
    return Estimate(NAME, pixel.later_us, error, rows, how)


def too_vague(offset: Estimate) -> Estimate:
    """Return the estimate where none explains the events as well: 0, by as much as it may be."""
    error = math.hypot(offset.uncertainty or 0.0, 0.5 * (offset.value or 0.0))
    how = "none explains the events as well as the best"
    return dataclasses.replace(offset, value=0.0, uncertainty=error, how=how)


def _delay_error(search: Search, pixel: Pixel) -> float:
    """Return by how much a low-pass may delay events other than the candidate says.

    Half of what the slowest one delays that fits nearly as well, with an offset of its own.
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
    """Return the standard error, from the least scatter of each group."""
    steps = np.arange(-4, 5) * 0.5 * _STEP_US
    tried = [dataclasses.replace(pixel, later_us=pixel.later_us + float(s)) for s in steps]
    scatters = np.array([search.scatter(each)[1:] for each in tried])
    own = least_of_groups(steps, scatters)
    if len(own) < 3:
        return _STEP_US
    return float(np.std(own, ddof=1)) / math.sqrt(len(own))
