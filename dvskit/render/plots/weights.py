"""The weights of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.render._numbers import scientific_text
from dvskit.render.plots.bars import colour_bar
from dvskit.render.plots.spikes import as_array
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    say_none,
    whole_ticks,
)

_LEAST_MM = 8.0  # a picture's height; all beside words of 8 points
_SPREAD_MM = 18.0
_WORDS_MM = 31.0  # what words and the colour bar take of the height


@check_arguments
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
    with _panels(image.shape, style, stacked=stacked) as (figure, picture, spread):
        if array.size:
            _draw(figure, picture, image, style, below=stacked)
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


@contextmanager
def _panels(
    shape: tuple[int, ...], style: Style, *, stacked: bool
) -> Iterator[tuple[Plot, Axes, Axes]]:
    """Yield a figure with panels for a picture (H, W) and the spread: beside it, or below."""
    if not stacked:
        with style.drawing(0.6) as figure:
            yield figure, *figure.subplots(1, 2, width_ratios=(2.2, 1))
        return
    words_mm = style.font_pt / 8
    picture_mm = (style.width_mm - 15 * words_mm) * min(0.8, shape[0] / max(1, shape[1]))
    # Long ones are stretched to a height at which something is seen.
    picture_mm = max(picture_mm, _LEAST_MM * words_mm)
    height_mm = picture_mm + (_SPREAD_MM + _WORDS_MM) * words_mm
    with style.drawing(height_mm / style.width_mm) as figure:
        panels = figure.subplots(2, 1, height_ratios=(picture_mm, _SPREAD_MM * words_mm))
        yield figure, *panels


def _name_tiles(axes: Axes, outputs: int, inputs: int, *, flat: bool) -> None:
    """Say how many tiles there are along each side; of flat ones in one line."""
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


def _draw(
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
