"""Dense flow as a way to determine the flow of each event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dvskit._checks import check_fields, check_whole, checked
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.motion.dense_flow import FlowOfWindows, usual_count, whole_window
from dvskit.motion.plane_flow import Flow, FlowStep


@dataclass(frozen=True, slots=True)
class DenseFlow:
    """Velocity from the dense flow of windows of `count` events: see `dense_flow`.

    The last window begins earlier, to have as many events. `count` is 50 or more; None stands for 7
    events for 10 pixels. Other values raise ConfigError.

        events = dvskit.filters.Crop(30, 20, 64, 64)(dvskit.load_events("davis"))
        window = events.between(0, 40_000)
        method = dvskit.motion.DenseFlow(count=len(window))
        for flow in dvskit.motion.flow_blocks(window, method):
            flow.vx, flow.vy  # (n,) float32 in px/s, of the n events in flow.events
    """

    count: int | None = checked(check_whole, 50, 10_000_000, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> FlowStep:
        """Return the step of one pass."""
        return _DenseStep(self, size)


class _DenseStep:
    """A pass of a `DenseFlow`: it holds back the events of a window, and keeps those before."""

    def __init__(self, method: DenseFlow, size: Size) -> None:
        self._size, self._count = size, method.count or usual_count(size)
        self._cut = EvenBlocks(self._count)
        self._held, self._flow_of = Events.empty(size), FlowOfWindows()

    def __call__(self, events: Events) -> Flow:
        return self._flow(self._cut.push(events))

    def finish(self) -> Flow:
        return self._flow(self._cut.rest())

    def _flow(self, blocks: Iterable[Events]) -> Flow:
        found = []
        for block in blocks:
            self._held = whole_window(self._held, block, self._count)
            velocity = self._flow_of(self._held)[block.y, block.x]
            found.append(Flow(block, velocity[:, 0], velocity[:, 1]))
        return Flow.concatenate(found, self._size)
