"""What stands beside a picture or below it and says what its colours mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.transforms import Bbox

from dvskit.render.plots.style import Plot, Style, log_ticks

_BAR_PT = 4.5  # how high a bar below is, beside words of 8 points
_GAP_PT = 4.0  # between the words of a picture and what is below them


def bar_below(style: Style, shape: tuple[int, ...]) -> bool:
    """Return whether a picture (H, W) has its colour bar below: on narrow pages, and flat ones.

    Beside it the bar and its words would leave little of the width, or have no height to stand in.
    """
    return style.narrow or shape[0] < 0.45 * shape[1]


def colour_bar(
    figure: Plot, axes: Axes, picture: ScalarMappable, style: Style, label: str = "",
    *, below: bool = False,
) -> Axes:  # fmt: skip
    """Put a colour bar beside a picture, as high as it is, or below, as wide; return its axes."""
    if below:
        bar = axes_below(axes, _BAR_PT * style.font_pt / 8)
    else:
        bar = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    figure.colorbar(
        picture, cax=bar, label=label, orientation="horizontal" if below else "vertical"
    )
    bar.spines[:].set_linewidth(0.6)
    if isinstance(picture.norm, LogNorm):
        low, high = float(picture.norm.vmin), float(picture.norm.vmax)  # type: ignore[arg-type]
        log_ticks(bar.xaxis if below else bar.yaxis, low, high)
    return bar


def axes_below(axes: Axes, height_pt: float) -> Axes:
    """Return axes of a height below others and their words, as wide as they are."""
    below = axes.inset_axes((0.0, -0.5, 1.0, 0.1))
    below.set_axes_locator(_below(axes, height_pt))
    return below


def _below(axes: Axes, height_pt: float) -> Callable[[Any, Any], Bbox]:
    def place(_: Any, renderer: Any) -> Bbox:
        figure = axes.get_figure()
        assert figure is not None
        frame = axes.get_window_extent()
        words = axes.xaxis.get_tightbbox(renderer)
        foot = frame.y0 if words is None else min(words.y0, frame.y0)
        to_dots = figure.dpi / 72
        top = foot - _GAP_PT * to_dots
        box = Bbox.from_extents(frame.x0, top - height_pt * to_dots, frame.x1, top)
        return box.transformed(figure.transFigure.inverted())

    return place
