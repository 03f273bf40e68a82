"""The times between events of a pixel."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.events import Events, Source, as_source
from dvskit.filters.selecting import columns
from dvskit.render.plots import past_kernels
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    log_ticks,
    say_none,
)

_PER_DECADE = 20
_DECADES = 13
KINDS = ("OFF-OFF", "ON-ON", "mixed")


def interval_edges() -> NDArray[np.int64]:
    """Return the edges of the bins, whole microseconds: 0, 1, 2, ... then 20 a decade.

    Where a decade's bins are shorter than a microsecond each microsecond is one bin. Times are
    whole, and bins without any would be gaps that mean nothing.
    """
    powers = np.ceil(10 ** (np.arange(_PER_DECADE * _DECADES + 1) / _PER_DECADE) - 1e-6)
    edges = np.unique(powers.astype(np.int64))
    return np.concatenate([[0], edges, [np.iinfo(np.int64).max]])


@check_arguments
def count_intervals(
    events_or_source: Events | Source,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return edges (k + 1,) and counts (3, k) of intervals: OFF-OFF, ON-ON, mixed."""
    source = as_source(events_or_source)
    shape = (source.size.height, source.size.width)
    edges = interval_edges()
    seen, last = np.full(shape, -1, np.int8), np.zeros(shape, np.int64)
    counts = np.zeros((len(KINDS), len(edges) - 1), np.int64)
    for block in source:
        past_kernels.add_intervals(columns(block), edges, seen, last, counts)
    return edges, counts


@check_arguments
def intervals(events_or_source: Events | Source, *, style: Style = PAPER) -> Plot:
    """Plot the times between an event and the one before it at the same pixel.

    Three histograms over logarithmic time: ON behind ON, OFF behind OFF, and mixed. The height is
    events per decade, so that bins of different lengths compare. Intervals below 1 us are named.
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
        for name, colour, dash in order:
            values = heights[KINDS.index(name)]
            axes.stairs(
                np.where(values, values, np.nan), bounds, baseline=None, color=colour,
                linestyle=dash, label=name, linewidth=0.8 if name == "mixed" else 1.0,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*_with_a_decade(bounds[0], bounds[-1]))
        # As many names as fit, told here: matplotlib's own number would change with the layout
        # that the names themselves make.
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
    """Return bounds that hold two powers of ten, so that there is a scale to read."""
    low, high = np.floor(np.log10(first)), np.ceil(np.log10(last))
    if np.floor(np.log10(last)) - np.ceil(np.log10(first)) >= 1:
        return first, last
    return float(10**low), float(10**high)


def _decade(time_us: float, position: float | None = None) -> str:
    for name, scale in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if time_us >= 0.999 * scale:
            return f"{time_us / scale:,.0f} {name}"
    return ""
