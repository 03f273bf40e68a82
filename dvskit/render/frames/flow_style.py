"""Frames of the flow of events: in colours of direction, or as arrows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.events import Events, Size
from dvskit.motion import Flow, FlowMethod, PlaneFlow
from dvskit.render.colormap import Theme, diverging, rgb
from dvskit.render.flow_cells import FlowCells
from dvskit.render.flow_colours import flow_palette, flow_rows
from dvskit.render.frames.styles import LEVELS, StyleRun

_LEAST_US = 5_000  # sparser frames show no shapes
_FAINT = 0.5  # of the colours of events below arrows
_ARROW = 0  # its row of the palette
_HEAD_PX, _HEAD_SHARE = 3, 0.4  # of an arrow's head; at most this share of its length
_NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True, slots=True)
class FlowColors:
    """The latest known velocity of each pixel: its direction as hue, its speed as saturation.

    full_px_s  the speed of full saturation
    method     of the flow; events without are not drawn
    window_us  how long events stay visible; None: 3 frames, at least 5 ms

    A video shows the colours as a wheel.

        style = dvskit.render.FlowColors(full_px_s=100)
        events = dvskit.load_events("discs.raw").between(0, 500_000)
        pictures = list(dvskit.render.frames(events, style=style, fps=20))  # 10 frames
    """

    full_px_s: float = checked(check_number, 1, 10**6, default=500.0)
    method: FlowMethod = field(default_factory=PlaneFlow)
    window_us: int | None = checked(check_whole, 1, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colours."""
        return flow_palette(theme)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _FlowRun(self, size, self.window_us or max(_LEAST_US, round(3 * frame_us)))


@dataclass(frozen=True, slots=True)
class FlowArrows:
    """Arrows of the mean velocity in the cells of a grid, over the events in faint colours.

    full_px_s  the speed of an arrow as long as a cell; faster ones are not drawn longer than twice
               that
    method     of the flow
    window_us  how long events stay visible, and count; None: 3 frames, at least 5 ms
    cell_px    the side of a cell; None: 16 cells along the longer side, at least 8 pixels
    least_events  cells with fewer events of known velocity have no arrow

    A video shows the arrow of `full_px_s` in a corner.

        style = dvskit.render.FlowArrows(
            full_px_s=100, method=dvskit.motion.PooledFlow(), cell_px=16
        )
        view = dvskit.render.VideoView(style=style, fps=20)
        events = dvskit.load_events("discs.raw").between(0, 500_000)
        dvskit.render.video(events, "arrows.mp4", view=view)
    """

    full_px_s: float = checked(check_number, 1, 10**6, default=500.0)
    method: FlowMethod = field(default_factory=PlaneFlow)
    window_us: int | None = checked(check_whole, 1, 10**9, default=None)
    cell_px: int | None = checked(check_whole, 2, 10**4, default=None)
    least_events: int = checked(check_whole, 1, 10**9, default=10)

    def __post_init__(self) -> None:
        check_fields(self)

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colours: of arrows, then faint ones of OFF, the ground, and of ON."""
        ground = np.array(rgb(theme.ground), float)
        faint = np.rint(ground + _FAINT * (diverging(theme, LEVELS) - ground)).astype(np.uint8)
        faint[_ARROW] = rgb(theme.text)
        colours: NDArray[np.uint8] = faint
        return colours

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _ArrowsRun(self, size, self.window_us or max(_LEAST_US, round(3 * frame_us)))


class _FlowRun:
    ground = 0

    def __init__(self, style: FlowColors | FlowArrows, size: Size, window_us: int) -> None:
        self._step, self._full_px_s = style.method.start(size), style.full_px_s
        self._window_us = window_us
        self._waiting = Flow.concatenate([], size)
        self._rows = np.zeros((size.height, size.width), np.uint8)
        self._since = np.full((size.height, size.width), _NEVER, np.int64)

    def prepare(self, events: Events) -> Events:
        """Take events; return those with a flow that is determined."""
        return self._wait(self._step(events))

    def rest(self) -> Events:
        """Return the remaining events."""
        return self._wait(self._step.finish())

    def _wait(self, flow: Flow) -> Events:
        self._waiting = Flow.concatenate([self._waiting, flow], flow.events.size)
        return flow.events

    def add(self, events: Events, frame_us: int) -> None:
        self._put(self._waiting[: len(events)], frame_us)
        self._waiting = self._waiting[len(events) :]

    def _put(self, flow: Flow, frame_us: int) -> None:
        known, found = flow.known, flow.events
        at = found.y[known], found.x[known]
        self._rows[at] = flow_rows(flow.vx[known], flow.vy[known], self._full_px_s)
        self._since[at] = frame_us

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        index[:] = np.where(frame_us - self._since < self._window_us, self._rows, self.ground)


class _ArrowsRun(_FlowRun):
    ground = LEVELS

    def __init__(self, style: FlowArrows, size: Size, window_us: int) -> None:
        super().__init__(style, size, window_us)
        self._cells, self._least = FlowCells.on(size, style.cell_px), style.least_events
        self._sums: deque[tuple[int, NDArray[np.float64]]] = deque()  # of each frame

    def _put(self, flow: Flow, frame_us: int) -> None:
        at = flow.events.y, flow.events.x
        self._rows[at] = np.where(flow.events.p, 2 * LEVELS, 1)
        self._since[at] = frame_us
        if self._sums and self._sums[-1][0] == frame_us:
            self._sums[-1][1][:] += self._cells.sums(flow)
        elif len(flow):
            self._sums.append((frame_us, self._cells.sums(flow)))

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        super().draw(frame_us, next_us, index)
        while self._sums and frame_us - self._sums[0][0] >= self._window_us:
            self._sums.popleft()
        if not self._sums:
            return
        sums = np.sum([each for _, each in self._sums], axis=0)
        for arrow in self._cells.arrows(sums, self._least):
            draw_arrow(index, arrow, self._cells.cell_px, self._full_px_s)


def draw_arrow(
    index: NDArray[np.uint8], arrow: NDArray[np.float64], cell_px: int, full_px_s: float
) -> None:
    """Draw x, y, vx, vy as an arrow with (x, y) in its middle; `full_px_s` is a cell long."""
    length = arrow[2:] * (cell_px / full_px_s)
    length *= min(1.0, 2 * cell_px / max(float(np.hypot(*length)), 1e-9))
    (tail, tip) = (
        tuple(np.rint(arrow[:2] + share * length).astype(int).tolist()) for share in (-0.5, 0.5)
    )
    head = min(_HEAD_PX / max(float(np.hypot(*length)), 1e-9), _HEAD_SHARE)
    cv2.arrowedLine(index, tail, tip, _ARROW, 1, cv2.LINE_8, 0, head)
