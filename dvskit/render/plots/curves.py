"""How training went: the curves of its log."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import FormatError, MissingFileError
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, whole_ticks

_NEEDED = ("epoch", "loss")


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
