"""The weights of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit.errors import ShapeError
from dvskit.render.plots.arrays import as_array
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    colour_bar,
    grid_lines,
    note,
    say_none,
    whole_ticks,
)


def weights(values: Any, *, style: Style = PAPER) -> Plot:
    """Plot the weights of a layer as a picture, blue below zero and orange above, and their spread.

    (outputs, inputs) is a matrix; (outputs, inputs, height, width) kernels, a tile each,
    the longer of outputs and inputs along the width. Raises ShapeError for other shapes and NaN.
    """
    array = as_array(values).astype(np.float64)
    if array.ndim not in (2, 4):
        raise ShapeError(
            f"weights of shape {array.shape}; (outputs, inputs) or (outputs, inputs, height, "
            "width) is meant"
        )
    if not np.isfinite(array).all():
        raise ShapeError("weights: holds values that are not finite")
    image = tiled(array) if array.ndim == 4 and array.size else array
    flat = array.ndim == 4 and image.shape[1] > 2 * image.shape[0]
    stacked = flat or style.narrow
    tall = 0.85 * image.shape[0] / max(1, image.shape[1]) if flat else 0.6
    with style.drawing(tall + 0.65 if stacked else 0.6) as figure:
        picture, spread = (
            figure.subplots(2, 1, height_ratios=(tall + 0.1, 0.5))
            if stacked
            else figure.subplots(1, 2, width_ratios=(2.2, 1))
        )
        if array.size:
            _draw(figure, picture, image, float(np.abs(array).max()), style)
        else:
            say_none(picture, style, "no weights")
        if array.ndim == 4:
            wide = len(array) >= array.shape[1]
            picture.set(
                xticks=[], yticks=[], xlabel=f"{len(array)} outputs" if wide else "inputs",
                ylabel=f"{array.shape[1]} inputs" if wide else f"{len(array)} outputs",
            )  # fmt: skip
        else:
            picture.set(xlabel="input", ylabel="output")
            for axis in (picture.xaxis, picture.yaxis):
                whole_ticks(axis, 5)
        _draw_spread(spread, array, style)
        if array.size:
            note(picture, style, f"mean {array.mean():.2g}", f"deviation {array.std():.2g}")
    return figure


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


def _draw(figure: Plot, axes: Axes, image: NDArray[np.float64], most: float, style: Style) -> None:
    most = most or 1.0
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
    colour_bar(figure, axes, shown)


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
