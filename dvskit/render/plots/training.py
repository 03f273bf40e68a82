"""Plots of trained models: training curves, accuracy against a factor, weights."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from dvskit.errors import FormatError, MissingFileError, ShapeError
from dvskit.render._numbers import scientific_text
from dvskit.render.plots.pixel_map import colour_bar
from dvskit.render.plots.spikes import as_array
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    plain_number,
    say_none,
    whole_ticks,
)

_DOTS = 12  # more points than these are drawn as a line
_NEEDED = ("epoch", "loss")
# Okabe and Ito's green, pink, sky and yellow: distinct from ON and OFF and from each other.
_OTHERS = ("#009e73", "#cc79a7", "#56b4e9", "#b8a400")
_LEAST_MM = 8.0  # height of a picture of weights; all for text of 8 points
_SPREAD_MM = 18.0
_WORDS_MM = 31.0  # height of text and colour bar


@dataclass(frozen=True, slots=True)
class Measured:
    """The accuracy of a model as a function of a variable.

    x         (N,), N >= 1: the values at which it was evaluated, sorted
    accuracy  (N,): the share of right answers, 0 to 1
    interval  (N, 2): the low and the high end of its 95 % interval, 0 to 1
    label    of the x axis, with its unit
    chance   the accuracy of guessing, drawn as a dotted line; None draws none
    mark     position of a vertical line, in units of x
    words    text above, a part each
    factors  whether x are factors, drawn on a logarithmic axis

        measured = dvskit.render.plots.Measured(
            x=np.array([0.1, 0.2, 0.4]),
            accuracy=np.array([0.5, 0.8, 0.9]),
            interval=np.array([[0.4, 0.6], [0.7, 0.87], [0.82, 0.95]]),
            label="time (s)",
            chance=0.1,
        )
        figure = dvskit.render.plots.accuracy(measured)
    """

    x: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    interval: NDArray[np.float64]
    label: str
    chance: float | None = None
    mark: float | None = None
    words: tuple[str, ...] = field(default=())
    factors: bool = False

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.x))
        for name, shape in (("x", (count,)), ("accuracy", (count,)), ("interval", (count, 2))):
            values = np.asarray(getattr(self, name), float)
            if values.shape != shape or not count:
                raise ShapeError(
                    f"{name} is {values.shape}; {shape} is expected, with N >= 1 as in x"
                )
            if not np.isfinite(values).all():
                raise ShapeError(f"{name} holds a number that is not finite")
            object.__setattr__(self, name, values)
        if (self.interval[:, 0] > self.accuracy).any() or (
            self.interval[:, 1] < self.accuracy
        ).any():
            raise ShapeError("interval does not hold the accuracy; pass its low and high end")
        if self.factors and self.x.min() <= 0:
            raise ShapeError("x are factors, and one is not above 0")


def accuracy(measured: Measured | Sequence[Measured], *, style: Style = PAPER) -> Plot:
    """Plot the accuracy of a model as a function of a variable, with 95 % intervals; a panel each.

    `dvskit.evaluation.evaluate_over_time` and `evaluate_corrupted` measure it. Raises ShapeError
    without panels.

        x, shares = np.array([0.5, 1.0, 2.0]), np.array([0.6, 0.9, 0.7])
        interval = np.stack([shares - 0.05, shares + 0.05], 1)
        measured = dvskit.render.plots.Measured(x, shares, interval, "speed", factors=True)
        dvskit.render.plots.save(dvskit.render.plots.accuracy(measured), "accuracy.pdf")
    """
    panels = [measured] if isinstance(measured, Measured) else list(measured)
    if not panels:
        raise ShapeError("nothing was measured; pass at least one panel")
    columns = 1 if style.narrow or len(panels) == 1 else 2
    rows = math.ceil(len(panels) / columns)
    # A panel's height is 0.62 of its width; text and ticks take as much again on few millimetres.
    with style.drawing(rows * 0.62 / columns, least_mm=38.0 * rows) as figure:
        for number, each in enumerate(panels):
            _draw(figure.add_subplot(rows, columns, number + 1), each, style)
    return figure


def _draw(axes: Axes, measured: Measured, style: Style) -> None:
    x, share = measured.x, 100 * measured.accuracy
    low, high = 100 * measured.interval.T  # (N, 2) -> two of (N,)
    colour = style.theme.on
    if len(x) > _DOTS:
        axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, share, color=colour)
    else:
        axes.errorbar(x, share, (share - low, high - share), color=colour, marker="o", ms=2.5,
                      capsize=1.5, elinewidth=0.8, capthick=0.8)  # fmt: skip
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


def read_log(path: str | PathLike[str]) -> Mapping[str, NDArray[np.float64]]:
    """Return the columns of the log.csv that `dvskit.training.train` writes.

    `path` may be the run's folder. Raises FormatError for a file that is not such a log.

        rows = [[1, 0.9], [2, 0.5]]  # in place of those of a run
        np.savetxt("log.csv", rows, "%g", ",", header="epoch,loss", comments="")
        log = dvskit.render.plots.read_log("log.csv")
        log["loss"]  # [0.9, 0.5]: float64, a value for each epoch
    """
    file = Path(path)
    file = file / "log.csv" if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(file, "pass a log.csv or its folder") from None
    except UnicodeDecodeError:
        raise FormatError(f"{file}: is not text; a log.csv of a training run is expected") from None
    rows = list(csv.reader(text.splitlines()))
    validated = ("validation_loss",) if rows and "accuracy" in rows[0] else ()
    missing = [name for name in (*_NEEDED, *validated) if not rows or name not in rows[0]]
    if missing:
        raise FormatError(
            f"{file}: no column {missing[0]}; a log.csv of a training run is expected"
        )
    columns = np.empty((len(rows) - 1, len(rows[0])))
    for number, row in enumerate(rows[1:]):
        try:
            columns[number] = [float(cell) for cell in row]
        except ValueError:
            raise FormatError(
                f"{file}: line {number + 2} does not hold {len(rows[0])} numbers"
            ) from None
    return dict(zip(rows[0], columns.T, strict=True))


def curves(
    log: str | PathLike[str] | Mapping[str, NDArray[np.float64]], *, style: Style = PAPER
) -> Plot:
    """Plot loss and accuracy over the epochs of a training run, with the best epoch marked.

    log: the log.csv of a run, its folder, or its columns. The band is the 95 % interval of the
    validation accuracy; of several folds, of their mean. A run without a validation part only has
    the loss. The best epoch has the best accuracy, and of equals the least loss.

        log = {
            "epoch": np.arange(1, 4),
            "loss": np.array([0.9, 0.5, 0.3]),
            "validation_loss": np.array([1.0, 0.6, 0.5]),
            "accuracy": np.array([0.6, 0.8, 0.9]),
        }
        figure = dvskit.render.plots.curves(log)  # or the folder of a run
        dvskit.render.plots.save(figure, "curves.pdf")
    """
    columns = log if isinstance(log, Mapping) else read_log(log)
    epoch = columns["epoch"]
    if "accuracy" not in columns:
        return _loss_alone(epoch, columns["loss"], style)
    height, least_mm, panels = (1.1, 66.0, (2, 1)) if style.narrow else (0.5, 34.0, (1, 2))
    with style.drawing(height, least_mm=least_mm) as figure:
        left, right = figure.subplots(*panels)
        theme = style.theme
        losses = {"training": columns["loss"], "validation": columns["validation_loss"]}
        _lines(left, epoch, losses, (theme.off, theme.on), style)
        left.set_ylabel("loss (nats)")
        parts = {
            name.removesuffix("_accuracy"): 100 * values
            for name, values in columns.items()
            if name.endswith("_accuracy")
        }
        several = len(parts) > 1
        if several:
            _lines(right, epoch, parts, (*_OTHERS, theme.faint), style, thin=True)
        if "accuracy_low" in columns:
            ends = (100 * columns[f"accuracy_{end}"] for end in ("low", "high"))
            right.fill_between(epoch, *ends, color=theme.on, alpha=0.2, linewidth=0)
        mean = {"mean" if several else "validation": 100 * columns["accuracy"]}
        _lines(right, epoch, mean, (theme.on,), style)
        right.set_ylabel("accuracy (%)" if several else "validation accuracy (%)")
        if len(epoch):
            best = int(np.lexsort((columns["validation_loss"], -columns["accuracy"]))[0])
            score = 100 * columns["accuracy"][best]
            right.plot(epoch[best], score, "o", ms=3, color=theme.on)
            right.set_title(
                f"best {score:.1f} %, epoch {epoch[best]:.0f}",
                color=theme.faint, fontsize=style.small_pt,
            )  # fmt: skip
        for axes in (left, right) if several else (left,):  # a single line needs no name
            axes.legend(loc="best")
    return figure


def _loss_alone(epoch: NDArray[np.float64], loss: NDArray[np.float64], style: Style) -> Plot:
    with style.drawing(0.5, least_mm=34.0) as figure:
        axes = figure.subplots()
        _lines(axes, epoch, {"training": loss}, (style.theme.off,), style)
        axes.set_ylabel("training loss (nats)")
    return figure


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


def weights(values: Any, *, style: Style = PAPER) -> Plot:
    """Plot the weights of a layer as a picture, blue below zero and orange above, and their spread.

    (outputs, inputs) is a matrix; (outputs, inputs, height, width) kernels, a tile each, the longer
    of outputs and inputs along the width. Raises ShapeError for other shapes and NaN.

        layer = torch.nn.Conv2d(2, 8, 5)
        figure = dvskit.render.plots.weights(layer.weight)  # (8, 2, 5, 5): 16 tiles
        dvskit.render.plots.save(figure, "weights.pdf")
    """
    array = as_array(values).astype(np.float64)
    if array.ndim not in (2, 4):
        raise ShapeError(
            f"weights of shape {array.shape}; (outputs, inputs) or (outputs, inputs, height, "
            "width) is expected"
        )
    if not np.isfinite(array).all():
        raise ShapeError("weights: holds values that are not finite")
    image = tiled(array) if array.ndim == 4 and array.size else array
    flat = array.ndim == 4 and image.shape[1] > 2 * image.shape[0]
    stacked = flat or style.narrow
    height, panels = _panels(image.shape, style, stacked=stacked)
    with style.drawing(height) as figure:
        picture, spread = figure.subplots(**panels)
        if array.size:
            _draw_weights(figure, picture, image, style, below=stacked)
        else:
            say_none(picture, style, "no weights")
        if array.ndim == 4:
            _name_tiles(picture, *array.shape[:2], flat=flat)
        else:
            picture.set(xlabel="input", ylabel="output")
            for axis in (picture.xaxis, picture.yaxis):
                whole_ticks(axis, 5)
        _draw_spread(spread, array, style)
        if array.size:
            mean, deviation = (scientific_text(value, 2) for value in (array.mean(), array.std()))
            note(picture, style, f"mean {mean}", f"deviation {deviation}")
    return figure


def _panels(shape: tuple[int, ...], style: Style, *, stacked: bool) -> tuple[float, dict[str, Any]]:
    """Return the height of a figure, and its panels: a picture (H, W) and the spread."""
    if not stacked:
        return 0.6, {"ncols": 2, "width_ratios": (2.2, 1)}
    words_mm = style.font_pt / 8
    picture_mm = (style.width_mm - 15 * words_mm) * min(0.8, shape[0] / max(1, shape[1]))
    # Long ones are stretched to a readable height.
    picture_mm = max(picture_mm, _LEAST_MM * words_mm)
    height_mm = picture_mm + (_SPREAD_MM + _WORDS_MM) * words_mm
    heights = picture_mm, _SPREAD_MM * words_mm
    return height_mm / style.width_mm, {"nrows": 2, "height_ratios": heights}


def _name_tiles(axes: Axes, outputs: int, inputs: int, *, flat: bool) -> None:
    """Label the number of tiles along each side; for flat ones in one line."""
    across, up = f"{outputs} outputs", f"{inputs} inputs"
    if outputs < inputs:
        across, up = up, across
    axes.set(xticks=[], yticks=[], xlabel=f"{across} × {up}" if flat else across)
    if not flat:
        axes.set_ylabel(up)


def tiled(kernels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return kernels (O, I, h, w) as one picture of tiles with a NaN line between them.

    The longer of O and I runs along x.
    """
    if len(kernels) >= kernels.shape[1]:
        kernels = kernels.transpose(1, 0, 2, 3)
    rows, columns, height, width = kernels.shape
    padded = np.full((rows, columns, height + 1, width + 1), np.nan)
    padded[:, :, :-1, :-1] = kernels
    # (rows, columns, h, w) -> (rows * h, columns * w)
    joined = padded.transpose(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    return joined[:-1, :-1]


def _draw_weights(
    figure: Plot, axes: Axes, image: NDArray[np.float64], style: Style, *, below: bool
) -> None:
    most = float(np.nanmax(np.abs(image))) or 1.0
    long = max(image.shape) > 3 * min(image.shape) and np.isfinite(image).all()  # no kernels
    shown = axes.imshow(
        image,
        cmap=style.signed_map(),
        vmin=-most,
        vmax=most,
        aspect="auto" if long else "equal",
        interpolation="nearest" if np.isnan(image).any() else None,
    )
    axes.spines[:].set_visible(True)
    colour_bar(figure, axes, shown, style, below=below)


def _draw_spread(axes: Axes, values: NDArray[np.float64], style: Style) -> None:
    axes.set(xlabel="count", ylabel="weight")
    if not values.size:
        return
    counts, edges = np.histogram(values, bins=40)
    axes.stairs(
        counts, edges, orientation="horizontal", fill=True, color=style.theme.faint, alpha=0.8
    )
    axes.axhline(0, color=style.theme.line, linewidth=0.6)
    axes.locator_params(axis="x", nbins=2)
    axes.margins(x=0.05)
    grid_lines(axes, style)
