"""Maps of the flow of events."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dvskit.errors import count_of
from dvskit.motion import Flow
from dvskit.render._numbers import number_text
from dvskit.render.colormap import rgb
from dvskit.render.flow_cells import FlowCells
from dvskit.render.flow_colours import flow_palette, flow_rows, wheel_rows
from dvskit.render.plots.pixel_map import map_height, sensor_axes
from dvskit.render.plots.style import PAPER, Plot, Style, note, say_none

_WHEEL_PX = 200
_LEAST_EVENTS = 10  # of a cell with an arrow
_BESIDE = 0.3  # room for the wheel, relative to the map's width


def flow(
    blocks: Flow | Iterable[Flow], *, full_px_s: float | None = None, style: Style = PAPER
) -> Plot:
    """Plot the latest velocity of each pixel, with the colours as a wheel.

    blocks     of one size, such as those of `flow_blocks`
    full_px_s  the speed of full saturation; None: the fastest tenth of the pixels has it

        blocks = dvskit.motion.flow_blocks(dvskit.open_events("discs.raw"))
        figure = dvskit.render.plots.flow(blocks, full_px_s=100)
        dvskit.render.plots.save(figure, "flow.png")
    """
    latest, known, size = None, 0, None
    for block in [blocks] if isinstance(blocks, Flow) else blocks:
        size = block.events.size
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
        flow = dvskit.motion.pooled_flow(events)
        figure = dvskit.render.plots.flow_arrows(flow)
        dvskit.render.plots.save(figure, "flow_arrows.svg")
    """
    cells, sums, seen = None, np.zeros((3, 1)), np.zeros((1, 1), bool)
    for block in [blocks] if isinstance(blocks, Flow) else blocks:
        if cells is None:
            cells = FlowCells.on(block.events.size)
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
