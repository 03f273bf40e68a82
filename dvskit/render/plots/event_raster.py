"""The events of a recording as points: one row per pixel, over time."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from dvskit._arguments import check_arguments
from dvskit.errors import count_of
from dvskit.events import Events, Source
from dvskit.render._numbers import span_unit
from dvskit.render._thin import Thinned, thin
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.spikes import VECTORS
from dvskit.render.plots.style import PAPER, Plot, Style, note, say_none, whole_ticks

RASTER_EVENTS = 200_000  # as many as leave white space between them


@check_arguments
def event_raster(
    events_or_source: Events | Source, *, max_events: int = RASTER_EVENTS, style: Style = PAPER
) -> Plot:
    """Plot each event as a point: its time, and its pixel y * width + x; ON and OFF in colours.

    Time runs from the first event. Beyond `max_events` every 2nd, 4th, 8th ... is drawn, and
    the plot reports how many. Raises ConfigError for max_events below 1.
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
        # One set of points in order of time: neither polarity is drawn on top of the other.
        colours = np.array([to_rgb(theme.off), to_rgb(theme.on)])
        axes.scatter(
            (events.t - thinned.start_us) / unit.scale,
            events.y.astype(np.int64) * width + events.x,
            s=_area_pt2(style, len(events)), c=colours[events.p.astype(int)], linewidths=0,
            rasterized=len(events) > VECTORS,
        )  # fmt: skip
        for name, colour in (("ON", theme.on), ("OFF", theme.off)):
            axes.scatter([], [], s=6, color=colour, linewidths=0, label=name)
        note(axes, style, thinned.notice or count_of(thinned.total, "event"))
        legend_above(axes)
    return figure


def _area_pt2(style: Style, count: int) -> float:
    # Points cover a tenth of the axes: visible in print, without hiding each other.
    return float(np.clip(0.1 * 0.65 * style.width_pt**2 / count, 0.1, 6.0))
