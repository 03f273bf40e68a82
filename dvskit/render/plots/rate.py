"""The event rate over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.events import Events, Source
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, note, say_none
from dvskit.render.plots.time_counts import count_over_time, for_eyes
from dvskit.render.plots.units import rate_unit, span_text, time_unit

_BINS = 250
_FEW = 0.02
_TOWERING = 5


@check_arguments
def rate(
    events_or_source: Events | Source, *, bin_us: int | None = None, style: Style = PAPER
) -> Plot:
    """Plot the rate of all, of ON and of OFF events over time, in bins of `bin_us`.

    Time runs from the first event. The areas under the curves are the numbers of events. Without
    `bin_us` there are at most 250 bins. Where a few bins (2 %, such as a camera's first moment)
    tower over all others they are cut, and how high they are is said above.

    Raises ConfigError for bin_us below 1 or too many bins.
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
    """Return how high to draw: up to the highest rate, unless few tower over all others."""
    usual = float(np.quantile(total, 1 - _FEW, method="higher"))
    most = float(total.max())
    return 1.3 * usual if usual and most > _TOWERING * usual else most
