"""Plots of trained models: training curves, accuracy, weights, confusion matrices."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from dvskit.errors import FormatError, MissingFileError, ShapeError
from dvskit.render._drawing import drawable, families
from dvskit.render._numbers import scientific_text
from dvskit.render.plots.activity import as_array
from dvskit.render.plots.fitting import write_below
from dvskit.render.plots.maps import color_bar
from dvskit.render.plots.style import (
    FONT,
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
_WORDS_MM = 31.0  # height of text and color bar


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
    # A panel's height is 0.62 of its width; text and ticks take as much again on few millimeters.
    with style.drawing(rows * 0.62 / columns, least_mm=38.0 * rows) as figure:
        for number, each in enumerate(panels):
            _draw(figure.add_subplot(rows, columns, number + 1), each, style)
    return figure


def _draw(axes: Axes, measured: Measured, style: Style) -> None:
    x, share = measured.x, 100 * measured.accuracy
    low, high = 100 * measured.interval.T  # (N, 2) -> two of (N,)
    color = style.theme.on
    if len(x) > _DOTS:
        axes.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
        axes.plot(x, share, color=color)
    else:
        axes.errorbar(x, share, (share - low, high - share), color=color, marker="o", ms=2.5,
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
    colors: tuple[str, ...],
    style: Style,
    *,
    thin: bool = False,
) -> None:
    for number, (name, values) in enumerate(lines.items()):
        axes.plot(
            epoch, values, label=name, color=colors[number % len(colors)],
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
    color_bar(figure, axes, shown, style, below=below)


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


LINE = 1.25  # line height, relative to that of a letter
_MOST_KEYS = 24  # more classes make a key longer than the matrix
_LEFT_PT = 3.0  # of the key
_LEAST_SHARE = 0.5  # least share of the width for the matrix; below it names become numbers
_LEAST_NAME_PT = 5.0  # smaller text cannot be read in print
_SIZE_STEP_PT = 0.5
_UPRIGHT = 0.93  # relative size of a matrix with horizontal names that is as good
_BELOW = 0.15  # value of height below the matrix, relative to its side

Width = Callable[[str], float]
_BAR = 0.065  # room for the color bar, relative to the matrix's width
_LEAST_COUNT_PT = 4.0  # smaller counts cannot be read
_IN_CELL = 0.8  # share of a cell's side for its count


class KeyColumn(NamedTuple):
    """Lines of text, and their distance in points from the left of the page."""

    start_pt: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Naming:
    """The naming of classes.

    rows, columns   labels beside the rows and below the columns, "" for none
    upright         whether the columns' names are vertical
    size_pt         the font size
    side_pt         the resulting width of the matrix, approximately
    bar_below       whether the color bar is below the matrix, which leaves its width to names
    key             columns of text that explain the numbers; empty if there are none
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    upright: bool
    size_pt: float
    side_pt: float
    bar_below: bool
    key: tuple[KeyColumn, ...] = ()


def name_classes(names: Sequence[str], style: Style, width: Width) -> Naming:
    """Return the naming of classes; `width` measures text of `style.small_pt`.

    The matrix is as large as possible. Names are broken into up to three lines, and those of the
    columns are vertical if that helps. If less than half of the page's width is left to the matrix,
    the color bar goes below it, then the names get smaller, and finally numbers replace them, with
    a key.
    """
    for bar_below, size in _places(style):
        measured = _scaled(width, size / style.small_pt)
        best: tuple[float, Naming] | None = None
        for found in _in_place(names, bar_below, size, style, measured):
            worth = found.side_pt
            if found.upright:
                worth = _UPRIGHT * worth - _BELOW * _widest(found.columns, measured)
            if best is None or worth > best[0]:
                best = worth, found
        if best is not None and best[1].side_pt >= _LEAST_SHARE * style.width_pt:
            return best[1]
    return _numbered(names, style, width)


def _places(style: Style) -> Iterator[tuple[bool, float]]:
    """Yield bar positions and font sizes, the best first."""
    if style.narrow:
        yield True, style.small_pt
        return
    yield False, style.small_pt
    steps = int((style.small_pt - _LEAST_NAME_PT) / _SIZE_STEP_PT)
    for step in range(max(0, steps) + 1):
        yield True, style.small_pt - step * _SIZE_STEP_PT


def _scaled(width: Width, factor: float) -> Width:
    return lambda text: factor * width(text)


def _in_place(
    names: Sequence[str], bar_below: bool, size: float, style: Style, width: Width
) -> Iterator[Naming]:
    """Yield the layouts with whole names at their cells."""
    room_pt = _room_pt(style, bar_below)
    ways = [_all_broken(names, lines, width) for lines in (1, 2, 3)]
    for rows in dict.fromkeys(ways):
        side = room_pt - _widest(rows, width)
        cell = side / len(names)
        if side <= 0 or LINE * size * _most_lines(rows) > cell:
            continue
        for columns in dict.fromkeys(ways):
            if _widest(columns, width) + 0.5 * size <= cell:
                yield Naming(rows, columns, False, size, side, bar_below)
            if LINE * size * _most_lines(columns) <= cell:
                yield Naming(rows, columns, True, size, side, bar_below)


def _all_broken(names: Sequence[str], most: int, width: Width) -> tuple[str, ...]:
    """Return names in at most this many lines, each in as few as keep the maximum width."""
    room = _widest([broken(name, most, width) for name in names], width)
    ways = ([broken(name, lines, width) for lines in range(1, most + 1)] for name in names)
    return tuple(next(way for way in found if _widest([way], width) <= room) for found in ways)


def broken(name: str, lines: int, width: Width) -> str:
    """Return a name in at most this many lines, broken at " ", "-" and "_", minimally wide."""
    ends = [at + 1 for at, letter in enumerate(name[:-1]) if at and letter in " -_"]
    if lines < 2 or not ends:
        return name
    ways = [f"{name[:end].rstrip(' ')}\n{broken(name[end:], lines - 1, width)}" for end in ends]
    return min([name, *ways], key=lambda text: (_widest([text], width), text.count("\n")))


def _widest(texts: Sequence[str], width: Width) -> float:
    return max((width(line) for text in texts for line in text.split("\n")), default=0.0)


def _most_lines(texts: Sequence[str]) -> int:
    return 1 + max(text.count("\n") for text in texts)


def _numbered(names: Sequence[str], style: Style, width: Width) -> Naming:
    """Return numbers for names, fewer if there is no room for all, and their key."""
    count = len(names)
    short = all(
        len(name) <= len(str(count)) for name in names
    )  # relative size that is as good as numbers
    numbers = list(names) if short else [str(i + 1) for i in range(count)]
    digits = _widest(numbers, width) / style.small_pt  # width of numbers of one point
    side = _room_pt(style, style.narrow) - digits * style.small_pt
    needs = max(LINE, digits + 0.5)  # distance of numbers, relative to their size
    size = min(style.small_pt, max(_LEAST_NAME_PT, side / count / needs))
    step = next(n for n in (1, 2, 5, 10, count) if n * side / count >= needs * size or n == count)
    shown = tuple(text if i % step == 0 else "" for i, text in enumerate(numbers, not short))
    entries = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
    key = () if short or count > _MOST_KEYS else in_columns(entries, style, width)
    return Naming(shown, shown, False, size, side, style.narrow, key)


def in_columns(entries: Sequence[str], style: Style, width: Width) -> tuple[KeyColumn, ...]:
    """Return entries in as many columns as fit on the page; longer ones are cut."""
    room = style.width_pt - 2 * _LEFT_PT
    gap = 1.5 * style.small_pt
    for count in range(len(entries), 0, -1):
        rows = math.ceil(len(entries) / count)
        parts = [entries[i : i + rows] for i in range(0, len(entries), rows)]
        wide = [max(map(width, part)) + gap for part in parts]
        if sum(wide) - gap <= room:
            break
    else:
        parts, wide = [[_cut(text, room, width) for text in entries]], [room]
    starts = [0.0, *accumulate(wide)]
    return tuple(
        KeyColumn(_LEFT_PT + start, tuple(part)) for start, part in zip(starts, parts, strict=False)
    )


def _cut(text: str, room_pt: float, width: Width) -> str:
    """Return text unchanged, or cut to the available width with an ellipsis."""
    if width(text) <= room_pt:
        return text
    kept = len(text)
    while kept > 1 and width(text[:kept].rstrip() + "…") > room_pt:
        kept -= 1
    return text[:kept].rstrip() + "…"


def confusion(counts: Any, classes: Sequence[str], *, style: Style = PAPER) -> Plot:
    """Plot a matrix of counts (classes, classes): rows the true class, columns the answer.

    The color is the share of the row; the numbers are counts, omitted if cells are too small to
    read them. Names of classes are broken into lines, made vertical or smaller to fit the width;
    names that do not fit are replaced by numbers with a key below (of up to 24).
    `dvskit.evaluation.evaluate` returns both arguments, as `result.confusion` and `result.classes`.
    Raises ShapeError for another shape, and for counts that are not whole or below 0.

        counts = np.array([[18, 2, 0], [1, 17, 2], [0, 1, 19]])
        figure = dvskit.render.plots.confusion(counts, ["zero", "one", "two"])
        dvskit.render.plots.save(figure, "confusion.pdf")
    """
    array = as_array(counts)
    n = len(classes)
    if array.shape != (n, n) or n < 1:
        raise ShapeError(f"counts of shape {array.shape} for {n} classes; ({n}, {n}) is expected")
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise ShapeError("counts must be whole numbers of at least 0")
    share = array / np.maximum(1, array.sum(1, keepdims=True))
    names = [drawable(" ".join(str(name).split())) for name in classes]  # on one line each
    fonts = families("".join(names))
    naming = name_classes(names, style, _measure(style.small_pt, fonts))
    height_pt = _height_pt(naming, style, fonts)
    with (
        style.drawing(height_pt / style.width_pt) as figure,
        mpl.rc_context({"font.family": fonts}),
    ):
        if naming.key:
            write_below(figure, naming.key, style.small_pt, spacing=LINE)
        axes = figure.add_subplot()
        picture = axes.imshow(share, cmap=style.shares_map(), vmin=0, vmax=1)
        axes.spines[:].set_visible(True)
        color_bar(figure, axes, picture, style, "share of the true class", below=naming.bar_below)
        axes.set(xlabel="answer", ylabel="true class")
        right, total = int(np.trace(array)), int(array.sum())
        score = (f"{right:,} of {total:,} right", f"{100 * right / max(1, total):.1f} %")
        note(axes, style, *(score if total else ("no samples",)))
        _write_names(axes, naming, fonts)
        figure.named[axes] = naming.size_pt
        _write_counts(axes, array, picture.to_rgba(share), naming.side_pt / n, style)
    return figure


def _measure(size_pt: float, fonts: Sequence[str] = (FONT,)) -> Callable[[str], float]:
    """Return a function that measures the width of text of a size in points."""
    font, paths = FontProperties(family=list(fonts), size=size_pt), TextToPath()
    # The same text is measured many times.
    return cache(lambda text: float(paths.get_text_width_height_descent(text, font, False)[0]))


def _room_pt(style: Style, bar_below: bool) -> float:
    """Return the widths of the matrix and of the row names, given the text around them."""
    room = style.width_pt - 2.6 * style.font_pt
    return room if bar_below else (room - 5.0 * style.font_pt) / (1 + _BAR)


def _height_pt(naming: Naming, style: Style, fonts: Sequence[str]) -> float:
    """Return the height of a figure whose matrix is as wide as possible."""
    names = _most_lines(naming.columns) * naming.size_pt
    if naming.upright:
        names = max(map(_measure(naming.size_pt, fonts), "\n".join(naming.columns).split("\n")))
    bar = 3.7 * style.font_pt if naming.bar_below else 0.0
    key = (len(naming.key[0].lines) * LINE + 0.6) * style.small_pt if naming.key else 0.0
    return naming.side_pt + names + 4.0 * style.font_pt + bar + key


def _write_names(axes: Axes, naming: Naming, fonts: list[str]) -> None:
    count = len(naming.rows)
    words: dict[str, Any] = {"linespacing": 1.1, "fontfamily": fonts}
    axes.set_yticks(range(count), naming.rows, multialignment="right", **words)
    axes.set_xticks(
        range(count), naming.columns, rotation=90 if naming.upright else 0, **words,
        multialignment="right" if naming.upright else "center",
    )  # fmt: skip


def _write_counts(
    axes: Axes, counts: NDArray[Any], colors: NDArray[Any], cell_pt: float, style: Style
) -> None:
    widest = _measure(1.0)(str(counts.max()))
    size = min(style.small_pt, _IN_CELL * cell_pt / max(widest, 1.2))
    if size < _LEAST_COUNT_PT:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # Black or white, whichever contrasts with the cell.
            bright = float(colors[row, column, :3] @ (0.299, 0.587, 0.114)) > 0.55
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size,
                      color="#1b1d26" if bright else "#ffffff", in_layout=False)  # fmt: skip
