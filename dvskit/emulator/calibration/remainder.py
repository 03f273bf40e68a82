"""How far pixels are from their next ON event when rest begins.

A pixel that comes to rest has gone part of its way to the next event, and leaks the rest of it: how
soon it fires gives the leak, if it is known how far it had to go. The frames show by how much the
signal has changed since the pixel's last event.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import Seen
from dvskit.emulator.calibration.rows import KNEE, Fit, Pixel, Rows, fit, make_rows
from dvskit.emulator.calibration.search import View
from dvskit.emulator.calibration.stillness import Still

_MORE = 8  # rows


def with_remainder(still: Still, shown: Seen, view: View, pixel: Pixel) -> Still:
    """Return the same with `left` and `ahead`, where the candidate and its light give them.

    shown   the frames, in whose pixels the spans' places are
    view    of all of them or some, in the same order, with the light at any time
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
    """Return by how much the level at rest may be wrong as frames are whole numbers, in e-folds.

    Unlike that of what moves, it is of one number: the darker, the more.
    """
    step = scale if scale <= 1.0 else 0.0  # more: frames of floats
    number = 275.0 * light - 20.0
    if pixel.log_offset is not None:
        slope = 1.0 / (number + pixel.log_offset)
    else:
        slope = np.where(number < KNEE, math.log(KNEE) / KNEE, 1.0 / np.maximum(number, KNEE))
    return np.asarray(step / math.sqrt(12.0) * slope)


def _blur(rows: Rows, found: Fit) -> NDArray[np.float64]:
    """Return the robust standard deviation of what each pixel's rows leave, in e-folds.

    As if the pixel had some more rows, as usual ones.
    """
    count, rest = np.diff(rows.starts), np.abs(found.rest)
    usual = np.median(rest)
    rest = rest[np.lexsort((rest, np.repeat(np.arange(count.size), count)))]
    own, some = np.full(count.size, usual), count > 0
    first, last = rows.starts[:-1][some], rows.starts[1:][some] - 1  # the median is between both
    own[some] = 0.5 * (rest[(first + last) // 2] + rest[(first + last + 1) // 2])
    mean = (count * own**2 + _MORE * usual**2) / (count + _MORE)
    return np.asarray(1.4826 * np.sqrt(mean))


def _thresholds(found: Fit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's ON threshold, drawn to the usual one by as much as it may be off.

    And its standard error.
    """
    error, usual = found.error_on, found.pooled[0]
    known = np.isfinite(error)
    if not known.any():
        return np.full(error.size, usual), np.zeros(error.size)
    own = np.median(np.abs(found.on[known] - usual)) * 1.4826
    share = np.where(known, own**2 / (own**2 + error**2 + 1e-12), 0.0)
    return usual + share * (found.on - usual), own * np.sqrt(1.0 - share)
