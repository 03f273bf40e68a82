"""Events kept by when a pixel and those around it fired last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_choice, check_flag, check_whole
from dvskit.filters.selecting import Columns, columns, part_of, select

Times = NDArray[np.signedinteger]
Mark = Callable[[Columns, int, Times, NDArray[np.bool_]], None]


@dataclass(frozen=True, slots=True)
class BackgroundActivity(CallableFilter):
    """Keep an event if a neighbouring pixel has fired in the `within_us` before it, or just then.

    The filter of Delbruck 2008 (Frame-free dynamic digital vision): noise has no neighbours in
    time, edges do. Events of both polarities count, also those that are themselves left out, and of
    the same time those ahead in the stream.

    neighbours  8 pixels around, or the 4 that share a side
    itself      whether the pixel's own last event counts as well; then a hot pixel passes
    """

    within_us: int = 5_000
    neighbours: Literal[8, 4] = 8
    itself: bool = False

    def __post_init__(self) -> None:
        check_whole(self, "within_us", 0)
        check_choice(self, "neighbours", (8, 4))
        check_flag(self, "itself")

    def start(self, size: Size) -> RecentStep:
        """Return the step of one pass: 4 bytes of memory a pixel, 8 for a quarter of an hour."""

        def mark(events: Columns, origin_us: int, last: Times, keep: NDArray[np.bool_]) -> None:
            from dvskit.filters.select_kernels import near_in_time_4, near_in_time_8

            near = near_in_time_8 if self.neighbours == 8 else near_in_time_4
            near(events, origin_us, self.within_us, self.itself, last, keep)

        return RecentStep(size, (size.height + 2, size.width + 2), self.within_us, mark)


@dataclass(frozen=True, slots=True)
class Refractory(CallableFilter):
    """Leave out a pixel's events for `period_us` behind each event that is kept.

    An event just `period_us` behind is kept.

    by_polarity  ON and OFF events of a pixel do not hold back each other
    restart      events that are left out hold back, too: a pixel must be silent for `period_us`
    """

    period_us: int
    by_polarity: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        check_whole(self, "period_us", 0)
        check_flag(self, "by_polarity")
        check_flag(self, "restart")

    def start(self, size: Size) -> RecentStep:
        """Return the step of one pass: as much memory, and twice as much by polarity."""

        def mark(events: Columns, origin_us: int, last: Times, keep: NDArray[np.bool_]) -> None:
            from dvskit.filters.select_kernels import rested

            rested(events, origin_us, self.period_us, self.restart, last, keep)

        shape = (1 + self.by_polarity, size.height, size.width)
        return RecentStep(size, shape, self.period_us, mark)


_SHORT_US = 2**30
_LONGEST_US = 2**31 - 1  # that four bytes hold


class RecentStep(Step):
    """A pass of a filter that marks what to keep by the time of each pixel's last event.

    Only events of the `memory_us` before one matter for it. Times count from an origin, so that
    four bytes a pixel hold them where that is short: half the memory to look through. The origin
    lies before the first event, and fresh memory, 0, is "never".
    """

    def __init__(self, size: Size, shape: tuple[int, ...], memory_us: int, mark: Mark) -> None:
        super().__init__(size)
        self._shape, self._memory_us, self._mark = shape, memory_us, mark
        self._short = memory_us < _SHORT_US
        self._last: Times | None = None
        self._origin_us = 0

    def __call__(self, events: Events) -> Events:
        """Return the events that are kept."""
        if not len(events):
            return events
        if self._last is None:
            self._last = np.zeros(self._shape, np.int32 if self._short else np.int64)
            self._origin_us = int(events.t[0]) - 1
        keep = np.empty(len(events), np.bool_)
        given = columns(events)
        start = 0
        while start < len(events):
            if self._short and events.t[start] - self._origin_us > _LONGEST_US:
                self._forget(int(events.t[start]))
            until = self._origin_us + _LONGEST_US
            stop = int(np.searchsorted(events.t, until, "right")) if self._short else len(events)
            part = slice(start, stop)
            self._mark(part_of(given, part), self._origin_us, self._last, keep[part])
            start = stop
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept

    def _forget(self, now_us: int) -> None:
        """Count from a later origin: what is earlier does not matter any more."""
        later = now_us - self._memory_us - 1 - self._origin_us
        assert self._last is not None
        self._last = np.maximum(self._last.astype(np.int64) - later, 0).astype(np.int32)
        self._origin_us += later
