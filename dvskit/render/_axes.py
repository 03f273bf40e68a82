"""Ticks, and the box with its labels drawn into a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.render._camera import TIME_LENGTH, Camera
from dvskit.render._ticks import nice_step, tick_text, time_unit
from dvskit.render.colormap import Theme


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the box: a title, and how its values (0 .. stop) map to box coordinates."""

    title: str
    stop: float
    origin: float
    scale: float
    whole: bool

    def place(self, value: float) -> float:
        """Return the box coordinate of a value."""
        return self.origin + self.scale * value

    def ticks(self, count: float) -> list[tuple[float, str]]:
        """Return about `count` values and their labels."""
        step = nice_step(self.stop, count, whole=self.whole)
        last = math.floor(self.stop / step + 1e-9)
        return [(i * step, tick_text(i * step, step)) for i in range(last + 1)]


def box_axes(size: Size, span_us: int) -> tuple[Axis, Axis, Axis]:
    """Return the axes of time, y and x, in the box's order."""
    unit, length = time_unit(span_us)
    stop = max(span_us, 1) / length
    pixel = 1 / max(size)
    return (
        Axis(f"time ({unit})", stop, -TIME_LENGTH / 2, TIME_LENGTH / stop, whole=False),
        Axis("y (px)", size.height, size.height * pixel / 2, -pixel, whole=True),
        Axis("x (px)", size.width, -size.width * pixel / 2, pixel, whole=True),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Where an axis is labelled: the edge's two ends on the screen and the way out of the box."""

    fixed: NDArray[np.float64]  # a corner on the edge, box coordinates
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    outward: NDArray[np.float64]

    @property
    def length_px(self) -> float:
        """Pixels from end to end."""
        return float(np.hypot(*(self.stop - self.start)))


def back_signs(camera: Camera) -> NDArray[np.float64]:
    """Return, for each axis, the side (-1 or 1) of the box's face turned away from the camera."""
    return np.where(camera.turn[2] >= 0, -1.0, 1.0)


def label_edge(camera: Camera, halves: NDArray[np.float64], axis: int) -> Edge:
    """Return the outline edge along `axis` to label: the lowest, for the upright axis the leftmost.

    An edge is on the outline where one of its faces is turned to the camera and the other away.
    """
    back = back_signs(camera)
    first, second = (i for i in range(3) if i != axis)
    centre = camera.project(np.zeros((1, 3)))[0, :2]
    found: list[tuple[float, Edge]] = []
    for flip in (first, second):
        fixed = back * halves
        fixed[flip] = -fixed[flip]
        ends = np.stack([fixed, fixed])
        ends[:, axis] = (-halves[axis], halves[axis])
        screen = camera.project(ends)[:, :2]
        along = screen[1] - screen[0]
        outward = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        middle = screen.mean(axis=0)
        if outward @ (middle - centre) < 0:
            outward = -outward
        rank = -middle[0] if axis == 1 else middle[1]
        found.append((float(rank), Edge(fixed, screen[0], screen[1], outward)))
    return max(found, key=lambda pair: pair[0])[1]


def draw_box(
    panel: Any,
    camera: Camera,
    halves: NDArray[np.float64],
    axes: tuple[Axis, Axis, Axis],
    theme: Theme,
    unit_px: float,
) -> None:
    """Draw the three far faces with their grids, and ticks and titles, on matplotlib axes.

    `panel` has its origin at the top left and pixels as units; `unit_px` scales text and lines.
    """
    edges = [label_edge(camera, halves, axis) for axis in range(3)]
    ticks = [axes[i].ticks(edges[i].length_px / (74 * unit_px)) for i in range(3)]
    grid, rims = _far_faces(camera, halves, axes, ticks)
    _draw_lines(panel, grid, theme.grid, 1.0 * unit_px)
    _draw_lines(panel, rims, theme.line, 1.0 * unit_px)
    for i, edge in enumerate(edges):
        marks = []
        for value, text in ticks[i]:
            point = edge.fixed.copy()
            point[i] = axes[i].place(value)
            at = camera.project(point[None])[0, :2]
            marks.append(np.stack([at, at + edge.outward * 6 * unit_px]))
            _text(panel, at + edge.outward * 11 * unit_px, edge.outward, text, theme.faint,
                  12.5 * unit_px)  # fmt: skip
        _draw_lines(panel, marks, theme.line, 1.0 * unit_px)
        away = 52 if i == 1 else 40
        _text(panel, (edge.start + edge.stop) / 2 + edge.outward * away * unit_px, edge.outward,
              axes[i].title, theme.text, 14.5 * unit_px)  # fmt: skip


def _far_faces(
    camera: Camera,
    halves: NDArray[np.float64],
    axes: tuple[Axis, Axis, Axis],
    ticks: list[list[tuple[float, str]]],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    back = back_signs(camera) * halves
    grid, rims = [], []
    for face in range(3):
        for along, across in (
            (a, b) for a in range(3) for b in range(3) if {a, b, face} == {0, 1, 2}
        ):
            line = np.stack([back, back])
            line[:, along] = (-halves[along], halves[along])
            for value, _ in ticks[across]:
                line[:, across] = axes[across].place(value)
                grid.append(camera.project(line)[:, :2])
            for side in (-1.0, 1.0):
                line[:, across] = side * halves[across]
                rims.append(camera.project(line)[:, :2])
    return grid, rims


def _draw_lines(panel: Any, lines: list[NDArray[np.float64]], colour: str, width_px: float) -> None:
    from matplotlib.collections import LineCollection

    points = 72 / panel.figure.dpi
    panel.add_collection(LineCollection(lines, colors=colour, linewidths=width_px * points))


def _text(
    panel: Any,
    at: NDArray[np.float64],
    outward: NDArray[np.float64],
    text: str,
    colour: str,
    size_px: float,
) -> None:
    across, down = float(outward[0]), float(outward[1])
    panel.text(
        float(at[0]), float(at[1]), text, color=colour, fontsize=size_px * 72 / panel.figure.dpi,
        ha="left" if across > 0.3 else "right" if across < -0.3 else "center",
        va="top" if down > 0.3 else "bottom" if down < -0.3 else "center",
    )  # fmt: skip
