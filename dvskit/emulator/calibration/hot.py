"""Hot pixels: those that fire ON far more often than the pixels around them while nothing moves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration.table import Estimate, unknown

NAMES = ("hot_fraction", "hot_hz")


def find_hot(
    on: NDArray[np.float64], seconds: NDArray[np.float64], tiles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which pixels are hot: `on` events in `seconds`, against what is usual in their tile.

    More than four times the tile's median, and six standard deviations of chance.
    """
    usual = usual_rate(on, seconds, tiles) * seconds
    return np.asarray((seconds > 0) & (on > 4 * usual + 6 * np.sqrt(usual) + 6))


def usual_rate(
    on: NDArray[np.float64], seconds: NDArray[np.float64], tiles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the median rate in the tile of each pixel; of all tiles where it has few pixels."""
    known = seconds > 0
    if not known.any():
        return np.zeros(on.size)
    rate = np.where(known, on / np.where(known, seconds, 1.0), 0.0)
    usual = np.full(on.size, float(np.median(rate[known])))
    order = np.argsort(tiles, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(tiles[order])) + 1):
        those = members[known[members]]
        if those.size >= 8:
            usual[members] = np.median(rate[those])
    return usual


def hot_estimates(
    hot: NDArray[np.bool_],
    on: NDArray[np.float64],
    seconds: NDArray[np.float64],
    tiles: NDArray[np.int64],
) -> tuple[Estimate, Estimate]:
    """Return the estimates of hot_fraction and hot_hz."""
    looked = int(np.count_nonzero(seconds > 0))
    count = int(np.count_nonzero(hot))
    share = count / max(1, looked)
    error = math.sqrt(max(1, count)) / max(1, looked)
    how = f"{count} of {looked:,} pixels fire ON far above those around them"
    fraction = Estimate(NAMES[0], share, error, looked, how)
    if not count:
        return fraction, unknown(NAMES[1], "there is no hot pixel", looked)
    own = on[hot] / seconds[hot] - usual_rate(on, seconds, tiles)[hot]
    by_chance = math.sqrt(on[hot].sum()) / seconds[hot].sum()
    scatter = float(np.std(own, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    rate = float(np.average(own, weights=seconds[hot]))
    how = "their ON events a second, less what is usual around them"
    return fraction, Estimate(NAMES[1], rate, max(by_chance, scatter), int(on[hot].sum()), how)
