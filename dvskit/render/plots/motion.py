"""The motion over a recording, and its gyroscope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit.errors import count_of
from dvskit.motion import MotionTable
from dvskit.render._numbers import span_unit
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, note, say_none
from dvskit.streams import Imu

# The title of a panel, and the endings of the names of the parameters in it.
_PANELS = {"velocity (px/s)": "_px_s", "angular velocity (rad/s)": "_rad_s", "zoom (1/s)": "_1_s"}
_ALONE = ("gyroscope x", "gyroscope y", "gyroscope z")
_BESIDE = ("gyroscope", "_y", "_z")  # in the colours of wx, wy and wz, which the legend names
_MARKED = 40  # windows


def motion(motions: MotionTable, *, imu: Imu | None = None, style: Style = PAPER) -> Plot:
    """Plot the parameters of a motion over time, from the first window on.

    imu  the gyroscope's angular velocity about x, y and z is drawn as thin lines

    Windows of too few events are gaps, and so are still ones that lie far from all others; both
    are counted above.

        recording = dvskit.open_events("davis").between(0, 300_000)
        motions = dvskit.motion.motion_over_time(
            recording, "rotation", window_us=50_000, camera=recording.intrinsics()
        )
        figure = dvskit.render.plots.motion(motions, imu=recording.imu())
        dvskit.render.plots.save(figure, "motion.pdf")
    """
    shown = {
        title: [k for k, name in enumerate(motions.names) if name.endswith(ending)]
        for title, ending in _PANELS.items()
    }
    imu = None if imu is None or not len(imu) or not len(motions) else imu
    panels = [title for title, which in shown.items() if which or (imu and "rad/s" in title)]
    with style.drawing(0.15 + 0.4 * len(panels)) as figure:
        every = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)).ravel().tolist()
        origin_us = int(motions.start_us[0]) if len(motions) else 0
        span_us = int(motions.stop_us[-1]) - origin_us if len(motions) else 0
        unit = span_unit(span_us)
        every[-1].set_xlabel(f"time ({unit.name})")
        for axes, title in zip(every, panels, strict=True):
            axes.set_ylabel(title)
            grid_lines(axes, style)
            if not len(motions):
                say_none(axes, style, scales="x")
                continue
            if imu and "rad/s" in title:
                at = (imu.t - origin_us) / unit.scale
                alone = len(shown[title]) < 3
                _draw(axes, at, np.radians(imu.gyroscope), _ALONE if alone else _BESIDE, style)
            at = (motions.t_us - origin_us) / unit.scale
            labels = [motions.names[k].partition("_")[0] for k in shown[title]]
            _draw(axes, at, _without_chance(motions, shown[title]), labels, style)
            axes.set_xlim(0, max(span_us, 1) / unit.scale)
            legend_above(axes)
        still = int(motions.still.sum())
        remarks = ((motions.unknown, "of too few events"), (still, "still"))
        said = (f"{count} {words}" for count, words in remarks if count)
        note(every[0], style, count_of(len(motions), "window"), *said)
    return figure


def _without_chance(motions: MotionTable, which: list[int]) -> NDArray[np.float64]:
    """Return some parameters, with NaN for windows that are still and far from the others."""
    values = motions.parameters[:, which].copy()
    moving = values[~motions.still & np.isfinite(values).all(1)]
    if moving.size and values.size:
        low, high = moving.min(), moving.max()
        far = (values < 2 * low - high) | (values > 2 * high - low)
        values[motions.still & far.any(1)] = np.nan
    return values


def _draw(
    axes: Axes, at: NDArray[Any], values: NDArray[Any], labels: Sequence[str], style: Style
) -> None:
    """Draw columns over time; those of a gyroscope are thin."""
    theme = style.theme
    gyroscope = labels in (_ALONE, _BESIDE)
    for column, label, colour in zip(
        values.T, labels, (theme.on, theme.off, theme.text), strict=False
    ):
        axes.plot(
            at, column, color=colour, label=label, markersize=3,
            linewidth=0.5 if gyroscope else 1, alpha=0.5 if gyroscope else 1,
            marker="." if len(at) < _MARKED and not gyroscope else "",
        )  # fmt: skip
