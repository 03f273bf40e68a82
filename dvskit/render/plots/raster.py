"""The spikes of a layer: one row a neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.render.plots.arrays import over_time
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    count_text,
    note,
    say_none,
    whole_ticks,
)

VECTORS = 20_000


@check_arguments
def raster(spikes: Any, *, step_us: float | None = None, style: Style = PAPER) -> Plot:
    """Plot the spikes of a tensor (T, neurons) or (T, ...): what is not zero is a mark.

    Negative spikes have OFF's colour, positive ones ON's where there are both. With `step_us`, the
    length of a step, time is in milliseconds. Raises ShapeError for other shapes and NaN,
    ConfigError for a step_us that is not above 0.
    """
    if step_us is not None and not step_us > 0:
        raise ConfigError(f"step_us={step_us} is not above 0")
    array = over_time(spikes, "spikes")
    with style.drawing(0.65) as figure:
        axes = figure.add_subplot()
        draw_raster(axes, array, style, step_us=step_us)
        note(axes, style, count_text(int(np.count_nonzero(array)), "spike"))
        axes.set_xlabel("time step" if step_us is None else "time (ms)")
        if (array < 0).any():
            legend_above(axes)
    return figure


def draw_raster(
    axes: Axes,
    spikes: NDArray[Any],
    style: Style,
    *,
    step_us: float | None = None,
    behind: float = 0.0,
) -> None:
    """Draw the spikes (T, neurons) into axes, with marks as high as a row.

    With step_us time is in milliseconds. Step k is drawn `behind` steps behind k.
    """
    steps, neurons = spikes.shape
    scale = 1.0 if step_us is None else step_us * 1e-3
    axes.set(
        ylabel="neuron", xlim=(-0.5 * scale, max(0.5, steps - 0.5) * scale),
        ylim=(max(1, neurons) - 0.5, -0.5),
    )  # fmt: skip
    whole_ticks(axes.yaxis, 5)
    if step_us is None:
        whole_ticks(axes.xaxis, 6)
    signed = bool((spikes < 0).any())
    theme = style.theme
    if not spikes.any():
        say_none(axes, style, "no spikes", scales="")
        return
    for name, chosen, colour in (
        ("+1", spikes > 0, theme.on if signed else theme.text),
        ("−1", spikes < 0, theme.off),
    ):
        at, rows = np.nonzero(chosen)
        if not len(at) and not signed:
            continue
        axes.vlines(
            (at + behind) * scale, rows - 0.42, rows + 0.42, color=colour, label=name,
            linewidth=_width_pt(style, steps), rasterized=len(at) > VECTORS,
        )  # fmt: skip


def _width_pt(style: Style, steps: int) -> float:
    # Three fifths of a step, and never so thin that it cannot be printed.
    return float(np.clip(0.6 * 2.0 * style.width_mm / max(1, steps), 0.35, 1.5))
