"""Where on the sensor it flickers, and how fast."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Events, Source, as_source
from dvskit.render.plots import _kernels
from dvskit.render.plots.pixel_map import map_height, sensor_axes
from dvskit.render.plots.style import PAPER, Plot, Style, colour_bar, count_text, note, say_none
from dvskit.render.plots.units import hz_text


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
    """Plot the frequency of each pixel that flickers steadily, as `measure_flicker` finds it."""
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
        picture = axes.imshow(frequency, cmap=style.counts_map(), norm=norm)
        colour_bar(figure, axes, picture, "flicker (Hz)")
        note(
            axes,
            style,
            count_text(found.size, "pixel"),
            f"median {hz_text(float(np.median(found)))}",
        )
    return figure
