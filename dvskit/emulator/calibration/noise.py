"""Shot noise, leak and hot pixels, from the events of pixels that see no change.

OFF events there are half the shot noise. A gap ends with an ON event too, when the leak completes
its period, unless a shot event restarts it. The likelihood of the gap lengths separates both, with
leak periods drawn per pixel from a log-normal distribution. Other unknowns are fitted along, within
their priors: the ON share of the shot noise, and the error of the frames about the initial states
of pixels, both common to all pixels. Hot pixels fire ON events far more often than the pixels
around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import PixelRecord
from dvskit.emulator.calibration.stillness import StillSpans
from dvskit.emulator.calibration.table import Estimate, unknown

_MOST_PIXELS = 6000
_NODES = 161
_SHARES = 16  # of pixels, processed in turn by the threads
_DECADES = 0.8  # range around the first guess in which leak periods are searched
USUAL_SPREAD = 0.1  # of sensors, used if the gaps do not show it
_USUAL = (0.99 * USUAL_SPREAD, 1.01 * USUAL_SPREAD)
VAGUE = 0.08  # standard error of the spread above which they do not
_JITTERS = (0.01, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3)
_BLURS = ((0.5, 1.0, 2.0, 4.0), (0.7, 1.0, 1.4))  # times the residual of the rows
_SHARE_ERROR = 0.004  # of the ON share of shot noise: the accuracy of thresholds
_SHIFT_ERROR = 0.4  # of the usual blur: common error of the initial states of pixels
GUESS = 0.5  # accuracy of a leak if nothing is known about the initial states of pixels
_APART = 10.0  # log likelihood by which two leaks are more likely than one if they disagree
_FLOOR = 0.01  # of a leak: the best accuracy reported

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Found:
    """Leak, spread and jitter of maximum likelihood, with standard errors.

    guessed  whether it mostly depends on unknown initial states of pixels
    surely   log likelihood ratio to almost no leak
    """

    leak_hz: float
    leak_error: float
    spread: float
    spread_error: float
    jitter: float | None
    jitter_error: float
    pixels: int
    guessed: bool
    surely: float


@dataclass(frozen=True, slots=True)
class _Model:
    """The unknowns of the likelihood besides the leak and its spread."""

    share_on: float
    jitter: float = 0.1
    blur: float = 1.0
    shift: float = 0.0


@dataclass(slots=True)
class _Gaps:
    """The gaps of some pixels, pixel by pixel, in two parts: with known start, and others."""

    still: StillSpans
    rate: Floats
    reach: float
    periods: Floats
    pixels: int
    slope: float
    parts: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]  # gaps, starts
    done: dict[_Model, Floats] = field(default_factory=dict)

    def table(self, model: _Model) -> Floats:
        """Return the log likelihood of each pixel's gaps for each period: (pixels, periods)."""
        known, others = self.parts
        plain = replace(model, blur=1.0, shift=0.0)
        if plain not in self.done:
            self.done = {plain: self._filled(plain, *others)}
        return self.done[plain] + self._filled(model, *known)

    def blur(self, model: _Model) -> float:
        """Return the usual blur of the initial states of pixels, in periods; 0 if none is known."""
        take = self.parts[0][0]
        usual = float(np.median(self.still.blur[self.still.gap_span[take]])) if take.size else 0.0
        return model.blur * usual

    def _filled(self, model: _Model, take: NDArray[np.int64], starts: NDArray[np.int64]) -> Floats:
        table, still = np.zeros((self.pixels, _NODES)), self.still
        span = still.gap_span[take]
        gaps = k.LeakGaps(
            still.gap_length[take], still.gap_end[take], still.gap_begin[take],
            still.left[span] + model.shift, still.ahead[span], still.blur[span] * model.blur,
            self.rate[take],
        )  # fmt: skip

        leaks = k.Leaks(self.slope, self.reach, model.share_on, model.jitter)

        def fill(first: int, stop: int) -> None:
            part = starts[first : stop + 1]
            k.leak_likelihood(part, gaps, leaks, self.periods, table[first:stop])

        run_ranges(fill, self.pixels, _SHARES)
        return table


def _gaps(still: StillSpans, rate: Floats, reach: float, guess_us: float, decades: Floats) -> _Gaps:
    pixel = still.pixel[still.gap_span]
    some, place = np.unique(pixel, return_inverse=True)
    step = 1 + some.size // _MOST_PIXELS
    number = place // step
    count = int(place.max()) // step + 1
    known = still.gap_begin == k.KNOWN
    parts = []
    for those in (known, ~known):
        take = np.flatnonzero(those & (place % step == 0))
        take = take[np.argsort(number[take], kind="stable")]
        parts.append((take, np.searchsorted(number[take], np.arange(count + 1))))
    return _Gaps(still, rate, reach, guess_us * 10.0**decades, count, _slope(still), tuple(parts))


def _slope(still: StillSpans) -> float:
    """Return how much rarer pixels with nothing left to go are than those with a whole period.

    From the mean of what is left, from 0.1 to 0.9: the density is linear in between.
    """
    first = still.gap_begin == k.KNOWN
    left = still.left[still.gap_span[first]]
    left = left[(left > 0.1) & (left < 0.9)]
    if left.size < 20:
        return 0.0
    # Of 1 - s + s r the mean is (0.4 - 0.4 s + 0.242667 s) / (0.8 - 0.4 s).
    mean = float(left.mean())
    return float(np.clip((0.8 * mean - 0.4) / (0.4 * mean - 0.157333), 0.0, 1.0))


def most_likely(
    still: StillSpans, rate: Floats, guess_us: float, share_on: float, reach: float
) -> _Found:
    """Return the most likely model of the gaps, near a first guess of the period.

    rate      shot events per microsecond in each gap; share_on  their ON share
    reach     from OFF to ON threshold, in leak periods
    """
    decades = np.linspace(-_DECADES, _DECADES, _NODES)
    gaps = _gaps(still, rate, reach, guess_us, decades)
    model, middle, doubt = _fitted(gaps, share_on, decades)
    longest = still.per_pixel(still.gap_length).max()
    models = [replace(model, jitter=jitter) for jitter in _JITTERS]
    results = [posterior(gaps.table(each), decades, middle=middle) for each in models]
    peaks = np.array([peak for peak, _ in results])
    best = int(np.argmax(peaks))
    middle, error, spread, spread_error = results[best][1]
    weight = np.exp(peaks - peaks[best])
    jitter = float(np.average(_JITTERS, weights=weight))
    scatter = math.sqrt(float(np.average((np.array(_JITTERS) - jitter) ** 2, weights=weight)))
    short = max(guess_us, guess_us * 10.0**middle) > longest
    if spread_error > VAGUE or short:
        spread_error = max(spread_error, 2 * VAGUE)
        table = gaps.table(model if short else models[best])
        _, (middle, error, *_) = posterior(table, decades, *_USUAL, middle)
    leak = 1e6 / (guess_us * 10.0**middle)
    error = math.hypot(math.log(10) * math.hypot(error, doubt), _FLOOR)
    blurred = short * min(GUESS, 2 * gaps.blur(model) ** 2)
    error = math.expm1(math.hypot(error, blurred))
    by_period = _by_period(gaps.table(model), decades)
    known = scatter < 0.04 and _JITTERS[best] < _JITTERS[-1]
    return _Found(
        leak, leak * error, spread, spread_error, jitter if known else None, max(scatter, 0.012),
        gaps.pixels, short and _guessed(still), float(by_period.max() - by_period[-1]),
    )  # fmt: skip


def fresh_agree(
    still: StillSpans, rate: Floats, guess_us: float, share_on: float, reach: float
) -> bool:
    """Return whether pixels without event so far leak as the others do.

    They are assumed to be anywhere between two events when the frames begin. Pixels of a sensor
    that was just switched on are not.
    """
    fresh = still.gap_begin == k.FRESH
    if not fresh.any() or fresh.all():
        return True
    decades = np.linspace(-_DECADES, _DECADES, _NODES)
    curves = []
    for those in (fresh, ~fresh):
        gaps = _gaps(still.gaps(those), rate[those], reach, guess_us, decades)
        curves.append(_by_period(gaps.table(_Model(share_on)), decades))
    apart = curves[0].max() + curves[1].max() - (curves[0] + curves[1]).max()
    return bool(apart < _APART)


def _guessed(still: StillSpans) -> bool:
    """Return whether the initial state is known for few pixels only."""
    first = np.count_nonzero(still.gap_begin != k.RESET)
    known = np.count_nonzero(still.gap_begin == k.KNOWN)
    return bool(known < 0.5 * first)


def _fitted(gaps: _Gaps, share_on: float, decades: Floats) -> tuple[_Model, float, float]:
    """Return the most likely model, its log period, and the error of the log period due to it."""
    model = _Model(share_on)
    take = gaps.parts[0][0]
    usual = gaps.blur(model)

    def tried(model: _Model) -> tuple[float, float]:
        peak, middle = _usual_peak(gaps.table(model), decades)
        wrong = (model.share_on - share_on) / _SHARE_ERROR
        if take.size:
            wrong = math.hypot(wrong, model.shift / (_SHIFT_ERROR * usual))
        return peak - 0.5 * wrong**2, middle

    for factors in _BLURS if take.size else ():
        models = [replace(model, blur=model.blur * factor) for factor in factors]
        model = models[int(np.argmax([tried(each)[0] for each in models]))]
        model = replace(model, shift=_peak(tried, model, "shift", 0.5 * _SHIFT_ERROR * usual)[0])
    doubts = [_peak(tried, model, "share_on", _SHARE_ERROR)]
    model = replace(model, share_on=doubts[0][0])
    if take.size:
        doubts.append(_peak(tried, model, "shift", 0.5 * _SHIFT_ERROR * usual))
        model = replace(model, shift=doubts[1][0])
    return model, tried(model)[1], math.hypot(*(doubt for _, doubt in doubts))


def _by_period(table: Floats, decades: Floats) -> Floats:
    """Return the log likelihood of each median period, for pixels with the usual spread."""
    top = table.max(1, keepdims=True)
    prior = np.exp(-0.5 * ((decades[:, None] - decades) / USUAL_SPREAD) ** 2)
    prior /= prior.sum(0)
    return np.asarray(np.log(np.exp(table - top) @ prior + 1e-300).sum(0) + top.sum())


def _usual_peak(table: Floats, decades: Floats) -> tuple[float, float]:
    """Return the greatest log likelihood and its log period, for the usual spread."""
    log = _by_period(table, decades)
    at = int(np.clip(np.argmax(log), 1, decades.size - 2))
    left, here, right = log[at - 1 : at + 2]
    bend = min(left - 2 * here + right, -1e-9)
    part = float(np.clip(0.5 * (left - right) / bend, -1, 1))
    peak = here + 0.25 * (right - left) * part
    return float(peak), float(decades[at] + part * (decades[1] - decades[0]))


def _peak(
    tried: Callable[[_Model], tuple[float, float]], model: _Model, name: str, step: float
) -> tuple[float, float]:
    """Return the most likely value of a field, and the shift of the log period due to its error."""
    here = getattr(model, name)
    for _ in range(4):
        values = [here - step, here, here + step]
        rows = [tried(replace(model, **{name: value})) for value in values]
        (left, low), (middle, _), (right, high) = rows
        bend = left - 2 * middle + right
        if middle >= max(left, right) and bend < 0:
            error = step / math.sqrt(-bend)
            return here + 0.5 * step * (left - right) / bend, error * abs(high - low) / (2 * step)
        here = values[0] if left > right else values[2]
    return here, abs(high - low)


def posterior(
    table: Floats,
    decades: Floats,
    narrow: float = 0.006,
    wide: float = _DECADES,
    middle: float = 0.0,
) -> tuple[float, tuple[float, ...]]:
    """Return the greatest log likelihood, and mean and deviation of the log period and its spread.

    The grid starts at `middle` and contracts to the likely region; the spread runs from narrow to
    wide.
    """
    top = table.max(1, keepdims=True)
    likely = np.exp(table - top)
    spread, half, half_spread = 0.2, 0.4, 0.2
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


NAMES = ("shot_hz", "leak_hz", "leak_spread", "leak_jitter")
HOT_NAMES = ("hot_fraction", "hot_hz")
_SLOPE = 0.75  # of shot noise with light, see the sensor's kernels
# Standard deviation of thresholds from pixel to pixel, as a part of the threshold: 0.13 to 0.34 in
# published sensors (see the presets); and how far these values differ from sensor to sensor.
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
        """Return the mean rate of shot noise of all pixels, relative to a typical pixel."""
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


def noise_estimates(
    observed: PixelRecord, still: StillSpans, levels: Levels
) -> tuple[Estimate, ...]:
    """Return the estimates of shot_hz, leak_hz, leak_spread and leak_jitter."""
    shot = _shot(observed, still, levels)
    # Events of both polarities a second of a dark pixel.
    events = 0.5 * (shot.value or 0.0) * (levels.oftener(levels.on) + levels.oftener(levels.off))
    return (shot, *_leak(still, events, levels))


def _shot(observed: PixelRecord, still: StillSpans, levels: Levels) -> Estimate:
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


def _leak(still: StillSpans, shot_hz: float, levels: Levels) -> tuple[Estimate, ...]:
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
    if not fresh_agree(still, rate, guess, levels.share_on, levels.reach):
        # How much higher the thresholds of pixels that never fired are is unknown too.
        fired = still.gap_begin != k.FRESH
        still, rate = still.gaps(fired), rate[fired]
    found = most_likely(still, rate, guess, levels.share_on, levels.reach)
    error = found.leak_error
    if hidden and (error > _SURE * found.leak_hz or found.surely < _SURELY):
        return _no_leak(guess, mean_rate, on)
    how = "gaps before ON events without change, restarted by shot noise"
    if found.guessed:
        # Then the estimate depends on guessed initial states: within a factor of two.
        how += f"; {_LONGER}"
        error = math.hypot(error, GUESS * found.leak_hz)
    elif error > _ROUGH * found.leak_hz:
        how += f"; {_LONGER}"
    jitter = unknown(names[2], "the gaps do not show it", on)
    spread = Estimate(names[1], found.spread, found.spread_error, found.pixels, _OVER_PIXELS)
    if found.spread_error > VAGUE:
        why = f"too few gaps; {USUAL_SPREAD} assumed for leak_hz"
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

    A hot pixel has more than four times the median rate of its tile, by more than six standard
    deviations of chance. All pixels must see no change during `seconds`, so that all events are
    noise; neighbors that fire as often do not clear a pixel. `hot_pixels` of the filters is for
    counts of whole recordings with motion.
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
