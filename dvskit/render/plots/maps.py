"""Maps of the sensor: events per pixel with color bars, and the flow of events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from dvskit.errors import count_of
from dvskit.events import Events, Source, as_source
from dvskit.filters import hot_pixels
from dvskit.motion import Flow
from dvskit.render._numbers import number_text
from dvskit.render.colormap import flow_palette, flow_rows, rgb, wheel_rows
from dvskit.render.motion_styles import FlowCells
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    log_ticks,
    note,
    say_none,
    whole_ticks,
)

_PIXELS_PER_MM = 5
_BAR = 0.07  # room for a color bar, relative to the map's width
_BELOW_MM = 10.0  # height of a color bar and its text below a map
_BAR_PT = 4.5  # height of a bar below, for text of 8 points
_GAP_PT = 4.0  # gap between the text of a picture and the part below
_MOST_CIRCLES = 100  # more would hide the marked pixels


class PixelCounter:
    """A Source that counts its events while it is read: counts (2, H, W) int64, 0 OFF and 1 ON."""

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self.shape = (self.size.height, self.size.width)
        self.counts = np.zeros((2, *self.shape), np.int64)
        self._source = source

    def __iter__(self) -> Iterator[Events]:
        width, height = self.size
        counts = np.zeros(2 * height * width, np.int64)
        self.counts = counts.reshape(2, height, width)
        for block in self._source:
            at = (block.p * np.int64(height) + block.y) * np.int64(width) + block.x
            counts += np.bincount(at, minlength=len(counts))
            yield block


def count_pixels(events_or_source: Events | Source) -> NDArray[np.int64]:
    """Return the events of each pixel, (2, H, W): 0 OFF and 1 ON."""
    counter = PixelCounter(as_source(events_or_source))
    for _ in counter:
        pass
    return counter.counts


def pixel_map(events_or_source: Events | Source, *, style: Style = PAPER) -> Plot:
    """Plot the number of events of each pixel, logarithmic from 1:10 on, with hot pixels circled.

    Hot pixels are those of `hot_pixels`; of more than 100, those with the most events are circled.

        figure = dvskit.render.plots.pixel_map(dvskit.open_events("noisy.raw"))
        dvskit.render.plots.save(figure, "pixels.pdf")
    """
    total = count_pixels(events_or_source).sum(0)
    hot = hot_pixels(total)
    with style.drawing(map_height(total.shape, style)) as figure:
        axes = figure.add_subplot()
        show_map(figure, axes, total, "events per pixel", style)
        if total.any():
            circled = circle(axes, hot, total, style)
            note(axes, style, count_of(int(total.sum()), "event"), *hot_words(hot, circled, style))
    return figure


def map_height(
    shape: tuple[int, ...], style: Style, *, beside: float = _BAR, below_mm: float = _BELOW_MM
) -> float:
    """Return the height of a figure of one map, relative to its width.

    `beside` is the room right of the map, relative to the map's width; if that part is below
    (`bar_below`), it is `below_mm` high for text of 8 points.
    """
    words_mm = style.font_pt / 8.0
    height_mm = map_width_mm(shape, style, beside=beside) * shape[0] / shape[1] + 14.0 * words_mm
    # The label of a bar beside the map is vertical; so is that of the rows.
    least_mm = 27.0 * words_mm
    if bar_below(style, shape):
        height_mm += below_mm * words_mm
        least_mm = (25.0 + below_mm) * words_mm
    return float(np.clip(height_mm, least_mm, max(1.6 * style.width_mm, least_mm))) / style.width_mm


def map_width_mm(shape: tuple[int, ...], style: Style, *, beside: float = _BAR) -> float:
    """Return the approximate width of a map beside its text."""
    words_mm = style.font_pt / 8.0
    if bar_below(style, shape):
        return style.width_mm - 16.0 * words_mm
    return (style.width_mm - 33.0 * words_mm) / (1 + beside)


def sensor_axes(axes: Axes, shape: tuple[int, ...]) -> None:
    """Set up the axes of a sensor: pixels, row 0 at the top, square pixels."""
    axes.set(
        xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal",
        xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5),
    )  # fmt: skip
    axes.spines[:].set_visible(True)
    for axis in (axes.xaxis, axes.yaxis):
        whole_ticks(axis, 4, steps=[1, 2, 4, 5, 10])


def show_map(figure: Plot, axes: Axes, values: NDArray[Any], name: str, style: Style) -> None:
    """Show positive values of pixels with a color bar, without zeros; logarithmic from 1:10 on."""
    sensor_axes(axes, values.shape)
    some = values[values > 0]
    if not some.size:
        say_none(axes, style, scales="")
        return
    low, high = float(some.min()), float(some.max())
    below = bar_below(style, values.shape)
    block = max(1, math.ceil(values.shape[1] / (_PIXELS_PER_MM * style.width_mm)))
    if block > 1:
        name += f"{' ' if below else chr(10)}(maximum of {block} × {block} pixels)"
        values = most_of_blocks(values, block)
    picture = axes.imshow(
        np.ma.masked_less_equal(values, 0),
        extent=(-0.5, values.shape[1] * block - 0.5, values.shape[0] * block - 0.5, -0.5),
        cmap=style.counts_map(),
        norm=LogNorm(low, high) if high >= 10 * low else Normalize(0, high),
    )  # fmt: skip
    bar = color_bar(figure, axes, picture, style, name, below=below)
    if not isinstance(picture.norm, LogNorm):
        whole_ticks(bar.xaxis if below else bar.yaxis, 5)


def most_of_blocks(values: NDArray[Any], block: int) -> NDArray[Any]:
    """Return the largest value of each block x block pixels, which print can show."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % block), (0, -width % block)))
    rows, columns = padded.shape[0] // block, padded.shape[1] // block
    # (rows * block, columns * block) -> (rows, block, columns, block)
    most: NDArray[Any] = padded.reshape(rows, block, columns, block).max((1, 3))
    return most


def hot_words(hot: NDArray[np.bool_], circled: int, style: Style) -> tuple[str, ...]:
    """Return the text about hot pixels, `circled` of which are circled."""
    count = int(np.count_nonzero(hot))
    if not count:
        return ("no hot pixels",)
    words = count_of(count, "hot pixel")
    if circled == count:
        return (f"{words} (circled)",)
    return (
        words,
        f"{circled} circled" if style.narrow else f"the {circled} with most events circled",
    )


def circle(axes: Axes, chosen: NDArray[np.bool_], values: NDArray[Any], style: Style) -> int:
    """Circle the chosen pixels, at most 100: those of the largest values. Return how many."""
    places = np.flatnonzero(chosen)
    order = np.argsort(-values.ravel()[places], kind="stable")
    rows, columns = np.divmod(places[order[:_MOST_CIRCLES]], chosen.shape[1])
    axes.scatter(
        columns, rows, s=18, facecolors="none", edgecolors=style.theme.text, linewidths=0.7,
        label="hot", clip_on=False,
    )  # fmt: skip
    return len(rows)


def bar_below(style: Style, shape: tuple[int, ...]) -> bool:
    """Return whether a picture (H, W) has its color bar below: if the page or it is narrow."""
    return style.narrow or shape[0] < 0.45 * shape[1]


def color_bar(
    figure: Plot, axes: Axes, picture: ScalarMappable, style: Style, label: str = "",
    *, below: bool = False,
) -> Axes:  # fmt: skip
    """Put a color bar beside a picture, equally high, or below, equally wide; return its axes."""
    if below:
        bar = axes_below(axes, _BAR_PT * style.font_pt / 8)
    else:
        bar = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    figure.colorbar(
        picture, cax=bar, label=label, orientation="horizontal" if below else "vertical"
    )
    bar.spines[:].set_linewidth(0.6)
    if isinstance(picture.norm, LogNorm):
        low, high = float(picture.norm.vmin), float(picture.norm.vmax)  # type: ignore[arg-type]
        log_ticks(bar.xaxis if below else bar.yaxis, low, high)
    return bar


def axes_below(axes: Axes, height_pt: float) -> Axes:
    """Return axes of a height below others and their text, with the same width."""

    def place(_: Any, renderer: Any) -> Bbox:
        figure = axes.get_figure()
        assert figure is not None
        frame = axes.get_window_extent()
        words = axes.xaxis.get_tightbbox(renderer)
        foot = frame.y0 if words is None else min(words.y0, frame.y0)
        to_dots = figure.dpi / 72
        top = foot - _GAP_PT * to_dots
        box = Bbox.from_extents(frame.x0, top - height_pt * to_dots, frame.x1, top)
        return box.transformed(figure.transFigure.inverted())

    below = axes.inset_axes((0.0, -0.5, 1.0, 0.1))
    below.set_axes_locator(place)
    return below


_WHEEL_PX = 200
_LEAST_EVENTS = 10  # of a cell with an arrow
_BESIDE = 0.3  # room for the wheel, relative to the map's width


def flow(
    blocks: Flow | Iterable[Flow], *, full_px_s: float | None = None, style: Style = PAPER
) -> Plot:
    """Plot the latest velocity of each pixel, with the colors as a wheel.

    blocks     of one size, such as those of `flow_blocks`
    full_px_s  the speed of full saturation; None: the fastest tenth of the pixels has it

        blocks = dvskit.motion.flow_blocks(dvskit.open_events("discs.raw"))
        figure = dvskit.render.plots.flow(blocks, full_px_s=100)
        dvskit.render.plots.save(figure, "flow.png")
    """
    latest, known, size = None, 0, None
    for block in [blocks] if isinstance(blocks, Flow) else blocks:
        size = block.events.sensor_size
        if latest is None:
            latest = np.full((2, size.height, size.width), np.nan, np.float32)
        at = block.events.y[block.known], block.events.x[block.known]
        latest[0][at], latest[1][at] = block.vx[block.known], block.vy[block.known]
        known += len(at[0])
    shape = (1, 1) if size is None else (size.height, size.width)
    with style.drawing(map_height(shape, style, beside=_BESIDE, below_mm=24)) as figure:
        axes = figure.add_subplot()
        sensor_axes(axes, shape)
        if latest is None or not known:
            say_none(axes, style, "no flow", scales="")
            return figure
        shown = ~np.isnan(latest[0])
        if full_px_s is None:
            full_px_s = float(np.quantile(np.hypot(*latest[:, shown]), 0.9))
        rows = np.zeros(shape, np.uint8)
        rows[shown] = flow_rows(latest[0, shown], latest[1, shown], full_px_s)
        palette = flow_palette(style.theme)
        axes.imshow(palette[rows], interpolation="nearest")
        box = (0.36, -0.75, 0.28, 0.45) if style.narrow else (1.04, 0.35, 0.26, 0.5)
        wheel = axes.inset_axes(box)
        wheel.imshow(palette[wheel_rows(_WHEEL_PX)])
        wheel.set(xticks=[], yticks=[])
        wheel.text(
            0.5, -0.04, f"{number_text(full_px_s, 2)} px/s", transform=wheel.transAxes,
            ha="center", va="top",
        )  # fmt: skip
        wheel.spines[:].set_visible(False)
        note(axes, style, f"flow of {count_of(known, 'event')}")
    return figure


def flow_arrows(
    blocks: Flow | Iterable[Flow], *, full_px_s: float | None = None, style: Style = PAPER
) -> Plot:
    """Plot the mean velocity in each cell of a grid as an arrow, over the pixels with events.

    blocks     of one size, such as those of `flow_blocks`
    full_px_s  the speed of an arrow as long as a cell; None: a tenth of the arrows is longer

    The grid has 16 cells along the longer side. Cells of fewer than 10 events with a known velocity
    have no arrow.

        events = dvskit.load_events("discs.raw").between(400_000, 500_000)
        flow = dvskit.motion.plane_flow(events, dvskit.motion.PooledFlow())
        figure = dvskit.render.plots.flow_arrows(flow)
        dvskit.render.plots.save(figure, "flow_arrows.svg")
    """
    cells, sums, seen = None, np.zeros((3, 1)), np.zeros((1, 1), bool)
    for block in [blocks] if isinstance(blocks, Flow) else blocks:
        if cells is None:
            cells = FlowCells.on(block.events.sensor_size)
            sums = np.zeros((3, cells.shape[0] * cells.shape[1]))
            seen = np.zeros((cells.size.height, cells.size.width), bool)
        seen[block.events.y, block.events.x] = True
        sums += cells.sums(block)
    with style.drawing(map_height(seen.shape, style, beside=_BESIDE, below_mm=24)) as figure:
        axes = figure.add_subplot()
        sensor_axes(axes, seen.shape)
        arrows = np.empty((0, 4)) if cells is None else cells.arrows(sums, _LEAST_EVENTS)
        if cells is None or not len(arrows):
            say_none(axes, style, "no flow", scales="")
            return figure
        if full_px_s is None:
            full_px_s = float(np.quantile(np.hypot(*arrows[:, 2:].T), 0.9))
        axes.imshow(
            np.array([rgb(style.theme.ground), rgb(style.theme.grid)], np.uint8)[seen.astype(int)],
            interpolation="nearest",
        )
        drawn = axes.quiver(
            *arrows.T, color=style.theme.on, angles="xy", scale_units="xy", pivot="middle",
            scale=full_px_s / cells.cell_px, width=0.08 * cells.cell_px, units="xy",
        )  # fmt: skip
        at = (0.5, -0.4) if style.narrow else (1.17, 0.6)
        axes.quiverkey(
            drawn, *at, full_px_s, f"{number_text(full_px_s, 2)} px/s", coordinates="axes",
            labelpos="S",
        )  # fmt: skip
        note(axes, style, f"flow of {count_of(int(sums[2].sum()), 'event')}")
    return figure
