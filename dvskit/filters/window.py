"""Events of a span of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, cut
from dvskit.events.window import check_window
from dvskit.filters.base import CallableFilter


@check_arguments
@dataclass(frozen=True, slots=True)
class TimeWindow(CallableFilter):
    """Keep events with start_us <= t < stop_us; None leaves that side open."""

    start_us: int | None = None
    stop_us: int | None = None

    def __post_init__(self) -> None:
        check_window(self.start_us, self.stop_us)
        if self.start_us is not None and self.stop_us is not None and self.stop_us <= self.start_us:
            raise ConfigError(f"the window {self.start_us}..{self.stop_us} us is empty")

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""

        def step(events: Events) -> Events:
            return cut(events, self.start_us, self.stop_us)

        return step
