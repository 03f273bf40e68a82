"""The power spectrum of the event rate, with labelled peaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.events import Events, Source
from dvskit.render.plots.rate import count_over_time
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, log_ticks, say_none

_LEAST_BINS = 64
_LONGEST = 1 << 15
_ABOVE_DB = 10.0
_AROUND = 25
_ABOUT_DB = 3.0  # peaks that differ by less count as equal
_OWN_DB = (
    20.0  # above the surroundings: a lower peak may be the alias of a multiple beyond the range
)
_HEAD_ROOM = 0.12  # share of the decades of the densities: a line of text
_FOOT_ROOM = 0.04
_GAP_PT = 2.0  # between text and its point
_LED_PT = 5.0  # from this distance on, a line leads to the point
_OVER_CURVE = 6.0  # cost of each point of length, in points of distance
_WORST = 60.0  # most crossings; beyond, the text is omitted
_STEPS = 9  # of half a line each, up and to the sides


class Peak(NamedTuple):
    """A peak of a spectrum: its frequency, and its height above the surroundings.

    `find_peaks` returns a list of them.

        t = np.arange(0, 2_000_000, 10_000)  # an event each 10 ms: 100 Hz
        events = dvskit.Events(t=t, x=0 * t, y=0 * t, p=0 * t, size=(8, 8))
        spectrum = dvskit.render.plots.rate_spectrum(events)
        peak = dvskit.render.plots.find_peaks(spectrum)[0]  # multiples follow
        peak.frequency_hz, peak.above_db  # (100.03, 80.8)
    """

    frequency_hz: float
    above_db: float


class Spectrum(NamedTuple):
    """Power spectral density of an event rate: frequencies (n,) Hz, density (n,) (ev/s)^2 / Hz.

    `rate_spectrum` returns it.

        spectrum = dvskit.render.plots.rate_spectrum(dvskit.open_events("events.raw"), max_hz=100)
        strongest = spectrum.frequency_hz[spectrum.density.argmax()]  # 6.25 Hz
    """

    frequency_hz: NDArray[np.float64]
    density: NDArray[np.float64]


def rate_spectrum(events_or_source: Events | Source, *, max_hz: float = 1000.0) -> Spectrum:
    """Return the one-sided power spectral density of the rate, up to `max_hz`.

    Welch's method (IEEE Trans. Audio Electroacoust. 15, 1967): the mean over half-overlapping Hann
    windows, each without its mean. Empty below 64 bins of 1 / (4 max_hz).

        spectrum = dvskit.render.plots.rate_spectrum(dvskit.open_events("noisy.raw"))
        spectrum.frequency_hz, spectrum.density  # (n,) float64 each
    """
    check_number("max_hz", max_hz, 0.01, 100_000)
    # Twice finer than necessary: higher frequencies would alias from half the sampling rate.
    least_us = round(1e6 / (4 * max_hz))
    counted = count_over_time(events_or_source, least_us=max(1, least_us), most_bins=1 << 22)
    whole = counted.span_us // counted.bin_us  # the last bin is cut short by the end
    if whole < _LEAST_BINS:
        return Spectrum(np.empty(0), np.empty(0))
    step_s = counted.bin_us * 1e-6
    rates = counted.counts[:, :whole].sum(0) / step_s
    length = min(_LONGEST, 1 << (int(whole).bit_length() - 2))
    window = np.hanning(length + 1)[:-1]
    powers = []
    for start in range(0, len(rates) - length + 1, length // 2):
        part = rates[start : start + length]
        powers.append(np.abs(np.fft.rfft((part - part.mean()) * window)) ** 2)
    density = 2 * step_s * np.mean(powers, axis=0) / np.sum(window**2)
    frequency = np.fft.rfftfreq(length, step_s)
    kept = (frequency > 0) & (frequency <= max_hz)
    return Spectrum(frequency[kept].astype(np.float64), density[kept].astype(np.float64))


def find_peaks(spectrum: Spectrum, most: int = 6) -> list[Peak]:
    """Return up to `most` peaks of 10 dB or more above the median of the 51 bins around.

    Those of most power are chosen; of equal ones (within 3 dB) the lower in frequency; multiples of
    a lower peak, and those of less than 20 dB, only after all others. Sorted by frequency.
    Positions are between bins: the vertex of the parabola through three densities in dB.

        spectrum = dvskit.render.plots.rate_spectrum(dvskit.open_events("events.raw"))
        peaks = dvskit.render.plots.find_peaks(spectrum, most=3)
        [round(peak.frequency_hz) for peak in peaks]  # [100, 200, 600]: of the video's frames
    """
    density = spectrum.density
    if len(density) < 5 or not density.any():
        return []
    decibels = 10 * np.log10(np.maximum(density, density[density > 0].min()))
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(decibels, _AROUND, mode="reflect" if len(density) > _AROUND else "edge"),
        2 * _AROUND + 1,
    )
    above = decibels - np.median(around, axis=1)
    middle = decibels[1:-1]
    tops = 1 + np.flatnonzero((middle > decibels[:-2]) & (middle >= decibels[2:]))
    # The flanks of a peak have maxima of their own; a window spreads it over a few bins. At the low
    # end there are no surroundings for comparison.
    highest = [i >= 4 and decibels[i] >= decibels[i - 4 : i + 5].max() for i in tops]
    tops = tops[(above[tops] >= _ABOVE_DB) & np.array(highest, bool)]
    left, top, right = decibels[tops - 1], decibels[tops], decibels[tops + 1]
    places = tops + 0.5 * (left - right) / (left - 2 * top + right)
    # The criterion is the power itself: the height of a tooth of an exact comb above a floor of
    # rounding errors is chance. Of about equal ones the lower: the first teeth identify a comb.
    below = max(decibels[tops], default=0.0) - decibels[tops]
    own = (above[tops] >= _OWN_DB - 1e-9) & ~np.array(
        [_is_multiple(at, places) for at in places], bool
    )
    order = np.lexsort((places, np.floor(below / _ABOUT_DB), ~own))[:most]
    step = spectrum.frequency_hz[1] - spectrum.frequency_hz[0]
    first = spectrum.frequency_hz[0]
    return [
        Peak(float(first + places[n] * step), float(above[tops[n]])) for n in sorted(order.tolist())
    ]


def _is_multiple(at: float, places: NDArray[np.float64]) -> bool:
    # Bin i has frequency (i + 1) steps: 0 is omitted. A position is exact to about a quarter bin.
    lower = places[places < at] + 1
    times = np.rint((at + 1) / lower)
    return bool(np.any((times >= 2) & (np.abs(at + 1 - times * lower) <= 0.25 * times + 0.5)))


def spectrum(
    events_or_source: Events | Source,
    *,
    max_hz: float = 1000.0,
    peaks: int = 6,
    style: Style = PAPER,
) -> Plot:
    """Plot the power spectrum of the event rate up to `max_hz`, with up to `peaks` peaks labelled.

    The labels are frequencies in Hz, with the accuracy of the recording's length. Labels without
    room are omitted, those of multiples and of lower peaks first. Mains lamps appear at twice the
    mains frequency.

        figure = dvskit.render.plots.spectrum(dvskit.open_events("events.raw"), max_hz=500)
        dvskit.render.plots.save(figure, "spectrum.pdf")
    """
    found = rate_spectrum(events_or_source, max_hz=max_hz)
    with style.drawing(0.6) as figure:
        axes = figure.add_subplot()
        axes.set(xlabel="frequency (Hz)", ylabel="power density\n((ev/s)² / Hz)")
        some = found.density > 0
        if not some.any():
            say_none(axes, style, "too short for a spectrum")
            return figure
        axes.plot(found.frequency_hz[some], found.density[some], color=style.theme.text, lw=0.7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(found.frequency_hz[0], found.frequency_hz[-1])
        grid_lines(axes, style)
        axes.set_ylim(*_limits(found.density[some]))
        log_ticks(axes.xaxis, *axes.get_xlim())
        log_ticks(axes.yaxis, *axes.get_ylim())
        _name_peaks(figure, axes, found, find_peaks(found, peaks), style)
    return figure


def _limits(density: NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of a logarithmic axis: slightly beyond the densities."""
    low, high = float(density.min()), float(density.max())
    span = max(np.log10(high / low), 0.5)  # least range for a flat spectrum
    return low / 10 ** (_FOOT_ROOM * span), high * 10 ** (_HEAD_ROOM * span)


def _name_peaks(figure: Plot, axes: Axes, found: Spectrum, peaks: list[Peak], style: Style) -> None:
    some = found.density > 0
    # Fundamental tones get the best places, then the highest peaks.
    places = np.array([peak.frequency_hz / found.frequency_hz[0] - 1 for peak in peaks])
    density = np.interp([peak.frequency_hz for peak in peaks], found.frequency_hz, found.density)
    multiple = np.array([_is_multiple(at, places) for at in places], bool)
    peaks = [peaks[i] for i in np.lexsort((-density, multiple))]
    tops = [int(np.argmin(np.abs(found.frequency_hz - peak.frequency_hz))) for peak in peaks]
    step = float(found.frequency_hz[1] - found.frequency_hz[0]) if peaks else 1.0
    names = [
        (float(found.frequency_hz[at]), float(found.density[at]), _name(peak.frequency_hz, step))
        for at, peak in zip(tops, peaks, strict=True)
    ]
    name_points(figure, axes, (found.frequency_hz[some], found.density[some]), names, style)


def _name(frequency_hz: float, step_hz: float) -> str:
    """Return a frequency with the digits that bins of `step_hz` resolve, a tenth of one at best."""
    digits = int(np.clip(np.floor(-np.log10(step_hz / 10)), 0, 2))
    return f"{frequency_hz:.{digits}f}"


class Box(NamedTuple):
    """A rectangle, in points from the lower left corner of the axes."""

    left: float
    low: float
    right: float
    high: float

    def holds(self, points: NDArray[np.float64]) -> int:
        """Return how many of some points (n, 2) lie in it."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left) & (x < self.right) & (y > self.low) & (y < self.high)
        return int(inside.sum())

    def nearest(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return its nearest position to a point."""
        return np.clip(point, [self.left, self.low], [self.right, self.high])

    def meets(self, other: Box) -> bool:
        """Return whether two rectangles overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.low < other.high and other.low < self.high


@dataclass
class _Drawn:
    """The parts drawn so far: text, and positions along lines (n, 2)."""

    boxes: list[Box]
    lines: NDArray[np.float64]

    def crossed(self, line: NDArray[np.float64]) -> int:
        """Return how many positions of the lines lie on another line."""
        if not len(line):
            return 0
        low, high = line.min(0) - 0.5, line.max(0) + 0.5
        near = self.lines[((self.lines > low) & (self.lines < high)).all(1)]
        apart = np.abs(near[None] - line[:, None]).max(2)
        return int((apart < 0.5).sum())


def name_points(
    figure: Plot,
    axes: Axes,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    names: Sequence[tuple[float, float, str]],
    style: Style,
) -> None:
    """Write labels (x, y, text) at points of a curve, the first ones nearest to their points.

    All lie within the axes and none overlap; a thin line leads to distant ones. A label without
    room is omitted. The axes need their limits and scales already.
    """
    figure.draw_without_rendering()  # updates the position of the axes
    to_pt = 72 / figure.dpi
    frame = axes.get_window_extent()

    def points(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        places = axes.transData.transform(np.column_stack([x, y]))
        return np.asarray((places - [frame.x0, frame.y0]) * to_pt)

    drawn = _Drawn([], _every_point(points(*curve)))
    ends = (frame.width * to_pt, frame.height * to_pt)
    for x, y, text in names:
        at = points(np.array([x]), np.array([y]))[0]
        size = (0.64 * style.small_pt * len(text) + 1.0, 1.05 * style.small_pt)
        box = _best(at, size, ends, drawn)
        if box is not None:
            lead = box.nearest(at) - at
            led = bool(np.hypot(*lead) > _LED_PT)
            drawn.boxes.append(box)
            if led:
                line = _every_point(np.array([at, at + lead]))
                drawn.lines = np.concatenate([drawn.lines, line])
            middle = np.array([box.left + box.right, box.low + box.high]) / 2
            _write(axes, (x, y, text), middle - at, lead if led else None, style)


def _write(
    axes: Axes,
    name: tuple[float, float, str],
    shift: NDArray[np.float64],
    lead: NDArray[np.float64] | None,
    style: Style,
) -> None:
    """Write a label, its middle at an offset in points, and the line that leads to it."""
    x, y, text = name
    at = (x, y)
    colour = style.theme.on
    if lead is not None:
        axes.annotate(
            "", at, xytext=tuple(lead), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0.0,
                        "shrinkB": 1.0},
        )  # fmt: skip
    axes.annotate(
        text, at, xytext=tuple(shift), textcoords="offset points", ha="center",
        va="center_baseline", fontsize=style.small_pt, color=colour,
    )  # fmt: skip


def _best(
    at: NDArray[np.float64], size: tuple[float, float], ends: tuple[float, float], drawn: _Drawn
) -> Box | None:
    """Return the best place for text of a size near a point, None without room."""
    best, least = None, _WORST
    for box, cost in sorted(_places(at, size), key=lambda place: place[1]):
        if cost >= least:
            break
        if box.left < 0 or box.low < 0 or box.right > ends[0] or box.high > ends[1]:
            continue
        lead = _every_point(np.array([at, box.nearest(at)]))
        if any(box.meets(other) or other.holds(lead) for other in drawn.boxes):
            continue
        total = cost + _OVER_CURVE * (box.holds(drawn.lines) + drawn.crossed(lead[6:]))
        if total < least:
            best, least = box, total
    return best


def _places(at: NDArray[np.float64], size: tuple[float, float]) -> Iterator[tuple[Box, float]]:
    """Yield places for text of a size with their distance: above the point, and beside it."""
    (x, y), (width, height) = at, size
    for sideward in range(-_STEPS, _STEPS + 1):
        for upward in range(_STEPS + 1):
            shift, rise = sideward * height / 2, _GAP_PT + upward * height / 2
            left, low = x + shift - width / 2, y + rise
            far = 1.5 * abs(shift) + upward * height / 2
            yield Box(left, low, left + width, low + height), far
    for left in (x + 2 * _GAP_PT, x - 2 * _GAP_PT - width):
        low = y - 0.8 * height
        yield Box(left, low, left + width, low + height), width / 2


def _every_point(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions along a line (n, 2), half a point apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    steps = np.arange(0.0, along[-1] + 0.5, 0.5)
    return np.column_stack([np.interp(steps, along, line[:, i]) for i in (0, 1)])
