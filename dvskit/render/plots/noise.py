"""A report on noise: isolated events, hot pixels, rates of shot and leak events."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._checks import check_whole
from dvskit.errors import count_of
from dvskit.events import Events, Source, as_source
from dvskit.filters import hot_pixels
from dvskit.filters.selecting import columns
from dvskit.render._numbers import small_hz_text, span_text
from dvskit.render.plots import past_kernels
from dvskit.render.plots.fitting import legend_above, write_below
from dvskit.render.plots.pixel_map import PixelCounter, circle, map_height, map_width_mm, show_map
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    log_ticks,
    plain_number,
    say_none,
)

_WIDE_PT = 20  # widths above this many times the font size have panels side by side
_LINE = 1.5
_LONGEST_US = 10_000_000
_BLOCK = 16  # side in pixels of the blocks used to find quiet areas
_QUIET = 0.1  # share of the blocks
_LETTER = 0.6  # approximate width of a letter, relative to its size


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """The noise of a sensor, estimated from events without neighbours.

    isolated   (2, H, W) int64: events without one of their 8 neighbours in the window before
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
    """Find the events without an event of a neighbouring pixel in the `window_us` before.

    Rates are per time without neighbouring events, so that independent noise of a known rate is
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
    for row, name, colour in ((1, "ON", style.theme.on), (0, "OFF", style.theme.off)):
        rates = found.isolated[row] / (found.span_us * 1e-6)
        axes.stairs(np.histogram(rates, edges)[0], edges, color=colour, label=name, baseline=None)
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
