"""How far an emulated recording is from a real one: what a simulator is judged by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import Observed, observe
from dvskit.errors import GeometryError
from dvskit.events import Events, Source, as_source


@dataclass(frozen=True, slots=True)
class Summary:
    """A recording in numbers.

    rate_hz     events a second of a pixel, on average over the sensor
    on_share    part of the events that are ON
    active      part of the pixels that gave any event
    interval_us  geometric mean of the intervals between events of a pixel
    """

    rate_hz: float
    on_share: float
    active: float
    interval_us: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A real and an emulated recording side by side.

    real, emulated     a Summary each
    interval_distance  greatest difference of the cumulative distributions of the intervals between
                       events of a pixel (Kolmogorov and Smirnov), 0 (alike) to 1
    interval_factor    mean distance of the logarithms of those intervals, in rank order, as a
                       factor (earth mover's distance): 1 is alike
    rate_correlation   correlation of the pixels' numbers of events: whether the same places are
                       active
    time_correlation   the same, of the events in each of 100 spans of time
    """

    real: Summary
    emulated: Summary
    interval_distance: float
    interval_factor: float
    rate_correlation: float
    time_correlation: float

    def lines(self) -> list[str]:
        """Return the comparison for people."""
        lines = [f"{'':20} {'real':>12} {'emulated':>12}"]
        for each in dataclasses.fields(Summary):
            a, b = getattr(self.real, each.name), getattr(self.emulated, each.name)
            lines.append(f"{each.name:20} {a:12.4g} {b:12.4g}")
        for name in (
            "interval_distance",
            "interval_factor",
            "rate_correlation",
            "time_correlation",
        ):
            lines.append(f"{name:20} {getattr(self, name):12.4g}")
        return lines


def compare(recording: Events | Source, emulated: Events | Source) -> Comparison:
    """Compare an emulated recording with a real one of the same scene, as distributions.

    Raises GeometryError for sensors of different size, EventsError for a recording with next to no
    events. Both may begin at any time of their own; 20 million events of each are looked at.
    """
    a, b = observe(as_source(recording)), observe(as_source(emulated))
    if a.size != b.size:
        raise GeometryError(f"the recording is {a.size}, the emulated one {b.size}")
    gaps_a, gaps_b = _log_intervals(a), _log_intervals(b)
    return Comparison(
        _summary(a, gaps_a),
        _summary(b, gaps_b),
        _smirnov(gaps_a, gaps_b),
        _factor(gaps_a, gaps_b),
        _correlation(np.diff(a.events.starts), np.diff(b.events.starts)),
        _correlation(_in_time(a), _in_time(b)),
    )


def _log_intervals(observed: Observed) -> NDArray[np.float64]:
    """Return the natural logarithms of the intervals (us) of all pixels, sorted."""
    events = observed.events
    kinds, gaps = np.empty(len(events.t), np.int8), np.empty(len(events.t), np.int64)
    n = k.intervals(events.t, events.p, events.starts, kinds, gaps)
    return np.sort(np.log(np.maximum(gaps[:n], 1).astype(np.float64)))


def _summary(observed: Observed, gaps: NDArray[np.float64]) -> Summary:
    events = observed.events
    pixels = events.starts.size - 1
    return Summary(
        len(events.t) / pixels / observed.seconds,
        float(np.mean(events.p)),
        float(np.mean(np.diff(events.starts) > 0)),
        math.exp(float(np.mean(gaps))) if gaps.size else math.nan,
    )


def _smirnov(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if not a.size or not b.size:
        return math.nan
    at = np.concatenate([a, b])
    below_a = np.searchsorted(a, at, "right") / a.size
    below_b = np.searchsorted(b, at, "right") / b.size
    return float(np.abs(below_a - below_b).max())


def _factor(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if not a.size or not b.size:
        return math.nan
    share = (np.arange(1000) + 0.5) / 1000
    apart = a[(share * a.size).astype(int)] - b[(share * b.size).astype(int)]
    return math.exp(float(np.mean(np.abs(apart))))


def _in_time(observed: Observed) -> NDArray[np.int64]:
    edges = np.linspace(observed.start_us, observed.stop_us, 101)
    return np.histogram(observed.events.t, edges)[0]


def _correlation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
