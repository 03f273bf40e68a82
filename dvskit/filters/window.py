"""Events of a span of time, or all but those."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, cut
from dvskit.events.window import check_window
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import LONGEST_US, check_whole
from dvskit.filters.selecting import select


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

    def start(self, size: Size) -> TimeWindowStep:
        """Return the step of one pass."""
        return TimeWindowStep(self, size)


class TimeWindowStep(Step):
    """A pass of a `TimeWindow`; the events are a part of those given, without a copy."""

    def __init__(self, window: TimeWindow, size: Size) -> None:
        super().__init__(size)
        self._window = window

    def __call__(self, events: Events) -> Events:
        """Return the events inside."""
        part = cut(events, self._window.start_us, self._window.stop_us)
        self.dropped += len(events) - len(part)
        return part


@dataclass(frozen=True, slots=True)
class DropTime(CallableFilter):
    """Leave out events with start_us <= t < stop_us."""

    start_us: int
    stop_us: int

    def __post_init__(self) -> None:
        for name in ("start_us", "stop_us"):
            check_whole(self, name, -LONGEST_US)
        if self.stop_us < self.start_us:
            raise ConfigError(f"the span {self.start_us}..{self.stop_us} us runs back")

    def start(self, size: Size) -> DropTimeStep:
        """Return the step of one pass."""
        return DropTimeStep(self, size)


class DropTimeStep(Step):
    """A pass of a `DropTime`."""

    def __init__(self, chosen: DropTime, size: Size) -> None:
        super().__init__(size)
        self._ends = (chosen.start_us, chosen.stop_us)

    def __call__(self, events: Events) -> Events:
        """Return the events before and behind."""
        first, last = np.searchsorted(events.t, self._ends)
        self.dropped += int(last - first)
        if first == 0 or last == len(events):
            return events[last:] if first == 0 else events[:first]
        keep = np.ones(len(events), np.bool_)
        keep[first:last] = False
        return select(events, keep)
