"""Cut a stream into blocks that do not depend on how the events arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dvskit._checks import check_whole
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.events.columns import Events

_LATEST_US = (1 << 63) - 1


class EvenBlocks:
    """Regroups blocks into blocks of `count` events, and a remainder at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._waiting: list[Events] = []
        self._held = 0

    def push(self, events: Events) -> Iterator[Events]:
        """Take a block; yield the blocks that it completes."""
        start = 0
        while self._held + len(events) - start >= self.count:
            stop = start + self.count - self._held
            parts = [*self._waiting, events[start:stop]]
            self._waiting, self._held, start = [], 0, stop  # before the caller may raise an error
            yield events.concatenate(parts)
        if start < len(events):
            self._waiting.append(events[start:].copy())  # the caller may change its arrays
            self._held += len(events) - start

    def rest(self) -> Iterator[Events]:
        """Yield the remainder, if any."""
        if self._waiting:
            yield self._waiting[0].concatenate(self._waiting)
            self._waiting, self._held = [], 0


class TimeWindows:
    """Cuts blocks into windows of `duration_us`. The first window holds the first event.

    aligned  whether windows begin at whole multiples of the duration; otherwise the first window
             begins at the first event
    stop_us  the end of the latest window; None before the first event
    """

    def __init__(self, duration_us: int, *, aligned: bool = False) -> None:
        self._duration_us, self._aligned = duration_us, aligned
        self._origin_us = 0
        self.stop_us: int | None = None

    def cut(
        self, events: Events, idle: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Events, int | None]]:
        """Yield parts of a block, each with the end of its window if a later event completes it.

        While `idle()`, windows without events are left out.
        """
        at = 0
        while at < len(events):
            t = int(events.t[at])
            if self.stop_us is None and not self._aligned:
                self._origin_us = t
            if self.stop_us is None or (t >= self.stop_us and idle()):
                number = (t - self._origin_us) // self._duration_us + 1
                self.stop_us = self._origin_us + number * self._duration_us
            stop = len(events)
            if self.stop_us <= _LATEST_US:  # no event lies beyond it
                stop = at + int(np.searchsorted(events.t[at:], self.stop_us))
            part, at = events[at:stop], stop
            if at == len(events):
                yield part, None
            else:
                self.stop_us += self._duration_us
                yield part, self.stop_us - self._duration_us


class EvenTimes:
    """Regroups blocks into time spans of `duration_us` that hold events.

    The first span begins at the first event.
    """

    def __init__(self, duration_us: int) -> None:
        self._windows = TimeWindows(duration_us)
        self._waiting: list[Events] = []

    def push(self, events: Events) -> Iterator[Events]:
        """Take a block; yield the spans that it completes."""
        for part, stop_us in self._windows.cut(events, lambda: not self._waiting):
            if stop_us is None:
                self._waiting.append(part.copy())  # the caller may change its arrays
            else:
                parts = [*self._waiting, part]
                self._waiting = []
                yield events.concatenate(parts)

    def rest(self) -> Iterator[Events]:
        """Yield the events of the last span, if any."""
        if self._waiting:
            yield self._waiting[0].concatenate(self._waiting)
            self._waiting = []


def even_blocks(
    blocks: Iterable[Events], *, count: int | None = None, duration_us: int | None = None
) -> Iterator[Events]:
    """Return the blocks regrouped by `count` or by `duration_us`, or unchanged with neither.

    Raises ConfigError for both at once and for less than 1.
    """
    if count is not None and duration_us is not None:
        raise ConfigError("blocks are cut by count or by duration_us, not by both")
    for name, value in (("count", count), ("duration_us", duration_us)):
        if value is not None:
            check_whole(name, value, 1)
    if count is not None:
        return _cut(blocks, EvenBlocks(int(count)))
    if duration_us is not None:
        return _cut(blocks, EvenTimes(int(duration_us)))
    return iter(blocks)


def _cut(blocks: Iterable[Events], cutter: EvenBlocks | EvenTimes) -> Iterator[Events]:
    for block in blocks:
        yield from cutter.push(block)
    yield from cutter.rest()
