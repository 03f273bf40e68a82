"""What a classifier takes for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.render._text import drawable, families
from dvskit.render.plots.arrays import as_array
from dvskit.render.plots.bars import colour_bar
from dvskit.render.plots.class_names import LINE, Naming, name_classes
from dvskit.render.plots.fitting import write_below
from dvskit.render.plots.style import FONT, PAPER, Plot, Style, note

_BAR = 0.065  # the room for the colour bar, of the matrix's width
_LEAST_PT = 4.0  # smaller counts cannot be read
_IN_CELL = 0.8  # of a cell's side, for its count


@check_arguments
def confusion(counts: Any, classes: Sequence[str], *, style: Style = PAPER) -> Plot:
    """Plot a matrix of counts (classes, classes): rows the true class, columns the answer.

    The colour is the share of the row; the numbers are counts, left out where cells are too small
    to read them. Names of classes are broken into lines, set upright, or replaced by numbers with a
    key below (of up to 24), as they fit the width.
    `dvskit.training.evaluate` gives both arguments, as `result.confusion` and `result.classes`.
    Raises ShapeError for another shape, for counts that are not whole or below 0.
    """
    array = as_array(counts)
    n = len(classes)
    if array.shape != (n, n) or n < 1:
        raise ShapeError(f"counts of shape {array.shape} for {n} classes; ({n}, {n}) is meant")
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise ShapeError("counts are whole numbers of at least 0")
    share = array / np.maximum(1, array.sum(1, keepdims=True))
    names = _names(classes)
    fonts = families("".join(names))
    naming = name_classes(names, _room_pt(style), style, _measure(style.small_pt, fonts))
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
        colour_bar(figure, axes, picture, style, "share of the true class", below=style.narrow)
        axes.set(xlabel="answer", ylabel="true class")
        right, total = int(np.trace(array)), int(array.sum())
        note(
            axes,
            style,
            f"{100 * right / total:.1f} % of {total:,} right" if total else "no samples",
        )
        _write_names(axes, naming, fonts)
        figure.named[axes] = naming.size_pt
        _write_counts(axes, array, picture.to_rgba(share), naming.side_pt / n, style)
    return figure


def _names(classes: Sequence[str]) -> list[str]:
    return [drawable(" ".join(str(name).split())) for name in classes]  # on one line each


def _measure(size_pt: float, fonts: Sequence[str] = (FONT,)) -> Callable[[str], float]:
    """Return what tells how many points wide words of a size are."""
    font = FontProperties(family=list(fonts), size=size_pt)
    return lambda text: float(TextToPath().get_text_width_height_descent(text, font, False)[0])


def _room_pt(style: Style) -> float:
    """Return the width of a matrix and the names of its rows: what the words around leave."""
    room = style.width_pt - 2.6 * style.font_pt
    return room if style.narrow else (room - 5.0 * style.font_pt) / (1 + _BAR)


def _height_pt(naming: Naming, style: Style, fonts: Sequence[str]) -> float:
    """Return how high a figure is whose matrix is as wide as it can be."""
    lines = 1 + max(text.count("\n") for text in naming.columns)
    names = lines * naming.size_pt
    if naming.upright:
        names = max(map(_measure(naming.size_pt, fonts), "\n".join(naming.columns).split("\n")))
    bar = 3.7 * style.font_pt if style.narrow else 0.0
    return naming.side_pt + names + 4.0 * style.font_pt + bar + _key_pt(naming, style)


def _key_pt(naming: Naming, style: Style) -> float:
    if not naming.key:
        return 0.0
    return (len(naming.key[0].lines) * LINE + 0.6) * style.small_pt


def _write_names(axes: Axes, naming: Naming, fonts: list[str]) -> None:
    count = len(naming.rows)
    words: dict[str, Any] = {"linespacing": 1.1, "fontfamily": fonts}
    axes.set_yticks(range(count), naming.rows, multialignment="right", **words)
    axes.set_xticks(
        range(count), naming.columns, rotation=90 if naming.upright else 0, **words,
        multialignment="right" if naming.upright else "center",
    )  # fmt: skip


def _write_counts(
    axes: Axes, counts: NDArray[Any], colours: NDArray[Any], cell_pt: float, style: Style
) -> None:
    widest = _measure(1.0)(str(counts.max()))
    size = min(style.small_pt, _IN_CELL * cell_pt / max(widest, 1.2))
    if size < _LEAST_PT:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # Black or white, whichever stands out from the cell's brightness.
            bright = float(colours[row, column, :3] @ (0.299, 0.587, 0.114)) > 0.55
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size,
                      color="#1b1d26" if bright else "#ffffff")  # fmt: skip
