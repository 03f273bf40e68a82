"""Words beside points of a curve, none over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit.render.plots.style import Plot, Style

_GAP_PT = 2.0  # between words and what they name
_LED_PT = 5.0  # from here on a line leads to them
_OVER_CURVE = 6.0  # as bad as so many points farther away, for each point of length
_WORST = 60.0  # beyond, words are better left out
_STEPS = 9  # of half a line each, up and to the sides


class Box(NamedTuple):
    """A rectangle, in points from the lower left corner of the axes."""

    left: float
    low: float
    right: float
    high: float

    def holds(self, points: NDArray[np.float64]) -> int:
        """Return how many of some points (n, 2) lie in it."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left) & (x < self.right) & (y > self.low) & (y < self.high)
        return int(inside.sum())

    def nearest(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return its place that is nearest to a point."""
        return np.clip(point, [self.left, self.low], [self.right, self.high])

    def meets(self, other: Box) -> bool:
        """Return whether two rectangles have some of the page in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.low < other.high and other.low < self.high


@dataclass
class _Drawn:
    """What is drawn already: words, and places along lines (n, 2)."""

    boxes: list[Box]
    lines: NDArray[np.float64]

    def crossed(self, line: NDArray[np.float64]) -> int:
        """Return how many places of the lines are on another one's."""
        if not len(line):
            return 0
        low, high = line.min(0) - 0.5, line.max(0) + 0.5
        near = self.lines[((self.lines > low) & (self.lines < high)).all(1)]
        apart = np.abs(near[None] - line[:, None]).max(2)
        return int((apart < 0.5).sum())


def name_points(
    figure: Plot,
    axes: Axes,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    names: Sequence[tuple[float, float, str]],
    style: Style,
) -> None:
    """Write names (x, y, text) at points of a curve, the first of them nearest to their points.

    All lie within the axes and none over another; a thin line leads to those that stand farther
    off. The axes need their limits and scales already. A name without room is left out.
    """
    figure.draw_without_rendering()  # for the place of the axes
    to_pt = 72 / figure.dpi
    frame = axes.get_window_extent()

    def points(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        places = axes.transData.transform(np.column_stack([x, y]))
        return np.asarray((places - [frame.x0, frame.y0]) * to_pt)

    drawn = _Drawn([], _every_point(points(*curve)))
    ends = (frame.width * to_pt, frame.height * to_pt)
    for x, y, text in names:
        at = points(np.array([x]), np.array([y]))[0]
        size = (0.64 * style.small_pt * len(text) + 1.0, 1.05 * style.small_pt)
        box = _best(at, size, ends, drawn)
        if box is not None:
            lead = box.nearest(at) - at
            led = bool(np.hypot(*lead) > _LED_PT)
            drawn.boxes.append(box)
            if led:
                line = _every_point(np.array([at, at + lead]))
                drawn.lines = np.concatenate([drawn.lines, line])
            middle = np.array([box.left + box.right, box.low + box.high]) / 2
            _write(axes, (x, y, text), middle - at, lead if led else None, style)


def _write(
    axes: Axes,
    name: tuple[float, float, str],
    shift: NDArray[np.float64],
    lead: NDArray[np.float64] | None,
    style: Style,
) -> None:
    """Write a name, its middle so many points from what it names, and the line that leads to it."""
    x, y, text = name
    at = (x, y)
    colour = style.theme.on
    if lead is not None:
        axes.annotate(
            "", at, xytext=tuple(lead), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0.0,
                        "shrinkB": 1.0},
        )  # fmt: skip
    axes.annotate(
        text, at, xytext=tuple(shift), textcoords="offset points", ha="center",
        va="center_baseline", fontsize=style.small_pt, color=colour,
    )  # fmt: skip


def _best(
    at: NDArray[np.float64], size: tuple[float, float], ends: tuple[float, float], drawn: _Drawn
) -> Box | None:
    """Return the best place of words of a size near a point, None where there is no room."""
    best, least = None, _WORST
    for box, cost in sorted(_places(at, size), key=lambda place: place[1]):
        if cost >= least:
            break
        if box.left < 0 or box.low < 0 or box.right > ends[0] or box.high > ends[1]:
            continue
        lead = _every_point(np.array([at, box.nearest(at)]))
        if any(box.meets(other) or other.holds(lead) for other in drawn.boxes):
            continue
        total = cost + _OVER_CURVE * (box.holds(drawn.lines) + drawn.crossed(lead[6:]))
        if total < least:
            best, least = box, total
    return best


def _places(at: NDArray[np.float64], size: tuple[float, float]) -> Iterator[tuple[Box, float]]:
    """Yield places for words of a size, and how far off each is: above the point, and beside it."""
    (x, y), (width, height) = at, size
    for sideward in range(-_STEPS, _STEPS + 1):
        for upward in range(_STEPS + 1):
            shift, rise = sideward * height / 2, _GAP_PT + upward * height / 2
            left, low = x + shift - width / 2, y + rise
            far = 1.5 * abs(shift) + upward * height / 2
            yield Box(left, low, left + width, low + height), far
    for left in (x + 2 * _GAP_PT, x - 2 * _GAP_PT - width):
        low = y - 0.8 * height
        yield Box(left, low, left + width, low + height), width / 2


def _every_point(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places along a line (n, 2), half a point apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    steps = np.arange(0.0, along[-1] + 0.5, 0.5)
    return np.column_stack([np.interp(steps, along, line[:, i]) for i in (0, 1)])
