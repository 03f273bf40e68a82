"""Flow of events from the normal flow around them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dvskit._checks import check_fields, check_whole, checked
from dvskit.events import Events, Size, Source, as_source
from dvskit.motion.plane_flow import Flow, FlowStep, PlaneFlow, flow_blocks


@dataclass(frozen=True, slots=True)
class PooledFlow:
    """Velocity from the mean of normal flow nearby: the direction of motion, not of the edge.

    After Akolkar et al. 2022, "Real-time high speed motion prediction using fast aperture-robust
    event-driven visual flow". Normal flow is averaged over squares that reach 0 to 20 pixels around
    the event's cell of 5x5 pixels, in steps of 5. The square of the largest mean speed gives the
    velocity, since edges along the motion have the smallest normal flow. Where edges of all
    directions lie close together, the mean is up to half too short.

    tau_us  the weight of a normal flow falls to 37 % in this time; the paper takes the latest 500
    normal  the normal flow, a PlaneFlow

    Raises ConfigError for values out of range.

        method = dvskit.motion.PooledFlow(tau_us=10_000)
        for flow in dvskit.motion.flow_blocks(dvskit.open_events("discs.raw"), method):
            flow.vx, flow.vy  # (n,) float32 in px/s, along the motion
    """

    tau_us: int = checked(check_whole, 1, 10_000_000, default=20_000)
    normal: PlaneFlow = field(default_factory=PlaneFlow)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> FlowStep:
        """Return the step of one pass: two bytes per pixel beside those of the normal flow."""
        return _PooledStep(self, size)


class _PooledStep:
    def __init__(self, method: PooledFlow, size: Size) -> None:
        from dvskit.motion.pooled_flow_kernels import CELL_PX, LEVELS, SUMS

        self._normal, self._tau_us = method.normal.start(size), float(method.tau_us)
        rows, columns = (-(-side // CELL_PX) + 2 * (LEVELS - 1) for side in size[::-1])
        self._cells = np.zeros((rows, columns, SUMS), np.float64)
        self._origin_us: int | None = None

    def __call__(self, events: Events) -> Flow:
        return self._pool(self._normal(events))

    def finish(self) -> Flow:
        return self._pool(self._normal.finish())

    def _pool(self, flow: Flow) -> Flow:
        from dvskit.motion.pooled_flow_kernels import pool

        if not len(flow):
            return flow
        events = flow.events
        if self._origin_us is None:
            self._origin_us = int(events.t[0])
        vx, vy = np.empty_like(flow.vx), np.empty_like(flow.vy)
        self._origin_us = pool(
            (events.t, events.x, events.y), (flow.vx, flow.vy), self._cells, self._origin_us,
            self._tau_us, vx, vy,
        )  # fmt: skip
        return Flow(events, vx, vy)


def pooled_flow(events_or_source: Events | Source, *, tau_us: int = 20_000) -> Flow:
    """Return the velocity of each event from the normal flow around it; see PooledFlow.

    All events are read; `flow_blocks(source, PooledFlow())` is for long or live streams. Raises
    ConfigError for values out of range.

        flow = dvskit.motion.pooled_flow(dvskit.load_events("discs.raw"))
        angle = np.degrees(np.arctan2(flow.vy, flow.vx))  # (50342,) float32; 90 is down
    """
    source = as_source(events_or_source)
    return Flow.concatenate(list(flow_blocks(source, PooledFlow(tau_us=tau_us))), source.size)
