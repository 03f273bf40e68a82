"""Frames of the flow of events."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.events import Events, Size
from dvskit.motion import Flow, FlowMethod, PlaneFlow
from dvskit.render._numbers import check_range
from dvskit.render.colormap import Theme
from dvskit.render.flow_colours import flow_palette, flow_rows
from dvskit.render.frames.styles import StyleRun

_LEAST_US = 5_000  # sparser frames show no shapes
_NEVER = np.iinfo(np.int64).min // 2


@check_arguments
@dataclass(frozen=True, slots=True)
class FlowColours:
    """The latest known velocity of each pixel: its direction as hue, its speed as saturation.

    full_px_s  the speed of full saturation
    method     of the flow; events appear when their flow is known
    window_us  how long events stay visible; None: 3 frames, at least 5 ms

    A video shows the colours as a wheel.
    """

    full_px_s: float = 500.0
    method: FlowMethod = field(default_factory=PlaneFlow)
    window_us: int | None = None

    def __post_init__(self) -> None:
        check_range(1, 10**6, full_px_s=self.full_px_s)
        check_range(1, 10**15, window_us=self.window_us)

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colours."""
        return flow_palette(theme)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _FlowRun(self, size, self.window_us or max(_LEAST_US, round(3 * frame_us)))


class _FlowRun:
    def __init__(self, style: FlowColours, size: Size, window_us: int) -> None:
        self._step, self._full_px_s = style.method.start(size), style.full_px_s
        self._window_us = window_us
        self._rows = np.zeros((size.height, size.width), np.uint8)
        self._since = np.full((size.height, size.width), _NEVER, np.int64)

    def add(self, events: Events, frame_us: int) -> None:
        self._put(self._step(events), frame_us)

    def finish(self, frame_us: int) -> None:
        self._put(self._step.finish(), frame_us)

    def _put(self, flow: Flow, frame_us: int) -> None:
        known, found = flow.known, flow.events
        at = found.y[known], found.x[known]
        self._rows[at] = flow_rows(flow.vx[known], flow.vy[known], self._full_px_s)
        self._since[at] = frame_us

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        index[:] = np.where(frame_us - self._since < self._window_us, self._rows, 0)
