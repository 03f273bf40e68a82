"""How well a model learned: the curves of its training, and its accuracy against something."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ArgumentError, FormatError, MissingFileError, ShapeError
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    plain_number,
    whole_ticks,
)

_DOTS = 12  # more points than these are a line
_COLUMNS = ("x", "accuracy", "error")
_NEEDED = ("epoch", "loss")


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


@check_arguments
def read_log(path: str | PathLike[str]) -> Mapping[str, NDArray[np.float64]]:
    """Return the columns of the log.csv that `dvskit.training.train` writes.

    `path` may be the run's folder. Raises FormatError for a file that is no such log.
    """
    file = Path(path)
    file = file / "log.csv" if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(file, "name a log.csv or its folder") from None
    except UnicodeDecodeError:
        raise FormatError(f"{file}: is no text; a log.csv of a training run is meant") from None
    rows = list(csv.reader(text.splitlines()))
    missing = [name for name in _NEEDED if not rows or name not in rows[0]]
    if missing:
        raise FormatError(f"{file}: no column {missing[0]}; a log.csv of a training run is meant")
    columns = np.empty((len(rows) - 1, len(rows[0])))
    for number, row in enumerate(rows[1:]):
        try:
            columns[number] = [float(cell) for cell in row]
        except ValueError:
            raise FormatError(
                f"{file}: line {number + 2} does not hold {len(rows[0])} numbers"
            ) from None
    return dict(zip(rows[0], columns.T, strict=True))


@check_arguments
def curves(
    log: str | PathLike[str] | Mapping[str, NDArray[np.float64]], *, style: Style = PAPER
) -> Plot:
    """Plot loss and accuracy over the epochs of a training run, with the best epoch marked.

    Of a run without a validation part, the loss alone.

    log: the log.csv of a run, its folder, or its columns. The kept epoch is that of the best
    accuracy, of equals that of least loss. Raises FormatError as `read_log` does.
    """
    columns = log if isinstance(log, Mapping) else read_log(log)
    epoch = columns["epoch"]
    if "accuracy" not in columns:
        return _loss_alone(epoch, columns["loss"], style)
    with style.drawing(
        1.1 if style.narrow else 0.5, least_mm=66.0 if style.narrow else 34.0
    ) as figure:
        left, right = figure.subplots(*((2, 1) if style.narrow else (1, 2)))
        theme = style.theme
        _lines(left, epoch, {"training": columns["loss"],
                             "validation": columns["validation_loss"]},
               (theme.off, theme.on), style)  # fmt: skip
        left.set_ylabel("loss (nats)")
        parts = {
            name.removesuffix("_accuracy"): 100 * values
            for name, values in columns.items()
            if name.endswith("_accuracy")
        }
        several = len(parts) > 1
        if several:
            _lines(right, epoch, parts, _others(style), style, thin=True)
        mean = {"mean" if several else "validation": 100 * columns["accuracy"]}
        _lines(right, epoch, mean, (theme.on,), style)
        right.set_ylabel("accuracy (%)" if several else "validation accuracy (%)")
        if len(epoch):
            best = int(np.lexsort((columns["validation_loss"], -columns["accuracy"]))[0])
            right.plot(epoch[best], 100 * columns["accuracy"][best], "o", ms=3, color=theme.on)
            score = 100 * columns["accuracy"][best]
            right.set_title(
                f"best {score:.1f} %, epoch {epoch[best]:.0f}",
                color=theme.faint, fontsize=style.small_pt,
            )  # fmt: skip
        for axes in (left, right) if several else (left,):  # one line needs no name
            axes.legend(loc="best")
    return figure


def _loss_alone(epoch: NDArray[np.float64], loss: NDArray[np.float64], style: Style) -> Plot:
    with style.drawing(0.5, least_mm=34.0) as figure:
        axes = figure.subplots()
        _lines(axes, epoch, {"training": loss}, (style.theme.off,), style)
        axes.set_ylabel("training loss (nats)")
    return figure


def _others(style: Style) -> tuple[str, ...]:
    # Okabe and Ito's green, pink, sky and yellow: told apart from ON and OFF and from each other.
    return ("#009e73", "#cc79a7", "#56b4e9", "#b8a400", style.theme.faint)


def _lines(
    axes: Axes,
    epoch: NDArray[np.float64],
    lines: Mapping[str, NDArray[np.float64]],
    colours: tuple[str, ...],
    style: Style,
    *,
    thin: bool = False,
) -> None:
    for number, (name, values) in enumerate(lines.items()):
        axes.plot(
            epoch, values, label=name, color=colours[number % len(colours)],
            linewidth=0.7 if thin else 1.1, marker="." if len(epoch) < 2 else "", ms=3,
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.margins(x=0.02)
    whole_ticks(axes.xaxis, 5)
    grid_lines(axes, style)
