"""The event rate over time."""

from __future__ import annotations

import numpy as np

from dvskit.events import Events, Source
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, legend_above, say_none
from dvskit.render.plots.time_counts import count_over_time, for_eyes
from dvskit.render.plots.units import rate_unit, span_text, time_unit

_BINS = 250


def rate(
    events_or_source: Events | Source, *, bin_us: int | None = None, style: Style = PAPER
) -> Plot:
    """Plot the rate of all, of ON and of OFF events over time, in bins of `bin_us`.

    Time runs from the first event. The areas under the curves are the numbers of events. Without
    `bin_us` there are at most 250 bins. Raises ConfigError for bin_us below 1 or too many bins.
    """
    counted = count_over_time(events_or_source, bin_us=bin_us)
    shown = counted if bin_us is not None else for_eyes(counted, _BINS)
    counts, edges = shown.without_short_end()
    with style.drawing(0.55) as figure:
        axes = figure.add_subplot()
        unit = time_unit(shown.span_us)
        axes.set_xlabel(f"time ({unit.name})")
        if not counts.size:
            axes.set_ylabel("event rate")
            say_none(axes, style)
            return figure
        rates = counts / (np.diff(edges) * 1e-6)
        total = rates.sum(0)
        scale = rate_unit(float(total.max()))
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
        axes.set_ylim(0, 1.05 * float(total.max()) / scale.scale)
        axes.set_xlabel(f"time ({unit.name}), bins of {span_text(shown.bin_us)}")
        grid_lines(axes, style)
        legend_above(axes)
    return figure
