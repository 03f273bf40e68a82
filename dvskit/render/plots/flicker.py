"""Where on the sensor it flickers, and how fast."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Events, Source, as_source
from dvskit.render.plots import _kernels
from dvskit.render.plots.pixel_map import map_height, map_width_mm, sensor_axes
from dvskit.render.plots.style import PAPER, Plot, Style, colour_bar, count_text, note, say_none
from dvskit.render.plots.units import hz_text

_COVERED = 0.05  # the share of a map that marks of few pixels cover
_PT_PER_MM = 72 / 25.4


class Flicker(NamedTuple):
    """Of each pixel: the frequency (H, W) Hz, NaN where none is steady, and the periods counted."""

    frequency_hz: NDArray[np.float64]
    periods: NDArray[np.int64]


def measure_flicker(
    events_or_source: Events | Source,
    *,
    min_hz: float = 5.0,
    max_hz: float = 1000.0,
    least_periods: int = 5,
    spread: float = 0.25,
) -> Flicker:
    """Return the frequency of each pixel that flickers steadily.

    A period is the time from one change of OFF to ON to the next, 1 / max_hz to 1 / min_hz long. A
    pixel is steady with `least_periods` and a standard deviation of at most `spread` of their
    mean. Raises ConfigError unless 0 < min_hz < max_hz.
    """
    if not 0 < min_hz < max_hz:
        raise ConfigError(f"min_hz={min_hz}, max_hz={max_hz}: 0 < min_hz < max_hz is meant")
    source = as_source(events_or_source)
    shape = (source.size.height, source.size.width)
    seen, risen = np.full(shape, -1, np.int8), np.full(shape, _kernels.NEVER)
    count, total, squares = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    least_us, most_us = int(np.ceil(1e6 / max_hz)), int(1e6 / min_hz)
    for block in source:
        _kernels.add_periods(
            block.t, block.x, block.y, block.p, least_us, most_us,
            seen, risen, count, total, squares,
        )  # fmt: skip
    number = np.maximum(count, 1)
    mean = total / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 0))
    steady = (count >= least_periods) & (deviation <= spread * mean)
    frequency = np.full(shape, np.nan)
    frequency[steady] = 1e6 / mean[steady]
    return Flicker(frequency, count)


def flicker(
    events_or_source: Events | Source,
    *,
    min_hz: float = 5.0,
    max_hz: float = 1000.0,
    style: Style = PAPER,
) -> Plot:
    """Plot the frequency of each pixel that flickers steadily, as `measure_flicker` finds it.

    Few pixels are drawn larger than they are, so that they can be seen; the words above say so.
    """
    frequency = measure_flicker(events_or_source, min_hz=min_hz, max_hz=max_hz).frequency_hz
    found = frequency[np.isfinite(frequency)]
    with style.drawing(map_height(frequency.shape, style)) as figure:
        axes = figure.add_subplot()
        sensor_axes(axes, frequency.shape)
        if not found.size:
            say_none(axes, style, "no pixel flickers steadily", scales="")
            return figure
        low, high = float(found.min()), float(found.max())
        norm = LogNorm(low, high) if high > 3 * low else Normalize(low - 0.5, high + 0.5)
        side_pt, larger = _side_pt(found.size, frequency.shape, style)
        if larger:
            picture = _marks(axes, frequency, side_pt, norm, style)
        else:
            picture = axes.imshow(frequency, cmap=style.counts_map(), norm=norm)
        colour_bar(figure, axes, picture, "flicker (Hz)")
        words = [count_text(found.size, "pixel"), *(["drawn larger"] if larger else [])]
        note(axes, style, *words, f"median {hz_text(float(np.median(found)))}")
    return figure


def _side_pt(count: int, shape: tuple[int, ...], style: Style) -> tuple[float, bool]:
    """Return the side of the marks of so many pixels, and whether it is beyond that of a pixel.

    All of them cover a share of the map, each not more than half a letter's height.
    """
    width_pt = map_width_mm(style) * _PT_PER_MM
    pixel_pt = width_pt / shape[1]
    covered = _COVERED * width_pt**2 * shape[0] / shape[1]
    side_pt = min(math.sqrt(covered / count), style.font_pt / 2)
    return side_pt, side_pt > 1.2 * pixel_pt


def _marks(
    axes: Axes, frequency: NDArray[np.float64], side_pt: float, norm: Normalize, style: Style
) -> ScalarMappable:
    """Draw a square for each pixel with a frequency."""
    rows, columns = np.nonzero(np.isfinite(frequency))
    return axes.scatter(
        columns, rows, c=frequency[rows, columns], s=side_pt**2, marker="s", linewidths=0,
        cmap=style.counts_map(), norm=norm, clip_on=False,
    )  # fmt: skip
