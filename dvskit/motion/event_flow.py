"""The flow of each event: the velocity of its edge across the edge, or of the picture around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_whole, checked
from dvskit.events import Events, Size, Source, as_source
from dvskit.formats.npz import NpzSink

Velocities = NDArray[np.float32]

_SHARED_US = 1 << 31  # times count from an origin, in 32 bits
_FAR_US = 1 << 20  # kept before the origin; longer than a burst, a window and a wait


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Velocities of events: columns vx, vy (n,) float32 in px/s beside them, NaN for unknown.

    Slices are flow, too: `flow[:100]`.

        flow = dvskit.motion.plane_flow(dvskit.load_events("discs.raw"))
        flow.known.mean()  # 0.94 of the events have a velocity
        speed = np.hypot(flow.vx, flow.vy)  # (n,) float32 in px/s
        fast = flow.events[speed > 100]  # Events
    """

    events: Events
    vx: Velocities
    vy: Velocities

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, part: slice) -> Flow:
        return Flow(self.events[part], self.vx[part], self.vy[part])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where the velocity is known, (n,)."""
        return ~np.isnan(self.vx)

    @classmethod
    def concatenate(cls, parts: list[Flow], size: tuple[int, int]) -> Flow:
        """Join parts in order of time."""
        none = np.empty(0, np.float32)
        return cls(
            Events.concatenate([part.events for part in parts], size=size),
            np.concatenate([none, *(part.vx for part in parts)]),
            np.concatenate([none, *(part.vy for part in parts)]),
        )


class FlowStep(Protocol):
    """One pass over a stream: events are held back until their velocity is determined.

    A custom step has these two methods. This one holds nothing back:

        class BeltStep:  # a conveyor belt moves everything to the right, at 80 px/s
            def __call__(self, events):
                vx = np.full(len(events), 80, np.float32)
                return dvskit.motion.Flow(events, vx, np.zeros_like(vx))

            def finish(self):
                return dvskit.motion.Flow.concatenate([], size=(128, 128))

        step = BeltStep()
        parts = [step(block) for block in dvskit.open_events("discs.raw")]
        flow = dvskit.motion.Flow.concatenate([*parts, step.finish()], size=(128, 128))
    """

    def __call__(self, events: Events) -> Flow:
        """Take a block; return the flow of the events that are no longer held back."""

    def finish(self) -> Flow:
        """Return the flow of the remaining events."""


class FlowMethod(Protocol):
    """Frozen parameters of a way to determine the flow of events.

    A custom method returns a new step for each pass. This one chooses parameters by the size of the
    sensor:

        class PlanesBySize:
            def start(self, size):
                window_us = 50_000 if size.width < 640 else 10_000  # edges cross pixels faster
                return dvskit.motion.PlaneFlow(window_us=window_us).start(size)

        events = dvskit.load_events("discs.raw")
        for flow in dvskit.motion.flow_blocks(events, PlanesBySize()):
            flow.vx, flow.vy  # (n,) float32 in px/s
    """

    def start(self, size: Size) -> FlowStep:
        """Return the step of one pass."""


@dataclass(frozen=True, slots=True)
class PlaneFlow:
    """Velocity across the edge, from a plane through the times at which it crossed 7x7 pixels.

    After Benosman et al. 2014, "Event-based visual flow": with t = ax + by + c by least squares, by
    polarity, the velocity is (a, b) / (a^2 + b^2). Outliers are removed and the plane is fitted
    again, until the slopes change by less than 1e-5 s/px. It needs five inliers, and a slope of
    three times its standard error. The time of a crossing is known after an event of the other
    polarity or a gap, so few events have a velocity in the first `gap_us` of a stream.

    It suits edges that are some pixels apart. In fine texture neighboring edges mix; `DenseFlow` is
    right there.

    window_us  the longest time from a pixel's crossing to another of the same edge, and to its own
               later events: 50 ms allow edges from 20 px/s on
    gap_us     a pixel's later events belong to the same edge if they are of the same polarity and
               less than this apart; the first one is its time
    ahead_us   events are held back so long, so that pixels in front of the edge are fitted too

    Times are in us; those out of range raise ConfigError.

        slow = dvskit.motion.PlaneFlow(window_us=100_000)  # edges from 10 px/s on
        for flow in dvskit.motion.flow_blocks(dvskit.open_events("discs.raw"), slow):
            flow.vx, flow.vy  # (n,) float32 in px/s, across the edge
    """

    window_us: int = checked(check_whole, 1, 199_000, default=50_000)
    gap_us: int = checked(check_whole, 0, 199_000, default=50_000)
    ahead_us: int = checked(check_whole, 0, 199_000, default=10_000)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> FlowStep:
        """Return the step of one pass: 40 bytes per pixel, and the events held back."""
        return _PlaneStep(self, size)


class _PlaneStep:
    def __init__(self, method: PlaneFlow, size: Size) -> None:
        from dvskit.motion.event_flow_kernels import REACH

        self._spans_us = method.window_us, method.gap_us, method.ahead_us
        # A column more than the reach: see the kernels.
        shape = (2, size.height + 2 * REACH, size.width + 2 * REACH + 1)
        self._bursts = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        inner = (2, size.height, size.width)
        self._fitted = np.zeros(inner, np.int32)
        self._shared = np.zeros(inner, np.float32), np.zeros(inner, np.float32)
        self._held = Events.empty(size)
        self._origin_us: int | None = None

    def __call__(self, events: Events) -> Flow:
        found, start = [], 0
        while start < len(events):
            if self._origin_us is None or events.t[start] - self._origin_us >= _SHARED_US:
                self._begin_at(int(events.t[start]))
            assert self._origin_us is not None
            stop = int(np.searchsorted(events.t, self._origin_us + _SHARED_US))
            next_us = int(events.t[min(stop, len(events) - 1)])
            found.append(self._fit(events[start:stop], next_us))
            start = stop
        return Flow.concatenate(found, events.sensor_size)

    def finish(self) -> Flow:
        if not len(self._held):
            return Flow.concatenate([], self._held.sensor_size)
        return self._fit(
            Events.empty(self._held.sensor_size), int(self._held.t[-1]) + self._spans_us[2] + 1
        )

    def _fit(self, events: Events, next_us: int) -> Flow:
        from dvskit.motion.event_flow_kernels import add_planes

        given = Events.concatenate([self._held, events])
        vx, vy = np.empty(len(given), np.float32), np.empty(len(given), np.float32)
        done = add_planes(
            (given.t, given.x, given.y, given.p), len(self._held), next_us, self._origin_us or 0,
            self._spans_us, self._bursts, (self._fitted, *self._shared), vx, vy,
        )  # fmt: skip
        self._held = given[done:].copy()
        return Flow(given[:done], vx[:done], vy[:done])

    def _begin_at(self, now_us: int) -> None:
        """Move the origin to shortly before a time; earlier times become 0."""
        before, self._origin_us = self._origin_us, now_us - _FAR_US
        if before is None:
            # Edges may have crossed pixels before the first event: their times are not known.
            self._bursts[0][:] = _FAR_US - self._spans_us[0] - 1
            self._bursts[1][:] = _FAR_US
        else:
            for times in (*self._bursts, self._fitted):
                later = np.maximum(times.astype(np.int64) + before - self._origin_us, 0)
                times[:] = np.where(times > 0, later, 0)


def flow_blocks(
    events_or_source: Events | Source, method: FlowMethod | None = None
) -> Iterator[Flow]:
    """Yield the flow of a stream in blocks, also of live events; None stands for PlaneFlow().

    Blocks hold all events in order. Their borders have no meaning.

        count = 0
        for flow in dvskit.motion.flow_blocks(dvskit.open_events("discs.raw")):
            count += np.count_nonzero(flow.vx > 0)  # NaN is not above 0
        count  # events of edges that move to the right
    """
    source = as_source(events_or_source)
    step = (PlaneFlow() if method is None else method).start(source.size)
    for block in source:
        yield step(block)
    yield step.finish()


def plane_flow(events_or_source: Events | Source, method: FlowMethod | None = None) -> Flow:
    """Return the flow of all events of a stream at once: the blocks of `flow_blocks`, joined.

    method  a PlaneFlow, the default; a PooledFlow, which pools the flow of planes; or another
            method of flow

    Long and live streams are for `flow_blocks`.

        flow = dvskit.motion.plane_flow(dvskit.load_events("discs.raw"))
        flow.vx, flow.vy  # (50342,) float32 in px/s; NaN for 6 % of the events
        np.nanmedian(np.hypot(flow.vx, flow.vy))  # 59 px/s
    """
    source = as_source(events_or_source)
    return Flow.concatenate(list(flow_blocks(source, method)), source.size)


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
        from dvskit.motion.event_flow_kernels import CELL_PX, LEVELS, SUMS

        self._normal, self._tau_us = method.normal.start(size), float(method.tau_us)
        rows, columns = (-(-side // CELL_PX) + 2 * (LEVELS - 1) for side in size[::-1])
        self._cells = np.zeros((rows, columns, SUMS), np.float64)
        self._origin_us: int | None = None

    def __call__(self, events: Events) -> Flow:
        return self._pool(self._normal(events))

    def finish(self) -> Flow:
        return self._pool(self._normal.finish())

    def _pool(self, flow: Flow) -> Flow:
        from dvskit.motion.event_flow_kernels import pool

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


class FlowSink(NpzSink):
    """Writes flow as .npz: the arrays t, x, y, p, size of events, and vx, vy float32 in px/s.

    Only a block is in memory. `dvskit.open_events` reads the events.
    """

    columns = NpzSink.columns | {name: np.dtype("<f4") for name in ("vx", "vy")}

    def add(self, flow: Flow) -> None:
        """Append a block."""
        self._flow = flow
        self.write(flow.events)

    def _write(self, events: Events) -> None:
        for column, dtype in self.columns.items():
            part = self._flow if column in ("vx", "vy") else events
            data = np.ascontiguousarray(getattr(part, column), dtype=dtype)
            self._files[column].write(data.data)
