"""How often a model is right against something: the time seen, noise, events left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ArgumentError, ShapeError
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, note, plain_number

_DOTS = 12  # more points than these are a line


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a model was right against something.

    x, accuracy, error  (N,) each, N >= 1: what it was judged at, in order, the share of right
                        answers and its standard error, 0 to 1
    label    of the x axis, with its unit
    chance   the share that guessing gives, drawn as a dotted line; None draws none
    mark     where to draw an upright line, in units of x
    words    what stands above, a part each
    factors  whether x are factors, whose logarithm matters
    """

    x: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: NDArray[np.float64]
    label: str
    chance: float | None = None
    mark: float | None = None
    words: tuple[str, ...] = field(default=())
    factors: bool = False

    def __post_init__(self) -> None:
        columns = {name: np.asarray(getattr(self, name), float) for name in _COLUMNS}
        shape = columns["x"].shape
        for name, values in columns.items():
            if values.ndim != 1 or values.shape != shape or not len(values):
                raise ShapeError(f"{name} is {values.shape}; (N,) of N >= 1 is meant, as of x")
            if not np.isfinite(values).all():
                raise ShapeError(f"{name} holds a number that is not finite")
            object.__setattr__(self, name, values)
        if self.factors and columns["x"].min() <= 0:
            raise ShapeError("x are factors, and one is not above 0")


_COLUMNS = ("x", "accuracy", "error")


@check_arguments
def accuracy(measured: Measured | Sequence[Measured], *, style: Style = PAPER) -> Plot:
    """Plot how often a model is right against something, with standard errors; a panel each.

    `dvskit.training.evaluate_over_time` and `evaluate_corrupted` measure it. Raises ShapeError for
    none.
    """
    panels = [measured] if isinstance(measured, Measured) else list(measured)
    if not panels:
        raise ShapeError("nothing was measured; give at least one panel")
    for each in panels:
        if not isinstance(each, Measured):
            raise ArgumentError(f"accuracy takes Measured, one or several, not {each!r}")
    columns = 1 if style.narrow or len(panels) == 1 else 2
    rows = math.ceil(len(panels) / columns)
    # A panel is 0.62 as high as wide, and words and ticks take as much again on few millimetres.
    with style.drawing(rows * 0.62 / columns, least_mm=38.0 * rows) as figure:
        for number, each in enumerate(panels):
            _draw(figure.add_subplot(rows, columns, number + 1), each, style)
    return figure


def _draw(axes: Axes, measured: Measured, style: Style) -> None:
    x, share, error = measured.x, 100 * measured.accuracy, 100 * measured.error
    colour = style.theme.on
    if len(x) > _DOTS:
        axes.fill_between(x, share - error, share + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, share, color=colour)
    else:
        axes.errorbar(x, share, error, color=colour, marker="o", ms=2.5, capsize=1.5,
                      elinewidth=0.8, capthick=0.8)  # fmt: skip
    if measured.chance is not None:
        axes.axhline(100 * measured.chance, color=style.theme.faint, linestyle=":", linewidth=0.8)
    if measured.mark is not None:
        axes.axvline(measured.mark, color=style.theme.off, linestyle="--", linewidth=0.8)
    if measured.factors:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([float(value) for value in x]))
        axes.xaxis.set_major_formatter(FixedFormatter([plain_number(value) for value in x]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=measured.label, ylabel="accuracy (%)", ylim=(0, 104))
    axes.margins(x=0.04)
    grid_lines(axes, style)
    if measured.words:
        note(axes, style, *measured.words)
