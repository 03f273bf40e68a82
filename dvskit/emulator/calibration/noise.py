"""Shot noise and leak, from the gaps between events of pixels that see no change.

OFF events there are half the shot noise. A gap ends with an ON event too where the leak has gone
its period, unless a shot event has begun it anew: both are told apart by the likelihood of the
gaps' lengths, each pixel's leak period being drawn from a log-normal distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import _kernels as k
from dvskit.emulator.calibration.observed import Observed
from dvskit.emulator.calibration.stillness import Still
from dvskit.emulator.calibration.table import Estimate, unknown

NAMES = ("shot_hz", "leak_hz", "leak_spread", "leak_jitter")
_SLOPE = 0.75  # of shot noise with light, see the sensor's kernels
_OVER_PIXELS = "scatter over pixels"
_MOST_PIXELS = 6000
_NODES = 161
_DECADES = 0.8  # on each side of the first guess, that leak periods are looked for in
_USUAL_SPREAD = 0.1  # of sensors, taken where the gaps do not tell it
_VAGUE = 0.08  # standard error of the spread, from which on they do not
_JITTERS = (0.01, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3)


@dataclass(frozen=True, slots=True)
class Levels:
    """The thresholds, as far as they are known, and their spread: noise depends on them."""

    on: float = 0.2
    off: float = 0.2
    sigma: float = 0.0

    def oftener(self, threshold: float) -> float:
        """Return how often shot noise comes, on average, next to that of a typical pixel.

        It is likelier where thresholds are low, of which none is below 0.01.
        """
        spread = (np.arange(-40, 41) / 10.0) * self.sigma
        weight = np.exp(-0.5 * (np.arange(-40, 41) / 10.0) ** 2)
        return float(np.average(threshold / np.maximum(0.01, threshold + spread), weights=weight))

    @property
    def share_on(self) -> float:
        """Part of the shot noise that is ON."""
        on, off = self.oftener(self.on), self.oftener(self.off)
        return on / (on + off)

    @property
    def reach(self) -> float:
        """From OFF to ON threshold, in leak periods."""
        return 1.0 + self.off / self.on


def noise_estimates(observed: Observed, still: Still, levels: Levels) -> tuple[Estimate, ...]:
    """Return the estimates of shot_hz, leak_hz, leak_spread and leak_jitter."""
    shot = _shot(observed, still, levels.oftener(levels.off))
    # Events of both polarities a second of a dark pixel.
    events = 0.5 * (shot.value or 0.0) * (levels.oftener(levels.on) + levels.oftener(levels.off))
    return (shot, *_leak(still, events, levels))


def _shot(observed: Observed, still: Still, oftener: float) -> Estimate:
    dark = 1.0 - _SLOPE * still.light[still.gap_span]
    exposure = still.per_pixel(still.gap_length * dark * 1e-6)
    count = still.per_pixel(still.gap_end == k.OFF)
    how = f"OFF events in {still.seconds:,.0f} pixel-seconds without change"
    whole, total = float(exposure.sum()), int(count.sum())
    if not total:
        return Estimate(NAMES[0], 0.0, 2.0 / whole, 0, how)
    value = 2.0 * total / whole / oftener
    tiles = observed.tiles(still.pixels)
    by_tile = np.stack([np.bincount(tiles, column) for column in (count, exposure)])
    by_tile = by_tile[:, by_tile[1] > 0]
    rng = np.random.default_rng(3)
    drawn = by_tile[:, rng.integers(0, by_tile.shape[1], (100, by_tile.shape[1]))].sum(2)
    scatter = value * float(np.std(drawn[0] / drawn[1], ddof=1)) / (total / whole)
    return Estimate(NAMES[0], value, max(scatter, value / math.sqrt(total)), total, how)


def _seen_leak(period_us: float, shot: float) -> float:
    """Return leak events a microsecond: a renewal process, begun anew by `shot` events a us."""
    gone = shot * period_us
    return 1.0 / period_us if gone < 1e-9 else shot * math.exp(-gone) / -math.expm1(-gone)


def _period(rate: float, shot: float) -> float:
    """Return the leak period (us) whose events are seen at `rate` a microsecond."""
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
    if on - odds * off < 4 * doubt:
        return _no_leak(_period(4 * doubt / time, mean_rate), mean_rate, on)
    guess = _period((on - odds * off) / time, mean_rate)
    found = _most_likely(still, rate, guess, levels)
    error = found.leak_error
    how = "gaps ahead of ON events without change, begun anew by shot noise"
    longest = still.per_pixel(still.gap_length).max()
    if max(guess, 1e6 / found.leak_hz) > longest:
        # Then it is known from where pixels begin, which is a guess: within a factor of two.
        how += "; no pixel was seen for as long as it usually takes"
        error = math.hypot(error, 0.5 * found.leak_hz)
    jitter = unknown(names[2], "the gaps do not tell it", on)
    spread = Estimate(names[1], found.spread, found.spread_error, found.pixels, _OVER_PIXELS)
    if found.spread_error > _VAGUE:
        spread = unknown(names[1], f"too few gaps; {_USUAL_SPREAD} taken for leak_hz", found.pixels)
    if found.jitter is not None:
        jitter = Estimate(
            names[2], found.jitter, found.jitter_error, on, "scatter of a pixel's gaps"
        )
    return (
        Estimate(names[0], found.leak_hz, error, on, how),
        spread,
        jitter,
    )


def _no_leak(period: float, shot: float, on: int) -> tuple[Estimate, ...]:
    most = 1e6 / period
    if shot * period > 1.0:
        why = f"shot noise hides it: ON and OFF noise are alike; below {most:.2g} Hz"
        first = unknown(NAMES[1], why, on)
    else:
        first = Estimate(NAMES[1], 0.0, most / 4, on, "ON and OFF noise are alike")
    return first, *(unknown(name, "there is no leak to see", on) for name in NAMES[2:])


@dataclass(frozen=True, slots=True)
class _Found:
    leak_hz: float
    leak_error: float
    spread: float
    spread_error: float
    jitter: float | None
    jitter_error: float
    pixels: int


def _most_likely(
    still: Still, rate: NDArray[np.float64], guess_us: float, levels: Levels
) -> _Found:
    """Return leak, spread and jitter of the greatest likelihood, near a first guess."""
    pixel = still.pixel[still.gap_span]
    some, place = np.unique(pixel, return_inverse=True)
    step = 1 + some.size // _MOST_PIXELS
    take = np.flatnonzero(place % step == 0)
    take = take[np.argsort(place[take], kind="stable")]
    _, place = np.unique(place[take], return_inverse=True)
    starts = np.searchsorted(place, np.arange(place.max() + 2))
    decades = np.linspace(-_DECADES, _DECADES, _NODES)
    table = np.empty((starts.size - 1, _NODES))
    best: tuple[float, float, tuple[float, ...]] | None = None
    likelihoods = []
    for jitter in _JITTERS:
        k.leak_likelihood(
            starts, still.gap_length[take], still.gap_end[take], still.gap_begin[take],
            rate[take], levels.share_on, levels.reach, guess_us * 10.0**decades, jitter, table,
        )  # fmt: skip
        peak, moments = _posterior(table, decades)
        likelihoods.append(peak)
        if best is None or peak > best[0]:
            best = (peak, jitter, moments)
    assert best is not None
    middle, error, spread, spread_error = best[2]
    longest = still.per_pixel(still.gap_length).max()
    if spread_error > _VAGUE or max(guess_us, guess_us * 10.0**middle) > longest:
        spread_error = max(spread_error, 2 * _VAGUE)
        usual = _USUAL_SPREAD * np.array([0.99, 1.01])
        _, (middle, error, *_) = _posterior(table, decades, *usual)
    leak = 1e6 / (guess_us * 10.0**middle)
    weight = np.exp(np.array(likelihoods) - best[0])
    mean = float(np.average(_JITTERS, weights=weight))
    scatter = math.sqrt(float(np.average((np.array(_JITTERS) - mean) ** 2, weights=weight)))
    known = scatter < 0.04 and best[1] < _JITTERS[-1]
    return _Found(
        leak, leak * math.log(10) * error, spread, spread_error, mean if known else None,
        max(scatter, 0.012), starts.size - 1,
    )  # fmt: skip


def _posterior(
    table: NDArray[np.float64],
    decades: NDArray[np.float64],
    narrow: float = 0.006,
    wide: float = _DECADES,
) -> tuple[float, tuple[float, ...]]:
    """Return the greatest log likelihood, and mean and deviation of the log period and its spread.

    Over a grid that closes in on where the likelihood is; the spread is from narrow to wide.
    """
    top = table.max(1, keepdims=True)
    likely = np.exp(table - top)
    middle, spread, half, half_spread = 0.0, 0.2, 0.4, 0.2
    peak, moments = -math.inf, (0.0, 0.0, 0.0, 0.0)
    for _ in range(5):
        middles = np.clip(np.linspace(middle - half, middle + half, 11), *decades[[0, -1]])
        spreads = np.clip(np.linspace(spread - half_spread, spread + half_spread, 11), narrow, wide)
        m, s = (each.reshape(-1) for each in np.meshgrid(middles, spreads, indexing="ij"))
        prior = np.exp(-0.5 * ((decades[:, None] - m) / s) ** 2)
        prior /= prior.sum(0)
        log = np.log(likely @ prior + 1e-300).sum(0) + top.sum()
        at = int(np.argmax(log))
        peak = float(log[at])
        weight = np.exp(log - peak)
        mean, mean_s = np.average(m, weights=weight), np.average(s, weights=weight)
        dev = math.sqrt(np.average((m - mean) ** 2, weights=weight))
        dev_s = math.sqrt(np.average((s - mean_s) ** 2, weights=weight))
        moments = (float(mean), dev, float(mean_s), dev_s)
        middle, spread = float(m[at]), float(s[at])
        half = max(4 * dev, 1.5 * (middles[1] - middles[0]))
        half_spread = max(4 * dev_s, 1.5 * (spreads[1] - spreads[0]))
    return peak, moments
