"""Plots of each pixel's past: intervals between events, flickering lamps, and noise."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from dvskit._checks import check_number, check_whole
from dvskit.errors import count_of
from dvskit.events import Events, Source, as_source
from dvskit.filters import hot_pixels
from dvskit.filters.base import columns
from dvskit.render._numbers import hz_text, small_hz_text, span_text
from dvskit.render.plots import past_kernels
from dvskit.render.plots.fitting import legend_above, write_below
from dvskit.render.plots.maps import (
    PixelCounter,
    axes_below,
    bar_below,
    circle,
    map_height,
    map_width_mm,
    sensor_axes,
    show_map,
)
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    log_ticks,
    note,
    plain_number,
    say_none,
)

_PER_DECADE = 20
_DECADES = 13
KINDS = ("OFF-OFF", "ON-ON", "mixed")
_COVERED = 0.05  # share of a map covered by marks of few pixels
_PT_PER_MM = 72 / 25.4
_BESIDE = 0.34  # room for the frequencies beside a map, relative to its width
_BELOW_PT = 32.0  # height of the frequencies below a map, for text of 8 points
_LEAST_RATIO = 1.05  # a narrower range of colors would only separate noise
_BINS = 48
_ALIKE = 0.1  # largest difference of two successive periods, relative to their sum
_OF_A_LAMP = 0.9  # share of a lamp's periods within that
_BY_CHANCE = (3 * _ALIKE - _ALIKE**3) / 2


def interval_edges() -> NDArray[np.int64]:
    """Return the edges of the bins, whole microseconds: 0, 1, 2, ... then 20 per decade."""
    powers = np.ceil(10 ** (np.arange(_PER_DECADE * _DECADES + 1) / _PER_DECADE) - 1e-6)
    edges = np.unique(powers.astype(np.int64))
    return np.concatenate([[0], edges, [np.iinfo(np.int64).max]])


def count_intervals(
    events_or_source: Events | Source,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return edges (k + 1,) and counts (3, k) of intervals: OFF-OFF, ON-ON, mixed.

    An interval is the time between consecutive events of the same pixel. Both arrays are int64, the
    edges in us.

        edges, counts = dvskit.render.plots.count_intervals(dvskit.open_events("events.raw"))
        off_off, on_on, mixed = counts.sum(1)  # 7,398, 7,301 and 14,774
    """
    source = as_source(events_or_source)
    shape = (source.size.height, source.size.width)
    edges = interval_edges()
    seen, last = np.full(shape, -1, np.int8), np.zeros(shape, np.int64)
    counts = np.zeros((len(KINDS), len(edges) - 1), np.int64)
    for block in source:
        past_kernels.add_intervals(columns(block), edges, seen, last, counts)
    return edges, counts


def intervals(events_or_source: Events | Source, *, style: Style = PAPER) -> Plot:
    """Plot the times between consecutive events of the same pixel.

    Three histograms over logarithmic time: ON after ON, OFF after OFF, and mixed. The height is
    events per decade. Intervals below 1 us are reported in the text.

        figure = dvskit.render.plots.intervals(dvskit.open_events("noisy.raw"))
        dvskit.render.plots.save(figure, "intervals.pdf")
    """
    edges, counts = count_intervals(events_or_source)
    with style.drawing(0.6) as figure:
        axes = figure.add_subplot()
        axes.set(xlabel="time since the pixel's last event", ylabel="intervals per decade")
        used = np.flatnonzero(counts[:, 1:].any(0))
        if not used.size:
            say_none(axes, style, "no pixel has two events")
            return figure
        first, stop = used[0] + 1, used[-1] + 2
        bounds = edges[first : stop + 1].astype(np.float64)
        bounds[-1] = min(bounds[-1], 10.0**_DECADES)
        bounds[-1] = max(bounds[-1], 2 * bounds[-2]) if stop == len(edges) - 1 else bounds[-1]
        heights = counts[:, first:stop] / np.diff(np.log10(bounds))
        theme = style.theme
        order = (("ON-ON", theme.on, "-"), ("OFF-OFF", theme.off, "-"), ("mixed", theme.text, "-"))
        for name, color, dash in order:
            values = heights[KINDS.index(name)]
            axes.stairs(
                np.where(values, values, np.nan), bounds, baseline=None, color=color,
                linestyle=dash, label=name, linewidth=0.8 if name == "mixed" else 1.0,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*_with_a_decade(bounds[0], bounds[-1]))
        # Labels that fit are chosen here: matplotlib's own number would change with the layout,
        # which depends on the labels.
        fitting = max(2, int(0.75 * style.width_mm / (1.3 * style.font_pt)))
        axes.xaxis.set_major_locator(LogLocator(numticks=fitting))
        axes.xaxis.set_major_formatter(_decade)
        axes.xaxis.set_minor_formatter(NullFormatter())
        log_ticks(axes.yaxis, *axes.get_ylim())
        grid_lines(axes, style, axis="both")
        legend_above(axes)
        if counts[:, 0].any():
            axes.set_xlabel(
                f"time since the pixel's last event\n({int(counts[:, 0].sum()):,} of 0 µs)"
            )
    return figure


def _with_a_decade(first: float, last: float) -> tuple[float, float]:
    """Return bounds that contain two powers of ten, so that the scale is readable."""
    low, high = np.floor(np.log10(first)), np.ceil(np.log10(last))
    if np.floor(np.log10(last)) - np.ceil(np.log10(first)) >= 1:
        return first, last
    return float(10**low), float(10**high)


def _decade(time_us: float, position: float | None = None) -> str:
    for name, scale in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if time_us >= 0.999 * scale:
            return f"{time_us / scale:,.0f} {name}"
    return ""


class Flicker(NamedTuple):
    """Per pixel (H, W): the frequency in Hz, NaN without flicker; similar periods of it; events.

    `measure_flicker` returns it. `periods` is the number of similar periods, `events` that of all
    events of the pixel.

        t = np.arange(0, 1_000_000, 5000)  # ON and OFF in turn: a lamp of 100 Hz
        x, p = np.full(len(t), 3), np.arange(len(t)) % 2
        events = dvskit.Events(t=t, x=x, y=x, p=p, size=(8, 8))
        found = dvskit.render.plots.measure_flicker(events)
        found.frequency_hz[3, 3], found.periods[3, 3], found.events[3, 3]  # (100.0, 98, 200)
    """

    frequency_hz: NDArray[np.float64]
    periods: NDArray[np.int64]
    events: NDArray[np.int64]


def measure_flicker(
    events_or_source: Events | Source,
    *,
    min_hz: float = 5.0,
    max_hz: float = 1000.0,
    certainty: float = 1e6,
) -> Flicker:
    """Return the frequency of each pixel that flickers for some time.

    A period is the time between two changes from OFF to ON. Nine of ten periods of a lamp are
    similar to the previous one: 1 / max_hz to 1 / min_hz long, and different by at most a tenth of
    their sum. By chance one of seven is: of independent ON and OFF events, with any slowly changing
    rate, two successive periods T, U have |T - U| <= d (T + U) with a probability of at most (3 d -
    d^3) / 2, that of gamma-distributed times of two steps (their share T / (T + U) is Beta(2, 2)).
    A pixel flickers if some run of its periods is `certainty` times more likely for a lamp than by
    chance (a cumulative sum of log-likelihood ratios, Page 1954): nine in a row suffice. Its
    frequency is that of the similar periods of this run. Raises ConfigError unless 0 < min_hz <
    max_hz and certainty >= 1.

        found = dvskit.render.plots.measure_flicker(dvskit.open_events("events.raw"), max_hz=200)
        np.isfinite(found.frequency_hz).sum()  # 29 pixels
    """
    check_number("min_hz", min_hz, above=0, below=max_hz)
    check_number("certainty", certainty, 1)
    counter = PixelCounter(as_source(events_or_source))
    shape = counter.shape
    state = past_kernels.Periods(
        seen=np.full(shape, -1, np.int8),
        risen=np.full(shape, past_kernels.NEVER),
        before=np.zeros(shape, np.int64),
        evidence=np.zeros((2, *shape)),
        sums=np.zeros((4, *shape)),
    )
    bounds_us = int(np.ceil(1e6 / max_hz)), int(1e6 / min_hz)
    like, unlike = math.log(_OF_A_LAMP / _BY_CHANCE), math.log((1 - _OF_A_LAMP) / (1 - _BY_CHANCE))
    lamp = past_kernels.Lamp(*bounds_us, _ALIKE, like, unlike)
    for block in counter:
        past_kernels.add_periods(columns(block), lamp, state)
    sums = state.sums
    flickers = state.evidence[1] >= max(math.log(certainty), like)
    frequency = np.full(shape, np.nan)
    frequency[flickers] = 1e6 * sums[2, flickers] / sums[3, flickers]
    return Flicker(frequency, sums[2].astype(np.int64), counter.counts.sum(0))


def flicker(
    events_or_source: Events | Source,
    *,
    min_hz: float = 5.0,
    max_hz: float = 1000.0,
    style: Style = PAPER,
) -> Plot:
    """Plot the frequency of each pixel that flickers, as found by `measure_flicker`.

    Beside the map, or below a small one, is a histogram of the frequencies of pixels, in the
    colors of the map. The range of colors covers the middle 98 % of the pixels. Pixels with
    events but without flicker are gray, darker with more events. If few pixels flicker, they are
    drawn larger.

        figure = dvskit.render.plots.flicker(dvskit.open_events("events.raw"), min_hz=10)
        dvskit.render.plots.save(figure, "flicker.pdf")
    """
    measured = measure_flicker(events_or_source, min_hz=min_hz, max_hz=max_hz)
    frequency = measured.frequency_hz
    found = frequency[np.isfinite(frequency)]
    room = {"beside": _BESIDE, "below_mm": 21.0} if found.size else {"beside": 0, "below_mm": 0}
    with style.drawing(map_height(frequency.shape, style, **room)) as figure:
        axes = figure.add_subplot()
        sensor_axes(axes, frequency.shape)
        if not measured.events.any():
            say_none(axes, style, scales="")
            return figure
        _show_others(axes, measured, style)
        if not found.size:
            note(axes, style, "no pixel flickers")
            return figure
        norm = _colors(found)
        side_pt, larger = _side_pt(found.size, frequency.shape, style)
        if larger:
            _marks(axes, frequency, side_pt, norm, style)
        else:
            axes.imshow(frequency, cmap=style.counts_map(), norm=norm)
        _show_frequencies(axes, found, norm, style, below=bar_below(style, frequency.shape))
        words = [count_of(found.size, "pixel"), *(["drawn larger"] if larger else [])]
        note(axes, style, *words, f"median {hz_text(float(np.median(found)))}")
    return figure


def _colors(found: NDArray[np.float64]) -> Normalize:
    """Return the range of colors: a few stray pixels must not dominate it."""
    low, high = (float(np.quantile(found, share)) for share in (0.01, 0.99))
    middle = math.sqrt(low * high)
    low, high = min(low, middle / _LEAST_RATIO), max(high, middle * _LEAST_RATIO)
    return LogNorm(low, high, clip=True)


def _show_others(axes: Axes, measured: Flicker, style: Style) -> None:
    """Show the events of pixels without flicker in gray, for orientation."""
    others = np.where(np.isfinite(measured.frequency_hz), 0, measured.events)
    if others.any():
        axes.imshow(
            np.ma.masked_equal(others, 0), cmap=style.grays_map(),
            norm=LogNorm(1, max(10.0, float(np.quantile(others[others > 0], 0.99))), clip=True),
        )  # fmt: skip


def _show_frequencies(
    axes: Axes, found: NDArray[np.float64], norm: Normalize, style: Style, *, below: bool
) -> None:
    """Draw a histogram of frequencies by a map, which also explains its colors."""
    low, high = float(norm.vmin or 1), float(norm.vmax or 1)
    low, high = min(low, float(found.min())), max(high, float(found.max()))
    edges = _edges(low, high, float(np.median(found)))
    counts, _ = np.histogram(found, edges)
    colors = style.counts_map()(norm(np.sqrt(edges[1:] * edges[:-1])))
    if below:
        panel = axes_below(axes, _BELOW_PT * style.font_pt / 8)
        panel.bar(edges[:-1], counts, np.diff(edges), align="edge", linewidth=0, color=colors)
    else:
        panel = axes.inset_axes((1.04, 0.0, _BESIDE - 0.04, 1.0))
        panel.barh(edges[:-1], counts, np.diff(edges), align="edge", linewidth=0, color=colors)
        panel.yaxis.set_ticks_position("right")
        panel.yaxis.set_label_position("right")
        panel.spines["right"].set_visible(True)
    panel.set(xscale="log", yscale="log")
    hertz: Axis = panel.xaxis if below else panel.yaxis
    pixels: Axis = panel.yaxis if below else panel.xaxis
    pixels.set_view_interval(0.5, max(15.0, 1.5 * float(counts.max())), ignore=True)
    pixels.set_label_text("pixels")
    _name_counts(pixels)
    hertz.set_view_interval(edges[0], edges[-1], ignore=True)
    hertz.set_label_text("flicker (Hz)")
    log_ticks(hertz, edges[0], edges[-1])
    if edges[-1] < 2.5 * edges[0]:
        hertz.set_minor_locator(NullLocator())


def _name_counts(axis: Axis) -> None:
    """Label two numbers, for which there is room: one, and the highest power of ten."""
    log_ticks(axis, 1, 1e9)
    axis.set_minor_locator(NullLocator())
    highest = 10 ** int(np.log10(axis.get_view_interval()[1]))
    axis.set_major_locator(FixedLocator([1, highest]))


def _edges(low: float, high: float, middle: float) -> NDArray[np.float64]:
    """Return edges of bins over low..high, with a constant ratio, `middle` in the middle of one."""
    step = 1.06 * math.log(high / low) / _BINS
    first = math.floor((math.log(low / middle)) / step - 1.0)
    last = math.ceil(math.log(high / middle) / step + 1.0)
    return np.asarray(middle * np.exp(step * (np.arange(first, last + 1) + 0.5)))


def _side_pt(count: int, shape: tuple[int, ...], style: Style) -> tuple[float, bool]:
    """Return the side of the marks of this many pixels, and whether it exceeds that of a pixel."""
    width_pt = map_width_mm(shape, style, beside=_BESIDE) * _PT_PER_MM
    pixel_pt = width_pt / shape[1]
    covered = _COVERED * width_pt**2 * shape[0] / shape[1]
    side_pt = min(math.sqrt(covered / count), style.font_pt / 2)
    return side_pt, side_pt > 1.2 * pixel_pt


def _marks(
    axes: Axes, frequency: NDArray[np.float64], side_pt: float, norm: Normalize, style: Style
) -> None:
    rows, columns = np.nonzero(np.isfinite(frequency))
    axes.scatter(
        columns, rows, c=frequency[rows, columns], s=side_pt**2, marker="s", linewidths=0,
        cmap=style.counts_map(), norm=norm, clip_on=False,
    )  # fmt: skip


_WIDE_PT = 20  # widths above this many times the font size have panels side by side
_LINE = 1.5
_LONGEST_US = 10_000_000
_BLOCK = 16  # side in pixels of the blocks used to find quiet areas
_QUIET = 0.1  # share of the blocks
_LETTER = 0.6  # approximate width of a letter, relative to its size


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """The noise of a sensor, estimated from events without neighbors.

    isolated   (2, H, W) int64: events without one of their 8 neighbors in the window before
    alone_s    (H, W): seconds in which an event of the pixel would be isolated
    hot        (H, W) bool: pixels that stand out in the count of events or of isolated ones, by
               `hot_pixels`; so more than the filter drops
    events, span_us, window_us   the number of events, the duration, and the window

        estimate = dvskit.render.plots.measure_noise(dvskit.open_events("noisy.raw"))
        off_hz, on_hz = estimate.rates_hz  # 1.96 and 1.95 of a pixel
        estimate.isolated.sum(), estimate.events, estimate.hot.sum()  # (92029, 144962, 3)
    """

    isolated: NDArray[np.int64]
    alone_s: NDArray[np.float64]
    hot: NDArray[np.bool_]
    events: int
    span_us: int
    window_us: int

    @property
    def rates_hz(self) -> tuple[float, float]:
        """The rates of isolated OFF and ON events of a pixel that is not hot; NaN without time."""
        time = float(self.alone_s[~self.hot].sum())
        if time <= 0:
            return np.nan, np.nan
        off, on = (float(part[~self.hot].sum()) / time for part in self.isolated)
        return off, on

    @property
    def quiet_rates_hz(self) -> tuple[float, float]:
        """The same for the quietest tenth of the sensor, in blocks of 16 x 16 pixels.

        If the scene is at rest there, these are rates of noise alone. The blocks for one polarity
        are those with the lowest rate of the other: its own rate would bias the estimate.
        """
        time = _in_blocks(np.where(self.hot, 0.0, self.alone_s))
        counts = [_in_blocks(np.where(self.hot, 0, part))[time > 0] for part in self.isolated]
        time = time[time > 0]
        if not time.size:
            return np.nan, np.nan
        found = []
        for counted, other in (counts, counts[::-1]):
            rates = other / time
            quiet = rates <= np.quantile(rates, _QUIET, method="higher")
            found.append(float(counted[quiet].sum() / time[quiet].sum()))
        return found[0], found[1]

    @property
    def shot_hz(self) -> float:
        """An upper bound of a pixel's shot noise: ON and OFF are equal, so twice OFF."""
        return 2 * self.rates_hz[0]

    @property
    def leak_hz(self) -> float:
        """Leak events of a pixel: ON only, so ON less OFF; below zero if OFF prevails."""
        off, on = self.rates_hz
        return on - off


def _in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of blocks of pixels, smaller ones at the edges: (n,)."""
    rows, columns = (range(0, side, _BLOCK) for side in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    return np.asarray(sums).ravel()


def measure_noise(events_or_source: Events | Source, *, window_us: int = 10_000) -> NoiseEstimate:
    """Find the events without an event of a neighboring pixel in the `window_us` before.

    Rates are per time without neighboring events, so that independent noise of a known rate is
    recovered beside any busy scene. Only a part of these events are noise: a scene has them too, at
    starting edges and thin ones. `quiet_rates_hz` contains less of the scene. Raises ConfigError
    unless 1 <= window_us <= 10,000,000.

        for name in ("events.raw", "noisy.raw"):
            estimate = dvskit.render.plots.measure_noise(dvskit.open_events(name))
            estimate.quiet_rates_hz  # of a pixel: below 0.001, then 1.54 OFF and 1.54 ON
    """
    check_whole("window_us", window_us, 1, _LONGEST_US)
    counter = PixelCounter(as_source(events_or_source))
    shape = counter.shape
    until, covered = np.full(shape, past_kernels.NEVER), np.zeros(shape, np.int64)
    isolated = np.zeros((2, *shape), np.int64)
    events, first, last = 0, 0, 0
    for block in counter:
        if len(block):
            first, last = first if events else int(block.t[0]), int(block.t[-1])
            events += len(block)
            past_kernels.add_isolated(columns(block), window_us, until, covered, isolated)
    covered -= np.maximum(until, last) - last  # the part beyond the end
    alone = (float(last - first) - covered.astype(np.float64)) * 1e-6
    hot = hot_pixels(counter.counts.sum(0)) | hot_pixels(isolated.sum(0))
    return NoiseEstimate(isolated, alone, hot, events, last - first, window_us)


def noise(
    events_or_source: Events | Source, *, window_us: int = 10_000, style: Style = PAPER
) -> Plot:
    """Plot the positions of isolated events and the distribution of their rates; report the rates.

    They are those of `measure_noise`. Pixels that stand out are excluded from the rates, and
    circled: at most 100, those with the most isolated events. The text at the foot explains that
    not all isolated events are noise.

        figure = dvskit.render.plots.noise(dvskit.open_events("noisy.raw"), window_us=5000)
        dvskit.render.plots.save(figure, "noise.pdf")
    """
    found = measure_noise(events_or_source, window_us=window_us)
    shape = found.hot.shape
    explained = _explained(found, style)
    height, plan = _panels(shape, style)
    with style.drawing(height + len(explained) * _line(style)) as figure:
        panels = figure.subplot_mosaic(**plan)
        where, spread = panels["M"], panels["S"]
        isolated = found.isolated.sum(0)
        show_map(figure, where, isolated, "isolated events", style)
        circled = circle(where, found.hot, isolated, style) if found.events else 0
        _draw_spread(spread, found, style)
        lines, foot = report(found, circled).split("\n"), explained
        if "W" in panels:
            panels["W"].axis("off")
            panels["W"].text(
                0.0, 1.0, "\n".join(lines), transform=panels["W"].transAxes, va="top",
                fontsize=style.small_pt, linespacing=_LINE,
            )  # fmt: skip
        else:
            foot = [*lines, *foot]
        write_below(figure, [(2.0, foot)], style.small_pt, spacing=_LINE)
    return figure


def _explained(found: NoiseEstimate, style: Style) -> list[str]:
    """Return an explanation of isolated events in lines of the page's width."""
    text = (
        f"Isolated: without an event beside it in the {span_text(found.window_us)} before. Scenes "
        "have such events, too, where edges begin to move: shot and leak are those of the "
        "quietest tenth of the sensor, and of all of it."
    )
    return textwrap.wrap(text, int(style.width_pt / (_LETTER * style.small_pt)))


def _panels(shape: tuple[int, ...], style: Style) -> tuple[float, dict[str, Any]]:
    """Return the total height of the panels, and a mosaic of them: M map, S spread, W text.

    They are stacked if necessary. On a narrow page there is no W: the text is at its foot.
    """
    words = 10 * _line(style)  # seven lines, and some space
    tall = map_height(shape, style)
    height, plan = tall + 0.5, "MM;SW"
    heights: tuple[float, ...] = (tall, 0.5)
    widths: tuple[float, ...] = (1.3, 1.0)
    if style.width_mm >= _WIDE_PT * style.font_pt:
        part = 0.64  # of the width, for the map
        beside = replace(style, width_mm=part * style.width_mm)
        height = max(part * map_height(shape, beside), 2.4 * words)
        plan, heights, widths = "MS;MW", (height - words, words), (1.9, 1.0)
    elif style.narrow:
        inner = map_width_mm(shape, style) * shape[0] / shape[1] / style.width_mm
        height = tall + words + 34.0 * style.font_pt / 8 / style.width_mm
        # Ratios are relative to the room left by the panels' text.
        plan, heights, widths = "M;S", (inner, 0.35), (1.0,)
    return height, {"mosaic": plan, "height_ratios": heights, "width_ratios": widths}


def _line(style: Style) -> float:
    """Return the height of a line of words, of the width."""
    return 0.46 * style.font_pt / style.width_mm


def _draw_spread(axes: Axes, found: NoiseEstimate, style: Style) -> None:
    axes.set(xlabel="isolated events (Hz)", ylabel="pixels")
    most = int(found.isolated.max())
    if not most or not found.span_us:
        say_none(axes, style)
        return
    # Whole numbers of events, divided by the time: bins between them would always be empty.
    steps = np.unique(np.ceil(10 ** np.arange(0, np.log10(most) + 0.13, 0.125) - 1e-6))
    numbers = np.append(steps, max(most, steps[-1]) + 1) - 0.5
    edges = np.unique(numbers) / (found.span_us * 1e-6)
    for row, name, color in ((1, "ON", style.theme.on), (0, "OFF", style.theme.off)):
        rates = found.isolated[row] / (found.span_us * 1e-6)
        axes.stairs(np.histogram(rates, edges)[0], edges, color=color, label=name, baseline=None)
    axes.set_xscale("log")
    log_ticks(axes.xaxis, *axes.get_xlim())
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(plain_number)
    grid_lines(axes, style)
    legend_above(axes)


def report(found: NoiseEstimate, circled: int | None = None) -> str:
    """Return the noise as text, a line each; `circled` of the pixels that stand out are, or all."""
    (off, on), (quiet_off, quiet_on) = found.rates_hz, found.quiet_rates_hz
    isolated = int(found.isolated.sum())
    share = f"{100 * isolated / found.events:.1f} %" if found.events else "–"
    hot = int(np.count_nonzero(found.hot))
    few = circled is not None and circled < hot
    return "\n".join(
        (
            f"{count_of(found.events, 'event')} in {span_text(found.span_us)}",
            f"isolated ({span_text(found.window_us)}): {share}",
            f"pixels standing out: {hot:,}" + (f"\n ({circled} circled)" if few else ""),
            "isolated, of a pixel:",
            f" ON {small_hz_text(on)}, OFF {small_hz_text(off)}",
            f"shot: {_from_to(2 * quiet_off, found.shot_hz)}",
            f"leak: {_from_to(quiet_on - quiet_off, found.leak_hz)}",
        )
    )


def _from_to(one: float, other: float) -> str:
    """Return two rates as text, the lower first, with one unit if both have the same."""
    low, high = (small_hz_text(rate) for rate in sorted((one, other)))
    if low == high:
        return low
    number, _, unit = low.rpartition(" ")
    same = high.endswith(f" {unit}") or low == "0 Hz"
    return f"{number if same else low} to {high}"
