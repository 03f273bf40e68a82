"""Events over time: their rate, the balance of polarities, and each event as a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from dvskit._checks import check_whole
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source, as_source
from dvskit.render._numbers import rate_unit, span_text, span_unit
from dvskit.render._thin import Thinned, thin
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.pixel_map import PixelCounter
from dvskit.render.plots.spikes import VECTORS
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    say_none,
    whole_ticks,
)

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
        for name, values, colour in lines:
            axes.stairs(
                values / scale.scale, edges / unit.scale, color=colour, label=name, baseline=None,
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
    """Plot each event as a point: its time, and its pixel y * width + x; ON and OFF in colours.

    Time runs from the first event. Beyond `max_events` every 2nd, 4th, 8th ... is drawn, and
    the plot reports how many. Raises ConfigError for max_events below 1.

        events = dvskit.load_events("events.raw").between(0, 500_000)
        figure = dvskit.render.plots.event_raster(events, max_events=5000)
        dvskit.render.plots.save(figure, "event_raster.pdf")
    """
    return draw_thinned(thin(events_or_source, max_events), style)


def draw_thinned(thinned: Thinned, style: Style) -> Plot:
    """Plot events that are already thinned, as `event_raster` does."""
    events, theme = thinned.events, style.theme
    width, height = events.size
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
        colours = np.array([to_rgb(theme.off), to_rgb(theme.on)])
        axes.scatter(
            (events.t - thinned.start_us) / unit.scale,
            events.y.astype(np.int64) * width + events.x,
            s=area_pt2, c=colours[events.p.astype(int)], linewidths=0,
            rasterized=len(events) > VECTORS,
        )  # fmt: skip
        for name, colour in (("ON", theme.on), ("OFF", theme.off)):
            axes.scatter([], [], s=6, color=colour, linewidths=0, label=name)
        note(axes, style, thinned.notice or count_of(thinned.total, "event"))
        legend_above(axes)
    return figure
