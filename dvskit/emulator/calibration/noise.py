"""Shot noise, leak and hot pixels, from the events of pixels that see no change.

OFF events there are half the shot noise. A gap ends with an ON event too, when the leak completes
its period, unless a shot event restarts it. The likelihood of the gap lengths separates both, with
leak periods drawn per pixel from a log-normal distribution. Hot pixels fire ON events far more
often than those around them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import leak
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import PixelRecord
from dvskit.emulator.calibration.stillness import Still
from dvskit.emulator.calibration.table import Estimate, unknown

NAMES = ("shot_hz", "leak_hz", "leak_spread", "leak_jitter")
HOT_NAMES = ("hot_fraction", "hot_hz")
_SLOPE = 0.75  # of shot noise with light, see the sensor's kernels
# Standard deviation of thresholds from pixel to pixel, as a part of them: 0.13 to 0.34 in published
# sensors (see the presets), and the deviation of these.
_TYPICAL_SPREAD, _SPREADS_APART = 0.2, 0.09
_OVER_PIXELS = "scatter over pixels"
_LEAST_ON = 50  # events needed to look for the leak within shot noise
_SURE = 0.25  # largest relative standard error of a leak found there
_SURELY = 8.0  # its least log likelihood ratio to no leak
_ROUGH = 0.1  # relative standard error above which the table advises a better recording
_LONGER = "a longer recording at rest is needed"


@dataclass(frozen=True, slots=True)
class Levels:
    """The thresholds, as far as they are known, and their spread: noise depends on them.

    sigma, sigma_error  in e-folds, as in EmulatorParams, and its standard error
    """

    on: float = 0.2
    off: float = 0.2
    sigma: float = _TYPICAL_SPREAD * 0.2
    sigma_error: float = _SPREADS_APART * 0.2

    @classmethod
    def of(cls, table: tuple[Estimate, ...]) -> Levels:
        """Return the levels for estimates of both thresholds and of their spread.

        The spread is shrunk towards the usual one by its error, because shot noise rises with more
        than its square.
        """
        on, off, sigma = table
        if not on.value or not off.value:
            return cls()
        level = 0.5 * (on.value + off.value)
        usual, error = _TYPICAL_SPREAD * level, _SPREADS_APART * level
        if sigma.value is None:
            return cls(on.value, off.value, usual, error)
        wrong = math.hypot(on.uncertainty or 0.0, off.uncertainty or 0.0) / (on.value + off.value)
        own = math.hypot(sigma.uncertainty or 0.0, sigma.value * wrong) + 1e-9
        share = error**2 / (error**2 + own**2)
        found = usual + share * (sigma.value - usual)
        return cls(on.value, off.value, found, own * math.sqrt(share))

    def oftener(self, threshold: float) -> float:
        """Return the mean rate of shot noise relative to that of a typical pixel."""
        return _oftener(threshold, self.sigma)

    def doubt(self, threshold: float) -> float:
        """Return the relative standard error of that, from the error of the spread."""
        less, more = max(0.0, self.sigma - self.sigma_error), self.sigma + self.sigma_error
        apart = _oftener(threshold, more) - _oftener(threshold, less)
        return 0.5 * apart / self.oftener(threshold)

    @property
    def share_on(self) -> float:
        """ON share of the shot noise."""
        on, off = self.oftener(self.on), self.oftener(self.off)
        return on / (on + off)

    @property
    def reach(self) -> float:
        """From OFF to ON threshold, in leak periods."""
        return 1.0 + self.off / self.on


def _oftener(threshold: float, sigma: float) -> float:
    """Return the mean of threshold / a pixel's own, none of which is below 0.01."""
    steps = np.arange(-40, 41) / 10.0
    weight = np.exp(-0.5 * steps**2)
    return float(
        np.average(threshold / np.maximum(0.01, threshold + steps * sigma), weights=weight)
    )


def noise_estimates(observed: PixelRecord, still: Still, levels: Levels) -> tuple[Estimate, ...]:
    """Return the estimates of shot_hz, leak_hz, leak_spread and leak_jitter."""
    shot = _shot(observed, still, levels)
    # Events of both polarities a second of a dark pixel.
    events = 0.5 * (shot.value or 0.0) * (levels.oftener(levels.on) + levels.oftener(levels.off))
    return (shot, *_leak(still, events, levels))


def _shot(observed: PixelRecord, still: Still, levels: Levels) -> Estimate:
    dark = 1.0 - _SLOPE * still.light[still.gap_span]
    exposure = still.per_pixel(still.gap_length * dark * 1e-6)
    count = still.per_pixel(still.gap_end == k.OFF)
    how = f"OFF events in {still.seconds:,.0f} pixel-seconds without change"
    whole, total = float(exposure.sum()), int(count.sum())
    if not total:
        return Estimate(NAMES[0], 0.0, 2.0 / whole, 0, how)
    value = 2.0 * total / whole / levels.oftener(levels.off)
    tiles = observed.tiles(still.pixels)
    by_tile = np.stack([np.bincount(tiles, column) for column in (count, exposure)])
    by_tile = by_tile[:, by_tile[1] > 0]
    rng = np.random.default_rng(3)
    drawn = by_tile[:, rng.integers(0, by_tile.shape[1], (100, by_tile.shape[1]))].sum(2)
    scatter = value * float(np.std(drawn[0] / drawn[1], ddof=1)) / (total / whole)
    by_chance = max(scatter, value / math.sqrt(total))
    error = math.hypot(by_chance, value * levels.doubt(levels.off))
    return Estimate(NAMES[0], value, error, total, how)


def _seen_leak(period_us: float, shot: float) -> float:
    """Return leak events per microsecond: a renewal process restarted by `shot` events per us."""
    gone = shot * period_us
    return 1.0 / period_us if gone < 1e-9 else shot * math.exp(-gone) / -math.expm1(-gone)


def _period(rate: float, shot: float) -> float:
    """Return the leak period (us) of an observed `rate` per microsecond."""
    low, high = 1e2, 1e12
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _seen_leak(middle, shot) > rate else (low, middle)
    return math.sqrt(low * high)


def _leak(still: Still, shot_hz: float, levels: Levels) -> tuple[Estimate, ...]:
    names = NAMES[1:]
    rate = shot_hz * 1e-6 * (1.0 - _SLOPE * still.light[still.gap_span])
    time = float(still.gap_length.sum())
    mean_rate = float((rate * still.gap_length).sum()) / time
    on, off = (int(np.count_nonzero(still.gap_end == end)) for end in (k.ON, k.OFF))
    odds = levels.share_on / (1.0 - levels.share_on)
    doubt = math.sqrt(on + off * odds**2 + 1)
    hidden = on - odds * off < 4 * doubt
    guess = _period(max(4 * doubt, on - odds * off) / time, mean_rate)
    asked = np.isin(still.gap_begin, (k.KNOWN, k.FRESH)).any() and on > _LEAST_ON
    if hidden and not asked:
        return _no_leak(guess, mean_rate, on)
    if not leak.fresh_agree(still, rate, guess, levels.share_on, levels.reach):
        # How much higher the thresholds of pixels that never fired are is unknown too.
        fired = still.gap_begin != k.FRESH
        still, rate = still.gaps(fired), rate[fired]
    found = leak.most_likely(still, rate, guess, levels.share_on, levels.reach)
    error = found.leak_error
    if hidden and (error > _SURE * found.leak_hz or found.surely < _SURELY):
        return _no_leak(guess, mean_rate, on)
    how = "gaps before ON events without change, restarted by shot noise"
    if found.guessed:
        # Then the estimate depends on guessed initial states: within a factor of two.
        how += f"; {_LONGER}"
        error = math.hypot(error, leak.GUESS * found.leak_hz)
    elif error > _ROUGH * found.leak_hz:
        how += f"; {_LONGER}"
    jitter = unknown(names[2], "the gaps do not show it", on)
    spread = Estimate(names[1], found.spread, found.spread_error, found.pixels, _OVER_PIXELS)
    if found.spread_error > leak.VAGUE:
        why = f"too few gaps; {leak.USUAL_SPREAD} assumed for leak_hz"
        spread = unknown(names[1], why, found.pixels)
    if found.jitter is not None:
        how_jitter = "scatter of a pixel's gaps"
        jitter = Estimate(names[2], found.jitter, found.jitter_error, on, how_jitter)
    return Estimate(names[0], found.leak_hz, error, on, how), spread, jitter


def _no_leak(period: float, shot: float, on: int) -> tuple[Estimate, ...]:
    most = 1e6 / period
    if shot * period > 1.0:
        why = f"shot noise hides it: ON and OFF noise are alike; below {most:.2g} Hz"
        first = unknown(NAMES[1], why, on)
    else:
        first = Estimate(NAMES[1], 0.0, most / 4, on, "ON and OFF noise are alike")
    return first, *(unknown(name, "no leak is visible", on) for name in NAMES[2:])


def hot_at_rest(
    on: NDArray[np.float64], seconds: NDArray[np.float64], tiles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the pixels that are hot at rest: `on` events in `seconds`, compared with their tile.

    Above four times the tile's median, and six standard deviations of chance. It is for pixels
    that see no change, each for its own time, so that all their events are noise: neighbours that
    fire as often do not clear a pixel. `hot_pixels` of the filters is for counts of whole
    recordings with motion.
    """
    usual = usual_rate(on, seconds, tiles) * seconds
    return np.asarray((seconds > 0) & (on > 4 * usual + 6 * np.sqrt(usual) + 6))


def usual_rate(
    on: NDArray[np.float64], seconds: NDArray[np.float64], tiles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the median rate in the tile of each pixel; of all tiles if it has few pixels."""
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
    fraction = Estimate(HOT_NAMES[0], share, error, looked, how)
    if not count:
        return fraction, unknown(HOT_NAMES[1], "no hot pixel found", looked)
    own = on[hot] / seconds[hot] - usual_rate(on, seconds, tiles)[hot]
    by_chance = math.sqrt(on[hot].sum()) / seconds[hot].sum()
    scatter = float(np.std(own, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    rate = float(np.average(own, weights=seconds[hot]))
    how = "their ON events a second, less what is usual around them"
    return fraction, Estimate(HOT_NAMES[1], rate, max(by_chance, scatter), int(on[hot].sum()), how)
