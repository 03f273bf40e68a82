"""Events over time: their rate and its spectrum, the balance of polarities, and the motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source, as_source
from dvskit.motion import MotionTable
from dvskit.render._numbers import rate_unit, span_text, span_unit
from dvskit.render._thinning import ThinnedEvents, thin
from dvskit.render.plots.activity import VECTORS
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.maps import PixelCounter
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    log_ticks,
    note,
    say_none,
    whole_ticks,
)
from dvskit.streams import Imu

MOST_BINS = 1 << 22
_RATE_BINS = 250
_FEW = 0.02
_TOWERING = 5
_BALANCE_BINS = 120
_LEAST_EVENTS = 10
RASTER_EVENTS = 200_000  # as many as leave white space between them


@dataclass(frozen=True, slots=True)
class TimeCounts:
    """Counts in bins of `bin_us` from the first event on.

    counts    (2, n) int64: row 0 OFF, row 1 ON; bin k holds k <= (t - start_us) / bin_us < k + 1
    stop_us   one microsecond after the last event; start_us without events
    """

    start_us: int
    stop_us: int
    bin_us: int
    counts: NDArray[np.int64]

    @property
    def span_us(self) -> int:
        """The duration of the events, including the last one's microsecond."""
        return self.stop_us - self.start_us

    def edges_us(self) -> NDArray[np.float64]:
        """Return the (n + 1,) edges, relative to the first event; the last is the events' end."""
        edges = np.arange(self.counts.shape[1] + 1) * float(self.bin_us)
        edges[-1] = self.span_us
        return edges

    def without_short_end(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts and edges, with a last bin of less than half a length merged."""
        counts, edges = self.counts, self.edges_us()
        if counts.shape[1] > 1 and edges[-1] - edges[-2] < 0.5 * self.bin_us:
            counts = np.column_stack([counts[:, :-2], counts[:, -2:].sum(1)])
            edges = np.delete(edges, -2)
        return counts, edges


def count_over_time(
    events_or_source: Events | Source, *, bin_us: int | None = None, least_us: int = 1,
    most_bins: int = 100_000,
) -> TimeCounts:  # fmt: skip
    """Count events in bins of `bin_us`, or of the least 10^k least_us that gives `most_bins`.

    Raises ConfigError if bin_us is below 1 or gives more than 4,194,304 bins.
    """
    if bin_us is not None:
        check_whole("bin_us", bin_us, 1)
    width_us, most = (least_us, most_bins) if bin_us is None else (bin_us, MOST_BINS)
    counts = np.zeros((2, 0), np.int64)
    start_us: int | None = None
    span_us = -1
    for block in as_source(events_or_source):
        if not len(block):
            continue
        start_us = int(block.t[0]) if start_us is None else start_us
        span_us = int(block.t[-1]) - start_us
        while span_us // width_us >= most:
            if bin_us is not None:
                raise ConfigError(
                    f"{span_us:,} us in bins of {bin_us} us are more than {MOST_BINS:,} bins; use "
                    "longer bins or a part of the recording"
                )
            counts, width_us = _coarser(counts, 10), 10 * width_us
        missing = span_us // width_us + 1 - counts.shape[1]
        if missing > 0:
            missing = max(missing, min(counts.shape[1], most))  # few copies
            counts = np.pad(counts, ((0, 0), (0, missing)))
        _add(block, start_us, width_us, counts)
    start_us = start_us or 0
    used = span_us // width_us + 1
    return TimeCounts(start_us, start_us + span_us + 1, width_us, counts[:, :used])


def _add(block: Events, start_us: int, width_us: int, counts: NDArray[np.int64]) -> None:
    # Unsigned, the distance of any two times in int64 is exact.
    since = block.t.view(np.uint64) - np.int64(start_us).view(np.uint64)
    at = (since // np.uint64(width_us)).astype(np.int64)
    first, length = int(at[0]), int(at[-1] - at[0]) + 1
    at -= first
    for row, chosen in enumerate((~block.p, block.p)):
        counts[row, first : first + length] += np.bincount(at[chosen], minlength=length)


def _coarser(counts: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    padded = np.pad(counts, ((0, 0), (0, -counts.shape[1] % factor)))
    summed: NDArray[np.int64] = padded.reshape(2, -1, factor).sum(2)
    return summed


def for_eyes(counts: TimeCounts, bins: int) -> TimeCounts:
    """Return the counts in at most `bins` bins, whose length is 1, 2 or 5 times a power of ten."""
    length = counts.counts.shape[1]
    factors = ((1, 2, 5)[step % 3] * 10 ** (step // 3) for step in range(60))
    factor = next(each for each in factors if length <= each * bins)
    coarse = _coarser(counts.counts, factor)
    return TimeCounts(counts.start_us, counts.stop_us, counts.bin_us * factor, coarse)


def rate(
    events_or_source: Events | Source, *, bin_us: int | None = None, style: Style = PAPER
) -> Plot:
    """Plot the rate of all, of ON and of OFF events over time, in bins of `bin_us`.

    Time runs from the first event. Without `bin_us` there are at most 250 bins. A few bins (2 %,
    such as a camera's first moment) that exceed all others by far are cut, and their height is
    reported above. Raises ConfigError for bin_us below 1 or too many bins.

        figure = dvskit.render.plots.rate(dvskit.open_events("events.raw"), bin_us=20_000)
        dvskit.render.plots.save(figure, "rate.pdf")
    """
    counted = count_over_time(events_or_source, bin_us=bin_us)
    shown = counted if bin_us is not None else for_eyes(counted, _RATE_BINS)
    counts, edges = shown.without_short_end()
    with style.drawing(0.55) as figure:
        axes = figure.add_subplot()
        unit = span_unit(shown.span_us)
        axes.set_xlabel(f"time ({unit.name})")
        if not counts.size:
            axes.set_ylabel("event rate")
            say_none(axes, style)
            return figure
        rates = counts / (np.diff(edges) * 1e-6)
        total = rates.sum(0)
        top, most = float(_top(total)), float(total.max())
        scale = rate_unit(top)
        theme = style.theme
        lines = (
            ("total", total, theme.text),
            ("ON", rates[1], theme.on),
            ("OFF", rates[0], theme.off),
        )
        for name, values, color in lines:
            axes.stairs(
                values / scale.scale, edges / unit.scale, color=color, label=name, baseline=None,
                linewidth=0.7 if name == "total" else 0.9,
            )  # fmt: skip
        axes.set_ylabel(f"event rate ({scale.name})")
        axes.set_ylim(0, 1.05 * top / scale.scale)
        if top < most:
            whole = rate_unit(most)
            note(axes, style, f"cut: up to {most / whole.scale:.3g} {whole.name}")
        axes.set_xlabel(f"time ({unit.name}), bins of {span_text(shown.bin_us)}")
        grid_lines(axes, style)
        legend_above(axes)
    return figure


def _top(total: NDArray[np.float64]) -> float:
    """Return the upper limit: the highest rate, unless a few exceed all others by far."""
    usual = float(np.quantile(total, 1 - _FEW, method="higher"))
    most = float(total.max())
    return 1.3 * usual if usual and most > _TOWERING * usual else most


def balance(
    events_or_source: Events | Source, *, bin_us: int | None = None, style: Style = PAPER
) -> Plot:
    """Plot the share of ON events over time, and its histogram over pixels of 10 or more events.

    The band is two standard errors of a share, 2 sqrt(s (1 - s) / n).
    Raises ConfigError for bin_us below 1 or too many bins.

        figure = dvskit.render.plots.balance(dvskit.open_events("events.raw"))
        dvskit.render.plots.save(figure, "balance.pdf")
    """
    counter = PixelCounter(as_source(events_or_source))
    counted = count_over_time(counter, bin_us=bin_us)
    pixels = counter.counts.reshape(2, -1)
    enough = pixels.sum(0) >= _LEAST_EVENTS
    shares = pixels[1, enough] / pixels[:, enough].sum(0)
    with style.drawing(0.55) as figure:
        over_time, over_pixels = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        over_time.set(ylabel="share of ON events", ylim=(0, 1))
        over_pixels.set_xlabel("pixels")
        over_time.axhline(0.5, color=style.theme.line, linewidth=0.6, linestyle=(0, (4, 3)))
        _draw_over_time(
            over_time, counted if bin_us is not None else for_eyes(counted, _BALANCE_BINS), style
        )
        values, edges = np.histogram(shares, bins=25, range=(0, 1))
        over_pixels.stairs(
            values, edges, orientation="horizontal", fill=True, color=style.theme.faint, alpha=0.8
        )
        over_pixels.set_xlim(0, 1.08 * max(1, int(values.max())))
        over_pixels.locator_params(axis="x", nbins=2, integer=True)
        if not shares.size:
            say_none(over_pixels, style, f"none with\n{_LEAST_EVENTS} events", scales="x")
    return figure


def _draw_over_time(axes: Axes, shown: TimeCounts, style: Style) -> None:
    counts, edges = shown.without_short_end()
    unit = span_unit(shown.span_us)
    axes.set_xlabel(f"time ({unit.name})")
    grid_lines(axes, style)
    total = counts.sum(0)
    if not total.any():
        say_none(axes, style, scales="x")
        return
    number = np.where(total, total, np.nan)
    share = counts[1] / number
    error = 2 * np.sqrt(share * (1 - share) / number)
    at = edges / unit.scale
    axes.fill_between(
        at, np.append(share - error, np.nan), np.append(share + error, np.nan), step="post",
        color=style.theme.on, alpha=0.25, linewidth=0, label="2 standard errors",
    )  # fmt: skip
    axes.stairs(share, at, baseline=None, color=style.theme.on, label="share of ON")
    note(
        axes, style, f"{100 * counts[1].sum() / total.sum():.1f} % ON",
        f"{int(counts[1].sum()):,} ON", f"{int(counts[0].sum()):,} OFF",
    )  # fmt: skip


def event_raster(
    events_or_source: Events | Source, *, max_events: int = RASTER_EVENTS, style: Style = PAPER
) -> Plot:
    """Plot each event as a point: its time, and its pixel y * width + x; ON and OFF in colors.

    Time runs from the first event. Beyond `max_events` every 2nd, 4th, 8th ... is drawn, and
    the plot reports how many. Raises ConfigError for max_events below 1.

        events = dvskit.load_events("events.raw").between(0, 500_000)
        figure = dvskit.render.plots.event_raster(events, max_events=5000)
        dvskit.render.plots.save(figure, "event_raster.pdf")
    """
    return draw_thinned(thin(events_or_source, max_events), style)


def draw_thinned(thinned: ThinnedEvents, style: Style) -> Plot:
    """Plot events that are already thinned, as `event_raster` does."""
    events, theme = thinned.events, style.theme
    width, height = events.sensor_size
    with style.drawing(0.65) as figure:
        axes = figure.add_subplot()
        unit = span_unit(thinned.span_us)
        axes.set(
            xlabel=f"time ({unit.name})", ylabel="pixel (y · width + x)",
            xlim=(0, max(1, thinned.span_us) / unit.scale), ylim=(width * height - 0.5, -0.5),
        )  # fmt: skip
        whole_ticks(axes.yaxis, 5)
        if not len(events):
            say_none(axes, style, scales="x")
            return figure
        # Points cover a tenth of the axes: visible in print, without hiding each other.
        area_pt2 = float(np.clip(0.1 * 0.65 * style.width_pt**2 / len(events), 0.1, 6.0))
        # One set of points in order of time: neither polarity is drawn on top of the other.
        colors = np.array([to_rgb(theme.off), to_rgb(theme.on)])
        axes.scatter(
            (events.t - thinned.start_us) / unit.scale,
            events.y.astype(np.int64) * width + events.x,
            s=area_pt2, c=colors[events.p.astype(int)], linewidths=0,
            rasterized=len(events) > VECTORS,
        )  # fmt: skip
        for name, color in (("ON", theme.on), ("OFF", theme.off)):
            axes.scatter([], [], s=6, color=color, linewidths=0, label=name)
        note(axes, style, thinned.notice or count_of(thinned.total, "event"))
        legend_above(axes)
    return figure


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
_GAP_PT = 2.0  # between text and its point, and between texts
_LETTER_EM = 0.64  # width of a digit, relative to its size
_AXES_SHARE = 0.8  # approximate width of the axes, relative to the figure's


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
    """Plot the power spectrum of the event rate up to `max_hz`, with up to `peaks` peaks labeled.

    The labels are frequencies in Hz, with the accuracy of the recording's length. Labels without
    room are omitted: those of multiples first, then those of lower peaks. Mains lamps appear at
    twice the mains frequency.

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
        _name_peaks(axes, found, find_peaks(found, peaks), style)
    return figure


def _limits(density: NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of a logarithmic axis: slightly beyond the densities."""
    low, high = float(density.min()), float(density.max())
    span = max(np.log10(high / low), 0.5)  # least range for a flat spectrum
    return low / 10 ** (_FOOT_ROOM * span), high * 10 ** (_HEAD_ROOM * span)


def _name_peaks(axes: Axes, found: Spectrum, peaks: list[Peak], style: Style) -> None:
    """Write the frequencies above the largest peaks, those without room between others omitted."""
    if not peaks:
        return
    at = [int(np.argmin(np.abs(found.frequency_hz - peak.frequency_hz))) for peak in peaks]
    step = float(found.frequency_hz[1] - found.frequency_hz[0])
    low, high = np.log10(axes.get_xlim())
    per_decade_pt = _AXES_SHARE * style.width_pt / (high - low)
    taken: list[tuple[float, float]] = []
    decibels = 10 * np.log10(found.density[at])
    below = np.floor((decibels.max() - decibels) / _ABOUT_DB)  # of about equal peaks, the lower
    places = np.array([peak.frequency_hz for peak in peaks]) / step - 1
    multiples = [_is_multiple(place, places) for place in places]
    for n in np.lexsort((below, multiples)):
        place, peak = at[n], peaks[n]
        text = _name(peak.frequency_hz, step)
        wide = _LETTER_EM * style.small_pt * len(text)
        middle = (np.log10(found.frequency_hz[place]) - low) * per_decade_pt
        # A label stays within the axes.
        left = float(np.clip(middle - wide / 2, 0, max((high - low) * per_decade_pt - wide, 0)))
        if any(left < end + _GAP_PT and start < left + wide + _GAP_PT for start, end in taken):
            continue
        taken.append((left, left + wide))
        axes.annotate(
            text, (found.frequency_hz[place], found.density[place]), ha="center",
            xytext=(left + wide / 2 - middle, _GAP_PT), textcoords="offset points",
            fontsize=style.small_pt, color=style.theme.on,
        )  # fmt: skip


def _name(frequency_hz: float, step_hz: float) -> str:
    """Return a frequency with the digits that bins of `step_hz` resolve, a tenth of one at best."""
    digits = int(np.clip(np.floor(-np.log10(step_hz / 10)), 0, 2))
    return f"{frequency_hz:.{digits}f}"


# The title of a panel, and the endings of the names of the parameters in it.
_PANELS = {"velocity (px/s)": "_px_s", "angular velocity (rad/s)": "_rad_s", "zoom (1/s)": "_1_s"}
_ALONE = ("gyroscope x", "gyroscope y", "gyroscope z")
_BESIDE = ("gyroscope", "_y", "_z")  # in the colors of wx, wy and wz, which the legend names
_MARKED = 40  # windows


def motion(motions: MotionTable, *, imu: Imu | None = None, style: Style = PAPER) -> Plot:
    """Plot the parameters of a motion over time, from the first window on.

    imu  the gyroscope's angular velocity about x, y and z is drawn as thin lines

    Windows of too few events are gaps, and so are still ones that lie far from all others; both
    are counted above.

        recording = dvskit.open_events("davis").between(0, 300_000)
        motions = dvskit.motion.motion_over_time(
            recording, "rotation", window_us=50_000, camera=recording.intrinsics()
        )
        figure = dvskit.render.plots.motion(motions, imu=recording.imu())
        dvskit.render.plots.save(figure, "motion.pdf")
    """
    shown = {
        title: [k for k, name in enumerate(motions.names) if name.endswith(ending)]
        for title, ending in _PANELS.items()
    }
    imu = None if imu is None or not len(imu) or not len(motions) else imu
    panels = [title for title, which in shown.items() if which or (imu and "rad/s" in title)]
    with style.drawing(0.15 + 0.4 * len(panels)) as figure:
        every = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)).ravel().tolist()
        origin_us = int(motions.start_us[0]) if len(motions) else 0
        span_us = int(motions.stop_us[-1]) - origin_us if len(motions) else 0
        unit = span_unit(span_us)
        every[-1].set_xlabel(f"time ({unit.name})")
        for axes, title in zip(every, panels, strict=True):
            axes.set_ylabel(title)
            grid_lines(axes, style)
            if not len(motions):
                say_none(axes, style, scales="x")
                continue
            if imu and "rad/s" in title:
                at = (imu.t - origin_us) / unit.scale
                alone = len(shown[title]) < 3
                _draw(axes, at, np.radians(imu.gyroscope), _ALONE if alone else _BESIDE, style)
            at = (motions.t_us - origin_us) / unit.scale
            labels = [motions.names[k].partition("_")[0] for k in shown[title]]
            _draw(axes, at, _without_chance(motions, shown[title]), labels, style)
            axes.set_xlim(0, max(span_us, 1) / unit.scale)
            legend_above(axes)
        still = int(motions.still.sum())
        remarks = ((motions.unknown, "of too few events"), (still, "still"))
        said = (f"{count} {words}" for count, words in remarks if count)
        note(every[0], style, count_of(len(motions), "window"), *said)
    return figure


def _without_chance(motions: MotionTable, which: list[int]) -> NDArray[np.float64]:
    """Return some parameters, with NaN for windows that are still and far from the others."""
    values = motions.parameters[:, which].copy()
    moving = values[~motions.still & np.isfinite(values).all(1)]
    if moving.size and values.size:
        low, high = moving.min(), moving.max()
        far = (values < 2 * low - high) | (values > 2 * high - low)
        values[motions.still & far.any(1)] = np.nan
    return values


def _draw(
    axes: Axes, at: NDArray[Any], values: NDArray[Any], labels: Sequence[str], style: Style
) -> None:
    """Draw columns over time; those of a gyroscope are thin."""
    theme = style.theme
    gyroscope = labels in (_ALONE, _BESIDE)
    for column, label, color in zip(
        values.T, labels, (theme.on, theme.off, theme.text), strict=False
    ):
        axes.plot(
            at, column, color=color, label=label, markersize=3,
            linewidth=0.5 if gyroscope else 1, alpha=0.5 if gyroscope else 1,
            marker="." if len(at) < _MARKED and not gyroscope else "",
        )  # fmt: skip
