"""What a classifier takes for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dvskit.errors import ShapeError
from dvskit.render.plots.arrays import as_array
from dvskit.render.plots.style import PAPER, Plot, Style, colour_bar, note

_NAMED = 24  # beyond so many classes numbers in the cells cannot be read


def confusion(counts: Any, classes: Sequence[str], *, style: Style = PAPER) -> Plot:
    """Plot a matrix of counts (classes, classes): rows the true class, columns the answer.

    The colour is the share of the row; the numbers are counts. `dvskit.training.evaluate` gives
    both, as `result.confusion` and `result.classes`. Raises ShapeError for another shape, for
    counts that are not whole or below 0.
    """
    array = as_array(counts)
    n = len(classes)
    if array.shape != (n, n) or n < 1:
        raise ShapeError(f"counts of shape {array.shape} for {n} classes; ({n}, {n}) is meant")
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise ShapeError("counts are whole numbers of at least 0")
    share = array / np.maximum(1, array.sum(1, keepdims=True))
    with style.drawing(0.82) as figure:
        axes = figure.add_subplot()
        picture = axes.imshow(share, cmap=style.shares_map(), vmin=0, vmax=1)
        axes.spines[:].set_visible(True)
        colour_bar(figure, axes, picture, "share of the true class")
        axes.set(xlabel="answer", ylabel="true class")
        right = int(np.trace(array))
        total = int(array.sum())
        note(
            axes,
            style,
            f"{100 * right / total:.1f} % of {total:,} right" if total else "no samples",
        )
        if n <= _NAMED:
            names = [str(name) for name in classes]
            long = max(map(len, names)) > 3
            axes.set_xticks(range(n), names, rotation=45 if long else 0,
                            ha="right" if long else "center", rotation_mode="anchor"
                            if long else "default")  # fmt: skip
            axes.set_yticks(range(n), names)
            _write_counts(axes, array, picture.to_rgba(share), style)
    return figure


def _write_counts(axes: Any, counts: Any, colours: Any, style: Style) -> None:
    size = min(
        style.small_pt, 0.9 * style.width_mm / len(counts) / max(2, len(str(counts.max()))) * 2.4
    )
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # Black or white, whichever stands out from the cell's brightness.
            bright = float(colours[row, column, :3] @ (0.299, 0.587, 0.114)) > 0.55
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size,
                      color="#1b1d26" if bright else "#ffffff")  # fmt: skip
