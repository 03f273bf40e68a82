"""A report on noise: isolated events, hot pixels, rates of shot and leak events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Events, Source, as_source
from dvskit.render.plots import _kernels
from dvskit.render.plots.fitting import legend_above, write_below
from dvskit.render.plots.pixel_counts import hot_pixels
from dvskit.render.plots.pixel_map import circle, map_height, map_width_mm, show_map
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    count_text,
    grid_lines,
    plain_number,
    say_none,
)
from dvskit.render.plots.units import small_hz_text, span_text

_WIDE_PT = 20  # so many points of font size: panels beside each other
_LINE = 1.5
_LONGEST_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Noise:
    """What events without neighbours say of a sensor's noise.

    isolated   (2, H, W) int64: events without one of their 8 neighbours in the window before
    alone_s    (H, W): for how long a pixel had none beside it, seconds; events there are isolated
    hot        (H, W) bool: pixels whose events stand out from those around (`hot_pixels`)
    events, span_us, window_us   how many events, how long, and the window
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
    def shot_hz(self) -> float:
        """Shot noise of a pixel, ON and OFF together: it comes in both alike, twice that of OFF."""
        return 2 * self.rates_hz[0]

    @property
    def leak_hz(self) -> float:
        """Leak events of a pixel: only ON, so ON less OFF; below zero where OFF prevails."""
        off, on = self.rates_hz
        return on - off


def measure_noise(events_or_source: Events | Source, *, window_us: int = 10_000) -> Noise:
    """Find the events without an event of a neighbouring pixel in the `window_us` before.

    Rates are per time during which the pixel had none beside it: independent noise of a known rate
    is found again, however busy the scene beside it. Edges that begin to move count as noise too.
    Raises ConfigError unless 1 <= window_us <= 10,000,000.
    """
    if not 1 <= window_us <= _LONGEST_US:
        raise ConfigError(f"window_us={window_us} is outside 1..{_LONGEST_US:,}")
    source = as_source(events_or_source)
    shape = (source.size.height, source.size.width)
    until, covered = np.full(shape, _kernels.NEVER), np.zeros(shape, np.int64)
    isolated, total = np.zeros((2, *shape), np.int64), np.zeros(shape[0] * shape[1], np.int64)
    events, first, last = 0, 0, 0
    for block in source:
        if len(block):
            first, last = first if events else int(block.t[0]), int(block.t[-1])
            events += len(block)
            pixel = block.y * np.int64(shape[1]) + block.x
            total += np.bincount(pixel, minlength=len(total))
            _kernels.add_isolated(
                block.t, block.x, block.y, block.p, window_us, until, covered, isolated
            )
    covered -= np.maximum(until, last) - last  # what reaches beyond the end
    alone = (float(last - first) - covered.astype(np.float64)) * 1e-6
    hot = hot_pixels(total.reshape(shape))
    return Noise(isolated, alone, hot, events, last - first, window_us)


def noise(
    events_or_source: Events | Source, *, window_us: int = 10_000, style: Style = PAPER
) -> Plot:
    """Plot where isolated events are and how the pixels' rates of them spread; name the rates.

    As `measure_noise` finds them; hot pixels are left out of the rates, and circled: at most 100,
    those with the most isolated events.
    """
    found = measure_noise(events_or_source, window_us=window_us)
    shape = found.hot.shape
    with _panels(shape, style) as (figure, panels):
        where, spread = panels["M"], panels["S"]
        isolated = found.isolated.sum(0)
        show_map(figure, where, isolated, "isolated events", style)
        circled = circle(where, found.hot, isolated, style) if found.events else 0
        _draw_spread(spread, found, style)
        text = report(found, circled)
        if "W" in panels:
            panels["W"].axis("off")
            panels["W"].text(
                0.0, 1.0, text, transform=panels["W"].transAxes, va="top",
                fontsize=style.small_pt, linespacing=_LINE,
            )  # fmt: skip
        else:
            write_below(figure, [(2.0, text.split("\n"))], style.small_pt, spacing=_LINE)
    return figure


@contextmanager
def _panels(shape: tuple[int, ...], style: Style) -> Iterator[tuple[Plot, dict[str, Axes]]]:
    """Yield a figure and its panels: M the map, S the spread, W the words.

    They are below each other as far as need be. On a narrow page there is no W: words are at its
    foot.
    """
    words = 4.6 * style.font_pt / style.width_mm  # seven lines, of the width
    tall = map_height(shape, style)
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
        # Ratios are of what is left beside the words of the panels.
        plan, heights, widths = "M;S", (inner, 0.35), (1.0,)
    else:
        height, plan = tall + 0.5, "MM;SW"
    with style.drawing(height) as figure:
        panels = figure.subplot_mosaic(plan, height_ratios=heights, width_ratios=widths)
        yield figure, panels


def _draw_spread(axes: Axes, found: Noise, style: Style) -> None:
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
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, None)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain_number)
    grid_lines(axes, style)
    legend_above(axes)


def report(found: Noise, circled: int | None = None) -> str:
    """Return the noise in words, a line each; `circled` of the hot pixels are, or all."""
    off, on = found.rates_hz
    isolated = int(found.isolated.sum())
    share = f"{100 * isolated / found.events:.1f} %" if found.events else "–"
    hot = int(np.count_nonzero(found.hot))
    few = circled is not None and circled < hot
    return "\n".join(
        (
            f"{count_text(found.events, 'event')} in {span_text(found.span_us)}",
            f"isolated ({span_text(found.window_us)}): {share}",
            f"hot pixels: {hot:,}" + (f" ({circled} circled)" if few else ""),
            "isolated, of a pixel:",
            f" ON {small_hz_text(on)}, OFF {small_hz_text(off)}",
            f"shot (2 OFF): {small_hz_text(found.shot_hz)}",
            f"leak (ON − OFF): {small_hz_text(found.leak_hz)}",
        )
    )
