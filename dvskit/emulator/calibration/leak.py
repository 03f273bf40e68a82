"""Maximum likelihood of the leak from the gaps of still pixels, with log-normal rates per pixel.

Other unknowns are fitted along, within their priors: the ON share of the shot noise, and the error
of the frames about the initial states of pixels, each common to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_ranges
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.stillness import Still

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

    still: Still
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


def _gaps(still: Still, rate: Floats, reach: float, guess_us: float, decades: Floats) -> _Gaps:
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


def _slope(still: Still) -> float:
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
    still: Still, rate: Floats, guess_us: float, share_on: float, reach: float
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


def fresh_agree(still: Still, rate: Floats, guess_us: float, share_on: float, reach: float) -> bool:
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


def _guessed(still: Still) -> bool:
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
